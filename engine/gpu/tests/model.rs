//! Models through both libraries: the one that is built in, and small ones written here byte by byte.
//!
//! ONNX Runtime is found through `MILLSTREAM_ONNXRUNTIME`, a path to its library; PyPI's `onnxruntime` has one, as
//! `onnxruntime/capi/libonnxruntime.so.*`. Where it is not set those tests are skipped and say so, unless
//! `MILLSTREAM_REQUIRE_TOOLS` is set.

mod onnx;

use std::path::PathBuf;

use gpu::model::{
    Batch, Element, Error, Fault, Layout, Place, Runtime, Scaling, Session, Side, Source,
};
use onnx::{Model, Tensor};

const ONE_THREAD: Place = Place::Cpu { threads: 1 };

#[test]
fn the_built_in_model_takes_noise_out_with_tract() {
    denoises(&Runtime::pure());
}

#[test]
fn the_built_in_model_takes_noise_out_with_onnx_runtime() {
    if let Some(runtime) = onnx_runtime() {
        denoises(&runtime);
    }
}

fn denoises(runtime: &Runtime) {
    let source = Source::built_in();
    assert_eq!(source.id(), "onnx/denoise");
    let mut session = runtime.session(&source, ONE_THREAD).expect("a session");
    let (height, width) = (96, 128);
    let clean = picture(height, width, 1);
    let noisy = noisy(&clean, 12.0 / 255.0);
    let mut denoised = Vec::new();
    let shape = session.run(&noisy, [1, 3, height, width], &mut denoised);
    assert_eq!(shape, Ok([1, 3, height, width]));
    let (before, after) = (decibels(&noisy, &clean), decibels(&denoised, &clean));
    println!("noisy {before:.2} dB, denoised {after:.2} dB");
    assert!((26.0..27.5).contains(&before), "{before}");
    assert!(after > before + 4.0, "{before} to {after}");
}

#[test]
fn both_libraries_give_the_same() {
    let Some(runtime) = onnx_runtime() else {
        return;
    };
    let source = Source::built_in();
    let mut ours = Runtime::pure().session(&source, ONE_THREAD).unwrap();
    let mut theirs = runtime.session(&source, Place::Cpu { threads: 2 }).unwrap();
    for (height, width) in [(1, 1), (37, 50), (90, 160)] {
        let input = picture(height, width, 2);
        let shape = [1, 3, height, width];
        let (mut a, mut b) = (Vec::new(), Vec::new());
        ours.run(&input, shape, &mut a).unwrap();
        theirs.run(&input, shape, &mut b).unwrap();
        let apart = largest_difference(&a, &b);
        assert!(apart < 1e-4, "{width}x{height}: {apart}");
    }
}

#[test]
fn a_batch_of_four_is_four_singles() {
    for runtime in both() {
        let mut session = runtime.session(&Source::built_in(), ONE_THREAD).unwrap();
        let (height, width) = (40, 56);
        let pictures: Vec<_> = (0..4).map(|seed| picture(height, width, seed)).collect();
        let mut batch = Vec::new();
        let shape = session.run(&pictures.concat(), [4, 3, height, width], &mut batch);
        assert_eq!(shape, Ok([4, 3, height, width]));
        let mut single = Vec::new();
        for (picture, from_batch) in pictures.iter().zip(batch.chunks(3 * height * width)) {
            session
                .run(picture, [1, 3, height, width], &mut single)
                .unwrap();
            let apart = largest_difference(&single, from_batch);
            assert!(apart < 1e-5, "{}: {apart}", runtime.describe());
        }
    }
}

#[test]
fn more_shapes_than_are_kept_ready_give_the_same_each_time() {
    let mut session = Runtime::pure()
        .session(&Source::built_in(), ONE_THREAD)
        .unwrap();
    let mut first: Vec<Vec<f32>> = Vec::new();
    for round in 0..2 {
        for i in 0..6 {
            let input = picture(8 + i, 16, 3);
            let mut output = Vec::new();
            session.run(&input, [1, 3, 8 + i, 16], &mut output).unwrap();
            match round {
                0 => first.push(output),
                _ => assert_eq!(first[i], output),
            }
        }
    }
}

