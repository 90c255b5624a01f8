//! Polite mode: how to test on somebody else's network without harm.
//!
//! A load test is not a private matter there. Tests have drained gateways of their best orchestrators: an orchestrator that is
//! full answers `insufficient capacity`, the gateway takes that for a fault and suspends it for many minutes, asks the next one,
//! and so on through the list, until paying traffic finds only the slow ones. Hence:
//!
//! ```text
//!   before   the plan is held against the budget         few sessions, little traffic, a bounded time
//!   start    ─┬────────┬────────┬─▶                      slowly, one by one
//!   refusal            ╳ 429, 402, 503                   no more starts, here or in any later run; a refusal is never retried
//!   end      every session is ended properly             as in any run; see `Worker::clean_up`
//!   always   User-Agent, X-Load-Test                     we say who we are
//! ```
//!
//! Invariants:
//! - A plan beyond the budget is refused before a byte is sent, and the refusal says what to change.
//! - The budget is one for all runs of a search, not one each.
//! - A gate that is shut stays shut.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::SECOND;
use crate::failure::Failure;
use crate::settings::When;
use crate::target::Target;

/// What polite mode may use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Sessions, channels or connections with traffic at a time.
    pub sessions: u32,
    /// New ones a minute.
    pub starts_per_minute: u32,
    /// Payload both ways.
    pub mbit_per_s: f64,
    /// Of traffic, over all runs.
    pub minutes: f64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            sessions: 2,
            starts_per_minute: 6,
            mbit_per_s: 50.0,
            minutes: 10.0,
        }
    }
}

impl Budget {
    /// Parses `sessions=2,starts_per_minute=6,mbit_per_s=50,minutes=10`; what is left out is as in [`Budget::default`].
    ///
    /// # Errors
    /// Says what is wrong, and what there is.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut budget = Self::default();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let wrong = || {
                format!(
                    "{part:?} is not part of a budget; write sessions=2,starts_per_minute=6,mbit_per_s=50,minutes=10, or some of it, \
                     each more than 0"
                )
            };
            let (name, value) = part.split_once('=').ok_or_else(wrong)?;
            let value = value.trim();
            let whole = || {
                let number = value.parse::<u32>().ok();
                number.filter(|number| *number > 0).ok_or_else(wrong)
            };
            let real = || {
                let number = value.parse::<f64>().ok();
                number
                    .filter(|number| number.is_finite() && *number > 0.0)
                    .ok_or_else(wrong)
            };
            match name.trim() {
                "sessions" => budget.sessions = whole()?,
                "starts_per_minute" => budget.starts_per_minute = whole()?,
                "mbit_per_s" => budget.mbit_per_s = real()?,
                "minutes" => budget.minutes = real()?,
                _ => return Err(wrong()),
            }
        }
        Ok(budget)
    }

    /// Starts in all: as many as its minutes have room for, and one at the very beginning.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates
    fn starts_max(&self) -> u64 {
        (f64::from(self.starts_per_minute) * self.minutes) as u64 + 1
    }
}

/// What a run will use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// Sessions, channels or connections with traffic; all that are started, when they come and go.
    pub sessions: u32,
    /// Payload both ways.
    pub mbit_per_s: f64,
    /// From the first start to the last byte.
    pub seconds: f64,
}

/// What stands between a plan and the server. Clones are one gate.
#[derive(Debug, Clone, Default)]
pub struct Gate(Option<Arc<Guarded>>);

#[derive(Debug)]
struct Guarded {
    budget: Budget,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    seconds: f64,
    starts: u64,
    /// Why no more may start.
    shut: Option<String>,
}

impl Gate {
    /// No limits: the server is one's own.
    pub fn open() -> Self {
        Self::default()
    }

    /// Keeps to a budget.
    pub fn with(budget: Budget) -> Self {
        Self(Some(Arc::new(Guarded {
            budget,
            book: Mutex::default(),
        })))
    }

