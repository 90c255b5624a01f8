//! Finds the greatest load that passes, with few probes of which each takes long and may be wrong.
//!
//! ```text
//!   passes  ● ─▶ ● ──▶ ●              ●  ●                   from, 2 from, 4 from, … until one fails
//!                              ○    ○      ○                 then the middle of what is left, to the precision
//!           1    2     4       8    6   5                    then the best once more, for longer
//! ```
//!
//! Driven from outside: [`Bisect::poll`] says what to measure, [`Bisect::handle`] takes what came of it.
//!
//! Invariants:
//! - What passes at n is taken to pass below n. Noise makes good points fail more often than bad ones pass, so a point that does
//!   not pass is tried again; one pass is enough.
//! - A point where the generator gave out says nothing about the server. The search goes on below it, and an answer next to it is
//!   an *at least*; it is never called a failure.
//! - The answer was confirmed, or says that it was not.
//! - Every road ends: [`Bounds::probes_max`] says after how many probes at the latest.

use serde::{Deserialize, Serialize};

/// Where to look, and how closely.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// The first point, and the least answer.
    pub from: u64,
    /// The greatest answer.
    pub to: u64,
    /// How close to the truth, as a share of n; at least 1 in any case.
    pub precision: f64,
    /// How often a point may be tried before it counts as failing.
    pub tries: u32,
}

impl Bounds {
    /// Checks them.
    ///
    /// # Errors
    /// There is nothing between them, or no sense in them.
    pub fn check(self) -> Result<Self, String> {
        if self.from == 0 {
            return Err("a search begins at 1 or more; give a greater --from".to_owned());
        }
        if self.from > self.to {
            return Err(format!(
                "there is nothing from {} to {}; give a lesser --from or a greater --to",
                self.from, self.to
            ));
        }
        if self.to > TO_MAX {
            return Err(format!(
                "{} is too many; give a --to below {TO_MAX}",
                self.to
            ));
        }
        if !(PRECISION_MIN..=0.5).contains(&self.precision) {
            return Err(format!(
                "a precision of {} % is of no use; write 0.1% to 50%",
                self.precision * 100.0
            ));
        }
        if !(1..=TRIES_MAX).contains(&self.tries) {
            return Err(format!(
                "{} tries a point are too many or too few; write 1 to {TRIES_MAX}",
                self.tries
            ));
        }
        Ok(self)
    }

    /// More probes than this are never asked for.
    pub fn probes_max(&self) -> u64 {
        // Doubling takes a point a bit, and one for `to`. Then [n, 2n] is halved down to a precision, or to 1.
        let doubling = bits(self.to / self.from.max(1)) + 1;
        let halving = bits(self.to).min(bits((1.0 / self.precision).ceil() as u64) + 2);
        let tries = u64::from(self.tries);
        (doubling + halving) * (2 * tries - 1) + u64::from(CONFIRMATIONS_MAX) * tries
    }

    /// What two points near n may differ by and count as one.
    fn step(&self, n: u64) -> u64 {
        ((n as f64 * self.precision) as u64).max(1)
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// To be measured, and handed to [`Bisect::handle`].
    Measure(Ask),
    /// It is over.
    Done(Answer),
}

/// A point to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// The load.
    pub n: u64,
    /// Counted from 1.
    pub attempt: u32,
    /// For longer, to be sure.
    pub is_confirmation: bool,
}

/// What came of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It passed.
    Pass,
    /// It did not.
    Fail,
    /// The generator gave out, so nobody knows.
    Unknown,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The greatest that passed, or none.
    pub n: Option<u64>,
    /// It passed the longer run too.
    pub is_confirmed: bool,
    /// Why it is not more.
    pub limit: Limit,
}

/// Why the answer is not greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Limit {
    /// The least that failed.
    Failed {
        /// There.
        at: u64,
    },
    /// Nothing failed up to the end of the range.
    Range {
        /// The end.
        to: u64,
    },
    /// The generator gave out; the server might have taken more.
    Generator {
        /// There.
        at: u64,
    },
    /// The longer runs failed where shorter ones had passed, and went on to do so further down.
    Unsteady {
        /// The greatest that passed a shorter run.
        passed: u64,
    },
    /// It was stopped before its end.
    Stopped,
}

/// The state of a search.
#[derive(Debug, Clone)]
pub struct Bisect {
    bounds: Bounds,
    state: State,
    /// Tries at the present point that failed, and that told nothing.
    fails: u32,
    unknowns: u32,
    passed: Option<u64>,
    failed: Option<u64>,
    gave_out: Option<u64>,
    /// The greatest that passed a shorter run, when a longer one has failed.
    passed_shortly: Option<u64>,
    confirmations: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Seeking(u64),
    Confirming(u64),
    Done(Answer),
}

