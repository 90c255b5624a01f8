//! H.265: what a parameter set and the start of a slice must be (clauses 7.3.1.2, 7.3.2, 7.3.3 and 7.4, annex A.4).

use std::collections::BTreeMap;

use super::{Kept, Limits, SETS_BYTES_MAX, Seen, code, damaged, fits, head, syntax};
use crate::bits::BitReader;
use crate::decode::{Error, Feature};

/// NAL unit types (table 7-1).
const RASL_N: u8 = 8;
const RASL_R: u8 = 9;
const BLA_W_LP: u8 = 16;
const BLA_N_LP: u8 = 18;
const CRA: u8 = 21;
const VPS: u8 = 32;
const SPS: u8 = 33;
const PPS: u8 = 34;

const VPS_MAX: u32 = 16;
const SPS_MAX: u32 = 16;
const PPS_MAX: u32 = 64;
const HEADER_BYTES: usize = 2;
/// The largest coding block, whose size the size of a picture is rounded up to in memory.
const BLOCK: usize = 64;

#[derive(Default)]
pub(super) struct Stream {
    vps: BTreeMap<u8, Vec<u8>>,
    sps: BTreeMap<u8, Kept<Sps>>,
    /// The sequence of each.
    pps: BTreeMap<u8, Kept<u8>>,
    active: Option<Sps>,
    first: Option<Slice>,
    /// Pictures that come after the last key picture and are shown before it refer to what came before it, and nothing did
    /// (clause 8.1.3).
    skips_leading: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Sps {
    id: u8,
    size: (usize, usize),
    depth: u8,
    reorder: usize,
}

#[derive(Clone, Copy)]
struct Slice {
    kind: u8,
    sps: Sps,
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
        let Some((kind, layer)) = header(nal) else {
            return Ok(Seen::Ignored);
        };
        // Layers above the base are for decoders of more than one.
        if layer != 0 {
            return Ok(Seen::Ignored);
        }
        match kind {
            VPS => self.keep_vps(nal),
            SPS => match self.admissible(nal, limits) {
                Ok(sps) => {
                    *refusal = None;
                    self.keep_sps(nal, sps)
                }
                Err(error) => {
                    *refusal = Some(error);
                    Ok(Seen::Ignored)
                }
            },
            PPS if refusal.is_none() => self.keep_pps(nal),
            0..=9 | BLA_W_LP..=CRA if refusal.is_none() => self.slice(nal, kind),
            0..=9 | BLA_W_LP..=CRA => Ok(Seen::Slice { key: false }),
            _ => Ok(Seen::Ignored),
        }
    }

    pub(super) fn end(&mut self, key: bool, starts: bool) -> Result<(), Error> {
        let Some(slice) = self.first else {
            return Err(damaged(code::MISSING));
        };
        if key {
            self.active = Some(slice.sps);
            self.skips_leading = starts || (BLA_W_LP..=BLA_N_LP).contains(&slice.kind);
            return Ok(());
        }
        if self.active != Some(slice.sps) {
            return Err(damaged(code::RULE));
        }
        Ok(())
    }

    pub(super) fn reorder(&self) -> Option<usize> {
        self.active.map(|sps| sps.reorder)
    }

    pub(super) fn sets(&self) -> impl Iterator<Item = &[u8]> {
        let vps = self.vps.values().map(Vec::as_slice);
        let sps = self.sps.values().map(|kept| kept.raw.as_slice());
        let pps = self.pps.values().map(|kept| kept.raw.as_slice());
        vps.chain(sps).chain(pps)
    }

    fn keep_vps(&mut self, nal: &[u8]) -> Result<Seen, Error> {
        let id = syntax(BitReader::new(&head(nal, HEADER_BYTES)).bits(4))?;
        debug_assert!(id < VPS_MAX, "four bits");
        let id = id as u8;
        let known = self.vps.get(&id).is_some_and(|raw| raw == nal);
        if !known {
            self.vps.remove(&id);
            self.has_room(nal)?;
            self.vps.insert(id, nal.to_vec());
        }
        Ok(Seen::Set { changed: !known })
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
        let raw = head(nal, HEADER_BYTES);
        let mut r = BitReader::new(&raw);
        let (id, sps) = (syntax(r.ue())?, syntax(r.ue())?);
        if id >= PPS_MAX || sps >= SPS_MAX {
            return Err(damaged(code::RULE));
        }
        let (id, sps) = (id as u8, sps as u8);
        if !self.sps.contains_key(&sps) {
            return Err(damaged(code::MISSING));
        }
        self.pps.remove(&id);
        self.has_room(nal)?;
        self.pps.insert(id, Kept::new(nal, sps));
        Ok(Seen::Set { changed: false })
    }

