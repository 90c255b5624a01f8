//! Blocks of memory that are used again: device memory for pictures, scratch and tensors, pinned memory for copies.
//!
//! Allocating on a device costs as much as filtering a picture and can halt all of its work, so a block goes back to the pool and
//! not to the driver. Sizes are rounded up to classes, four to a power of two, so a block is at most a quarter too large:
//!
//! ```text
//!   bytes   64 KiB . 80 . 96 . 112 . 128 . 160 . 192 . 224 . 256 ...
//! ```
//!
//! Invariants: the blocks that exist, in use or spare, are within both limits. A block is handed out again only when
//! [`Allocate::is_idle`], and goes back to the driver only when the device is done with it ([`Allocate::settle`]). At a limit,
//! spare blocks of other sizes are freed first, the longest unused before the others; when that does not help, the pool is full,
//! and whoever asked is told.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use crate::fault::Fault;

/// The smallest block.
const BYTES_MIN: usize = 64 << 10;

/// Where blocks come from.
pub(crate) trait Allocate {
    /// Gives the memory back when dropped.
    type Block;

    /// A new block.
    fn allocate(&self, bytes: usize) -> Result<Self::Block, Fault>;

    /// Whether a block that was given back may be handed out as it is.
    fn is_idle(&self, block: &Self::Block) -> Result<bool, Fault>;

    /// Waits, with a deadline, until the device is done with a block.
    fn settle(&self, block: &Self::Block) -> Result<(), Fault>;
}

/// How much a pool may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) blocks: usize,
    pub(crate) bytes: usize,
}

pub(crate) struct Pool<A: Allocate> {
    name: &'static str,
    allocator: A,
    limits: Limits,
    /// The longest unused first.
    spare: RefCell<Vec<Spare<A::Block>>>,
    blocks: Cell<usize>,
    bytes: Cell<usize>,
}

struct Spare<B> {
    bytes: usize,
    block: B,
}

/// A block in use. It goes back when this is dropped.
pub(crate) struct Lease<A: Allocate> {
    pool: Rc<Pool<A>>,
    bytes: usize,
    /// There until it is dropped.
    block: Option<A::Block>,
}

// === impl Pool ===

impl<A: Allocate> Pool<A> {
    /// A pool with nothing in it. The name is for errors.
    pub(crate) fn new(name: &'static str, allocator: A, limits: Limits) -> Self {
        Self {
            name,
            allocator,
            limits,
            spare: RefCell::default(),
            blocks: Cell::new(0),
            bytes: Cell::new(0),
        }
    }

    /// A block of at least so many bytes.
    ///
    /// # Errors
    /// [`Fault::Full`] at the limits of the pool or of the device, and what the device fails with.
    pub(crate) fn take(self: &Rc<Self>, bytes: usize) -> Result<Lease<A>, Fault> {
        let bytes = class(bytes).ok_or_else(|| self.full())?;
        if let Some(block) = self.idle(bytes)? {
            return Ok(self.lease(bytes, block));
        }
        if self.has_room(bytes) {
            return self.grow(bytes);
        }
        // Everything of this size is busy and no more may be made: wait for the one that has been at it longest.
        let position = |spare: &Vec<Spare<_>>| spare.iter().position(|spare| spare.bytes == bytes);
        let busy = {
            let mut spare = self.spare.borrow_mut();
            position(&spare).map(|at| spare.remove(at).block)
        };
        if let Some(block) = busy {
            let lease = self.lease(bytes, block);
            self.allocator.settle(&lease)?;
            return Ok(lease);
        }
        self.free_spare(|| self.has_room(bytes))?;
        if !self.has_room(bytes) {
            return Err(self.full());
        }
        self.grow(bytes)
    }

    /// Blocks that exist, in use or spare.
    pub(crate) fn blocks(&self) -> usize {
        self.blocks.get()
    }

