//! What the library is shown: every slice header is read before it, and what it will keep is kept count of.
//!
//! The library trusts a stream on three points where a stream can lie. It keeps as many pictures as are not marked
//! unused, so one that marks none grows without end; it fills reference lists to whatever length is asked; and it
//! keeps a parameter set for each identifier, of which it knows four thousand million. The gate holds the list of
//! reference pictures as the standard has it (clause 8.2.5), by number alone, and refuses the picture that breaks it.
//! The same list says when a picture was lost.
//!
//! ```text
//!   short, long     frame numbers and indices of what the library keeps; together at most `references`, at most 16
//!   previous        the frame number of the last of them; the next picture's is one more, or one was lost
//! ```
//!
//! What that comes to, in MB: a picture that is kept is its samples and 288 bytes of motion a macroblock, one that is
//! being decoded is held twice with 800 bytes a macroblock.
//!
//! ```text
//!   1920x1920, 4:2:2, 10 bits, 16 references    17 * (14.7 + 4.1) + 2 * (14.7 + 11.5)  =  372   the very worst
//!   1280x720,  4:2:2,  8 bits,  4 references     5 * ( 1.8 + 1.0) + 2 * ( 1.8 +  2.9)  =   23   an ordinary encoder
//! ```

use std::collections::BTreeMap;

use rust_h264::decoder::{ChromaFormat, Frame as Picture};
use rust_h264::nal::{NalUnit, NalUnitType};
use rust_h264::pps::{Pps, parse_pps};
use rust_h264::slice::{SliceHeader, parse_slice_header};
use rust_h264::sps::{Sps, parse_sps};

use super::code;
use crate::bits::BitReader;

/// Slices in one picture. The library copies its state, some megabytes, for every slice but the first; broadcast
/// streams have 4 to 10.
const SLICES_MAX: usize = 32;

/// A slice header is far smaller: two lists of 32 references with weights are some 700 bytes.
const HEADER_BYTES_MAX: usize = 2048;

/// Some hundred binary decisions lead to the end in ones; this is thousands.
const PAD_BYTES: usize = 512;

/// Identifiers of parameter sets (clause 7.4.2).
const SPS_MAX: u32 = 32;
const PPS_MAX: u32 = 256;

/// Entries in a reference list, and pictures that are kept.
const LIST_MAX: u32 = 32;
const REFERENCES_MAX: u32 = 16;

/// Bits of a frame number or picture order, less four.
const COUNTER_BITS_MAX: u32 = 12;

#[derive(Default)]
pub(super) struct Gate {
    sps: BTreeMap<u32, Sps>,
    pps: BTreeMap<u32, Pps>,
    /// `max_num_ref_frames` of the latest parameter set, which is the one that the library goes by.
    references: usize,
    /// What the pictures since the last key picture look like.
    shape: Option<Shape>,
    short: Vec<u32>,
    long: Vec<u32>,
    previous: u32,
}

/// What must not change between a picture and those that refer to it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shape {
    across: u32,
    down: u32,
    chroma: u32,
    depth: u32,
}

/// What the library's picture is to hold.
pub(super) struct Unit {
    /// The last macroblock of each slice, as position in the picture that is shown.
    ends: Vec<(usize, usize)>,
    first: (usize, usize),
    has_chroma: bool,
}

// === impl Gate ===

