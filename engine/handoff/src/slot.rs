//! Slots: equal parts of a region, each with one owner at a time, on any thread.
//!
//! ```text
//!   region  ├─ slot 0 ─┼─ slot 1 ─┼─ slot 2 ─┼ … ┼─ slot n-1 ─┼· rest, unused ·┤
//!           base        offset = index × slot_bytes
//! ```
//!
//! A [`Slot`] is the buffer itself and not a copy: what a socket was read into on one core is what a device reads on another.
//! Handing it over is handing over the memory; the types show who has it.
//!
//! Invariants:
//! - A slot's bytes are seen by its one [`Slot`] alone. Dropping that, on any thread, gives it back.
//! - The next owner sees all that the last one did: giving back releases and taking acquires.
//! - The region lives as long as the last of its slots and [`Slots`].
//! - A slot holds what its last owner left; at first, what the region held.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

use crate::free::FreeList;
use crate::region::Region;

/// The slots of a region. Cloning shares it.
#[derive(Clone)]
pub struct Slots(Arc<Inner>);

struct Inner {
    region: Region,
    slot_bytes: usize,
    free: FreeList,
}

impl Slots {
    /// As many slots of `slot_bytes` as fit into the region; none, if it is smaller than one.
    ///
    /// Slots are aligned as the region is when `slot_bytes` is a multiple of that; let it be one of 64 at least, so that no two
    /// slots share a cache line.
    ///
    /// # Panics
    /// When `slot_bytes` is 0.
    #[must_use]
    pub fn new(region: Region, slot_bytes: usize) -> Self {
        assert!(slot_bytes > 0, "slots of no bytes");
        let capacity = u32::try_from(region.len() / slot_bytes).unwrap_or(u32::MAX);
        Self(Arc::new(Inner {
            region,
            slot_bytes,
            free: FreeList::new(capacity),
        }))
    }

    /// Takes a slot, if there is one. While slots come back at the same time, one of them may be missed.
    #[must_use]
    pub fn take(&self) -> Option<Slot> {
        let index = self.0.free.take()?;
        Some(Slot {
            of: self.0.clone(),
            index,
        })
    }

    /// How many slots are out.
    pub fn in_use(&self) -> usize {
        self.0.free.taken()
    }

    /// How many slots there are.
    pub fn capacity(&self) -> usize {
        self.0.free.capacity()
    }

    /// Bytes of a slot.
    pub fn slot_bytes(&self) -> usize {
        self.0.slot_bytes
    }

    /// The region they are parts of.
    pub fn region(&self) -> &Region {
        &self.0.region
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots")
            .field("in_use", &self.in_use())
            .field("capacity", &self.capacity())
            .field("slot_bytes", &self.slot_bytes())
            .finish()
    }
}

/// One slot, owned.
pub struct Slot {
    of: Arc<Inner>,
    index: u32,
}

impl Slot {
    /// Which one it is, from 0.
    pub fn index(&self) -> usize {
        self.index as usize
    }

    /// Where it begins, in bytes from the region's base.
    pub fn offset(&self) -> usize {
        self.index() * self.of.slot_bytes
    }

    /// Where it begins, in memory. Valid for as long as the slot is owned.
    pub fn address(&self) -> NonNull<u8> {
        // SAFETY: needed to address a byte by its offset. `index` is below the number of slots that fit into the region, so the
        // sum lies within what `base` points to.
        unsafe { self.of.region.base().add(self.offset()) }
    }
}

impl Deref for Slot {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: needed to lend a part of the region. The slot lies within it, a region is initialised and stays where it is
        // for as long as `of` keeps it; the index was taken from the free list, so this is its one owner, borrowed.
        unsafe { std::slice::from_raw_parts(self.address().as_ptr(), self.of.slot_bytes) }
    }
}

impl DerefMut for Slot {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; and the one owner is borrowed mutably, so nobody else looks.
        unsafe { std::slice::from_raw_parts_mut(self.address().as_ptr(), self.of.slot_bytes) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.of.free.give(self.index);
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("index", &self.index).finish()
    }
}
