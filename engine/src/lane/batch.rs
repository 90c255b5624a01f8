//! One batch: at most one unit of each session, through all steps together.
//!
//! ```text
//!   submit A B C ─▶ collect A B C ─▶ shed ─▶ process {A B C} at once ─▶ submit A B C ─▶ collect A B C
//!      decoders                                  one call                     encoders
//! ```
//!
//! A unit that gives several pictures, as after reordering, takes the part behind shedding that often; no round has more than one
//! picture of a session, so no call is larger than the batch.
//!
//! **One poisoned unit.** Whatever fails for one session alone ends it there, and the others of the batch go on: a decoder or an
//! encoder that fails or panics is its session's own. A call that does all pictures at once and fails as a whole does not say
//! whose fault it was, so it is repeated with each picture alone: whoever fails alone ends, and the pictures of all others come
//! out. After a panic it is repeated on a processor that is made anew. Only a loss of the device ends them all.

use std::time::{Duration, Instant};

use gpu::process::{Error, Work};
use gpu::{Backend, Process, Step};

use super::admission::Spent;
use super::end::{End, guarded};
use super::session::{Picture, Session, Turn};
use super::stats::Board;
use super::{Key, Outcome};

/// A session within a batch.
pub(super) struct Member<S> {
    pub(super) key: Key,
    pub(super) session: Box<Session<S>>,
    turn: Option<Turn>,
    /// The timestamp of the unit that was submitted.
    pts: Option<i64>,
    flushes: bool,
    changes: bool,
    newer_waits: bool,
    /// The one of this round. It stays here if its session ends over it.
    pub(super) picture: Option<Picture<S>>,
    /// Why it cannot go on.
    pub(super) end: Option<End>,
}

impl<S: 'static> Member<S> {
    pub(super) fn new(key: Key, session: Box<Session<S>>, turn: Turn) -> Self {
        Self {
            key,
            newer_waits: session.has_unit(),
            session,
            flushes: matches!(turn, Turn::Flush),
            changes: matches!(turn, Turn::Change),
            turn: Some(turn),
            pts: None,
            picture: None,
            end: None,
        }
    }

    /// How long its unit has waited.
    fn queued(&self, now: Instant) -> Duration {
        match &self.turn {
            Some(Turn::Unit(unit)) => now.saturating_duration_since(unit.stamps.queued),
            _ => Duration::ZERO,
        }
    }

    /// Whether there is a picture to go on with.
    const fn has_picture(&self) -> bool {
        self.end.is_none() && self.picture.is_some()
    }

    /// Does something for it, unless it has come to its end, and notes whether it has then.
    fn attempt(&mut self, work: impl FnOnce(&mut Self) -> Result<(), End>) {
        if self.end.is_none()
            && let Err(end) = work(self)
        {
            self.end = Some(end);
        }
    }
}

/// Takes a batch through. What it took of the lane's time; or why the device is lost, which leaves the members as they are.
pub(super) fn run<B: Backend>(
    members: &mut [Member<B::Surface>],
    backend: &B,
    processor: &mut Box<dyn Process<B::Surface>>,
    board: &Board,
) -> Result<Spent, String> {
    let taken = Instant::now();
    let queued = members.iter().map(|member| member.queued(taken)).sum();
    board.batch(members.len(), queued);
    let mut spent = Spent::default();
    decode(members, taken, backend, board)?;
    let decoded_at = Instant::now();
    spent.decode = decoded_at - taken;
    spent.decoded_pixels = members
        .iter()
        .map(|member| member.session.waiting_pixels())
        .sum();
    let mut begun = decoded_at;
    loop {
        for member in &mut *members {
            let newer_waits = member.newer_waits;
            member.attempt(|member| {
                member.picture = member
                    .session
                    .next_picture(decoded_at, newer_waits, board)?;
                Ok(())
            });
        }
        check(members)?;
        if !members.iter().any(Member::has_picture) {
            break;
        }
        process(members, backend, processor, board)?;
        let processed_at = Instant::now();
        spent.process += processed_at - begun;
        for picture in members
            .iter_mut()
            .filter(|member| member.end.is_none())
            .filter_map(|member| member.picture.as_mut())
        {
            picture.stamps.processed = processed_at;
            spent.encoded_pixels += picture.pixels();
        }
        encode(members, board)?;
        begun = Instant::now();
        spent.encode += begun - processed_at;
    }
    finish(members, board);
    check(members)?;
    Ok(spent)
}

/// Whether the device was lost to anyone.
fn check<S>(members: &[Member<S>]) -> Result<(), String> {
    let lost = members.iter().find_map(|member| match &member.end {
        Some(End::Lost(why)) => Some(why.clone()),
        _ => None,
    });
    lost.map_or(Ok(()), Err)
}

