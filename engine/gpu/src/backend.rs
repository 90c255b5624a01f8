//! One way of decoding, processing and encoding.
//!
//! A lane opens a backend of its own and keeps it on its thread, with all that it makes: decoders and encoders, one a
//! session, and the one processor that does the pictures of all sessions. When the device is lost all of it is dropped and the
//! lane opens another. A machine that lacks one engine mixes: its backend answers with whatever does that step elsewhere.

use std::time::Duration;

use crate::decode::{self, Decode};
use crate::encode::{self, Encode};
use crate::fault::Fault;
use crate::process::Process;

/// Opens backends on one device: at a lane's start, and again after the device was lost. Shared by the lanes of a process.
pub trait Open: Send + Sync + 'static {
    /// What it opens.
    type Backend: Backend;

    /// What reports call it: `cpu`, `cuda:0`.
    fn name(&self) -> String;

    /// Opens one, on the thread that will use it.
    ///
    /// # Errors
    /// When the device is not to be had, now or at all.
    fn open(&self) -> Result<Self::Backend, Unavailable>;
}

/// A device as one lane has it, or the CPU in the place of one. It stays on the thread that opened it.
pub trait Backend: 'static {
    /// One picture, wherever this backend keeps pictures.
    type Surface: 'static;

    /// What the start-up report calls it, with what does which step.
    fn name(&self) -> String;

    /// How a lane is to gather pictures for it.
    fn batching(&self) -> Batching;

    /// A surface with no picture yet, for [`Process::process`] to write to.
    ///
    /// # Errors
    /// When the device has no memory left, or is lost.
    fn surface(&self) -> Result<Self::Surface, Fault>;

    /// A decoder for one stream.
    ///
    /// # Errors
    /// When the device has none for this codec, or none for one more stream.
    fn decoder(
        &self,
        codec: Codec,
        config: decode::Config,
    ) -> Result<Box<dyn Decode<Self::Surface>>, Unavailable>;

    /// What runs the steps of all sessions of a lane.
    ///
    /// # Errors
    /// When the device cannot run them.
    fn processor(&self) -> Result<Box<dyn Process<Self::Surface>>, Unavailable>;

    /// An encoder for one stream.
    ///
    /// # Errors
    /// When the device has none for this codec, or none for one more stream.
    fn encoder(
        &self,
        codec: Codec,
        config: encode::Config,
    ) -> Result<Box<dyn Encode<Self::Surface>>, Unavailable>;

    /// What it has done and holds, since it was opened. Cheap, and waits for nothing.
    fn usage(&self) -> Usage;

    /// What came up while it ran and an operator should know, each once, the earliest first: a step that runs elsewhere than
    /// [`Backend::name`] says, and why. It grows and never shrinks, to some tens at most.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }
}

/// How many pictures are worth doing at once, and how long the first may wait for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// The most units in a batch, one a session. At least 1.
    pub units_max: usize,
    /// How long a batch that is not full waits for sessions whose next unit is due.
    pub wait: Duration,
}

/// Totals of a backend since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes copied from host to device memory: bitstreams, and pictures where a step runs on the host.
    pub to_device_bytes: u64,
    /// Bytes copied from device to host memory.
    pub from_device_bytes: u64,
    /// Device time of decoding, in nanoseconds, where the device says.
    pub decode_ns: u64,
    /// Device time of steps.
    pub process_ns: u64,
    /// Device time of encoding.
    pub encode_ns: u64,
    /// Device memory that is free now; `None` where pictures lie in host memory.
    pub memory_free_bytes: Option<u64>,
    /// Device memory in all.
    pub memory_total_bytes: Option<u64>,
    /// Surfaces that exist, in use or spare.
    pub surfaces: u64,
}

/// How pictures are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// ITU-T H.264, Annex B.
    H264,
    /// ITU-T H.265, Annex B.
    H265,
    /// VP9, a frame a unit.
    Vp9,
    /// AV1, a temporal unit of OBUs a unit.
    Av1,
}

impl Codec {
    /// The name that people use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::H264 => "H.264",
            Self::H265 => "H.265",
            Self::Vp9 => "VP9",
            Self::Av1 => "AV1",
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
    /// The device failed when it was asked.
    #[error(transparent)]
    Device(#[from] Fault),
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
