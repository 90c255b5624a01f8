//! Pages: where payload is read to, and where every reader finds it.
//!
//! ```text
//!    region  ├──── large page 0 ────┼──── large page 1 ────┼ …        64 KiB each
//!                                   ├─s─┼─s─┼─s─┼ … ┼─s─┤             or cut into 16 small ones of 4 KiB
//!
//!    page    ├── span ──┼─ span ─┼── span ──┼··········┤
//!             shared, never changed again     the writer's alone
//! ```
//!
//! Invariants:
//! - Each byte of a page is either *filled* (shared by spans, immutable) or *spare* (seen by the one [`PageMut`] only).
//!   The border only moves up, and only the `PageMut` moves it.
//! - A page goes back to the slab when its `PageMut` and its last [`Span`] are gone, and not before.
//! - All of it stays on one thread: counts are plain cells, and nothing here is `Send`.
//! - The region is as large as the slab may ever be. The system backs its pages with memory when they are first written.
//! - The region lives as long as the last page, span or slab of it, and is freed then.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::{Deref, Range};
use std::ptr::NonNull;
use std::rc::Rc;

use crate::region::Region;

/// Bytes of a large page.
pub const LARGE: usize = 64 << 10;
/// Bytes of a small page.
pub const SMALL: usize = 4 << 10;
/// Small pages in a large one.
const SPLIT: usize = LARGE / SMALL;
/// So many large pages have so many small ones as a u32 can number.
const PAGES_MAX: usize = u32::MAX as usize / SPLIT;

const _: () = {
    assert!(LARGE.is_multiple_of(SMALL));
    assert!(SPLIT == 16, "the free mask of a split page is a u16");
};

/// How large a page to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// 4 KiB.
    Small,
    /// 64 KiB.
    Large,
}

/// Pages on one thread. Cloning shares it.
#[derive(Clone)]
pub struct Slab(Rc<Inner>);

struct Inner {
    region: Region,
    large_pages: usize,
    /// How many hold on to a page: its `PageMut` and its spans. Indexed by small page; a large page uses its first.
    holders: Box<[Cell<u32>]>,
    free: RefCell<Free>,
    used_bytes: Cell<usize>,
    peak_bytes: Cell<usize>,
}

struct Free {
    /// Large pages that were used before, the most recent last.
    large: Vec<u32>,
    /// Large pages from here on were never used.
    untouched: u32,
    /// Split large pages that have, or had when listed, a free small page.
    partial: Vec<u32>,
    /// For each large page, which of its small pages are free; 0 for one that is not split or is all in use.
    mask: Box<[u16]>,
}

impl Slab {
    /// A slab of at most `bytes` of the heap, rounded down to whole large pages, at least one.
    ///
    /// # Panics
    /// When there is no room for it.
    pub fn new(bytes: usize) -> Self {
        let large_pages = (bytes / LARGE).clamp(1, PAGES_MAX);
        match Region::heap(large_pages * LARGE) {
            Ok(region) => Self::over(region),
            Err(error) => panic!("{error}"),
        }
    }

    /// A slab of the whole large pages that fit into the region; without any, if it is smaller than one.
    pub fn over(region: Region) -> Self {
        let large_pages = (region.len() / LARGE).min(PAGES_MAX);
        Self(Rc::new(Inner {
            region,
            large_pages,
            holders: vec![Cell::new(0); large_pages * SPLIT].into_boxed_slice(),
            free: RefCell::new(Free {
                large: Vec::new(),
                untouched: 0,
                partial: Vec::new(),
                mask: vec![0; large_pages].into_boxed_slice(),
            }),
            used_bytes: Cell::new(0),
            peak_bytes: Cell::new(0),
        }))
    }

