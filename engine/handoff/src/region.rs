//! A region: a span of memory that stays where it is, whoever supplies it.
//!
//! ```text
//!   heap      ┊·····├──────────── len ────────────┤··┊     one allocation, with room to begin at a whole system page
//!                  base
//!   huge      ├── 2 MiB ──┼── 2 MiB ──┼ … ┼── 2 MiB ──┤    an anonymous mapping; len is rounded up to whole huge pages
//!   ordinary  ├─┼─┼─┼─┼─┼─┼─┼ …                     ┼─┤    the same of 4 KiB pages, with the advice to join them
//!   memfd     ├──────────── len ────────────┤              a shared mapping of a file without a name; its descriptor may
//!             └── file, sealed                             go to others, who can read and neither write nor resize
//!   foreign   ├──────────── len ────────────┤ + keeper     somebody else's (CUDA-pinned); dropping the keeper frees it
//! ```
//!
//! Invariants:
//! - `base..base + len` is one initialised allocation, readable and writable, that neither moves nor shrinks while the region
//!   lives. Except for what foreign memory held, it begins as zeros, and the system backs it when it is first written.
//! - The region owns it: whoever owns the region decides who sees which bytes. A region hands out no references itself.
//! - It is freed the way it was got, once, when the region is dropped.

use std::alloc::Layout;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};

/// Bytes of a system page; every region that is not foreign begins at a multiple of it.
pub const PAGE: usize = 4 << 10;
/// Bytes of a huge page.
pub const HUGE_PAGE: usize = 2 << 20;

/// See the module.
pub struct Region {
    base: NonNull<u8>,
    len: usize,
    backing: Backing,
}

// SAFETY: needed because of the pointer. The memory belongs to no thread, may be freed by any, and the keeper of foreign memory
// is `Send`.
unsafe impl Send for Region {}
// SAFETY: needed because of the pointer and the keeper. Through `&Region` one reads numbers and borrows a descriptor; the
// keeper is not reached before the drop, which has the region to itself.
unsafe impl Sync for Region {}

/// What a region is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Memory of the allocator.
    Heap,
    /// Huge pages of 2 MiB, reserved.
    HugePages,
    /// Ordinary pages where huge ones were refused ([`Region::refusal`] says why).
    OrdinaryPages {
        /// Whether the kernel took the advice to use huge ones as it finds them.
        advised: bool,
    },
    /// A file without a name, mapped and shared.
    Memfd,
    /// Memory that something else allocated.
    Foreign,
}

/// Whether ordinary pages will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HugePages {
    /// An error when there are no huge pages to be had.
    Only,
    /// Ordinary pages when there are no huge pages; [`Region::kind`] says which they are.
    OrOrdinary,
}

enum Backing {
    Heap {
        block: NonNull<u8>,
        layout: Layout,
    },
    Huge,
    Ordinary {
        refused: Errno,
        advised: bool,
    },
    Memfd {
        fd: OwnedFd,
    },
    Foreign {
        /// Only to be dropped.
        _keeper: Box<dyn Send>,
    },
}

impl Region {
    /// Zeroed memory of the allocator, at a multiple of [`PAGE`].
    ///
    /// # Errors
    /// [`Error::Size`] or [`Error::OutOfMemory`].
    pub fn heap(len: usize) -> Result<Self, Error> {
        // Not `Layout::align`: the allocator leaves large zeroed blocks to the system, which backs them when they are first
        // written, but writes the zeros itself when asked for more than its usual alignment.
        let padded = checked(len)?.checked_add(PAGE).ok_or(Error::Size { len })?;
        let layout = Layout::array::<u8>(padded).map_err(|_| Error::Size { len })?;
        // SAFETY: needed for zeroed memory that comes without an element type. The layout's size is not 0.
        let block = unsafe { std::alloc::alloc_zeroed(layout) };
        let block = NonNull::new(block).ok_or(Error::OutOfMemory { len })?;
        let skip = block.addr().get().wrapping_neg() % PAGE;
        // SAFETY: needed to begin at a page. `skip` is below `PAGE`, by which the block is longer than `len`.
        let base = unsafe { block.add(skip) };
        let backing = Backing::Heap { block, layout };
        Ok(Self { base, len, backing })
    }

