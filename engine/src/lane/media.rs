//! The media lane: decode → process → encode, a frame at a time, sessions in turn.
//!
//! ```text
//!   ring ─▶ inboxes, one a session ─▶ [decode ─▶ late? ─▶ filter ─▶ encode] ─▶ the session's ring ─▶ its shard
//! ```
//!
//! A frame is *late* when it comes up for filtering more than [`LATE`] after it was due, due being the later of its arrival and
//! its place on the stream's own clock. A late frame is given up after decoding (its successors need it) if newer ones wait.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gpu::{Backend, Codec, Cpu, Decode, Decoded, Encode, Filter, Frame, Process};
use handoff::ring::{Receiver, Sender};

use crate::fatal;

use super::{Job, Key, Outcome, Stamps, Unit};

/// How late a frame may be and still be worth encoding.
pub(crate) const LATE: Duration = Duration::from_millis(500);
/// A key frame at least this often, so that output segments stay about this long.
const KEY_INTERVAL_TICKS: i64 = 2 * 90_000;
/// And not more often than this, however many key frames the input has.
const KEY_SPACING_TICKS: i64 = 90_000;
/// How long an idle lane sleeps at most.
const NAP: Duration = Duration::from_millis(500);
/// Frames whose stamps are remembered while their decoder holds them back.
const HELD_MAX: usize = 64;

/// A lane's whole life.
pub(crate) fn run(inbox: &Receiver<Job>, stop: &AtomicBool) {
    let _guard = fatal::Guard(fatal::Reason::LanePanicked);
    let mut lane = Lane {
        sessions: HashMap::new(),
        turns: VecDeque::new(),
    };
    while !stop.load(Ordering::Acquire) {
        lane.drain(inbox);
        if !lane.work() {
            inbox.wait(NAP);
        }
    }
}

struct Lane {
    sessions: HashMap<Key, Session>,
    /// Sessions with something to do, each once, in the order of their turns.
    turns: VecDeque<Key>,
}

enum Task {
    Unit(Unit),
    Filter(Filter),
    Flush,
}

struct Session {
    worker: Worker,
    results: Sender<Outcome>,
    inbox: VecDeque<Task>,
    /// Set when the shard has given the session up.
    left: Arc<AtomicBool>,
}

impl Lane {
    fn drain(&mut self, inbox: &Receiver<Job>) {
        while let Some(job) = inbox.pop() {
            let (key, task) = match job {
                Job::Open {
                    key,
                    filter,
                    results,
                    left,
                } => {
                    match Worker::new(filter) {
                        Ok(worker) => {
                            self.sessions.insert(
                                key,
                                Session {
                                    worker,
                                    results,
                                    inbox: VecDeque::new(),
                                    left,
                                },
                            );
                        }
                        Err(why) => drop(results.send(Outcome::Failed(why))),
                    }
                    continue;
                }
                Job::Unit { key, unit } => (key, Task::Unit(unit)),
                Job::Filter { key, filter } => (key, Task::Filter(filter)),
                Job::Flush { key } => (key, Task::Flush),
            };
            if let Some(session) = self.sessions.get_mut(&key) {
                if session.inbox.is_empty() {
                    self.turns.push_back(key);
                }
                session.inbox.push_back(task);
            }
        }
        self.sessions
            .retain(|_, session| !session.left.load(Ordering::Acquire));
    }

    /// One task of the session whose turn it is. False when there is nothing to do.
    fn work(&mut self) -> bool {
        let Some(key) = self.turns.pop_front() else {
            return false;
        };
        let Some(session) = self.sessions.get_mut(&key) else {
            return true;
        };
        let Some(task) = session.inbox.pop_front() else {
            return true;
        };
        let newer_waits = session
            .inbox
            .iter()
            .any(|task| matches!(task, Task::Unit(_)));
        let Session {
            worker, results, ..
        } = session;
        // A codec is a large piece of foreign code; whatever it does must stay in its session.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            worker.perform(task, newer_waits, results)
        }));
        session.results.ring();
        let ended = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(why)) => Some(why),
            Err(_) => Some("the codec panicked".to_owned()),
        };
        if let Some(why) = ended {
            let _ = session.results.send(Outcome::Failed(why));
            self.sessions.remove(&key);
        } else if !session.inbox.is_empty() {
            self.turns.push_back(key);
        }
        true
    }
}

/// One session's codec and filter.
struct Worker {
    decoder: Box<dyn Decode<Frame>>,
    processor: Box<dyn Process<Frame>>,
    encoder: Box<dyn Encode<Frame>>,
    filter: Filter,
    filtered: Frame,
    decoded: Vec<Decoded<Frame>>,
    /// Frames inside the decoder, by PTS.
    held: BTreeMap<i64, Held>,
    /// When the first frame arrived, and its PTS: the stream's own clock.
    anchor: Option<(Instant, i64)>,
    key_pts: Option<i64>,
    pts_last: Option<i64>,
}

#[derive(Clone, Copy)]
struct Held {
    stamps: Stamps,
    key: bool,
}

