//! What a gateway is told: ticket parameters, at our price, for its session.
//!
//! An offer costs the chain nothing and leaves nothing behind: what it says comes back in the payment, and the MAC in it proves it ours.
//! It is made on whichever thread answers, a shard's included, and never blocks.

use std::fmt;
use std::sync::{Arc, OnceLock};

use link::{Chain, Receipt};
use ticket::amount::Wei;
use ticket::offer::{self, NoOffer, Policy};
use ticket::wire::{PriceInfo, TicketParams, put_bytes, put_message};
use ticket::{Address, Price, Secret, SessionId};

use crate::world::World;

/// See the module.
pub struct Offers {
    policy: Policy,
    price: Price,
    secret: Secret,
    chain: Arc<dyn Chain>,
    world: Arc<dyn World>,
    service_url: OnceLock<Box<str>>,
}

/// Why there is no offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unoffered {
    /// See [`NoOffer`].
    No(NoOffer),
    /// Nothing is known of the sender's funds yet.
    SenderUnknown,
    /// The system gives no randomness.
    NoChance,
}

impl Unoffered {
    /// The HTTP status that goes with it.
    pub const fn status(self) -> u16 {
        match self {
            Self::No(NoOffer::Reserve) => 400,
            Self::No(NoOffer::NoRound) | Self::SenderUnknown => 503,
            Self::NoChance => 500,
        }
    }
}

impl fmt::Display for Unoffered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No(why) => why.fmt(f),
            Self::SenderUnknown => {
                f.write_str("the sender's deposit and reserve are not known yet; ask again")
            }
            Self::NoChance => f.write_str("the system has no randomness to give"),
        }
    }
}

impl std::error::Error for Unoffered {}

/// An offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// What tickets are to be made under.
    pub params: TicketParams,
    /// The price that they are told to pay at.
    pub price: Price,
}

impl Offers {
    /// Offers of one recipient, at one price.
    pub fn new(
        policy: Policy,
        price: Price,
        secret: Secret,
        chain: Arc<dyn Chain>,
        world: Arc<dyn World>,
    ) -> Self {
        Self {
            policy,
            price,
            secret,
            chain,
            world,
            service_url: OnceLock::new(),
        }
    }

    /// Says where this node is reached: scheme, host and port. The first word counts.
    pub fn reached_at(&self, service_url: &str) {
        let _said_before = self.service_url.set(service_url.into());
    }

    /// An offer to a sender for a session. `price` is the account's, if it has one already; `pending` are the sender's winners that are
    /// not settled, in wei.
    ///
    /// # Errors
    /// See [`Unoffered`].
    pub fn make(
        &self,
        sender: Address,
        session: SessionId,
        price: Option<Price>,
        pending: Wei,
    ) -> Result<Offer, Unoffered> {
        let price = price.unwrap_or(self.price);
        let funds = self.chain.funds(&sender).ok_or(Unoffered::SenderUnknown)?;
        let mut seed = [0; 32];
        self.world
            .fill(&mut seed)
            .map_err(|_| Unoffered::NoChance)?;
        let head = self.chain.head();
        let terms = offer::quote(
            &self.policy,
            &head,
            (&funds, pending),
            (sender, session, price),
            seed,
        )
        .map_err(Unoffered::No)?;
        Ok(Offer {
            params: self.secret.offer(&terms),
            price,
        })
    }

    /// Appends the answer to a payment, `PaymentResult`, with an offer for the next one. A sender for whom there is none just now gets
    /// the price alone.
    pub fn write_result(&self, receipt: &Receipt, body: &mut Vec<u8>) {
        let offer = self.make(
            receipt.sender,
            receipt.session,
            receipt.price,
            receipt.pending,
        );
        let price = receipt.price.unwrap_or(self.price);
        put_message(body, 16, |info| {
            self.write_info(offer.ok().as_ref(), price, info)
        });
    }

    /// Appends an `OrchestratorInfo`, as far as payments go: 1 transcoder, 2 ticket parameters, 3 price, 4 address.
    pub fn write_info(&self, offer: Option<&Offer>, price: Price, into: &mut Vec<u8>) {
        if let Some(url) = self.service_url.get() {
            put_bytes(into, 1, url.as_bytes());
        }
        if let Some(offer) = offer {
            put_message(into, 2, |into| offer.params.write(into));
        }
        let (price_per_unit, pixels_per_unit) = price.to_wire();
        let info = PriceInfo {
            price_per_unit,
            pixels_per_unit,
        };
        put_message(into, 3, |into| info.write(into));
        put_bytes(into, 4, &self.policy.recipient.0);
    }
}

impl fmt::Debug for Offers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offers")
            .field("policy", &self.policy)
            .field("price", &self.price)
            .finish_non_exhaustive()
    }
}
