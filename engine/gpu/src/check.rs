//! What a device's driver is shown of a stream, and nothing else.
//!
//! A driver parses streams in this process's address space, as code that nobody here can read or mend, and a fault in it takes
//! the whole device along. So it is shown whole access units made of parameter sets and slices that were read here first:
//! supplementary messages, delimiters, filler and whatever has no name are left out, and a set or a slice that breaks a rule
//! refuses the unit it is in.
//!
//! ```text
//!                refused set: every unit is that error
//!                    |
//!   AwaitingKey -----+---- key ----> Open ---- any error, or `Checker::lost` ----> AwaitingKey
//! ```
//!
//! Invariants worth naming:
//!
//! - What is admitted after a start or an error begins with a key picture, behind every parameter set that is kept: a parser
//!   that was made anew knows all that it needs, whether or not the stream repeats itself.
//! - One unit holds one picture. Parameter sets come before its slices.
//! - The output is at most the unit with start codes of three bytes and the kept sets, [`SETS_BYTES_MAX`]; no field of a stream
//!   sizes anything else.
//! - It is a check of what memory and lists are sized by, not of every field: what is left after it can be wrong, and is then
//!   the decoder's to call damaged.
//!
//! H.264 is read to the end of the reference counts in the slice header; H.265 to the block sizes in the sequence parameter set
//! and the start of the slice header. Of VP9 the size in a key frame's header is read, and of AV1 whether a unit has a sequence
//! header: their sizes are checked again by whoever is told the format by the driver (the sequence callback).

mod frames;
mod h264;
mod h265;
#[cfg(test)]
pub(crate) mod tests;

use crate::backend::Codec;
use crate::decode::{Error, Feature};
use crate::nal;

/// What a decoder can take. Chroma is 4:2:0, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The widest picture in pixels; whole macroblocks beyond it are forgiven, as is what cropping hides.
    pub(crate) width_max: usize,
    pub(crate) height_max: usize,
    /// 8 or 10.
    pub(crate) bits_max: u8,
    /// Reference pictures that are allocated for.
    pub(crate) references_max: usize,
    pub(crate) unit_bytes_max: usize,
    pub(crate) slices_max: usize,
}

/// Bytes of all parameter sets that are kept: a stream has one or two of each kind, of some tens of bytes.
pub(crate) const SETS_BYTES_MAX: usize = 16 << 10;

/// What is wrong with a damaged unit, in [`Error::Damaged`].
pub(crate) mod code {
    /// A field is cut off or has no such value.
    pub(crate) const SYNTAX: i32 = 0x2_0001;
    /// A slice, a parameter set, or a picture that this one is made from is missing.
    pub(crate) const MISSING: i32 = 0x2_0002;
    /// A field is beyond what the standard allows here.
    pub(crate) const RULE: i32 = 0x2_0003;
}

/// A unit that may be shown to the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admitted<'a> {
    /// Start codes and NAL units, or the unit as it came where the codec has none. Empty when the unit had no picture.
    pub(crate) data: &'a [u8],
    /// Decoding can start with this picture.
    pub(crate) key: bool,
}

/// Checks the units of one stream, in order.
pub(crate) struct Checker {
    limits: Limits,
    syntax: Syntax,
    awaiting_key: bool,
    /// Why the latest sequence parameter set was refused.
    refusal: Option<Error>,
    /// The driver's parser has not seen all sets that are kept.
    sets_unseen: bool,
    out: Vec<u8>,
}

enum Syntax {
    H264(h264::Stream),
    H265(h265::Stream),
    Vp9,
    Av1,
}

/// What a NAL unit is to the unit that it is in.
enum Seen {
    /// Not for the driver.
    Ignored,
    /// A parameter set that was kept; `changed` if pictures before it and after it can have nothing to do with each other.
    Set { changed: bool },
    /// A slice.
    Slice { key: bool },
}

// === impl Checker ===

impl Checker {
    pub(crate) fn new(codec: Codec, limits: Limits) -> Self {
        let syntax = match codec {
            Codec::H264 => Syntax::H264(h264::Stream::default()),
            Codec::H265 => Syntax::H265(h265::Stream::default()),
            Codec::Vp9 => Syntax::Vp9,
            Codec::Av1 => Syntax::Av1,
        };
        Self {
            limits,
            syntax,
            awaiting_key: true,
            refusal: None,
            sets_unseen: true,
            out: Vec::new(),
        }
    }

