//! The encoder against a pretend library: a table of C functions that keep count of what they are handed and give back.
#![allow(unsafe_code, reason = "a pretend C library is one of C functions")]

use std::cell::RefCell;
use std::ffi::{c_char, c_int};

use kernels::{Matrix, Range};
use nvidia_video_codec_sdk::sys::nvEncodeAPI as sys;

use super::*;
use crate::cuda::nvenc_api::Code;
use crate::cuda::nvenc_session::SLOTS;

/// What the pretend library is to do, and what was done to it.
#[derive(Default)]
struct Fake {
    // To do.
    open_status: Code,
    start_status: Code,
    output_status: Code,
    codecs: Vec<sys::GUID>,
    /// Locks of each picture that find it busy.
    busy_locks: usize,
    encode_status: std::collections::BTreeMap<usize, Code>,
    lock_status: std::collections::BTreeMap<usize, Code>,
    empty: Option<usize>,
    lost_behind: bool,
    // Done.
    sessions: isize,
    sessions_made: usize,
    registered: isize,
    outputs: Vec<(usize, bool)>,
    outputs_made: usize,
    mapped: isize,
    /// Flags of each picture.
    encoded: Vec<u32>,
    /// Which picture is in an output, and how often it was locked without waiting.
    content: std::collections::BTreeMap<usize, (usize, usize)>,
    bytes: Vec<u8>,
    ended: usize,
    copies: usize,
    shapes: Vec<(u32, u32)>,
    streams_at: usize,
    counted: u64,
    lost: Option<Fault>,
}

thread_local! {
    static FAKE: RefCell<Fake> = RefCell::default();
}

fn fake<T>(look: impl FnOnce(&mut Fake) -> T) -> T {
    FAKE.with(|fake| look(&mut fake.borrow_mut()))
}

fn fresh() {
    fake(|fake| {
        *fake = Fake {
            codecs: vec![sys::NV_ENC_CODEC_H264_GUID, sys::NV_ENC_CODEC_HEVC_GUID],
            ..Fake::default()
        }
    });
}

static API: Nvenc = Nvenc {
    version: 0xc2,
    open_session,
    guid_count,
    guids,
    caps,
    preset,
    initialize,
    set_streams,
    create_output,
    destroy_output,
    register,
    unregister,
    map_input,
    unmap_input,
    encode_picture,
    lock_output,
    unlock_output,
    destroy_encoder,
    last_error,
};

// In each function below, SAFETY: the encoder under test hands structures and places that are whole.

unsafe extern "C" fn open_session(
    how: *mut sys::NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS,
    to: *mut *mut c_void,
) -> Code {
    // SAFETY: see above.
    let how = unsafe { &*how };
    assert_eq!((how.version, how.apiVersion), (0x7101_000c, 0x0100_000c));
    assert_eq!(how.deviceType as u32, 1);
    let status = fake(|f| {
        f.sessions += 1;
        f.sessions_made += 1;
        f.open_status
    });
    // A handle is given even when opening fails, and has to be given back.
    // SAFETY: see above.
    unsafe { to.write(std::ptr::without_provenance_mut(8)) };
    status
}

unsafe extern "C" fn guid_count(_: *mut c_void, to: *mut u32) -> Code {
    // SAFETY: see above.
    unsafe { to.write(fake(|f| f.codecs.len() as u32)) };
    0
}

unsafe extern "C" fn guids(_: *mut c_void, to: *mut sys::GUID, room: u32, given: *mut u32) -> Code {
    let codecs = fake(|f| f.codecs.clone());
    assert!(room as usize >= codecs.len());
    for (i, codec) in codecs.iter().enumerate() {
        // SAFETY: see above; there is room, as was just asserted.
        unsafe { to.wrapping_add(i).write(*codec) };
    }
    // SAFETY: see above.
    unsafe { given.write(codecs.len() as u32) };
    0
}

