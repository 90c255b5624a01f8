//! Model ids and parameters in JSON, and the filters they mean.
//!
//! | key | filters | range | default |
//! |---|---|---|---|
//! | `filter` | all | a name of [`FILTERS`], with or without `builtin/` | as started |
//! | `amount_percent` | `grayscale`, `invert` | 0 to 100 | 100 |
//! | `gain_percent` | `edges` | 1 to 1000 | 100 |
//! | `radius_px` | `blur` | 1 to 64 | 4 |
//! | `block_px` | `pixelate` | 2 to 128 | 16 |
//!
//! All amounts are whole numbers (`50` and `50.0` are the same). A key that is absent or null stays as it is. Keys that
//! mean nothing to the filter are ignored and named, so that a gateway with one set of parameters for many models works.
//!
//! Invariants:
//! - Any JSON value is answered with a change, with nothing, or with a text; none is a panic.
//! - An update is all or nothing: one wrong value leaves every parameter as it was.

use link::Filter;
use serde_json::{Map, Value, json};

/// The built-in filters by name.
pub(super) const FILTERS: [&str; 6] = [
    "passthrough",
    "grayscale",
    "edges",
    "blur",
    "pixelate",
    "invert",
];

const PREFIX: &str = "builtin/";
/// At most this many ignored keys are named.
const IGNORED_MAX: usize = 16;
/// A key is named up to this many characters.
const KEY_CHARS: usize = 64;

/// A set of parameters that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Update {
    /// What to do from now on.
    pub(super) filter: Filter,
    /// Keys that mean nothing to it.
    pub(super) ignored: Vec<String>,
}

/// What a message on the control channel asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// Nothing: a keepalive, or no parameter at all.
    Nothing,
    /// New parameters.
    Update(Update),
}

/// The filter that a model id names. Empty and `noop` are what a gateway sends that has no wish.
pub(super) fn model(id: &str) -> Result<Filter, String> {
    match id {
        "" | "noop" => Ok(Filter::Passthrough),
        id => id.strip_prefix(PREFIX).and_then(default_of).ok_or_else(|| {
            format!(
                "unknown model {:?}; this node offers {}",
                shortened(id),
                offered()
            )
        }),
    }
}

/// The model id of a filter.
pub(super) fn model_id(filter: Filter) -> String {
    format!("{PREFIX}{}", name(filter))
}

/// Reads one message of the control channel.
pub(super) fn message(current: Filter, bytes: &[u8]) -> Result<Message, String> {
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| format!("the control message is not JSON: {error}"))?;
    let Value::Object(mut object) = value else {
        return Err(format!(
            "a control message is a JSON object, not {}",
            kind(&value)
        ));
    };
    object.remove("keep");
    match object.is_empty() {
        true => Ok(Message::Nothing),
        false => update(current, &object).map(Message::Update),
    }
}

/// Applies `params` to `current`.
pub(super) fn update(current: Filter, params: &Map<String, Value>) -> Result<Update, String> {
    let mut filter = match params.get("filter") {
        None | Some(Value::Null) => current,
        Some(Value::String(wanted)) => {
            let wanted = wanted.strip_prefix(PREFIX).unwrap_or(wanted);
            let fresh = default_of(wanted).ok_or_else(|| {
                format!(
                    "unknown filter {:?}; this node offers {}",
                    shortened(wanted),
                    offered()
                )
            })?;
            // Naming the filter that already runs keeps its other parameters.
            if name(fresh) == name(current) {
                current
            } else {
                fresh
            }
        }
        Some(other) => return Err(format!("filter must be a string, not {}", kind(other))),
    };
    let mut ignored = Vec::new();
    for (key, value) in params {
        if key == "filter" || value.is_null() {
            continue;
        }
        let known = match (&mut filter, key.as_str()) {
            (
                Filter::Grayscale { amount_percent } | Filter::Invert { amount_percent },
                "amount_percent",
            ) => {
                whole(key, value, 0, 100).map(|percent| *amount_percent = percent as u8)?;
                true
            }
            (Filter::Edges { gain_percent }, "gain_percent") => {
                whole(key, value, 1, 1_000).map(|percent| *gain_percent = percent)?;
                true
            }
            (Filter::Blur { radius_px }, "radius_px") => {
                whole(key, value, 1, 64).map(|px| *radius_px = px as u8)?;
                true
            }
            (Filter::Pixelate { block_px }, "block_px") => {
                whole(key, value, 2, 128).map(|px| *block_px = px as u8)?;
                true
            }
            _ => false,
        };
        if !known && ignored.len() < IGNORED_MAX {
            ignored.push(shortened(key));
        }
    }
    Ok(Update { filter, ignored })
}

