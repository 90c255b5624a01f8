//! One thread of payments: signs those of its senders before the start, then sends each when it is due, and enters what is answered.
//!
//! ```text
//!   slots ── due ──▶ queue ── a connection is idle ──▶ Lines ── answer ──▶ judge ──▶ Fate ──▶ ledger, at the end
//!                ╲                                                 │
//!                 ╲─▶ held ◀── again, and not answered yet ────────╯ answered: to the queue
//! ```
//!
//! Invariants:
//! - A payment is under way once at a time: one that is to go out again waits for its first answer.
//! - What is due and finds no connection idle waits; that is the server's doing, and in the latency. That it was seen late is ours.
//! - However a run ends, what is known goes to the ledger, and so does what is not known.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use ticket::amount::ExpectedValue;

use super::judge::{Answer, Fate, Verdict, judge};
use super::ledger::OpenPayment;
use super::lines::{Ended, Job, Lines};
use super::plan::{Kind, Plan, Slot};
use super::purse::Purse;
use super::{PAYMENT, PAYMENT_PATH, REFUSAL, Tickets};
use crate::clock::{self, SECOND};
use crate::conduct::{Stop, Worker};
use crate::failure::Failure;
use crate::gateway::Offer;
use crate::grpc::Asker;
use crate::measure::{Meter, Timetable};
use crate::net;
use crate::outcome::Stream;

/// One thread's share.
pub(super) struct TicketsWorker {
    tickets: Tickets,
    /// Its senders, by their numbers.
    numbers: Vec<u32>,
    connections: usize,
    /// Slots of the run, over all senders.
    slots: u64,
    load: Option<Load>,
}

/// What was made ready.
struct Load {
    purses: Vec<Purse>,
    /// What payments are for, offer by offer: `SegData` in base64.
    purposes: Vec<String>,
    payments: Vec<Payment>,
    /// In the order of time: after the start, and what goes out then.
    slots: VecDeque<(u64, Slot)>,
    lines: Lines,
}

/// A signed payment.
struct Payment {
    purse: u32,
    purpose: u32,
    tickets: u32,
    kind: Kind,
    fate: Fate,
    /// What each ticket is worth.
    value: ExpectedValue,
    /// In base64.
    text: String,
}

impl TicketsWorker {
    pub(super) fn new(tickets: Tickets, numbers: Vec<u32>, connections: usize, slots: u64) -> Self {
        Self {
            tickets,
            numbers,
            connections,
            slots,
            load: None,
        }
    }
}

impl Worker for TicketsWorker {
    fn prepare(&mut self, stop: &Stop) -> Result<(), Failure> {
        self.tickets.begin(stop)?;
        net::raise_descriptor_limit();
        let mut load = Load {
            purses: Vec::new(),
            purposes: Vec::new(),
            payments: Vec::new(),
            slots: VecDeque::new(),
            lines: Lines::new(&self.tickets.target, self.connections)?,
        };
        self.sign(&mut load, stop)?;
        load.lines.open(stop)?;
        self.load = Some(load);
        Ok(())
    }

    fn run(&mut self, meter: Meter, stop: &Stop) -> Result<Vec<Stream>, Failure> {
        let Some(load) = self.load.take() else {
            return Err(Failure::new("a worker was run before it was prepared"));
        };
        let tickets = self.tickets.clone();
        let mut running = Running {
            timetable: meter.timetable(),
            heads: load
                .purposes
                .iter()
                .map(|purpose| tickets.head(purpose))
                .collect(),
            load,
            tickets,
            meter,
            queue: VecDeque::new(),
            held: HashMap::new(),
            told: HashSet::new(),
            refused_in_polite: None,
        };
        let ended = running.run(stop);
        running.give_up_what_is_left();
        let written = running.enter();
        running.meter.finish();
        ended.and(written).map(|()| Vec::new())
    }

    fn clean_up(&mut self) {
        self.load = None;
    }
}

impl TicketsWorker {
    /// What a sender may pay under. It is no job, so there may be room for none.
    fn ask(&self, asker: &mut Asker, purse: &Purse, stop: &Stop) -> Result<Offer, Failure> {
        let mut request = purse.identity().request(None);
        request.ignore_capacity_check = true;
        Offer::ask(asker, &request, stop)
            .map_err(|why| why.during(format_args!("sender {}", purse.address())))
    }

