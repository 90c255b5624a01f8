//! Finds and opens ONNX Runtime's library, once a process.
//!
//! Why unsafe: opening a library runs its code, and its functions have the types that its header promises. Each
//! candidate is asked its version before anything else is done with it, and one that is too old, or no ONNX Runtime at
//! all, is closed again and told. The `ort` crate would open the library itself, but looks in the environment for its
//! path and panics when it is missing; it is handed the function table instead.
#![expect(
    unsafe_code,
    reason = "a library opened at run time has no safe interface, see above"
)]

use std::ffi::CStr;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use libloading::Library;
use ort::sys::{ORT_API_VERSION, OrtApi, OrtApiBase};

use super::error::brief;

/// The names that the dynamic linker is asked for when none of the given paths will do.
const NAMES: [&str; 2] = ["libonnxruntime.so.1", "libonnxruntime.so"];

/// The library that this process runs models with.
#[derive(Debug)]
pub(super) struct Loaded {
    /// `1.31.1`.
    pub(super) version: String,
    /// As it was opened: a path, or a name that the dynamic linker found.
    pub(super) path: PathBuf,
    /// Whether it was built with the CUDA execution provider. That may still not be usable.
    pub(super) has_cuda: bool,
}

/// The library, opened from the first of `candidates` that will do, else from the dynamic linker's folders. Once one
/// was opened, every later call gives the same, whatever its candidates. `Err` says why each was passed over.
pub(super) fn load(candidates: &[PathBuf]) -> Result<&'static Loaded, String> {
    /// Held while looking, so that two threads do not open two.
    static LOOKING: Mutex<()> = Mutex::new(());
    /// Set once a library's table is `ort`'s, which cannot be taken back.
    static TAKEN: OnceLock<Result<Loaded, String>> = OnceLock::new();
    let _looking = LOOKING.lock().unwrap_or_else(PoisonError::into_inner);
    let taken = || {
        TAKEN
            .get()
            .map(|taken| taken.as_ref().map_err(Clone::clone))
    };
    if let Some(taken) = taken() {
        return taken;
    }
    let mut reasons = Vec::new();
    let names = NAMES.map(Path::new);
    for path in candidates.iter().map(PathBuf::as_path).chain(names) {
        match open(path) {
            Ok(opened) => {
                return TAKEN
                    .get_or_init(|| opened.take(path))
                    .as_ref()
                    .map_err(Clone::clone);
            }
            Err(why) => reasons.push(why),
        }
    }
    Err(reasons.join("; "))
}

/// A library that proved to be ONNX Runtime, and new enough.
struct Opened {
    library: Library,
    api: *const OrtApi,
    version: String,
}

fn open(path: &Path) -> Result<Opened, String> {
    // SAFETY: opening a library runs its initialisers. The path is the operator's, or a name in the system's own
    // folders: as much to be trusted as this program's other libraries.
    let library = unsafe { Library::new(path) };
    // The linker's message names the file.
    let library = library.map_err(|error| brief(&error.to_string()))?;
    let told = |why: &str| format!("{}: {why}", path.display());
    // SAFETY: in every ONNX Runtime, the symbol is a function of this type; whoever else exports the name, which is a
    // reserved one, promises the same.
    let base =
        unsafe { library.get::<unsafe extern "C" fn() -> *const OrtApiBase>(b"OrtGetApiBase\0") };
    let base = base.map_err(|_| told("is not ONNX Runtime"))?;
    // SAFETY: it takes nothing and may be called at any time.
    let base = unsafe { base() };
    // SAFETY: it is null or a table that lives as long as the library.
    let base = unsafe { base.as_ref() }.ok_or_else(|| told("has no interface"))?;
    // SAFETY: it takes nothing and may be called at any time.
    let version = unsafe { (base.GetVersionString)() };
    if version.is_null() {
        return Err(told("has no version"));
    }
    // SAFETY: a text that ends with 0 and lives as long as the library.
    let version = unsafe { CStr::from_ptr(version) };
    let version = version.to_string_lossy().into_owned();
    if !is_new_enough(&version) {
        return Err(told(&format!(
            "is ONNX Runtime {}; 1.{ORT_API_VERSION} or later is needed",
            brief(&version)
        )));
    }
    // SAFETY: any number may be asked for; null is the answer to one that it does not know.
    let api = unsafe { (base.GetApi)(ORT_API_VERSION) };
    match api.is_null() {
        true => Err(told("lacks the interface that its version promises")),
        false => Ok(Opened {
            library,
            api,
            version,
        }),
    }
}

