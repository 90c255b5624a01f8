//! Models of the slots' free list, which is all that slots rest on: a loom cell stands for each slot's bytes, so that two
//! owners, or one who does not come after the last, are found out.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::{explore, explore_within};
use crate::free::FreeList;

struct Slots {
    free: FreeList,
    bytes: Vec<UnsafeCell<u32>>,
}

impl Slots {
    fn new(count: u32) -> Arc<Self> {
        Arc::new(Self {
            free: FreeList::new(count),
            bytes: (0..count).map(|_| UnsafeCell::new(0)).collect(),
        })
    }

    /// Owns a slot for a moment, and adds one to it.
    fn use_one(&self) -> bool {
        let Some(index) = self.free.take() else {
            return false;
        };
        self.write(index);
        self.free.give(index);
        true
    }

    fn write(&self, index: u32) {
        self.bytes[index as usize].with_mut(|byte| {
            // SAFETY: needed to write to a cell of the model. Loom panics before this if anybody else is at it.
            unsafe { *byte += 1 }
        });
    }

    fn sum(&self) -> u32 {
        let read = |byte: &UnsafeCell<u32>| {
            byte.with(|byte| {
                // SAFETY: as in `write`.
                unsafe { *byte }
            })
        };
        self.bytes.iter().map(read).sum()
    }
}

/// Two threads and one slot.
pub(crate) fn a_slot_has_one_owner_at_a_time() {
    explore(|| {
        let slots = Slots::new(1);
        let other = thread::spawn({
            let slots = slots.clone();
            move || u32::from(slots.use_one()) + u32::from(slots.use_one())
        });
        let ours = u32::from(slots.use_one());
        let theirs = other.join().unwrap();
        assert!(ours + theirs > 0, "one of them was first");
        assert_eq!(slots.sum(), ours + theirs);
        assert_eq!(slots.free.taken(), 0);
    });
}

/// A slot is written here, given back there, and taken again here.
pub(crate) fn a_slot_may_be_given_back_on_another_thread() {
    explore(|| {
        let slots = Slots::new(1);
        let index = slots.free.take().unwrap();
        assert_eq!((slots.free.take(), slots.free.taken()), (None, 1));
        slots.write(index);
        let other = thread::spawn({
            let slots = slots.clone();
            move || {
                slots.write(index);
                slots.free.give(index);
            }
        });
        while !slots.use_one() {
            thread::yield_now();
        }
        other.join().unwrap();
        assert_eq!(slots.sum(), 3);
    });
}

/// Three owners and two slots: those who got one never got the same.
pub(crate) fn owners_share_what_there_is() {
    explore_within(2, || {
        let slots = Slots::new(2);
        let others = [(); 2].map(|()| {
            let slots = slots.clone();
            thread::spawn(move || u32::from(slots.use_one()))
        });
        let ours = u32::from(slots.use_one());
        let sum = others
            .map(|other| other.join().unwrap())
            .iter()
            .sum::<u32>()
            + ours;
        assert!(sum >= 2, "{sum} of three, with two slots");
        assert_eq!((slots.sum(), slots.free.taken()), (sum, 0));
    });
}
