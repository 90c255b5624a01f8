//! What work costs: the flags, and the two lists that are JSON or a file that holds it.

use std::num::NonZeroU64;
use std::path::Path;

use control::payment::prices::{self, ModelRate, Prices, Rate};
use control::ticket::{Price, Wei};

use crate::failure::Failure;
use crate::payments::PaymentOptions;

/// What work costs: the flags, and the two lists.
pub(crate) fn read(
    options: &PaymentOptions<'_>,
    price: Price,
    notes: &mut Vec<String>,
) -> Result<Prices, Failure> {
    let pixels = NonZeroU64::new(price.pixels()).unwrap_or(NonZeroU64::MIN);
    let base = Rate::new(Wei::from(price.wei()), pixels);
    let mut config = prices::Config {
        base,
        senders: Vec::new(),
        models: Vec::new(),
    };
    let wrong = |name: &str, why: String| Failure::usage(format!("{name} is not understood"), why);
    if let Some(text) = options.price_per_gateway.filter(|text| !text.is_empty()) {
        let name = "price-per-gateway";
        let list = prices::gateways(&json_or_file(name, text)?)
            .map_err(|error| wrong(name, error.to_string()))?;
        config.senders = list
            .iter()
            .map(|entry| (entry.sender, entry.rate))
            .collect();
    }
    if let Some(text) = options.ai_models.filter(|text| !text.is_empty()) {
        let name = "ai-models";
        let list = prices::models(&json_or_file(name, text)?)
            .map_err(|error| wrong(name, error.to_string()))?;
        // Of an entry, what is not said is the node's own: so many wei, for so many pixels.
        let (wei, unit) = (options.price.0.unwrap_or(0), options.price.1.unwrap_or(1));
        let unit = NonZeroU64::new(unit).unwrap_or(NonZeroU64::MIN);
        let whole = Rate::new(Wei::from(wei), NonZeroU64::MIN);
        if let Some(entry) = list.iter().find(|entry| is_more_than_a_price(entry)) {
            notes.push(format!(
                "of --ai-models prices alone are used: what it says of capacity, url, token or optimization_flags, as of {}, is not",
                entry.model_id
            ));
        }
        for entry in list {
            let rate = entry.rate(whole, unit).ok_or_else(|| {
                wrong(name, format!("the price of {} is too fine", entry.model_id))
            })?;
            config.models.push(ModelRate {
                sender: entry.gateway,
                capability: entry.capability,
                model: entry.model_id,
                rate,
            });
        }
    }
    // One model by two names: gateways that have no wish ask for `noop`.
    for (name, other) in [(NOOP, PASSTHROUGH), (PASSTHROUGH, NOOP)] {
        let named = |name: &str, sender| {
            let is_it = |rate: &&ModelRate| rate.model == name && rate.sender == sender;
            config.models.iter().find(is_it).cloned()
        };
        let twins = config.models.iter().filter(|rate| rate.model == name);
        let missing = twins.filter(|rate| named(other, rate.sender).is_none());
        let missing: Vec<_> = missing
            .map(|rate| ModelRate {
                model: other.to_owned(),
                ..rate.clone()
            })
            .collect();
        config.models.extend(missing);
    }
    Prices::new(config)
        .map_err(|error| Failure::usage("the prices cannot be used together", error.to_string()))
}

const NOOP: &str = "noop";
const PASSTHROUGH: &str = "builtin/passthrough";

/// Whether an entry says something that this node does not act on. Every model is warm.
fn is_more_than_a_price(entry: &prices::ModelEntry) -> bool {
    entry.capacity.is_some()
        || !entry.url.is_empty()
        || !entry.token.0.is_empty()
        || !entry.optimization_flags.is_empty()
}

/// A list itself, or what the file of that name holds.
fn json_or_file(name: &str, text: &str) -> Result<String, Failure> {
    if text.trim_start().starts_with(['{', '[']) || !Path::new(text).is_file() {
        return Ok(text.to_owned());
    }
    std::fs::read_to_string(text).map_err(|error| {
        Failure::usage(
            format!("{name}: the file {text} cannot be read"),
            error.to_string(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use control::ticket::Address;

    #[test]
    fn noop_and_passthrough_cost_the_same_whichever_is_named() {
        for named in [NOOP, PASSTHROUGH] {
            let json = format!(
                r#"[{{"pipeline":"live-video-to-video","model_id":"{named}","price_per_unit":7}}]"#
            );
            let options = PaymentOptions {
                ai_models: Some(&json),
                ..PaymentOptions::default()
            };
            let prices = read(&options, Price::new(1, 1).unwrap(), &mut Vec::new()).unwrap();
            for model in [NOOP, PASSTHROUGH] {
                let price = prices.model_price(&Address::ZERO, 35, model);
                assert_eq!(price, Price::new(7, 1).unwrap(), "{named}: {model}");
            }
            let other = prices.model_price(&Address::ZERO, 35, "builtin/blur");
            assert_eq!(other, Price::new(1, 1).unwrap());
        }
    }
}
