//! A context of our own on a device, and the rules of using it.
//!
//! A context is to the device what a process is to the machine: memory, streams, kernels and codec sessions are of one
//! context, and a kernel that faults takes its own context down. Each lane makes one (`cuCtxCreate`, not the primary context,
//! which all users of a process share and nobody can destroy alone), so a lane throws away what it lost and opens anew.
//! It has a price, which is for a card to measure: some hundreds of megabytes of device memory each, and contexts take turns on
//! the device where the streams of one would run beside each other. One lane a device is the natural number.
//! CUDA's manual promises less than we want: it says that after such a fault the process should be started again. That a new context works
//! beside the lost one is what `tests/cuda_parity.rs` shows on a card.
//!
//! Rules:
//!
//! - **Current.** A driver call is about the context that is current on its thread. Ours is taken off the thread's stack as
//!   soon as it is made, and every call goes through [`Context::call`], which makes it current first. So two contexts may
//!   live on one thread, and a library that leaves another one current does no harm. Handles are `!Send`: one thread only.
//! - **Order of drops.** Whatever is made on a context holds it (an `Rc`), so the context goes last, whatever the order of
//!   all else; there is no other order to keep.
//! - **Lost.** Once a call has said that the context is lost, no handle of it is given back one by one: each such call would
//!   only fail with the same error. Destroying the context takes all of them; its own error is ignored, as there is nothing
//!   left to do about it.
//! - **Stuck.** After a wait has run past its deadline the context is not destroyed either: that waits for the device, and
//!   the lane with it. It is abandoned, with its device memory, until the process ends, which is the price of going on.
//! - **Host memory that the device knows** ([`Context::bury`]) is freed after the context is destroyed, and never when it is
//!   stuck: the device may still write to it.
#![allow(unsafe_code, reason = "the driver is a C library")]

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use cudarc::driver::sys::{CUcontext, CUctx_flags, CUdevice};

use super::calls::{Calls, Status};
use super::driver::Driver;
use super::status;
use crate::fault::Fault;

/// A context on a device. Clones are the same context; it is destroyed when the last goes.
#[derive(Clone)]
pub struct Context(Rc<Inner>);

struct Inner {
    driver: &'static Driver,
    raw: CUcontext,
    ordinal: u32,
    end: End,
    /// What it was lost by.
    lost: Cell<Option<Fault>>,
    /// What is dropped after the context is.
    buried: RefCell<Vec<Box<dyn Any>>>,
}

/// How a context is given back.
enum End {
    /// It is ours alone.
    Destroy,
    /// It is the primary one of this device, and lives on while others have it.
    Release(CUdevice),
}

/// A thread that waits within the driver sleeps: lanes share cores with shards.
const FLAGS: u32 = CUctx_flags::CU_CTX_SCHED_BLOCKING_SYNC as u32;

impl Context {
    /// Makes a context on a device of this machine, in the driver's order.
    ///
    /// # Errors
    /// When the device has no room for one more, or is not there.
    pub fn create(driver: &'static Driver, ordinal: u32) -> Result<Self, Fault> {
        let calls = &driver.calls;
        let device = driver.device(ordinal)?;
        let mut raw: CUcontext = std::ptr::null_mut();
        // SAFETY: it writes one handle to a place that is one.
        let created = unsafe { (calls.ctx_create)(&mut raw, FLAGS, device) };
        driver.check("cuCtxCreate", created)?;
        let context = Self::of(driver, raw, ordinal, End::Destroy);
        let mut popped: CUcontext = std::ptr::null_mut();
        // SAFETY: it writes one handle to a place that is one. What it takes off the thread's stack is what was just put there.
        let off = unsafe { (calls.ctx_pop_current)(&mut popped) };
        context.check("cuCtxPopCurrent", off)?;
        Ok(context)
    }

    /// The primary context of a device, which libraries on the CUDA runtime work in. All of the process have the same one; it is
    /// made when it is not there yet. What it was lost by is remembered by each of these for itself.
    ///
    /// # Errors
    /// When the device has no room for it, or is not there.
    pub(super) fn primary(driver: &'static Driver, ordinal: u32) -> Result<Self, Fault> {
        let calls = &driver.calls;
        let device = driver.device(ordinal)?;
        // SAFETY: it takes two numbers and changes how waits on this device are made, for all of the process.
        let set = unsafe { (calls.device_primary_ctx_set_flags)(device, FLAGS) };
        if set != status::PRIMARY_CONTEXT_ACTIVE {
            driver.check("cuDevicePrimaryCtxSetFlags", set)?;
        }
        let mut raw: CUcontext = std::ptr::null_mut();
        // SAFETY: it writes one handle to a place that is one. The context is not put on the thread's stack.
        let retained = unsafe { (calls.device_primary_ctx_retain)(&mut raw, device) };
        driver.check("cuDevicePrimaryCtxRetain", retained)?;
        Ok(Self::of(driver, raw, ordinal, End::Release(device)))
    }

