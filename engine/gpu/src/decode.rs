//! From access units to pictures.

use crate::backend::Codec;
use crate::fault::Fault;

/// Limits on one stream. A stream that asks for more is refused before memory is spent on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The widest picture, in pixels.
    pub width_max: usize,
    /// The highest picture, in pixels.
    pub height_max: usize,
    /// The largest access unit, in bytes. No backend goes beyond its own limit.
    pub unit_bytes_max: usize,
}

impl Default for Config {
    /// 1080p in either orientation, at one megabyte a picture: ten times what such a stream needs.
    fn default() -> Self {
        Self {
            width_max: 1920,
            height_max: 1920,
            unit_bytes_max: 1 << 20,
        }
    }
}

/// One access unit: all the NAL units of one picture, and when it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Unit<'a> {
    /// The NAL units behind start codes (Annex B).
    pub data: &'a [u8],
    /// When the picture is shown, in ticks of 90 kHz. Any origin, but it does not wrap: the caller has unrolled
    /// the 33 bits of MPEG-TS.
    pub pts: i64,
}

/// One picture out of a decoder.
#[derive(Clone, Debug)]
pub struct Decoded<S> {
    /// The picture. Give it back with [`Decode::recycle`].
    pub surface: S,
    /// The timestamp of the unit that it came in.
    pub pts: i64,
    /// Its width in pixels.
    pub width: usize,
    /// Its height in pixels.
    pub height: usize,
}

/// A decoder of one stream.
///
/// Submitting and collecting are two steps, so that a lane can set a device to work on the units of many sessions before it
/// waits for the first.
pub trait Decode<S> {
    /// Hands one unit over. The work may go on after this returns. When it fails, earlier units' pictures are still to be
    /// collected.
    ///
    /// # Errors
    /// Why this unit gives no picture.
    fn submit(&mut self, unit: Unit<'_>) -> Result<(), Error>;

    /// Appends the pictures that can now be shown, in display order, having waited, with a deadline, until those of the
    /// submitted units are decoded.
    ///
    /// # Errors
    /// When a submitted unit turned out to be damaged, or the device failed. Pictures may have been appended as well.
    fn collect(&mut self, out: &mut Vec<Decoded<S>>) -> Result<(), Error>;

    /// Submits one unit and collects.
    ///
    /// # Errors
    /// As both. Pictures may have been appended as well.
    fn decode(&mut self, unit: Unit<'_>, out: &mut Vec<Decoded<S>>) -> Result<(), Error> {
        let submitted = self.submit(unit);
        let collected = self.collect(out);
        submitted.and(collected)
    }

    /// Appends the pictures that were held back for reordering: the stream has ended, or paused.
    ///
    /// # Errors
    /// When the device failed.
    fn flush(&mut self, out: &mut Vec<Decoded<S>>) -> Result<(), Error>;

    /// Forgets the stream, as after a discontinuity: held pictures are dropped and the next key picture is awaited.
    fn reset(&mut self);

    /// Takes back a surface that is done with, for a later picture.
    fn recycle(&mut self, surface: S);
}

/// Why a unit gave no picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The unit is damaged, or refers to something that is. Pictures resume at the next key picture.
    #[error("damaged picture (code {code:#x})")]
    Damaged {
        /// What the decoder called it.
        code: i32,
    },
    /// No key picture has come since the start, the last error or the last reset. The unit was not looked at
    /// further.
    #[error("waiting for a key picture")]
    AwaitingKey,
    /// The stream uses what this decoder does not do. Another backend might.
    #[error("not supported: {0}")]
    Unsupported(Feature),
    /// The stream's pictures, in whole macroblocks, are larger than [`Config`] allows.
    #[error("pictures of {width}x{height} are over the limit")]
    TooLarge {
        /// Coded width in pixels.
        width: usize,
        /// Coded height in pixels.
        height: usize,
    },
    /// The device failed. What that means for others, [`Fault::is_lost`] says; this decoder cannot go on.
    #[error(transparent)]
    Device(#[from] Fault),
    /// The unit is larger than [`Config`] or the decoder allows. It was dropped.
    #[error("{what}: {value} is over the limit of {limit}")]
    UnitTooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        value: usize,
        /// How large it may be.
        limit: usize,
    },
}

impl Error {
    /// Whether the stream as it stands will never decode here, so that feeding on is useless.
    pub fn is_fatal(self) -> bool {
        match self {
            Self::Damaged { .. } | Self::AwaitingKey | Self::UnitTooLarge { .. } => false,
            Self::Unsupported(_) | Self::TooLarge { .. } | Self::Device(_) => true,
        }
    }
}

/// A part of a codec that a decoder lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Feature {
    /// A profile, by its `profile_idc`.
    #[error("profile {0}")]
    Profile(u8),
    /// Chroma that the decoder does not read. The CPU's reads all but 4:4:4.
    #[error("chroma format {}", ["4:0:0", "4:2:0", "4:2:2", "4:4:4"][usize::from(*.0) & 3])]
    Chroma(u8),
    /// More bits a sample than the decoder reads, or not as many for chroma as for luma.
    #[error("{0} bits a sample")]
    BitDepth(u8),
    /// Macroblocks without transform (`qpprime_y_zero_transform_bypass_flag`).
    #[error("lossless coding")]
    Lossless,
    /// Interlaced coding.
    #[error("interlaced pictures")]
    Interlaced,
    /// The whole codec.
    #[error("{}", .0.name())]
    Codec(Codec),
}
