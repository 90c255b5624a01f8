//! The sequence parameter set of H.264 (7.3.2.1.1).
//!
//! Invariants:
//! - Sizes are checked before they are multiplied: no picture larger than level 6.2 allows comes out of here.
//! - Broken usability information does not spoil the rest: it is left out, as decoders do.

use super::{
    bits::Bits,
    nal::{h264, nals},
    vui::{Vui, read_vui},
};
use crate::limits;

/// What a sequence parameter set says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sps {
    /// `profile_idc`: 66 baseline, 77 main, 100 high.
    pub profile_idc: u8,
    /// The six constraint flags and two reserved bits, `constraint_set0_flag` in the top bit.
    pub constraint_flags: u8,
    /// `level_idc`: ten times the level.
    pub level_idc: u8,
    /// `seq_parameter_set_id`, 0 to 31.
    pub id: u8,
    /// 0 monochrome, 1 is 4:2:0, 2 is 4:2:2, 3 is 4:4:4.
    pub chroma_format_idc: u8,
    /// Bits of a luma sample, 8 to 14.
    pub luma_bits: u8,
    /// Bits of a chroma sample, 8 to 14.
    pub chroma_bits: u8,
    /// Width after cropping, in samples.
    pub width: u32,
    /// Height after cropping, in samples of a frame.
    pub height: u32,
    /// Width before cropping, a multiple of 16.
    pub coded_width: u32,
    /// Height before cropping, a multiple of 16.
    pub coded_height: u32,
    /// Whether pictures may be fields, or frames with field macroblocks (`frame_mbs_only_flag` is 0).
    pub interlaced: bool,
    /// `pic_order_cnt_type`; with 2, output order is decoding order.
    pub pic_order_cnt_type: u8,
    /// `max_num_ref_frames`, 0 to 16.
    pub ref_frames_max: u8,
    /// Usability information, when present and well formed.
    pub vui: Option<Vui>,
}

/// Why a sequence parameter set was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpsError {
    /// The NAL unit is not an SPS.
    NotSps,
    /// It ends before it is whole, or holds a number that is too wide.
    Cut,
    /// A field is outside what the standard allows.
    OutOfRange,
}

impl core::fmt::Display for SpsError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            SpsError::NotSps => "not a sequence parameter set",
            SpsError::Cut => "sequence parameter set is cut short",
            SpsError::OutOfRange => "sequence parameter set holds a value out of range",
        })
    }
}

impl core::error::Error for SpsError {}

/// The first sequence parameter set of an H.264 access unit that can be read.
pub fn find_sps(unit: &[u8]) -> Option<Sps> {
    nals(unit)
        .filter(|nal| nal.h264_type() == h264::SPS)
        .find_map(|nal| Sps::parse(nal.bytes).ok())
}

impl Sps {
    /// Reads an SPS from a NAL unit, header included, emulation prevention left in.
    ///
    /// # Errors
    /// [`SpsError`] says what is wrong with it; broken usability information is not an error.
    pub fn parse(nal: &[u8]) -> Result<Sps, SpsError> {
        let (&header, payload) = nal.split_first().ok_or(SpsError::NotSps)?;
        if header & 0x1f != h264::SPS {
            return Err(SpsError::NotSps);
        }
        let mut bits = Bits::new(payload);
        let mut sps = read(&mut bits).ok_or(SpsError::Cut)??;
        sps.vui = bits
            .flag()
            .filter(|&present| present)
            .and_then(|_| read_vui(&mut bits));
        Ok(sps)
    }

    /// Frames that a decoder must hold back before output, at most: as stated, else as the profile and level imply (E.2.1).
    pub fn reorder_frames_max(&self) -> u8 {
        const INTRA_PROFILES: [u8; 6] = [44, 86, 100, 110, 122, 244];
        if let Some(reorder) = self.vui.as_ref().and_then(|vui| vui.reorder) {
            return reorder.reorder_frames_max;
        }
        let is_intra =
            self.constraint_flags & 0x10 != 0 && INTRA_PROFILES.contains(&self.profile_idc);
        if self.pic_order_cnt_type == 2 || self.profile_idc == 66 || is_intra {
            0
        } else {
            self.dpb_frames_max()
        }
    }

    /// `MaxDpbFrames` of the level (A.3.1), 16 for a level unknown.
    pub fn dpb_frames_max(&self) -> u8 {
        let level_1b = self.level_idc == 11
            && self.constraint_flags & 0x10 != 0
            && matches!(self.profile_idc, 66 | 77 | 88);
        let macroblocks: u32 = match self.level_idc {
            _ if level_1b => 396,
            9 | 10 => 396,
            11 => 900,
            12 | 13 | 20 => 2_376,
            21 => 4_752,
            22 | 30 => 8_100,
            31 => 18_000,
            32 => 20_480,
            40 | 41 => 32_768,
            42 => 34_816,
            50 => 110_400,
            51 | 52 => 184_320,
            60..=62 => 696_320,
            _ => return 16,
        };
        let picture = (self.coded_width / 16 * (self.coded_height / 16)).max(1);
        (macroblocks / picture).min(16) as u8
    }
}