    /// Signs everything that will be sent, sender by sender.
    fn sign(&self, load: &mut Load, stop: &Stop) -> Result<(), Failure> {
        let manner = &self.tickets.manner;
        let plans: Vec<_> = self
            .numbers
            .iter()
            .map(|&number| {
                let slots = manner.slots_of(number, self.slots);
                manner.plan(self.tickets.seed, number, slots)
            })
            .collect();
        let tickets = |plan: &Plan| plan.payments.len() as u64 * u64::from(plan.tickets);
        let progress = &self.tickets.progress;
        progress.expect(plans.iter().map(tickets).sum());
        let mut asker = Asker::new(&self.tickets.target)?;
        let mut firsts = Vec::new();
        for (purse_number, (plan, &number)) in (0..).zip(plans.iter().zip(&self.numbers)) {
            let mut purse = Purse::new(self.tickets.seed, number);
            firsts.push(load.payments.len());
            for &kind in &plan.payments {
                if stop.is_told() {
                    return Ok(());
                }
                if !purse.has_left(plan.tickets) {
                    let offer = self.ask(&mut asker, &purse, stop)?;
                    self.tickets.take_offer(&offer)?;
                    load.purposes.push(purse.take_offer(&offer));
                }
                let signed = purse.pay(plan.tickets, kind)?;
                progress.advance(u64::from(plan.tickets));
                load.payments.push(Payment {
                    purse: purse_number,
                    purpose: u32::try_from(load.purposes.len() - 1).unwrap_or(u32::MAX),
                    tickets: plan.tickets,
                    kind,
                    fate: Fate::Unknown,
                    value: signed.value,
                    text: signed.text,
                });
            }
            load.purses.push(purse);
        }
        // Senders take turns, so slot `round` of each comes before slot `round + 1` of any.
        let rounds = plans.iter().map(|plan| plan.slots.len()).max();
        for round in 0..rounds.unwrap_or(0) {
            for ((plan, first), &number) in plans.iter().zip(&firsts).zip(&self.numbers) {
                if let Some(slot) = plan.slots.get(round) {
                    let number = round as u64 * u64::from(manner.senders) + u64::from(number);
                    let payment = u32::try_from(*first).unwrap_or(u32::MAX) + slot.payment;
                    let slot = Slot { payment, ..*slot };
                    load.slots.push_back((manner.due_ns(number), slot));
                }
            }
        }
        Ok(())
    }
}

