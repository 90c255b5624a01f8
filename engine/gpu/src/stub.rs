//! A stub device: the CPU with the manners of a device, for tests of whoever drives devices.
//!
//! Pictures are made by the CPU backend, so what comes out is real. Around it is what a device has and the CPU has not:
//!
//! ```text
//!   submit A  submit B  submit C ........ collect A     collect B     collect C
//!      |         |         |                  ^             ^             ^
//!      +-call----+---call--+----call----------+   one call after the other, each `call_time` long;
//!                                                 a batch of steps is one call, however many pictures it holds
//! ```
//!
//! - Work has a time of its own: what is submitted is done one call after the other, and collecting waits for it.
//! - Memory is counted in surfaces, over all backends of the device: a decoder takes [`DECODER_SURFACES`], an encoder
//!   [`ENCODER_SURFACES`], a surface one. What is too much is [`Fault::Full`].
//! - Anything can be made to fail, hang or panic by the device's [`Faults`]. After a loss every call on that backend fails
//!   until another is opened.

mod faults;
mod steps;

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kernels::Frame;

pub use faults::{Faults, Point, Trouble};
use steps::{Decoder, Encoder, Processor};

use crate::backend::{Backend, Batching, Codec, Open, Unavailable, Usage};
use crate::cpu::Cpu;
use crate::decode::{self, Decode};
use crate::encode::{self, Encode};
use crate::fault::Fault;
use crate::process::Process;

/// Surfaces that a decoder takes.
pub const DECODER_SURFACES: u64 = 8;
/// Surfaces that an encoder takes.
pub const ENCODER_SURFACES: u64 = 2;

const NAME: &str = "stub";

/// What the device is like.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How it wants its pictures.
    pub batching: Batching,
    /// How many surfaces its memory holds.
    pub surfaces_max: u64,
    /// What a surface takes of it.
    pub surface_bytes: u64,
    /// How long each call keeps it busy.
    pub call_time: Duration,
    /// What it decodes. H.264 is decoded; of any other codec, each unit is shown as one flat picture of 320×192, in the
    /// order of the screen.
    pub decodes: Vec<Codec>,
}

impl Default for Settings {
    /// A device that is fast, large, and reads H.264.
    fn default() -> Self {
        Self {
            batching: Batching {
                units_max: 8,
                wait: Duration::from_millis(2),
            },
            surfaces_max: 4096,
            surface_bytes: 1 << 21,
            call_time: Duration::ZERO,
            decodes: vec![Codec::H264],
        }
    }
}

/// The device. Clones are the same device, with one memory.
#[derive(Clone, Debug, Default)]
pub struct Stub {
    settings: Settings,
    faults: Faults,
    /// Surfaces in use.
    memory: Arc<AtomicU64>,
}

impl Stub {
    /// A device like this.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    /// The way to make it fail.
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// Surfaces in use, on all backends.
    pub fn surfaces(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }
}

impl Open for Stub {
    type Backend = Opened;

    fn name(&self) -> String {
        NAME.to_owned()
    }

    fn open(&self) -> Result<Opened, Unavailable> {
        let context = Context {
            device: self.clone(),
            lost: Cell::new(None),
            busy_until: Cell::new(Instant::now()),
            usage: Cell::default(),
        };
        context.call(Point::Open)?;
        Ok(Opened(Rc::new(context)))
    }
}

/// A backend on the device.
#[derive(Debug)]
pub struct Opened(Rc<Context>);

/// A picture in the device's memory.
#[derive(Debug)]
pub struct Surface {
    frame: Frame,
    /// The timestamp of what it was made of.
    pts: i64,
    /// `None` in a decoder's pool, which was paid for when the decoder was made.
    _lease: Option<Lease>,
}

#[derive(Debug)]
struct Context {
    device: Stub,
    lost: Cell<Option<Fault>>,
    busy_until: Cell<Instant>,
    usage: Cell<Usage>,
}

