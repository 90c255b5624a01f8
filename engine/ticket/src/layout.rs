//! A ticket's bytes: what is signed, and what decides whether it wins.
//!
//! ```text
//!   offset  0         20      40          72        104     136                 168            200
//!           recipient sender  face value  win prob  nonce   recipient rand hash creation round block hash
//!   bytes   20        20      32          32        32      32                  32             32
//! ```
//!
//! The last two are absent when both are zero (`auxData` is empty); the contract takes no such ticket, but it has a hash.
//! Source: the deployed TicketBroker's `getTicketHash`, which gives the same for every vector in `tests/`.

use crate::address::{Address, Hash};
use crate::amount::Wei;
use crate::keccak::{Permute, keccak256, keccak256_many};
use crate::signature::Signature;

/// Bytes of a ticket with a creation round.
pub const FLAT_BYTES: usize = 232;
/// Bytes of one without.
pub const FLAT_BYTES_BARE: usize = 168;
/// Where the nonce is: all that differs between the tickets of one payment.
const NONCE_AT: usize = 104;

/// EIP-191's prefix for 32 bytes.
const EIP191: &[u8; 28] = b"\x19Ethereum Signed Message:\n32";
const DIGEST_BYTES: usize = EIP191.len() + 32;
/// Bytes that are hashed to draw a ticket: signature and recipient rand.
const DRAW_BYTES: usize = Signature::BYTES + 32;

/// A ticket as both sides see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// Who is paid.
    pub recipient: Address,
    /// Who pays.
    pub sender: Address,
    /// What a winner is worth.
    pub face_value: Wei,
    /// In parts of 2^256 − 1.
    pub win_prob: Wei,
    /// Tells the tickets of one set of parameters apart.
    pub sender_nonce: u32,
    /// The keccak256 of the recipient's secret number.
    pub recipient_rand_hash: Hash,
    /// The round in which the parameters were made.
    pub creation_round: u64,
    /// The hash of that round's block.
    pub creation_round_block_hash: Hash,
}

/// A ticket's bytes.
#[derive(Clone, Copy)]
pub struct Flat {
    bytes: [u8; FLAT_BYTES],
    length: usize,
}

impl Flat {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// With zeros behind a bare one.
    pub(crate) const fn padded(&self) -> &[u8; FLAT_BYTES] {
        &self.bytes
    }

    /// Makes it the ticket with another nonce.
    pub fn set_nonce(&mut self, nonce: u32) {
        self.bytes[NONCE_AT..NONCE_AT + 32].copy_from_slice(&word(u64::from(nonce)));
    }
}

impl Ticket {
    /// Its bytes.
    #[must_use]
    pub fn flatten(&self) -> Flat {
        let mut bytes = [0; FLAT_BYTES];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        };
        put(&self.recipient.0);
        put(&self.sender.0);
        put(&self.face_value.to_be_bytes::<32>());
        put(&self.win_prob.to_be_bytes::<32>());
        put(&word(u64::from(self.sender_nonce)));
        put(&self.recipient_rand_hash.0);
        if self.creation_round != 0 || self.creation_round_block_hash != Hash::ZERO {
            put(&word(self.creation_round));
            put(&self.creation_round_block_hash.0);
        }
        Flat { bytes, length: at }
    }

    /// The keccak256 of its bytes.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash(keccak256(self.flatten().as_bytes()))
    }

    /// What is signed.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of_hash(&self.hash())
    }
}

/// What is signed: the keccak256 of a hash behind EIP-191's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Of a ticket's hash, or another.
    #[must_use]
    pub fn of_hash(hash: &Hash) -> Self {
        Self(keccak256(&prefixed(&hash.0)))
    }

    /// Of a text, or of any bytes: of their keccak256. Requests to an orchestrator, segments and pings are signed like that.
    #[must_use]
    pub fn of_text(text: &[u8]) -> Self {
        Self::of_hash(&Hash(keccak256(text)))
    }

    /// Of each of many.
    pub(crate) fn of_hashes(
        by: &mut (impl Permute + ?Sized),
        hashes: &[[u8; 32]],
        scratch: &mut alloc::vec::Vec<[u8; DIGEST_BYTES]>,
        digests: &mut [[u8; 32]],
    ) {
        scratch.clear();
        scratch.extend(hashes.iter().map(prefixed));
        keccak256_many(by, DIGEST_BYTES, scratch.as_flattened(), digests);
    }
}

/// Bytes whose keccak256, as a number, is compared with the win probability.
#[must_use]
pub(crate) fn draw_bytes(signature: &Signature, recipient_rand: &[u8; 32]) -> [u8; DRAW_BYTES] {
    let mut bytes = [0; DRAW_BYTES];
    let (front, rand) = bytes.split_at_mut(Signature::BYTES);
    front.copy_from_slice(&signature.to_bytes());
    rand.copy_from_slice(recipient_rand);
    bytes
}

/// Whether a ticket with that draw wins: strictly below, so that probability 0 never does.
#[must_use]
pub fn wins(draw: &[u8; 32], win_prob: Wei) -> bool {
    Wei::from_be_bytes(*draw) < win_prob
}

/// The draw of one ticket.
#[must_use]
pub fn draw(signature: &Signature, recipient_rand: &[u8; 32]) -> [u8; 32] {
    keccak256(&draw_bytes(signature, recipient_rand))
}

/// The draws of many; `bytes` is scratch, filled by [`draw_bytes`].
pub(crate) fn draw_many(
    by: &mut (impl Permute + ?Sized),
    bytes: &[[u8; DRAW_BYTES]],
    draws: &mut [[u8; 32]],
) {
    keccak256_many(by, DRAW_BYTES, bytes.as_flattened(), draws);
}

pub(crate) type DrawBytes = [u8; DRAW_BYTES];
pub(crate) type DigestBytes = [u8; DIGEST_BYTES];

fn prefixed(hash: &[u8; 32]) -> [u8; DIGEST_BYTES] {
    let mut bytes = [0; DIGEST_BYTES];
    let (front, rest) = bytes.split_at_mut(EIP191.len());
    front.copy_from_slice(EIP191);
    rest.copy_from_slice(hash);
    bytes
}

/// A number as a word of the EVM.
fn word(value: u64) -> [u8; 32] {
    Wei::from(value).to_be_bytes()
}
