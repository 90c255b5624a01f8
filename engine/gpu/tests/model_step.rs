//! A model as a step: pictures in, pictures out, several at once.
#![forbid(unsafe_code)]

use gpu::model::{Model, Runtime, Source};
use gpu::process::Error;
use gpu::{Backend, Cpu, Filter, Frame, Psnr, Step, Work, psnr};
use kernels::Matrix;

/// A smooth picture, and the same with noise of ±16 on its luma, which is seeded.
fn pictures(width: usize, height: usize, seed: u64) -> (Frame, Frame) {
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut clean = Frame::new(width, height).unwrap();
    let [mut y, mut u, mut v] = clean.planes_mut();
    for (line, row) in y.rows_mut().enumerate() {
        for (x, p) in row.iter_mut().enumerate() {
            *p = 60 + (x * 90 / width) as u8 + (line * 60 / height) as u8;
        }
    }
    u.fill(120);
    v.fill(136);
    let mut noisy = clean.clone();
    for row in noisy.planes_mut()[0].rows_mut() {
        for p in row {
            *p = p.saturating_add_signed(chance.i8(-16..=16));
        }
    }
    (clean, noisy)
}

fn denoise() -> Step {
    Step::Model(Model::new(&Runtime::pure(), Source::built_in()))
}

fn luma_db(a: &Frame, b: &Frame) -> f64 {
    let Psnr { y, .. } = psnr(a, b).unwrap();
    y
}

#[test]
fn pictures_of_several_sizes_and_steps_are_one_batch() {
    let sizes = [(64, 48), (32, 32), (64, 48), (33, 17)];
    let inputs: Vec<_> = sizes
        .iter()
        .zip(1..)
        .map(|(&(width, height), seed)| pictures(width, height, seed))
        .collect();
    let (model, invert) = (
        denoise(),
        Step::Filter(Filter::Invert {
            amount_percent: 100,
        }),
    );
    let steps = [&model, &model, &model, &invert];
    let mut outputs = vec![Frame::default(); 4];
    let mut batch: Vec<_> = steps
        .iter()
        .zip(&inputs)
        .zip(&mut outputs)
        .map(|((step, (_, noisy)), output)| Work::new(step, noisy, output))
        .collect();
    let mut processor = Cpu.processor().unwrap();
    processor.process(&mut batch).unwrap();
    assert!(batch.iter().all(|work| work.outcome.is_ok()));
    drop(batch);
    for ((clean, noisy), output) in inputs.iter().zip(&outputs).take(3) {
        let (before, after) = (luma_db(clean, noisy), luma_db(clean, output));
        assert!(after > before + 2.0, "{before:.1} dB became {after:.1} dB");
        assert_eq!(
            output.matrix,
            Matrix::Bt601,
            "it says what it was made with"
        );
    }

    // Each alone gives the same.
    for (step, ((_, noisy), together)) in steps.iter().zip(inputs.iter().zip(&outputs)) {
        let mut alone = Frame::default();
        processor.process_one(step, noisy, &mut alone).unwrap();
        assert!(alone == *together);
    }
}

#[test]
fn a_picture_that_a_model_does_not_take_harms_no_other() {
    let (_, noisy) = pictures(32, 32, 7);
    let (empty, model) = (Frame::default(), denoise());
    let (mut a, mut b) = (Frame::default(), Frame::new(8, 8).unwrap());
    let mut batch = [
        Work::new(&model, &noisy, &mut a),
        Work::new(&model, &empty, &mut b),
    ];
    Cpu.processor().unwrap().process(&mut batch).unwrap();
    assert!(batch.iter().all(|work| work.outcome.is_ok()));
    assert_eq!((a.width(), a.height()), (32, 32));
    assert!(b.is_empty(), "nothing in, nothing out");
}

#[test]
fn a_library_that_lacks_a_models_operator_is_a_refusal_by_name() {
    let mut bytes = include_bytes!("../models/denoise.onnx").to_vec();
    // The first convolution becomes an operator that nobody has.
    let at = bytes.windows(4).position(|w| w == b"Conv").unwrap();
    bytes[at..at + 4].copy_from_slice(b"Cnov");
    let source = Source::parse("onnx/odd", bytes).unwrap();
    let step = Step::Model(Model::new(&Runtime::pure(), source));
    let (_, noisy) = pictures(32, 32, 9);
    let error = Cpu
        .processor()
        .unwrap()
        .process_one(&step, &noisy, &mut Frame::default())
        .unwrap_err();
    let Error::Refused(why) = error else {
        panic!("{error:?}")
    };
    assert!(why.starts_with("onnx/odd: "), "{why}");
}

#[test]
fn models_are_made_ready_ahead_and_one_that_cannot_be_is_named() {
    let mut bytes = include_bytes!("../models/denoise.onnx").to_vec();
    let at = bytes.windows(4).position(|w| w == b"Conv").unwrap();
    bytes[at..at + 4].copy_from_slice(b"Cnov");
    let runtime = Runtime::pure();
    let odd = Model::new(&runtime, Source::parse("onnx/odd", bytes).unwrap());
    let good = Model::new(&runtime, Source::built_in());
    let why = Cpu.processor().unwrap().prepare(&[good, odd]);
    assert_eq!(why.len(), 1);
    assert!(why[0].starts_with("onnx/odd: "), "{why:?}");
}
