//! What only a card can show of its codec engines: the pictures are those of the CPU's decoder, damage is survived, and what is
//! encoded decodes.
//!
//! Without a driver, or without the engine, each test says so and is over; that is no failure, wherever it runs.
#![forbid(unsafe_code)]

mod common;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use common::{Random, STREAMS, TICKS, Timed, decode_all, is_wide, stream};
use gpu::cuda::Surface;
use gpu::decode::Error;
use gpu::{Backend, Codec, Cuda, CudaBackend, Decode, Decoded, Frame, Open, Unit, decode, encode};
use kernels::psnr::psnr;
use kernels::{Matrix, Range};

/// A backend on the first device whose own engine does the step, alone on it among these tests, or nothing after a line that
/// says why.
fn backend(step: &str) -> Option<(CudaBackend, MutexGuard<'static, ()>)> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let backend = match Cuda::new(0).open() {
        Ok(backend) => backend,
        Err(reason) => {
            println!("not run, for want of a card: {reason}");
            return None;
        }
    };
    if !backend.name().contains(step) {
        println!("not run, for want of an engine: {}", backend.name());
        return None;
    }
    Some((backend, turn))
}

fn decoder(backend: &CudaBackend, codec: Codec) -> Box<dyn Decode<Surface>> {
    backend.decoder(codec, decode::Config::default()).unwrap()
}

fn downloaded(backend: &CudaBackend, pictures: &[Decoded<Surface>]) -> Vec<Frame> {
    let frame = |picture: &Decoded<Surface>| {
        let mut frame = Frame::default();
        backend.download(&picture.surface, &mut frame).unwrap();
        frame
    };
    pictures.iter().map(frame).collect()
}

/// The pictures of a whole stream, in order.
fn decoded(backend: &CudaBackend, codec: Codec, units: &[Timed]) -> Vec<Decoded<Surface>> {
    let mut decoder = decoder(backend, codec);
    let mut out = Vec::new();
    for (i, timed) in units.iter().enumerate() {
        decoder
            .decode(timed.unit(), &mut out)
            .unwrap_or_else(|error| panic!("unit {i}: {error}"));
    }
    decoder.flush(&mut out).unwrap();
    out
}

#[test]
fn pictures_are_those_of_the_cpu() {
    let Some((backend, _turn)) = backend("decoding: NVDEC") else {
        return;
    };
    for (name, _) in STREAMS.into_iter().filter(|(name, _)| !is_wide(name)) {
        let units = stream(name);
        let expected = decode_all(&units);
        let since = Instant::now();
        let pictures = decoded(&backend, Codec::H264, &units);
        println!(
            "{name}: {} pictures in {:?}",
            pictures.len(),
            since.elapsed()
        );
        assert_eq!(pictures.len(), expected.len(), "{name}");
        let frames = downloaded(&backend, &pictures);
        for ((ours, frame), truth) in pictures.iter().zip(&frames).zip(&expected) {
            assert_eq!(
                (ours.pts, ours.width, ours.height),
                (truth.pts, truth.width, truth.height)
            );
            assert_eq!(
                (frame.range, frame.matrix),
                (truth.surface.range, truth.surface.matrix)
            );
            let likeness = psnr(frame, &truth.surface).unwrap();
            let least = likeness.y.min(likeness.u).min(likeness.v);
            assert!(least >= 50.0, "{name} at {}: {least} dB", ours.pts);
        }
    }
}

#[test]
fn the_delay_is_the_reorder_depth_and_no_more() {
    let Some((backend, _turn)) = backend("decoding: NVDEC") else {
        return;
    };
    for (name, depth) in STREAMS.into_iter().filter(|(name, _)| !is_wide(name)) {
        let mut decoder = decoder(&backend, Codec::H264);
        let mut out = Vec::new();
        let mut since_key = 0;
        for (fed, timed) in stream(name).iter().enumerate() {
            decoder.decode(timed.unit(), &mut out).unwrap();
            since_key = if timed.is_key() { 1 } else { since_key + 1 };
            assert_eq!(
                out.len(),
                fed + 1 - depth.min(since_key),
                "{name} after unit {fed}"
            );
        }
    }
}

