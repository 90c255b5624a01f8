//! Prices as operators write them: what a gateway pays, and go-livepeer's list of models.
//!
//! Invariants:
//! - Text in, plain structs out: reading files is the caller's affair.
//! - Numbers are read as they were written, digit by digit, and never through a float.
//! - Money is not guessed at. A key that looks like a misspelt one, an amount of another currency, two prices for one thing: each is an
//!   error that names the entry.

mod fields;

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;

use ticket::Address;
use ticket::address::ParseError;

use self::fields::Fields;
use super::number::{self, BadAmount, in_wei, shortened};
use super::rate::Rate;
use crate::capability::Capability;

/// What somebody pays for work that has no price of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatewayPrice {
    /// Who.
    pub sender: Address,
    /// What a pixel costs them.
    pub rate: Rate,
}

/// A model that is run, and what it costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelEntry {
    /// The pipeline's name.
    pub pipeline: String,
    /// Its number among the capabilities.
    pub capability: u32,
    /// The model's id; not empty.
    pub model_id: String,
    /// Whether it is loaded at once.
    pub warm: bool,
    /// How many at once; `None` where it is not said.
    pub capacity: Option<u64>,
    /// Wei for a unit; `None` where the node's own price counts.
    pub price_per_unit: Option<Rate>,
    /// Pixels of a unit; `None` where the node's own count.
    pub pixels_per_unit: Option<NonZeroU64>,
    /// For whom the price is; `None` for everybody.
    pub gateway: Option<Address>,
    /// The runner that serves it; empty where the node finds one itself.
    pub url: String,
    /// What that runner wants to be shown.
    pub token: Token,
    /// What the runner's container is started with.
    pub optimization_flags: BTreeMap<String, String>,
}

/// A secret of a runner; empty where it wants none. It is not for logs.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "…" })
    }
}

impl ModelEntry {
    /// What a pixel of it costs, given what the node asks for a unit and what its unit is. `None` when that is finer than 256 bits.
    pub fn rate(&self, price_per_unit: Rate, pixels_per_unit: NonZeroU64) -> Option<Rate> {
        let unit = self.pixels_per_unit.unwrap_or(pixels_per_unit);
        self.price_per_unit.unwrap_or(price_per_unit).per(unit)
    }
}

/// Why a file gives no prices.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadFile {
    /// Not JSON of the right shape.
    #[error("this is not JSON of the form {form}: {how}")]
    Shape {
        /// What it should be.
        form: &'static str,
        /// What the reader says.
        how: String,
    },
    /// An entry is wrong.
    #[error("{entry}: {wrong}")]
    Entry {
        /// Where it stands, from 0 on; or itself, shortened.
        entry: String,
        /// What is wrong with it.
        wrong: Wrong,
    },
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Wrong {
    /// A key that is needed is not there, or is empty.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A key that means nothing here, but may have been meant to.
    #[error("`{key}` means nothing here; {known}")]
    Unknown {
        /// The key, shortened.
        key: String,
        /// What may have been meant.
        known: String,
    },
    /// A key stands there twice.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// A value of another kind.
    #[error("`{key}` is not {kind}")]
    Kind {
        /// Of which key.
        key: &'static str,
        /// What it should be.
        kind: &'static str,
    },
    /// An amount that is none.
    #[error("`{key}`: {how}")]
    Amount {
        /// Of which key.
        key: &'static str,
        /// See [`BadAmount`].
        how: BadAmount,
    },
    /// An address that is none.
    #[error("`{key}` {text:?}: {how}")]
    Address {
        /// Of which key.
        key: &'static str,
        /// What stands there, shortened.
        text: String,
        /// See [`ParseError`].
        how: ParseError,
    },
    /// A pipeline that nobody knows.
    #[error("`pipeline` {0:?} is unknown; known are {known}", known = pipelines())]
    Pipeline(String),
    /// Not the short form of a model.
    #[error("a model is written pipeline:model:warm, and warm is true or false")]
    Form,
    /// The same as an earlier entry.
    #[error("the same as {0}")]
    Duplicate(String),
    /// Its price is another one than that of an earlier entry, for the same.
    #[error("another price than {0} has for the same model and gateway")]
    Price(String),
    /// It is warm and an earlier entry is not, or the other way round.
    #[error("`warm` is not what {0} says of the same model")]
    Warm(String),
}

