//! What only a card can show: its pixels are the reference's, and a fault costs a backend and no more.
//!
//! Without a driver each test says so and is over; that is no failure, wherever it runs.
#![allow(
    unsafe_code,
    reason = "a kernel is launched that does wrong on purpose"
)]

mod common;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::Random;
use gpu::cuda::{Event, Module};
use gpu::process::{Step, Work};
use gpu::{Backend, Cuda, CudaBackend, Fault, Filter, Frame, Open};
use kernels::kernel::Grid;
use kernels::{Matrix, Range, Scratch, reference};

/// A wait for a card that other tests share.
const LIMIT: Duration = Duration::from_secs(10);

/// Writes to address 8, which is nobody's.
const ILLEGAL_PTX: &str = "
.version 6.4
.target sm_75
.address_size 64
.visible .entry illegal(.param .u64 address)
{
    .reg .u64 %rd<2>;
    .reg .u32 %r<2>;
    ld.param.u64 %rd1, [address];
    mov.u32 %r1, 1;
    st.global.u32 [%rd1], %r1;
    ret;
}
";

/// A backend on the first device, alone on it among these tests, or nothing after a line that says why.
fn backend() -> Option<(CudaBackend, MutexGuard<'static, ()>)> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    match Cuda::new(0).open() {
        Ok(backend) => Some((backend, turn)),
        Err(reason) => {
            println!("not run, for want of a card: {reason}");
            None
        }
    }
}

fn noise(random: &mut Random, width: usize, height: usize) -> Frame {
    let mut frame = Frame::new(width, height).unwrap();
    frame.range = [Range::Limited, Range::Full][random.below(2)];
    frame.matrix = [Matrix::Unspecified, Matrix::Bt709][random.below(2)];
    for mut plane in frame.planes_mut() {
        for p in plane.rows_mut().flatten() {
            *p = random.below(256) as u8;
        }
    }
    frame
}

fn filters() -> Vec<Filter> {
    let mut filters = vec![Filter::Passthrough];
    for amount_percent in [0, 1, 50, 100] {
        filters.push(Filter::Grayscale { amount_percent });
        filters.push(Filter::Invert { amount_percent });
    }
    filters.extend([0, 100, 400].map(|gain_percent| Filter::Edges { gain_percent }));
    filters.extend([0, 1, 2, 7, 64].map(|radius_px| Filter::Blur { radius_px }));
    filters.extend([0, 2, 6, 16, 30, 128].map(|block_px| Filter::Pixelate { block_px }));
    filters
}

fn uploaded(backend: &CudaBackend, frame: &Frame) -> gpu::cuda::Surface {
    let mut surface = backend.surface().unwrap();
    backend.upload(frame, &mut surface).unwrap();
    surface
}

#[test]
fn every_filter_is_the_reference_bit_for_bit() {
    let Some((backend, _turn)) = backend() else {
        return;
    };
    println!("{}: kernels in {:?}", backend.name(), backend.compiled_in());
    let mut processor = backend.processor().unwrap();
    let mut random = Random::new(1);
    let mut scratch = Scratch::new();
    let (mut expected, mut got) = (Frame::default(), Frame::default());
    for (width, height) in [
        (1, 1),
        (1, 2),
        (2, 1),
        (3, 5),
        (16, 16),
        (129, 3),
        (64, 48),
        (641, 359),
        (1280, 720),
    ] {
        // Sizes near each other in one batch, so that a launch covers more than some of its items need.
        let cases: Vec<(Step, Frame)> = filters()
            .into_iter()
            .map(|filter| {
                let (width, height) = (width + random.below(3), height + random.below(3));
                (Step::Filter(filter), noise(&mut random, width, height))
            })
            .collect();
        let inputs: Vec<_> = cases
            .iter()
            .map(|(_, frame)| uploaded(&backend, frame))
            .collect();
        let mut outputs: Vec<_> = cases.iter().map(|_| backend.surface().unwrap()).collect();
        let works = cases.iter().zip(inputs.iter().zip(&mut outputs));
        let mut batch: Vec<_> = works
            .map(|((step, _), (input, output))| Work::new(step, input, output))
            .collect();
        processor.process(&mut batch).unwrap();
        assert!(batch.iter().all(|work| work.outcome.is_ok()));
        for ((step, frame), output) in cases.iter().zip(&outputs) {
            let Step::Filter(filter) = step else {
                unreachable!("all are filters")
            };
            reference::apply(*filter, frame, &mut expected, &mut scratch);
            backend.download(output, &mut got).unwrap();
            let (width, height) = (frame.width(), frame.height());
            assert!(got == expected, "{filter:?} of {width}x{height}");
        }
    }
    println!("{:?}", backend.usage());
}

#[test]
fn pictures_survive_the_way_there_and_back() {
    let Some((backend, _turn)) = backend() else {
        return;
    };
    let mut random = Random::new(2);
    let frames: Vec<Frame> = [(1, 1), (641, 359), (1920, 1080), (3, 8192), (255, 7)]
        .map(|(width, height)| noise(&mut random, width, height))
        .into();
    let surfaces: Vec<_> = frames
        .iter()
        .map(|frame| uploaded(&backend, frame))
        .collect();
    let mut back = Frame::default();
    for (frame, surface) in frames.iter().zip(&surfaces) {
        backend.download(surface, &mut back).unwrap();
        assert!(&back == frame, "{}x{}", frame.width(), frame.height());
    }
}

