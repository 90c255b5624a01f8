//! `model`: the built-in ONNX model, one picture a call and sixteen.

use std::path::Path;
use std::time::{Duration, Instant};

use gpu::model::{Model, Place, Runtime, Source};
use gpu::process::{Error, Step, Work};
use gpu::{Backend, Process};

use super::Settings;
use super::crew::{surfaces, there_and_back};
use super::device::{Subject, open};
use super::report::{Report, Table, Trouble, percent, rate};

const SIZE: (usize, usize) = (640, 360);
/// Pictures of a batch, each as of a session of its own.
const BATCH: usize = 16;
/// Two ways, and what is made at the first call of each.
const WINDOWS: u32 = 3;

/// Puts the question.
///
/// # Errors
/// [`Trouble::Absent`] when the library that was named, or the device's way of running models, is not there.
pub fn run<S: Subject>(subject: &S, settings: &Settings) -> Result<Report, Trouble> {
    let runtime = runtime(settings.onnxruntime.as_deref())?;
    let model = Model::new(&runtime, Source::built_in());
    let clip = settings.clip(SIZE)?;
    let backend = open(subject)?;
    let inputs = surfaces(&backend, &clip, BATCH).map_err(Trouble::Failed)?;
    let inputs: Vec<_> = inputs.into_iter().map(|picture| picture.surface).collect();
    let mut processor = backend
        .processor()
        .map_err(|why| Trouble::Failed(why.to_string()))?;
    let mut bench = Bench::<S> {
        backend: &backend,
        inputs: &inputs,
        step: Step::Model(model.clone()),
        processor: processor.as_mut(),
        window: settings.window(WINDOWS),
    };
    let mut table = Table::new(["pictures a call", "calls", "frames/s", "ms a call"]);
    let mut rates = Vec::new();
    for size in [1, BATCH] {
        let (calls, took) = bench.measure(size)?;
        let a_second = (calls * size) as f64 / took.as_secs_f64();
        rates.push(a_second);
        table.row([
            size.to_string(),
            calls.to_string(),
            rate(a_second),
            format!("{:.2}", took.as_secs_f64() * 1000.0 / calls as f64),
        ]);
    }
    let mut notes = vec![
        format!("device: {}", backend.name()),
        format!("model: {}, pictures of {}", model.id(), clip.name),
        format!("library: {}", runtime.describe()),
    ];
    notes.extend(subject.ordinal().map(|device| place(&model, device)));
    let ratio = percent(rates[1], rates[0]).unwrap_or(0.0) / 100.0;
    notes.push(format!(
        "a batch of {BATCH} does {ratio:.2} times the frames a second of one at a time"
    ));
    Ok(Report {
        notes,
        tables: vec![table],
        verdicts: Vec::new(),
    })
}

/// A library that was named is used or missed; nothing else is run in its place.
fn runtime(path: Option<&Path>) -> Result<Runtime, Trouble> {
    let Some(path) = path else {
        return Ok(Runtime::load(&[]));
    };
    let runtime = Runtime::load(&[path.to_owned()]);
    if runtime.path() == Some(path) {
        return Ok(runtime);
    }
    Err(Trouble::Absent(format!(
        "ONNX Runtime at {}: {}",
        path.display(),
        runtime.describe()
    )))
}

/// Whether the library has a form of the model for the device.
fn place(model: &Model, device: u32) -> String {
    let place = Place::Cuda {
        device,
        stream: None,
    };
    match model.session(place) {
        Ok(_) => format!("place: the library runs the model on cuda:{device}"),
        Err(why) => format!("place: not on cuda:{device}: {why}"),
    }
}

struct Bench<'a, S: Subject> {
    backend: &'a S::Backend,
    inputs: &'a [<S::Backend as Backend>::Surface],
    step: Step,
    processor: &'a mut dyn Process<<S::Backend as Backend>::Surface>,
    window: Duration,
}

impl<S: Subject> Bench<'_, S> {
    /// Calls, and how long they took. What is made at the first one is not in it.
    fn measure(&mut self, size: usize) -> Result<(usize, Duration), Trouble> {
        let mut outputs = Vec::new();
        for _ in 0..size {
            outputs.push(self.backend.surface().map_err(failed)?);
        }
        self.call(0, &mut outputs)?;
        self.settle()?;
        let (since, mut calls) = (Instant::now(), 0);
        while calls == 0 || since.elapsed() < self.window {
            self.call(calls, &mut outputs)?;
            calls += 1;
            // A stream that is not waited for now and then grows without end.
            if calls.is_multiple_of(BATCH) {
                self.settle()?;
            }
        }
        self.settle()?;
        Ok((calls, since.elapsed()))
    }

    fn call(
        &mut self,
        from: usize,
        outputs: &mut [<S::Backend as Backend>::Surface],
    ) -> Result<(), Trouble> {
        let mut works: Vec<_> = outputs
            .iter_mut()
            .enumerate()
            .map(|(n, output)| {
                let input = &self.inputs[there_and_back(from + n, self.inputs.len())];
                Work::new(&self.step, input, output)
            })
            .collect();
        self.processor.process(&mut works).map_err(failed)?;
        for work in works {
            work.outcome.map_err(|error| match error {
                // Of the built-in model and a plain picture: the device's processor does not run models here.
                Error::Refused(why) => Trouble::Absent(why),
                error => failed(error),
            })?;
        }
        Ok(())
    }

    fn settle(&self) -> Result<(), Trouble> {
        S::settle(self.backend).map_err(failed)
    }
}

fn failed(why: impl std::fmt::Display) -> Trouble {
    Trouble::Failed(why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_was_named_is_not_replaced() {
        let trouble = runtime(Some(Path::new("/nowhere/libonnxruntime.so"))).unwrap_err();
        assert!(matches!(trouble, Trouble::Absent(_)));
        assert!(trouble.to_string().contains("/nowhere/libonnxruntime.so"));
    }
}
