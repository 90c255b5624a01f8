//! The driver's parser, and its way back into this library.
//!
//! The parser is C code that calls three functions of ours from within `cuvidParseVideoData`, on the same thread, and hands each
//! the pointer that it was made with. Three rules keep that sound:
//!
//! - **Whose it is.** The pointer is of a [`Hook`] in an `Rc` that the [`Parser`] holds, so it outlives every call of the parser.
//!   It is only ever used shared; what changes is in a `RefCell`, which nobody borrows while the parser runs but the callbacks.
//! - **No unwinding.** A panic must not cross C frames. Each callback catches it and fails; the decoder then reports a fault.
//! - **Errors go around.** A callback can only say 0. What went wrong is left in the hook, and [`Parser::parse`] gives that.
#![allow(unsafe_code, reason = "the library is a C library that calls back")]

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_ulong, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use nvidia_video_codec_sdk::sys::cuviddec::CUVIDPICPARAMS;
use nvidia_video_codec_sdk::sys::nvcuvid::{
    CUVIDEOFORMAT, CUVIDPARSERDISPINFO, CUVIDPARSERPARAMS, CUVIDSOURCEDATAPACKET,
    CUvideopacketflags, CUvideoparser,
};

use super::nvcuvid::{Nvcuvid, codec_type};
use super::nvdec_chip::{Chip, Format, Ground};
use crate::backend::Codec;
use crate::decode::Error;
use crate::fault::Fault;

/// What the callbacks find behind their pointer.
pub(super) struct Hook<G: Ground> {
    pub(super) chip: RefCell<Chip<G>>,
    /// The first error of a callback since it was last taken.
    error: Cell<Option<Error>>,
}

/// A parser of one stream.
pub(super) struct Parser<G: Ground> {
    api: &'static Nvcuvid,
    raw: CUvideoparser,
    hook: Rc<Hook<G>>,
}

/// `CUVIDEOFORMAT` with numbers where it has enums, which a newer driver may fill with what no header here names.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawFormat {
    codec: u32,
    frame_rate: [u32; 2],
    is_progressive: u8,
    depths_less_8: [u8; 2],
    surfaces: u8,
    coded: [u32; 2],
    area: [i32; 4],
    chroma: u32,
    bitrate: u32,
    aspect: [i32; 2],
    /// Three bits of `video_format` and one of `video_full_range_flag`, from the lowest up.
    signal: u8,
    primaries: u8,
    transfer: u8,
    matrix: u8,
    more_bytes: u32,
}

const _: () = {
    assert!(size_of::<RawFormat>() == size_of::<CUVIDEOFORMAT>());
    assert!(align_of::<RawFormat>() == align_of::<CUVIDEOFORMAT>());
    assert!(
        std::mem::offset_of!(RawFormat, surfaces)
            == std::mem::offset_of!(CUVIDEOFORMAT, min_num_decode_surfaces)
    );
    assert!(
        std::mem::offset_of!(RawFormat, area) == std::mem::offset_of!(CUVIDEOFORMAT, display_area)
    );
    assert!(
        std::mem::offset_of!(RawFormat, chroma)
            == std::mem::offset_of!(CUVIDEOFORMAT, chroma_format)
    );
    assert!(
        std::mem::offset_of!(RawFormat, signal)
            == std::mem::offset_of!(CUVIDEOFORMAT, video_signal_description)
    );
};

// === impl Hook ===

impl<G: Ground> Hook<G> {
    pub(super) fn new(chip: Chip<G>) -> Rc<Self> {
        Rc::new(Self {
            chip: RefCell::new(chip),
            error: Cell::new(None),
        })
    }

    /// Runs a callback's work and gives the parser the number that it is waiting for: 0 says that it failed.
    fn run(&self, work: impl FnOnce(&mut Chip<G>) -> Result<u32, Error>) -> c_int {
        let outcome = catch_unwind(AssertUnwindSafe(|| match self.chip.try_borrow_mut() {
            Ok(mut chip) => work(&mut chip),
            // The parser called back outside of a call of it.
            Err(_) => Err(Error::Device(STRAY)),
        }));
        match outcome.unwrap_or(Err(Error::Device(PANIC))) {
            Ok(answer) => c_int::try_from(answer).unwrap_or(c_int::MAX),
            Err(error) => {
                self.error.set(self.error.get().or(Some(error)));
                0
            }
        }
    }
}

const PANIC: Fault = Fault::Failed {
    call: "a callback of the NVDEC parser",
    name: "a panic in this library",
};
const STRAY: Fault = Fault::Failed {
    call: "a callback of the NVDEC parser",
    name: "a call at a time when none is due",
};

// === impl Parser ===

