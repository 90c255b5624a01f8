//! Filters on the CPU: the reference kernels themselves.

use kernels::{Frame, Scratch, reference};

use crate::fault::Fault;
use crate::process::{Process, Step, Work};

#[derive(Default)]
pub(super) struct Processor {
    scratch: Scratch,
}

impl Process<Frame> for Processor {
    fn process(&mut self, batch: &mut [Work<'_, Frame>]) -> Result<(), Fault> {
        for work in batch {
            match work.step {
                Step::Filter(filter) => {
                    reference::apply(*filter, work.input, work.output, &mut self.scratch);
                }
            }
            work.outcome = Ok(());
        }
        Ok(())
    }
}