#[test]
fn a_full_device_is_full_and_the_context_lives() {
    let Some((backend, _turn)) = backend() else {
        return;
    };
    let neighbour = Cuda::new(0).open().unwrap();
    let frame = Frame::new(8192, 8192).unwrap();
    let passthrough = Step::Filter(Filter::Passthrough);
    // The first is full at its own limit, the second when the device is.
    let faults = [&backend, &neighbour].map(|backend| {
        let mut processor = backend.processor().unwrap();
        let large = uploaded(backend, &frame);
        let mut held = Vec::new();
        let fault = loop {
            let mut copy = backend.surface().unwrap();
            match processor.process_one(&passthrough, &large, &mut copy) {
                Ok(()) => held.push(copy),
                Err(gpu::process::Error::Device(fault)) => break fault,
                Err(other) => panic!("{other}"),
            }
        };
        println!("{} surfaces of 96 MiB, then: {fault}", held.len());
        assert!(matches!(fault, Fault::Full { .. }), "{fault}");
        assert!(!backend.context().is_lost());
        (fault, held)
    });
    assert!(faults[1].0.to_string().contains("cuMemAlloc"));
    drop(faults);
    let small = noise(&mut Random::new(3), 64, 48);
    let mut back = Frame::default();
    backend
        .download(&uploaded(&backend, &small), &mut back)
        .unwrap();
    assert!(back == small);
}

/// Breaks the context of a backend, and looks that it knows.
fn lose(backend: &CudaBackend) {
    let module = Module::compile(backend.context(), "illegal", ILLEGAL_PTX).unwrap();
    let function = module.function("illegal").unwrap();
    let grid = Grid {
        blocks: [1; 3],
        threads: [1; 3],
    };
    // SAFETY: none: the kernel writes where nothing is. The device keeps it to the context, which is what is tested.
    unsafe { function.launch(backend.stream(), grid, 8).unwrap() };
    let fault = backend.stream().settle(LIMIT).unwrap_err();
    println!("{fault}");
    assert!(matches!(fault, Fault::Lost { .. }), "{fault}");
    assert!(backend.context().is_lost());
    let frame = noise(&mut Random::new(4), 320, 180);
    assert_eq!(
        backend.upload(&frame, &mut backend.surface().unwrap()),
        Err(fault)
    );
}

/// Opens the device and sends a picture there and back.
fn open_anew(frame: &Frame) -> Result<(), String> {
    let again = Cuda::new(0).open().map_err(|why| why.to_string())?;
    let mut back = Frame::default();
    again
        .download(&uploaded(&again, frame), &mut back)
        .map_err(|why| why.to_string())?;
    assert!(back == *frame);
    Ok(())
}

#[test]
fn an_illegal_address_loses_one_backend_and_the_next_is_open_within_a_second() {
    let Some((backend, _turn)) = backend() else {
        return;
    };
    let frame = noise(&mut Random::new(4), 320, 180);
    lose(&backend);
    let since = Instant::now();
    drop(backend);
    open_anew(&frame).unwrap();
    let took = since.elapsed();
    println!("thrown away and opened anew in {} ms", took.as_millis());
    assert!(took < Duration::from_secs(1), "{took:?}");
}

/// The contexts beside one that is lost: whether they live is the driver's to say, and is printed (an H200's, driver 580, takes all of the
/// process with it, opens none while one of them is held, and did not at the first try afterwards). A lane tries again and again, and so does
/// this.
#[test]
fn contexts_beside_the_lost_one_live_or_are_thrown_away_with_it() {
    let Some((backend, _turn)) = backend() else {
        return;
    };
    let neighbour = Cuda::new(0).open().unwrap();
    let frame = noise(&mut Random::new(4), 320, 180);
    let there = uploaded(&neighbour, &frame);
    neighbour.stream().settle(LIMIT).unwrap();
    lose(&backend);
    drop(backend);
    let while_it_is_there = open_anew(&frame);
    println!("opened anew beside a neighbour: {while_it_is_there:?}");
    let mut back = Frame::default();
    match neighbour.download(&there, &mut back) {
        Ok(()) => assert!(back == frame, "the neighbour's picture is as it was"),
        Err(fault) => {
            println!("the neighbour was lost as well: {fault}");
            assert!(fault.is_lost());
        }
    }
    drop((there, neighbour));
    let since = Instant::now();
    while let Err(why) = open_anew(&frame) {
        assert!(since.elapsed() < LIMIT, "{why}");
        std::thread::sleep(Duration::from_millis(50));
    }
    println!(
        "opened anew {} ms after the last of them",
        since.elapsed().as_millis()
    );
}

#[test]
fn a_wait_has_an_end_and_an_event_knows_its_time() {
    let Some((backend, _turn)) = backend() else {
        return;
    };
    let (from, to) = (
        Event::timed(backend.context()).unwrap(),
        Event::timed(backend.context()).unwrap(),
    );
    from.record(backend.stream()).unwrap();
    let frame = noise(&mut Random::new(5), 1920, 1080);
    let surface = uploaded(&backend, &frame);
    to.record(backend.stream()).unwrap();
    to.wait("a copy", LIMIT).unwrap();
    let ns = to.since_ns(&from).unwrap();
    println!("a picture of 1080p went to the device in {} us", ns / 1000);
    assert!(ns > 0 && ns < 1_000_000_000);
    drop(surface);
}
