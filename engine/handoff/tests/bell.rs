//! The bell, from outside: threads and tasks sleep by it, and no ring is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use handoff::bell::Bell;
use handoff::spsc::channel_with_bell;

const ITEMS: u64 = if cfg!(miri) { 100 } else { 200_000 };
const SOON: Duration = Duration::from_millis(5);
const LATE: Duration = Duration::from_secs(30);

#[test]
fn what_is_due_does_not_sleep() {
    let bell = Bell::new();
    let start = Instant::now();
    assert!(bell.wait(LATE, || true));
    assert_eq!(
        bell.poll_wait(&Context::from_waker(Waker::noop()), || true),
        Poll::Ready(())
    );
    assert!(start.elapsed() < LATE);
}

#[test]
fn a_wait_ends_in_time() {
    let bell = Bell::new();
    let start = Instant::now();
    assert!(!bell.wait(SOON, || false));
    assert!(start.elapsed() >= SOON);
    assert!(!bell.wait(Duration::ZERO, || false));
}

#[test]
fn a_ring_ends_a_wait_even_when_nothing_is_due() {
    let bell = Arc::new(Bell::new());
    let listener = std::thread::spawn({
        let bell = bell.clone();
        move || bell.wait(Duration::MAX, || false)
    });
    while !listener.is_finished() {
        bell.ring();
        std::thread::yield_now();
    }
    assert!(!listener.join().unwrap());
}

#[test]
fn a_task_is_woken_once_a_sleep() {
    let (task, waker) = Task::new();
    let cx = Context::from_waker(&waker);
    let bell = Bell::new();
    bell.ring();
    assert!(bell.poll_wait(&cx, || false).is_pending());
    assert_eq!(
        task.wakes(),
        0,
        "rings before the sleep are for the look before the sleep"
    );
    bell.ring();
    bell.ring();
    assert_eq!(task.wakes(), 1);
    assert!(bell.poll_wait(&cx, || true).is_ready());
    bell.ring();
    assert_eq!(task.wakes(), 1, "it does not sleep");
}

#[test]
fn a_task_that_found_something_after_all_is_not_woken() {
    let (task, waker) = Task::new();
    let bell = Bell::new();
    let looks = AtomicUsize::new(0);
    let second_look = || looks.fetch_add(1, Ordering::Relaxed) == 1;
    assert!(
        bell.poll_wait(&Context::from_waker(&waker), second_look)
            .is_ready()
    );
    bell.ring();
    assert_eq!((task.wakes(), looks.into_inner()), (0, 2));
}

#[test]
fn a_later_listener_takes_the_place_of_an_earlier_one() {
    let (first, waker) = Task::new();
    let bell = Bell::new();
    assert!(
        bell.poll_wait(&Context::from_waker(&waker), || false)
            .is_pending()
    );
    let (second, waker) = Task::new();
    assert!(
        bell.poll_wait(&Context::from_waker(&waker), || false)
            .is_pending()
    );
    bell.ring();
    assert_eq!((first.wakes(), second.wakes()), (0, 1));
}

#[test]
fn a_waker_is_let_go_of() {
    let (task, waker) = Task::new();
    let bell = Bell::new();
    assert!(
        bell.poll_wait(&Context::from_waker(&waker), || false)
            .is_pending()
    );
    drop(waker);
    assert_eq!(Arc::strong_count(&task), 2);
    drop(bell);
    assert_eq!(Arc::strong_count(&task), 1);
}

#[test]
fn a_waker_that_cannot_be_cloned_leaves_the_bell_whole() {
    use std::task::{RawWaker, RawWakerVTable};
    static NOT_TO_BE_CLONED: RawWakerVTable =
        RawWakerVTable::new(|_| panic!("not to be cloned"), |_| {}, |_| {}, |_| {});
    // SAFETY: needed to make a waker that misbehaves. Its functions look at nothing.
    let bad = unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &NOT_TO_BE_CLONED)) };
    let bell = Bell::new();
    let poll = || bell.poll_wait(&Context::from_waker(&bad), || false);
    assert!(std::panic::catch_unwind(poll).is_err());

    let (task, waker) = Task::new();
    assert!(
        bell.poll_wait(&Context::from_waker(&waker), || false)
            .is_pending()
    );
    bell.ring();
    assert_eq!(task.wakes(), 1);
}

/// Two shards and one lane: a ring each, one bell, and a sleep whenever both are empty.
fn every_item_arrives(sleep: impl Fn(&Bell, &dyn Fn() -> bool)) {
    let bell = Arc::new(Bell::new());
    let (producers, mut rings): (Vec<_>, Vec<_>) =
        (0..2).map(|_| channel_with_bell(16, bell.clone())).unzip();
    let producers = producers.into_iter().map(|mut tx| {
        std::thread::spawn(move || {
            for n in 0..ITEMS {
                let mut item = n;
                while let Err(back) = tx.send(item) {
                    item = back;
                    std::thread::yield_now();
                }
            }
        })
    });
    let producers: Vec<_> = producers.collect();
    let mut next = [0; 2];
    while next != [ITEMS; 2] {
        sleep(&bell, &|| rings.iter().any(|rx| !rx.is_empty()));
        for (rx, next) in rings.iter_mut().zip(&mut next) {
            while let Some(item) = rx.pop() {
                assert_eq!(item, *next);
                *next += 1;
            }
        }
    }
    for producer in producers {
        producer.join().unwrap();
    }
    assert!(rings.iter().all(handoff::spsc::Consumer::is_abandoned));
}

#[test]
fn a_thread_sleeps_by_one_bell_for_many_rings() {
    every_item_arrives(|bell, due| {
        let start = Instant::now();
        bell.wait(LATE, due);
        assert!(start.elapsed() < LATE, "a wake-up was lost");
    });
}

#[test]
fn a_task_sleeps_by_one_bell_for_many_rings() {
    let (task, waker) = Task::new();
    every_item_arrives(|bell, due| {
        let start = Instant::now();
        loop {
            let wakes = task.wakes();
            if bell.poll_wait(&Context::from_waker(&waker), due).is_ready() {
                return;
            }
            while task.wakes() == wakes {
                assert!(start.elapsed() < LATE, "a wake-up was lost");
                std::thread::park_timeout(LATE);
            }
        }
    });
}

/// A task of a runtime that is this thread.
struct Task {
    thread: Thread,
    wakes: AtomicUsize,
}

impl Task {
    fn new() -> (Arc<Self>, Waker) {
        let task = Arc::new(Self {
            thread: std::thread::current(),
            wakes: AtomicUsize::new(0),
        });
        (task.clone(), Waker::from(task))
    }

    fn wakes(&self) -> usize {
        self.wakes.load(Ordering::Acquire)
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::Release);
        self.thread.unpark();
    }
}
