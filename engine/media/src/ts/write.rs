//! Packets on their way out (13818-1 2.4.3.2 to 2.4.3.5).
//!
//! Invariant: a packet is stuffed only as far as its payload leaves it empty, so whoever writes full packets first and the
//! short one last has stuffing in the last alone.

use alloc::vec::Vec;

use super::sync::SYNC_BYTE;
use crate::{
    clock::Ticks,
    limits::{PACKET_BYTES, PACKET_PAYLOAD_BYTES_MAX},
};

/// What the first packet of a unit says beside its payload.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Adaptation {
    pub(super) is_discontinuous: bool,
    pub(super) is_random_access: bool,
    pub(super) pcr: Option<Ticks>,
}

impl Adaptation {
    /// A length, flags and a PCR.
    pub(super) const BYTES_MAX: usize = 8;

    pub(super) const fn bytes(self) -> usize {
        match (self.pcr, self.is_discontinuous || self.is_random_access) {
            (Some(_), _) => Self::BYTES_MAX,
            (None, true) => 2,
            (None, false) => 0,
        }
    }

    const fn flags(self) -> u8 {
        (self.is_discontinuous as u8) << 7
            | (self.is_random_access as u8) << 6
            | (self.pcr.is_some() as u8) << 4
    }
}

/// Writes a packet up to its payload of `payload_bytes`; what the payload does not fill is stuffed.
pub(super) fn write_header(
    pid: u16,
    is_start: bool,
    adaptation: Adaptation,
    payload_bytes: usize,
    continuity: &mut u8,
    out: &mut Vec<u8>,
) {
    let adaptation_bytes = PACKET_PAYLOAD_BYTES_MAX - payload_bytes;
    let control = if adaptation_bytes > 0 { 0x30 } else { 0x10 };
    let start = if is_start { 0x40 } else { 0 };
    out.extend_from_slice(&[
        SYNC_BYTE,
        start | (pid >> 8) as u8,
        pid as u8,
        control | *continuity,
    ]);
    *continuity = (*continuity + 1) & 0xf;
    if adaptation_bytes == 0 {
        return;
    }
    out.push(adaptation_bytes as u8 - 1);
    if adaptation_bytes == 1 {
        return;
    }
    out.push(adaptation.flags());
    if let Some(pcr) = adaptation.pcr {
        // 33 bits of 90 kHz, six reserved, nine of 27 MHz that are 0 (2.4.3.5).
        let field = pcr.wire() << 15 | 0x3f << 9;
        out.extend_from_slice(&field.to_be_bytes()[2..]);
    }
    let stuffing = adaptation_bytes - adaptation.bytes().max(2);
    out.resize(out.len() + stuffing, STUFFING);
}

/// Writes a section as packets of its own.
pub(super) fn write_section(pid: u16, continuity: &mut u8, section: &[u8], out: &mut Vec<u8>) {
    // The first payload begins with a pointer to its first section, which is right behind it.
    let (first, rest) = section.split_at(section.len().min(PACKET_PAYLOAD_BYTES_MAX - 1));
    let chunks = core::iter::once(first).chain(rest.chunks(PACKET_PAYLOAD_BYTES_MAX));
    for (index, chunk) in chunks.enumerate() {
        let end = out.len() + PACKET_BYTES;
        write_header(
            pid,
            index == 0,
            Adaptation::default(),
            PACKET_PAYLOAD_BYTES_MAX,
            continuity,
            out,
        );
        if index == 0 {
            out.push(0);
        }
        out.extend_from_slice(chunk);
        out.resize(end, STUFFING);
    }
}

const STUFFING: u8 = 0xff;