    /// Reads one access unit ahead of the driver. After an error the next key picture is awaited.
    pub(crate) fn admit(&mut self, data: &[u8]) -> Result<Admitted<'_>, Error> {
        self.out.clear();
        let key = self.read(data).inspect_err(|_| self.awaiting_key = true)?;
        let has_picture = !self.out.is_empty();
        self.awaiting_key &= !(key && has_picture);
        Ok(Admitted {
            data: &self.out,
            key,
        })
    }

    /// The decoder was made anew, or said that a picture is damaged: what it knew is gone.
    pub(crate) fn lost(&mut self) {
        self.awaiting_key = true;
        self.sets_unseen = true;
    }

    /// How far the stream reorders, if it says so, as its pictures that were admitted last do. Codecs whose units come in the
    /// order of the screen do not.
    pub(crate) fn reorder(&self) -> Option<usize> {
        match &self.syntax {
            Syntax::H264(stream) => stream.reorder(),
            Syntax::H265(stream) => stream.reorder(),
            Syntax::Vp9 | Syntax::Av1 => Some(0),
        }
    }

    fn read(&mut self, data: &[u8]) -> Result<bool, Error> {
        within(
            "access unit in bytes",
            data.len(),
            self.limits.unit_bytes_max,
        )?;
        match self.syntax {
            Syntax::Vp9 => self.whole(data, frames::vp9(data, &self.limits)),
            Syntax::Av1 => self.whole(data, frames::av1(data)),
            Syntax::H264(_) | Syntax::H265(_) => self.nals(data),
        }
    }

    /// A unit that is shown as it is.
    fn whole(&mut self, data: &[u8], key: Result<bool, Error>) -> Result<bool, Error> {
        let key = key?;
        if self.awaiting_key && !key {
            return Err(Error::AwaitingKey);
        }
        self.out.extend_from_slice(data);
        Ok(key)
    }

    fn nals(&mut self, data: &[u8]) -> Result<bool, Error> {
        self.syntax.begin();
        let (mut slices, mut changed, mut has_sets) = (0, false, false);
        let mut key = false;
        // Set again at the end of a unit without error: until then the parser may have missed a set of this one.
        let unseen = std::mem::replace(&mut self.sets_unseen, true);
        for nal in nal::units(data).map(trimmed).filter(|nal| !nal.is_empty()) {
            match self.look(nal)? {
                Seen::Ignored => continue,
                Seen::Set { changed: differs } => {
                    if slices > 0 {
                        return Err(damaged(code::RULE));
                    }
                    changed |= differs;
                    has_sets = true;
                    if unseen {
                        continue;
                    }
                }
                Seen::Slice { key: opens } => {
                    if let Some(refusal) = self.refusal {
                        return Err(refusal);
                    }
                    if slices == 0 && unseen {
                        self.syntax.append_sets(&mut self.out);
                    }
                    slices += 1;
                    within("slices in an access unit", slices, self.limits.slices_max)?;
                    key = opens;
                }
            }
            append(nal, &mut self.out);
        }
        if slices == 0 {
            self.out.clear();
            self.sets_unseen = unseen || has_sets;
            self.awaiting_key |= changed;
            return self.refusal.map_or(Ok(false), Err);
        }
        if (self.awaiting_key || changed) && !key {
            return Err(Error::AwaitingKey);
        }
        self.syntax.end(key, self.awaiting_key)?;
        self.sets_unseen = false;
        Ok(key)
    }

    fn look(&mut self, nal: &[u8]) -> Result<Seen, Error> {
        let seen = match &mut self.syntax {
            Syntax::H264(stream) => stream.look(nal, &self.limits, &mut self.refusal),
            Syntax::H265(stream) => stream.look(nal, &self.limits, &mut self.refusal),
            Syntax::Vp9 | Syntax::Av1 => Ok(Seen::Ignored),
        };
        // A stream whose sequence is refused has that as its one error, whatever else is wrong with it.
        seen.map_err(|error| self.refusal.unwrap_or(error))
    }
}

// === impl Syntax ===

impl Syntax {
    fn begin(&mut self) {
        match self {
            Self::H264(stream) => stream.begin(),
            Self::H265(stream) => stream.begin(),
            Self::Vp9 | Self::Av1 => {}
        }
    }

    /// The unit is whole; `starts` when nothing came before it.
    fn end(&mut self, key: bool, starts: bool) -> Result<(), Error> {
        match self {
            Self::H264(stream) => stream.end(key),
            Self::H265(stream) => stream.end(key, starts),
            Self::Vp9 | Self::Av1 => Ok(()),
        }
    }

    fn append_sets(&self, out: &mut Vec<u8>) {
        match self {
            Self::H264(stream) => stream.sets().for_each(|set| append(set, out)),
            Self::H265(stream) => stream.sets().for_each(|set| append(set, out)),
            Self::Vp9 | Self::Av1 => {}
        }
    }
}

/// A parameter set as it came, and what was read of it.
struct Kept<T> {
    raw: Vec<u8>,
    info: T,
}

impl<T> Kept<T> {
    fn new(raw: &[u8], info: T) -> Self {
        Self {
            raw: raw.to_vec(),
            info,
        }
    }
}

/// Without the zeros that may follow a NAL unit and are no part of it: its last byte is none (clause 7.4.1). So a set is the same
/// set whatever length the next start code has.
fn trimmed(nal: &[u8]) -> &[u8] {
    let end = nal
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |at| at + 1);
    &nal[..end]
}

fn append(nal: &[u8], out: &mut Vec<u8>) {
    out.extend([0, 0, 1]);
    out.extend_from_slice(nal);
}

/// The first bytes of a NAL unit's payload, emulation prevention removed: all that the fields read here can take.
fn head(nal: &[u8], header: usize) -> Vec<u8> {
    /// Every field that is read is 32 bits of zeros, a one and 32 bits at the most, and there are fewer than 20.
    const HEAD_BYTES: usize = 192;
    let payload = nal.get(header..).unwrap_or_default();
    nal::unescape(&payload[..payload.len().min(HEAD_BYTES)])
}

fn damaged(code: i32) -> Error {
    Error::Damaged { code }
}

fn syntax<T>(read: Option<T>) -> Result<T, Error> {
    read.ok_or(damaged(code::SYNTAX))
}

/// Whether pictures of this coded size and depth are within the limits. The size is in whole blocks: memory is spent on those,
/// whatever cropping then hides.
fn fits(
    limits: &Limits,
    (width, height): (usize, usize),
    block: usize,
    depth: u8,
) -> Result<(), Error> {
    let (width_max, height_max) = (
        limits.width_max.next_multiple_of(block),
        limits.height_max.next_multiple_of(block),
    );
    if width > width_max || height > height_max {
        return Err(Error::TooLarge { width, height });
    }
    if depth > limits.bits_max {
        return Err(Error::Unsupported(Feature::BitDepth(depth)));
    }
    Ok(())
}

fn within(what: &'static str, value: usize, limit: usize) -> Result<(), Error> {
    if value > limit {
        return Err(Error::UnitTooLarge { what, value, limit });
    }
    Ok(())
}
