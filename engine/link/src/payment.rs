//! Payments, the chain they lean on, and the journal that makes them last.
//!
//! ```text
//!   a window (shard, control) ── Received ──▶ ticket lane ── Batch ──▶ journal (control) ──▶ disk
//!            ▲                                  ▲    │                        │
//!            └────────── Receipt ───────────────┼────┘ once Written           │
//!                                               └─────────── Done ────────────┘
//! ```
//!
//! Invariants:
//! - A payment is answered once, and after what it changed is on disk: dropping a [`PaymentReply`] answers that nothing is known.
//! - Batches become durable in the order of their numbers. When one fails, all after it of the same epoch fail too, and the lane goes on
//!   from the [`Book`] that is on disk, in a new epoch.
//! - Nobody waits inside a call: not for the chain, and not for the disk.

use std::fmt;
use std::sync::Arc;

use handoff::bell::Bell;
use handoff::spsc::{self, Consumer, Producer, RingingProducer};
use ticket::book::Entry;
use ticket::float::Funds;
use ticket::offer::Head;
use ticket::{Address, Book, Price, Refusal, SessionId, Wei};

/// The chain, as far as it is known at this moment.
pub trait Chain: Send + Sync {
    /// The newest block and round. Must not block.
    fn head(&self) -> Head;

    /// A sender's funds; `None` when they are not known (yet). Must not block: it may begin to ask, and know later.
    fn funds(&self, sender: &Address) -> Option<Funds>;
}

/// What became of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Who claimed to pay.
    pub sender: Address,
    /// What the parameters were offered for.
    pub session: SessionId,
    /// The name of the sender's account that was to be credited.
    pub account: SessionId,
    /// Tickets that were credited.
    pub credited: u32,
    /// Why others were not: the first reason. `None` when all were.
    pub refused: Option<Refusal>,
    /// The price at which the account is debited, once it has one.
    pub price: Option<Price>,
    /// The sender's winners that are not settled, in wei.
    pub pending: Wei,
}

/// The way back for a payment. It cannot be lost: dropping it answers [`Refusal::NotRecorded`].
pub struct PaymentReply(Option<Box<Awaited>>);

struct Awaited {
    callback: Callback,
    unanswered: Receipt,
}

type Callback = Box<dyn FnOnce(Receipt) + Send>;

impl PaymentReply {
    /// A reply that calls `callback` once, on whichever thread answers; it must not block.
    pub fn new(
        payment: &ticket::Received,
        callback: impl FnOnce(Receipt) + Send + 'static,
    ) -> Self {
        let unanswered = Receipt {
            sender: *payment.sender(),
            session: payment.terms().session,
            account: payment.account(),
            credited: 0,
            refused: Some(Refusal::NotRecorded),
            price: None,
            pending: Wei::ZERO,
        };
        Self(Some(Box::new(Awaited {
            callback: Box::new(callback),
            unanswered,
        })))
    }

    /// Answers.
    pub fn send(mut self, receipt: Receipt) {
        if let Some(awaited) = self.0.take() {
            (awaited.callback)(receipt);
        }
    }

    /// Answers that nothing of it was credited, and why.
    pub fn refuse(mut self, why: Refusal) {
        self.answer(why);
    }

    fn answer(&mut self, why: Refusal) {
        if let Some(awaited) = self.0.take() {
            let Awaited {
                callback,
                unanswered,
            } = *awaited;
            callback(Receipt {
                refused: Some(why),
                ..unanswered
            });
        }
    }
}

impl Drop for PaymentReply {
    fn drop(&mut self) {
        self.answer(Refusal::NotRecorded);
    }
}

impl fmt::Debug for PaymentReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PaymentReply")
    }
}

/// What one batch changed, on its way to disk.
#[derive(Debug)]
pub struct Batch {
    /// Counts the books that the lane has gone on from.
    pub epoch: u32,
    /// Counts the batches of an epoch.
    pub number: u64,
    /// What changed.
    pub entry: Entry,
}

/// What became of a batch, and how to go on.
#[derive(Debug)]
pub enum Done {
    /// It is on disk, and so are all before it.
    Written {
        /// The batch's.
        epoch: u32,
        /// The batch's.
        number: u64,
        /// Its entry's memory, for another.
        buffer: Vec<u8>,
    },
    /// It is not, and none after it of this epoch will be.
    Failed {
        /// The batch's.
        epoch: u32,
        /// The batch's.
        number: u64,
    },
    /// The disk is there again. What was written is in this book, and nothing else.
    Resumed {
        /// The epoch that begins.
        epoch: u32,
        /// The book.
        book: Box<Book>,
    },
}