const GATEWAY_FORM: &str =
    r#"{"gateways":[{"ethaddress":"0x…","priceperunit":1200,"currency":"wei","pixelsperunit":1}]}"#;
const GATEWAY_KEYS: &[&str] = &["ethaddress", "priceperunit", "currency", "pixelsperunit"];
const MODEL_FORM: &str = r#"[{"pipeline":"live-video-to-video","model_id":"noop","price_per_unit":1200,"pixels_per_unit":1}]"#;
const MODEL_KEYS: &[&str] = &[
    "pipeline",
    "model_id",
    "warm",
    "capacity",
    "price_per_unit",
    "pixels_per_unit",
    "currency",
    "gateway",
    "url",
    "token",
    "optimization_flags",
];

/// Prices by gateway, as `--price-per-gateway` has them. go-livepeer's older name for a gateway, `broadcasters`, is read as well.
///
/// # Errors
/// See [`BadFile`].
pub fn gateways(text: &str) -> Result<Vec<GatewayPrice>, BadFile> {
    let shape = |how: serde_json::Error| BadFile::Shape {
        form: GATEWAY_FORM,
        how: how.to_string(),
    };
    let file: Fields = serde_json::from_str(text).map_err(shape)?;
    file.check(&["gateways", "broadcasters"], true)
        .map_err(|wrong| at("the file", wrong))?;
    let mut prices: Vec<GatewayPrice> = Vec::new();
    let mut seen = BTreeMap::new();
    for list in ["broadcasters", "gateways"] {
        let Some(entries) = file.raw(list) else {
            continue;
        };
        let entries: Vec<Fields> = serde_json::from_str(entries).map_err(shape)?;
        for (n, fields) in entries.iter().enumerate() {
            let entry = format!("{list}[{n}]");
            let price = gateway(fields).map_err(|wrong| at(&entry, wrong))?;
            if let Some(earlier) = seen.insert(price.sender, entry.clone()) {
                return Err(at(&entry, Wrong::Duplicate(earlier)));
            }
            prices.push(price);
        }
    }
    if prices.is_empty() {
        return Err(at("the file", Wrong::Missing("gateways")));
    }
    Ok(prices)
}

fn gateway(fields: &Fields) -> Result<GatewayPrice, Wrong> {
    fields.check(GATEWAY_KEYS, true)?;
    let sender = fields
        .address("ethaddress")?
        .ok_or(Wrong::Missing("ethaddress"))?;
    let price = money(fields, "priceperunit")?.ok_or(Wrong::Missing("priceperunit"))?;
    let unit = fields
        .count("pixelsperunit")?
        .ok_or(Wrong::Missing("pixelsperunit"))?;
    let rate = price.per(unit).ok_or(Wrong::Amount {
        key: "priceperunit",
        how: BadAmount::Digits,
    })?;
    Ok(GatewayPrice { sender, rate })
}

/// Models, as go-livepeer's `aiModels` has them: a JSON list, or the short form `pipeline:model:warm,…`. Keys that a file may carry for
/// others are passed over.
///
/// # Errors
/// See [`BadFile`].
pub fn models(text: &str) -> Result<Vec<ModelEntry>, BadFile> {
    let mut entries: Vec<(String, ModelEntry)> = Vec::new();
    if text.trim_start().starts_with('[') {
        let list: Vec<Fields> = serde_json::from_str(text).map_err(|how| BadFile::Shape {
            form: MODEL_FORM,
            how: how.to_string(),
        })?;
        for (n, fields) in list.iter().enumerate() {
            let name = format!("models[{n}]");
            let entry = model(fields).map_err(|wrong| at(&name, wrong))?;
            entries.push((name, entry));
        }
    } else {
        for (n, part) in text.split(',').enumerate() {
            let name = format!("models[{n}] {:?}", shortened(part.trim()));
            let entry = short_form(part.trim()).map_err(|wrong| at(&name, wrong))?;
            entries.push((name, entry));
        }
    }
    compare(&entries)?;
    Ok(entries.into_iter().map(|(_, entry)| entry).collect())
}

