//! What a stub device is told to do wrong, and when.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::fault::Fault;

/// A call at which something can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Point {
    /// Opening a backend.
    Open,
    /// Making a surface.
    Surface,
    /// Making a decoder.
    Decoder,
    /// Making an encoder.
    Encoder,
    /// Handing a unit to a decoder.
    DecodeSubmit,
    /// Waiting for a decoder's pictures.
    DecodeCollect,
    /// Processing a batch.
    Process,
    /// Handing a picture to an encoder.
    EncodeSubmit,
    /// Waiting for an encoder's access unit.
    EncodeCollect,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The call fails. After a fault that [is lost](Fault::is_lost), so does every call on that backend.
    Fail(Fault),
    /// The call takes this long, and then goes on as if nothing had been.
    Hang(Duration),
    /// The call panics.
    Panic,
}

/// The handle by which a test makes the device fail; clones are the same handle.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    calls: HashMap<Point, u64>,
    /// At which point, at which of its calls counted from the device's beginning, what.
    plans: Vec<(Point, u64, Trouble)>,
    /// Pictures that upset whatever processes them, by timestamp.
    poisons: HashMap<i64, Trouble>,
}

impl Faults {
    /// The next call at this point fails.
    pub fn fail_next(&self, point: Point, fault: Fault) {
        self.fail_when(point, 1, fault);
    }

    /// The `nth` call at this point from now on fails, the next being the first.
    pub fn fail_when(&self, point: Point, nth: u64, fault: Fault) {
        self.plan(point, nth, Trouble::Fail(fault));
    }

    /// The next call at this point takes this long.
    pub fn hang(&self, point: Point, time: Duration) {
        self.plan(point, 1, Trouble::Hang(time));
    }

    /// The next call at this point panics.
    pub fn panic_next(&self, point: Point) {
        self.plan(point, 1, Trouble::Panic);
    }

    /// Every batch fails that holds the picture of this timestamp.
    pub fn poison(&self, pts: i64, trouble: Trouble) {
        self.lock().poisons.insert(pts, trouble);
    }

    /// How often a point was passed.
    pub fn calls(&self, point: Point) -> u64 {
        self.lock().calls.get(&point).copied().unwrap_or(0)
    }

    fn plan(&self, point: Point, nth: u64, trouble: Trouble) {
        let mut state = self.lock();
        let at = state.calls.get(&point).copied().unwrap_or(0) + nth.max(1);
        state.plans.push((point, at, trouble));
    }

    /// Counts a call, and says what is to go wrong with it.
    pub(super) fn pass(&self, point: Point) -> Option<Trouble> {
        let mut state = self.lock();
        let calls = state.calls.entry(point).or_default();
        *calls += 1;
        let now = *calls;
        let planned = state
            .plans
            .iter()
            .position(|&(at, nth, _)| at == point && nth == now)?;
        Some(state.plans.swap_remove(planned).2)
    }

    /// What the picture of this timestamp does.
    pub(super) fn poison_of(&self, pts: i64) -> Option<Trouble> {
        self.lock().poisons.get(&pts).copied()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