/// The parameters in force, as one would send them.
pub(super) fn to_json(filter: Filter) -> Value {
    let name = name(filter);
    match filter {
        Filter::Passthrough => json!({ "filter": name }),
        Filter::Grayscale { amount_percent } | Filter::Invert { amount_percent } => {
            json!({ "filter": name, "amount_percent": amount_percent })
        }
        Filter::Edges { gain_percent } => json!({ "filter": name, "gain_percent": gain_percent }),
        Filter::Blur { radius_px } => json!({ "filter": name, "radius_px": radius_px }),
        Filter::Pixelate { block_px } => json!({ "filter": name, "block_px": block_px }),
    }
}

/// A short name for a set of parameters, so that two can be compared at a glance (FNV-1a).
pub(super) fn hash(filter: Filter) -> String {
    let text = to_json(filter).to_string();
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

fn default_of(name: &str) -> Option<Filter> {
    Some(match name {
        "passthrough" => Filter::Passthrough,
        "grayscale" => Filter::Grayscale {
            amount_percent: 100,
        },
        "edges" => Filter::Edges { gain_percent: 100 },
        "blur" => Filter::Blur { radius_px: 4 },
        "pixelate" => Filter::Pixelate { block_px: 16 },
        "invert" => Filter::Invert {
            amount_percent: 100,
        },
        _ => return None,
    })
}

fn name(filter: Filter) -> &'static str {
    match filter {
        Filter::Passthrough => "passthrough",
        Filter::Grayscale { .. } => "grayscale",
        Filter::Edges { .. } => "edges",
        Filter::Blur { .. } => "blur",
        Filter::Pixelate { .. } => "pixelate",
        Filter::Invert { .. } => "invert",
    }
}

fn offered() -> String {
    let names: Vec<String> = FILTERS
        .iter()
        .map(|name| format!("{PREFIX}{name}"))
        .collect();
    names.join(", ")
}

fn whole(key: &str, value: &Value, min: u16, max: u16) -> Result<u16, String> {
    let wrong =
        |what: String| format!("{key} must be a whole number from {min} to {max}, not {what}");
    let number = value
        .as_f64()
        .ok_or_else(|| wrong(kind(value).to_owned()))?;
    match number.fract() == 0.0 && (f64::from(min)..=f64::from(max)).contains(&number) {
        true => Ok(number as u16),
        false => Err(wrong(value.to_string())),
    }
}