unsafe extern "C" fn caps(
    _: *mut c_void,
    _: sys::GUID,
    how: *mut sys::NV_ENC_CAPS_PARAM,
    to: *mut c_int,
) -> Code {
    use sys::NV_ENC_CAPS as Caps;
    // SAFETY: see above.
    let which = unsafe { (*how).capsToQuery };
    let value = match which {
        Caps::NV_ENC_CAPS_WIDTH_MIN => 145,
        Caps::NV_ENC_CAPS_HEIGHT_MIN => 49,
        _ => 4096,
    };
    // SAFETY: see above.
    unsafe { to.write(value) };
    0
}

unsafe extern "C" fn preset(
    _: *mut c_void,
    _: sys::GUID,
    preset: sys::GUID,
    tuning: sys::NV_ENC_TUNING_INFO,
    to: *mut sys::NV_ENC_PRESET_CONFIG,
) -> Code {
    assert_eq!((preset.Data1, tuning as u32), (0x3685_0110, 3));
    // SAFETY: see above.
    assert_eq!(unsafe { (*to).version }, 0xf104_000c);
    // SAFETY: see above.
    assert_eq!(unsafe { (*to).presetCfg.version }, 0xf108_000c);
    0
}

unsafe extern "C" fn initialize(_: *mut c_void, how: *mut sys::NV_ENC_INITIALIZE_PARAMS) -> Code {
    // SAFETY: see above.
    let how = unsafe { &*how };
    assert!(!how.encodeConfig.is_null());
    fake(|f| {
        f.shapes.push((how.encodeWidth, how.encodeHeight));
        f.start_status
    })
}

unsafe extern "C" fn set_streams(_: *mut c_void, input: *mut c_void, output: *mut c_void) -> Code {
    assert_eq!(input, output);
    // The place holds the stream's handle, and is not the handle.
    // SAFETY: see above.
    let handle = unsafe { input.cast::<*mut c_void>().read() };
    assert_eq!(handle.addr(), 64);
    fake(|f| f.streams_at = input.addr());
    0
}

unsafe extern "C" fn create_output(
    _: *mut c_void,
    how: *mut sys::NV_ENC_CREATE_BITSTREAM_BUFFER,
) -> Code {
    let (status, at) = fake(|f| {
        f.outputs_made += 1;
        let at = f.outputs_made << 8;
        if f.output_status == 0 {
            f.outputs.push((at, false));
        }
        (f.output_status, at)
    });
    // SAFETY: see above.
    unsafe { (*how).bitstreamBuffer = std::ptr::without_provenance_mut(at) };
    status
}

unsafe extern "C" fn destroy_output(_: *mut c_void, output: *mut c_void) -> Code {
    fake(|f| {
        let at = f
            .outputs
            .iter()
            .position(|&(at, locked)| at == output.addr() && !locked);
        f.outputs
            .remove(at.expect("an output that exists and is not locked"));
    });
    0
}

unsafe extern "C" fn register(_: *mut c_void, how: *mut sys::NV_ENC_REGISTER_RESOURCE) -> Code {
    // SAFETY: see above.
    let how = unsafe { &mut *how };
    assert_eq!(
        (
            how.resourceType as u32,
            how.bufferFormat as u32,
            how.bufferUsage as u32
        ),
        (1, 1, 0)
    );
    assert_eq!((how.width % 2, how.height % 2, how.pitch % 4), (0, 0, 0));
    how.registeredResource = std::ptr::without_provenance_mut(how.resourceToRegister.addr() + 1);
    fake(|f| f.registered += 1);
    0
}

unsafe extern "C" fn unregister(_: *mut c_void, _: *mut c_void) -> Code {
    fake(|f| f.registered -= 1);
    0
}

unsafe extern "C" fn map_input(_: *mut c_void, how: *mut sys::NV_ENC_MAP_INPUT_RESOURCE) -> Code {
    // SAFETY: see above.
    let registered = unsafe { (*how).registeredResource };
    // SAFETY: see above.
    unsafe { (*how).mappedResource = registered };
    fake(|f| {
        f.mapped += 1;
        assert!(f.mapped <= SLOTS as isize);
    });
    0
}

unsafe extern "C" fn unmap_input(_: *mut c_void, _: *mut c_void) -> Code {
    fake(|f| f.mapped -= 1);
    0
}

