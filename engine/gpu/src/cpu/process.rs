//! Filters on the CPU: the reference kernels themselves.

use kernels::{Filter, Frame, Scratch, reference};

use crate::process::Process;

#[derive(Default)]
pub(super) struct Processor {
    scratch: Scratch,
}

impl Process<Frame> for Processor {
    fn process(&mut self, filter: Filter, input: &Frame, output: &mut Frame) {
        reference::apply(filter, input, output, &mut self.scratch);
    }
}
