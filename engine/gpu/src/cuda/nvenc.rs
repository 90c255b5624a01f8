//! Encoding on NVIDIA's encoding engine: H.264 and H.265, one picture in, one access unit out.
//!
//! Some chips have no such engine (A100, H100, H200): they are told apart here, in words, and encode elsewhere. The session is
//! opened when the encoder is made, so that a card which allows no more says so at once, and started when the first picture says
//! how large it is. Another shape, and any error, ends it; the next picture starts another, with a key picture.
//!
//! Key pictures are counted here and asked for one by one: the first, every `key_interval`-th, and those that are forced.
//!
//! Device time: events around the copy into the session measure that copy. The engine has a clock of its own which no event reads;
//! its share of use is what NVML says.
#![allow(unsafe_code, reason = "copies within the device are raw")]

use std::collections::VecDeque;
use std::ffi::c_void;
use std::time::Duration;

use nvidia_video_codec_sdk::sys::nvEncodeAPI::GUID;

use super::context::Context;
use super::nvdec_copy::{self, Rectangle};
use super::nvenc_api::{Nvenc, code, name};
use super::nvenc_config::{QP_MAX, QP_MIN, Shape, guid};
use super::nvenc_session::{Ground, Running, Session};
use super::shared::{Shared, Stage, add};
use super::surface::{Surface, WAIT_MAX};
use crate::backend::{Codec, Unavailable};
use crate::encode::{Config, Encode, Encoded, Error};
use crate::fault::Fault;
use crate::probe::Ability;

/// What errors call it.
const NAME: &str = "nvenc";

/// Whether the library can be used, and the newest version that it speaks.
///
/// # Errors
/// The reason in words.
pub(super) fn library() -> Result<String, String> {
    Nvenc::load().map(Nvenc::spoken)
}

/// What the chip encodes; nothing where it has no engine, no library, or no session left.
pub(super) fn abilities(context: &Context) -> Vec<Ability> {
    let Ok(api) = Nvenc::load() else {
        return Vec::new();
    };
    if context.make_current().is_err() {
        return Vec::new();
    }
    abilities_on(api, &Bare(context.clone())).unwrap_or_default()
}

/// An encoder of one stream.
///
/// # Errors
/// When the settings are none, the library is missing, or the chip has no engine, not for this codec, or no session left.
pub(super) fn encoder(
    shared: &Shared,
    codec: Codec,
    config: Config,
) -> Result<Box<dyn Encode<Surface>>, Unavailable> {
    let api = Nvenc::load().map_err(refused)?;
    let ground = Device(shared.clone());
    Ok(Box::new(Encoder::new(api, ground, codec, config)?))
}

fn abilities_on<G: Ground>(api: &'static Nvenc, ground: &G) -> Result<Vec<Ability>, Fault> {
    let session = Session::open(api, ground)?;
    let offered = session.codecs()?;
    let mut abilities = Vec::new();
    for codec in [Codec::H264, Codec::H265] {
        let Some(guid) = guid(codec).filter(|guid| offered.contains(guid)) else {
            continue;
        };
        let sizes = session.sizes(guid)?;
        abilities.push(Ability {
            codec,
            width_max: sizes.width.1,
            height_max: sizes.height.1,
            // Surfaces have no more.
            bits_max: 8,
        });
    }
    Ok(abilities)
}

fn refused(reason: String) -> Unavailable {
    Unavailable::Refused {
        backend: NAME,
        reason,
    }
}

pub(super) struct Encoder<G: Ground> {
    api: &'static Nvenc,
    ground: G,
    codec: Codec,
    guid: GUID,
    config: Config,
    /// A session that was opened and not started.
    spare: Option<Session<G>>,
    running: Option<Running<G>>,
    /// Pictures since the last key picture, that one included.
    since_key: u32,
    /// What was taken out of the session before it was collected, in order.
    done: VecDeque<Result<(Encoded, Vec<u8>), Error>>,
}

// === impl Encoder ===

impl<G: Ground> Encoder<G> {
    pub(super) fn new(
        api: &'static Nvenc,
        ground: G,
        codec: Codec,
        config: Config,
    ) -> Result<Self, Unavailable> {
        if config.fps_num == 0 || config.fps_den == 0 {
            return Err(Unavailable::Config("a frame rate has no zero in it"));
        }
        if !(QP_MIN..=QP_MAX).contains(&config.qp_max) {
            return Err(Unavailable::Config("the coarsest quantiser is 12 to 51"));
        }
        let none = Unavailable::Codec {
            backend: NAME,
            codec,
            step: "encoder",
        };
        let guid = guid(codec).ok_or_else(|| none.clone())?;
        ground.enter()?;
        let session = Session::open(api, &ground).map_err(no_engine)?;
        if !session.codecs()?.contains(&guid) {
            return Err(none);
        }
        Ok(Self {
            api,
            ground,
            codec,
            guid,
            config,
            spare: Some(session),
            running: None,
            since_key: 0,
            done: VecDeque::new(),
        })
    }

