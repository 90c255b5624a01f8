//! The gateway's side of the wire.
//!
//! ```text
//!   Target ─▶ client::Connection ─▶ GetOrchestrator ─▶ OrchestratorInfo
//!                  └── probe: many at once, a row each: who answers, how fast, at which price, and whether it can do the job
//! ```
//!
//! Invariants:
//! - A connection is its owner's: when that is dropped, whatever was going on is over, and nothing is left running.
//! - Every wait on an orchestrator has a deadline, every message from one has a bound, and what is shown of it is printable.

pub mod client;
pub mod probe;
mod target;
mod trust;

pub use target::{BadTarget, Target};
pub use trust::{anyone, trusting};