    /// Holds a run against what is left of the budget, and takes it off when it fits: to be called once a run, before anything
    /// is sent.
    ///
    /// # Errors
    /// It does not fit: says what to change. Or the server refused before.
    pub fn check_plan(&self, plan: &Demand) -> Result<(), Failure> {
        let Some(guarded) = &self.0 else {
            return Ok(());
        };
        let Guarded { budget, .. } = **guarded;
        let mut book = guarded.book();
        if let Some(why) = &book.shut {
            return Err(Failure::new(format!(
                "polite mode does not start again after a refusal: {why}; try on another day, or ask who runs the server"
            )));
        }
        let mut wrong = Vec::new();
        if plan.sessions > budget.sessions {
            wrong.push(format!(
                "{} sessions where {} are allowed (ask for fewer)",
                plan.sessions, budget.sessions
            ));
        }
        // What is no number is too much.
        if plan.mbit_per_s.is_nan() || plan.mbit_per_s > budget.mbit_per_s {
            wrong.push(format!(
                "{:.1} Mbit/s where {} are allowed (ask for a lower rate, smaller chunks or fewer subscribers)",
                plan.mbit_per_s, budget.mbit_per_s
            ));
        }
        let seconds_left = (budget.minutes * 60.0 - book.seconds).max(0.0);
        if plan.seconds.is_nan() || plan.seconds > seconds_left {
            wrong.push(format!(
                "{:.0} s where {seconds_left:.0} s are left of {} minutes (ask for a shorter --window, or fewer runs)",
                plan.seconds, budget.minutes
            ));
        }
        let starts_left = budget.starts_max().saturating_sub(book.starts);
        if u64::from(plan.sessions) > starts_left {
            wrong.push(format!(
                "{} starts where {starts_left} are left of {} (ask for fewer runs)",
                plan.sessions,
                budget.starts_max()
            ));
        }
        if !wrong.is_empty() {
            return Err(Failure::new(format!(
                "this is more than polite mode may use: {}. Raise --budget if whoever runs the server agrees; \
                 --polite never is for servers of your own",
                wrong.join("; ")
            )));
        }
        book.seconds += plan.seconds;
        book.starts += u64::from(plan.sessions);
        Ok(())
    }

    /// Time from one start to the next; 0 when there is no limit.
    pub fn start_every_ns(&self) -> u64 {
        self.0.as_ref().map_or(0, |guarded| {
            60 * SECOND / u64::from(guarded.budget.starts_per_minute)
        })
    }

    /// The server answered a start with this status. When that is a refusal, nothing more starts.
    pub fn refused(&self, status: u16) {
        if REFUSALS.contains(&status) {
            self.shut(|| format!("the server answered {status}"));
        }
    }

    /// The server said this in an answer, whatever its status.
    pub fn refused_in_words(&self, words: &str) {
        let words = words.to_ascii_lowercase();
        if let Some(full) = NO_CAPACITY.iter().find(|full| words.contains(**full)) {
            self.shut(|| format!("the server answered {full:?}"));
        }
    }

    /// Whether there is a budget at all: whether this run is polite.
    pub fn is_guarded(&self) -> bool {
        self.0.is_some()
    }

    /// Whether nothing more may start. What runs, runs on, and is ended properly.
    pub fn is_shut(&self) -> bool {
        let Some(guarded) = &self.0 else { return false };
        guarded.book().shut.is_some()
    }

    /// Why nothing more may start, for the operator.
    pub fn shut_because(&self) -> Option<String> {
        self.0
            .as_ref()
            .and_then(|guarded| guarded.book().shut.clone())
    }

    fn shut(&self, why: impl FnOnce() -> String) {
        if let Some(guarded) = &self.0 {
            guarded.book().shut.get_or_insert_with(why);
        }
    }
}

impl Guarded {
    /// A worker that panicked with the book open left nothing half written.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Header lines for every request, each with its end: who this is, and in polite mode that it is a test.
pub fn tag(run: &str, is_polite: bool) -> String {
    // What a user calls a run must not end the line, or the comment.
    let run: String = run
        .chars()
        .take(RUN_CHARS_MAX)
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.:".contains(c) {
                c
            } else {
                '-'
            }
        })
        .collect();
    let version = env!("CARGO_PKG_VERSION");
    if is_polite {
        format!("User-Agent: loadgen/{version} (run {run}; polite)\r\nX-Load-Test: {run}\r\n")
    } else {
        format!("User-Agent: loadgen/{version} (run {run})\r\n")
    }
}

/// Whether to be polite to a target: left to itself, when it is not in a network of one's own.
pub fn is_polite(when: When, target: &Target) -> bool {
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto => !target.is_private(),
    }
}

