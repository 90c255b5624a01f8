//! Models on the CPU: pictures of one size and one model are one batch.
//!
//! ```text
//!   Frame ─┐                                          ┌─▶ Frame
//!   Frame ─┼─▶ [n][3][h][w] ──▶ Session::run ──▶ [n][3][h'][w'] ─┼─▶ Frame
//!   Frame ─┘                                          └─▶ Frame
//! ```
//!
//! A lane is one thread, so a model has one: lanes are what a machine's cores are shared out by.

use kernels::reference::tensor;
use kernels::{Frame, Scratch};

use crate::model::{self, Element, Model, Passage, Place, Session, batch_of, matrix_of};
use crate::process::{Error, Step, Work};

/// Models that are kept ready. A lane whose sessions want more of them reads the one that was longest unused anew.
const SESSIONS_MAX: usize = 4;
const THREADS: usize = 1;

/// The models of one lane, with the memory that their tensors take.
#[derive(Default)]
pub(super) struct Models {
    /// The most recently used last.
    sessions: Vec<(Model, Session)>,
    single: Tensors<f32>,
    half: Tensors<u16>,
}

#[derive(Default)]
struct Tensors<T> {
    input: Vec<T>,
    output: Vec<T>,
}

impl Models {
    /// Makes the first of them ready, as many as are kept.
    pub(super) fn prepare(&mut self, models: &[Model]) -> Vec<String> {
        let kept = models.iter().take(SESSIONS_MAX);
        kept.filter_map(|model| session(&mut self.sessions, model).err())
            .map(|error| error.to_string())
            .collect()
    }

    /// Runs every work whose step is a model; the others are not looked at. Sets their outcomes.
    pub(super) fn process(&mut self, batch: &mut [Work<'_, Frame>], scratch: &mut Scratch) {
        let mut waiting: Vec<&mut Work<'_, Frame>> = batch
            .iter_mut()
            .filter(|work| matches!(work.step, Step::Model(_)))
            .collect();
        while let Some(first) = waiting.first() {
            let (step, size) = (first.step, size_of(first));
            let (mut alike, others): (Vec<_>, Vec<_>) = waiting
                .into_iter()
                .partition(|work| work.step == step && size_of(work) == size);
            if let Step::Model(model) = step {
                self.run(model, &mut alike, scratch);
            }
            waiting = others;
        }
    }

    fn run(&mut self, model: &Model, alike: &mut [&mut Work<'_, Frame>], scratch: &mut Scratch) {
        let mut rest = alike;
        while !rest.is_empty() {
            let (count, filled) = batch_of(model.layout(), rest.len());
            let (now, later) = rest.split_at_mut(count);
            let outcome = self.run_batch(model, now, filled, scratch);
            for work in now {
                work.outcome = outcome.clone();
            }
            rest = later;
        }
    }

    fn run_batch(
        &mut self,
        model: &Model,
        works: &mut [&mut Work<'_, Frame>],
        filled: usize,
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        let input = works[0].input;
        if input.is_empty() {
            works
                .iter_mut()
                .for_each(|work| *work.output = Frame::default());
            return Ok(());
        }
        let passage =
            Passage::of(model.layout(), input.width(), input.height()).map_err(refused)?;
        let session = session(&mut self.sessions, model)?;
        let shape = passage.shape(filled);
        match model.layout().element {
            Element::F32 => self.single.run(
                works,
                filled,
                &passage,
                |frame, out| tensor::to_tensor_f32(frame, &passage.to, out, scratch),
                |input, output| session.run(input, shape, output),
            )?,
            Element::F16 => self.half.run(
                works,
                filled,
                &passage,
                |frame, out| tensor::to_tensor_f16(frame, &passage.to, out, scratch),
                |input, output| session.run_f16(input, shape, output),
            )?,
        }
        let (_, numbers) = passage.numbers();
        for (n, work) in works.iter_mut().enumerate() {
            work.output.shape_like(work.input);
            work.output.matrix = matrix_of(work.input.matrix, work.input.height());
            let range = n * numbers..(n + 1) * numbers;
            match model.layout().element {
                Element::F32 => tensor::from_tensor_f32(
                    &self.single.output[range],
                    &passage.from,
                    work.output,
                    scratch,
                ),
                Element::F16 => tensor::from_tensor_f16(
                    &self.half.output[range],
                    &passage.from,
                    work.output,
                    scratch,
                ),
            }
            .map_err(|error| Error::Refused(error.to_string()))?;
        }
        Ok(())
    }
}

impl<T: Copy + Default> Tensors<T> {
    /// Fills the input from the pictures, the last one as often as the batch has room for, and runs the model.
    fn run(
        &mut self,
        works: &[&mut Work<'_, Frame>],
        filled: usize,
        passage: &Passage,
        mut to_tensor: impl FnMut(&Frame, &mut [T]) -> Result<(), tensor::TensorError>,
        run: impl FnOnce(&[T], &mut Vec<T>) -> Result<[usize; 4], model::Fault>,
    ) -> Result<(), Error> {
        let (numbers, _) = passage.numbers();
        self.input.resize(filled * numbers, T::default());
        for (n, out) in self.input.chunks_exact_mut(numbers).enumerate() {
            let work = &works[n.min(works.len() - 1)];
            to_tensor(work.input, out).map_err(|error| Error::Refused(error.to_string()))?;
        }
        run(&self.input, &mut self.output).map_err(refused)?;
        Ok(())
    }
}

/// The model's session, made ready when it is not yet.
fn session<'a>(
    sessions: &'a mut Vec<(Model, Session)>,
    model: &Model,
) -> Result<&'a mut Session, Error> {
    match sessions.iter().position(|(known, _)| known == model) {
        Some(at) => {
            let kept = sessions.remove(at);
            sessions.push(kept);
        }
        None => {
            let place = Place::Cpu { threads: THREADS };
            let session = model
                .session(place)
                .map_err(|error| Error::Refused(format!("{}: {error}", model.id())))?;
            if sessions.len() == SESSIONS_MAX {
                sessions.remove(0);
            }
            sessions.push((model.clone(), session));
        }
    }
    let (_, session) = sessions.last_mut().expect("it was just put there");
    Ok(session)
}

fn size_of(work: &Work<'_, Frame>) -> (usize, usize) {
    (work.input.width(), work.input.height())
}

fn refused(fault: model::Fault) -> Error {
    Error::Refused(fault.to_string())
}
