//! Finds how much a server takes: the greatest load that keeps to a service level objective, and what gave out above it.
//!
//! ```text
//!   Bisect ── n ──▶ Probe ── Outcome ──▶ Slo::judge ── met, missed, unknown ──▶ Bisect ── …
//!                                            │
//!                                            └─▶ Step, a line each ─▶ Found: the answer, the runs beside it, the bottleneck
//! ```
//!
//! Invariants:
//! - The answer is a load that was measured, for longer than the others, and kept to the objective; or it says that it was not.
//! - A run whose figures do not count proves nothing: the search says "at least", and that the generator gave out first.
//! - What was found is kept when the search is cut short.

pub mod bisect;
pub mod bottleneck;
#[cfg(test)]
pub(crate) mod example;
pub mod slo;

use std::fmt;
use std::fs;
use std::path::Path;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::or_else;
use crate::outcome::Outcome;
use crate::units::Share;
use bisect::{Answer, Ask, Bisect, Bounds, Limit, Next, Said};
use bottleneck::{Bottleneck, Resource};
use slo::{Slo, TermResult, Verdict, real, significant};

/// Names the layout of [`Found`].
pub const SCHEMA: &str = "loadgen-search/1";

/// Measures a load.
pub trait Probe {
    /// Carries a run with the load `n` out; a confirmation is longer.
    ///
    /// # Errors
    /// It could not begin, such as when the server refuses the load as a whole. At the first load that ends the search; above one
    /// that has passed it counts as missed.
    fn measure(&mut self, n: u64, is_confirmation: bool) -> Result<Outcome, Failure>;

    /// Whether nothing more may be measured: the user asked for an end, or a budget is used up. Asked after every run.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// What to search for. From flags, or from the table `[search]` of a file.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[group(skip)] // a scenario's own flags are a group of the same name
pub struct Options {
    /// What must hold, such as p99<100ms,loss<0.1%,fps>=29; without this there is nothing to search for
    #[arg(long, value_name = "TERMS", help_heading = "Search")]
    pub slo: Option<Slo>,
    /// What to find the most of [default: by the scenario]
    #[arg(long, value_enum, value_name = "WHAT", help_heading = "Search")]
    pub find: Option<Find>,
    /// The least to try [default: 1]
    #[arg(long, value_name = "N", help_heading = "Search")]
    pub from: Option<u64>,
    /// The most to try [default: 10000]
    #[arg(long, value_name = "N", help_heading = "Search")]
    pub to: Option<u64>,
    /// How close to the truth, as a share of the answer [default: 2%]
    #[arg(long, value_name = "SHARE", help_heading = "Search")]
    pub precision: Option<Share>,
    /// How often a load may be tried before it counts as too much [default: 2]
    #[arg(long, value_name = "N", help_heading = "Search")]
    pub tries: Option<u32>,
}

/// What can be searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Find {
    /// Channels, each with its publisher.
    Channels,
    /// Operations a second of each stream, or payments or handshakes a second of all senders.
    Rate,
    /// Live sessions.
    Sessions,
    /// Joins a second.
    Joins,
    /// Subscribers of each channel.
    Subscribers,
}

impl Find {
    /// What a scenario is usually searched for.
    ///
    /// # Errors
    /// Nobody knows the scenario.
    pub fn of_scenario(scenario: &str) -> Result<Self, Failure> {
        match scenario {
            "trickle" => Ok(Self::Channels),
            "churn" => Ok(Self::Joins),
            "live" => Ok(Self::Sessions),
            "tickets" | "handshake" => Ok(Self::Rate),
            other => Err(Failure::new(format!(
                "it is not known what to find the most of in {other:?}; say so with --find"
            ))),
        }
    }
}

impl fmt::Display for Find {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Channels => "channels",
            Self::Rate => "rate",
            Self::Sessions => "sessions",
            Self::Joins => "joins",
            Self::Subscribers => "subscribers",
        })
    }
}

impl Options {
    /// What a file says fills in what the flags did not.
    #[must_use]
    pub fn or(mut self, file: Self) -> Self {
        or_else!(self, file, slo, find, from, to, precision, tries);
        self
    }

