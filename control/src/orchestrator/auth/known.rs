//! Who was let in, and at which price: for half an hour, and only so many.

use std::collections::{BTreeMap, HashMap};

use ticket::{Address, Price};

use super::super::limits;

/// See the module.
#[derive(Default)]
pub(super) struct Known {
    senders: HashMap<Address, Line>,
    /// The same senders, by when they came in.
    order: BTreeMap<u64, Address>,
    next: u64,
}

struct Line {
    price: Option<Price>,
    since_ms: u64,
    place: u64,
}

impl Known {
    /// The price of a sender that is known; `None` in it is everybody's.
    pub(super) fn find(&self, sender: &Address, now_ms: u64) -> Option<Option<Price>> {
        let line = self.senders.get(sender)?;
        // A clock that went back says nothing about age.
        let age_ms = now_ms.checked_sub(line.since_ms)?;
        (age_ms < limits::WEBHOOK_KNOWN_MS).then_some(line.price)
    }

    /// Remembers a sender, as the newest; the oldest goes when there are too many.
    pub(super) fn insert(&mut self, sender: Address, price: Option<Price>, now_ms: u64) {
        let place = self.next;
        self.next += 1;
        let line = Line {
            price,
            since_ms: now_ms,
            place,
        };
        if let Some(before) = self.senders.insert(sender, line) {
            self.order.remove(&before.place);
        }
        self.order.insert(place, sender);
        if self.order.len() > limits::WEBHOOK_KNOWN
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.senders.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(n: usize) -> Address {
        Address::from_wire(&n.to_be_bytes())
    }

    #[test]
    fn a_sender_is_known_for_half_an_hour() {
        let mut known = Known::default();
        let price = Some(Price::new(5, 3).unwrap());
        known.insert(sender(1), price, 1_000);
        assert_eq!(known.find(&sender(1), 1_000), Some(price));
        assert_eq!(known.find(&sender(1), 1_800_999), Some(price));
        assert_eq!(known.find(&sender(1), 1_801_000), None);
        assert_eq!(known.find(&sender(1), 999), None, "the clock went back");
        assert_eq!(known.find(&sender(2), 1_000), None);
        known.insert(sender(1), None, 1_801_000);
        assert_eq!(known.find(&sender(1), 1_801_000), Some(None));
    }

    #[test]
    fn the_oldest_goes_first_and_nothing_is_left_of_it() {
        let mut known = Known::default();
        for n in 0..limits::WEBHOOK_KNOWN {
            known.insert(sender(n), None, 0);
        }
        known.insert(sender(0), None, 0);
        known.insert(sender(limits::WEBHOOK_KNOWN), None, 0);
        assert_eq!(known.find(&sender(0), 0), Some(None), "it came again");
        assert_eq!(known.find(&sender(1), 0), None, "the oldest");
        assert_eq!(known.find(&sender(2), 0), Some(None));
        for n in 0..3 * limits::WEBHOOK_KNOWN {
            known.insert(sender(n % 10_000), None, 0);
        }
        assert_eq!(known.senders.len(), limits::WEBHOOK_KNOWN);
        assert_eq!(known.order.len(), limits::WEBHOOK_KNOWN);
    }
}
