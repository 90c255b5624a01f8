//! The whole backend on a driver that is none (`fake`): what it computes, what it gives back, and what faults do to it.
#![allow(unsafe_code, reason = "memory is shared with a device")]

use std::time::{Duration, Instant};

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
            let Step::Filter(filter) = step;
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

#[test]
fn a_full_device_hurts_one_and_the_context_lives() {
    let backend = open();
    let mut held = Vec::new();
    let frame = noise(1920, 1080, 1);
    let full = loop {
        let mut surface = backend.surface().unwrap();
        match backend.upload(&frame, &mut surface) {
            Ok(()) => held.push(surface),
            Err(fault) => break fault,
        }
    };
    assert!(matches!(full, Fault::Full { .. }), "{full}");
    assert!(held.len() >= 12, "{}", held.len());
    assert!(!backend.context().is_lost());
    let last = held.pop().unwrap();
    assert!(downloaded(&backend, &last) == frame);
    drop(last);
    uploaded(&backend, &frame);
    // A work that finds no memory fails alone.
    let inputs = [uploaded(&backend, &noise(16, 16, 1)), held.pop().unwrap()];
    while let Ok(surface) = {
        let mut surface = backend.surface().unwrap();
        backend.upload(&frame, &mut surface).map(|()| surface)
    } {
        held.push(surface);
    }
    let mut outputs = [backend.surface().unwrap(), backend.surface().unwrap()];
    let step = Step::Filter(Filter::Edges { gain_percent: 100 });
    let mut batch: Vec<Work<'_, Surface>> = inputs
        .iter()
        .zip(&mut outputs)
        .map(|(input, output)| Work::new(&step, input, output))
        .collect();
    backend.processor().unwrap().process(&mut batch).unwrap();
    assert!(batch[0].outcome.is_ok());
    let Err(crate::process::Error::Device(fault)) = &batch[1].outcome else {
        panic!("{:?}", batch[1].outcome)
    };
    assert!(matches!(fault, Fault::Full { .. }), "{fault}");
    drop(batch);
    let got = downloaded(&backend, &outputs[0]);
    assert!(got == filtered(Filter::Edges { gain_percent: 100 }, &noise(16, 16, 1)));
}

/// From the first call that says so nothing is asked of the context, and what was made on it goes with it.
#[test]
fn a_lost_device_is_left_alone_and_opened_anew() {
    for call in [
        "event_query",
        "launch_kernel",
        "memcpy_htod_async",
        "memcpy_dtoh_async",
        "mem_alloc",
        "event_record",
    ] {
        let backend = open();
        let mut processor = backend.processor().unwrap();
        let input = uploaded(&backend, &noise(64, 48, 1));
        let mut output = backend.surface().unwrap();
        let mut frame = Frame::default();
        let step = Step::Filter(Filter::Blur { radius_px: 3 });
        fake::plant(call, 700);
        let outcome = processor
            .process_one(&step, &input, &mut output)
            .and_then(|()| Ok(backend.download(&output, &mut frame)?))
            .and_then(|()| Ok(backend.upload(&noise(640, 480, 1), &mut output)?));
        let Err(crate::process::Error::Device(fault)) = outcome else {
            panic!("{call}: {outcome:?}")
        };
        assert!(
            matches!(
                fault,
                Fault::Lost {
                    name: "CUDA_ERROR_ILLEGAL_ADDRESS",
                    ..
                }
            ),
            "{call}: {fault}"
        );
        assert!(backend.context().is_lost());
        // All that follows says the same at once.
        assert_eq!(backend.upload(&noise(8, 8, 1), &mut output), Err(fault));
        assert_eq!(backend.download(&input, &mut frame), Err(fault));
        assert_eq!(
            backend.usage().memory_total_bytes,
            Some(fake::MEMORY_BYTES as u64)
        );
        drop((input, output, processor));
        assert_eq!(fake::held()[0], 1, "the backend still holds the context");
        drop(backend);
        assert_eq!(
            fake::held(),
            NOTHING,
            "{call}: all of it went with the context"
        );
        assert_eq!(
            fake::with(|state| state.late_frees),
            0,
            "{call}: nothing was given back one by one"
        );
        let again = Cuda::new(0).open_on(fake::driver()).unwrap();
        let frame = noise(64, 48, 5);
        assert!(downloaded(&again, &uploaded(&again, &frame)) == frame);
    }
}

