//! What work costs: by sender, capability and model.
//!
//! ```text
//!   wanted: capability → models ──▶ Σ of their rates, the sender's own before everybody's
//!                                     │ 0, or nothing wanted ──▶ the base rate, the sender's own before everybody's
//!                                     ▼
//!                       × (1 + cost of a redemption / face value), where that is on ──▶ cut to what two int64 hold
//! ```
//!
//! The rules are go-livepeer's, in exact integers. Every rate is held over one common denominator, found once, when the table is made:
//! so a sum is a sum of integers, and no request, however many models it names, makes it overflow or grow a denominator.
//!
//! Invariants:
//! - A table does not change. Who changes prices makes another one, and nobody waits for a lock.
//! - Nothing is negative, and nothing is a float. What is cut is cut downwards, once.
//! - [`Prices::model_price`] is never above what [`Prices::price`] asks for the model, alone or with others that cost something too.

mod file;
mod number;
mod rate;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use proto::net;
use ruint::Uint;
use ticket::{Address, Price, Wei};

pub use self::file::{BadFile, GatewayPrice, ModelEntry, Token, Wrong, gateways, models};
pub use self::number::BadAmount;
pub use self::rate::Rate;

/// Wide enough for all of it: a rate is below 2^63 wei, its numerator over a denominator of 256 bits below 2^319, a sum of 2^64 such
/// below 2^383; times a face value and a cost, 2^257, and a thousand, 2^10: 650 bits.
type Int = Uint<1024, 16>;

/// go-livepeer's precision of what has an overhead in it: a thousandth of a wei.
const PARTS: u64 = 1_000;

/// Nothing costs more.
const DEAREST: Price = match Price::new(i64::MAX, 1) {
    Ok(price) => price,
    Err(_) => Price::FREE,
};

/// What a table is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What a pixel costs where nothing else is said.
    pub base: Rate,
    /// The same for some senders.
    pub senders: Vec<(Address, Rate)>,
    /// What work on models costs.
    pub models: Vec<ModelRate>,
}

/// What work on a model costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRate {
    /// Whom; `None` for everybody.
    pub sender: Option<Address>,
    /// The capability's number.
    pub capability: u32,
    /// The model's id.
    pub model: String,
    /// What a pixel of it costs.
    pub rate: Rate,
}

/// What a redemption adds to a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overhead {
    /// Nothing: prices are as they were written.
    Off,
    /// Its share of a ticket's face value. Where either is 0 that is nothing, and the price is cut all the same.
    On {
        /// What a redemption costs.
        tx_cost_wei: Wei,
        /// What a ticket is worth that won.
        face_value_wei: Wei,
    },
}

/// There is no price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPrice {
    /// It is above 2^63 − 1 wei a pixel. go-livepeer's text.
    TooHigh,
}

impl fmt::Display for NoPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooHigh => "price cannot be converted to int64",
        })
    }
}

impl std::error::Error for NoPrice {}

/// Why there is no table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadConfig {
    /// The same work for the same sender has two prices; which.
    Twice(String),
    /// A price is above 2^63 − 1 wei a pixel; which.
    TooHigh(String),
    /// The prices have no common denominator of 256 bits.
    TooFine,
}

impl fmt::Display for BadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Twice(what) => write!(f, "{what} has two prices"),
            Self::TooHigh(what) => write!(
                f,
                "{what} has a price above 2^63 - 1 wei a pixel, which no message can hold"
            ),
            Self::TooFine => f.write_str(
                "the prices are too fine and too different to be added exactly; give them fewer decimals",
            ),
        }
    }
}

impl std::error::Error for BadConfig {}

/// See the module. Made once, then shared.
#[derive(Debug, Clone)]
pub struct Prices {
    /// Of everything below; not 0.
    pixels: Int,
    base: Int,
    senders: BTreeMap<Address, Int>,
    models: Models,
    own: BTreeMap<Address, Models>,
}

