//! The whole backend on a driver that is none (`fake`): what it computes, what it counts and what it gives back. What faults do
//! to it is in `faults`; models are in `model`.
#![allow(unsafe_code, reason = "memory is shared with a device")]

mod faults;
mod model;

use kernels::{Matrix, Range, Scratch, reference};

use super::*;
use crate::process::{Step, Work};
use crate::{Filter, decode, encode};

const FILTERS: [Filter; 9] = [
    Filter::Passthrough,
    Filter::Grayscale { amount_percent: 70 },
    Filter::Edges { gain_percent: 250 },
    Filter::Blur { radius_px: 5 },
    Filter::Blur { radius_px: 0 },
    Filter::Pixelate { block_px: 7 },
    Filter::Pixelate { block_px: 1 },
    Filter::Invert {
        amount_percent: 100,
    },
    Filter::Blur { radius_px: 200 },
];
const SIZES: [(usize, usize); 5] = [(1, 1), (3, 5), (64, 48), (257, 33), (320, 180)];
const NOTHING: [usize; 6] = [0; 6];

fn open() -> CudaBackend {
    Cuda::new(0).open_on(fake::driver()).unwrap()
}

fn noise(width: usize, height: usize, seed: u32) -> Frame {
    let mut frame = Frame::new(width, height).unwrap();
    frame.range = if seed & 1 == 0 {
        Range::Limited
    } else {
        Range::Full
    };
    frame.matrix = Matrix::Bt709;
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    for mut plane in frame.planes_mut() {
        for p in plane.rows_mut().flatten() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *p = (state >> 24) as u8;
        }
    }
    frame
}

fn filtered(filter: Filter, src: &Frame) -> Frame {
    let mut dst = Frame::default();
    reference::apply(filter, src, &mut dst, &mut Scratch::new());
    dst
}

fn uploaded(backend: &CudaBackend, frame: &Frame) -> Surface {
    let mut surface = backend.surface().unwrap();
    backend.upload(frame, &mut surface).unwrap();
    surface
}

fn downloaded(backend: &CudaBackend, surface: &Surface) -> Frame {
    let mut frame = Frame::default();
    backend.download(surface, &mut frame).unwrap();
    frame
}

/// Every filter of every size in one batch: the pictures of the reference, one launch a kernel, and everything given back.
#[test]
fn a_batch_of_everything_is_what_the_reference_gives() {
    let backend = open();
    let mut processor = backend.processor().unwrap();
    let cases: Vec<(Step, Frame)> = FILTERS
        .iter()
        .flat_map(|filter| SIZES.map(|size| (*filter, size)))
        .zip(0..)
        .map(|((filter, (width, height)), seed)| (Step::Filter(filter), noise(width, height, seed)))
        .collect();
    // Twice: what is lent again is as good as new. Events lag, so a buffer that is lent again too early would show.
    for round in 0..2 {
        fake::with(|state| {
            state.lag = 7;
            state.launches.clear();
        });
        let inputs: Vec<Surface> = cases
            .iter()
            .map(|(_, frame)| uploaded(&backend, frame))
            .collect();
        let mut outputs: Vec<Surface> = cases.iter().map(|_| backend.surface().unwrap()).collect();
        let mut batch: Vec<Work<'_, Surface>> = cases
            .iter()
            .zip(inputs.iter().zip(&mut outputs))
            .map(|((step, _), (input, output))| Work::new(step, input, output))
            .collect();
        processor.process(&mut batch).unwrap();
        assert!(batch.iter().all(|work| work.outcome.is_ok()));
        drop(batch);
        // Inputs are free as soon as the work on them is in the stream; what is uploaded next may take their place.
        drop(inputs);
        let _other = uploaded(&backend, &noise(320, 180, 99));
        for ((step, frame), output) in cases.iter().zip(&outputs) {
            let Step::Filter(filter) = step else {
                panic!("every case is a filter: {step:?}");
            };
            let expected = filtered(*filter, frame);
            let got = downloaded(&backend, output);
            assert!(
                got == expected,
                "round {round}: {step:?} of {}x{}",
                frame.width(),
                frame.height()
            );
        }
        let launches = fake::with(|state| state.launches.clone());
        let launches: Vec<(&str, usize)> = launches
            .iter()
            .map(|(name, n)| (name.as_str(), *n))
            .collect();
        assert_eq!(
            launches,
            [
                ("copy", 15),
                ("blend", 10),
                ("edges", 5),
                ("blur_rows", 10),
                ("blur_columns", 10),
                ("pixelate", 5)
            ]
        );
    }
    drop((processor, backend));
    assert_eq!(fake::held(), NOTHING);
}

#[test]
fn an_empty_picture_gives_an_empty_one_and_takes_no_memory() {
    let backend = open();
    let mut processor = backend.processor().unwrap();
    let input = backend.surface().unwrap();
    let mut output = uploaded(&backend, &noise(16, 16, 1));
    let step = Step::Filter(Filter::Blur { radius_px: 3 });
    processor.process_one(&step, &input, &mut output).unwrap();
    assert!(output.is_empty());
    assert!(downloaded(&backend, &output).is_empty());
    let mut encoder = backend
        .encoder(Codec::H264, encode::Config::default())
        .unwrap();
    let refused = encoder.submit(&output, 0, false).unwrap_err();
    assert!(
        matches!(refused, encode::Error::Size { width: 0, .. }),
        "{refused}"
    );
}

