//! Which packet is the last of a unit, learned.
//!
//! A video PES usually has no length, so by the standard it ends where the next one starts: a frame interval late, 33 ms at
//! 30 frames a second. But a sender must fill the last packet of a PES with stuffing (13818-1 2.4.3.5), and has no reason to
//! stuff an earlier one. So a stuffed packet is the last, if this sender has always had it so.
//!
//! ```text
//! Learning { streak } ──(TAIL_STREAK units, or one long one, stuffed in the last packet alone)──▶ Trusted
//!     │ stuffing elsewhere: streak = 0                                                   │
//!     └───────────────────────────────────────────────────────  Distrusted ◀─(more came after an end)
//! ```
//!
//! Invariant: from `Distrusted` there is no way back; a sender that broke the rule once may do it again.

use crate::limits::{TAIL_LONG_PACKETS, TAIL_STREAK};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    Learning { streak: u8 },
    Trusted,
    Distrusted,
}

/// Where stuffing was seen in one unit.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stuffing {
    packets: u16,
    in_last: bool,
    before_last: bool,
}

impl Stuffing {
    /// One more packet of the unit.
    pub(super) fn see(&mut self, is_stuffed: bool) {
        self.packets = self.packets.saturating_add(1);
        self.before_last |= self.in_last;
        self.in_last = is_stuffed;
    }
}

impl Tail {
    pub(super) const fn new() -> Tail {
        Tail::Learning { streak: 0 }
    }

    /// Whether a stuffed packet ends its unit.
    pub(super) const fn is_trusted(self) -> bool {
        matches!(self, Tail::Trusted)
    }

    /// A unit ended by other means, and nothing of it was lost. One that filled its packets exactly says nothing.
    pub(super) fn learn(&mut self, stuffing: Stuffing) {
        if let Tail::Learning { streak } = self {
            if stuffing.before_last {
                *streak = 0;
            } else if stuffing.in_last {
                // Each packet but the last was a chance to stuff that was not taken: a long unit says as much as many short ones.
                *streak += match stuffing.packets {
                    TAIL_LONG_PACKETS.. => TAIL_STREAK,
                    _ => 1,
                };
                if *streak >= TAIL_STREAK {
                    *self = Tail::Trusted;
                }
            }
        }
    }

    /// More of a unit came after a stuffed packet had ended it.
    pub(super) fn distrust(&mut self) {
        *self = Tail::Distrusted;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(packets: &[bool]) -> Stuffing {
        let mut stuffing = Stuffing::default();
        packets.iter().for_each(|&packet| stuffing.see(packet));
        stuffing
    }

    #[test]
    fn one_long_unit_earns_trust_at_once() {
        let mut packets = [false; TAIL_LONG_PACKETS as usize];
        packets[packets.len() - 1] = true;
        let mut tail = Tail::new();
        tail.learn(unit(&packets[1..]));
        assert_eq!(tail, Tail::Learning { streak: 1 });
        packets[3] = true;
        tail.learn(unit(&packets));
        assert_eq!(tail, Tail::Learning { streak: 0 });
        packets[3] = false;
        tail.learn(unit(&packets));
        assert!(tail.is_trusted());
    }

    #[test]
    fn a_streak_earns_trust_and_a_breach_ends_it() {
        let mut tail = Tail::new();
        for _ in 0..TAIL_STREAK - 1 {
            tail.learn(unit(&[false, false, true]));
        }
        tail.learn(unit(&[false, true, true]));
        assert_eq!(tail, Tail::Learning { streak: 0 });
        for n in 0..TAIL_STREAK {
            assert!(!tail.is_trusted());
            tail.learn(unit(&[false, false])); // neutral
            tail.learn(if n % 2 == 0 {
                unit(&[true])
            } else {
                unit(&[false, true])
            });
        }
        assert!(tail.is_trusted());
        tail.distrust();
        (0..100).for_each(|_| tail.learn(unit(&[false, true])));
        assert_eq!(tail, Tail::Distrusted);
    }
}
