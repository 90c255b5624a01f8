//! The header of a PES packet (13818-1 2.4.3.6, 2.4.3.7), both ways.
//!
//! Invariants:
//! - Reading never looks past [`PES_HEADER_BYTES_MAX`] bytes, so a header is whole or refused after that many.
//! - Timestamps are the 33 bits of the wire here; laps are the demuxer's business.

use crate::{
    clock::Ticks,
    limits::{PES_HEADER_BYTES_MAX, PES_LENGTH_MAX},
};

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Where the payload begins.
    pub(super) bytes: usize,
    /// Bytes of the payload; `None` when the sender did not say.
    pub(super) payload_bytes: Option<usize>,
    pub(super) pts: Option<u64>,
    pub(super) dts: Option<u64>,
    /// Whether the payload is noise to us: padding, or scrambled.
    pub(super) is_opaque: bool,
}

/// How far a look at the start of a PES packet came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    Whole(Header),
    /// The header goes on in the next packet.
    Cut,
    /// Not a PES packet.
    Bad,
}

impl Header {
    pub(super) fn read(bytes: &[u8]) -> Read {
        let prefix = bytes.len().min(3);
        if bytes[..prefix] != START_CODE[..prefix] {
            return Read::Bad;
        }
        let Some(&[_, _, _, stream_id, high, low]) = bytes.first_chunk::<6>() else {
            return Read::Cut;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if has_no_flags(stream_id) {
            let payload_bytes = Some(length).filter(|&length| length != 0);
            let is_opaque = stream_id == STREAM_ID_PADDING;
            return Read::Whole(Header {
                bytes: 6,
                payload_bytes,
                pts: None,
                dts: None,
                is_opaque,
            });
        }
        let Some(&[flags, more_flags, rest_bytes]) = bytes[6..].first_chunk::<3>() else {
            return Read::Cut;
        };
        let header_bytes = 9 + usize::from(rest_bytes);
        let payload_bytes = match length {
            0 => None,
            _ => match (length + 6).checked_sub(header_bytes) {
                Some(payload_bytes) => Some(payload_bytes),
                None => return Read::Bad,
            },
        };
        if flags & 0xc0 != 0x80 {
            return Read::Bad;
        }
        let Some(fields) = bytes.get(9..header_bytes) else {
            return Read::Cut;
        };
        let timestamp = |at: usize| {
            fields
                .get(at..)
                .and_then(|rest| rest.first_chunk::<5>())
                .map(read_timestamp)
        };
        let (pts, dts) = match more_flags >> 6 {
            2 => (timestamp(0), None),
            3 => (timestamp(0), timestamp(5)),
            _ => (None, None),
        };
        let is_opaque = flags & 0x30 != 0;
        Read::Whole(Header {
            bytes: header_bytes,
            payload_bytes,
            pts,
            dts,
            is_opaque,
        })
    }
}

/// A header ready to be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    bytes: [u8; 19],
    len: usize,
}

