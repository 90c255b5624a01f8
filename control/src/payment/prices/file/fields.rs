//! One JSON object, key by key, each value still as it was written.
//!
//! Keys are compared without regard to case, as Go's reader does. A null is a value that is not there.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use ticket::Address;

use super::super::number::{decimal, shortened};
use super::super::rate::Rate;
use super::Wrong;

/// See the module.
#[derive(Debug)]
pub(super) struct Fields(Vec<(String, Box<RawValue>)>);

impl Fields {
    /// Whether its keys are known, each once. Where others may have keys of their own, only those are faults that look like ours.
    pub(super) fn check(&self, known: &[&'static str], is_strict: bool) -> Result<(), Wrong> {
        for (n, (key, _)) in self.0.iter().enumerate() {
            if self.0[..n].iter().any(|(before, _)| before == key) {
                return Err(Wrong::Twice(shortened(key)));
            }
            if known.contains(&key.as_str()) {
                continue;
            }
            let meant = known.iter().find(|known| is_near(key, known));
            let known = match meant {
                Some(meant) => format!("was `{meant}` meant?"),
                None if is_strict => format!("known are {}", known.join(", ")),
                None => continue,
            };
            return Err(Wrong::Unknown {
                key: shortened(key),
                known,
            });
        }
        Ok(())
    }

    /// The JSON of a value.
    pub(super) fn raw(&self, key: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(name, _)| name == key)?;
        Some(value.get()).filter(|text| *text != "null")
    }

    pub(super) fn text(&self, key: &'static str) -> Result<Option<String>, Wrong> {
        self.read(key, "a text")
    }

    pub(super) fn flag(&self, key: &'static str) -> Result<bool, Wrong> {
        Ok(self.read(key, "true or false")?.unwrap_or_default())
    }

    /// Names and values as a process's environment has them; true and false are written out.
    pub(super) fn variables(&self, key: &'static str) -> Result<BTreeMap<String, String>, Wrong> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Variable {
            Flag(bool),
            Text(String),
        }
        let variables: Option<BTreeMap<String, Variable>> =
            self.read(key, "an object of texts, true and false")?;
        let written = |value| match value {
            Variable::Flag(flag) => flag.to_string(),
            Variable::Text(text) => text,
        };
        Ok(variables
            .unwrap_or_default()
            .into_iter()
            .map(|(name, value)| (name, written(value)))
            .collect())
    }

    pub(super) fn address(&self, key: &'static str) -> Result<Option<Address>, Wrong> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|how| Wrong::Address {
            key,
            text: shortened(&text),
            how,
        })
    }

    /// A number, or a text with one in it.
    pub(super) fn amount(&self, key: &'static str) -> Result<Option<Rate>, Wrong> {
        let Some(raw) = self.raw(key) else {
            return Ok(None);
        };
        let text = match raw.starts_with('"') {
            true => self.text(key)?.unwrap_or_default(),
            false => raw.to_owned(),
        };
        decimal(text.trim())
            .map(Some)
            .map_err(|how| Wrong::Amount { key, how })
    }

    /// A whole number.
    pub(super) fn whole(&self, key: &'static str) -> Result<Option<u64>, Wrong> {
        self.integer(key, "a whole number")
    }

    /// A whole number that is not 0.
    pub(super) fn count(&self, key: &'static str) -> Result<Option<NonZeroU64>, Wrong> {
        let kind = "a whole number above 0";
        let count = |number| NonZeroU64::new(number).ok_or(Wrong::Kind { key, kind });
        self.integer(key, kind)?.map(count).transpose()
    }

    fn integer(&self, key: &'static str, kind: &'static str) -> Result<Option<u64>, Wrong> {
        let integer = |amount: Rate| {
            u64::try_from(amount.wei())
                .ok()
                .filter(|_| amount.pixels() == Rate::FREE.pixels())
        };
        let amount = self.amount(key).map_err(|_| Wrong::Kind { key, kind })?;
        amount
            .map(|amount| integer(amount).ok_or(Wrong::Kind { key, kind }))
            .transpose()
    }

    fn read<'a, T: Deserialize<'a>>(
        &'a self,
        key: &'static str,
        kind: &'static str,
    ) -> Result<Option<T>, Wrong> {
        self.raw(key)
            .map(serde_json::from_str)
            .transpose()
            .map_err(|_| Wrong::Kind { key, kind })
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, _>()? {
                    fields.push((key.to_ascii_lowercase(), value));
                }
                Ok(Fields(fields))
            }
        }

        from.deserialize_map(Reader)
    }
}

/// Whether one is the other but for two letters, or for one in short words; dashes and underscores are no letters.
fn is_near(key: &str, known: &str) -> bool {
    let letters = |text: &str| -> Vec<char> {
        text.chars()
            .filter(|c| !matches!(c, '_' | '-' | ' '))
            .take(LETTERS_MAX)
            .collect()
    };
    let (key, known) = (letters(key), letters(known));
    distance(&key, &known) <= if known.len() > 5 { 2 } else { 1 }
}

/// No key of ours is half as long.
const LETTERS_MAX: usize = 64;

/// Letters to put in, take out or change to make one of the other (Levenshtein).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (n, from) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = n + 1;
        for (m, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != to);
            diagonal = row[m + 1];
            row[m + 1] = changed.min(row[m] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspellings_are_near_and_other_words_are_not() {
        for (key, known) in [
            ("priceperunits", "priceperunit"),
            ("pricePerUnit", "price_per_unit"),
            ("model-id", "model_id"),
            ("modelid", "model_id"),
            ("gateways", "gateway"),
            ("curency", "currency"),
            ("war", "warm"),
        ] {
            assert!(
                is_near(&key.to_ascii_lowercase(), known),
                "{key} and {known}"
            );
        }
        for (key, known) in [("name", "warm"), ("image", "gateway"), ("env", "url")] {
            assert!(!is_near(key, known), "{key} and {known}");
        }
        let letters = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(distance(&letters("kitten"), &letters("sitting")), 3);
        assert_eq!(distance(&letters(""), &letters("abc")), 3);
    }
}
