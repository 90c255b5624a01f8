//! From one shard to another: the ring and its bell, on one thread and between two.
//!
//! ```text
//!   CPU a: push … push, ring ──▶ ring buffer ──▶ pop … pop :CPU b        one way: how many a second
//!   CPU a: push, ring ──────────▶ ▶ pop, push, ring :CPU b
//!          pop ◀──────────────── ◀                                       round trip: how long
//! ```
//!
//! The receiver waits in one of two ways. *Awake* it looks again and again: the cost of the memory alone. *Asleep* it parks and
//! the bell unparks it: what a thread that had nothing to do costs to reach. A shard sleeps in io_uring instead, which is the
//! same bell with another sleeper.
//!
//! Invariants:
//! - No wait is without an end: a pair that makes no progress for [`STUCK`] is an error.
//! - Every item comes back or is counted by the other side before the clock stops.

use std::hint::black_box;
use std::io;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use handoff::ring::{Receiver, Sender, ring};

use super::{Body, Round};
use crate::pin;

/// Items of a ring between shards.
const CAPACITY: usize = 1024;
/// Items pushed before the bell is rung: what a shard gathers in a turn.
pub const BATCH: u64 = 32;
/// Rounds of the single-threaded unit.
const ITEMS: u64 = 1024;
/// Without progress for so long, something is broken.
pub const STUCK: Duration = Duration::from_secs(10);
/// How often a waiting thread looks at the clock.
const LOOKS: u32 = 1 << 16;

/// What travels: as large as a command between shards, and not on the heap.
#[derive(Debug, Clone, Copy)]
struct Item {
    number: u64,
    wants_answer: bool,
    _rest: [u64; 6],
}

impl Item {
    const fn new(number: u64, wants_answer: bool) -> Self {
        Self {
            number,
            wants_answer,
            _rest: [0; 6],
        }
    }
}

/// Push, ring and pop on one thread: the instructions, without the memory of two cores.
pub(super) struct PushPop {
    tx: Sender<Item>,
    rx: Receiver<Item>,
}

impl PushPop {
    pub(super) fn new() -> Self {
        let (tx, rx) = ring(CAPACITY);
        Self { tx, rx }
    }
}

impl Body for PushPop {
    fn round(&self) -> Round {
        Round {
            operations: ITEMS,
            bytes: None,
        }
    }

    fn run(&mut self) -> u64 {
        let mut popped = 0;
        for batch in 0..ITEMS / BATCH {
            for n in 0..BATCH {
                // A full ring shows in the count.
                let _ = self.tx.push(black_box(Item::new(batch * BATCH + n, false)));
            }
            self.tx.ring();
            while let Some(item) = self.rx.pop() {
                popped += u64::from(black_box(item).number < ITEMS);
            }
        }
        popped
    }
}

/// How the other side waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// It looks again and again.
    Awake,
    /// It sleeps until the bell rings.
    Asleep,
}

/// Two threads and a ring each way. Dropped, it ends the other thread.
#[derive(Debug)]
pub struct Pair {
    there: Option<Sender<Item>>,
    back: Receiver<Item>,
    waiting: Waiting,
    echo: Option<JoinHandle<()>>,
}

impl Pair {
    /// Starts the other side on `cpu`, or wherever the system likes.
    ///
    /// # Errors
    /// When the thread cannot be started or pinned.
    pub fn start(cpu: Option<usize>, waiting: Waiting) -> io::Result<Self> {
        let (there, inbox) = ring(CAPACITY);
        let (outbox, back) = ring(CAPACITY);
        let (said, heard) = std::sync::mpsc::channel();
        let echo = std::thread::Builder::new()
            .name("hop".into())
            .spawn(move || {
                let pinned = cpu.map_or(Ok(()), pin::to);
                let is_pinned = pinned.is_ok();
                // Whoever started us waits for this and nothing else.
                let _ = said.send(pinned);
                if is_pinned {
                    echo(&inbox, &outbox, waiting);
                }
            })?;
        heard
            .recv()
            .map_err(|_| io::Error::other("the other thread did not start"))??;
        Ok(Self {
            there: Some(there),
            back,
            waiting,
            echo: Some(echo),
        })
    }

