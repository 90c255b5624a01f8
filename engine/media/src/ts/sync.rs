//! Bytes become packets (13818-1 2.4.3.1), wherever a read cut them and whatever lies between them.
//!
//! ```text
//! Locked ──(a packet's first byte is not 0x47)──▶ Searching
//!    ▲                                                │
//!    └──────(SYNC_RUN sync bytes, 188 apart)──────────┘
//! ```
//!
//! Invariants:
//! - While locked, a packet is given out with its last byte: nobody waits for the byte after it.
//! - While searching, at most [`SYNC_WINDOW_BYTES`] are held; what cannot begin a run is dropped and counted.
//! - The packets given out depend on the bytes alone, not on how they were cut.

use crate::limits::{PACKET_BYTES, SYNC_RUN, SYNC_WINDOW_BYTES};

pub(super) type RawPacket = [u8; PACKET_BYTES];

#[derive(Debug, Clone)]
pub(super) struct Sync {
    held: [u8; SYNC_WINDOW_BYTES],
    held_bytes: usize,
    is_locked: bool,
    /// Times that the lock was lost.
    pub(super) losses: u64,
    /// Bytes that were in no packet.
    pub(super) skipped_bytes: u64,
}

impl Sync {
    /// Locked: a stream is taken to begin with a packet until it shows otherwise.
    pub(super) const fn new() -> Sync {
        Sync {
            held: [0; SYNC_WINDOW_BYTES],
            held_bytes: 0,
            is_locked: true,
            losses: 0,
            skipped_bytes: 0,
        }
    }

    pub(super) const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Gives every packet that `bytes` completes to `sink`.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut sink: impl FnMut(&RawPacket)) {
        loop {
            if self.is_locked && self.held_bytes == 0 {
                bytes = self.pass_through(bytes, &mut sink);
            }
            if bytes.is_empty() {
                return;
            }
            let want = if self.is_locked {
                PACKET_BYTES
            } else {
                SYNC_WINDOW_BYTES
            };
            let (taken, rest) = bytes.split_at((want - self.held_bytes).min(bytes.len()));
            self.held[self.held_bytes..][..taken.len()].copy_from_slice(taken);
            self.held_bytes += taken.len();
            bytes = rest;
            self.give_out(&mut sink);
        }
    }

    /// Ends the stream: a search gives out what lines up with the end, the rest is dropped, and the lock is taken again.
    pub(super) fn flush(&mut self, mut sink: impl FnMut(&RawPacket)) {
        let held = self.held;
        let held = &held[..self.held_bytes];
        if !self.is_locked {
            let lines_up = |&at: &usize| {
                held[at..]
                    .chunks(PACKET_BYTES)
                    .all(|packet| packet[0] == SYNC_BYTE)
            };
            let first = (held.len() % PACKET_BYTES..held.len())
                .step_by(PACKET_BYTES)
                .find(lines_up);
            let packets = &held[first.unwrap_or(held.len())..];
            packets
                .as_chunks::<PACKET_BYTES>()
                .0
                .iter()
                .for_each(&mut sink);
            self.skipped_bytes += (held.len() - packets.len()) as u64;
        } else {
            self.skipped_bytes += held.len() as u64;
        }
        self.held_bytes = 0;
        self.is_locked = true;
    }

    /// The fast path: whole packets straight from the caller's bytes. Returns what it left.
    fn pass_through<'a>(
        &mut self,
        mut bytes: &'a [u8],
        sink: &mut impl FnMut(&RawPacket),
    ) -> &'a [u8] {
        while let Some((packet, rest)) = bytes.split_first_chunk::<PACKET_BYTES>() {
            if packet[0] != SYNC_BYTE {
                self.lose();
                break;
            }
            sink(packet);
            bytes = rest;
        }
        bytes
    }

    /// Gives out what is held, as far as the lock or a new one reaches.
    fn give_out(&mut self, sink: &mut impl FnMut(&RawPacket)) {
        let mut at = 0;
        loop {
            if !self.is_locked {
                let Some(found) = find_run(&self.held[at..self.held_bytes]) else {
                    // Offsets that could still begin a run are kept, as are those that the window cannot judge yet.
                    let judged = self.held_bytes.saturating_sub(RUN_BYTES - 1).max(at);
                    self.skipped_bytes += (judged - at) as u64;
                    at = judged;
                    break;
                };
                self.skipped_bytes += found as u64;
                at += found;
                self.is_locked = true;
            }
            match self.held[at..self.held_bytes].split_first_chunk::<PACKET_BYTES>() {
                Some((packet, _)) if packet[0] == SYNC_BYTE => {
                    sink(packet);
                    at += PACKET_BYTES;
                }
                None if self.held_bytes == at || self.held[at] == SYNC_BYTE => break,
                _ => self.lose(),
            }
        }
        self.held.copy_within(at..self.held_bytes, 0);
        self.held_bytes -= at;
    }

    fn lose(&mut self) {
        self.is_locked = false;
        self.losses += 1;
    }
}

