//! One window: the sessions that are measured, and beside them the one that may be damaged.

use std::fmt;
use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;
use loadgen::conduct::{Lengths, OwnLimits, Plan, Stop, conduct};
use loadgen::live::Live;
use loadgen::machine;
use loadgen::outcome::Outcome;
use loadgen::sample::Sampler;
use loadgen::target::{Target, Trust};

/// What the last session sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The same as the others.
    Calm,
    /// The same with its slices damaged.
    Disturbed,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Calm => "calm",
            Self::Disturbed => "disturbed",
        })
    }
}

/// What a window gave.
#[derive(Debug, Clone)]
pub struct Window {
    /// Counted from 1.
    pub round: u32,
    /// What the last session sent.
    pub kind: Kind,
    /// Of each frame of the sessions that are measured: from due to first byte back, in nanoseconds.
    pub latency: Histogram<u64>,
    /// Their frames that were due.
    pub expected: u64,
    /// Of those, how many never came back.
    pub lost: u64,
    /// Why the figures do not count; empty when they do.
    pub invalid: Vec<String>,
    /// The last session.
    pub neighbour: Neighbour,
}

/// How the last session fared. Its latencies are nobody's promise and not kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Neighbour {
    /// Sessions that were begun for it, one after the other.
    pub sessions: u64,
    /// Of those, how many the server ended.
    pub ended: u64,
    /// Its frames that were sent.
    pub sent: u64,
    /// Its frames that came back.
    pub received: u64,
}

/// How windows are measured.
#[derive(Debug, Clone, Copy)]
pub struct Lead {
    /// Traffic before a window.
    pub warmup: Duration,
    /// Length of a window.
    pub window: Duration,
    /// Threads of the generator.
    pub threads: usize,
    /// Of all chance.
    pub seed: u64,
    /// The server's process.
    pub server_pid: u32,
}

impl Lead {
    /// One window of `healthy`, with `neighbour` beside it from before its beginning until after its end.
    ///
    /// # Errors
    /// The server refuses sessions of either, or cannot be reached.
    pub fn measure(
        &self,
        round: u32,
        kind: Kind,
        healthy: &Live,
        neighbour: &Live,
    ) -> Result<Window, loadgen::Failure> {
        let stop = Stop::default();
        thread::scope(|scope| {
            let beside = scope.spawn(|| self.disturb(neighbour, &stop));
            let outcome = self.conduct(healthy, 1, &Stop::default());
            stop.now();
            let neighbour = beside
                .join()
                .unwrap_or_else(|_| Err(loadgen::Failure::new("it panicked")))
                .map_err(|why| why.during("the neighbour"))?;
            Window::new(round, kind, &outcome?, neighbour)
        })
    }

    /// A run of `load` over so many windows' time.
    ///
    /// # Errors
    /// The server refuses sessions, or cannot be reached.
    pub fn conduct(
        &self,
        load: &Live,
        times: u32,
        stop: &Stop,
    ) -> Result<Outcome, loadgen::Failure> {
        let lengths = Lengths {
            warmup: self.warmup,
            window: self.window * times,
            cooldown: COOLDOWN,
            drain: DRAIN,
        };
        self.carry_out(
            load,
            lengths,
            Sampler::attach(Some(self.server_pid), true),
            stop,
        )
    }

    /// One session after the other, until told to stop.
    fn disturb(&self, load: &Live, stop: &Stop) -> Result<Neighbour, loadgen::Failure> {
        let mut all = Neighbour::default();
        while !stop.is_told() {
            let lengths = Lengths {
                warmup: Duration::ZERO,
                window: NEIGHBOUR_SESSION,
                cooldown: Duration::ZERO,
                // What of a damaged stream has not come will not come.
                drain: NEIGHBOUR_DRAIN,
            };
            let outcome = self.carry_out(load, lengths, Sampler::default(), stop)?;
            let counts = &outcome.counts;
            all.sessions += 1;
            all.ended += counts.errors.get("session-ended").copied().unwrap_or(0);
            all.sent += counts.sent;
            all.received += counts.received;
        }
        Ok(all)
    }

    fn carry_out(
        &self,
        load: &Live,
        lengths: Lengths,
        sampler: Sampler,
        stop: &Stop,
    ) -> Result<Outcome, loadgen::Failure> {
        // Only for the record: the load knows its target.
        let target = Target::resolve("http://127.0.0.1:1", Trust::Anyone, String::new())?;
        conduct(
            load,
            Plan {
                lengths,
                threads: self.threads,
                cpus: Vec::new(),
                is_busy_polling: false,
                own_limits: OwnLimits {
                    lateness_p99_ms: LATENESS_P99_MS_MAX,
                    cpu_share: 0.95,
                },
                sampler,
                repro: machine::repro(self.seed, &target, Some(self.server_pid)),
                sinks: Vec::new(),
                stop: stop.clone(),
            },
        )
    }
}

impl Window {
    fn new(
        round: u32,
        kind: Kind,
        outcome: &Outcome,
        neighbour: Neighbour,
    ) -> Result<Self, loadgen::Failure> {
        let main = outcome
            .latencies
            .first()
            .ok_or_else(|| loadgen::Failure::new("there are no latencies"))?;
        let invalid = match outcome.verdict.is_valid {
            true => Vec::new(),
            false => outcome.verdict.reasons.clone(),
        };
        Ok(Self {
            round,
            kind,
            latency: main.corrected.histogram().map_err(loadgen::Failure::new)?,
            expected: outcome.counts.expected,
            lost: outcome.lost,
            invalid,
            neighbour,
        })
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |quantile| super::table::ms(self.latency.value_at_quantile(quantile));
        write!(
            f,
            "round {} {:<9} p50 {:.1} ms, p99 {:.1} ms, {} of {} frames lost; its neighbour got {} of {} frames back",
            self.round,
            self.kind.to_string(),
            at(0.5),
            at(0.99),
            self.lost,
            self.expected,
            self.neighbour.received,
            self.neighbour.sent
        )?;
        match self.invalid.is_empty() {
            true => Ok(()),
            false => write!(f, "; does not count: {}", self.invalid.join("; ")),
        }
    }
}

const COOLDOWN: Duration = Duration::from_millis(500);
const DRAIN: Duration = Duration::from_secs(2);
/// Long enough to reach steady state, short enough that a server which ends it is soon disturbed again.
const NEIGHBOUR_SESSION: Duration = Duration::from_secs(5);
const NEIGHBOUR_DRAIN: Duration = Duration::from_millis(200);
/// A twelfth of what is promised: later than that, the figures would be of the generator.
const LATENESS_P99_MS_MAX: f64 = 5.0;
