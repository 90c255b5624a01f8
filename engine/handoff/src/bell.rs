//! A bell: what wakes a sleeper of any kind, be it a task of any runtime or a bare thread.
//!
//! One listener, any number of ringers, any number of queues. Whoever fills a queue rings afterwards, once a batch; whoever
//! empties queues tells the bell what it waits for and sleeps. A ring costs one atomic addition when nobody sleeps.
//!
//! ```text
//!   ringer                         listener
//!   1. push to a queue             1. nothing due: announce itself (its waker into the cell, ASLEEP into the state)
//!   2. add a ring to the state     2. look at its queues once more
//!   3. was it ASLEEP, unrung?      3. sleep
//!      take the waker and wake
//! ```
//!
//! Both second steps follow a change of the one state word, and changes of one word have an order. Either the announcement
//! comes first, then the ringer finds it and wakes; or the ring comes first, then the announcement sees the ring, and so the
//! second look sees what was pushed. A ring is never lost.
//!
//! The state is a count of rings and a phase. The phase says whose the cell is:
//!
//! ```text
//!   63                        2 1   0
//!   ├────── rings so far ──────┼─────┤
//!                               AWAKE   rings n   nobody's: no waker is announced     listener ─▶ ARMING
//!                               ARMING  rings n   the listener's, who writes to it    listener ─▶ ASLEEP, rings 0
//!                               ASLEEP  rings 0   nobody's: the waker stands ready    listener ─▶ AWAKE; a ring ─▶
//!                               ASLEEP  rings n   the first ringer's, who takes it    that ringer ─▶ AWAKE, rings 0
//! ```
//!
//! Invariants:
//! - The cell is touched in ARMING by the one that made it so, and in ASLEEP by the one that rang first. Nobody waits for it.
//! - Every change of the state is a read-modify-write, so each continues the releases before it: an acquire sees all of them.
//! - Waking and dropping wakers, which is foreign code, happens when the cell is free again.

use std::fmt;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::sync::order::{self, Ordering};
use crate::sync::{self, AtomicU64, Thread, UnsafeCell};

/// See the module.
pub struct Bell {
    state: AtomicU64,
    sleeper: UnsafeCell<Option<Sleeper>>,
}

// SAFETY: needed because the cell makes the bell neither. What is in it, a `Waker` or a `Thread`, may go to and be dropped on
// any thread, and the state lets one thread at a time at it, whichever safe calls are made; so may the bell be sent and shared.
unsafe impl Send for Bell {}
// SAFETY: as above.
unsafe impl Sync for Bell {}

/// A panic in a waker or in `due` leaves the bell whole: [`Arming`] ends, and there is nothing else to be left half done.
impl std::panic::RefUnwindSafe for Bell {}

enum Sleeper {
    Task(Waker),
    Thread(Thread),
}