    /// A session for pictures of this shape.
    fn start(&mut self, shape: Shape) -> Result<Running<G>, Error> {
        let session = match self.spare.take() {
            Some(session) => session,
            None => Session::open(self.api, &self.ground)?,
        };
        let sizes = session.sizes(self.guid)?;
        let why = if shape.width > sizes.width.1 as usize || shape.height > sizes.height.1 as usize
        {
            Some("larger than the chip encodes")
        } else if shape.width < sizes.width.0.max(2) as usize
            || shape.height < sizes.height.0.max(2) as usize
        {
            Some("smaller than the chip encodes")
        } else {
            None
        };
        if let Some(why) = why {
            self.spare = Some(session);
            return Err(Error::Size {
                width: shape.width,
                height: shape.height,
                why,
            });
        }
        Ok(session.start(self.codec, self.guid, &self.config, shape)?)
    }

    /// Takes the oldest picture out of the session. An error ends the session and what is in it.
    fn finish(&mut self) {
        let Some(running) = &mut self.running else {
            return;
        };
        let in_flight = running.in_flight();
        match running.collect() {
            Ok(coded) if coded.bytes.is_empty() => {
                let error = Error::Failed("NVENC gave a picture without bytes".into());
                self.fail(&error, in_flight);
            }
            Ok(coded) => {
                let encoded = Encoded {
                    key: coded.key,
                    bytes: coded.bytes.len(),
                };
                self.done.push_back(Ok((encoded, coded.bytes)));
            }
            Err(fault) => {
                let error = told(fault, &running.words());
                self.fail(&error, in_flight);
            }
        }
    }

    /// Ends the session. So many pictures that were handed over have that error.
    fn fail(&mut self, error: &Error, pictures: usize) {
        let errors = std::iter::repeat_with(|| Err(error.clone()));
        self.done.extend(errors.take(pictures));
        self.running = None;
    }

    fn hand_over(&mut self, surface: &G::Surface, pts: i64, force_key: bool) -> Result<(), Error> {
        self.ground.enter()?;
        let shape = self.ground.shape(surface).ok_or(Error::Size {
            width: 0,
            height: 0,
            why: "there is no picture",
        })?;
        if self
            .running
            .as_ref()
            .is_some_and(|running| running.shape != shape)
        {
            // What it has is taken out before it goes.
            while self
                .running
                .as_ref()
                .is_some_and(|running| running.in_flight() > 0)
            {
                self.finish();
            }
            self.running = None;
        }
        if self.running.as_ref().is_some_and(Running::is_full) {
            self.finish();
        }
        if self.running.is_none() {
            self.running = Some(self.start(shape)?);
            self.since_key = 0;
        }
        let interval = self.config.key_interval;
        let due = self.since_key == 0 || interval > 0 && self.since_key >= interval;
        let key = force_key || due;
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        let before = running.in_flight();
        if let Err(fault) = running.submit(surface, pts, key) {
            let error = told(fault, &running.words());
            // Those before it are still to be collected, as errors; this one is not.
            self.fail(&error, before);
            return Err(error);
        }
        self.since_key = if key {
            1
        } else {
            self.since_key.saturating_add(1)
        };
        Ok(())
    }
}

impl<G: Ground> Encode<G::Surface> for Encoder<G> {
    fn submit(&mut self, surface: &G::Surface, pts: i64, force_key: bool) -> Result<(), Error> {
        self.hand_over(surface, pts, force_key)
    }

    fn collect(&mut self, out: &mut Vec<u8>) -> Result<Encoded, Error> {
        let in_flight = self.running.as_ref().map_or(0, Running::in_flight);
        if self.done.is_empty() && in_flight > 0 {
            match self.ground.enter() {
                Ok(()) => self.finish(),
                Err(fault) => self.fail(&fault.into(), in_flight),
            }
        }
        let (encoded, mut bytes) = self.done.pop_front().expect("a picture was submitted")?;
        if out.is_empty() {
            std::mem::swap(out, &mut bytes);
        } else {
            out.append(&mut bytes);
        }
        Ok(encoded)
    }
}

/// A fault with what the library has to say about it, where it is about this stream alone.
fn told(fault: Fault, words: &str) -> Error {
    match fault {
        Fault::Failed { .. } if !words.is_empty() => Error::Failed(format!("{fault}: {words}")),
        _ => Error::Device(fault),
    }
}