unsafe extern "C" fn encode_picture(_: *mut c_void, how: *mut sys::NV_ENC_PIC_PARAMS) -> Code {
    // SAFETY: see above.
    let how = unsafe { &*how };
    assert_eq!((how.version, how.pictureStruct as u32), (0xf106_000c, 1));
    fake(|f| {
        if how.encodePicFlags == 8 {
            assert!(how.inputBuffer.is_null() && how.outputBitstream.is_null());
            f.ended += 1;
            return 0;
        }
        let number = f.encoded.len();
        if let Some(status) = f.encode_status.remove(&number) {
            return status;
        }
        let output = how.outputBitstream.addr();
        assert!(
            f.outputs.contains(&(output, false)),
            "neither locked nor gone"
        );
        assert!(
            f.content.insert(output, (number, 0)).is_none(),
            "nothing in it that was not read"
        );
        f.encoded.push(how.encodePicFlags);
        0
    })
}

unsafe extern "C" fn lock_output(_: *mut c_void, how: *mut sys::NV_ENC_LOCK_BITSTREAM) -> Code {
    // SAFETY: see above.
    let output = unsafe { (*how).outputBitstream }.addr();
    // SAFETY: see above.
    let do_not_wait = unsafe { (*how)._bitfield_1 }.get(0, 1) == 1;
    let found = fake(|f| {
        let (number, locks) = f
            .content
            .get_mut(&output)
            .expect("a picture was encoded into it");
        let number = *number;
        if do_not_wait {
            *locks += 1;
            if *locks <= f.busy_locks {
                return Err(13);
            }
        } else {
            // It waits inside the driver unless a lock that does not wait was given before.
            assert!(*locks > f.busy_locks, "this would wait without a deadline");
        }
        if let Some(&status) = f.lock_status.get(&number) {
            return Err(status);
        }
        let lock = f
            .outputs
            .iter_mut()
            .find(|(at, _)| *at == output)
            .expect("an output");
        assert!(!lock.1, "locked twice");
        lock.1 = true;
        if !do_not_wait {
            f.content.remove(&output);
        }
        let key = f.encoded[number] & 2 != 0;
        f.bytes = vec![0, 0, 0, 1, if key { 0x65 } else { 0x41 }, number as u8];
        let len = if f.empty == Some(number) {
            0
        } else {
            f.bytes.len()
        };
        Ok((
            f.bytes.as_mut_ptr(),
            len as u32,
            if key { 3_u32 } else { 0 },
        ))
    });
    match found {
        Err(status) => status,
        Ok((base, len, kind)) => {
            // SAFETY: see above.
            unsafe { (*how).bitstreamBufferPtr = base.cast() };
            // SAFETY: see above.
            unsafe { (*how).bitstreamSizeInBytes = len };
            // SAFETY: see above.
            let place = unsafe { &raw mut (*how).pictureType };
            // SAFETY: see above.
            unsafe { place.cast::<u32>().write(kind) };
            0
        }
    }
}

unsafe extern "C" fn unlock_output(_: *mut c_void, output: *mut c_void) -> Code {
    fake(|f| {
        let lock = f
            .outputs
            .iter_mut()
            .find(|(at, locked)| *at == output.addr() && *locked);
        lock.expect("a locked output").1 = false;
    });
    0
}

unsafe extern "C" fn destroy_encoder(_: *mut c_void) -> Code {
    fake(|f| f.sessions -= 1);
    0
}

unsafe extern "C" fn last_error(_: *mut c_void) -> *const c_char {
    c"what the library adds".as_ptr()
}

/// Width, height, range and matrix.
type Picture = (usize, usize, Range, Matrix);

#[derive(Clone)]
struct Pretend;

impl Ground for Pretend {
    type Surface = Picture;
    type Input = u64;

    fn enter(&self) -> Result<(), Fault> {
        fake(|f| f.lost.map_or(Ok(()), Err))
    }

    fn device(&self) -> *mut c_void {
        std::ptr::without_provenance_mut(24)
    }

    fn stream(&self) -> *mut c_void {
        std::ptr::without_provenance_mut(64)
    }

    fn told(&self, fault: Fault) -> Fault {
        fake(|f| {
            let behind = Fault::Lost {
                call: "cuMemGetInfo",
                name: "address",
            };
            let fault = if f.lost_behind { behind } else { fault };
            if fault.is_lost() {
                f.lost = Some(fault);
            }
            fault
        })
    }

