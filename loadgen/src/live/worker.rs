//! One thread of live sessions: frames go out when they are due, what comes back is timed when it comes.
//!
//! ```text
//!   heap of due frames ─▶ Publisher ─▶ ┌───────┐
//!                                      │ Lines │ one epoll        Session: Publisher, Watcher, Tally
//!   Tally ◀─ Reader ◀─ Watcher ◀────── └───────┘
//! ```
//!
//! Invariants:
//! - What is due is done before what has arrived is looked at, and neither waits for a decoder.
//! - Frames reach a session's book in the order in which they came, though the reader may be quicker with one than with another.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};

use super::api::{self, Starts};
use super::clip::Clip;
use super::lines::{Broken, Fate, Hands, Kind, Lines};
use super::pay::{Job as Bill, Paid, Payer, Till};
use super::publish::Publisher;
use super::reader::{Job, Reader, Seen};
use super::tally::{Arrival, Bases, Common, Read, Tally};
use super::ts::demux::Unit;
use super::watch::Watcher;
use super::{FIRST_FRAME, Life, PAYMENT, START};
use crate::clock::{self, Timer};
use crate::conduct::{self, Stop};
use crate::failure::Failure;
use crate::grpc;
use crate::http::Part;
use crate::measure::{Meter, Timetable};
use crate::net::{Event, Token};
use crate::outcome::{Stream, ms};
use crate::target::Target;

/// What all workers of a run share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) till: Option<Till>,
    pub(super) target: Target,
    pub(super) clip: Arc<Clip>,
    pub(super) model: String,
    pub(super) params: serde_json::Value,
    pub(super) bases: Arc<Bases>,
    pub(super) starts: Starts,
    pub(super) stall_ns: u64,
    pub(super) segment_ns: u64,
    pub(super) seed: u64,
}

/// One thread's share of the sessions.
pub(super) struct Worker {
    shared: Arc<Shared>,
    /// Which sessions of the run are its own.
    numbers: Vec<usize>,
    reader: Option<Reader>,
    /// Where payments are made, if any are.
    bills: Option<SyncSender<Bill>>,
    started: Vec<(usize, api::Session)>,
}

impl Worker {
    pub(super) fn new(
        shared: Arc<Shared>,
        numbers: Vec<usize>,
        reader: Option<Reader>,
        bills: Option<SyncSender<Bill>>,
    ) -> Self {
        Self {
            shared,
            numbers,
            reader,
            bills,
            started: Vec::new(),
        }
    }
}

impl conduct::Worker for Worker {
    fn prepare(&mut self, stop: &Stop) -> Result<(), Failure> {
        let shared = &self.shared;
        let mut asker = grpc::Asker::new(&shared.target)?;
        for &number in &self.numbers {
            let session = shared
                .starts
                .start(number, stop, || shared.start(number, &mut asker, stop));
            self.started
                .extend(session.map(|session| (number, session)));
        }
        shared.starts.conclude(stop)
    }

    fn run(&mut self, meter: Meter, stop: &Stop) -> Result<Vec<Stream>, Failure> {
        let mut lines = Lines::new(&self.shared.target)?;
        let timetable = meter.timetable();
        let (told, paid) = mpsc::channel();
        let mut sessions: Vec<_> = self
            .started
            .iter()
            .enumerate()
            .map(|(at, (number, start))| {
                let is_read = self.reader.is_some();
                Session::new(at, *number, start, &self.shared, timetable, is_read)
            })
            .collect();
        if let (Some(till), Some(bills)) = (&self.shared.till, self.bills.take()) {
            for (at, ((number, start), session)) in
                self.started.iter().zip(&mut sessions).enumerate()
            {
                let (bills, told) = (bills.clone(), told.clone());
                let payer = Payer::new((*number, at), till, bills, told, start.at_ns);
                session.payer = Some(payer);
            }
        }
        let timer = Timer::new()?;
        lines.net().watch(timer.fd(), TIMER)?;
        let running = Running {
            clip: Arc::clone(&self.shared.clip),
            lines,
            meter,
            timer,
            sessions,
            reader: self.reader.take(),
            till: self.shared.till.clone(),
            paid,
            due: BinaryHeap::new(),
            scratch: Vec::new(),
        };
        running.run(stop)
    }

