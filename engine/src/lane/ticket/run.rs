//! The lane's thread: collect, gather, check, charge, journal, answer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use link::Chain;
use link::payment::{self, BATCHES_MAX, Done, LaneEnd};
use ticket::book::Entry;
use ticket::secret::Opening;
use ticket::{Book, Check, Received, Refusal};

use super::Gather;
use super::batch::{self, Batch, Pending, Table};
use super::charges::{self, Charges, Made};
use super::queue::{Queue, Slot};
use super::stats::Board;
use super::window::{Arrival, LaneWindows, Origin};

/// Payments and charges taken from the windows before others have their turn.
const COLLECT_MAX: usize = 512;
/// The longest that the lane sleeps: it looks whether it is to stop, and at the chain.
const SLEEP_MAX: Duration = Duration::from_millis(250);
/// How soon it tries again to tell a shard that had no room.
const RETRY: Duration = Duration::from_millis(1);

/// What the thread starts with.
pub(super) struct Start {
    pub(super) check: Check,
    pub(super) book: Book,
    pub(super) journal: LaneEnd,
    pub(super) chain: Arc<dyn Chain>,
    pub(super) gather: Gather,
    pub(super) windows: LaneWindows,
    pub(super) board: Arc<Board>,
    pub(super) stop: Arc<AtomicBool>,
}

/// See the module.
pub(super) struct Lane {
    check: Check,
    book: Book,
    journal: LaneEnd,
    chain: Arc<dyn Chain>,
    gather: Gather,
    windows: LaneWindows,
    board: Arc<Board>,
    stop: Arc<AtomicBool>,

    table: Table,
    queue: Queue,
    charges: Charges,
    batch: Batch,
    /// Tickets in the queue; those of a payment that has been looked at in part count whole.
    waiting_tickets: usize,
    /// When the first of those in the queue came, or the first charge.
    waiting_since: Option<Instant>,
    flights: VecDeque<Flight>,
    epoch: u32,
    next_number: u64,
    is_recording: bool,
    /// Begun by batches that changed no account.
    entry: Option<Entry>,

    arrivals: Vec<Arrival>,
    payments: Vec<Received>,
    /// Where each of those came from, and when.
    places: Vec<(u64, Origin, Instant)>,
    opened: Vec<Opening>,
    spare_buffers: Vec<Vec<u8>>,
    spare_lists: Vec<Vec<Slot>>,
}

/// A batch on its way to disk, and the payments and charges that are answered when it is there.
struct Flight {
    number: u64,
    is_written: bool,
    payments: Vec<Slot>,
    charges: Vec<Made>,
}

impl Lane {
    pub(super) fn new(start: Start) -> Self {
        Self {
            check: start.check,
            book: start.book,
            journal: start.journal,
            chain: start.chain,
            gather: start.gather,
            windows: start.windows,
            board: start.board,
            stop: start.stop,
            table: Table::default(),
            queue: Queue::default(),
            charges: Charges::default(),
            batch: Batch::default(),
            waiting_tickets: 0,
            waiting_since: None,
            flights: VecDeque::with_capacity(BATCHES_MAX),
            epoch: 0,
            next_number: 0,
            is_recording: true,
            entry: None,
            arrivals: Vec::with_capacity(COLLECT_MAX),
            payments: Vec::new(),
            places: Vec::new(),
            opened: Vec::new(),
            spare_buffers: Vec::new(),
            spare_lists: Vec::new(),
        }
    }

    /// Works until it is told to stop, or nobody is left who could hand anything in.
    pub(super) fn run(mut self) {
        while !self.stop.load(Ordering::Acquire) && !self.windows.are_abandoned() {
            self.hear_journal();
            self.collect();
            while self.is_full_or_due() && self.flights.len() < BATCHES_MAX && self.is_recording {
                self.work();
                self.hear_journal();
                self.windows.ring();
                self.collect();
            }
            self.windows.ring();
            self.sleep();
        }
        self.farewell();
    }

    // === in ===

