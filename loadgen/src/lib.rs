//! An open-loop load generator for Livepeer nodes, whose numbers can be believed.
//!
//! ```text
//!   settings ──▶ Scenario ──▶ Worker, Worker, …  one thread and one epoll each; they share nothing
//!   (flags,       trickle        │ Interval a second
//!    TOML)        churn          ▼
//!                 live       conduct ◀── sample: the server's /proc, the GPU's NVML
//!                 tickets        │
//!                 handshake      │
//!                                ├──▶ Second   ──▶ console, JSONL, Prometheus      while it runs
//!                                └──▶ Outcome  ──▶ console, JSON, .hgrm, HTML      when it is over
//!                                        │
//!                              search ◀──┴──▶ compare
//! ```
//!
//! Invariants:
//! - Open loop: an operation is due when it is due, whatever the server does. Its latency counts from then. What a tool that
//!   waits for each answer would have seen stands beside it, as *uncorrected*.
//! - Only what was due within the window counts; warm-up and cool-down have the same traffic and count for nothing.
//! - The generator measures itself. When it was the bottleneck, the run fails, and its figures do not count.
//! - Nothing here is told how a server works: no parser is shared with one, so no mistake is. The exceptions are how a ticket is
//!   laid out and signed, and gRPC's messages; see [`gateway`].
//! - Chance has a seed, and the seed is in the result.
#![forbid(unsafe_code)]

pub mod ask;
pub mod chunk;
pub mod churn;
pub mod clock;
pub mod compare;
pub mod conduct;
pub mod failure;
pub mod gateway;
pub mod grpc;
pub mod h2;
pub mod handshake;
pub mod http;
pub mod live;
pub mod machine;
pub mod measure;
pub mod net;
pub mod outcome;
pub mod pin;
pub mod polite;
mod refusals;
pub mod report;
pub mod sample;
pub mod search;
pub mod settings;
pub mod target;
pub mod tickets;
pub mod trickle;
pub mod units;

pub use failure::Failure;
