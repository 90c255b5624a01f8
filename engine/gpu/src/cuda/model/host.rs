//! Models on the CPU, for pictures on the device: what is done where CUDA is not to be had for a model.
//!
//! It costs two copies a picture, which are counted, and the model's time on the lane's own thread.

use kernels::Frame;

use super::super::shared::Shared;
use super::super::surface::Surface;
use crate::backend::Backend;
use crate::cpu::Cpu;
use crate::fault::Fault;
use crate::model::Model;
use crate::process::{Error, Process, Work};

/// Models that are known to run here. One more than that has CUDA tried again.
const MODELS_MAX: usize = 64;
/// Pictures that are on the host at once.
const PICTURES_MAX: usize = 8;

/// Models on the CPU, for pictures on the device.
#[derive(Default)]
pub(super) struct Host {
    /// The ids of those that run here.
    models: Vec<String>,
    processor: Option<Box<dyn Process<Frame>>>,
    inputs: Vec<Frame>,
    outputs: Vec<Frame>,
}

// === impl Host ===

impl Host {
    /// Whether the model is one that runs here.
    pub(super) fn has(&self, model: &Model) -> bool {
        self.models.iter().any(|id| id == model.id())
    }

    /// Lets the model run here from now on, and tells the operator why.
    pub(super) fn take_on(&mut self, model: &Model, reason: &str, shared: &Shared) {
        shared.remark(format!("model {} runs on the CPU: {reason}", model.id()));
        if self.models.len() == MODELS_MAX {
            self.models.remove(0);
        }
        self.models.push(model.id().to_owned());
    }

    /// Makes a model ready that runs here. A sentence for what could not be.
    pub(super) fn prepare(&mut self, model: &Model) -> Vec<String> {
        match made(&mut self.processor) {
            Ok(processor) => processor.prepare(std::slice::from_ref(model)),
            Err(error) => vec![error.to_string()],
        }
    }

    /// Does works: each picture comes to the host, and what the model makes of it goes back.
    ///
    /// # Errors
    /// When the device is lost.
    pub(super) fn process(
        &mut self,
        shared: &Shared,
        works: &mut [&mut Work<'_, Surface>],
    ) -> Result<(), Fault> {
        works
            .chunks_mut(PICTURES_MAX)
            .try_for_each(|works| self.run(shared, works))
    }

    fn run(&mut self, shared: &Shared, works: &mut [&mut Work<'_, Surface>]) -> Result<(), Fault> {
        let processor = match made(&mut self.processor) {
            Ok(processor) => processor,
            Err(error) => {
                for work in works {
                    work.outcome = Err(error.clone());
                }
                return Ok(());
            }
        };
        self.inputs.resize_with(works.len(), Frame::default);
        self.outputs.resize_with(works.len(), Frame::default);
        for (work, frame) in works.iter_mut().zip(&mut self.inputs) {
            work.outcome = outcome(fetch(shared, work.input, frame))?;
            if work.outcome.is_err() {
                // An empty picture costs the model nothing.
                *frame = Frame::default();
            }
        }
        let frames = self.inputs.iter().zip(&mut self.outputs);
        let mut batch: Vec<_> = works
            .iter()
            .zip(frames)
            .map(|(work, (input, output))| Work::new(work.step, input, output))
            .collect();
        processor.process(&mut batch)?;
        for (work, done) in works.iter_mut().zip(batch) {
            if work.outcome.is_ok() {
                work.outcome = match done.outcome {
                    Ok(()) => outcome(shared.upload(done.output, work.output))?,
                    Err(error) => Err(error),
                };
            }
        }
        Ok(())
    }
}

/// The CPU's processor, made when it is first wanted.
fn made(processor: &mut Option<Box<dyn Process<Frame>>>) -> Result<&mut dyn Process<Frame>, Error> {
    if processor.is_none() {
        let made = Cpu.processor();
        *processor = Some(made.map_err(|error| Error::Refused(error.to_string()))?);
    }
    let made = processor.as_mut().expect("it was just made");
    Ok(&mut **made)
}

/// Brings a picture to the host.
fn fetch(shared: &Shared, surface: &Surface, frame: &mut Frame) -> Result<(), Fault> {
    if surface.is_empty() {
        *frame = Frame::default();
        return Ok(());
    }
    shared.download(surface)?.into_frame(frame)
}

/// A fault as one work's outcome, or as the whole backend's when it is that.
fn outcome(done: Result<(), Fault>) -> Result<Result<(), Error>, Fault> {
    match done {
        Err(fault) if fault.is_lost() => Err(fault),
        done => Ok(done.map_err(Error::from)),
    }
}
