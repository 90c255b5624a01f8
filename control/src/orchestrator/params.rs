//! Model ids and parameters in JSON, and what they mean is to be done to frames.
//!
//! | key | filters | range | default |
//! |---|---|---|---|
//! | `filter` | all, and models | a name of [`FILTERS`], with or without `builtin/`, or the id of a model that is offered | as started |
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
//! - A model that is named is one that is offered: `models`, everywhere below, is the ids of those.

use link::{Filter, Process};
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
/// What stock gateways ask for by default.
const NOOP: &str = "noop";
/// At most this many ignored keys are named.
const IGNORED_MAX: usize = 16;
/// A key is named up to this many characters.
const KEY_CHARS: usize = 64;
/// At most this many models are listed to who asks for one that there is not.
const LISTED_MAX: usize = 32;

/// A set of parameters that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Update {
    /// What to do from now on.
    pub(super) process: Process,
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

/// What a model id names. Empty and `noop` are what a gateway sends that has no wish.
pub(super) fn model(id: &str, models: &[String]) -> Result<Process, String> {
    let unknown = || {
        format!(
            "unknown model {:?}; this node offers {}",
            shortened(id),
            offered(models)
        )
    };
    match id {
        "" | NOOP => Ok(Process::Filter(Filter::Passthrough)),
        id => offered_model(id, models)
            .or_else(|| id.strip_prefix(PREFIX).and_then(built_in))
            .ok_or_else(unknown),
    }
}

/// Every id that [`model`] knows: `noop`, the built-in filters, and the models that are offered.
pub(super) fn every_model(models: &[String]) -> Vec<String> {
    let built_in = FILTERS.iter().map(|name| format!("{PREFIX}{name}"));
    let noop = std::iter::once(NOOP.to_owned());
    noop.chain(built_in).chain(models.iter().cloned()).collect()
}

/// The model id of a process.
pub(super) fn model_id(process: &Process) -> String {
    match process {
        Process::Filter(filter) => format!("{PREFIX}{}", name(*filter)),
        Process::Model { id } => id.clone(),
    }
}

/// Reads one message of the control channel.
pub(super) fn message(
    current: &Process,
    bytes: &[u8],
    models: &[String],
) -> Result<Message, String> {
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
        false => update(current, &object, models).map(Message::Update),
    }
}

