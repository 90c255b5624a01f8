//! Who has paid what for, under which parameters, with which nonces: the state behind every verdict.
//!
//! ```text
//!   sender ──┬── account (sender, session): credit, pixels debited, price ◀──┐
//!            │                                                               │
//!            └── winners not settled, in wei            commitment: face value, probability, expiry, nonces that came
//! ```
//!
//! Invariants:
//! - The book changes through [`apply`](Book::apply) alone. Whoever replays a journal of [`Op`]s from the same start has the same
//!   book; a crash loses nothing that was in the journal, and credits nothing twice.
//! - A nonce is taken in the same step that credits its ticket. Refused tickets leave no trace.
//! - A commitment lives until its expiration block has been seen, and blocks never go back: what is forgotten is also refused.
//! - Everything is bounded by [`Limits`].

mod account;
mod entry;
mod slots;

pub use account::{Account, Balance};
pub use entry::{Entry, Op, Ops, Unreadable};

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;

use crate::address::{Address, Hash};
use crate::amount::{ExpectedValue, Wei};
use crate::check::Authentic;
use crate::float::Funds;
use crate::nonces::{Nonces, Taken};
use crate::refusal::Refusal;
use crate::secret::Opened;
use crate::session::SessionId;
use slots::Slots;

/// How much a book holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Accounts.
    pub accounts: usize,
    /// Sets of parameters that are not expired; some 500 bytes each. A stream that pays every five seconds has about 96, each answer to a
    /// payment bringing new ones.
    pub commitments: usize,
    /// Of those, how many one sender may have.
    pub commitments_per_sender: usize,
    /// L1 blocks after which an account that nothing happens to is forgotten.
    pub account_idle_blocks: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            accounts: 65_536,
            commitments: 1 << 20,
            commitments_per_sender: 1 << 18,
            // A day, at twelve seconds a block.
            account_idle_blocks: 7_200,
        }
    }
}

/// A set of parameters under which an authentic ticket has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commitment {
    /// The slot of the account that it pays into.
    pub account: u32,
    /// The hash of the secret number.
    pub rand_hash: Hash,
    /// The secret number.
    pub recipient_rand: [u8; 32],
    /// What a winner is worth.
    pub face_value: Wei,
    /// In parts of 2^256 − 1.
    pub win_prob: Wei,
    /// The L1 block from which on it is forgotten.
    pub expiration_block: u64,
    /// The round in which it was made.
    pub creation_round: u64,
    /// The hash of that round's block.
    pub creation_round_block_hash: Hash,
    /// What has come.
    pub nonces: Nonces,
}

impl Commitment {
    /// What each ticket is worth.
    #[must_use]
    pub fn value(&self) -> ExpectedValue {
        ExpectedValue::of(self.face_value, self.win_prob)
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Book {
    limits: Limits,
    block: u64,
    accounts: Slots<Account>,
    by_name: BTreeMap<(Address, SessionId), u32>,
    /// (block in which something last happened, slot), for the accounts.
    by_age: BTreeSet<(u64, u32)>,
    commitments: Slots<Commitment>,
    by_hash: BTreeMap<Hash, u32>,
    /// (expiration block, slot).
    by_expiry: BTreeSet<(u64, u32)>,
    senders: BTreeMap<Address, Sender>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Sender {
    accounts: usize,
    commitments: usize,
    /// Winners that are not settled.
    pending: Wei,
}

/// What a book is made again from.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The newest L1 block.
    pub block: u64,
    /// Accounts, with their slots.
    pub accounts: Vec<(u32, Account)>,
    /// Commitments, with their slots.
    pub commitments: Vec<(u32, Commitment)>,
    /// Winners that are not settled, by sender.
    pub pending: Vec<(Address, Wei)>,
}

/// An operation that this book cannot have come to: the journal, or the snapshot, is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inconsistent(pub &'static str);

impl fmt::Display for Inconsistent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the record of payments contradicts itself: {}", self.0)
    }
}

impl core::error::Error for Inconsistent {}

/// A payment whose parameters are good now. What it says holds until the book changes.
#[derive(Debug, Clone, Copy)]
pub struct Admitted {
    commitment: Option<u32>,
    /// What the sender can pay in all.
    available: Wei,
}

