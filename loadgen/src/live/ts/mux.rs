//! Writes access units of H.264 as MPEG-TS.
//!
//! Invariants:
//! - After [`Mux::write_tables`] and a key frame a reader can begin: that is how every segment begins.
//! - A video PES states no length, as those of stock publishers do not: where a frame ends shows in what follows it.
//! - There is no reordering, so a frame has one stamp. The clock (PCR) goes 100 ms ahead of it, with every frame.

use super::{
    NAL_DELIMITER, PACKET_BYTES, PID_PAT, PTS_RANGE, STREAM_TYPE_H264, SYNC, TICKS_PER_SECOND,
    nal_types,
};

/// The state of a stream of packets: how many there were of each PID.
#[derive(Debug, Default, Clone)]
pub struct Mux {
    pat: u8,
    pmt: u8,
    video: u8,
}

impl Mux {
    /// The tables that say which PID is the video.
    pub fn write_tables(&mut self, out: &mut Vec<u8>) {
        let [pmt_high, pmt_low] = PID_PMT.to_be_bytes();
        // Transport stream 1, version 0, current, section 0 of 0; program 1 is described on the PID of the PMT.
        let pat = [0, 1, 0xc1, 0, 0, 0, 1, 0xe0 | pmt_high, pmt_low];
        write_section(out, PID_PAT, &mut self.pat, TABLE_PAT, &pat);
        let [high, low] = PID_VIDEO.to_be_bytes();
        let (high, type_) = (0xe0 | high, STREAM_TYPE_H264);
        // Program 1; its clock is on the video's PID; no descriptors; one stream, without descriptors.
        let pmt = [
            0, 1, 0xc1, 0, 0, high, low, 0xf0, 0, type_, high, low, 0xf0, 0,
        ];
        write_section(out, PID_PMT, &mut self.pmt, TABLE_PMT, &pmt);
    }

    /// An access unit with start codes, to be shown at `pts`.
    pub fn write_frame(&mut self, pts: u64, unit: &[u8], is_key: bool, out: &mut Vec<u8>) {
        let pts = pts % PTS_RANGE;
        // Stream E0, no length; aligned; a PTS alone; five more bytes of header.
        let mut head = [0, 0, 1, 0xe0, 0, 0, 0x84, 0x80, 5, 0, 0, 0, 0, 0];
        head[9..].copy_from_slice(&stamp(pts));
        let delimiter: &[u8] = if nal_types(unit).next() == Some(NAL_DELIMITER) {
            &[]
        } else {
            &[0, 0, 0, 1, NAL_DELIMITER, 0xf0]
        };
        let clock = (pts + PTS_RANGE - CLOCK_AHEAD_TICKS) % PTS_RANGE;
        let adaptation = adaptation(clock, is_key);
        let mut parts = Parts([&head, delimiter, unit]);
        let mut field: &[u8] = &adaptation;
        let mut is_start = true;
        while parts.len() > 0 {
            let room = PACKET_BYTES - 4 - field.len();
            let payload = parts.len().min(room);
            write_header(
                out,
                PID_VIDEO,
                is_start,
                &mut self.video,
                !field.is_empty() || payload < room,
            );
            write_adaptation(out, field, room - payload);
            parts.take(payload, out);
            (field, is_start) = (&[], false);
        }
    }
}

/// What is left of a PES, in the pieces that it comes in.
struct Parts<'a>([&'a [u8]; 3]);

impl Parts<'_> {
    fn len(&self) -> usize {
        self.0.iter().map(|part| part.len()).sum()
    }

    fn take(&mut self, mut count: usize, out: &mut Vec<u8>) {
        for part in &mut self.0 {
            let (taken, rest) = part.split_at(count.min(part.len()));
            out.extend_from_slice(taken);
            count -= taken.len();
            *part = rest;
        }
    }
}

