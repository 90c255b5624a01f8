//! A bounded lock-free queue from any thread to one, and the bell that wakes it.
//!
//! Pushing and ringing are two steps, so that a batch costs one wake-up. The receiver may be a task of any runtime
//! ([`Receiver::poll_wait`]) or a bare thread ([`Receiver::wait`]).
//!
//! Invariants:
//! - What was pushed before a ring is seen by the receiver that the ring wakes.
//! - A ring is never lost: the receiver announces itself, looks once more, and only then sleeps.
//! - A full ring hands the item back; the sender decides what to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;
use crossbeam_queue::ArrayQueue;

struct Shared<T> {
    queue: ArrayQueue<T>,
    bell: AtomicWaker,
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
        bell: AtomicWaker::new(),
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
        self.0.bell.wake();
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
            self.0.bell.wake();
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
        if self.is_due() {
            return Poll::Ready(());
        }
        self.0.bell.register(cx.waker());
        if self.is_due() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Blocks the thread until something waits, the bell is rung, every sender is gone, or the time has passed.
    pub fn wait(&self, timeout: Duration) {
        let until = Instant::now() + timeout;
        let sleeper = Arc::new(Sleeper {
            thread: std::thread::current(),
            rung: AtomicBool::new(false),
        });
        let waker = Waker::from(sleeper.clone());
        if self.poll_wait(&Context::from_waker(&waker)).is_ready() {
            return;
        }
        while !sleeper.rung.load(Ordering::Acquire) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::park_timeout(left);
        }
    }

    fn is_due(&self) -> bool {
        !self.0.queue.is_empty() || self.is_abandoned()
    }
}

struct Sleeper {
    thread: Thread,
    rung: AtomicBool,
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.thread.unpark();
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

    #[test]
    fn every_item_arrives_once_and_in_order_of_its_sender() {
        let (tx, rx) = ring::<(u32, u32)>(64);
        let senders: Vec<_> = (0..3u32)
            .map(|id| {
                let tx = tx.clone();
                std::thread::spawn(move || {
                    for n in 0..20_000u32 {
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
            let Some((id, n)) = rx.pop() else { break };
            assert_eq!(next[id as usize], n);
            next[id as usize] += 1;
        }
        assert_eq!(next, [20_000; 3]);
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