/// Applies `params` to `current`.
pub(super) fn update(
    current: &Process,
    params: &Map<String, Value>,
    models: &[String],
) -> Result<Update, String> {
    let mut process = match params.get("filter") {
        None | Some(Value::Null) => current.clone(),
        Some(Value::String(wanted)) => {
            let unknown = || {
                format!(
                    "unknown filter {:?}; this node offers {}",
                    shortened(wanted.strip_prefix(PREFIX).unwrap_or(wanted)),
                    offered(models)
                )
            };
            let fresh = offered_model(wanted, models)
                .or_else(|| built_in(wanted.strip_prefix(PREFIX).unwrap_or(wanted)))
                .ok_or_else(unknown)?;
            // Naming the filter that already runs keeps its other parameters.
            if model_id(&fresh) == model_id(current) {
                current.clone()
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
        let known = match &mut process {
            Process::Filter(filter) => set(filter, key, value)?,
            Process::Model { .. } => false,
        };
        if !known && ignored.len() < IGNORED_MAX {
            ignored.push(shortened(key));
        }
    }
    Ok(Update { process, ignored })
}

/// Sets one parameter of a filter, or says that it has none of that name.
fn set(filter: &mut Filter, key: &str, value: &Value) -> Result<bool, String> {
    match (filter, key) {
        (
            Filter::Grayscale { amount_percent } | Filter::Invert { amount_percent },
            "amount_percent",
        ) => whole(key, value, 0, 100).map(|percent| *amount_percent = percent as u8)?,
        (Filter::Edges { gain_percent }, "gain_percent") => {
            whole(key, value, 1, 1_000).map(|percent| *gain_percent = percent)?;
        }
        (Filter::Blur { radius_px }, "radius_px") => {
            whole(key, value, 1, 64).map(|px| *radius_px = px as u8)?;
        }
        (Filter::Pixelate { block_px }, "block_px") => {
            whole(key, value, 2, 128).map(|px| *block_px = px as u8)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// The parameters in force, as one would send them.
pub(super) fn to_json(process: &Process) -> Value {
    let filter = match process {
        Process::Filter(filter) => *filter,
        Process::Model { id } => return json!({ "filter": id }),
    };
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
pub(super) fn hash(process: &Process) -> String {
    let text = to_json(process).to_string();
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

fn offered_model(id: &str, models: &[String]) -> Option<Process> {
    models
        .iter()
        .find(|model| *model == id)
        .map(|id| Process::Model { id: id.clone() })
}

fn built_in(name: &str) -> Option<Process> {
    default_of(name).map(Process::Filter)
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

fn offered(models: &[String]) -> String {
    let mut names: Vec<String> = FILTERS
        .iter()
        .map(|name| format!("{PREFIX}{name}"))
        .collect();
    names.extend(models.iter().take(LISTED_MAX).cloned());
    let mut text = names.join(", ");
    if models.len() > LISTED_MAX {
        text.push_str(&format!(" and {} more", models.len() - LISTED_MAX));
    }
    text
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

    const BLUR: Process = Process::Filter(Filter::Blur { radius_px: 4 });

    fn blur(radius_px: u8) -> Process {
        Process::Filter(Filter::Blur { radius_px })
    }

    /// What a node offers that was given one model.
    fn denoise() -> [String; 1] {
        ["onnx/denoise".to_owned()]
    }

    fn model(id: &str) -> Result<Process, String> {
        super::model(id, &denoise())
    }

    fn message(bytes: &[u8]) -> Result<Message, String> {
        super::message(&BLUR, bytes, &[])
    }

    fn apply(current: &Process, params: Value) -> Result<Update, String> {
        let Value::Object(object) = params else {
            panic!("the test means an object")
        };
        update(current, &object, &denoise())
    }

    #[test]
    fn every_filter_is_a_model_and_back() {
        for name in FILTERS {
            let id = format!("builtin/{name}");
            assert_eq!(model_id(&model(&id).unwrap()), id);
        }
        assert_eq!(model(""), Ok(Process::Filter(Filter::Passthrough)));
        assert_eq!(model("noop"), Ok(Process::Filter(Filter::Passthrough)));
    }

    #[test]
    fn an_unknown_model_is_answered_with_what_there_is() {
        let text = super::model("comfyui", &[]).unwrap_err();
        assert_eq!(
            text,
            "unknown model \"comfyui\"; this node offers builtin/passthrough, builtin/grayscale, builtin/edges, \
             builtin/blur, builtin/pixelate, builtin/invert"
        );
        assert!(model("edges").is_err(), "a model id carries its prefix");
        assert!(model(&"x".repeat(1 << 20)).unwrap_err().len() < 400);
    }

    #[test]
    fn a_model_is_offered_named_and_switched_to_and_back() {
        let denoise_id = "onnx/denoise".to_owned();
        let denoise = Process::Model { id: denoise_id };
        assert_eq!(model("onnx/denoise"), Ok(denoise.clone()));
        assert_eq!(model_id(&denoise), "onnx/denoise");
        assert_eq!(
            model("onnx/upscale").unwrap_err(),
            "unknown model \"onnx/upscale\"; this node offers builtin/passthrough, builtin/grayscale, builtin/edges, \
             builtin/blur, builtin/pixelate, builtin/invert, onnx/denoise"
        );
        let update = apply(&BLUR, json!({"filter": "onnx/denoise", "radius_px": 9})).unwrap();
        assert_eq!(
            (&update.process, update.ignored),
            (&denoise, vec!["radius_px".to_owned()])
        );
        assert_eq!(
            apply(&denoise, json!({"filter": "blur"})).unwrap().process,
            BLUR
        );
        let same = apply(&BLUR, to_json(&denoise)).unwrap();
        assert_eq!(same.process, denoise, "what is reported can be sent back");
        let many: Vec<String> = (0..1_000).map(|n| format!("onnx/{n}")).collect();
        let text = super::model("x", &many).unwrap_err();
        assert!(text.ends_with(", onnx/31 and 968 more"), "{text}");
    }

    #[test]
    fn parameters_are_whole_numbers_in_range() {
        assert_eq!(
            apply(&BLUR, json!({"radius_px": 9})).unwrap().process,
            blur(9)
        );
        assert_eq!(
            apply(&BLUR, json!({"radius_px": 9.0})).unwrap().process,
            blur(9)
        );
        assert_eq!(
            apply(&BLUR, json!({"radius_px": null})).unwrap().process,
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
            let text = apply(&BLUR, json!({ "radius_px": wrong })).unwrap_err();
            assert!(
                text.starts_with("radius_px must be a whole number from 1 to 64, not "),
                "{text}"
            );
        }
    }

    #[test]
    fn a_filter_can_be_changed_with_its_parameters_at_once() {
        let update = apply(
            &BLUR,
            json!({"filter": "edges", "gain_percent": 250, "radius_px": 3}),
        )
        .unwrap();
        let edges = Filter::Edges { gain_percent: 250 };
        assert_eq!(update.process, Process::Filter(edges));
        assert_eq!(update.ignored, ["radius_px"]);
        let same = apply(&blur(40), json!({"filter": "builtin/blur"})).unwrap();
        assert_eq!(
            same.process,
            blur(40),
            "naming the filter that runs resets nothing"
        );
        assert!(
            apply(&BLUR, json!({"filter": 7}))
                .unwrap_err()
                .contains("must be a string")
        );
        assert!(
            apply(&BLUR, json!({"filter": "sepia"}))
                .unwrap_err()
                .contains("unknown filter")
        );
    }

    #[test]
    fn foreign_keys_are_named_but_not_without_end() {
        let update = apply(&BLUR, json!({"prompt": {"a": [1, null]}, "width": 512})).unwrap();
        assert_eq!(
            (update.process, update.ignored),
            (BLUR, vec!["prompt".to_owned(), "width".to_owned()])
        );
        let many: Map<String, Value> = (0..1_000).map(|n| (format!("{n}"), json!(n))).collect();
        assert_eq!(
            super::update(&BLUR, &many, &[]).unwrap().ignored.len(),
            IGNORED_MAX
        );
    }

    #[test]
    fn a_keepalive_asks_for_nothing() {
        assert_eq!(message(br#"{"keep":"alive"}"#), Ok(Message::Nothing));
        assert_eq!(message(b" {} \n"), Ok(Message::Nothing));
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
            assert!(message(strange).is_err(), "{strange:?}");
        }
        let deep = [vec![b'['; 1 << 20], vec![b']'; 1 << 20]].concat();
        assert!(message(&deep).is_err());
    }

    #[test]
    fn what_is_reported_can_be_sent_back() {
        let passthrough = Process::Filter(Filter::Passthrough);
        for name in FILTERS {
            let process = built_in(name).unwrap();
            assert_eq!(
                apply(&passthrough, to_json(&process)).unwrap(),
                Update {
                    process,
                    ignored: vec![]
                }
            );
        }
        assert_ne!(hash(&BLUR), hash(&blur(5)));
    }
}
