//! An account: what a sender has paid for one purpose, and what was taken for it.

use core::fmt;

use ruint::Uint;

use crate::address::Address;
use crate::amount::{Credit, ExpectedValue, PROBABILITY_MAX, Wei};
use crate::price::Price;
use crate::session::SessionId;

/// Wide enough for any product below: 640 + 64 bits on one side, 128 + 64 + 256 and 256 + 64 + 256 on the other.
type Wide = Uint<768, 12>;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Who pays.
    pub sender: Address,
    /// What for: a manifest id, a session's id, or what else go-livepeer keys its balances by.
    pub name: SessionId,
    /// Our price, as it stood in the parameters of the first authentic ticket. It is what debits are reckoned at, to the end.
    pub price: Price,
    /// What was paid in.
    pub credit: Credit,
    /// Pixels taken.
    pub pixels: u128,
    /// The L1 block in which something last happened.
    pub touched_block: u64,
}

impl Account {
    pub(super) const fn new(sender: Address, name: SessionId, price: Price, block: u64) -> Self {
        Self {
            sender,
            name,
            price,
            credit: Credit::ZERO,
            pixels: 0,
            touched_block: block,
        }
    }

    /// Whether it holds `wei`, and the price of `pixels` more.
    #[must_use]
    pub fn covers(&self, wei: Wei, pixels: u64) -> bool {
        self.paid() >= self.owed(wei, pixels)
    }

    /// What is left.
    #[must_use]
    pub fn balance(&self) -> Balance {
        let (paid, used) = (self.paid(), self.owed(Wei::ZERO, 0));
        Balance {
            is_negative: paid < used,
            magnitude: paid.abs_diff(used),
            denominator: Wide::from(self.price.pixels()) * max(),
        }
    }

    /// How many tickets of that value it takes to hold `wei` and the price of `pixels` more: none when it does already, or when
    /// tickets are worth nothing. This is a gateway's question.
    #[must_use]
    pub fn tickets_needed(&self, wei: Wei, pixels: u64, value: ExpectedValue) -> u64 {
        let value = value.parts().to::<Wide>() * Wide::from(self.price.pixels());
        let missing = self.owed(wei, pixels).saturating_sub(self.paid());
        match value.is_zero() {
            true => 0,
            false => missing.div_ceil(value).saturating_to(),
        }
    }

    /// The credit, times 2^256 − 1 and the price's denominator.
    fn paid(&self) -> Wide {
        self.credit.parts().to::<Wide>() * Wide::from(self.price.pixels())
    }

    /// What was taken, and `wei` and the price of `pixels` more, in the same parts.
    fn owed(&self, wei: Wei, pixels: u64) -> Wide {
        let pixels = Wide::from(self.pixels.saturating_add(u128::from(pixels)));
        let wei = wei.to::<Wide>() * Wide::from(self.price.pixels());
        (pixels * Wide::from(self.price.wei()) + wei) * max()
    }
}

fn max() -> Wide {
    PROBABILITY_MAX.to()
}

/// An exact amount of wei, perhaps below zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    is_negative: bool,
    magnitude: Wide,
    denominator: Wide,
}

impl Balance {
    /// Whether it is below zero.
    #[must_use]
    pub const fn is_negative(&self) -> bool {
        self.is_negative
    }

    /// Whole wei, rounded down, and whether they are below zero.
    #[must_use]
    pub fn floor_wei(&self) -> (bool, Uint<768, 12>) {
        let (whole, rest) = self.magnitude.div_rem(self.denominator);
        match self.is_negative && !rest.is_zero() {
            true => (true, whole + Wide::ONE),
            false => (self.is_negative, whole),
        }
    }
}

impl fmt::Display for Balance {
    /// Whole wei, rounded down.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (is_negative, wei) = self.floor_wei();
        if is_negative {
            f.write_str("-")?;
        }
        write!(f, "{wei}")
    }
}

impl fmt::Debug for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn account(price: (i64, i64)) -> Account {
        let price = Price::new(price.0, price.1).unwrap();
        Account::new(Address([1; 20]), SessionId::new("x").unwrap(), price, 0)
    }

    #[test]
    fn a_balance_is_exact_to_the_last_part() {
        let mut account = account((1, 3));
        account.credit += ExpectedValue::of_wei(Wei::from(1));
        assert!(account.covers(Wei::ZERO, 3));
        assert!(!account.covers(Wei::ZERO, 4));
        assert!(account.covers(Wei::from(1), 0));
        assert!(!account.covers(Wei::from(1), 1));
        account.pixels = 2;
        assert_eq!(
            account.balance().floor_wei(),
            (false, Uint::ZERO),
            "a third is left"
        );
        assert!(!account.balance().is_negative());
        account.pixels = 4;
        assert_eq!(
            account.balance().to_string(),
            "-1",
            "a third is missing, rounded down"
        );
        // One part of 2^256 − 1 more than nothing is not nothing.
        account.pixels = 3;
        assert_eq!(account.balance().to_string(), "0");
        account.credit += ExpectedValue::of(Wei::from(1), Wei::from(1));
        assert!(!account.balance().is_negative());
        account.pixels = u128::MAX;
        assert!(account.balance().is_negative(), "the widest fits");
    }

    #[test]
    fn a_gateway_sends_as_many_tickets_as_are_missing_and_no_more() {
        // (credit, pixels taken, wei wanted, ticket's value, tickets), at one wei a pixel: go-livepeer's StageUpdate.
        for (credit, pixels, wanted, value, tickets) in [
            (0u64, 0u128, 5u64, 5u64, 1),
            (2, 0, 2, 5, 0),
            (2, 0, 3, 5, 1),
            (2, 0, 12, 5, 2),
            (0, 3, 1, 2, 2),
            (0, 0, 5, 0, 0),
        ] {
            let mut account = account((1, 1));
            account.credit += ExpectedValue::of_wei(Wei::from(credit));
            account.pixels = pixels;
            let value = ExpectedValue::of_wei(Wei::from(value));
            assert_eq!(account.tickets_needed(Wei::from(wanted), 0, value), tickets);
            assert_eq!(
                account.tickets_needed(Wei::ZERO, wanted, value),
                tickets,
                "as pixels"
            );
        }
    }

    #[test]
    fn a_free_session_never_owes() {
        let mut account = account((0, 1));
        account.pixels = u128::MAX;
        assert!(account.covers(Wei::ZERO, u64::MAX));
        assert!(!account.covers(Wei::from(1), 0));
        assert_eq!(account.balance().to_string(), "0");
    }
}
