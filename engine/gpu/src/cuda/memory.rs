//! Memory of the device, and host memory that the device reads and writes by itself.
//!
//! [`Pinned`] is ordinary, cached host memory whose pages are locked and made known to the driver (`cuMemHostRegister`), and not
//! memory that the driver allocated (`cuMemHostAlloc`): that would be gone with its context while another thread reads it, and
//! by the common wrappers it is write-combined, which the CPU reads at a hundredth of the speed. Ours outlives its context:
//!
//! ```text
//!   Pinned        | registered with the context | bytes |        one holder, on the lane's thread
//!      into_region: the registration stays until the context is destroyed; the bytes until the context and the keeper are gone
//! ```
//!
//! While a copy runs, the device owns the bytes on the host side; `staging` keeps that rule with an event a buffer.
#![allow(
    unsafe_code,
    reason = "the driver is a C library, and memory is shared with the device"
)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

use cudarc::driver::sys::CUdeviceptr;

use super::context::Context;
use super::stream::Stream;
use crate::fault::Fault;
use handoff::region::Region;

/// Pages are locked whole, so memory is taken in whole pages: two registrations may not share one.
const PAGE_BYTES: usize = 4096;
/// Registered for all contexts of the process and not for its own alone.
const REGISTER_PORTABLE: u32 = 1;

/// A span of device memory.
pub(crate) struct DeviceMemory {
    context: Context,
    address: CUdeviceptr,
}

/// Page-locked host memory, zeroed at first.
pub struct Pinned {
    context: Context,
    memory: Arc<HostMemory>,
    /// The registration ends with this, and not with the context.
    is_ours: bool,
}

/// A span of host memory that stays where it is.
struct HostMemory {
    base: NonNull<u8>,
    layout: Layout,
}

// === impl DeviceMemory ===

impl DeviceMemory {
    pub(super) fn new(context: &Context, bytes: usize) -> Result<Self, Fault> {
        let mut address = 0;
        context.call("cuMemAlloc", |calls| {
            // SAFETY: it writes one address to a place that is one. Zero bytes are refused by the driver.
            unsafe { (calls.mem_alloc)(&mut address, bytes) }
        })?;
        Ok(Self {
            context: context.clone(),
            address,
        })
    }

    /// On the device. The driver aligns it to 256 at least.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        self.context.give_back("cuMemFree", |calls| {
            // SAFETY: the address came from cuMemAlloc and this is its only end. Whoever drops it has seen to it that the
            // device is done with it (`pool`).
            unsafe { (calls.mem_free)(self.address) }
        });
    }
}

// === impl Pinned ===

impl Pinned {
    /// Locks some memory, in whole pages.
    ///
    /// # Errors
    /// When there is none, or the driver cannot lock more.
    pub fn new(context: &Context, bytes: usize) -> Result<Self, Fault> {
        let memory = HostMemory::new(bytes).ok_or(Fault::Full {
            call: "a pinned buffer",
            name: "the host has no memory for it",
        })?;
        let (base, bytes) = (memory.base.as_ptr(), memory.layout.size());
        context.call("cuMemHostRegister", |calls| {
            // SAFETY: the span is ours, in whole pages, and stays until it is unregistered or the context is destroyed.
            unsafe { (calls.mem_host_register)(base.cast(), bytes, REGISTER_PORTABLE) }
        })?;
        Ok(Self {
            context: context.clone(),
            memory: Arc::new(memory),
            is_ours: true,
        })
    }

    /// Gives the bytes to whoever is to own them, on any thread, and for longer than the context lives if need be. They stay
    /// registered until the context is destroyed.
    pub fn into_region(mut self) -> Region {
        self.is_ours = false;
        let memory = Arc::clone(&self.memory);
        self.context.bury(Arc::clone(&memory));
        let (base, len) = (memory.base, memory.layout.size());
        // SAFETY: whoever cuts pages or slots from pinned memory needs it as a region. The span is one allocation, zeroed when it
        // was made, and stays where it is until the last holder of `memory` is gone; `self` was its only owner and ends here, and
        // the device writes to it only where the region's owner has it copy to.
        unsafe { Region::foreign(base, len, Box::new(memory)) }
    }
}

