//! The journal's writer, and the book as it is on disk.
//!
//! ```text
//!   ticket lane ── batches ──▶ writer thread: all that wait, one transaction, one sync ──▶ Written ──▶ ticket lane
//!                                │ carries them out on its own book                         or Failed
//!                                └─ every so often: fold the journal into rows
//! ```
//!
//! Invariants:
//! - A batch is answered `Written` after the disk has it, and so has all before it.
//! - After a failure nothing is taken until the disk takes something again; the lane then goes on from what is there, as after a crash.
//! - The book here is the lane's, a few milliseconds behind. It may run ahead of the disk by the batches of one transaction, and never
//!   does when that has failed.

use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use link::payment::{BATCHES_MAX, Batch, Done, JournalEnd};
use ticket::book::{self, Entry, Op};
use ticket::{Address, Book};

use crate::store::{Error, PaymentRows, Store, Winner};
use crate::world::World;

/// Bytes of the journal at which it is folded: some 300,000 credits, which a start carries out in a fifth of a second.
const FOLD_BYTES: usize = 2 << 20;
/// A journal that is not empty is folded after this long, so that one who looks finds short work.
const FOLD_AFTER: Duration = Duration::from_secs(60);
/// How often a disk that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// The longest sleep, after which time is looked at.
const SLEEP: Duration = Duration::from_secs(1);

/// The book as others may see it. Clones see the same.
#[derive(Clone)]
pub struct Ledger(Arc<RwLock<Book>>);

impl Ledger {
    /// Opens the ledger in a store, for one recipient. What is returned beside it writes, once it is started.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn open(
        store: Store,
        recipient: Address,
        limits: book::Limits,
        world: Arc<dyn World>,
    ) -> Result<(Self, Writer), Error> {
        let book = store.book(limits)?;
        // What is in the journal has to be folded with what will be.
        let mut touched = Touched::default();
        let unfolded_bytes = store.for_each_op(|op| {
            touched.note(op);
            Ok(())
        })?;
        let ledger = Self(Arc::new(RwLock::new(book)));
        let writer = Writer {
            store,
            recipient,
            limits,
            world,
            ledger: ledger.clone(),
            epoch: 0,
            failed_at: None,
            unfolded_bytes,
            unfolded_since: (unfolded_bytes > 0).then(Instant::now),
            touched,
            batches: Vec::with_capacity(BATCHES_MAX),
            winners: Vec::new(),
        };
        Ok((ledger, writer))
    }

    /// The book now.
    pub fn book(&self) -> RwLockReadGuard<'_, Book> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ledger")
    }
}

/// Slots that the journal has changed.
#[derive(Debug, Default)]
struct Touched {
    accounts: Bits,
    commitments: Bits,
}

impl Touched {
    fn note(&mut self, op: &Op) {
        match *op {
            Op::Account { slot, .. } => self.accounts.set(slot),
            Op::Debit { account, .. } => self.accounts.set(account),
            Op::Commitment { slot, .. } => self.commitments.set(slot),
            Op::Credit {
                commitment,
                account,
                ..
            } => {
                self.accounts.set(account);
                self.commitments.set(commitment);
            }
            Op::Block { .. } | Op::Win { .. } => {}
        }
    }
}

/// A set of slots, a bit each.
#[derive(Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn set(&mut self, slot: u32) {
        let word = (slot / 64) as usize;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (slot % 64);
    }

    fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let all = (0..).zip(&self.0).filter(|(_, word)| **word != 0);
        all.flat_map(|(at, word)| {
            (0..64)
                .filter(move |bit| word >> bit & 1 == 1)
                .map(move |bit: u32| 64 * at + bit)
        })
    }
}

/// What writes.
pub struct Writer {
    store: Store,
    recipient: Address,
    limits: book::Limits,
    world: Arc<dyn World>,
    ledger: Ledger,
    epoch: u32,
    /// When the disk was last found not to take anything.
    failed_at: Option<Instant>,
    unfolded_bytes: usize,
    unfolded_since: Option<Instant>,
    touched: Touched,
    batches: Vec<Batch>,
    winners: Vec<Winner>,
}

