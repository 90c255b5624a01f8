//! The decoder against a pretend driver: a table of C functions that run the callbacks as the real one does, in the same call.
//!
//! The pretend parser reads just enough of a unit to know its pictures; the pretend chip keeps count of what is mapped, and what
//! it says of a picture is set by each test. What this cannot show is that the real driver keeps to its header.
#![allow(unsafe_code, reason = "a pretend C library is one of C functions")]

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
use crate::check::tests::{LIMITS, STREAMS, units};
use crate::cuda::nvcuvid::NOT_SUPPORTED;
use crate::cuda::nvdec_chip::{IN_FLIGHT_MAX, OUTPUTS};
use crate::decode::Feature;
use crate::nal;
use crate::sps::Sps;

const TICKS: i64 = 3000;
const SUCCESS: u32 = 2;
const IN_PROGRESS: u32 = 1;

/// What the pretend driver is to do, and what was done to it.
#[derive(Default)]
struct Fake {
    // To do.
    slots: c_int,
    width: u32,
    surfaces: u8,
    chroma: Option<u32>,
    area_is_outside: bool,
    nv12_mask: u16,
    /// Status of the picture of each number.
    status: std::collections::BTreeMap<usize, u32>,
    has_no_status: bool,
    create_status: u32,
    pictures_a_unit: usize,
    copy_fault: Option<Fault>,
    // Done.
    params: Option<Rc<CUVIDPARSERPARAMS>>,
    format: (u32, u32),
    decoded: usize,
    slot_of: std::collections::BTreeMap<c_int, usize>,
    mapped: Vec<u64>,
    maps: usize,
    mapped_max: usize,
    in_flight_max: usize,
    fetched: Vec<usize>,
    decoders: isize,
    decoders_made: usize,
    parsers: isize,
    parsers_made: usize,
    sizes: Vec<(u64, u64, u64)>,
    lost: Option<Fault>,
    bytes: u64,
    queries: usize,
}

thread_local! {
    static FAKE: RefCell<Fake> = RefCell::default();
    static IN_CALL: Cell<bool> = const { Cell::new(false) };
}

fn fake<T>(look: impl FnOnce(&mut Fake) -> T) -> T {
    FAKE.with(|fake| look(&mut fake.borrow_mut()))
}

