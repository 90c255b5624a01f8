//! What runs models in this process, and where.

use std::path::{Path, PathBuf};

use super::error::Error;
use super::session::Session;
use super::source::Source;
use super::{library, tract};

/// ONNX Runtime if it is installed, else tract. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Runtime {
    kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    OnnxRuntime(&'static library::Loaded),
    Tract { why: String },
}

/// Where a session runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The processor. ONNX Runtime uses so many threads, the calling one among them; tract always one.
    Cpu {
        /// 1 to [`THREADS_MAX`].
        threads: usize,
    },
    /// A CUDA device; its primary context becomes the calling thread's. Operators that ONNX Runtime has no CUDA form of run on the CPU, with copies that it makes itself.
    Cuda {
        /// Its number, as CUDA counts.
        device: u32,
        /// The stream that work is queued on; the library makes its own without one.
        stream: Option<Stream>,
    },
}

/// A CUDA stream of somebody else's making, `cudaStream_t` or `CUstream`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream(usize);

/// The most threads that a session may use.
pub const THREADS_MAX: usize = 256;

// === impl Runtime ===

impl Runtime {
    /// Opens ONNX Runtime from the first of `candidates` that will do, else by its name in the dynamic linker's folders;
    /// tract when there is none. A process opens one library at most: once there is one, later calls give the same.
    pub fn load(candidates: &[PathBuf]) -> Self {
        let kind = match library::load(candidates) {
            Ok(loaded) => Kind::OnnxRuntime(loaded),
            Err(why) => Kind::Tract { why },
        };
        Self { kind }
    }

    /// tract, whatever is installed.
    pub fn pure() -> Self {
        let why = "as asked".into();
        Self {
            kind: Kind::Tract { why },
        }
    }

    /// Where ONNX Runtime was found; `None` for tract.
    pub fn path(&self) -> Option<&Path> {
        match &self.kind {
            Kind::OnnxRuntime(loaded) => Some(&loaded.path),
            Kind::Tract { .. } => None,
        }
    }

    /// For the start-up report: `ONNX Runtime 1.31.1 (/path), CPU`, or
    /// `tract 0.22.5 (pure Rust, CPU; libonnxruntime.so: cannot open ...)`.
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::OnnxRuntime(loaded) => {
                let places = if loaded.has_cuda {
                    "CPU; built with CUDA"
                } else {
                    "CPU"
                };
                let path = loaded.path.display();
                format!("ONNX Runtime {} ({path}), {places}", loaded.version)
            }
            Kind::Tract { why } => format!("{} (pure Rust, CPU; {why})", tract::VERSION),
        }
    }

    /// Makes a model ready to run. That reads the whole model and may take seconds; sessions are for keeping.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the place is not there, [`Error::Refused`] when the library does not take the model.
    pub fn session(&self, source: &Source, place: Place) -> Result<Session, Error> {
        if let Place::Cpu { threads } = place
            && !(1..=THREADS_MAX).contains(&threads)
        {
            return Err(Error::Unavailable {
                place: "CPU",
                reason: format!("{threads} threads; 1 to {THREADS_MAX} can be had"),
            });
        }
        Session::open(&self.kind, source, place)
    }
}

// === impl Stream ===

impl Stream {
    /// Names a stream.
    ///
    /// # Safety
    /// `address` is a live stream of the device's primary context, and stays one until the last session that was made
    /// with it is dropped.
    #[expect(
        unsafe_code,
        reason = "it is a promise, see above; nothing is done here"
    )]
    pub unsafe fn from_raw(address: usize) -> Self {
        Self(address)
    }

    pub(super) fn address(self) -> usize {
        self.0
    }
}
