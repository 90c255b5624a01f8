//! A batch, from turns to an entry for the journal.
//!
//! ```text
//!   turns ──▶ admitted? ──▶ slips: nonce fresh? form of a signature? ──▶ asked ──▶ proven ──▶ credited ──▶ entry
//! ```

use std::time::Instant;

use link::Receipt;
use ticket::book::{Admitted, Entry};
use ticket::check::Asked;
use ticket::received::Cursor;
use ticket::{Address, Authentic, Book, Check, Opened, Received, Refusal, Signature, Wei};

use super::queue::{Queue, Slot, Turn};
use super::window::Origin;
use link::Chain;

/// The work of one turn, in tickets of a sender who is known: enough that vectors are full, and little enough that many senders have a
/// turn in a batch. Who is not known yet, and may be forging, has fewer tickets in it, since each is more work.
pub(super) const TURN_EFFORT: usize = 32;

/// A payment that waits, or is being looked at.
pub(super) struct Pending {
    pub(super) opened: Opened,
    pub(super) origin: Origin,
    pub(super) source: u64,
    pub(super) at: Instant,
    admitted: Option<Admitted>,
    cursor: Cursor,
    left: u32,
    tally: Tally,
}

/// What has become of its tickets.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) credited: u32,
    pub(super) refused: Option<Refusal>,
    is_unsigned: bool,
}

impl Tally {
    fn refuse(&mut self, why: Refusal) {
        self.refused.get_or_insert(why);
        self.is_unsigned |= why == Refusal::Signature;
    }
}

impl Pending {
    pub(super) fn new(opened: Opened, origin: Origin, source: u64, at: Instant) -> Self {
        Self {
            left: opened.payment().tickets(),
            opened,
            origin,
            source,
            at,
            admitted: None,
            cursor: Cursor::default(),
            tally: Tally::default(),
        }
    }

    fn sender(&self) -> &Address {
        self.opened.payment().sender()
    }

    /// What is answered: that nothing of it counts, if there is a reason; else what became of it.
    pub(super) fn receipt(&self, refused: Option<Refusal>, book: &Book) -> Receipt {
        let payment = self.opened.payment();
        let (price, pending) = book.standing(self.admitted.as_ref(), payment.sender());
        Receipt {
            credited: refused.map_or(self.tally.credited, |_| 0),
            refused: refused.or(self.tally.refused),
            price,
            ..unanswered(payment, pending)
        }
    }
}

/// That a payment is refused, before anything is known of it.
pub(super) fn refusal(payment: &Received, why: Refusal, book: &Book) -> Receipt {
    Receipt {
        refused: Some(why),
        ..unanswered(payment, book.pending(payment.sender()))
    }
}

fn unanswered(payment: &Received, pending: Wei) -> Receipt {
    Receipt {
        sender: *payment.sender(),
        session: payment.terms().session,
        account: payment.account(),
        credited: 0,
        refused: None,
        price: None,
        pending,
    }
}

/// The lane's table of payments.
#[derive(Default)]
pub(super) struct Table {
    places: Vec<Option<Pending>>,
    free: Vec<Slot>,
}

impl Table {
    pub(super) fn put(&mut self, pending: Pending) -> Slot {
        if let Some(slot) = self.free.pop() {
            self.places[slot as usize] = Some(pending);
            return slot;
        }
        self.places.push(Some(pending));
        Slot::try_from(self.places.len() - 1).expect("no more payments wait than a bound allows")
    }

