//! Which of a fixed number of things are free: one bit each.
//!
//! ```text
//!   word 0  63 ………………… 0   word 1  127 ………………… 64   …      1 is free, 0 is out
//! ```
//!
//! A bitmap, and neither a queue nor a stack of indices, because
//! - a bit cannot be in two places: there are no links, so there is no ABA to guard against and nothing unsafe here;
//! - the lowest free one goes out first, so that the memory in use stays at one end: few pages are ever backed, and they are warm;
//! - giving back is one atomic operation that cannot fail, and counting is reading.
//!
//! The price is a scan of one word for 64 things, over those that are out. For the thousands that a region has slots it is a
//! few cache lines.
//!
//! Invariant: whoever took an index owns it until giving it back, and what was done before that is seen by the next owner.

use crate::sync::AtomicU64;
use crate::sync::order::{self, Ordering};

/// The free ones among `0..capacity`.
pub(crate) struct FreeList {
    words: Box<[AtomicU64]>,
    capacity: u32,
}

impl FreeList {
    /// All of `0..capacity`, free.
    pub(crate) fn new(capacity: u32) -> Self {
        let word = |first: u32| match capacity - first {
            left @ 0..BITS => (1 << left) - 1,
            _ => u64::MAX,
        };
        let words = (0..capacity)
            .step_by(BITS as usize)
            .map(|first| AtomicU64::new(word(first)));
        Self {
            words: words.collect(),
            capacity,
        }
    }

    /// Takes the lowest free one. While others take and give back at the same time, `None` means that none was free in each
    /// word when it was looked at.
    pub(crate) fn take(&self) -> Option<u32> {
        for (first, word) in (0..self.capacity).step_by(BITS as usize).zip(&self.words) {
            let mut seen = word.load(Ordering::Relaxed);
            while seen != 0 {
                let without_lowest = seen & (seen - 1);
                let taken = word.compare_exchange_weak(
                    seen,
                    without_lowest,
                    order::take(),
                    Ordering::Relaxed,
                );
                match taken {
                    Ok(_) => return Some(first + seen.trailing_zeros()),
                    Err(now) => seen = now,
                }
            }
        }
        None
    }

    /// Gives back one that was taken.
    ///
    /// # Panics
    /// When it is free already: two owners believed in it.
    pub(crate) fn give(&self, index: u32) {
        let bit = 1 << (index % BITS);
        let before = self.words[(index / BITS) as usize].fetch_or(bit, order::give());
        assert!(before & bit == 0, "{index} was given back twice");
    }

    /// How many are out. A moment's number when others take and give back.
    pub(crate) fn taken(&self) -> usize {
        let words = self.words.iter();
        let free: u32 = words
            .map(|word| word.load(Ordering::Relaxed).count_ones())
            .sum();
        (self.capacity - free) as usize
    }

    /// How many there are.
    pub(crate) const fn capacity(&self) -> usize {
        self.capacity as usize
    }
}

const BITS: u32 = u64::BITS;
