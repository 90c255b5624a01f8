//! An NVIDIA device as a backend, found at run time.
//!
//! ```text
//!   Cuda (an Open) --open, on the lane's thread--> CudaBackend: a context, a stream, a pool, kernels
//!
//!   bitstream -> decoder -> Surface -> kernels, one launch a kind for the whole batch -> Surface -> encoder -> bitstream
//!                           NV12 in device memory throughout
//! ```
//!
//! | file | what |
//! |---|---|
//! | `driver`, `calls`, `status` | the library, its calls, what their errors mean |
//! | `context`, `stream`, `memory` | the device's things, each given back when dropped; the rules of doing so are in `context` |
//! | `pool`, `surface`, `staging`, `nv12` | memory that is used again, pictures in it, and their way to the host and back |
//! | `shared` | what all parts of one backend hold |
//! | `launch`, `process` | kernels, and the works of a batch gathered by them |
//! | `model`, `primary` | models as steps, and the context that their library works in |
//! | `look`, `nvml` | what a probe is told, and how busy a device is |
//! | `engines`, `host`, `fallback` | the chip's codec engines; codecs on the CPU where it has none, or none for this stream |
//! | `nvdec`, `nvdec_chip`, `nvdec_parser`, `nvdec_copy`, `nvcuvid` | decoding: a stream, its pictures, the driver's parser, the way out, the library |
//! | `nvenc`, `nvenc_session`, `nvenc_config`, `nvenc_api` | encoding: a stream, its session, how it is set, the library |
//!
//! Invariants worth naming:
//!
//! - A backend has one stream. What is put in later runs later, so memory is lent again without waiting, and a caller may
//!   process and encode a picture before it is decoded.
//! - Nothing waits without a deadline, but three calls of the driver that have none: making a context, compiling a kernel, and
//!   asking for more device memory. The first two happen when a backend is opened. Two more are ONNX
//!   Runtime's: making a model ready, and a run of it, which ends with a wait. What protects from them is whoever watches the
//!   lane.
//! - A call that fails says whose loss it is: [`Fault::is_lost`](crate::Fault::is_lost).

mod calls;
mod context;
mod driver;
mod engines;
mod fallback;
mod host;
mod launch;
mod memory;
mod model;
mod nv12;
mod nvcuvid;
mod nvdec;
mod nvdec_chip;
mod nvdec_copy;
mod nvdec_parser;
mod nvenc;
mod nvenc_api;
mod nvenc_config;
mod nvenc_session;
mod pool;
mod primary;
mod process;
mod shared;
mod staging;
mod status;
mod stream;
mod surface;

use std::rc::Rc;
use std::time::Duration;

use kernels::Frame;

use crate::backend::{Backend, Batching, Codec, Open, Unavailable, Usage};
use crate::cpu;
use crate::decode::{Config as DecodeConfig, Decode};
use crate::encode::{Config as EncodeConfig, Encode};
use crate::fault::Fault;
use crate::probe::Ability;
use crate::process::Process;
use engines::{NVDEC, NVENC};
use fallback::Fallback;
use launch::Kernels;
use process::Processor;
use shared::Shared;

pub use calls::Status;
pub use context::Context;
pub use driver::Driver;
pub use launch::{Function, Module};
pub use memory::Pinned;
pub use stream::{Event, Stream};
pub use surface::Surface;

pub(crate) mod look;
pub(crate) mod nvml;

const BACKEND: &str = "cuda";

/// An NVIDIA device of this machine, by its number in the driver's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cuda {
    ordinal: u32,
}

/// A device as one lane has it.
pub struct CudaBackend {
    shared: Shared,
    kernels: Rc<Kernels>,
    /// The product's name.
    device: String,
    decode: Vec<Ability>,
    encode: Vec<Ability>,
}

// === impl Cuda ===

impl Cuda {
    /// The device of this number, whether it is there or not.
    pub const fn new(ordinal: u32) -> Self {
        Self { ordinal }
    }

    /// Whether the driver is there and lists this device. Opens nothing.
    ///
    /// # Errors
    /// What is missing.
    pub fn check(self) -> Result<(), Unavailable> {
        self.listed(Driver::load().map_err(refused)?)
    }

    fn listed(self, driver: &Driver) -> Result<(), Unavailable> {
        let count = driver.devices()?;
        if self.ordinal >= count {
            let devices = if count == 1 { "device" } else { "devices" };
            return Err(refused(format!(
                "there is no {}: the driver lists {count} {devices}",
                self.name()
            )));
        }
        Ok(())
    }

