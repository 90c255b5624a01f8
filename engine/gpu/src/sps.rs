//! The sequence parameter set: as much of it as decides whether a stream is let in and how it is ordered.
//!
//! H.264 clause 7.3.2.1.1 and annex E. The parser reads every field up to `max_num_reorder_frames` and nothing
//! after. It allocates nothing that the stream can choose the size of.

use crate::bits::BitReader;
use crate::decode::Feature;
use crate::nal;

/// What a stream says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sps {
    /// `seq_parameter_set_id`, 0 to 31.
    pub(crate) id: u8,
    pub(crate) profile: u8,
    /// `level_idc`: ten times the level.
    pub(crate) level: u8,
    /// `max_num_ref_frames`, 0 to 16.
    pub(crate) references: usize,
    /// Bits of `frame_num`, 4 to 16.
    pub(crate) frame_number_bits: u32,
    /// Whether frame numbers may be left out.
    pub(crate) gaps: bool,
    pub(crate) order: Order,
    pub(crate) chroma_format: u8,
    /// The larger of luma's and chroma's.
    pub(crate) bit_depth: u8,
    /// Whether luma and chroma differ in depth.
    pub(crate) mixed_depth: bool,
    /// `qpprime_y_zero_transform_bypass_flag`: some macroblocks may be coded without loss.
    pub(crate) lossless: bool,
    pub(crate) interlaced: bool,
    /// The coded size, cropping not yet applied: what memory is spent on.
    pub(crate) coded_width: usize,
    pub(crate) coded_height: usize,
    /// The size that is shown.
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// The most pictures that can precede a picture in the stream and follow it on the screen; `None` when the
    /// stream does not say and nothing else rules reordering out.
    pub(crate) reorder: Option<usize>,
    /// `video_full_range_flag`, false when absent.
    pub(crate) full_range: bool,
    /// `matrix_coefficients`, 2 (unspecified) when absent.
    pub(crate) matrix: u8,
}

/// `pic_order_cnt_type` and what of it a slice header depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Type 0: bits of `pic_order_cnt_lsb`, 4 to 16.
    Coded(u32),
    /// Type 1: whether slices leave out the difference.
    Cycle(bool),
    /// Type 2: as in the stream.
    Sequential,
}

pub(crate) const BASELINE: u8 = 66;
pub(crate) const MAIN: u8 = 77;
pub(crate) const SCALABLE_BASELINE: u8 = 83;
pub(crate) const EXTENDED: u8 = 88;
pub(crate) const HIGH: u8 = 100;
pub(crate) const HIGH_10: u8 = 110;
pub(crate) const HIGH_422: u8 = 122;
/// The profiles whose parameter set has the chroma fields.
const WITH_CHROMA: [u8; 13] = [
    44, 83, 86, HIGH, HIGH_10, 118, HIGH_422, 128, 134, 135, 138, 139, 244,
];
/// `seq_parameter_set_id` is below this.
const SETS_MAX: u32 = 32;
/// 512 macroblocks: 8192 pixels.
const MACROBLOCKS_MAX: u32 = 512;

