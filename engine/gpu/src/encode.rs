//! From pictures to access units.
//!
//! An encoder never skips a picture, never holds one back and never reorders: one picture in, one access unit out.

use crate::fault::Fault;

/// How a stream is to be encoded. The size comes with the pictures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Pictures a second, as a fraction: 30000 over 1001 is 29.97.
    pub fps_num: u32,
    /// The lower half of the fraction.
    pub fps_den: u32,
    /// What to aim for, in bits a second. `None` derives it from size and rate, see [`Config::target_bps`].
    pub bitrate_bps: Option<u32>,
    /// The coarsest quantiser that the encoder may use to reach the bitrate, 12 to 51. It is a promise of quality:
    /// a picture that would need a coarser one costs more bits instead. 27 keeps luma above 33 dB on pictures as
    /// hard as the edges of camera footage.
    pub qp_max: u8,
    /// A key picture at least every so many pictures; 0 is only the first and the forced ones.
    pub key_interval: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            fps_num: 30,
            fps_den: 1,
            bitrate_bps: None,
            qp_max: 27,
            key_interval: 60,
        }
    }
}

impl Config {
    /// The bitrate to aim for at this size: what was asked, or an eighth of a bit a pixel, at least 200 kbit/s.
    /// 1280×720 at 30 is 3.5 Mbit/s, 640×360 is 0.9.
    pub fn target_bps(&self, width: usize, height: usize) -> u32 {
        const BPS_MIN: u64 = 200_000;
        const BPS_MAX: u64 = 200_000_000;
        let derived = || {
            let pixels = (width * height) as u64 * u64::from(self.fps_num);
            pixels / u64::from(self.fps_den.max(1)) / 8
        };
        let bps = self.bitrate_bps.map_or_else(derived, u64::from);
        bps.clamp(BPS_MIN, BPS_MAX) as u32
    }
}

/// What one picture became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Whether decoding can start here: an IDR picture behind its parameter sets.
    pub key: bool,
    /// How many bytes were appended.
    pub bytes: usize,
}

/// An encoder of one stream.
///
/// Submitting and collecting are two steps, as in [`Decode`](crate::Decode), and for the same reason.
pub trait Encode<S> {
    /// Hands one picture over. The work may go on after this returns; the surface may then be used again at once, since
    /// whatever is submitted later on the same backend runs later.
    ///
    /// `pts` is in ticks of 90 kHz and rises from call to call. `force_key` makes exactly this picture a key picture; so does
    /// a picture of another size than the last.
    ///
    /// # Errors
    /// Why this picture is not encoded. There is nothing to collect for it.
    fn submit(&mut self, surface: &S, pts: i64, force_key: bool) -> Result<(), Error>;

    /// Appends the access unit of the oldest submitted picture, Annex B, with parameter sets before every key picture, having
    /// waited for it, with a deadline.
    ///
    /// # Errors
    /// Why that picture was not encoded.
    ///
    /// # Panics
    /// When nothing was submitted that has not been collected.
    fn collect(&mut self, out: &mut Vec<u8>) -> Result<Encoded, Error>;

    /// Submits one picture and collects it.
    ///
    /// # Errors
    /// As both.
    fn encode(
        &mut self,
        surface: &S,
        pts: i64,
        force_key: bool,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, Error> {
        self.submit(surface, pts, force_key)?;
        self.collect(out)
    }
}

/// Why a picture was not encoded. Nothing was appended, and the next picture is a key picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The encoder cannot do pictures of this size.
    #[error("pictures of {width}x{height} cannot be encoded here: {why}")]
    Size {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// The rule.
        why: &'static str,
    },
    /// The library failed.
    #[error("the encoder failed: {0}")]
    Failed(String),
    /// The device failed. What that means for others, [`Fault::is_lost`] says; this encoder cannot go on.
    #[error(transparent)]
    Device(#[from] Fault),
}
