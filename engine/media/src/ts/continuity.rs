//! Next, duplicate or jump: the four-bit counter of one PID (13818-1 2.4.3.3).
//!
//! Invariants:
//! - A duplicate is the same payload again, once. The counter alone does not make one: a sender that starts over may well
//!   repeat the number.
//! - After [`Continuity::forget`] any number is the next.

use super::packet::Packet;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Next,
    Duplicate,
    /// Packets are missing, or belong to another sender.
    Jump,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Continuity {
    last: Option<Last>,
    may_jump: bool,
}

#[derive(Debug, Clone)]
struct Last {
    counter: u8,
    starts_unit: bool,
    payload_bytes: usize,
    head: [u8; PRINT_BYTES],
    tail: [u8; PRINT_BYTES],
    was_repeated: bool,
}

impl Continuity {
    /// Judges a packet with payload.
    pub(super) fn step(&mut self, packet: &Packet<'_>, payload: &[u8]) -> Step {
        let may_jump = core::mem::take(&mut self.may_jump) || packet.is_discontinuous;
        let head = payload.first_chunk().copied().unwrap_or_default();
        let tail = payload.last_chunk().copied().unwrap_or_default();
        if let Some(last) = &mut self.last {
            let same = last.counter == packet.continuity
                && last.starts_unit == packet.starts_unit
                && last.payload_bytes == payload.len()
                && last.head == head
                && last.tail == tail;
            if same && !last.was_repeated {
                last.was_repeated = true;
                return Step::Duplicate;
            }
        }
        let expected = self.last.as_ref().map(|last| (last.counter + 1) & 0xf);
        self.last = Some(Last {
            counter: packet.continuity,
            starts_unit: packet.starts_unit,
            payload_bytes: payload.len(),
            head,
            tail,
            was_repeated: false,
        });
        match expected {
            Some(expected) if expected != packet.continuity && !may_jump => Step::Jump,
            _ => Step::Next,
        }
    }

    /// The next packet with payload may have any number: the sender said so.
    pub(super) fn allow_jump(&mut self) {
        self.may_jump = true;
    }

    /// The stream begins anew.
    pub(super) fn forget(&mut self) {
        *self = Continuity::default();
    }
}

/// Bytes kept of either end of a payload to know it again; all 184 would have to be copied for every packet.
const PRINT_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PACKET_BYTES;

    fn step(continuity: &mut Continuity, counter: u8, mark: u8, flags: u8) -> Step {
        let mut raw = [mark; PACKET_BYTES];
        raw[..6].copy_from_slice(&[0x47, 1, 0, 0x30 | counter, 1, flags]);
        let packet = Packet::parse(&raw).unwrap();
        continuity.step(&packet, packet.payload.unwrap())
    }

    #[test]
    fn counts_to_sixteen_and_drops_one_duplicate() {
        let mut continuity = Continuity::default();
        assert_eq!(step(&mut continuity, 14, 1, 0), Step::Next);
        assert_eq!(step(&mut continuity, 15, 2, 0), Step::Next);
        assert_eq!(step(&mut continuity, 0, 3, 0), Step::Next);
        assert_eq!(step(&mut continuity, 0, 3, 0), Step::Duplicate);
        assert_eq!(
            step(&mut continuity, 0, 3, 0),
            Step::Jump,
            "a packet is sent twice at most"
        );
        assert_eq!(
            step(&mut continuity, 0, 4, 0),
            Step::Jump,
            "not the same payload"
        );
        assert_eq!(step(&mut continuity, 2, 5, 0), Step::Jump);
        assert_eq!(step(&mut continuity, 9, 6, 0x80), Step::Next, "announced");
        continuity.allow_jump();
        assert_eq!(step(&mut continuity, 1, 7, 0), Step::Next);
        continuity.forget();
        assert_eq!(step(&mut continuity, 1, 7, 0), Step::Next);
    }
}
