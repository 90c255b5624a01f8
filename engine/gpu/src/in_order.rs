//! A parameter set in the form that makes openh264 hand out each picture at once.
//!
//! openh264 reorders pictures itself, by rules that hold one picture back even when no picture is ever out of
//! order, and its way of flushing that one loses the buffer it was in (the count in `m_pPicBuff`, which is never
//! set when there is one thread). It leaves out the reordering for two profiles, Baseline and Scalable Baseline,
//! and the latter has the syntax of High. So a Main, Extended or High parameter set is shown to it as Scalable
//! Baseline. Nothing that decides how a picture is decoded is touched: the tools in use are in the picture
//! parameter set, which stays as it is. Ordering is then ours (see `reorder`), by timestamp.

use crate::bits::{BitReader, BitWriter};
use crate::nal;
use crate::sps::{EXTENDED, HIGH, MAIN, SCALABLE_BASELINE};

/// Appends the parameter set in that form, start code first.
pub(crate) fn write(nal: &[u8], profile: u8, out: &mut Vec<u8>) {
    if !matches!(profile, MAIN | EXTENDED | HIGH) {
        return nal::escape(&nal::unescape(nal), out);
    }
    let mut raw = nal::unescape(nal);
    raw[1] = SCALABLE_BASELINE;
    if profile != HIGH {
        raw = with_chroma_fields(&raw).unwrap_or(raw);
    }
    nal::escape(&raw, out);
}

/// Inserts what High has after the identifier, saying 4:2:0 and 8 bits: `ue(1) ue(0) ue(0) u(1)=0 u(1)=0`.
fn with_chroma_fields(raw: &[u8]) -> Option<Vec<u8>> {
    const CHROMA_FIELDS: [bool; 7] = [false, true, false, true, true, false, false];
    const HEAD_BITS: u32 = 32;
    let mut reader = BitReader::new(raw);
    reader.bits(HEAD_BITS)?;
    reader.ue()?;
    let head = reader.position();
    let mut source = BitReader::new(raw);
    let mut writer = BitWriter::default();
    for _ in 0..head {
        writer.bit(source.bit()?);
    }
    for bit in CHROMA_FIELDS {
        writer.bit(bit);
    }
    while let Some(bit) = source.bit() {
        writer.bit(bit);
    }
    Some(writer.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sps::tests::fixture;
    use crate::sps::{BASELINE, Sps};

    #[test]
    fn the_in_order_form_differs_in_profile_alone() {
        for name in ["high-b3.h264", "main-b3.h264", "baseline.h264"] {
            let nal = fixture(name);
            let before = Sps::parse(&nal).unwrap();
            let mut coded = Vec::new();
            write(&nal, before.profile, &mut coded);
            let after = Sps::parse(&coded[3..]).unwrap();
            let profile = if before.profile == BASELINE {
                BASELINE
            } else {
                SCALABLE_BASELINE
            };
            assert_eq!(after, Sps { profile, ..before }, "{name}");
        }
    }
}
