//! A bounded lock-free queue from any thread to one, and the bell that wakes it.
//!
//! Pushing and ringing are two steps, so that a batch costs one wake-up. The receiver may be a task of any runtime
//! ([`Receiver::poll_wait`]) or a bare thread ([`Receiver::wait`]). From one thread to one, [`spsc`](crate::spsc) is cheaper.
//!
//! Invariants:
//! - What was pushed before a ring is seen by the receiver that the ring wakes.
//! - A ring is never lost: the receiver announces itself, looks once more, and only then sleeps ([`bell`](crate::bell)).
//! - A full ring hands the item back; the sender decides what to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;

use crate::bell::Bell;

struct Shared<T> {
    queue: ArrayQueue<T>,
    bell: Bell,
    senders: AtomicUsize,
}

/// The sending end; clones push into the same queue.
pub struct Sender<T>(Arc<Shared<T>>);

/// The receiving end; there is one.
pub struct Receiver<T>(Arc<Shared<T>>);

/// A ring of `capacity` items.
///
/// # Panics
/// When `capacity` is 0.
pub fn ring<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        queue: ArrayQueue::new(capacity),
        bell: Bell::new(),
        senders: AtomicUsize::new(1),
    });
    (Sender(shared.clone()), Receiver(shared))
}

impl<T> Sender<T> {
    /// Queues an item without waking the receiver.
    ///
    /// # Errors
    /// Gives the item back when the ring is full.
    pub fn push(&self, item: T) -> Result<(), T> {
        self.0.queue.push(item)
    }

    /// Wakes the receiver, if it sleeps.
    pub fn ring(&self) {
        self.0.bell.ring();
    }

    /// Queues an item and wakes the receiver.
    ///
    /// # Errors
    /// Gives the item back when the ring is full.
    pub fn send(&self, item: T) -> Result<(), T> {
        self.push(item)?;
        self.ring();
        Ok(())
    }

    /// Items waiting.
    pub fn len(&self) -> usize {
        self.0.queue.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.0.queue.is_empty()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.bell.ring();
        }
    }
}

impl<T> Receiver<T> {
    /// Takes the oldest item.
    pub fn pop(&self) -> Option<T> {
        self.0.queue.pop()
    }

    /// Whether every sender is gone; what they pushed may still wait.
    pub fn is_abandoned(&self) -> bool {
        self.0.senders.load(Ordering::Acquire) == 0
    }

    /// Ready when something waits or every sender is gone; else wakes the task at the next ring.
    pub fn poll_wait(&self, cx: &Context<'_>) -> Poll<()> {
        self.0.bell.poll_wait(cx, || self.is_due())
    }

    /// Blocks the thread until something waits, the bell is rung, every sender is gone, or the time has passed.
    pub fn wait(&self, timeout: Duration) {
        self.0.bell.wait(timeout, || self.is_due());
    }

    fn is_due(&self) -> bool {
        !self.0.queue.is_empty() || self.is_abandoned()
    }
}

impl<T> std::fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("len", &self.len()).finish()
    }
}

impl<T> std::fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver")
            .field("len", &self.0.queue.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITEMS: u32 = if cfg!(miri) { 10 } else { 20_000 };

    #[test]
    fn every_item_arrives_once_and_in_order_of_its_sender() {
        let (tx, rx) = ring::<(u32, u32)>(64);
        let senders: Vec<_> = (0..3u32)
            .map(|id| {
                let tx = tx.clone();
                std::thread::spawn(move || {
                    for n in 0..ITEMS {
                        let mut item = (id, n);
                        while let Err(back) = tx.send(item) {
                            item = back;
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        drop(tx);
        let mut next = [0u32; 3];
        loop {
            rx.wait(Duration::from_secs(10));
            // A wait may end by the ring for an item that was popped already; only an abandoned ring stays empty.
            let is_last = rx.is_abandoned();
            match rx.pop() {
                Some((id, n)) => {
                    assert_eq!(next[id as usize], n);
                    next[id as usize] += 1;
                }
                None if is_last => break,
                None => {}
            }
        }
        assert_eq!(next, [ITEMS; 3]);
        for sender in senders {
            sender.join().unwrap();
        }
    }

    #[test]
    fn a_full_ring_hands_the_item_back() {
        let (tx, rx) = ring(1);
        assert_eq!(tx.push(1), Ok(()));
        assert_eq!(tx.push(2), Err(2));
        assert_eq!(rx.pop(), Some(1));
        rx.wait(Duration::from_millis(1));
        assert!(!rx.is_abandoned());
        drop(tx);
        rx.wait(Duration::from_secs(60));
        assert!(rx.is_abandoned());
    }
}
