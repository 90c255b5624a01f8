//! What to offer a sender: face value and win probability.
//!
//! The expected value of a ticket is the operator's choice. The face value is as large as a redemption is dear, so that winners are
//! worth their gas, and as small as the sender's float demands; the probability follows from both. Source: `faceValue` and `winProb`
//! of go-livepeer's `pm/recipient.go`, whose outcomes are vectors in `tests/`.

use core::fmt;

use crate::address::{Address, Hash};
use crate::amount::{PROBABILITY_MAX, Wei};
use crate::float::Funds;
use crate::price::Price;
use crate::secret::Terms;
use crate::session::SessionId;

/// How many redemptions one winner must be worth.
const REDEMPTIONS: u64 = 100;
/// The same, of expected values, where redemptions cost next to nothing.
const EXPECTED_VALUES: u64 = 100;
/// A gas price that is usual: a face value that pays for a redemption at this one is good enough when gas is dear just now.
const USUAL_GAS_PRICE_WEI: u64 = 3_000_000_000;
/// L1 blocks for which an offer holds: about eight minutes.
pub const OFFER_BLOCKS: u64 = 40;

/// What the operator chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Who is paid.
    pub recipient: Address,
    /// What a ticket is worth, in wei; not 0.
    pub ticket_ev: Wei,
    /// The largest face value; 0 for no bound.
    pub face_value_max: Wei,
    /// Gas that a redemption takes.
    pub redeem_gas: u64,
}

/// What the chain says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// The newest L1 block.
    pub l1_block: u64,
    /// The newest round that was initialised.
    pub round: u64,
    /// The hash of its block.
    pub round_block_hash: Hash,
    /// Wei for a unit of gas.
    pub gas_price: Wei,
}

/// Why nothing is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoOffer {
    /// The sender's float is below what makes a winner worth redeeming. go-livepeer's text.
    Reserve,
    /// The chain has no initialised round: the contract would take no ticket.
    NoRound,
}

impl fmt::Display for NoOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reserve => "insufficient sender reserve",
            Self::NoRound => "no round has been initialized",
        })
    }
}

impl core::error::Error for NoOffer {}

/// The terms for a sender, who has winners of `pending` wei that are not settled. `seed` is chance, 256 bits of it.
///
/// # Errors
/// The sender cannot pay, or nobody can.
pub fn quote(
    policy: &Policy,
    head: &Head,
    (funds, pending): (&Funds, Wei),
    (sender, session, price): (Address, SessionId, Price),
    seed: [u8; 32],
) -> Result<Terms, NoOffer> {
    if head.round == 0 || head.round_block_hash == Hash::ZERO {
        return Err(NoOffer::NoRound);
    }
    let face_value = match price.is_free() {
        true => Wei::ZERO,
        false => {
            let float = funds.max_float(pending).map_err(|_| NoOffer::Reserve)?;
            face_value(policy, head.gas_price, float)?
        }
    };
    Ok(Terms {
        recipient: policy.recipient,
        sender,
        session,
        price,
        face_value,
        win_prob: win_prob(policy.ticket_ev, face_value),
        seed: Wei::from_be_bytes(seed),
        expiration_block: head.l1_block.saturating_add(OFFER_BLOCKS),
        creation_round: head.round,
        creation_round_block_hash: head.round_block_hash,
    })
}

/// The face value, in wei.
///
/// # Errors
/// [`NoOffer::Reserve`].
pub fn face_value(policy: &Policy, gas_price: Wei, float: Wei) -> Result<Wei, NoOffer> {
    let gas = Wei::from(policy.redeem_gas);
    let redemption = gas.saturating_mul(gas_price);
    let mut face = redemption.saturating_mul(Wei::from(REDEMPTIONS));
    if face < policy.ticket_ev {
        face = policy.ticket_ev.saturating_mul(Wei::from(EXPECTED_VALUES));
    }
    face = face.min(float);
    if !policy.face_value_max.is_zero() {
        face = face.min(policy.face_value_max);
    }
    let is_dear_now = face < redemption;
    let is_dear_always = face < gas.saturating_mul(Wei::from(USUAL_GAS_PRICE_WEI));
    match face < policy.ticket_ev || (is_dear_now && is_dear_always) {
        true => Err(NoOffer::Reserve),
        false => Ok(face),
    }
}

/// The probability at which a ticket of `face_value` is worth `ticket_ev`, rounded up; 0 for a face value of 0.
///
/// go-livepeer looks at 64 bits of the remainder only, so it rounds down where those happen to be zero; here any remainder counts.
#[must_use]
pub fn win_prob(ticket_ev: Wei, face_value: Wei) -> Wei {
    if face_value.is_zero() {
        return Wei::ZERO;
    }
    if face_value == ticket_ev {
        return PROBABILITY_MAX;
    }
    let (quotient, remainder) = PROBABILITY_MAX.div_rem(face_value);
    ticket_ev.saturating_mul(quotient + Wei::from(u64::from(!remainder.is_zero())))
}
