//! Who has paid what for, under which parameters, with which nonces: the state behind every verdict.
//!
//! ```text
//!   sender ──┬── accounts, by name: credit, pixels debited, price
//!            ├── commitments, by hash: face value, probability, expiry, nonces that came
//!            └── winners not settled, in wei
//! ```
//!
//! Invariants:
//! - The book changes through [`apply`](Book::apply) alone. Whoever replays a journal of [`Op`]s from the same start has the same
//!   book; a crash loses nothing that was in the journal, and credits nothing twice.
//! - A nonce is taken in the same step that credits its ticket. Refused tickets leave no trace.
//! - A commitment lives until its expiration block has been seen, and blocks never go back: what is forgotten is also refused.
//! - Everything is bounded by [`Limits`].

mod account;
mod apply;
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
use crate::price::Price;
use crate::refusal::Refusal;
use crate::secret::Opened;
use crate::session::SessionId;
use slots::Slots;

/// How much a book holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Accounts; some 400 bytes each. One sender may have a quarter of them.
    pub accounts: usize,
    /// Sets of parameters that are not expired; some 500 bytes each, and likewise. A stream that pays every five seconds has about 96, since
    /// each answer to a payment brings new ones.
    pub commitments: usize,
    /// L1 blocks after which an account that nothing happens to is forgotten.
    pub account_idle_blocks: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            accounts: 65_536,
            commitments: 1 << 20,
            // A day, at twelve seconds a block.
            account_idle_blocks: 7_200,
        }
    }
}

/// A set of parameters under which an authentic ticket has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commitment {
    /// Who pays under it.
    pub sender: Address,
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
    wins: Wins,
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

/// A payment whose parameters are good now, and where it goes.
///
/// What it holds are answers that were looked up once, with what tells whether they still hold: a place is looked at for its owner, what
/// is pending for whether anybody has won since.
#[derive(Debug, Clone, Copy)]
pub struct Admitted {
    account: SessionId,
    account_slot: Option<u32>,
    commitment_slot: Option<u32>,
    /// What the sender can pay in all.
    available: Wei,
    pending: Wei,
    wins: u64,
}

/// Winners so far. How a book came to be is no part of what it says.
#[derive(Debug, Clone, Copy, Default)]
struct Wins(u64);

