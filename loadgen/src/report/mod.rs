//! What becomes of a run: lines while it runs, files when it is over.
//!
//! ```text
//!   Second  ──▶ console      a line, redrawn in a terminal
//!           ──▶ jsonl        a line of JSON, flushed: what is there after a crash
//!           ──▶ prometheus   what a scraper reads now
//!   Outcome ──▶ console      the table
//!           ──▶ result.json  all of it, to be read again by `compare`
//!           ──▶ hgrm         a percentile file a metric, for HdrHistogram's plotter
//!           ──▶ html         one page that needs nothing else
//! ```
//!
//! Invariants:
//! - A report computes nothing that the outcome does not say; two reports of one outcome agree.
//! - A verdict that is not valid stands first, wherever figures stand.

pub mod console;
pub mod hgrm;
pub mod html;
pub mod jsonl;
pub mod prometheus;
#[cfg(test)]
mod synthetic;
mod text;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::failure::Failure;
use crate::outcome::{Outcome, SCHEMA};

/// Writes `result.json`, the percentile files and `report.html` into `dir`, which is made when it is not there. The paths, in that
/// order.
///
/// # Errors
/// A file cannot be written.
pub fn write_files(outcome: &Outcome, dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    fs::create_dir_all(dir).map_err(|error| cannot("make", dir, &error))?;
    let mut paths = Vec::new();
    let mut write = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).map_err(|error| cannot("write", &path, &error))?;
        paths.push(path);
        Ok::<(), Failure>(())
    };
    write(RESULT, &json(outcome)?)?;
    for latency in &outcome.latencies {
        for (kind, quantiles) in [
            ("", &latency.corrected),
            ("-uncorrected", &latency.uncorrected),
        ] {
            if quantiles.count == 0 {
                continue;
            }
            let times = quantiles.histogram().map_err(Failure::new)?;
            let name = format!("latency-{}{kind}.hgrm", file_name(&latency.name));
            write(&name, &hgrm::render(&times))?;
        }
    }
    write(PAGE, &html::render(outcome))?;
    Ok(paths)
}

/// Reads a `result.json` again, or the one in a folder.
///
/// # Errors
/// There is none, it is not a result, or it is of another version.
pub fn load(path: &Path) -> Result<Outcome, Failure> {
    let path = if path.is_dir() {
        path.join(RESULT)
    } else {
        path.to_owned()
    };
    let text = fs::read_to_string(&path).map_err(|error| cannot("read", &path, &error))?;
    parse(&text).map_err(|failure| failure.during(path.display()))
}

fn parse(text: &str) -> Result<Outcome, Failure> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| Failure::new(format!("this is not JSON: {error}")))?;
    match value.get("schema").and_then(Value::as_str) {
        Some(SCHEMA) => {}
        Some(other) => {
            return Err(Failure::new(format!(
                "this is a result of layout {other:?}, and {SCHEMA:?} is what this version reads"
            )));
        }
        None => {
            return Err(Failure::new(format!(
                "this is not a result: it has no \"schema\"; give a {RESULT}"
            )));
        }
    }
    serde_json::from_value(value)
        .map_err(|error| Failure::new(format!("this result does not read: {error}")))
}

/// JSON has no number for what is not one, so a figure that is none is named in the notes instead.
fn json(outcome: &Outcome) -> Result<String, Failure> {
    let odd: Vec<&str> = outcome
        .figures
        .iter()
        .filter(|figure| !figure.value.is_finite())
        .map(|figure| figure.name.as_str())
        .collect();
    let text = if odd.is_empty() {
        serde_json::to_string_pretty(outcome)
    } else {
        let mut outcome = outcome.clone();
        outcome
            .notes
            .push(format!("without a value: {}", odd.join(", ")));
        outcome.figures.retain(|figure| figure.value.is_finite());
        serde_json::to_string_pretty(&outcome)
    };
    text.map_err(|error| Failure::new(format!("the result does not become JSON: {error}")))
}

/// A name from a result as part of a file's: it may have been written by anybody.
fn file_name(name: &str) -> String {
    name.chars()
        .take(64)
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' {
                c
            } else {
                '-'
            }
        })
        .collect()
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot {what} {}: {error}", path.display()))
}

const RESULT: &str = "result.json";
const PAGE: &str = "report.html";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_survives_its_file() {
        let mut outcome = synthetic::outcome();
        outcome.figures[0].value = f64::NAN;
        let dir = synthetic::folder("files");
        let paths = write_files(&outcome, &dir).unwrap();
        let names: Vec<String> = paths
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(
            names,
            [
                "result.json",
                "latency-chunk.hgrm",
                "latency-chunk-uncorrected.hgrm",
                "latency-first_byte.hgrm",
                "latency-first_byte-uncorrected.hgrm",
                "latency-gap.hgrm",
                "report.html"
            ]
        );
        let back = load(&dir).unwrap();
        assert_eq!(back.counts, outcome.counts);
        assert_eq!(back.repro, outcome.repro);
        assert_eq!(back.figures.len(), outcome.figures.len() - 1);
        assert!(
            back.notes
                .iter()
                .any(|note| note.contains(&outcome.figures[0].name))
        );
        assert_eq!(back.series.len(), outcome.series.len());
        assert_eq!(
            back.latencies[0].corrected.histogram().unwrap(),
            outcome.latencies[0].corrected.histogram().unwrap()
        );
        let again = serde_json::to_value(parse(&json(&back).unwrap()).unwrap()).unwrap();
        assert_eq!(again, serde_json::to_value(&back).unwrap());
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_is_not_a_result_is_refused_with_a_reason() {
        for (text, why) in [
            ("", "not JSON"),
            ("[]", "no \"schema\""),
            (r#"{"schema": "loadgen/9"}"#, "loadgen/9"),
            (r#"{"schema": "loadgen/1"}"#, "missing field"),
        ] {
            let failure = parse(text).unwrap_err().to_string();
            assert!(failure.contains(why), "{failure}");
        }
        let failure = load(Path::new("/nonexistent/result.json")).unwrap_err();
        assert!(failure.to_string().contains("/nonexistent"), "{failure}");
        assert_eq!(file_name("../a b"), "---a-b");
    }
}
