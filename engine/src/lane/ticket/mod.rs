//! The ticket lane: one thread that checks every payment of the node, in batches.
//!
//! ```text
//!   shard ─ window ─┐             MAC          by turns           hash, signature, draw        book
//!   shard ─ window ─┼─▶ collect ──────▶ queue ─────────▶ batch ─────────────────────▶ credit, charge ──────▶ journal
//!   control ────────┘     │ not ours                       │ seen, expired, unfunded                       │ on disk
//!                         ▼                                ▼                                               ▼
//!                       answer                          refused ─────────────────────────────────────▶ answers
//! ```
//!
//! It gathers until a batch is full or what came first has waited long enough. While the disk is busy with one batch, the next are
//! checked; up to [`BATCHES_MAX`](link::payment::BATCHES_MAX) are on their way at once, and then it gathers on.
//!
//! Invariants:
//! - A payment is answered once, when all of its tickets are judged and what they changed is on disk, and the payments of one source are
//!   answered in the order in which they came, but for those under parameters that are not ours.
//! - Senders take turns, and within a sender sources do (see [`queue`]): whoever floods waits for himself.
//! - A payment whose parameters are not ours costs a MAC and no signature; of one with a signature that is not the sender's, no
//!   more is looked at than fits into the batch in which that is found.
//! - A charge goes with the next batch whatever else waits, behind that batch's credits, and is answered like a payment (see [`charges`]).
//! - Once buffers have grown, nothing is taken from the heap for a ticket.

mod batch;
mod charges;
mod queue;
mod run;
mod stats;
#[cfg(test)]
mod tests;
mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use handoff::bell::Bell;
use link::payment::LaneEnd;
use link::{Chain, Charge, ChargeReply, NotCharged, PaymentReply};
use ticket::verify::{Known, Limits, Portable, Reference, Verifier};
use ticket::{Address, Book, Check, Received, Refusal, Secret};

use crate::fatal;
pub use stats::{BATCH_TICKETS, REFUSALS, TicketReport};
pub(crate) use window::ShardWindow;
use window::{ControlWindow, LaneWindows};

/// What the ticket lane is started with.
pub struct Tickets {
    /// Who is paid.
    pub recipient: Address,
    /// What its offers are made with.
    pub secret: Secret,
    /// The book to go on from.
    pub book: Book,
    /// Where changes of the book are made to last.
    pub journal: LaneEnd,
    /// The chain.
    pub chain: Arc<dyn Chain>,
    /// Who checks signatures.
    pub verifier: VerifierChoice,
    /// How many senders' keys it remembers.
    pub keys: Limits,
    /// How it gathers.
    pub gather: Gather,
}

/// How the lane gathers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gather {
    /// Tickets that make a batch.
    pub batch_tickets: usize,
    /// How long the oldest payment or charge waits for a batch to fill.
    pub wait: Duration,
    /// Payments that may wait in all; more are answered [`Refusal::Busy`].
    pub payments_max: usize,
}

impl Default for Gather {
    fn default() -> Self {
        Self {
            batch_tickets: 256,
            wait: Duration::from_micros(200),
            payments_max: 8_192,
        }
    }
}

/// Who checks signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VerifierChoice {
    /// The fastest that this processor has.
    #[default]
    Auto,
    /// libsecp256k1, one at a time.
    Reference,
    /// Sums of remembered keys' multiples, in plain Rust.
    Known,
    /// The same on vectors, eight at a time; a start error where there are none.
    Vector,
}

impl VerifierChoice {
    /// Makes one.
    ///
    /// # Errors
    /// What the processor lacks.
    pub fn make(self, keys: Limits) -> Result<Box<dyn Verifier>, String> {
        match (self, simd::Vector::detect()) {
            (Self::Reference, _) => Ok(Box::new(Reference)),
            (Self::Known, _) | (Self::Auto, Err(_)) => {
                Ok(Box::new(Known::new(Portable::default(), keys)))
            }
            (Self::Auto | Self::Vector, Ok(vector)) => Ok(Box::new(Known::new(vector, keys))),
            (Self::Vector, Err(missing)) => Err(format!("the vector verifier: {missing}")),
        }
    }

    /// What it comes to on this processor, for people.
    ///
    /// # Errors
    /// What the processor lacks.
    pub fn outlook(self) -> Result<String, String> {
        match (self, simd::Vector::detect()) {
            (Self::Reference, _) => Ok("reference verifier (libsecp256k1)".to_owned()),
            (Self::Known, _) => Ok("known-sender verifier".to_owned()),
            (Self::Auto, Err(missing)) => Ok(format!("known-sender verifier ({missing})")),
            (Self::Auto | Self::Vector, Ok(_)) => Ok("vector verifier (AVX-512 IFMA)".to_owned()),
            (Self::Vector, Err(missing)) => Err(format!("the vector verifier: {missing}")),
        }
    }
}

/// The ticket lane, as the rest of the engine sees it.
pub(crate) struct TicketLane {
    control: ControlWindow,
    board: Arc<stats::Board>,
    stop: Arc<AtomicBool>,
    bell: Arc<Bell>,
}

impl TicketLane {
    /// Starts it, with a window for each of so many shards.
    ///
    /// # Errors
    /// When the verifier is not to be had, or a thread cannot be started; a sentence.
    pub(crate) fn start(
        tickets: Tickets,
        shards: usize,
    ) -> Result<(Self, Vec<ShardWindow>, JoinHandle<()>), String> {
        let verifier = tickets.verifier.make(tickets.keys)?;
        let check = Check::new(tickets.recipient, tickets.secret, verifier);
        let bell = tickets.journal.bell.clone();
        let (windows, shard_windows, control) = LaneWindows::open(shards, &bell);
        let board = Arc::new(stats::Board::new(check.verifier_name()));
        let stop = Arc::new(AtomicBool::new(false));
        let lane = run::Lane::new(run::Start {
            check,
            book: tickets.book,
            journal: tickets.journal,
            chain: tickets.chain,
            gather: tickets.gather,
            windows,
            board: board.clone(),
            stop: stop.clone(),
        });
        let thread = std::thread::Builder::new()
            .name("tickets".to_owned())
            .spawn(move || {
                let _guard = fatal::Guard(fatal::Reason::TicketLanePanicked);
                lane.run();
            })
            .map_err(|error| format!("cannot start the ticket lane: {error}"))?;
        let lane = Self {
            control,
            board,
            stop,
            bell,
        };
        Ok((lane, shard_windows, thread))
    }

    /// Hands a payment over, from outside of any shard.
    pub(crate) fn pay(&self, payment: Received, source: u64, reply: PaymentReply) {
        if let Err(reply) = self.control.pay(payment, source, reply) {
            reply.refuse(Refusal::Busy);
        }
    }

    /// Hands a charge over.
    pub(crate) fn charge(&self, charge: Charge, reply: ChargeReply) {
        if let Err(reply) = self.control.charge(charge, reply) {
            reply.send(Err(NotCharged::Busy));
        }
    }

    /// What it has done so far.
    pub(crate) fn report(&self) -> TicketReport {
        self.board.report()
    }

    /// Ends it; payments that wait are answered that they were not recorded.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.bell.ring();
    }
}