    pub(super) fn take(&mut self, slot: Slot) -> Option<Pending> {
        let pending = self.places[slot as usize].take()?;
        self.free.push(slot);
        Some(pending)
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Pending> {
        self.places[slot as usize].as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Pending> {
        self.places[slot as usize].as_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

/// Memory in which batches are made, and what one came to.
#[derive(Default)]
pub(super) struct Batch {
    asked: Vec<(Slot, u32, Signature)>,
    proven: Vec<Result<Authentic, Refusal>>,
    /// Payments of which all has been looked at.
    pub(super) finished: Vec<Slot>,
    /// Tickets that were looked at.
    pub(super) tickets: usize,
    /// Signatures that were.
    pub(super) signatures: usize,
    /// Tickets that were credited.
    pub(super) credited: usize,
    /// Of those, winners.
    pub(super) winners: usize,
    /// Refusals, as they came.
    pub(super) refusals: Vec<Refusal>,
}

impl Batch {
    /// Makes a batch of up to `tickets` tickets, and credits what is good of it.
    pub(super) fn make(
        &mut self,
        tickets: usize,
        (queue, table): (&mut Queue, &mut Table),
        (check, book): (&mut Check, &mut Book),
        chain: &dyn Chain,
        entry: &mut Entry,
    ) {
        self.asked.clear();
        self.finished.clear();
        self.refusals.clear();
        (self.tickets, self.credited, self.winners) = (0, 0, 0);
        let head = chain.head();
        book.see_block(head.l1_block, entry);
        while self.tickets < tickets {
            let Some(turn) = queue.front() else { break };
            let left = tickets - self.tickets;
            self.take_turn(
                turn,
                left,
                (queue, table),
                (check, book),
                (chain, head.round),
            );
            queue.pass(turn);
        }
        self.signatures = self.asked.len();
        self.prove(table, check);
        self.credit(table, book, entry);
    }

    /// Looks at a source's next tickets, of one payment or of several, until its turn is over or the batch has no room.
    fn take_turn(
        &mut self,
        turn: Turn,
        room: usize,
        (queue, table): (&mut Queue, &mut Table),
        (check, book): (&Check, &Book),
        (chain, round): (&dyn Chain, u64),
    ) {
        // A source's payments are all of one sender.
        let sender = table.get(turn.payment).map(Pending::sender);
        let effort = sender.map_or(1, |sender| check.effort(sender).max(1)) as usize;
        let end = self.tickets + TURN_EFFORT.div_ceil(effort).min(room);
        let mut next = Some(turn);
        while let Some(turn) = next
            && self.tickets < end
        {
            let slot = turn.payment;
            if let Some(pending) = table.get_mut(slot) {
                self.look(slot, pending, end - self.tickets, book, (chain, round));
            }
            if table.get(slot).is_none_or(|pending| pending.left == 0) {
                queue.take(turn);
                self.finished.push(slot);
            }
            next = queue.front().filter(|next| next.is_same_turn(&turn));
        }
    }

    /// Looks at up to `tickets` tickets of a payment.
    fn look(
        &mut self,
        slot: Slot,
        pending: &mut Pending,
        tickets: usize,
        book: &Book,
        (chain, round): (&dyn Chain, u64),
    ) {
        let opened = &pending.opened;
        let payment = opened.payment();
        let admitted = match pending.admitted {
            Some(admitted) => admitted,
            None => {
                let funds = chain.funds(payment.sender());
                match book.admit(opened, payment.account(), funds.as_ref(), round) {
                    Ok(admitted) => *pending.admitted.insert(admitted),
                    Err(why) => return self.refuse_rest(pending, why),
                }
            }
        };
        if pending.tally.is_unsigned {
            return self.refuse_rest(pending, Refusal::Signature);
        }
        let mut looked = 0;
        for (nonce, signature) in payment.slips(&mut pending.cursor).take(tickets) {
            looked += 1;
            let outcome = book
                .look(&admitted, opened, nonce)
                .and(signature.ok_or(Refusal::Signature));
            match outcome {
                Ok(signature) => self.asked.push((slot, nonce, signature)),
                Err(why) => {
                    pending.tally.refuse(why);
                    self.refusals.push(why);
                }
            }
        }
        self.tickets += looked as usize;
        // A payment has as many slips as it said when it was parsed; were it otherwise, it would be over here.
        pending.left = if looked == 0 {
            0
        } else {
            pending.left - looked
        };
    }

    fn refuse_rest(&mut self, pending: &mut Pending, why: Refusal) {
        pending.tally.refuse(why);
        self.refusals.extend((0..pending.left).map(|_| why));
        // Refused without a look: next to nothing, but not for ever.
        self.tickets += 1;
        pending.left = 0;
    }

    fn prove(&mut self, table: &Table, check: &mut Check) {
        let asked = self.asked.iter().filter_map(|&(slot, nonce, signature)| {
            Some(Asked {
                opened: &table.get(slot)?.opened,
                nonce,
                signature,
            })
        });
        self.proven.clear();
        check.prove(asked, &mut self.proven);
    }

    fn credit(&mut self, table: &mut Table, book: &mut Book, entry: &mut Entry) {
        for (&(slot, ..), proven) in self.asked.iter().zip(&self.proven) {
            let Some(pending) = table.get_mut(slot) else {
                continue;
            };
            let (opened, Some(admitted)) = (&pending.opened, &pending.admitted) else {
                continue;
            };
            let outcome = proven.as_ref().map_err(|why| *why).and_then(|ticket| {
                book.credit(admitted, opened, ticket, entry)?;
                Ok(ticket.winning().is_some())
            });
            match outcome {
                Ok(has_won) => {
                    pending.tally.credited += 1;
                    self.credited += 1;
                    self.winners += usize::from(has_won);
                }
                Err(why) => {
                    pending.tally.refuse(why);
                    self.refusals.push(why);
                }
            }
        }
    }
}
