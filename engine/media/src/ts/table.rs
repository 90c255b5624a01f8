//! The table on one PID: a section is read only when it is not the one read last.
//!
//! Senders repeat their tables ten times a second; a repetition costs its checksum and a comparison.
//!
//! Invariant: a section is given out whole or not at all; losing a packet voids the section in progress.

use alloc::vec::Vec;

use super::{
    continuity::{Continuity, Step},
    demux::Stats,
    packet::Packet,
    section::Sections,
};

#[derive(Debug, Clone)]
pub(super) struct Table {
    continuity: Continuity,
    sections: Sections,
    last: Vec<u8>,
}

impl Table {
    pub(super) fn new() -> Table {
        Table {
            continuity: Continuity::default(),
            sections: Sections::new(),
            last: Vec::new(),
        }
    }

    /// Takes a packet and gives each new section that it completes to `sink`. Returns what there was to count.
    pub(super) fn handle(&mut self, packet: &Packet<'_>, mut sink: impl FnMut(&[u8])) -> Counts {
        let mut counts = Counts::default();
        let Some(payload) = packet.payload else {
            return counts;
        };
        match self.continuity.step(packet, payload) {
            Step::Next => {}
            Step::Duplicate => {
                counts.duplicates = 1;
                return counts;
            }
            Step::Jump => {
                counts.discontinuities = 1;
                self.sections.forget();
            }
        }
        let last = &mut self.last;
        counts.crc_errors = self.sections.push(payload, packet.starts_unit, |section| {
            if section != &last[..] {
                last.clear();
                last.extend_from_slice(section);
                sink(section);
            }
        });
        counts
    }

    /// The stream begins anew; what the table said still holds.
    pub(super) fn flush(&mut self) {
        self.continuity.forget();
        self.sections.forget();
    }
}

/// What one packet of a table adds to the statistics.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    duplicates: u64,
    discontinuities: u64,
    crc_errors: u64,
}

impl Counts {
    pub(super) fn add_to(self, stats: &mut Stats) {
        stats.duplicates += self.duplicates;
        stats.discontinuities += self.discontinuities;
        stats.crc_errors += self.crc_errors;
    }
}
