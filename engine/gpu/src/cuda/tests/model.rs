//! Models on a driver that is none: which contexts their tensors cross between, in which order, and what is left after faults.
//!
//! A session here is one of tract, whose runs are put into the primary context's stream as ONNX Runtime's are; so the pixels are
//! those of the CPU's processor, bit for bit, and a wait that is missing between the streams shows in them.

#[path = "../../../tests/onnx/mod.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod onnx;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::super::model::{Models, Open, Run, open as open_on_cuda};
use super::super::primary::Primaries;
use super::*;
use crate::model::{self, Element, Model, Place, Runtime, Session, Source};
use crate::process::Error;

thread_local! {
    /// Ids of the models that were opened.
    static OPENED: RefCell<Vec<String>> = RefCell::default();
    /// What becomes of the next call of the library.
    static NEXT: Cell<Next> = const { Cell::new(Next::Well) };
}

#[derive(Clone, Copy, Default)]
enum Next {
    #[default]
    Well,
    /// An error, and no more.
    Fails,
    /// An error, and the context is poisoned.
    Poisons,
}

/// Runs a model in a stream of the primary context.
struct InStream {
    session: Rc<RefCell<Session>>,
    stream: usize,
}

fn open_session(model: &Model, device: u32, stream: &Stream) -> Result<Box<dyn Run>, model::Error> {
    let primary = fake::enter_primary();
    assert_eq!((device, stream.context().raw() as usize), (0, primary));
    OPENED.with_borrow_mut(|opened| opened.push(model.id().to_owned()));
    if matches!(NEXT.take(), Next::Fails) {
        return Err(model::Error::Unavailable {
            place: "CUDA",
            reason: "no libcudnn.so.9".to_owned(),
        });
    }
    let session = model.session(Place::Cpu { threads: 1 })?;
    Ok(Box::new(InStream {
        session: Rc::new(RefCell::new(session)),
        stream: stream.raw() as usize,
    }))
}

impl Run for InStream {
    unsafe fn run(
        &mut self,
        input: u64,
        shape: [usize; 4],
        output: u64,
    ) -> Result<(), model::Fault> {
        let primary = fake::enter_primary();
        fake::with(|state| {
            assert_eq!(state.owner(input as usize), primary);
            assert_eq!(state.owner(output as usize), primary);
        });
        match NEXT.take() {
            Next::Well => {}
            Next::Fails => return Err(model::Fault::Library("no such algorithm".to_owned())),
            Next::Poisons => {
                fake::poison_primary(700);
                return Err(model::Fault::Library("CUDA failure 700".to_owned()));
            }
        }
        let session = Rc::clone(&self.session);
        fake::call(self.stream, "model", shape[0], move || {
            let mut session = session.borrow_mut();
            match session.layout().element {
                Element::F32 => on(input, shape, output, |input, output| {
                    session.run(input, shape, output)
                }),
                Element::F16 => on(input, shape, output, |input, output| {
                    session.run_f16(input, shape, output)
                }),
            }
        });
        Ok(())
    }
}

/// Runs on tensors at addresses, which are those of host memory here.
fn on<T: Copy>(
    input: u64,
    shape: [usize; 4],
    output: u64,
    run: impl FnOnce(&[T], &mut Vec<T>) -> Result<[usize; 4], model::Fault>,
) {
    let numbers = shape.iter().product();
    let from = std::ptr::with_exposed_provenance::<T>(input as usize);
    // SAFETY: the caller of `run` promises that the tensor is there until the stream has done this.
    let from = unsafe { std::slice::from_raw_parts(from, numbers) };
    let mut out = Vec::new();
    run(from, &mut out).unwrap();
    let to = std::ptr::with_exposed_provenance_mut::<T>(output as usize);
    // SAFETY: as above, and the output's shape is the layout's.
    unsafe { std::ptr::copy_nonoverlapping(out.as_ptr(), to, out.len()) };
}

fn primaries() -> &'static Primaries {
    Box::leak(Box::default())
}

fn processor(backend: &CudaBackend, primaries: &'static Primaries) -> Processor {
    processor_with(backend, primaries, open_session)
}

