//! The media lane: decode → process → encode on one device, for many sessions, a batch a turn.
//!
//! ```text
//!   ring ─▶ inboxes, one a session ─▶ gather: one unit of each, in turns ─▶ batch ─▶ the sessions' rings ─▶ their shards
//!                                       ▲                                    │
//!                                       └───── who has more goes to the end ─┘
//! ```
//!
//! A batch is as large as the device wants it and no larger than there are sessions with something to do; one that is not full
//! waits for sessions whose next unit is due by their own rhythm, as long as the device's [`Batching`](gpu::Batching) allows. On
//! the CPU a batch is one unit and nothing is waited for.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gpu::model::Model;
use gpu::{Backend, Open, Process, Usage};
use handoff::ring::Receiver;

use super::admission::Cost;
use super::batch::{self, Member};
use super::end::{End, guarded};
use super::recover::{self, Opened};
use super::session::{Session, Task};
use super::stats::{Board, LaneState};
use super::{Job, Key, Outcome};
use crate::fatal;

/// How long an idle lane sleeps at most.
const NAP: Duration = Duration::from_millis(500);
/// How often a lane asks its device what it has done.
const USAGE_PAUSE: Duration = Duration::from_millis(100);

/// What a lane's thread is started with.
pub(super) struct Start<'a> {
    pub(super) inbox: Receiver<Job>,
    pub(super) board: &'a Board,
    pub(super) stop: &'a AtomicBool,
    /// How long it may spend on finding out what a picture costs; zero for not at all.
    pub(super) calibration: Duration,
    /// The models that sessions may ask for.
    pub(super) models: &'a [Model],
    /// Called once the device has been opened, or could not be.
    pub(super) tried: Box<dyn FnOnce() + 'a>,
}

/// A lane's whole life.
pub(super) fn run<O: Open>(device: &O, start: Start<'_>) {
    let _guard = fatal::Guard(fatal::Reason::LanePanicked);
    let Start {
        inbox,
        board,
        stop,
        calibration,
        models,
        tried,
    } = start;
    let ahead = recover::Ahead {
        calibration,
        models,
    };
    let mut opener = recover::Opener::new(device, &inbox, board, stop, ahead, tried);
    let mut cost = Cost::default();
    let mut before = Usage::default();
    while let Some(opened) = opener.open(&mut cost) {
        let mut lane = Lane::new(device.name(), opened, board, cost, before);
        match lane.serve(&inbox, stop) {
            Ok(()) => break,
            Err(why) => {
                (cost, before) = (lane.cost, lane.usage_total());
                opener.lost(&why);
                lane.abandon(&why);
            }
        }
    }
    board.set_state(LaneState::Ended);
}

struct Lane<'a, B: Backend> {
    device: String,
    backend: B,
    processor: Box<dyn Process<B::Surface>>,
    board: &'a Board,
    sessions: HashMap<Key, Box<Session<B::Surface>>>,
    /// Sessions with something to do, each once, in the order of their turns.
    turns: VecDeque<Key>,
    /// The batch at hand; empty between turns.
    members: Vec<Member<B::Surface>>,
    cost: Cost,
    /// What the device did before it was opened this time.
    before: Usage,
    usage_at: Instant,
    /// How many of the device's remarks were logged.
    remarks_seen: usize,
}

impl<'a, B: Backend> Lane<'a, B> {
    fn new(device: String, opened: Opened<B>, board: &'a Board, cost: Cost, before: Usage) -> Self {
        Self {
            device,
            backend: opened.backend,
            processor: opened.processor,
            board,
            sessions: HashMap::new(),
            turns: VecDeque::new(),
            members: Vec::new(),
            cost,
            before,
            usage_at: Instant::now(),
            remarks_seen: 0,
        }
    }

    /// Works until it is told to stop, or until the device is lost; why, then.
    fn serve(&mut self, inbox: &Receiver<Job>, stop: &AtomicBool) -> Result<(), String> {
        while !stop.load(Ordering::Acquire) {
            self.drain(inbox)?;
            if !self.turn(inbox)? {
                inbox.wait(NAP);
            }
        }
        Ok(())
    }

    fn drain(&mut self, inbox: &Receiver<Job>) -> Result<(), String> {
        while let Some(job) = inbox.pop() {
            let (key, task) = match job {
                Job::Open {
                    key,
                    step,
                    output,
                    results,
                    seat,
                } => {
                    let made = Session::new(&self.backend, self.board, step, output, results, seat);
                    match made {
                        Ok(session) => drop(self.sessions.insert(key, Box::new(session))),
                        Err((End::Lost(why), results)) => {
                            self.board.failed_session();
                            let _ = results.send(lost(&self.device, &why));
                            return Err(why);
                        }
                        Err((End::BadInput(why) | End::Failed(why), results)) => {
                            self.board.failed_session();
                            let _ = results.send(Outcome::Failed(why));
                        }
                    }
                    continue;
                }
                Job::Unit { key, unit } => (key, Task::Unit(unit)),
                Job::Step { key, step } => (key, Task::Step(step)),
                Job::Flush { key } => (key, Task::Flush),
            };
            if let Some(session) = self.sessions.get_mut(&key)
                && session.queue(task)
            {
                self.turns.push_back(key);
            }
        }
        let board = self.board;
        for (_, session) in self
            .sessions
            .extract_if(|_, session| session.seat.has_left())
        {
            discard(session, board);
        }
        Ok(())
    }