    /// Takes payments and charges from the windows, and finds out which payments are under parameters of ours.
    fn collect(&mut self) {
        self.windows.take(&mut self.arrivals, COLLECT_MAX);
        if self.arrivals.is_empty() {
            return;
        }
        for arrival in self.arrivals.drain(..) {
            match arrival {
                Arrival::Payment {
                    payment,
                    source,
                    origin,
                    at,
                } => {
                    self.payments.push(payment);
                    self.places.push((source, origin, at));
                }
                Arrival::Charge { reply, .. } if !self.is_recording => charges::refuse(reply),
                Arrival::Charge { charge, reply, at } => {
                    self.waiting_since.get_or_insert(at);
                    self.charges.push(charge, reply);
                }
            }
        }
        self.board.arrived(self.payments.len());
        self.check.open(&mut self.payments, &mut self.opened);
        // Taken out and put back, so that the memory stays.
        let (mut opened, mut places) = (
            std::mem::take(&mut self.opened),
            std::mem::take(&mut self.places),
        );
        for (opened, (source, origin, at)) in opened.drain(..).zip(places.drain(..)) {
            match opened {
                Ok(opened) => self.enqueue(Pending::new(opened, origin, source, at)),
                Err((payment, why)) => {
                    let receipt = batch::refusal(&payment, why, &self.book);
                    self.board.refused(why, u64::from(payment.tickets()));
                    self.windows.answer(origin, receipt, payment.into_blank());
                }
            }
        }
        (self.opened, self.places) = (opened, places);
    }

    fn enqueue(&mut self, pending: Pending) {
        let sender = *pending.opened.payment().sender();
        // A sender may have as many waiting as there is room left: whoever comes after a flood finds room.
        let room = self.gather.payments_max.saturating_sub(self.queue.len());
        if !self.is_recording {
            return self.refuse(pending, Refusal::NotRecorded);
        }
        if room == 0 || self.queue.waiting(&sender) > room {
            return self.refuse(pending, Refusal::Busy);
        }
        self.waiting_since.get_or_insert(pending.at);
        self.waiting_tickets += pending.opened.payment().tickets() as usize;
        let source = pending.source;
        let slot = self.table.put(pending);
        self.queue.push(sender, source, slot);
    }

    /// Answers a payment of which nothing counts, at once.
    fn refuse(&mut self, pending: Pending, why: Refusal) {
        let tickets = pending.opened.payment().tickets();
        self.board.refused(why, u64::from(tickets));
        self.answer(pending, Some(why));
    }

    // === work ===

    fn is_full_or_due(&self) -> bool {
        let waited = || {
            self.waiting_since
                .is_some_and(|since| since.elapsed() >= self.gather.wait)
        };
        let is_full = self.queue.len() > 0 && self.waiting_tickets >= self.gather.batch_tickets;
        is_full || (self.queue.len() > 0 || !self.charges.is_empty()) && waited()
    }

    fn work(&mut self) {
        let began = Instant::now();
        let mut entry = self
            .entry
            .take()
            .unwrap_or_else(|| Entry::within(self.spare_buffers.pop().unwrap_or_default()));
        self.batch.make(
            self.gather.batch_tickets,
            (&mut self.queue, &mut self.table),
            (&mut self.check, &mut self.book),
            &*self.chain,
            &mut entry,
        );
        let charges = self.charges.make(&mut self.book, &mut entry);
        let mut payments = self.spare_lists.pop().unwrap_or_default();
        payments.append(&mut self.batch.finished);
        for slot in &payments {
            let tickets = self
                .table
                .get(*slot)
                .map_or(0, |pending| pending.opened.payment().tickets());
            self.waiting_tickets = self.waiting_tickets.saturating_sub(tickets as usize);
        }
        self.waiting_since = self.oldest();
        self.board.batch(&self.batch, began.elapsed());
        self.journal(entry, payments, charges);
    }

    /// When the payment that is next came: near enough to the oldest, since senders take turns.
    fn oldest(&self) -> Option<Instant> {
        let turn = self.queue.front()?;
        self.table.get(turn.payment).map(|pending| pending.at)
    }

    /// Sends a batch on its way. One that changed no account has no need of the disk; that time has passed is told with the next.
    fn journal(&mut self, entry: Entry, payments: Vec<Slot>, charges: Vec<Made>) {
        let number = self.next_number;
        let is_written = self.batch.credited == 0 && charges.iter().all(|made| made.pixels == 0);
        let is_taken = if is_written {
            self.entry = Some(entry);
            true
        } else {
            self.next_number += 1;
            let epoch = self.epoch;
            let batch = payment::Batch {
                epoch,
                number,
                entry,
            };
            // There is room: no more are under way than the ring holds. A journal that is gone takes nothing.
            self.journal.batches.send(batch).is_ok()
        };
        self.flights.push_back(Flight {
            number,
            is_written,
            payments,
            charges,
        });
        match is_taken {
            true => self.land(),
            false => self.stop_recording(),
        }
    }