#[test]
fn an_upscaler_gives_a_larger_picture() {
    for runtime in both() {
        let source = Source::parse("onnx/twice", Model::twice().bytes()).expect("a source");
        assert_eq!(source.layout().factor, 2);
        let mut session = runtime.session(&source, ONE_THREAD).unwrap();
        let (height, width) = (5, 7);
        let input = picture(height, width, 4);
        let mut output = Vec::new();
        let shape = session.run(&input, [1, 3, height, width], &mut output);
        assert_eq!(shape, Ok([1, 3, 10, 14]), "{}", runtime.describe());
        for (i, got) in output.iter().enumerate() {
            let (c, y, x) = (i / 140, i / 14 % 10, i % 14);
            let from = input[(c * height + y / 2) * width + x / 2];
            assert!((got - from).abs() < 1e-6, "{i}");
        }
    }
}

#[test]
fn halves_go_in_and_come_out() {
    let bits = |v: f32| half::f16::from_f32(v).to_bits();
    for runtime in both() {
        let mut model = Model::sum();
        model.element = 10;
        let source = Source::parse("onnx/sum16", model.bytes()).unwrap();
        assert_eq!(source.layout().element, Element::F16);
        let mut session = runtime.session(&source, ONE_THREAD).unwrap();
        let input: Vec<u16> = (0..12).map(|i| bits(i as f32 / 8.0)).collect();
        let doubled: Vec<u16> = (0..12).map(|i| bits(i as f32 / 4.0)).collect();
        let mut output = vec![7; 3];
        let shape = session.run_f16(&input, [1, 3, 2, 2], &mut output);
        assert_eq!((shape, output), (Ok([1, 3, 2, 2]), doubled));
        let fault = session.run(&[0.0; 12], [1, 3, 2, 2], &mut Vec::new());
        assert_eq!(fault, Err(Fault::Element(Element::F16)));
    }
}

#[test]
fn a_wrong_batch_is_told_and_the_session_goes_on() {
    for runtime in both() {
        let mut model = Model::sum();
        model.metadata = vec![
            ("millstream.width", "multiple 8"),
            ("millstream.batch", "max 2"),
        ];
        let source = Source::parse("onnx/sum", model.bytes()).unwrap();
        let mut session = runtime.session(&source, ONE_THREAD).unwrap();
        let mut output = vec![1.0];
        let mut run = |len: usize, shape| session.run(&vec![0.5; len], shape, &mut output);
        for shape in [
            [1, 1, 8, 8],
            [0, 3, 8, 8],
            [3, 3, 8, 8],
            [1, 3, 0, 8],
            [1, 3, 8, 0],
            [1, 3, 8, 12],
            [1, 3, 16_385, 8],
            [usize::MAX, 3, usize::MAX, usize::MAX],
        ] {
            let fault = run(192, shape);
            assert!(matches!(fault, Err(Fault::Shape { .. })), "{fault:?}");
        }
        let large = [2, 3, 16_384, 16_384];
        assert_eq!(run(1, large), Err(Fault::TooLarge { shape: large }));
        let short = Fault::Length {
            len: 191,
            expected: 192,
        };
        assert_eq!(run(191, [1, 3, 8, 8]), Err(short));
        assert_eq!(run(192, [1, 3, 8, 8]), Ok([1, 3, 8, 8]));
        assert_eq!(output, vec![1.0; 192]);
    }
}

#[test]
fn a_model_that_lies_about_its_output_gives_a_fault() {
    for runtime in both() {
        let mut model = Model::sum();
        model.output_dims = ["n", "3", "H", "W"];
        model.metadata = vec![("millstream.factor", "2")];
        let source = Source::parse("onnx/liar", model.bytes()).unwrap();
        let mut session = runtime.session(&source, ONE_THREAD).unwrap();
        let mut output = vec![1.0];
        let fault = session.run(&[0.5; 12], [1, 3, 2, 2], &mut output);
        let expected = Fault::Output {
            got: vec![1, 3, 2, 2],
            expected: [1, 3, 4, 4],
        };
        assert_eq!((fault, output), (Err(expected), vec![]));
    }
}