    /// Takes a page, if there is one.
    pub fn take(&self, size: Size) -> Option<PageMut> {
        let slot = match size {
            Size::Large => self.0.take_large()? * SPLIT,
            Size::Small => self.0.take_small()?,
        };
        let bytes = size.bytes();
        self.0.used_bytes.set(self.0.used_bytes.get() + bytes);
        self.0
            .peak_bytes
            .set(self.0.peak_bytes.get().max(self.0.used_bytes.get()));
        debug_assert_eq!(self.0.holders[slot].get(), 0);
        self.0.holders[slot].set(1);
        Some(PageMut {
            page: Page {
                slab: self.0.clone(),
                slot: to_u32(slot),
                size,
            },
            filled: 0,
        })
    }

    /// Bytes of pages in use.
    pub fn used_bytes(&self) -> usize {
        self.0.used_bytes.get()
    }

    /// The most bytes that were in use at once.
    pub fn peak_bytes(&self) -> usize {
        self.0.peak_bytes.get()
    }

    /// The most bytes that can be in use at once.
    pub fn capacity_bytes(&self) -> usize {
        self.0.large_pages * LARGE
    }
}

impl fmt::Debug for Slab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slab")
            .field("used_bytes", &self.used_bytes())
            .field("capacity_bytes", &self.capacity_bytes())
            .finish()
    }
}

fn to_u32(slot: usize) -> u32 {
    u32::try_from(slot).expect("Slab::new bounds the number of pages")
}

impl Size {
    /// Its bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Small => SMALL,
            Self::Large => LARGE,
        }
    }
}

impl Inner {
    fn take_large(&self) -> Option<usize> {
        let mut free = self.free.borrow_mut();
        if let Some(page) = free.large.pop() {
            return Some(page as usize);
        }
        let page = free.untouched as usize;
        (page < self.large_pages).then(|| {
            free.untouched += 1;
            page
        })
    }

    fn take_small(&self) -> Option<usize> {
        loop {
            let listed = self.free.borrow().partial.last().copied();
            let large = match listed {
                Some(large) => large as usize,
                None => {
                    let large = self.take_large()?;
                    let mut free = self.free.borrow_mut();
                    free.mask[large] = u16::MAX;
                    free.partial.push(to_u32(large));
                    large
                }
            };
            let mut free = self.free.borrow_mut();
            let mask = free.mask[large];
            if mask & mask.wrapping_sub(1) == 0 {
                free.partial.pop();
            }
            if mask != 0 {
                let small = mask.trailing_zeros() as usize;
                free.mask[large] = mask & !(1 << small);
                return Some(large * SPLIT + small);
            }
        }
    }

    fn give_back(&self, slot: usize, size: Size) {
        self.used_bytes.set(self.used_bytes.get() - size.bytes());
        let large = slot / SPLIT;
        let mut free = self.free.borrow_mut();
        match size {
            Size::Large => free.large.push(to_u32(large)),
            Size::Small => {
                let before = free.mask[large];
                let after = before | 1 << (slot % SPLIT);
                free.mask[large] = after;
                if after == u16::MAX {
                    // Whole again: no small page of it is out, so it must not be listed either.
                    free.mask[large] = 0;
                    free.partial.retain(|&listed| listed as usize != large);
                    free.large.push(to_u32(large));
                } else if before == 0 {
                    free.partial.push(to_u32(large));
                }
            }
        }
    }

    fn release(&self, slot: u32, size: Size) {
        let holders = &self.holders[slot as usize];
        holders.set(holders.get() - 1);
        if holders.get() == 0 {
            self.give_back(slot as usize, size);
        }
    }
}

/// A page's identity, shared by its writer and its spans; counted by hand, so cloning is explicit.
struct Page {
    slab: Rc<Inner>,
    slot: u32,
    size: Size,
}

impl Page {
    fn hold(&self) -> Self {
        let holders = &self.slab.holders[self.slot as usize];
        holders.set(holders.get() + 1);
        Self {
            slab: self.slab.clone(),
            slot: self.slot,
            size: self.size,
        }
    }