    // === out ===

    fn hear_journal(&mut self) {
        while let Some(done) = self.journal.done.pop() {
            match done {
                Done::Written {
                    epoch,
                    number,
                    buffer,
                } => {
                    self.spare_buffers.push(buffer);
                    for flight in &mut self.flights {
                        flight.is_written |= epoch == self.epoch && flight.number == number;
                    }
                }
                Done::Failed { epoch, .. } if epoch == self.epoch => self.stop_recording(),
                Done::Failed { .. } => {}
                Done::Resumed { epoch, book } => {
                    self.book = *book;
                    self.entry = None;
                    self.epoch = epoch;
                    self.next_number = 0;
                    self.is_recording = true;
                    self.board.resumed();
                }
            }
        }
        if self.is_recording && self.journal.batches.producer().is_abandoned() {
            self.stop_recording();
        }
        self.land();
    }

    /// Answers what is on disk, in order.
    fn land(&mut self) {
        while self.flights.front().is_some_and(|flight| flight.is_written) {
            let Some(mut flight) = self.flights.pop_front() else {
                return;
            };
            for slot in flight.payments.drain(..) {
                if let Some(pending) = self.table.take(slot) {
                    self.board.answered(pending.at.elapsed());
                    self.answer(pending, None);
                }
            }
            self.spare_lists.push(flight.payments);
            for made in flight.charges {
                self.board.charged(made.pixels);
                made.tell();
            }
        }
    }

    /// The disk does not take what is sent to it. What is on its way did not happen, and what waits will not.
    fn stop_recording(&mut self) {
        // Of what came before it is all that the disk has said is there, and that did happen.
        self.land();
        self.is_recording = false;
        self.board.failed();
        for flight in std::mem::take(&mut self.flights) {
            for slot in flight.payments {
                self.give_up(slot);
            }
            flight.charges.into_iter().for_each(Made::give_up);
        }
        while let Some(turn) = self.queue.front() {
            self.queue.take(turn);
            self.give_up(turn.payment);
        }
        self.charges.give_up();
        self.waiting_tickets = 0;
        self.waiting_since = None;
    }

    fn give_up(&mut self, slot: Slot) {
        if let Some(pending) = self.table.take(slot) {
            self.refuse(pending, Refusal::NotRecorded);
        }
    }

    fn answer(&mut self, pending: Pending, refused: Option<Refusal>) {
        let receipt = pending.receipt(refused, &self.book);
        self.windows
            .answer(pending.origin, receipt, pending.opened.into_blank());
    }

    fn sleep(&self) {
        let until_due = match self.waiting_since {
            _ if self.windows.is_behind() => RETRY,
            Some(since) if self.flights.len() < BATCHES_MAX => {
                self.gather.wait.saturating_sub(since.elapsed())
            }
            _ => SLEEP_MAX,
        };
        self.journal.bell.wait(until_due.min(SLEEP_MAX), || {
            self.windows.is_due()
                || !self.journal.done.is_empty()
                || self.stop.load(Ordering::Acquire)
                || self.windows.are_abandoned()
        });
    }

    /// What is on its way may still arrive; the rest is answered that it was not recorded.
    fn farewell(&mut self) {
        let until = Instant::now() + FAREWELL;
        while !self.flights.is_empty() && Instant::now() < until {
            self.journal.bell.wait(FAREWELL, || {
                !self.journal.done.is_empty() || self.journal.batches.producer().is_abandoned()
            });
            self.hear_journal();
        }
        self.stop_recording();
        let until = Instant::now() + FAREWELL;
        while self.windows.is_due() && Instant::now() < until {
            self.collect();
        }
        self.windows.ring();
        debug_assert_eq!(self.table.len(), 0, "every payment was answered");
    }
}

/// How long stopping waits for the disk.
const FAREWELL: Duration = Duration::from_secs(2);
