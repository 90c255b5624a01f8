//! Operations, carried out: the only way in which a book changes.
//!
//! Invariant: an operation that cannot follow on the state is refused before anything is changed.

use super::{Account, Book, Commitment, Inconsistent, Op, Sender};
use crate::address::Address;
use crate::nonces::{Nonces, Taken};

impl Book {
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
                name,
                price,
            } => self.put_account(slot, Account::new(sender, name, price, self.block)),
            Op::Commitment {
                slot,
                sender,
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
                    sender,
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
            Op::Credit {
                commitment,
                account,
                nonce,
            } => {
                let commitment = self
                    .commitments
                    .get_mut(commitment)
                    .ok_or(Inconsistent("a credit under no commitment"))?;
                let held = self
                    .accounts
                    .get_mut(account)
                    .ok_or(Inconsistent("a credit to no account"))?;
                if held.sender != commitment.sender {
                    return Err(Inconsistent("a credit to somebody else's account"));
                }
                commitment
                    .nonces
                    .take(nonce)
                    .map_err(|_| Inconsistent("a nonce that came before"))?;
                held.credit += commitment.value();
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
                let sender = self.senders.entry(commitment.sender).or_default();
                sender.pending = sender.pending.saturating_add(commitment.face_value);
                self.wins.0 += 1;
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

    pub(super) fn put_account(&mut self, slot: u32, account: Account) -> Result<(), Inconsistent> {
        let name = (account.sender, account.name);
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

    pub(super) fn put_commitment(
        &mut self,
        slot: u32,
        commitment: Commitment,
    ) -> Result<(), Inconsistent> {
        if self.by_hash.contains_key(&commitment.rand_hash) {
            return Err(Inconsistent("a commitment that is there already"));
        }
        let Commitment {
            sender,
            rand_hash,
            expiration_block,
            ..
        } = commitment;
        self.commitments
            .put(slot, commitment)
            .ok_or(Inconsistent("a commitment in another's place"))?;
        self.by_hash.insert(rand_hash, slot);
        self.by_expiry.insert((expiration_block, slot));
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

    /// Lets go of what this block has made old.
    fn forget(&mut self) {
        while let Some(&(expiry, slot)) = self
            .by_expiry
            .first()
            .filter(|(expiry, _)| *expiry <= self.block)
        {
            self.by_expiry.remove(&(expiry, slot));
            if let Some(commitment) = self.commitments.take(slot) {
                self.by_hash.remove(&commitment.rand_hash);
                self.release(&commitment.sender, |held| held.commitments -= 1);
            }
        }
        let oldest = self.block.saturating_sub(self.limits.account_idle_blocks);
        while let Some(&(touched, slot)) =
            self.by_age.first().filter(|(touched, _)| *touched < oldest)
        {
            self.by_age.remove(&(touched, slot));
            if let Some(account) = self.accounts.take(slot) {
                self.by_name.remove(&(account.sender, account.name));
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