fn processor_with(backend: &CudaBackend, primaries: &'static Primaries, open: Open) -> Processor {
    let (shared, kernels) = (&backend.shared, &backend.kernels);
    let mut processor = Processor::new(shared, kernels).unwrap();
    processor.models = Models::with(shared, kernels, primaries, open).unwrap();
    processor
}

fn denoise() -> Step {
    Step::Model(Model::new(&Runtime::pure(), Source::built_in()))
}

fn step(id: &str, model: onnx::Model) -> Step {
    let source = Source::parse(id, model.bytes()).unwrap();
    Step::Model(Model::new(&Runtime::pure(), source))
}

/// `y = x + x`, for just four pictures.
fn sum_of_four() -> Step {
    let mut sum = onnx::Model::sum();
    sum.input_dims[0] = "4";
    sum.output_dims[0] = "4";
    step("onnx/four", sum)
}

/// What the CPU's processor makes of it.
fn on_cpu(step: &Step, frame: &Frame) -> Frame {
    let mut output = Frame::default();
    let mut processor = crate::Cpu.processor().unwrap();
    processor.process_one(step, frame, &mut output).unwrap();
    output
}

/// The outcomes of a batch, and the surfaces.
fn processed(
    backend: &CudaBackend,
    processor: &mut Processor,
    cases: &[(&Step, &Frame)],
) -> (Vec<Result<(), Error>>, Vec<Surface>) {
    let inputs: Vec<_> = cases.iter().map(|(_, f)| uploaded(backend, f)).collect();
    let mut outputs: Vec<_> = cases.iter().map(|_| backend.surface().unwrap()).collect();
    let works = cases.iter().zip(inputs.iter().zip(&mut outputs));
    let mut batch: Vec<_> = works
        .map(|((step, _), (input, output))| Work::new(step, input, output))
        .collect();
    processor.process(&mut batch).unwrap();
    let outcomes = batch.into_iter().map(|work| work.outcome).collect();
    (outcomes, outputs)
}