    /// With everything that was not said.
    ///
    /// # Errors
    /// There is no objective, or no sense in the rest.
    pub fn resolve(self, scenario: &str) -> Result<Resolved, Failure> {
        let slo = self.slo.ok_or_else(|| {
            Failure::new("a search needs what must hold; write --slo 'p99<100ms,loss<0.1%'")
        })?;
        let find = self.find.map_or_else(|| Find::of_scenario(scenario), Ok)?;
        let bounds = Bounds {
            from: self.from.unwrap_or(1),
            to: self.to.unwrap_or(TO_DEFAULT.max(self.from.unwrap_or(1))),
            precision: self.precision.map_or(PRECISION_DEFAULT, |share| share.0),
            tries: self.tries.unwrap_or(TRIES_DEFAULT),
        };
        Ok(Resolved {
            slo,
            find,
            bounds: bounds.check().map_err(Failure::new)?,
        })
    }
}

/// What to search for, resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resolved {
    /// What must hold.
    pub slo: Slo,
    /// Of what the most.
    pub find: Find,
    /// Where, and how closely.
    pub bounds: Bounds,
}

/// Searches; `tell` hears of every step when it is over.
///
/// # Errors
/// The first load could not be measured, or the objective names what the results do not have.
pub fn search(
    options: &Resolved,
    probe: &mut dyn Probe,
    tell: &mut dyn FnMut(&Step),
) -> Result<Found, Failure> {
    let mut bisect = Bisect::new(options.bounds).map_err(Failure::new)?;
    let mut kept = Kept::default();
    let mut steps = Vec::new();
    loop {
        let ask = match bisect.poll() {
            Next::Measure(ask) => ask,
            Next::Done(answer) => return Ok(kept.conclude(options.clone(), steps, answer)),
        };
        let measured = probe.measure(ask.n, ask.is_confirmation);
        let mut step = Step::new(options.find, steps.len() + 1, ask);
        match measured {
            Ok(outcome) => {
                step.figures = key_figures(&outcome);
                match options.slo.judge(&outcome) {
                    Ok(judgement) => {
                        step.verdict = judgement.verdict;
                        step.reasons = judgement.reasons;
                        step.terms = judgement.terms;
                    }
                    Err(failure) if kept.passing.is_none() => return Err(failure),
                    // Such as when the server could no longer be watched: nothing above can be judged either.
                    Err(failure) => {
                        step.verdict = Verdict::Unknown;
                        step.reasons = vec![failure.to_string()];
                        bisect.stop();
                    }
                }
                kept.keep(ask, step.verdict, outcome);
            }
            // A mistake in the settings shows at once; above what has passed, it is the load.
            Err(failure) if kept.passing.is_none() => {
                return Err(failure.during(format!("{} {}", options.find, ask.n)));
            }
            Err(failure) => {
                step.reasons = vec![failure.to_string()];
                kept.refuse(ask, failure.to_string());
            }
        }
        tell(&step);
        bisect.handle(match step.verdict {
            Verdict::Met => Said::Pass,
            Verdict::Missed => Said::Fail,
            Verdict::Unknown => Said::Unknown,
        });
        steps.push(step);
        if probe.is_stopped() {
            bisect.stop();
        }
    }
}

/// A run of the search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Counted from 1.
    pub number: usize,
    /// Of what the most is searched for.
    pub find: Find,
    /// The load.
    pub n: u64,
    /// Which try at this load.
    pub attempt: u32,
    /// A longer run.
    pub is_confirmation: bool,
    /// Whether it kept to the objective.
    pub verdict: Verdict,
    /// Why its figures do not count, or why it could not begin.
    pub reasons: Vec<String>,
    /// The objective, term by term; empty when it could not begin.
    pub terms: Vec<TermResult>,
    /// What else is worth a look.
    pub figures: Vec<KeyFigure>,
}

/// A number of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyFigure {
    /// For people and programs.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// Its unit.
    pub unit: String,
}

