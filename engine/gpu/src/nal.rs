//! NAL units behind start codes (H.264 Annex B), and the bytes that keep start codes out of them.

/// The NAL unit types that a single-layer decoder needs; every other type is left out of its input.
pub(crate) const SLICE: u8 = 1;
pub(crate) const SLICE_IDR: u8 = 5;
pub(crate) const SPS: u8 = 7;
pub(crate) const PPS: u8 = 8;

/// The type in a NAL unit's first byte.
pub(crate) fn kind(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |byte| byte & 0x1f)
}

/// The NAL units of a byte stream, without start codes. Bytes before the first start code are not shown, and
/// neither are empty units; trailing zeros stay, as they do no harm.
pub(crate) fn units(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = start_code(data).map(|at| &data[at + 3..]);
    core::iter::from_fn(move || {
        let unit = rest?;
        match start_code(unit) {
            Some(at) => {
                rest = Some(&unit[at + 3..]);
                Some(&unit[..at])
            }
            None => {
                rest = None;
                Some(unit)
            }
        }
    })
    .filter(|unit| !unit.is_empty())
}

/// Where the next `00 00 01` begins.
fn start_code(data: &[u8]) -> Option<usize> {
    // Most bytes of coded video are above 1, and such a byte rules out three places at once.
    let mut at = 2;
    while let Some(&byte) = data.get(at) {
        match byte {
            0 => at += 1,
            1 if data[at - 2] == 0 && data[at - 1] == 0 => return Some(at - 2),
            _ => at += 3,
        }
    }
    None
}

/// Removes emulation prevention: of `00 00 03`, the `03`.
pub(crate) fn unescape(nal: &[u8]) -> Vec<u8> {
    let mut zeros = 0;
    let keep = |byte: &&u8| {
        let prevention = zeros >= 2 && **byte == 3;
        zeros = if **byte == 0 { zeros + 1 } else { 0 };
        !prevention
    };
    nal.iter().filter(keep).copied().collect()
}

/// Appends a start code and the unit, with emulation prevention put back.
pub(crate) fn escape(nal: &[u8], out: &mut Vec<u8>) {
    out.extend([0, 0, 1]);
    let mut zeros = 0;
    for &byte in nal {
        if zeros >= 2 && byte <= 3 {
            out.push(3);
            zeros = 0;
        }
        out.push(byte);
        zeros = if byte == 0 { zeros + 1 } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(data: &[u8]) -> Vec<&[u8]> {
        units(data).collect()
    }

    #[test]
    fn start_codes_of_three_and_four_bytes() {
        let data = [
            9, 0, 0, 0, 1, 0x67, 5, 0, 0, 1, 0x68, 0, 0, 1, 0, 0, 1, 0x65, 1, 0,
        ];
        let expected: [&[u8]; 3] = [&[0x67, 5], &[0x68], &[0x65, 1, 0]];
        assert_eq!(split(&data), expected);
        assert!(split(&[]).is_empty());
        assert!(split(&[0, 0, 1]).is_empty());
        assert!(split(&[1, 2, 3]).is_empty());
        assert_eq!(split(&[0, 0, 0, 0, 0, 1, 7]), [[7]]);
        assert_eq!(
            split(&[2, 0, 0, 1, 1, 0, 1, 0, 0, 1, 8]),
            [&[1, 0, 1][..], &[8]]
        );
    }

    #[test]
    fn escaping_is_undone() {
        let raw = [0x67, 0, 0, 0, 0, 1, 0, 0, 2, 0, 0, 3, 0, 0, 4, 0, 0];
        let mut coded = Vec::new();
        escape(&raw, &mut coded);
        assert_eq!(split(&coded).len(), 1);
        assert_eq!(unescape(&coded[3..]), raw);
    }
}
