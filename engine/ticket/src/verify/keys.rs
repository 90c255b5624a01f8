//! Keys that were seen, and tables of those that are seen often. Both are bounded, and what is used longest ago makes room.
//!
//! ```text
//!   address ──▶ slot: key, signatures since, ──▶ table: 32 KiB
//!               used lately?                      used lately?
//! ```
//!
//! Both are swept like a clock's face: a hand goes round, and passes once over whatever was used since it last came.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::address::Address;
use crate::curve::Point;
use crate::curve::table::{Fill, KeyTable};

/// How much is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Keys; some 150 bytes each.
    pub keys: usize,
    /// Tables; 32 KiB each.
    pub tables: usize,
    /// Signatures of a key after which it gets a table. Making one takes about as long as recovering five keys, so a sender who comes
    /// once is not worth one.
    pub table_after: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            keys: 65_536,
            // 64 MiB: as many senders as a large orchestrator has at once.
            tables: 2_048,
            table_after: 8,
        }
    }
}

/// See the module.
pub(super) struct Keys {
    limits: Limits,
    by_address: BTreeMap<Address, usize>,
    slots: Vec<Slot>,
    tables: Vec<Held>,
    slot_hand: usize,
    table_hand: usize,
    fill: Fill,
}

struct Slot {
    address: Address,
    key: Point,
    signatures: u32,
    table: Option<usize>,
    was_used: bool,
}

struct Held {
    table: KeyTable,
    slot: usize,
    was_used: bool,
}

impl Keys {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            by_address: BTreeMap::new(),
            slots: Vec::new(),
            tables: Vec::new(),
            slot_hand: 0,
            table_hand: 0,
            fill: Fill::default(),
        }
    }

    /// Whether a sender has a table.
    pub(super) fn has_table(&self, sender: &Address) -> bool {
        let slot = self.by_address.get(sender);
        slot.is_some_and(|slot| self.slots[*slot].table.is_some())
    }

    /// The number of a sender's table, if it has one.
    pub(super) fn table_of(&mut self, sender: &Address) -> Option<usize> {
        let slot = &mut self.slots[*self.by_address.get(sender)?];
        slot.was_used = true;
        let table = slot.table?;
        self.tables[table].was_used = true;
        Some(table)
    }

    /// That table; it stays where it is until the next [`learn`](Self::learn).
    pub(super) fn table(&self, number: usize) -> &KeyTable {
        &self.tables[number].table
    }

    /// Takes note of a genuine signature by this key.
    pub(super) fn learn(&mut self, sender: &Address, key: &Point) {
        let Some(at) = self.slot_for(sender, key) else {
            return;
        };
        let slot = &mut self.slots[at];
        slot.was_used = true;
        slot.signatures = slot.signatures.saturating_add(1);
        if slot.table.is_none() && slot.signatures >= self.limits.table_after {
            self.give_table(at);
        }
    }

    fn slot_for(&mut self, sender: &Address, key: &Point) -> Option<usize> {
        if let Some(at) = self.by_address.get(sender) {
            return Some(*at);
        }
        let fresh = Slot {
            address: *sender,
            key: *key,
            signatures: 0,
            table: None,
            was_used: true,
        };
        let at = if self.slots.len() < self.limits.keys {
            self.slots.push(fresh);
            self.slots.len() - 1
        } else {
            let at = turn(&mut self.slot_hand, self.slots.len(), |at| {
                core::mem::take(&mut self.slots[at].was_used)
            })?;
            let old = core::mem::replace(&mut self.slots[at], fresh);
            self.by_address.remove(&old.address);
            // Its table stays, for whoever needs one next: the hand will find that nobody uses it.
            if let Some(table) = old.table {
                self.tables[table].was_used = false;
                self.tables[table].slot = usize::MAX;
            }
            at
        };
        self.by_address.insert(*sender, at);
        Some(at)
    }

    fn give_table(&mut self, slot: usize) {
        let number = if self.tables.len() < self.limits.tables {
            self.tables.push(Held {
                table: KeyTable::new(),
                slot,
                was_used: true,
            });
            self.tables.len() - 1
        } else {
            let found = turn(&mut self.table_hand, self.tables.len(), |at| {
                core::mem::take(&mut self.tables[at].was_used)
            });
            let Some(number) = found else { return };
            if let Some(loser) = self.slots.get_mut(self.tables[number].slot) {
                loser.table = None;
                // It has to come as often again.
                loser.signatures = 0;
            }
            number
        };
        let held = &mut self.tables[number];
        held.slot = slot;
        held.was_used = true;
        held.table.fill(&self.slots[slot].key, &mut self.fill);
        self.slots[slot].table = Some(number);
    }
}

/// Where the hand stops: at the first place that was not used since it last came by. `None` when there are no places.
fn turn(
    hand: &mut usize,
    places: usize,
    mut take_used: impl FnMut(usize) -> bool,
) -> Option<usize> {
    // After one round nothing counts as used any more.
    for _ in 0..=places {
        let at = *hand % places.max(1);
        *hand = at + 1;
        if at < places && !take_used(at) {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::table::GENERATOR;

    fn sender(n: u8) -> Address {
        Address([n; 20])
    }

    #[test]
    fn a_sender_gets_a_table_when_it_has_come_often_enough() {
        let mut keys = Keys::new(Limits {
            keys: 4,
            tables: 2,
            table_after: 3,
        });
        for _ in 0..2 {
            keys.learn(&sender(1), &GENERATOR);
            assert_eq!(keys.table_of(&sender(1)), None);
        }
        keys.learn(&sender(1), &GENERATOR);
        let table = keys.table_of(&sender(1)).unwrap();
        assert_eq!(*keys.table(table).multiple(0, 0), GENERATOR);
        assert_eq!(keys.table_of(&sender(2)), None, "nobody knows it");
    }

    #[test]
    fn whoever_came_longest_ago_makes_room() {
        let mut keys = Keys::new(Limits {
            keys: 3,
            tables: 2,
            table_after: 1,
        });
        keys.learn(&sender(1), &GENERATOR);
        keys.learn(&sender(2), &GENERATOR);
        keys.learn(&sender(3), &GENERATOR);
        assert_eq!(keys.tables.len(), 2);
        let with_tables = |keys: &mut Keys| {
            (1..=9)
                .filter(|n| keys.table_of(&sender(*n)).is_some())
                .count()
        };
        assert_eq!(with_tables(&mut keys), 2);
        for n in 4..=9 {
            keys.learn(&sender(n), &GENERATOR);
            assert!(keys.table_of(&sender(n)).is_some(), "the newest has one");
            assert_eq!(keys.slots.len(), 3);
            assert_eq!(keys.by_address.len(), 3);
            assert!(with_tables(&mut keys) <= 2);
            for (number, held) in keys.tables.iter().enumerate() {
                if let Some(slot) = keys.slots.get(held.slot) {
                    assert_eq!(slot.table, Some(number), "both ends agree");
                }
            }
        }
    }

    #[test]
    fn with_no_room_at_all_nothing_is_remembered_and_nothing_breaks() {
        let mut keys = Keys::new(Limits {
            keys: 0,
            tables: 0,
            table_after: 1,
        });
        keys.learn(&sender(1), &GENERATOR);
        assert_eq!(keys.table_of(&sender(1)), None);
        let mut keys = Keys::new(Limits {
            keys: 1,
            tables: 0,
            table_after: 1,
        });
        keys.learn(&sender(1), &GENERATOR);
        assert_eq!(keys.table_of(&sender(1)), None);
    }
}