impl Bisect {
    /// A search within bounds.
    ///
    /// # Errors
    /// As [`Bounds::check`].
    pub fn new(bounds: Bounds) -> Result<Self, String> {
        let bounds = bounds.check()?;
        Ok(Self {
            bounds,
            state: State::Seeking(bounds.from),
            fails: 0,
            unknowns: 0,
            passed: None,
            failed: None,
            gave_out: None,
            passed_shortly: None,
            confirmations: 0,
        })
    }

    /// What to do next.
    pub fn poll(&self) -> Next {
        let attempt = self.fails + self.unknowns + 1;
        match self.state {
            State::Seeking(n) => Next::Measure(Ask {
                n,
                attempt,
                is_confirmation: false,
            }),
            State::Confirming(n) => Next::Measure(Ask {
                n,
                attempt,
                is_confirmation: true,
            }),
            State::Done(answer) => Next::Done(answer),
        }
    }

    /// What came of the point that was asked for last. When nothing was, it changes nothing.
    pub fn handle(&mut self, said: Said) {
        match self.state {
            State::Seeking(n) => {
                if let Some(said) = self.decide(said) {
                    self.sought(n, said);
                }
            }
            State::Confirming(n) => match said {
                // A longer run is a harder test, and failing it is an answer; only what tells nothing is tried again.
                Said::Pass | Said::Fail => {
                    self.begin_point();
                    self.confirmed(n, said);
                }
                Said::Unknown => {
                    if let Some(said) = self.decide(said) {
                        self.confirmed(n, said);
                    }
                }
            },
            State::Done(_) => {}
        }
    }

    /// Nothing more will be measured: what is known until here is the answer.
    pub fn stop(&mut self) {
        if !matches!(self.state, State::Done(_)) {
            self.state = State::Done(Answer {
                n: self.passed,
                is_confirmed: false,
                limit: Limit::Stopped,
            });
        }
    }

    /// What is known of a point, when it is known: a pass at once, the rest when it was said as often as there are tries.
    fn decide(&mut self, said: Said) -> Option<Said> {
        let times = match said {
            Said::Pass => self.bounds.tries,
            Said::Fail => {
                self.fails += 1;
                self.fails
            }
            Said::Unknown => {
                self.unknowns += 1;
                self.unknowns
            }
        };
        (times >= self.bounds.tries).then(|| {
            self.begin_point();
            said
        })
    }

    fn begin_point(&mut self) {
        (self.fails, self.unknowns) = (0, 0);
    }

    fn sought(&mut self, n: u64, said: Said) {
        match said {
            Said::Pass => self.passed = Some(n),
            Said::Fail => self.failed = Some(n),
            Said::Unknown => self.gave_out = Some(n),
        }
        let Bounds { from, to, .. } = self.bounds;
        // What nobody knows bounds the search as a failure does: below it there may be an answer, above it there is none.
        let beyond = [self.failed, self.gave_out].into_iter().flatten().min();
        self.state = match (self.passed, beyond) {
            (None, _) => State::Done(Answer {
                n: None,
                is_confirmed: false,
                limit: self.limit(from),
            }),
            (Some(passed), None) if passed == to => State::Confirming(passed),
            (Some(passed), None) => State::Seeking(passed.saturating_mul(2).min(to)),
            (Some(passed), Some(beyond)) if beyond - passed <= self.bounds.step(passed) => {
                State::Confirming(passed)
            }
            (Some(passed), Some(beyond)) => State::Seeking(passed + (beyond - passed) / 2),
        };
    }

    fn confirmed(&mut self, n: u64, said: Said) {
        self.confirmations += 1;
        let answer = |n, is_confirmed, limit| {
            State::Done(Answer {
                n,
                is_confirmed,
                limit,
            })
        };
        self.state = match said {
            Said::Pass => answer(Some(n), true, self.limit(n)),
            Said::Unknown => answer(Some(n), false, Limit::Generator { at: n }),
            Said::Fail => {
                let passed = *self.passed_shortly.get_or_insert(n);
                self.failed = Some(n);
                let step = self.bounds.step(n);
                if n < self.bounds.from + step || self.confirmations == CONFIRMATIONS_MAX {
                    self.passed = None;
                    answer(None, false, Limit::Unsteady { passed })
                } else {
                    self.passed = Some(n - step);
                    State::Confirming(n - step)
                }
            }
        };
    }