/// A part of the device's memory, given back when it is dropped.
#[derive(Debug)]
struct Lease(Arc<AtomicU64>, u64);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

impl Context {
    /// Passes a point, or comes to grief at it.
    fn call(&self, point: Point) -> Result<(), Fault> {
        if let Some(fault) = self.lost.get() {
            return Err(fault);
        }
        self.device
            .faults
            .pass(point)
            .map_or(Ok(()), |trouble| self.suffer(trouble))
    }

    fn suffer(&self, trouble: Trouble) -> Result<(), Fault> {
        match trouble {
            Trouble::Fail(fault) => {
                if fault.is_lost() {
                    self.lost.set(Some(fault));
                }
                Err(fault)
            }
            Trouble::Hang(time) => {
                std::thread::sleep(time);
                Ok(())
            }
            Trouble::Panic => panic!("the stub was told to panic"),
        }
    }

    /// Gives the device one more call to do. When it will be done.
    fn work(&self, count: impl FnOnce(&mut Usage, u64)) -> Instant {
        let time = self.device.settings.call_time;
        let done_at = self.busy_until.get().max(Instant::now()) + time;
        self.busy_until.set(done_at);
        let mut usage = self.usage.get();
        count(&mut usage, u64::try_from(time.as_nanos()).unwrap_or(0));
        self.usage.set(usage);
        done_at
    }

    fn lease(&self, surfaces: u64) -> Result<Lease, Fault> {
        let fits =
            |used: u64| Some(used + surfaces).filter(|&n| n <= self.device.settings.surfaces_max);
        self.device
            .memory
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .map(|_| Lease(self.device.memory.clone(), surfaces))
            .map_err(|_| Fault::Full {
                call: "stubMemAlloc",
                name: "STUB_ERROR_OUT_OF_MEMORY",
            })
    }
}

fn wait_until(at: Instant) {
    std::thread::sleep(at.saturating_duration_since(Instant::now()));
}

impl Backend for Opened {
    type Surface = Surface;

    fn name(&self) -> String {
        format!("{NAME} (the CPU with the manners of a device)")
    }

    fn batching(&self) -> Batching {
        self.0.device.settings.batching
    }

    fn surface(&self) -> Result<Surface, Fault> {
        self.0.call(Point::Surface)?;
        Ok(Surface {
            frame: Frame::default(),
            pts: i64::MIN,
            _lease: Some(self.0.lease(1)?),
        })
    }

    fn decoder(
        &self,
        codec: Codec,
        config: decode::Config,
    ) -> Result<Box<dyn Decode<Surface>>, Unavailable> {
        if !self.0.device.settings.decodes.contains(&codec) {
            return Err(Unavailable::Codec {
                backend: NAME,
                codec,
                step: "decoder",
            });
        }
        self.0.call(Point::Decoder)?;
        Ok(Box::new(Decoder::new(&self.0, codec, config)?))
    }

    fn processor(&self) -> Result<Box<dyn Process<Surface>>, Unavailable> {
        Ok(Box::new(Processor {
            inner: Cpu.processor()?,
            context: self.0.clone(),
        }))
    }

    fn encoder(
        &self,
        codec: Codec,
        config: encode::Config,
    ) -> Result<Box<dyn Encode<Surface>>, Unavailable> {
        self.0.call(Point::Encoder)?;
        Ok(Box::new(Encoder {
            inner: Cpu.encoder(codec, config)?,
            done_at: VecDeque::new(),
            context: self.0.clone(),
            _lease: self.0.lease(ENCODER_SURFACES)?,
        }))
    }

