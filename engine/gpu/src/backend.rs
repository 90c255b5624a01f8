//! One way of decoding, processing and encoding.
//!
//! A backend is shared by the lanes of a process; what it makes (decoders, processors, encoders) is owned by one
//! session each and stays on one thread. A machine that lacks one engine mixes: its backend answers with the
//! boxed form of whatever does the step.

use crate::decode::{self, Decode};
use crate::encode::{self, Encode};
use crate::process::Process;

/// A device, or the CPU in the place of one.
pub trait Backend: Send + Sync {
    /// One picture, wherever this backend keeps pictures.
    type Surface: Send + 'static;

    /// What the start-up report calls it.
    fn name(&self) -> String;

    /// A surface with no picture yet, for [`Process::process`] to write to.
    fn surface(&self) -> Self::Surface;

    /// A decoder for one stream.
    fn decoder(
        &self,
        codec: Codec,
        config: decode::Config,
    ) -> Result<Box<dyn Decode<Self::Surface> + Send>, Unavailable>;

    /// What runs filters for one session.
    fn processor(&self) -> Result<Box<dyn Process<Self::Surface> + Send>, Unavailable>;

    /// An encoder for one stream.
    fn encoder(
        &self,
        codec: Codec,
        config: encode::Config,
    ) -> Result<Box<dyn Encode<Self::Surface> + Send>, Unavailable>;
}

/// How pictures are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// ITU-T H.264, Annex B.
    H264,
    /// ITU-T H.265, Annex B.
    H265,
}

impl Codec {
    /// The name that people use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::H264 => "H.264",
            Self::H265 => "H.265",
        }
    }
}

/// Why a backend cannot do a step at all. Not the stream's fault; another backend may be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// The backend has no such decoder or encoder.
    #[error("{backend} has no {} {step}", codec.name())]
    Codec {
        /// Who was asked.
        backend: &'static str,
        /// For what.
        codec: Codec,
        /// `decoder` or `encoder`.
        step: &'static str,
    },
    /// The settings are not ones that the backend can work with.
    #[error("{0}")]
    Config(&'static str),
    /// The library or the device refused.
    #[error("{backend} refused: {reason}")]
    Refused {
        /// Who was asked.
        backend: &'static str,
        /// In its words.
        reason: String,
    },
}
