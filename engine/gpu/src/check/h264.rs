//! H.264: what a parameter set and the head of a slice must be (clauses 7.3.2, 7.3.3 and 7.4, annex A.3).
//!
//! Numbers of pictures are followed (`frame_num`): one that is missing is a picture that was lost, and what refers to it would
//! be made of something else.

use std::collections::BTreeMap;

use super::{Kept, Limits, SETS_BYTES_MAX, Seen, code, damaged, fits, head, syntax};
use crate::bits::BitReader;
use crate::decode::{Error, Feature};
use crate::nal;
use crate::sps::{BASELINE, HIGH, HIGH_10, MAIN, Order, Sps};

const SPS_MAX: u32 = 32;
const PPS_MAX: u32 = 256;
/// Entries of a reference list of a frame.
const LIST_MAX: u32 = 32;
const HEADER_BYTES: usize = 1;

#[derive(Default)]
pub(super) struct Stream {
    sps: BTreeMap<u8, Kept<Sps>>,
    pps: BTreeMap<u8, Kept<Pps>>,
    /// The sequence that the pictures since the last key picture are of.
    active: Option<Sps>,
    /// The frame number of the last reference picture.
    previous: u32,
    /// The first slice of the unit that is being read, and where the latest one starts.
    first: Option<Slice>,
    start: u32,
}

#[derive(Clone, Copy)]
struct Pps {
    sps: u8,
    /// Lengths of the two reference lists where a slice does not say.
    lists: [u32; 2],
    bottom_order: bool,
    redundant: bool,
}

#[derive(Clone, Copy)]
struct Slice {
    sps: Sps,
    start: u32,
    number: u32,
    key: bool,
    is_reference: bool,
    redundant: bool,
}

// === impl Stream ===

impl Stream {
    pub(super) fn begin(&mut self) {
        self.first = None;
    }

    pub(super) fn look(
        &mut self,
        nal: &[u8],
        limits: &Limits,
        refusal: &mut Option<Error>,
    ) -> Result<Seen, Error> {
        match nal::kind(nal) {
            nal::SPS => match admissible(nal, limits) {
                Ok(sps) => {
                    *refusal = None;
                    self.keep_sps(nal, sps)
                }
                // Told when there are slices of it, or nothing else in the unit.
                Err(error) => {
                    *refusal = Some(error);
                    Ok(Seen::Ignored)
                }
            },
            nal::PPS if refusal.is_none() => self.keep_pps(nal),
            nal::SLICE | nal::SLICE_IDR if refusal.is_none() => self.slice(nal),
            // Refused all the same, for the reason that the sequence was.
            nal::SLICE | nal::SLICE_IDR => Ok(Seen::Slice { key: false }),
            _ => Ok(Seen::Ignored),
        }
    }

    /// The unit is whole: its picture is the latest.
    pub(super) fn end(&mut self, key: bool) -> Result<(), Error> {
        let Some(slice) = self.first else {
            return Err(damaged(code::MISSING));
        };
        if key {
            self.active = Some(slice.sps);
        } else {
            if self.active != Some(slice.sps) {
                return Err(damaged(code::RULE));
            }
            self.expect(&slice)?;
        }
        if slice.is_reference {
            self.previous = slice.number;
        }
        Ok(())
    }

    pub(super) fn reorder(&self) -> Option<usize> {
        self.active.and_then(|sps| sps.reorder)
    }

    pub(super) fn sets(&self) -> impl Iterator<Item = &[u8]> {
        let sps = self.sps.values().map(|kept| kept.raw.as_slice());
        sps.chain(self.pps.values().map(|kept| kept.raw.as_slice()))
    }

    fn keep_sps(&mut self, nal: &[u8], sps: Sps) -> Result<Seen, Error> {
        let known = self.sps.get(&sps.id).is_some_and(|kept| kept.raw == nal);
        if !known {
            self.sps.remove(&sps.id);
            self.has_room(nal)?;
            self.sps.insert(sps.id, Kept::new(nal, sps));
        }
        Ok(Seen::Set { changed: !known })
    }

    fn keep_pps(&mut self, nal: &[u8]) -> Result<Seen, Error> {
        let (id, pps) = Pps::parse(nal)?;
        // What else is in it depends on the sequence, so a driver would read it by the wrong one.
        if !self.sps.contains_key(&pps.sps) {
            return Err(damaged(code::MISSING));
        }
        self.pps.remove(&id);
        self.has_room(nal)?;
        self.pps.insert(id, Kept::new(nal, pps));
        Ok(Seen::Set { changed: false })
    }