    fn is_lost(&self) -> bool {
        fake(|f| f.lost.is_some())
    }

    fn wait_max(&self) -> Duration {
        Duration::from_millis(20)
    }

    fn shape(&self, &(width, height, range, matrix): &Picture) -> Option<Shape> {
        (width > 0).then_some(Shape {
            width: width & !1,
            height: height & !1,
            range,
            matrix,
        })
    }

    fn input(&self, _: Shape) -> Result<u64, Fault> {
        Ok(4096)
    }

    fn place(&self, input: &u64) -> (u64, u32) {
        (*input, 512)
    }

    fn copy(&self, _: &Picture, _: &u64, _: Shape) -> Result<(), Fault> {
        fake(|f| f.copies += 1);
        Ok(())
    }

    fn count(&self, bytes: u64) {
        fake(|f| f.counted += bytes);
    }
}

const HD: Picture = (1280, 720, Range::Limited, Matrix::Bt709);

fn encoder(config: Config) -> Encoder<Pretend> {
    Encoder::new(&API, Pretend, Codec::H264, config).unwrap()
}

fn all_given_back() {
    fake(|f| {
        assert_eq!(
            (f.sessions, f.registered, f.mapped, f.outputs.len()),
            (0, 0, 0, 0)
        );
    });
}

#[test]
fn one_picture_in_is_one_unit_out_and_keys_are_where_they_should_be() {
    fresh();
    let mut encoder = encoder(Config {
        key_interval: 5,
        ..Config::default()
    });
    let mut keys = Vec::new();
    let mut out = Vec::new();
    for i in 0..14_i64 {
        let before = out.len();
        let encoded = encoder.encode(&HD, i * 3000, i == 7, &mut out).unwrap();
        assert_eq!((encoded.bytes, out.len() - before), (6, 6));
        assert_eq!(out[before + 5], i as u8);
        if encoded.key {
            keys.push(i);
        }
    }
    // The first, every fifth, the forced one, and every fifth from there.
    assert_eq!(keys, [0, 5, 7, 12]);
    fake(|f| {
        // A key picture is an IDR behind its parameter sets, and nothing else is asked for.
        assert!(
            f.encoded
                .iter()
                .enumerate()
                .all(|(i, &flags)| flags == if keys.contains(&(i as i64)) { 2 | 4 } else { 0 })
        );
        assert_eq!((f.copies, f.sessions_made, f.counted), (14, 1, 14 * 6));
    });
    drop(encoder);
    all_given_back();
    fake(|f| assert_eq!(f.ended, 1));
}

#[test]
fn no_interval_is_one_key_picture() {
    fresh();
    let mut encoder = encoder(Config {
        key_interval: 0,
        ..Config::default()
    });
    let mut out = Vec::new();
    let keys = (0..300)
        .filter(|&i| encoder.encode(&HD, i, false, &mut out).unwrap().key)
        .count();
    assert_eq!(keys, 1);
}

#[test]
fn pictures_may_be_submitted_ahead_of_collecting() {
    fresh();
    let mut encoder = encoder(Config::default());
    for i in 0..11 {
        encoder.submit(&HD, i, false).unwrap();
    }
    let mut out = Vec::new();
    for i in 0..11 {
        out.clear();
        encoder.collect(&mut out).unwrap();
        assert_eq!(out[5], i);
    }
    drop(encoder);
    all_given_back();
}

#[test]
fn what_is_not_collected_is_given_back_all_the_same() {
    fresh();
    let mut encoder = encoder(Config::default());
    for i in 0..3 {
        encoder.submit(&HD, i, false).unwrap();
    }
    drop(encoder);
    all_given_back();
    fresh();
    drop(super::tests::encoder(Config::default()));
    all_given_back();
}