impl Writer {
    /// Starts writing what comes from the lane, on a thread of its own, until the lane is gone.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(mut self, mut journal: JournalEnd) -> io::Result<JoinHandle<()>> {
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || {
                while !journal.is_abandoned() {
                    journal.bell.wait(SLEEP, || journal.batches.is_due());
                    self.turn(&mut journal);
                }
                self.fold();
            })
    }

    /// Writes all that waits, at once.
    fn turn(&mut self, journal: &mut JournalEnd) {
        self.batches.clear();
        let mut batches = std::mem::take(&mut self.batches);
        journal.batches.pop_batch(&mut batches, BATCHES_MAX);
        if self.failed_at.is_some() {
            self.refuse(journal, &mut batches);
            self.try_again(journal);
        } else if !batches.is_empty() {
            match self.write(&batches) {
                Ok(()) => self.confirm(journal, &mut batches),
                Err(error) => {
                    tracing::error!(%error, "payments are not recorded, and none are taken until they are");
                    self.failed_at = Some(Instant::now());
                    self.refuse(journal, &mut batches);
                }
            }
        }
        self.batches = batches;
        self.fold_if_due();
    }

    fn write(&mut self, batches: &[Batch]) -> Result<(), String> {
        self.winners.clear();
        let mut book = self
            .ledger
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        for (n, batch) in batches.iter().enumerate() {
            for op in batch.entry.ops() {
                let op = op.map_err(|error| error.to_string())?;
                book.apply(&op).map_err(|error| error.to_string())?;
                self.touched.note(&op);
                if let Op::Win {
                    commitment,
                    nonce,
                    signature,
                } = op
                {
                    let commitment = book
                        .commitment_at(commitment)
                        .ok_or("a winner under no commitment")?;
                    self.winners.push(Winner {
                        recipient: self.recipient,
                        commitment: commitment.clone(),
                        sender_nonce: nonce,
                        signature,
                        entry: n,
                    });
                }
            }
        }
        drop(book);
        let rows = PaymentRows {
            entries: batches.iter().map(|batch| batch.entry.as_bytes()).collect(),
            winners: &self.winners,
            now_ms: self.world.unix_ms(),
        };
        self.store
            .record(&rows)
            .map_err(|error| error.to_string())?;
        self.unfolded_bytes += rows.entries.iter().map(|entry| entry.len()).sum::<usize>();
        self.unfolded_since.get_or_insert_with(Instant::now);
        Ok(())
    }

    fn confirm(&self, journal: &mut JournalEnd, batches: &mut Vec<Batch>) {
        for Batch {
            epoch,
            number,
            entry,
        } in batches.drain(..)
        {
            journal.say(Done::Written {
                epoch,
                number,
                buffer: Entry::into_bytes(entry),
            });
        }
        journal.ring();
    }

    fn refuse(&self, journal: &mut JournalEnd, batches: &mut Vec<Batch>) {
        for Batch { epoch, number, .. } in batches.drain(..) {
            journal.say(Done::Failed { epoch, number });
        }
        journal.ring();
    }

    /// After a while, looks whether the disk takes anything again, and what is on it.
    fn try_again(&mut self, journal: &mut JournalEnd) {
        if self.failed_at.is_some_and(|at| at.elapsed() < RETRY) {
            return;
        }
        self.failed_at = Some(Instant::now());
        let book = self
            .store
            .probe()
            .and_then(|()| self.store.book(self.limits));
        let book = match book {
            Ok(book) => book,
            Err(error) => return tracing::warn!(%error, "payments can still not be recorded"),
        };
        *self
            .ledger
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner) = book.clone();
        // Whatever the failed ones touched is as it was, or will be written again.
        self.failed_at = None;
        self.epoch += 1;
        tracing::info!("payments are recorded again");
        journal.say(Done::Resumed {
            epoch: self.epoch,
            book: Box::new(book),
        });
        journal.ring();
    }

    fn fold_if_due(&mut self) {
        let is_old = self
            .unfolded_since
            .is_some_and(|since| since.elapsed() >= FOLD_AFTER);
        if self.failed_at.is_none() && (is_old || self.unfolded_bytes >= FOLD_BYTES) {
            self.fold();
        }
    }

    fn fold(&mut self) {
        if self.unfolded_since.is_none() || self.failed_at.is_some() {
            return;
        }
        let book = self.ledger.book();
        let (accounts, commitments) = (
            self.touched.accounts.iter(),
            self.touched.commitments.iter(),
        );
        match self.store.fold(&book, &self.limits, accounts, commitments) {
            Ok(()) => {
                drop(book);
                self.touched = Touched::default();
                (self.unfolded_bytes, self.unfolded_since) = (0, None);
            }
            // The journal is still there, so nothing is lost; it is tried again when the next batch comes.
            Err(error) => tracing::warn!(%error, "the journal of payments could not be folded"),
        }
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("store", &self.store.path())
            .finish_non_exhaustive()
    }
}
