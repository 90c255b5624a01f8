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

use crate::failure::{Failure, Reason};
use crate::report;

/// One file, not understood yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Model {
    /// What sessions ask for: `onnx/NAME`.
    pub(crate) id: String,
    /// The file as it is.
    pub(crate) bytes: Vec<u8>,
}

/// Reads every model of a directory, in the order of their ids.
pub(crate) fn read(dir: &Path) -> Result<Vec<Model>, Failure> {
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

/// The models' part of the start-up report.
pub(crate) fn describe(models: &[Model], dir: &Path) -> String {
    let each: Vec<String> = models
        .iter()
        .map(|model| format!("{} ({})", model.id, report::bytes(model.bytes.len() as u64)))
        .collect();
    match each.is_empty() {
        true => format!("{} has no .onnx file", dir.display()),
        false => each.join(", "),
    }
}

/// Hands the models to the engine; gives the ids that sessions may ask for. The only place that knows what this build runs.
pub(crate) fn hand_over(models: Vec<Model>, notes: &mut Vec<String>) -> Vec<String> {
    if !models.is_empty() {
        notes.push("this build runs no models: sessions that ask for one are refused".to_owned());
    }
    models.into_iter().map(|model| model.id).collect()
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

fn read_one(name: &str, path: &Path, left: u64) -> Result<Model, String> {
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
    Ok(Model {
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
const NAME_BYTES_MAX: usize = 128;

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
        let models = read(&dir.0).unwrap();
        let said: Vec<_> = models.iter().map(|it| (&*it.id, &*it.bytes)).collect();
        assert_eq!(
            said,
            [("onnx/denoise.v1", &b"a"[..]), ("onnx/upscale-2x", b"bb")]
        );
        assert_eq!(
            describe(&models, &dir.0),
            "onnx/denoise.v1 (1 B), onnx/upscale-2x (2 B)"
        );
        let mut notes = Vec::new();
        assert_eq!(
            hand_over(models, &mut notes),
            ["onnx/denoise.v1", "onnx/upscale-2x"]
        );
        assert_eq!(notes.len(), 1);
    }

    #[test]
    fn an_empty_directory_offers_nothing_and_says_so() {
        let dir = Dir::new("empty");
        let models = read(&dir.0).unwrap();
        assert!(describe(&models, &dir.0).ends_with(" has no .onnx file"));
        let mut notes = Vec::new();
        assert!(hand_over(models, &mut notes).is_empty() && notes.is_empty());
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
