//! The connections of one worker, each with one payment under way at the most.
//!
//! ```text
//!   down ──▶ opening ──▶ idle ──▶ busy ──▶ answered ──▶ idle          the one that has been idle for longest is next
//!     ▲         │ refused  │ closed │ broken                          so that none is closed for being idle
//!     └─────────┴──────────┴────────┘ opened again
//! ```
//!
//! Invariants:
//! - A payment goes out on a connection that is open. One that was refused a connection was never sent.
//! - Every payment that is sent comes back once, with its answer or without.

use std::collections::VecDeque;

use super::judge::Answer;
use crate::clock::{self, SECOND, Timer};
use crate::conduct::Stop;
use crate::failure::Failure;
use crate::http::{Part, Responses};
use crate::measure::Meter;
use crate::net::{Dialer, Event, Net, Token};
use crate::target::Target;

/// What is sent: which payment, and when it was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) payment: u32,
    /// It went out before.
    pub(super) is_replay: bool,
    pub(super) due_ns: u64,
}

/// A payment that came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) job: Job,
    pub(super) answer: Answer,
    pub(super) at_ns: u64,
    /// When the answer before it came on its connection, or 0.
    pub(super) before_ns: u64,
}

/// See the module.
pub(super) struct Lines {
    net: Net,
    dialer: Dialer,
    timer: Timer,
    lines: Vec<Line>,
    /// By token.
    owners: Vec<Option<usize>>,
    idle: VecDeque<usize>,
    opening: usize,
    open: usize,
    busy: usize,
    /// Since when no connection is open and all that are tried are refused.
    refused_since_ns: Option<u64>,
    events: Vec<Event>,
    buffer: Vec<u8>,
}

#[derive(Debug, Default)]
struct Line {
    state: State,
    responses: Responses,
    status: u16,
    text: Vec<u8>,
    /// It carries no other payment after this one.
    is_last: bool,
    /// It has brought an answer since it was opened.
    has_served: bool,
    /// An attempt to open it has failed since it was open.
    has_failed: bool,
    answered_ns: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Down { again_ns: u64 },
    Opening(Token),
    Idle(Token),
    Busy(Token, Job),
}

impl Default for State {
    fn default() -> Self {
        Self::Down { again_ns: 0 }
    }
}