impl Bell {
    /// A bell that nobody listens to.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: AtomicU64::new(AWAKE),
            sleeper: UnsafeCell::new(None),
        }
    }

    /// Wakes the listener, if it sleeps. Whatever was pushed before, it finds.
    #[inline]
    pub fn ring(&self) {
        if self.state.fetch_add(ONE_RING, order::ring()) == ASLEEP {
            self.wake();
        }
    }

    /// Ready when `due` says so; else the next ring wakes the task, which then asks again.
    ///
    /// A later listener takes the place of an earlier one: a bell has one at a time.
    pub fn poll_wait(&self, cx: &Context<'_>, due: impl Fn() -> bool) -> Poll<()> {
        if due() {
            return Poll::Ready(());
        }
        let task = cx.waker();
        let is_mine =
            |known: &Sleeper| matches!(known, Sleeper::Task(waker) if waker.will_wake(task));
        if !self.announce(is_mine, || Sleeper::Task(task.clone())) {
            // A ringer is between two instructions with the last waker. The task lets others run and asks again.
            task.wake_by_ref();
            return Poll::Pending;
        }
        if due() {
            self.rise();
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Blocks the thread until `due` says so, the bell is rung, or the time has passed. Returns whether it is due now.
    pub fn wait(&self, timeout: Duration, due: impl Fn() -> bool) -> bool {
        if due() {
            return true;
        }
        let until = Instant::now() + timeout.min(WAIT_MAX);
        while !self.announce(|_| false, || Sleeper::Thread(sync::current())) {
            if Instant::now() >= until {
                return due();
            }
            sync::yield_now();
        }
        if due() {
            self.rise();
            return true;
        }
        while self.state.load(order::rouse()) == ASLEEP {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.rise();
                break;
            }
            sync::park_timeout(left);
        }
        due()
    }

    /// Puts a sleeper into the cell, unless what is there `is_mine` already, and says that it sleeps. `false` when the cell
    /// is in other hands just now.
    fn announce(
        &self,
        is_mine: impl FnOnce(&Sleeper) -> bool,
        fresh: impl FnOnce() -> Sleeper,
    ) -> bool {
        let mut seen = AWAKE;
        loop {
            let is_held = seen & PHASE == ARMING || (seen & PHASE == ASLEEP && seen != ASLEEP);
            if is_held {
                return false;
            }
            // Rings so far are forgotten here: the caller looks at its queues after this.
            let held =
                self.state
                    .compare_exchange_weak(seen, ARMING, order::hold(), Ordering::Relaxed);
            match held {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        let mut arming = Arming {
            bell: self,
            leave_as: AWAKE,
        };
        let displaced = self.sleeper.with_mut(|cell| {
            // SAFETY: needed to write to the cell. The phase went from one that gives the cell to nobody to ARMING, and by
            // our hand; until `arming` ends it, neither a ringer nor another listener comes here.
            let cell = unsafe { &mut *cell };
            match cell {
                Some(known) if is_mine(known) => None,
                _ => cell.replace(fresh()),
            }
        });
        arming.leave_as = ASLEEP;
        drop(arming);
        drop(displaced);
        true
    }

    /// Takes the announcement back; the waker stays in the cell for the next one. If a ringer has it already, so be it.
    fn rise(&self) {
        // Relaxed: neither the cell nor a queue is looked at on the strength of this.
        let _rung_meanwhile =
            self.state
                .compare_exchange(ASLEEP, AWAKE, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Takes the sleeper out and wakes it. Only for the first ringer after an announcement.
    #[cold]
    fn wake(&self) {
        let sleeper = self.sleeper.with_mut(|cell| {
            // SAFETY: needed to move the waker out. The phase is ASLEEP and the first ring was ours, which makes the cell
            // ours: the listener keeps away from a rung ASLEEP, and other ringers were not first.
            let cell = unsafe { &mut *cell };
            cell.take()
        });
        self.state.swap(AWAKE, order::let_go());
        match sleeper {
            Some(Sleeper::Task(waker)) => waker.wake(),
            Some(Sleeper::Thread(thread)) => thread.unpark(),
            None => {}
        }
    }
}

impl Default for Bell {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_asleep = self.state.load(Ordering::Relaxed) == ASLEEP;
        f.debug_struct("Bell")
            .field("is_asleep", &is_asleep)
            .finish()
    }
}

/// The listener's hold on the cell. It ends even when cloning a waker panics; the listener is then awake.
struct Arming<'a> {
    bell: &'a Bell,
    leave_as: u64,
}

impl Drop for Arming<'_> {
    fn drop(&mut self) {
        self.bell.state.swap(self.leave_as, order::announce());
    }
}

const PHASE: u64 = 0b11;
const AWAKE: u64 = 0b00;
const ARMING: u64 = 0b01;
const ASLEEP: u64 = 0b10;
/// Rings are counted above the phase; at a billion a second, 62 bits last for a hundred years without one wait.
const ONE_RING: u64 = PHASE + 1;

/// Nobody means to sleep for longer, and the end of it is a moment that a clock can name.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