/// Too many requests, no capacity, and a payment that was not good enough: all make a gateway look elsewhere.
const REFUSALS: [u16; 3] = [402, 429, 503];
/// How an orchestrator says that it is full.
const NO_CAPACITY: &[&str] = &["insufficient capacity", "orchestratorcapped"];
const RUN_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Trust;

    const SMALL: Demand = Demand {
        sessions: 2,
        mbit_per_s: 50.0,
        seconds: 60.0,
    };

    #[test]
    fn a_budget_reads_as_it_is_written() {
        let budget = Budget::parse("sessions=2,starts_per_minute=6,mbit_per_s=50,minutes=10");
        assert_eq!(budget, Ok(Budget::default()));
        let budget = Budget::parse(" minutes = 0.5 ,").unwrap();
        assert_eq!((budget.minutes, budget.sessions), (0.5, 2));
        for wrong in [
            "sessions",
            "sessions=0",
            "sessions=-1",
            "sessions=1.5",
            "minutes=nan",
            "minutes=inf",
            "mbit_per_s=0",
            "sesions=1",
        ] {
            let error = Budget::parse(wrong).unwrap_err();
            assert!(error.contains("starts_per_minute=6"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_plan_beyond_the_budget_is_told_all_that_is_too_much() {
        let gate = Gate::with(Budget::default());
        let failure = gate
            .check_plan(&Demand {
                sessions: 100,
                mbit_per_s: 51.0,
                seconds: 601.0,
            })
            .unwrap_err()
            .to_string();
        for want in [
            "100 sessions where 2",
            "51.0 Mbit/s where 50",
            "601 s where 600 s",
            "100 starts where 61",
            "--budget",
        ] {
            assert!(failure.contains(want), "{want} in {failure}");
        }
        let no_number = Demand {
            mbit_per_s: f64::NAN,
            ..SMALL
        };
        assert!(gate.check_plan(&no_number).is_err());
        // What was refused has used nothing.
        for _ in 0..10 {
            gate.check_plan(&SMALL).unwrap();
        }
    }

    #[test]
    fn the_budget_is_one_for_all_runs() {
        let gate = Gate::with(Budget::parse("minutes=2").unwrap());
        let again = gate.clone();
        gate.check_plan(&SMALL).unwrap();
        again.check_plan(&SMALL).unwrap();
        let failure = gate.check_plan(&SMALL).unwrap_err().to_string();
        assert!(failure.contains("60 s where 0 s are left"), "{failure}");
        let gate = Gate::with(Budget::parse("minutes=1,starts_per_minute=1").unwrap());
        let short = Demand {
            seconds: 1.0,
            ..SMALL
        };
        gate.check_plan(&short).unwrap();
        let failure = gate.check_plan(&short).unwrap_err().to_string();
        assert!(
            failure.contains("2 starts where 0 are left of 2"),
            "{failure}"
        );
    }

    #[test]
    fn one_refusal_shuts_the_gate_for_good() {
        for status in [402, 429, 503] {
            let gate = Gate::with(Budget::default());
            let other = gate.clone();
            other.refused(200);
            other.refused(404);
            other.refused_in_words("stream is ready");
            assert!(!gate.is_shut());
            other.refused(status);
            other.refused_in_words("Insufficient capacity");
            assert!(gate.is_shut());
            let why = gate.shut_because().unwrap();
            assert!(why.contains(&status.to_string()), "{why}");
            let failure = gate.check_plan(&SMALL).unwrap_err().to_string();
            assert!(failure.contains(&why), "{failure}");
        }
        let gate = Gate::with(Budget::default());
        gate.refused_in_words("could not get session: Insufficient Capacity");
        assert!(gate.is_shut());
    }

    #[test]
    fn an_open_gate_stops_nothing() {
        let gate = Gate::open();
        gate.refused(503);
        gate.refused_in_words("insufficient capacity");
        assert!(!gate.is_shut() && gate.shut_because().is_none());
        assert_eq!(gate.start_every_ns(), 0);
        let huge = Demand {
            sessions: u32::MAX,
            mbit_per_s: 1e9,
            seconds: 1e9,
        };
        gate.check_plan(&huge).unwrap();
        assert_eq!(Gate::with(Budget::default()).start_every_ns(), 10 * SECOND);
    }

    #[test]
    fn every_request_says_who_sent_it() {
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            tag("a1", false),
            format!("User-Agent: loadgen/{version} (run a1)\r\n")
        );
        assert_eq!(
            tag("a1", true),
            format!("User-Agent: loadgen/{version} (run a1; polite)\r\nX-Load-Test: a1\r\n")
        );
        let hostile = tag("a\r\nEvil: (yes)é", true);
        assert_eq!(hostile.matches("\r\n").count(), 2);
        assert!(hostile.contains("a--Evil:--yes--") && hostile.is_ascii());
    }

    #[test]
    fn somebody_elses_server_is_met_politely() {
        let at = |url| Target::resolve(url, Trust::Anyone, String::new()).unwrap();
        let (own, other) = (at("http://192.168.1.2:1"), at("https://8.8.8.8"));
        for (when, target, want) in [
            (When::Auto, &own, false),
            (When::Auto, &other, true),
            (When::Always, &own, true),
            (When::Never, &other, false),
        ] {
            assert_eq!(is_polite(when, target), want, "{when:?} {target}");
        }
    }
}