/// Batches that may be on their way to disk.
pub const BATCHES_MAX: usize = 8;

/// The lane's end of the way to disk.
#[derive(Debug)]
pub struct LaneEnd {
    /// Rung when something is done. Others may ring it too: the lane listens to no other.
    pub bell: Arc<Bell>,
    /// Batches to be written.
    pub batches: RingingProducer<Batch>,
    /// What became of them.
    pub done: Consumer<Done>,
}

/// The journal's end.
#[derive(Debug)]
pub struct JournalEnd {
    /// Rung when a batch comes.
    pub bell: Arc<Bell>,
    /// Batches to be written, in the order of their numbers.
    pub batches: Consumer<Batch>,
    done: Producer<Done>,
    lane: Arc<Bell>,
}

impl JournalEnd {
    /// Says what became of a batch. The lane is told when [`ring`](Self::ring) is called.
    pub fn say(&mut self, done: Done) {
        // There is room: each batch is answered once, there are no more than BATCHES_MAX, and a book on top.
        let outcome = self.done.push(done);
        debug_assert!(outcome.is_ok(), "more answers than batches");
    }

    /// Wakes the lane.
    pub fn ring(&self) {
        self.lane.ring();
    }

    /// Whether the lane is gone and all that it sent has been taken.
    pub fn is_abandoned(&self) -> bool {
        self.batches.is_abandoned() && self.batches.is_empty()
    }
}

/// Both ends of a way to disk.
#[must_use]
pub fn journal() -> (LaneEnd, JournalEnd) {
    let (lane, journal) = (Arc::new(Bell::new()), Arc::new(Bell::new()));
    let (batches, to_write) = spsc::channel_with_bell(BATCHES_MAX, journal.clone());
    let (done, is_done) = spsc::channel(BATCHES_MAX + 2);
    let lane_end = LaneEnd {
        bell: lane.clone(),
        batches,
        done: is_done,
    };
    let journal_end = JournalEnd {
        bell: journal,
        batches: to_write,
        done,
        lane,
    };
    (lane_end, journal_end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use ticket::received::Parsed;
    use ticket::{Received, Signature};

    fn payment() -> Received {
        let id = SessionId::new("a").unwrap();
        let mut bytes = Vec::new();
        let params = ticket::wire::TicketParams {
            creation_round: 1,
            ..Default::default()
        };
        ticket::wire::Payment {
            params: Some(&params),
            sender: Address([1; 20]),
            expected_price: Some(ticket::wire::PriceInfo {
                price_per_unit: 1,
                pixels_per_unit: 1,
            }),
            tickets: &[(1, Signature::of_parts([1; 32], [1; 32], false).unwrap())],
        }
        .write(&mut bytes);
        match Received::parse(bytes, id, id) {
            Parsed::Payment(payment) => payment,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_payment_is_answered_once_even_when_the_reply_is_lost() {
        let (tell, told) = channel();
        let reply = || {
            let tell = tell.clone();
            PaymentReply::new(&payment(), move |receipt| tell.send(receipt).unwrap())
        };
        drop(reply());
        assert_eq!(told.recv().unwrap().refused, Some(Refusal::NotRecorded));
        reply().refuse(Refusal::Busy);
        let refused = told.recv().unwrap();
        assert_eq!(
            (refused.refused, refused.sender),
            (Some(Refusal::Busy), Address([1; 20]))
        );
        reply().send(Receipt {
            refused: None,
            ..refused
        });
        assert_eq!(told.recv().unwrap().refused, None);
        assert!(told.try_recv().is_err());
    }

    #[test]
    fn what_is_said_is_heard_when_it_is_rung() {
        let (mut lane, mut journal) = journal();
        lane.batches
            .send(Batch {
                epoch: 0,
                number: 0,
                entry: Entry::default(),
            })
            .unwrap();
        let batch = journal.batches.pop().unwrap();
        journal.say(Done::Failed {
            epoch: batch.epoch,
            number: batch.number,
        });
        journal.ring();
        assert!(matches!(
            lane.done.pop(),
            Some(Done::Failed { number: 0, .. })
        ));
        assert!(!journal.is_abandoned());
        drop(lane);
        assert!(journal.is_abandoned());
    }
}