impl Sps {
    /// Parses a NAL unit, first byte included. `None` when it is damaged or absurd.
    pub(crate) fn parse(nal: &[u8]) -> Option<Self> {
        let rbsp = nal::unescape(nal.get(1..)?);
        let mut r = BitReader::new(&rbsp);
        let profile = r.bits(8)? as u8;
        let constraints = r.bits(8)? as u8;
        let level = r.bits(8)? as u8;
        let id = r.ue()?;
        if id >= SETS_MAX {
            return None;
        }
        let chroma = if WITH_CHROMA.contains(&profile) {
            chroma(&mut r)?
        } else {
            Chroma::default()
        };
        let frame_number_bits = counter_bits(&mut r)?;
        let order = order(&mut r)?;
        let references = r.ue()?;
        let gaps = r.bit()?;
        let (across, down) = (r.ue()?, r.ue()?);
        if across >= MACROBLOCKS_MAX || down >= MACROBLOCKS_MAX || references > 16 {
            return None;
        }
        let interlaced = !r.bit()?;
        if interlaced {
            let _adaptive = r.bit()?;
        }
        let _direct_8x8 = r.bit()?;
        let coded_width = (across as usize + 1) * 16;
        let coded_height = (down as usize + 1) * 16 * (1 + usize::from(interlaced));
        let mut cropped = [0; 4];
        if r.bit()? {
            for side in &mut cropped {
                *side = r.ue()? as usize;
            }
        }
        // Crop units (table 6-1) are what one chroma sample spans, and twice the rows when there are fields.
        let across = if matches!(chroma.format, 1 | 2) { 2 } else { 1 };
        let down = if chroma.format == 1 { 2 } else { 1 } * (1 + usize::from(interlaced));
        let [left, right] = [cropped[0], cropped[1]].map(|units| units.checked_mul(across));
        let [top, bottom] = [cropped[2], cropped[3]].map(|units| units.checked_mul(down));
        let width = coded_width.checked_sub(left?.checked_add(right?)?)?;
        let height = coded_height.checked_sub(top?.checked_add(bottom?)?)?;
        if width == 0 || height == 0 {
            return None;
        }
        let vui = if r.bit()? {
            vui(&mut r)?
        } else {
            Vui::default()
        };

        // Profiles and ordering types that cannot reorder, and intra-only streams (constraint_set3).
        let intra_only =
            matches!(profile, 44 | 86 | 100 | 110 | 122 | 244) && constraints & 0x10 != 0;
        let in_order =
            profile == BASELINE || order == Order::Sequential || references == 0 || intra_only;
        let stated = vui
            .reorder
            .filter(|&depth| depth <= 16)
            .map(|depth| depth as usize);
        Some(Self {
            id: id as u8,
            profile,
            level,
            references: references as usize,
            frame_number_bits,
            gaps,
            order,
            chroma_format: chroma.format,
            bit_depth: chroma.bit_depth,
            mixed_depth: chroma.mixed_depth,
            lossless: chroma.lossless,
            interlaced,
            coded_width,
            coded_height,
            width,
            height,
            reorder: if in_order { Some(0) } else { stated },
            full_range: vui.full_range,
            matrix: vui.matrix,
        })
    }

    /// What the stream uses that an 8-bit 4:2:0 progressive decoder of the profiles up to High lacks.
    pub(crate) fn unsupported(&self) -> Option<Feature> {
        if self.chroma_format != 1 {
            return Some(Feature::Chroma(self.chroma_format));
        }
        if self.bit_depth != 8 {
            return Some(Feature::BitDepth(self.bit_depth));
        }
        if self.interlaced {
            return Some(Feature::Interlaced);
        }
        match self.profile {
            BASELINE | MAIN | EXTENDED | HIGH => None,
            other => Some(Feature::Profile(other)),
        }
    }
}

/// The fields that only the profiles above Main have.
struct Chroma {
    format: u8,
    bit_depth: u8,
    mixed_depth: bool,
    lossless: bool,
}

impl Default for Chroma {
    fn default() -> Self {
        Self {
            format: 1,
            bit_depth: 8,
            mixed_depth: false,
            lossless: false,
        }
    }
}

