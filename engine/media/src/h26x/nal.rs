//! NAL units in a byte stream (H.264 B.1), found without a copy.
//!
//! Invariants:
//! - A NAL unit begins after a three-byte start code; a four-byte code is that with one more zero before it.
//! - Zeros before a start code and at the end belong to no NAL unit.
//! - Finding the first NAL unit reads only up to the next start code, so a look at the head of a unit is cheap.

/// NAL unit types of H.264 (table 7-1).
pub mod h264 {
    /// Slice of a picture that is not IDR.
    pub const SLICE: u8 = 1;
    /// Data partitions A to C.
    pub const PARTITION_A: u8 = 2;
    /// The last data partition.
    pub const PARTITION_C: u8 = 4;
    /// Slice of an IDR picture.
    pub const IDR: u8 = 5;
    /// Supplemental enhancement information.
    pub const SEI: u8 = 6;
    /// Sequence parameter set.
    pub const SPS: u8 = 7;
    /// Picture parameter set.
    pub const PPS: u8 = 8;
    /// Access unit delimiter.
    pub const AUD: u8 = 9;
    /// Prefix NAL unit, the first of 14 to 18 that may only open an access unit.
    pub const PREFIX: u8 = 14;
    /// The last of the types that may only open an access unit.
    pub const RESERVED_18: u8 = 18;
}

/// NAL unit types of H.265 (table 7-1).
pub mod hevc {
    /// The first intra random access picture, BLA_W_LP.
    pub const IRAP_FIRST: u8 = 16;
    /// IDR that may be followed by leading pictures.
    pub const IDR_W_RADL: u8 = 19;
    /// IDR without leading pictures.
    pub const IDR_N_LP: u8 = 20;
    /// Clean random access picture.
    pub const CRA: u8 = 21;
    /// The last intra random access picture, reserved.
    pub const IRAP_LAST: u8 = 23;
    /// The last type that is a slice.
    pub const VCL_LAST: u8 = 31;
    /// Video parameter set.
    pub const VPS: u8 = 32;
    /// Sequence parameter set.
    pub const SPS: u8 = 33;
    /// Picture parameter set.
    pub const PPS: u8 = 34;
    /// Access unit delimiter.
    pub const AUD: u8 = 35;
    /// SEI that comes before the slices.
    pub const PREFIX_SEI: u8 = 39;
}

/// One NAL unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nal<'a> {
    /// Where its start code begins in the byte stream, the fourth byte included.
    pub offset: usize,
    /// Header and payload, emulation prevention left in; never empty.
    pub bytes: &'a [u8],
}

impl Nal<'_> {
    /// `nal_unit_type` of H.264, 0 to 31.
    pub const fn h264_type(&self) -> u8 {
        match self.bytes.first() {
            Some(&byte) => byte & 0x1f,
            None => 0,
        }
    }

    /// `nal_unit_type` of H.265, 0 to 63.
    pub const fn hevc_type(&self) -> u8 {
        match self.bytes.first() {
            Some(&byte) => byte >> 1 & 0x3f,
            None => 0,
        }
    }
}

/// Walks the NAL units of a byte stream.
#[derive(Debug, Clone)]
pub struct Nals<'a> {
    stream: &'a [u8],
    /// Where the next start code's `00 00 01` begins; `None` at the end.
    next_code: Option<usize>,
}

/// The NAL units of `stream`, in order. Bytes before the first start code are skipped.
pub fn nals(stream: &[u8]) -> Nals<'_> {
    Nals {
        stream,
        next_code: find_code(stream, 0),
    }
}

impl<'a> Iterator for Nals<'a> {
    type Item = Nal<'a>;

    fn next(&mut self) -> Option<Nal<'a>> {
        loop {
            let code = self.next_code?;
            let start = code + 3;
            self.next_code = find_code(self.stream, start);
            let mut end = self.next_code.unwrap_or(self.stream.len());
            while end > start && self.stream[end - 1] == 0 {
                end -= 1;
            }
            if end > start {
                let offset = if code > 0 && self.stream[code - 1] == 0 {
                    code - 1
                } else {
                    code
                };
                return Some(Nal {
                    offset,
                    bytes: &self.stream[start..end],
                });
            }
        }
    }
}

/// Where `00 00 01` begins at or after `from`. Looks at the third byte first, and so at a third of the bytes.
fn find_code(stream: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(&[a, b, c]) = stream.get(at..).and_then(|rest| rest.first_chunk::<3>()) {
        match c {
            0 => at += 1,
            1 if a == 0 && b == 0 => return Some(at),
            _ => at += 3,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn start_codes_of_three_and_four_bytes() {
        let stream = b"\0\0\0\x01\x09\xf0\0\0\x01\x67AB\0\0\0\0\x01\x65\0\x01\xff\0\0\0";
        let found: Vec<_> = nals(stream)
            .map(|nal| (nal.offset, nal.h264_type(), nal.bytes))
            .collect();
        assert_eq!(
            found,
            [
                (0, h264::AUD, &b"\x09\xf0"[..]),
                (6, h264::SPS, &b"\x67AB"[..]),
                (13, h264::IDR, &b"\x65\0\x01\xff"[..]),
            ]
        );
    }

    #[test]
    fn nothing_to_find() {
        assert_eq!(nals(b"").next(), None);
        assert_eq!(nals(b"\0\0\x01").next(), None);
        assert_eq!(nals(b"\0\0\x01\0\0\x01\0").next(), None);
        assert_eq!(nals(b"abc").next(), None);
    }

    proptest! {
        #[test]
        fn finds_what_a_plain_search_finds(stream in proptest::collection::vec(0u8..3, 0..200)) {
            let plain = stream.windows(3).position(|window| window == [0, 0, 1]);
            prop_assert_eq!(find_code(&stream, 0), plain);
            let mut end = 0;
            for nal in nals(&stream) {
                prop_assert!(nal.offset >= end && !nal.bytes.is_empty());
                end = nal.offset + 3;
            }
        }
    }
}