/// A wait ends at its deadline; after that nothing waits again and nothing that the device may still use is freed.
#[test]
fn a_stuck_device_is_abandoned() {
    let backend = open();
    let input = uploaded(&backend, &noise(64, 48, 1));
    let mut region = None;
    if let Ok(pinned) = Pinned::new(backend.context(), 100) {
        region = Some(pinned.into_region());
    }
    fake::with(|state| state.hangs = true);
    let since = Instant::now();
    let stuck = backend
        .stream()
        .settle(Duration::from_millis(30))
        .unwrap_err();
    assert!(since.elapsed() < Duration::from_secs(1));
    let Fault::Stuck { waited_ms, .. } = stuck else {
        panic!("{stuck}")
    };
    assert!((30..1000).contains(&waited_ms));
    assert!(stuck.is_lost() && backend.context().is_lost());
    let before = fake::held();
    let since = Instant::now();
    assert_eq!(backend.download(&input, &mut Frame::default()), Err(stuck));
    drop((input, backend));
    assert!(
        since.elapsed() < Duration::from_millis(500),
        "nothing waited"
    );
    assert_eq!(
        fake::held(),
        before,
        "nothing was given back, the context included"
    );
    let (base, bytes, keeper) = region.unwrap();
    assert_eq!((base.as_ptr() as usize % 4096, bytes), (0, 4096));
    drop(keeper);
    let again = Cuda::new(0).open_on(fake::driver());
    assert!(again.is_ok());
}

/// The bytes are there as long as the keeper, on any thread; the registration as long as the context.
#[test]
fn a_region_outlives_its_context() {
    let backend = open();
    let mut pinned = Pinned::new(backend.context(), 5000).unwrap();
    pinned[4999] = 7;
    let (base, bytes, keeper) = pinned.into_region();
    assert_eq!(bytes, 8192);
    assert_eq!(fake::held()[5], 1);
    drop(backend);
    assert_eq!(fake::held()[0], 0, "the context is gone");
    let base = base.as_ptr().expose_provenance();
    let read = std::thread::spawn(move || {
        // SAFETY: the keeper is alive, and nobody else has the bytes.
        let last = unsafe { *std::ptr::with_exposed_provenance::<u8>(base + 4999) };
        drop(keeper);
        last
    });
    assert_eq!(read.join().unwrap(), 7);
}

#[test]
fn two_backends_of_a_thread_do_not_disturb_each_other() {
    let first = open();
    let second = Cuda::new(0).open_on(fake::same_driver()).unwrap();
    let (one, two) = (noise(33, 21, 1), noise(64, 48, 2));
    let on_first = uploaded(&first, &one);
    let on_second = uploaded(&second, &two);
    assert!(downloaded(&first, &on_first) == one);
    assert!(downloaded(&second, &on_second) == two);
    drop((first, on_first));
    assert!(downloaded(&second, &on_second) == two);
    drop((second, on_second));
    assert_eq!(fake::held(), NOTHING);
}

#[test]
fn what_cannot_be_opened_says_why() {
    let none = Cuda::new(3)
        .open_on(fake::driver())
        .map(|_| ())
        .unwrap_err();
    assert_eq!(
        none.to_string(),
        "cuda refused: there is no cuda:3: the driver lists 1 device"
    );
    fake::plant("create", 2);
    let full = Cuda::new(0)
        .open_on(fake::same_driver())
        .map(|_| ())
        .unwrap_err();
    assert_eq!(
        full.to_string(),
        "the device is full: cuCtxCreate failed with CUDA_ERROR_OUT_OF_MEMORY"
    );
    fake::plant("module_load_data", 218);
    let jit = Cuda::new(0)
        .open_on(fake::same_driver())
        .map(|_| ())
        .unwrap_err();
    assert_eq!(
        jit.to_string(),
        "cuda refused: kernel copy: CUDA_ERROR_INVALID_PTX: ptxas fatal: not today"
    );
    fake::plant("stream_create", 1190);
    let future = Cuda::new(0)
        .open_on(fake::same_driver())
        .map(|_| ())
        .unwrap_err();
    assert_eq!(
        future.to_string(),
        "cuStreamCreate failed with CUDA_ERROR_OF_THE_FUTURE"
    );
    assert_eq!(fake::held(), NOTHING);
}

#[test]
fn a_probe_opens_each_device_and_gives_it_back() {
    let (driver, devices) = look::all(fake::driver());
    assert_eq!(
        (driver.cuda, driver::version(driver.cuda).as_str()),
        (12_040, "12.4")
    );
    let [device] = &devices[..] else {
        panic!("{devices:?}")
    };
    assert_eq!(
        (device.id.as_str(), device.name.as_str()),
        ("cuda:0", "NVIDIA Fake")
    );
    assert_eq!(
        (device.compute, device.trouble.as_deref()),
        (Some(89), None)
    );
    assert_eq!(device.memory_total_bytes, Some(fake::MEMORY_BYTES as u64));
    assert_eq!(fake::held(), NOTHING);
    fake::plant("create", 46);
    let (_, devices) = look::all(fake::same_driver());
    assert_eq!(
        devices[0].trouble.as_deref(),
        Some("cuCtxCreate failed with CUDA_ERROR_DEVICE_UNAVAILABLE")
    );
}
