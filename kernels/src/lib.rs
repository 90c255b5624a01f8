//! Every frame kernel in plain Rust: the oracle that a device kernel is held to, and the CPU form that runs
//! where there is no device. And every device kernel as text, with what a backend needs to launch it: [`Kernel`], [`Item`].
//!
//! One [`Frame`] holds one picture. A [`Filter`] names what to do with it, and [`reference::apply`] does it.
//! The crate names nothing of ours and asks the world for nothing: no runtime, no clock, no device.
//!
//! Invariants worth naming:
//!
//! - Every filter is integer arithmetic that is written down beside it, so two implementations that follow the
//!   text agree in every byte, and a device kernel is tested for equality and not for likeness.
//! - A filter never reads outside the picture: a pixel beyond an edge is the nearest pixel inside.
//! - A filter of a picture of any size, 1×1 included, is defined and does not panic.
//! - Steady state allocates nothing: a [`Frame`] and a [`Scratch`] keep their buffers.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod frame;
pub mod item;
pub mod kernel;
pub mod plane;
pub mod psnr;
pub mod reference;

pub use frame::{Frame, Matrix, Range, SizeError};
pub use item::{Item, Surface};
pub use kernel::{Grid, Kernel};
pub use plane::{Plane, PlaneMut};
pub use reference::{Filter, Scratch};