impl Step {
    fn new(find: Find, number: usize, ask: Ask) -> Self {
        Self {
            number,
            find,
            n: ask.n,
            attempt: ask.attempt,
            is_confirmation: ask.is_confirmation,
            verdict: Verdict::Missed,
            reasons: Vec::new(),
            terms: Vec::new(),
            figures: Vec::new(),
        }
    }
}

impl fmt::Display for Step {
    /// One line, without its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (self.verdict, self.is_confirmation) {
            (Verdict::Met, false) => "passes",
            (Verdict::Met, true) => "confirmed",
            (Verdict::Missed, _) => "fails",
            (Verdict::Unknown, _) => "unknown",
        };
        write!(
            f,
            "{:>3}  {} {:<8} {verdict:<9}",
            self.number, self.find, self.n
        )?;
        if self.attempt > 1 {
            write!(f, "  try {}", self.attempt)?;
        }
        for term in &self.terms {
            let mark = if term.is_met { "" } else { " ✗" };
            write!(f, "  {}: {}{mark}", term.text, term.formatted)?;
        }
        for figure in &self.figures {
            write!(
                f,
                "  {} {} {}",
                figure.name,
                significant(figure.value),
                figure.unit
            )?;
        }
        if !self.reasons.is_empty() {
            write!(f, "  ({})", self.reasons.join("; ").replace('\n', " "))?;
        }
        Ok(())
    }
}

fn key_figures(outcome: &Outcome) -> Vec<KeyFigure> {
    let figure = |name: &str, value, unit: &str| KeyFigure {
        name: name.to_owned(),
        value,
        unit: unit.to_owned(),
    };
    let mut figures = vec![
        figure("offered", outcome.rate.offered_per_s, "/s"),
        figure("received", outcome.rate.received_per_s, "/s"),
        figure("received", outcome.rate.received_mib_per_s, "MiB/s"),
    ];
    if let Some(main) = outcome.latencies.first() {
        figures.push(figure("p99", main.corrected.p99_ms, "ms"));
    }
    if outcome.counts.expected > 0 {
        let loss = real(outcome.lost) / real(outcome.counts.expected);
        figures.push(figure("loss", loss * 100.0, "%"));
    }
    if let Some(server) = &outcome.server {
        figures.push(figure("server", server.cpu_share, "CPUs"));
    }
    figures.push(figure("generator", outcome.own.cpu_share_max, "CPUs"));
    figures
}

/// The runs beside the answer.
#[derive(Default)]
struct Kept {
    /// The greatest load that passed.
    passing: Option<(u64, Outcome)>,
    confirming: Option<Outcome>,
    /// The least that did not: nearest to the edge, where what gives out shows alone.
    failing: Option<(u64, Outcome)>,
    refused: Option<(u64, String)>,
    unknown: Option<Outcome>,
}

impl Kept {
    fn keep(&mut self, ask: Ask, verdict: Verdict, outcome: Outcome) {
        let (least, greatest) = (
            self.failing.as_ref().is_none_or(|(n, _)| ask.n <= *n),
            self.passing.as_ref().is_none_or(|(n, _)| ask.n >= *n),
        );
        match verdict {
            Verdict::Met if ask.is_confirmation => self.confirming = Some(outcome),
            Verdict::Met if greatest => self.passing = Some((ask.n, outcome)),
            Verdict::Missed if least => self.failing = Some((ask.n, outcome)),
            Verdict::Unknown => self.unknown = Some(outcome),
            Verdict::Met | Verdict::Missed => {}
        }
    }

    fn refuse(&mut self, ask: Ask, why: String) {
        if self.refused.as_ref().is_none_or(|(n, _)| ask.n <= *n) {
            self.refused = Some((ask.n, why));
        }
    }

    fn conclude(self, options: Resolved, steps: Vec<Step>, answer: Answer) -> Found {
        let bottleneck = self.bottleneck(options.find, &answer);
        Found {
            schema: SCHEMA.to_owned(),
            options,
            steps,
            answer,
            bottleneck,
            confirming: self.confirming,
            failing: self.failing.map(|(_, outcome)| outcome),
        }
    }

