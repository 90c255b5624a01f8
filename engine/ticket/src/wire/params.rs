//! `TicketParams`, `TicketExpirationParams` and `PriceInfo`.
//!
//! ```text
//!   TicketParams            1 recipient  2 face_value  3 win_prob  4 recipient_rand_hash  5 seed  6 expiration_block   (bytes)
//!                           7 TicketExpirationParams; absent in payments, where it stands beside them
//!   TicketExpirationParams  1 creation_round (int64)  2 creation_round_block_hash (bytes)
//!   PriceInfo               1 pricePerUnit  2 pixelsPerUnit (int64)
//! ```

use alloc::vec::Vec;

use super::reader::{Malformed, Reader};
use super::writer::{put_bytes, put_int64, put_message};
use crate::address::{Address, Hash};
use crate::amount::{MinBytes, Wei};

/// Parameters for tickets, as an orchestrator offers them. What a claim of such is worth, only [`crate::Secret`] can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TicketParams {
    /// Who is to be paid.
    pub recipient: Address,
    /// What a winner is worth.
    pub face_value: Wei,
    /// In parts of 2^256 − 1.
    pub win_prob: Wei,
    /// The keccak256 of the recipient's secret number.
    pub recipient_rand_hash: Hash,
    /// What the secret number is made from, with the recipient's key.
    pub seed: Wei,
    /// The L1 block from which on such tickets are refused.
    pub expiration_block: Wei,
    /// The round in which they were made; 0 or less, with a zero hash, for none.
    pub creation_round: i64,
    /// The hash of that round's block.
    pub creation_round_block_hash: Hash,
}

/// A price as it is sent; see [`crate::Price`] for what it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PriceInfo {
    /// Wei.
    pub price_per_unit: i64,
    /// Pixels.
    pub pixels_per_unit: i64,
}

impl TicketParams {
    /// Of the message's bytes, its expiration parameters within it.
    ///
    /// # Errors
    /// The bytes are no such message.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut params = Self::default();
        let mut expiration = None;
        params.read(bytes, &mut expiration)?;
        if let Some(bytes) = expiration {
            params.read_expiration(bytes)?;
        }
        Ok(params)
    }

    /// Fields 1 to 6; the seventh is handed out.
    pub(super) fn read<'a>(
        &mut self,
        bytes: &'a [u8],
        expiration: &mut Option<&'a [u8]>,
    ) -> Result<(), Malformed> {
        let mut reader = Reader::new(bytes);
        while let Some(field) = reader.next()? {
            let integer = || {
                let bytes = field.bytes()?;
                MinBytes::parse(bytes).ok_or(Malformed::TooWide {
                    field: field.number,
                })
            };
            match field.number {
                1 => self.recipient = Address::from_wire(field.bytes()?),
                2 => self.face_value = integer()?,
                3 => self.win_prob = integer()?,
                4 => self.recipient_rand_hash = Hash::from_wire(field.bytes()?),
                5 => self.seed = integer()?,
                6 => self.expiration_block = integer()?,
                7 => field.once(expiration)?,
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn read_expiration(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(bytes);
        while let Some(field) = reader.next()? {
            match field.number {
                1 => self.creation_round = field.varint()?.cast_signed(),
                2 => self.creation_round_block_hash = Hash::from_wire(field.bytes()?),
                _ => {}
            }
        }
        Ok(())
    }

    /// Appends the message as an orchestrator sends it, expiration parameters within.
    pub fn write(&self, into: &mut Vec<u8>) {
        self.write_bare(into);
        put_message(into, 7, |into| self.write_expiration(into));
    }

    /// Appends fields 1 to 6, as they stand in a payment.
    pub(super) fn write_bare(&self, into: &mut Vec<u8>) {
        put_bytes(into, 1, &self.recipient.0);
        put_bytes(into, 2, MinBytes::of(self.face_value).as_bytes());
        put_bytes(into, 3, MinBytes::of(self.win_prob).as_bytes());
        put_bytes(into, 4, &self.recipient_rand_hash.0);
        put_bytes(into, 5, MinBytes::of(self.seed).as_bytes());
        put_bytes(into, 6, MinBytes::of(self.expiration_block).as_bytes());
    }

    pub(super) fn write_expiration(&self, into: &mut Vec<u8>) {
        put_int64(into, 1, self.creation_round);
        put_bytes(into, 2, &self.creation_round_block_hash.0);
    }
}

impl PriceInfo {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut price = Self::default();
        let mut reader = Reader::new(bytes);
        while let Some(field) = reader.next()? {
            match field.number {
                1 => price.price_per_unit = field.varint()?.cast_signed(),
                2 => price.pixels_per_unit = field.varint()?.cast_signed(),
                _ => {}
            }
        }
        Ok(price)
    }

    /// Appends the message.
    pub fn write(&self, into: &mut Vec<u8>) {
        put_int64(into, 1, self.price_per_unit);
        put_int64(into, 2, self.pixels_per_unit);
    }
}
