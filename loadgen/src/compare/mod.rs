//! Holds two results against each other, and tells a difference from chance.
//!
//! ```text
//!   result.json ─┐                     ┌─▶ rows: a second each ─┐
//!                ├─▶ are they alike? ──┤                        ├─▶ bootstrap ─▶ an interval ─▶ a verdict, by the threshold
//!   result.json ─┘    else: refused    └─▶ rows: a second each ─┘
//! ```
//!
//! Invariants:
//! - Two results of different machines, loads or scenarios are refused, unless the user says otherwise, and then it is told.
//! - It fails only when the whole interval lies beyond the threshold on the bad side: a bad second alone fails nothing.
//! - What has too few values or seconds for an interval is shown without, and is never judged.

pub mod bootstrap;
pub mod rows;
pub mod same;
mod table;
mod thresholds;

use std::fs;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::outcome::{Better, Outcome, Quantiles};
use bootstrap::{Difference, Distribution, Draws, Interval, Side, Statistic};
use rows::Rows;
use same::Allowed;
use thresholds::Thresholds;

/// Names the layout of [`Comparison`].
pub const SCHEMA: &str = "loadgen-compare/1";

/// What to compare, and how.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// The result to compare with: result.json, or the folder that holds it
    #[arg(value_name = "BEFORE")]
    pub before: PathBuf,
    /// The result to judge
    #[arg(value_name = "AFTER")]
    pub after: PathBuf,
    /// How much worse makes it fail: 5% for all, p99=10% or first_byte.p99=10% for one; loss is in points, such as loss=0.1% [default: 5%, loss=0.1%]
    #[arg(long, value_name = "[NAME=]SHARE")]
    pub threshold: Vec<String>,
    /// How sure an interval is, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = CONFIDENCE)]
    pub confidence: f64,
    /// How often the seconds are drawn anew
    #[arg(long, value_name = "N", default_value_t = RESAMPLES)]
    pub resamples: usize,
    /// Seed of the draws
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Compare results of different machines
    #[arg(long)]
    pub any_hardware: bool,
    /// Compare results of different loads
    #[arg(long)]
    pub any_settings: bool,
    /// Compare results whose figures do not count
    #[arg(long)]
    pub even_invalid: bool,
    /// Write the comparison here as JSON too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Reads two results and compares them; writes the JSON when it was asked for.
///
/// # Errors
/// They cannot be read or compared.
pub fn run(args: &Args) -> Result<Comparison, Failure> {
    let thresholds = Thresholds::parse(&args.threshold).map_err(Failure::new)?;
    if !(50.0..=99.9).contains(&args.confidence) {
        return Err(Failure::new(format!(
            "a confidence of {} % is of no use; write 50 to 99.9",
            args.confidence
        )));
    }
    if !(100..=RESAMPLES_MAX).contains(&args.resamples) {
        return Err(Failure::new(format!(
            "{} resamples are too few or too many; write 100 to {RESAMPLES_MAX}",
            args.resamples
        )));
    }
    let (before_path, before) = same::read(&args.before)?;
    let (after_path, after) = same::read(&args.after)?;
    let allowed = Allowed {
        is_any_hardware: args.any_hardware,
        are_any_settings: args.any_settings,
        is_even_invalid: args.even_invalid,
    };
    let passed_over = same::check(&before, &after, allowed)?;
    let draws = Draws {
        resamples: args.resamples,
        confidence: args.confidence,
        seed: args.seed,
    };
    let mut comparison = compare(&before, &after, &thresholds, draws)?;
    comparison.before.path = before_path.display().to_string();
    comparison.after.path = after_path.display().to_string();
    comparison.passed_over = passed_over;
    if let Some(path) = &args.json {
        let cannot = |error: &dyn std::fmt::Display| {
            Failure::new(format!("{} cannot be written: {error}", path.display()))
        };
        let text = serde_json::to_string_pretty(&comparison).map_err(|error| cannot(&error))?;
        fs::write(path, text + "\n").map_err(|error| cannot(&error))?;
    }
    Ok(comparison)
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Comparison {
    /// [`SCHEMA`].
    pub schema: String,
    /// `trickle`, `churn`, `live`.
    pub scenario: String,
    /// The result that was compared with.
    pub before: Source,
    /// The result that was judged.
    pub after: Source,
    /// In percent.
    pub confidence: f64,
    /// How often the seconds were drawn.
    pub resamples: usize,
    /// Of the draws.
    pub seed: u64,
    /// What differs though it should not, and was passed over because the user said so.
    pub passed_over: Vec<String>,
    /// The figures.
    pub figures: Vec<Compared>,
    /// A figure is worse by more than its threshold.
    pub has_failed: bool,
}

/// Where figures come from.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Source {
    /// The file.
    pub path: String,
    /// When it was measured.
    pub started_at: String,
    /// With which version of this program.
    pub version: String,
    /// The server.
    pub server: String,
    /// Seconds that could be drawn from.
    pub seconds: usize,
}