/// By capability, then by model: a lookup of a model's id that a request spells needs no copy of it.
type Models = BTreeMap<u32, BTreeMap<String, Int>>;

impl Prices {
    /// # Errors
    /// See [`BadConfig`].
    pub fn new(config: Config) -> Result<Self, BadConfig> {
        let pixels = common_pixels(&config)?;
        let mut prices = Self {
            pixels,
            base: over(pixels, config.base, || "work".to_owned())?,
            senders: BTreeMap::new(),
            models: Models::new(),
            own: BTreeMap::new(),
        };
        for (sender, rate) in config.senders {
            let what = || format!("work for {sender}");
            let wei = over(pixels, rate, what)?;
            if prices
                .senders
                .insert(sender, wei)
                .is_some_and(|had| had != wei)
            {
                return Err(BadConfig::Twice(what()));
            }
        }
        for entry in config.models {
            let what = entry.name();
            let wei = over(pixels, entry.rate, || what.clone())?;
            let models = match entry.sender {
                Some(sender) => prices.own.entry(sender).or_default(),
                None => &mut prices.models,
            };
            let had = models
                .entry(entry.capability)
                .or_default()
                .insert(entry.model, wei);
            if had.is_some_and(|had| had != wei) {
                return Err(BadConfig::Twice(what));
            }
        }
        Ok(prices)
    }

    /// What a sender is asked for what it wants; `None` when it only looks.
    ///
    /// A model is priced where its capability is among the wanted capacities and has constraints that name it. Where such prices come to
    /// 0, the base price it is.
    ///
    /// # Errors
    /// See [`NoPrice`].
    pub fn price(
        &self,
        sender: &Address,
        wanted: Option<&net::Capabilities>,
        overhead: Overhead,
    ) -> Result<Price, NoPrice> {
        let wei = match wanted.map(|wanted| self.sum(sender, wanted)) {
            Some(sum) if !sum.is_zero() => sum,
            Some(_) | None => self.base(sender),
        };
        let (wei, pixels) = match overhead {
            Overhead::Off => return fit(wei, self.pixels),
            Overhead::On { face_value_wei, .. } if face_value_wei.is_zero() => (wei, self.pixels),
            Overhead::On {
                tx_cost_wei,
                face_value_wei,
            } => {
                let (cost, face) = (wide(tx_cost_wei), wide(face_value_wei));
                (wei * (face + cost), self.pixels * face)
            }
        };
        cut(wei, pixels)
    }

    /// The least that work on a model is paid at, whatever the overhead is: what it would cost by itself, to the thousandth of a wei.
    ///
    /// The parameters of a ticket do not say what they were offered for. A payment below this was asked for cheaper work. A model that
    /// has no price, or that of nothing, costs the base price by itself, and so here.
    pub fn model_price(&self, sender: &Address, capability: u32, model: &str) -> Price {
        let wei = match self.model(sender, capability, model) {
            Some(wei) if !wei.is_zero() => wei,
            Some(_) | None => self.base(sender),
        };
        least(wei, self.pixels)
    }

    /// What every model costs a sender, for `capabilities_prices`: by capability, then by model, without an overhead.
    ///
    /// go-livepeer drops the fraction of these, and so shows what costs less than a wei as free; here it stays.
    pub fn list(&self, sender: &Address) -> Vec<net::PriceInfo> {
        let mut prices = BTreeMap::new();
        // The sender's own come last and replace what is everybody's.
        for models in [Some(&self.models), self.own.get(sender)]
            .into_iter()
            .flatten()
        {
            for (capability, models) in models {
                for (model, wei) in models {
                    prices.insert((*capability, model.as_str()), *wei);
                }
            }
        }
        prices
            .into_iter()
            .map(|((capability, model), wei)| {
                let price = exact(wei, self.pixels).unwrap_or_else(|| least(wei, self.pixels));
                let (price_per_unit, pixels_per_unit) = price.to_wire();
                net::PriceInfo {
                    price_per_unit,
                    pixels_per_unit,
                    capability,
                    constraint: model.to_owned(),
                }
            })
            .collect()
    }