/// Up to the usability information. The outer `None` is a read past the end.
fn read(bits: &mut Bits<'_>) -> Option<Result<Sps, SpsError>> {
    const OUT: Option<Result<Sps, SpsError>> = Some(Err(SpsError::OutOfRange));
    let profile_idc = bits.u8()?;
    let constraint_flags = bits.u8()?;
    let level_idc = bits.u8()?;
    let id = bits.ue()?;
    let (mut chroma_format_idc, mut luma_bits, mut chroma_bits, mut separate_planes) =
        (1, 8, 8, false);
    if matches!(
        profile_idc,
        100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135
    ) {
        chroma_format_idc = bits.ue()?;
        separate_planes = chroma_format_idc == 3 && bits.flag()?;
        luma_bits = bits.ue()?.saturating_add(8);
        chroma_bits = bits.ue()?.saturating_add(8);
        let _lossless_bypass = bits.flag()?;
        if bits.flag()? {
            skip_scaling_lists(bits, if chroma_format_idc == 3 { 12 } else { 8 })?;
        }
    }
    let _frame_num_bits = bits.ue()?;
    let pic_order_cnt_type = bits.ue()?;
    if pic_order_cnt_type == 0 {
        bits.ue()?;
    } else if pic_order_cnt_type == 1 {
        bits.flag()?;
        bits.se()?;
        bits.se()?;
        let cycle = bits.ue()?;
        if cycle > 255 {
            return OUT;
        }
        for _ in 0..cycle {
            bits.se()?;
        }
    }
    let ref_frames_max = bits.ue()?;
    let _gaps_allowed = bits.flag()?;
    let width_mbs = bits.ue()?.saturating_add(1);
    let height_units = bits.ue()?.saturating_add(1);
    let frame_mbs_only = bits.flag()?;
    let field_factor = if frame_mbs_only { 1 } else { 2 };
    if !frame_mbs_only {
        let _adaptive_frame_field = bits.flag()?;
    }
    let _direct_8x8 = bits.flag()?;
    let crop = if bits.flag()? {
        [bits.ue()?, bits.ue()?, bits.ue()?, bits.ue()?]
    } else {
        [0; 4]
    };

    let side_mbs_max = limits::PICTURE_SIDE_MAX / 16;
    if id > 31
        || chroma_format_idc > 3
        || luma_bits > 14
        || chroma_bits > 14
        || pic_order_cnt_type > 2
        || ref_frames_max > 16
    {
        return OUT;
    }
    if width_mbs > side_mbs_max || height_units > side_mbs_max / field_factor {
        return OUT;
    }
    let (coded_width, coded_height) = (width_mbs * 16, height_units * 16 * field_factor);
    // Crop units (7-19 to 7-22): chroma samples when there is subsampled chroma, field lines doubled.
    let has_chroma = chroma_format_idc != 0 && !separate_planes;
    let unit_x = if has_chroma && chroma_format_idc != 3 {
        2
    } else {
        1
    };
    let unit_y = if has_chroma && chroma_format_idc == 1 {
        2
    } else {
        1
    } * field_factor;
    let cut = |a: u32, b: u32, unit: u32| a.checked_add(b)?.checked_mul(unit);
    let sides = (cut(crop[0], crop[1], unit_x), cut(crop[2], crop[3], unit_y));
    let (Some(cut_x), Some(cut_y)) = sides else {
        return OUT;
    };
    if cut_x >= coded_width || cut_y >= coded_height {
        return OUT;
    }
    Some(Ok(Sps {
        profile_idc,
        constraint_flags,
        level_idc,
        id: id as u8,
        chroma_format_idc: chroma_format_idc as u8,
        luma_bits: luma_bits as u8,
        chroma_bits: chroma_bits as u8,
        width: coded_width - cut_x,
        height: coded_height - cut_y,
        coded_width,
        coded_height,
        interlaced: !frame_mbs_only,
        pic_order_cnt_type: pic_order_cnt_type as u8,
        ref_frames_max: ref_frames_max as u8,
        vui: None,
    }))
}