/// A figure of both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// As in a threshold: `p99`, `first_byte.p99`, `received`, `loss`, `cost`, `fps`.
    pub name: String,
    /// For people.
    pub title: String,
    /// Of both values.
    pub unit: String,
    /// Which way is better.
    pub better: Better,
    /// Before.
    pub before: f64,
    /// After.
    pub after: f64,
    /// After by before, less 1; for `loss`, after less before. `None` when nothing was there to divide by.
    pub difference: Option<f64>,
    /// Where the difference lies.
    pub interval: Option<Interval>,
    /// How much worse is a failure.
    pub threshold: f64,
    /// What to think of it.
    pub verdict: Verdict,
    /// Why there is no interval.
    pub note: Option<String>,
}

/// What to think of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The whole interval lies beyond the threshold on the bad side.
    Failed,
    /// The whole interval lies on the bad side.
    Worse,
    /// The whole interval lies on the good side.
    Better,
    /// Both are possible.
    Same,
    /// There is no interval to judge by.
    NotJudged,
}

/// A figure before it is judged.
struct Subject<'a> {
    name: String,
    title: String,
    unit: &'a str,
    better: Better,
    before: f64,
    after: f64,
    kind: Difference,
    /// A difference that is no greater is none.
    resolution: f64,
    /// What to draw, or why nothing can be drawn.
    drawn: Result<(Statistic<'a>, Statistic<'a>), String>,
}

/// Compares two results that are alike.
///
/// # Errors
/// A histogram does not read, or a threshold is for what they do not have.
fn compare(
    before: &Outcome,
    after: &Outcome,
    thresholds: &Thresholds,
    draws: Draws,
) -> Result<Comparison, Failure> {
    let (rows_before, rows_after) = (Rows::of(before), Rows::of(after));
    let times = times(before, after, &rows_before, &rows_after)?;
    let mut subjects = Vec::new();
    for times in &times {
        times.subjects(&mut subjects);
    }
    rates(before, after, &rows_before, &rows_after, &mut subjects);
    figures(before, after, &rows_before, &rows_after, &mut subjects);
    let has_seconds = rows_before.seconds.min(rows_after.seconds) >= SECONDS_MIN;
    let mut sides = [
        Side {
            shape: rows_before.shape,
            statistics: Vec::new(),
        },
        Side {
            shape: rows_after.shape,
            statistics: Vec::new(),
        },
    ];
    let (mut compared, mut kinds, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for subject in subjects {
        let difference = subject.kind.of(subject.before, subject.after);
        let note = match subject.drawn {
            Ok(_) if !has_seconds => Some(format!(
                "too few seconds: {} and {}, of {SECONDS_MIN} that are needed",
                rows_before.seconds, rows_after.seconds
            )),
            Ok((before, after)) => {
                sides[0].statistics.push(before);
                sides[1].statistics.push(after);
                kinds.push(subject.kind);
                places.push((compared.len(), subject.resolution));
                None
            }
            Err(why) => Some(why),
        };
        compared.push(Compared {
            threshold: thresholds.of(&subject.name),
            name: subject.name,
            title: subject.title,
            unit: subject.unit.to_owned(),
            better: subject.better,
            before: subject.before,
            after: subject.after,
            difference: Some(difference).filter(|difference| difference.is_finite()),
            interval: None,
            verdict: Verdict::NotJudged,
            note,
        });
    }
    thresholds.check_names(compared.iter().map(|it| it.name.as_str()))?;
    let [side_before, side_after] = &sides;
    let intervals = bootstrap::intervals(side_before, side_after, &kinds, draws);
    for ((place, resolution), interval) in places.into_iter().zip(intervals) {
        let figure = &mut compared[place];
        figure.interval = interval;
        match interval {
            Some(interval) => figure.verdict = verdict(interval, figure, resolution),
            None => figure.note = Some("too many seconds had nothing to tell".to_owned()),
        }
    }
    drop(sides);
    Ok(Comparison {
        schema: SCHEMA.to_owned(),
        scenario: after.scenario.clone(),
        before: Source::of(before, rows_before.seconds),
        after: Source::of(after, rows_after.seconds),
        confidence: draws.confidence,
        resamples: draws.resamples,
        seed: draws.seed,
        passed_over: Vec::new(),
        has_failed: compared.iter().any(|it| it.verdict == Verdict::Failed),
        figures: compared,
    })
}

fn verdict(interval: Interval, figure: &Compared, resolution: f64) -> Verdict {
    // How much worse, at least and at most.
    let (least, most) = match figure.better {
        Better::Lower => (interval.low, interval.high),
        Better::Higher => (-interval.high, -interval.low),
    };
    if least > figure.threshold.max(resolution) {
        Verdict::Failed
    } else if least > resolution {
        Verdict::Worse
    } else if most < -resolution {
        Verdict::Better
    } else {
        Verdict::Same
    }
}

/// A metric's times on both sides.
struct Times<'a> {
    prefix: String,
    title: &'a str,
    before: &'a Quantiles,
    after: &'a Quantiles,
    rows: [Distribution; 2],
}

