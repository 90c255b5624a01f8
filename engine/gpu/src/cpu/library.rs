//! The two H.264 libraries behind one face.
//!
//! openh264 reads what nearly every live stream is, 8-bit 4:2:0, and is the faster; rust_h264 reads the rest.

use kernels::Frame;
use openh264::decoder::Decoder as Openh264;

use super::openh264_raw::{self as raw, Picture};
use super::wide;
use crate::decode::Feature;
use crate::sps::Sps;
use crate::{in_order, nal};

/// Which library.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// openh264.
    #[default]
    Common,
    /// rust_h264.
    Wide,
}

pub(super) enum Library {
    Common(Openh264),
    Wide(Box<wide::Library>),
}

/// What one unit gave: the library's code, 0 on success, and the pictures with their timestamps. A unit that wrongly
/// holds two shows the first: the second has the same timestamp.
pub(super) type Outcome = (i32, [Option<(i64, Frame)>; 2]);

// === impl Kind ===

impl Kind {
    /// The library for a stream, or what neither reads.
    pub(super) fn of(sps: &Sps) -> Result<Self, Feature> {
        if sps.unsupported().is_none() {
            return Ok(Self::Common);
        }
        wide::unsupported(sps).map_or(Ok(Self::Wide), Err)
    }

    /// Appends a sequence parameter set in the form that the library is to see.
    pub(super) fn write_sps(self, unit: &[u8], profile: u8, out: &mut Vec<u8>) {
        match self {
            Self::Common => in_order::write(unit, profile, out),
            Self::Wide => nal::escape(&nal::unescape(unit), out),
        }
    }
}

// === impl Library ===

impl Library {
    pub(super) fn new(kind: Kind) -> Result<Self, openh264::Error> {
        match kind {
            Kind::Common => raw::decoder().map(Self::Common),
            Kind::Wide => Ok(Self::Wide(Box::new(wide::Library::new()))),
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Common(_) => Kind::Common,
            Self::Wide(_) => Kind::Wide,
        }
    }

    /// Decodes one access unit, or parameter sets alone. Pictures are written to frames from `spare`.
    pub(super) fn decode(
        &mut self,
        unit: &[u8],
        has_slices: bool,
        pts: i64,
        spare: &mut Vec<Frame>,
    ) -> Outcome {
        match self {
            Self::Common(library) => common(library, unit, has_slices, pts, spare),
            Self::Wide(library) => {
                let frame = match has_slices {
                    true => spare.pop().unwrap_or_default(),
                    false => Frame::default(),
                };
                let (code, frame) = library.decode(unit, frame);
                (code, [frame.map(|frame| (pts, frame)), None])
            }
        }
    }

    /// Whether it is to be made anew before the next unit, which may then be any picture.
    pub(super) fn is_spent(&self) -> bool {
        match self {
            Self::Common(_) => false,
            Self::Wide(library) => library.is_spent(),
        }
    }
}

fn common(
    library: &mut Openh264,
    unit: &[u8],
    has_slices: bool,
    pts: i64,
    spare: &mut Vec<Frame>,
) -> Outcome {
    // What the library calls a picture that is still to come; a whole unit leaves none.
    const FRAME_PENDING: i32 = 1;
    let mut code = if has_slices { FRAME_PENDING } else { 0 };
    let pictures = [Some(unit), None].map(|data| {
        let mut shown = None;
        let result = raw::feed(library, data, pts as u64, |picture| {
            code &= !FRAME_PENDING;
            let frame = copied(&picture, spare.pop().unwrap_or_default());
            shown = frame.map(|frame| (picture.tag as i64, frame));
        });
        code |= result;
        shown
    });
    (code, pictures)
}

fn copied(picture: &Picture<'_>, mut frame: Frame) -> Option<Frame> {
    frame.copy_from_planes(picture.width, picture.height, picture.planes)?;
    Some(frame)
}
