//! Packets of one PID become sections (13818-1 2.4.4), checked against their CRC.
//!
//! Invariants:
//! - At most [`SECTION_BYTES_MAX`] bytes are held. A section that claims more is skipped up to the next start.
//! - Nothing is given out whose CRC does not match.

use super::crc::crc32;
use crate::limits::SECTION_BYTES_MAX;

#[derive(Debug, Clone)]
pub(super) struct Sections {
    held: [u8; SECTION_BYTES_MAX],
    held_bytes: usize,
    /// Whether a start was seen, and what follows belongs to it.
    has_start: bool,
}

impl Sections {
    pub(super) const fn new() -> Sections {
        Sections {
            held: [0; SECTION_BYTES_MAX],
            held_bytes: 0,
            has_start: false,
        }
    }

    /// Packets were lost: the section in progress is void.
    pub(super) fn forget(&mut self) {
        self.held_bytes = 0;
        self.has_start = false;
    }

    /// Takes a payload and gives each section that it completes to `sink`. Returns how many failed their check.
    pub(super) fn push(
        &mut self,
        payload: &[u8],
        starts_section: bool,
        mut sink: impl FnMut(&[u8]),
    ) -> u64 {
        if !starts_section {
            return self.take(payload, &mut sink);
        }
        let Some((&pointer, rest)) = payload.split_first() else {
            return 0;
        };
        let Some((end, starts)) = rest.split_at_checked(usize::from(pointer)) else {
            self.forget();
            return 1;
        };
        let failed = self.take(end, &mut sink);
        self.held_bytes = 0;
        self.has_start = true;
        failed + self.take(starts, &mut sink)
    }

    fn take(&mut self, mut bytes: &[u8], sink: &mut impl FnMut(&[u8])) -> u64 {
        let mut failed = 0;
        while self.has_start && !bytes.is_empty() {
            if self.held_bytes == 0 && bytes[0] == STUFFING {
                self.has_start = false; // stuffing goes on to the end of the packet
                break;
            }
            let want = self.section_bytes().unwrap_or(HEADER_BYTES);
            let (taken, rest) = bytes.split_at((want - self.held_bytes).min(bytes.len()));
            self.held[self.held_bytes..][..taken.len()].copy_from_slice(taken);
            self.held_bytes += taken.len();
            bytes = rest;
            let Some(want) = self.section_bytes() else {
                continue;
            };
            if want > SECTION_BYTES_MAX {
                self.forget();
                return failed + 1;
            }
            if self.held_bytes == want {
                let section = &self.held[..want];
                if crc32(section) == 0 {
                    sink(section);
                } else {
                    failed += 1;
                }
                self.held_bytes = 0;
            }
        }
        failed
    }

    /// Bytes of the section in progress, once its header is there.
    fn section_bytes(&self) -> Option<usize> {
        let header = self.held[..self.held_bytes].first_chunk::<HEADER_BYTES>()?;
        Some(HEADER_BYTES + (usize::from(header[1] & 0xf) << 8 | usize::from(header[2])))
    }
}

/// `table_id` and `section_length`.
const HEADER_BYTES: usize = 3;
const STUFFING: u8 = 0xff;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};
    use proptest::prelude::*;

    pub(crate) fn section(table_id: u8, body: &[u8]) -> Vec<u8> {
        let length = body.len() + 4;
        let mut section = vec![table_id, 0xb0 | (length >> 8) as u8, length as u8];
        section.extend_from_slice(body);
        section.extend_from_slice(&crc32(&section).to_be_bytes());
        section
    }

    fn run(payloads: &[(bool, &[u8])]) -> (Vec<Vec<u8>>, u64) {
        let (mut sections, mut found, mut failed) = (Sections::new(), Vec::new(), 0);
        for (starts, payload) in payloads {
            failed += sections.push(payload, *starts, |section| found.push(section.to_vec()));
        }
        (found, failed)
    }

    #[test]
    fn sections_span_packets_and_share_them() {
        let (a, b) = (section(0, &[1; 300]), section(2, &[2; 10]));
        let first = [&[0][..], &a[..183]].concat();
        let second = [&[(a.len() - 183) as u8][..], &a[183..], &b, &[0xff; 20]].concat();
        assert_eq!(
            run(&[(false, &[0; 184]), (true, &first), (true, &second)]),
            (vec![a.clone(), b.clone()], 0)
        );
        // Without its start the end of a section is nothing; the next one stands.
        assert_eq!(run(&[(true, &second)]), (vec![b], 0));
    }

    #[test]
    fn damage_is_not_given_out() {
        let mut bad = section(0, &[1; 20]);
        bad[7] ^= 1;
        assert_eq!(run(&[(true, &[&[0][..], &bad].concat())]), (vec![], 1));
        assert_eq!(
            run(&[(true, &[200, 1, 2])]),
            (vec![], 1),
            "the pointer leaves the packet"
        );
        assert_eq!(
            run(&[(true, &[0, 0, 0xbf, 0xff, 1])]),
            (vec![], 1),
            "too long"
        );
        assert_eq!(run(&[(true, &[])]), (vec![], 0));
    }

    proptest! {
        #[test]
        fn any_bytes_are_bounded(payloads in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..184)), 0..30)) {
            let mut sections = Sections::new();
            for (starts, payload) in &payloads {
                sections.push(payload, *starts, |section| assert!(section.len() <= SECTION_BYTES_MAX));
                prop_assert!(sections.held_bytes <= SECTION_BYTES_MAX);
            }
        }
    }
}