#[test]
fn another_shape_is_another_stream_that_begins_with_a_key_picture() {
    fresh();
    let mut encoder = encoder(Config::default());
    let mut out = Vec::new();
    let shapes = [
        HD,
        HD,
        (641, 361, Range::Limited, Matrix::Bt709),
        (641, 361, Range::Full, Matrix::Bt709),
        HD,
    ];
    for picture in &shapes {
        encoder.submit(picture, 0, false).unwrap();
    }
    let keys: Vec<bool> = shapes
        .iter()
        .map(|_| encoder.collect(&mut out).unwrap().key)
        .collect();
    assert_eq!(keys, [true, false, true, true, true]);
    // Odd sides lose a column and a row.
    fake(|f| assert_eq!(f.shapes, [(1280, 720), (640, 360), (640, 360), (1280, 720)]));
    drop(encoder);
    all_given_back();
}

#[test]
fn a_busy_engine_is_asked_again_and_a_silent_one_is_stuck() {
    fresh();
    fake(|f| {
        f.busy_locks = 3;
        f.encode_status.insert(0, 18);
    });
    let mut encoder = encoder(Config::default());
    let mut out = Vec::new();
    assert!(encoder.encode(&HD, 0, false, &mut out).unwrap().key);
    fake(|f| f.busy_locks = usize::MAX);
    encoder.submit(&HD, 1, false).unwrap();
    encoder.submit(&HD, 2, false).unwrap();
    for _ in 0..2 {
        let stuck = encoder.collect(&mut out);
        assert!(
            matches!(
                stuck,
                Err(Error::Device(Fault::Stuck { call: "NVENC", .. }))
            ),
            "{stuck:?}"
        );
    }
    assert!(matches!(
        encoder.submit(&HD, 3, false),
        Err(Error::Device(_))
    ));
    assert_eq!(out.len(), 6);
    drop(encoder);
    // Nothing is given back to a context that is lost.
    fake(|f| assert_eq!((f.sessions, f.registered, f.mapped), (1, 4, 2)));
}

#[test]
fn an_error_ends_the_session_and_the_next_picture_is_a_key_picture() {
    fresh();
    fake(|f| {
        f.encode_status.insert(2, 8);
        f.lock_status.insert(4, 20);
        f.empty = Some(6);
    });
    let mut encoder = encoder(Config::default());
    let mut out = Vec::new();
    let outcome: Vec<_> = (0..9)
        .map(|i| encoder.encode(&HD, i, false, &mut out))
        .collect();
    let keys: Vec<Option<bool>> = outcome
        .iter()
        .map(|o| o.as_ref().ok().map(|e| e.key))
        .collect();
    // The third is refused when it is handed over, the sixth when it is collected, the eighth has no bytes.
    let (key, other) = (Some(true), Some(false));
    assert_eq!(keys, [key, other, None, key, other, None, key, None, key]);
    let text = outcome[2].as_ref().unwrap_err().to_string();
    assert!(
        text.contains(
            "nvEncEncodePicture failed with NV_ENC_ERR_INVALID_PARAM: what the library adds"
        ),
        "{text}"
    );
    assert_eq!(out.len(), 6 * 6);
    drop(encoder);
    all_given_back();
}

#[test]
fn a_failure_while_others_are_in_flight_is_theirs_too() {
    fresh();
    fake(|f| {
        f.encode_status.insert(2, 8);
    });
    let mut encoder = encoder(Config::default());
    encoder.submit(&HD, 0, false).unwrap();
    encoder.submit(&HD, 1, false).unwrap();
    assert!(encoder.submit(&HD, 2, false).is_err());
    let mut out = Vec::new();
    for _ in 0..2 {
        assert!(encoder.collect(&mut out).is_err());
    }
    assert!(encoder.encode(&HD, 3, false, &mut out).unwrap().key);
    drop(encoder);
    all_given_back();
}

#[test]
fn a_loss_behind_a_failure_is_a_loss() {
    fresh();
    fake(|f| {
        f.lock_status.insert(0, 20);
        f.lost_behind = true;
    });
    let mut encoder = encoder(Config::default());
    let mut out = Vec::new();
    let error = encoder.encode(&HD, 0, false, &mut out).unwrap_err();
    assert!(
        matches!(error, Error::Device(fault) if fault.is_lost()),
        "{error}"
    );
}