    /// One batch. False when there is nothing to do.
    fn turn(&mut self, inbox: &Receiver<Job>) -> Result<bool, String> {
        if self.turns.is_empty() {
            self.note_usage();
            return Ok(false);
        }
        self.gather(inbox)?;
        let outcome = if self.members.is_empty() {
            Ok(())
        } else {
            let (members, processor) = (&mut self.members, &mut self.processor);
            batch::run(members, &self.backend, processor, self.board).map(|spent| {
                self.cost.add(&spent);
                self.board.spent(&spent, self.cost.ps());
            })
        };
        self.part();
        self.note_usage();
        outcome.map(|()| true)
    }

    /// Takes the sessions whose turn it is, up to a batch of them, and waits for more if that is worth while.
    fn gather(&mut self, inbox: &Receiver<Job>) -> Result<(), String> {
        let batching = self.backend.batching();
        let units_max = batching.units_max.max(1);
        let until = Instant::now() + batching.wait;
        while self.turns.len() < units_max {
            let now = Instant::now();
            let is_due = |session: &Session<_>| session.is_due(now, until);
            if now >= until || !self.sessions.values().any(|session| is_due(session)) {
                break;
            }
            inbox.wait(until - now);
            self.drain(inbox)?;
        }
        while self.members.len() < units_max
            && let Some(key) = self.turns.pop_front()
        {
            if let Some(mut session) = self.sessions.remove(&key) {
                match session.take_turn() {
                    Some(turn) => self.members.push(Member::new(key, session, turn)),
                    None => drop(self.sessions.insert(key, session)),
                }
            }
        }
        Ok(())
    }

    /// Tells the shards of a batch's sessions, each once, and sends the sessions back to where they belong, or away.
    fn part(&mut self) {
        for member in self.members.drain(..) {
            let (key, session, picture) = (member.key, member.session, member.picture);
            let ended = match member.end {
                Some(End::BadInput(why)) => Some(Outcome::BadInput(why)),
                Some(End::Failed(why)) => {
                    self.board.failed_session();
                    tracing::warn!(why, "a session failed on its lane");
                    Some(Outcome::Failed(why))
                }
                // All sessions of the lane are told together when the device is lost.
                Some(End::Lost(_)) | None => None,
            };
            if let Some(outcome) = ended {
                session.push(outcome);
                session.results.ring();
                let _ = guarded(self.board, || drop(picture));
                discard(session, self.board);
            } else {
                session.results.ring();
                if session.has_shown && session.seat.is_fresh() {
                    // In this order, so that its memory is counted twice for a moment rather than not at all.
                    self.board.usage(&self.backend.usage(), &self.before);
                    session.seat.settle();
                }
                if session.is_waiting() {
                    self.turns.push_back(key);
                }
                self.sessions.insert(key, session);
            }
        }
    }

    fn note_usage(&mut self) {
        let now = Instant::now();
        if now >= self.usage_at {
            self.usage_at = now + USAGE_PAUSE;
            self.board.usage(&self.backend.usage(), &self.before);
            self.note_remarks();
        }
    }

    /// Logs what has come up on the device since it was last asked.
    fn note_remarks(&mut self) {
        let remarks = self.backend.remarks();
        for remark in remarks.iter().skip(self.remarks_seen) {
            tracing::warn!(device = self.device, "{remark}");
        }
        self.remarks_seen = remarks.len();
    }

    /// What the device has done, every time it was opened.
    fn usage_total(&self) -> Usage {
        let (now, before) = (self.backend.usage(), &self.before);
        Usage {
            to_device_bytes: before.to_device_bytes + now.to_device_bytes,
            from_device_bytes: before.from_device_bytes + now.from_device_bytes,
            decode_ns: before.decode_ns + now.decode_ns,
            process_ns: before.process_ns + now.process_ns,
            encode_ns: before.encode_ns + now.encode_ns,
            ..Usage::default()
        }
    }

    /// Ends every session and drops all that was made on the device, in the order that it was made on top of each other.
    fn abandon(self, why: &str) {
        let Self {
            device,
            backend,
            processor,
            board,
            sessions,
            members,
            ..
        } = self;
        for session in sessions.values() {
            board.failed_session();
            let _ = session.results.send(lost(&device, why));
        }
        // What was made on a device that is lost may do anything when it is dropped, a panic included; that is counted and over.
        let _ = guarded(board, || drop(members));
        for session in sessions.into_values() {
            discard(session, board);
        }
        let _ = guarded(board, || drop(processor));
        let _ = guarded(board, || drop(backend));
    }
}

/// What a session is told whose device is lost.
fn lost(device: &str, why: &str) -> Outcome {
    Outcome::Failed(format!("{device}: {why}"))
}

/// Drops a session, whose codecs are foreign code to the last.
fn discard<S: 'static>(session: Box<Session<S>>, board: &Board) {
    let _ = guarded(board, || drop(session));
}
