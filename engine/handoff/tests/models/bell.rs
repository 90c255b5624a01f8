//! Models of the bell. The queues are relaxed counters, so that nothing but the bell puts a push before the look that must find
//! it. A wake-up that is lost is a deadlock, which loom reports; two hands in the waker's cell likewise.

use std::task::{Context, Wake, Waker};
use std::time::Duration;

use loom::sync::Arc;
use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use loom::sync::atomic::{AtomicBool, AtomicUsize};
use loom::thread;

use super::{explore, explore_within};
use crate::bell::Bell;
use crate::spsc::channel_with_bell;
use crate::sync;

#[derive(Default)]
struct World {
    bell: Bell,
    pushed: AtomicUsize,
}

impl World {
    fn push_and_ring(&self) {
        self.pushed.fetch_add(1, Relaxed);
        self.bell.ring();
    }

    fn has(&self, wanted: usize) -> bool {
        self.pushed.load(Relaxed) >= wanted
    }

    /// Sleeps as a task does until `wanted` were pushed.
    fn wait_as_task(&self, wanted: usize) {
        block_on(|cx| self.bell.poll_wait(cx, || self.has(wanted)).is_ready());
        assert!(self.has(wanted));
    }
}

fn ringer(world: &Arc<World>, times: usize) -> thread::JoinHandle<()> {
    let world = world.clone();
    thread::spawn(move || {
        for _ in 0..times {
            world.push_and_ring();
        }
    })
}

/// A push and a ring, against announce, look and sleep.
pub(crate) fn a_thread_is_woken_and_finds_what_was_pushed() {
    explore(|| {
        let world = Arc::new(World::default());
        let ringer = ringer(&world, 1);
        let is_due = world.bell.wait(FOREVER, || world.has(1));
        // It was rung for nothing else.
        assert!(is_due);
        ringer.join().unwrap();
    });
}

/// The same with a task.
pub(crate) fn a_task_is_woken_and_finds_what_was_pushed() {
    explore(|| {
        let world = Arc::new(World::default());
        let ringer = ringer(&world, 1);
        world.wait_as_task(1);
        ringer.join().unwrap();
    });
}

/// Two ringers: the one who finds the other at the waker goes away, and is heard nevertheless.
pub(crate) fn two_ringers_are_both_heard() {
    explore_within(2, || {
        let world = Arc::new(World::default());
        let ringers = [ringer(&world, 1), ringer(&world, 1)];
        world.wait_as_task(2);
        for ringer in ringers {
            ringer.join().unwrap();
        }
    });
}

/// The listener sleeps again while the last ring may still be going on, as another task than before.
pub(crate) fn a_bell_is_heard_again() {
    explore(|| {
        let world = Arc::new(World::default());
        let ringer = ringer(&world, 2);
        world.wait_as_task(1);
        world.wait_as_task(2);
        ringer.join().unwrap();
    });
}

/// A thread after a task: the cell changes its contents.
pub(crate) fn a_thread_listens_after_a_task() {
    explore(|| {
        let world = Arc::new(World::default());
        let ringer = ringer(&world, 2);
        world.wait_as_task(1);
        while !world.bell.wait(FOREVER, || world.has(2)) {}
        ringer.join().unwrap();
    });
}

/// One bell for two rings, whose producers push one item and go.
pub(crate) fn one_bell_serves_many_rings() {
    explore_within(2, || {
        let bell = Arc::new(Bell::new());
        let (mut tx_a, mut rx_a) = channel_with_bell(1, bell.clone());
        let (mut tx_b, mut rx_b) = channel_with_bell(1, bell.clone());
        let other = thread::spawn(move || tx_a.send(1).unwrap());
        tx_b.send(2).unwrap();
        drop(tx_b);
        let mut sum = 0;
        let (mut a_is_over, mut b_is_over) = (false, false);
        while !(a_is_over && b_is_over) {
            bell.wait(FOREVER, || {
                !a_is_over && rx_a.is_due() || !b_is_over && rx_b.is_due()
            });
            a_is_over = rx_a.is_abandoned();
            b_is_over = rx_b.is_abandoned();
            sum += rx_a.pop().unwrap_or(0) + rx_b.pop().unwrap_or(0);
        }
        other.join().unwrap();
        assert_eq!(sum, 3);
    });
}

/// Not how it is done: a listener that does not look again after it has announced itself sleeps through a push.
#[allow(dead_code, reason = "only the weakened models call it")]
pub(crate) fn without_a_second_look() {
    explore(|| {
        let world = Arc::new(World::default());
        let ringer = ringer(&world, 1);
        let looks = std::cell::Cell::new(0);
        block_on(|cx| {
            let look = || looks.replace(looks.get() + 1) % 2 == 0 && world.has(1);
            world.bell.poll_wait(cx, look).is_ready()
        });
        ringer.join().unwrap();
    });
}

/// Runs a task of its own until `poll` says that it is done.
fn block_on(mut poll: impl FnMut(&Context<'_>) -> bool) {
    struct Task {
        thread: sync::Thread,
        is_woken: AtomicBool,
    }
    impl Wake for Task {
        fn wake(self: std::sync::Arc<Self>) {
            // A swap, though a store would do: loom lets the listener's swap miss a store that is older.
            self.is_woken.swap(true, Release);
            self.thread.unpark();
        }
    }
    let task = std::sync::Arc::new(Task {
        thread: sync::current(),
        is_woken: AtomicBool::new(false),
    });
    let waker = Waker::from(task.clone());
    while !poll(&Context::from_waker(&waker)) {
        if task.is_woken.swap(false, Acquire) {
            thread::yield_now();
            continue;
        }
        while !task.is_woken.swap(false, Acquire) {
            sync::park_timeout(FOREVER);
        }
    }
}

const FOREVER: Duration = Duration::from_secs(24 * 60 * 60);