fn chroma(r: &mut BitReader<'_>) -> Option<Chroma> {
    let format = r.ue()?;
    if format == 3 {
        let _separate_planes = r.bit()?;
    }
    let (luma, chroma) = (r.ue()?, r.ue()?);
    let depth = luma.max(chroma);
    if format > 3 || depth > 6 {
        return None;
    }
    let lossless = r.bit()?;
    if r.bit()? {
        let lists = if format == 3 { 12 } else { 8 };
        for list in 0..lists {
            if r.bit()? {
                scaling_list(r, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Some(Chroma {
        format: format as u8,
        bit_depth: depth as u8 + 8,
        mixed_depth: luma != chroma && format != 0,
        lossless,
    })
}

/// Clause 7.3.2.1.1.1: the list ends early when a step leads to zero.
fn scaling_list(r: &mut BitReader<'_>, size: usize) -> Option<()> {
    let (mut last, mut next) = (8_i64, 8_i64);
    for _ in 0..size {
        if next != 0 {
            let code = i64::from(r.ue()?);
            let delta = if code % 2 == 1 {
                (code + 1) / 2
            } else {
                -(code / 2)
            };
            next = (last + delta).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

/// Bits of a counter that is coded as its logarithm, less 4 (clause 7.4.2.1.1: 4 to 16).
fn counter_bits(r: &mut BitReader<'_>) -> Option<u32> {
    const LOG2_LESS_4_MAX: u32 = 12;
    let log2 = r.ue()?;
    (log2 <= LOG2_LESS_4_MAX).then_some(log2 + 4)
}

/// `pic_order_cnt_type` and its fields.
fn order(r: &mut BitReader<'_>) -> Option<Order> {
    match r.ue()? {
        0 => counter_bits(r).map(Order::Coded),
        1 => {
            let always_zero = r.bit()?;
            r.skip_se()?;
            r.skip_se()?;
            let cycle = r.ue()?;
            if cycle > 255 {
                return None;
            }
            for _ in 0..cycle {
                r.skip_se()?;
            }
            Some(Order::Cycle(always_zero))
        }
        2 => Some(Order::Sequential),
        _ => None,
    }
}

struct Vui {
    reorder: Option<u32>,
    full_range: bool,
    matrix: u8,
}

impl Default for Vui {
    fn default() -> Self {
        Self {
            reorder: None,
            full_range: false,
            matrix: 2,
        }
    }
}

/// Annex E.1.1.
fn vui(r: &mut BitReader<'_>) -> Option<Vui> {
    const EXTENDED_ASPECT: u32 = 255;
    let mut vui = Vui::default();
    if r.bit()? && r.bits(8)? == EXTENDED_ASPECT {
        r.bits(32)?;
    }
    if r.bit()? {
        let _overscan = r.bit()?;
    }
    if r.bit()? {
        let _format = r.bits(3)?;
        vui.full_range = r.bit()?;
        if r.bit()? {
            let _primaries_and_transfer = r.bits(16)?;
            vui.matrix = r.bits(8)? as u8;
        }
    }
    if r.bit()? {
        r.ue()?;
        r.ue()?;
    }
    if r.bit()? {
        r.bits(32)?;
        r.bits(32)?;
        let _fixed_rate = r.bit()?;
    }
    let nal_hrd = r.bit()?;
    if nal_hrd {
        hrd(r)?;
    }
    let vcl_hrd = r.bit()?;
    if vcl_hrd {
        hrd(r)?;
    }
    if nal_hrd || vcl_hrd {
        let _low_delay = r.bit()?;
    }
    let _pic_struct = r.bit()?;
    if r.bit()? {
        let _over_boundaries = r.bit()?;
        for _ in 0..4 {
            r.ue()?;
        }
        vui.reorder = Some(r.ue()?);
    }
    Some(vui)
}

fn hrd(r: &mut BitReader<'_>) -> Option<()> {
    let count = r.ue()?;
    if count > 31 {
        return None;
    }
    let _scales = r.bits(8)?;
    for _ in 0..=count {
        r.ue()?;
        r.ue()?;
        let _constant_rate = r.bit()?;
    }
    let _lengths = r.bits(20)?;
    Some(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::in_order;

    /// The parameter set of a fixture in `tests/data`.
    pub(crate) fn fixture(name: &str) -> Vec<u8> {
        let path = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
        let data = std::fs::read(path).unwrap();
        let sps = nal::units(&data).find(|unit| nal::kind(unit) == nal::SPS);
        sps.unwrap().to_vec()
    }

    #[test]
    fn what_the_fixtures_say() {
        let high = Sps::parse(&fixture("high-b3.h264")).unwrap();
        assert_eq!((high.profile, high.width, high.height), (100, 320, 180));
        assert_eq!((high.coded_width, high.coded_height), (320, 192));
        assert_eq!(high.reorder, Some(2));
        assert_eq!(high.unsupported(), None);
        assert_eq!(
            Sps::parse(&fixture("high-zerolatency.h264"))
                .unwrap()
                .reorder,
            Some(0)
        );
        assert_eq!(
            Sps::parse(&fixture("baseline.h264")).unwrap().reorder,
            Some(0)
        );
        let wide = Sps::parse(&fixture("high422.h264")).unwrap();
        assert_eq!(wide.unsupported(), Some(Feature::Chroma(2)));
    }

    #[test]
    fn damage_never_panics() {
        for name in [
            "high-b3.h264",
            "main-b3.h264",
            "baseline.h264",
            "high422.h264",
        ] {
            let nal = fixture(name);
            for len in 0..nal.len() {
                let _ = Sps::parse(&nal[..len]);
            }
            for bit in 0..nal.len() * 8 {
                let mut flipped = nal.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                if let Some(sps) = Sps::parse(&flipped) {
                    assert!(sps.width <= 8192 && sps.height <= 16384);
                    in_order::write(&flipped, sps.profile, &mut Vec::new());
                }
            }
        }
        assert_eq!(Sps::parse(&[]), None);
        assert_eq!(Sps::parse(&[0; 64]), None);
    }
}
