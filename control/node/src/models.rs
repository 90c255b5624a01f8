//! The models that an operator offers: ONNX files of one directory, read before anything starts.
//!
//! `NAME.onnx` is offered as `onnx/NAME`, beside the built-in filters. Subdirectories, other files and hidden ones are left
//! alone.
//!
//! Invariants:
//! - Nothing is read that is not a regular file, or beyond the bounds below.
//! - Every fault is told at once, each with its file.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use engine::model::{Model, Runtime, Source};

use crate::failure::{Failure, Reason};
use crate::report;

/// One file, not understood yet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    path: PathBuf,
    /// What sessions ask for: `onnx/NAME`.
    id: String,
    /// The file as it is.
    bytes: Vec<u8>,
}

/// Reads every model of a directory, in the order of their ids.
fn read(dir: &Path) -> Result<Vec<Found>, Failure> {
    let mut models = Vec::new();
    let mut failures = Vec::new();
    let mut left = TOTAL_BYTES_MAX;
    for (name, path) in files(dir)? {
        match read_one(&name, &path, left) {
            Ok(model) => {
                left -= model.bytes.len() as u64;
                models.push(model);
            }
            Err(why) => failures.push(unusable(&path, why)),
        }
    }
    Failure::all(failures).map_or(Ok(models), Err)
}

/// What a node offers: the models of the directory, if one was named, and the built-in one, unless a file has its name.
pub(crate) struct Offer {
    /// For the engine.
    pub(crate) models: Vec<Model>,
    /// For the start-up report.
    pub(crate) lines: Vec<String>,
}

impl Offer {
    /// Reads and checks every model, and looks for the library that will run them.
    pub(crate) fn make(dir: Option<&Path>, onnxruntime: Option<&Path>) -> Result<Self, Failure> {
        let runtime = runtime(onnxruntime)?;
        let files = dir.map_or_else(|| Ok(Vec::new()), read)?;
        let (mut models, mut about, mut failures) = (Vec::new(), Vec::new(), Vec::new());
        for file in files {
            let bytes = report::bytes(file.bytes.len() as u64);
            match Source::parse(&file.id, file.bytes) {
                Ok(source) => {
                    about.push(format!("{} ({bytes})", file.id));
                    models.push(Model::new(&runtime, source));
                }
                Err(error) => failures.push(unusable(&file.path, error.to_string())),
            }
        }
        Failure::all(failures).map_or(Ok(()), Err)?;
        let built_in = Model::new(&runtime, Source::built_in());
        if !models.contains(&built_in) {
            about.push(format!("{} (built in)", built_in.id()));
            models.push(built_in);
        }
        let lines = vec![about.join(", "), format!("run by {}", runtime.describe())];
        Ok(Self { models, lines })
    }

    /// What sessions may ask for.
    pub(crate) fn ids(&self) -> Vec<String> {
        let ids = self.models.iter().map(|model| model.id().to_owned());
        ids.collect()
    }
}

/// ONNX Runtime where it is installed, else what every build carries. A library that was named is used or refused.
fn runtime(onnxruntime: Option<&Path>) -> Result<Runtime, Failure> {
    let Some(path) = onnxruntime else {
        return Ok(Runtime::load(&[]));
    };
    let runtime = Runtime::load(&[path.to_owned()]);
    if runtime.path() == Some(path) {
        return Ok(runtime);
    }
    Err(Failure::new(
        Reason::Models,
        format!("ONNX Runtime cannot be used from {}", path.display()),
        runtime.describe(),
        "give --onnxruntime the path of libonnxruntime.so of 1.20 or later, or leave it out",
    ))
}

/// Names without their ending, and paths, sorted.
fn files(dir: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    let cannot = |why: String| {
        Failure::new(
            Reason::Models,
            format!("the models directory {} cannot be read", dir.display()),
            why,
            "give --models-dir DIR a directory that this user may read, or leave it out",
        )
    };
    let mut files = Vec::new();
    for (seen, entry) in fs::read_dir(dir)
        .map_err(|error| cannot(error.to_string()))?
        .enumerate()
    {
        if seen == ENTRIES_MAX {
            return Err(cannot(format!("it has more than {ENTRIES_MAX} entries")));
        }
        let path = entry.map_err(|error| cannot(error.to_string()))?.path();
        let is_onnx = path.extension().is_some_and(|it| it == "onnx");
        let stem = path.file_stem().map(|it| it.to_string_lossy().into_owned());
        let stem = stem.filter(|stem| is_onnx && !stem.starts_with('.'));
        files.extend(stem.map(|stem| (stem, path)));
    }
    if files.len() > FILES_MAX {
        return Err(cannot(format!(
            "it has {} .onnx files, and {FILES_MAX} are the most that are offered",
            files.len()
        )));
    }
    files.sort();
    Ok(files)
}