    fn clean_up(&mut self) {
        for (_, session) in std::mem::take(&mut self.started) {
            // A server that does not answer would keep us for each of them; it forgets sessions without input by itself.
            if api::end(&self.shared.target, &session).is_err() {
                return;
            }
        }
    }
}

struct Running {
    clip: Arc<Clip>,
    lines: Lines,
    meter: Meter,
    timer: Timer,
    sessions: Vec<Session>,
    reader: Option<Reader>,
    till: Option<Till>,
    paid: Receiver<Paid>,
    due: BinaryHeap<Reverse<(u64, usize, Task)>>,
    scratch: Vec<u8>,
}

/// What a session is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    Frame,
    Get(i64),
}

impl Running {
    fn run(mut self, stop: &Stop) -> Result<Vec<Stream>, Failure> {
        let Timetable {
            end_ns,
            drain_end_ns,
            ..
        } = self.meter.timetable();
        for (at, session) in self.sessions.iter_mut().enumerate() {
            let mut hands = Hands {
                lines: &mut self.lines,
                meter: &mut self.meter,
                now_ns: clock::now_ns(),
            };
            session.publisher.begin(&mut hands);
            session.watcher.get(NEXT, &mut session.life, &mut hands);
            let due_ns = session.publisher.due_ns(&self.clip);
            self.due.push(Reverse((due_ns, at, Task::Frame)));
            self.due.extend(
                session
                    .retry()
                    .map(|(at_ns, task)| Reverse((at_ns, at, task))),
            );
        }
        let mut events = Vec::new();
        let mut has_ended = false;
        while !stop.is_told() {
            let now_ns = clock::now_ns();
            self.meter.tick(now_ns);
            self.do_what_is_due(end_ns);
            self.take_seen();
            self.take_paid();
            let now_ns = clock::now_ns();
            if now_ns >= end_ns {
                if !has_ended {
                    has_ended = true;
                    self.end_inputs();
                }
                if now_ns >= drain_end_ns || self.sessions.iter().all(Session::is_settled) {
                    break;
                }
            }
            let next_ns = self.due.peek().map_or(u64::MAX, |Reverse((at, ..))| *at);
            self.timer.arm(next_ns.min(now_ns + LOOK_EVERY_NS))?;
            let wait_ms = self.meter.wait_ms(LOOK_EVERY_MS);
            self.lines.net().wait(&mut events, Some(wait_ms))?;
            if events.iter().all(|event| event.token == TIMER) {
                self.meter.record_idle(clock::now_ns() - now_ns);
            }
            for event in events.iter().filter(|event| event.token != TIMER) {
                self.handle(*event);
            }
        }
        self.finish()
    }

    fn do_what_is_due(&mut self, end_ns: u64) {
        while let Some(&Reverse((at_ns, session, task))) = self.due.peek() {
            if at_ns > clock::now_ns() {
                return;
            }
            self.due.pop();
            match task {
                Task::Frame if at_ns < end_ns => {
                    let next_ns = self.sessions[session].send(
                        &self.clip,
                        &mut self.scratch,
                        &mut self.lines,
                        &mut self.meter,
                    );
                    self.due.push(Reverse((next_ns, session, Task::Frame)));
                }
                Task::Frame => {}
                Task::Get(seq) => {
                    let mut hands = Hands {
                        lines: &mut self.lines,
                        meter: &mut self.meter,
                        now_ns: clock::now_ns(),
                    };
                    let it = &mut self.sessions[session];
                    it.watcher.get(seq, &mut it.life, &mut hands);
                    self.note_retry(session);
                }
            }
        }
    }

    fn handle(&mut self, event: Event) {
        let Self {
            lines,
            meter,
            sessions,
            reader,
            ..
        } = self;
        let now_ns = clock::now_ns();
        if event.readable {
            let ready_ns = lines.net().ready_since_ns();
            meter.record_receive_lag(now_ns, now_ns.saturating_sub(ready_ns));
        }
        let owner = lines.handle(event, |lines, (session, kind), part| {
            let mut hands = Hands {
                lines,
                meter,
                now_ns,
            };
            sessions[session].handle(event.token, kind, part, &mut hands, reader.as_ref())
        });
        let Some(((session, kind), fate)) = owner else {
            return;
        };
        if let Fate::Broken(broken) = fate {
            let mut hands = Hands {
                lines,
                meter,
                now_ns,
            };
            sessions[session].handle_broken(event.token, kind, broken, &mut hands, reader.as_ref());
        }
        self.note_retry(session);
    }

