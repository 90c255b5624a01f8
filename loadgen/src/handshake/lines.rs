//! The connections of one worker: kept, each with many calls under way, or made anew for each call.
//!
//! ```text
//!   kept    down ──▶ opening ──▶ open, calls in turn over all that have room ──▶ (gone away, broken) ──▶ down
//!   fresh   down ──▶ opening, with its call ──▶ open ──▶ answered ──▶ down
//! ```
//!
//! Invariants:
//! - Every call that is sent comes back once, with its answer or with the class of its error.
//! - A call that has no answer within [`ANSWER_TIMEOUT_S`] comes back without.

use std::collections::{BTreeMap, VecDeque};

use super::ANSWER_TIMEOUT_S;
use crate::clock::{self, SECOND, Timer};
use crate::conduct::Stop;
use crate::failure::Failure;
use crate::gateway::GET_ORCHESTRATOR;
use crate::grpc::{self, Answer};
use crate::h2::{self, CallId, Client, Head};
use crate::measure::Meter;
use crate::net::{Dialer, Event, Net, Token};
use crate::target::Target;

/// What is sent: whose request, and when it was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) sender: u32,
    pub(super) due_ns: u64,
}

/// A call that came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) job: Job,
    pub(super) outcome: Result<Answer, &'static str>,
    pub(super) at_ns: u64,
    /// When the answer before it came on its connection, or 0.
    pub(super) before_ns: u64,
}

/// See the module.
pub(super) struct Lines {
    net: Net,
    dialer: Dialer,
    timer: Timer,
    head: Head,
    is_fresh: bool,
    lines: Vec<Line>,
    /// By token.
    owners: Vec<Option<usize>>,
    /// Of fresh ones: those that carry nothing.
    vacant: VecDeque<usize>,
    /// Of kept ones: whose turn it is.
    turn: usize,
    open: usize,
    opening: usize,
    busy: usize,
    /// Since when no connection is open and all that are tried are refused.
    refused_since_ns: Option<u64>,
    looked_ns: u64,
    events: Vec<Event>,
    buffer: Vec<u8>,
}

struct Line {
    state: State,
    client: Client,
    /// Under way, the first that was sent first, and since when.
    jobs: BTreeMap<CallId, (Job, u64)>,
    since_ns: u64,
    answered_ns: u64,
    /// It has brought an answer since it was opened.
    has_served: bool,
    /// An attempt to open it has failed since it was open.
    has_failed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Down { again_ns: u64 },
    Opening(Token),
    Open(Token),
}

