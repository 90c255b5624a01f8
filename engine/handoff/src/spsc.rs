//! A bounded ring from one producer to one consumer.
//!
//! ```text
//!   cells   ┊ a ┊ b ┊ c ┊ · ┊ · ┊ · ┊ · ┊ · ┊      as many as the capacity, rounded up to a power of two
//!             ▲           ▲
//!            head        tail                       positions count up for ever and wrap; a cell is position & mask
//!
//!   line 0  head, written by the consumer           the consumer keeps the tail it last saw, the producer the head:
//!   line 1  tail, written by the producer           while those suffice, neither end reads the other's line
//! ```
//!
//! Invariants:
//! - `head..tail` are full cells and the consumer's; all others are empty and the producer's. `tail - head <= capacity`.
//! - Only the producer moves the tail, and only the consumer the head; a batch moves it once.
//! - A full ring hands the item back. What is unread when both ends are gone is dropped, once.
//!
//! There is no bell inside. [`channel_with_bell`] puts one beside it: a lane listens to one bell for a ring from each shard.

use std::fmt;
use std::mem::MaybeUninit;

use crate::bell::Bell;
use crate::sync::order::{self, Ordering};
use crate::sync::{Arc, AtomicBool, AtomicUsize, UnsafeCell};

/// A ring of at most `capacity` items. All its memory is taken here.
///
/// # Panics
/// When `capacity` is 0, or more than a quarter of the address space.
#[must_use]
pub fn channel<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    assert!(
        (1..=usize::MAX / 4).contains(&capacity),
        "a ring of {capacity} items"
    );
    let cells = (0..capacity.next_power_of_two()).map(|_| UnsafeCell::new(MaybeUninit::uninit()));
    let shared = Arc::new(Shared {
        head: End::new(),
        tail: End::new(),
        cells: cells.collect(),
        capacity,
    });
    let producer = Producer {
        shared: shared.clone(),
        tail: START,
        head_seen: START,
    };
    let consumer = Consumer {
        shared,
        head: START,
        tail_seen: START,
    };
    (producer, consumer)
}

/// A ring whose producer rings `bell`; also when it goes away. The consumer's thread or task listens to the same bell, for
/// this ring and any number of others.
///
/// # Panics
/// As [`channel`].
#[must_use]
pub fn channel_with_bell<T>(capacity: usize, bell: Arc<Bell>) -> (RingingProducer<T>, Consumer<T>) {
    let (producer, consumer) = channel(capacity);
    (RingingProducer { producer, bell }, consumer)
}

struct Shared<T> {
    head: End,
    tail: End,
    cells: Box<[UnsafeCell<MaybeUninit<T>>]>,
    capacity: usize,
}

/// What one end writes and the other reads, on cache lines of its own: two, since processors fetch them in pairs.
#[repr(align(128))]
struct End {
    position: AtomicUsize,
    is_gone: AtomicBool,
}

// SAFETY: needed because the cells make it neither. The two ends split the cells between them (see the module), so no cell is
// ever looked at by two threads at once; items move from one thread to another, hence `T: Send`.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above; no `&T` is ever given out.
unsafe impl<T: Send> Sync for Shared<T> {}

/// The end that pushes; there is one.
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// The tail; only we move it.
    tail: usize,
    /// The head when we last looked. It may have moved on, never back.
    head_seen: usize,
}

impl<T> Producer<T> {
    /// Queues an item.
    ///
    /// # Errors
    /// Gives the item back when the ring is full.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if !self.has_room() {
            return Err(item);
        }
        self.write(item);
        self.publish();
        Ok(())
    }

    /// Queues items while there is room and shows them to the consumer all at once. Returns how many; the others stay in the
    /// iterator, so lend it (`&mut items`) to keep them.
    pub fn push_batch(&mut self, mut items: impl Iterator<Item = T>) -> usize {
        let start = self.tail;
        // Publishes when it ends, even when the iterator panics: what was written is the consumer's to drop.
        let batch = Batch(self);
        while batch.0.has_room() {
            let Some(item) = items.next() else { break };
            batch.0.write(item);
        }
        batch.0.tail.wrapping_sub(start)
    }

    /// Items waiting.
    pub fn len(&self) -> usize {
        let head = self.shared.head.position.load(Ordering::Relaxed);
        self.tail.wrapping_sub(head)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most items that can wait.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }

    /// Whether the consumer is gone: nothing pushed from now on will be read.
    pub fn is_abandoned(&self) -> bool {
        self.shared.head.is_gone.load(order::notice())
    }

    fn has_room(&mut self) -> bool {
        if self.tail.wrapping_sub(self.head_seen) < self.shared.capacity {
            return true;
        }
        self.head_seen = self.shared.head.position.load(order::reclaim());
        self.tail.wrapping_sub(self.head_seen) < self.shared.capacity
    }

    /// Writes to the cell at the tail. Only after `has_room` said yes.
    fn write(&mut self, item: T) {
        self.shared.cell(self.tail).with_mut(|cell| {
            // SAFETY: needed to fill a cell. `has_room` saw that the tail's cell is empty, thus ours, and the acquire there
            // put the consumer's last look at it behind us.
            unsafe { cell.cast::<T>().write(item) }
        });
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        self.shared.tail.position.store(self.tail, order::publish());
    }

    fn abandon(&self) {
        self.shared.tail.is_gone.store(true, order::leave());
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// Cells that are being written and will be shown together.
struct Batch<'a, T>(&'a mut Producer<T>);

