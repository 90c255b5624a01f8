//! One thread of handshakes: each goes out when it is due, and what is answered is looked at.

use std::collections::VecDeque;
use std::sync::Arc;

use super::lines::{Ended, Job, Lines};
use super::{HANDSHAKE, Handshake};
use crate::clock::{self, SECOND};
use crate::conduct::{Stop, Worker};
use crate::failure::Failure;
use crate::grpc::Answer;
use crate::measure::{Meter, Timetable};
use crate::net;
use crate::outcome::Stream;
use crate::refusals::Refusals;

/// One thread's share: of the run's requests every `hands`-th, from number `hand` on.
pub(super) struct HandshakeWorker {
    pub(super) handshake: Handshake,
    /// By sender.
    pub(super) requests: Arc<Vec<Vec<u8>>>,
    pub(super) hand: u64,
    pub(super) hands: u64,
    pub(super) connections: usize,
    pub(super) lines: Option<Lines>,
}

impl Worker for HandshakeWorker {
    fn prepare(&mut self, stop: &Stop) -> Result<(), Failure> {
        net::raise_descriptor_limit();
        let Handshake { target, manner, .. } = &self.handshake;
        if manner.fresh {
            // Whether there is a server at all is to be known before the clock runs; what it says is not.
            let mut lines = Lines::new(target, 1, false)?;
            lines.open(stop)?;
        }
        let mut lines = Lines::new(target, self.connections, manner.fresh)?;
        lines.open(stop)?;
        self.lines = Some(lines);
        Ok(())
    }

    fn run(&mut self, meter: Meter, stop: &Stop) -> Result<Vec<Stream>, Failure> {
        let Some(lines) = self.lines.take() else {
            return Err(Failure::new("a worker was run before it was prepared"));
        };
        let mut running = Running {
            timetable: meter.timetable(),
            handshake: self.handshake.clone(),
            requests: Arc::clone(&self.requests),
            next: self.hand,
            hands: self.hands,
            lines,
            meter,
            queue: VecDeque::new(),
            refusals: Refusals::default(),
            refused_in_polite: None,
        };
        let ended = running.run(stop);
        running.give_up_what_is_left();
        running.meter.finish();
        ended.map(|()| Vec::new())
    }

    fn clean_up(&mut self) {
        self.lines = None;
    }
}

struct Running {
    handshake: Handshake,
    timetable: Timetable,
    requests: Arc<Vec<Vec<u8>>>,
    /// The request of the run that is due next.
    next: u64,
    hands: u64,
    lines: Lines,
    meter: Meter,
    /// Due, and waiting for a connection with room.
    queue: VecDeque<Job>,
    refusals: Refusals,
    /// What a server said that is not to be asked again.
    refused_in_polite: Option<String>,
}

impl Running {
    fn run(&mut self, stop: &Stop) -> Result<(), Failure> {
        let mut ended = Vec::new();
        let mut stopped_ns = None;
        loop {
            let now_ns = clock::now_ns();
            self.meter.tick(now_ns);
            if stop.is_told() || now_ns >= self.timetable.drain_end_ns {
                stopped_ns.get_or_insert(now_ns);
            }
            if stopped_ns.is_none() {
                self.notice(now_ns);
                self.send(&mut ended);
            }
            if self.is_over(now_ns, stopped_ns) && ended.is_empty() {
                return Ok(());
            }
            if self.lines.is_lost(now_ns) {
                return Err(Failure::new(format!(
                    "{} is gone: it has refused every connection for a second, and the run is over",
                    self.handshake.target
                )));
            }
            let next_ns = self.due_ns(self.next);
            let is_waiting_for_it = stopped_ns.is_none() && next_ns < self.timetable.end_ns;
            let until_ns = match is_waiting_for_it {
                true => next_ns,
                false => u64::MAX,
            };
            self.lines
                .serve(until_ns, Some(&mut self.meter), &mut ended)?;
            for ended in ended.drain(..) {
                self.handle(ended);
            }
            if let Some(said) = self.refused_in_polite.take() {
                return Err(Failure::new(format!(
                    "the server refused a handshake: {said}; in polite mode that is the end"
                )));
            }
        }
    }

    fn due_ns(&self, number: u64) -> u64 {
        let rate = u128::from(self.handshake.manner.rate);
        let ns = u128::from(number) * u128::from(SECOND) / rate;
        let ns = u64::try_from(ns).unwrap_or(u64::MAX);
        self.timetable.start_ns.saturating_add(ns)
    }

