//! Slots, from outside: one owner each, on any thread; a full one says so.

use std::sync::mpsc;

use handoff::region::Region;
use handoff::slot::{Slot, Slots};
use proptest::prelude::*;

fn slots(count: usize, slot_bytes: usize) -> Slots {
    Slots::new(Region::heap(count * slot_bytes).unwrap(), slot_bytes)
}

#[test]
fn a_full_one_says_so_and_recovers() {
    // More than one word of the free list, and a part of another.
    let slots = slots(130, 64);
    let mut held: Vec<_> = std::iter::from_fn(|| slots.take()).collect();
    assert_eq!(
        (held.len(), slots.in_use(), slots.capacity()),
        (130, 130, 130)
    );
    let indices: Vec<_> = held.iter().map(Slot::index).collect();
    assert_eq!(indices, (0..130).collect::<Vec<_>>(), "the lowest first");
    assert!(slots.take().is_none());
    drop(held.swap_remove(70));
    assert_eq!(slots.in_use(), 129);
    assert_eq!(slots.take().unwrap().index(), 70);
    drop(held);
    assert_eq!(slots.in_use(), 0);
}

#[test]
fn a_slot_knows_where_it_is() {
    let slots = slots(3, 4096);
    let (_a, b) = (slots.take().unwrap(), slots.take().unwrap());
    assert_eq!(
        (b.index(), b.offset(), b.len()),
        (1, 4096, slots.slot_bytes())
    );
    let from_base = b.address().addr().get() - slots.region().base().addr().get();
    assert_eq!(from_base, b.offset());
}

#[test]
fn a_region_smaller_than_a_slot_has_none() {
    let slots = Slots::new(Region::heap(63).unwrap(), 64);
    assert_eq!(slots.capacity(), 0);
    assert!(slots.take().is_none());
}

#[test]
fn slots_come_back_from_other_threads() {
    const ROUNDS: usize = if cfg!(miri) { 60 } else { 100_000 };
    let slots = slots(8, 64);
    let (tx, rx) = mpsc::sync_channel::<Slot>(8);
    let other = std::thread::spawn(move || {
        for slot in rx {
            let paint = slot[0];
            assert!(slot.iter().all(|&b| b == paint));
        }
    });
    for n in 0..ROUNDS {
        let mut slot = loop {
            match slots.take() {
                Some(slot) => break slot,
                None => std::thread::yield_now(),
            }
        };
        slot.fill(n as u8);
        tx.send(slot).unwrap();
    }
    drop(tx);
    other.join().unwrap();
    assert_eq!(slots.in_use(), 0);
}

#[test]
fn threads_that_share_slots_never_share_one() {
    const ROUNDS: u32 = if cfg!(miri) { 20 } else { 50_000 };
    let slots = slots(3, 64);
    let threads: Vec<_> = (1..=4u8)
        .map(|paint| {
            let slots = slots.clone();
            std::thread::spawn(move || {
                for _ in 0..ROUNDS {
                    let Some(mut slot) = slots.take() else {
                        std::thread::yield_now();
                        continue;
                    };
                    slot.fill(paint);
                    assert!(slot.iter().all(|&b| b == paint));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(slots.in_use(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Against a list of what is out: never the same twice, `None` only when all are out, contents kept.
    #[test]
    fn slots_are_what_a_list_of_them_says(
        count in 1usize..140,
        slot_bytes in 1usize..100,
        steps in prop::collection::vec(any::<Option<u16>>(), 0..300),
    ) {
        let slots = slots(count, slot_bytes);
        let mut held: Vec<(Slot, u8)> = Vec::new();
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                None => match slots.take() {
                    Some(mut slot) => {
                        prop_assert!(held.iter().all(|(other, _)| other.index() != slot.index()));
                        slot.fill(n as u8);
                        held.push((slot, n as u8));
                    }
                    None => prop_assert_eq!(held.len(), count),
                },
                Some(at) if !held.is_empty() => {
                    let (slot, paint) = held.swap_remove(usize::from(at) % held.len());
                    prop_assert!(slot.len() == slot_bytes && slot.iter().all(|&b| b == paint));
                }
                Some(_) => {}
            }
            prop_assert_eq!(slots.in_use(), held.len());
        }
    }
}
