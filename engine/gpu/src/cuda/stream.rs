//! Work in order, marks in it, and waits that end.
//!
//! A [`Stream`] runs what is put into it one after another; the call that puts it there returns at once. An [`Event`] is a mark:
//! it is done when all that was put into the stream before it is. Nothing here waits without a deadline: the driver's own
//! waits have none, so an event is asked, at first at once and then after sleeps that grow.
#![allow(unsafe_code, reason = "the driver is a C library")]

use std::cell::Cell;
use std::time::{Duration, Instant};

use cudarc::driver::sys::{CUevent, CUstream};

use super::context::Context;
use super::status;
use crate::fault::Fault;

const STREAM_NON_BLOCKING: u32 = 1;
const EVENT_DEFAULT: u32 = 0;
const EVENT_DISABLE_TIMING: u32 = 2;

/// How long a wait asks without sleeping: less than a sleep costs.
const ASK: Duration = Duration::from_micros(20);
/// The first sleep and the longest: at most a thirtieth of a picture's time at 60 a second late.
const SLEEP_MIN: Duration = Duration::from_micros(20);
const SLEEP_MAX: Duration = Duration::from_micros(500);

/// A queue of work on the device.
pub struct Stream {
    context: Context,
    raw: CUstream,
}

/// A mark in a stream.
pub struct Event {
    context: Context,
    raw: CUevent,
    /// Whether it marks anything yet: asked of one that does not, the driver says that it is done.
    recorded: Cell<bool>,
}

// === impl Stream ===

impl Stream {
    /// Makes a stream that does not wait for the default one.
    ///
    /// # Errors
    /// When the device has no room, or is lost.
    pub fn new(context: &Context) -> Result<Self, Fault> {
        let mut raw: CUstream = std::ptr::null_mut();
        context.call("cuStreamCreate", |calls| {
            // SAFETY: it writes one handle to a place that is one.
            unsafe { (calls.stream_create)(&mut raw, STREAM_NON_BLOCKING) }
        })?;
        Ok(Self {
            context: context.clone(),
            raw,
        })
    }

    /// Lets what is put in from here on wait, on the device, for an event of another stream, which may be one of another
    /// context on the same device (CUDA's manual, `cuStreamWaitEvent`).
    ///
    /// # Errors
    /// When the device is lost.
    pub fn wait_for(&self, event: &Event) -> Result<(), Fault> {
        self.context.call("cuStreamWaitEvent", |calls| {
            // SAFETY: both handles live, and need not be of one context; the flags must be zero.
            unsafe { (calls.stream_wait_event)(self.raw, event.raw, 0) }
        })
    }

    /// Waits until all that was put in is done.
    ///
    /// # Errors
    /// As [`Event::wait`].
    pub fn settle(&self, limit: Duration) -> Result<(), Fault> {
        let event = Event::new(&self.context)?;
        event.record(self)?;
        event.wait("a stream", limit)
    }

    /// The driver's handle, for libraries that take one. It is good while this lives.
    pub fn raw(&self) -> CUstream {
        self.raw
    }

    /// The context that it is of.
    pub fn context(&self) -> &Context {
        &self.context
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.context.give_back("cuStreamDestroy", |calls| {
            // SAFETY: the handle came from cuStreamCreate and this is its only end. Work that is still in the stream goes on,
            // and the driver keeps what it needs for that.
            unsafe { (calls.stream_destroy)(self.raw) }
        });
    }
}

// === impl Event ===

impl Event {
    /// Makes an event that only says whether it is done.
    ///
    /// # Errors
    /// When the device has no room, or is lost.
    pub fn new(context: &Context) -> Result<Self, Fault> {
        Self::with_flags(context, EVENT_DISABLE_TIMING)
    }

    /// Makes an event that also knows when it was done.
    ///
    /// # Errors
    /// As [`Event::new`].
    pub fn timed(context: &Context) -> Result<Self, Fault> {
        Self::with_flags(context, EVENT_DEFAULT)
    }

    fn with_flags(context: &Context, flags: u32) -> Result<Self, Fault> {
        let mut raw: CUevent = std::ptr::null_mut();
        context.call("cuEventCreate", |calls| {
            // SAFETY: it writes one handle to a place that is one.
            unsafe { (calls.event_create)(&mut raw, flags) }
        })?;
        Ok(Self {
            context: context.clone(),
            raw,
            recorded: Cell::new(false),
        })
    }

    /// Marks the end of what the stream holds now. What it marked before is forgotten.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn record(&self, stream: &Stream) -> Result<(), Fault> {
        self.context.call("cuEventRecord", |calls| {
            // SAFETY: both handles are of this context and live.
            unsafe { (calls.event_record)(self.raw, stream.raw) }
        })?;
        self.recorded.set(true);
        Ok(())
    }

    /// Whether what it marks is done; what was never recorded is.
    ///
    /// # Errors
    /// When the work before it failed: errors of the device come out here.
    pub fn is_done(&self) -> Result<bool, Fault> {
        if !self.recorded.get() {
            return Ok(true);
        }
        let mut asked = status::SUCCESS;
        let outcome = self.context.call("cuEventQuery", |calls| {
            // SAFETY: the handle is of this context and lives.
            asked = unsafe { (calls.event_query)(self.raw) };
            // Not ready is an answer and not a fault.
            if asked == status::NOT_READY {
                status::SUCCESS
            } else {
                asked
            }
        });
        outcome.map(|()| asked == status::SUCCESS)
    }

    /// The context that it is of.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Waits until it is done, or until `limit` is over: then the context counts as lost.
    ///
    /// # Errors
    /// [`Fault::Stuck`] past the limit, and what the work before it failed with. `what` is named by the former.
    pub fn wait(&self, what: &'static str, limit: Duration) -> Result<(), Fault> {
        let since = Instant::now();
        let mut sleep = SLEEP_MIN;
        loop {
            if self.is_done()? {
                return Ok(());
            }
            let waited = since.elapsed();
            if waited >= limit {
                let fault = Fault::Stuck {
                    call: what,
                    waited_ms: u32::try_from(waited.as_millis()).unwrap_or(u32::MAX),
                };
                self.context.note(fault);
                return Err(fault);
            }
            if waited < ASK {
                std::hint::spin_loop();
            } else {
                std::thread::sleep(sleep);
                sleep = (2 * sleep).min(SLEEP_MAX);
            }
        }
    }

    /// Device time from `earlier` to this, in nanoseconds; the device's clock ticks every half microsecond. Both are timed and
    /// done.
    ///
    /// # Errors
    /// When one is not, or the device is lost.
    pub fn since_ns(&self, earlier: &Self) -> Result<u64, Fault> {
        let mut elapsed_ms = 0_f32;
        self.context.call("cuEventElapsedTime", |calls| {
            // SAFETY: it writes one float to a place that is one; both handles are of this context and live.
            unsafe { (calls.event_elapsed_time)(&mut elapsed_ms, earlier.raw, self.raw) }
        })?;
        Ok((f64::from(elapsed_ms.max(0.0)) * 1e6) as u64)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        self.context.give_back("cuEventDestroy", |calls| {
            // SAFETY: the handle came from cuEventCreate and this is its only end. One that is not done yet may go.
            unsafe { (calls.event_destroy)(self.raw) }
        });
    }
}