    fn note_retry(&mut self, session: usize) {
        let retry = self.sessions[session].retry();
        self.due
            .extend(retry.map(|(at_ns, task)| Reverse((at_ns, session, task))));
    }

    fn take_seen(&mut self) {
        if let Some(reader) = &self.reader {
            for seen in reader.poll() {
                let session = &mut self.sessions[seen.session];
                session
                    .inbox
                    .handle_seen(seen, &mut session.tally, &mut self.meter);
            }
        }
    }

    fn take_paid(&mut self) {
        while let Ok(paid) = self.paid.try_recv() {
            if let Some(payer) = &mut self.sessions[paid.at].payer {
                payer.handle_paid();
            }
            match paid.outcome {
                Ok(true) => {
                    self.meter.record(PAYMENT, paid.due_ns, 0, paid.at_ns);
                    self.meter.record_more(paid.due_ns, "payments", 1);
                }
                Ok(false) => {}
                Err(class) => self.meter.record_error(class),
            }
        }
    }

    fn end_inputs(&mut self) {
        for session in &mut self.sessions {
            session.life.is_ending = true;
            session.publisher.end(&mut self.lines, &mut self.meter);
        }
    }

    fn finish(mut self) -> Result<Vec<Stream>, Failure> {
        let now_ns = clock::now_ns();
        for session in &mut self.sessions {
            let (inbox, tally) = (&mut session.inbox, &mut session.tally);
            session
                .watcher
                .flush(now_ns, &mut self.meter, |unit, meter| {
                    inbox.take(unit, self.reader.as_ref(), tally, meter);
                });
        }
        if let Some(reader) = &mut self.reader {
            for seen in reader.finish() {
                let session = &mut self.sessions[seen.session];
                session
                    .inbox
                    .handle_seen(seen, &mut session.tally, &mut self.meter);
            }
        }
        self.take_paid();
        self.settle()?;
        let window_start_ns = self.meter.timetable().window_start_ns;
        let mut streams = Vec::new();
        for session in &mut self.sessions {
            session.inbox.give_up(&mut session.tally, &mut self.meter);
            let summary = session.tally.finish(&mut self.meter);
            let start_ns = session.start_ns;
            let first_frame_ns = summary.first_frame_ns.map(|frame_ns| start_ns + frame_ns);
            // They belong to no second of the window, and are entered in its first.
            self.meter.record_plain(START, window_start_ns, start_ns);
            if let Some(first_frame_ns) = first_frame_ns {
                self.meter
                    .record_plain(FIRST_FRAME, window_start_ns, first_frame_ns);
            }
            #[allow(clippy::cast_precision_loss)] // small numbers
            let mut figures: BTreeMap<String, f64> = [
                ("fps", summary.fps),
                ("p50_ms", ms(summary.p50_ns)),
                ("p99_ms", ms(summary.p99_ns)),
                ("lost", summary.lost as f64),
                ("stalls", summary.stalls as f64),
                ("stall_ms", ms(summary.stall_ns)),
                ("start_ms", ms(start_ns)),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .into();
            if let Some(first_frame_ns) = first_frame_ns {
                figures.insert("first_frame_ms".to_owned(), ms(first_frame_ns));
            }
            streams.push(Stream {
                name: std::mem::take(&mut session.name),
                figures,
            });
        }
        self.meter.finish();
        Ok(streams)
    }
}

impl Running {
    /// Which sessions were ended for want of payment, and what all of them paid.
    fn settle(&mut self) -> Result<(), Failure> {
        let Some(till) = &self.till else {
            return Ok(());
        };
        for session in self
            .sessions
            .iter()
            .filter(|session| session.life.was_ended)
        {
            if till.end(session.number) {
                self.meter.note(format!(
                    "{} was ended while it was behind with its payments",
                    session.name
                ));
            }
        }
        till.save()
    }
}

impl Shared {
    /// Begins a session, and pays for its first minute if that is asked for.
    fn start(
        &self,
        number: usize,
        asker: &mut grpc::Asker,
        stop: &Stop,
    ) -> Result<api::Session, Failure> {
        let id = format!("loadgen-{:x}-{number}", std::process::id());
        let start =
            |paid: &[(&str, &str)]| api::start(&self.target, &self.model, &self.params, &id, paid);
        let Some(till) = &self.till else {
            return start(&[]);
        };
        let opening = till.prepare(asker, stop)?;
        let session = start(&[
            ("Authorization", "Livepeer-AI-Worker-1.0"),
            ("Livepeer-Payment", &opening.payment),
            ("Livepeer-Segment", &opening.purpose),
        ])?;
        till.enter(number, opening, &session.manifest_id, session.at_ns);
        Ok(session)
    }
}

/// One session.
struct Session {
    /// Of the run.
    number: usize,
    payer: Option<Payer>,
    name: String,
    start_ns: u64,
    life: Life,
    publisher: Publisher,
    watcher: Watcher,
    inbox: Inbox,
    tally: Tally,
}

impl Session {
    /// The worker's session `at`, which is `number` of the run.
    fn new(
        at: usize,
        number: usize,
        start: &api::Session,
        shared: &Shared,
        timetable: Timetable,
        is_read: bool,
    ) -> Self {
        let clip = &shared.clip;
        let common = Common {
            rate: clip.rate,
            clip_frames: clip.frames.len() as u64,
            bases: Arc::clone(&shared.bases),
            stall_ns: shared.stall_ns,
        };
        // Key frames are large: sessions that begin together do not send them together. Where there is no time for that before
        // the window, at least their frames are apart.
        let warmup_ns = timetable.window_start_ns - timetable.start_ns;
        let span_ns = if warmup_ns >= shared.segment_ns {
            shared.segment_ns
        } else {
            clip.rate.ns(1)
        };
        let mut rng = fastrand::Rng::with_seed(shared.seed ^ (number as u64) << 32);
        let first_due_ns = timetable.start_ns + rng.u64(..span_ns.max(1));
        let base_pts = shared.bases.base(number);
        Self {
            name: if start.manifest_id.is_empty() {
                format!("session {number}")
            } else {
                start.manifest_id.clone()
            },
            number,
            payer: None,
            start_ns: start.start_ns,
            life: Life::default(),
            publisher: Publisher::new(at, start.publish_path.clone(), base_pts, first_due_ns),
            watcher: Watcher::new(at, start.subscribe_path.clone(), is_read),
            inbox: Inbox {
                session: at,
                ..Inbox::default()
            },
            tally: Tally::new(number, common, timetable),
        }
    }