    /// Zeroed pages of 2 MiB, where one entry of the processor's address cache covers what 512 did. `len` is rounded up to
    /// whole huge pages, whichever pages they are in the end.
    ///
    /// # Errors
    /// [`Error::Size`]; [`Error::HugePages`] when the system has too few in reserve and nothing else will do;
    /// [`Error::OutOfMemory`] when ordinary pages are refused as well.
    pub fn huge_pages(len: usize, which: HugePages) -> Result<Self, Error> {
        let len = checked(len)?
            .checked_next_multiple_of(HUGE_PAGE)
            .and_then(|whole| checked(whole).ok())
            .ok_or(Error::Size { len })?;
        let private = MapFlags::PRIVATE;
        let refused = match map_anonymous(len, private | MapFlags::HUGETLB | MapFlags::HUGE_2MB) {
            Ok(base) => {
                return Ok(Self {
                    base,
                    len,
                    backing: Backing::Huge,
                });
            }
            Err(refused) => refused,
        };
        if which == HugePages::Only {
            return Err(Error::HugePages {
                len,
                source: refused.into(),
            });
        }
        let base = map_anonymous(len, private).map_err(|_| Error::OutOfMemory { len })?;
        // SAFETY: needed to advise on a range by its address. It is the mapping just made; the advice changes no contents.
        let advised =
            unsafe { rustix::mm::madvise(base.as_ptr().cast(), len, Advice::LinuxHugepage) };
        // A kernel built without joined pages says EINVAL; the pages are as good as any without it, and the kind tells.
        let advised = advised.is_ok();
        let backing = Backing::Ordinary { refused, advised };
        Ok(Self { base, len, backing })
    }

    /// A file without a name, mapped and shared: [`fd`](Self::fd) may be given to another process, which can map it for
    /// reading. It is sealed, so that nobody but this region writes to it, and nobody cuts it short.
    ///
    /// # Errors
    /// [`Error::Size`]; [`Error::Memfd`] when the system refuses a step (sealing needs Linux 5.1).
    pub fn memfd(name: &str, len: usize) -> Result<Self, Error> {
        let len = checked(len)?;
        let refused = |step| move |source: Errno| Error::memfd(len, step, source);
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create(name, flags).map_err(refused("create"))?;
        rustix::fs::ftruncate(&fd, len as u64).map_err(refused("size"))?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: needed for memory that another process can see. Without a wanted address the kernel chooses one where nothing
        // is, so no reference's memory changes.
        let base = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), len, access, MapFlags::SHARED, &fd, 0)
        };
        let base = base.map_err(refused("map"))?;
        let base = NonNull::new(base.cast()).ok_or(Error::OutOfMemory { len })?;
        // From here on the region unmaps what was mapped, also when sealing fails.
        let region = Self {
            base,
            len,
            backing: Backing::Memfd { fd },
        };
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
        if let Some(fd) = region.fd() {
            rustix::fs::fcntl_add_seals(fd, seals).map_err(refused("seal"))?;
        }
        Ok(region)
    }

    /// Memory that something else allocated; dropping `keeper` frees it. It comes with whatever it holds.
    ///
    /// # Safety
    /// Until `keeper` is dropped, which the region does when it is dropped itself: `base..base + len` is one allocation,
    /// initialised, readable and writable from every thread, in one place, not longer than `isize::MAX`, and nothing but the
    /// region's owner reads or writes it (a device counts, unless that owner asked it to).
    pub unsafe fn foreign(base: NonNull<u8>, len: usize, keeper: Box<dyn Send>) -> Self {
        Self {
            base,
            len,
            backing: Backing::Foreign { _keeper: keeper },
        }
    }

    /// What it is made of.
    pub fn kind(&self) -> Kind {
        match self.backing {
            Backing::Heap { .. } => Kind::Heap,
            Backing::Huge => Kind::HugePages,
            Backing::Ordinary { advised, .. } => Kind::OrdinaryPages { advised },
            Backing::Memfd { .. } => Kind::Memfd,
            Backing::Foreign { .. } => Kind::Foreign,
        }
    }

    /// Its bytes. At least as many as were asked for.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes; only a foreign one can.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where it begins. Valid for `len` bytes for as long as the region lives.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// The descriptor to map it by, for a memfd.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.backing {
            Backing::Memfd { fd } => Some(fd.as_fd()),
            _ => None,
        }
    }

    /// Why it has ordinary pages and not huge ones, if so.
    pub fn refusal(&self) -> Option<io::Error> {
        match self.backing {
            Backing::Ordinary { refused, .. } => Some(refused.into()),
            _ => None,
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        match &self.backing {
            Backing::Heap { block, layout } => {
                // SAFETY: needed to free what `heap` allocated: this block, with this layout. Whoever was given a part of the
                // region keeps the region alive for it.
                unsafe { std::alloc::dealloc(block.as_ptr(), *layout) }
            }
            Backing::Huge | Backing::Ordinary { .. } | Backing::Memfd { .. } => {
                // SAFETY: needed to unmap what was mapped: this range, once. As above, nobody looks at it any more.
                let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
                debug_assert!(unmapped.is_ok(), "munmap of our own mapping: {unmapped:?}");
            }
            // The keeper is a field, dropped after this.
            Backing::Foreign { .. } => {}
        }
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("kind", &self.kind())
            .field("len", &self.len)
            .finish()
    }
}

