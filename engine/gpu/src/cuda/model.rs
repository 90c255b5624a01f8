//! Models as steps on the device: pictures of one size and one model are one run.
//!
//! The backend has a context of its own; ONNX Runtime works in the device's primary one. An address of the one means nothing in
//! the other, so tensors cross by a copy within the device, and no pixel sees the host:
//!
//! ```text
//!   our stream      to_tensor [n] . mark                                          wait . from_tensor [n]
//!                                     \                                          /
//!   its stream                        wait . copy in . run, n at once . copy out . mark
//!
//!   our context     surfaces, [n][3][h][w], [n][3][h'][w']
//!   its context                [n][3][h][w], [n][3][h'][w'], sessions
//! ```
//!
//! Invariants worth naming:
//!
//! - Tensors on both sides are lent by pools whose streams have waited for each other when a batch is put in. After an error
//!   the other stream is waited for, with a deadline, before they go back.
//! - ONNX Runtime leaves its context current on the thread. Ours is put back after every call into it, errors included.
//! - The host does not wait but within the run itself: ONNX Runtime waits for its stream at the end of each, unless its run
//!   option `disable_synchronize_execution_providers` says otherwise, and binding tensors does not change that. So a fault of the
//!   model's kernels is that run's error, before our stream waits for anything of theirs.
//! - Making a model ready takes ONNX Runtime seconds, on the lane's thread; four stay ready.
//! - A primary context that is lost ends the runs of that batch with a sentence, and not the lane; see `primary`.
//! - A model that CUDA is not to be had for runs on the CPU, and the backend's remarks say so.
#![allow(unsafe_code, reason = "kernels and libraries are handed addresses")]

mod batch;
mod host;

use std::rc::Rc;

use super::context::Context;
use super::launch::Kernels;
use super::memory;
use super::primary::{PRIMARIES, Primaries, Primary};
use super::shared::Shared;
use super::stream::{Event, Stream};
use super::surface::{Surface, WAIT_MAX};
use crate::fault::Fault;
use crate::model::{self, Model, Passage, Place, Session, batch_of, matrix_of};
use crate::process::{Error, Step, Work};
use batch::{Batch, Tensors};
use host::Host;

/// Models that are kept ready. A lane whose sessions want more of them reads the one that was longest unused anew.
const SESSIONS_MAX: usize = 4;

/// The models of one lane.
pub(super) struct Models {
    shared: Shared,
    kernels: Rc<Kernels>,
    primaries: &'static Primaries,
    open: Open,
    /// Marks that a batch's tensors are made.
    made: Event,
    there: Option<There>,
    host: Host,
}

/// What opens a session on a device, with a stream of its primary context.
pub(super) type Open = fn(&Model, u32, &Stream) -> Result<Box<dyn Run>, model::Error>;

/// What runs a model there.
pub(super) trait Run {
    /// As [`Session::run_on_device`].
    ///
    /// # Safety
    /// As there.
    unsafe fn run(
        &mut self,
        input: u64,
        shape: [usize; 4],
        output: u64,
    ) -> Result<(), model::Fault>;
}

/// What there is in the primary context. The sessions use its stream, so they go first.
struct There {
    /// The most recently used last.
    sessions: Vec<(Model, Box<dyn Run>)>,
    primary: Primary,
}

/// What went wrong on the other side.
enum Trouble {
    Device(Fault),
    Model(model::Fault),
}

/// Makes our context current again when it goes.
struct Ours(Context);

// === impl Models ===

impl Models {
    /// # Errors
    /// When the device has no room, or is lost.
    pub(super) fn new(shared: &Shared, kernels: &Rc<Kernels>) -> Result<Self, Fault> {
        Self::with(shared, kernels, &PRIMARIES, open)
    }

    /// With other sessions than ONNX Runtime's.
    pub(super) fn with(
        shared: &Shared,
        kernels: &Rc<Kernels>,
        primaries: &'static Primaries,
        open: Open,
    ) -> Result<Self, Fault> {
        Ok(Self {
            made: Event::new(&shared.context)?,
            shared: shared.clone(),
            kernels: Rc::clone(kernels),
            primaries,
            open,
            there: None,
            host: Host::default(),
        })
    }

