//! Whose turn it is.
//!
//! ```text
//!   ring of senders ──▶ sender ──▶ ring of its sources ──▶ source ──▶ its payments, oldest first
//! ```
//!
//! A sender who comes to the front gives a share of tickets to the batch and goes to the back. Having many connections does not get
//! him more; and because parameters name their sender, and are offered only to those who have funds, neither does having many names.
//! Who pretends to be somebody else (under parameters that were offered to that one, which anybody may ask for) takes turns with him
//! within his share, by source.
//!
//! Invariants: nobody is in a ring who has nothing to give, and a payment is in one place only. A sender who has nothing waiting is
//! remembered, and queues are kept when they empty, so that nothing is taken from the heap in the long run; when too many are
//! remembered, all who have nothing waiting are forgotten.

use std::collections::{BTreeMap, VecDeque};

use ticket::Address;

/// A payment's number in the lane's table.
pub(super) type Slot = u32;

/// See the module.
#[derive(Default)]
pub(super) struct Queue {
    by_address: BTreeMap<Address, usize>,
    senders: Vec<Sender>,
    idle_senders: Vec<usize>,
    turns: VecDeque<usize>,
    sources: Vec<Source>,
    idle_sources: Vec<usize>,
    payments: usize,
}

#[derive(Default)]
struct Sender {
    /// Its sources, in the order of their turns.
    turns: VecDeque<usize>,
    payments: usize,
}

/// Senders that are remembered, waiting or not. There are never more waiting, since each has a payment in the lane's table.
const REMEMBERED_MAX: usize = 16_384;
/// Sources of one sender that are told apart.
const SOURCES_MAX: usize = 64;

#[derive(Default)]
struct Source {
    number: u64,
    payments: VecDeque<Slot>,
}

/// A sender at the front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    sender: usize,
    source: usize,
    /// The payment that is next.
    pub(super) payment: Slot,
}

impl Turn {
    /// Whether it is the same source's, perhaps with its next payment.
    pub(super) fn is_same_turn(&self, other: &Self) -> bool {
        self.sender == other.sender && self.source == other.source
    }
}

impl Queue {
    /// Payments that wait.
    pub(super) const fn len(&self) -> usize {
        self.payments
    }

    /// Takes a payment.
    pub(super) fn push(&mut self, address: Address, source: u64, payment: Slot) {
        let sender = self.sender(address);
        if self.senders[sender].payments == 0 {
            self.turns.push_back(sender);
        }
        let turns = &mut self.senders[sender].turns;
        let known = turns
            .iter()
            .copied()
            .find(|at| self.sources[*at].number == source);
        // More connections than that share turns.
        let shared = || turns.get(SOURCES_MAX - 1).copied();
        let at = known.or_else(shared).unwrap_or_else(|| {
            let at = self.idle_sources.pop().unwrap_or_else(|| {
                self.sources.push(Source::default());
                self.sources.len() - 1
            });
            self.sources[at].number = source;
            turns.push_back(at);
            at
        });
        self.sources[at].payments.push_back(payment);
        self.senders[sender].payments += 1;
        self.payments += 1;
    }

    /// A sender's number.
    fn sender(&mut self, address: Address) -> usize {
        if let Some(sender) = self.by_address.get(&address) {
            return *sender;
        }
        if self.by_address.len() >= REMEMBERED_MAX {
            let (senders, idle) = (&self.senders, &mut self.idle_senders);
            self.by_address.retain(|_, sender| {
                let is_waiting = senders[*sender].payments > 0;
                if !is_waiting {
                    idle.push(*sender);
                }
                is_waiting
            });
        }
        let sender = self.idle_senders.pop().unwrap_or_else(|| {
            self.senders.push(Sender::default());
            self.senders.len() - 1
        });
        self.by_address.insert(address, sender);
        sender
    }

    /// How many of a sender's payments wait.
    pub(super) fn waiting(&self, address: &Address) -> usize {
        let sender = self.by_address.get(address);
        sender.map_or(0, |sender| self.senders[*sender].payments)
    }

    /// Whose turn it is.
    pub(super) fn front(&self) -> Option<Turn> {
        let sender = *self.turns.front()?;
        let source = *self.senders[sender].turns.front()?;
        let payment = *self.sources[source].payments.front()?;
        Some(Turn {
            sender,
            source,
            payment,
        })
    }

