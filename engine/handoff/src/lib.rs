//! How bytes and sockets change hands: the data plane's first unsafe crate.
//!
//! - [`region`]: memory that stays where it is, whoever supplies it: heap, huge pages, memfd, CUDA-pinned.
//! - [`page`]: pages carved from one region; one writer each, any number of readers, on one thread.
//! - [`slot`]: equal parts of a region, each with one owner at a time, on any thread.
//! - [`spsc`]: a bounded ring from one thread to one, filled and emptied in batches.
//! - [`ring`]: a bounded lock-free queue from any thread to one, with a bell that is rung once a batch.
//! - [`bell`]: what wakes a sleeper of any kind, for any number of queues.
//! - [`socket`]: a socket that changes owners, and gathered writes on one.
//!
//! `sync` is what the lock-free ones are made of; `tests/loom.rs` puts a model checker's parts in its place and goes through
//! every interleaving, and `tests/loom_weak.rs` shows that each memory ordering is needed.
//!
//! Everything here is small enough to be read in one sitting, and every unsafe block says why it is needed and why it holds.

pub mod bell;
mod free;
pub mod page;
pub mod region;
pub mod ring;
pub mod slot;
pub mod socket;
pub mod spsc;
mod sync;
