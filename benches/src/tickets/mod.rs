//! How many tickets one core validates, from a payment's bytes to an answer that is on disk, and how long one takes.
//!
//! ```text
//!   purse: payments signed beforehand ─▶ parse ─▶ ticket lane ─▶ journal: SQLite, synced ─▶ receipt
//!                                        └─────────────── one core, pinned ──────────────┘
//! ```
//!
//! Every figure of a table comes from one run: the verifiers take turns, round after round, on the same payments, each with a fresh
//! database, and libsecp256k1's recovery alone is measured between them. The generator that keeps the latency's schedule is on another
//! core.
//!
//! Invariant: a payment that is not credited whole is a panic and not a good figure.

mod drive;
pub mod flood;
mod latency;
pub(crate) mod purse;
mod rounds;
pub mod table;

pub use drive::{Bench, Throughput};
pub use latency::{Latency, latency};
pub use purse::Purse;
pub use rounds::{Campaign, Cell, Figures, Shape, VERIFIERS, run};