/// Whether `1.x.y` has the interface that we were built for. Interfaces only grow within 1.
fn is_new_enough(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
    let (major, minor) = (parts.next().flatten(), parts.next().flatten());
    major == Some(1) && minor.is_some_and(|minor| minor >= ORT_API_VERSION)
}

impl Opened {
    /// Makes it the process's library, for good.
    fn take(self, path: &Path) -> Result<Loaded, String> {
        // SAFETY: `GetApi` gave a table of at least the asked version's functions, which is what the type holds; they
        // are plain pointers and may be copied.
        let api = unsafe { self.api.read() };
        // The table's functions are used until the process ends, so the library must stay.
        std::mem::forget(self.library);
        if !ort::set_api(api) {
            return Err("another ONNX Runtime is in use in this process".into());
        }
        let path = path.to_path_buf();
        let failed = |why: &str| format!("{} did not start: {}", path.display(), brief(why));
        let started = catch_unwind(|| {
            ort::init()
                .with_name("millstream")
                .with_telemetry(false)
                .commit();
            let environment = ort::environment::Environment::current()?;
            // What goes wrong comes back as an error; the library need not print it as well.
            environment.set_log_level(ort::logging::LogLevel::Fatal);
            let cuda = ort::ep::CUDA::default();
            ort::ep::ExecutionProvider::is_available(&cuda)
        });
        match started {
            Ok(Ok(has_cuda)) => Ok(Loaded {
                version: self.version,
                path,
                has_cuda,
            }),
            Ok(Err(error)) => Err(failed(&error.to_string())),
            Err(_) => Err(failed("it panicked")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for new in ["1.20.0", "1.20.1", "1.31.1", "1.100.0-dev"] {
            assert!(is_new_enough(new), "{new}");
        }
        for old in ["1.19.2", "1.3.0", "0.31.0", "2.0.0", "", "1", "x.y"] {
            assert!(!is_new_enough(old), "{old}");
        }
    }

    #[test]
    fn what_is_not_the_library_is_told() {
        let why = |path: &str| open(Path::new(path)).err().expect("not opened");
        assert!(why("/nowhere/libonnxruntime.so").contains("/nowhere/libonnxruntime.so"));
        assert_eq!(why("libc.so.6"), "libc.so.6: is not ONNX Runtime");
    }

    /// Libraries that export the symbol and are of no use, made by the compiler that building needs anyway.
    #[test]
    fn an_old_or_broken_library_is_told() {
        let folder = std::env::temp_dir().join(format!("millstream-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let make = |name: &str, base: &str| {
            let (code, library) = (folder.join(format!("{name}.cc")), folder.join(name));
            let text = format!(
                "static const void *api(unsigned) {{ return 0; }}\n\
                 static const char *version() {{ return \"{name}\"; }}\n\
                 struct Base {{ const void *(*api)(unsigned); const char *(*version)(); }};\n\
                 static const Base base = {{ api, version }};\n\
                 extern \"C\" const Base *OrtGetApiBase() {{ return {base}; }}\n"
            );
            std::fs::write(&code, text).unwrap();
            let mut compiler = std::process::Command::new("c++");
            compiler
                .args(["-shared", "-fPIC", "-o"])
                .args([&library, &code]);
            assert!(compiler.status().unwrap().success());
            library
        };
        for (name, base, expected) in [
            (
                "1.19.2",
                "&base",
                "is ONNX Runtime 1.19.2; 1.20 or later is needed",
            ),
            (
                "1.31.0",
                "&base",
                "lacks the interface that its version promises",
            ),
            ("1.30.0", "0", "has no interface"),
        ] {
            let library = make(name, base);
            let told = format!("{}: {expected}", library.display());
            assert_eq!(open(&library).err(), Some(told));
            // Where none is installed, the report says why this one was passed over.
            if let Err(why) = load(&[library]) {
                assert!(why.contains(expected), "{why}");
                assert!(why.contains("libonnxruntime.so"), "{why}");
            }
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
