//! What rings, slots and bells are made of, in one place, so that a model checker can put its own in place of these.
//!
//! [`bell`](crate::bell), [`spsc`](crate::spsc) and the free list take every atomic, cell, count and thread call from here and
//! from nowhere else. `tests/loom.rs` includes those files beside a `sync` of its own that is made of loom's.

pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
pub(crate) use std::thread::{Thread, current, park_timeout, yield_now};

/// A cell that is looked into through a closure, so that a model sees where each look begins and ends.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// Lends the address for reading.
    #[inline]
    pub(crate) fn with<R>(&self, look: impl FnOnce(*const T) -> R) -> R {
        look(self.0.get())
    }

    /// Lends the address for writing.
    #[inline]
    pub(crate) fn with_mut<R>(&self, change: impl FnOnce(*mut T) -> R) -> R {
        change(self.0.get())
    }
}

/// Makes a function of each line of [`order`]'s table.
macro_rules! orders {
    ($($(#[$why:meta])* $name:ident = $order:ident;)*) => {$(
        $(#[$why])*
        #[inline(always)]
        pub(crate) const fn $name() -> Ordering {
            Ordering::$order
        }
    )*};
}

pub(crate) mod order;
