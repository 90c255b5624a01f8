//! The windows at which payments are handed in, and charges: one a shard, and one for the control plane.
//!
//! Each is a ring to the lane and a ring back, and all ring one bell. The control plane's threads share theirs behind a lock, which
//! they hold for as long as a push takes; nobody on a shard's path takes it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use handoff::bell::Bell;
use handoff::spsc::{self, Consumer, RingingProducer};
use link::{Charge, ChargeReply, PaymentReply, Receipt};
use ticket::{Blank, Received};

/// Payments that may wait at one window for the lane to look, and answers for the shard to.
const WINDOW_MAX: usize = 4_096;

/// What was handed in. Both come through one ring, so that they come in the order in which they were.
pub(super) enum Arrival {
    Payment {
        payment: Received,
        source: u64,
        origin: Origin,
        at: Instant,
    },
    Charge {
        charge: Charge,
        reply: ChargeReply,
        at: Instant,
    },
}

/// Where its answer goes.
pub(super) enum Origin {
    /// To a shard, which knows it by this number.
    Shard { window: usize, key: u64 },
    /// To whoever holds the other end.
    Control(PaymentReply),
}

/// What a shard is told of a payment.
pub(crate) struct Answer {
    pub(crate) key: u64,
    pub(crate) receipt: Receipt,
    /// The payment's memory, for another.
    pub(crate) blank: Blank,
}

/// A shard's side.
pub(crate) struct ShardWindow {
    index: usize,
    arrivals: RingingProducer<Arrival>,
    pub(crate) answers: Consumer<Answer>,
    /// Rung when there are answers.
    pub(crate) bell: Arc<Bell>,
}

impl ShardWindow {
    /// Hands a payment in.
    ///
    /// # Errors
    /// Gives the payment's memory back when too many wait, or nobody looks any more.
    pub(crate) fn pay(&mut self, payment: Received, source: u64, key: u64) -> Result<(), Blank> {
        if self.arrivals.producer().is_abandoned() {
            return Err(payment.into_blank());
        }
        let origin = Origin::Shard {
            window: self.index,
            key,
        };
        let arrival = Arrival::Payment {
            payment,
            source,
            origin,
            at: Instant::now(),
        };
        self.arrivals.send(arrival).map_err(|back| match back {
            Arrival::Payment { payment, .. } => payment.into_blank(),
            Arrival::Charge { .. } => unreachable!("what comes back is what was handed in"),
        })
    }
}

/// The control plane's side.
pub(super) struct ControlWindow(Mutex<RingingProducer<Arrival>>);

impl ControlWindow {
    /// Hands a payment in.
    ///
    /// # Errors
    /// Gives the reply back when too many wait, or nobody looks any more.
    pub(super) fn pay(
        &self,
        payment: Received,
        source: u64,
        reply: PaymentReply,
    ) -> Result<(), PaymentReply> {
        let arrival = Arrival::Payment {
            payment,
            source,
            origin: Origin::Control(reply),
            at: Instant::now(),
        };
        match self.send(arrival) {
            None => Ok(()),
            Some(Arrival::Payment {
                origin: Origin::Control(reply),
                ..
            }) => Err(reply),
            Some(_) => unreachable!("what comes back is what was handed in"),
        }
    }

    /// Hands a charge in.
    ///
    /// # Errors
    /// Gives the reply back when too many wait, or nobody looks any more.
    pub(super) fn charge(&self, charge: Charge, reply: ChargeReply) -> Result<(), ChargeReply> {
        let at = Instant::now();
        match self.send(Arrival::Charge { charge, reply, at }) {
            None => Ok(()),
            Some(Arrival::Charge { reply, .. }) => Err(reply),
            Some(_) => unreachable!("what comes back is what was handed in"),
        }
    }

    /// Gives back what finds no room, or nobody who looks.
    fn send(&self, arrival: Arrival) -> Option<Arrival> {
        let mut arrivals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match arrivals.producer().is_abandoned() {
            true => Some(arrival),
            false => arrivals.send(arrival).err(),
        }
    }
}

/// The lane's side of all of them.
pub(super) struct LaneWindows {
    arrivals: Vec<Consumer<Arrival>>,
    answers: Vec<RingingProducer<Answer>>,
    has_answers: Vec<bool>,
    /// Answers that a shard had no room for.
    held_back: Vec<(usize, Answer)>,
}

impl LaneWindows {
    /// One for each of so many shards, and the control plane's.
    pub(super) fn open(shards: usize, bell: &Arc<Bell>) -> (Self, Vec<ShardWindow>, ControlWindow) {
        let mut lane = Self {
            arrivals: Vec::new(),
            answers: Vec::new(),
            has_answers: vec![false; shards],
            held_back: Vec::new(),
        };
        let windows = (0..shards).map(|index| {
            let (arrivals, to_take) = spsc::channel_with_bell(WINDOW_MAX, bell.clone());
            let shard = Arc::new(Bell::new());
            let (to_give, answers) = spsc::channel_with_bell(WINDOW_MAX, shard.clone());
            lane.arrivals.push(to_take);
            lane.answers.push(to_give);
            ShardWindow {
                index,
                arrivals,
                answers,
                bell: shard,
            }
        });
        let windows = windows.collect();
        let (control, to_take) = spsc::channel_with_bell(WINDOW_MAX, bell.clone());
        lane.arrivals.push(to_take);
        (lane, windows, ControlWindow(Mutex::new(control)))
    }

    /// Takes what was handed in, from each window by turns, until there are `max` of them.
    pub(super) fn take(&mut self, into: &mut Vec<Arrival>, max: usize) {
        let start = into.len();
        loop {
            let before = into.len();
            for window in &mut self.arrivals {
                let room = max.saturating_sub(into.len() - start);
                window.pop_batch(into, room.min(TURN));
            }
            if into.len() == before || into.len() - start >= max {
                return;
            }
        }
    }

    /// Whether something waits.
    pub(super) fn is_due(&self) -> bool {
        self.arrivals.iter().any(|window| !window.is_empty())
    }

    /// Whether everyone who could hand something in is gone.
    pub(super) fn are_abandoned(&self) -> bool {
        self.arrivals
            .iter()
            .all(|window| window.is_abandoned() && window.is_empty())
    }

    /// Answers; shards hear of it when [`ring`](Self::ring) is called.
    pub(super) fn answer(&mut self, origin: Origin, receipt: Receipt, blank: Blank) {
        match origin {
            Origin::Control(reply) => reply.send(receipt),
            Origin::Shard { window, key } => self.give(
                window,
                Answer {
                    key,
                    receipt,
                    blank,
                },
            ),
        }
    }

    fn give(&mut self, window: usize, answer: Answer) {
        match self.answers[window].push(answer) {
            Ok(()) => self.has_answers[window] = true,
            // A shard that is gone needs none; one that is busy gets it later.
            Err(answer) if !self.answers[window].producer().is_abandoned() => {
                self.held_back.push((window, answer))
            }
            Err(_) => {}
        }
    }

    /// Rings for each window that has answers.
    pub(super) fn ring(&mut self) {
        for (window, answer) in std::mem::take(&mut self.held_back) {
            self.give(window, answer);
        }
        for (has, window) in self.has_answers.iter_mut().zip(&self.answers) {
            if std::mem::take(has) {
                window.ring();
            }
        }
    }

    /// Whether a shard has still to be told of something.
    pub(super) fn is_behind(&self) -> bool {
        !self.held_back.is_empty()
    }
}

/// Payments taken from a window before the next has its turn.
const TURN: usize = 64;
