//! What was measured, where, with which command.
//!
//! One binary a question. `fanout`: what does it cost to hand one publisher's bytes to many subscribers? `neighbours`: what does
//! a session's damaged video cost the others? `startup`: how soon is a node ready? `tickets`: how many tickets does a core validate? `gpubench`: what does a device do, and how far does what is around it keep up?
//!
//! ```text
//!            CPU 0                                  CPU 1
//!   floor  or  millstream  ◀── sockets ──▶  load: publishers and subscribers
//!        │
//!        └── /proc: CPU time, peak memory ──▶ run ──▶ table
//! ```
//!
//! - [`floor`]: the least that any server could do, to compare with;
//! - [`gpubench`]: a device, by itself and under lanes;
//! - [`load`]: an open-loop generator that checks every byte it gets back;
//! - [`neighbours`]: whether one session's bad stream slows the others down, and how many sessions there can be;
//! - [`startup`]: how soon a node is ready, and what it holds idle;
//! - [`tickets`]: how many tickets one core validates, and how long one takes;
//! - [`run`]: both servers in turn, in one run, and the table;
//! - [`units`]: the engine's parts one by one, for criterion and for the instruction counter.
//!
//! Invariants:
//! - Latency counts from when a chunk was *due*, not from when it was sent: a server or a generator that stalls cannot hide it.
//! - A generator that was itself the bottleneck says so, and its figures do not count.
//! - Floor and server are measured by the same code, on the same CPUs, one after the other, round after round.
//! - The load, the floor and the run are not told how the server works: they share no parser with it. Only [`units`],
//!   [`tickets`] and [`gpubench`] name the engine's crates.
#![forbid(unsafe_code)]

pub use loadgen::{chunk, clock, http, net, pin};

pub mod floor;

pub mod gpubench;

pub mod load;

pub mod neighbours;

pub mod run;

pub mod startup;

pub mod tickets;

pub mod units;