fn fresh() {
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

static API: Nvcuvid = Nvcuvid {
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
fn play(params: &CUVIDPARSERPARAMS, data: &[u8], pts: i64) -> bool {
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

fn format((width, height): (u32, u32)) -> CUVIDEOFORMAT {
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
struct Pretend;

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

fn decoder(codec: Codec) -> Decoder<Pretend> {
    let limits = Limits {
        width_max: 640,
        height_max: 640,
        ..LIMITS
    };
    Decoder::new(&API, Pretend, codec, limits)
}

fn order(name: &str) -> Vec<i64> {
    let stem = name.split('.').next().unwrap();
    let path = format!("{}/tests/data/{stem}.order", env!("CARGO_MANIFEST_DIR"));
    match std::fs::read_to_string(path) {
        Ok(order) => order.lines().map(|line| line.parse().unwrap()).collect(),
        Err(_) => (0..).take(units(name).len()).collect(),
    }
}

fn timed(name: &str) -> Vec<(Vec<u8>, i64)> {
    let places = order(name);
    let all = units(name);
    assert_eq!(all.len(), places.len());
    all.into_iter()
        .zip(places.into_iter().map(|place| place * TICKS))
        .collect()
}

fn unit((data, pts): &(Vec<u8>, i64)) -> Unit<'_> {
    Unit { data, pts: *pts }
}

fn pts<S>(out: &[Decoded<S>]) -> Vec<i64> {
    out.iter().map(|picture| picture.pts / TICKS).collect()
}

/// Nothing is left behind.
fn all_given_back() {
    fake(|f| assert_eq!((f.decoders, f.parsers, f.mapped.len()), (0, 0, 0)));
}

#[test]
fn every_picture_comes_out_once_in_order_and_everything_is_given_back() {
    for (name, codec) in STREAMS {
        fresh();
        let all = timed(name);
        let mut decoder = decoder(codec);
        let mut out = Vec::new();
        for timed in &all {
            decoder.decode(unit(timed), &mut out).unwrap();
        }
        let held = all.len() - out.len();
        let depth = if name.contains("b3") || name.contains("open") {
            2
        } else {
            0
        };
        assert_eq!(held, depth, "{name}");
        decoder.flush(&mut out).unwrap();
        let expected: Vec<i64> = (0..all.len() as i64).collect();
        assert_eq!(pts(&out), expected, "{name}");
        let look = out[0].surface.look;
        assert_eq!(
            (look.range, look.matrix),
            (kernels::Range::Full, kernels::Matrix::Bt709)
        );
        assert_eq!(out[0].surface.rows - look.height, 4);
        assert_eq!(
            (out[0].width, out[0].height),
            (look.width as usize, look.height as usize)
        );
        drop(decoder);
        all_given_back();
        fake(|f| {
            assert!(f.mapped_max <= OUTPUTS && f.in_flight_max <= IN_FLIGHT_MAX);
            assert_eq!((f.maps, f.decoders_made, f.parsers_made), (all.len(), 1, 1));
            assert_eq!(f.sizes[0].2, 6, "the stream's five, and one");
            let bytes: usize = all.iter().map(|(data, _)| data.len()).sum();
            assert_eq!(f.bytes, bytes as u64);
        });
    }
}

#[test]
fn damage_is_told_and_the_next_key_picture_puts_it_right() {
    for status in [8, 9, 4_000_000_000] {
        fresh();
        fake(|f| f.status.insert(25, status));
        let all = timed("baseline.h264");
        let mut decoder = decoder(Codec::H264);
        let mut out = Vec::new();
        let errors: Vec<Option<Error>> = all
            .iter()
            .map(|timed| decoder.decode(unit(timed), &mut out).err())
            .collect();
        // A key picture is every twentieth.
        assert_eq!(
            errors[25],
            Some(Error::Damaged {
                code: status as i32
            })
        );
        assert!(
            errors[26..40]
                .iter()
                .all(|&error| error == Some(Error::AwaitingKey))
        );
        assert!(
            errors
                .iter()
                .take(25)
                .chain(&errors[40..])
                .all(Option::is_none)
        );
        assert_eq!(pts(&out), (0..25).chain(40..60).collect::<Vec<_>>());
        drop(decoder);
        all_given_back();
        fake(|f| assert_eq!((f.parsers_made, f.decoders_made), (2, 1)));
    }
}

#[test]
fn what_is_made_from_a_damaged_picture_is_dropped_and_a_key_picture_behind_it_is_not() {
    fresh();
    fake(|f| f.status.insert(18, 8));
    let all = timed("baseline.h264");
    let mut decoder = decoder(Codec::H264);
    let mut out = Vec::new();
    for timed in &all[..18] {
        decoder.decode(unit(timed), &mut out).unwrap();
    }
    // Three in flight: the damaged one, one made from it, and a key picture.
    for timed in &all[18..21] {
        decoder.submit(unit(timed)).unwrap();
    }
    assert_eq!(decoder.collect(&mut out), Err(Error::Damaged { code: 8 }));
    assert_eq!(pts(&out)[17..], [17, 20]);
    // It goes on from there, with the same parser.
    for timed in &all[21..] {
        decoder.decode(unit(timed), &mut out).unwrap();
    }
    assert_eq!(out.len(), 18 + 40);
    fake(|f| assert_eq!(f.parsers_made, 1));
}

#[test]
fn units_may_be_submitted_ahead_and_few_are_in_flight() {
    fresh();
    let all = timed("high-b3.h264");
    let mut decoder = decoder(Codec::H264);
    let mut out = Vec::new();
    for chunk in all.chunks(15) {
        for timed in chunk {
            decoder.submit(unit(timed)).unwrap();
        }
        decoder.collect(&mut out).unwrap();
    }
    decoder.flush(&mut out).unwrap();
    assert_eq!(pts(&out), (0..60).collect::<Vec<_>>());
    fake(|f| assert!(f.in_flight_max <= IN_FLIGHT_MAX, "{}", f.in_flight_max));
}

#[test]
fn a_slot_is_fetched_before_it_is_decoded_into_again() {
    fresh();
    fake(|f| f.slots = 1);
    let all = timed("baseline.h264");
    let mut decoder = decoder(Codec::H264);
    let mut out = Vec::new();
    for timed in &all {
        decoder.submit(unit(timed)).unwrap();
    }
    decoder.collect(&mut out).unwrap();
    assert_eq!(pts(&out), (0..60).collect::<Vec<_>>());
    // Each was fetched as what it was.
    fake(|f| assert_eq!(f.fetched, (0..60).collect::<Vec<_>>()));
}

#[test]
fn another_size_is_another_decoder_object_after_the_old_one_is_emptied() {
    fresh();
    let all = timed("baseline.h264");
    let mut decoder = decoder(Codec::H264);
    let mut out = Vec::new();
    for timed in &all[..19] {
        decoder.decode(unit(timed), &mut out).unwrap();
    }
    decoder.submit(unit(&all[19])).unwrap();
    fake(|f| f.width = 336);
    decoder.submit(unit(&all[20])).unwrap();
    decoder.collect(&mut out).unwrap();
    assert_eq!(pts(&out), (0..21).collect::<Vec<_>>());
    assert_eq!((out[19].width, out[20].width), (320, 336));
    fake(|f| assert_eq!((f.decoders, f.decoders_made), (1, 2)));
    drop(decoder);
    all_given_back();
}

#[test]
fn what_the_driver_says_of_a_sequence_is_checked_again() {
    let first = |set: &dyn Fn(&mut Fake)| {
        fresh();
        fake(set);
        let all = timed("baseline.h264");
        let mut decoder = decoder(Codec::H264);
        let mut out = Vec::new();
        let error = decoder.decode(unit(&all[0]), &mut out).err();
        assert!(out.is_empty());
        drop(decoder);
        all_given_back();
        error
    };
    let unsupported = |feature| Some(Error::Unsupported(feature));
    assert_eq!(
        first(&|f| f.chroma = Some(2)),
        unsupported(Feature::Chroma(2))
    );
    assert_eq!(
        first(&|f| f.chroma = Some(77)),
        unsupported(Feature::Chroma(77))
    );
    assert_eq!(
        first(&|f| f.width = 1920),
        Some(Error::TooLarge {
            width: 1920,
            height: 192
        })
    );
    assert_eq!(first(&|f| f.surfaces = 0), Some(damaged(code::RULE)));
    assert_eq!(first(&|f| f.surfaces = 200), Some(damaged(code::RULE)));
    assert_eq!(
        first(&|f| f.area_is_outside = true),
        Some(damaged(code::RULE))
    );
    assert_eq!(
        first(&|f| f.pictures_a_unit = 0),
        Some(damaged(code::MISSING))
    );
    assert!(matches!(
        first(&|f| f.width = 32),
        Some(Error::Device(Fault::Failed { .. }))
    ));
    let full = Fault::Full {
        call: "cuvidCreateDecoder",
        name: "memory",
    };
    assert_eq!(first(&|f| f.create_status = 2), Some(Error::Device(full)));
}

#[test]
fn a_second_picture_in_a_unit_is_damage() {
    fresh();
    fake(|f| f.pictures_a_unit = 2);
    let all = timed("baseline.h264");
    let mut decoder = decoder(Codec::H264);
    let mut out = Vec::new();
    assert_eq!(
        decoder.decode(unit(&all[0]), &mut out),
        Err(damaged(code::RULE))
    );
    assert_eq!(pts(&out), [0], "the first is whole");
    fake(|f| f.pictures_a_unit = 1);
    assert_eq!(
        decoder.decode(unit(&all[1]), &mut out),
        Err(Error::AwaitingKey)
    );
    assert_eq!(decoder.decode(unit(&all[20]), &mut out), Ok(()));
}

#[test]
fn a_panic_in_a_callback_stays_on_this_side() {
    fresh();
    let all = timed("baseline.h264");
    let mut decoder = decoder(Codec::H264);
    let mut out = Vec::new();
    PANICS.set(true);
    let error = decoder.decode(unit(&all[0]), &mut out);
    PANICS.set(false);
    let expected = Fault::Failed {
        call: "a callback of the NVDEC parser",
        name: "a panic in this library",
    };
    assert_eq!(error, Err(Error::Device(expected)));
    // And it works on.
    assert_eq!(decoder.decode(unit(&all[20]), &mut out), Ok(()));
    assert_eq!(pts(&out), [20]);
    drop(decoder);
    all_given_back();
}

thread_local! {
    static PANICS: Cell<bool> = const { Cell::new(false) };
}

#[test]
fn a_chip_that_hangs_is_stuck_and_nothing_is_given_back_to_it() {
    fresh();
    fake(|f| f.status.insert(1, IN_PROGRESS));
    let all = timed("baseline.h264");
    let mut decoder = decoder(Codec::H264);
    let mut out = Vec::new();
    decoder.decode(unit(&all[0]), &mut out).unwrap();
    let error = decoder.decode(unit(&all[1]), &mut out);
    assert!(
        matches!(
            error,
            Err(Error::Device(Fault::Stuck { call: "NVDEC", .. }))
        ),
        "{error:?}"
    );
    assert!(matches!(
        decoder.decode(unit(&all[2]), &mut out),
        Err(Error::Device(Fault::Stuck { .. }))
    ));
    drop(decoder);
    // The parser is host memory; the decoder object goes with the context.
    fake(|f| assert_eq!((f.parsers, f.decoders, f.mapped.len()), (0, 1, 1)));
}

#[test]
fn a_chip_without_status_is_believed() {
    fresh();
    fake(|f| f.has_no_status = true);
    let all = timed("baseline.h264");
    let mut decoder = decoder(Codec::H264);
    let mut out = Vec::new();
    for timed in &all {
        decoder.decode(unit(timed), &mut out).unwrap();
    }
    assert_eq!(out.len(), 60);
    fake(|f| assert_eq!(f.queries, 1));
    drop(decoder);
    all_given_back();
    // One that knows nothing before the picture is mapped is asked again after.
    fresh();
    fake(|f| f.status.insert(0, 0));
    let mut decoder = super::tests::decoder(Codec::H264);
    decoder.decode(unit(&all[0]), &mut out).unwrap();
    fake(|f| assert_eq!(f.queries, 2));
}

#[test]
fn a_pool_that_is_full_hurts_one_and_leaves_no_map() {
    fresh();
    let full = Fault::Full {
        call: "the pool",
        name: "memory",
    };
    fake(|f| f.copy_fault = Some(full));
    let all = timed("baseline.h264");
    let mut decoder = decoder(Codec::H264);
    let mut out = Vec::new();
    assert_eq!(
        decoder.decode(unit(&all[0]), &mut out),
        Err(Error::Device(full))
    );
    drop(decoder);
    all_given_back();
}

#[test]
fn a_frame_that_is_not_shown_gives_no_picture() {
    fresh();
    fake(|f| f.pictures_a_unit = 2);
    let key = [0x82, 0x49, 0x83, 0x42, 0x20, 0x13, 0xf0, 0x0b, 0x30];
    let mut decoder = decoder(Codec::Vp9);
    let mut out = Vec::new();
    for pts in 0..5 {
        let data = if pts == 0 { &key[..] } else { &[0x86, 0, 0] };
        decoder
            .decode(
                Unit {
                    data,
                    pts: pts * TICKS,
                },
                &mut out,
            )
            .unwrap();
    }
    assert_eq!(pts(&out), [0, 1, 2, 3, 4]);
    fake(|f| assert_eq!((f.decoded, f.maps), (10, 5)));
    drop(decoder);
    all_given_back();
}

#[test]
fn a_reset_forgets_and_a_key_picture_begins() {
    fresh();
    let all = timed("high-b3.h264");
    let mut decoder = decoder(Codec::H264);
    let mut out = Vec::new();
    for timed in &all[..10] {
        decoder.submit(unit(timed)).unwrap();
    }
    decoder.reset();
    decoder.collect(&mut out).unwrap();
    assert!(out.is_empty());
    assert_eq!(
        decoder.decode(unit(&all[10]), &mut out),
        Err(Error::AwaitingKey)
    );
    for timed in &all[20..] {
        decoder.decode(unit(timed), &mut out).unwrap();
    }
    decoder.flush(&mut out).unwrap();
    assert_eq!(pts(&out), (20..60).collect::<Vec<_>>());
}

/// Units that are broken at random: bounded, no panic, and whole again from a key picture on.
#[test]
fn broken_streams_do_no_harm() {
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = move |end: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as usize % end.max(1)
    };
    for (name, codec) in STREAMS {
        let whole = timed(name);
        for seed in 0..40 {
            fresh();
            let mut broken = whole.clone();
            for _ in 0..random(12) {
                let at = random(broken.len());
                let byte = random(broken[at].0.len());
                if seed % 3 == 0 {
                    broken[at].0.truncate(byte);
                } else if !broken[at].0.is_empty() {
                    broken[at].0[byte] ^= 1 << random(8);
                }
            }
            fake(|f| {
                f.status.insert(random(60), 8);
            });
            let mut decoder = decoder(codec);
            let mut out = Vec::new();
            for timed in &broken {
                let _ = decoder.decode(unit(timed), &mut out);
            }
            let _ = decoder.flush(&mut out);
            assert!(out.len() <= broken.len(), "{name} {seed}");
            out.clear();
            fake(|f| f.status.clear());
            for timed in &whole {
                decoder
                    .decode(unit(timed), &mut out)
                    .unwrap_or_else(|error| panic!("{name} {seed}: {error}"));
            }
            decoder.flush(&mut out).unwrap();
            assert_eq!(out.len(), whole.len(), "{name} {seed}");
            drop(decoder);
            all_given_back();
        }
    }
}

#[test]
fn abilities_and_limits_of_a_chip() {
    fresh();
    let caps = DEPTHS.map(|bits| API.caps(Codec::H265, bits).ok());
    let deep = ability(Codec::H265, caps).unwrap();
    assert_eq!(
        (deep.width_max, deep.height_max, deep.bits_max),
        (4096, 4096, 10)
    );
    // Ten bits that do not come out as NV12 do not count.
    fake(|f| f.nv12_mask = 2);
    let caps = DEPTHS.map(|bits| API.caps(Codec::H265, bits).ok());
    assert_eq!(ability(Codec::H265, caps).unwrap().bits_max, 8);
    assert_eq!(ability(Codec::Av1, [None, caps[0]]), None);
    let limits = limits(
        Config {
            width_max: 8000,
            height_max: 1080,
            unit_bytes_max: 5,
        },
        deep,
    );
    assert_eq!(
        (limits.width_max, limits.height_max, limits.unit_bytes_max),
        (4096, 1080, 5)
    );
}
