//! The second H.264 library, rust_h264, for pictures that openh264 does not read: 4:2:2, 4:0:0 and 10 bits.
//!
//! It is Rust throughout and agrees with ffmpeg bit for bit, but takes 1.4 times openh264's time a picture, and more
//! where a picture has several slices. It is also kinder to a broken stream than we are: of a picture whose later
//! slices are damaged or missing it shows the rest, and it puts an older picture in the place of a lost one. So it is
//! shown nothing that `gate` has not read first, and its picture is looked at before it is passed on. What cannot be
//! seen from outside is damage within a slice that still reads as some whole picture: more of that is shown than
//! openh264 would show, until the next key picture.
//!
//! Invariants worth naming:
//!
//! - One unit in, at most one picture out, in the same call.
//! - What the library holds is bounded by [`gate`]: it keeps as many pictures and parameter sets as a stream names.
//! - A panic inside the library ends the library and not the thread; the caller makes a new one.

mod convert;
mod gate;

use std::panic::{AssertUnwindSafe, catch_unwind};

use kernels::Frame;
use rust_h264::decoder::Decoder;
use rust_h264::error::DecodeError;
use rust_h264::nal::parse_annex_b;

use self::gate::Gate;
use crate::decode::Feature;
use crate::sps::{HIGH, HIGH_10, HIGH_422, Sps};

/// The release, as the start-up report shows it. A test compares it with the lock file.
pub(super) const VERSION: &str = "rust_h264 0.6.0";

/// What a damaged unit was found to be; openh264's own codes are below these.
mod code {
    pub(super) const PANIC: i32 = 0x1_0001;
    pub(super) const TRUNCATED: i32 = 0x1_0002;
    pub(super) const SYNTAX: i32 = 0x1_0003;
    pub(super) const UNSUPPORTED: i32 = 0x1_0004;
    /// A slice, or a picture that this one is made from, is missing.
    pub(super) const MISSING: i32 = 0x1_0005;
    /// The picture breaks a rule that bounds what is kept.
    pub(super) const RULE: i32 = 0x1_0006;
}

pub(super) struct Library {
    decoder: Decoder,
    gate: Gate,
}

/// What a stream uses that this library lacks, too.
pub(super) fn unsupported(sps: &Sps) -> Option<Feature> {
    if sps.chroma_format > 2 {
        return Some(Feature::Chroma(sps.chroma_format));
    }
    if !matches!(sps.bit_depth, 8 | 10) || sps.mixed_depth {
        return Some(Feature::BitDepth(sps.bit_depth));
    }
    if sps.lossless {
        return Some(Feature::Lossless);
    }
    if sps.interlaced {
        return Some(Feature::Interlaced);
    }
    match sps.profile {
        HIGH | HIGH_10 | HIGH_422 => None,
        other => Some(Feature::Profile(other)),
    }
}

// === impl Library ===

impl Library {
    pub(super) fn new() -> Self {
        Self {
            decoder: Decoder::new(),
            gate: Gate::default(),
        }
    }

    /// Decodes the NAL units of one picture, or parameter sets alone, behind start codes. The code is 0 on success;
    /// after any other the library is to be thrown away.
    pub(super) fn decode(&mut self, unit: &[u8], frame: Frame) -> (i32, Option<Frame>) {
        // What is half changed when it unwinds is thrown away by the caller.
        let result = catch_unwind(AssertUnwindSafe(|| self.try_decode(unit, frame)));
        match result {
            Ok(Ok(frame)) => (0, frame),
            Ok(Err(code)) => (code, None),
            Err(_) => (code::PANIC, None),
        }
    }

    /// Whether it keeps pictures that the stream says nothing refers to, and so is to be made anew after each.
    pub(super) fn is_spent(&self) -> bool {
        self.gate.holds_unused()
    }

    fn try_decode(&mut self, unit: &[u8], frame: Frame) -> Result<Option<Frame>, i32> {
        let mut nals = parse_annex_b(unit);
        let expected = self.gate.admit(&mut nals)?;
        for nal in &nals {
            let early = self.decoder.decode_nal(nal).map_err(|error| of(&error))?;
            debug_assert!(early.is_none(), "the gate lets one picture through");
        }
        let Some(expected) = expected else {
            return Ok(None);
        };
        let picture = self.decoder.flush().ok_or(code::SYNTAX)?;
        if !expected.is_whole(&picture) {
            return Err(code::MISSING);
        }
        let frame = convert::to_i420(&picture, frame).ok_or(code::SYNTAX)?;
        Ok(Some(frame))
    }
}

fn of(error: &DecodeError) -> i32 {
    match error {
        DecodeError::UnexpectedEof => code::TRUNCATED,
        DecodeError::InvalidSyntax(_) => code::SYNTAX,
        DecodeError::Unsupported(_) => code::UNSUPPORTED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_lock_file() {
        let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock");
        let lock = std::fs::read_to_string(lock).unwrap();
        let (name, version) = VERSION.split_once(' ').unwrap();
        let entry = format!("name = \"{name}\"\nversion = \"{version}\"");
        assert!(lock.contains(&entry), "{VERSION}");
    }
}