/// A chip without the engine is not a device that failed.
fn no_engine(fault: Fault) -> Unavailable {
    match fault {
        Fault::Failed { name: status, .. }
            if status == name(code::NO_ENCODE_DEVICE)
                || status == name(code::UNSUPPORTED_DEVICE) =>
        {
            refused(format!("the chip has no encoding engine ({status})"))
        }
        fault => Unavailable::Device(fault),
    }
}

/// The device as an encoder's ground.
#[derive(Clone)]
struct Device(Shared);

impl Ground for Device {
    type Surface = Surface;
    type Input = Surface;

    fn enter(&self) -> Result<(), Fault> {
        self.0.context.make_current()
    }

    fn device(&self) -> *mut c_void {
        self.0.context.raw().cast()
    }

    fn stream(&self) -> *mut c_void {
        self.0.stream.raw().cast()
    }

    fn told(&self, fault: Fault) -> Fault {
        behind(&self.0.context, fault)
    }

    fn is_lost(&self) -> bool {
        self.0.context.is_lost()
    }

    fn wait_max(&self) -> Duration {
        WAIT_MAX
    }

    fn shape(&self, surface: &Surface) -> Option<Shape> {
        (!surface.is_empty()).then(|| Shape {
            width: surface.width() & !1,
            height: surface.height() & !1,
            range: surface.range(),
            matrix: surface.matrix(),
        })
    }

    fn input(&self, shape: Shape) -> Result<Surface, Fault> {
        let Shape {
            width,
            height,
            range,
            matrix,
        } = shape;
        self.0.pool.surface(width, height, range, matrix)
    }

    fn place(&self, input: &Surface) -> (u64, u32) {
        let pitch = input.layout().pitch() as u32;
        (input.address().unwrap_or(0), pitch)
    }

    fn copy(&self, from: &Surface, to: &Surface, shape: Shape) -> Result<(), Fault> {
        let (Some(source), Some(target)) = (from.nv12(), to.nv12()) else {
            return Err(Fault::Failed {
                call: "a surface",
                name: "no memory behind it",
            });
        };
        let span = self.0.measure(Stage::Encode)?;
        for rectangle in rectangles(&source, &target, shape) {
            // SAFETY: both are surfaces of this backend and the rectangle is within them; their memory is used in the order of
            // its stream alone, and the session reads its input in that order too.
            unsafe { nvdec_copy::put(&self.0, rectangle) }?;
        }
        self.0.measured(span)
    }

    fn count(&self, bytes: u64) {
        add(&self.0.counters.from_device_bytes, bytes);
    }
}

/// Luma and chroma of the even part of a picture.
fn rectangles(from: &kernels::Surface, to: &kernels::Surface, shape: Shape) -> [Rectangle; 2] {
    let luma = Rectangle {
        from: from.y,
        from_pitch: from.y_stride as usize,
        to: to.y,
        to_pitch: to.y_stride as usize,
        width_bytes: shape.width,
        rows: shape.height,
    };
    let chroma = Rectangle {
        from: from.uv,
        from_pitch: from.uv_stride as usize,
        to: to.uv,
        to_pitch: to.uv_stride as usize,
        width_bytes: shape.width,
        rows: shape.height / 2,
    };
    [luma, chroma]
}

/// A failure of the library may be the context's: then every call on it says so.
fn behind(context: &Context, fault: Fault) -> Fault {
    context.note(fault);
    match fault {
        Fault::Failed { .. } => context
            .memory()
            .err()
            .filter(|f| f.is_lost())
            .unwrap_or(fault),
        _ => fault,
    }
}

/// A context alone, to ask a chip what it does.
#[derive(Clone)]
struct Bare(Context);

impl Ground for Bare {
    type Surface = ();
    type Input = ();

    fn enter(&self) -> Result<(), Fault> {
        self.0.make_current()
    }

    fn device(&self) -> *mut c_void {
        self.0.raw().cast()
    }

    fn stream(&self) -> *mut c_void {
        std::ptr::null_mut()
    }

    fn told(&self, fault: Fault) -> Fault {
        behind(&self.0, fault)
    }

    fn is_lost(&self) -> bool {
        self.0.is_lost()
    }

    fn wait_max(&self) -> Duration {
        WAIT_MAX
    }

    fn shape(&self, (): &()) -> Option<Shape> {
        None
    }

    fn input(&self, _: Shape) -> Result<(), Fault> {
        Ok(())
    }

    fn place(&self, (): &()) -> (u64, u32) {
        (0, 0)
    }

    fn copy(&self, (): &(), (): &(), _: Shape) -> Result<(), Fault> {
        Ok(())
    }

    fn count(&self, _: u64) {}
}

#[cfg(test)]
mod tests;