/// Where a run of sync bytes begins that `bytes` shows whole.
fn find_run(bytes: &[u8]) -> Option<usize> {
    let judged = bytes.len().checked_sub(RUN_BYTES - 1)?;
    (0..judged).find(|at| (0..SYNC_RUN).all(|n| bytes[at + n * PACKET_BYTES] == SYNC_BYTE))
}

pub(super) const SYNC_BYTE: u8 = 0x47;

/// Bytes from the first to the last sync byte of a run.
const RUN_BYTES: usize = (SYNC_RUN - 1) * PACKET_BYTES + 1;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};
    use proptest::prelude::*;

    fn packet(mark: u8) -> Vec<u8> {
        let mut packet = vec![mark; PACKET_BYTES];
        packet[0] = SYNC_BYTE;
        packet
    }

    fn run(parts: &[&[u8]]) -> (Vec<u8>, Sync) {
        let (mut sync, mut marks) = (Sync::new(), Vec::new());
        for part in parts {
            sync.push(part, |packet| marks.push(packet[1]));
        }
        sync.flush(|packet| marks.push(packet[1]));
        (marks, sync)
    }

    #[test]
    fn garbage_between_packets_costs_no_packet() {
        let stream = [
            packet(1),
            packet(2),
            vec![9; 5],
            vec![0x47; 3],
            vec![9; 700],
            packet(3),
            packet(4),
        ]
        .concat();
        let (marks, sync) = run(&[&stream]);
        assert_eq!(marks, [1, 2, 3, 4], "the last two line up with the end");
        assert_eq!(sync.losses, 1);
    }

    #[test]
    fn a_spoilt_sync_byte_costs_one_packet() {
        let mut stream = [packet(1), packet(2), packet(3), packet(4), packet(5)].concat();
        stream[188] = 0;
        let (marks, sync) = run(&[&stream]);
        assert_eq!(marks, [1, 3, 4, 5]);
        assert_eq!(sync.skipped_bytes, 188);
    }

    #[test]
    fn a_cut_packet_at_the_end_is_dropped_and_the_next_segment_starts_clean() {
        let (mut sync, mut marks) = (Sync::new(), Vec::new());
        sync.push(&[packet(1), packet(2)[..100].to_vec()].concat(), |packet| {
            marks.push(packet[1])
        });
        sync.flush(|packet| marks.push(packet[1]));
        sync.push(&packet(3), |packet| marks.push(packet[1]));
        assert_eq!(marks, [1, 3]);
        assert_eq!((sync.skipped_bytes, sync.losses), (100, 0));
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(
            parts in proptest::collection::vec(prop_oneof![
                3 => any::<u8>().prop_map(packet),
                1 => proptest::collection::vec(prop_oneof![Just(0x47u8), any::<u8>()], 0..800),
            ], 0..12),
            cuts in proptest::collection::vec(1usize..400, 1..50),
        ) {
            let stream = parts.concat();
            let (whole, sync) = run(&[&stream]);
            let mut rest = &stream[..];
            let mut pieces = Vec::new();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, tail) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = tail;
            }
            let (cut, cut_sync) = run(&pieces);
            prop_assert_eq!(&whole, &cut);
            prop_assert_eq!((sync.losses, sync.skipped_bytes), (cut_sync.losses, cut_sync.skipped_bytes));
            prop_assert_eq!(sync.skipped_bytes as usize + whole.len() * PACKET_BYTES, stream.len());
        }
    }
}
