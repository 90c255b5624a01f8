//! What a sender can still pay: its deposit, and our share of its reserve.
//!
//! The contract pays a winner from the deposit, and when that is empty from the reserve, of which each active orchestrator may claim
//! an equal share a round. So the most that is certainly ours is that share: the *max float*. Winners that are not redeemed yet have
//! a claim on it already.
//!
//! go-livepeer counts only winners whose redemption is under way, and looks when it offers parameters, not when tickets come: a sender
//! can go on paying with tickets that nothing covers. Here every winner counts until it is settled, and [`Funds::covers`] is asked of
//! every payment. Source of the formulas: `LocalSenderMonitor.MaxFloat` and the TicketBroker contract.

use crate::amount::Wei;

/// What the chain says of a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Funds {
    /// The deposit.
    pub deposit: Wei,
    /// What is left of the reserve.
    pub reserve: Wei,
    /// What all orchestrators claimed from the reserve in this round.
    pub claimed_in_round: Wei,
    /// What we claimed of that.
    pub claimed_by_us: Wei,
    /// How many orchestrators share the reserve.
    pub pool_size: u64,
    /// The round from which on the sender may take it all out; 0 when it has not asked to.
    pub withdraw_round: u64,
}

/// How often a deposit must hold what is pending, so that the reserve need not be counted on.
const DEPOSIT_TO_PENDING: u64 = 3;

impl Funds {
    /// Our share of the reserve, less what we have had of it.
    #[must_use]
    pub fn reserve_share(&self) -> Wei {
        if self.pool_size == 0 {
            return Wei::ZERO;
        }
        let whole = self.reserve.saturating_add(self.claimed_in_round);
        (whole / Wei::from(self.pool_size)).saturating_sub(self.claimed_by_us)
    }

    /// The largest face value that the reserve secures, with `pending` wei of winners not settled.
    ///
    /// # Errors
    /// How much is missing when there is less than nothing.
    pub fn max_float(&self, pending: Wei) -> Result<Wei, Wei> {
        let share = self.reserve_share();
        let is_light = pending
            .checked_mul(Wei::from(DEPOSIT_TO_PENDING))
            .is_some_and(|thrice| self.deposit >= thrice);
        if pending.is_zero() || is_light {
            return Ok(share);
        }
        share.checked_sub(pending).ok_or_else(|| pending - share)
    }

    /// What can be paid in all, beside what is pending.
    #[must_use]
    pub fn available(&self, pending: Wei) -> Wei {
        self.reserve_share()
            .saturating_add(self.deposit)
            .saturating_sub(pending)
    }

    /// Whether one more winner of `face_value` would be paid.
    #[must_use]
    pub fn covers(&self, face_value: Wei, pending: Wei) -> bool {
        self.available(pending) >= face_value
    }

    /// Whether the sender may have taken everything out before a ticket of this round could be redeemed.
    #[must_use]
    pub const fn is_unlocking(&self, round: u64) -> bool {
        self.withdraw_round != 0 && self.withdraw_round <= round.saturating_add(1)
    }
}