impl Worker {
    fn new(filter: Filter) -> Result<Self, String> {
        let backend = Cpu;
        let say = |error: gpu::Unavailable| error.to_string();
        let encode = gpu::encode::Config {
            key_interval: 0,
            ..Default::default()
        };
        Ok(Self {
            decoder: backend
                .decoder(Codec::H264, gpu::decode::Config::default())
                .map_err(say)?,
            processor: backend.processor().map_err(say)?,
            encoder: backend.encoder(Codec::H264, encode).map_err(say)?,
            filter,
            filtered: Frame::default(),
            decoded: Vec::new(),
            held: BTreeMap::new(),
            anchor: None,
            key_pts: None,
            pts_last: None,
        })
    }

    fn perform(
        &mut self,
        task: Task,
        newer_waits: bool,
        results: &Sender<Outcome>,
    ) -> Result<(), String> {
        match task {
            Task::Filter(filter) => self.filter = filter,
            Task::Unit(unit) => self.unit(unit, newer_waits, results)?,
            Task::Flush => {
                self.decoder
                    .flush(&mut self.decoded)
                    .map_err(|error| error.to_string())?;
                self.finish_decoded(Instant::now(), false, results)?;
                push(results, Outcome::Flushed);
            }
        }
        Ok(())
    }

    fn unit(
        &mut self,
        unit: Unit,
        newer_waits: bool,
        results: &Sender<Outcome>,
    ) -> Result<(), String> {
        let taken = Instant::now();
        let stamps = Stamps {
            taken,
            ..unit.stamps
        };
        self.anchor.get_or_insert((stamps.read, unit.pts));
        self.held.insert(
            unit.pts,
            Held {
                stamps,
                key: unit.key,
            },
        );
        if self.held.len() > HELD_MAX {
            self.held.pop_first();
        }
        let outcome = self.decoder.decode(
            gpu::Unit {
                data: &unit.data,
                pts: unit.pts,
            },
            &mut self.decoded,
        );
        push(results, Outcome::Spent(unit.data));
        if let Err(error) = outcome {
            self.held.remove(&unit.pts);
            if error.is_fatal() {
                return Err(error.to_string());
            }
            push(results, Outcome::Damaged(error));
        }
        self.finish_decoded(Instant::now(), newer_waits, results)
    }

    fn finish_decoded(
        &mut self,
        decoded_at: Instant,
        newer_waits: bool,
        results: &Sender<Outcome>,
    ) -> Result<(), String> {
        let mut decoded = std::mem::take(&mut self.decoded);
        let mut outcome = Ok(());
        for picture in decoded.drain(..) {
            if outcome.is_ok() {
                outcome = self.finish(&picture, decoded_at, newer_waits, results);
            }
            self.decoder.recycle(picture.surface);
        }
        self.decoded = decoded;
        outcome
    }

    fn finish(
        &mut self,
        picture: &Decoded<Frame>,
        decoded_at: Instant,
        newer_waits: bool,
        results: &Sender<Outcome>,
    ) -> Result<(), String> {
        let pts = picture.pts;
        let Some(held) = self.held.remove(&pts) else {
            return Ok(());
        };
        let mut stamps = Stamps {
            decoded: decoded_at,
            ..held.stamps
        };
        if newer_waits && self.is_late(&stamps, pts) {
            push(results, Outcome::Dropped);
            return Ok(());
        }
        if self.pts_last.is_some_and(|last| pts <= last) {
            // Time went back: a new epoch of the stream. The encoder's clock must rise, so it begins anew.
            self.key_pts = None;
        }
        self.pts_last = Some(pts);
        let surface = if self.filter == Filter::Passthrough {
            &picture.surface
        } else {
            self.processor
                .process_one(
                    &gpu::Step::Filter(self.filter),
                    &picture.surface,
                    &mut self.filtered,
                )
                .map_err(|error| error.to_string())?;
            &self.filtered
        };
        stamps.processed = Instant::now();
        let since_key = self.key_pts.map(|key| pts - key);
        let force_key = since_key.is_none_or(|ticks| {
            ticks >= KEY_INTERVAL_TICKS || (held.key && ticks >= KEY_SPACING_TICKS)
        });
        let mut data = Vec::new();
        let encoded = match self.encoder.encode(surface, pts, force_key, &mut data) {
            Ok(encoded) => encoded,
            Err(error @ gpu::encode::Error::Size { .. }) => return Err(error.to_string()),
            Err(_) => {
                push(results, Outcome::Dropped);
                return Ok(());
            }
        };
        if encoded.key {
            self.key_pts = Some(pts);
        }
        stamps.encoded = Instant::now();
        push(
            results,
            Outcome::Frame {
                data,
                pts,
                key: encoded.key,
                stamps,
            },
        );
        Ok(())
    }

    fn is_late(&self, stamps: &Stamps, pts: i64) -> bool {
        let due = self.anchor.map_or(stamps.read, |(at, first)| {
            let media = Duration::from_micros(
                u64::try_from(pts - first).unwrap_or(0).saturating_mul(100) / 9,
            );
            stamps
                .read
                .max(at.checked_add(media).unwrap_or(stamps.read))
        });
        stamps.taken.saturating_duration_since(due) > LATE
    }
}

/// Queues a result. A shard that does not take a thousand results is gone or stuck: what does not fit is lost with the session.
fn push(results: &Sender<Outcome>, outcome: Outcome) {
    let _ = results.push(outcome);
}
