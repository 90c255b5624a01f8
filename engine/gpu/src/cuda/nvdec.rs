//! Decoding on NVIDIA's decoding engine.
//!
//! ```text
//!   unit -> check: what the driver may see -> its parser -> engine -> map -> copy, cropped -> Surface -> reorder -> out
//!           ours, pure                        nvdec_parser   nvdec_chip                                  by timestamp, ours
//! ```
//!
//! Pictures of H.264 and H.265 are taken in the order of the stream, as they are decoded, and put in the order of the screen here
//! as the CPU's decoder does: at once when the stream never reorders, else after as many pictures as it says. The parser's own
//! order holds pictures until its buffer is full, and says nothing of a stream's depth. The slots of the engine are then free for
//! the next picture whatever is held back. VP9 and AV1 come in the order of the screen; there the parser says what is shown.
//!
//! After damage the parser is made anew, with every parameter set that is known, and the next key picture is awaited; the decoder
//! object, which is memory of the device, stays while the pictures' size does.
//!
//! Pictures come out as 8-bit NV12. Where a chip gives that for 10-bit streams they are decoded, else they are refused by name.

use std::ffi::c_void;
use std::rc::Rc;
use std::time::Duration;

use super::calls::Status;
use super::context::Context;
use super::nvcuvid::{Caps, Nvcuvid};
use super::nvdec_chip::{Chip, Current, Ground, Mapped, damaged};
use super::nvdec_copy;
use super::nvdec_parser::{Hook, Parser};
use super::shared::{Shared, add};
use super::stream::Event;
use super::surface::{Surface, WAIT_MAX};
use crate::backend::{Codec, Unavailable};
use crate::check::{Checker, Limits, code};
use crate::decode::{Config, Decode, Decoded, Error, Unit};
use crate::fault::Fault;
use crate::probe::Ability;
use crate::reorder::Reorder;

/// What errors call it.
const NAME: &str = "nvdec";

/// H.264 and H.265 allow no more.
const REFERENCES_MAX: usize = 16;

/// Slices in one access unit: one a macroblock row of the highest picture that a frame can be.
const SLICES_MAX: usize = 512;

/// The depths that are asked for, and the codecs.
const DEPTHS: [u8; 2] = [8, 10];
const CODECS: [Codec; 4] = [Codec::H264, Codec::H265, Codec::Vp9, Codec::Av1];

/// Whether the library can be used.
///
/// # Errors
/// The reason in words.
pub(super) fn library() -> Result<String, String> {
    Nvcuvid::load().map(|_| "of the driver".to_owned())
}

/// What the chip decodes; nothing where it has no engine or no library.
pub(super) fn abilities(context: &Context) -> Vec<Ability> {
    let Ok(api) = Nvcuvid::load() else {
        return Vec::new();
    };
    if context.make_current().is_err() {
        return Vec::new();
    }
    CODECS
        .into_iter()
        .filter_map(|codec| ability(codec, DEPTHS.map(|bits| api.caps(codec, bits).ok())))
        .collect()
}

/// A decoder of one stream.
///
/// # Errors
/// When the library is missing, the chip has none for the codec, or the device is lost.
pub(super) fn decoder(
    shared: &Shared,
    codec: Codec,
    config: Config,
) -> Result<Box<dyn Decode<Surface>>, Unavailable> {
    let refused = |reason| Unavailable::Refused {
        backend: NAME,
        reason,
    };
    let api = Nvcuvid::load().map_err(refused)?;
    let ground = Device(shared.clone());
    ground.enter()?;
    let caps = DEPTHS.map(|bits| api.caps(codec, bits).ok());
    let none = Unavailable::Codec {
        backend: NAME,
        codec,
        step: "decoder",
    };
    let ability = ability(codec, caps).ok_or(none)?;
    Ok(Box::new(Decoder::new(
        api,
        ground,
        codec,
        limits(config, ability),
    )))
}

/// What two answers come to, of 8 bits and of 10: only pictures that come out as NV12 count.
fn ability(codec: Codec, caps: [Option<Caps>; 2]) -> Option<Ability> {
    let usable = |caps: Option<Caps>| caps.filter(|caps| caps.is_supported && caps.gives_nv12);
    let [eight, ten] = caps.map(usable);
    let eight = eight?;
    Some(Ability {
        codec,
        width_max: eight.width.1,
        height_max: eight.height.1,
        bits_max: if ten.is_some() { 10 } else { 8 },
    })
}

/// What a stream may be: what was asked, the chip's own sizes and depths, and what is allocated.
fn limits(config: Config, ability: Ability) -> Limits {
    Limits {
        width_max: config.width_max.min(ability.width_max as usize),
        height_max: config.height_max.min(ability.height_max as usize),
        bits_max: ability.bits_max,
        references_max: REFERENCES_MAX,
        unit_bytes_max: config.unit_bytes_max,
        slices_max: SLICES_MAX,
    }
}

pub(super) struct Decoder<G: Ground> {
    api: &'static Nvcuvid,
    codec: Codec,
    checker: Checker,
    /// Goes before the hook, which its callbacks use.
    parser: Option<Parser<G>>,
    hook: Rc<Hook<G>>,
    reorder: Reorder<Decoded<G::Surface>>,
    /// Pictures that can be shown and have not been collected.
    ready: Vec<Decoded<G::Surface>>,
}