impl Book {
    /// An empty one.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            block: 0,
            accounts: Slots::new(),
            by_name: BTreeMap::new(),
            by_age: BTreeSet::new(),
            commitments: Slots::new(),
            by_hash: BTreeMap::new(),
            by_expiry: BTreeSet::new(),
            senders: BTreeMap::new(),
        }
    }

    /// One that goes on from a snapshot.
    ///
    /// # Errors
    /// The snapshot contradicts itself.
    pub fn restore(limits: Limits, snapshot: Snapshot) -> Result<Self, Inconsistent> {
        let mut book = Self::new(limits);
        book.block = snapshot.block;
        for (slot, mut account) in snapshot.accounts {
            account.commitments = 0;
            book.put_account(slot, account)?;
        }
        for (slot, commitment) in snapshot.commitments {
            book.put_commitment(slot, commitment)?;
        }
        for (sender, pending) in snapshot.pending {
            book.senders.entry(sender).or_default().pending = pending;
        }
        Ok(book)
    }

    // === looking ===

    /// The newest L1 block that it was told of.
    #[must_use]
    pub const fn block(&self) -> u64 {
        self.block
    }

    /// An account.
    #[must_use]
    pub fn account(&self, sender: Address, session: SessionId) -> Option<&Account> {
        self.accounts.get(*self.by_name.get(&(sender, session))?)
    }

    /// The account in a slot.
    #[must_use]
    pub fn account_at(&self, slot: u32) -> Option<&Account> {
        self.accounts.get(slot)
    }

    /// The commitment in a slot.
    #[must_use]
    pub fn commitment_at(&self, slot: u32) -> Option<&Commitment> {
        self.commitments.get(slot)
    }

    /// Every account, with its slot.
    pub fn accounts(&self) -> impl Iterator<Item = (u32, &Account)> {
        self.accounts.iter()
    }

    /// Every commitment, with its slot.
    pub fn commitments(&self) -> impl Iterator<Item = (u32, &Commitment)> {
        self.commitments.iter()
    }

    /// A sender's winners that are not settled, in wei.
    #[must_use]
    pub fn pending(&self, sender: &Address) -> Wei {
        self.senders
            .get(sender)
            .map(|sender| sender.pending)
            .unwrap_or_default()
    }

    /// Whether tickets under these parameters may be taken now. `funds` are the sender's, if they are known; `round` is the newest
    /// initialised one.
    ///
    /// # Errors
    /// They may not.
    pub fn admit(
        &self,
        opened: &Opened,
        funds: Option<&Funds>,
        round: u64,
    ) -> Result<Admitted, Refusal> {
        let terms = opened.terms();
        if terms.expiration_block <= self.block {
            return Err(Refusal::Expired);
        }
        let commitment = self.by_hash.get(opened.rand_hash()).copied();
        if commitment.is_none() {
            self.has_room(&terms.sender, terms.session)?;
        }
        // Tickets that can win nothing need nothing behind them.
        if terms.face_value.is_zero() {
            return Ok(Admitted {
                commitment,
                available: Wei::MAX,
            });
        }
        let funds = funds.ok_or(Refusal::SenderUnknown)?;
        if funds.is_unlocking(round) {
            return Err(Refusal::Unlocking);
        }
        let available = funds.available(Wei::ZERO);
        self.covers(opened, available)?;
        Ok(Admitted {
            commitment,
            available,
        })
    }

    fn has_room(&self, sender: &Address, session: SessionId) -> Result<(), Refusal> {
        let held = self
            .senders
            .get(sender)
            .map_or(0, |sender| sender.commitments);
        let needs_account = !self.by_name.contains_key(&(*sender, session));
        let is_full = self.commitments.len() >= self.limits.commitments
            || held >= self.limits.commitments_per_sender
            || (needs_account && self.accounts.len() >= self.limits.accounts);
        match is_full {
            true => Err(Refusal::Full),
            false => Ok(()),
        }
    }

    fn covers(&self, opened: &Opened, available: Wei) -> Result<(), Refusal> {
        let terms = opened.terms();
        let pending = self.pending(&terms.sender);
        match pending.checked_add(terms.face_value) {
            Some(claimed) if claimed <= available => Ok(()),
            _ => Err(Refusal::Reserve),
        }
    }

    /// Whether a nonce may still come, so that no signature is looked at in vain.
    ///
    /// # Errors
    /// It may not.
    pub fn look(&self, admitted: &Admitted, opened: &Opened, nonce: u32) -> Result<(), Refusal> {
        let Some(commitment) = admitted
            .commitment
            .and_then(|slot| self.commitments.get(slot))
        else {
            return Ok(());
        };
        commitment
            .nonces
            .look(nonce)
            .map_err(|taken| refused(taken, opened, nonce))
    }

    // === changing ===

    /// Credits a ticket, once, and writes to `entry` what is to be kept of that: the winner whole.
    ///
    /// # Errors
    /// It is not credited, and nothing has changed.
    pub fn credit(
        &mut self,
        admitted: &Admitted,
        opened: &Opened,
        ticket: &Authentic,
        entry: &mut Entry,
    ) -> Result<(), Refusal> {
        debug_assert_eq!(ticket.rand_hash(), opened.rand_hash());
        let terms = opened.terms();
        if !terms.face_value.is_zero() {
            // Again, since winners of the same batch may have come between.
            self.covers(opened, admitted.available)?;
        }
        let nonce = ticket.nonce();
        let known = self.by_hash.get(opened.rand_hash()).copied();
        let commitment = match known.and_then(|slot| Some((slot, self.commitments.get(slot)?))) {
            Some((slot, commitment)) => {
                commitment
                    .nonces
                    .look(nonce)
                    .map_err(|taken| refused(taken, opened, nonce))?;
                slot
            }
            None => {
                self.has_room(&terms.sender, terms.session)?;
                self.open_commitment(opened, entry)
            }
        };
        self.do_(&Op::Credit { commitment, nonce }, entry);
        if let Some(winner) = ticket.winning() {
            let signature = *winner.signature();
            self.do_(
                &Op::Win {
                    commitment,
                    nonce,
                    signature,
                },
                entry,
            );
        }
        Ok(())
    }

    fn open_commitment(&mut self, opened: &Opened, entry: &mut Entry) -> u32 {
        let terms = opened.terms();
        let account = self
            .by_name
            .get(&(terms.sender, terms.session))
            .copied()
            .unwrap_or_else(|| {
                let slot = self.accounts.vacant();
                let op = Op::Account {
                    slot,
                    sender: terms.sender,
                    session: terms.session,
                    price: terms.price,
                };
                self.do_(&op, entry);
                slot
            });
        let slot = self.commitments.vacant();
        let op = Op::Commitment {
            slot,
            account,
            rand_hash: *opened.rand_hash(),
            recipient_rand: *opened.recipient_rand(),
            face_value: terms.face_value,
            win_prob: terms.win_prob,
            expiration_block: terms.expiration_block,
            creation_round: terms.creation_round,
            creation_round_block_hash: terms.creation_round_block_hash,
        };
        self.do_(&op, entry);
        slot
    }

    /// Takes pixels from an account, at its own price; it may go below zero.
    ///
    /// # Errors
    /// There is no such account.
    pub fn debit(
        &mut self,
        sender: Address,
        session: SessionId,
        pixels: u64,
        entry: &mut Entry,
    ) -> Result<(), Refusal> {
        let account = *self
            .by_name
            .get(&(sender, session))
            .ok_or(Refusal::Sender)?;
        self.do_(&Op::Debit { account, pixels }, entry);
        Ok(())
    }

    /// Tells of a new L1 block: what expires with it is forgotten. An older one changes nothing.
    pub fn see_block(&mut self, block: u64, entry: &mut Entry) {
        if block > self.block {
            self.do_(&Op::Block { block }, entry);
        }
    }

    /// Writes an operation down and carries it out. For operations that were looked at and fit.
    fn do_(&mut self, op: &Op, entry: &mut Entry) {
        let outcome = self.apply(op);
        // The same state that the operation was made from. If this fails the book is not to be trusted, and nor is anything after it.
        assert!(
            outcome.is_ok(),
            "an operation that does not fit its own book: {op:?}: {outcome:?}"
        );
        entry.push(op);
    }

    /// Carries out an operation.
    ///
    /// # Errors
    /// The operation cannot follow on this state, which is as it was.
    pub fn apply(&mut self, op: &Op) -> Result<(), Inconsistent> {
        match *op {
            Op::Block { block } => {
                if block < self.block {
                    return Err(Inconsistent("a block that goes back"));
                }
                self.block = block;
                self.forget();
                Ok(())
            }
            Op::Account {
                slot,
                sender,
                session,
                price,
            } => self.put_account(slot, Account::new(sender, session, price, self.block)),
            Op::Commitment {
                slot,
                account,
                rand_hash,
                recipient_rand,
                face_value,
                win_prob,
                expiration_block,
                creation_round,
                creation_round_block_hash,
            } => self.put_commitment(
                slot,
                Commitment {
                    account,
                    rand_hash,
                    recipient_rand,
                    face_value,
                    win_prob,
                    expiration_block,
                    creation_round,
                    creation_round_block_hash,
                    nonces: Nonces::default(),
                },
            ),
            Op::Credit { commitment, nonce } => {
                let commitment = self
                    .commitments
                    .get_mut(commitment)
                    .ok_or(Inconsistent("a credit under no commitment"))?;
                let (account, value) = (commitment.account, commitment.value());
                let held = self
                    .accounts
                    .get_mut(account)
                    .ok_or(Inconsistent("a credit to no account"))?;
                commitment
                    .nonces
                    .take(nonce)
                    .map_err(|_| Inconsistent("a nonce that came before"))?;
                held.credit += value;
                self.touch(account);
                Ok(())
            }
            Op::Win {
                commitment, nonce, ..
            } => {
                let commitment = self
                    .commitments
                    .get(commitment)
                    .ok_or(Inconsistent("a winner under no commitment"))?;
                if commitment.nonces.look(nonce) != Err(Taken::Seen) {
                    return Err(Inconsistent("a winner that was not credited"));
                }
                let account = self
                    .accounts
                    .get(commitment.account)
                    .ok_or(Inconsistent("a winner of no account"))?;
                let sender = self.senders.entry(account.sender).or_default();
                sender.pending = sender.pending.saturating_add(commitment.face_value);
                Ok(())
            }
            Op::Debit { account, pixels } => {
                let held = self
                    .accounts
                    .get_mut(account)
                    .ok_or(Inconsistent("a debit of no account"))?;
                held.pixels = held.pixels.saturating_add(u128::from(pixels));
                self.touch(account);
                Ok(())
            }
        }
    }

    fn put_account(&mut self, slot: u32, account: Account) -> Result<(), Inconsistent> {
        let name = (account.sender, account.session);
        if self.by_name.contains_key(&name) {
            return Err(Inconsistent("an account that is there already"));
        }
        let touched = account.touched_block;
        self.accounts
            .put(slot, account)
            .ok_or(Inconsistent("an account in another's place"))?;
        self.by_name.insert(name, slot);
        self.by_age.insert((touched, slot));
        self.senders.entry(name.0).or_default().accounts += 1;
        Ok(())
    }

    fn put_commitment(&mut self, slot: u32, commitment: Commitment) -> Result<(), Inconsistent> {
        if self.by_hash.contains_key(&commitment.rand_hash) {
            return Err(Inconsistent("a commitment that is there already"));
        }
        let (hash, expiry) = (commitment.rand_hash, commitment.expiration_block);
        let account = self
            .accounts
            .get_mut(commitment.account)
            .ok_or(Inconsistent("a commitment of no account"))?;
        let sender = account.sender;
        self.commitments
            .put(slot, commitment)
            .ok_or(Inconsistent("a commitment in another's place"))?;
        account.commitments += 1;
        self.by_hash.insert(hash, slot);
        self.by_expiry.insert((expiry, slot));
        self.senders.entry(sender).or_default().commitments += 1;
        Ok(())
    }

    /// Notes that something happened to an account, once a block.
    fn touch(&mut self, slot: u32) {
        let Some(account) = self.accounts.get_mut(slot) else {
            return;
        };
        if account.touched_block != self.block {
            self.by_age.remove(&(account.touched_block, slot));
            account.touched_block = self.block;
            self.by_age.insert((self.block, slot));
        }
    }

    fn forget(&mut self) {
        while let Some(&(expiry, slot)) = self.by_expiry.first() {
            if expiry > self.block {
                break;
            }
            self.by_expiry.pop_first();
            if let Some(commitment) = self.commitments.take(slot) {
                self.by_hash.remove(&commitment.rand_hash);
                if let Some(account) = self.accounts.get_mut(commitment.account) {
                    account.commitments -= 1;
                    let sender = account.sender;
                    self.release(&sender, |held| held.commitments -= 1);
                }
            }
        }
        let oldest = self.block.saturating_sub(self.limits.account_idle_blocks);
        while let Some(&(touched, slot)) = self.by_age.first() {
            if touched >= oldest {
                break;
            }
            // Offers hold for far fewer blocks than accounts are kept. Were it otherwise, such an account would stay.
            if self
                .accounts
                .get(slot)
                .is_some_and(|account| account.commitments > 0)
            {
                self.touch(slot);
                continue;
            }
            self.by_age.pop_first();
            if let Some(account) = self.accounts.take(slot) {
                self.by_name.remove(&(account.sender, account.session));
                self.release(&account.sender, |held| held.accounts -= 1);
            }
        }
    }

    fn release(&mut self, sender: &Address, give: impl FnOnce(&mut Sender)) {
        if let Some(held) = self.senders.get_mut(sender) {
            give(held);
            if *held == Sender::default() {
                self.senders.remove(sender);
            }
        }
    }
}

const fn refused(taken: Taken, opened: &Opened, nonce: u32) -> Refusal {
    let sender = opened.terms().sender;
    match taken {
        Taken::Seen => Refusal::NonceSeen { sender, nonce },
        Taken::Full => Refusal::NonceFull { sender, nonce },
    }
}
