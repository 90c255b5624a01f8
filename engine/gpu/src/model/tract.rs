//! A session of tract: plain Rust, on the calling thread.
//!
//! tract optimises a graph for the sizes that it is told, so a plan is made for each shape that comes, and the last few
//! are kept. Making one takes some milliseconds and copies the weights.

use std::collections::VecDeque;

use tract_onnx::prelude::*;

use super::error::{Error, Fault, brief};
use super::layout::{Batch, Element, Layout, Side};
use super::session::Number;
use super::source::{Source, decode};

/// The library, and its release; a test compares it with the lock file.
pub(super) const VERSION: &str = "tract 0.22.5";
/// How many shapes are kept ready: a few batch sizes of one picture size.
const PLANS_MAX: usize = 4;

type Plan = SimplePlan<TypedFact, Box<dyn TypedOp>, TypedModel>;

/// One model, ready to run.
pub(super) struct Model {
    graph: InferenceModel,
    /// The latest used last.
    plans: VecDeque<([usize; 4], Plan)>,
}

impl Model {
    /// Reads the graph and makes one plan, which finds operators that tract lacks.
    pub(super) fn open(source: &Source) -> Result<Self, Error> {
        let refused = |error: TractError| Error::Refused {
            library: VERSION,
            reason: brief(&format!("{error:#}")),
        };
        let mut proto = decode(source.bytes())?;
        if let Some(graph) = &mut proto.graph {
            // Sizes in the middle, in terms of names: they would contradict the numbers that a plan is made for.
            graph.value_info.clear();
        }
        let layout = source.layout();
        let graph = tract_onnx::onnx()
            .model_for_proto_model(&proto)
            .and_then(|graph| graph.with_output_names([&layout.output]))
            .map_err(refused)?;
        let mut model = Self {
            graph,
            plans: VecDeque::new(),
        };
        let first = likely(layout);
        let plan = match layout.element {
            Element::F32 => model.plan::<f32>(first),
            Element::F16 => model.plan::<half::f16>(first),
        };
        model.plans.push_back((first, plan.map_err(refused)?));
        Ok(model)
    }

    pub(super) fn run<T: Number>(
        &mut self,
        input: &[T],
        shape: [usize; 4],
        expected: [usize; 4],
        output: &mut Vec<T>,
    ) -> Result<(), Fault> {
        let input = Tensor::from_shape(&shape, input)?;
        // Taken out while it runs, so that a plan that panics is gone.
        let known = self.plans.iter().position(|(known, _)| *known == shape);
        let plan = match known.and_then(|i| self.plans.remove(i)) {
            Some((_, plan)) => plan,
            None => self.plan::<T>(shape)?,
        };
        let outputs = plan.run(tvec!(input.into()));
        if self.plans.len() == PLANS_MAX {
            self.plans.pop_front();
        }
        self.plans.push_back((shape, plan));
        let outputs = outputs?;
        let tensor = outputs
            .first()
            .ok_or_else(|| Fault::Library("no output".into()))?;
        if tensor.shape() != expected {
            let got = tensor.shape().to_vec();
            return Err(Fault::Output { got, expected });
        }
        output.extend_from_slice(tensor.as_slice::<T>()?);
        Ok(())
    }

    fn plan<T: Number>(&self, shape: [usize; 4]) -> TractResult<Plan> {
        self.graph
            .clone()
            .with_input_fact(0, InferenceFact::dt_shape(T::datum_type(), shape))?
            .into_optimized()?
            .into_runnable()
    }
}

/// A shape that the model takes, small where it is free to be.
fn likely(layout: &Layout) -> [usize; 4] {
    let side = |side| match side {
        Side::Any => 64,
        Side::Fixed(px) => px,
        Side::Multiple(of) => 64_usize.next_multiple_of(of),
    };
    let count = match layout.batch {
        Batch::Max(_) => 1,
        Batch::Fixed(count) => count,
    };
    [count, 3, side(layout.height), side(layout.width)]
}

impl From<TractError> for Fault {
    fn from(error: TractError) -> Self {
        Self::Library(brief(&format!("{error:#}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_lock_file() {
        let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock");
        let lock = std::fs::read_to_string(lock).unwrap();
        let name = "name = \"tract-onnx\"\nversion = \"";
        let (_, after) = lock.split_once(name).unwrap();
        let (version, _) = after.split_once('"').unwrap();
        assert_eq!(VERSION, format!("tract {version}"));
    }
}
