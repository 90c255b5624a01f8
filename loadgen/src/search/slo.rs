//! The service level objective: what a result must keep to, as a person writes it, and whether it did.
//!
//! ```text
//!   p99<100ms , first_byte.p99.9<=1s , uncorrected.p99<5ms , loss<0.1% , errors<=0 , fps>=29
//!   └ of the    └ of another metric    └ as a tool tells     └ a share   └ a count   └ a figure,
//!     main one                           that waits                                    by its name
//! ```
//!
//! Invariants:
//! - A time is compared with a time: a bound without its unit is refused, not guessed.
//! - What an outcome does not have is an error, and never passes; so is a time of which there is not one value.
//! - An outcome that does not count is neither met nor missed: it is unknown.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};

use crate::failure::Failure;
use crate::outcome::{Figure, Latency, Outcome, Quantiles, ms};
use crate::units;

/// Terms that must all be met.
#[derive(Debug, Clone, PartialEq)]
pub struct Slo {
    terms: Vec<Term>,
}

impl Slo {
    /// Parses terms joined by commas, such as `p99<100ms,loss<0.1%,fps>=29`.
    ///
    /// # Errors
    /// Says which term is wrong, and how to write it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let terms: Vec<Term> = text
            .split(',')
            .map(str::trim)
            .filter(|term| !term.is_empty())
            .map(Term::parse)
            .collect::<Result<_, _>>()?;
        if terms.is_empty() {
            return Err(format!(
                "{text:?} asks for nothing; write what must hold, such as p99<100ms,loss<0.1%"
            ));
        }
        Ok(Self { terms })
    }

    /// Whether an outcome keeps to it.
    ///
    /// # Errors
    /// A term names what the outcome does not have, or in another unit; lists what it has.
    pub fn judge(&self, outcome: &Outcome) -> Result<Judgement, Failure> {
        let terms: Vec<TermResult> = self
            .terms
            .iter()
            .map(|term| term.judge(outcome))
            .collect::<Result<_, _>>()?;
        let is_valid = outcome.verdict.is_valid;
        let verdict = match (is_valid, terms.iter().all(|term| term.is_met)) {
            (false, _) => Verdict::Unknown,
            (true, true) => Verdict::Met,
            (true, false) => Verdict::Missed,
        };
        let reasons = if is_valid {
            Vec::new()
        } else {
            outcome.verdict.reasons.clone()
        };
        Ok(Judgement {
            verdict,
            reasons,
            terms,
        })
    }
}

impl FromStr for Slo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms: Vec<&str> = self.terms.iter().map(|term| term.text.as_str()).collect();
        f.write_str(&terms.join(","))
    }
}

impl Serialize for Slo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Slo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// What came of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every term was.
    Met,
    /// A term was not.
    Missed,
    /// The figures do not count, so nobody knows.
    Unknown,
}

/// An outcome, judged.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize)]
pub struct Judgement {
    /// In a word.
    pub verdict: Verdict,
    /// Why it is unknown: as the outcome says it.
    pub reasons: Vec<String>,
    /// In the order in which they were written.
    pub terms: Vec<TermResult>,
}

impl Judgement {
    /// Every term was met, by figures that count.
    pub fn is_met(&self) -> bool {
        self.verdict == Verdict::Met
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.verdict {
            Verdict::Met => "met",
            Verdict::Missed => "MISSED",
            Verdict::Unknown => "not known, since the figures do not count",
        })?;
        for term in &self.terms {
            let sign = if term.is_met { "" } else { " (missed)" };
            write!(f, "; {}: {}{sign}", term.text, term.formatted)?;
        }
        Ok(())
    }
}

