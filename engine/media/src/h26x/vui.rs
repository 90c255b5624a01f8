//! Video usability information of an H.264 SPS (annex E): colour, timing, and how far output may lag behind decoding.
//!
//! Invariant: what is out of range is left out, or makes the whole of it unreadable; it never reaches the caller.

use super::bits::Bits;

/// Video usability information (annex E).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vui {
    /// Sample aspect ratio as width to height, when it is stated.
    pub sample_aspect: Option<(u16, u16)>,
    /// How to read the samples as colour.
    pub colour: Option<Colour>,
    /// The clock of the pictures.
    pub timing: Option<Timing>,
    /// What the decoder must hold back.
    pub reorder: Option<Reorder>,
}

/// The video signal type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour {
    /// Full range rather than studio range.
    pub full_range: bool,
    /// `colour_primaries`; 2 is unspecified.
    pub primaries: u8,
    /// `transfer_characteristics`; 2 is unspecified.
    pub transfer: u8,
    /// `matrix_coefficients`: 1 is BT.709, 5 and 6 are BT.601, 2 is unspecified.
    pub matrix: u8,
}

/// `num_units_in_tick` and `time_scale`: a frame takes two ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Units of the clock in a tick; not 0.
    pub units_in_tick: u32,
    /// Units of the clock in a second; not 0.
    pub units_per_second: u32,
    /// Whether pictures come at this rate exactly.
    pub fixed: bool,
}

/// Bitstream restriction, as far as it concerns order and delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reorder {
    /// `max_num_reorder_frames`: frames that may come before another in decoding order and after it in output order.
    pub reorder_frames_max: u8,
    /// `max_dec_frame_buffering`: frames the decoded picture buffer needs.
    pub buffered_frames_max: u8,
}

/// Reads what follows `vui_parameters_present_flag`.
pub(super) fn read_vui(bits: &mut Bits<'_>) -> Option<Vui> {
    let mut vui = Vui::default();
    if bits.flag()? {
        vui.sample_aspect = match bits.u8()? {
            EXTENDED_SAR => Some((bits.bits(16)? as u16, bits.bits(16)? as u16)),
            index => SAMPLE_ASPECTS
                .get(usize::from(index).wrapping_sub(1))
                .copied(),
        };
    }
    if bits.flag()? {
        let _overscan_appropriate = bits.flag()?;
    }
    if bits.flag()? {
        let _video_format = bits.bits(3)?;
        let mut colour = Colour {
            full_range: bits.flag()?,
            primaries: 2,
            transfer: 2,
            matrix: 2,
        };
        if bits.flag()? {
            (colour.primaries, colour.transfer, colour.matrix) =
                (bits.u8()?, bits.u8()?, bits.u8()?);
        }
        vui.colour = Some(colour);
    }
    if bits.flag()? {
        let _chroma_location = (bits.ue()?, bits.ue()?);
    }
    if bits.flag()? {
        let timing = Timing {
            units_in_tick: bits.bits(32)?,
            units_per_second: bits.bits(32)?,
            fixed: bits.flag()?,
        };
        vui.timing =
            Some(timing).filter(|timing| timing.units_in_tick != 0 && timing.units_per_second != 0);
    }
    let nal_hrd = bits.flag()?;
    if nal_hrd {
        skip_hrd(bits)?;
    }
    let vcl_hrd = bits.flag()?;
    if vcl_hrd {
        skip_hrd(bits)?;
    }
    if nal_hrd || vcl_hrd {
        let _low_delay = bits.flag()?;
    }
    let _pic_struct_present = bits.flag()?;
    if bits.flag()? {
        let _motion_vectors_over_boundaries = bits.flag()?;
        for _ in 0..4 {
            bits.ue()?; // bytes and bits a picture, lengths of motion vectors
        }
        let (reorder, buffering) = (bits.ue()?, bits.ue()?);
        if reorder > buffering || buffering > 16 {
            return None;
        }
        vui.reorder = Some(Reorder {
            reorder_frames_max: reorder as u8,
            buffered_frames_max: buffering as u8,
        });
    }
    Some(vui)
}

/// E.1.2; the values are walked, not kept.
fn skip_hrd(bits: &mut Bits<'_>) -> Option<()> {
    let specifications = bits.ue()?.checked_add(1).filter(|&count| count <= 32)?;
    bits.u8()?;
    for _ in 0..specifications {
        bits.ue()?;
        bits.ue()?;
        bits.flag()?;
    }
    bits.bits(20).map(|_| ())
}

/// `aspect_ratio_idc` that is followed by a ratio (table E-1).
const EXTENDED_SAR: u8 = 255;

/// `aspect_ratio_idc` 1 to 16 (table E-1).
const SAMPLE_ASPECTS: [(u16, u16); 16] = [
    (1, 1),
    (12, 11),
    (10, 11),
    (16, 11),
    (40, 33),
    (24, 11),
    (20, 11),
    (32, 11),
    (80, 33),
    (18, 11),
    (15, 11),
    (64, 33),
    (160, 99),
    (4, 3),
    (3, 2),
    (2, 1),
];