fn read_one(name: &str, path: &Path, left: u64) -> Result<Found, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.len() > NAME_BYTES_MAX || !name.bytes().all(is_plain) {
        return Err(format!(
            "its name becomes a model id, and that has letters, digits, `.`, `_` and `-` only, {NAME_BYTES_MAX} at most"
        ));
    }
    // Asked before it is opened: to open a pipe would wait for its writer.
    let about = fs::metadata(path).map_err(|error| error.to_string())?;
    if !about.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let max = FILE_BYTES_MAX.min(left);
    let too_long = |len: u64| match len {
        len if len > FILE_BYTES_MAX => Some(format!(
            "it is longer than {}",
            report::bytes(FILE_BYTES_MAX)
        )),
        len if len > left => Some(format!(
            "all models together are longer than {}",
            report::bytes(TOTAL_BYTES_MAX)
        )),
        _ => None,
    };
    if let Some(why) = too_long(about.len()) {
        return Err(why);
    }
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    // The file may grow while it is read.
    file.take(max + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.is_empty() {
        return Err("it is empty".to_owned());
    }
    if let Some(why) = too_long(bytes.len() as u64) {
        return Err(why);
    }
    Ok(Found {
        path: path.to_owned(),
        id: format!("onnx/{name}"),
        bytes,
    })
}

fn unusable(path: &Path, why: String) -> Failure {
    Failure::new(
        Reason::Models,
        format!("the model {} cannot be used", path.display()),
        why,
        "mend the file, or take it out of --models-dir",
    )
}

/// One file; larger ones keep their weights beside them, which is not supported.
const FILE_BYTES_MAX: u64 = 512 << 20;
/// All of them: they are held in memory.
const TOTAL_BYTES_MAX: u64 = 4 << 30;
const FILES_MAX: usize = 64;
/// Whoever points at a directory with more has pointed at the wrong one.
const ENTRIES_MAX: usize = 10_000;
/// As the engine has it.
const NAME_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir()
                .join(format!("millstream-models-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str, bytes: &[u8]) {
            fs::write(self.0.join(name), bytes).unwrap();
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn onnx_files_are_offered_by_their_names_and_nothing_else_is() {
        let dir = Dir::new("good");
        dir.file("upscale-2x.onnx", b"bb");
        dir.file("denoise.v1.onnx", b"a");
        dir.file("README.md", b"x");
        dir.file(".denoise.onnx", b"x");
        let files = read(&dir.0).unwrap();
        let said: Vec<_> = files.iter().map(|it| (&*it.id, &*it.bytes)).collect();
        assert_eq!(
            said,
            [("onnx/denoise.v1", &b"a"[..]), ("onnx/upscale-2x", b"bb")]
        );
    }

    /// A model that is one, from where the built-in one is.
    fn real() -> Vec<u8> {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../engine/gpu/models/denoise.onnx"
        );
        fs::read(path).unwrap()
    }

    #[test]
    fn the_built_in_model_is_offered_beside_those_of_the_directory() {
        let dir = Dir::new("offer");
        dir.file("mine.onnx", &real());
        let offer = Offer::make(Some(&dir.0), None).unwrap();
        assert_eq!(offer.ids(), ["onnx/mine", "onnx/denoise"]);
        assert_eq!(
            offer.lines[0],
            "onnx/mine (13.4 KiB), onnx/denoise (built in)"
        );
        assert!(offer.lines[1].starts_with("run by "), "{:?}", offer.lines);

        dir.file("denoise.onnx", &real());
        let offer = Offer::make(Some(&dir.0), None).unwrap();
        assert_eq!(
            offer.ids(),
            ["onnx/denoise", "onnx/mine"],
            "a file goes before the built-in one"
        );
        assert_eq!(Offer::make(None, None).unwrap().ids(), ["onnx/denoise"]);
    }

    #[test]
    fn what_is_no_model_is_told_with_its_file_and_why() {
        let dir = Dir::new("no-model");
        dir.file("sharpen.onnx", b"not looked into");
        let failure = Offer::make(Some(&dir.0), None).err().unwrap();
        assert_eq!(failure.status(), 16);
        let text = failure.to_string();
        assert!(
            text.contains("sharpen.onnx cannot be used") && text.contains("not an ONNX model"),
            "{text}"
        );
    }

    #[test]
    fn a_library_that_was_named_is_used_or_refused() {
        let nowhere = Path::new("/nowhere/libonnxruntime.so");
        let failure = Offer::make(None, Some(nowhere)).err().unwrap();
        let text = failure.to_string();
        assert!(text.contains("/nowhere/libonnxruntime.so"), "{text}");
        assert!(text.contains("--onnxruntime"), "{text}");
    }

    #[test]
    fn every_fault_is_told_with_its_file() {
        let dir = Dir::new("bad");
        dir.file("empty.onnx", b"");
        dir.file("two words.onnx", b"x");
        dir.file("good.onnx", b"x");
        fs::create_dir(dir.0.join("folder.onnx")).unwrap();
        // A file without content of its own: it takes no room on the disk.
        let long = File::create(dir.0.join("long.onnx")).unwrap();
        long.set_len(FILE_BYTES_MAX + 1).unwrap();
        let failure = read(&dir.0).unwrap_err();
        assert_eq!(failure.status(), 16);
        let text = failure.to_string();
        for (file, why) in [
            ("empty.onnx", "it is empty"),
            ("two words.onnx", "its name becomes a model id"),
            ("folder.onnx", "it is not a regular file"),
            ("long.onnx", "it is longer than 512 MiB"),
        ] {
            let (_, after) = text
                .split_once(&format!("{file} cannot be used\n  why: "))
                .unwrap();
            assert!(after.starts_with(why), "{file}: {text}");
        }
        assert!(!text.contains("good.onnx"), "{text}");
        let failure = read(Path::new("/nowhere/models")).unwrap_err();
        assert!(
            failure
                .to_string()
                .contains("/nowhere/models cannot be read")
        );
    }
}
