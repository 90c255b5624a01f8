//! Regions of every kind behave alike, and each is freed.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use handoff::page::{LARGE, SMALL, Size, Slab};
use handoff::region::{Error, HUGE_PAGE, HugePages, Kind, PAGE, Region};
use handoff::slot::Slots;

/// A few pages and some bytes, so that rounding shows.
const LEN: usize = 2 * LARGE + 100;

#[test]
fn every_kind_is_zeroed_writable_and_as_long_as_asked() {
    // Every byte is looked at, which takes Miri long.
    let len = if cfg!(miri) { PAGE + 100 } else { LEN };
    for region in of_every_kind(len) {
        let kind = region.kind();
        assert!(region.len() >= len && !region.is_empty(), "{region:?}");
        if kind != Kind::Foreign {
            assert!(region.base().addr().get().is_multiple_of(PAGE), "{kind:?}");
        }
        let slots = Slots::new(region, PAGE);
        let mut held: Vec<_> = std::iter::from_fn(|| slots.take()).collect();
        assert_eq!(held.len(), slots.region().len() / PAGE, "{kind:?}");
        for (n, slot) in held.iter_mut().enumerate() {
            assert!(slot.iter().all(|&b| b == 0), "{kind:?}");
            slot.fill(n as u8);
        }
        for (n, slot) in held.iter().enumerate() {
            assert!(slot.iter().all(|&b| b == n as u8), "{kind:?}");
        }
    }
}

#[test]
fn every_kind_carries_pages() {
    for region in of_every_kind(LEN) {
        let kind = region.kind();
        let slab = Slab::over(region);
        assert!(slab.capacity_bytes() >= 2 * LARGE, "{kind:?}");
        let mut page = slab.take(Size::Small).unwrap();
        let span = page.fill(&[7; SMALL]);
        drop((slab, page));
        assert_eq!(&span[..], [7; SMALL], "{kind:?}");
    }
}

#[test]
fn a_region_of_no_bytes_or_too_many_is_refused() {
    let too_many = isize::MAX as usize + 1;
    for len in [0, too_many, usize::MAX] {
        assert!(matches!(Region::heap(len), Err(Error::Size { .. })));
        for which in [HugePages::Only, HugePages::OrOrdinary] {
            let got = Region::huge_pages(len, which);
            assert!(matches!(got, Err(Error::Size { .. })));
        }
        assert!(matches!(Region::memfd("x", len), Err(Error::Size { .. })));
    }
}

#[test]
#[cfg_attr(miri, ignore = "Miri's address space is not the system's")]
fn what_the_system_does_not_have_is_an_error() {
    let len = isize::MAX as usize / 2;
    let error = Region::heap(len).unwrap_err();
    assert!(matches!(error, Error::OutOfMemory { .. }), "{error:?}");
    let error = Region::huge_pages(len, HugePages::OrOrdinary).unwrap_err();
    assert!(matches!(error, Error::OutOfMemory { .. }), "{error:?}");
    let error = Region::huge_pages(len, HugePages::Only).unwrap_err();
    assert!(matches!(error, Error::HugePages { .. }), "{error:?}");
    let error = Region::memfd("x", len).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Memfd {
                step: "size" | "map",
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no anonymous mappings of huge pages")]
fn ordinary_pages_say_why_they_are_not_huge() {
    let region = Region::huge_pages(1, HugePages::OrOrdinary).unwrap();
    assert_eq!(region.len(), HUGE_PAGE, "rounded up");
    match region.kind() {
        Kind::HugePages => {
            assert!(region.refusal().is_none());
            assert!(Region::huge_pages(1, HugePages::Only).is_ok());
        }
        Kind::OrdinaryPages { .. } => {
            let refusal = region.refusal().unwrap();
            assert_eq!(
                refusal.raw_os_error(),
                Some(rustix::io::Errno::NOMEM.raw_os_error())
            );
            let error = Region::huge_pages(1, HugePages::Only).unwrap_err();
            assert!(matches!(error, Error::HugePages { len: HUGE_PAGE, .. }));
            assert_eq!(error.to_string(), "no 1 huge pages of 2 MiB in reserve");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfd")]
fn a_memfd_is_seen_by_others_and_changed_by_none() {
    let slots = Slots::new(Region::memfd("seen", 2 * PAGE).unwrap(), PAGE);
    let _first = slots.take().unwrap();
    let mut second = slots.take().unwrap();
    second[..5].copy_from_slice(b"hello");

    let fd = slots.region().fd().unwrap();
    let mut seen = [0; 5];
    assert_eq!(rustix::io::pread(fd, &mut seen, PAGE as u64).unwrap(), 5);
    assert_eq!(&seen, b"hello");

    assert_eq!(
        rustix::io::pwrite(fd, b"x", 0),
        Err(rustix::io::Errno::PERM)
    );
    assert_eq!(rustix::fs::ftruncate(fd, 0), Err(rustix::io::Errno::PERM));
    assert_eq!(
        rustix::fs::ftruncate(fd, 1 << 20),
        Err(rustix::io::Errno::PERM)
    );
    assert!(Region::heap(1).unwrap().fd().is_none());
}

#[test]
fn a_region_may_be_freed_on_another_thread() {
    for region in of_every_kind(LEN) {
        std::thread::spawn(move || drop(region)).join().unwrap();
    }
}

#[test]
fn foreign_memory_is_freed_once_with_the_last_slot() {
    let freed = Arc::new(AtomicUsize::new(0));
    let slots = Slots::new(foreign(100, freed.clone()), 64);
    assert_eq!(slots.capacity(), 1);
    let mut slot = slots.take().unwrap();
    drop(slots);
    slot.fill(1);
    assert_eq!(freed.load(Ordering::Relaxed), 0);
    drop(slot);
    assert_eq!(freed.load(Ordering::Relaxed), 1);
}

/// One of each that this machine has.
fn of_every_kind(len: usize) -> Vec<Region> {
    let mut regions = vec![Region::heap(len).unwrap(), foreign(len, Arc::default())];
    if cfg!(not(miri)) {
        regions.push(Region::memfd("alike", len).unwrap());
        regions.push(Region::huge_pages(len, HugePages::OrOrdinary).unwrap());
    }
    regions
}

/// Memory that counts how often it is freed.
fn foreign(len: usize, freed: Arc<AtomicUsize>) -> Region {
    struct Keeper {
        memory: NonNull<[u8]>,
        freed: Arc<AtomicUsize>,
    }
    // SAFETY: needed because of the pointer; the keeper only frees what it points to, and any thread may.
    unsafe impl Send for Keeper {}
    impl Drop for Keeper {
        fn drop(&mut self) {
            // SAFETY: needed to free what was leaked below; the region is gone.
            drop(unsafe { Box::from_raw(self.memory.as_ptr()) });
            self.freed.fetch_add(1, Ordering::Relaxed);
        }
    }
    let memory = NonNull::from(Box::leak(vec![0; len].into_boxed_slice()));
    let keeper = Box::new(Keeper { memory, freed });
    // SAFETY: needed to lend it. It is `len` bytes of zeros, leaked, and nobody else sees them before the keeper goes.
    unsafe { Region::foreign(memory.cast(), len, keeper) }
}