    /// Sends the next frame; gives when the one after it is due.
    fn send(
        &mut self,
        clip: &Clip,
        scratch: &mut Vec<u8>,
        lines: &mut Lines,
        meter: &mut Meter,
    ) -> u64 {
        let due_ns = self.publisher.due_ns(clip);
        let begins_segment = self.publisher.is_at_segment(clip);
        let written_ns = self.publisher.send(clip, scratch, &self.life, lines, meter);
        if begins_segment
            && !self.life.is_over
            && let Some(payer) = &mut self.payer
        {
            payer.segment_begins(clock::now_ns());
        }
        self.tally.sent(due_ns, written_ns);
        self.publisher.due_ns(clip)
    }

    /// Part of an answer. `false`: its connection is to be closed.
    fn handle(
        &mut self,
        token: Token,
        kind: Kind,
        part: Part<'_>,
        hands: &mut Hands<'_>,
        reader: Option<&Reader>,
    ) -> bool {
        let (inbox, tally) = (&mut self.inbox, &mut self.tally);
        let (life, now_ns) = (&mut self.life, hands.now_ns);
        let done = |unit: Unit, meter: &mut Meter| inbox.take(unit, reader, tally, meter);
        match (kind, part) {
            (Kind::Post, Part::Head(head)) => {
                return self.publisher.handle_head(token, &head, life, hands.meter);
            }
            (Kind::Post, Part::Body(_) | Part::End) => {}
            (Kind::Get, Part::Head(head)) => {
                return self.watcher.handle_head(token, &head, life, hands);
            }
            (Kind::Get, Part::Body(bytes)) => {
                self.watcher
                    .handle_body(token, bytes, now_ns, hands.meter, done);
            }
            (Kind::Get, Part::End) => self.watcher.handle_end(token, now_ns, hands.meter, done),
        }
        true
    }

