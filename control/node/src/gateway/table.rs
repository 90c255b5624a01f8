//! What a probe found, for people and for programs.
//!
//! The text fits [`WIDTH`] columns: what is long goes below its row, and is folded. The JSON carries [`SCHEMA`]: keys are added without a
//! new version, and a key that changes its meaning makes one. What is not known is `null`; amounts of wei are text, since they do not fit
//! the numbers of most readers.

use std::fmt::Write as _;
use std::time::Duration;

use control::capability::{Capability, LiveModel};
use control::gateway::probe::{Answer, Row, Tickets};
use serde_json::{Value, json};

use super::Asked;
use crate::report::Style;

/// Names the layout of the JSON.
const SCHEMA: &str = "millstream.probe/1";
/// Columns of the text.
const WIDTH: usize = 120;
/// A longer address stands on a line of its own.
const TARGET_WIDTH_MAX: usize = 38;
const ADDRESS_WIDTH: usize = 42;
const NAME_WIDTH: usize = 8;

/// The rows for people.
pub(super) fn text(asked: &Asked<'_>, rows: &[Row], style: Style) -> String {
    let targets = rows.iter().map(|row| row.target.to_string().len());
    let width = targets
        .filter(|length| *length <= TARGET_WIDTH_MAX)
        .chain(["orchestrator".len()])
        .max()
        .unwrap_or(0);
    let header = format!(
        "{:<width$}  {:<ADDRESS_WIDTH$}  {:>10}  {:>8}  verdict",
        "orchestrator", "account", "connect ms", "call ms"
    );
    let mut out = format!("{}\n", style.bold(&header));
    for row in rows {
        let target = row.target.to_string();
        let first = match target.len() <= width {
            true => target.as_str(),
            false => {
                let _ = writeln!(out, "{target}");
                ""
            }
        };
        let address = match &row.outcome {
            Ok(answer) => answer.address.to_string(),
            Err(_) => "-".to_owned(),
        };
        let _ = writeln!(
            out,
            "{first:<width$}  {address:<ADDRESS_WIDTH$}  {:>10}  {:>8}  {}",
            column(row.connect),
            column(row.call),
            verdict(row)
        );
        for (name, value) in details(row) {
            detail(name, &value, style, &mut out);
        }
    }
    let fit = rows.iter().filter(|row| row.is_fit()).count();
    let model = asked.model.map_or_else(String::new, |model| {
        format!(" with {}", control::printable::printable(model, 60))
    });
    let pipeline = Asked::pipeline();
    let _ = writeln!(
        out,
        "\n{fit} of {} compatible with {pipeline}{model}\n{}",
        count(rows),
        asked.signer.line()
    );
    out
}

/// `1 orchestrator`, `7 orchestrators`.
pub(super) fn count(rows: &[Row]) -> String {
    match rows.len() {
        1 => "1 orchestrator".to_owned(),
        n => format!("{n} orchestrators"),
    }
}

fn column(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{:.1}", ms(time)))
}

fn verdict(row: &Row) -> &'static str {
    match &row.outcome {
        Ok(answer) if answer.verdict.is_ok() => "compatible",
        Ok(_) => "incompatible",
        Err(_) => "failed",
    }
}

fn why(row: &Row) -> Option<String> {
    match &row.outcome {
        Ok(answer) => answer.verdict.as_ref().err().map(ToString::to_string),
        Err(error) => Some(error.clone()),
    }
}