struct Running {
    tickets: Tickets,
    timetable: Timetable,
    /// Of each purpose: all of a request up to the payment.
    heads: Vec<String>,
    load: Load,
    meter: Meter,
    /// Due, and waiting for a connection.
    queue: VecDeque<Job>,
    /// Due, and waiting for the first answer to the same payment.
    held: HashMap<u32, Job>,
    /// Classes of refusals that the operator was told of.
    told: HashSet<String>,
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
            if self.is_over(now_ns, stopped_ns) {
                return Ok(());
            }
            if self.load.lines.is_lost(now_ns) {
                return Err(self.tickets.lost());
            }
            let next_ns = self
                .load
                .slots
                .front()
                .map(|(at_ns, _)| self.due_ns(*at_ns));
            let until_ns = next_ns.filter(|_| stopped_ns.is_none()).unwrap_or(u64::MAX);
            self.load
                .lines
                .serve(until_ns, Some(&mut self.meter), &mut ended)?;
            for ended in ended.drain(..) {
                self.handle(ended);
            }
            if let Some(said) = self.refused_in_polite.take() {
                return Err(Failure::new(format!(
                    "the server refused a payment, {said}; in polite mode that is the end"
                )));
            }
        }
    }

    fn due_ns(&self, after_start_ns: u64) -> u64 {
        self.timetable.start_ns.saturating_add(after_start_ns)
    }

    fn is_over(&self, now_ns: u64, stopped_ns: Option<u64>) -> bool {
        let is_idle = self.load.lines.busy() == 0;
        match stopped_ns {
            Some(stopped_ns) => is_idle || now_ns >= stopped_ns + STOP_NS,
            None => {
                let is_done = self.load.slots.is_empty() && self.queue.is_empty() && is_idle;
                is_done && now_ns >= self.timetable.end_ns
            }
        }
    }

    /// Whatever is due by now is put where it waits for its turn.
    fn notice(&mut self, now_ns: u64) {
        while let Some(&(at_ns, slot)) = self.load.slots.front()
            && self.due_ns(at_ns) <= now_ns
        {
            self.load.slots.pop_front();
            let due_ns = self.due_ns(at_ns);
            self.meter.record_due(due_ns, now_ns, 1);
            let job = Job {
                payment: slot.payment,
                is_replay: slot.is_replay,
                due_ns,
            };
            let payment = &self.load.payments[slot.payment as usize];
            match (slot.is_replay, payment.kind) {
                (true, _) => self.meter.record_more(due_ns, "replays", 1),
                (false, Kind::Forged) => self.meter.record_more(due_ns, "bad", 1),
                (false, Kind::Good) => {}
            }
            if slot.is_replay && payment.fate == Fate::Unknown {
                self.held.insert(slot.payment, job);
            } else {
                self.queue.push_back(job);
            }
        }
    }

    fn send(&mut self, ended: &mut Vec<Ended>) {
        while self.load.lines.has_idle()
            && let Some(job) = self.queue.pop_front()
        {
            let payment = &self.load.payments[job.payment as usize];
            let head = self.heads[payment.purpose as usize].as_bytes();
            self.meter.record_begun(job.due_ns);
            if self.timetable.is_measured(job.due_ns) {
                self.meter.counts().bytes_sent += payment.text.len() as u64;
            }
            let parts = [head, payment.text.as_bytes(), b"\r\n\r\n"];
            self.load.lines.send(job, &parts, ended);
        }
    }

    fn handle(&mut self, ended: Ended) {
        let Ended {
            job,
            answer,
            at_ns,
            before_ns,
        } = ended;
        let payment = &mut self.load.payments[job.payment as usize];
        let is_forged = payment.kind == Kind::Forged;
        let (fate, verdict) = judge(is_forged, payment.tickets, payment.fate, &answer);
        payment.fate = fate;
        let tickets = u64::from(payment.tickets);
        let due_ns = job.due_ns;
        // What comes after the drain is for the ledger alone.
        let is_in_time = at_ns <= self.timetable.drain_end_ns;
        let is_measured = is_in_time && self.timetable.is_measured(due_ns);
        match verdict {
            Verdict::Accepted => {
                if is_measured {
                    self.meter.counts().received += 1;
                    self.meter.record(PAYMENT, due_ns, before_ns, at_ns);
                }
                // By when it was credited: what a server does in the window is what it can do in a window.
                self.meter.record_more(at_ns, "tickets", tickets);
                self.meter.record_more(at_ns, "payments", 1);
            }
            Verdict::RightlyRefused if is_measured => {
                self.meter.counts().received += 1;
                self.meter.record(REFUSAL, due_ns, before_ns, at_ns);
                let name = match job.is_replay {
                    true => "replays_refused",
                    false => "bad_refused",
                };
                self.meter.record_more(due_ns, name, 1);
            }
            Verdict::RightlyRefused => {}
            Verdict::WronglyAccepted => {
                // Whenever it was due: there is no time at which that is right.
                self.meter.counts().corrupt += 1;
                self.meter.note(match is_forged {
                    true => "a payment was accepted that its sender had not signed",
                    false => "a payment was accepted twice",
                });
            }
            Verdict::Refused(class) => {
                if !is_forged && !job.is_replay {
                    self.meter.record_more(due_ns, "refused", 1);
                }
                self.heed(&class, &answer);
                self.meter.record_error(class);
            }
            Verdict::Unanswered(class) => self.meter.record_error(class),
        }
        if let Some(held) = self.held.remove(&job.payment) {
            self.queue.push_back(held);
        }
    }

    /// A refusal that should not have been: tells the operator, once a class.
    fn heed(&mut self, class: &str, answer: &Answer) {
        let Answer::Status(status, text) = answer else {
            return;
        };
        let said = format!("{status}: {}", text.trim());
        if self.tickets.stop_at_refusal && matches!(status, 402 | 429 | 503) {
            self.refused_in_polite = Some(said.clone());
        }
        if self.told.insert(class.to_owned()) {
            let remedy = match class {
                "expired" => "; ticket params hold for some minutes: give it a shorter --window",
                _ => "",
            };
            self.meter
                .note(format!("refused as {class}: {said}{remedy}"));
        }
    }

    /// What is under way has no answer, and what has not gone out does not go.
    fn give_up_what_is_left(&mut self) {
        let mut ended = Vec::new();
        self.load.lines.abandon(&mut ended);
        for ended in ended {
            self.handle(ended);
        }
        let waiting = self
            .queue
            .drain(..)
            .chain(self.held.drain().map(|(_, job)| job));
        for job in waiting {
            self.meter.record_given_up(job.due_ns);
        }
        let until_ns = self.timetable.end_ns.min(clock::now_ns());
        while let Some((at_ns, _)) = self.load.slots.pop_front()
            && self.due_ns(at_ns) < until_ns
        {
            self.meter.record_drop(self.due_ns(at_ns), 1);
        }
    }

    /// Enters in the ledger what became of every payment.
    fn enter(&mut self) -> Result<(), Failure> {
        let mut credited: BTreeMap<(u32, ExpectedValue), u64> = BTreeMap::new();
        let mut open = Vec::new();
        for payment in self.load.payments.drain(..) {
            match payment.fate {
                Fate::Credited => {
                    let tickets = credited.entry((payment.purse, payment.value)).or_default();
                    *tickets += u64::from(payment.tickets);
                }
                Fate::Open => open.push((payment.purse, payment.purpose, payment.text)),
                Fate::Unknown | Fate::Refused => {}
            }
        }
        let (purses, purposes) = (&self.load.purses, &self.load.purposes);
        self.tickets.enter(|ledger| {
            for ((purse, value), tickets) in credited {
                let purse = &purses[purse as usize];
                ledger
                    .account_mut(purse.address(), purse.manifest_id())
                    .credit(tickets, value);
            }
            for (purse, purpose, payment) in open {
                let purse = &purses[purse as usize];
                let purpose = purposes[purpose as usize].clone();
                ledger
                    .account_mut(purse.address(), purse.manifest_id())
                    .open
                    .push(OpenPayment { payment, purpose });
            }
        })
    }
}

impl Tickets {
    /// All of a request up to the payment itself.
    fn head(&self, purpose: &str) -> String {
        format!(
            "POST {PAYMENT_PATH} HTTP/1.1\r\nHost: {}\r\n{}Content-Length: 0\r\nLivepeer-Segment: {purpose}\r\nLivepeer-Payment: ",
            self.target.authority(),
            self.target.tag,
        )
    }
}

/// How long what is under way may take when nothing more is sent.
const STOP_NS: u64 = SECOND;
