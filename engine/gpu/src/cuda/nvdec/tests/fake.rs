//! The pretend driver: a parser that reads just enough of a unit to know its pictures, and a chip that keeps count of what is
//! mapped. What it says of a picture is set by each test.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_uint, c_ulonglong};

use nvidia_video_codec_sdk::sys::cuviddec::{
    CUVIDDECODECAPS, CUVIDDECODECREATEINFO, CUVIDGETDECODESTATUS, CUVIDPICPARAMS, CUVIDPROCPARAMS,
    CUvideodecoder, cudaVideoSurfaceFormat,
};
use nvidia_video_codec_sdk::sys::nvcuvid::{
    CUVIDEOFORMAT, CUVIDPARSERDISPINFO, CUVIDPARSERPARAMS, CUVIDSOURCEDATAPACKET, CUvideoparser,
};

use super::*;
use crate::cuda::nvcuvid::NOT_SUPPORTED;
use crate::nal;
use crate::sps::Sps;

/// What the pretend driver is to do, and what was done to it.
#[derive(Default)]
pub(super) struct Fake {
    // To do.
    pub(super) slots: c_int,
    pub(super) width: u32,
    pub(super) surfaces: u8,
    pub(super) chroma: Option<u32>,
    pub(super) area_is_outside: bool,
    pub(super) nv12_mask: u16,
    /// Status of the picture of each number.
    pub(super) status: std::collections::BTreeMap<usize, u32>,
    pub(super) has_no_status: bool,
    pub(super) create_status: u32,
    pub(super) pictures_a_unit: usize,
    pub(super) copy_fault: Option<Fault>,
    // Done.
    pub(super) params: Option<Rc<CUVIDPARSERPARAMS>>,
    pub(super) format: (u32, u32),
    pub(super) decoded: usize,
    pub(super) slot_of: std::collections::BTreeMap<c_int, usize>,
    pub(super) mapped: Vec<u64>,
    pub(super) maps: usize,
    pub(super) mapped_max: usize,
    pub(super) in_flight_max: usize,
    pub(super) fetched: Vec<usize>,
    pub(super) decoders: isize,
    pub(super) decoders_made: usize,
    pub(super) parsers: isize,
    pub(super) parsers_made: usize,
    pub(super) sizes: Vec<(u64, u64, u64)>,
    pub(super) lost: Option<Fault>,
    pub(super) bytes: u64,
    pub(super) queries: usize,
}

thread_local! {
    pub(super) static FAKE: RefCell<Fake> = RefCell::default();
    static IN_CALL: Cell<bool> = const { Cell::new(false) };
}

pub(super) fn fake<T>(look: impl FnOnce(&mut Fake) -> T) -> T {
    FAKE.with(|fake| look(&mut fake.borrow_mut()))
}

pub(super) fn fresh() {
    fake(|fake| {
        *fake = Fake {
            slots: 6,
            surfaces: 5,
            nv12_mask: 1,
            pictures_a_unit: 1,
            ..Fake::default()
        }
    });
}

pub(super) static API: Nvcuvid = Nvcuvid {
    get_decoder_caps,
    create_decoder,
    destroy_decoder,
    decode_picture,
    get_decode_status,
    map_video_frame,
    unmap_video_frame,
    create_video_parser,
    parse_video_data,
    destroy_video_parser,
};

unsafe extern "C" fn get_decoder_caps(caps: *mut CUVIDDECODECAPS) -> Status {
    // SAFETY: the decoder under test hands a whole structure.
    let caps = unsafe { &mut *caps };
    caps.bIsSupported = 1;
    caps.nOutputFormatMask = if caps.nBitDepthMinus8 == 0 {
        1
    } else {
        fake(|f| f.nv12_mask)
    };
    (caps.nMinWidth, caps.nMinHeight) = (48, 16);
    (caps.nMaxWidth, caps.nMaxHeight, caps.nMaxMBCount) = (4096, 4096, 65_536);
    0
}

unsafe extern "C" fn create_decoder(
    to: *mut CUvideodecoder,
    how: *mut CUVIDDECODECREATEINFO,
) -> Status {
    // SAFETY: as above.
    let how = unsafe { &*how };
    assert_eq!(
        how.OutputFormat,
        cudaVideoSurfaceFormat::cudaVideoSurfaceFormat_NV12
    );
    assert_eq!((how.ulTargetWidth % 2, how.ulTargetHeight % 2), (0, 0));
    assert_eq!(how.ulNumOutputSurfaces, OUTPUTS as u64);
    let status = fake(|f| {
        if f.create_status != 0 {
            return f.create_status;
        }
        f.decoders += 1;
        f.decoders_made += 1;
        f.slots = f.slots.min(how.ulNumDecodeSurfaces as c_int);
        f.sizes
            .push((how.ulWidth, how.ulHeight, how.ulNumDecodeSurfaces));
        0
    });
    // SAFETY: as above. Any value is a handle.
    unsafe { to.write(std::ptr::without_provenance_mut(16)) };
    status
}