fn details(row: &Row) -> Vec<(&'static str, String)> {
    let mut details: Vec<_> = why(row).map(|why| ("why", why)).into_iter().collect();
    let Ok(answer) = &row.outcome else {
        return details;
    };
    let service = &answer.service;
    if !service.is_empty() && *service != row.target.to_string() {
        details.push(("work at", service.clone()));
    }
    details.push((
        "price",
        answer.price.map_or_else(
            || "none is said".to_owned(),
            |price| format!("{price} wei a pixel"),
        ),
    ));
    details.push((
        "tickets",
        answer
            .tickets
            .as_ref()
            .map_or_else(|| "none are taken".to_owned(), tickets),
    ));
    let version = match answer.version.as_str() {
        "" => "not said".to_owned(),
        version => version.to_owned(),
    };
    details.push(("version", version));
    details.push(("can", abilities(&answer.capabilities)));
    let models = answer.models.iter().map(|it| ("model", model(it)));
    details.extend(models);
    if answer.models_left_out > 0 {
        details.push(("model", format!("and {} more", answer.models_left_out)));
    }
    details
}

fn tickets(tickets: &Tickets) -> String {
    format!(
        "a winner pays {} wei, each is worth {} wei, to {}",
        tickets.face_value,
        tickets.value.floor_wei(),
        tickets.recipient
    )
}

/// What every node has is said in two words.
fn abilities(all: &[Capability]) -> String {
    let is_usual = |it: &Capability| Capability::DEFAULT.contains(it);
    let has_usual = Capability::DEFAULT.iter().all(|it| all.contains(it));
    let usual = has_usual.then(|| format!("the usual {}", Capability::DEFAULT.len()));
    let others = all.iter().filter(|it| !(has_usual && is_usual(it)));
    let names: Vec<_> = usual
        .into_iter()
        .chain(others.map(ToString::to_string))
        .collect();
    match names.is_empty() {
        true => "nothing is said".to_owned(),
        false => names.join(", "),
    }
}

fn model(model: &LiveModel) -> String {
    let warm = if model.warm { "warm" } else { "cold" };
    format!(
        "{}: {warm}, {} idle, {} in use",
        model.id, model.idle, model.in_use
    )
}