    /// Sends an item and waits for it to come back, `count` times.
    ///
    /// # Errors
    /// When nothing comes back.
    pub fn round_trips(&self, count: u64) -> io::Result<Duration> {
        let start = Instant::now();
        for number in 0..count {
            self.push(Item::new(number, true))?;
            self.ring();
            let item = self.await_answer()?;
            if item.number != number {
                return Err(io::Error::other("an item came back that was not sent"));
            }
        }
        Ok(start.elapsed())
    }

    /// Sends `count` items, one ring for each [`BATCH`], and waits until the other side has taken the last.
    ///
    /// # Errors
    /// When nothing is taken.
    pub fn one_way(&self, count: u64) -> io::Result<Duration> {
        let start = Instant::now();
        for number in 1..=count {
            let is_last = number == count;
            self.push(Item::new(number, is_last))?;
            if is_last || number % BATCH == 0 {
                self.ring();
            }
        }
        if count > 0 {
            self.await_answer()?;
        }
        Ok(start.elapsed())
    }

    fn push(&self, item: Item) -> io::Result<()> {
        let there = self.there.as_ref().ok_or_else(stuck)?;
        let mut item = item;
        let mut patience = Patience::new();
        while let Err(returned) = there.push(item) {
            // Full: the other side may be asleep on a batch that was not rung for.
            item = returned;
            there.ring();
            patience.spend()?;
        }
        Ok(())
    }

    fn ring(&self) {
        if let Some(there) = &self.there {
            there.ring();
        }
    }

    fn await_answer(&self) -> io::Result<Item> {
        let mut patience = Patience::new();
        loop {
            if let Some(item) = self.back.pop() {
                return Ok(item);
            }
            if self.back.is_abandoned() {
                return Err(stuck());
            }
            match self.waiting {
                Waiting::Awake => patience.spend()?,
                Waiting::Asleep => {
                    self.back.wait(STUCK);
                    patience.spend_all()?;
                }
            }
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.there = None;
        if let Some(echo) = self.echo.take() {
            // It panics nowhere; and there is nobody left to tell.
            let _ = echo.join();
        }
    }
}

/// The other side: takes what comes and answers what asks for it, until the sender is gone.
fn echo(inbox: &Receiver<Item>, outbox: &Sender<Item>, waiting: Waiting) {
    loop {
        // Asked for before the last look: what was pushed before the sender went is still answered.
        let is_abandoned = inbox.is_abandoned();
        while let Some(item) = inbox.pop() {
            if black_box(item).wants_answer && outbox.send(item).is_err() {
                return;
            }
        }
        if is_abandoned {
            return;
        }
        match waiting {
            Waiting::Awake => std::hint::spin_loop(),
            Waiting::Asleep => inbox.wait(STUCK),
        }
    }
}

/// How long one may go on looking.
struct Patience {
    looks: u32,
    until: Option<Instant>,
}

impl Patience {
    const fn new() -> Self {
        Self {
            looks: 0,
            until: None,
        }
    }

    /// One look in vain. The clock is asked only now and then, and the CPU lent to others then.
    fn spend(&mut self) -> io::Result<()> {
        std::hint::spin_loop();
        self.looks = self.looks.wrapping_add(1);
        if self.looks.is_multiple_of(LOOKS) {
            std::thread::yield_now();
            self.spend_all()?;
        }
        Ok(())
    }

    fn spend_all(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let until = *self.until.get_or_insert(now + STUCK);
        if now < until { Ok(()) } else { Err(stuck()) }
    }
}

fn stuck() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the other thread does not answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_back_and_the_thread_ends() {
        let pair = Pair::start(None, Waiting::Asleep).unwrap();
        pair.round_trips(100).unwrap();
        pair.one_way(5 * CAPACITY as u64 + 7).unwrap();
        pair.one_way(0).unwrap();
        let echo = pair.echo.as_ref().unwrap();
        assert!(!echo.is_finished());
        drop(pair);
    }

    #[test]
    fn a_pair_that_is_awake_needs_no_bell() {
        let pair = Pair::start(None, Waiting::Awake).unwrap();
        pair.round_trips(3).unwrap();
        pair.one_way(3 * BATCH).unwrap();
    }

    #[test]
    fn a_cpu_that_is_not_there_is_an_error() {
        assert!(Pair::start(Some(1023), Waiting::Asleep).is_err());
    }
}