impl Gate {
    /// Reads a unit ahead of the library. `Ok(None)` is parameter sets alone, an error the code of the damage.
    pub(super) fn admit(&mut self, nals: &mut [NalUnit<'_>]) -> Result<Option<Unit>, i32> {
        let unit = self.read(nals)?;
        for nal in nals {
            self.pad(nal);
        }
        Ok(unit)
    }

    pub(super) fn holds_unused(&self) -> bool {
        self.references == 0
    }

    fn read(&mut self, nals: &[NalUnit<'_>]) -> Result<Option<Unit>, i32> {
        let mut slices: Vec<(&NalUnit<'_>, SliceHeader)> = Vec::new();
        for nal in nals {
            match nal.nal_unit_type {
                NalUnitType::Sps => self.admit_sps(&nal.rbsp)?,
                NalUnitType::Pps => self.admit_pps(&nal.rbsp)?,
                NalUnitType::Slice | NalUnitType::SliceIdr => {
                    let header = self.header(nal)?;
                    match slices.last() {
                        Some(last) if !continues(last, (nal, &header)) => {
                            return Err(code::MISSING);
                        }
                        None if header.first_mb_in_slice != 0 => return Err(code::MISSING),
                        _ => slices.push((nal, header)),
                    }
                    if slices.len() > SLICES_MAX {
                        return Err(code::RULE);
                    }
                }
                _ => {}
            }
        }
        let Some((nal, header)) = slices.last() else {
            return Ok(None);
        };
        let idr = nal.nal_unit_type == NalUnitType::SliceIdr;
        self.mark(header, idr, nal.nal_ref_idc > 0)?;
        let sps = self.sps_of(header.pic_parameter_set_id)?;
        let starts: Vec<u32> = slices.iter().map(|(_, h)| h.first_mb_in_slice).collect();
        Ok(Some(Unit::new(sps, &starts)))
    }

    /// Makes the end of an arithmetically coded slice heard. Past its end the library reads zeros, in which the rest
    /// of the picture is the likeliest there is and never ends; in ones, the end of the slice comes within a few
    /// macroblocks, and [`Unit::is_whole`] sees the rest missing. A slice that is whole ends before either.
    fn pad(&self, nal: &mut NalUnit<'_>) {
        let slice = matches!(
            nal.nal_unit_type,
            NalUnitType::Slice | NalUnitType::SliceIdr
        );
        if slice
            && self
                .pps_of(&nal.rbsp)
                .is_some_and(|pps| pps.entropy_coding_mode_flag)
        {
            nal.rbsp.to_mut().extend([0xff; PAD_BYTES]);
        }
    }

    fn admit_sps(&mut self, rbsp: &[u8]) -> Result<(), i32> {
        let sps = parse_sps(rbsp).map_err(|_| code::SYNTAX)?;
        let bounded = sps.seq_parameter_set_id < SPS_MAX
            && sps.max_num_ref_frames <= REFERENCES_MAX
            && sps.log2_max_frame_num_minus4 <= COUNTER_BITS_MAX
            && sps.log2_max_pic_order_cnt_lsb_minus4 <= COUNTER_BITS_MAX;
        if !bounded {
            return Err(code::RULE);
        }
        self.references = sps.max_num_ref_frames as usize;
        self.sps.insert(sps.seq_parameter_set_id, sps);
        Ok(())
    }

    fn admit_pps(&mut self, rbsp: &[u8]) -> Result<(), i32> {
        // Its scaling lists, which depend on the sequence's, are of no interest here.
        let pps = parse_pps(rbsp, None).map_err(|_| code::SYNTAX)?;
        let bounded = pps.pic_parameter_set_id < PPS_MAX
            && pps.num_ref_idx_l0_default_active_minus1 < LIST_MAX
            && pps.num_ref_idx_l1_default_active_minus1 < LIST_MAX;
        if !bounded {
            return Err(code::RULE);
        }
        self.pps.insert(pps.pic_parameter_set_id, pps);
        Ok(())
    }

    fn header(&self, nal: &NalUnit<'_>) -> Result<SliceHeader, i32> {
        let head = &nal.rbsp[..nal.rbsp.len().min(HEADER_BYTES_MAX)];
        let pps = self.pps_of(head).ok_or(code::MISSING)?;
        let sps = self.sps_of(pps.pic_parameter_set_id)?;
        let (header, _) = parse_slice_header(head, sps, pps, nal.nal_unit_type, nal.nal_ref_idc)
            .map_err(|_| code::SYNTAX)?;
        if header
            .num_ref_idx_l0_active
            .max(header.num_ref_idx_l1_active)
            > LIST_MAX
        {
            return Err(code::RULE);
        }
        Ok(header)
    }

    /// The picture parameter set that a slice names.
    fn pps_of(&self, slice: &[u8]) -> Option<&Pps> {
        let mut reader = BitReader::new(slice);
        let (_first, _kind) = (reader.ue()?, reader.ue()?);
        self.pps.get(&reader.ue()?)
    }

    fn sps_of(&self, pps: u32) -> Result<&Sps, i32> {
        let pps = self.pps.get(&pps).ok_or(code::MISSING)?;
        self.sps.get(&pps.seq_parameter_set_id).ok_or(code::MISSING)
    }

    /// Does to the list of references what the library will do to the pictures.
    fn mark(&mut self, header: &SliceHeader, idr: bool, is_reference: bool) -> Result<(), i32> {
        let sps = self.sps_of(header.pic_parameter_set_id)?;
        let (shape, gaps) = (Shape::of(sps), sps.gaps_in_frame_num_value_allowed_flag);
        let numbers = 1 << (sps.log2_max_frame_num_minus4 + 4);
        if self.references == 0 {
            // Nothing refers to anything, and the library is new each time.
            return Ok(());
        }
        if idr {
            self.shape = Some(shape);
            self.short.clear();
            self.long.clear();
            self.previous = header.frame_num;
            match (is_reference, header.long_term_reference_flag) {
                (true, true) => self.long.push(0),
                (true, false) => self.short.push(header.frame_num),
                (false, _) => {}
            }
            return Ok(());
        }
        if self.shape != Some(shape) {
            return Err(code::RULE);
        }
        self.expect(header.frame_num, numbers, is_reference, gaps)?;
        if is_reference {
            self.keep(header, numbers)?;
        }
        Ok(())
    }

    /// Frame numbers count reference pictures (clause 7.4.3); what is missing was lost, or left out with notice.
    fn expect(
        &mut self,
        number: u32,
        numbers: u32,
        is_reference: bool,
        gaps: bool,
    ) -> Result<(), i32> {
        let next = (self.previous + 1) % numbers;
        if number == next || (number == self.previous && !is_reference) {
            return Ok(());
        }
        if !gaps || number == self.previous {
            return Err(code::MISSING);
        }
        let missing = (number + numbers - next) % numbers;
        let kept = missing.min(self.references as u32);
        for back in (1..=kept).rev() {
            let stand_in = (number + numbers - back) % numbers;
            self.slide();
            self.short.retain(|&held| held != stand_in);
            self.short.push(stand_in);
        }
        Ok(())
    }

    fn keep(&mut self, header: &SliceHeader, numbers: u32) -> Result<(), i32> {
        let mut number = header.frame_num;
        if header.adaptive_ref_pic_marking {
            for &(operation, value) in &header.mmco_ops {
                let named = |difference: u32| {
                    let number = i64::from(header.frame_num) - i64::from(difference & 0xffff) - 1;
                    number.rem_euclid(i64::from(numbers)) as u32
                };
                match operation {
                    1 => self.short.retain(|&held| held != named(value)),
                    2 => self.long.retain(|&held| held != value),
                    // The library packs the difference and the index into one number.
                    3 => self.lengthen(named(value), value >> 16)?,
                    4 => self.long.retain(|&held| held < value),
                    5 => {
                        self.short.clear();
                        self.long.clear();
                        number = 0;
                    }
                    _ => {}
                }
            }
        } else {
            self.slide();
        }
        if self.short.contains(&number) {
            return Err(code::RULE);
        }
        self.short.push(number);
        self.previous = number;
        for &(operation, value) in &header.mmco_ops {
            if operation == 6 {
                self.lengthen(number, value)?;
            }
        }
        if self.short.len() + self.long.len() > self.references {
            return Err(code::RULE);
        }
        Ok(())
    }

    /// Makes a short-term reference a long-term one, in the place of any that has the index.
    fn lengthen(&mut self, number: u32, index: u32) -> Result<(), i32> {
        if index >= REFERENCES_MAX {
            return Err(code::RULE);
        }
        let before = self.short.len();
        self.short.retain(|&held| held != number);
        if self.short.len() < before {
            self.long.retain(|&held| held != index);
            self.long.push(index);
        }
        Ok(())
    }

    /// The oldest leaves when the list is full (clause 8.2.5.3).
    fn slide(&mut self) {
        while self.short.len() + self.long.len() >= self.references && !self.short.is_empty() {
            self.short.remove(0);
        }
    }
}

/// Whether a slice belongs to the same picture as the one before it, and agrees on what becomes of the picture.
fn continues(last: &(&NalUnit<'_>, SliceHeader), next: (&NalUnit<'_>, &SliceHeader)) -> bool {
    let ((nal, header), (next_nal, next)) = (last, next);
    next.first_mb_in_slice > header.first_mb_in_slice
        && next.frame_num == header.frame_num
        && next.adaptive_ref_pic_marking == header.adaptive_ref_pic_marking
        && next.long_term_reference_flag == header.long_term_reference_flag
        && next.mmco_ops == header.mmco_ops
        && next_nal.nal_unit_type == nal.nal_unit_type
        && (next_nal.nal_ref_idc == 0) == (nal.nal_ref_idc == 0)
}

// === impl Shape ===

impl Shape {
    fn of(sps: &Sps) -> Self {
        Self {
            across: sps.pic_width_in_mbs_minus1,
            down: sps.pic_height_in_map_units_minus1,
            chroma: sps.chroma_format_idc,
            depth: sps.bit_depth_luma_minus8,
        }
    }
}

// === impl Unit ===

impl Unit {
    fn new(sps: &Sps, starts: &[u32]) -> Self {
        let across = sps.pic_width_in_mbs_minus1 as usize + 1;
        let down = sps.pic_height_in_map_units_minus1 as usize + 1;
        let (left, top) = (sps.crop_left() as usize, sps.crop_top() as usize);
        // Inside the macroblock, where the filter of its edges does not reach.
        let at = |block: usize| {
            let (x, y) = (block % across * 16 + 8, block / across * 16 + 8);
            (x.saturating_sub(left), y.saturating_sub(top))
        };
        let nexts = starts.iter().skip(1).map(|&start| start as usize);
        Self {
            ends: nexts
                .chain([across * down])
                .map(|next| at(next - 1))
                .collect(),
            first: at(0),
            has_chroma: sps.chroma_format_idc != 0,
        }
    }

    /// Whether every slice was decoded to its end. A macroblock that was not is left zero, which is a green that no
    /// camera makes: so one such macroblock where a slice ends is damage, unless the picture begins with it as well.
    /// Without chroma zero is black, and nothing is known.
    pub(super) fn is_whole(&self, picture: &Picture) -> bool {
        let blank = |&(x, y): &(usize, usize)| is_blank(picture, x, y);
        !self.has_chroma || !self.ends.iter().any(blank) || blank(&self.first)
    }
}

/// Whether four pixels from here are zero in all planes. A place that cropping hides says nothing.
fn is_blank(picture: &Picture, x: usize, y: usize) -> bool {
    let bytes = picture.bytes_per_sample();
    let y = y.min((picture.height as usize).saturating_sub(1));
    let rows = match picture.chroma_format {
        ChromaFormat::Yuv420 => 2,
        ChromaFormat::Yuv422 => 1,
    };
    let planes = [
        (&picture.y, picture.width as usize, x, y, 4),
        (
            &picture.u,
            picture.chroma_width() as usize,
            x / 2,
            y / rows,
            2,
        ),
        (
            &picture.v,
            picture.chroma_width() as usize,
            x / 2,
            y / rows,
            2,
        ),
    ];
    planes.iter().all(|&(plane, width, x, y, count)| {
        let start = (y * width + x) * bytes;
        let zero = |samples: &[u8]| samples.iter().all(|&byte| byte == 0);
        x + count <= width && plane.get(start..start + count * bytes).is_some_and(zero)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::BitWriter;
    use rust_h264::nal::parse_annex_b;
    use std::borrow::Cow;

    /// A gate that has seen a whole key picture of a stream with one reference.
    fn opened() -> Gate {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/data/high422-slices.h264"
        );
        let data = std::fs::read(path).unwrap();
        let nals = parse_annex_b(&data);
        let key = nals
            .iter()
            .position(|nal| nal.nal_unit_type == NalUnitType::SliceIdr);
        let mut gate = Gate::default();
        gate.admit(&mut parse_annex_b(&data)[..key.unwrap() + 4])
            .unwrap()
            .unwrap();
        assert_eq!((gate.short.len(), gate.long.len()), (1, 0));
        gate.pps.get_mut(&0).unwrap().weighted_pred_flag = false;
        gate
    }

    /// The header of a P picture: its number, its count of references, and how references are marked.
    fn picture(gate: &Gate, number: u32, references: u32, marking: &[u32]) -> NalUnit<'static> {
        let (sps, pps) = (&gate.sps[&0], &gate.pps[&0]);
        assert_eq!((sps.pic_order_cnt_type, pps.weighted_pred_flag), (2, false));
        let mut w = BitWriter::default();
        let ue = |w: &mut BitWriter, value: u32| {
            let bits = (value + 1).ilog2();
            (0..bits).for_each(|_| w.bit(false));
            (0..=bits)
                .rev()
                .for_each(|bit| w.bit((value + 1) >> bit & 1 == 1));
        };
        (0..3).for_each(|_| ue(&mut w, 0));
        let bits = sps.log2_max_frame_num_minus4 + 4;
        (0..bits)
            .rev()
            .for_each(|bit| w.bit(number >> bit & 1 == 1));
        w.bit(true);
        ue(&mut w, references - 1);
        w.bit(false);
        w.bit(!marking.is_empty());
        marking.iter().for_each(|&value| ue(&mut w, value));
        (0..64).for_each(|_| w.bit(true));
        NalUnit {
            nal_ref_idc: 2,
            nal_unit_type: NalUnitType::Slice,
            rbsp: Cow::Owned(w.into_bytes()),
        }
    }

    fn admit(gate: &mut Gate, number: u32, references: u32, marking: &[u32]) -> Result<(), i32> {
        let nal = picture(gate, number, references, marking);
        gate.admit(&mut [nal]).map(drop)
    }

    #[test]
    fn pictures_that_are_never_let_go_are_refused() {
        // The window slides, through every frame number and over again.
        let mut gate = opened();
        let numbers = 1 << (gate.sps[&0].log2_max_frame_num_minus4 + 4);
        for number in 1..3 * numbers {
            assert_eq!(admit(&mut gate, number % numbers, 1, &[]), Ok(()));
            assert!(gate.short.len() <= gate.references);
        }
        // Marked by hand, with nothing let go.
        let mut gate = opened();
        let refused = (1..64).find(|&n| admit(&mut gate, n % numbers, 1, &[0]).is_err());
        assert_eq!(refused, Some(gate.references as u32));
        // The same with the one before let go.
        let mut gate = opened();
        for number in 1..numbers {
            assert_eq!(admit(&mut gate, number, 1, &[1, 0, 0]), Ok(()));
        }
        // A long-term index that no stream has, and no number twice.
        assert_eq!(admit(&mut opened(), 1, 1, &[6, 16, 0]), Err(code::RULE));
        assert_eq!(admit(&mut opened(), 0, 1, &[]), Err(code::MISSING));
    }

    #[test]
    fn what_was_lost_is_missed() {
        assert_eq!(admit(&mut opened(), 2, 1, &[]), Err(code::MISSING));
        // Unless the stream says that numbers may be left out.
        let mut gate = opened();
        gate.sps
            .get_mut(&0)
            .unwrap()
            .gaps_in_frame_num_value_allowed_flag = true;
        assert_eq!(admit(&mut gate, 9, 1, &[]), Ok(()));
        assert!(gate.short.len() <= gate.references);
    }

    #[test]
    fn lists_have_an_end() {
        assert_eq!(admit(&mut opened(), 1, 32, &[]), Ok(()));
        assert_eq!(admit(&mut opened(), 1, 33, &[]), Err(code::RULE));
        assert_eq!(admit(&mut opened(), 1, 1 << 30, &[]), Err(code::RULE));
    }

    #[test]
    fn only_small_parameter_sets_are_kept() {
        let mut gate = opened();
        let mut keep = |id: u32| {
            let mut w = BitWriter::default();
            let bits = (id + 1).ilog2();
            (0..bits).for_each(|_| w.bit(false));
            (0..=bits)
                .rev()
                .for_each(|bit| w.bit((id + 1) >> bit & 1 == 1));
            // Fifteen fields that are zero or set, and the end.
            (0..16).for_each(|_| w.bit(true));
            gate.admit_pps(&w.into_bytes())
        };
        assert_eq!((keep(255), keep(256)), (Ok(()), Err(code::RULE)));
    }
}