    fn bottleneck(&self, find: Find, answer: &Answer) -> Vec<Bottleneck> {
        // A point that failed once and passed at last is no edge.
        let edge = answer.n.unwrap_or(0);
        let failing = self.failing.as_ref().filter(|(n, _)| *n > edge);
        let refused = self.refused.as_ref().filter(|(n, _)| *n > edge);
        let below = |edge: u64| {
            let passing = self.passing.as_ref().filter(|(n, _)| *n < edge);
            passing.map(|(_, outcome)| outcome)
        };
        match (answer.limit, failing, refused) {
            (Limit::Range { .. }, ..) => Vec::new(),
            (Limit::Generator { at }, ..) => self
                .unknown
                .as_ref()
                .map(|outcome| bottleneck::name(below(at), outcome))
                .unwrap_or_default(),
            (_, failing, Some((at, why))) if failing.is_none_or(|(n, _)| at <= n) => {
                vec![Bottleneck {
                    resource: Resource::Admission,
                    evidence: format!(
                        "the server's admission: with {find} {at} a run could not begin: {why}"
                    ),
                }]
            }
            (_, Some((at, outcome)), _) => bottleneck::name(below(*at), outcome),
            (_, None, _) => Vec::new(),
        }
    }
}

/// What came of a search.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Found {
    /// [`SCHEMA`].
    pub schema: String,
    /// What was searched for.
    pub options: Resolved,
    /// Every run, in order.
    pub steps: Vec<Step>,
    /// The greatest load that passed.
    pub answer: Answer,
    /// What gave out above it, likeliest first; empty when nothing did.
    pub bottleneck: Vec<Bottleneck>,
    /// The longer run that confirmed the answer.
    pub confirming: Option<Outcome>,
    /// The run with the least load that failed.
    pub failing: Option<Outcome>,
}

impl Found {
    /// Writes it as JSON.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let cannot = |error: &dyn fmt::Display| {
            Failure::new(format!("{} cannot be written: {error}", path.display()))
        };
        let text = serde_json::to_string_pretty(self).map_err(|error| cannot(&error))?;
        fs::write(path, text + "\n").map_err(|error| cannot(&error))
    }
}

impl fmt::Display for Found {
    /// The answer, in a few lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Resolved { slo, find, bounds } = &self.options;
        let Answer {
            n,
            is_confirmed,
            limit,
        } = self.answer;
        let at_least = match limit {
            Limit::Generator { .. } | Limit::Stopped | Limit::Range { .. } => "at least ",
            Limit::Failed { .. } | Limit::Unsteady { .. } => "",
        };
        match (n, is_confirmed) {
            (Some(n), true) => writeln!(
                f,
                "{find}: {at_least}{n} with {slo}, confirmed by a longer run"
            )?,
            (Some(n), false) => writeln!(f, "{find}: {at_least}{n} with {slo}, not confirmed")?,
            (None, _) => writeln!(f, "{find}: no load was found that keeps to {slo}")?,
        }
        match limit {
            Limit::Failed { at } if n.is_none() => writeln!(
                f,
                "the least that was tried, {at}, failed; give a lesser --from or an easier --slo"
            )?,
            Limit::Failed { at } => writeln!(f, "{at} failed{}", self.how_failed(at))?,
            Limit::Range { to } => writeln!(f, "nothing failed up to {to}; give a greater --to")?,
            Limit::Generator { at } => writeln!(
                f,
                "at {at} the generator gave out first; the server may take more"
            )?,
            Limit::Unsteady { passed } => writeln!(
                f,
                "{passed} passed a shorter run, and no longer one did; the server does not keep up for long, or the machine is not quiet"
            )?,
            Limit::Stopped => writeln!(f, "the search was stopped before its end")?,
        }
        for (place, bottleneck) in self.bottleneck.iter().enumerate() {
            let word = if place == 0 { "bottleneck" } else { "and also" };
            writeln!(f, "{word}: {bottleneck}")?;
        }
        write!(
            f,
            "{} runs, precision {}",
            self.steps.len(),
            Share(bounds.precision)
        )
    }
}