    /// A request came to nothing.
    fn handle_broken(
        &mut self,
        token: Token,
        kind: Kind,
        broken: Broken,
        hands: &mut Hands<'_>,
        reader: Option<&Reader>,
    ) {
        let (inbox, tally) = (&mut self.inbox, &mut self.tally);
        let life = &mut self.life;
        match kind {
            Kind::Post => self.publisher.handle_broken(token, broken, life, hands),
            Kind::Get => self
                .watcher
                .handle_broken(token, broken, life, hands, |unit, meter| {
                    inbox.take(unit, reader, tally, meter);
                }),
        }
    }

    /// What is to be asked for again, and when.
    fn retry(&mut self) -> Option<(u64, Task)> {
        let retry = self.watcher.take_retry()?;
        Some((retry.at_ns, Task::Get(retry.seq)))
    }

    /// Whether what has not come need not be waited for.
    fn is_settled(&self) -> bool {
        let on_the_way = self.watcher.held() + self.inbox.waiting.len();
        let is_paying = self.payer.as_ref().is_some_and(Payer::is_paying);
        (self.tally.lost() <= on_the_way as u64 || self.life.is_over) && !is_paying
    }
}

/// What came and is not in the book yet, in the order in which it came.
#[derive(Debug, Default)]
struct Inbox {
    /// Of the frame that came next.
    next: u64,
    waiting: VecDeque<(u64, Option<Read>, Arrival)>,
    /// The reader missed some.
    has_gap: bool,
    last_pts: u64,
    session: usize,
}

impl Inbox {
    fn take(&mut self, unit: Unit, reader: Option<&Reader>, tally: &mut Tally, meter: &mut Meter) {
        let ordinal = self.next;
        self.next += 1;
        self.last_pts = unit.pts.unwrap_or(self.last_pts);
        let arrival = Arrival {
            pts: unit.pts,
            first_ns: unit.first_ns,
            last_ns: unit.last_ns,
            read: Read::NotAsked,
        };
        let read = reader.map_or(Some(Read::NotAsked), |reader| {
            let job = Job {
                session: self.session,
                ordinal,
                pts: self.last_pts,
                unit: unit.bytes,
                is_after_gap: self.has_gap,
            };
            self.has_gap = !reader.try_read(job);
            self.has_gap.then_some(Read::Unread)
        });
        self.waiting.push_back((ordinal, read, arrival));
        self.hand_over(tally, meter);
    }

    fn handle_seen(&mut self, seen: Seen, tally: &mut Tally, meter: &mut Meter) {
        let known = self
            .waiting
            .binary_search_by_key(&seen.ordinal, |(ordinal, ..)| *ordinal);
        if let Ok(at) = known {
            self.waiting[at].1 = Some(seen.read);
        }
        self.hand_over(tally, meter);
    }

    /// The reader is gone: what it did not say it will not say.
    fn give_up(&mut self, tally: &mut Tally, meter: &mut Meter) {
        for (_, read, _) in &mut self.waiting {
            read.get_or_insert(Read::Unread);
        }
        self.hand_over(tally, meter);
    }

    fn hand_over(&mut self, tally: &mut Tally, meter: &mut Meter) {
        while let Some((_, Some(read), arrival)) = self.waiting.front().copied() {
            self.waiting.pop_front();
            tally.arrived(Arrival { read, ..arrival }, meter);
        }
    }
}

/// The segment that is written next.
const NEXT: i64 = -1;
/// Key of the timer: no socket has it.
const TIMER: Token = Token::MAX;
/// What the reader has seen is taken at least so often.
const LOOK_EVERY_NS: u64 = 20_000_000;
const LOOK_EVERY_MS: u32 = 20;