/// A name and its value below a row, folded at words where there are any.
fn detail(name: &str, value: &str, style: Style, out: &mut String) {
    let room = WIDTH - 2 - NAME_WIDTH - 2;
    let mut line = String::new();
    let mut lines = Vec::new();
    for word in value.split(' ') {
        let space = usize::from(!line.is_empty());
        if width(&line) + space + width(word) > room && !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        for letter in word.chars() {
            if width(&line) == room {
                lines.push(std::mem::take(&mut line));
            }
            line.push(letter);
        }
    }
    lines.push(line);
    for (n, line) in lines.iter().enumerate() {
        let name = if n == 0 { name } else { "" };
        let name = style.dim(&format!("{name:<NAME_WIDTH$}"));
        let _ = writeln!(out, "  {name}  {line}");
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// The rows for programs.
pub(super) fn json(asked: &Asked<'_>, rows: &[Row]) -> String {
    let orchestrators: Vec<Value> = rows.iter().map(row_json).collect();
    let value = json!({
        "schema": SCHEMA,
        "pipeline": Asked::pipeline(),
        "model": asked.model,
        "signer": asked.signer.name(),
        "signer_address": asked.signer.address().map(|it| it.to_string()),
        "compatible": rows.iter().filter(|row| row.is_fit()).count(),
        "orchestrators": orchestrators,
    });
    format!("{value:#}\n")
}

fn row_json(row: &Row) -> Value {
    let error = row.outcome.as_ref().err();
    let mut value = json!({
        "uri": row.target.to_string(),
        "connect_ms": row.connect.map(ms),
        "call_ms": row.call.map(ms),
        "verdict": verdict(row),
        "compatible": row.is_fit(),
        "why": why(row),
        "error": error,
    });
    let answer = row.outcome.as_ref().ok();
    for (key, content) in answer_json(answer) {
        value[key] = content;
    }
    value
}

/// Every key, whether there is an answer or not.
fn answer_json(answer: Option<&Answer>) -> [(&'static str, Value); 8] {
    let price = answer.and_then(|it| it.price);
    let tickets = answer.and_then(|it| it.tickets).map(|it| {
        json!({
            "recipient": it.recipient.to_string(),
            "face_value_wei": it.face_value.to_string(),
            "expected_value_wei": it.value.floor_wei().to_string(),
            "expected_value_parts": it.value.parts().to_string(),
        })
    });
    let price_parts = price.map(|price| {
        json!({
            "wei": price.wei(),
            "pixels": price.pixels(),
        })
    });
    let models = answer.map(|it| {
        let each = it.models.iter().map(|model| {
            json!({
                "id": model.id,
                "warm": model.warm,
                "idle": model.idle,
                "in_use": model.in_use,
            })
        });
        each.collect::<Vec<_>>()
    });
    let names = answer.map(|it| {
        let each = it.capabilities.iter().map(ToString::to_string);
        each.collect::<Vec<_>>()
    });
    [
        ("service", json!(answer.map(|it| &it.service))),
        ("address", json!(answer.map(|it| it.address.to_string()))),
        ("price", json!(price_parts)),
        (
            "price_wei_per_pixel",
            json!(price.map(|price| price.to_string())),
        ),
        ("tickets", json!(tickets)),
        ("version", json!(answer.map(|it| &it.version))),
        ("capabilities", json!(names)),
        ("models", json!(models)),
    ]
}

/// Milliseconds, to the microsecond.
fn ms(time: Duration) -> f64 {
    u32::try_from(time.as_micros()).map_or(f64::MAX, f64::from) / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::super::signer::Signer;
    use super::*;
    use control::gateway::probe::Unfit;
    use control::ticket::{Address, ExpectedValue, Price, Wei};

    fn answer() -> Answer {
        let live = [Capability::LIVE_VIDEO_TO_VIDEO];
        let model = |id: &str, idle| LiveModel {
            id: id.to_owned(),
            warm: idle > 0,
            idle,
            in_use: 1,
        };
        let face_value = Wei::from(1_000_000_000_000_000_u64);
        Answer {
            service: "https://a.example.net:8935".to_owned(),
            address: Address([0x11; 20]),
            price: Some(Price::new(2_400, 14).unwrap()),
            tickets: Some(Tickets {
                recipient: Address([0x22; 20]),
                face_value,
                value: ExpectedValue::of(face_value, Wei::MAX / Wei::from(3)),
            }),
            version: "0.9.1".to_owned(),
            capabilities: Capability::DEFAULT.into_iter().chain(live).collect(),
            models: vec![model("builtin/edges", 3), model("onnx/denoise", 0)],
            models_left_out: 0,
            verdict: Ok(()),
        }
    }

    fn rows() -> Vec<Row> {
        let row = |target: &str, connect, call, outcome| Row {
            target: target.parse().unwrap(),
            connect: Option::map(connect, Duration::from_micros),
            call: Option::map(call, Duration::from_micros),
            outcome,
        };
        let relay = Answer {
            service: String::new(),
            address: Address::ZERO,
            price: None,
            tickets: None,
            version: String::new(),
            capabilities: vec![Capability(0), Capability(99)],
            models: Vec::new(),
            verdict: Err(Unfit::NoWork),
            ..answer()
        };
        let error = format!("refused: {}", ["words that go on and on"; 7].join(", "));
        vec![
            row("a.example.net", Some(12_345), Some(1_234_567), Ok(answer())),
            row(
                "http://an-orchestrator-with-a-long-name.example.net:12345",
                Some(999),
                Some(40),
                Ok(relay),
            ),
            row("[2001:db8::1]:443", None, None, Err(error)),
        ]
    }

    const TABLE: &str = "\
orchestrator                account                                     connect ms   call ms  verdict
https://a.example.net:8935  0x1111111111111111111111111111111111111111        12.3    1234.6  compatible
  price     1200/7 wei a pixel
  tickets   a winner pays 1000000000000000 wei, each is worth 333333333333333 wei, to
            0x2222222222222222222222222222222222222222
  version   0.9.1
  can       the usual 15, Live video to video
  model     builtin/edges: warm, 3 idle, 1 in use
  model     onnx/denoise: cold, 0 idle, 1 in use
http://an-orchestrator-with-a-long-name.example.net:12345
                            0x0000000000000000000000000000000000000000         1.0       0.0  incompatible
  why       does no work itself: it names no address at which work is done
  price     none is said
  tickets   none are taken
  version   not said
  can       H.264, capability 99
https://[2001:db8::1]:443   -                                                    -         -  failed
  why       refused: words that go on and on, words that go on and on, words that go on and on, words that go on and on,
            words that go on and on, words that go on and on, words that go on and on

1 of 3 orchestrators compatible with live-video-to-video with builtin/edges
asked off-chain, by nobody and unsigned
";

    fn asked(signer: &Signer) -> Asked<'_> {
        Asked {
            model: Some("builtin/edges"),
            signer,
        }
    }

    #[test]
    fn the_table_is_this() {
        let text = text(&asked(&Signer::Nobody), &rows(), Style::Plain);
        assert_eq!(text, TABLE);
        assert!(text.lines().all(|line| width(line) <= WIDTH));
    }

    #[test]
    fn what_is_long_is_folded() {
        let mut rows = rows();
        for row in &mut rows {
            row.outcome = Ok(Answer {
                service: "x".repeat(250),
                capabilities: (0..64).map(Capability).collect(),
                models_left_out: 7,
                ..answer()
            });
        }
        let text = text(&asked(&Signer::Nobody), &rows, Style::Plain);
        assert!(text.lines().all(|line| width(line) <= WIDTH), "{text}");
        assert!(text.contains("\n  model     and 7 more\n"), "{text}");
        assert!(text.contains("byoc, capability 38, "), "{text}");
    }

    #[test]
    fn the_json_has_every_key_in_every_row() {
        let signer = Signer::made_up().unwrap();
        let value: Value = serde_json::from_str(&json(&asked(&signer), &rows())).unwrap();
        assert_eq!(value["schema"], SCHEMA);
        assert_eq!(value["signer"], "made-up");
        assert_eq!(
            value["signer_address"],
            signer.address().unwrap().to_string()
        );
        let rows = value["orchestrators"].as_array().unwrap();
        let keys = |row: &Value| row.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert!(rows.iter().all(|row| keys(row) == keys(&rows[0])));
        assert_eq!(
            rows[0],
            json!({
                "uri": "https://a.example.net:8935",
                "connect_ms": 12.345,
                "call_ms": 1234.567,
                "verdict": "compatible",
                "compatible": true,
                "why": null,
                "error": null,
                "service": "https://a.example.net:8935",
                "address": "0x1111111111111111111111111111111111111111",
                "price": { "wei": 1200, "pixels": 7 },
                "price_wei_per_pixel": "1200/7",
                "tickets": {
                    "recipient": "0x2222222222222222222222222222222222222222",
                    "face_value_wei": "1000000000000000",
                    "expected_value_wei": "333333333333333",
                    "expected_value_parts": (answer().tickets.unwrap().value.parts()).to_string(),
                },
                "version": "0.9.1",
                "capabilities": answer().capabilities.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "models": [
                    { "id": "builtin/edges", "warm": true, "idle": 3, "in_use": 1 },
                    { "id": "onnx/denoise", "warm": false, "idle": 0, "in_use": 1 },
                ],
            })
        );
        assert_eq!(rows[1]["compatible"], false);
        assert_eq!(rows[1]["error"], Value::Null);
        assert_eq!(rows[2]["models"], Value::Null);
        assert_eq!(rows[2]["why"], rows[2]["error"]);
        let nobody: Value = serde_json::from_str(&json(&asked(&Signer::Nobody), &[])).unwrap();
        assert_eq!(
            (&nobody["signer_address"], &nobody["compatible"]),
            (&Value::Null, &json!(0))
        );
    }
}
