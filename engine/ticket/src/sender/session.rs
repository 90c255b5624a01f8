//! Tickets under one set of parameters.

use alloc::vec::Vec;
use core::fmt;

use super::accept::Accepted;
use super::sign::LocalKey;
use crate::address::Address;
use crate::layout::{Digest, Ticket};
use crate::nonces::NONCES_MAX;
use crate::signature::Signature;
use crate::wire::{Payment, PriceInfo};

/// A set of parameters, and how far its nonces are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentSession {
    sender: Address,
    accepted: Accepted,
    price: PriceInfo,
    nonce: u32,
}

/// So many tickets cannot be made under these parameters any more: ask for new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted {
    /// How many can.
    pub left: u32,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "these ticket params are good for {} more tickets: ask for new ones",
            self.left
        )
    }
}

impl core::error::Error for Exhausted {}

impl PaymentSession {
    /// At the price that came with the parameters.
    #[must_use]
    pub const fn new(sender: Address, accepted: Accepted, price: PriceInfo) -> Self {
        Self::resumed(sender, accepted, price, 0)
    }

    /// One whose nonces up to `nonce` are used: a remote signer remembers nothing but that.
    #[must_use]
    pub const fn resumed(
        sender: Address,
        accepted: Accepted,
        price: PriceInfo,
        nonce: u32,
    ) -> Self {
        Self {
            sender,
            accepted,
            price,
            nonce,
        }
    }

    /// Goes on under new parameters; if they are the old ones, their nonces go on too. go-livepeer starts again at 1, and the
    /// orchestrator has seen that one.
    pub fn renew(&mut self, accepted: Accepted, price: PriceInfo) {
        if accepted.params().recipient_rand_hash != self.accepted.params().recipient_rand_hash {
            self.nonce = 0;
        }
        self.accepted = accepted;
        self.price = price;
    }

    /// The parameters.
    #[must_use]
    pub const fn accepted(&self) -> &Accepted {
        &self.accepted
    }

    /// The nonce that was used last; 0 before the first.
    #[must_use]
    pub const fn nonce(&self) -> u32 {
        self.nonce
    }

    /// How many tickets can still be made: orchestrators take 600 nonces under a set of parameters.
    #[must_use]
    pub const fn left(&self) -> u32 {
        NONCES_MAX.saturating_sub(self.nonce)
    }

    /// The next tickets. Their nonces are used from now on.
    ///
    /// # Errors
    /// There are not as many left, and none is used.
    pub fn tickets(&mut self, count: u32) -> Result<Unsigned, Exhausted> {
        if count > self.left() {
            return Err(Exhausted { left: self.left() });
        }
        let params = self.accepted.params();
        let ticket = Ticket {
            recipient: params.recipient,
            sender: self.sender,
            face_value: params.face_value,
            win_prob: params.win_prob,
            sender_nonce: 0,
            recipient_rand_hash: params.recipient_rand_hash,
            // Accepted ones are positive, or worth nothing and in no round.
            creation_round: params.creation_round.unsigned_abs(),
            creation_round_block_hash: params.creation_round_block_hash,
        };
        let nonces = self.nonce + 1..=self.nonce + count;
        self.nonce += count;
        Ok(Unsigned {
            sender: self.sender,
            accepted: self.accepted,
            price: self.price,
            tickets: nonces
                .map(|sender_nonce| {
                    (
                        sender_nonce,
                        Ticket {
                            sender_nonce,
                            ..ticket
                        }
                        .digest(),
                    )
                })
                .collect(),
        })
    }
}

/// Tickets to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsigned {
    sender: Address,
    accepted: Accepted,
    price: PriceInfo,
    tickets: Vec<(u32, Digest)>,
}

impl Unsigned {
    /// Nonces, and what is to be signed for each.
    #[must_use]
    pub fn tickets(&self) -> &[(u32, Digest)] {
        &self.tickets
    }

    /// Appends the payment's message, signed by a key at hand.
    pub fn write_signed(&self, key: &LocalKey, into: &mut Vec<u8>) {
        let signed: Vec<_> = self
            .tickets
            .iter()
            .map(|(nonce, digest)| (*nonce, key.sign(digest)))
            .collect();
        self.write(&signed, into);
    }

    /// Appends the payment's message, with signatures from elsewhere.
    pub fn write(&self, signed: &[(u32, Signature)], into: &mut Vec<u8>) {
        let payment = Payment {
            params: Some(self.accepted.params()),
            sender: self.sender,
            expected_price: Some(self.price),
            tickets: signed,
        };
        payment.write(into);
    }
}