    fn is_over(&self, now_ns: u64, stopped_ns: Option<u64>) -> bool {
        let is_idle = self.lines.busy() == 0;
        match stopped_ns {
            Some(stopped_ns) => is_idle || now_ns >= stopped_ns + STOP_NS,
            None => is_idle && self.queue.is_empty() && now_ns >= self.timetable.end_ns,
        }
    }

    /// Whatever is due by now is put where it waits for its turn.
    fn notice(&mut self, now_ns: u64) {
        loop {
            let due_ns = self.due_ns(self.next);
            if due_ns > now_ns || due_ns >= self.timetable.end_ns {
                return;
            }
            let sender = self.next % self.requests.len() as u64;
            self.next += self.hands;
            if self.queue.len() >= QUEUE_MAX {
                self.meter.record_drop(due_ns, 1);
                continue;
            }
            self.meter.record_due(due_ns, now_ns, 1);
            self.queue.push_back(Job {
                sender: u32::try_from(sender).unwrap_or(0),
                due_ns,
            });
        }
    }

    fn send(&mut self, ended: &mut Vec<Ended>) {
        while let Some(&job) = self.queue.front() {
            let request = &self.requests[job.sender as usize];
            if !self.lines.send(job, request, ended) {
                return;
            }
            self.queue.pop_front();
            self.meter.record_begun(job.due_ns);
            if self.timetable.is_measured(job.due_ns) {
                self.meter.counts().bytes_sent += request.len() as u64;
            }
        }
    }

    fn handle(&mut self, ended: Ended) {
        let Ended {
            job,
            outcome,
            at_ns,
            before_ns,
        } = ended;
        let answer = match outcome {
            Ok(answer) => answer,
            Err(class) => return self.meter.record_error(class),
        };
        match answer {
            Answer::Message(message) => match self.handshake.judge(&message) {
                Ok(()) => self.take(job, message.len(), at_ns, before_ns),
                Err(fault) => self.meter.record_error(fault.to_string()),
            },
            Answer::Status(status) => {
                self.meter.record_more(job.due_ns, "refused", 1);
                let said = status.to_string();
                let (class, is_first) = self.refusals.class("grpc", &said);
                if is_first {
                    self.meter.note(format!("refused: {said}"));
                }
                self.heed(&said, is_refusal(&said));
                self.meter.record_error(class);
            }
            Answer::Http(status) => {
                self.heed(&status.to_string(), matches!(status, 402 | 429 | 503));
                self.meter.record_error(match status {
                    200 => "no-grpc".to_owned(),
                    status => format!("status-{status}"),
                });
            }
            Answer::Malformed(how) => {
                self.meter.note(format!("an answer is not gRPC's: {how}"));
                self.meter.record_error("no-grpc");
            }
        }
    }

    fn take(&mut self, job: Job, bytes: usize, at_ns: u64, before_ns: u64) {
        if self.timetable.is_measured(job.due_ns) && at_ns <= self.timetable.drain_end_ns {
            self.meter.counts().received += 1;
            self.meter.counts().bytes_received += bytes as u64;
            self.meter.record(HANDSHAKE, job.due_ns, before_ns, at_ns);
        }
        // By when it came: what a server does in the window is what it can do in a window.
        self.meter.record_more(at_ns, "handshakes", 1);
    }

    fn heed(&mut self, said: &str, is_refusal: bool) {
        if self.handshake.stop_at_refusal && is_refusal {
            self.refused_in_polite = Some(said.to_owned());
        }
    }

    /// What is under way has no answer, and what has not gone out does not go.
    fn give_up_what_is_left(&mut self) {
        let mut ended = Vec::new();
        self.lines.abandon(&mut ended);
        for ended in ended {
            self.handle(ended);
        }
        for job in self.queue.drain(..) {
            self.meter.record_given_up(job.due_ns);
        }
        let until_ns = self.timetable.end_ns.min(clock::now_ns());
        while self.due_ns(self.next) < until_ns {
            self.meter.record_drop(self.due_ns(self.next), 1);
            self.next += self.hands;
        }
    }
}

/// Whether somebody says that he is full.
fn is_refusal(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    said.contains("orchestratorcapped") || said.contains("insufficient capacity")
}

/// How long what is under way may take when nothing more is sent.
const STOP_NS: u64 = SECOND;
/// Due, and waiting: a server that lets so much wait will not catch up.
const QUEUE_MAX: usize = 1 << 20;