impl Found {
    fn how_failed(&self, at: u64) -> String {
        let step = self
            .steps
            .iter()
            .rev()
            .find(|step| step.n == at && step.verdict == Verdict::Missed);
        let terms = step.iter().flat_map(|step| &step.terms);
        let told: Vec<String> = terms
            .filter(|term| !term.is_met)
            .map(|term| format!("{}: {}", term.text, term.formatted))
            .collect();
        if told.is_empty() {
            String::new()
        } else {
            format!(" ({})", told.join(", "))
        }
    }
}

const TO_DEFAULT: u64 = 10_000;
const PRECISION_DEFAULT: f64 = 0.02;
const TRIES_DEFAULT: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{ServerUse, ThreadUse};

    /// A server whose thread is busy by n, and whose latency is too long above its capacity.
    struct Model {
        capacity: u64,
        generator: u64,
        admitted: u64,
        stop_after: usize,
        measured: Vec<(u64, bool)>,
    }

    impl Model {
        fn of(capacity: u64) -> Self {
            Self {
                capacity,
                generator: u64::MAX,
                admitted: u64::MAX,
                stop_after: usize::MAX,
                measured: Vec::new(),
            }
        }
    }

    impl Probe for Model {
        fn measure(&mut self, n: u64, is_confirmation: bool) -> Result<Outcome, Failure> {
            self.measured.push((n, is_confirmation));
            if n > self.admitted {
                return Err(Failure::new("status 503 to the first request"));
            }
            let mut outcome = example::outcome();
            if n > self.capacity {
                outcome.lost = 50;
            }
            if n > self.generator {
                outcome.verdict.is_valid = false;
                outcome.verdict.reasons = vec!["the generator was the bottleneck".to_owned()];
            }
            let cpu_share = (real(n) / real(self.capacity)).min(1.0);
            outcome.server = Some(ServerUse {
                cpu_share,
                cpus_allowed: 4,
                threads: vec![ThreadUse {
                    name: "relay".to_owned(),
                    cpu_share,
                    cpu: None,
                }],
                ..ServerUse::default()
            });
            Ok(outcome)
        }

        fn is_stopped(&self) -> bool {
            self.measured.len() >= self.stop_after
        }
    }

    fn options(slo: &str) -> Resolved {
        Options {
            slo: Some(Slo::parse(slo).unwrap()),
            to: Some(500),
            ..Options::default()
        }
        .resolve("trickle")
        .unwrap()
    }

    fn run(mut model: Model) -> (Found, Vec<String>) {
        let mut lines = Vec::new();
        let found = search(&options("loss<1%"), &mut model, &mut |step| {
            lines.push(step.to_string());
        });
        (found.unwrap(), lines)
    }

    #[test]
    fn the_answer_comes_with_its_runs_and_its_bottleneck() {
        let (found, lines) = run(Model::of(37));
        assert_eq!(
            (found.answer.n, found.answer.is_confirmed),
            (Some(37), true)
        );
        assert_eq!(found.bottleneck[0].resource, Resource::ServerThread);
        assert!(found.confirming.is_some() && found.failing.is_some());
        assert_eq!(lines.len(), found.steps.len());
        assert!(lines.iter().all(|line| !line.contains('\n')));
        assert!(
            lines[0].contains("channels 1") && lines[0].contains("passes"),
            "{}",
            lines[0]
        );
        assert!(lines.last().unwrap().contains("confirmed"));
        let text = found.to_string();
        for want in [
            "channels: 37 with loss<1%, confirmed",
            "38 failed (loss<1%: 5 % (50 of 1000))",
            "bottleneck: the server's thread: relay",
        ] {
            assert!(text.contains(want), "{want} in {text}");
        }
        let again: Found = serde_json::from_str(&serde_json::to_string(&found).unwrap()).unwrap();
        assert_eq!((again.schema.as_str(), again.steps), (SCHEMA, found.steps));
    }

    #[test]
    fn when_the_generator_gives_out_it_is_at_least() {
        let (found, _) = run(Model {
            generator: 20,
            ..Model::of(1_000)
        });
        assert_eq!(found.answer.limit, Limit::Generator { at: 21 });
        assert_eq!(found.bottleneck[0].resource, Resource::Generator);
        let text = found.to_string();
        assert!(
            text.contains("at least 20") && text.contains("generator gave out first"),
            "{text}"
        );
    }

    #[test]
    fn a_load_that_is_refused_as_a_whole_is_too_much() {
        let (found, _) = run(Model {
            admitted: 10,
            ..Model::of(1_000)
        });
        assert_eq!(
            (found.answer.n, found.answer.is_confirmed),
            (Some(10), true)
        );
        assert_eq!(found.bottleneck[0].resource, Resource::Admission);
        assert!(found.bottleneck[0].evidence.contains("channels 11") && found.failing.is_none());
        let mut model = Model {
            admitted: 0,
            ..Model::of(5)
        };
        let failure = search(&options("loss<1%"), &mut model, &mut |_| {}).unwrap_err();
        assert!(failure.to_string().starts_with("channels 1: status 503"));
        assert_eq!(model.measured.len(), 1);
    }

    #[test]
    fn a_search_that_is_cut_short_keeps_what_it_found() {
        let (found, lines) = run(Model {
            stop_after: 3,
            ..Model::of(100)
        });
        assert_eq!(
            (found.answer.n, found.answer.limit),
            (Some(4), Limit::Stopped)
        );
        assert_eq!(lines.len(), 3);
        assert!(found.to_string().contains("at least 4"));
    }

    #[test]
    fn nothing_passes_or_nothing_fails() {
        let (found, _) = run(Model::of(0));
        assert_eq!(found.answer.n, None);
        assert!(found.to_string().contains("give a lesser --from"));
        let (found, _) = run(Model::of(10_000));
        assert_eq!(found.answer.n, Some(500));
        assert!(found.bottleneck.is_empty() && found.to_string().contains("greater --to"));
    }

    #[test]
    fn a_figure_that_is_gone_ends_the_search_and_keeps_what_it_found() {
        struct Forgetful(Model);
        impl Probe for Forgetful {
            fn measure(&mut self, n: u64, is_confirmation: bool) -> Result<Outcome, Failure> {
                let mut outcome = self.0.measure(n, is_confirmation)?;
                if n > 2 {
                    outcome.figures.clear();
                }
                Ok(outcome)
            }
        }
        let mut probe = Forgetful(Model::of(100));
        let found = search(&options("fps>1"), &mut probe, &mut |_| {}).unwrap();
        assert_eq!(
            (found.answer.n, found.answer.limit),
            (Some(2), Limit::Stopped)
        );
        let last = found.steps.last().unwrap();
        assert_eq!((last.n, last.verdict), (4, Verdict::Unknown));
        assert!(last.reasons[0].contains("fps>1"));
    }

    #[test]
    fn an_objective_of_what_is_not_there_ends_at_once() {
        let mut model = Model::of(5);
        let failure = search(&options("join.p99<1s"), &mut model, &mut |_| {}).unwrap_err();
        assert!(failure.to_string().contains("no such thing"));
        assert_eq!(model.measured.len(), 1);
    }

    #[test]
    fn flags_win_over_the_file_and_the_scenario_says_the_rest() {
        let file: Options =
            toml::from_str("slo = \"p99<1s\"\nfrom = 4\nprecision = \"5%\"").unwrap();
        let flags = Options {
            from: Some(8),
            ..Options::default()
        };
        let resolved = flags.or(file).resolve("live").unwrap();
        assert_eq!((resolved.find, resolved.bounds.from), (Find::Sessions, 8));
        assert!((resolved.bounds.precision - 0.05).abs() < 1e-9);
        assert!(toml::from_str::<Options>("form = 4").is_err());
        let missing = Options::default().resolve("live").unwrap_err();
        assert!(missing.to_string().contains("--slo"));
        assert!(toml::from_str::<Options>("slo = \"p99<1\"").is_err());
    }
}