    fn open_on(self, driver: &'static Driver) -> Result<CudaBackend, Unavailable> {
        self.listed(driver)?;
        let device = driver.list(self.ordinal)?.name;
        let context = Context::create(driver, self.ordinal)?;
        let kernels = Rc::new(Kernels::compile(&context)?);
        let decode = engines::abilities(NVDEC.as_ref(), &context);
        let encode = engines::abilities(NVENC.as_ref(), &context);
        Ok(CudaBackend {
            shared: Shared::new(context)?,
            kernels,
            device,
            decode,
            encode,
        })
    }
}

impl Open for Cuda {
    type Backend = CudaBackend;

    fn name(&self) -> String {
        format!("{BACKEND}:{}", self.ordinal)
    }

    fn open(&self) -> Result<CudaBackend, Unavailable> {
        self.open_on(Driver::load().map_err(refused)?)
    }
}

// === impl CudaBackend ===

impl CudaBackend {
    /// Puts a frame's way to the device into the stream. The surface takes its size, range and matrix; the frame is free at once.
    ///
    /// # Errors
    /// When there is no memory, or the device is lost.
    pub fn upload(&self, frame: &Frame, surface: &mut Surface) -> Result<(), Fault> {
        self.shared.upload(frame, surface)
    }

    /// Makes a frame of a surface, once all that was put into the stream before is done.
    ///
    /// # Errors
    /// When there is no memory, the device is lost, or it does not answer.
    pub fn download(&self, surface: &Surface, frame: &mut Frame) -> Result<(), Fault> {
        if surface.is_empty() {
            *frame = Frame::default();
            return Ok(());
        }
        self.shared.download(surface)?.into_frame(frame)
    }

    /// The context of the backend.
    pub fn context(&self) -> &Context {
        &self.shared.context
    }

    /// The stream of the backend.
    pub fn stream(&self) -> &Stream {
        &self.shared.stream
    }

    /// How long the driver took to compile the kernels, or to find them compiled.
    pub fn compiled_in(&self) -> Duration {
        self.kernels.compiled_in
    }
}

impl Backend for CudaBackend {
    type Surface = Surface;

    fn name(&self) -> String {
        let host = format!("CPU, {}", cpu::version());
        let place = |has: &[Ability], engine: &str| match has.is_empty() {
            true => host.clone(),
            false => engine.to_owned(),
        };
        format!(
            "{BACKEND}:{} ({}; decoding: {}; filters: CUDA; encoding: {})",
            self.shared.context.ordinal(),
            self.device,
            place(&self.decode, "NVDEC"),
            place(&self.encode, "NVENC"),
        )
    }

    /// To be measured on a card, and until then by arithmetic: 32 pictures of 720p are 44 MB, which a card of 300 GB/s reads and
    /// writes in 0.3 ms, so a launch is long against the 5 to 10 µs that it costs; and 2 ms is a sixteenth of a picture's time
    /// at 30 a second, which is the delay that a stream pays for it at most.
    fn batching(&self) -> Batching {
        Batching {
            units_max: 32,
            wait: Duration::from_millis(2),
        }
    }

    fn surface(&self) -> Result<Surface, Fault> {
        Ok(self.shared.surface())
    }

    fn decoder(
        &self,
        codec: Codec,
        config: DecodeConfig,
    ) -> Result<Box<dyn Decode<Surface>>, Unavailable> {
        match NVDEC {
            Some(engine) if does(&self.decode, codec) => {
                let decoder = (engine.open)(&self.shared, codec, config)?;
                let shared = self.shared.clone();
                let other = move |refusal| {
                    let host = host::decoder(&shared, codec, config).ok()?;
                    shared.remark(format!(
                        "a stream of {} is decoded on the CPU, since NVDEC here refuses it: {refusal}",
                        codec.name()
                    ));
                    Some(host)
                };
                Ok(Box::new(Fallback::new(decoder, Box::new(other))))
            }
            _ => host::decoder(&self.shared, codec, config),
        }
    }

    fn processor(&self) -> Result<Box<dyn Process<Surface>>, Unavailable> {
        Ok(Box::new(Processor::new(&self.shared, &self.kernels)?))
    }

    fn encoder(
        &self,
        codec: Codec,
        config: EncodeConfig,
    ) -> Result<Box<dyn Encode<Surface>>, Unavailable> {
        match NVENC {
            Some(engine) if does(&self.encode, codec) => (engine.open)(&self.shared, codec, config),
            _ => host::encoder(&self.shared, codec, config),
        }
    }

    fn usage(&self) -> Usage {
        self.shared.usage()
    }

    fn remarks(&self) -> Vec<String> {
        self.shared.remarks()
    }
}

fn does(abilities: &[Ability], codec: Codec) -> bool {
    abilities.iter().any(|ability| ability.codec == codec)
}

fn refused(reason: String) -> Unavailable {
    Unavailable::Refused {
        backend: BACKEND,
        reason,
    }
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
