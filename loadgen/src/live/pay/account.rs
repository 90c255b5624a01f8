//! A session's account: what it was reckoned to owe, and what is known to be credited; exactly.
//!
//! ```text
//!   owed      pixels × price                             whole pixels, and a price that is a fraction
//!   credited  tickets × face value × win probability     in parts of 2^256 − 1 of a wei
//! ```
//!
//! Invariants:
//! - Whoever compares the two multiplies: nothing is rounded but for people to read.
//! - A payment is credited when an answer says so, refused when one says so, and else open.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use serde::Serialize;
use ticket::amount::{ExpectedValue, PROBABILITY_MAX};
use ticket::{Address, Price};

use crate::clock::SECOND;
use crate::failure::Failure;
use crate::tickets::{Parts, as_text};

/// Names the layout of the file. A field is added without a new name.
pub const SCHEMA: &str = "loadgen.live.ledger/1";

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Who pays.
    #[serde(with = "as_text")]
    pub sender: Address,
    /// What for: the session's id.
    pub manifest_id: String,
    /// What a pixel costs, as it was when the session began.
    #[serde(with = "as_text")]
    pub price: Price,
    /// What was reckoned, the first minute included.
    pub pixels: u64,
    /// Payments that were credited, the first with the session's start.
    pub payments: u64,
    /// Tickets in them.
    pub tickets: u64,
    /// What they are worth, all together.
    #[serde(rename = "credit_parts", with = "as_text")]
    pub credit: Parts,
    /// Tickets that were sent, whatever became of them.
    pub tickets_sent: u64,
    /// Payments whose answer never came.
    pub open: u64,
    /// Payments that were refused, by the orchestrator's words.
    pub refused: BTreeMap<String, u64>,
    /// The orchestrator ended the session while it was behind with its payments.
    pub has_ended_unpaid: bool,
}

impl Account {
    pub(super) fn new(sender: Address, manifest_id: &str, price: Price) -> Self {
        Self {
            sender,
            manifest_id: manifest_id.to_owned(),
            price,
            pixels: 0,
            payments: 0,
            tickets: 0,
            credit: Parts::ZERO,
            tickets_sent: 0,
            open: 0,
            refused: BTreeMap::new(),
            has_ended_unpaid: false,
        }
    }

    /// Enters tickets that are credited.
    pub(super) fn credit(&mut self, tickets: u32, value: ExpectedValue) {
        self.payments += 1;
        self.tickets += u64::from(tickets);
        self.credit = self.credit.saturating_add(times(value, tickets.into()));
    }

    /// How many tickets of this value make its credit what it owes once `pixels` more are reckoned. As a stock gateway it has at least one
    /// ticket's worth before each payment.
    pub(super) fn tickets_for(&self, pixels: u64, value: ExpectedValue) -> u64 {
        let scale = Parts::from(self.price.pixels());
        let ticket = value.parts().to::<Parts>().saturating_mul(scale);
        if ticket.is_zero() {
            return 0;
        }
        let wanted = self
            .owed(self.pixels)
            .saturating_add(owed(self.price, pixels).max(ticket));
        let missing = wanted.saturating_sub(self.credit.saturating_mul(scale));
        missing.div_ceil(ticket).try_into().unwrap_or(u64::MAX)
    }

    /// Whether less is credited than was reckoned.
    pub(super) fn is_behind(&self) -> bool {
        let scale = Parts::from(self.price.pixels());
        self.credit.saturating_mul(scale) < self.owed(self.pixels)
    }

    /// What was reckoned, in whole wei.
    pub fn fee_floor_wei(&self) -> Parts {
        let wei = Parts::from(self.pixels).saturating_mul(Parts::from(self.price.wei()));
        wei / Parts::from(self.price.pixels())
    }

    /// What was credited, in whole wei.
    pub fn credit_floor_wei(&self) -> Parts {
        self.credit / PROBABILITY_MAX.to::<Parts>()
    }

