//! MPEG-TS, as far as one H.264 stream needs it (ISO/IEC 13818-1), written for the generator alone.
//!
//! ```text
//!   packet  47 │ PID, start │ counter │ [adaptation: PCR, random access, stuffing] │ payload     188 bytes
//!   payload    PAT (PID 0) → PMT → PID of stream type 1B → PES: 00 00 01 E0 │ length │ PTS │ access unit
//! ```

pub mod demux;
pub mod mux;

/// Length of a packet.
pub const PACKET_BYTES: usize = 188;
/// Ticks of a presentation time stamp in a second.
pub const TICKS_PER_SECOND: u64 = 90_000;
/// Stamps have 33 bits: 26.5 hours.
pub const PTS_RANGE: u64 = 1 << 33;

const SYNC: u8 = 0x47;
const PID_PAT: u16 = 0;
const STREAM_TYPE_H264: u8 = 0x1b;

/// From `earlier` to `later` in ticks, the shorter way round the 33 bits.
pub fn ticks_between(earlier: u64, later: u64) -> i64 {
    let ahead = later.wrapping_sub(earlier) % PTS_RANGE;
    if ahead < PTS_RANGE / 2 {
        ahead.cast_signed()
    } else {
        ahead.cast_signed() - PTS_RANGE.cast_signed()
    }
}

/// The types of the NAL units of an access unit with start codes.
pub fn nal_types(unit: &[u8]) -> impl Iterator<Item = u8> {
    unit.windows(4)
        .filter(|bytes| bytes[..3] == [0, 0, 1])
        .map(|bytes| bytes[3] & 0x1f)
}

/// Whether decoding can begin with this access unit.
pub fn is_key(unit: &[u8]) -> bool {
    nal_types(unit).any(|kind| kind == NAL_IDR)
}

/// Whether a NAL unit with this first byte is a part of a picture.
pub fn is_slice(header: u8) -> bool {
    (NAL_SLICE..=NAL_IDR).contains(&(header & 0x1f))
}

/// Whether there is anything of a picture in it.
pub fn has_picture(unit: &[u8]) -> bool {
    nal_types(unit).any(|kind| (NAL_SLICE..=NAL_IDR).contains(&kind))
}

/// NAL unit of a picture that is no IDR picture; those up to [`NAL_IDR`] are parts of one.
const NAL_SLICE: u8 = 1;
/// NAL unit of an IDR picture.
const NAL_IDR: u8 = 5;
/// Access unit delimiter.
const NAL_DELIMITER: u8 = 9;

#[cfg(test)]
mod tests {
    use super::demux::{Demux, Unit};
    use super::mux::Mux;
    use super::*;

    fn unit(number: u8, bytes: usize) -> Vec<u8> {
        let mut unit = vec![0, 0, 0, 1, 0x65];
        unit.extend((0..bytes).map(|i| number ^ i.to_le_bytes()[0] | 1));
        unit
    }

    /// Frames of every length around the edges of a packet, their stamps crossing the wrap.
    fn stream() -> (Vec<Vec<u8>>, Vec<u8>) {
        let units: Vec<Vec<u8>> = (0..=255)
            .map(|n| unit(n, usize::from(n) * 3))
            .chain([unit(7, 200_000)])
            .collect();
        let (mut mux, mut bytes) = (Mux::default(), Vec::new());
        for (n, unit) in units.iter().enumerate() {
            if n % 30 == 0 {
                mux.write_tables(&mut bytes);
            }
            mux.write_frame(stamp(n), unit, n % 30 == 0, &mut bytes);
        }
        (units, bytes)
    }

    fn stamp(n: usize) -> u64 {
        (PTS_RANGE - 300_000 + n as u64 * 3_000) % PTS_RANGE
    }

    #[test]
    fn any_cut_gives_the_frames_that_were_written() {
        let (units, bytes) = stream();
        assert!(bytes.len().is_multiple_of(PACKET_BYTES));
        for step in [1, 7, 187, 188, 189, 1_316, bytes.len()] {
            let (mut demux, mut got) = (Demux::new(true), Vec::<Unit>::new());
            for (at, part) in bytes.chunks(step).enumerate() {
                demux.handle_bytes(part, at as u64, |unit| got.push(unit));
            }
            demux.end(|unit| got.push(unit));
            assert_eq!(got.len(), units.len(), "step {step}");
            assert!(!demux.is_damaged());
            for (n, (got, unit)) in got.iter().zip(&units).enumerate() {
                assert_eq!(got.pts, Some(stamp(n)));
                assert!(got.first_ns <= got.last_ns);
                assert!(got.bytes.ends_with(unit), "step {step}, frame {n}");
                assert_eq!(nal_types(&got.bytes).next(), Some(NAL_DELIMITER));
            }
            assert!(
                got.windows(2)
                    .all(|pair| pair[0].last_ns <= pair[1].first_ns)
            );
        }
    }

    #[test]
    fn a_frame_begins_when_its_first_packet_is_there_and_ends_with_its_last() {
        let (mut mux, mut bytes) = (Mux::default(), Vec::new());
        mux.write_tables(&mut bytes);
        let tables = bytes.len();
        mux.write_frame(90, &unit(1, 1_000), true, &mut bytes);
        let first = bytes.len();
        mux.write_frame(180, &unit(2, 10), false, &mut bytes);
        let (mut demux, mut got) = (Demux::new(false), Vec::new());
        for (packet, at) in bytes.chunks(PACKET_BYTES).zip(100..) {
            demux.handle_bytes(packet, at, |unit| got.push(unit));
        }
        let [only] = got.as_slice() else {
            panic!("the second is not known to be complete: {got:?}")
        };
        let packets = |bytes: usize| (bytes / PACKET_BYTES) as u64;
        assert_eq!(only.first_ns, 100 + packets(tables));
        assert_eq!(only.last_ns, 100 + packets(first) - 1);
        assert!(only.bytes.is_empty(), "they were not asked for");
    }

    #[test]
    fn stamps_differ_by_the_shorter_way_round() {
        assert_eq!(ticks_between(PTS_RANGE - 10, 20), 30);
        assert_eq!(ticks_between(20, PTS_RANGE - 10), -30);
        assert_eq!(ticks_between(5, 5), 0);
    }

    #[test]
    fn noise_is_no_frame_and_does_not_hide_those_after_it() {
        let (_, good) = stream();
        let mut rng = fastrand::Rng::with_seed(3);
        let mut bytes: Vec<u8> = (0..5_000).map(|_| rng.u8(..)).collect();
        bytes.extend_from_slice(&good);
        let (mut demux, mut got) = (Demux::new(true), 0);
        demux.handle_bytes(&bytes, 0, |_| got += 1);
        assert!(demux.is_damaged());
        assert!(got > 200, "{got}");
    }
}