/// Why there is no region.
#[derive(Debug)]
pub enum Error {
    /// No bytes were asked for, or more than can be addressed: a mistake of the caller.
    Size {
        /// What was asked for, in bytes.
        len: usize,
    },
    /// The system has no room for it now.
    OutOfMemory {
        /// What was asked for, in bytes.
        len: usize,
    },
    /// Too few huge pages are in reserve (`vm.nr_hugepages`): the operator's to mend.
    HugePages {
        /// What was asked for, in bytes.
        len: usize,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused a shared file.
    Memfd {
        /// What was asked for, in bytes.
        len: usize,
        /// Which step it refused: create, size, map or seal.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    fn memfd(len: usize, step: &'static str, source: Errno) -> Self {
        let source = source.into();
        Self::Memfd { len, step, source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { len } => write!(f, "a region cannot have {len} bytes"),
            Self::OutOfMemory { len } => write!(f, "no room for a region of {len} bytes"),
            Self::HugePages { len, .. } => {
                write!(f, "no {} huge pages of 2 MiB in reserve", len / HUGE_PAGE)
            }
            Self::Memfd { len, step, .. } => {
                write!(f, "no shared file of {len} bytes: cannot {step} it")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Size { .. } | Self::OutOfMemory { .. } => None,
            Self::HugePages { source, .. } | Self::Memfd { source, .. } => Some(source),
        }
    }
}

/// A length that one allocation can have.
fn checked(len: usize) -> Result<usize, Error> {
    match len {
        1..=LEN_MAX => Ok(len),
        _ => Err(Error::Size { len }),
    }
}

fn map_anonymous(len: usize, flags: MapFlags) -> Result<NonNull<u8>, Errno> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: needed for memory that the allocator does not have. Without a wanted address the kernel chooses one where nothing
    // is, so no reference's memory changes.
    let base = unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), len, access, flags) }?;
    NonNull::new(base.cast()).ok_or(Errno::NOMEM)
}

/// Offsets within an allocation are signed.
const LEN_MAX: usize = isize::MAX as usize;