/// A term, judged.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize)]
pub struct TermResult {
    /// As it was written.
    pub text: String,
    /// In the unit of the term: milliseconds, a share of 1, a count, the figure's own. `None` when there was nothing to measure.
    pub value: Option<f64>,
    /// For people.
    pub formatted: String,
    /// Whether it holds; it does not when there was nothing to measure.
    pub is_met: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Term {
    text: String,
    what: What,
    than: Than,
    bound: Bound,
}

#[derive(Debug, Clone, PartialEq)]
enum What {
    Time {
        /// `None` is the main one.
        metric: Option<String>,
        is_uncorrected: bool,
        of: Of,
    },
    Count(Count),
    Figure(String),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Of {
    Quantile(f64),
    Mean,
    Max,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Than {
    Less,
    AtMost,
    More,
    AtLeast,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Bound {
    Bare(f64),
    Share(f64),
    TimeMs(f64),
}

/// What is counted, and of how many that is a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Count {
    Loss,
    Late,
    Dropped,
    Errors,
    Duplicate,
    Reordered,
    Corrupt,
}

impl Term {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{text:?} is not a term: {why}");
        let at = text
            .find(['<', '>', '='])
            .ok_or_else(|| wrong("it has none of < <= > >="))?;
        let (name, rest) = (text[..at].trim(), &text[at..]);
        let (than, bound) = [
            ("<=", Than::AtMost),
            (">=", Than::AtLeast),
            ("<", Than::Less),
            (">", Than::More),
        ]
        .into_iter()
        .find_map(|(sign, than)| Some((than, rest.strip_prefix(sign)?)))
        .ok_or_else(|| wrong("= is not one of < <= > >="))?;
        let what = What::parse(name).map_err(|why| wrong(&why))?;
        let bound = Bound::parse(bound.trim()).map_err(|why| wrong(&why))?;
        match (&what, bound) {
            (What::Time { .. }, Bound::TimeMs(_))
            | (What::Count(_), Bound::Share(_) | Bound::Bare(_))
            | (What::Figure(_), _) => {}
            (What::Time { .. }, Bound::Bare(number)) => {
                return Err(wrong(&format!(
                    "a time needs its unit; write {number}ms, {number}us or {number}s"
                )));
            }
            (What::Time { .. }, Bound::Share(_)) => {
                return Err(wrong("a time is no share; write a time, such as 100ms"));
            }
            (What::Count(_), Bound::TimeMs(_)) => {
                return Err(wrong(
                    "this is a count; write a number, or a share such as 0.1%",
                ));
            }
        }
        Ok(Self {
            text: text.to_owned(),
            what,
            than,
            bound,
        })
    }

    fn judge(&self, outcome: &Outcome) -> Result<TermResult, Failure> {
        let (value, formatted) = match &self.what {
            What::Time {
                metric,
                is_uncorrected,
                of,
            } => {
                let value = self.time_ms(outcome, metric.as_deref(), *is_uncorrected, *of)?;
                (
                    value,
                    value.map(|value| format!("{} ms", significant(value))),
                )
            }
            What::Count(count) => {
                let (part, whole) = count.of(outcome);
                match self.bound {
                    Bound::Share(_) if whole == 0 => (None, None),
                    Bound::Share(_) => {
                        let share = real(part) / real(whole);
                        let percent = significant(share * 100.0);
                        (
                            Some(share),
                            Some(format!("{percent} % ({part} of {whole})")),
                        )
                    }
                    Bound::Bare(_) | Bound::TimeMs(_) => (Some(real(part)), Some(part.to_string())),
                }
            }
            What::Figure(name) => {
                let figure = outcome
                    .figures
                    .iter()
                    .find(|figure| figure.name == *name)
                    .ok_or_else(|| self.lacks(outcome))?;
                let value = self.in_bounds_unit(figure)?;
                let formatted = format!("{} {}", significant(figure.value), figure.unit);
                // A figure that could not be computed, such as a rate over nothing, has no value.
                let value = Some(value).filter(|value| value.is_finite());
                (value, value.map(|_| formatted))
            }
        };
        let bound = match self.bound {
            Bound::Bare(bound) | Bound::Share(bound) | Bound::TimeMs(bound) => bound,
        };
        let is_met = value.is_some_and(|value| match self.than {
            Than::Less => value < bound,
            Than::AtMost => value <= bound,
            Than::More => value > bound,
            Than::AtLeast => value >= bound,
        });
        Ok(TermResult {
            text: self.text.clone(),
            value,
            formatted: formatted.unwrap_or_else(|| "nothing to measure".to_owned()),
            is_met,
        })
    }

    fn time_ms(
        &self,
        outcome: &Outcome,
        metric: Option<&str>,
        is_uncorrected: bool,
        of: Of,
    ) -> Result<Option<f64>, Failure> {
        let latency: &Latency = match metric {
            None => outcome.latencies.first(),
            Some(name) => outcome.latencies.iter().find(|it| it.name == name),
        }
        .ok_or_else(|| self.lacks(outcome))?;
        let quantiles: &Quantiles = match (is_uncorrected, &latency.uncorrected) {
            (false, _) => &latency.corrected,
            (true, uncorrected) if uncorrected.count == 0 && latency.corrected.count > 0 => {
                return Err(Failure::new(format!(
                    "{}: {} has no uncorrected times, since nothing waits for them",
                    self.text, latency.name
                )));
            }
            (true, uncorrected) => uncorrected,
        };
        if quantiles.count == 0 {
            return Ok(None);
        }
        Ok(Some(match of {
            Of::Mean => quantiles.mean_ms,
            Of::Max => quantiles.max_ms,
            Of::Quantile(quantile) => {
                let unreadable = |why| Failure::new(format!("{}: {why}", self.text));
                let histogram = quantiles.histogram().map_err(unreadable)?;
                if histogram.is_empty() {
                    return Err(unreadable("its histogram was taken out".to_owned()));
                }
                ms(histogram.value_at_quantile(quantile))
            }
        }))
    }

    /// A figure in the unit of the bound, when the two fit.
    fn in_bounds_unit(&self, figure: &Figure) -> Result<f64, Failure> {
        let unit_ms = match figure.unit.as_str() {
            "s" => Some(1e3),
            "ms" => Some(1.0),
            "us" | "µs" => Some(1e-3),
            "ns" => Some(1e-6),
            _ => None,
        };
        let is_percent = figure.unit == "%";
        match (self.bound, unit_ms) {
            (Bound::TimeMs(_), Some(unit_ms)) => Ok(figure.value * unit_ms),
            (Bound::Bare(_), None) => Ok(figure.value),
            (Bound::Share(_), None) if is_percent => Ok(figure.value / 100.0),
            (Bound::Bare(_), Some(_)) => Err(Failure::new(format!(
                "{}: {} is a time; write its unit, such as {}",
                self.text, figure.name, figure.unit
            ))),
            _ => Err(Failure::new(format!(
                "{}: {} is in {}; write a bare number",
                self.text, figure.name, figure.unit
            ))),
        }
    }

    fn lacks(&self, outcome: &Outcome) -> Failure {
        let times: Vec<String> = outcome
            .latencies
            .iter()
            .map(|latency| format!("{}.p99", latency.name))
            .collect();
        let figures: Vec<&str> = outcome
            .figures
            .iter()
            .map(|figure| figure.name.as_str())
            .collect();
        let list = |names: &[String]| match names {
            [] => "none".to_owned(),
            names => names.join(", "),
        };
        Failure::new(format!(
            "{}: this result has no such thing; it has the times {} (any pNN, mean or max), the counts {}, and the figures {}",
            self.text,
            list(&times),
            COUNTS.map(|(name, _)| name).join(", "),
            list(
                &figures
                    .iter()
                    .map(|&name| name.to_owned())
                    .collect::<Vec<_>>()
            ),
        ))
    }
}

impl What {
    fn parse(name: &str) -> Result<Self, String> {
        if name.is_empty()
            || name.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.')
        {
            return Err(format!("{name:?} is not a name"));
        }
        if let Some((_, count)) = COUNTS.iter().find(|(known, _)| *known == name) {
            return Ok(Self::Count(*count));
        }
        // Parts before the statistic; the statistic itself may hold a point, as p99.9 does.
        let (mut metric, mut is_uncorrected, mut rest) = (None, false, name);
        loop {
            if let Some(of) = Of::parse(rest)? {
                return Ok(Self::Time {
                    metric,
                    is_uncorrected,
                    of,
                });
            }
            match rest.split_once('.') {
                Some(("uncorrected", after)) if !is_uncorrected => {
                    (is_uncorrected, rest) = (true, after);
                }
                Some((before, after))
                    if metric.is_none() && !is_uncorrected && !before.is_empty() =>
                {
                    (metric, rest) = (Some(before.to_owned()), after);
                }
                None if rest == name => return Ok(Self::Figure(name.to_owned())),
                _ => {
                    return Err(format!(
                        "{rest:?} is not a statistic; write pNN, mean or max, such as first_byte.p99"
                    ));
                }
            }
        }
    }
}

impl Of {
    fn parse(text: &str) -> Result<Option<Self>, String> {
        match text {
            "mean" => return Ok(Some(Self::Mean)),
            "max" => return Ok(Some(Self::Max)),
            _ => {}
        }
        let Some(number) = text
            .strip_prefix('p')
            .filter(|number| number.starts_with(|c: char| c.is_ascii_digit()))
        else {
            return Ok(None);
        };
        match number.parse::<f64>() {
            Ok(percent) if (0.0..=100.0).contains(&percent) => {
                Ok(Some(Self::Quantile(percent / 100.0)))
            }
            _ => Err(format!(
                "{text:?} is not a quantile; write p50, p99 or p99.9"
            )),
        }
    }
}

impl Bound {
    fn parse(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
        if let Some(percent) = text.strip_suffix('%') {
            return number(percent.trim_end())
                .map(|percent| Self::Share(percent / 100.0))
                .ok_or_else(|| format!("{text:?} is not a share; write 0.1%"));
        }
        if let Some(number) = number(text) {
            return Ok(Self::Bare(number));
        }
        units::duration(text)
            .map(|time| Self::TimeMs(time.as_secs_f64() * 1e3))
            .map_err(|_| format!("{text:?} is not a bound; write 100ms, 0.1% or a number"))
    }
}

impl Count {
    fn of(self, outcome: &Outcome) -> (u64, u64) {
        let counts = &outcome.counts;
        match self {
            Self::Loss => (outcome.lost, counts.expected),
            Self::Late => (counts.late, counts.due),
            Self::Dropped => (counts.dropped, counts.due),
            Self::Errors => (counts.error_count(), counts.due),
            Self::Duplicate => (counts.duplicate, counts.expected),
            Self::Reordered => (counts.reordered, counts.expected),
            Self::Corrupt => (counts.corrupt, counts.expected),
        }
    }
}

/// Four significant digits, and no more behind the point than are needed.
pub(crate) fn significant(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let digits = 3 - value.abs().log10().floor().clamp(-6.0, 3.0) as i32;
    let text = format!("{value:.*}", usize::try_from(digits).unwrap_or(0));
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[allow(clippy::cast_precision_loss)] // exact below 2^53
pub(crate) fn real(count: u64) -> f64 {
    count as f64
}

const COUNTS: [(&str, Count); 7] = [
    ("loss", Count::Loss),
    ("late", Count::Late),
    ("dropped", Count::Dropped),
    ("errors", Count::Errors),
    ("duplicate", Count::Duplicate),
    ("reordered", Count::Reordered),
    ("corrupt", Count::Corrupt),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::example;

    fn judge(text: &str, outcome: &Outcome) -> Judgement {
        Slo::parse(text)
            .unwrap_or_else(|why| panic!("{text}: {why}"))
            .judge(outcome)
            .unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[test]
    fn terms_are_held_against_what_they_name() {
        // Times are 1 ms, 2 ms, … 1,000 ms; of first_byte a tenth; as others tell them, half.
        let mut outcome = example::outcome();
        outcome.counts.expected = 1_000;
        outcome.lost = 1;
        outcome.counts.errors.insert("reset".to_owned(), 2);
        for (text, is_met) in [
            ("p99<1s", true),
            ("p99<989ms", false),
            ("p50<=501ms", true),
            ("p99.9>1.01s", false),
            ("p99.9>998ms", true),
            ("max<=1000.5ms", true),
            ("mean>500ms", true),
            ("mean > 501 ms", false),
            ("first_byte.p99<100ms", true),
            ("first_byte.p99.99<100ms", false),
            ("uncorrected.p99<496ms", true),
            ("first_byte.uncorrected.max<51ms", true),
            ("chunk.p100<999ms", false),
            ("loss<=0.1%", true),
            ("loss<0.1%", false),
            ("loss<2", true),
            ("errors<=1", false),
            ("errors<1%", true),
            (
                "dropped<=0,late<=0,duplicate<=0,reordered<=0,corrupt<=0",
                true,
            ),
            ("fps>=29", true),
            ("fps>30", false),
            ("fps>=29,loss<1", false),
            ("ttff<2s", true),
            ("busy<50%", false),
        ] {
            assert_eq!(judge(text, &outcome).is_met(), is_met, "{text}");
        }
        let judgement = judge("p99<100ms, loss<0.1%", &outcome);
        assert_eq!(judgement.verdict, Verdict::Missed);
        assert_eq!(judgement.terms[0].formatted, "990.4 ms");
        assert_eq!(judgement.terms[1].formatted, "0.1 % (1 of 1000)");
    }

    #[test]
    fn what_is_not_a_term_is_refused_with_a_remedy() {
        for (text, want) in [
            ("", "asks for nothing"),
            (" , ", "asks for nothing"),
            ("p99<100", "a time needs its unit; write 100ms"),
            ("p99<1%", "no share"),
            ("p99", "none of < <= > >="),
            ("p99=1ms", "= is not one of"),
            ("<5ms", "is not a name"),
            ("p 99<5ms", "is not a name"),
            ("p999<5ms", "not a quantile"),
            ("p99.9.9<5ms", "not a quantile"),
            ("a.b<5ms", "not a statistic"),
            ("a.b.p99<5ms", "not a statistic"),
            (".p99<5ms", "not a statistic"),
            ("loss<5ms", "this is a count"),
            ("loss<", "not a bound"),
            ("loss<nan", "not a bound"),
            ("loss<inf%", "not a share"),
            ("p99<5 parsecs", "not a bound"),
            ("fps>>3", "not a bound"),
        ] {
            let error = Slo::parse(text).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn what_the_result_does_not_have_is_an_error_that_lists_what_it_has() {
        let outcome = example::outcome();
        for (text, want) in [
            ("join.p99<1s", "chunk.p99, first_byte.p99"),
            ("fsp>=29", "fps, ttff, busy"),
            ("chunk<5ms", "any pNN, mean or max"),
            ("ttff<5", "write its unit"),
            ("fps>1s", "is in frames/s"),
        ] {
            let error = Slo::parse(text).unwrap().judge(&outcome).unwrap_err();
            assert!(error.to_string().contains(want), "{text}: {error}");
        }
        let mut outcome = example::outcome();
        outcome.latencies[1].uncorrected = Quantiles::default();
        let slo = Slo::parse("first_byte.uncorrected.p99<5ms").unwrap();
        assert!(slo.judge(&outcome).is_err());
    }

    #[test]
    fn nothing_measured_is_not_met_and_an_invalid_outcome_is_unknown() {
        let mut outcome = example::outcome();
        outcome.latencies[0].corrected = Quantiles::default();
        outcome.counts.expected = 0;
        let judgement = judge("p99<1h,loss<=100%", &outcome);
        assert_eq!(judgement.verdict, Verdict::Missed);
        assert!(judgement.terms.iter().all(|term| term.value.is_none()));
        outcome.verdict.is_valid = false;
        outcome.verdict.reasons = vec!["the generator was the bottleneck".to_owned()];
        let judgement = judge("fps>=1", &outcome);
        assert!(judgement.terms[0].is_met && !judgement.is_met());
        assert_eq!(judgement.verdict, Verdict::Unknown);
        assert_eq!(judgement.reasons.len(), 1);
    }

    #[test]
    fn it_reads_as_it_is_written() {
        let slo = Slo::parse(" p99<100ms, loss<0.1% ,").unwrap();
        assert_eq!(slo.to_string(), "p99<100ms,loss<0.1%");
        let again: Slo = serde_json::from_str(&serde_json::to_string(&slo).unwrap()).unwrap();
        assert_eq!(again, slo);
    }

    #[test]
    fn numbers_have_as_many_digits_as_say_something() {
        for (value, want) in [
            (0.0, "0"),
            (0.001_234_56, "0.001235"),
            (12.0, "12"),
            (990.412, "990.4"),
            (123_456.7, "123457"),
            (-1.5, "-1.5"),
        ] {
            assert_eq!(significant(value), want);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,24}") {
            if let Ok(slo) = Slo::parse(&text) {
                proptest::prop_assert_eq!(Slo::parse(&slo.to_string()), Ok(slo));
            }
        }
    }
}
