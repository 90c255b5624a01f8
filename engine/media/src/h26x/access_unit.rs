//! Where pictures begin (H.264 7.4.1.2.3, H.265 7.4.2.4.4), and whether a decoder may start at one.
//!
//! Boundaries are found from the order of NAL units and from the first bit of a slice, which says that the slice opens a
//! picture. Second fields of a field pair count as pictures of their own, as they do in the standard's primary coded picture
//! when each comes with its own delimiter; arbitrary slice order (baseline only, unused in practice) is not followed.

use super::nal::{Nal, Nals, h264, hevc, nals};
use crate::codec::Codec;

/// Whether `unit` opens with an access unit delimiter. False for codecs that have none.
pub fn has_aud(codec: Codec, unit: &[u8]) -> bool {
    nals(unit)
        .next()
        .is_some_and(|nal| kind(codec, &nal) == Kind::Delimiter)
}

/// Whether `unit` opens with a picture that a decoder may start at: IDR in H.264, any IRAP picture in H.265.
///
/// Reads up to the first slice and no further. False for other codecs.
pub fn is_random_access(codec: Codec, unit: &[u8]) -> bool {
    for nal in nals(unit) {
        if matches!(kind(codec, &nal), Kind::Slice { .. }) {
            return match codec {
                Codec::H264 => nal.h264_type() == h264::IDR,
                _ => (hevc::IRAP_FIRST..=hevc::IRAP_LAST).contains(&nal.hevc_type()),
            };
        }
        if kind(codec, &nal) == Kind::Unknown {
            return false;
        }
    }
    false
}

/// The access units of a byte stream, in order.
#[derive(Debug, Clone)]
pub struct AccessUnits<'a> {
    codec: Codec,
    stream: &'a [u8],
    nals: Nals<'a>,
    start: usize,
    done: bool,
    has_slice: bool,
}

/// Cuts `stream` where pictures begin. The parts tile the stream; a codec without NAL units gives one part.
///
/// For a PES that holds several pictures, which 13818-1 2.4.3.7 allows: only the first has the timestamps of the PES.
pub fn split_access_units(codec: Codec, stream: &[u8]) -> AccessUnits<'_> {
    AccessUnits {
        codec,
        stream,
        nals: nals(stream),
        start: 0,
        done: stream.is_empty(),
        has_slice: false,
    }
}

impl<'a> Iterator for AccessUnits<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.done {
            return None;
        }
        for nal in self.nals.by_ref() {
            let kind = kind(self.codec, &nal);
            let opens = self.has_slice
                && matches!(
                    kind,
                    Kind::Delimiter | Kind::Opening | Kind::Slice { first: true }
                );
            self.has_slice = matches!(kind, Kind::Slice { .. }) || self.has_slice && !opens;
            if opens {
                let unit = &self.stream[self.start..nal.offset];
                self.start = nal.offset;
                return Some(unit);
            }
        }
        self.done = true;
        Some(&self.stream[self.start..])
    }
}

/// What a NAL unit means for the boundary of access units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Delimiter,
    /// After a slice, it opens the next access unit.
    Opening,
    Slice {
        first: bool,
    },
    Other,
    /// The codec has no NAL units.
    Unknown,
}

fn kind(codec: Codec, nal: &Nal<'_>) -> Kind {
    match codec {
        Codec::H264 => match nal.h264_type() {
            h264::AUD => Kind::Delimiter,
            h264::SEI..=h264::PPS | h264::PREFIX..=h264::RESERVED_18 => Kind::Opening,
            // first_mb_in_slice is ue(v), so 0 is a single set bit; only slices and partition A have it.
            h264::SLICE | h264::PARTITION_A | h264::IDR => Kind::Slice {
                first: nal.bytes.get(1).is_some_and(|b| b & 0x80 != 0),
            },
            h264::PARTITION_A..=h264::PARTITION_C => Kind::Slice { first: false },
            _ => Kind::Other,
        },
        Codec::Hevc => match nal.hevc_type() {
            hevc::AUD => Kind::Delimiter,
            hevc::VPS..=hevc::PPS | hevc::PREFIX_SEI | 41..=44 | 48..=55 => Kind::Opening,
            // first_slice_segment_in_pic_flag comes right after the two-byte header.
            0..=hevc::VCL_LAST => Kind::Slice {
                first: nal.bytes.get(2).is_some_and(|b| b & 0x80 != 0),
            },
            _ => Kind::Other,
        },
        _ => Kind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn pictures_are_cut_at_delimiters_sets_and_first_slices() {
        let stream = [
            &b"\0\0\0\x01\x67\x42"[..],
            b"\0\0\x01\x68\xce",
            b"\0\0\x01\x65\x88\x01",
            b"\0\0\x01\x65\x40\x01",   // second slice of the same picture
            b"\0\0\0\x01\x41\x9a\x01", // a first slice
            b"\0\0\0\x01\x09\xf0",     // a delimiter
            b"\0\0\x01\x41\x9a\x02",
        ];
        let whole = stream.concat();
        let units: Vec<_> = split_access_units(Codec::H264, &whole).collect();
        assert_eq!(
            units,
            [&stream[..4].concat()[..], stream[4], &stream[5..].concat()]
        );
        assert!(
            is_random_access(Codec::H264, units[0]) && !is_random_access(Codec::H264, units[1])
        );
        assert!(!has_aud(Codec::H264, units[0]) && has_aud(Codec::H264, units[2]));
    }

    #[test]
    fn hevc_pictures() {
        let stream = [
            &b"\0\0\0\x01\x40\x01\x0c"[..],
            b"\0\0\x01\x26\x01\xaf",
            b"\0\0\x01\x02\x01\xd0",
            b"\0\0\x01\x02\x01\x50",
        ];
        let whole = stream.concat();
        let units: Vec<_> = split_access_units(Codec::Hevc, &whole).collect();
        assert_eq!(units.len(), 2);
        assert!(
            is_random_access(Codec::Hevc, units[0]) && !is_random_access(Codec::Hevc, units[1])
        );
    }

    #[test]
    fn other_codecs_are_one_part() {
        assert_eq!(
            split_access_units(Codec::Mp3, b"abc").collect::<Vec<_>>(),
            [b"abc"]
        );
        assert_eq!(split_access_units(Codec::H264, b"").next(), None);
        assert!(!is_random_access(Codec::Mp3, b"\0\0\x01\x65\x80"));
    }
}
