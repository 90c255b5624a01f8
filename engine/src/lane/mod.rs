//! A lane: one thread fed by a ring, never an executor. It drains the ring, works, and rings back.
//!
//! Shards decide what happens and own the sessions; lanes do what takes milliseconds, on a device that they open for themselves.
//! A session stays on one lane for its life. A unit that cannot be queued comes back to its shard, which sheds it.
//!
//! ```text
//!   shard ── place ──▶ admission ──▶ the lane with the least to do ──▶ media: gather ▶ batch ▶ ring back
//!                                         ▲ stats: what it does               │ lost
//!                                         └────────── recover: open anew ◀────┘
//! ```
//!
//! Invariants:
//! - What a session sends is worked on in the order it was sent.
//! - Sessions take turns, a unit each, so a long queue delays only its own session.
//! - A panic in a session's codec ends that session and nothing else; so does a fault that is about its codec alone.
//! - A device that is lost ends the sessions of the lanes that lost it. The lane opens it again, for as long as it takes.
//! - A thread that is stuck in a device call cannot be ended. It is seen, named and given nothing new; what it holds is held until
//!   the call returns or the process ends.

mod admission;
mod batch;
mod beat;
mod calibrate;
mod end;
mod media;
mod place;
mod recover;
mod session;
mod stats;
#[cfg(test)]
mod tests;
pub(crate) mod ticket;

use std::sync::Arc;
use std::time::Instant;

use gpu::Step;
use handoff::ring::Sender;

pub(crate) use place::{Lanes, Place};
pub use stats::{BATCH_SIZES, LaneMetrics, LaneReport, LaneState};

/// Results that may wait for one session's shard.
pub(crate) const RESULTS_MAX: usize = 1024;

/// Names a session to its lane.
pub(crate) type Key = u64;

/// One access unit on its way to the lane.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) codec: gpu::Codec,
    pub(crate) data: Vec<u8>,
    /// 90 kHz ticks, unwrapped.
    pub(crate) pts: i64,
    /// Whether decoding can start here.
    pub(crate) key: bool,
    pub(crate) stamps: Stamps,
}

/// When a frame passed where, and what it belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamps {
    /// Its last byte came off the socket.
    pub(crate) read: Instant,
    /// It was a whole access unit, and was queued.
    pub(crate) queued: Instant,
    /// The lane took it up.
    pub(crate) taken: Instant,
    /// It was decoded.
    pub(crate) decoded: Instant,
    /// It was filtered.
    pub(crate) processed: Instant,
    /// It was encoded, and queued.
    pub(crate) encoded: Instant,
    /// The program it came in, counted as the input announced them.
    pub(crate) program: u32,
}

impl Stamps {
    /// A frame that has just been found.
    pub(crate) const fn found(read: Instant, queued: Instant, program: u32) -> Self {
        Self {
            read,
            queued,
            taken: queued,
            decoded: queued,
            processed: queued,
            encoded: queued,
            program,
        }
    }
}

/// What becomes of a session's pictures at the end of their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// They are encoded.
    Encoded,
    /// They are thrown away, and their frames have no bytes: for measuring what comes before the encoder.
    Dropped,
}

/// What a shard asks of a lane.
enum Job {
    /// A session begins.
    Open {
        key: Key,
        step: Step,
        output: Output,
        results: Sender<Outcome>,
        seat: Arc<admission::Seat>,
    },
    /// A unit of a session.
    Unit { key: Key, unit: Unit },
    /// From the next frame on, another step.
    Step { key: Key, step: Step },
    /// The input has ended: bring out what is held back.
    Flush { key: Key },
}

/// What a lane gives back.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A frame, encoded; without bytes where the session's output is [`Output::Dropped`].
    Frame {
        data: Vec<u8>,
        pts: i64,
        key: bool,
        stamps: Stamps,
    },
    /// A unit's buffer, to be used again; the unit is no longer in flight.
    Spent(Vec<u8>),
    /// A frame was decoded but given up, because the session is late.
    Dropped,
    /// A unit gave no picture.
    Damaged(gpu::decode::Error),
    /// All that was held back has come out.
    Flushed,
    /// The session cannot go on, because of what it was fed or asked for.
    BadInput(String),
    /// The session cannot go on, because the lane or its device cannot.
    Failed(String),
}
