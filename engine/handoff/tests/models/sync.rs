//! What the real `sync` is, made of loom's parts; and the orderings, of which a model may weaken one.

use std::cell::Cell;
use std::time::Duration;

pub(crate) use loom::cell::UnsafeCell;
pub(crate) use loom::sync::Arc;
use loom::sync::Notify;
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
pub(crate) use loom::thread::yield_now;

/// Sleeps until the token is there, and takes it; or wakes for no reason, as parking may. A model has no clock: a sleeper that
/// nobody wakes is a deadlock, and loom reports it.
pub(crate) fn park_timeout(_: Duration) {
    TOKEN.with(|token| token.wait());
}

/// A thread to be woken. Not loom's own, whose unparking also wakes a thread that waits for something else than its token.
#[derive(Clone)]
pub(crate) struct Thread(std::sync::Arc<Notify>);

/// The thread that asks.
pub(crate) fn current() -> Thread {
    TOKEN.with(|token| Thread(token.clone()))
}

impl Thread {
    pub(crate) fn unpark(&self) {
        self.0.notify();
    }
}

loom::thread_local! {
    static TOKEN: std::sync::Arc<Notify> = std::sync::Arc::new(Notify::new());
}

/// The ordering called `name` is `weak` from here on, on this thread. A model runs on the one thread that started it.
#[allow(dead_code, reason = "only the weakened models call it")]
pub(crate) fn weaken(name: &'static str, weak: order::Ordering) {
    WEAKENED.set(Some((name, weak)));
}

thread_local! {
    static WEAKENED: Cell<Option<(&'static str, order::Ordering)>> = const { Cell::new(None) };
}

macro_rules! orders {
    ($($(#[$why:meta])* $name:ident = $order:ident;)*) => {$(
        $(#[$why])*
        pub(crate) fn $name() -> Ordering {
            match super::WEAKENED.get() {
                Some((stringify!($name), weak)) => weak,
                _ => Ordering::$order,
            }
        }
    )*

        /// What there is to weaken.
        #[allow(dead_code, reason = "only the weakened models ask")]
        pub(crate) const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

#[path = "../../src/sync/order.rs"]
pub(crate) mod order;
