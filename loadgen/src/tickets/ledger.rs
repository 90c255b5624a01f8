//! The ledger: what an orchestrator is known to have credited, exactly, and what nobody can say yet.
//!
//! ```text
//!   account (sender, manifest id)   tickets, credit     all answers that say so, each payment once
//!                                   open payments       their answer never came, or did not say; sent again, they are settled
//! ```
//!
//! Invariants:
//! - An account's credit is what its tickets are worth, in parts of 2^256 − 1 of a wei: an orchestrator's own record of it, once nothing
//!   is open, is the same to the last part, or is wrong.
//! - What was wrongly accepted is not in it: an orchestrator that has more has credited what it should not have.
//! - A file is there whole or not at all: it is written beside its place, and moved there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ruint::Uint;
use serde::{Deserialize, Serialize};
use ticket::Address;
use ticket::amount::ExpectedValue;
use ticket::wire::PaymentView;

use crate::failure::Failure;

/// Credit, in parts of 2^256 − 1 of a wei; as wide as [`ticket::amount::Credit`]'s.
pub type Parts = Uint<640, 10>;

/// Names the layout of the file. A field is added without a new name.
pub const SCHEMA: &str = "loadgen.tickets.ledger/1";

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    accounts: BTreeMap<(Address, String), Account>,
}

/// What one sender paid for one purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Who pays.
    #[serde(with = "as_text")]
    pub sender: Address,
    /// What for.
    pub manifest_id: String,
    /// Tickets that are known to be credited.
    pub tickets: u64,
    /// What they are worth, all together.
    #[serde(rename = "credit_parts", with = "as_text")]
    pub credit: Parts,
    /// Payments of which it is not known.
    #[serde(default)]
    pub open: Vec<OpenPayment>,
}

/// A payment that may be credited or not. To send it again is to know: it is credited once in all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenPayment {
    /// Its message, in base64: the header `Livepeer-Payment`.
    pub payment: String,
    /// What it is for, in base64: the header `Livepeer-Segment`.
    pub purpose: String,
}

/// The file.
#[derive(Serialize, Deserialize)]
struct Page<A> {
    schema: String,
    accounts: Vec<A>,
}

impl Ledger {
    /// Reads a file; where there is none, nothing is credited yet.
    ///
    /// # Errors
    /// It cannot be read, or is no ledger.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let during = |why: String| Failure::new(format!("the ledger {}: {why}", path.display()));
        match fs::read(path) {
            Ok(bytes) => Self::parse(&bytes).map_err(during),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(during(error.to_string())),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let page: Page<Account> =
            serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if page.schema != SCHEMA {
            return Err(format!("it is a {:?}, not a {SCHEMA:?}", page.schema));
        }
        let mut ledger = Self::default();
        for account in page.accounts {
            for payment in &account.open {
                payment.worth()?;
            }
            let name = (account.sender, account.manifest_id.clone());
            if let Some(twice) = ledger.accounts.insert(name, account) {
                return Err(format!(
                    "the account {} {} is in it twice",
                    twice.sender, twice.manifest_id
                ));
            }
        }
        Ok(ledger)
    }

    /// Writes it to a file, whole.
    ///
    /// # Errors
    /// It cannot be written; what was there before is there still.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let page = Page {
            schema: SCHEMA.to_owned(),
            accounts: self.accounts.values().collect(),
        };
        let mut aside = path.as_os_str().to_owned();
        aside.push(".new");
        let write = || {
            let mut text = serde_json::to_string_pretty(&page)?;
            text.push('\n');
            let mut file = File::create(&aside)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&aside, path)
        };
        write().map_err(|error| {
            Failure::new(format!(
                "the ledger cannot be written to {}: {error}",
                path.display()
            ))
        })
    }

    /// Every account, by sender and manifest id.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values()
    }

    /// The account of a sender and a purpose.
    pub fn account(&self, sender: Address, manifest_id: &str) -> Option<&Account> {
        self.accounts.get(&(sender, manifest_id.to_owned()))
    }

    /// Tickets that are known to be credited, over all accounts.
    pub fn tickets(&self) -> u64 {
        self.accounts().map(|account| account.tickets).sum()
    }

    /// Payments that are open, over all accounts.
    pub fn open(&self) -> usize {
        self.accounts().map(|account| account.open.len()).sum()
    }

    /// The account, to be written in.
    pub(super) fn account_mut(&mut self, sender: Address, manifest_id: &str) -> &mut Account {
        let name = (sender, manifest_id.to_owned());
        self.accounts.entry(name).or_insert_with(|| Account {
            sender,
            manifest_id: manifest_id.to_owned(),
            tickets: 0,
            credit: Parts::ZERO,
            open: Vec::new(),
        })
    }

    pub(super) fn accounts_mut(&mut self) -> impl Iterator<Item = &mut Account> {
        self.accounts.values_mut()
    }
}