fn decode<B: Backend>(
    members: &mut [Member<B::Surface>],
    taken: Instant,
    backend: &B,
    board: &Board,
) -> Result<(), String> {
    for member in &mut *members {
        if let Some(Turn::Unit(unit)) = member.turn.take() {
            member.pts = Some(unit.pts);
            member.attempt(|member| member.session.submit(unit, taken, backend, board));
        }
    }
    check(members)?;
    for member in &mut *members {
        member.attempt(|member| match member.pts {
            Some(pts) => member.session.collect(pts, board),
            None => member.session.flush(board),
        });
    }
    check(members)
}

/// Processes the pictures of this round, in one call.
fn process<B: Backend>(
    members: &mut [Member<B::Surface>],
    backend: &B,
    processor: &mut Box<dyn Process<B::Surface>>,
    board: &Board,
) -> Result<(), String> {
    let is_asked =
        |member: &Member<B::Surface>| member.has_picture() && !member.session.step.is_passthrough();
    for member in members.iter_mut().filter(|member| is_asked(member)) {
        if member.session.output.is_none() {
            member.attempt(|member| {
                member.session.output = Some(guarded(board, || backend.surface())??);
                Ok(())
            });
        }
    }
    check(members)?;
    let mut works = Vec::new();
    for member in members.iter_mut().filter(|member| is_asked(member)) {
        let session = &mut *member.session;
        if let (Some(picture), Some(output)) = (&member.picture, &mut session.output) {
            let step: &Step = &session.step;
            works.push(Work::new(step, &picture.decoded.surface, output));
        }
    }
    if works.is_empty() {
        return Ok(());
    }
    let whole = guarded(board, || processor.process(&mut works));
    let ends: Vec<Option<End>> = match whole {
        Ok(Ok(())) => works.iter_mut().map(|work| end_of(work)).collect(),
        Ok(Err(fault)) if fault.is_lost() => return Err(fault.to_string()),
        Ok(Err(fault)) if works.len() == 1 => vec![Some(fault.into())],
        Err(end) if works.len() == 1 => {
            renew(backend, processor, board)?;
            vec![Some(end)]
        }
        failed => {
            if failed.is_err() {
                renew(backend, processor, board)?;
            }
            let mut ends = Vec::new();
            for work in &mut works {
                ends.push(alone(work, backend, processor, board)?);
            }
            ends
        }
    };
    drop(works);
    for (member, end) in members
        .iter_mut()
        .filter(|member| is_asked(member))
        .zip(ends)
    {
        member.end = end;
    }
    check(members)
}

/// Processes one picture by itself.
fn alone<B: Backend>(
    work: &mut Work<'_, B::Surface>,
    backend: &B,
    processor: &mut Box<dyn Process<B::Surface>>,
    board: &Board,
) -> Result<Option<End>, String> {
    match guarded(board, || processor.process(std::slice::from_mut(work))) {
        Ok(Ok(())) => Ok(end_of(work)),
        Ok(Err(fault)) if fault.is_lost() => Err(fault.to_string()),
        Ok(Err(fault)) => Ok(Some(fault.into())),
        Err(end) => {
            renew(backend, processor, board)?;
            Ok(Some(end))
        }
    }
}

fn end_of<S>(work: &mut Work<'_, S>) -> Option<End> {
    match std::mem::replace(&mut work.outcome, Ok(())) {
        Ok(()) => None,
        Err(Error::Device(fault)) => Some(fault.into()),
        Err(error) => Some(End::BadInput(error.to_string())),
    }
}

/// Makes the processor anew: one that has panicked is not to be trusted. Without one the lane can do nothing.
fn renew<B: Backend>(
    backend: &B,
    processor: &mut Box<dyn Process<B::Surface>>,
    board: &Board,
) -> Result<(), String> {
    match guarded(board, || backend.processor()) {
        Ok(Ok(new)) => {
            let old = std::mem::replace(processor, new);
            // Should that panic as well, it has been counted, and there is nothing left of it to end.
            let _ = guarded(board, || drop(old));
            Ok(())
        }
        Ok(Err(why)) => Err(why.to_string()),
        Err(_) => Err("the processor panicked, and so did making another".to_owned()),
    }
}

fn encode<S: 'static>(members: &mut [Member<S>], board: &Board) -> Result<(), String> {
    for member in &mut *members {
        member.attempt(|member| match &mut member.picture {
            Some(picture) => member.session.submit_picture(picture, board),
            None => Ok(()),
        });
    }
    check(members)?;
    for member in &mut *members {
        member.attempt(|member| match member.picture.take() {
            Some(picture) => member.session.collect_picture(picture, board),
            None => Ok(()),
        });
    }
    check(members)
}

/// What comes after the pictures.
fn finish<S: 'static>(members: &mut [Member<S>], board: &Board) {
    for member in members {
        member.attempt(|member| {
            if member.changes {
                member.session.drop_decoder(board)?;
            }
            if member.flushes {
                member.session.push(Outcome::Flushed);
            }
            Ok(())
        });
    }
}