/// 7.3.2.1.1.1; the lists are walked, not kept.
fn skip_scaling_lists(bits: &mut Bits<'_>, lists: usize) -> Option<()> {
    for list in 0..lists {
        if !bits.flag()? {
            continue;
        }
        let (mut last, mut next) = (8i32, 8i32);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                next = last.wrapping_add(bits.se()?).rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::{
        super::vui::{Colour, Reorder, Timing},
        *,
    };
    use alloc::{vec, vec::Vec};
    use proptest::prelude::*;

    /// Writes the bits that the tests need.
    #[derive(Default)]
    struct Writer {
        bits: Vec<bool>,
    }

    impl Writer {
        fn u(&mut self, n: u32, value: u32) -> &mut Self {
            self.bits
                .extend((0..n).rev().map(|bit| value >> bit & 1 == 1));
            self
        }
        fn ue(&mut self, value: u32) -> &mut Self {
            let width = 32 - (value + 1).leading_zeros();
            self.u(width - 1, 0).u(width, value + 1)
        }
        fn nal(&self) -> Vec<u8> {
            let mut out = vec![0x67];
            let mut zeros = 0;
            for chunk in self.bits.chunks(8) {
                let byte = chunk
                    .iter()
                    .enumerate()
                    .fold(0, |byte, (i, &bit)| byte | u8::from(bit) << (7 - i));
                if zeros == 2 && byte <= 3 {
                    out.push(3);
                    zeros = 0;
                }
                zeros = if byte == 0 { zeros + 1 } else { 0 };
                out.push(byte);
            }
            out
        }
    }

    fn interlaced_main() -> Writer {
        let mut w = Writer::default();
        // 1920x1080 in fields: 120 x 34 units of two rows, 8 lines cut at the bottom.
        w.u(8, 77)
            .u(8, 0)
            .u(8, 40)
            .ue(0)
            .ue(4)
            .ue(0)
            .ue(4)
            .ue(4)
            .u(1, 0);
        w.ue(119)
            .ue(33)
            .u(1, 0)
            .u(1, 1)
            .u(1, 1)
            .u(1, 1)
            .ue(0)
            .ue(0)
            .ue(0)
            .ue(2);
        w
    }

    #[test]
    fn fields_are_cropped_in_pairs_of_lines() {
        let mut w = interlaced_main();
        let sps = Sps::parse(&w.u(1, 0).u(1, 1).nal()).unwrap();
        assert_eq!(
            (sps.width, sps.height, sps.coded_height),
            (1920, 1080, 1088)
        );
        assert!(sps.interlaced && sps.vui.is_none());
        assert_eq!(sps.dpb_frames_max(), 4);
        assert_eq!(
            sps.reorder_frames_max(),
            4,
            "not stated, so what the level allows"
        );
    }

    #[test]
    fn usability_information() {
        let mut w = interlaced_main();
        w.u(1, 1).u(1, 1).u(8, 255).u(16, 4).u(16, 3).u(1, 0);
        w.u(1, 1).u(3, 5).u(1, 1).u(1, 1).u(8, 1).u(8, 1).u(8, 1);
        w.u(1, 0)
            .u(1, 1)
            .u(32, 1)
            .u(32, 50)
            .u(1, 1)
            .u(1, 0)
            .u(1, 0)
            .u(1, 0);
        let cut = w.bits.len() + 1;
        w.u(1, 1)
            .u(1, 1)
            .ue(0)
            .ue(0)
            .ue(10)
            .ue(10)
            .ue(2)
            .ue(4)
            .u(1, 1);
        let vui = Sps::parse(&w.nal()).unwrap().vui.unwrap();
        assert_eq!(vui.sample_aspect, Some((4, 3)));
        assert_eq!(
            vui.colour,
            Some(Colour {
                full_range: true,
                primaries: 1,
                transfer: 1,
                matrix: 1
            })
        );
        assert_eq!(
            vui.timing,
            Some(Timing {
                units_in_tick: 1,
                units_per_second: 50,
                fixed: true
            })
        );
        assert_eq!(
            vui.reorder,
            Some(Reorder {
                reorder_frames_max: 2,
                buffered_frames_max: 4
            })
        );
        w.bits.truncate(cut);
        assert!(
            Sps::parse(&w.nal()).unwrap().vui.is_none(),
            "a cut end does not spoil the rest"
        );
    }

    #[test]
    fn sizes_out_of_range() {
        let mut w = Writer::default();
        w.u(8, 66)
            .u(8, 0)
            .u(8, 30)
            .ue(0)
            .ue(0)
            .ue(2)
            .ue(1)
            .u(1, 0)
            .ue(u32::MAX - 2)
            .ue(9)
            .u(1, 1)
            .u(1, 1)
            .u(1, 0)
            .u(1, 0);
        assert_eq!(Sps::parse(&w.nal()), Err(SpsError::OutOfRange));
        let mut w = Writer::default();
        w.u(8, 66)
            .u(8, 0)
            .u(8, 30)
            .ue(0)
            .ue(0)
            .ue(2)
            .ue(1)
            .u(1, 0)
            .ue(9)
            .ue(9)
            .u(1, 1)
            .u(1, 1)
            .u(1, 1);
        w.ue(80).ue(0).ue(0).ue(0).u(1, 0);
        assert_eq!(
            Sps::parse(&w.nal()),
            Err(SpsError::OutOfRange),
            "all of it cropped away"
        );
        assert_eq!(Sps::parse(&[0x68, 1]), Err(SpsError::NotSps));
        assert_eq!(Sps::parse(&[]), Err(SpsError::NotSps));
        assert_eq!(Sps::parse(&[0x67, 100, 0]), Err(SpsError::Cut));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(first) = bytes.first_mut() { *first = 0x67; }
            if let Ok(sps) = Sps::parse(&bytes) {
                prop_assert!(sps.width >= 1 && sps.width <= limits::PICTURE_SIDE_MAX);
                prop_assert!(sps.reorder_frames_max() <= 16);
            }
        }
    }
}