    fn has_room(&self, nal: &[u8]) -> Result<(), Error> {
        let held: usize = self.sets().map(<[u8]>::len).sum();
        super::within("parameter sets in bytes", held + nal.len(), SETS_BYTES_MAX)
    }

    fn slice(&mut self, nal: &[u8]) -> Result<Seen, Error> {
        let slice = self.header(nal)?;
        if slice.redundant {
            return Ok(Seen::Ignored);
        }
        match self.first {
            None if slice.start != 0 => return Err(damaged(code::MISSING)),
            None => self.first = Some(slice),
            Some(first) => {
                let continues = slice.start > self.start
                    && slice.sps == first.sps
                    && slice.number == first.number
                    && slice.key == first.key
                    && slice.is_reference == first.is_reference;
                if !continues {
                    return Err(damaged(code::RULE));
                }
            }
        }
        self.start = slice.start;
        Ok(Seen::Slice { key: slice.key })
    }

    fn header(&self, nal: &[u8]) -> Result<Slice, Error> {
        const P: u32 = 0;
        const B: u32 = 1;
        const I: u32 = 2;
        let raw = head(nal, HEADER_BYTES);
        let mut r = BitReader::new(&raw);
        let start = syntax(r.ue())?;
        let kind = syntax(r.ue())?;
        let pps_id = syntax(r.ue())?;
        let pps = u8::try_from(pps_id).ok().and_then(|id| self.pps.get(&id));
        let pps = pps.ok_or(damaged(code::MISSING))?.info;
        let sps = self.sps.get(&pps.sps).ok_or(damaged(code::MISSING))?.info;
        let key = nal::kind(nal) == nal::SLICE_IDR;
        let is_reference = nal.first().is_some_and(|byte| byte & 0x60 != 0);
        let blocks = (sps.coded_width / 16 * (sps.coded_height / 16)) as u32;
        let plain = match kind {
            0..=9 => kind % 5,
            _ => return Err(damaged(code::RULE)),
        };
        let sound = start < blocks
            // Key pictures refer to nothing, and so does a stream without references.
            && (plain == I || !key && matches!(plain, P | B) && sps.references > 0)
            && (is_reference || !key);
        if !sound {
            return Err(damaged(code::RULE));
        }
        let number = syntax(r.bits(sps.frame_number_bits))?;
        if key {
            syntax(r.ue())?;
        }
        syntax(skip_order(&mut r, sps.order, pps.bottom_order))?;
        let redundant = pps.redundant && syntax(r.ue())? != 0;
        if plain == B {
            syntax(r.skip(1))?;
        }
        let mut lists = pps.lists;
        if matches!(plain, P | B) && syntax(r.bit())? {
            let coded = if plain == B { 2 } else { 1 };
            for list in &mut lists[..coded] {
                *list = syntax(r.ue())?.saturating_add(1);
            }
        }
        if lists.iter().any(|&length| length > LIST_MAX) || key && number != 0 {
            return Err(damaged(code::RULE));
        }
        Ok(Slice {
            sps,
            start,
            number,
            key,
            is_reference,
            redundant,
        })
    }

    /// Frame numbers count reference pictures (clause 7.4.3). One is missing when a picture was lost, unless the stream leaves
    /// numbers out with notice, or begins to count anew: after the operation that forgets all references, the next is 1, or 0
    /// where no picture refers to the one that did it.
    fn expect(&self, slice: &Slice) -> Result<(), Error> {
        let numbers = 1 << slice.sps.frame_number_bits;
        let next = (self.previous + 1) % numbers;
        let counts = slice.number == next || slice.number == self.previous && !slice.is_reference;
        if counts || slice.sps.references == 0 || slice.sps.gaps || slice.number <= 1 {
            return Ok(());
        }
        Err(damaged(code::MISSING))
    }
}

/// A sequence parameter set that the decoder can take.
fn admissible(nal: &[u8], limits: &Limits) -> Result<Sps, Error> {
    let sps = syntax(Sps::parse(nal))?;
    let unsupported = |feature| Err(Error::Unsupported(feature));
    if sps.chroma_format != 1 {
        return unsupported(Feature::Chroma(sps.chroma_format));
    }
    if sps.mixed_depth {
        return unsupported(Feature::BitDepth(sps.bit_depth));
    }
    if sps.lossless {
        return unsupported(Feature::Lossless);
    }
    if sps.interlaced {
        return unsupported(Feature::Interlaced);
    }
    let size = (sps.coded_width, sps.coded_height);
    fits(limits, size, 16, sps.bit_depth)?;
    match sps.profile {
        BASELINE | MAIN | HIGH => {}
        HIGH_10 if limits.bits_max >= 10 => {}
        other => return unsupported(Feature::Profile(other)),
    }
    if sps.references > frames_max(sps.level, size).min(limits.references_max) {
        return Err(damaged(code::RULE));
    }
    Ok(sps)
}

