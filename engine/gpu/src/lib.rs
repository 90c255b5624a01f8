//! Devices: decode, process and encode, behind one trait each.
//!
//! A [`Backend`] is one way of doing all three, and its [`Surface`](Backend::Surface) is where its pictures live.
//! A caller holds surfaces and never looks inside, so that frames of a device that has memory of its own never
//! leave it. [`Cpu`] needs no device; there, a surface is a [`Frame`]. [`Cuda`] is an NVIDIA device, whose libraries are
//! found at run time: every build carries both, and starts where there is neither library nor device. An [`Open`] opens
//! backends: a lane has one of its own, and opens another when the device is lost.
//!
//! ```text
//!   Unit { data, pts } --Decode--> Decoded { surface, pts } --Process--> surface --Encode--> bytes, Annex B
//!                         ^                        |
//!                         +-------- recycle -------+
//! ```
//!
//! Invariants worth naming:
//!
//! - The crate takes buffers and returns buffers. It knows no channels, sessions or tickets, and no clock.
//! - One access unit in, at most one picture decoded, and the picture carries that unit's timestamp. Pictures
//!   come out in display order, as soon as the stream's own reorder depth allows: at once when that is zero.
//! - No stream, however broken, panics or allocates beyond the limits in [`decode::Config`]. After an error the
//!   decoder shows nothing until the next key picture, rather than a picture made of missing parts.
//! - Every picture that is encoded gives bytes: no frame is skipped and none is held back.
//! - Steady state allocates no picture: surfaces come back through [`Decode::recycle`].
#![deny(unsafe_code)]

pub mod backend;
pub mod cpu;
pub mod cuda;
pub mod decode;
pub mod encode;
pub mod fault;
pub mod model;
pub mod probe;
pub mod process;
pub mod stub;

mod bits;
mod check;
mod in_order;
mod nal;
mod reorder;
mod sps;

pub use backend::{Backend, Batching, Codec, Open, Unavailable, Usage};
pub use cpu::Cpu;
pub use cuda::{Cuda, CudaBackend};
pub use decode::{Decode, Decoded, Unit};
pub use encode::{Encode, Encoded};
pub use fault::Fault;
pub use kernels::psnr::{Psnr, psnr};
pub use kernels::{Filter, Frame};
pub use probe::{Ability, Device, Driver, Probe, Utilisation, probe, utilisation};
pub use process::{Process, Step, Work};
