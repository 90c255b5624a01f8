//! The batch check: from payments that arrived to tickets that are authentic, and among them those that win.
//!
//! ```text
//!   Received ──open──▶ Opened ──prove──▶ Authentic ──winning──▶ Winning
//!             MAC            hash, digest,          draw
//!                            signature
//! ```
//!
//! Whatever is hashed is hashed in batches, since a vector unit does eight for the price of one. What is the same for all tickets of a
//! payment (MAC, value, all of the ticket's bytes but the nonce) is computed once a payment.
//!
//! Invariants:
//! - Signatures are looked at only under parameters that are ours, so that nobody makes us work for parameters he made up.
//! - Nothing is taken from the heap once the buffers have grown to the largest batch.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use crate::address::{Address, Hash};
use crate::keccak::keccak256_many;
use crate::layout::{self, DigestBytes, DrawBytes, FLAT_BYTES, Flat};
use crate::received::Received;
use crate::refusal::Refusal;
use crate::secret::{self, Opened, Opening, Secret};
use crate::signature::Signature;
use crate::verify::{Claim, Verifier};

/// See the module.
pub struct Check {
    recipient: Address,
    secret: Secret,
    verifier: Box<dyn Verifier>,
    scratch: Scratch,
}

#[derive(Default)]
struct Scratch {
    opening: secret::Scratch,
    tickets: Vec<[u8; FLAT_BYTES]>,
    prefixed: Vec<DigestBytes>,
    hashes: Vec<[u8; 32]>,
    digests: Vec<[u8; 32]>,
    claims: Vec<Claim>,
    genuine: Vec<bool>,
    draw_bytes: Vec<DrawBytes>,
    draws: Vec<[u8; 32]>,
}

/// One ticket to be proven.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The parameters it was made under.
    pub opened: &'a Opened,
    /// Its nonce.
    pub nonce: u32,
    /// Its signature.
    pub signature: Signature,
}

/// A ticket that its sender signed, under parameters of ours. Only [`Check::prove`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authentic {
    rand_hash: Hash,
    nonce: u32,
    signature: Signature,
    has_won: bool,
}

/// An authentic ticket that wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Winning(Authentic);

impl Check {
    /// For one recipient, with its secret.
    #[must_use]
    pub fn new(recipient: Address, secret: Secret, verifier: Box<dyn Verifier>) -> Self {
        Self {
            recipient,
            secret,
            verifier,
            scratch: Scratch::default(),
        }
    }

    /// Who verifies.
    #[must_use]
    pub fn verifier_name(&self) -> &'static str {
        self.verifier.name()
    }

    /// How many times the work of a known sender's ticket one of this sender's takes.
    #[must_use]
    pub fn effort(&self, sender: &Address) -> u32 {
        self.verifier.effort(sender)
    }

    /// Which payments come back under parameters that are ours, in their order; appended. None is left in `payments`.
    pub fn open(&mut self, payments: &mut Vec<Received>, opened: &mut Vec<Opening>) {
        let Self {
            recipient,
            secret,
            verifier,
            scratch,
        } = self;
        secret.open(
            recipient,
            &mut **verifier,
            payments,
            &mut scratch.opening,
            opened,
        );
    }

    /// Which tickets their senders signed, in their order; appended.
    pub fn prove<'a>(
        &mut self,
        asked: impl Iterator<Item = Asked<'a>> + Clone,
        proven: &mut Vec<Result<Authentic, Refusal>>,
    ) {
        self.hash(asked.clone());
        let Scratch {
            digests,
            claims,
            genuine,
            ..
        } = &mut self.scratch;
        claims.clear();
        claims.extend(asked.clone().zip(&*digests).map(|(asked, digest)| Claim {
            digest: layout::Digest(*digest),
            signature: asked.signature,
            sender: asked.opened.terms().sender,
        }));
        genuine.clear();
        self.verifier.verify(claims, genuine);
        self.draw(asked.clone());
        let Scratch { genuine, draws, .. } = &self.scratch;
        let mut draws = draws.iter();
        proven.extend(asked.zip(genuine).map(|(asked, is_genuine)| {
            if !is_genuine {
                return Err(Refusal::Signature);
            }
            Ok(Authentic {
                rand_hash: *asked.opened.rand_hash(),
                nonce: asked.nonce,
                signature: asked.signature,
                has_won: draws
                    .next()
                    .is_some_and(|draw| layout::wins(draw, asked.opened.terms().win_prob)),
            })
        }));
    }

    fn hash<'a>(&mut self, asked: impl Iterator<Item = Asked<'a>>) {
        let Scratch {
            tickets,
            prefixed,
            hashes,
            digests,
            ..
        } = &mut self.scratch;
        tickets.clear();
        let mut last: Option<(&Opened, Flat)> = None;
        for Asked { opened, nonce, .. } in asked {
            let mut flat = match last {
                Some((of, flat)) if core::ptr::eq(of, opened) => flat,
                _ => opened.ticket(nonce).flatten(),
            };
            flat.set_nonce(nonce);
            last = Some((opened, flat));
            // What is received has a creation round, so it is never shorter.
            tickets.push(*flat.padded());
        }
        hashes.resize(tickets.len(), [0; 32]);
        digests.resize(tickets.len(), [0; 32]);
        keccak256_many(
            &mut *self.verifier,
            FLAT_BYTES,
            tickets.as_flattened(),
            hashes,
        );
        layout::Digest::of_hashes(&mut *self.verifier, hashes, prefixed, digests);
    }

    /// Draws the genuine ones.
    fn draw<'a>(&mut self, asked: impl Iterator<Item = Asked<'a>>) {
        let Scratch {
            genuine,
            draw_bytes,
            draws,
            ..
        } = &mut self.scratch;
        draw_bytes.clear();
        let genuine = asked.zip(&*genuine).filter(|(_, is_genuine)| **is_genuine);
        draw_bytes.extend(
            genuine.map(|(asked, _)| {
                layout::draw_bytes(&asked.signature, asked.opened.recipient_rand())
            }),
        );
        draws.resize(draw_bytes.len(), [0; 32]);
        layout::draw_many(&mut *self.verifier, draw_bytes, draws);
    }
}

impl Authentic {
    /// The commitment it was made under.
    #[must_use]
    pub const fn rand_hash(&self) -> &Hash {
        &self.rand_hash
    }

    /// Its nonce.
    #[must_use]
    pub const fn nonce(&self) -> u32 {
        self.nonce
    }

    /// Itself, if it wins.
    #[must_use]
    pub fn winning(&self) -> Option<Winning> {
        self.has_won.then_some(Winning(*self))
    }
}

impl Winning {
    /// Its nonce.
    #[must_use]
    pub const fn nonce(&self) -> u32 {
        self.0.nonce
    }

    /// Its signature.
    #[must_use]
    pub const fn signature(&self) -> &Signature {
        &self.0.signature
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("recipient", &self.recipient)
            .field("verifier", &self.verifier.name())
            .finish_non_exhaustive()
    }
}