    /// Their bytes.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.get()
    }

    fn idle(&self, bytes: usize) -> Result<Option<A::Block>, Fault> {
        let mut spare = self.spare.borrow_mut();
        for at in 0..spare.len() {
            if spare[at].bytes == bytes && self.allocator.is_idle(&spare[at].block)? {
                return Ok(Some(spare.remove(at).block));
            }
        }
        Ok(None)
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.blocks.get() < self.limits.blocks
            && bytes <= self.limits.bytes.saturating_sub(self.bytes.get())
    }

    fn grow(self: &Rc<Self>, bytes: usize) -> Result<Lease<A>, Fault> {
        let block = match self.allocator.allocate(bytes) {
            Err(Fault::Full { .. }) if !self.spare.borrow().is_empty() => {
                // The device is full, and spare blocks are a part of why.
                self.free_spare(|| false)?;
                self.allocator.allocate(bytes)?
            }
            block => block?,
        };
        self.blocks.set(self.blocks.get() + 1);
        self.bytes.set(self.bytes.get() + bytes);
        Ok(self.lease(bytes, block))
    }

    /// Frees spare blocks, the longest unused first, until that is enough.
    fn free_spare(&self, is_enough: impl Fn() -> bool) -> Result<(), Fault> {
        while !is_enough() && !self.spare.borrow().is_empty() {
            let spare = self.spare.borrow_mut().remove(0);
            let settled = self.allocator.settle(&spare.block);
            self.forget(spare.bytes);
            settled?;
        }
        Ok(())
    }

    fn forget(&self, bytes: usize) {
        self.blocks.set(self.blocks.get() - 1);
        self.bytes.set(self.bytes.get() - bytes);
    }

    fn lease(self: &Rc<Self>, bytes: usize, block: A::Block) -> Lease<A> {
        Lease {
            pool: Rc::clone(self),
            bytes,
            block: Some(block),
        }
    }

    fn full(&self) -> Fault {
        Fault::Full {
            call: self.name,
            name: "its limit is reached",
        }
    }
}

impl<A: Allocate> Drop for Pool<A> {
    /// Every lease holds the pool, so all blocks are here.
    fn drop(&mut self) {
        // A device that is lost or stuck says so at each; its memory goes with the context.
        while !self.spare.borrow().is_empty() {
            let _ = self.free_spare(|| false);
        }
    }
}

// === impl Lease ===

impl<A: Allocate> Deref for Lease<A> {
    type Target = A::Block;

    fn deref(&self) -> &A::Block {
        self.block.as_ref().expect("there until the drop")
    }
}

impl<A: Allocate> DerefMut for Lease<A> {
    fn deref_mut(&mut self) -> &mut A::Block {
        self.block.as_mut().expect("there until the drop")
    }
}

impl<A: Allocate> Lease<A> {
    /// Bytes that the block has.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes
    }
}

impl<A: Allocate> Drop for Lease<A> {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            let bytes = self.bytes;
            self.pool.spare.borrow_mut().push(Spare { bytes, block });
        }
    }
}