impl Lines {
    /// So many, none of them open.
    pub(super) fn new(target: &Target, count: usize, is_fresh: bool) -> Result<Self, Failure> {
        let (net, timer) = (Net::new()?, Timer::new()?);
        net.watch(timer.fd(), TIMER)?;
        Ok(Self {
            net,
            dialer: Dialer::h2(target)?,
            timer,
            head: grpc::head(target, GET_ORCHESTRATOR, ANSWER_TIMEOUT_S),
            is_fresh,
            lines: (0..count).map(|_| Line::new()).collect(),
            owners: Vec::new(),
            vacant: (0..count).collect(),
            turn: 0,
            open: 0,
            opening: 0,
            busy: 0,
            refused_since_ns: None,
            looked_ns: 0,
            events: Vec::new(),
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Opens all that are kept, before anything is due.
    pub(super) fn open(&mut self, stop: &Stop) -> Result<(), Failure> {
        let (mut ended, began_ns) = (Vec::new(), clock::now_ns());
        while !self.is_fresh && self.open < self.lines.len() && !stop.is_told() {
            self.serve(u64::MAX, None, &mut ended)?;
            let is_refused = self.lines.iter().any(|line| line.has_failed);
            if is_refused || clock::now_ns() - began_ns > PATIENCE_NS {
                return Err(Failure::new(format!(
                    "{} of {} connections could not be made; is the server there, does it speak HTTP/2, and may it have as many?",
                    self.lines.len() - self.open,
                    self.lines.len()
                )));
            }
        }
        Ok(())
    }

    /// Calls under way.
    pub(super) fn busy(&self) -> usize {
        self.busy
    }

    /// Whether the server is gone: for a second now, it has refused every connection.
    pub(super) fn is_lost(&self, now_ns: u64) -> bool {
        self.refused_since_ns
            .is_some_and(|since_ns| now_ns.saturating_sub(since_ns) > LOST_NS)
    }

    /// Sends a call. `false`: no connection has room for it now.
    pub(super) fn send(&mut self, job: Job, body: &[u8], ended: &mut Vec<Ended>) -> bool {
        let Some(at) = self.pick(body.len()) else {
            return false;
        };
        let now_ns = clock::now_ns();
        if self.is_fresh && !self.connect(at, now_ns) {
            // What it could not even begin to do.
            self.vacant.push_back(at);
            ended.push(Ended {
                job,
                outcome: Err("connect"),
                at_ns: now_ns,
                before_ns: 0,
            });
            return true;
        }
        let line = &mut self.lines[at];
        // A new connection has room for one; a kept one was picked since it has.
        let Some(call) = line.client.call(&self.head, body) else {
            return false;
        };
        line.jobs.insert(call, (job, now_ns));
        self.busy += 1;
        if let Err(class) = self.flush(at) {
            self.lose(at, class, None, ended);
        }
        true
    }

    fn pick(&mut self, body_bytes: usize) -> Option<usize> {
        if self.is_fresh {
            return self.vacant.pop_front();
        }
        let count = self.lines.len();
        let at = (0..count)
            .map(|n| (self.turn + n) % count)
            .find(|at| self.lines[*at].has_room(body_bytes))?;
        self.turn = at + 1;
        Some(at)
    }

    /// Serves what has come, waiting at most until `until_ns`, or for a twentieth of a second.
    ///
    /// # Errors
    /// The epoll is of no more use.
    pub(super) fn serve(
        &mut self,
        until_ns: u64,
        mut meter: Option<&mut Meter>,
        ended: &mut Vec<Ended>,
    ) -> Result<(), Failure> {
        let now_ns = clock::now_ns();
        let again_ns = self.open_more(now_ns, meter.as_deref_mut());
        let until_ns = until_ns.min(again_ns).min(now_ns + GLANCE_NS);
        let wait_ms = if until_ns <= now_ns {
            0
        } else {
            self.timer.arm(until_ns)?;
            GLANCE_MS
        };
        let wait_ms = meter
            .as_ref()
            .map_or(wait_ms, |meter| meter.wait_ms(wait_ms));
        let mut events = std::mem::take(&mut self.events);
        self.net.wait(&mut events, Some(wait_ms))?;
        if events.iter().all(|event| event.token == TIMER)
            && let Some(meter) = &mut meter
        {
            meter.record_idle(clock::now_ns() - now_ns);
        }
        for event in events.iter().filter(|event| event.token != TIMER) {
            self.handle_event(*event, meter.as_deref_mut(), ended);
        }
        self.events = events;
        self.expire(meter, ended);
        Ok(())
    }

    /// Gives up what is under way: it comes back without an answer.
    pub(super) fn abandon(&mut self, ended: &mut Vec<Ended>) {
        for at in 0..self.lines.len() {
            if !self.lines[at].jobs.is_empty() {
                self.lose(at, UNKNOWN, None, ended);
            }
        }
    }

    /// Opens what is kept, down, and may be tried, a few at a time. Says when the next one may be.
    fn open_more(&mut self, now_ns: u64, mut meter: Option<&mut Meter>) -> u64 {
        let mut next_ns = u64::MAX;
        if self.is_fresh || self.open + self.opening == self.lines.len() {
            return next_ns;
        }
        for at in 0..self.lines.len() {
            let State::Down { again_ns } = self.lines[at].state else {
                continue;
            };
            if again_ns > now_ns {
                next_ns = next_ns.min(again_ns);
            } else if self.opening >= OPENING_MAX {
                // One of those that are being made will tell.
            } else if self.connect(at, now_ns) {
                // Until it is made this only waits, and whether it can be made its event will tell.
                let _ = self.flush(at);
            } else {
                self.note_refused(at, now_ns, meter.as_deref_mut());
                next_ns = next_ns.min(now_ns + RETRY_NS);
            }
        }
        next_ns
    }

    /// Begins a connection; `false` when not even that is possible.
    fn connect(&mut self, at: usize, now_ns: u64) -> bool {
        let Ok(token) = self.net.connect(&self.dialer) else {
            return false;
        };
        let line = &mut self.lines[at];
        *line = Line {
            state: State::Opening(token),
            since_ns: now_ns,
            has_failed: line.has_failed,
            ..Line::new()
        };
        self.opening += 1;
        if token >= self.owners.len() {
            self.owners.resize(token + 1, None);
        }
        self.owners[token] = Some(at);
        true
    }

    fn note_refused(&mut self, at: usize, now_ns: u64, meter: Option<&mut Meter>) {
        let line = &mut self.lines[at];
        line.state = State::Down {
            again_ns: now_ns + RETRY_NS,
        };
        // Once until it is open again: how often it is tried says nothing about the server.
        if !std::mem::replace(&mut line.has_failed, true)
            && let Some(meter) = meter
        {
            meter.record_error("connect");
        }
        if self.open == 0 {
            self.refused_since_ns.get_or_insert(now_ns);
        }
    }

    fn handle_event(
        &mut self,
        event: Event,
        mut meter: Option<&mut Meter>,
        ended: &mut Vec<Ended>,
    ) {
        let token = event.token;
        let Some(at) = self.owners.get(token).copied().flatten() else {
            return;
        };
        if event.writable
            && let Err(error) = self.net.flush(token)
        {
            let class = self.net.class_of(token, &error);
            return self.lose(at, class, meter, ended);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = match event.readable {
            true => self.net.read(token, &mut buffer),
            false => Ok(None),
        };
        if self.lines[at].state == State::Opening(token) && self.net.is_open(token) {
            if self.net.has_agreed_on_h2(token) {
                self.handle_open(at, token);
            } else {
                self.buffer = buffer;
                return self.lose(at, "alpn", meter, ended);
            }
        }
        let broken = match read {
            Ok(None) => None,
            Ok(Some(0)) if self.net.is_open(token) => Some("reset"),
            Ok(Some(0)) => Some("connect"),
            Ok(Some(count)) => {
                let now_ns = clock::now_ns();
                if let Some(meter) = &mut meter {
                    let ready_ns = self.net.ready_since_ns();
                    meter.record_receive_lag(now_ns, now_ns.saturating_sub(ready_ns));
                }
                self.handle_bytes(at, &buffer[..count], now_ns, ended).err()
            }
            Err(error) => Some(self.net.class_of(token, &error)),
        };
        self.buffer = buffer;
        if let Some(class) = broken {
            self.lose(at, class, meter, ended);
        }
    }

    fn handle_open(&mut self, at: usize, token: Token) {
        let line = &mut self.lines[at];
        line.state = State::Open(token);
        line.has_failed = false;
        self.opening -= 1;
        self.open += 1;
        self.refused_since_ns = None;
    }

    fn handle_bytes(
        &mut self,
        at: usize,
        bytes: &[u8],
        now_ns: u64,
        ended: &mut Vec<Ended>,
    ) -> Result<(), &'static str> {
        let line = &mut self.lines[at];
        let mut answers = Vec::new();
        let outcome = line.client.handle_bytes(bytes, &mut answers);
        for h2::Answer { call, outcome } in answers {
            let Some((job, _)) = line.jobs.remove(&call) else {
                continue;
            };
            ended.push(Ended {
                job,
                outcome: outcome.map(grpc::answer).map_err(grpc::class_of),
                at_ns: now_ns,
                before_ns: std::mem::replace(&mut line.answered_ns, now_ns),
            });
            line.has_served = true;
            self.busy -= 1;
        }
        outcome.map_err(|_| "malformed")?;
        self.flush(at)?;
        let line = &self.lines[at];
        let is_done = line.jobs.is_empty() && (self.is_fresh || line.client.is_ending());
        if is_done && line.has_served {
            self.end(at, 0);
        } else if is_done && !self.is_fresh {
            return Err("gone-away");
        }
        Ok(())
    }

    /// Sends what a connection has to say.
    fn flush(&mut self, at: usize) -> Result<(), &'static str> {
        let line = &mut self.lines[at];
        let (State::Opening(token) | State::Open(token)) = line.state else {
            return Ok(());
        };
        let output = line.client.take_output();
        if output.is_empty() {
            return Ok(());
        }
        self.net
            .send(token, &[&output])
            .map_err(|error| self.net.class_of(token, &error))
    }

    /// Calls that were not answered, and connections that were not made, within their time.
    fn expire(&mut self, mut meter: Option<&mut Meter>, ended: &mut Vec<Ended>) {
        let now_ns = clock::now_ns();
        if now_ns < self.looked_ns + GLANCE_NS {
            return;
        }
        self.looked_ns = now_ns;
        for at in 0..self.lines.len() {
            let line = &mut self.lines[at];
            let is_late = |since_ns: u64, ns: u64| now_ns.saturating_sub(since_ns) > ns;
            if matches!(line.state, State::Opening(_)) && is_late(line.since_ns, CONNECT_NS) {
                self.lose(at, "connect", meter.as_deref_mut(), ended);
                continue;
            }
            while let Some((&call, &(job, since_ns))) = line.jobs.first_key_value()
                && is_late(since_ns, ANSWER_NS)
            {
                line.client.cancel(call);
                line.jobs.remove(&call);
                self.busy -= 1;
                ended.push(Ended {
                    job,
                    outcome: Err("timeout"),
                    at_ns: now_ns,
                    before_ns: line.answered_ns,
                });
            }
            if self.is_fresh && line.jobs.is_empty() && matches!(line.state, State::Open(_)) {
                self.end(at, 0);
            } else if let Err(class) = self.flush(at) {
                self.lose(at, class, meter.as_deref_mut(), ended);
            }
        }
    }

    /// A connection came to nothing, and with it what it carried.
    fn lose(
        &mut self,
        at: usize,
        class: &'static str,
        meter: Option<&mut Meter>,
        ended: &mut Vec<Ended>,
    ) {
        let now_ns = clock::now_ns();
        let line = &mut self.lines[at];
        for (_, (job, _)) in std::mem::take(&mut line.jobs) {
            self.busy -= 1;
            ended.push(Ended {
                job,
                outcome: Err(class),
                at_ns: now_ns,
                before_ns: line.answered_ns,
            });
        }
        let was_opening = matches!(line.state, State::Opening(_));
        // One that has never served may be one that a server closes at once, and is not to be hammered.
        let again_ns = now_ns + if line.has_served { 0 } else { RETRY_NS };
        self.end(at, again_ns);
        if was_opening && !self.is_fresh {
            self.note_refused(at, now_ns, meter);
        }
    }

    /// Closes a connection that carries nothing any more.
    fn end(&mut self, at: usize, again_ns: u64) {
        let before = std::mem::replace(&mut self.lines[at].state, State::Down { again_ns });
        let token = match before {
            State::Down { .. } => return,
            State::Opening(token) => {
                self.opening -= 1;
                token
            }
            State::Open(token) => {
                self.open -= 1;
                token
            }
        };
        self.net.close(token);
        if let Some(owner) = self.owners.get_mut(token) {
            *owner = None;
        }
        if self.is_fresh {
            self.vacant.push_back(at);
        }
    }
}

impl Line {
    fn new() -> Self {
        Self {
            state: State::Down { again_ns: 0 },
            client: Client::new(),
            jobs: BTreeMap::new(),
            since_ns: 0,
            answered_ns: 0,
            has_served: false,
            has_failed: false,
        }
    }

    fn has_room(&self, body_bytes: usize) -> bool {
        matches!(self.state, State::Open(_)) && self.client.has_room(body_bytes)
    }
}

/// The class of a call whose run was over before the answer.
const UNKNOWN: &str = "unknown";
const TIMER: Token = Token::MAX;
/// Several answers.
const READ_BYTES: usize = 16 << 10;
const ANSWER_NS: u64 = ANSWER_TIMEOUT_S as u64 * SECOND;
/// As stock gateways.
const CONNECT_NS: u64 = 3 * SECOND;
/// How often a worker looks whether it is to stop.
const GLANCE_MS: u32 = 50;
const GLANCE_NS: u64 = 50_000_000;
/// Connections that are being made at a time.
const OPENING_MAX: usize = 64;
const RETRY_NS: u64 = SECOND / 20;
/// How long it may take to make all connections.
const PATIENCE_NS: u64 = 10 * SECOND;
/// A server that refuses for so long is gone.
const LOST_NS: u64 = SECOND;