    /// Takes the payment out of the front: all of it has been looked at. Whoever is at the front stays there.
    pub(super) fn take(&mut self, turn: Turn) {
        self.sources[turn.source].payments.pop_front();
        self.senders[turn.sender].payments -= 1;
        self.payments -= 1;
        if self.sources[turn.source].payments.is_empty() {
            self.senders[turn.sender].turns.pop_front();
            self.idle_sources.push(turn.source);
        }
        if self.senders[turn.sender].turns.is_empty() {
            self.turns.pop_front();
        }
    }

    /// The turn is over: the sender goes to the back, and so does the source among the sender's, if they are there still.
    pub(super) fn pass(&mut self, turn: Turn) {
        if self.turns.front() != Some(&turn.sender) {
            return;
        }
        self.turns.rotate_left(1);
        let turns = &mut self.senders[turn.sender].turns;
        if turns.front() == Some(&turn.source) {
            turns.rotate_left(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(n: u8) -> Address {
        Address([n; 20])
    }

    /// Takes `count` payments, one a turn.
    fn take(queue: &mut Queue, count: usize) -> Vec<Slot> {
        (0..count)
            .map_while(|_| {
                let turn = queue.front()?;
                queue.take(turn);
                queue.pass(turn);
                Some(turn.payment)
            })
            .collect()
    }

    #[test]
    fn senders_take_turns_and_within_a_sender_sources_do() {
        let mut queue = Queue::default();
        for n in 0..6 {
            queue.push(sender(1), 1, n);
        }
        queue.push(sender(2), 2, 10);
        queue.push(sender(2), 2, 11);
        // Somebody who says that he is sender 2.
        for n in 20..24 {
            queue.push(sender(2), 3, n);
        }
        assert_eq!(queue.len(), 12);
        assert_eq!(
            take(&mut queue, 20),
            [0, 10, 1, 20, 2, 11, 3, 21, 4, 22, 5, 23]
        );
        assert_eq!(queue.len(), 0);
        assert!(queue.front().is_none());
        assert!(queue.turns.is_empty());
    }

    #[test]
    fn a_large_payment_stays_at_its_sources_front_until_it_is_through() {
        let mut queue = Queue::default();
        queue.push(sender(1), 1, 1);
        queue.push(sender(2), 2, 2);
        let turn = queue.front().unwrap();
        assert_eq!(turn.payment, 1);
        queue.pass(turn);
        assert_eq!(queue.front().unwrap().payment, 2);
        queue.pass(queue.front().unwrap());
        let turn = queue.front().unwrap();
        assert_eq!(turn.payment, 1, "not through yet");
        queue.take(turn);
        queue.pass(turn);
        assert_eq!(take(&mut queue, 5), [2]);
    }

    #[test]
    fn a_sender_with_many_connections_is_one_sender() {
        let mut queue = Queue::default();
        for n in 0..1_000 {
            queue.push(sender(1), u64::from(n), n);
        }
        queue.push(sender(2), 1, 5_000);
        assert_eq!(queue.senders[0].turns.len(), SOURCES_MAX);
        assert_eq!(
            (queue.waiting(&sender(1)), queue.waiting(&sender(3))),
            (1_000, 0)
        );
        assert_eq!(take(&mut queue, 2)[1], 5_000);
        assert_eq!(take(&mut queue, 2_000).len(), 999);
        assert_eq!(queue.waiting(&sender(1)), 0);
    }

    #[test]
    fn queues_are_used_again() {
        let mut queue = Queue::default();
        let address = |n: u32| {
            let mut bytes = [0; 20];
            bytes[..4].copy_from_slice(&n.to_be_bytes());
            Address(bytes)
        };
        for n in 0..3 * REMEMBERED_MAX as u32 {
            queue.push(address(n), 1, n);
            queue.push(address(7), 2, n);
            assert_eq!(take(&mut queue, 2).len(), 2);
        }
        assert!(queue.senders.len() <= REMEMBERED_MAX && queue.by_address.len() <= REMEMBERED_MAX);
        assert_eq!(queue.sources.len(), 2);
    }
}
