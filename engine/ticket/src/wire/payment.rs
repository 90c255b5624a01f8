//! `Payment`: parameters once, and any number of nonces with their signatures.
//!
//! ```text
//!   Payment             1 TicketParams  2 sender (bytes)  3 TicketExpirationParams  4 repeated TicketSenderParams  5 PriceInfo
//!   TicketSenderParams  1 sender_nonce (uint32)  2 sig (bytes)
//! ```
//!
//! Reading looks at every byte once, so that what comes out is well formed to its end; tickets are then read again one by one.

use super::params::{PriceInfo, TicketParams};
use super::reader::{Malformed, Reader};
use crate::address::Address;
use crate::nonces::NONCES_MAX;

/// A payment where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaymentView<'a> {
    /// Absent when nothing is paid.
    pub params: Option<TicketParams>,
    /// Who claims to pay.
    pub sender: Address,
    /// Whether expiration parameters were sent. go-livepeer crashes without them.
    pub has_expiration: bool,
    /// Absent when it was not sent.
    pub expected_price: Option<PriceInfo>,
    /// How many tickets there are.
    pub tickets: u32,
    bytes: &'a [u8],
}

/// A ticket's own part of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TicketView<'a> {
    /// Its nonce.
    pub sender_nonce: u32,
    /// Its signature, of any length.
    pub signature: &'a [u8],
}

impl<'a> PaymentView<'a> {
    /// # Errors
    /// The bytes are no such message, or hold more tickets than can be good.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (mut params, mut expiration, mut price) = (None, None, None);
        let mut view = Self {
            params: None,
            sender: Address::ZERO,
            has_expiration: false,
            expected_price: None,
            tickets: 0,
            bytes,
        };
        let mut reader = Reader::new(bytes);
        while let Some(field) = reader.next()? {
            match field.number {
                1 => field.once(&mut params)?,
                2 => view.sender = Address::from_wire(field.bytes()?),
                3 => field.once(&mut expiration)?,
                4 => {
                    TicketView::read(field.bytes()?)?;
                    view.tickets += 1;
                    if view.tickets > NONCES_MAX {
                        return Err(Malformed::TooManyTickets);
                    }
                }
                5 => field.once(&mut price)?,
                _ => {}
            }
        }
        view.has_expiration = expiration.is_some();
        if let Some(bytes) = params {
            let mut params = TicketParams::default();
            // Expiration parameters within the parameters are well formed or not, and in a payment mean nothing.
            let mut within = None;
            params.read(bytes, &mut within)?;
            TicketParams::default().read_expiration(within.unwrap_or_default())?;
            params.read_expiration(expiration.unwrap_or_default())?;
            view.params = Some(params);
        } else {
            TicketParams::default().read_expiration(expiration.unwrap_or_default())?;
        }
        view.expected_price = price.map(PriceInfo::read).transpose()?;
        Ok(view)
    }

    /// Its tickets, in their order.
    #[must_use]
    pub const fn tickets(&self) -> Tickets<'a> {
        Tickets::of_checked(self.bytes)
    }
}

/// The tickets of a payment that has been read before.
#[derive(Debug, Clone)]
pub struct Tickets<'a> {
    reader: Reader<'a>,
}

impl<'a> Tickets<'a> {
    /// Of a payment's bytes, which [`PaymentView::parse`] took. Of others, it stops where they stop making sense.
    pub(crate) const fn of_checked(bytes: &'a [u8]) -> Self {
        Self {
            reader: Reader::new(bytes),
        }
    }

    /// Bytes that have not been read.
    pub(crate) const fn left(&self) -> usize {
        self.reader.left()
    }
}

impl<'a> Iterator for Tickets<'a> {
    type Item = TicketView<'a>;

    fn next(&mut self) -> Option<TicketView<'a>> {
        while let Ok(Some(field)) = self.reader.next() {
            if field.number == 4 {
                return TicketView::read(field.bytes().ok()?).ok();
            }
        }
        None
    }
}

impl<'a> TicketView<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut ticket = Self::default();
        let mut reader = Reader::new(bytes);
        while let Some(field) = reader.next()? {
            match field.number {
                // A uint32 on the wire may be longer; it means its low 32 bits (the specification, "Updating a message type").
                #[allow(clippy::cast_possible_truncation)]
                1 => ticket.sender_nonce = field.varint()? as u32,
                2 => ticket.signature = field.bytes()?,
                _ => {}
            }
        }
        Ok(ticket)
    }
}