/// The size of the block for so many bytes: a power of two, or that and one to three quarters.
fn class(bytes: usize) -> Option<usize> {
    let bytes = bytes.max(BYTES_MIN);
    let step = (1 << bytes.ilog2()) / 4;
    bytes.checked_next_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    const KIB: usize = 1 << 10;

    /// A device of so many bytes, whose blocks are busy until they are settled when `busy` says so.
    #[derive(Default)]
    struct Device {
        bytes: Cell<usize>,
        busy: Cell<bool>,
        settled: RefCell<Vec<usize>>,
        lost: Cell<bool>,
    }

    struct Block(Rc<Device>, usize);

    impl Drop for Block {
        fn drop(&mut self) {
            self.0.bytes.set(self.0.bytes.get() + self.1);
        }
    }

    impl Allocate for Rc<Device> {
        type Block = Block;

        fn allocate(&self, bytes: usize) -> Result<Block, Fault> {
            let left = self.bytes.get().checked_sub(bytes).ok_or(Fault::Full {
                call: "allocate",
                name: "full",
            })?;
            self.bytes.set(left);
            Ok(Block(Rc::clone(self), bytes))
        }

        fn is_idle(&self, _: &Block) -> Result<bool, Fault> {
            Ok(!self.busy.get())
        }

        fn settle(&self, block: &Block) -> Result<(), Fault> {
            self.settled.borrow_mut().push(block.1);
            match self.lost.get() {
                true => Err(Fault::Lost {
                    call: "settle",
                    name: "lost",
                }),
                false => Ok(()),
            }
        }
    }

    fn pool(
        device_bytes: usize,
        blocks: usize,
        bytes: usize,
    ) -> (Rc<Device>, Rc<Pool<Rc<Device>>>) {
        let device = Rc::new(Device::default());
        device.bytes.set(device_bytes);
        let limits = Limits { blocks, bytes };
        let pool = Pool::new("the pool", Rc::clone(&device), limits);
        (device, Rc::new(pool))
    }

    #[test]
    fn classes_waste_at_most_a_quarter() {
        assert_eq!(class(0), Some(64 * KIB));
        assert_eq!(class(64 * KIB + 1), Some(80 * KIB));
        assert_eq!(class(112 * KIB + 1), Some(128 * KIB));
        assert_eq!(class(usize::MAX), None);
        for bytes in (64 * KIB..9 << 20).step_by(7777) {
            let class = class(bytes).unwrap();
            assert!(
                class >= bytes && class < bytes + bytes / 4 + 1,
                "{bytes} {class}"
            );
            assert_eq!(super::class(class), Some(class));
        }
    }

    #[test]
    fn a_block_is_used_again_and_counted_once() {
        let (device, pool) = pool(1 << 20, 8, 1 << 20);
        let first = pool.take(70 * KIB).unwrap();
        assert_eq!(
            (first.capacity(), pool.blocks(), pool.bytes()),
            (80 * KIB, 1, 80 * KIB)
        );
        drop(first);
        let again = pool.take(80 * KIB).unwrap();
        assert_eq!(pool.blocks(), 1);
        assert_eq!(device.bytes.get(), (1 << 20) - 80 * KIB);
        let other = pool.take(64 * KIB).unwrap();
        assert_eq!((pool.blocks(), pool.bytes()), (2, 144 * KIB));
        drop((again, other, pool));
        assert_eq!(device.bytes.get(), 1 << 20, "all of it went back");
        assert_eq!(
            device.settled.borrow().len(),
            2,
            "and only when the device was done"
        );
    }

    #[test]
    fn at_a_limit_spare_blocks_of_other_sizes_go_and_then_it_is_full() {
        for (blocks, bytes) in [(2, 1 << 20), (9, 192 * KIB)] {
            let (_device, pool) = pool(1 << 20, blocks, bytes);
            drop(pool.take(64 * KIB).unwrap());
            let held = pool.take(80 * KIB).unwrap();
            let other = pool.take(96 * KIB).unwrap();
            assert_eq!(pool.blocks(), 2, "the spare one of 64 KiB had to go");
            let full = pool.take(64 * KIB).map(|_| ()).unwrap_err();
            assert_eq!(
                full.to_string(),
                "the device is full: the pool failed with its limit is reached"
            );
            drop((held, other));
            assert!(pool.take(64 * KIB).is_ok());
        }
    }

    #[test]
    fn a_full_device_is_asked_again_without_the_spare_blocks() {
        let (device, pool) = pool(200 * KIB, 9, 1 << 20);
        drop(pool.take(128 * KIB).unwrap());
        let second = pool.take(160 * KIB).unwrap();
        assert_eq!(device.bytes.get(), 40 * KIB);
        let full = pool.take(64 * KIB).map(|_| ()).unwrap_err();
        assert!(matches!(
            full,
            Fault::Full {
                call: "allocate",
                ..
            }
        ));
        assert_eq!((pool.blocks(), pool.bytes()), (1, 160 * KIB));
        drop(second);
    }

    #[test]
    fn a_busy_block_is_passed_over_and_at_the_limit_waited_for() {
        let (device, pool) = pool(1 << 20, 2, 1 << 20);
        device.busy.set(true);
        drop(pool.take(64 * KIB).unwrap());
        let second = pool.take(64 * KIB).unwrap();
        assert_eq!(pool.blocks(), 2);
        assert!(device.settled.borrow().is_empty());
        let first = pool.take(64 * KIB).unwrap();
        assert_eq!(*device.settled.borrow(), [64 * KIB]);
        device.lost.set(true);
        drop((first, second));
        let lost = pool.take(64 * KIB).map(|_| ()).unwrap_err();
        assert!(lost.is_lost());
        drop(pool);
        assert_eq!(device.bytes.get(), 1 << 20);
    }

    #[test]
    fn more_than_there_can_be_is_refused() {
        let (_device, pool) = pool(1 << 20, 2, 1 << 20);
        for bytes in [2 << 20, usize::MAX] {
            assert!(matches!(
                pool.take(bytes).map(|_| ()),
                Err(Fault::Full { .. })
            ));
        }
        assert_eq!(pool.blocks(), 0);
    }
}