unsafe extern "C" fn destroy_decoder(_: CUvideodecoder) -> Status {
    fake(|f| {
        assert!(
            f.mapped.is_empty(),
            "every map is unmapped before its decoder goes"
        );
        f.decoders -= 1;
    });
    0
}

unsafe extern "C" fn decode_picture(_: CUvideodecoder, picture: *mut CUVIDPICPARAMS) -> Status {
    // SAFETY: the pretend parser hands a whole structure.
    let index = unsafe { (*picture).CurrPicIdx };
    fake(|f| {
        f.slot_of.insert(index, f.decoded);
        f.decoded += 1;
        let out = f.fetched.len();
        f.in_flight_max = f.in_flight_max.max(f.decoded - out);
    });
    0
}

unsafe extern "C" fn get_decode_status(
    _: CUvideodecoder,
    index: c_int,
    to: *mut CUVIDGETDECODESTATUS,
) -> Status {
    let status = fake(|f| {
        f.queries += 1;
        if f.has_no_status {
            return Err(NOT_SUPPORTED);
        }
        let number = f.slot_of[&index];
        Ok(f.status.get(&number).copied().unwrap_or(SUCCESS))
    });
    match status {
        Ok(status) => {
            // SAFETY: the decoder under test hands a whole structure, whose enum comes first.
            unsafe { to.cast::<u32>().write(status) };
            0
        }
        Err(status) => status,
    }
}

unsafe extern "C" fn map_video_frame(
    _: CUvideodecoder,
    index: c_int,
    address: *mut c_ulonglong,
    pitch: *mut c_uint,
    how: *mut CUVIDPROCPARAMS,
) -> Status {
    // SAFETY: as above.
    let how = unsafe { &*how };
    assert_eq!(how.progressive_frame, 1);
    assert!(!how.output_stream.is_null());
    let at = fake(|f| {
        f.maps += 1;
        let at = (f.maps as u64) << 24;
        f.mapped.push(at);
        f.mapped_max = f.mapped_max.max(f.mapped.len());
        f.fetched.push(f.slot_of[&index]);
        at
    });
    // SAFETY: as above.
    unsafe { address.write(at) };
    // SAFETY: as above.
    unsafe { pitch.write(512) };
    0
}

unsafe extern "C" fn unmap_video_frame(_: CUvideodecoder, address: c_ulonglong) -> Status {
    fake(|f| {
        let at = f.mapped.iter().position(|&mapped| mapped == address);
        f.mapped.remove(at.expect("what is unmapped was mapped"));
    });
    0
}

unsafe extern "C" fn create_video_parser(
    to: *mut CUvideoparser,
    how: *mut CUVIDPARSERPARAMS,
) -> Status {
    // SAFETY: as above.
    let how = unsafe { how.read() };
    assert_eq!((how.ulMaxDisplayDelay, how.ulMaxNumDecodeSurfaces), (0, 1));
    fake(|f| {
        f.params = Some(Rc::new(how));
        // A parser that is new has seen no sequence.
        f.format = (0, 0);
        f.parsers += 1;
        f.parsers_made += 1;
    });
    // SAFETY: as above.
    unsafe { to.write(std::ptr::without_provenance_mut(32)) };
    0
}

unsafe extern "C" fn destroy_video_parser(_: CUvideoparser) -> Status {
    assert!(!IN_CALL.get(), "no parser is destroyed within its own call");
    fake(|f| f.parsers -= 1);
    0
}

unsafe extern "C" fn parse_video_data(
    _: CUvideoparser,
    packet: *mut CUVIDSOURCEDATAPACKET,
) -> Status {
    // SAFETY: as above.
    let packet = unsafe { *packet };
    assert_eq!(packet.flags, 2 | 8);
    // SAFETY: the decoder under test hands a payload of this length.
    let data = unsafe { std::slice::from_raw_parts(packet.payload, packet.payload_size as usize) };
    let params = fake(|f| f.params.clone()).expect("a parser was made");
    IN_CALL.set(true);
    let fine = play(&params, data, packet.timestamp);
    IN_CALL.set(false);
    if fine { 0 } else { 1 }
}