impl<T> Drop for Batch<'_, T> {
    fn drop(&mut self) {
        self.0.publish();
    }
}

/// The end that pops; there is one.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// The head; only we move it.
    head: usize,
    /// The tail when we last looked. It may have moved on, never back.
    tail_seen: usize,
}

impl<T> Consumer<T> {
    /// Takes the oldest item.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.available(1) == 0 {
            return None;
        }
        let item = self.read(self.head);
        self.head = self.head.wrapping_add(1);
        self.vacate();
        Some(item)
    }

    /// Takes up to `max` of the oldest items, appends them to `into`, and gives their room back all at once. Returns how many.
    pub fn pop_batch(&mut self, into: &mut Vec<T>, max: usize) -> usize {
        let count = self.available(max).min(max);
        // So that no push below can fail between an item's move and the head's.
        into.reserve(count);
        for n in 0..count {
            into.push(self.read(self.head.wrapping_add(n)));
        }
        if count > 0 {
            self.head = self.head.wrapping_add(count);
            self.vacate();
        }
        count
    }

    /// Items waiting.
    pub fn len(&self) -> usize {
        let tail = self.shared.tail.position.load(Ordering::Relaxed);
        tail.wrapping_sub(self.head)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most items that can wait.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }

    /// Whether the producer is gone. What it pushed may still wait: it has all been read when this was true before a
    /// [`pop`](Self::pop) that returned nothing.
    pub fn is_abandoned(&self) -> bool {
        self.shared.tail.is_gone.load(order::notice())
    }

    /// Whether there is a reason to look: something waits, or the producer is gone. For [`Bell::poll_wait`].
    pub fn is_due(&self) -> bool {
        !self.is_empty() || self.is_abandoned()
    }

    /// How many items may be read. Looks at the producer's line only when fewer than `wanted` are known of.
    fn available(&mut self, wanted: usize) -> usize {
        let known = self.tail_seen.wrapping_sub(self.head);
        if known >= wanted {
            return known;
        }
        self.tail_seen = self.shared.tail.position.load(order::observe());
        self.tail_seen.wrapping_sub(self.head)
    }

    /// Moves an item out. Only for positions that `available` counted, and once for each.
    fn read(&self, position: usize) -> T {
        self.shared.cell(position).with(|cell| {
            // SAFETY: needed to move an item out of its cell. `available` saw the tail beyond it, so it was written, and the
            // acquire there makes the writing visible; the caller moves the head past it before anything else can happen.
            unsafe { cell.cast::<T>().read() }
        })
    }

    fn vacate(&self) {
        self.shared.head.position.store(self.head, order::vacate());
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.shared.head.is_gone.store(true, order::leave());
    }
}

/// A producer and the bell of whoever consumes. Pushing and ringing stay two steps, so that a batch costs one wake-up.
pub struct RingingProducer<T> {
    producer: Producer<T>,
    bell: Arc<Bell>,
}

impl<T> RingingProducer<T> {
    /// Queues an item without ringing.
    ///
    /// # Errors
    /// Gives the item back when the ring is full.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        self.producer.push(item)
    }

    /// As [`Producer::push_batch`], without ringing.
    pub fn push_batch(&mut self, items: impl Iterator<Item = T>) -> usize {
        self.producer.push_batch(items)
    }

    /// Wakes the consumer, if it sleeps.
    pub fn ring(&self) {
        self.bell.ring();
    }

    /// Queues an item and wakes the consumer.
    ///
    /// # Errors
    /// Gives the item back when the ring is full.
    pub fn send(&mut self, item: T) -> Result<(), T> {
        self.push(item)?;
        self.ring();
        Ok(())
    }

    /// As [`Producer::push_batch`], and one ring if anything was queued.
    pub fn send_batch(&mut self, items: impl Iterator<Item = T>) -> usize {
        let count = self.push_batch(items);
        if count > 0 {
            self.ring();
        }
        count
    }

    /// The producer alone, to look at.
    pub fn producer(&self) -> &Producer<T> {
        &self.producer
    }
}

impl<T> Drop for RingingProducer<T> {
    fn drop(&mut self) {
        // In this order: whoever is woken must find that nobody is left.
        self.producer.abandon();
        self.bell.ring();
    }
}

impl<T> Shared<T> {
    fn cell(&self, position: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.cells[position & (self.cells.len() - 1)]
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // Relaxed: both ends are gone, and the shared count has put what they did before this.
        let mut head = self.head.position.load(Ordering::Relaxed);
        let tail = self.tail.position.load(Ordering::Relaxed);
        while head != tail {
            self.cell(head).with_mut(|cell| {
                // SAFETY: needed to drop what nobody will read. `head..tail` are the full cells, both ends are gone, and the
                // loop comes to each once.
                unsafe { cell.cast::<T>().drop_in_place() }
            });
            head = head.wrapping_add(1);
        }
    }
}

impl End {
    fn new() -> Self {
        Self {
            position: AtomicUsize::new(START),
            is_gone: AtomicBool::new(false),
        }
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("len", &self.len())
            .finish()
    }
}

impl<T> fmt::Debug for RingingProducer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingingProducer")
            .field("producer", &self.producer)
            .field("bell", &self.bell)
            .finish()
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("len", &self.len())
            .finish()
    }
}

/// Where positions begin: one before they wrap, so that every ring shows at once that wrapping is harmless.
const START: usize = usize::MAX;