#[test]
fn a_device_that_is_not_there_is_told() {
    let cuda = Place::Cuda {
        device: 0,
        stream: None,
    };
    for runtime in both() {
        // A library with the provider may find a device, and then there is nothing to see here.
        if runtime.describe().contains("built with CUDA") {
            continue;
        }
        let error = runtime.session(&Source::built_in(), cuda).err();
        let Some(Error::Unavailable { place, reason }) = error else {
            panic!("{error:?}");
        };
        println!("{}: {reason}", runtime.describe());
        assert!(place == "CUDA" && reason.contains("CUDA"), "{reason}");
        let mut session = runtime.session(&Source::built_in(), ONE_THREAD).unwrap();
        // SAFETY: a session on the CPU looks at no address.
        let fault = unsafe { session.run_on_device(16, [1, 3, 2, 2], 32) };
        assert_eq!(fault, Err(Fault::NotOnDevice));
        let none = runtime.session(&Source::built_in(), Place::Cpu { threads: 0 });
        assert!(matches!(none, Err(Error::Unavailable { .. })));
    }
}

#[test]
fn cut_and_random_files_are_refused() {
    let whole = built_in_bytes();
    for len in (0..whole.len()).step_by(53) {
        let cut = Source::parse("onnx/cut", whole[..len].to_vec());
        assert!(cut.is_err(), "{len} bytes");
    }
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..500 {
        let mut bytes = vec![0; rng.usize(1..400)];
        rng.fill(&mut bytes);
        assert!(Source::parse("onnx/random", bytes).is_err());
    }
    // One byte changed may still be a model; what matters is that the answer is an answer.
    let mut refused = 0;
    for _ in 0..2000 {
        let mut bytes = whole.clone();
        let at = rng.usize(..bytes.len().min(700));
        bytes[at] ^= 1 << rng.u8(..8);
        refused += usize::from(Source::parse("onnx/flipped", bytes).is_err());
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn graphs_that_no_library_can_run_are_refused() {
    type Change = fn(&mut Model);
    let wrong: [(&str, Change); 5] = [
        ("operator", |model| model.nodes[0].op = "Sumo"),
        ("domain", |model| {
            model.nodes[0].domain = "com.example";
            model.nodes[0].op = "Sumo";
        }),
        ("edge", |model| model.nodes[0].inputs = vec!["x", "nowhere"]),
        ("circle", |model| model.nodes[0].inputs = vec!["x", "y"]),
        ("output", |model| model.nodes[0].outputs = vec!["z"]),
    ];
    for runtime in both() {
        for (what, change) in &wrong {
            let mut model = Model::sum();
            change(&mut model);
            let source = Source::parse("onnx/wrong", model.bytes()).unwrap();
            let error = runtime.session(&source, ONE_THREAD).err();
            println!("{what}: {error:?}");
            assert!(
                matches!(error, Some(Error::Refused { .. })),
                "{what}: {error:?}"
            );
        }
    }
}

#[test]
fn shapes_that_are_no_picture_are_refused() {
    type Dims = [&'static str; 4];
    let shapes: [(Dims, Dims); 8] = [
        (["n", "3", "0", "w"], ["n", "3", "0", "w"]),
        (["n", "3", "-4", "w"], ["n", "3", "-4", "w"]),
        (["n", "4", "h", "w"], ["n", "4", "h", "w"]),
        (["n", "3", "1099511627776", "w"], ["n", "3", "h", "w"]),
        (["n", "3", "h", "w"], ["n", "3", "360", "640"]),
        (["n", "3", "36", "64"], ["n", "3", "54", "96"]),
        (["n", "3", "36", "64"], ["n", "3", "72", "64"]),
        (["2", "3", "h", "w"], ["1", "3", "h", "w"]),
    ];
    for (input, output) in shapes {
        let mut model = Model::sum();
        (model.input_dims, model.output_dims) = (input, output);
        let error = parse(&model).err();
        assert!(
            matches!(error, Some(Error::Shape(_))),
            "{input:?} {error:?}"
        );
    }
    let mut model = Model::sum();
    model.element = 2;
    assert!(matches!(parse(&model), Err(Error::Shape(_))));
}

#[test]
fn constants_without_their_numbers_are_refused() {
    for (dims, numbers) in [
        (vec![2, 2], 3),
        (vec![1 << 40], 1),
        (vec![1 << 40, 1 << 40], 0),
        (vec![-1], 1),
        (vec![0], 1),
    ] {
        let mut model = Model::sum();
        model.constants = vec![Tensor {
            name: "k",
            dims: dims.clone(),
            numbers: vec![0.0; numbers],
        }];
        let error = parse(&model).err();
        assert!(
            matches!(error, Some(Error::Broken(_))),
            "{dims:?} {error:?}"
        );
    }
}

#[test]
fn metadata_says_what_shapes_do_not() {
    let mut model = Model::sum();
    model.input_dims = ["", "", "", ""];
    model.output_dims = ["", "", "", ""];
    let missing = |model: &Model| match parse(model) {
        Err(Error::Missing { key, .. }) => key,
        other => panic!("{other:?}"),
    };
    assert_eq!(missing(&model), "millstream.layout");
    model.metadata.push(("millstream.layout", "NCHW RGB"));
    assert_eq!(missing(&model), "millstream.factor");
    model.metadata.push(("millstream.factor", "1"));
    model
        .metadata
        .push(("millstream.mean", "0.485, 0.456 0.406"));
    assert_eq!(missing(&model), "millstream.output_range");
    model.metadata.extend([
        ("millstream.std", "0.5"),
        ("millstream.output_range", "0..255"),
        ("millstream.height", "multiple 8"),
        ("millstream.width", "640"),
        ("millstream.batch", "4"),
        ("millstream.licence", "MIT"),
        ("somebody.else", "is left alone"),
    ]);
    let expected = Layout {
        input: "x".into(),
        output: "y".into(),
        element: Element::F32,
        batch: Batch::Fixed(4),
        width: Side::Fixed(640),
        height: Side::Multiple(8),
        scaling: Scaling {
            mean: [0.485, 0.456, 0.406],
            scale: [2.0; 3],
        },
        output_scaling: Scaling {
            mean: [0.0; 3],
            scale: [255.0; 3],
        },
        factor: 1,
        licence: Some("MIT".into()),
        origin: None,
        description: None,
    };
    assert_eq!(parse(&model).unwrap().layout(), &expected);
    model.metadata = vec![
        ("millstream.range", "-1..1"),
        ("millstream.layout", "NCHW RGB"),
        ("millstream.factor", "1"),
    ];
    let layout = parse(&model).unwrap().layout().clone();
    let centred = Scaling {
        mean: [0.5; 3],
        scale: [2.0; 3],
    };
    assert_eq!((layout.scaling, layout.output_scaling), (centred, centred));
}

#[test]
fn metadata_that_makes_no_sense_is_refused() {
    for (key, value) in [
        ("millstream.layout", "NHWC RGB"),
        ("millstream.input", "z"),
        ("millstream.output", "z"),
        ("millstream.range", "255"),
        ("millstream.range", "1..0"),
        ("millstream.mean", "1 2"),
        ("millstream.mean", "inf"),
        ("millstream.std", "0"),
        ("millstream.std", "1 1 -1"),
        ("millstream.std", "1e-45"),
        ("millstream.width", "wide"),
        ("millstream.width", "multiple 0"),
        ("millstream.batch", "0"),
        ("millstream.batch", "max 100000"),
        ("millstream.factor", "2"),
        ("millstream.factor", "9"),
        ("millstream.mena", "0"),
    ] {
        let mut model = Model::sum();
        model.metadata = vec![(key, value), ("millstream.output_range", "0..1")];
        let error = parse(&model).err();
        assert!(
            matches!(&error, Some(Error::Metadata { key: named, .. }) if named == key),
            "{key} = {value}: {error:?}"
        );
    }
    let mut twice = Model::sum();
    twice.metadata = vec![("millstream.batch", "1"), ("millstream.batch", "2")];
    assert!(matches!(parse(&twice), Err(Error::Metadata { .. })));
}

#[test]
fn ids_are_names_of_files() {
    for id in [
        "denoise",
        "onnx/",
        "onnx/a b",
        "onnx/../a/b",
        "onnx/é",
        "ONNX/a",
        &format!("onnx/{}", "a".repeat(65)),
    ] {
        let error = Source::parse(id, built_in_bytes()).err();
        assert_eq!(error, Some(Error::Id(id.into())));
    }
    assert!(Source::parse("onnx/Some_model-v1.2", built_in_bytes()).is_ok());
}

#[test]
fn sessions_and_sources_cross_threads() {
    fn sent<T: Send>() {}
    fn shared<T: Send + Sync>() {}
    sent::<Session>();
    shared::<Source>();
    shared::<Runtime>();
    assert!(Runtime::pure().describe().starts_with("tract "));
}

/// tract, and ONNX Runtime where there is one.
fn both() -> impl Iterator<Item = Runtime> {
    [Some(Runtime::pure()), onnx_runtime()]
        .into_iter()
        .flatten()
}

fn onnx_runtime() -> Option<Runtime> {
    let why = match std::env::var_os("MILLSTREAM_ONNXRUNTIME") {
        None => "MILLSTREAM_ONNXRUNTIME names no library".to_owned(),
        Some(path) => {
            let runtime = Runtime::load(&[PathBuf::from(path)]);
            if runtime.describe().starts_with("ONNX Runtime 1.") {
                return Some(runtime);
            }
            runtime.describe()
        }
    };
    assert!(
        std::env::var_os("MILLSTREAM_REQUIRE_TOOLS").is_none(),
        "MILLSTREAM_REQUIRE_TOOLS is set, and {why}"
    );
    println!("SKIPPED: {why}");
    None
}

fn parse(model: &Model) -> Result<Source, Error> {
    Source::parse("onnx/test", model.bytes())
}

fn built_in_bytes() -> Vec<u8> {
    include_bytes!("../models/denoise.onnx").to_vec()
}

/// Planar RGB 0..1: slopes, and a disc and bars with hard edges, moved about by `seed`.
fn picture(height: usize, width: usize, seed: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(3 * height * width);
    for c in 0..3 {
        for y in 0..height {
            for x in 0..width {
                let (across, down) = (x as f32 / width as f32, y as f32 / height as f32);
                let slope = 0.2 + 0.3 * across + 0.2 * down + 0.05 * c as f32;
                let disc = (across - 0.3 - 0.05 * seed as f32).hypot(down - 0.5) < 0.2;
                let bar = across > 0.7 && (y / 6 + seed).is_multiple_of(2);
                out.push(match (disc, bar) {
                    (true, _) => [0.9, 0.5, 0.2][c],
                    (_, true) => [0.1, 0.4, 0.7][c],
                    _ => slope,
                });
            }
        }
    }
    out
}

/// Adds Gaussian noise, by Box and Muller, clipped to 0..1.
fn noisy(clean: &[f32], sigma: f32) -> Vec<f32> {
    let mut rng = fastrand::Rng::with_seed(11);
    let mut normal = || {
        let (a, b) = (1.0 - rng.f32(), rng.f32());
        (-2.0 * a.ln()).sqrt() * (std::f32::consts::TAU * b).cos()
    };
    clean
        .iter()
        .map(|v| (v + sigma * normal()).clamp(0.0, 1.0))
        .collect()
}

fn decibels(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let squares = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2));
    -10.0 * (squares.sum::<f64>() / a.len() as f64).log10()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f32::max)
}
