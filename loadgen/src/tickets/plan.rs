//! Who sends what when: drawn from the seed, for each sender by itself.
//!
//! ```text
//!   slot k of the run    is due at start + k/rate, and is the next slot of sender k mod senders
//!   slot of a sender     carries its next payment, shuffled within a window of `reorder`; or one that it sent before, again
//! ```
//!
//! The load is the same however many threads share it. A payment is sent again after its first slot, however it was shuffled, and once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::PathBuf;

use serde::Serialize;
use ticket::nonces::NONCES_MAX;

use super::options::Options;
use crate::clock::SECOND;
use crate::failure::Failure;
use crate::units::{Share, Span};

/// The options, resolved.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Manner {
    pub(super) senders: u32,
    pub(super) tickets_per_payment: Span<u32>,
    pub(super) rate: u32,
    pub(super) connections: u32,
    pub(super) bad: Share,
    pub(super) replay: Share,
    pub(super) reorder: u32,
    pub(super) win_rate: Option<Share>,
    pub(super) ledger: Option<PathBuf>,
}

/// Whether a payment is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is.
    Good,
    /// No ticket of it is: none is signed by its sender.
    Forged,
}

/// What goes out at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    /// Number of the sender's payment.
    pub(super) payment: u32,
    /// It went out before.
    pub(super) is_replay: bool,
}

/// What a sender does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// Tickets of each payment.
    pub(super) tickets: u32,
    /// Its payments, in the order of their nonces.
    pub(super) payments: Vec<Kind>,
    /// In the order of time.
    pub(super) slots: Vec<Slot>,
}

impl Manner {
    pub(super) fn resolve(options: &Options) -> Result<Self, Failure> {
        let manner = Self {
            senders: options.senders.unwrap_or(10),
            tickets_per_payment: options.tickets_per_payment.unwrap_or_else(|| 1.into()),
            rate: options.rate.unwrap_or(100),
            connections: options.connections.unwrap_or(16),
            bad: options.bad.unwrap_or_default(),
            replay: options.replay.unwrap_or_default(),
            reorder: options.reorder.unwrap_or(1),
            win_rate: options.win_rate,
            ledger: options.ledger.clone(),
        };
        manner.check()?;
        Ok(manner)
    }

    fn check(&self) -> Result<(), Failure> {
        let tickets = self.tickets_per_payment;
        for (is_possible, what) in [
            (
                (1..=SENDERS_MAX).contains(&self.senders),
                format!("1 to {SENDERS_MAX} senders"),
            ),
            (
                tickets.min >= 1 && tickets.max <= NONCES_MAX,
                format!("1 to {NONCES_MAX} tickets of a payment"),
            ),
            (
                (1..=RATE_MAX).contains(&self.rate),
                format!("1 to {RATE_MAX} payments a second"),
            ),
            (
                (1..=CONNECTIONS_MAX).contains(&self.connections),
                format!("1 to {CONNECTIONS_MAX} connections"),
            ),
            (
                (1..=REORDER_MAX).contains(&self.reorder),
                format!("a shuffle within 1 to {REORDER_MAX} payments"),
            ),
        ] {
            if !is_possible {
                return Err(Failure::new(format!(
                    "{what} are possible, and no other number"
                )));
            }
        }
        match self.win_rate {
            Some(Share(0.0)) => Err(Failure::new(
                "--win-rate 0: tickets that never win are worth nothing, and nobody offers them",
            )),
            _ => Ok(()),
        }
    }

    /// Slots of a run with traffic for so long.
    ///
    /// # Errors
    /// Its payments would not fit in memory.
    pub(super) fn slots(&self, traffic_ns: u64) -> Result<u64, Failure> {
        let slots = (u128::from(traffic_ns) * u128::from(self.rate)).div_ceil(u128::from(SECOND));
        let slots = u64::try_from(slots).unwrap_or(u64::MAX);
        let bytes = slots.saturating_mul(self.payment_bytes());
        if bytes > BYTES_MAX {
            return Err(Failure::new(format!(
                "{slots} payments are signed before the first is sent, and may take {} MiB; {} MiB are possible: \
                 give it a shorter --window, a lower --rate or fewer --tickets-per-payment",
                bytes >> 20,
                BYTES_MAX >> 20
            )));
        }
        Ok(slots)
    }

    /// When a slot is due, after the start.
    pub(super) fn due_ns(&self, slot: u64) -> u64 {
        let ns = u128::from(slot) * u128::from(SECOND) / u128::from(self.rate);
        u64::try_from(ns).unwrap_or(u64::MAX / 4)
    }

    /// Of a sender, how many of `slots` are its own.
    pub(super) fn slots_of(&self, sender: u32, slots: u64) -> u64 {
        slots
            .saturating_sub(u64::from(sender))
            .div_ceil(u64::from(self.senders))
    }

    /// Of a payment's request, at the most.
    pub(super) fn payment_bytes(&self) -> u64 {
        PARAMS_BYTES + TICKET_BYTES * u64::from(self.tickets_per_payment.max)
    }

    /// What a sender does in its `slots`.
    pub(super) fn plan(&self, seed: u64, sender: u32, slots: u64) -> Plan {
        let mut rng = fastrand::Rng::with_seed(seed ^ TAG ^ u64::from(sender) << 32);
        let tickets = self.tickets_per_payment.draw(&mut rng);
        let mut plan = Plan {
            tickets,
            payments: Vec::new(),
            slots: Vec::new(),
        };
        // By the slot from which on it may come again.
        let mut again = BinaryHeap::new();
        for slot in 0..slots {
            if let Some(&Reverse((at, payment))) = again.peek()
                && at <= slot
            {
                again.pop();
                plan.slots.push(Slot {
                    payment,
                    is_replay: true,
                });
                continue;
            }
            let payment = u32::try_from(plan.payments.len()).unwrap_or(u32::MAX);
            let kind = match rng.f64() < self.bad.0 {
                true => Kind::Forged,
                false => Kind::Good,
            };
            if kind == Kind::Good && rng.f64() < self.replay.0 {
                again.push(Reverse((slot + rng.u64(1..=REPLAY_SLOTS_MAX), payment)));
            }
            plan.payments.push(kind);
            plan.slots.push(Slot {
                payment,
                is_replay: false,
            });
        }
        self.shuffle(&mut plan, &mut rng);
        plan
    }