/// `MaxDpbFrames` (clause A.3.1, table A-1): whole pictures in the buffer of a level. A number between two levels is taken for
/// the higher, and one above all for the highest. The result is at least one, as a picture larger than its level allows is for
/// [`Limits`] to judge.
fn frames_max(level: u8, (width, height): (usize, usize)) -> usize {
    let blocks_max = match level {
        0..=10 => 396,
        11 => 900,
        12..=20 => 2376,
        21 => 4752,
        22..=30 => 8100,
        31 => 18_000,
        32 => 20_480,
        33..=41 => 32_768,
        42 => 34_816,
        43..=50 => 110_400,
        51..=52 => 184_320,
        53.. => 696_320,
    };
    (blocks_max / (width / 16 * (height / 16)).max(1)).clamp(1, 16)
}

/// The fields of picture order in a slice header, of which nothing is needed.
fn skip_order(r: &mut BitReader<'_>, order: Order, bottom: bool) -> Option<()> {
    match order {
        Order::Coded(bits) => {
            r.skip(bits)?;
            if bottom {
                r.skip_se()?;
            }
        }
        Order::Cycle(false) => {
            r.skip_se()?;
            if bottom {
                r.skip_se()?;
            }
        }
        Order::Cycle(true) | Order::Sequential => {}
    }
    Some(())
}

// === impl Pps ===

impl Pps {
    /// Clause 7.3.2.2, up to the redundant picture count.
    fn parse(nal: &[u8]) -> Result<(u8, Self), Error> {
        let raw = head(nal, HEADER_BYTES);
        let mut r = BitReader::new(&raw);
        let (id, sps) = (syntax(r.ue())?, syntax(r.ue())?);
        let _entropy = syntax(r.bit())?;
        let bottom_order = syntax(r.bit())?;
        let groups = syntax(r.ue())?;
        if groups != 0 {
            // Slices in groups are in Baseline and Extended alone, and in no decoder of a device.
            return Err(Error::Unsupported(Feature::Profile(BASELINE)));
        }
        let lists = [syntax(r.ue())?, syntax(r.ue())?].map(|coded| coded.saturating_add(1));
        let _weighted = syntax(r.bit())?;
        let weighting = syntax(r.bits(2))?;
        let (qp, qs) = (syntax(r.se())?, syntax(r.se())?);
        let chroma = syntax(r.se())?;
        let _deblocking_and_intra = syntax(r.bits(2))?;
        let redundant = syntax(r.bit())?;
        // At 10 bits the quantiser goes 12 lower.
        let sound = id < PPS_MAX
            && sps < SPS_MAX
            && lists.iter().all(|&length| length <= LIST_MAX)
            && weighting <= 2
            && (-38..=25).contains(&qp)
            && (-26..=25).contains(&qs)
            && (-12..=12).contains(&chroma);
        if !sound {
            return Err(damaged(code::RULE));
        }
        let pps = Self {
            sps: sps as u8,
            lists,
            bottom_order,
            redundant,
        };
        Ok((id as u8, pps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_of_a_level() {
        // What table A-1 comes to for sizes in use: 1080p at 4.0 is 4, 720p at 3.1 is 5, QCIF at 1.1 is 9.
        assert_eq!(frames_max(40, (1920, 1088)), 4);
        assert_eq!(frames_max(31, (1280, 720)), 5);
        assert_eq!(frames_max(11, (176, 144)), 9);
        assert_eq!(frames_max(51, (320, 192)), 16);
        assert_eq!(frames_max(10, (8192, 8192)), 1);
        assert_eq!(frames_max(0, (16, 16)), 16);
    }

    #[test]
    fn picture_parameter_sets_of_fixtures_are_read() {
        for name in ["high-b3", "main-b3", "baseline", "high-zerolatency"] {
            let path = format!("{}/tests/data/{name}.h264", env!("CARGO_MANIFEST_DIR"));
            let data = std::fs::read(path).unwrap();
            let nal = nal::units(&data).find(|nal| nal::kind(nal) == nal::PPS);
            let (id, pps) = Pps::parse(nal.unwrap()).unwrap();
            assert_eq!((id, pps.sps), (0, 0), "{name}");
            assert!(pps.lists.iter().all(|&length| length <= 16), "{name}");
        }
        assert!(Pps::parse(&[0x68]).is_err());
        assert!(Pps::parse(&[0x68, 0, 0, 0, 0]).is_err());
    }
}