    fn has_room(&self, nal: &[u8]) -> Result<(), Error> {
        let held: usize = self.sets().map(<[u8]>::len).sum();
        super::within("parameter sets in bytes", held + nal.len(), SETS_BYTES_MAX)
    }

    fn slice(&mut self, nal: &[u8], kind: u8) -> Result<Seen, Error> {
        if matches!(kind, RASL_N | RASL_R) && self.skips_leading {
            return Ok(Seen::Ignored);
        }
        let key = (BLA_W_LP..=CRA).contains(&kind);
        let raw = head(nal, HEADER_BYTES);
        let mut r = BitReader::new(&raw);
        let opens = syntax(r.bit())?;
        if key {
            let _no_output_of_prior = syntax(r.bit())?;
        }
        let id = syntax(r.ue())?;
        let pps = u8::try_from(id).ok().and_then(|id| self.pps.get(&id));
        let sps = pps.and_then(|pps| self.sps.get(&pps.info));
        let sps = sps.ok_or(damaged(code::MISSING))?.info;
        match self.first {
            None if !opens => return Err(damaged(code::MISSING)),
            None => self.first = Some(Slice { kind, sps }),
            Some(first) if opens || first.kind != kind || first.sps != sps => {
                return Err(damaged(code::RULE));
            }
            Some(_) => {}
        }
        Ok(Seen::Slice { key })
    }

    fn admissible(&self, nal: &[u8], limits: &Limits) -> Result<Sps, Error> {
        let read = syntax(Read::parse(nal))?;
        if !self.vps.contains_key(&read.vps) {
            return Err(damaged(code::MISSING));
        }
        let unsupported = |feature| Err(Error::Unsupported(feature));
        if read.chroma != 1 {
            return unsupported(Feature::Chroma(read.chroma));
        }
        if read.depths[0] != read.depths[1] {
            return unsupported(Feature::BitDepth(read.depths[0].max(read.depths[1])));
        }
        if read.interlaced {
            return unsupported(Feature::Interlaced);
        }
        fits(limits, read.size, BLOCK, read.depths[0])?;
        if !read.is_main {
            return unsupported(Feature::Profile(read.profile));
        }
        let pictures_max = pictures_max(read.level, read.size).min(limits.references_max + 1);
        if read.pictures > pictures_max || read.reorder >= read.pictures {
            return Err(damaged(code::RULE));
        }
        Ok(Sps {
            id: read.id,
            size: read.size,
            depth: read.depths[0],
            reorder: read.reorder,
        })
    }
}

/// The type and the layer of a NAL unit.
fn header(nal: &[u8]) -> Option<(u8, u8)> {
    let &[first, second] = nal.first_chunk()?;
    (first & 0x80 == 0 && second & 7 != 0)
        .then_some((first >> 1 & 0x3f, (first & 1) << 5 | second >> 3))
}

/// What is read of a sequence parameter set.
struct Read {
    vps: u8,
    id: u8,
    profile: u8,
    /// Main, Main 10 or Main Still Picture, by its name or because such a decoder can read it.
    is_main: bool,
    interlaced: bool,
    level: u8,
    chroma: u8,
    /// Of luma and of chroma.
    depths: [u8; 2],
    size: (usize, usize),
    /// Pictures in the buffer, the current one included.
    pictures: usize,
    reorder: usize,
}

// === impl Read ===