#[test]
fn usage_counts_bytes_time_and_surfaces() {
    let backend = open();
    let mut processor = backend.processor().unwrap();
    fake::with(|state| state.elapsed_ms = 1.5);
    let input = uploaded(&backend, &noise(256, 100, 1));
    let mut output = backend.surface().unwrap();
    let step = Step::Filter(Filter::Invert { amount_percent: 9 });
    processor.process_one(&step, &input, &mut output).unwrap();
    // Not done, so not counted, and not waited for.
    fake::with(|state| state.lag = 1);
    assert_eq!(backend.usage().process_ns, 0);
    downloaded(&backend, &output);
    let usage = backend.usage();
    assert_eq!(usage.process_ns, 1_500_000);
    assert_eq!(usage.from_device_bytes, 256 * 150);
    assert_eq!(usage.to_device_bytes, 256 * 150 + 192);
    assert_eq!(usage.memory_total_bytes, Some(fake::MEMORY_BYTES as u64));
    // Input, output, items.
    assert_eq!(usage.surfaces, 3);
    assert_eq!((usage.decode_ns, usage.encode_ns), (0, 0));
}

/// Decoded and encoded on the CPU, kept on the device between: the same bytes as without a device.
#[test]
fn codecs_on_the_host_give_what_the_cpu_backend_gives() {
    let backend = open();
    assert_eq!(
        backend.name(),
        format!(
            "cuda:0 (NVIDIA Fake; decoding: CPU, {v}; filters: CUDA; encoding: CPU, {v})",
            v = cpu::version()
        )
    );
    let config = encode::Config::default();
    let mut plain = crate::Cpu.encoder(Codec::H264, config).unwrap();
    let mut encoder = backend.encoder(Codec::H264, config).unwrap();
    let mut decoder = backend
        .decoder(Codec::H264, decode::Config::default())
        .unwrap();
    let mut shown = Vec::new();
    for turn in 0..5_i64 {
        fake::with(|state| state.lag = 3);
        let frame = noise(64, 48, turn as u32 * 2);
        let (mut expected, mut got) = (Vec::new(), Vec::new());
        plain
            .encode(&frame, turn * 3000, turn == 3, &mut expected)
            .unwrap();
        let surface = uploaded(&backend, &frame);
        encoder.submit(&surface, turn * 3000, turn == 3).unwrap();
        drop(surface);
        let encoded = encoder.collect(&mut got).unwrap();
        assert_eq!(got, expected);
        assert_eq!(encoded.key, turn == 0 || turn == 3);
        let unit = crate::Unit {
            data: &got,
            pts: turn * 3000,
        };
        decoder.decode(unit, &mut shown).unwrap();
    }
    decoder.flush(&mut shown).unwrap();
    assert_eq!(
        shown
            .iter()
            .map(|picture| picture.pts / 3000)
            .collect::<Vec<_>>(),
        [0, 1, 2, 3, 4]
    );
    let mut cpu = crate::Cpu
        .decoder(Codec::H264, decode::Config::default())
        .unwrap();
    let mut again = crate::Cpu.encoder(Codec::H264, config).unwrap();
    for picture in shown {
        let turn = picture.pts / 3000;
        let (mut unit, mut frames) = (Vec::new(), Vec::new());
        again
            .encode(
                &noise(64, 48, turn as u32 * 2),
                picture.pts,
                turn == 3,
                &mut unit,
            )
            .unwrap();
        let pts = picture.pts;
        cpu.decode(crate::Unit { data: &unit, pts }, &mut frames)
            .unwrap();
        assert!(downloaded(&backend, &picture.surface) == frames[0].surface);
        decoder.recycle(picture.surface);
    }
    assert!(matches!(
        backend
            .decoder(Codec::Av1, decode::Config::default())
            .map(|_| ()),
        Err(Unavailable::Codec {
            codec: Codec::Av1,
            ..
        })
    ));
    drop((encoder, decoder, backend));
    assert_eq!(fake::held(), NOTHING);
}

#[test]
fn an_encoder_takes_no_more_than_it_may_hold_and_owes_a_key_picture_after() {
    let backend = open();
    let mut encoder = backend
        .encoder(Codec::H264, encode::Config::default())
        .unwrap();
    let surface = uploaded(&backend, &noise(64, 48, 0));
    for turn in 0..8 {
        encoder.submit(&surface, turn * 3000, false).unwrap();
    }
    let full = encoder.submit(&surface, 24_000, false).unwrap_err();
    assert!(
        full.to_string().contains("8 pictures were submitted"),
        "{full}"
    );
    let mut keys = Vec::new();
    for _ in 0..8 {
        keys.push(encoder.collect(&mut Vec::new()).unwrap().key);
    }
    assert_eq!(
        keys,
        [true, false, false, false, false, false, false, false]
    );
    assert!(
        encoder
            .encode(&surface, 27_000, false, &mut Vec::new())
            .unwrap()
            .key
    );
}
