//! The primary context of a device, as the lanes of a process share it.
//!
//! Libraries on the CUDA runtime work in the device's primary context, of which a process has one: all lanes that run models on a
//! device meet there, and a kernel that faults in it takes the models of all of them. It cannot be made anew while anyone has
//! something of it, so its users are counted:
//!
//! ```text
//!   one lane finds it lost --> marked --> every other lane lets go of what it has there when it next runs a batch
//!                                         the first to ask when all have let go resets it and has a new one
//! ```
//!
//! Until then nobody is let in. Nobody is ever let in again after a wait there ran past its deadline: a reset would wait too.
//! What becomes of a lane's own stream that waits for a mark there is the driver's to say; at worst the lane's deadline ends it.
#![allow(unsafe_code, reason = "the driver is a C library")]

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::context::Context;
use super::driver::Driver;
use super::pool::{Limits, Pool};
use super::stream::{Event, Stream};
use super::surface::{DeviceBlocks, DevicePool};
use crate::fault::Fault;
use crate::model::ELEMENTS_MAX;

/// What goes in and what comes out of the largest run, of 4 bytes a number: 1 GiB.
const LIMITS: Limits = Limits {
    blocks: 16,
    bytes: 2 * 4 * ELEMENTS_MAX,
};

/// The primary contexts of a process, by device.
#[derive(Default)]
pub(super) struct Primaries(Mutex<BTreeMap<u32, Users>>);

/// Those of this process.
pub(super) static PRIMARIES: Primaries = Primaries(Mutex::new(BTreeMap::new()));

/// Who uses one.
#[derive(Default)]
struct Users {
    count: usize,
    /// Shared with all who were let in since it was made.
    lost: Arc<AtomicBool>,
    is_stuck: bool,
}

/// The primary context as one lane has it: a stream for its models, and memory for their tensors.
pub(super) struct Primary {
    /// For marks in the stream.
    pub(super) event: Event,
    pub(super) pool: Rc<DevicePool>,
    pub(super) stream: Rc<Stream>,
    pub(super) context: Context,
    // Last: whoever is let in after this finds nothing of ours there.
    seat: Seat,
}

/// One of the users that are counted.
struct Seat {
    primaries: &'static Primaries,
    ordinal: u32,
    lost: Arc<AtomicBool>,
}

// === impl Primaries ===

impl Primaries {
    fn users(&self) -> MutexGuard<'_, BTreeMap<u32, Users>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more user, after a reset when the context was lost and all have let go of it.
    fn seat(&'static self, driver: &'static Driver, ordinal: u32) -> Result<Seat, Fault> {
        let mut devices = self.users();
        let users = devices.entry(ordinal).or_default();
        let refused = |name| {
            let call = "entering the CUDA context that models share";
            Err(Fault::Failed { call, name })
        };
        if users.is_stuck {
            return refused("a wait there never ended; it is not used again before a restart");
        }
        if users.lost.load(Ordering::Acquire) {
            if users.count > 0 {
                return refused("it was lost, and other lanes have not let go of it yet");
            }
            // SAFETY: the count says that no lane has anything there. A library that keeps something of its own there has
            // lost that already, with the context.
            unsafe { Context::reset_primary(driver, ordinal)? };
            users.lost = Arc::default();
        }
        users.count += 1;
        Ok(Seat {
            primaries: self,
            ordinal,
            lost: Arc::clone(&users.lost),
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(users) = self.primaries.users().get_mut(&self.ordinal) {
            users.count -= 1;
        }
    }
}

// === impl Primary ===

impl Primary {
    /// Enters the primary context of a device.
    ///
    /// # Errors
    /// When it was lost and is not to be had anew yet, or the device has no room.
    pub(super) fn enter(
        primaries: &'static Primaries,
        driver: &'static Driver,
        ordinal: u32,
    ) -> Result<Self, Fault> {
        let seat = primaries.seat(driver, ordinal)?;
        let lost = Arc::clone(&seat.lost);
        Self::sit(seat, driver, ordinal).inspect_err(|fault| {
            // Lost before it was ours: the next to ask resets it.
            lost.fetch_or(fault.is_lost(), Ordering::AcqRel);
        })
    }

    fn sit(seat: Seat, driver: &'static Driver, ordinal: u32) -> Result<Self, Fault> {
        let context = Context::primary(driver, ordinal)?;
        let stream = Rc::new(Stream::new(&context)?);
        let blocks = DeviceBlocks::new(&stream);
        let pool = Pool::new("the tensor memory of models", blocks, LIMITS);
        Ok(Self {
            event: Event::new(&context)?,
            pool: Rc::new(pool),
            stream,
            context,
            seat,
        })
    }

    /// What it was lost by, here or in another lane.
    pub(super) fn lost_by(&self) -> Option<Fault> {
        if self.seat.lost.load(Ordering::Acquire) {
            // The first stays, so this is for the loss that was another's.
            self.context.note(Fault::Lost {
                call: "another lane's call",
                name: "an error of its own",
            });
        }
        self.context.lost_by()
    }

    /// Whether a wait there never ended: then nothing of it may be given back, since that would wait too.
    pub(super) fn is_stuck(&self) -> bool {
        matches!(self.context.lost_by(), Some(Fault::Stuck { .. }))
    }
}

impl Drop for Primary {
    /// Tells the others when it is lost.
    fn drop(&mut self) {
        if !self.context.is_lost() {
            return;
        }
        self.seat.lost.store(true, Ordering::Release);
        if self.is_stuck()
            && let Some(users) = self.seat.primaries.users().get_mut(&self.seat.ordinal)
        {
            users.is_stuck = true;
        }
    }
}