    fn owed(&self, pixels: u64) -> Parts {
        owed(self.price, pixels)
    }
}

/// In parts, times the price's pixels.
fn owed(price: Price, pixels: u64) -> Parts {
    Parts::from(pixels)
        .saturating_mul(Parts::from(price.wei()))
        .saturating_mul(PROBABILITY_MAX.to::<Parts>())
}

fn times(value: ExpectedValue, count: u64) -> Parts {
    value
        .parts()
        .to::<Parts>()
        .saturating_mul(Parts::from(count))
}

/// Pixels of so much live video, in whole ones.
pub(super) fn pixels(ns: u64) -> u64 {
    let pixels = u128::from(ns) * u128::from(PIXELS_PER_S) / u128::from(SECOND);
    u64::try_from(pixels).unwrap_or(u64::MAX)
}

/// What is paid for live video, whatever its size.
const PIXELS_PER_S: u64 = 1_280 * 720 * 30;

/// The sum over all sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sessions that were begun.
    pub sessions: u64,
    /// Payments that were credited.
    pub payments: u64,
    /// Tickets in them.
    pub tickets: u64,
    /// What they are worth, the fraction of each session's dropped.
    pub credit_wei: Parts,
    /// What was reckoned, likewise.
    pub fee_wei: Parts,
    /// Payments whose answer never came.
    pub open: u64,
    /// Payments that were refused, by the orchestrator's words.
    pub refused: BTreeMap<String, u64>,
    /// Sessions that were ended while they were behind with their payments.
    pub ended_unpaid: u64,
}

impl Totals {
    /// Of these accounts.
    pub fn of(accounts: &[Account]) -> Self {
        let mut totals = Self::default();
        for account in accounts {
            totals.sessions += 1;
            totals.payments += account.payments;
            totals.tickets += account.tickets;
            totals.credit_wei = totals.credit_wei.saturating_add(account.credit_floor_wei());
            totals.fee_wei = totals.fee_wei.saturating_add(account.fee_floor_wei());
            totals.open += account.open;
            totals.ended_unpaid += u64::from(account.has_ended_unpaid);
            for (words, count) in &account.refused {
                *totals.refused.entry(words.clone()).or_default() += count;
            }
        }
        totals
    }

    /// Payments that were refused.
    pub fn refused_count(&self) -> u64 {
        self.refused.values().sum()
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "paid: {} sessions, {} payments, {} tickets, {} wei credited, {} wei reckoned; {} payments refused, {} open, {} sessions ended unpaid",
            self.sessions,
            self.payments,
            self.tickets,
            self.credit_wei,
            self.fee_wei,
            self.refused_count(),
            self.open,
            self.ended_unpaid
        )?;
        for (words, count) in self.refused.iter().take(SHOWN_MAX) {
            write!(f, "; {count} × {words:?}")?;
        }
        Ok(())
    }
}

/// Refusals that are told one by one.
const SHOWN_MAX: usize = 10;