fn times<'a>(
    before: &'a Outcome,
    after: &'a Outcome,
    rows_before: &Rows,
    rows_after: &Rows,
) -> Result<Vec<Times<'a>>, Failure> {
    let unreadable = |which: &str, why| Failure::new(format!("{which} result: {why}"));
    let mut all = Vec::new();
    for (place, ours) in before.latencies.iter().enumerate() {
        let Some((place_after, theirs)) = (0..)
            .zip(&after.latencies)
            .find(|(_, theirs)| theirs.name == ours.name)
        else {
            continue;
        };
        all.push(Times {
            prefix: if place == 0 {
                String::new()
            } else {
                format!("{}.", ours.name)
            },
            title: &ours.title,
            before: &ours.corrected,
            after: &theirs.corrected,
            rows: [
                rows_before
                    .distribution(place)
                    .map_err(|why| unreadable("the first", why))?,
                rows_after
                    .distribution(place_after)
                    .map_err(|why| unreadable("the second", why))?,
            ],
        });
    }
    Ok(all)
}

impl Times<'_> {
    fn subjects<'a>(&'a self, subjects: &mut Vec<Subject<'a>>) {
        let of = |quantiles: &Quantiles| {
            [
                quantiles.p50_ms,
                quantiles.p90_ms,
                quantiles.p99_ms,
                quantiles.p999_ms,
            ]
        };
        let values = of(self.before).into_iter().zip(of(self.after));
        for ((stat, share), (before, after)) in QUANTILES.into_iter().zip(values) {
            subjects.push(Subject {
                name: format!("{}{stat}", self.prefix),
                title: format!("{stat} of: {}", self.title),
                unit: "ms",
                better: Better::Lower,
                before,
                after,
                kind: Difference::Relative,
                resolution: RESOLUTION,
                drawn: self.drawn(share),
            });
        }
        subjects.push(Subject {
            name: format!("{}max", self.prefix),
            title: format!("greatest of: {}", self.title),
            unit: "ms",
            better: Better::Lower,
            before: self.before.max_ms,
            after: self.after.max_ms,
            kind: Difference::Relative,
            resolution: 0.0,
            drawn: Err("one value says nothing of the next".to_owned()),
        });
    }

    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    fn drawn(&self, share: f64) -> Result<(Statistic<'_>, Statistic<'_>), String> {
        let needed = (BEYOND_MIN / (1.0 - share)).round() as u64;
        for (rows, quantiles) in self.rows.iter().zip([self.before, self.after]) {
            if quantiles.count < needed {
                return Err(format!(
                    "too few values: {}, of {needed} that are needed",
                    quantiles.count
                ));
            }
            if rows.count() < quantiles.count / 100 * 99 {
                return Err(format!(
                    "the seconds hold {} values, the whole {}",
                    rows.count(),
                    quantiles.count
                ));
            }
        }
        let statistic = move |rows: &Distribution, weights: &[u64]| {
            rows.quantile(weights, share).map(|ns| ns as f64)
        };
        let [before, after] = &self.rows;
        Ok((
            Box::new(move |weights| statistic(before, weights)),
            Box::new(move |weights| statistic(after, weights)),
        ))
    }
}

