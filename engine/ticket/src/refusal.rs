//! Why a payment or a ticket is not taken, in the words that gateways match.
//!
//! go-livepeer's gateways look for some of these texts: `TicketParams expired` makes them ask for new parameters, `invalid ticket
//! senderNonce` makes them go elsewhere. They are wire, and a test pins them.
//!
//! What is refused is refused: it is neither credited nor kept, and its nonce may come again.

use core::fmt;

use crate::address::Address;
use crate::price::PriceFault;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It names another recipient than us.
    Recipient,
    /// It names no sender.
    Sender,
    /// There is no expected price in it, or one that is none.
    Price(PriceFault),
    /// There are no expiration parameters in it.
    NoExpiration,
    /// The creation round is not one: zero or negative.
    Round,
    /// Tickets without parameters.
    NoParams,
    /// We did not issue these parameters to this sender, for this session, at this price.
    Rand,
    /// Their time is over.
    Expired,
    /// The sender did not sign the ticket, or an earlier one of the same payment was not signed.
    Signature,
    /// The nonce came before.
    NonceSeen {
        /// Who sent it.
        sender: Address,
        /// Which it was.
        nonce: u32,
    },
    /// As many nonces as one set of parameters may have came before.
    NonceFull {
        /// Who sent it.
        sender: Address,
        /// Which it was.
        nonce: u32,
    },
    /// The sender's deposit and reserve do not cover another winner, those that are not redeemed yet counted.
    Reserve,
    /// The sender is about to take deposit and reserve out.
    Unlocking,
    /// Nothing is known of the sender's funds yet.
    SenderUnknown,
    /// Too many payments wait to be looked at.
    Busy,
    /// The book has no room for another account or another set of parameters.
    Full,
    /// It could not be written to disk.
    NotRecorded,
}

/// What a sender can do about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing: the whole payment is of no use to anybody.
    None,
    /// Another ticket, or new parameters.
    Another,
    /// The same again, a little later.
    Again,
}

impl Refusal {
    /// What the sender can do. go-livepeer calls [`Remedy::None`] fatal and [`Remedy::Another`] acceptable.
    #[must_use]
    pub const fn remedy(self) -> Remedy {
        match self {
            Self::Recipient
            | Self::Sender
            | Self::Price(_)
            | Self::NoExpiration
            | Self::Round
            | Self::NoParams
            | Self::Rand
            | Self::Unlocking => Remedy::None,
            Self::Expired
            | Self::Signature
            | Self::NonceSeen { .. }
            | Self::NonceFull { .. }
            | Self::Reserve => Remedy::Another,
            Self::SenderUnknown | Self::Busy | Self::Full | Self::NotRecorded => Remedy::Again,
        }
    }

    /// The HTTP status that goes with it.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self.remedy() {
            Remedy::None | Remedy::Another => 400,
            Remedy::Again => 503,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Recipient => "invalid ticket recipient",
            Self::Sender => "invalid ticket sender",
            Self::Price(fault) => {
                return write!(f, "invalid expected price sent with payment err={fault}");
            }
            Self::NoExpiration => "invalid ticket: no expiration params sent with payment",
            Self::Round => "invalid ticket creationRound",
            Self::NoParams => "invalid ticket: no ticket params sent with payment",
            Self::Rand => "invalid recipientRand for ticket recipientRandHash",
            Self::Expired => "TicketParams expired",
            Self::Signature => "invalid ticket signature",
            Self::NonceSeen { sender, nonce } => {
                return write!(
                    f,
                    "invalid ticket senderNonce: already seen sender={sender} nonce={nonce}"
                );
            }
            Self::NonceFull { sender, nonce } => {
                return write!(
                    f,
                    "invalid ticket senderNonce: too many values sender={sender} nonce={nonce}"
                );
            }
            Self::Reserve => "insufficient sender reserve",
            Self::Unlocking => "sender is set to unlock soon",
            Self::SenderUnknown => {
                "the sender's deposit and reserve are not known yet; send it again"
            }
            Self::Busy => "too many payments are waiting; send it again",
            Self::Full => "no room for another set of ticket params; send it again later",
            Self::NotRecorded => "the payment could not be recorded; send it again later",
        })
    }
}

impl core::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn the_texts_that_gateways_match_are_pinned() {
        let (sender, nonce) = (Address([0x11; 20]), 7);
        for (refusal, text) in [
            (Refusal::Recipient, "invalid ticket recipient"),
            (Refusal::Sender, "invalid ticket sender"),
            (
                Refusal::Rand,
                "invalid recipientRand for ticket recipientRandHash",
            ),
            (Refusal::Signature, "invalid ticket signature"),
            (Refusal::Expired, "TicketParams expired"),
            (Refusal::Reserve, "insufficient sender reserve"),
        ] {
            assert_eq!(refusal.to_string(), text);
            assert_eq!(refusal.status(), 400);
        }
        for (refusal, front) in [
            (
                Refusal::NonceSeen { sender, nonce },
                "invalid ticket senderNonce: already seen sender=0x1111",
            ),
            (
                Refusal::NonceFull { sender, nonce },
                "invalid ticket senderNonce: too many values sender=0x1111",
            ),
            (
                Refusal::Price(PriceFault::NoPixels),
                "invalid expected price sent with payment err=",
            ),
        ] {
            assert!(refusal.to_string().starts_with(front), "{refusal}");
        }
        assert_eq!(Refusal::Rand.remedy(), Remedy::None);
        assert_eq!(Refusal::Expired.remedy(), Remedy::Another);
        assert_eq!(Refusal::NotRecorded.status(), 503);
    }
}