#[test]
fn why_there_is_no_encoder_is_said() {
    let open = |codec, config, set: &dyn Fn(&mut Fake)| {
        fresh();
        fake(set);
        let error = Encoder::new(&API, Pretend, codec, config)
            .err()
            .map(|e| e.to_string());
        all_given_back();
        error.unwrap_or_default()
    };
    let config = Config::default();
    assert_eq!(
        open(Codec::H264, config, &|f| f.open_status = 2),
        "nvenc refused: the chip has no encoding engine (NV_ENC_ERR_UNSUPPORTED_DEVICE)"
    );
    assert!(
        open(Codec::H264, config, &|f| f.open_status = 10).contains("consumer cards allow a few")
    );
    assert!(
        open(Codec::H264, config, &|f| f.open_status = 21).contains("no encoding session left")
    );
    assert_eq!(
        open(Codec::Vp9, config, &|_| {}),
        "nvenc has no VP9 encoder"
    );
    assert_eq!(
        open(Codec::H265, config, &|f| f.codecs.truncate(1)),
        "nvenc has no H.265 encoder"
    );
    assert_eq!(
        open(Codec::H264, config, &|f| f.codecs.clear()),
        "nvenc has no H.264 encoder"
    );
    assert!(
        open(
            Codec::H264,
            Config {
                fps_den: 0,
                ..config
            },
            &|_| {}
        )
        .contains("frame rate")
    );
    assert!(
        open(
            Codec::H264,
            Config {
                qp_max: 52,
                ..config
            },
            &|_| {}
        )
        .contains("quantiser")
    );
    assert_eq!(open(Codec::H265, config, &|_| {}), "");
}

#[test]
fn a_picture_that_the_chip_cannot_take_is_refused_and_the_session_kept() {
    fresh();
    let mut encoder = encoder(Config::default());
    let mut out = Vec::new();
    for (picture, text) in [
        ((64, 64, Range::Limited, Matrix::Bt709), "smaller"),
        ((4098, 64, Range::Limited, Matrix::Bt709), "larger"),
        ((0, 0, Range::Limited, Matrix::Bt709), "no picture"),
    ] {
        let error = encoder.encode(&picture, 0, false, &mut out).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }
    assert!(encoder.encode(&HD, 0, false, &mut out).unwrap().key);
    fake(|f| assert_eq!(f.sessions_made, 1));
    drop(encoder);
    all_given_back();
    // One that does not start is given back whole, half-made rings included.
    for set in [
        |f: &mut Fake| f.start_status = 12,
        |f: &mut Fake| f.output_status = 10,
    ] {
        fresh();
        fake(set);
        let mut encoder = super::tests::encoder(Config::default());
        assert!(encoder.encode(&HD, 0, false, &mut out).is_err());
        drop(encoder);
        all_given_back();
    }
}

#[test]
fn abilities_of_a_chip() {
    fresh();
    let abilities = abilities_on(&API, &Pretend).unwrap();
    let said: Vec<_> = abilities
        .iter()
        .map(|a| (a.codec, a.width_max, a.height_max, a.bits_max))
        .collect();
    assert_eq!(
        said,
        [(Codec::H264, 4096, 4096, 8), (Codec::H265, 4096, 4096, 8)]
    );
    fake(|f| f.open_status = 1);
    assert!(abilities_on(&API, &Pretend).is_err());
    all_given_back();
}

#[test]
fn the_even_part_of_an_odd_surface_is_copied() {
    let surface = |y, stride| kernels::Surface {
        y,
        uv: y + 1000,
        width: 641,
        height: 361,
        y_stride: stride,
        uv_stride: stride,
        ..Default::default()
    };
    let shape = Shape {
        width: 640,
        height: 360,
        range: Range::Limited,
        matrix: Matrix::Bt709,
    };
    let [luma, chroma] = rectangles(&surface(10, 768), &surface(20, 1024), shape);
    assert_eq!(
        (luma.from, luma.to, luma.width_bytes, luma.rows),
        (10, 20, 640, 360)
    );
    assert_eq!(
        (chroma.from, chroma.to, chroma.width_bytes, chroma.rows),
        (1010, 1020, 640, 180)
    );
    assert_eq!(
        (
            luma.from_pitch,
            luma.to_pitch,
            chroma.from_pitch,
            chroma.to_pitch
        ),
        (768, 1024, 768, 1024)
    );
}