impl Read {
    /// Clause 7.3.2.2.1, up to the sizes of blocks. `None` when it is damaged or absurd.
    fn parse(nal: &[u8]) -> Option<Self> {
        const SIDE_MAX: u32 = 16_384;
        let raw = crate::nal::unescape(nal.get(HEADER_BYTES..)?);
        let mut r = BitReader::new(&raw);
        let vps = r.bits(4)? as u8;
        let sub_layers = r.bits(3)?;
        if sub_layers > 6 {
            return None;
        }
        r.skip(1)?;
        let (profile, is_main, interlaced, level) = tier(&mut r, sub_layers)?;
        let id = r.ue()?;
        let chroma = r.ue()?;
        if id >= SPS_MAX || chroma > 3 {
            return None;
        }
        if chroma == 3 {
            r.skip(1)?;
        }
        let (width, height) = (r.ue()?, r.ue()?);
        if !(1..=SIDE_MAX).contains(&width) || !(1..=SIDE_MAX).contains(&height) {
            return None;
        }
        if r.bit()? {
            let [left, right, top, bottom] = [r.ue()?, r.ue()?, r.ue()?, r.ue()?].map(u64::from);
            // In units of one or two samples: as two they must leave a picture of 4:2:0.
            let shown =
                2 * (left + right) < u64::from(width) && 2 * (top + bottom) < u64::from(height);
            if chroma == 1 && !shown {
                return None;
            }
        }
        let depths = [r.ue()?, r.ue()?];
        if depths.iter().any(|&depth| depth > 8) || r.ue()? > 12 {
            return None;
        }
        let from = if r.bit()? { 0 } else { sub_layers };
        let (mut pictures, mut reorder) = (0, 0);
        for _ in from..=sub_layers {
            (pictures, reorder) = (r.ue()?.checked_add(1)?, r.ue()?);
            let _latency = r.ue()?;
        }
        // Coding blocks of 8 to 64, transform blocks of 4 to 32 that are smaller.
        let [least, more, transform_least, transform_more] = [r.ue()?, r.ue()?, r.ue()?, r.ue()?];
        if least.max(more).max(transform_least).max(transform_more) > 3 {
            return None;
        }
        let (least, largest) = (least + 3, least + 3 + more);
        let (transform_least, transform_largest) =
            (transform_least + 2, transform_least + 2 + transform_more);
        let sound = (4..=6).contains(&largest)
            && transform_least < least
            && transform_largest <= largest.min(5)
            && (width | height) % (1 << least) == 0;
        if !sound {
            return None;
        }
        Some(Self {
            vps,
            id: id as u8,
            profile,
            is_main,
            interlaced,
            level,
            chroma: chroma as u8,
            depths: depths.map(|depth| depth as u8 + 8),
            size: (width as usize, height as usize),
            pictures: pictures as usize,
            reorder: reorder as usize,
        })
    }
}

/// `profile_tier_level` (clause 7.3.3): the profile, whether a decoder of Main or Main 10 reads it, whether it is interlaced,
/// the level.
fn tier(r: &mut BitReader<'_>, sub_layers: u32) -> Option<(u8, bool, bool, u8)> {
    let _space_and_tier = r.bits(3)?;
    let profile = r.bits(5)? as u8;
    let compatible = r.bits(32)?;
    let [progressive, interlaced] = [r.bit()?, r.bit()?];
    // Two more flags, 43 bits that depend on the profile, and one.
    r.skip(2 + 43 + 1)?;
    let level = r.bits(8)? as u8;
    let mut present = [(false, false); 8];
    for layer in present.iter_mut().take(sub_layers as usize) {
        *layer = (r.bit()?, r.bit()?);
    }
    if sub_layers > 0 {
        r.skip(2 * (8 - sub_layers))?;
    }
    for (has_profile, has_level) in present {
        r.skip(if has_profile { 88 } else { 0 })?;
        r.skip(if has_level { 8 } else { 0 })?;
    }
    // Bit 31 is profile 0.
    let is_main = matches!(profile, 1..=3) || compatible >> 28 & 0b111 != 0;
    Some((profile, is_main, interlaced && !progressive, level))
}

/// `MaxDpbSize` (clause A.4.2): pictures in the buffer, the current one included, of a level, which is thirty times its number.
fn pictures_max(level: u8, (width, height): (usize, usize)) -> usize {
    let samples_max = match level {
        0..=30 => 36_864,
        31..=60 => 122_880,
        61..=63 => 245_760,
        64..=90 => 552_960,
        91..=93 => 983_040,
        94..=123 => 2_228_224,
        124..=156 => 8_912_896,
        157.. => 35_651_584,
    };
    match width * height {
        size if size <= samples_max / 4 => 16,
        size if size <= samples_max / 2 => 12,
        size if size <= samples_max / 4 * 3 => 8,
        _ => 6,
    }
}
