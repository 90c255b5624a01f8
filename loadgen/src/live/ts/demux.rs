//! Finds the frames in MPEG-TS that may be cut anywhere, and when each began and ended.
//!
//! A frame is an access unit, which is a PES of the first H.264 stream. It *begins* with the packet that holds its PES header and
//! *ends* with the last packet of it that came before the next one. Stock muxers state no length, so a frame is handed over when
//! the next one begins or the stream ends; that costs nothing, since its times were taken when it came.
//!
//! Invariants:
//! - Bytes that are no packets are passed over, up to where packets begin again; so is a table that makes no sense.
//! - What is kept of a frame is at most [`UNIT_BYTES_MAX`].

use super::{PACKET_BYTES, PID_PAT, STREAM_TYPE_H264, SYNC};

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// When to show it, in 90 kHz ticks of 33 bits.
    pub pts: Option<u64>,
    /// When its first packet came.
    pub first_ns: u64,
    /// When its last packet came.
    pub last_ns: u64,
    /// NAL units with start codes, when they were asked for.
    pub bytes: Vec<u8>,
}

/// The state of one stream.
#[derive(Debug)]
pub struct Demux {
    keeps_bytes: bool,
    partial: [u8; PACKET_BYTES],
    have: usize,
    pmt_pid: Option<u16>,
    video_pid: Option<u16>,
    unit: Option<Unit>,
    is_damaged: bool,
}

impl Demux {
    /// Nothing yet; `keeps_bytes` asks for the frames themselves.
    pub fn new(keeps_bytes: bool) -> Self {
        Self {
            keeps_bytes,
            partial: [0; PACKET_BYTES],
            have: 0,
            pmt_pid: None,
            video_pid: None,
            unit: None,
            is_damaged: false,
        }
    }

    /// Takes bytes that came at `now_ns`; calls `done` for each frame that they show to be complete.
    pub fn handle_bytes(&mut self, mut input: &[u8], now_ns: u64, mut done: impl FnMut(Unit)) {
        while !input.is_empty() {
            if self.have == 0 && input[0] != SYNC {
                self.is_damaged = true;
                let skip = input.iter().position(|&byte| byte == SYNC);
                input = &input[skip.unwrap_or(input.len())..];
                continue;
            }
            if self.have == 0 && input.len() >= PACKET_BYTES {
                let (packet, rest) = input.split_at(PACKET_BYTES);
                // A byte of noise may look like a packet; the next packet's first byte tells.
                if rest.first().is_some_and(|&byte| byte != SYNC) {
                    self.is_damaged = true;
                    input = &input[1..];
                    continue;
                }
                self.handle_packet(packet, now_ns, &mut done);
                input = rest;
                continue;
            }
            let (taken, rest) = input.split_at(input.len().min(PACKET_BYTES - self.have));
            self.partial[self.have..self.have + taken.len()].copy_from_slice(taken);
            self.have += taken.len();
            input = rest;
            if self.have == PACKET_BYTES {
                self.have = 0;
                let packet = self.partial;
                self.handle_packet(&packet, now_ns, &mut done);
            }
        }
    }

    /// Nothing more will come: what is there is complete.
    pub fn end(&mut self, done: impl FnOnce(Unit)) {
        self.is_damaged |= self.have > 0;
        self.have = 0;
        if let Some(unit) = self.unit.take() {
            done(unit);
        }
    }

    /// Whether a frame has begun that is not known to be complete.
    pub fn is_within_frame(&self) -> bool {
        self.unit.is_some()
    }

    /// Whether there was anything that is not MPEG-TS.
    pub fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    fn handle_packet(&mut self, packet: &[u8], now_ns: u64, done: &mut impl FnMut(Unit)) {
        let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
        let is_start = packet[1] & 0x40 != 0;
        let Some(payload) = payload(packet) else {
            return;
        };
        if pid == PID_PAT && is_start {
            self.pmt_pid = section(payload).and_then(pmt_pid).or(self.pmt_pid);
        } else if Some(pid) == self.pmt_pid && is_start {
            self.video_pid = section(payload).and_then(video_pid).or(self.video_pid);
        } else if Some(pid) == self.video_pid {
            self.handle_video(payload, is_start, now_ns, done);
        }
    }

    fn handle_video(
        &mut self,
        payload: &[u8],
        is_start: bool,
        now_ns: u64,
        done: &mut impl FnMut(Unit),
    ) {
        let payload = if is_start {
            if let Some(unit) = self.unit.take() {
                done(unit);
            }
            let Some((pts, rest)) = pes(payload) else {
                self.is_damaged = true;
                return;
            };
            self.unit = Some(Unit {
                pts,
                first_ns: now_ns,
                last_ns: now_ns,
                bytes: Vec::new(),
            });
            rest
        } else {
            payload
        };
        // What comes before the first PES header is the rest of a frame that we have no begin of.
        if let Some(unit) = &mut self.unit {
            unit.last_ns = now_ns;
            if self.keeps_bytes && unit.bytes.len() + payload.len() <= UNIT_BYTES_MAX {
                unit.bytes.extend_from_slice(payload);
            }
        }
    }
}

/// What follows the adaptation field.
fn payload(packet: &[u8]) -> Option<&[u8]> {
    let begin = match packet[3] & 0x30 {
        0x10 => 4,
        0x30 => 5 + usize::from(packet[4]),
        _ => return None,
    };
    packet.get(begin..)
}

/// The body of a section: what follows its length, without the CRC.
fn section(payload: &[u8]) -> Option<&[u8]> {
    let rest = payload.get(1 + usize::from(*payload.first()?)..)?;
    let length = usize::from(u16::from_be_bytes([*rest.get(1)? & 0x0f, *rest.get(2)?]));
    rest.get(3..3 + length.checked_sub(4)?)
}

/// Of the first program.
fn pmt_pid(pat: &[u8]) -> Option<u16> {
    pat.get(5..)?
        .chunks_exact(4)
        .find(|entry| entry[..2] != [0, 0])
        .map(|entry| u16::from_be_bytes([entry[2] & 0x1f, entry[3]]))
}

/// Of the first H.264 stream.
fn video_pid(pmt: &[u8]) -> Option<u16> {
    let length = |at: usize| {
        Some(usize::from(u16::from_be_bytes([
            *pmt.get(at)? & 0x0f,
            *pmt.get(at + 1)?,
        ])))
    };
    let mut at = 9 + length(7)?;
    while let Some(entry) = pmt.get(at..at + 5) {
        if entry[0] == STREAM_TYPE_H264 {
            return Some(u16::from_be_bytes([entry[1] & 0x1f, entry[2]]));
        }
        at += 5 + length(at + 3)?;
    }
    None
}

/// The PTS of a PES, and what follows its header.
fn pes(payload: &[u8]) -> Option<(Option<u64>, &[u8])> {
    let head = payload.get(..9).filter(|head| head[..3] == [0, 0, 1])?;
    let rest = payload.get(9 + usize::from(head[8])..)?;
    let pts = if head[7] & 0x80 != 0 {
        let bytes = payload.get(9..14)?;
        let bits = |at: usize, mask: u8, shift: u32| u64::from(bytes[at] & mask) << shift;
        Some(
            bits(0, 0x0e, 29)
                | bits(1, 0xff, 22)
                | bits(2, 0xfe, 14)
                | bits(3, 0xff, 7)
                | bits(4, 0xfe, 0) >> 1,
        )
    } else {
        None
    };
    Some((pts, rest))
}

/// More than a frame of 4K has at the highest rate of its level.
const UNIT_BYTES_MAX: usize = 16 << 20;