impl<G: Ground> Parser<G> {
    pub(super) fn new(
        api: &'static Nvcuvid,
        codec: Codec,
        hook: &Rc<Hook<G>>,
    ) -> Result<Self, Fault> {
        let hook = Rc::clone(hook);
        let mut how = CUVIDPARSERPARAMS {
            CodecType: codec_type(codec),
            // What the sequence callback gives takes its place.
            ulMaxNumDecodeSurfaces: 1,
            ulMaxDisplayDelay: 0,
            pUserData: Rc::as_ptr(&hook).cast_mut().cast::<c_void>(),
            pfnSequenceCallback: Some(on_sequence::<G>),
            pfnDecodePicture: Some(on_decode::<G>),
            pfnDisplayPicture: Some(on_display::<G>),
            ..CUVIDPARSERPARAMS::default()
        };
        let mut raw: CUvideoparser = std::ptr::null_mut();
        // SAFETY: it reads one structure and writes one handle. The pointer that it keeps is good until the parser is
        // destroyed, as `hook` goes after it.
        let status = unsafe { (api.create_video_parser)(&mut raw, &mut how) };
        hook.chip
            .borrow()
            .ground
            .check("cuvidCreateVideoParser", status)?;
        Ok(Self { api, raw, hook })
    }

    /// Reads one access unit, which calls back for the sequence, the picture and its showing. Nobody borrows the chip meanwhile.
    pub(super) fn parse(&self, data: &[u8], pts: i64) -> Result<(), Error> {
        const FLAGS: u32 = CUvideopacketflags::CUVID_PKT_TIMESTAMP as u32
            | CUvideopacketflags::CUVID_PKT_ENDOFPICTURE as u32;
        let mut packet = CUVIDSOURCEDATAPACKET {
            flags: c_ulong::from(FLAGS),
            payload_size: data.len() as c_ulong,
            payload: data.as_ptr(),
            timestamp: pts,
        };
        self.hook.error.set(None);
        // SAFETY: the parser lives, the packet is one, and its payload is not kept beyond the call. What it calls back is
        // allowed to be called: the hook lives and is not borrowed.
        let status = unsafe { (self.api.parse_video_data)(self.raw, &mut packet) };
        if let Some(error) = self.hook.error.take() {
            return Err(error);
        }
        let chip = self.hook.chip.borrow();
        Ok(chip.ground.check("cuvidParseVideoData", status)?)
    }
}

impl<G: Ground> Drop for Parser<G> {
    fn drop(&mut self) {
        // It is host memory alone, so it goes even when the device is lost.
        // SAFETY: the handle came from cuvidCreateVideoParser and this is its only end. The hook still lives.
        let _ = unsafe { (self.api.destroy_video_parser)(self.raw) };
    }
}

/// # Safety
/// `user` is the hook that the parser was made with, and it lives.
unsafe fn hook<'a, G: Ground>(user: *mut c_void) -> &'a Hook<G> {
    // SAFETY: as the caller promises; it is only ever used shared.
    unsafe { &*user.cast::<Hook<G>>() }
}

unsafe extern "C" fn on_sequence<G: Ground>(
    user: *mut c_void,
    format: *mut CUVIDEOFORMAT,
) -> c_int {
    if user.is_null() || format.is_null() {
        return 0;
    }
    // SAFETY: the parser hands back the pointer that it was made with.
    let hook = unsafe { hook::<G>(user) };
    // SAFETY: the parser's structure is whole for the time of this call; it is copied, by a type of the same layout in which
    // every pattern of bits is a value.
    let raw = unsafe { format.cast::<RawFormat>().read() };
    hook.run(|chip| chip.sequence(&raw.into()))
}

unsafe extern "C" fn on_decode<G: Ground>(
    user: *mut c_void,
    picture: *mut CUVIDPICPARAMS,
) -> c_int {
    if user.is_null() || picture.is_null() {
        return 0;
    }
    // SAFETY: the parser hands back the pointer that it was made with.
    let hook = unsafe { hook::<G>(user) };
    hook.run(|chip| {
        // SAFETY: the picture is the parser's, within its callback.
        unsafe { chip.decode(picture) }.map(|()| 1)
    })
}

unsafe extern "C" fn on_display<G: Ground>(
    user: *mut c_void,
    shown: *mut CUVIDPARSERDISPINFO,
) -> c_int {
    // A null picture is the end of the stream, which nobody announces.
    if user.is_null() || shown.is_null() {
        return 1;
    }
    // SAFETY: the parser hands back the pointer that it was made with.
    let hook = unsafe { hook::<G>(user) };
    // SAFETY: the parser's structure, of numbers alone, is whole for the time of this call; it is copied.
    let shown = unsafe { shown.read() };
    hook.run(|chip| {
        if !chip.goes_by_decoding() {
            chip.show(shown.picture_index, shown.timestamp)?;
        }
        Ok(1)
    })
}

impl From<RawFormat> for Format {
    fn from(raw: RawFormat) -> Self {
        Self {
            chroma: raw.chroma,
            depths: raw.depths_less_8.map(|less| less.saturating_add(8)),
            width: raw.coded[0],
            height: raw.coded[1],
            area: raw.area,
            surfaces: raw.surfaces.into(),
            full_range: raw.signal >> 3 & 1 == 1,
            matrix: raw.matrix,
        }
    }
}