    /// Destroys what is on the primary context of a device, whoever made it, so that the next to ask for it has a new one.
    ///
    /// # Safety
    /// Nobody in the process uses anything of that context any more.
    ///
    /// # Errors
    /// When the driver refuses.
    pub(super) unsafe fn reset_primary(driver: &'static Driver, ordinal: u32) -> Result<(), Fault> {
        let device = driver.device(ordinal)?;
        // SAFETY: it takes a number; the rest is what the caller promises.
        let reset = unsafe { (driver.calls.device_primary_ctx_reset)(device) };
        driver.check("cuDevicePrimaryCtxReset", reset)
    }

    fn of(driver: &'static Driver, raw: CUcontext, ordinal: u32, end: End) -> Self {
        Self(Rc::new(Inner {
            driver,
            raw,
            ordinal,
            end,
            lost: Cell::new(None),
            buried: RefCell::default(),
        }))
    }

    /// Makes the context current on this thread, calls, and says what the status means.
    ///
    /// # Errors
    /// As [`Context::check`].
    pub(super) fn call(
        &self,
        name: &'static str,
        call: impl FnOnce(&Calls) -> Status,
    ) -> Result<(), Fault> {
        self.make_current()?;
        self.check(name, call(self.calls()))
    }

    /// Makes the context current on this thread, for calls of other libraries that are about it.
    ///
    /// # Errors
    /// When it is lost.
    pub fn make_current(&self) -> Result<(), Fault> {
        if let Some(fault) = self.0.lost.get() {
            return Err(fault);
        }
        // SAFETY: the handle is that of a context which lives as long as `self`.
        let made = unsafe { (self.calls().ctx_set_current)(self.0.raw) };
        self.check("cuCtxSetCurrent", made)
    }

    /// What a status means that a call about this context gave back. A loss is remembered.
    ///
    /// # Errors
    /// The fault that it is.
    pub fn check(&self, call: &'static str, status: Status) -> Result<(), Fault> {
        let checked = self.0.driver.check(call, status);
        if let Err(fault) = checked {
            self.note(fault);
        }
        checked
    }

    /// Remembers a fault when it is a loss. The first stays.
    pub fn note(&self, fault: Fault) {
        if fault.is_lost() && self.0.lost.get().is_none() {
            self.0.lost.set(Some(fault));
        }
    }

    /// Whether nothing works on it any more.
    pub fn is_lost(&self) -> bool {
        self.0.lost.get().is_some()
    }

    /// The driver's handle, for libraries that take one. It is good while a clone of this lives.
    pub fn raw(&self) -> CUcontext {
        self.0.raw
    }

    /// The device's number in the driver's order.
    pub fn ordinal(&self) -> u32 {
        self.0.ordinal
    }

    /// Device memory in bytes: free, and in all.
    ///
    /// # Errors
    /// When it is lost.
    pub fn memory(&self) -> Result<(u64, u64), Fault> {
        let (mut free, mut total) = (0_usize, 0_usize);
        self.call("cuMemGetInfo", |calls| {
            // SAFETY: it writes two sizes to places that are that.
            unsafe { (calls.mem_get_info)(&mut free, &mut total) }
        })?;
        Ok((free as u64, total as u64))
    }

    /// Keeps something until the context is destroyed; for ever, when it never is.
    pub(super) fn bury(&self, memory: impl Any) {
        self.0.buried.borrow_mut().push(Box::new(memory));
    }

    /// Gives a handle back, or leaves it to the end of a context that is lost. An error is for the next call to meet.
    pub(super) fn give_back(&self, name: &'static str, call: impl FnOnce(&Calls) -> Status) {
        if !self.is_lost() {
            let _ = self.call(name, call);
        }
    }

    /// The driver that it is of.
    pub(super) fn driver(&self) -> &'static Driver {
        self.0.driver
    }

    /// What it was lost by.
    pub(super) fn lost_by(&self) -> Option<Fault> {
        self.0.lost.get()
    }

    fn calls(&self) -> &'static Calls {
        &self.0.driver.calls
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if matches!(self.lost.get(), Some(Fault::Stuck { .. })) {
            // See "Stuck" above.
            std::mem::forget(self.buried.take());
            return;
        }
        let calls = &self.driver.calls;
        let _ = match self.end {
            // SAFETY: the handle came from cuCtxCreate and this is its only end; whatever was made on the context held it, so
            // nothing of that is left. It need not be current.
            End::Destroy => unsafe { (calls.ctx_destroy)(self.raw) },
            // SAFETY: it was retained once for this and is released once; whatever we made on the context held it.
            End::Release(device) => unsafe { (calls.device_primary_ctx_release)(device) },
        };
    }
}
