//! What the journal keeps: operations, as few bytes each as they need.
//!
//! An entry is one batch's. It begins with a version, and each operation with its kind; numbers are LEB128. A credit takes four to
//! eight bytes, a winner some seventy.

use alloc::vec::Vec;
use core::fmt;

use crate::address::{Address, Hash};
use crate::amount::Wei;
use crate::price::Price;
use crate::session::SessionId;
use crate::signature::Signature;

/// A change of a book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// An L1 block was seen.
    Block {
        /// Which.
        block: u64,
    },
    /// An account was opened.
    Account {
        /// Where.
        slot: u32,
        /// Who pays.
        sender: Address,
        /// Its name.
        name: SessionId,
        /// At what price.
        price: Price,
    },
    /// The first ticket under a set of parameters came.
    Commitment {
        /// Where it is kept.
        slot: u32,
        /// Who pays under it.
        sender: Address,
        /// The hash of the secret number.
        rand_hash: Hash,
        /// The secret number.
        recipient_rand: [u8; 32],
        /// What a winner is worth.
        face_value: Wei,
        /// In parts of 2^256 − 1.
        win_prob: Wei,
        /// When it expires.
        expiration_block: u64,
        /// The round in which it was made.
        creation_round: u64,
        /// The hash of that round's block.
        creation_round_block_hash: Hash,
    },
    /// A ticket was credited.
    Credit {
        /// The slot of its commitment.
        commitment: u32,
        /// The slot of the account that it was credited to.
        account: u32,
        /// Its nonce.
        nonce: u32,
    },
    /// A ticket that was credited has won.
    Win {
        /// The slot of its commitment.
        commitment: u32,
        /// Its nonce.
        nonce: u32,
        /// Its signature.
        signature: Signature,
    },
    /// Pixels were taken.
    Debit {
        /// The slot of the account.
        account: u32,
        /// How many.
        pixels: u64,
    },
}

const VERSION: u8 = 1;

/// Operations in the order in which they happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    bytes: Vec<u8>,
}

impl Default for Entry {
    fn default() -> Self {
        Self::within(Vec::new())
    }
}

impl Entry {
    /// An empty one, in a buffer whose content is given up.
    #[must_use]
    pub fn within(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.push(VERSION);
        Self { bytes: buffer }
    }

    /// Whether nothing happened.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.len() <= 1
    }

    /// For storage.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// For storage, and then for [`within`](Self::within).
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Its operations.
    ///
    /// # Errors
    /// Each for itself; none follows an error.
    #[must_use]
    pub fn ops(&self) -> Ops<'_> {
        Ops::of(&self.bytes)
    }

    /// Appends an operation.
    pub fn push(&mut self, op: &Op) {
        let mut write = Writer(&mut self.bytes);
        match op {
            Op::Block { block } => write.kind(0).number(*block),
            Op::Account {
                slot,
                sender,
                name,
                price,
            } => {
                let name = name.as_str().as_bytes();
                write.kind(1).slot(*slot).bytes(&sender.0);
                write.number(name.len() as u64).bytes(name);
                write.number(price.wei()).number(price.pixels())
            }
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
            } => {
                write
                    .kind(2)
                    .slot(*slot)
                    .bytes(&sender.0)
                    .bytes(&rand_hash.0)
                    .bytes(recipient_rand);
                write
                    .bytes(&face_value.to_be_bytes::<32>())
                    .bytes(&win_prob.to_be_bytes::<32>());
                write
                    .number(*expiration_block)
                    .number(*creation_round)
                    .bytes(&creation_round_block_hash.0)
            }
            Op::Credit {
                commitment,
                account,
                nonce,
            } => write.kind(3).slot(*commitment).slot(*account).slot(*nonce),
            Op::Win {
                commitment,
                nonce,
                signature,
            } => write
                .kind(4)
                .slot(*commitment)
                .slot(*nonce)
                .bytes(&signature.to_bytes()),
            Op::Debit { account, pixels } => write.kind(5).slot(*account).number(*pixels),
        };
    }
}

struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    fn kind(&mut self, kind: u8) -> &mut Self {
        self.bytes(&[kind])
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn slot(&mut self, slot: u32) -> &mut Self {
        self.number(u64::from(slot))
    }

    fn number(&mut self, mut number: u64) -> &mut Self {
        while number > 0x7f {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push((number & 0x7f) as u8);
        self
    }
}

/// The operations of an entry's bytes.
#[derive(Debug, Clone)]
pub struct Ops<'a> {
    rest: &'a [u8],
    is_over: bool,
}

/// The bytes are no entry that this version can have written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an entry of the journal cannot be read: it is damaged, or a newer version wrote it",
        )
    }
}

impl core::error::Error for Unreadable {}

impl<'a> Ops<'a> {
    /// Of bytes from storage.
    #[must_use]
    pub const fn of(bytes: &'a [u8]) -> Self {
        match bytes.split_first() {
            Some((&VERSION, rest)) => Self {
                rest,
                is_over: false,
            },
            // Nothing can be read, and that is said once.
            _ => Self {
                rest: &[u8::MAX],
                is_over: false,
            },
        }
    }

    fn read(&mut self) -> Option<Op> {
        let [kind] = self.array()?;
        Some(match kind {
            0 => Op::Block {
                block: self.number()?,
            },
            1 => Op::Account {
                slot: self.slot()?,
                sender: Address(self.array()?),
                name: {
                    let length = usize::try_from(self.number()?).ok()?;
                    SessionId::new(core::str::from_utf8(self.take(length)?).ok()?)?
                },
                price: {
                    let mut part = || i64::try_from(self.number()?).ok();
                    Price::new(part()?, part()?).ok()?
                },
            },
            2 => Op::Commitment {
                slot: self.slot()?,
                sender: Address(self.array()?),
                rand_hash: Hash(self.array()?),
                recipient_rand: self.array()?,
                face_value: Wei::from_be_bytes(self.array::<32>()?),
                win_prob: Wei::from_be_bytes(self.array::<32>()?),
                expiration_block: self.number()?,
                creation_round: self.number()?,
                creation_round_block_hash: Hash(self.array()?),
            },
            3 => Op::Credit {
                commitment: self.slot()?,
                account: self.slot()?,
                nonce: self.slot()?,
            },
            4 => Op::Win {
                commitment: self.slot()?,
                nonce: self.slot()?,
                signature: Signature::parse(self.take(Signature::BYTES)?).ok()?,
            },
            5 => Op::Debit {
                account: self.slot()?,
                pixels: self.number()?,
            },
            _ => return None,
        })
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn slot(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

impl Iterator for Ops<'_> {
    type Item = Result<Op, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over || self.rest.is_empty() {
            return None;
        }
        let op = self.read().ok_or(Unreadable);
        self.is_over = op.is_err();
        Some(op)
    }
}
