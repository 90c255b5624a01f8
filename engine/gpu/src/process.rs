//! From one picture to another, for pictures of many sessions at once.

use kernels::Filter;

use crate::fault::Fault;
use crate::model::Model;

/// What is done to a session's pictures.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// A built-in filter.
    Filter(Filter),
    /// An ONNX model.
    Model(Model),
}

impl Step {
    /// Whether the picture goes through untouched, so that it need not be processed at all.
    pub fn is_passthrough(&self) -> bool {
        matches!(self, Self::Filter(Filter::Passthrough))
    }
}

impl Default for Step {
    fn default() -> Self {
        Self::Filter(Filter::Passthrough)
    }
}

/// One picture's work within a batch.
#[derive(Debug)]
pub struct Work<'a, S> {
    /// What to do.
    pub step: &'a Step,
    /// The picture.
    pub input: &'a S,
    /// Where the result goes; it takes the size that the step gives it.
    pub output: &'a mut S,
    /// How it went. [`Process::process`] sets it.
    pub outcome: Result<(), Error>,
}

impl<'a, S> Work<'a, S> {
    /// Work that has not been done.
    pub fn new(step: &'a Step, input: &'a S, output: &'a mut S) -> Self {
        Self {
            step,
            input,
            output,
            outcome: Ok(()),
        }
    }
}

/// What runs steps for the sessions of one lane. It keeps the scratch memory and the models that they need.
pub trait Process<S> {
    /// Does a batch: each work's result is in its `output` and how it went in its `outcome` when this returns, or, on a device,
    /// when what is submitted after it on the same backend runs. Filters never fail: a parameter out of range is brought into
    /// it (see [`Filter::clamped`]).
    ///
    /// # Errors
    /// When the device failed the whole batch.
    fn process(&mut self, batch: &mut [Work<'_, S>]) -> Result<(), Fault>;

    /// Makes models ready before a picture asks for them, as many as are kept ready. That may take seconds each, and a first
    /// picture would wait for it with all others of its lane. Returns a sentence for each that could not be: whoever asks for it
    /// is refused with the same.
    fn prepare(&mut self, models: &[Model]) -> Vec<String>;

    /// Does one picture.
    ///
    /// # Errors
    /// When the step or the device failed.
    fn process_one(&mut self, step: &Step, input: &S, output: &mut S) -> Result<(), Error> {
        let mut batch = [Work::new(step, input, output)];
        self.process(&mut batch)?;
        let [work] = batch;
        work.outcome
    }
}

/// Why a picture was not processed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device failed.
    #[error(transparent)]
    Device(#[from] Fault),
    /// The step cannot be done with pictures of this size, or with this model; the text says why. It will not get better.
    #[error("{0}")]
    Refused(String),
}