/// Calls back for one unit.
pub(super) fn play(params: &CUVIDPARSERPARAMS, data: &[u8], pts: i64) -> bool {
    let user = params.pUserData;
    let is_hevc = params.CodecType as u32 == 8;
    let is_vp9 = params.CodecType as u32 == 10;
    let sps = nal::units(data)
        .filter(|nal| nal::kind(nal) == nal::SPS)
        .find_map(Sps::parse);
    let size = match sps {
        _ if is_hevc || is_vp9 => (320, 184),
        Some(sps) => (sps.coded_width as u32, sps.coded_height as u32),
        None => fake(|f| f.format),
    };
    let (width, known) = fake(|f| (f.width, f.format));
    let size = (if width == 0 { size.0 } else { width }, size.1);
    assert_ne!(size, (0, 0), "a parser is shown a sequence before pictures");
    if size != known {
        let mut format = format(size);
        let on_sequence = params.pfnSequenceCallback.unwrap();
        // SAFETY: as the real parser calls it.
        let slots = unsafe { on_sequence(user, &mut format) };
        if slots == 0 {
            return false;
        }
        fake(|f| f.format = size);
    }
    for n in 0..fake(|f| f.pictures_a_unit) {
        let index = fake(|f| (f.decoded as c_int) % f.slots.max(1));
        let mut picture = CUVIDPICPARAMS {
            CurrPicIdx: index,
            nBitstreamDataLen: data.len() as u32,
            ..CUVIDPICPARAMS::default()
        };
        let on_decode = params.pfnDecodePicture.unwrap();
        // SAFETY: as the real parser calls it.
        if unsafe { on_decode(user, &mut picture) } == 0 {
            return false;
        }
        // The first of two frames of a unit of VP9 is not shown.
        if is_vp9 && n + 1 < fake(|f| f.pictures_a_unit) {
            continue;
        }
        let mut shown = CUVIDPARSERDISPINFO {
            picture_index: index,
            timestamp: pts,
            ..CUVIDPARSERDISPINFO::default()
        };
        let on_display = params.pfnDisplayPicture.unwrap();
        // SAFETY: as the real parser calls it.
        if unsafe { on_display(user, &mut shown) } == 0 {
            return false;
        }
    }
    true
}

pub(super) fn format((width, height): (u32, u32)) -> CUVIDEOFORMAT {
    let mut format = CUVIDEOFORMAT {
        coded_width: width,
        coded_height: height,
        ..CUVIDEOFORMAT::default()
    };
    let (surfaces, chroma, outside) = fake(|f| (f.surfaces, f.chroma, f.area_is_outside));
    format.min_num_decode_surfaces = surfaces;
    // SAFETY: a number that the enum lacks is written as the real driver might; nobody reads it as the enum.
    unsafe {
        (&raw mut format.chroma_format)
            .cast::<u32>()
            .write(chroma.unwrap_or(1))
    };
    format.display_area.right = width as i32;
    format.display_area.bottom = if outside {
        height as i32 + 1
    } else {
        height as i32 - 4
    };
    format.video_signal_description.set_video_full_range_flag(1);
    format.video_signal_description.matrix_coefficients = 1;
    format
}

/// The ground of the pretend chip. A surface is what was copied.
pub(super) struct Pretend;

impl Ground for Pretend {
    type Surface = Mapped;
    type Mark = u64;

    fn enter(&self) -> Result<(), Fault> {
        fake(|f| f.lost.map_or(Ok(()), Err))
    }

    fn check(&self, call: &'static str, status: Status) -> Result<(), Fault> {
        let fault = match status {
            0 => return Ok(()),
            2 => Fault::Full {
                call,
                name: "memory",
            },
            700 => Fault::Lost {
                call,
                name: "address",
            },
            _ => Fault::Failed {
                call,
                name: "other",
            },
        };
        self.note(fault);
        Err(fault)
    }

    fn note(&self, fault: Fault) {
        if fault.is_lost() {
            fake(|f| f.lost = Some(fault));
        }
    }

    fn is_lost(&self) -> bool {
        fake(|f| f.lost.is_some())
    }

    fn stream(&self) -> *mut c_void {
        std::ptr::without_provenance_mut(64)
    }

    fn copy(&self, from: &Mapped) -> Result<(Mapped, u64), Fault> {
        fake(|f| f.copy_fault.take()).map_or(Ok((*from, from.address)), Err)
    }

    fn wait(&self, mark: &u64) -> Result<(), Fault> {
        fake(|f| assert!(f.mapped.contains(mark), "the copy's source is still mapped"));
        Ok(())
    }

    fn wait_max(&self) -> Duration {
        Duration::from_millis(3)
    }

    fn count(&self, bytes: u64) {
        assert!(!PANICS.get(), "a panic that the test asked for");
        fake(|f| f.bytes += bytes);
    }
}

thread_local! {
    pub(super) static PANICS: Cell<bool> = const { Cell::new(false) };
}