impl Deref for Pinned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let memory = &*self.memory;
        // SAFETY: the span is initialised, ours alone, and lives as long as `self`. No copy writes to it meanwhile: that is
        // what the callers of `download` and `upload` promise.
        unsafe { std::slice::from_raw_parts(memory.base.as_ptr(), memory.layout.size()) }
    }
}

impl DerefMut for Pinned {
    fn deref_mut(&mut self) -> &mut [u8] {
        let memory = &*self.memory;
        // SAFETY: as above; and `self` is borrowed for writing.
        unsafe { std::slice::from_raw_parts_mut(memory.base.as_ptr(), memory.layout.size()) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if !self.is_ours {
            return;
        }
        self.context.give_back("cuMemHostUnregister", |calls| {
            // SAFETY: the span was registered from this address and this is the registration's only end.
            unsafe { (calls.mem_host_unregister)(self.memory.base.as_ptr().cast()) }
        });
        if self.context.is_lost() {
            // Still registered, then: the pages stay ours until the context is gone.
            self.context.bury(Arc::clone(&self.memory));
        }
    }
}

// === impl HostMemory ===

impl HostMemory {
    fn new(bytes: usize) -> Option<Self> {
        let bytes = bytes.max(1).checked_next_multiple_of(PAGE_BYTES)?;
        let layout = Layout::from_size_align(bytes, PAGE_BYTES).ok()?;
        // SAFETY: the layout's size is not zero.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Self { base, layout })
    }
}

// SAFETY: needed so that the last holder may be another thread; it holds since this only keeps memory and frees it, and says
// nothing about who reads or writes it.
unsafe impl Send for HostMemory {}
// SAFETY: as above: nothing can be done with a shared reference but look where the memory is.
unsafe impl Sync for HostMemory {}

impl Drop for HostMemory {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout and this is its only end.
        unsafe { dealloc(self.base.as_ptr(), self.layout) }
    }
}

// === copies ===

/// Puts a copy to the device into the stream.
///
/// # Safety
/// `from` is left alone until the stream has done it, and so is what else may use `to` at the same time.
pub(super) unsafe fn upload(from: &[u8], to: u64, stream: &Stream) -> Result<(), Fault> {
    stream.context().call("cuMemcpyHtoDAsync", |calls| {
        // SAFETY: as the caller promises; that the span at `to` is long enough is checked by the callers' layouts.
        unsafe { (calls.memcpy_htod_async)(to, from.as_ptr().cast(), from.len(), stream.raw()) }
    })
}

/// Puts a copy from the device into the stream.
///
/// # Safety
/// `to` is neither read nor written until the stream has done it.
pub(super) unsafe fn download(from: u64, to: &mut [u8], stream: &Stream) -> Result<(), Fault> {
    stream.context().call("cuMemcpyDtoHAsync", |calls| {
        // SAFETY: as the caller promises; the driver refuses a span that is not on the device.
        unsafe { (calls.memcpy_dtoh_async)(to.as_mut_ptr().cast(), from, to.len(), stream.raw()) }
    })
}

/// Puts a copy between two contexts of one device into the stream, which is of either. Addresses mean nothing outside their
/// context, so each comes with its own.
///
/// # Safety
/// Both spans are of so many bytes at least; `from` is not written, and `to` not touched, by what the stream has not waited for
/// and by what does not wait for the stream.
pub(super) unsafe fn across(
    (from, from_context): (u64, &Context),
    (to, to_context): (u64, &Context),
    bytes: usize,
    stream: &Stream,
) -> Result<(), Fault> {
    stream.context().call("cuMemcpyPeerAsync", |calls| {
        // SAFETY: the contexts are borrowed, so they live; the rest is what the caller promises.
        unsafe {
            (calls.memcpy_peer_async)(
                to,
                to_context.raw(),
                from,
                from_context.raw(),
                bytes,
                stream.raw(),
            )
        }
    })
}