    /// The address of a byte of the page; `offset` is at most the page's size.
    fn at(&self, offset: usize) -> NonNull<u8> {
        debug_assert!(offset <= self.size.bytes());
        // SAFETY: needed to address a byte by page number and offset. `slot` was handed out by this slab and `offset` stays
        // within the page, so the sum lies within the region that `base` points to, or one past its end; it is one allocation.
        unsafe {
            self.slab
                .region
                .base()
                .add(self.slot as usize * SMALL + offset)
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.slab.release(self.slot, self.size);
    }
}

/// A page's writer. There is one, and it alone sees the spare bytes.
pub struct PageMut {
    page: Page,
    filled: usize,
}

impl PageMut {
    /// The bytes that are still to be filled.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        let (start, len) = (
            self.page.at(self.filled),
            self.page.size.bytes() - self.filled,
        );
        // SAFETY: needed to lend a part of the region for writing. `filled..` lies inside the page; it is initialised, as
        // regions are; and nobody else sees it: spans end at or before `filled`, this is the page's only
        // `PageMut`, and `&mut self` keeps it from making spans meanwhile.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), len) }
    }

    /// Declares the first `n` spare bytes filled and returns them.
    ///
    /// # Panics
    /// When there are fewer than `n` spare bytes.
    pub fn commit(&mut self, n: usize) -> Span {
        assert!(
            n <= self.spare_len(),
            "committed {n} bytes of {}",
            self.spare_len()
        );
        let offset = self.filled;
        self.filled += n;
        Span {
            page: self.page.hold(),
            offset: to_u32(offset),
            len: to_u32(n),
        }
    }

    /// Copies as much of `bytes` as fits and returns it as a span.
    pub fn fill(&mut self, bytes: &[u8]) -> Span {
        let n = bytes.len().min(self.spare_len());
        self.spare_mut()[..n].copy_from_slice(&bytes[..n]);
        self.commit(n)
    }

    /// How many bytes are still to be filled.
    pub const fn spare_len(&self) -> usize {
        self.page.size.bytes() - self.filled
    }

    /// Whether nothing was committed.
    pub const fn is_untouched(&self) -> bool {
        self.filled == 0
    }

    /// How large it is.
    pub const fn size(&self) -> Size {
        self.page.size
    }
}

impl fmt::Debug for PageMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageMut")
            .field("slot", &self.page.slot)
            .field("filled", &self.filled)
            .finish()
    }
}

/// Filled bytes of a page. They never change; the page lives as long as the span.
pub struct Span {
    page: Page,
    offset: u32,
    len: u32,
}

impl Span {
    /// A part of it.
    ///
    /// # Panics
    /// When `range` does not lie within it.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(
            range.start <= range.end && range.end <= self.len as usize,
            "{range:?} of {}",
            self.len
        );
        Self {
            page: self.page.hold(),
            offset: self.offset + to_u32(range.start),
            len: to_u32(range.len()),
        }
    }
}

impl Clone for Span {
    fn clone(&self) -> Self {
        Self {
            page: self.page.hold(),
            offset: self.offset,
            len: self.len,
        }
    }
}

impl Deref for Span {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let start = self.page.at(self.offset as usize);
        // SAFETY: needed to lend a part of the region for reading. The range was committed, so it lies below `filled` of its
        // page for good: nobody can get a mutable view of it, and the page is held for as long as `self` is.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), self.len as usize) }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Span")
            .field("slot", &self.page.slot)
            .field("offset", &self.offset)
            .field("len", &self.len)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn spans_keep_what_was_committed_while_the_page_grows() {
        let slab = Slab::new(LARGE);
        let mut page = slab.take(Size::Large).unwrap();
        let a = page.fill(b"alpha");
        let b = page.fill(b"beta");
        page.spare_mut().fill(0xff);
        let c = page.commit(3);
        assert_eq!(
            (&a[..], &b[..], &c[..]),
            (&b"alpha"[..], &b"beta"[..], &[0xff; 3][..])
        );
        assert_eq!(&a.slice(1..4)[..], b"lph");
        drop(page);
        assert_eq!(slab.used_bytes(), LARGE, "spans hold their page");
        drop((a, b));
        assert_eq!(&c[..], [0xff; 3]);
        drop(c);
        assert_eq!((slab.used_bytes(), slab.peak_bytes()), (0, LARGE));
    }

