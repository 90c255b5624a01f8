//! What can be wrong with a model, and with one run of it.

use super::layout::Element;
use super::{ELEMENTS_MAX, FILE_BYTES_MAX};

/// Why there is no model or no session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The id is not `onnx/` and a file's stem.
    #[error(
        "{0:?} is no model id: expected onnx/NAME, NAME of 1 to 64 letters, digits, dots, dashes and underscores"
    )]
    Id(String),
    /// More than [`FILE_BYTES_MAX`] bytes.
    #[error("a model file of {bytes} bytes; at most {FILE_BYTES_MAX} are read")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not an ONNX model, or a cut one.
    #[error("not an ONNX model: {0}")]
    Broken(String),
    /// Decoding it would take more than is allowed.
    #[error("the model file holds more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are allowed.
        max: usize,
    },
    /// Weights in another file. Models are one file, and nothing in it may name a path.
    #[error("the model keeps weights in another file; save it as one file")]
    External,
    /// The model's inputs, outputs or shapes are not a picture in and a picture out.
    #[error("{0}")]
    Shape(String),
    /// Something that the file does not say and its shapes do not show.
    #[error("the model's metadata lacks {key}: {why}")]
    Missing {
        /// The key to add to `metadata_props`.
        key: &'static str,
        /// What is unclear without it.
        why: String,
    },
    /// A metadata entry that makes no sense.
    #[error("the model's metadata has {key} = {value:?}: {why}")]
    Metadata {
        /// The key.
        key: String,
        /// What it has, cut to 64 characters.
        value: String,
        /// What it should be.
        why: String,
    },
    /// The library or the device for this place is not there.
    #[error("{place} is unavailable: {reason}")]
    Unavailable {
        /// Which place.
        place: &'static str,
        /// In the library's words, where it has any.
        reason: String,
    },
    /// The library does not take the model: an operator it lacks, types that do not fit.
    #[error("{library} does not take the model: {reason}")]
    Refused {
        /// Which library.
        library: &'static str,
        /// In its words.
        reason: String,
    },
}

/// Why one run gave nothing. The session can be used again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The batch or the size is not one that the model's layout takes.
    #[error("the model does not take {shape:?}: {why}")]
    Shape {
        /// `[n, 3, h, w]` as handed in.
        shape: [usize; 4],
        /// Which rule it breaks.
        why: String,
    },
    /// More than [`ELEMENTS_MAX`] numbers, in or out.
    #[error("a tensor of shape {shape:?}; at most {ELEMENTS_MAX} numbers are taken")]
    TooLarge {
        /// The tensor's shape.
        shape: [usize; 4],
    },
    /// The slice is not as long as the shape says.
    #[error("{len} numbers for a tensor of {expected}")]
    Length {
        /// What was handed in.
        len: usize,
        /// The product of the shape.
        expected: usize,
    },
    /// The model's numbers are of the other width.
    #[error("the model takes {0}")]
    Element(Element),
    /// The session has no such memory: device pointers for a session on the CPU.
    #[error("the session is not on a device")]
    NotOnDevice,
    /// The model gave another shape than its layout promised.
    #[error("the model gave {got:?} where its layout says {expected:?}")]
    Output {
        /// What came.
        got: Vec<usize>,
        /// What was to come.
        expected: [usize; 4],
    },
    /// The library failed, in its words.
    #[error("{0}")]
    Library(String),
    /// The library panicked, in its words.
    #[error("the library panicked: {0}")]
    Panicked(String),
}

/// A foreign message as it goes into an error: one line, at most 400 characters.
pub(super) fn brief(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(400) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
