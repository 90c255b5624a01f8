//! Which parameters a sender signs for: it risks its deposit on what somebody else chose.
//!
//! The rules, their order and their texts are go-livepeer's (`validateTicketParams` of `pm/sender.go`), but for three: numbers are
//! compared whole where it looks at 64 bits, nothing is skipped for parameters without an expiration block (they are declined; an old
//! version took them and skipped every rule below), and a creation round is demanded, since the contract pays no ticket without one.

use core::fmt;

use crate::amount::{ExpectedValue, Wei};
use crate::float::Funds;
use crate::wire::TicketParams;

/// What a sender is willing to risk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most that one ticket may be worth.
    pub ticket_ev_max: Wei,
    /// The most that the tickets of one payment may be worth together.
    pub total_ev_max: Wei,
    /// How often the deposit must hold the face value; at least 1.
    pub deposit_multiplier: u64,
}

impl Default for Limits {
    /// go-livepeer's defaults.
    fn default() -> Self {
        Self {
            ticket_ev_max: Wei::from(3_000_000_000_000_u64),
            total_ev_max: Wei::from(20_000_000_000_000_u64),
            deposit_multiplier: 1,
        }
    }
}

/// Parameters that may be signed for. Only [`accept`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted(TicketParams);

impl Accepted {
    /// The parameters.
    #[must_use]
    pub const fn params(&self) -> &TicketParams {
        &self.0
    }

    /// What each ticket is worth.
    #[must_use]
    pub fn value(&self) -> ExpectedValue {
        ExpectedValue::of(self.0.face_value, self.0.win_prob)
    }
}

/// Why parameters are not signed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Declined {
    /// They never expire.
    NoExpiration,
    /// They have expired, or are about to. New ones may be asked for.
    Expired,
    /// They name no creation round.
    NoRound,
    /// A winner is worth no more than a ticket: each would win.
    FaceValueTooLow,
    /// A ticket is worth too much.
    TicketEv {
        /// How much, in whole wei.
        ev: Wei,
        /// The most it may be.
        max: Wei,
    },
    /// So many tickets are worth too much.
    TotalEv {
        /// The most they may be.
        max: Wei,
    },
    /// A winner is worth more than the deposit allows.
    FaceValueTooHigh {
        /// How much.
        face_value: Wei,
        /// The most it may be.
        max: Wei,
    },
    /// Our own deposit and reserve are about to be taken out.
    Unlocking,
    /// We have no reserve.
    NoReserve,
    /// We have no deposit.
    NoDeposit,
}

impl Declined {
    /// Whether it is the sender's own fault: then no orchestrator is to blame, and none will do better.
    #[must_use]
    pub const fn is_own_fault(self) -> bool {
        matches!(self, Self::Unlocking | Self::NoReserve | Self::NoDeposit)
    }
}

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoExpiration => f.write_str("ticketParams expiration block is 0"),
            Self::Expired => f.write_str("TicketParams expired"),
            Self::NoRound => f.write_str("ticketParams have no creation round"),
            Self::FaceValueTooLow => {
                f.write_str("ticket faceValue too low: it is not above what each ticket is worth")
            }
            Self::TicketEv { ev, max } => write!(f, "ticket EV {ev} > max ticket EV {max}"),
            Self::TotalEv { max } => write!(f, "total ticket EV > max total ticket EV {max}"),
            Self::FaceValueTooHigh { face_value, max } => {
                write!(f, "ticket faceValue {face_value} > max faceValue {max}")
            }
            Self::Unlocking => f.write_str("deposit and reserve is set to unlock soon"),
            Self::NoReserve => f.write_str("no sender reserve"),
            Self::NoDeposit => f.write_str("no sender deposit"),
        }
    }
}

impl core::error::Error for Declined {}