fn model(fields: &Fields) -> Result<ModelEntry, Wrong> {
    fields.check(MODEL_KEYS, false)?;
    let price_per_unit = money(fields, "price_per_unit")?;
    let named = |key| match fields.text(key)? {
        Some(text) if !text.is_empty() => Ok(text),
        Some(_) | None => Err(Wrong::Missing(key)),
    };
    let pipeline = named("pipeline")?;
    let gateway = match fields.text("gateway")?.as_deref() {
        // What go-livepeer calls everybody.
        None | Some("" | "default") => None,
        Some(_) => fields.address("gateway")?,
    };
    Ok(ModelEntry {
        capability: capability(&pipeline)?,
        pipeline,
        model_id: named("model_id")?,
        warm: fields.flag("warm")?,
        capacity: fields.whole("capacity")?,
        price_per_unit,
        pixels_per_unit: fields.count("pixels_per_unit")?,
        gateway,
        url: fields.text("url")?.unwrap_or_default().trim().to_owned(),
        token: Token(fields.text("token")?.unwrap_or_default()),
        optimization_flags: fields.variables("optimization_flags")?,
    })
}

fn short_form(text: &str) -> Result<ModelEntry, Wrong> {
    let mut parts = text.split(':');
    let (Some(pipeline), Some(model_id), Some(warm), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Wrong::Form);
    };
    if model_id.is_empty() {
        return Err(Wrong::Missing("model_id"));
    }
    Ok(ModelEntry {
        pipeline: pipeline.to_owned(),
        capability: capability(pipeline)?,
        model_id: model_id.to_owned(),
        // The words of go's strconv.ParseBool.
        warm: match warm {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
            "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
            _ => return Err(Wrong::Form),
        },
        capacity: None,
        price_per_unit: None,
        pixels_per_unit: None,
        gateway: None,
        url: String::new(),
        token: Token::default(),
        optimization_flags: BTreeMap::new(),
    })
}

/// One model may stand there more than once: for several gateways, at several prices, or with several runners, at one.
fn compare(entries: &[(String, ModelEntry)]) -> Result<(), BadFile> {
    let mut warmth = BTreeMap::new();
    let mut priced = BTreeMap::new();
    let mut runners = BTreeMap::new();
    for (name, entry) in entries {
        let model = (entry.capability, entry.model_id.as_str());
        let (earlier, first) = *warmth.entry(model).or_insert((name, entry));
        if first.warm != entry.warm {
            return Err(at(name, Wrong::Warm(earlier.clone())));
        }
        let (earlier, first) = *priced
            .entry((model, entry.gateway))
            .or_insert((name, entry));
        let price = |entry: &ModelEntry| (entry.price_per_unit, entry.pixels_per_unit);
        if price(first) != price(entry) {
            return Err(at(name, Wrong::Price(earlier.clone())));
        }
        if let Some(earlier) = runners.insert((model, entry.gateway, entry.url.as_str()), name) {
            return Err(at(name, Wrong::Duplicate(earlier.clone())));
        }
    }
    Ok(())
}

/// An amount of the entry's currency, in wei.
fn money(fields: &Fields, key: &'static str) -> Result<Option<Rate>, Wrong> {
    let currency = fields.text("currency")?.unwrap_or_default();
    let bad = |key| move |how| Wrong::Amount { key, how };
    // The currency is looked at even where there is no amount.
    in_wei(Rate::FREE, &currency).map_err(bad("currency"))?;
    match fields.amount(key)? {
        Some(amount) => in_wei(amount, &currency).map(Some).map_err(bad(key)),
        None => Ok(None),
    }
}

fn capability(pipeline: &str) -> Result<u32, Wrong> {
    Capability::of_pipeline(pipeline)
        .filter(|capability| capability.pipeline().is_some())
        .map(|capability| capability.0)
        .ok_or_else(|| Wrong::Pipeline(number::shortened(pipeline)))
}

fn pipelines() -> String {
    let (first, last) = (Capability::TEXT_TO_IMAGE.0, Capability::TEXT_TO_SPEECH.0);
    let names: Vec<_> = (first..=last)
        .filter_map(|number| Capability(number).pipeline())
        .collect();
    names.join(", ")
}

fn at(entry: &str, wrong: Wrong) -> BadFile {
    BadFile::Entry {
        entry: entry.to_owned(),
        wrong,
    }
}

#[cfg(test)]
mod tests;
