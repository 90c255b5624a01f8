//! Charges, from being handed in to being answered.
//!
//! ```text
//!   waiting ──▶ made: taken from the book, behind the batch's credits ──▶ told, once the batch is on disk
//! ```
//!
//! Invariants:
//! - All that wait go with the next batch. They take no turns, since they cost next to nothing and nobody else can hand any in.
//! - A charge is answered once: with the account that is on disk, or that it was not made.

use link::{Charge, ChargeReply, Charged, NotCharged};
use ticket::Book;
use ticket::book::Entry;

/// Charges that may wait for a batch; more are answered that the lane is busy. At one each five seconds, which is what a live stream
/// comes to, it is those of a hundred thousand streams for a fifth of a second.
const CHARGES_MAX: usize = 4_096;

/// See the module.
#[derive(Default)]
pub(super) struct Charges {
    waiting: Vec<(Charge, ChargeReply)>,
}

/// One that went with a batch.
pub(super) struct Made {
    charged: Charged,
    /// Pixels that it took.
    pub(super) pixels: u64,
    reply: ChargeReply,
}

impl Charges {
    /// Takes one.
    pub(super) fn push(&mut self, charge: Charge, reply: ChargeReply) {
        match self.waiting.len() < CHARGES_MAX {
            true => self.waiting.push((charge, reply)),
            false => reply.send(Err(NotCharged::Busy)),
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes from the book what waits to be taken.
    pub(super) fn make(&mut self, book: &mut Book, entry: &mut Entry) -> Vec<Made> {
        let waiting = self.waiting.drain(..);
        waiting
            .map(|(charge, reply)| {
                let charged = carry_out(&charge, book, entry);
                Made {
                    pixels: charged.as_ref().map_or(0, |_| charge.pixels),
                    charged,
                    reply,
                }
            })
            .collect()
    }

    /// Answers all that wait that they were not made.
    pub(super) fn give_up(&mut self) {
        self.waiting.drain(..).for_each(|(_, reply)| refuse(reply));
    }
}

impl Made {
    /// Answers: what it changed is on disk.
    pub(super) fn tell(self) {
        self.reply.send(self.charged);
    }

    /// Answers: what it changed is not on disk, and will not be.
    pub(super) fn give_up(self) {
        refuse(self.reply);
    }
}

/// Answers that a charge was not made, because nothing can be recorded.
pub(super) fn refuse(reply: ChargeReply) {
    reply.send(Err(NotCharged::NotRecorded));
}

fn carry_out(charge: &Charge, book: &mut Book, entry: &mut Entry) -> Charged {
    let Charge {
        sender,
        account,
        pixels,
    } = *charge;
    if pixels > 0 {
        book.debit(sender, account, pixels, entry);
    }
    let charged = book.account(sender, account);
    charged.cloned().ok_or(NotCharged::NoAccount)
}