    fn usage(&self) -> Usage {
        let Settings {
            surfaces_max,
            surface_bytes,
            ..
        } = self.0.device.settings;
        let used = self.0.device.surfaces();
        Usage {
            memory_free_bytes: Some(surfaces_max.saturating_sub(used) * surface_bytes),
            memory_total_bytes: Some(surfaces_max * surface_bytes),
            surfaces: used,
            ..self.0.usage.get()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Unit;
    use crate::process::Step;
    use kernels::Filter;

    const LOST: Fault = Fault::Lost {
        call: "stubLaunch",
        name: "STUB_ERROR_ILLEGAL_ADDRESS",
    };
    const FULL: Fault = Fault::Full {
        call: "stubMemAlloc",
        name: "STUB_ERROR_OUT_OF_MEMORY",
    };

    fn picture() -> Vec<u8> {
        let mut encoder = Cpu.encoder(Codec::H264, encode::Config::default()).unwrap();
        let mut data = Vec::new();
        let frame = Frame::new(64, 48).unwrap();
        encoder.encode(&frame, 0, true, &mut data).unwrap();
        data
    }

    #[test]
    fn a_picture_goes_through_it() {
        let opened = Stub::default().open().unwrap();
        let mut decoder = opened
            .decoder(Codec::H264, decode::Config::default())
            .unwrap();
        let (data, mut pictures) = (picture(), Vec::new());
        let unit = Unit {
            data: &data,
            pts: 7,
        };
        decoder.decode(unit, &mut pictures).unwrap();
        assert_eq!((pictures[0].pts, pictures[0].width), (7, 64));
        let mut output = opened.surface().unwrap();
        let step = Step::Filter(Filter::Invert {
            amount_percent: 100,
        });
        let mut processor = opened.processor().unwrap();
        processor
            .process_one(&step, &pictures[0].surface, &mut output)
            .unwrap();
        let mut encoder = opened
            .encoder(Codec::H264, encode::Config::default())
            .unwrap();
        let mut out = Vec::new();
        assert!(encoder.encode(&output, 0, true, &mut out).unwrap().key);
        let usage = opened.usage();
        assert_eq!(usage.from_device_bytes, out.len() as u64);
        assert_eq!(usage.surfaces, DECODER_SURFACES + ENCODER_SURFACES + 1);
    }

    #[test]
    fn a_loss_stays_until_it_is_opened_again() {
        let stub = Stub::default();
        let opened = stub.open().unwrap();
        stub.faults().fail_when(Point::Surface, 2, LOST);
        assert!(opened.surface().is_ok());
        assert_eq!(opened.surface().unwrap_err(), LOST);
        assert_eq!(opened.surface().unwrap_err(), LOST, "and it stays lost");
        assert!(stub.open().unwrap().surface().is_ok());
        assert_eq!(stub.faults().calls(Point::Open), 2);
    }

    #[test]
    fn memory_runs_out_and_comes_back() {
        let stub = Stub::new(Settings {
            surfaces_max: DECODER_SURFACES + 1,
            ..Settings::default()
        });
        let opened = stub.open().unwrap();
        let decoder = opened.decoder(Codec::H264, decode::Config::default());
        let surface = opened.surface().unwrap();
        assert_eq!(opened.surface().unwrap_err(), FULL);
        assert_eq!(opened.usage().memory_free_bytes, Some(0));
        drop((decoder, surface));
        assert_eq!(stub.surfaces(), 0);
    }

    #[test]
    fn its_calls_take_their_time_one_after_the_other() {
        let call_time = Duration::from_millis(20);
        let stub = Stub::new(Settings {
            call_time,
            ..Settings::default()
        });
        let opened = stub.open().unwrap();
        let mut decoders: Vec<_> = (0..3)
            .map(|_| {
                opened
                    .decoder(Codec::H264, decode::Config::default())
                    .unwrap()
            })
            .collect();
        let data = picture();
        let began = Instant::now();
        for decoder in &mut decoders {
            decoder
                .submit(Unit {
                    data: &data,
                    pts: 0,
                })
                .unwrap();
        }
        let mut pictures = Vec::new();
        for decoder in &mut decoders {
            decoder.collect(&mut pictures).unwrap();
        }
        assert_eq!(pictures.len(), 3);
        assert!(began.elapsed() >= 3 * call_time, "{:?}", began.elapsed());
    }
}