fn write_header(
    out: &mut Vec<u8>,
    pid: u16,
    is_start: bool,
    counter: &mut u8,
    has_adaptation: bool,
) {
    let [high, low] = pid.to_be_bytes();
    let start = if is_start { 0x40 } else { 0 };
    let adaptation = if has_adaptation { 0x30 } else { 0x10 };
    out.extend_from_slice(&[SYNC, start | high, low, adaptation | *counter]);
    *counter = (*counter + 1) & 0x0f;
}

/// `field`, which begins with its length, made longer by `stuffing`; nothing at all when both are empty.
fn write_adaptation(out: &mut Vec<u8>, field: &[u8], stuffing: usize) {
    let length = field.len() + stuffing;
    let Some(rest) = length.checked_sub(1) else {
        return;
    };
    out.push(u8::try_from(rest).unwrap_or(u8::MAX));
    let mut written = 1;
    if rest > 0 {
        out.push(field.get(1).copied().unwrap_or(0));
        out.extend_from_slice(field.get(2..).unwrap_or_default());
        written += field.len().saturating_sub(1).max(1);
    }
    out.resize(out.len() + length - written, 0xff);
}

/// Length, flags, PCR.
fn adaptation(clock: u64, is_key: bool) -> [u8; 8] {
    let [.., a, b, c, d] = ((clock >> 1) & 0xffff_ffff).to_be_bytes();
    let last = u8::from(clock & 1 == 1) << 7 | 0x7e;
    let flags = 0x10 | if is_key { 0x40 } else { 0 };
    [7, flags, a, b, c, d, last, 0]
}

/// A PTS in five bytes, each part with its marker bit.
fn stamp(pts: u64) -> [u8; 5] {
    let byte = |shift: u32, mask: u64| ((pts >> shift) & mask).to_le_bytes()[0];
    [
        0x21 | byte(30, 0x07) << 1,
        byte(22, 0xff),
        0x01 | byte(15, 0x7f) << 1,
        byte(7, 0xff),
        0x01 | byte(0, 0x7f) << 1,
    ]
}

/// A section that fits in one packet, with its CRC.
fn write_section(out: &mut Vec<u8>, pid: u16, counter: &mut u8, table: u8, body: &[u8]) {
    let end = out.len() + PACKET_BYTES;
    write_header(out, pid, true, counter, false);
    out.push(0); // the section begins at once
    let begin = out.len();
    let length = u8::try_from(body.len() + CRC_BYTES).unwrap_or(u8::MAX);
    out.extend_from_slice(&[table, 0xb0, length]);
    out.extend_from_slice(body);
    let crc = crc32(&out[begin..]);
    out.extend_from_slice(&crc.to_be_bytes());
    out.resize(end, 0xff);
}

/// CRC-32/MPEG-2 (ISO/IEC 13818-1, annex A).
fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            let carry = if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 };
            crc << 1 ^ carry
        })
    })
}

const PID_PMT: u16 = 0x1000;
const PID_VIDEO: u16 = 0x100;
const TABLE_PAT: u8 = 0;
const TABLE_PMT: u8 = 2;
const CRC_BYTES: usize = 4;
const CLOCK_AHEAD_TICKS: u64 = TICKS_PER_SECOND / 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_is_that_of_the_standard() {
        // The catalogue's check value of CRC-32/MPEG-2.
        assert_eq!(crc32(b"123456789"), 0x0376_e6e7);
    }

    #[test]
    fn counters_of_a_pid_go_up_by_one() {
        let (mut mux, mut out) = (Mux::default(), Vec::new());
        for n in 0..40 {
            mux.write_tables(&mut out);
            mux.write_frame(n, &[0x55; 150].repeat(3), true, &mut out);
        }
        for pid in [PID_PAT, PID_PMT, PID_VIDEO] {
            let counters: Vec<u8> = out
                .chunks(PACKET_BYTES)
                .filter(|packet| u16::from_be_bytes([packet[1] & 0x1f, packet[2]]) == pid)
                .map(|packet| packet[3] & 0x0f)
                .collect();
            assert!(counters.len() >= 40);
            assert!(
                counters
                    .windows(2)
                    .all(|pair| pair[1] == (pair[0] + 1) & 0x0f)
            );
        }
    }
}