/// What a value is, in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(KEY_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLUR: Filter = Filter::Blur { radius_px: 4 };

    fn apply(current: Filter, params: Value) -> Result<Update, String> {
        let Value::Object(object) = params else {
            panic!("the test means an object")
        };
        update(current, &object)
    }

    #[test]
    fn every_filter_is_a_model_and_back() {
        for name in FILTERS {
            let id = format!("builtin/{name}");
            assert_eq!(model_id(model(&id).unwrap()), id);
        }
        assert_eq!(model(""), Ok(Filter::Passthrough));
        assert_eq!(model("noop"), Ok(Filter::Passthrough));
    }

    #[test]
    fn an_unknown_model_is_answered_with_what_there_is() {
        let text = model("comfyui").unwrap_err();
        assert_eq!(
            text,
            "unknown model \"comfyui\"; this node offers builtin/passthrough, builtin/grayscale, builtin/edges, \
             builtin/blur, builtin/pixelate, builtin/invert"
        );
        assert!(model("edges").is_err(), "a model id carries its prefix");
        assert!(model(&"x".repeat(1 << 20)).unwrap_err().len() < 400);
    }

    #[test]
    fn parameters_are_whole_numbers_in_range() {
        assert_eq!(
            apply(BLUR, json!({"radius_px": 9})).unwrap().filter,
            Filter::Blur { radius_px: 9 }
        );
        assert_eq!(
            apply(BLUR, json!({"radius_px": 9.0})).unwrap().filter,
            Filter::Blur { radius_px: 9 }
        );
        assert_eq!(
            apply(BLUR, json!({"radius_px": null})).unwrap().filter,
            BLUR
        );
        for wrong in [
            json!(0),
            json!(65),
            json!(2.5),
            json!(-1),
            json!("9"),
            json!(1e300),
            json!([9]),
            json!(true),
        ] {
            let text = apply(BLUR, json!({ "radius_px": wrong })).unwrap_err();
            assert!(
                text.starts_with("radius_px must be a whole number from 1 to 64, not "),
                "{text}"
            );
        }
    }

    #[test]
    fn a_filter_can_be_changed_with_its_parameters_at_once() {
        let update = apply(
            BLUR,
            json!({"filter": "edges", "gain_percent": 250, "radius_px": 3}),
        )
        .unwrap();
        assert_eq!(update.filter, Filter::Edges { gain_percent: 250 });
        assert_eq!(update.ignored, ["radius_px"]);
        let same = apply(
            Filter::Blur { radius_px: 40 },
            json!({"filter": "builtin/blur"}),
        )
        .unwrap();
        assert_eq!(
            same.filter,
            Filter::Blur { radius_px: 40 },
            "naming the filter that runs resets nothing"
        );
        assert!(
            apply(BLUR, json!({"filter": 7}))
                .unwrap_err()
                .contains("must be a string")
        );
        assert!(
            apply(BLUR, json!({"filter": "sepia"}))
                .unwrap_err()
                .contains("unknown filter")
        );
    }

    #[test]
    fn foreign_keys_are_named_but_not_without_end() {
        let update = apply(BLUR, json!({"prompt": {"a": [1, null]}, "width": 512})).unwrap();
        assert_eq!(
            (update.filter, update.ignored),
            (BLUR, vec!["prompt".to_owned(), "width".to_owned()])
        );
        let many: Map<String, Value> = (0..1_000).map(|n| (format!("{n}"), json!(n))).collect();
        assert_eq!(
            super::update(BLUR, &many).unwrap().ignored.len(),
            IGNORED_MAX
        );
    }

    #[test]
    fn a_keepalive_asks_for_nothing() {
        assert_eq!(message(BLUR, br#"{"keep":"alive"}"#), Ok(Message::Nothing));
        assert_eq!(message(BLUR, b" {} \n"), Ok(Message::Nothing));
    }

    #[test]
    fn no_message_is_too_strange() {
        for strange in [
            &b""[..],
            b"\xff\xfe",
            b"null",
            b"7",
            b"\"x\"",
            b"[1]",
            b"{\"a\":",
            b"{}{}",
            b"NaN",
        ] {
            assert!(message(BLUR, strange).is_err(), "{strange:?}");
        }
        let deep = [vec![b'['; 1 << 20], vec![b']'; 1 << 20]].concat();
        assert!(message(BLUR, &deep).is_err());
    }

    #[test]
    fn what_is_reported_can_be_sent_back() {
        for name in FILTERS {
            let filter = default_of(name).unwrap();
            assert_eq!(
                apply(Filter::Passthrough, to_json(filter)).unwrap(),
                Update {
                    filter,
                    ignored: vec![]
                }
            );
        }
        assert_ne!(hash(BLUR), hash(Filter::Blur { radius_px: 5 }));
    }
}
