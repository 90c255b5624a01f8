//! Why a session cannot go on, or a whole lane; and the guard around device calls, which keeps it with whom it was for.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gpu::{Fault, Unavailable};

use super::stats::Board;

/// Why a session or more cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// What it was fed or asked for.
    BadInput(String),
    /// Its part of the device.
    Failed(String),
    /// The whole device, and everybody on it.
    Lost(String),
}

/// Calls the device. It is a large piece of foreign code; whatever it does must stay with whom it was called for.
pub(super) fn guarded<T>(board: &Board, call: impl FnOnce() -> T) -> Result<T, End> {
    catch_unwind(AssertUnwindSafe(|| board.call(call))).map_err(|_| {
        board.panicked();
        End::Failed("the backend panicked".to_owned())
    })
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        if fault.is_lost() {
            Self::Lost(fault.to_string())
        } else {
            Self::Failed(fault.to_string())
        }
    }
}

impl From<Unavailable> for End {
    fn from(why: Unavailable) -> Self {
        match why {
            Unavailable::Device(fault) => fault.into(),
            why => Self::Failed(why.to_string()),
        }
    }
}
