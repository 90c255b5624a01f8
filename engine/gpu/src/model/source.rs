//! A model file that was read and found usable.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::Framework;

use super::error::{Error, brief};
use super::layout::Layout;
use super::{FILE_BYTES_MAX, cost, metadata, weights};

/// The id of [`Source::built_in`].
const BUILT_IN: &str = "onnx/denoise";
const BUILT_IN_BYTES: &[u8] = include_bytes!("../../models/denoise.onnx");

/// A checked model: its bytes, and what its tensors mean. Cheap to clone.
#[derive(Clone)]
pub struct Source {
    id: Arc<str>,
    bytes: Arc<[u8]>,
    layout: Arc<Layout>,
}

impl Source {
    /// Checks a file. `id` is `onnx/` and the file's stem: letters, digits, dots, dashes and underscores.
    ///
    /// # Errors
    /// [`Error`] says what is wrong with the id, the file, its shapes or its metadata. Whether a library has the
    /// operators that the model uses is found by [`Runtime::session`](super::Runtime::session).
    pub fn parse(id: &str, bytes: Vec<u8>) -> Result<Self, Error> {
        let stem = id.strip_prefix("onnx/").unwrap_or_default();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !(1..=64).contains(&stem.len()) || !stem.bytes().all(is_plain) {
            return Err(Error::Id(id.chars().take(80).collect()));
        }
        if bytes.len() > FILE_BYTES_MAX {
            return Err(Error::TooLarge { bytes: bytes.len() });
        }
        cost::check(&bytes)?;
        let model = decode(&bytes)?;
        weights::check(&model)?;
        let layout = metadata::read(&model)?;
        Ok(Self {
            id: id.into(),
            bytes: bytes.into(),
            layout: layout.into(),
        })
    }

    /// The model that every build carries, `onnx/denoise`: it takes noise out of pictures of any size.
    ///
    /// # Panics
    /// Never: a test parses the file that is built in.
    pub fn built_in() -> Self {
        Self::parse(BUILT_IN, BUILT_IN_BYTES.to_vec()).expect("tests parse the built-in model")
    }

    /// `onnx/denoise`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What goes in and what comes out.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(super) fn shared_layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The file's messages. What that costs was checked.
pub(super) fn decode(mut bytes: &[u8]) -> Result<ModelProto, Error> {
    let read = || tract_onnx::onnx().proto_model_for_read(&mut bytes);
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(model)) => Ok(model),
        Ok(Err(error)) => Err(Error::Broken(brief(&format!("{error:#}")))),
        Err(_) => Err(Error::Broken("its decoder panicked".into())),
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("id", &self.id)
            .field("bytes", &self.bytes.len())
            .field("layout", &self.layout)
            .finish()
    }
}