impl PartialEq for Wins {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Wins {}

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
            wins: Wins::default(),
        }
    }

    /// One that goes on from a snapshot.
    ///
    /// # Errors
    /// The snapshot contradicts itself.
    pub fn restore(limits: Limits, snapshot: Snapshot) -> Result<Self, Inconsistent> {
        let mut book = Self::new(limits);
        book.block = snapshot.block;
        for (slot, account) in snapshot.accounts {
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

    /// A sender's account of that name.
    #[must_use]
    pub fn account(&self, sender: Address, name: SessionId) -> Option<&Account> {
        self.accounts.get(*self.by_name.get(&(sender, name))?)
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

    /// Whether tickets under these parameters may be taken now, and credited to the sender's account of that name. `funds` are the
    /// sender's, if they are known; `round` is the newest initialised one.
    ///
    /// # Errors
    /// They may not.
    pub fn admit(
        &self,
        opened: &Opened,
        account: SessionId,
        funds: Option<&Funds>,
        round: u64,
    ) -> Result<Admitted, Refusal> {
        let terms = opened.terms();
        if terms.expiration_block <= self.block {
            return Err(Refusal::Expired);
        }
        let sender = &terms.sender;
        let mut admitted = Admitted {
            account,
            account_slot: self.by_name.get(&(*sender, account)).copied(),
            commitment_slot: self.by_hash.get(opened.rand_hash()).copied(),
            // Tickets that can win nothing need nothing behind them.
            available: Wei::MAX,
            pending: self.pending(sender),
            wins: self.wins.0,
        };
        self.has_room(sender, &admitted)?;
        if !terms.face_value.is_zero() {
            let funds = funds.ok_or(Refusal::SenderUnknown)?;
            if funds.is_unlocking(round) {
                return Err(Refusal::Unlocking);
            }
            admitted.available = funds.available(Wei::ZERO);
            self.covers(opened, &admitted)?;
        }
        Ok(admitted)
    }

    /// Whether there is room for what is not there yet.
    fn has_room(&self, sender: &Address, admitted: &Admitted) -> Result<(), Refusal> {
        if admitted.account_slot.is_some() && admitted.commitment_slot.is_some() {
            return Ok(());
        }
        let held = self.senders.get(sender).copied().unwrap_or_default();
        let is_full = |slot: Option<u32>, all: usize, limit: usize, own: usize| {
            slot.is_none() && (all >= limit || own >= (limit / SENDERS_SHARE).max(1))
        };
        let Limits {
            accounts,
            commitments,
            ..
        } = self.limits;
        let (account, commitment) = (admitted.account_slot, admitted.commitment_slot);
        match is_full(account, self.accounts.len(), accounts, held.accounts)
            || is_full(
                commitment,
                self.commitments.len(),
                commitments,
                held.commitments,
            ) {
            true => Err(Refusal::Full),
            false => Ok(()),
        }
    }

    /// Whether one more winner would be paid, beside those that are pending.
    fn covers(&self, opened: &Opened, admitted: &Admitted) -> Result<(), Refusal> {
        let terms = opened.terms();
        let pending = match admitted.wins == self.wins.0 {
            true => admitted.pending,
            false => self.pending(&terms.sender),
        };
        let claimed = pending.checked_add(terms.face_value);
        match claimed.is_some_and(|claimed| claimed <= admitted.available) {
            true => Ok(()),
            false => Err(Refusal::Reserve),
        }
    }

    /// Where the commitment is, if it is.
    fn commitment_slot(&self, admitted: &Admitted, hash: &Hash) -> Option<u32> {
        let is_it = |slot: &u32| {
            self.commitments
                .get(*slot)
                .is_some_and(|found| found.rand_hash == *hash)
        };
        admitted
            .commitment_slot
            .filter(is_it)
            .or_else(|| self.by_hash.get(hash).copied())
    }

    /// Where the account is, if it is.
    fn account_slot(&self, admitted: &Admitted, sender: &Address) -> Option<u32> {
        let is_it = |slot: &u32| {
            let found = self.accounts.get(*slot);
            found.is_some_and(|found| found.sender == *sender && found.name == admitted.account)
        };
        let known = admitted.account_slot.filter(is_it);
        known.or_else(|| self.by_name.get(&(*sender, admitted.account)).copied())
    }

    /// Whether a nonce may still come, so that no signature is looked at in vain.
    ///
    /// # Errors
    /// It may not.
    pub fn look(&self, admitted: &Admitted, opened: &Opened, nonce: u32) -> Result<(), Refusal> {
        let slot = self.commitment_slot(admitted, opened.rand_hash());
        let Some(commitment) = slot.and_then(|slot| self.commitments.get(slot)) else {
            return Ok(());
        };
        commitment
            .nonces
            .look(nonce)
            .map_err(|taken| refused(taken, opened, nonce))
    }

    /// What a sender is told behind a payment: the price of the account, if it has one, and what is pending.
    #[must_use]
    pub fn standing(&self, admitted: Option<&Admitted>, sender: &Address) -> (Option<Price>, Wei) {
        let account =
            admitted.and_then(|admitted| self.accounts.get(self.account_slot(admitted, sender)?));
        let pending = match admitted {
            Some(admitted) if admitted.wins == self.wins.0 => admitted.pending,
            _ => self.pending(sender),
        };
        (account.map(|account| account.price), pending)
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
            self.covers(opened, admitted)?;
        }
        let nonce = ticket.nonce();
        self.look(admitted, opened, nonce)?;
        let found = Admitted {
            account_slot: self.account_slot(admitted, &terms.sender),
            commitment_slot: self.commitment_slot(admitted, opened.rand_hash()),
            ..*admitted
        };
        self.has_room(&terms.sender, &found)?;
        let commitment = found
            .commitment_slot
            .unwrap_or_else(|| self.open_commitment(opened, entry));
        let account = found.account_slot.unwrap_or_else(|| {
            let slot = self.accounts.vacant();
            let (sender, name, price) = (terms.sender, admitted.account, terms.price);
            self.carry_out(
                &Op::Account {
                    slot,
                    sender,
                    name,
                    price,
                },
                entry,
            );
            slot
        });
        self.carry_out(
            &Op::Credit {
                commitment,
                account,
                nonce,
            },
            entry,
        );
        if let Some(winner) = ticket.winning() {
            let signature = *winner.signature();
            self.carry_out(
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
        let slot = self.commitments.vacant();
        let op = Op::Commitment {
            slot,
            sender: terms.sender,
            rand_hash: *opened.rand_hash(),
            recipient_rand: *opened.recipient_rand(),
            face_value: terms.face_value,
            win_prob: terms.win_prob,
            expiration_block: terms.expiration_block,
            creation_round: terms.creation_round,
            creation_round_block_hash: terms.creation_round_block_hash,
        };
        self.carry_out(&op, entry);
        slot
    }

    /// Takes pixels from an account, at its own price; it may go below zero. `false` when there is no such account.
    pub fn debit(
        &mut self,
        sender: Address,
        name: SessionId,
        pixels: u64,
        entry: &mut Entry,
    ) -> bool {
        let Some(&account) = self.by_name.get(&(sender, name)) else {
            return false;
        };
        self.carry_out(&Op::Debit { account, pixels }, entry);
        true
    }

    /// Tells of a new L1 block: what expires with it is forgotten. An older one changes nothing.
    pub fn see_block(&mut self, block: u64, entry: &mut Entry) {
        if block > self.block {
            self.carry_out(&Op::Block { block }, entry);
        }
    }

    /// Carries an operation out and writes it down. For operations that were looked at and fit.
    fn carry_out(&mut self, op: &Op, entry: &mut Entry) {
        let outcome = self.apply(op);
        // It was made from this very state. If it does not fit, the book is not to be trusted, and nor is anything after it.
        assert!(
            outcome.is_ok(),
            "an operation that does not fit its own book: {op:?}: {outcome:?}"
        );
        entry.push(op);
    }
}

/// One sender may have this part of all places for accounts and commitments.
const SENDERS_SHARE: usize = 4;

const fn refused(taken: Taken, opened: &Opened, nonce: u32) -> Refusal {
    let sender = opened.terms().sender;
    match taken {
        Taken::Seen => Refusal::NonceSeen { sender, nonce },
        Taken::Full => Refusal::NonceFull { sender, nonce },
    }
}