fn rates<'a>(
    before: &Outcome,
    after: &Outcome,
    rows_before: &'a Rows,
    rows_after: &'a Rows,
    subjects: &mut Vec<Subject<'a>>,
) {
    subjects.push(Subject {
        name: "received".to_owned(),
        title: "results received".to_owned(),
        unit: "/s",
        better: Better::Higher,
        before: before.rate.received_per_s,
        after: after.rate.received_per_s,
        kind: Difference::Relative,
        resolution: 0.0,
        drawn: Ok((
            Box::new(|weights| rows_before.received.value(weights)),
            Box::new(|weights| rows_after.received.value(weights)),
        )),
    });
    let share = |outcome: &Outcome| share(outcome.lost, outcome.counts.expected);
    subjects.push(Subject {
        name: LOSS.to_owned(),
        title: "results lost".to_owned(),
        unit: "share",
        better: Better::Lower,
        before: share(before),
        after: share(after),
        kind: Difference::Absolute,
        resolution: 0.0,
        drawn: Ok((
            Box::new(|weights| rows_before.loss.value(weights)),
            Box::new(|weights| rows_after.loss.value(weights)),
        )),
    });
    let whole = |rows: &Rows| rows.cpu.value(&vec![1; rows.shape.rows]);
    if let Some((before, after)) = whole(rows_before).zip(whole(rows_after)) {
        subjects.push(Subject {
            name: "cost".to_owned(),
            title: "CPU time of the server's a result".to_owned(),
            unit: "µs",
            better: Better::Lower,
            before,
            after,
            kind: Difference::Relative,
            resolution: 0.0,
            drawn: Ok((
                Box::new(|weights| rows_before.cpu.value(weights)),
                Box::new(|weights| rows_after.cpu.value(weights)),
            )),
        });
    }
}

/// Figures that both have. Only of `fps` is it known how it follows from seconds: it goes with the frames received.
fn figures<'a>(
    before: &'a Outcome,
    after: &'a Outcome,
    rows_before: &'a Rows,
    rows_after: &'a Rows,
    subjects: &mut Vec<Subject<'a>>,
) {
    for ours in &before.figures {
        let Some(theirs) = after.figures.iter().find(|theirs| theirs.name == ours.name) else {
            continue;
        };
        let per_frame = |outcome: &Outcome, value: f64| value / outcome.rate.received_per_s;
        let (scale_before, scale_after) = (
            per_frame(before, ours.value),
            per_frame(after, theirs.value),
        );
        let is_of_frames = ours.name == "fps"
            && before.operation == "frame"
            && scale_before.is_finite()
            && scale_after.is_finite();
        subjects.push(Subject {
            name: ours.name.clone(),
            title: ours.title.clone(),
            unit: &ours.unit,
            better: ours.better,
            before: ours.value,
            after: theirs.value,
            kind: Difference::Relative,
            resolution: 0.0,
            drawn: if is_of_frames {
                Ok((
                    Box::new(move |weights| {
                        Some(rows_before.received.value(weights)? * scale_before)
                    }),
                    Box::new(move |weights| {
                        Some(rows_after.received.value(weights)? * scale_after)
                    }),
                ))
            } else {
                Err("it is not known second by second".to_owned())
            },
        });
    }
}

impl Source {
    fn of(outcome: &Outcome, seconds: usize) -> Self {
        let server = outcome.repro.server.iter();
        Self {
            path: String::new(),
            started_at: outcome.repro.started_at.clone(),
            version: format!("{} {}", outcome.repro.version, outcome.repro.git_sha),
            server: server
                .map(|(name, value)| format!("{name} {value}"))
                .collect::<Vec<_>>()
                .join(", "),
            seconds,
        }
    }
}

#[allow(clippy::cast_precision_loss)] // a share
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// The one figure whose difference is in points: it is often 0, and nothing can be divided by that.
const LOSS: &str = "loss";
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];
const CONFIDENCE: f64 = 95.0;
const RESAMPLES: usize = 2_000;
const RESAMPLES_MAX: usize = 100_000;
/// With fewer there are hardly any blocks to draw from.
const SECONDS_MIN: usize = 10;
/// Values beyond a quantile, below which it hangs on single ones.
const BEYOND_MIN: f64 = 20.0;
/// Two values nearer than this may be one: histograms have three digits.
const RESOLUTION: f64 = 0.002;