    /// Puts every work whose step is a model into the stream, and sets their outcomes; the others are not looked at. Returns the
    /// works whose models run on the CPU, of which nothing was done.
    ///
    /// # Errors
    /// When our own context is lost.
    pub(super) fn process<'w, 'a>(
        &mut self,
        batch: &'w mut [Work<'a, Surface>],
    ) -> Result<Vec<&'w mut Work<'a, Surface>>, Fault> {
        let _back = Ours(self.shared.context.clone());
        let is_lost = |there: &There| there.primary.lost_by().is_some();
        if self.there.as_ref().is_some_and(is_lost) {
            self.let_go();
        }
        let mut on_host = Vec::new();
        let mut waiting: Vec<_> = batch
            .iter_mut()
            .filter(|work| matches!(work.step, Step::Model(_)))
            .collect();
        while let Some(first) = waiting.first() {
            let (step, size) = (first.step, size_of(first));
            let (alike, others): (Vec<_>, Vec<_>) = waiting
                .into_iter()
                .partition(|work| work.step == step && size_of(work) == size);
            waiting = others;
            let Step::Model(model) = step else { continue };
            if size == (0, 0) {
                clear(alike);
                continue;
            }
            match self.ready(model) {
                Ok(true) => self.run(model, alike)?,
                Ok(false) => on_host.extend(alike),
                Err(error) => refuse(alike, &error),
            }
        }
        Ok(on_host)
    }

    /// Makes the first of them ready, as many as are kept, where each will run.
    pub(super) fn prepare(&mut self, models: &[Model]) -> Vec<String> {
        let _back = Ours(self.shared.context.clone());
        let mut why = Vec::new();
        for model in models.iter().take(SESSIONS_MAX) {
            match self.ready(model) {
                Ok(true) => {}
                Ok(false) => why.extend(self.host.prepare(model)),
                Err(error) => why.push(error.to_string()),
            }
        }
        why
    }

    /// Does works on the CPU: each picture comes to the host, and what the model makes of it goes back.
    ///
    /// # Errors
    /// When our own context is lost.
    pub(super) fn process_on_host(
        &mut self,
        mut works: Vec<&mut Work<'_, Surface>>,
    ) -> Result<(), Fault> {
        self.host.process(&self.shared, &mut works)
    }

    /// Makes the model ready, and the last of the sessions. Whether it runs on the device.
    fn ready(&mut self, model: &Model) -> Result<bool, Error> {
        if self.host.has(model) {
            return Ok(false);
        }
        let there = match &mut self.there {
            Some(there) => there,
            none => {
                let context = &self.shared.context;
                let entered = Primary::enter(self.primaries, context.driver(), context.ordinal());
                let primary = entered.map_err(|fault| sentence(model, fault))?;
                let sessions = Vec::new();
                none.insert(There { sessions, primary })
            }
        };
        let sessions = &mut there.sessions;
        if let Some(at) = sessions.iter().position(|(known, _)| known == model) {
            let kept = sessions.remove(at);
            sessions.push(kept);
            return Ok(true);
        }
        let _back = Ours(self.shared.context.clone());
        if sessions.len() == SESSIONS_MAX {
            sessions.remove(0);
        }
        let context = &self.shared.context;
        match (self.open)(model, context.ordinal(), &there.primary.stream) {
            Ok(session) => {
                sessions.push((model.clone(), session));
                Ok(true)
            }
            Err(error) => {
                // It may have been the context and not the model or the library.
                self.look();
                match (error, &self.there) {
                    (model::Error::Unavailable { reason, .. }, Some(there)) => {
                        if there.sessions.is_empty() {
                            self.let_go();
                        }
                        self.host.take_on(model, &reason, &self.shared);
                        Ok(false)
                    }
                    (error, _) => Err(Error::Refused(format!("{}: {error}", model.id()))),
                }
            }
        }
    }

    /// Runs a model that is ready on pictures of one size.
    fn run(&mut self, model: &Model, alike: Vec<&mut Work<'_, Surface>>) -> Result<(), Fault> {
        let (width, height) = size_of(alike[0]);
        let passage = match Passage::of(model.layout(), width, height) {
            Ok(passage) => passage,
            Err(fault) => {
                refuse(alike, &Error::Refused(fault.to_string()));
                return Ok(());
            }
        };
        let mut ready = Vec::with_capacity(alike.len());
        for work in alike {
            match self.shape(work, &passage) {
                Ok(()) => ready.push(work),
                Err(fault) if fault.is_lost() => return Err(fault),
                Err(fault) => work.outcome = Err(fault.into()),
            }
        }
        let mut rest = &mut ready[..];
        while !rest.is_empty() {
            let (count, pictures) =
                batch_of(model.layout(), rest.len().min(passage.pictures_max()));
            let (now, later) = rest.split_at_mut(count);
            let batch = Batch::new(model, &passage, pictures);
            let outcome = self.run_batch(&batch, now);
            if let Err(Error::Device(fault)) = outcome
                && fault.is_lost()
            {
                return Err(fault);
            }
            for work in now {
                work.outcome = outcome.clone();
            }
            rest = later;
        }
        Ok(())
    }

    /// Gives the output its memory, and lets the stream wait for the input.
    fn shape(&self, work: &mut Work<'_, Surface>, passage: &Passage) -> Result<(), Fault> {
        let input = work.input;
        let matrix = matrix_of(input.matrix(), input.height());
        let (width, height) = (passage.from.width, passage.from.height);
        work.output.shape(width, height, input.range(), matrix)
    }

    fn run_batch(
        &mut self,
        batch: &Batch<'_>,
        works: &[&mut Work<'_, Surface>],
    ) -> Result<(), Error> {
        let Some(there) = &mut self.there else {
            let why = "the CUDA context that models share was lost in the batch before";
            return Err(Error::Refused(format!("{}: {why}", batch.model.id())));
        };
        let shared = &self.shared;
        let ours = Tensors::take(&shared.pool, batch)?;
        let theirs = Tensors::take(&there.primary.pool, batch);
        let theirs = theirs.map_err(|fault| sentence(batch.model, fault));
        let theirs = theirs.inspect_err(|_| self.look())?;

        let into = batch.launch_in(works, ours.input.address())?;
        let out_of = batch.launch_out(works, ours.output.address())?;
        // SAFETY: the surfaces are borrowed and the tensor is leased now, from the pool of the stream that the launch goes into;
        // each item writes its own part of the tensor, and reads a surface that nobody writes.
        unsafe { self.kernels.launch(&self.shared, &[into])? };
        self.made.record(&self.shared.stream)?;
        self.cross(batch, ours, theirs)?;
        // SAFETY: as above, and each item writes its own surface, which is borrowed for writing. The tensor has gone back to the
        // pool of this stream, so whoever has it next writes it after this.
        unsafe { self.kernels.launch(&self.shared, &[out_of])? };
        Ok(())
    }

    /// The tensors' way through the model and back, in the other context's stream, with ours waiting for the end of it. The
    /// tensors go back: what is put into either stream after this comes after it.
    fn cross(&mut self, batch: &Batch<'_>, ours: Tensors, theirs: Tensors) -> Result<(), Error> {
        let there = self.there.as_mut().expect("the caller has looked");
        let here = &self.shared.context;
        let outcome = there.run(batch, (&ours, here), &theirs, &self.made);
        let outcome = outcome.and_then(|()| {
            let event = &there.primary.event;
            self.shared.stream.wait_for(event).map_err(Trouble::Device)
        });
        let Err(trouble) = outcome else {
            return Ok(());
        };
        // Copies may be under way, and our stream does not wait for them.
        let settled = there.primary.stream.settle(WAIT_MAX);
        match settled {
            Ok(()) | Err(Fault::Lost { .. }) => drop((ours, theirs)),
            // They may still come. For one that got stuck that is once a lane, since nobody enters it again.
            Err(_) => std::mem::forget((ours, theirs)),
        }
        // When it is ours that was lost, the other one is not to blame.
        self.made.is_done()?;
        let lost_by = there.primary.lost_by();
        self.look();
        Err(match (lost_by, trouble) {
            (Some(fault), _) | (None, Trouble::Device(fault)) => sentence(batch.model, fault),
            (None, Trouble::Model(fault)) => {
                Error::Refused(format!("{}: {fault}", batch.model.id()))
            }
        })
    }

    /// Lets go of the primary context if it is lost.
    fn look(&mut self) {
        let Some(there) = &self.there else { return };
        // An error of the library says nothing that a program could read; the driver does.
        let _ = there.primary.event.record(&there.primary.stream);
        if there.primary.lost_by().is_some() {
            self.let_go();
        }
    }

    /// Gives up all that there is in the primary context.
    fn let_go(&mut self) {
        let _back = Ours(self.shared.context.clone());
        let Some(mut there) = self.there.take() else {
            return;
        };
        if there.primary.lost_by().is_none() {
            let _ = there.primary.stream.settle(WAIT_MAX);
        }
        if there.primary.is_stuck() {
            // Ending a session waits for what it has put into the stream.
            there.sessions.drain(..).for_each(std::mem::forget);
        }
    }
}