fn refusal(outcome: &Result<(), Error>) -> &str {
    match outcome {
        Err(Error::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn pictures_of_one_size_and_model_are_one_run_and_none_sees_the_host() {
    let backend = open();
    let mut processor = processor(&backend, primaries());
    let ours = backend.context().raw() as usize;
    let (denoise, four, invert) = (
        denoise(),
        sum_of_four(),
        Step::Filter(Filter::Invert {
            amount_percent: 100,
        }),
    );
    let twice = step("onnx/twice", onnx::Model::twice());
    let frames: Vec<Frame> = (0..8)
        .map(|seed| match seed {
            2 | 5 => noise(33, 17, seed),
            _ => noise(64, 48, seed),
        })
        .collect();
    let steps = [
        &denoise, &denoise, &denoise, &invert, &four, &denoise, &four, &twice,
    ];
    let cases: Vec<_> = steps.iter().copied().zip(&frames).collect();
    // Again and again: what is lent again is as good as new, events lag, and either stream may be the quicker one.
    for round in 0..4 {
        fake::with(|state| {
            state.lag = 5;
            state.primary_runs_ahead = round % 2 == 1;
            state.launches.clear();
            state.crossed.clear();
        });
        let before = backend.usage();
        let (outcomes, outputs) = processed(&backend, &mut processor, &cases);
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(fake::current(), ours, "our context is current again");
        let usage = backend.usage();
        assert_eq!(usage.from_device_bytes, before.from_device_bytes);
        // Eight pictures went up for the test; and an item a picture and kernel, two for a model and two to fill up the four.
        let pictures = [64, 33].map(|width| noise(width, 2, 0).width().next_multiple_of(256));
        let pictures = 6 * pictures[0] * 72 + 2 * pictures[1] * 26;
        let items = (7 * 2 + 2 + 1) * size_of::<kernels::Item>();
        let up = usage.to_device_bytes - before.to_device_bytes;
        assert_eq!(up, (pictures + items) as u64);

        for ((step, frame), output) in cases.iter().zip(&outputs) {
            let expected = match step {
                Step::Filter(filter) => filtered(*filter, frame),
                Step::Model(_) => on_cpu(step, frame),
            };
            assert!(
                downloaded(&backend, output) == expected,
                "round {round}: {step:?}"
            );
        }
        let [large, small, four, out] = [
            2 * 3 * 64 * 48 * 4,
            2 * 3 * 33 * 17 * 4,
            4 * 3 * 64 * 48 * 4,
            4 * 3 * 64 * 48 * 4,
        ];
        let primary = fake::with(|state| state.primary);
        let one = large / 2;
        let there = |bytes| (ours, primary, bytes);
        let back = |bytes| (primary, ours, bytes);
        let crossed = fake::with(|state| state.crossed.clone());
        assert_eq!(
            crossed,
            [
                there(large),
                back(large),
                there(small),
                back(small),
                there(four),
                back(four),
                there(one),
                back(out),
            ]
        );
        let ran = fake::with(|state| state.launches.clone());
        let ran: Vec<_> = ran.iter().map(|(name, n)| (name.as_str(), *n)).collect();
        let run = |pictures, works, inward, outward| {
            [
                ("to_tensor", pictures),
                ("across", inward),
                ("model", pictures),
                ("across", outward),
                ("from_tensor", works),
            ]
        };
        let expected = [
            &[("blend", 1)][..],
            &run(2, 2, large, large),
            &run(2, 2, small, small),
            &run(4, 2, four, four),
            &run(1, 1, one, out),
        ]
        .concat();
        assert_eq!(ran, expected);
    }
    assert!(backend.remarks().is_empty());
    drop((processor, backend));
    assert_eq!(fake::held(), NOTHING);
}

#[test]
fn halves_cross_as_halves() {
    let backend = open();
    let mut processor = processor(&backend, primaries());
    let mut sum = onnx::Model::sum();
    sum.element = 10;
    let step = step("onnx/half", sum);
    let frame = noise(35, 21, 3);
    let (outcomes, outputs) = processed(&backend, &mut processor, &[(&step, &frame)]);
    assert_eq!(outcomes, [Ok(())]);
    assert!(downloaded(&backend, &outputs[0]) == on_cpu(&step, &frame));
    let bytes = fake::with(|state| state.crossed[0].2);
    assert_eq!(bytes, 3 * 35 * 21 * 2);
}

/// By the sessions of a release build: tract has no CUDA form.
#[test]
fn without_cuda_for_models_they_run_on_the_cpu_and_that_is_told_once() {
    let backend = open();
    let mut processor = processor_with(&backend, primaries(), open_on_cuda);
    let (denoise, edges) = (denoise(), Step::Filter(Filter::Edges { gain_percent: 100 }));
    let frames: Vec<Frame> = (0..10).map(|seed| noise(64, 40, seed)).collect();
    let mut cases: Vec<_> = frames.iter().map(|frame| (&denoise, frame)).collect();
    cases[4].0 = &edges;
    for _ in 0..2 {
        let before = backend.usage().from_device_bytes;
        let (outcomes, outputs) = processed(&backend, &mut processor, &cases);
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        let down = backend.usage().from_device_bytes - before;
        assert_eq!(down, 9 * 256 * 60, "each picture but the filtered one");
        for ((step, frame), output) in cases.iter().zip(&outputs) {
            let expected = match step {
                Step::Filter(filter) => filtered(*filter, frame),
                Step::Model(_) => on_cpu(step, frame),
            };
            assert!(downloaded(&backend, output) == expected);
        }
        let remarks = backend.remarks();
        let [remark] = &remarks[..] else {
            panic!("{remarks:?}")
        };
        assert!(
            remark.starts_with("model onnx/denoise runs on the CPU: tract "),
            "{remark}"
        );
        assert!(remark.contains("has no CUDA form"), "{remark}");
        assert_eq!(fake::with(|state| state.primary), 0, "it was let go of");
        assert_eq!(fake::current(), backend.context().raw() as usize);
    }
    let empty = backend.surface().unwrap();
    let mut output = uploaded(&backend, &frames[0]);
    processor
        .process_one(&denoise, &empty, &mut output)
        .unwrap();
    assert!(output.is_empty());
    drop((processor, empty, output, backend));
    assert_eq!(fake::held(), NOTHING);
}

#[test]
fn a_model_that_cuda_refuses_leaves_the_others_where_they_are() {
    let backend = open();
    let mut processor = processor(&backend, primaries());
    let (denoise, four) = (denoise(), sum_of_four());
    let frame = noise(64, 48, 1);
    assert_eq!(
        processed(&backend, &mut processor, &[(&denoise, &frame)]).0,
        [Ok(())]
    );
    NEXT.set(Next::Fails);
    let cases = [(&four, &frame), (&denoise, &frame)];
    let (outcomes, outputs) = processed(&backend, &mut processor, &cases);
    assert_eq!(outcomes, [Ok(()), Ok(())]);
    for ((step, frame), output) in cases.iter().zip(&outputs) {
        assert!(downloaded(&backend, output) == on_cpu(step, frame));
    }
    assert_eq!(
        backend.remarks(),
        ["model onnx/four runs on the CPU: no libcudnn.so.9"]
    );
    assert_eq!(OPENED.take(), ["onnx/denoise", "onnx/four"]);
}

#[test]
fn four_models_are_kept_and_the_longest_unused_goes() {
    let backend = open();
    let mut processor = processor(&backend, primaries());
    let frame = noise(8, 8, 1);
    let steps: Vec<_> = ["onnx/a", "onnx/b", "onnx/c", "onnx/d", "onnx/e"]
        .map(|id| step(id, onnx::Model::sum()))
        .into();
    for at in [0, 1, 2, 3, 0, 4, 0, 1] {
        let (outcomes, _) = processed(&backend, &mut processor, &[(&steps[at], &frame)]);
        assert_eq!(outcomes, [Ok(())]);
    }
    let ids = ["onnx/a", "onnx/b", "onnx/c", "onnx/d", "onnx/e", "onnx/b"];
    assert_eq!(OPENED.take(), ids);
}

#[test]
fn a_run_that_fails_costs_its_pictures_and_nothing_else() {
    let backend = open();
    let mut processor = processor(&backend, primaries());
    let (denoise, invert) = (
        denoise(),
        Step::Filter(Filter::Invert { amount_percent: 9 }),
    );
    let frame = noise(64, 48, 1);
    let cases = [(&denoise, &frame), (&invert, &frame), (&denoise, &frame)];
    assert!(processed(&backend, &mut processor, &cases).0[0].is_ok());
    NEXT.set(Next::Fails);
    let (outcomes, _) = processed(&backend, &mut processor, &cases);
    assert_eq!(refusal(&outcomes[0]), "onnx/denoise: no such algorithm");
    assert_eq!((&outcomes[1], &outcomes[2]), (&Ok(()), &outcomes[0]));
    assert_eq!(fake::current(), backend.context().raw() as usize);
    // A full device, too, at any of these.
    fake::plant("device_primary_ctx_retain", 2);
    let other = self::processor(&backend, primaries());
    let (outcomes, _) = processed(&backend, &mut { other }, &cases);
    let full = matches!(outcomes[0], Err(Error::Device(Fault::Full { .. })));
    assert!(full && outcomes[1].is_ok(), "{outcomes:?}");
    fake::plant("memcpy_peer_async", 2);
    let (outcomes, _) = processed(&backend, &mut processor, &cases);
    let full = matches!(outcomes[0], Err(Error::Device(Fault::Full { .. })));
    assert!(full && outcomes[1].is_ok(), "{outcomes:?}");
    let (outcomes, outputs) = processed(&backend, &mut processor, &cases);
    assert_eq!(outcomes, [Ok(()), Ok(()), Ok(())]);
    assert!(downloaded(&backend, &outputs[2]) == on_cpu(&denoise, &frame));
    assert_eq!(OPENED.take(), ["onnx/denoise"], "its session was kept");
}

#[test]
fn a_lost_primary_context_costs_the_models_and_is_made_anew() {
    let backend = open();
    let primaries = primaries();
    let mut first = processor(&backend, primaries);
    let neighbour = Cuda::new(0).open_on(fake::same_driver()).unwrap();
    let mut second = processor(&neighbour, primaries);
    let denoise = denoise();
    let frame = noise(64, 48, 1);
    let case = [(&denoise, &frame)];
    assert_eq!(processed(&backend, &mut first, &case).0, [Ok(())]);
    assert_eq!(processed(&neighbour, &mut second, &case).0, [Ok(())]);

    NEXT.set(Next::Poisons);
    let (outcomes, _) = processed(&backend, &mut first, &case);
    assert_eq!(
        refusal(&outcomes[0]),
        "onnx/denoise: the CUDA context that models share was lost (device lost: cuEventCreate failed with \
         CUDA_ERROR_ILLEGAL_ADDRESS); the next to ask for a model has a new one"
    );
    assert!(!backend.context().is_lost(), "the lane lives");
    // The other lane has not let go yet.
    let (outcomes, _) = processed(&backend, &mut first, &case);
    let why = refusal(&outcomes[0]);
    assert!(
        why.ends_with("other lanes have not let go of it yet"),
        "{why}"
    );
    assert_eq!(fake::with(|state| state.primary_resets), 0);
    // It does with its next batch, and has a new one in the same.
    let (outcomes, theirs) = processed(&neighbour, &mut second, &case);
    assert_eq!(outcomes, [Ok(())]);
    assert_eq!(fake::with(|state| state.primary_resets), 1);
    assert!(downloaded(&neighbour, &theirs[0]) == on_cpu(&denoise, &frame));
    let (outcomes, outputs) = processed(&backend, &mut first, &case);
    assert_eq!(outcomes, [Ok(())]);
    assert!(downloaded(&backend, &outputs[0]) == on_cpu(&denoise, &frame));
    assert_eq!(fake::with(|state| state.late_frees), 0);
    drop((first, second, backend, neighbour, outputs, theirs));
    assert_eq!(fake::held(), NOTHING);
}

#[test]
fn a_primary_context_that_is_stuck_is_left_alone_for_good() {
    let backend = open();
    let mut processor = processor(&backend, primaries());
    let denoise = denoise();
    let frame = noise(64, 48, 1);
    let case = [(&denoise, &frame)];
    assert_eq!(processed(&backend, &mut processor, &case).0, [Ok(())]);
    NEXT.set(Next::Fails);
    let inputs = uploaded(&backend, &frame);
    let mut output = backend.surface().unwrap();
    fake::with(|state| state.hangs = true);
    let stuck = processor.process_one(&denoise, &inputs, &mut output);
    fake::with(|state| state.hangs = false);
    let why = refusal(&stuck).to_owned();
    assert!(why.contains("did not answer within 20"), "{why}");
    assert!(!backend.context().is_lost());
    let (outcomes, _) = processed(&backend, &mut processor, &case);
    let why = refusal(&outcomes[0]);
    assert!(why.contains("not used again before a restart"), "{why}");
    assert!(downloaded(&backend, &inputs) == frame, "the lane lives");
}

/// Our own context's loss is the lane's, whoever meets it first.
#[test]
fn a_lost_lane_says_so() {
    for call in ["launch_kernel", "event_record"] {
        let backend = open();
        let mut processor = processor(&backend, primaries());
        let denoise = denoise();
        let frame = noise(64, 48, 1);
        assert_eq!(
            processed(&backend, &mut processor, &[(&denoise, &frame)]).0,
            [Ok(())]
        );
        let input = uploaded(&backend, &frame);
        let mut output = backend.surface().unwrap();
        fake::plant(call, 700);
        let mut batch = [Work::new(&denoise, &input, &mut output)];
        let lost = processor.process(&mut batch).unwrap_err();
        assert!(lost.is_lost(), "{call}: {lost}");
        drop((input, output, processor, backend));
        assert_eq!(fake::held(), NOTHING, "{call}");
    }
}
