//! A payment that has arrived: well formed, and nothing more.
//!
//! It owns its bytes and stays in them. Whatever we could never have issued is refused here, so that all later fields have the width
//! they have in the MAC.
//!
//! ```text
//!   Blank: memory for one ──parse──▶ Received ──Secret::open──▶ Opened        the same box all the way, and back again
//!       ▲                               └────────────┬─────────────┘
//!       └───────────────────────────── into_blank ◀──┘
//! ```
//!
//! A payment crosses threads and waits in queues, so it is a pointer: it is written once, and read where it lies.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use crate::address::{Address, Hash};
use crate::amount::{ExpectedValue, Wei};
use crate::price::{Price, PriceFault};
use crate::refusal::Refusal;
use crate::secret::Terms;
use crate::session::SessionId;
use crate::signature::Signature;
use crate::wire::{Malformed, PaymentView, TicketParams, Tickets};

/// A payment with at least one ticket.
pub struct Received(Box<Form>);

/// A payment's memory.
pub struct Blank(Box<Form>);

/// What is known of a payment, as far as it has come.
pub(crate) struct Form {
    bytes: Vec<u8>,
    pub(crate) terms: Terms,
    account: SessionId,
    pub(crate) rand_hash: Hash,
    tickets: u32,
    /// Once it is opened.
    pub(crate) recipient_rand: [u8; 32],
    /// What each ticket is worth, once it is opened.
    pub(crate) value: ExpectedValue,
}

/// What some bytes amount to. All give the memory back, so that it can be filled again.
#[derive(Debug)]
pub enum Parsed {
    /// A payment.
    Payment(Received),
    /// A payment of nothing, as gateways send when they have credit left.
    Nothing(Blank),
    /// No payment that can be taken.
    Refused(Blank, Fault),
}

impl Blank {
    /// Where a payment's bytes are put before it is parsed.
    pub const fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.0.bytes
    }
}

impl Default for Blank {
    fn default() -> Self {
        Self::from(Vec::new())
    }
}

impl From<Vec<u8>> for Blank {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Box::new(Form {
            bytes,
            terms: Terms::NONE,
            account: SessionId::NONE,
            rand_hash: Hash([0; 32]),
            tickets: 0,
            recipient_rand: [0; 32],
            value: ExpectedValue::of(Wei::ZERO, Wei::ZERO),
        }))
    }
}

impl fmt::Debug for Blank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blank")
    }
}

/// Why bytes are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// They are no payment.
    Malformed(Malformed),
    /// They are one that nobody can take.
    Refused(Refusal),
}

impl Fault {
    /// The HTTP status that goes with it: 402 for what is no payment, as go-livepeer has it.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed(_) => 402,
            Self::Refused(why) => why.status(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(how) => write!(f, "invalid payment: {how}"),
            Self::Refused(why) => why.fmt(f),
        }
    }
}

impl core::error::Error for Fault {}

/// One ticket of a payment: its nonce, and its signature if it has the form of one.
pub type Slip = (u32, Option<Signature>);

impl Received {
    /// Of a message's bytes. `session` is what the parameters have to have been offered for, `account` the name of the sender's account
    /// that is to be credited. Often they are the same; a live stream pays into its manifest's account, under parameters that were offered
    /// before it had one.
    #[must_use]
    pub fn parse(bytes: impl Into<Blank>, session: SessionId, account: SessionId) -> Parsed {
        let Blank(mut form) = bytes.into();
        match read(&form.bytes, session) {
            Err(fault) => Parsed::Refused(Blank(form), fault),
            Ok(None) => Parsed::Nothing(Blank(form)),
            Ok(Some((terms, rand_hash, tickets))) => {
                form.terms = terms;
                (form.account, form.rand_hash, form.tickets) = (account, rand_hash, tickets);
                Parsed::Payment(Self(form))
            }
        }
    }

    /// Who claims to have sent it.
    #[must_use]
    pub const fn sender(&self) -> &Address {
        &self.0.terms.sender
    }

    /// What it claims that we offered.
    #[must_use]
    pub const fn terms(&self) -> &Terms {
        &self.0.terms
    }

    /// The name of the account that it pays into.
    #[must_use]
    pub const fn account(&self) -> SessionId {
        self.0.account
    }

    /// The commitment that it claims to pay under.
    #[must_use]
    pub const fn rand_hash(&self) -> &Hash {
        &self.0.rand_hash
    }

    /// How many tickets there are; at least one.
    #[must_use]
    pub const fn tickets(&self) -> u32 {
        self.0.tickets
    }

    /// Its tickets in their order, from where a cursor stands; it moves behind what was read.
    pub fn slips<'a>(&'a self, cursor: &'a mut Cursor) -> impl Iterator<Item = Slip> + 'a {
        let bytes = &self.0.bytes;
        let mut tickets = Tickets::of_checked(&bytes[cursor.at..]);
        core::iter::from_fn(move || {
            let ticket = tickets.next()?;
            cursor.at = bytes.len() - tickets.left();
            Some((ticket.sender_nonce, Signature::parse(ticket.signature).ok()))
        })
    }

    /// Its memory, to be filled again.
    #[must_use]
    pub fn into_blank(mut self) -> Blank {
        self.0.bytes.clear();
        Blank(self.0)
    }

    pub(crate) fn form(&mut self) -> &mut Form {
        &mut self.0
    }

    pub(crate) const fn as_form(&self) -> &Form {
        &self.0
    }
}

/// How far the tickets of a payment have been read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cursor {
    at: usize,
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("sender", &self.0.terms.sender)
            .field("session", &self.0.terms.session)
            .field("tickets", &self.0.tickets)
            .finish_non_exhaustive()
    }
}

type Read = Option<(Terms, Hash, u32)>;

fn read(bytes: &[u8], session: SessionId) -> Result<Read, Fault> {
    let view = PaymentView::parse(bytes).map_err(Fault::Malformed)?;
    if view.tickets == 0 {
        return Ok(None);
    }
    let params = view.params.ok_or(Fault::Refused(Refusal::NoParams))?;
    let terms = terms(&view, &params, session).map_err(Fault::Refused)?;
    Ok(Some((terms, params.recipient_rand_hash, view.tickets)))
}

fn terms(
    view: &PaymentView<'_>,
    params: &TicketParams,
    session: SessionId,
) -> Result<Terms, Refusal> {
    if !view.has_expiration {
        return Err(Refusal::NoExpiration);
    }
    if view.sender == Address::ZERO {
        return Err(Refusal::Sender);
    }
    let price = view
        .expected_price
        .ok_or(Refusal::Price(PriceFault::NoPixels))?;
    Ok(Terms {
        recipient: params.recipient,
        sender: view.sender,
        session,
        price: Price::new(price.price_per_unit, price.pixels_per_unit).map_err(Refusal::Price)?,
        face_value: params.face_value,
        win_prob: params.win_prob,
        seed: params.seed,
        // We name blocks with 64 bits; who names one beyond does not repeat what we said.
        expiration_block: params
            .expiration_block
            .try_into()
            .map_err(|_| Refusal::Rand)?,
        creation_round: match u64::try_from(params.creation_round) {
            Ok(round) if round > 0 => round,
            _ => return Err(Refusal::Round),
        },
        creation_round_block_hash: params.creation_round_block_hash,
    })
}