impl Lines {
    /// So many, none of them open.
    pub(super) fn new(target: &Target, count: usize) -> Result<Self, Failure> {
        let (net, timer) = (Net::new()?, Timer::new()?);
        net.watch(timer.fd(), TIMER)?;
        Ok(Self {
            net,
            dialer: Dialer::new(target)?,
            timer,
            lines: (0..count).map(|_| Line::default()).collect(),
            owners: Vec::new(),
            idle: VecDeque::new(),
            opening: 0,
            open: 0,
            busy: 0,
            refused_since_ns: None,
            events: Vec::new(),
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Opens all of them, before anything is due.
    pub(super) fn open(&mut self, stop: &Stop) -> Result<(), Failure> {
        let (mut ended, began_ns) = (Vec::new(), clock::now_ns());
        while self.open < self.lines.len() && !stop.is_told() {
            self.serve(u64::MAX, None, &mut ended)?;
            let missing = self.lines.len() - self.open;
            let is_refused = self.lines.iter().any(|line| line.has_failed);
            if is_refused || clock::now_ns() - began_ns > PATIENCE_NS {
                return Err(Failure::new(format!(
                    "{missing} of {} connections could not be made; is the server there, and may it have as many?",
                    self.lines.len()
                )));
            }
        }
        Ok(())
    }

    /// Payments under way.
    pub(super) fn busy(&self) -> usize {
        self.busy
    }

    /// Whether one more can be sent.
    pub(super) fn has_idle(&self) -> bool {
        !self.idle.is_empty()
    }

    /// Whether the server is gone: for a second now, it has refused every connection.
    pub(super) fn is_lost(&self, now_ns: u64) -> bool {
        self.refused_since_ns
            .is_some_and(|since_ns| now_ns.saturating_sub(since_ns) > LOST_NS)
    }

    /// Sends a payment's request on the connection that has been idle for longest. There must be one.
    pub(super) fn send(&mut self, job: Job, parts: &[&[u8]], ended: &mut Vec<Ended>) {
        let Some(at) = self.idle.pop_front() else {
            return;
        };
        let line = &mut self.lines[at];
        let State::Idle(token) = line.state else {
            return;
        };
        line.state = State::Busy(token, job);
        line.text.clear();
        self.busy += 1;
        if self.net.send(token, parts).is_err() {
            self.lose(at, UNKNOWN, None, ended);
        }
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
        Ok(())
    }

    /// Gives up what is under way: it comes back without an answer.
    pub(super) fn abandon(&mut self, ended: &mut Vec<Ended>) {
        for at in 0..self.lines.len() {
            if matches!(self.lines[at].state, State::Busy(..)) {
                self.lose(at, UNKNOWN, None, ended);
            }
        }
    }

    /// Opens what is down and may be tried, a few at a time. Says when the next one may be.
    fn open_more(&mut self, now_ns: u64, mut meter: Option<&mut Meter>) -> u64 {
        let mut next_ns = u64::MAX;
        if self.open + self.opening == self.lines.len() {
            return next_ns;
        }
        for at in 0..self.lines.len() {
            let State::Down { again_ns } = self.lines[at].state else {
                continue;
            };
            if again_ns > now_ns {
                next_ns = next_ns.min(again_ns);
                continue;
            }
            if self.opening >= OPENING_MAX {
                // One of those that are being made will tell.
                continue;
            }
            match self.net.connect(&self.dialer) {
                Ok(token) => {
                    let line = &mut self.lines[at];
                    line.state = State::Opening(token);
                    (line.is_last, line.has_served) = (false, false);
                    line.responses = Responses::default();
                    self.opening += 1;
                    if token >= self.owners.len() {
                        self.owners.resize(token + 1, None);
                    }
                    self.owners[token] = Some(at);
                }
                Err(_) => {
                    self.note_refused(at, now_ns, meter.as_deref_mut());
                    next_ns = next_ns.min(now_ns + RETRY_NS);
                }
            }
        }
        next_ns
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

    fn handle_event(&mut self, event: Event, meter: Option<&mut Meter>, ended: &mut Vec<Ended>) {
        let token = event.token;
        let Some(at) = self.owners.get(token).copied().flatten() else {
            return;
        };
        if event.writable && self.net.flush(token).is_err() {
            return self.lose(at, UNKNOWN, meter, ended);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = match event.readable {
            true => self.net.read(token, &mut buffer),
            false => Ok(None),
        };
        if self.lines[at].state == State::Opening(token) && self.net.is_open(token) {
            self.handle_open(at, token);
        }
        match read {
            Ok(None) => {}
            Ok(Some(0)) => self.handle_end(at, meter, ended),
            Ok(Some(count)) => {
                let now_ns = clock::now_ns();
                let mut meter = meter;
                if let Some(meter) = &mut meter {
                    let ready_ns = self.net.ready_since_ns();
                    meter.record_receive_lag(now_ns, now_ns.saturating_sub(ready_ns));
                }
                self.handle_bytes(at, &buffer[..count], now_ns, meter, ended);
            }
            Err(_) => self.lose(at, UNKNOWN, meter, ended),
        }
        self.buffer = buffer;
    }

    fn handle_open(&mut self, at: usize, token: Token) {
        let line = &mut self.lines[at];
        line.state = State::Idle(token);
        (line.has_failed, line.answered_ns) = (false, 0);
        self.idle.push_back(at);
        self.opening -= 1;
        self.open += 1;
        self.refused_since_ns = None;
    }

    fn handle_bytes(
        &mut self,
        at: usize,
        mut input: &[u8],
        now_ns: u64,
        meter: Option<&mut Meter>,
        ended: &mut Vec<Ended>,
    ) {
        loop {
            let line = &mut self.lines[at];
            let is_busy = matches!(line.state, State::Busy(..));
            match line.responses.handle_bytes(&mut input) {
                Ok(None) => return,
                // An answer to no question, such as a 408 before it closes.
                Ok(Some(_)) if !is_busy => return self.lose(at, UNKNOWN, meter, ended),
                Ok(Some(Part::Head(head))) => {
                    (line.status, line.is_last) = (head.status, !head.is_keep_alive);
                }
                Ok(Some(Part::Body(bytes))) if line.status != 200 => {
                    let room = TEXT_BYTES_MAX - line.text.len();
                    line.text.extend_from_slice(&bytes[..bytes.len().min(room)]);
                }
                Ok(Some(Part::Body(_))) => {}
                Ok(Some(Part::End)) => {
                    self.handle_answer(at, now_ns, ended);
                    if !matches!(self.lines[at].state, State::Idle(_)) {
                        return;
                    }
                }
                Err(_) => return self.lose(at, "malformed", meter, ended),
            }
        }
    }

    /// The peer has said its last: that ends an answer without a length, and breaks any other.
    fn handle_end(&mut self, at: usize, meter: Option<&mut Meter>, ended: &mut Vec<Ended>) {
        let line = &mut self.lines[at];
        let is_busy = matches!(line.state, State::Busy(..));
        match line.responses.handle_end() {
            Ok(Some(_)) if is_busy => {
                line.is_last = true;
                self.handle_answer(at, clock::now_ns(), ended);
            }
            _ => self.lose(at, UNKNOWN, meter, ended),
        }
    }

    fn handle_answer(&mut self, at: usize, now_ns: u64, ended: &mut Vec<Ended>) {
        let line = &mut self.lines[at];
        let State::Busy(token, job) = line.state else {
            return;
        };
        let text = String::from_utf8_lossy(&line.text).into_owned();
        ended.push(Ended {
            job,
            answer: Answer::Status(line.status, text),
            at_ns: now_ns,
            before_ns: std::mem::replace(&mut line.answered_ns, now_ns),
        });
        line.has_served = true;
        self.busy -= 1;
        if line.is_last {
            line.state = State::Down { again_ns: now_ns };
            self.open -= 1;
            self.close(token);
        } else {
            line.state = State::Idle(token);
            self.idle.push_back(at);
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
        // One that has never served may be one that a server closes at once, and is not to be hammered.
        let again_ns = now_ns + if line.has_served { 0 } else { RETRY_NS };
        match std::mem::replace(&mut line.state, State::Down { again_ns }) {
            State::Down { .. } => {}
            State::Opening(token) => {
                self.opening -= 1;
                self.close(token);
                self.note_refused(at, now_ns, meter);
            }
            State::Idle(token) => {
                self.idle.retain(|idle| *idle != at);
                self.open -= 1;
                self.close(token);
            }
            State::Busy(token, job) => {
                ended.push(Ended {
                    job,
                    answer: Answer::None(class),
                    at_ns: now_ns,
                    before_ns: line.answered_ns,
                });
                self.busy -= 1;
                self.open -= 1;
                self.close(token);
            }
        }
    }

    fn close(&mut self, token: Token) {
        self.net.close(token);
        if let Some(owner) = self.owners.get_mut(token) {
            *owner = None;
        }
    }
}

/// The class of a payment whose connection broke, or whose run was over, before the answer.
const UNKNOWN: &str = "unknown";
const TIMER: Token = Token::MAX;
/// Several answers.
const READ_BYTES: usize = 16 << 10;
/// Of a refusal: its reason is at its beginning.
const TEXT_BYTES_MAX: usize = 512;
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