    fn base(&self, sender: &Address) -> Int {
        *self.senders.get(sender).unwrap_or(&self.base)
    }

    /// Of the models that are wanted and priced; each counts once, so this is at most the sum of the table.
    fn sum(&self, sender: &Address, wanted: &net::Capabilities) -> Int {
        let Some(constraints) = &wanted.constraints else {
            return Int::ZERO;
        };
        constraints
            .per_capability
            .iter()
            .filter(|(capability, _)| wanted.capacities.contains_key(capability))
            .flat_map(|(capability, of)| of.models.keys().map(|model| (*capability, model)))
            .filter_map(|(capability, model)| self.model(sender, capability, model))
            .fold(Int::ZERO, |sum, wei| sum + wei)
    }

    fn model(&self, sender: &Address, capability: u32, model: &str) -> Option<Int> {
        let of = |models: &Models| models.get(&capability)?.get(model).copied();
        self.own
            .get(sender)
            .and_then(of)
            .or_else(|| of(&self.models))
    }
}

impl ModelRate {
    fn name(&self) -> String {
        let model = number::shortened(&self.model);
        let of = format!("the model {model:?} of capability {}", self.capability);
        match self.sender {
            Some(sender) => format!("{of} for {sender}"),
            None => of,
        }
    }
}

/// The least common denominator.
fn common_pixels(config: &Config) -> Result<Int, BadConfig> {
    let senders = config.senders.iter().map(|(_, rate)| rate);
    let models = config.models.iter().map(|entry| &entry.rate);
    senders
        .chain(models)
        .try_fold(config.base.pixels(), |common, rate| {
            common.lcm(rate.pixels())
        })
        .map(wide)
        .ok_or(BadConfig::TooFine)
}

/// A rate's numerator over the common denominator.
fn over(pixels: Int, rate: Rate, what: impl FnOnce() -> String) -> Result<Int, BadConfig> {
    let whole = rate.wei() / rate.pixels();
    if i64::try_from(whole).is_err() {
        return Err(BadConfig::TooHigh(what()));
    }
    Ok(wide(rate.wei()) * (pixels / wide(rate.pixels())))
}

fn wide(value: Wei) -> Int {
    value.to()
}

/// As it is where that fits, else cut.
fn fit(wei: Int, pixels: Int) -> Result<Price, NoPrice> {
    exact(wei, pixels).map_or_else(|| cut(wei, pixels), Ok)
}

/// The thousandths, or where those do not fit the whole wei.
fn cut(wei: Int, pixels: Int) -> Result<Price, NoPrice> {
    let parts = in_parts(wei, pixels);
    exact(parts, Int::from(PARTS))
        .or_else(|| exact(parts / Int::from(PARTS), Int::ONE))
        .ok_or(NoPrice::TooHigh)
}

/// Not above what [`fit`] or [`cut`] make of this or of more. A rate's whole wei fit, which `over` saw to.
fn least(wei: Int, pixels: Int) -> Price {
    let parts = in_parts(wei, pixels);
    // More may only fit as whole wei: one wei below that it is safe to keep the fraction.
    let is_far_below = i64::try_from(parts + Int::from(PARTS)).is_ok();
    let whole = || exact(parts / Int::from(PARTS), Int::ONE);
    is_far_below
        .then(|| exact(parts, Int::from(PARTS)))
        .flatten()
        .or_else(whole)
        .unwrap_or(DEAREST)
}

fn in_parts(wei: Int, pixels: Int) -> Int {
    wei * Int::from(PARTS) / pixels
}

/// Reduced, where both halves are int64. `pixels` is not 0.
fn exact(wei: Int, pixels: Int) -> Option<Price> {
    let common = wei.gcd(pixels);
    let half = |value: Int| i64::try_from(value / common).ok();
    Price::new(half(wei)?, half(pixels)?).ok()
}
