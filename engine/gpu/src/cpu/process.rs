//! Steps on the CPU: the reference kernels themselves, and models.

use kernels::{Frame, Scratch, reference};

use super::model::Models;
use crate::fault::Fault;
use crate::model::Model;
use crate::process::{Process, Step, Work};

#[derive(Default)]
pub(super) struct Processor {
    scratch: Scratch,
    models: Models,
}

impl Process<Frame> for Processor {
    fn process(&mut self, batch: &mut [Work<'_, Frame>]) -> Result<(), Fault> {
        for work in batch.iter_mut() {
            if let Step::Filter(filter) = work.step {
                reference::apply(*filter, work.input, work.output, &mut self.scratch);
                work.outcome = Ok(());
            }
        }
        self.models.process(batch, &mut self.scratch);
        Ok(())
    }

    fn prepare(&mut self, models: &[Model]) -> Vec<String> {
        self.models.prepare(models)
    }
}