/// Whether `count` tickets may be signed under these parameters. `l1_block` and `round` are the newest, `own` is what we have.
///
/// # Errors
/// The first rule that they break.
pub fn accept(
    params: &TicketParams,
    count: u64,
    (l1_block, round): (u64, u64),
    own: &Funds,
    limits: &Limits,
) -> Result<Accepted, Declined> {
    if params.expiration_block.is_zero() {
        return Err(Declined::NoExpiration);
    }
    if params.expiration_block <= Wei::from(l1_block).saturating_add(Wei::ONE) {
        return Err(Declined::Expired);
    }
    let accepted = Accepted(*params);
    let value = accepted.value();
    if value == ExpectedValue::default() {
        return Ok(accepted);
    }
    if params.creation_round <= 0 {
        return Err(Declined::NoRound);
    }
    if value >= ExpectedValue::of_wei(params.face_value) {
        return Err(Declined::FaceValueTooLow);
    }
    if value > ExpectedValue::of_wei(limits.ticket_ev_max) {
        return Err(Declined::TicketEv {
            ev: value.floor_wei(),
            max: limits.ticket_ev_max,
        });
    }
    if own.is_unlocking(round) {
        return Err(Declined::Unlocking);
    }
    if own.reserve.is_zero() {
        return Err(Declined::NoReserve);
    }
    if own.deposit.is_zero() {
        return Err(Declined::NoDeposit);
    }
    let total = value.times(count);
    if total.is_none_or(|total| total > ExpectedValue::of_wei(limits.total_ev_max)) {
        return Err(Declined::TotalEv {
            max: limits.total_ev_max,
        });
    }
    let max = own.deposit / Wei::from(limits.deposit_multiplier.max(1));
    if params.face_value > max {
        return Err(Declined::FaceValueTooHigh {
            face_value: params.face_value,
            max,
        });
    }
    Ok(accepted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Address, Hash};

    const BLOCK: u64 = 1_000;

    fn params() -> TicketParams {
        TicketParams {
            recipient: Address([1; 20]),
            face_value: Wei::from(1_000_000_u64),
            win_prob: Wei::MAX / Wei::from(10),
            recipient_rand_hash: Hash([2; 32]),
            seed: Wei::from(3),
            expiration_block: Wei::from(BLOCK + 40),
            creation_round: 5,
            creation_round_block_hash: Hash([4; 32]),
        }
    }

    fn own() -> Funds {
        Funds {
            deposit: Wei::from(10_000_000_u64),
            reserve: Wei::from(1),
            ..Funds::default()
        }
    }

    fn verdict(
        change: impl FnOnce(&mut TicketParams, &mut Funds, &mut Limits),
    ) -> Result<(), Declined> {
        let (mut params, mut own, mut limits) = (params(), own(), Limits::default());
        change(&mut params, &mut own, &mut limits);
        accept(&params, 3, (BLOCK, 5), &own, &limits).map(drop)
    }

    #[test]
    fn every_rule_declines_what_it_is_for() {
        assert_eq!(verdict(|_, _, _| ()), Ok(()));
        assert_eq!(
            verdict(|p, _, _| p.expiration_block = Wei::ZERO),
            Err(Declined::NoExpiration)
        );
        // go-livepeer looks at the low 64 bits, and would call this 0.
        assert_eq!(
            verdict(|p, _, _| p.expiration_block = Wei::ONE << 64),
            Ok(())
        );
        assert_eq!(
            verdict(|p, _, _| p.expiration_block = Wei::from(BLOCK + 1)),
            Err(Declined::Expired)
        );
        assert_eq!(
            verdict(|p, _, _| p.expiration_block = Wei::from(BLOCK + 2)),
            Ok(())
        );
        assert_eq!(
            verdict(|p, _, _| p.creation_round = 0),
            Err(Declined::NoRound)
        );
        assert_eq!(
            verdict(|p, _, _| p.creation_round = -5),
            Err(Declined::NoRound)
        );
        assert_eq!(
            verdict(|p, _, _| p.win_prob = Wei::MAX),
            Err(Declined::FaceValueTooLow)
        );
        assert!(matches!(
            verdict(|_, _, l| l.ticket_ev_max = Wei::from(99_999)),
            Err(Declined::TicketEv { .. })
        ));
        assert_eq!(
            verdict(|_, _, l| l.ticket_ev_max = Wei::from(100_000)),
            Ok(())
        );
        assert!(matches!(
            verdict(|_, _, l| l.total_ev_max = Wei::from(299_998)),
            Err(Declined::TotalEv { .. })
        ));
        assert_eq!(
            verdict(|_, _, l| l.total_ev_max = Wei::from(300_000)),
            Ok(())
        );
        assert!(matches!(
            verdict(|_, o, _| o.deposit = Wei::from(999_999)),
            Err(Declined::FaceValueTooHigh { .. })
        ));
        assert!(matches!(
            verdict(|_, _, l| l.deposit_multiplier = 11),
            Err(Declined::FaceValueTooHigh { .. })
        ));
        assert_eq!(verdict(|_, _, l| l.deposit_multiplier = 10), Ok(()));
        for (withdraw_round, expected) in [
            (6, Err(Declined::Unlocking)),
            (7, Ok(())),
            (1, Err(Declined::Unlocking)),
        ] {
            assert_eq!(
                verdict(|_, o, _| o.withdraw_round = withdraw_round),
                expected
            );
        }
        assert_eq!(
            verdict(|_, o, _| o.reserve = Wei::ZERO),
            Err(Declined::NoReserve)
        );
        assert_eq!(
            verdict(|_, o, _| o.deposit = Wei::ZERO),
            Err(Declined::NoDeposit)
        );
    }

    #[test]
    fn an_absent_expiration_block_skips_no_rule() {
        // GL#3956: such parameters were accepted as they were, whatever they cost.
        let outcome = verdict(|p, _, _| {
            p.expiration_block = Wei::ZERO;
            p.face_value = Wei::MAX;
        });
        assert_eq!(outcome, Err(Declined::NoExpiration));
    }

    #[test]
    fn worthless_tickets_are_signed_whatever_the_chain_says() {
        let free = |p: &mut TicketParams, o: &mut Funds, _: &mut Limits| {
            (p.face_value, p.win_prob) = (Wei::ZERO, Wei::ZERO);
            *o = Funds::default();
        };
        assert_eq!(verdict(free), Ok(()));
    }

    #[test]
    fn own_faults_blame_no_orchestrator() {
        assert!(Declined::NoDeposit.is_own_fault() && Declined::Unlocking.is_own_fault());
        assert!(!Declined::Expired.is_own_fault() && !Declined::FaceValueTooLow.is_own_fault());
    }
}
