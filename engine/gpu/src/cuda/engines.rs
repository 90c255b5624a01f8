//! The chip's own codec engines, as far as this build drives them.
//!
//! A step that no engine here does is done by `host`. Each engine is one constant below: what finds its library, what asks a
//! device for its abilities, and what opens one stream on it.

use super::context::Context;
use super::shared::Shared;
use super::surface::Surface;
use super::{nvdec, nvenc};
use crate::backend::{Codec, Unavailable};
use crate::decode::{self, Decode};
use crate::encode::{self, Encode};
use crate::probe::Ability;

/// One engine: `Config` is how a stream is configured, `Stream` what does it.
pub(super) struct Engine<Config, Stream: ?Sized> {
    /// The version of its interface, or why its library cannot be used.
    pub(super) library: fn() -> Result<String, String>,
    /// The codecs that it does on a device; none where the chip has no such engine.
    pub(super) abilities: fn(&Context) -> Vec<Ability>,
    /// Opens one stream.
    pub(super) open: fn(&Shared, Codec, Config) -> Result<Box<Stream>, Unavailable>,
}

pub(super) type DecodeEngine = Engine<decode::Config, dyn Decode<Surface>>;
pub(super) type EncodeEngine = Engine<encode::Config, dyn Encode<Surface>>;

/// The decoding engine.
pub(super) const NVDEC: Option<DecodeEngine> = Some(Engine {
    library: nvdec::library,
    abilities: nvdec::abilities,
    open: nvdec::decoder,
});
/// The encoding engine.
pub(super) const NVENC: Option<EncodeEngine> = Some(Engine {
    library: nvenc::library,
    abilities: nvenc::abilities,
    open: nvenc::encoder,
});

/// The version of an engine's interface, or why it cannot be used.
pub(super) fn library<C, S: ?Sized>(
    name: &str,
    engine: Option<&Engine<C, S>>,
) -> Result<String, String> {
    let engine = engine.ok_or_else(|| format!("this build does not drive {name}"))?;
    (engine.library)()
}

/// What an engine does on a device, which is nothing when it cannot be used.
pub(super) fn abilities<C, S: ?Sized>(
    engine: Option<&Engine<C, S>>,
    context: &Context,
) -> Vec<Ability> {
    engine
        .filter(|engine| (engine.library)().is_ok())
        .map_or_else(Vec::new, |engine| (engine.abilities)(context))
}