impl Drop for Models {
    fn drop(&mut self) {
        self.let_go();
    }
}

// === impl There ===

impl There {
    /// Puts the copies and the run of the last session into the stream, and a mark behind them. `made` marks the input.
    fn run(
        &mut self,
        batch: &Batch<'_>,
        (ours, here): (&Tensors, &Context),
        theirs: &Tensors,
        made: &Event,
    ) -> Result<(), Trouble> {
        let Primary {
            stream,
            context,
            event,
            ..
        } = &self.primary;
        let (bytes_in, bytes_out) = batch.bytes();
        let (_, session) = self.sessions.last_mut().expect("it was made ready");
        stream.wait_for(made).map_err(Trouble::Device)?;
        let (from, to) = (ours.input.address(), theirs.input.address());
        // SAFETY: both are leased and of this size. The stream has waited for who writes the one; the other is of its own pool.
        unsafe { memory::across((from, here), (to, context), bytes_in, stream) }
            .map_err(Trouble::Device)?;
        let back = Ours(here.clone());
        let (input, output) = (theirs.input.address(), theirs.output.address());
        let shape = batch.shape();
        // SAFETY: both are memory of the session's device and context, 256-aligned, apart, and of the sizes that the passage and
        // the layout give this shape; all that uses them is in the session's stream.
        let ran = unsafe { session.run(input, shape, output) };
        drop(back);
        ran.map_err(Trouble::Model)?;
        let (from, to) = (theirs.output.address(), ours.output.address());
        // SAFETY: both are leased and of this size; what our stream did with the other ended before `made`, and what it does next
        // waits for the event.
        unsafe { memory::across((from, context), (to, here), bytes_out, stream) }
            .map_err(Trouble::Device)?;
        event.record(stream).map_err(Trouble::Device)
    }
}

