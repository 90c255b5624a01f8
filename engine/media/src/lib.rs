//! MPEG-TS in and out, access units, and 90 kHz clocks.
//!
//! ```text
//! bytes ──▶ ts::sync ──▶ ts::packet ──▶ ts::section ─▶ ts::psi ──▶ Event::Program
//!                                  └──▶ ts::assemble ─▶ ts::pes ──▶ Event::Unit
//! Event::Unit ──▶ decode, process, encode (elsewhere) ──▶ Mux ──▶ bytes
//! ```
//!
//! The crate is pure: it asks the world for nothing, and a test can replay any input. What it promises:
//!
//! - **No input panics or grows memory without bound.** Every buffer has a limit in [`limits`] or in [`demux::Config`], and
//!   what happens when it is full is written beside it.
//! - **The result does not depend on how the input was cut.** Pushing a stream byte by byte gives the same events as pushing
//!   it whole.
//! - **A payload byte is copied once**, from the packet into the buffer of its unit. In a steady state, with buffers given
//!   back through [`Demux::recycle`], nothing is allocated.
//! - **Audio passes bit for bit**: a PES payload leaves the [`Mux`] as it entered the [`Demux`], with the same boundaries.
//! - **A timestamp never changes modulo 2^33.** The unwrapped [`Ticks`] only say which lap it is on.
//!
//! Clauses in the documentation are of ISO/IEC 13818-1 (systems), ITU-T H.264, ITU-T H.265 and ISO/IEC 13818-7 (ADTS).

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod aac;
pub mod clock;
pub mod codec;
pub mod h26x;
pub mod limits;
pub mod ts;

pub use clock::Ticks;
pub use codec::{Codec, Program, Track};
pub use ts::demux::{self, Demux, Event, Unit};
pub use ts::mux::{self, Mux};
