//! ONNX models in the process: tensors in, tensors out.
//!
//! ```text
//!   bytes --Source::parse--> Source { layout } --Runtime::session--> Session --run--> [n][3][h * factor][w * factor]
//!            checks, no op        |                   |                 ^
//!            is executed          |          ONNX Runtime, or           |
//!                                 +--> the caller builds [n][3][h][w] --+
//! ```
//!
//! A model takes planar RGB, `n` pictures at once, so that frames of several sessions make one batch. What the numbers
//! mean is in the model file itself, see [`metadata`]. Two libraries can run it: ONNX Runtime, opened at run time where
//! it is installed, and tract, which every build carries.
//!
//! Invariants worth naming:
//!
//! - Nothing here reads a file or the environment: bytes, and paths of libraries, are handed in. (The dynamic linker
//!   searches its own folders for a library that is named without one.)
//! - A file is checked before a library sees it: its size, what decoding it would cost, its shapes, and that it names no
//!   other file. Broken ones give an [`Error`] and no panic.
//! - A check cannot bound what a model's own arithmetic costs. Models are the operator's choice, as the binary is.
//! - What is handed to a session is checked against the layout and [`ELEMENTS_MAX`]; what comes back, too. A session
//!   that reports a [`Fault`] can be used again.
//! - When a library or a device is missing, [`Runtime::describe`] or the error says which and why. A session that was
//!   asked for on CUDA never runs on the CPU instead.

mod cost;
mod error;
mod layout;
mod library;
pub mod metadata;
mod onnxruntime;
mod picture;
mod runtime;
mod session;
mod source;
mod tract;
mod weights;

pub use error::{Error, Fault};
pub(crate) use picture::{Passage, batch_of, matrix_of};

pub use layout::{Batch, Element, FACTOR_MAX, Layout, Scaling, Side};
pub use picture::Model;
pub use runtime::{Place, Runtime, Stream, THREADS_MAX};
pub use session::Session;
pub use source::Source;

/// The largest model file, in bytes.
pub const FILE_BYTES_MAX: usize = 512 << 20;
/// The most numbers in a tensor that goes in or comes out: sixteen pictures of 1920 × 1080 are 99 532 800.
pub const ELEMENTS_MAX: usize = 1 << 27;
/// The largest side of a picture, in pixels, before and after the model.
pub const SIDE_MAX_PX: usize = 16_384;
/// The most pictures in a batch.
pub const BATCH_MAX: usize = 256;

// One picture of the largest side fits when the other side is up to 2730.
const _: () = assert!(SIDE_MAX_PX * 2730 * 3 <= ELEMENTS_MAX);
