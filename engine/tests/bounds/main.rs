//! Bounds, owners, sweeps and abuse: what needs an engine of its own.
//!
//! Full is a normal day: every bound has a written answer, and one test that reaches it. After each abuse the same engine
//! still serves, and no task has panicked.

#[path = "../support/mod.rs"]
mod support;

mod autocreate;
mod garbage;
mod limits;
mod memory;
mod owners;
mod second_address;
mod slow;
mod smuggling;
mod sweep;
mod times;