impl Written {
    /// The header of a PES packet with `payload_bytes` of payload. A length that does not fit is left unsaid.
    pub(super) fn new(
        stream_id: u8,
        pts: Option<Ticks>,
        dts: Option<Ticks>,
        is_aligned: bool,
        payload_bytes: usize,
    ) -> Written {
        let dts = dts.filter(|&dts| Some(dts) != pts);
        let (flags, rest_bytes) = match (pts, dts) {
            (None, _) => (0, 0),
            (Some(_), None) => (2, 5),
            (Some(_), Some(_)) => (3, 10),
        };
        let length = Some(3 + rest_bytes + payload_bytes)
            .filter(|&length| length <= PES_LENGTH_MAX)
            .unwrap_or(0) as u16;
        let mut bytes = [0; 19];
        bytes[..3].copy_from_slice(&START_CODE);
        bytes[3] = stream_id;
        bytes[4..6].copy_from_slice(&length.to_be_bytes());
        bytes[6] = 0x80 | if is_aligned { 4 } else { 0 };
        bytes[7] = flags << 6;
        bytes[8] = rest_bytes as u8;
        if let Some(pts) = pts {
            bytes[9..14].copy_from_slice(&write_timestamp(flags, pts));
            if let Some(dts) = dts {
                bytes[14..19].copy_from_slice(&write_timestamp(1, dts));
            }
        }
        Written {
            bytes,
            len: 9 + rest_bytes,
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Three, fifteen and fifteen bits with a marker after each. Markers are not checked: senders get them wrong.
fn read_timestamp(bytes: &[u8; 5]) -> u64 {
    let b = bytes.map(u64::from);
    (b[0] >> 1 & 7) << 30 | b[1] << 22 | (b[2] >> 1) << 15 | b[3] << 7 | b[4] >> 1
}

fn write_timestamp(prefix: u8, ticks: Ticks) -> [u8; 5] {
    let wire = ticks.wire();
    [
        prefix << 4 | (wire >> 29) as u8 & 0xe | 1,
        (wire >> 22) as u8,
        (wire >> 14) as u8 | 1,
        (wire >> 7) as u8,
        (wire << 1) as u8 | 1,
    ]
}

/// Stream ids whose packets go straight from the length to the payload (2.4.3.6).
const fn has_no_flags(stream_id: u8) -> bool {
    matches!(
        stream_id,
        0xbc | STREAM_ID_PADDING | 0xbf | 0xf0 | 0xf1 | 0xf2 | 0xf8 | 0xff
    )
}

const START_CODE: [u8; 3] = [0, 0, 1];
const STREAM_ID_PADDING: u8 = 0xbe;
/// The first video stream.
pub(super) const STREAM_ID_VIDEO: u8 = 0xe0;
/// The first stream of MPEG audio, AAC included.
pub(super) const STREAM_ID_AUDIO: u8 = 0xc0;
/// Everything that the standard does not name.
pub(super) const STREAM_ID_PRIVATE: u8 = 0xbd;

const _: () = assert!(9 + u8::MAX as usize == PES_HEADER_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_is_cut_bad_or_whole() {
        let written = Written::new(0xe0, Some(Ticks(9)), Some(Ticks(3)), true, 100);
        let bytes = written.as_bytes();
        for cut in 0..bytes.len() {
            assert_eq!(Header::read(&bytes[..cut]), Read::Cut);
        }
        assert!(matches!(
            Header::read(bytes),
            Read::Whole(Header {
                payload_bytes: Some(100),
                ..
            })
        ));
        assert_eq!(Header::read(&[0, 1]), Read::Bad);
        assert_eq!(
            Header::read(&[0, 0, 1, 0xe0, 0, 4, 0x80, 0, 5]),
            Read::Bad,
            "shorter than its own header"
        );
        assert_eq!(
            Header::read(&[0, 0, 1, 0xe0, 0, 0, 0x0f, 0, 0]),
            Read::Bad,
            "MPEG-1"
        );
        let cut_dts = [0, 0, 1, 0xe0, 0, 0, 0x80, 0xc0, 5, 0x31, 0, 1, 0, 1];
        assert!(matches!(
            Header::read(&cut_dts),
            Read::Whole(Header {
                pts: Some(0),
                dts: None,
                ..
            })
        ));
        assert!(matches!(
            Header::read(&[0, 0, 1, 0xbe, 0, 4]),
            Read::Whole(Header {
                is_opaque: true,
                bytes: 6,
                ..
            })
        ));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(pts in any::<i64>(), dts in any::<Option<i64>>(), payload_bytes in 0usize..70_000) {
            let (pts, dts) = (Ticks(pts), dts.map(Ticks));
            let written = Written::new(0xe0, Some(pts), dts, false, payload_bytes);
            let Read::Whole(header) = Header::read(written.as_bytes()) else { panic!() };
            prop_assert_eq!(header.pts, Some(pts.wire()));
            prop_assert_eq!(header.dts, dts.filter(|&dts| dts != pts).map(Ticks::wire));
            prop_assert_eq!(header.bytes, written.as_bytes().len());
            let fits = payload_bytes + header.bytes - 6 <= PES_LENGTH_MAX;
            prop_assert_eq!(header.payload_bytes, Some(payload_bytes).filter(|_| fits));
        }

        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), PES_HEADER_BYTES_MAX)) {
            let starts = [&[0, 0, 1][..], &bytes[3..]].concat();
            prop_assert_ne!(Header::read(&starts), Read::Cut);
        }
    }
}
