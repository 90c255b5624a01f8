//! The few calls of openh264 that its safe wrapper does not offer: this crate's only unsafe code.
//!
//! Why it is needed: the wrapper's `decode` hides the timestamp that the library carries from input to output, and
//! can overwrite one picture with the next when a buffer holds two; its encoder prints a warning to standard error
//! before the wrapper has had a chance to turn printing off.
#![expect(unsafe_code, reason = "the safe wrapper lacks these calls, see above")]

use std::ptr::{null, null_mut};
use std::slice;

use openh264::decoder::{Decoder, DecoderConfig, DecoderRawAPI, Flush};
use openh264::encoder::{Encoder, EncoderConfig};
use openh264::{Error, OpenH264API};

/// The wrapper's release and the library inside it; the library's own version call is not exported. A test compares
/// the first with the lock file.
pub(super) const VERSION: &str = "openh264 2.7.0 (crate 0.9.9)";

/// One decoded picture, as long as the library leaves it alone: until the next call.
pub(super) struct Picture<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Bytes and stride of luma, blue difference, red difference.
    pub(super) planes: [(&'a [u8], usize); 3],
    /// What was given to [`feed`] with the bytes that the picture was in.
    pub(super) tag: u64,
}

/// A decoder that prints nothing, conceals no errors and runs on the calling thread.
pub(super) fn decoder() -> Result<Decoder, Error> {
    let config = DecoderConfig::new()
        .debug(false)
        .flush_after_decode(Flush::NoFlush);
    Decoder::with_api_config(OpenH264API::from_source(), config)
}

/// An encoder that prints nothing.
pub(super) fn encoder(config: EncoderConfig) -> Result<Encoder, Error> {
    // From `codec_app_def.h`.
    const ENCODER_OPTION_TRACE_LEVEL: i32 = 25;
    const LOG_QUIET: i32 = 0;
    let mut encoder = Encoder::with_api_config(OpenH264API::from_source(), config.debug(false))?;
    let mut level = LOG_QUIET;
    // SAFETY: the raw interface is used for this one option, which changes nothing that the wrapper relies on.
    let raw = unsafe { encoder.raw_api() };
    // SAFETY: the option may be set before initialisation; its value is read as an `int` during the call, and
    // `level` is one that lives through it.
    let code = unsafe { raw.set_option(ENCODER_OPTION_TRACE_LEVEL, (&raw mut level).cast()) };
    debug_assert_eq!(code, 0, "the option exists");
    Ok(encoder)
}

/// Feeds NAL units with their start codes; `None` says that the access unit is complete. `tag` comes back in the
/// picture. Calls `show` with the picture if there is one, and returns the library's code: 0 is success.
pub(super) fn feed(
    decoder: &mut Decoder,
    data: Option<&[u8]>,
    tag: u64,
    show: impl FnOnce(Picture<'_>),
) -> i32 {
    const READY: i32 = 1;
    let (data, len) = match data.map(|data| (data.as_ptr(), i32::try_from(data.len()))) {
        Some((data, Ok(len))) => (data, len),
        Some((_, Err(_))) => return i32::MAX,
        None => (null(), 0),
    };
    let mut planes = [null_mut::<u8>(); 3];
    let mut info = info_of(DecoderRawAPI::decode_frame2);
    info.uiInBsTimeStamp = tag;
    // SAFETY: the raw interface is used to decode only, which is what the wrapper does with it.
    let raw = unsafe { decoder.raw_api() };
    // SAFETY: `data` is `len` readable bytes, or null and 0, and is only read during the call; `planes` has room
    // for the three pointers that the library writes, and `info` is the structure that it reads and writes.
    let code = unsafe { raw.decode_frame2(data, len, planes.as_mut_ptr(), &raw mut info) };
    if info.iBufferStatus != READY || planes.iter().any(|plane| plane.is_null()) {
        return code;
    }
    // SAFETY: the union has one field, plain numbers, that the library fills in when a picture is ready.
    let layout = unsafe { info.UsrData.sSystemBuffer };
    let size = |side: i32| usize::try_from(side).unwrap_or(0);
    let (width, height) = (size(layout.iWidth), size(layout.iHeight));
    let [luma, chroma] = layout.iStride.map(size);
    if width < 2 || height < 2 || luma < width || chroma < width / 2 {
        return code;
    }
    let view = |plane: *mut u8, stride: usize, width: usize, height: usize| {
        // SAFETY: the library has written `height` rows of `width` samples, `stride` bytes apart, from `plane` on,
        // and leaves them alone until its next call; the view ends with the last sample and lives until `show`
        // returns, while `decoder` stays borrowed.
        let bytes = unsafe { slice::from_raw_parts(plane, stride * (height - 1) + width) };
        (bytes, stride)
    };
    show(Picture {
        width,
        height,
        planes: [
            view(planes[0], luma, width, height),
            view(planes[1], chroma, width / 2, height / 2),
            view(planes[2], chroma, width / 2, height / 2),
        ],
        tag: info.uiOutYuvTimeStamp,
    });
    code
}

/// The all-zero structure that a decoding call takes. The wrapper uses the type but does not export its name, so it
/// is had from the call's signature.
fn info_of<T: Default>(
    _call: unsafe fn(&DecoderRawAPI, *const u8, i32, *mut *mut u8, *mut T) -> i32,
) -> T {
    T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_lock_file() {
        let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock");
        let lock = std::fs::read_to_string(lock).unwrap();
        let (_, after) = lock
            .split_once("name = \"openh264\"\nversion = \"")
            .unwrap();
        let (version, _) = after.split_once('"').unwrap();
        assert!(
            VERSION.ends_with(&format!("(crate {version})")),
            "{version}"
        );
    }
}