/// Writes accounts to a file, whole.
pub(super) fn write(accounts: &[Account], path: &Path) -> Result<(), Failure> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let page = serde_json::json!({"schema": SCHEMA, "accounts": accounts});
    let text = format!("{page:#}\n");
    fs::write(&aside, text)
        .and_then(|()| fs::rename(&aside, path))
        .map_err(|error| {
            Failure::new(format!(
                "the ledger cannot be written to {}: {error}",
                path.display()
            ))
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ticket::Wei;

    use super::*;

    fn account(price: Price) -> Account {
        Account::new(Address([7; 20]), "m", price)
    }

    /// A ticket that is worth as many wei, or a little less.
    fn value(wei: u64) -> ExpectedValue {
        ExpectedValue::of(Wei::from(wei) * Wei::from(2), Wei::MAX / Wei::from(2))
    }

    #[test]
    fn a_minute_costs_what_the_price_says() {
        assert_eq!(pixels(60 * SECOND), 1_658_880_000);
        assert_eq!(
            (pixels(36), pixels(37)),
            (0, 1),
            "27.648 pixels in a microsecond"
        );
        // 1658880000 × 7 / 3 wei.
        let mut account = account(Price::new(7, 3).unwrap());
        assert_eq!(
            account.tickets_for(
                pixels(60 * SECOND),
                ExpectedValue::of_wei(Wei::from(1_000_000))
            ),
            3_871
        );
        account.pixels = pixels(60 * SECOND);
        assert_eq!(account.fee_floor_wei(), Parts::from(3_870_720_000_u64));
        assert!(account.is_behind());
        account.credit(3_870, ExpectedValue::of_wei(Wei::from(1_000_000)));
        assert!(account.is_behind());
        account.credit(1, ExpectedValue::of_wei(Wei::from(1_000_000)));
        assert!(!account.is_behind());
        assert_eq!((account.payments, account.tickets), (2, 3_871));
        assert_eq!(account.credit_floor_wei(), Parts::from(3_871_000_000_u64));
    }

    #[test]
    fn what_is_left_over_counts_and_what_was_refused_is_made_up_for() {
        let ten = ExpectedValue::of_wei(Wei::from(10));
        let mut account = account(Price::new(1, 1).unwrap());
        assert_eq!(account.tickets_for(25, ten), 3);
        account.pixels = 25;
        account.credit(3, ten);
        // Five are left, of which a stock gateway does not live: it has a ticket's worth before it pays.
        assert_eq!(account.tickets_for(1, ten), 1);
        assert_eq!(account.tickets_for(15, ten), 1);
        assert_eq!(account.tickets_for(16, ten), 2);
        // Nobody took those.
        account.pixels += 16;
        assert_eq!(account.tickets_for(10, ten), 3);
        account.credit(9, ten);
        assert_eq!(account.tickets_for(10, ten), 0);
        assert_eq!(account.tickets_for(10, ExpectedValue::default()), 0, "free");
    }

    #[test]
    fn totals_are_told_with_the_words_of_refusals() {
        let mut one = account(Price::new(3, 2).unwrap());
        (one.pixels, one.open, one.has_ended_unpaid) = (5, 1, true);
        one.credit(2, value(10));
        one.refused.insert("no".to_owned(), 3);
        let totals = Totals::of(&[one.clone(), one.clone()]);
        assert_eq!(
            totals.to_string(),
            "paid: 2 sessions, 2 payments, 4 tickets, 38 wei credited, 14 wei reckoned; 6 payments refused, 2 open, \
             2 sessions ended unpaid; 6 × \"no\""
        );
        let path = std::env::temp_dir().join(format!("loadgen-live-{}.json", std::process::id()));
        write(&[one], &path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let page: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(page["schema"], SCHEMA);
        assert_eq!(page["accounts"][0]["price"], "3/2");
        assert_eq!(
            page["accounts"][0]["credit_parts"],
            times(value(10), 2).to_string()
        );
        assert!(write(&[], &path.join("nowhere")).is_err());
    }

    proptest! {
        #[test]
        fn tickets_cover_the_fee_and_one_less_would_not(
            wei in 0_i64..1_000_000, per in 1_i64..1_000, ticket in 1_u64..1_000_000_000, steps in proptest::collection::vec(0_u64..1_000_000, 1..8)
        ) {
            let mut account = account(Price::new(wei, per).unwrap());
            for pixels in steps {
                let tickets = account.tickets_for(pixels, value(ticket));
                let fewer = {
                    let mut fewer = account.clone();
                    fewer.pixels += pixels;
                    fewer.credit(u32::try_from(tickets.saturating_sub(1)).unwrap(), value(ticket));
                    fewer.is_behind()
                };
                account.pixels += pixels;
                account.credit(u32::try_from(tickets).unwrap(), value(ticket));
                prop_assert!(!account.is_behind());
                prop_assert!(tickets <= 1 || fewer);
            }
        }
    }
}