impl Account {
    /// Enters tickets that are credited.
    pub(super) fn credit(&mut self, tickets: u64, value: ExpectedValue) {
        self.tickets += tickets;
        // 2^64 tickets of 2^512 are below 2^640, so this never saturates.
        let all = value
            .parts()
            .to::<Parts>()
            .saturating_mul(Parts::from(tickets));
        self.credit = self.credit.saturating_add(all);
    }
}

impl OpenPayment {
    /// How many tickets there are in it, and what each is worth.
    pub(super) fn worth(&self) -> Result<(u64, ExpectedValue), String> {
        let wrong = |how: &dyn std::fmt::Display| format!("an open payment is none: {how}");
        let bytes = BASE64.decode(&self.payment).map_err(|how| wrong(&how))?;
        let view = PaymentView::parse(&bytes).map_err(|how| wrong(&how))?;
        let params = view
            .params
            .ok_or_else(|| wrong(&"it has no ticket params"))?;
        let value = ExpectedValue::of(params.face_value, params.win_prob);
        Ok((u64::from(view.tickets), value))
    }
}

/// As people write it: an address with its checksum, a number in decimal.
pub(crate) mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<T: Display, S: Serializer>(
        value: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(crate) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<T, D::Error> {
        let text = String::deserialize(from)?;
        text.parse()
            .map_err(|error| D::Error::custom(format!("{text:?}: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use ticket::Wei;
    use ticket::wire::{Payment, PriceInfo, TicketParams};

    use super::*;

    fn open_payment() -> OpenPayment {
        let mut bytes = Vec::new();
        Payment {
            params: Some(&TicketParams {
                face_value: Wei::from(1_000),
                win_prob: Wei::MAX,
                ..TicketParams::default()
            }),
            sender: Address([7; 20]),
            expected_price: Some(PriceInfo::default()),
            tickets: &[],
        }
        .write(&mut bytes);
        OpenPayment {
            payment: BASE64.encode(bytes),
            purpose: "CgFh".to_owned(),
        }
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        let most = ExpectedValue::of(Wei::MAX, Wei::MAX);
        ledger.account_mut(Address([7; 20]), "a").credit(3, most);
        ledger.account_mut(Address([7; 20]), "a").credit(600, most);
        let other = ledger.account_mut(Address([8; 20]), "b");
        other.open.push(open_payment());
        ledger
    }

    fn path(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("loadgen-ledger-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_ledger_survives_its_file_to_the_last_part() {
        let (ledger, path) = (ledger(), path("whole"));
        assert_eq!(Ledger::read(&path).unwrap(), Ledger::default(), "no file");
        ledger.write(&path).unwrap();
        ledger.write(&path).unwrap();
        let back = Ledger::read(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(back, ledger);
        assert_eq!((back.tickets(), back.open()), (603, 1));
        let mut credit = ticket::amount::Credit::ZERO;
        for _ in 0..603 {
            credit += ExpectedValue::of(Wei::MAX, Wei::MAX);
        }
        let account = back.account(Address([7; 20]), "a").unwrap();
        assert_eq!(account.credit, credit.parts());
        assert!(
            text.contains(SCHEMA) && text.contains(&credit.parts().to_string()),
            "{text}"
        );
        assert!(!path.with_extension("new").exists());
    }

    #[test]
    fn what_is_no_ledger_is_told_from_one() {
        let good = serde_json::to_string(&Page {
            schema: SCHEMA.to_owned(),
            accounts: ledger().accounts().collect(),
        })
        .unwrap();
        assert!(Ledger::parse(good.as_bytes()).is_ok());
        let twice = {
            let accounts: Vec<_> = ledger().accounts().cloned().collect();
            serde_json::to_string(&Page {
                schema: SCHEMA.to_owned(),
                accounts: [accounts.clone(), accounts].concat(),
            })
            .unwrap()
        };
        for (text, want) in [
            (String::new(), "EOF"),
            (good.replace("ledger/1", "ledger/2"), "ledger/2"),
            (
                good.replace("\"credit_parts\":\"0\"", "\"credit_parts\":\"x\""),
                "\"x\"",
            ),
            (good.replace("0x", "0y"), "40 hexadecimal"),
            (
                good.replace(&open_payment().payment, "EgH/"),
                "no ticket params",
            ),
            (
                good.replace(&open_payment().payment, "?"),
                "an open payment is none",
            ),
            (twice, "twice"),
        ] {
            let why = Ledger::parse(text.as_bytes()).unwrap_err();
            assert!(why.contains(want), "{why}");
        }
        let nowhere = path("nowhere").join("ledger.json");
        let why = ledger().write(&nowhere).unwrap_err().to_string();
        assert!(why.contains("cannot be written"), "{why}");
    }
}