    fn limit(&self, n: u64) -> Limit {
        match (self.failed, self.gave_out) {
            // A longer run that failed lies below whatever the way up met.
            (Some(at), _) if self.passed_shortly.is_some() => Limit::Failed { at },
            (Some(at), Some(gave_out)) if at < gave_out => Limit::Failed { at },
            (_, Some(at)) => Limit::Generator { at },
            (Some(at), None) => Limit::Failed { at },
            (None, None) => Limit::Range { to: n },
        }
    }
}

fn bits(n: u64) -> u64 {
    u64::from(u64::BITS - n.leading_zeros())
}

/// More than anything here can count to without a histogram of its own.
const TO_MAX: u64 = 1_000_000_000;
const PRECISION_MIN: f64 = 0.001;
const TRIES_MAX: u32 = 10;
/// Longer runs at most; each goes down by a precision.
const CONFIRMATIONS_MAX: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bounds(from: u64, to: u64) -> Bounds {
        Bounds {
            from,
            to,
            precision: 0.02,
            tries: 2,
        }
    }

    /// Runs a search against an oracle; gives the answer and every ask.
    fn run(bounds: Bounds, mut oracle: impl FnMut(Ask) -> Said) -> (Answer, Vec<Ask>) {
        let mut bisect = Bisect::new(bounds).unwrap();
        let mut asked = Vec::new();
        loop {
            match bisect.poll() {
                Next::Done(answer) => return (answer, asked),
                Next::Measure(ask) => {
                    asked.push(ask);
                    assert!(asked.len() < 1_000, "no end: {asked:?}");
                    bisect.handle(oracle(ask));
                }
            }
        }
    }

    fn up_to(capacity: u64) -> impl FnMut(Ask) -> Said {
        move |ask| {
            if ask.n <= capacity {
                Said::Pass
            } else {
                Said::Fail
            }
        }
    }

    #[test]
    fn it_doubles_then_halves_then_confirms() {
        let (answer, asked) = run(bounds(1, 100), up_to(5));
        let points: Vec<u64> = asked.iter().map(|ask| ask.n).collect();
        assert_eq!(points, [1, 2, 4, 8, 8, 6, 6, 5, 5]);
        assert!(asked[8].is_confirmation && !asked[7].is_confirmation);
        assert_eq!(
            answer,
            Answer {
                n: Some(5),
                is_confirmed: true,
                limit: Limit::Failed { at: 6 }
            }
        );
    }

    #[test]
    fn nothing_fails_or_nothing_passes() {
        let (answer, asked) = run(bounds(3, 100), up_to(1_000));
        assert_eq!(
            (answer.n, answer.limit),
            (Some(100), Limit::Range { to: 100 })
        );
        assert_eq!(asked.last().unwrap().n, 100);
        let (answer, asked) = run(bounds(3, 100), up_to(2));
        assert_eq!((answer.n, answer.limit), (None, Limit::Failed { at: 3 }));
        assert_eq!(asked.len(), 2);
        let (answer, _) = run(bounds(7, 7), up_to(7));
        assert_eq!((answer.n, answer.is_confirmed), (Some(7), true));
    }

    #[test]
    fn one_unlucky_run_does_not_count() {
        let mut is_first = true;
        let (answer, _) = run(bounds(1, 64), |ask| {
            if ask.n == 16 && std::mem::take(&mut is_first) {
                Said::Fail
            } else {
                up_to(40)(ask)
            }
        });
        assert_eq!(answer.n, Some(40));
    }

    #[test]
    fn where_the_generator_gives_out_the_search_goes_on_below() {
        let (answer, asked) = run(bounds(1, 1_000), |ask| {
            if ask.n > 10 {
                Said::Unknown
            } else {
                Said::Pass
            }
        });
        assert_eq!(
            answer,
            Answer {
                n: Some(10),
                is_confirmed: true,
                limit: Limit::Generator { at: 11 }
            }
        );
        assert!(asked.iter().all(|ask| ask.n <= 16));
        let (answer, _) = run(bounds(4, 8), |_| Said::Unknown);
        assert_eq!((answer.n, answer.limit), (None, Limit::Generator { at: 4 }));
        // A hiccup of the generator's is tried again.
        let (answer, _) = run(bounds(1, 64), |ask| {
            if ask.attempt == 1 {
                Said::Unknown
            } else {
                up_to(40)(ask)
            }
        });
        assert_eq!(answer.n, Some(40));
        assert!(answer.is_confirmed);
        // One that comes in the longer run alone leaves the answer, and says that it is not confirmed.
        let (answer, _) = run(bounds(1, 64), |ask| {
            if ask.is_confirmation {
                Said::Unknown
            } else {
                up_to(40)(ask)
            }
        });
        assert_eq!((answer.n, answer.is_confirmed), (Some(40), false));
    }

    #[test]
    fn what_does_not_last_is_stepped_down_from() {
        let (answer, asked) = run(bounds(1, 1_000), |ask| {
            let capacity = if ask.is_confirmation { 480 } else { 500 };
            up_to(capacity)(ask)
        });
        let n = answer.n.unwrap();
        assert!(answer.is_confirmed && (465..=480).contains(&n), "{n}");
        assert!(matches!(answer.limit, Limit::Failed { at } if at > n));
        assert!(asked.iter().filter(|ask| ask.is_confirmation).count() <= 6);
        let (answer, _) = run(bounds(1, 1_000), |ask| {
            if ask.is_confirmation {
                Said::Fail
            } else {
                up_to(500)(ask)
            }
        });
        assert_eq!(answer.n, None);
        assert!(matches!(answer.limit, Limit::Unsteady { passed } if passed > 490));
        let (answer, _) = run(bounds(5, 5), |ask| {
            if ask.is_confirmation {
                Said::Fail
            } else {
                Said::Pass
            }
        });
        assert_eq!(
            (answer.n, answer.limit),
            (None, Limit::Unsteady { passed: 5 })
        );
    }

    #[test]
    fn a_search_that_is_stopped_gives_what_it_knows() {
        let mut bisect = Bisect::new(bounds(1, 100)).unwrap();
        bisect.handle(Said::Pass);
        bisect.handle(Said::Pass);
        bisect.stop();
        let done = bisect.poll();
        let Next::Done(answer) = done else {
            panic!("{done:?}")
        };
        assert_eq!((answer.n, answer.limit), (Some(2), Limit::Stopped));
        bisect.handle(Said::Fail);
        assert_eq!(bisect.poll(), Next::Done(answer));
    }

    #[test]
    fn bounds_without_sense_are_refused() {
        for wrong in [
            bounds(0, 5),
            bounds(6, 5),
            bounds(1, u64::MAX),
            Bounds {
                precision: 0.0,
                ..bounds(1, 5)
            },
            Bounds {
                precision: f64::NAN,
                ..bounds(1, 5)
            },
            Bounds {
                tries: 0,
                ..bounds(1, 5)
            },
        ] {
            assert!(Bisect::new(wrong).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn without_noise_it_is_right_to_the_precision(
            from in 1_u64..1_000, span in 0_u64..1_000_000, place in 0.0_f64..1.2, precision in 0.001_f64..0.5, tries in 1_u32..4,
        ) {
            let bounds = Bounds { from, to: from + span, precision, tries };
            let capacity = from + (span as f64 * place) as u64;
            let (answer, asked) = run(bounds, up_to(capacity));
            let n = answer.n.unwrap();
            prop_assert!(n <= capacity && answer.is_confirmed);
            let truth = capacity.min(bounds.to);
            prop_assert!(truth - n < bounds.step(n), "{} of {}", n, truth);
            prop_assert!(asked.len() as u64 <= bounds.probes_max(), "{} probes of {}", asked.len(), bounds.probes_max());
        }

        #[test]
        fn with_any_noise_it_ends_within_its_bounds(
            from in 1_u64..1_000, span in 0_u64..1_000_000, precision in 0.001_f64..0.5, tries in 1_u32..4, seed: u64,
            capacity in 1_u64..1_000_000, wrong in 0.0_f64..1.0, unknown in 0.0_f64..0.3,
        ) {
            let bounds = Bounds { from, to: from + span, precision, tries };
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut greatest_passed = None;
            let (answer, asked) = run(bounds, |ask| {
                let said = if rng.f64() < unknown {
                    Said::Unknown
                } else if (ask.n <= capacity) != (rng.f64() < wrong) {
                    Said::Pass
                } else {
                    Said::Fail
                };
                if said == Said::Pass { greatest_passed = greatest_passed.max(Some(ask.n)); }
                said
            });
            prop_assert!(asked.len() as u64 <= bounds.probes_max());
            prop_assert!(asked.iter().all(|ask| (bounds.from..=bounds.to).contains(&ask.n)));
            prop_assert!(answer.n <= greatest_passed);
            prop_assert!(answer.n.is_some() || !answer.is_confirmed);
        }
    }
}
