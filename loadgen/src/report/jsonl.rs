//! A line of JSON a second, flushed: what a crash, or a kill, leaves is whole up to the last second.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde::Serialize;

use crate::conduct::{Lengths, Scenario, Sink};
use crate::failure::Failure;
use crate::measure::Interval;
use crate::outcome::{SCHEMA, Second};

/// Writes the lines.
#[derive(Debug)]
pub struct Jsonl<W: Write = File> {
    out: W,
    scenario: &'static str,
    /// Why nothing is written any more; a run is not ended for it.
    failed: Option<String>,
}

impl Jsonl<File> {
    /// Into a new file.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        let file = File::create(path)
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
        Ok(Self::to(file))
    }
}

impl<W: Write> Jsonl<W> {
    /// Into anything.
    pub fn to(out: W) -> Self {
        Self {
            out,
            scenario: "",
            failed: None,
        }
    }

    /// Why lines are missing, when some are.
    pub fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    fn write(&mut self, line: &Line<'_>) -> Result<(), String> {
        let mut text = serde_json::to_string(line).map_err(|error| error.to_string())?;
        text.push('\n');
        self.out
            .write_all(text.as_bytes())
            .and_then(|()| self.out.flush())
            .map_err(|error| error.to_string())
    }
}

#[derive(Serialize)]
struct Line<'a> {
    schema: &'static str,
    scenario: &'static str,
    #[serde(flatten)]
    second: &'a Second,
}

impl<W: Write> Sink for Jsonl<W> {
    fn begin(&mut self, scenario: &dyn Scenario, _lengths: Lengths) {
        self.scenario = scenario.name();
    }

    fn phase(&mut self, _name: &str) {}

    fn second(&mut self, second: &Second, _total: &Interval) {
        if self.failed.is_some() {
            return;
        }
        let line = Line {
            schema: SCHEMA,
            scenario: self.scenario,
            second,
        };
        if let Err(why) = self.write(&line) {
            eprintln!("warning: the seconds are no longer written to a file: {why}");
            self.failed = Some(why);
        }
    }

    fn note(&mut self, _text: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    #[test]
    fn every_second_is_a_line_that_reads_again() {
        let outcome = synthetic::outcome();
        let mut lines = Jsonl::to(Vec::new());
        lines.begin(&synthetic::Nothing, synthetic::lengths());
        let total = synthetic::total();
        for second in &outcome.series {
            lines.second(second, &total);
        }
        assert_eq!(lines.failed(), None);
        let text = String::from_utf8(lines.out).unwrap();
        assert_eq!(text.lines().count(), outcome.series.len());
        for (line, second) in text.lines().zip(&outcome.series) {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(
                (&value["schema"], &value["scenario"]),
                (&SCHEMA.into(), &"trickle".into())
            );
            let back: Second = serde_json::from_str(line).unwrap();
            assert_eq!((back.second, &back.counts), (second.second, &second.counts));
        }
    }

    #[test]
    fn a_full_disk_is_said_once_and_ends_nothing() {
        let mut room = [0_u8; 10];
        let mut lines = Jsonl::to(room.as_mut_slice());
        lines.second(&Second::default(), &synthetic::total());
        let why = lines.failed().unwrap().to_owned();
        lines.second(&Second::default(), &synthetic::total());
        assert_eq!(lines.failed(), Some(why.as_str()));
    }
}
