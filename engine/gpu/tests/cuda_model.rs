//! What only a card with ONNX Runtime's CUDA provider can show: models on the device, many pictures a run, none by way of the host.
//!
//! ONNX Runtime is found through `MILLSTREAM_ONNXRUNTIME`, a path to its library, with its CUDA provider beside it. Without a
//! card, the library or the provider the test says so and is over; that is no failure, wherever it runs.
#![forbid(unsafe_code)]

mod common;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::Random;
use gpu::cuda::Surface;
use gpu::model::{Model, Runtime, Source};
use gpu::process::Work;
use gpu::{Backend, Cpu, Cuda, CudaBackend, Frame, Open, Process, Step};
use kernels::{Item, Matrix};

/// A wait for a card that other tests share.
const LIMIT: Duration = Duration::from_secs(10);
const SIZE: (usize, usize) = (1280, 720);
const PICTURES: usize = 16;
const ROUNDS: usize = 20;

type Processor = Box<dyn Process<Surface>>;

/// What the test needs, or why it is not there.
fn ready() -> Result<(CudaBackend, Processor, Step), String> {
    let backend = Cuda::new(0).open();
    let backend = backend.map_err(|reason| format!("for want of a card: {reason}"))?;
    let path = std::env::var_os("MILLSTREAM_ONNXRUNTIME")
        .ok_or("MILLSTREAM_ONNXRUNTIME names no library")?;
    let runtime = Runtime::load(&[PathBuf::from(path)]);
    let step = Step::Model(Model::new(&runtime, Source::built_in()));
    let mut processor = backend.processor().map_err(|error| error.to_string())?;
    let small = uploaded(&backend, &picture(&mut Random::new(1), 64, 48));
    let mut output = backend.surface().map_err(|fault| fault.to_string())?;
    processor
        .process_one(&step, &small, &mut output)
        .map_err(|error| error.to_string())?;
    match backend.remarks().pop() {
        Some(remark) => Err(format!("{remark} ({})", runtime.describe())),
        None => Ok((backend, processor, step)),
    }
}

/// A slope with noise on it.
fn picture(random: &mut Random, width: usize, height: usize) -> Frame {
    let mut frame = Frame::new(width, height).unwrap();
    frame.matrix = Matrix::Bt709;
    for mut plane in frame.planes_mut() {
        for (line, row) in plane.rows_mut().enumerate() {
            for (x, p) in row.iter_mut().enumerate() {
                *p = (60 + (x + line) / 16 % 100 + random.below(32)) as u8;
            }
        }
    }
    frame
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

/// The most that a sample of one differs from that of the other.
fn furthest(a: &Frame, b: &Frame) -> u8 {
    assert_eq!((a.width(), a.height()), (b.width(), b.height()));
    let planes = [(a.y(), b.y()), (a.u(), b.u()), (a.v(), b.v())];
    let samples = planes
        .iter()
        .flat_map(|(a, b)| a.rows().flatten().zip(b.rows().flatten()));
    samples.map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

/// Pictures a second: put in by `put`, so many at a time, and waited for once.
fn speed(backend: &CudaBackend, mut put: impl FnMut()) -> f64 {
    put();
    backend.stream().settle(LIMIT).unwrap();
    let since = Instant::now();
    for _ in 0..ROUNDS {
        put();
    }
    backend.stream().settle(LIMIT).unwrap();
    (ROUNDS * PICTURES) as f64 / since.elapsed().as_secs_f64()
}

#[test]
fn sixteen_pictures_are_one_run_and_what_each_is_alone() {
    let (backend, mut processor, step) = match ready() {
        Ok(ready) => ready,
        Err(why) => return println!("SKIPPED: {why}"),
    };
    println!("{}", backend.name());
    let mut random = Random::new(2);
    let frames: Vec<Frame> = (0..PICTURES)
        .map(|_| picture(&mut random, SIZE.0, SIZE.1))
        .collect();
    let inputs: Vec<_> = frames
        .iter()
        .map(|frame| uploaded(&backend, frame))
        .collect();
    let surfaces = || (0..PICTURES).map(|_| backend.surface().unwrap()).collect();
    let (mut together, mut alone): (Vec<_>, Vec<_>) = (surfaces(), surfaces());

    let before = backend.usage();
    let works = inputs.iter().zip(&mut together);
    let mut batch: Vec<_> = works
        .map(|(input, output)| Work::new(&step, input, output))
        .collect();
    processor.process(&mut batch).unwrap();
    assert!(
        batch.iter().all(|work| work.outcome.is_ok()),
        "{:?}",
        batch[0].outcome
    );
    let after = backend.usage();
    assert_eq!(after.from_device_bytes, before.from_device_bytes);
    // An item for each picture and kernel, and nothing of the pictures.
    let items = (2 * PICTURES * size_of::<Item>()) as u64;
    assert_eq!(after.to_device_bytes - before.to_device_bytes, items);

    for (input, output) in inputs.iter().zip(&mut alone) {
        processor.process_one(&step, input, output).unwrap();
    }
    let mut cpu = Cpu.processor().unwrap();
    let mut expected = Frame::default();
    let (mut from_alone, mut from_cpu) = (0, 0);
    for ((frame, together), alone) in frames.iter().zip(&together).zip(&alone) {
        let together = downloaded(&backend, together);
        from_alone = from_alone.max(furthest(&together, &downloaded(&backend, alone)));
        cpu.process_one(&step, frame, &mut expected).unwrap();
        assert_eq!(together.matrix, expected.matrix);
        from_cpu = from_cpu.max(furthest(&together, &expected));
    }
    println!("furthest from alone: {from_alone} levels; from the CPU: {from_cpu}");
    // The library may choose other algorithms for other batches, so a rounding may fall the other way.
    assert!(from_alone <= 1, "{from_alone}");
    assert!(from_cpu <= 2, "{from_cpu}");

    let batched = speed(&backend, || {
        let works = inputs.iter().zip(&mut together);
        let mut batch: Vec<_> = works
            .map(|(input, output)| Work::new(&step, input, output))
            .collect();
        processor.process(&mut batch).unwrap();
        assert!(batch.iter().all(|work| work.outcome.is_ok()));
    });
    let singly = speed(&backend, || {
        for (input, output) in inputs.iter().zip(&mut alone) {
            processor.process_one(&step, input, output).unwrap();
        }
    });
    let (width, height) = SIZE;
    println!(
        "{width}x{height}: {batched:.0} frames/s {PICTURES} at a time, {singly:.0} one at a time"
    );
}
