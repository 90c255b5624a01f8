//! The ring from one to one, from outside.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use handoff::bell::Bell;
use handoff::spsc::{channel, channel_with_bell};
use proptest::prelude::*;

#[test]
fn a_full_ring_hands_the_item_back() {
    // Not a power of two: the capacity is kept all the same.
    let (mut tx, mut rx) = channel(3);
    assert_eq!((tx.capacity(), rx.capacity()), (3, 3));
    assert_eq!([1, 2, 3].map(|n| tx.push(n)), [Ok(()); 3]);
    assert_eq!(tx.push(4), Err(4));
    assert_eq!((tx.len(), rx.len()), (3, 3));
    assert_eq!(rx.pop(), Some(1));
    assert_eq!(tx.push(4), Ok(()));
    assert_eq!(
        std::iter::from_fn(|| rx.pop()).collect::<Vec<_>>(),
        [2, 3, 4]
    );
    assert!(tx.is_empty() && rx.is_empty() && !rx.is_due());
}

#[test]
fn what_does_not_fit_stays_in_the_iterator() {
    let (mut tx, mut rx) = channel(4);
    let mut items = 0..6;
    assert_eq!(tx.push_batch(&mut items), 4);
    assert_eq!((tx.push_batch(&mut items), items.clone()), (0, 4..6));
    let mut got = vec![99];
    assert_eq!(rx.pop_batch(&mut got, 3), 3);
    assert_eq!(rx.pop_batch(&mut got, 0), 0);
    assert_eq!(tx.push_batch(&mut items), 2);
    assert_eq!(rx.pop_batch(&mut got, usize::MAX), 3);
    assert_eq!(got, [99, 0, 1, 2, 3, 4, 5]);
}

#[test]
fn each_end_learns_that_the_other_is_gone() {
    let (mut tx, mut rx) = channel(2);
    assert!(!tx.is_abandoned() && !rx.is_abandoned());
    tx.push(1).unwrap();
    drop(tx);
    assert!(rx.is_abandoned() && rx.is_due());
    assert_eq!((rx.pop(), rx.pop()), (Some(1), None));
    assert!(rx.is_due(), "for good");
    let (tx, rx) = channel::<u8>(2);
    drop(rx);
    assert!(tx.is_abandoned());
}

#[test]
fn what_is_unread_is_dropped_once() {
    let held = Arc::new(());
    let (mut tx, mut rx) = channel(4);
    assert_eq!(tx.push_batch(std::iter::repeat_n(held.clone(), 3)), 3);
    drop(rx.pop());
    tx.push(held.clone()).unwrap();
    assert_eq!(Arc::strong_count(&held), 4);
    drop(tx);
    drop(rx);
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn an_iterator_that_panics_loses_nothing() {
    let held = Rc::new(());
    let (mut tx, mut rx) = channel(4);
    let items = [0, 1].into_iter().map(|n| {
        assert_eq!(n, 0, "the second is the one that panics");
        held.clone()
    });
    assert!(catch_unwind(AssertUnwindSafe(|| tx.push_batch(items))).is_err());
    assert_eq!((tx.len(), Rc::strong_count(&held)), (1, 2));
    drop(rx.pop());
    assert_eq!(Rc::strong_count(&held), 1);
}

#[test]
#[should_panic(expected = "a ring of 0 items")]
fn a_ring_of_nothing_is_a_mistake() {
    drop(channel::<u8>(0));
}

#[test]
fn a_sleeping_thread_gets_every_item_in_order() {
    const ITEMS: u32 = if cfg!(miri) { 200 } else { 300_000 };
    let bell = Arc::new(Bell::new());
    let (mut tx, mut rx) = channel_with_bell(64, bell.clone());
    let producer = std::thread::spawn(move || {
        let mut items = 0..ITEMS;
        while !items.is_empty() {
            // Batches of all sizes up to what fits.
            let size = items.start % 90 + 1;
            if tx.send_batch(items.by_ref().take(size.min(64) as usize)) == 0 {
                std::thread::yield_now();
            }
        }
    });
    let (mut next, mut batch) = (0, Vec::new());
    loop {
        bell.wait(Duration::from_secs(30), || rx.is_due());
        let is_last = rx.is_abandoned();
        if rx.pop_batch(&mut batch, 50) == 0 && is_last {
            break;
        }
        for item in batch.drain(..) {
            assert_eq!(item, next);
            next += 1;
        }
    }
    assert_eq!(next, ITEMS);
    producer.join().unwrap();
}

#[derive(Debug, Clone)]
enum Step {
    Push,
    PushBatch(usize),
    Pop,
    PopBatch(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Push),
        (0usize..40).prop_map(Step::PushBatch),
        Just(Step::Pop),
        (0usize..40).prop_map(Step::PopBatch),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 512 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Against a queue that is simple: same answers, same lengths, and every item dropped.
    #[test]
    fn a_ring_is_a_bounded_queue(
        capacity in 1usize..33,
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let (mut tx, mut rx) = channel(capacity);
        let (mut queue, mut n) = (VecDeque::new(), 0u32);
        let mut fresh = || { n += 1; Box::new(n) };
        for step in steps {
            match step {
                Step::Push => {
                    let item = fresh();
                    let expected = if queue.len() < capacity {
                        queue.push_back(item.clone());
                        Ok(())
                    } else {
                        Err(item.clone())
                    };
                    prop_assert_eq!(tx.push(item), expected);
                }
                Step::PushBatch(count) => {
                    let items: Vec<_> = (0..count).map(|_| fresh()).collect();
                    let room = count.min(capacity - queue.len());
                    queue.extend(items[..room].iter().cloned());
                    let mut items = items.into_iter();
                    prop_assert_eq!(tx.push_batch(&mut items), room);
                    prop_assert_eq!(items.len(), count - room);
                }
                Step::Pop => prop_assert_eq!(rx.pop(), queue.pop_front()),
                Step::PopBatch(max) => {
                    let expected: Vec<_> = queue.drain(..max.min(queue.len())).collect();
                    let mut got = Vec::new();
                    prop_assert_eq!(rx.pop_batch(&mut got, max), expected.len());
                    prop_assert_eq!(got, expected);
                }
            }
            prop_assert_eq!((tx.len(), rx.len()), (queue.len(), queue.len()));
        }
    }
}
