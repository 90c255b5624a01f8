//! Models of the ring. Its cells are loom's, so a read that does not come after the write is found out by itself.

use loom::thread;

use super::explore;
use crate::spsc::{Producer, channel};

/// Three items through two cells, so that the third waits for room and is written over the first.
pub(crate) fn items_keep_their_order_around_the_ring() {
    explore(|| {
        let (mut tx, mut rx) = channel(2);
        let producer = thread::spawn(move || {
            for n in 0..3 {
                push(&mut tx, n);
            }
        });
        for n in 0..3 {
            assert_eq!(pop(|| rx.pop()), n);
        }
        producer.join().unwrap();
        assert_eq!(rx.pop(), None);
    });
}

/// The same in batches: what does not fit stays in the iterator, what is taken comes in order.
pub(crate) fn batches_are_shown_and_taken_whole() {
    explore(|| {
        let (mut tx, mut rx) = channel(2);
        let producer = thread::spawn(move || {
            let mut items = 0..3;
            let mut pushed = 0;
            while pushed < 3 {
                match tx.push_batch(&mut items) {
                    0 => thread::yield_now(),
                    count => pushed += count,
                }
            }
        });
        let mut got = Vec::new();
        while got.len() < 3 {
            let before = got.len();
            let count = rx.pop_batch(&mut got, 2);
            assert_eq!(got.len(), before + count);
            if before == 0 && count > 0 {
                assert_eq!(count, 2, "the first batch was two, published once");
            }
            if count == 0 {
                thread::yield_now();
            }
        }
        producer.join().unwrap();
        assert_eq!(got, [0, 1, 2]);
    });
}

/// Whoever finds the producer gone, and then nothing to pop, has read all of it.
pub(crate) fn nothing_is_left_behind_by_a_producer_that_goes() {
    explore(|| {
        let (mut tx, mut rx) = channel(2);
        let producer = thread::spawn(move || push(&mut tx, 7));
        let mut got = 0;
        loop {
            let is_last = rx.is_abandoned();
            match rx.pop() {
                Some(n) => got += n,
                None if is_last => break,
                None => thread::yield_now(),
            }
        }
        assert_eq!(got, 7);
        producer.join().unwrap();
    });
}

/// Both ends go away whenever they like; each of three items is dropped once, read or unread.
pub(crate) fn unread_items_are_dropped_once() {
    struct Item(std::sync::Arc<[std::sync::atomic::AtomicUsize; 3]>, usize);
    impl Drop for Item {
        fn drop(&mut self) {
            self.0[self.1].fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
    explore(|| {
        let drops = std::sync::Arc::<[std::sync::atomic::AtomicUsize; 3]>::default();
        let (mut tx, mut rx) = channel(2);
        let producer = thread::spawn({
            let drops = drops.clone();
            move || {
                for n in 0..3 {
                    // When it is full the item comes back, and is dropped here.
                    drop(tx.push(Item(drops.clone(), n)));
                }
            }
        });
        drop(rx.pop());
        drop(rx);
        producer.join().unwrap();
        let drops = drops
            .each_ref()
            .map(|count| count.load(std::sync::atomic::Ordering::Relaxed));
        assert_eq!(drops, [1; 3]);
    });
}

fn push(tx: &mut Producer<u32>, mut item: u32) {
    while let Err(back) = tx.push(item) {
        item = back;
        thread::yield_now();
    }
}

fn pop(mut pop: impl FnMut() -> Option<u32>) -> u32 {
    loop {
        match pop() {
            Some(item) => return item,
            None => thread::yield_now(),
        }
    }
}
