//! What a gateway is told to pay: a price, and ticket parameters at that price, for its session.
//!
//! An offer costs the chain nothing and leaves nothing behind: what it says comes back in the payment, and the MAC in it proves it ours.
//! It is made on whichever thread answers, a shard's included, and never blocks.

use std::fmt;
use std::sync::Arc;

use link::Chain;
use proto::net::{self, Capabilities};
use ticket::amount::{MinBytes, Wei};
use ticket::offer::{self, NoOffer, Policy};
use ticket::wire::TicketParams;
use ticket::{Address, Price, Secret, SessionId};

use super::prices::{NoPrice, Overhead, Prices};
use crate::world::World;

/// See the module.
pub struct Offers {
    policy: Policy,
    prices: Prices,
    /// Whether prices are raised by what redeeming costs.
    auto_adjust: bool,
    secret: Secret,
    chain: Arc<dyn Chain>,
    world: Arc<dyn World>,
}

/// Why there is no offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unoffered {
    /// See [`NoOffer`].
    No(NoOffer),
    /// See [`NoPrice`].
    NoPrice(NoPrice),
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
            Self::NoChance | Self::NoPrice(_) => 500,
        }
    }
}

impl fmt::Display for Unoffered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No(why) => why.fmt(f),
            Self::NoPrice(why) => why.fmt(f),
            Self::SenderUnknown => {
                f.write_str("the sender's deposit and reserve are not known yet; ask again")
            }
            Self::NoChance => f.write_str("the system has no randomness to give"),
        }
    }
}

impl std::error::Error for Unoffered {}

impl Offers {
    /// Offers of one recipient. With `auto_adjust`, prices are raised by what redeeming costs, as far as face values do not cover it.
    pub fn new(
        policy: Policy,
        (prices, auto_adjust): (Prices, bool),
        secret: Secret,
        chain: Arc<dyn Chain>,
        world: Arc<dyn World>,
    ) -> Self {
        Self {
            policy,
            prices,
            auto_adjust,
            secret,
            chain,
            world,
        }
    }

    /// What a ticket is worth, in wei.
    pub const fn ticket_ev(&self) -> Wei {
        self.policy.ticket_ev
    }

    /// What work costs, before anything is added.
    pub const fn prices(&self) -> &Prices {
        &self.prices
    }

    /// What a sender is asked to pay for what it wants; `pending` are its winners that are not settled, in wei.
    ///
    /// # Errors
    /// See [`Unoffered`].
    pub fn price(
        &self,
        sender: &Address,
        wanted: Option<&Capabilities>,
        pending: Wei,
    ) -> Result<Price, Unoffered> {
        let plain = self
            .prices
            .price(sender, wanted, Overhead::Off)
            .map_err(Unoffered::NoPrice)?;
        if plain.is_free() || !self.auto_adjust {
            return Ok(plain);
        }
        let gas_price = self.chain.head().gas_price;
        let funds = self.chain.funds(sender).ok_or(Unoffered::SenderUnknown)?;
        let float = funds
            .max_float(pending)
            .map_err(|_| Unoffered::No(NoOffer::Reserve))?;
        let face_value_wei =
            offer::face_value(&self.policy, gas_price, float).map_err(Unoffered::No)?;
        let overhead = Overhead::On {
            tx_cost_wei: Wei::from(self.policy.redeem_gas).saturating_mul(gas_price),
            face_value_wei,
        };
        self.prices
            .price(sender, wanted, overhead)
            .map_err(Unoffered::NoPrice)
    }

    /// Parameters for a sender's tickets, for a session and at a price; `pending` as above.
    ///
    /// # Errors
    /// See [`Unoffered`].
    pub fn make(
        &self,
        sender: Address,
        session: SessionId,
        price: Price,
        pending: Wei,
    ) -> Result<TicketParams, Unoffered> {
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
        Ok(self.secret.offer(&terms))
    }
}

impl fmt::Debug for Offers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offers")
            .field("policy", &self.policy)
            .field("prices", &self.prices)
            .finish_non_exhaustive()
    }
}

/// Parameters as a message.
pub(crate) fn to_message(params: &TicketParams) -> net::TicketParams {
    let integer = |value: Wei| MinBytes::of(value).as_bytes().to_vec();
    net::TicketParams {
        recipient: params.recipient.0.to_vec(),
        face_value: integer(params.face_value),
        win_prob: integer(params.win_prob),
        recipient_rand_hash: params.recipient_rand_hash.0.to_vec(),
        seed: integer(params.seed),
        expiration_block: integer(params.expiration_block),
        expiration_params: Some(net::TicketExpirationParams {
            creation_round: params.creation_round,
            creation_round_block_hash: params.creation_round_block_hash.0.to_vec(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::Message;

    #[test]
    fn parameters_are_gos_byte_for_byte() {
        // `ticket_params_proto_vectors` of engine/ticket/tests/ticket-vectors.json.
        let vector = hex::decode(
            "0a147bcba8198e036adf82ef3e2ceed5fdee7aba866512072aa1efb94e00001a1e0b2f4fc0794908cf232ff78625902416a7530755a66c5788c4a773d4b0\
             0022206ac942949b4a76142cb586896ad392602e4e41c81ba415af226a25ddd01202232a2088f94e560eee4c82ac67ef441e47265cf7a05361dab148a9b3\
             2699b324fe00d6320401406f683a2508801b122041b1a0649752af1b28b3dc29a1556eee781e4a4c3a1f7f53f90fa834de098c4d",
        )
        .unwrap();
        let params = TicketParams::parse(&vector).unwrap();
        assert_eq!(to_message(&params).encode_to_vec(), vector);
    }
}