    /// Gives every payment another number of its window.
    fn shuffle(&self, plan: &mut Plan, rng: &mut fastrand::Rng) {
        if self.reorder == 1 {
            return;
        }
        let count = u32::try_from(plan.payments.len()).unwrap_or(u32::MAX);
        let mut numbers: Vec<u32> = (0..count).collect();
        for window in numbers.chunks_mut(self.reorder as usize) {
            rng.shuffle(window);
        }
        let drawn = plan.payments.clone();
        for (number, kind) in numbers.iter().zip(drawn) {
            plan.payments[*number as usize] = kind;
        }
        for slot in &mut plan.slots {
            slot.payment = numbers[slot.payment as usize];
        }
    }
}

/// So that it is not the chance of other scenarios.
const TAG: u64 = 0x7469_636b_6574_7300;
/// A payment comes again within so many slots of its sender.
const REPLAY_SLOTS_MAX: u64 = 32;
const SENDERS_MAX: u32 = 100_000;
const RATE_MAX: u32 = 1_000_000;
const CONNECTIONS_MAX: u32 = 10_000;
const REORDER_MAX: u32 = 1_000_000;
/// In base64: a ticket is 72 bytes, and the rest of a payment some 230, beside what we keep of it ourselves.
const TICKET_BYTES: u64 = 100;
const PARAMS_BYTES: u64 = 480;
/// What all payments of a run may take.
const BYTES_MAX: u64 = 4 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn manner(text: &str) -> Result<Manner, Failure> {
        Manner::resolve(&toml::from_str(text).unwrap())
    }

    #[test]
    fn slots_are_even_and_each_is_one_senders() {
        let manner = manner("senders = 7\nrate = 30").unwrap();
        let slots = manner.slots(10 * SECOND).unwrap();
        assert_eq!((slots, manner.slots(1).unwrap()), (300, 1));
        assert_eq!(manner.due_ns(slots), 10 * SECOND);
        assert!(manner.due_ns(slots - 1) < 10 * SECOND);
        let own: Vec<u64> = (0..7)
            .map(|sender| manner.slots_of(sender, slots))
            .collect();
        assert_eq!(own, [43, 43, 43, 43, 43, 43, 42]);
        assert_eq!(manner.slots_of(5, 3), 0);
    }

    #[test]
    fn forged_ones_are_a_share_and_repeated_ones_were_sent_before() {
        let text = "bad = \"10%\"\nreplay = \"20%\"\nreorder = 50\ntickets_per_payment = \"2..9\"";
        let manner = manner(text).unwrap();
        let plan = manner.plan(1, 0, 20_000);
        assert_eq!(plan, manner.plan(1, 0, 20_000));
        assert_ne!(plan, manner.plan(2, 0, 20_000));
        assert_ne!(plan.slots, manner.plan(1, 1, 20_000).slots);
        assert!((2..=9).contains(&plan.tickets));
        let forged = plan.payments.iter().filter(|kind| **kind == Kind::Forged);
        let share = forged.count() as f64 / plan.payments.len() as f64;
        assert!((0.09..0.11).contains(&share), "{share}");
        let mut sent = vec![0; plan.payments.len()];
        for slot in &plan.slots {
            let sent = &mut sent[slot.payment as usize];
            assert_eq!(*sent, i32::from(slot.is_replay), "{slot:?}");
            *sent += 1;
        }
        assert!(sent.iter().all(|&times| times > 0), "each is sent");
        let again = plan.slots.iter().filter(|slot| slot.is_replay);
        let good = plan.payments.len() as f64 * (1.0 - share);
        let share = again.clone().count() as f64 / good;
        assert!((0.18..0.22).contains(&share), "{share}");
        assert!(
            again
                .clone()
                .all(|slot| plan.payments[slot.payment as usize] == Kind::Good),
            "none that is forged"
        );
    }

    #[test]
    fn a_shuffle_keeps_to_its_window() {
        let plan = manner("reorder = 8").unwrap().plan(3, 0, 100);
        let numbers: Vec<usize> = plan
            .slots
            .iter()
            .map(|slot| slot.payment as usize)
            .collect();
        assert!(!numbers.is_sorted());
        for (at, number) in numbers.iter().enumerate() {
            assert_eq!(at / 8, number / 8);
        }
        let plan = manner("").unwrap().plan(3, 0, 100);
        assert!(plan.slots.iter().map(|slot| slot.payment).eq(0..100));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (wrong, want) in [
            ("senders = 0", "senders"),
            ("tickets_per_payment = 601", "600 tickets"),
            ("tickets_per_payment = \"0..3\"", "600 tickets"),
            ("rate = 0", "payments a second"),
            ("connections = 0", "connections"),
            ("reorder = 0", "shuffle"),
            ("win_rate = 0", "never win"),
        ] {
            let why = manner(wrong).unwrap_err().to_string();
            assert!(why.contains(want), "{why}");
        }
        let many = manner("rate = 100000\ntickets_per_payment = 600").unwrap();
        let why = many.slots(60 * SECOND).unwrap_err().to_string();
        assert!(
            why.contains("--window") && why.contains("4096 MiB"),
            "{why}"
        );
    }
}