    #[test]
    fn a_region_is_freed_with_the_last_span_of_it() {
        let freed = Arc::new(AtomicBool::new(false));
        let slab = Slab::over(lent(3 * LARGE - 1, freed.clone()));
        assert_eq!(slab.capacity_bytes(), 2 * LARGE);
        let mut page = slab.take(Size::Small).unwrap();
        let span = page.fill(b"kept");
        drop((slab, page));
        assert!(!freed.load(Ordering::Relaxed));
        assert_eq!(&span[..], b"kept");
        drop(span);
        assert!(freed.load(Ordering::Relaxed));
        let slab = Slab::over(lent(LARGE - 1, freed));
        assert!(slab.take(Size::Small).is_none());
    }

    /// Memory of somebody who notes when it was freed.
    fn lent(len: usize, freed: Arc<AtomicBool>) -> Region {
        struct Keeper {
            memory: NonNull<[u8]>,
            freed: Arc<AtomicBool>,
        }
        // SAFETY: needed because of the pointer; it is the only one to its memory.
        unsafe impl Send for Keeper {}
        impl Drop for Keeper {
            fn drop(&mut self) {
                // SAFETY: needed to free what was leaked below; the region is gone.
                drop(unsafe { Box::from_raw(self.memory.as_ptr()) });
                self.freed.store(true, Ordering::Relaxed);
            }
        }
        let memory = NonNull::from(Box::leak(vec![0; len].into_boxed_slice()));
        let keeper = Box::new(Keeper { memory, freed });
        // SAFETY: needed to lend it. It is `len` bytes of zeros, leaked, so that nobody else sees them before the keeper goes.
        unsafe { Region::foreign(memory.cast(), len, keeper) }
    }

    #[test]
    fn a_full_slab_says_so_and_recovers() {
        let slab = Slab::new(2 * LARGE);
        let a = slab.take(Size::Large).unwrap();
        let small: Vec<_> = std::iter::from_fn(|| slab.take(Size::Small)).collect();
        assert_eq!(small.len(), SPLIT);
        assert!(slab.take(Size::Large).is_none());
        drop(small);
        assert_eq!(slab.used_bytes(), LARGE);
        assert!(
            slab.take(Size::Large).is_some(),
            "small pages join up again"
        );
        drop(a);
    }

    #[test]
    fn pages_never_overlap() {
        // A few thousand random takes and drops; every page is painted, and must keep its paint.
        let slab = Slab::new(8 * LARGE);
        let mut seed = 7u64;
        let mut next = move |n: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % n
        };
        let mut held: Vec<(PageMut, Span, u8)> = Vec::new();
        for step in 0..if cfg!(miri) { 60u64 } else { 20_000 } {
            let paint = (step % 251) as u8;
            if next(2) == 0 {
                let size = if next(4) == 0 {
                    Size::Large
                } else {
                    Size::Small
                };
                if let Some(mut page) = slab.take(size) {
                    let n = 1 + next(SMALL as u64 - 1) as usize;
                    page.spare_mut()[..n].fill(paint);
                    let span = page.commit(n);
                    held.push((page, span, paint));
                }
            } else if !held.is_empty() {
                let at = next(held.len() as u64) as usize;
                let (page, span, paint) = held.swap_remove(at);
                drop(page);
                assert!(span.iter().all(|&b| b == paint));
            }
        }
        assert!(
            held.iter()
                .all(|(_, span, paint)| span.iter().all(|b| b == paint))
        );
        let used: usize = held.iter().map(|(page, ..)| page.size().bytes()).sum();
        assert_eq!(slab.used_bytes(), used);
        drop(held);
        assert_eq!(slab.used_bytes(), 0);
        assert_eq!(
            std::iter::from_fn(|| slab.take(Size::Large))
                .collect::<Vec<_>>()
                .len(),
            8
        );
    }
}
