//! VP9 and AV1: as much of a unit as says whether decoding can start with it, and of VP9's key frames the size.

use super::{Limits, code, damaged, fits, syntax};
use crate::bits::BitReader;
use crate::decode::{Error, Feature};

/// The uncompressed header of the first frame of a unit (VP9 bitstream specification, clause 6.2): whether it is a key frame.
/// Frames that follow in a superframe, and frames that are sized after others, are for the sequence callback to judge.
pub(super) fn vp9(data: &[u8], limits: &Limits) -> Result<bool, Error> {
    const MARKER: u32 = 2;
    const SYNC: u32 = 0x49_83_42;
    const RGB: u32 = 7;
    let mut r = BitReader::new(data);
    if syntax(r.bits(2))? != MARKER {
        return Err(damaged(code::SYNTAX));
    }
    let profile = u8::from(syntax(r.bit())?) | u8::from(syntax(r.bit())?) << 1;
    // 1 and 3 are other chroma; 2 is more bits.
    if profile & 1 == 1 {
        return Err(Error::Unsupported(Feature::Profile(profile)));
    }
    let shows_existing = syntax(r.bit())?;
    if shows_existing || syntax(r.bit())? {
        return Ok(false);
    }
    let _shown_and_resilient = syntax(r.bits(2))?;
    if syntax(r.bits(24))? != SYNC {
        return Err(damaged(code::SYNTAX));
    }
    let depth = match (profile, profile == 2 && syntax(r.bit())?) {
        (0, _) => 8,
        (_, false) => 10,
        (_, true) => 12,
    };
    if syntax(r.bits(3))? == RGB {
        return Err(Error::Unsupported(Feature::Chroma(3)));
    }
    let _full_range = syntax(r.bit())?;
    let [width, height] = [syntax(r.bits(16))?, syntax(r.bits(16))?].map(|side| side as usize + 1);
    fits(limits, (width, height), 64, depth)?;
    Ok(true)
}

/// A temporal unit of OBUs (AV1 bitstream specification, clause 5.3): each with its size, and whether there is a sequence
/// header among them, which precedes every key frame that decoding can start with.
pub(super) fn av1(data: &[u8]) -> Result<bool, Error> {
    const SEQUENCE_HEADER: u8 = 1;
    let (mut rest, mut key) = (data, false);
    while let Some((&header, tail)) = rest.split_first() {
        let (kind, has_extension, has_size) = (header >> 3 & 0xf, header & 4 != 0, header & 2 != 0);
        if header & 0x80 != 0 || !has_size {
            return Err(damaged(code::SYNTAX));
        }
        let tail = syntax(tail.get(usize::from(has_extension)..))?;
        let (size, tail) = syntax(leb128(tail))?;
        rest = syntax(tail.get(size..))?;
        key |= kind == SEQUENCE_HEADER;
    }
    Ok(key)
}

/// `leb128()`: seven bits a byte, the lowest first, 32 bits at the most.
fn leb128(data: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_u64;
    for (i, &byte) in data.iter().take(8).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            let value = u32::try_from(value).ok()?;
            return Some((value as usize, &data[i + 1..]));
        }
    }
    None
}