// === impl Ours ===

impl Drop for Ours {
    fn drop(&mut self) {
        // One that is lost is told of by the next call on it.
        let _ = self.0.make_current();
    }
}

// === impl Run ===

impl Run for Session {
    unsafe fn run(
        &mut self,
        input: u64,
        shape: [usize; 4],
        output: u64,
    ) -> Result<(), model::Fault> {
        // SAFETY: the caller promises the same.
        unsafe { self.run_on_device(input, shape, output) }.map(|_| ())
    }
}

/// A session of the model's own library.
pub(super) fn open(
    model: &Model,
    device: u32,
    stream: &Stream,
) -> Result<Box<dyn Run>, model::Error> {
    // SAFETY: it is a stream of the device's primary context, and `There` drops or forgets its sessions before that.
    let stream = unsafe { model::Stream::from_raw(stream.raw().expose_provenance()) };
    let place = Place::Cuda {
        device,
        stream: Some(stream),
    };
    Ok(Box::new(model.session(place)?))
}

/// A fault of the other context, which is not the lane's: a full device hurts one batch, and all else is told in a sentence.
fn sentence(model: &Model, fault: Fault) -> Error {
    let id = model.id();
    match fault {
        Fault::Full { .. } => Error::Device(fault),
        Fault::Failed { .. } => Error::Refused(format!("{id}: {fault}")),
        _ => Error::Refused(format!(
            "{id}: the CUDA context that models share was lost ({fault}); the next to ask for a model has a new one"
        )),
    }
}

/// Gives works an error as their outcome.
fn refuse(works: Vec<&mut Work<'_, Surface>>, error: &Error) {
    for work in works {
        work.outcome = Err(error.clone());
    }
}

/// Does works whose pictures are empty: nothing in, nothing out.
fn clear(works: Vec<&mut Work<'_, Surface>>) {
    for work in works {
        work.output.clear();
        work.outcome = Ok(());
    }
}

fn size_of(work: &Work<'_, Surface>) -> (usize, usize) {
    (work.input.width(), work.input.height())
}