/// H.265 is exact, so the digests of another decoder's pictures are those of these.
#[test]
fn h265_is_exact() {
    let Some((backend, _turn)) = backend("decoding: NVDEC") else {
        return;
    };
    for name in ["main", "main-open"] {
        let units = h265(name);
        let pictures = match backend.decoder(Codec::H265, decode::Config::default()) {
            Ok(_) => decoded(&backend, Codec::H265, &units),
            Err(reason) => {
                println!("{name} not run: {reason}");
                return;
            }
        };
        let path = format!("{}/tests/data/{name}-265.fnv", env!("CARGO_MANIFEST_DIR"));
        let expected = std::fs::read_to_string(path).unwrap();
        let ours: Vec<String> = downloaded(&backend, &pictures).iter().map(digest).collect();
        assert_eq!(ours, expected.lines().collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn a_broken_stream_ends_at_the_next_key_picture() {
    let Some((backend, _turn)) = backend("decoding: NVDEC") else {
        return;
    };
    for (name, _) in STREAMS.into_iter().filter(|(name, _)| !is_wide(name)) {
        let whole = stream(name);
        for seed in 0..40 {
            let mut random = Random::new(seed);
            let mut decoder = decoder(&backend, Codec::H264);
            let mut out = Vec::new();
            for (i, timed) in whole.iter().take(24).enumerate() {
                let mut data = timed.data.clone();
                if random.below(4) == 0 {
                    match random.below(3) {
                        0 => data.truncate(random.below(data.len())),
                        1 => {
                            let at = random.below(data.len());
                            data[at] ^= 1 << random.below(8);
                        }
                        _ => {
                            let kept = random.below(data.len());
                            data[kept..].fill_with(|| random.below(256) as u8);
                        }
                    }
                }
                let pts = timed.pts;
                let fed = decoder.decode(Unit { data: &data, pts }, &mut out);
                assert!(
                    !matches!(fed, Err(Error::Device(_))),
                    "{name}, seed {seed}, unit {i}: {fed:?}"
                );
                assert!(out.len() <= i + 1, "{name}, seed {seed}");
            }
            let _ = decoder.flush(&mut out);
            out.clear();
            for timed in &whole[..20] {
                decoder.decode(timed.unit(), &mut out).unwrap();
            }
            decoder.flush(&mut out).unwrap();
            assert_eq!(out.len(), 20, "{name}, seed {seed}");
        }
    }
}

/// Many streams at once on one backend, one unit of each before any is collected.
#[test]
fn many_streams_at_once() {
    let Some((backend, _turn)) = backend("decoding: NVDEC") else {
        return;
    };
    const STREAMS_AT_ONCE: usize = 16;
    let units = stream("high-zerolatency");
    let mut decoders: Vec<_> = (0..STREAMS_AT_ONCE)
        .map(|_| decoder(&backend, Codec::H264))
        .collect();
    let mut counts = [0; STREAMS_AT_ONCE];
    let since = Instant::now();
    for timed in &units {
        for decoder in &mut decoders {
            decoder.submit(timed.unit()).unwrap();
        }
        for (decoder, count) in decoders.iter_mut().zip(&mut counts) {
            let mut out = Vec::new();
            decoder.collect(&mut out).unwrap();
            *count += out.len();
            out.into_iter()
                .for_each(|picture| decoder.recycle(picture.surface));
        }
    }
    println!(
        "{STREAMS_AT_ONCE} streams of {} pictures in {:?}",
        units.len(),
        since.elapsed()
    );
    assert_eq!(counts, [units.len(); STREAMS_AT_ONCE]);
    assert!(backend.usage().to_device_bytes > 0);
}

#[test]
fn what_is_encoded_decodes_and_keys_are_where_they_should_be() {
    let Some((backend, _turn)) = backend("encoding: NVENC") else {
        return;
    };
    // Odd sides lose a column and a row.
    for (width, height) in [(640, 360), (641, 361)] {
        let config = encode::Config {
            key_interval: 10,
            ..encode::Config::default()
        };
        let mut encoder = backend.encoder(Codec::H264, config).unwrap();
        let mut units = Vec::new();
        let mut sources = Vec::new();
        for i in 0..30_usize {
            let frame = moving(width, height, i);
            let mut surface = backend.surface().unwrap();
            backend.upload(&frame, &mut surface).unwrap();
            let mut data = Vec::new();
            let pts = i as i64 * TICKS;
            let encoded = encoder.encode(&surface, pts, i == 15, &mut data).unwrap();
            assert_eq!(encoded.key, matches!(i, 0 | 10 | 15 | 25), "picture {i}");
            assert_eq!(encoded.bytes, data.len());
            let timed = Timed { data, pts };
            assert_eq!(timed.is_key(), encoded.key);
            units.push(timed);
            sources.push(frame);
        }
        for (picture, source) in decode_all(&units).iter().zip(&sources) {
            assert_eq!((picture.width, picture.height), (width & !1, height & !1));
            assert_eq!(picture.surface.matrix, Matrix::Bt709);
            let mut even = Frame::new(width & !1, height & !1).unwrap();
            for (mut to, from) in even.planes_mut().into_iter().zip(source.planes()) {
                for (to, from) in to.rows_mut().zip(from.rows()) {
                    let len = to.len();
                    to.copy_from_slice(&from[..len]);
                }
            }
            let likeness = psnr(&picture.surface, &even).unwrap();
            assert!(likeness.y > 33.0, "{}x{height}: {} dB", width, likeness.y);
        }
    }
}

/// A slope that moves and turns brighter.
fn moving(width: usize, height: usize, at: usize) -> Frame {
    let mut frame = Frame::new(width, height).unwrap();
    frame.range = Range::Limited;
    frame.matrix = Matrix::Bt709;
    for (plane, mut to) in frame.planes_mut().into_iter().enumerate() {
        for (y, row) in to.rows_mut().enumerate() {
            for (x, p) in row.iter_mut().enumerate() {
                *p = (40 + 20 * plane + (x + 2 * y + 3 * at) % 160) as u8;
            }
        }
    }
    frame
}

/// The access units of an H.265 fixture: a unit ends before the next first slice or parameter set.
fn h265(name: &str) -> Vec<Timed> {
    let path = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    let data = std::fs::read(format!("{path}.h265")).unwrap();
    let starts: Vec<usize> = (0..data.len() - 5)
        .filter(|&at| data[at..at + 3] == [0, 0, 1])
        .collect();
    let mut units: Vec<Vec<u8>> = vec![Vec::new()];
    let mut has_slice = false;
    for (i, &start) in starts.iter().enumerate() {
        let end = starts.get(i + 1).copied().unwrap_or(data.len());
        let slice = data[start + 3] >> 1 & 0x3f < 32;
        if has_slice && (!slice || data[start + 5] & 0x80 != 0) {
            units.push(Vec::new());
            has_slice = false;
        }
        has_slice |= slice;
        units.last_mut().unwrap().extend(&data[start..end]);
    }
    let places: Vec<i64> = match std::fs::read_to_string(format!("{path}.order")) {
        Ok(order) => order.lines().map(|line| line.parse().unwrap()).collect(),
        Err(_) => (0..units.len() as i64).collect(),
    };
    assert_eq!(units.len(), places.len(), "{name}");
    let timed = |(data, place)| Timed {
        data,
        pts: place * TICKS,
    };
    units.into_iter().zip(places).map(timed).collect()
}

/// FNV-1a, 64 bits, of the picture's I420 bytes, as `tests/data/expected.py` has it.
fn digest(frame: &Frame) -> String {
    let bytes = frame
        .planes()
        .into_iter()
        .flat_map(|plane| plane.rows().flatten().copied().collect::<Vec<u8>>());
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    format!("{:016x}", bytes.fold(0xcbf2_9ce4_8422_2325, fnv))
}
