//! A comparison for people: a line a figure.

use std::fmt;

use super::bootstrap::Interval;
use super::{Compared, Comparison, LOSS, Verdict};
use crate::search::slo::significant;

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (word, source) in [("before", &self.before), ("after", &self.after)] {
            let parts = [&source.path, &source.started_at, &source.server];
            let told: Vec<&str> = parts
                .into_iter()
                .map(String::as_str)
                .filter(|part| !part.is_empty())
                .collect();
            writeln!(f, "{word:<7} {} ({} s)", told.join(", "), source.seconds)?;
        }
        for difference in &self.passed_over {
            writeln!(f, "passed over, as you said: {difference}")?;
        }
        let interval = format!("{} % interval", self.confidence);
        let mut lines = vec![[
            String::new(),
            "before".to_owned(),
            "after".to_owned(),
            "difference".to_owned(),
            interval,
            "verdict".to_owned(),
        ]];
        lines.extend(self.figures.iter().map(Compared::cells));
        let mut widths = [0; 6];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for line in &lines {
            let [name, before, after, difference, interval, verdict] = line;
            let [w_name, w_before, w_after, w_difference, w_interval, _] = widths;
            writeln!(
                f,
                "{name:<w_name$}  {before:>w_before$}  {after:>w_after$}  {difference:>w_difference$}  {interval:<w_interval$}  {verdict}"
            )?;
        }
        let judged = self
            .figures
            .iter()
            .filter(|it| it.interval.is_some())
            .count();
        let by_chance = judged as f64 * (100.0 - self.confidence) / 100.0;
        writeln!(
            f,
            "of {judged} intervals, {} would miss the truth by chance; {} draws, seed {}",
            significant(by_chance),
            self.resamples,
            self.seed
        )?;
        let of = |verdict: Verdict| -> Vec<&str> {
            let figures = self.figures.iter().filter(|it| it.verdict == verdict);
            figures.map(|it| it.name.as_str()).collect()
        };
        let failed = of(Verdict::Failed);
        if failed.is_empty() {
            write!(f, "passed: nothing is worse by more than its threshold")
        } else {
            write!(
                f,
                "FAILED: worse by more than the threshold: {}",
                failed.join(", ")
            )
        }
    }
}

impl Compared {
    fn cells(&self) -> [String; 6] {
        let value = |value: f64| {
            if self.name == LOSS {
                format!("{} %", significant(value * 100.0))
            } else {
                format!("{} {}", significant(value), self.unit)
            }
        };
        let verdict = match self.verdict {
            Verdict::Failed => format!("FAILED, worse by more than {}", self.threshold()),
            Verdict::Worse => format!("worse, within {}", self.threshold()),
            Verdict::Better => "better".to_owned(),
            Verdict::Same => "no difference beyond noise".to_owned(),
            Verdict::NotJudged => "not judged".to_owned(),
        };
        let interval = self
            .interval
            .map(|Interval { low, high }| format!("{} … {}", self.change(low), self.change(high)));
        [
            self.name.clone(),
            value(self.before),
            value(self.after),
            self.difference.map_or("–".to_owned(), |it| self.change(it)),
            interval.or(self.note.clone()).unwrap_or_default(),
            verdict,
        ]
    }

    fn change(&self, change: f64) -> String {
        let digits = if self.name == LOSS { 3 } else { 1 };
        format!("{:+.digits$} {}", change * 100.0, self.points())
    }

    fn threshold(&self) -> String {
        format!("{} {}", significant(self.threshold * 100.0), self.points())
    }

    fn points(&self) -> &'static str {
        if self.name == LOSS { "points" } else { "%" }
    }
}