// === impl Decoder ===

impl<G: Ground> Decoder<G> {
    pub(super) fn new(api: &'static Nvcuvid, ground: G, codec: Codec, limits: Limits) -> Self {
        Self {
            api,
            codec,
            checker: Checker::new(codec, limits),
            parser: None,
            hook: Hook::new(Chip::new(api, ground, codec, limits)),
            reorder: Reorder::new(),
            ready: Vec::new(),
        }
    }

    fn enter(&self) -> Result<(), Fault> {
        self.hook.chip.borrow().ground.enter()
    }

    /// Hands a unit to the parser and sees that it gave what it should.
    fn feed(&mut self, unit: Unit<'_>) -> Result<(), Error> {
        let admitted = self.checker.admit(unit.data)?;
        if admitted.data.is_empty() {
            return Ok(());
        }
        if self.parser.is_none() {
            self.parser = Some(Parser::new(self.api, self.codec, &self.hook)?);
        }
        let Some(parser) = &self.parser else {
            return Ok(());
        };
        self.hook.chip.borrow_mut().current = Current {
            pts: unit.pts,
            key: admitted.key,
            pictures: 0,
        };
        parser.parse(admitted.data, unit.pts)?;
        let chip = self.hook.chip.borrow();
        if chip.goes_by_decoding() && chip.current.pictures == 0 {
            // The parser took it for no picture.
            return Err(damaged(code::MISSING));
        }
        Ok(())
    }

    /// What the parser knows is not to be relied on: it begins anew, with a key picture.
    fn begin_anew(&mut self) {
        self.parser = None;
        self.checker.lost();
    }

    /// Puts what came out in the order of the screen.
    fn order(&mut self) {
        let depth = self.checker.reorder();
        let mut chip = self.hook.chip.borrow_mut();
        let ready = &mut self.ready;
        for fetched in chip.ready.drain(..) {
            if fetched.key {
                self.reorder.set_depth(depth);
            }
            let picture = Decoded {
                surface: fetched.surface,
                pts: fetched.pts,
                width: fetched.width,
                height: fetched.height,
            };
            // One whose turn is over is dropped.
            let _ = self
                .reorder
                .push(fetched.pts, picture, fetched.key, |_, picture| {
                    ready.push(picture)
                });
        }
    }
}

impl<G: Ground> Decode<G::Surface> for Decoder<G> {
    fn submit(&mut self, unit: Unit<'_>) -> Result<(), Error> {
        self.enter()?;
        let fed = self.feed(unit);
        match fed {
            Ok(()) | Err(Error::AwaitingKey) => {}
            // What was not shown to the parser has not confused it, but the pictures after it lack one.
            Err(_) => self.begin_anew(),
        }
        fed
    }

    fn collect(&mut self, out: &mut Vec<Decoded<G::Surface>>) -> Result<(), Error> {
        let collected = self.enter().map_err(Error::Device).and_then(|()| {
            let mut chip = self.hook.chip.borrow_mut();
            chip.collect()
        });
        self.order();
        out.append(&mut self.ready);
        // A key picture after the damaged one may have put things right already.
        if self.hook.chip.borrow().skipping || matches!(collected, Err(Error::Device(_))) {
            self.begin_anew();
        }
        collected
    }

    fn flush(&mut self, out: &mut Vec<Decoded<G::Surface>>) -> Result<(), Error> {
        let collected = self.collect(out);
        self.reorder.drain(|_, picture| out.push(picture));
        collected
    }

    fn reset(&mut self) {
        self.hook.chip.borrow_mut().forget();
        self.ready.clear();
        self.reorder.restart(drop);
        self.begin_anew();
    }

    /// It goes back to the pool of its backend.
    fn recycle(&mut self, surface: G::Surface) {
        drop(surface);
    }
}

/// The device as a decoder's ground.
struct Device(Shared);

impl Ground for Device {
    type Surface = Surface;
    type Mark = Event;

    fn enter(&self) -> Result<(), Fault> {
        self.0.context.make_current()
    }

    fn check(&self, call: &'static str, status: Status) -> Result<(), Fault> {
        self.0.context.check(call, status)
    }

    fn note(&self, fault: Fault) {
        self.0.context.note(fault);
    }

    fn is_lost(&self) -> bool {
        self.0.context.is_lost()
    }

    fn stream(&self) -> *mut c_void {
        self.0.stream.raw().cast()
    }

    fn copy(&self, from: &Mapped) -> Result<(Surface, Event), Fault> {
        nvdec_copy::copy(&self.0, from)
    }

    fn wait(&self, mark: &Event) -> Result<(), Fault> {
        mark.wait("the copy of a decoded picture", WAIT_MAX)
    }

    fn wait_max(&self) -> Duration {
        WAIT_MAX
    }

    fn count(&self, bytes: u64) {
        add(&self.0.counters.to_device_bytes, bytes);
    }
}

#[cfg(test)]
mod tests;
