//! The conductor: starts the workers, gathers what they count, watches the server, and says what came of it.
//!
//! ```text
//!   worker thread   prepare ──▶ Ready ──┐                ┌──▶ run(Meter) ── Interval a second ──▶ clean_up ──▶ Done
//!                                       ▼ all are ready  │
//!   this thread                    Timetable ────────────┘  every second: sample, merge, tell the sinks
//! ```
//!
//! Invariants:
//! - No operation is due before every worker is connected.
//! - A worker that fails, or panics, ends the run with its reason; the others are stopped and clean up.
//! - An interrupted run cleans up and gives what it has, marked as not valid.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::clock::{self, SECOND};
use crate::failure::Failure;
use crate::measure::{Counts, Interval, Meter, Metric, Said, Timetable};
use crate::outcome::{
    Figure, Latency, Outcome, OwnConduct, Quantiles, Rate, Repro, SCHEMA, Second, ServerUse,
    Stream, Verdict, ms,
};
use crate::pin;
use crate::polite::Demand;
use crate::sample::{Sample, Sampler};

/// A kind of load.
pub trait Scenario {
    /// `trickle`, `churn`, `live`, `tickets`, `handshake`.
    fn name(&self) -> &'static str;
    /// The operation that is counted: `chunk`, `join`, `frame`, `payment`, `handshake`.
    fn operation(&self) -> &'static str;
    /// What it times; the first is the main one.
    fn metrics(&self) -> &'static [Metric];
    /// Every setting as it was resolved, by name.
    fn settings(&self) -> Value;
    /// What it asks of a server in `traffic_s` seconds of traffic, for the budget of a polite run.
    fn demand(&self, traffic_s: f64) -> Demand;
    /// The workers, at most `threads`; each has its share of the streams. They will have traffic for as long as `lengths` say.
    ///
    /// # Errors
    /// The settings ask for what cannot be.
    fn workers(&self, threads: usize, lengths: Lengths) -> Result<Vec<Box<dyn Worker>>, Failure>;
    /// What follows from the totals: figures of this scenario alone, such as `fps`.
    fn figures(&self, total: &Interval, streams: &[Stream], window_s: f64) -> Vec<Figure>;
    /// What is to be said beside the figures, such as sums that are exact.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }
    /// What follows from what the server used, beside the costs that every scenario has.
    fn costs(&self, _server: &ServerUse, _total: &Interval, _window_s: f64) -> Vec<Figure> {
        Vec::new()
    }
}

/// One thread of load.
pub trait Worker: Send {
    /// Creates channels, connects. Takes as long as it takes, but looks at `stop`.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses what the load is made of.
    fn prepare(&mut self, stop: &Stop) -> Result<(), Failure>;
    /// Carries its share out, until the timetable's end and what is still on its way has come, or `stop`.
    ///
    /// # Errors
    /// There is nothing left to measure. A single error of the server's is counted and is none.
    fn run(&mut self, meter: Meter, stop: &Stop) -> Result<Vec<Stream>, Failure>;
    /// Leaves the server as it was found, whatever happened before.
    fn clean_up(&mut self);
}

/// Whether everybody is to stop.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Tells everybody to stop.
    pub fn now(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// The flag itself, for a signal handler to set.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }

    /// Whether it has been told.
    pub fn is_told(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// How long each part of a run takes.
#[derive(Debug, Clone, Copy)]
pub struct Lengths {
    /// Traffic before the window.
    pub warmup: Duration,
    /// The window.
    pub window: Duration,
    /// Traffic after it.
    pub cooldown: Duration,
    /// How long what is on its way may take after that.
    pub drain: Duration,
}

/// When the generator counts as the bottleneck.
#[derive(Debug, Clone, Copy)]
pub struct OwnLimits {
    /// p99 of its lateness, and of its receive lag, in milliseconds.
    pub lateness_p99_ms: f64,
    /// CPU share of its busiest worker.
    pub cpu_share: f64,
}

/// How to carry a scenario out.
pub struct Plan<'a> {
    /// How long.
    pub lengths: Lengths,
    /// How many worker threads at most.
    pub threads: usize,
    /// CPUs for the workers, in turn; none leaves it to the kernel.
    pub cpus: Vec<usize>,
    /// Whether workers ask without end for what has come, rather than to sleep until it comes.
    pub is_busy_polling: bool,
    /// When the generator counts as the bottleneck.
    pub own_limits: OwnLimits,
    /// Watches the server.
    pub sampler: Sampler,
    /// Where, when, with what.
    pub repro: Repro,
    /// Told of every second, and of notes.
    pub sinks: Vec<&'a mut dyn Sink>,
    /// Set when the user asks for an end.
    pub stop: Stop,
}

/// Somebody who is told while it runs.
pub trait Sink {
    /// What will be measured.
    fn begin(&mut self, scenario: &dyn Scenario, lengths: Lengths);
    /// A phase begins: `connecting`, `warming up`, `measuring`, `cooling down`, `draining`.
    fn phase(&mut self, name: &str);
    /// A second is over; `total` is all until then.
    fn second(&mut self, second: &Second, total: &Interval);
    /// Something for the operator.
    fn note(&mut self, text: &str);
}

enum FromWorker {
    Ready,
    Done(Result<Vec<Stream>, Failure>),
}

/// Carries `scenario` out.
///
/// # Errors
/// It could not begin, or a worker found nothing left to measure.
pub fn conduct<'a>(scenario: &'a dyn Scenario, plan: Plan<'a>) -> Result<Outcome, Failure> {
    let workers = scenario.workers(plan.threads, plan.lengths)?;
    let mut conductor = Conductor::new(scenario, plan);
    conductor.perform(workers)
}

struct Conductor<'a> {
    scenario: &'a dyn Scenario,
    plan: Plan<'a>,
    /// By second; each the sum over the workers.
    intervals: Vec<Interval>,
    /// CPU share of the busiest worker by second.
    own_cpu_shares: Vec<f64>,
    samples: Vec<Sample>,
    shown: usize,
    total: Interval,
    notes: Vec<String>,
    streams: Vec<Stream>,
    failures: Vec<Failure>,
}

impl<'a> Conductor<'a> {
    fn new(scenario: &'a dyn Scenario, plan: Plan<'a>) -> Self {
        let metrics = scenario.metrics().len();
        Self {
            scenario,
            plan,
            intervals: Vec::new(),
            own_cpu_shares: Vec::new(),
            samples: Vec::new(),
            shown: 0,
            total: Interval::new(0, metrics),
            notes: Vec::new(),
            streams: Vec::new(),
            failures: Vec::new(),
        }
    }

    fn perform(&mut self, workers: Vec<Box<dyn Worker>>) -> Result<Outcome, Failure> {
        let (lengths, scenario) = (self.plan.lengths, self.scenario);
        self.tell(|sink| sink.begin(scenario, lengths));
        self.tell(|sink| sink.phase("connecting"));
        for note in self.plan.sampler.notes().to_vec() {
            self.note(note);
        }
        let threads = workers.len();
        let (said, heard) = mpsc::channel();
        let (report, reports) = mpsc::channel();
        let stop = self.plan.stop.clone();
        let cpus = self.plan.cpus.clone();
        thread::scope(|scope| {
            let mut starts = Vec::new();
            for (number, worker) in workers.into_iter().enumerate() {
                let (start, started) = mpsc::channel();
                starts.push(start);
                let (said, report, stop) = (said.clone(), report.clone(), stop.clone());
                let cpu = cpus.get(number % cpus.len().max(1)).copied();
                let metrics = self.scenario.metrics().len();
                let is_busy_polling = self.plan.is_busy_polling;
                let open = move |timetable, said| {
                    Meter::open(timetable, metrics, said).busy_polling(is_busy_polling)
                };
                thread::Builder::new()
                    .name(format!("load-{number}"))
                    .spawn_scoped(scope, move || {
                        let work = AssertUnwindSafe(|| {
                            serve(worker, cpu, open, &started, &said, &report, &stop)
                        });
                        let result = catch_unwind(work).unwrap_or_else(|_| {
                            Err(Failure::new("a worker panicked; its message is above"))
                        });
                        // Nobody listens when the run is over.
                        let _ = report.send(FromWorker::Done(result));
                    })?;
            }
            drop((said, report));
            let outcome = self.oversee(threads, &starts, &heard, &reports);
            if outcome.is_err() {
                stop.now();
            }
            drop(starts);
            outcome
        })
    }

    fn oversee(
        &mut self,
        threads: usize,
        starts: &[Sender<Timetable>],
        heard: &Receiver<Said>,
        reports: &Receiver<FromWorker>,
    ) -> Result<Outcome, Failure> {
        for _ in 0..threads {
            match reports.recv() {
                Ok(FromWorker::Ready) => {}
                Ok(FromWorker::Done(Err(failure))) => return Err(failure),
                Ok(FromWorker::Done(Ok(_))) | Err(_) => {
                    return Err(Failure::new("a worker ended before it began"));
                }
            }
        }
        let timetable = self.timetable();
        for start in starts {
            // A worker that is gone says so on its own channel.
            let _ = start.send(timetable);
        }
        self.attend(timetable, threads, heard, reports)?;
        Ok(self.conclude(timetable, threads))
    }

    fn timetable(&self) -> Timetable {
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 8);
        let lengths = self.plan.lengths;
        let start_ns = clock::now_ns() + SETTLE_NS;
        let window_start_ns = start_ns + ns(lengths.warmup);
        let window_end_ns = window_start_ns + ns(lengths.window);
        let end_ns = window_end_ns + ns(lengths.cooldown);
        Timetable {
            start_ns,
            window_start_ns,
            window_end_ns,
            end_ns,
            drain_end_ns: end_ns + ns(lengths.drain),
        }
    }

    /// Until all workers are done.
    fn attend(
        &mut self,
        timetable: Timetable,
        threads: usize,
        heard: &Receiver<Said>,
        reports: &Receiver<FromWorker>,
    ) -> Result<(), Failure> {
        let mut phases = [
            (timetable.start_ns, "warming up"),
            (timetable.window_start_ns, "measuring"),
            (timetable.window_end_ns, "cooling down"),
            (timetable.end_ns, "draining"),
        ]
        .into_iter()
        .peekable();
        let mut next_sample_ns = timetable.window_start_ns;
        let mut running = threads;
        while running > 0 {
            let now_ns = clock::now_ns();
            while let Some((_, name)) = phases.next_if(|(at_ns, _)| *at_ns <= now_ns) {
                self.tell(|sink| sink.phase(name));
            }
            if now_ns >= next_sample_ns && next_sample_ns <= timetable.window_end_ns {
                self.samples.push(self.plan.sampler.sample());
                next_sample_ns += SECOND.min((timetable.window_end_ns - next_sample_ns).max(1));
            }
            self.show_seconds(timetable, now_ns);
            match heard.recv_timeout(PERIOD) {
                Ok(Said::Interval(interval)) => self.take(&interval),
                Ok(Said::Note(text)) => self.note(text),
                Err(RecvTimeoutError::Timeout) => {}
                // All meters are finished; what is left is to hear how.
                Err(RecvTimeoutError::Disconnected) => thread::sleep(PERIOD),
            }
            while let Ok(report) = reports.try_recv() {
                if let FromWorker::Done(result) = report {
                    running -= 1;
                    match result {
                        Ok(streams) => self.streams.extend(streams),
                        Err(failure) => {
                            self.failures.push(failure);
                            self.plan.stop.now();
                        }
                    }
                }
            }
        }
        while let Ok(said) = heard.try_recv() {
            match said {
                Said::Interval(interval) => self.take(&interval),
                Said::Note(text) => self.note(text),
            }
        }
        self.show_seconds(timetable, u64::MAX);
        match self.failures.pop() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    fn take(&mut self, interval: &Interval) {
        let second = interval.second as usize;
        let metrics = self.scenario.metrics().len();
        // Stragglers make seconds after the window; where there are none, there are no such seconds.
        let window = self.plan.lengths.window.as_secs_f64().ceil();
        #[allow(clippy::cast_precision_loss)] // seconds
        let is_straggling = second as f64 >= window;
        let is_empty = interval.counts == Counts::default();
        if is_straggling && is_empty {
            self.total.add(interval);
            return;
        }
        while self.intervals.len() <= second && second < SECONDS_MAX {
            let number = u32::try_from(self.intervals.len()).unwrap_or(u32::MAX);
            self.intervals.push(Interval::new(number, metrics));
            self.own_cpu_shares.push(0.0);
        }
        if let Some(ours) = self.intervals.get_mut(second) {
            ours.add(interval);
            let share = share(interval.own.cpu_ns, interval.own.wall_ns);
            self.own_cpu_shares[second] = self.own_cpu_shares[second].max(share);
        }
        self.total.add(interval);
    }

    fn note(&mut self, text: String) {
        if !self.notes.contains(&text) && self.notes.len() < NOTES_MAX {
            self.tell(|sink| sink.note(&text));
            self.notes.push(text);
        }
    }

    /// Seconds that are over, and that every worker has had the time to tell of.
    fn show_seconds(&mut self, timetable: Timetable, now_ns: u64) {
        let window = (timetable.window_end_ns - timetable.window_start_ns).div_ceil(SECOND);
        while self.shown < self.intervals.len() {
            let end_ns = timetable.window_start_ns + (self.shown as u64 + 1) * SECOND;
            if now_ns < end_ns.saturating_add(SECOND / 4)
                || self.shown as u64 >= window && now_ns < u64::MAX
            {
                return;
            }
            let second = self.second(self.shown);
            self.shown += 1;
            let mut total = std::mem::replace(&mut self.total, Interval::new(0, 0));
            self.tell(|sink| sink.second(&second, &total));
            std::mem::swap(&mut self.total, &mut total);
        }
    }

    fn second(&self, number: usize) -> Second {
        let interval = &self.intervals[number];
        let between = self.samples.get(number).zip(self.samples.get(number + 1));
        Second {
            second: interval.second,
            counts: interval.counts.clone(),
            latencies: interval
                .dists
                .iter()
                .map(|dist| Quantiles::of(&dist.corrected))
                .collect(),
            lateness_p99_ms: ms(interval.own.lateness.value_at_quantile(0.99)),
            own_cpu_share: self.own_cpu_shares[number],
            server_cpu_share: between.and_then(|(before, after)| after.cpu_share_since(before)),
            server_rss_mib: self.samples.get(number + 1).and_then(Sample::rss_mib),
            gpus: self
                .samples
                .get(number + 1)
                .map(Sample::gpus)
                .unwrap_or_default(),
        }
    }

    fn conclude(&mut self, timetable: Timetable, threads: usize) -> Outcome {
        for remark in self.scenario.remarks() {
            self.note(remark);
        }
        let window_s = timetable.window_seconds();
        let total = &self.total;
        #[allow(clippy::cast_precision_loss)] // rates
        let per_second = |count: u64| count as f64 / window_s;
        let series: Vec<Second> = (0..self.intervals.len())
            .map(|number| self.second(number))
            .collect();
        let server = self.plan.sampler.conclude(&self.samples);
        let mut figures = self.scenario.figures(total, &self.streams, window_s);
        if let Some(server) = &server {
            figures.extend(self.scenario.costs(server, total, window_s));
            figures.extend(crate::sample::costs(
                server,
                total,
                self.scenario.operation(),
                window_s,
            ));
        }
        let own = OwnConduct {
            lateness: Quantiles::of(&total.own.lateness),
            receive_lag: Quantiles::of(&total.own.receive_lag),
            cpu_share_max: self.mean_of_busiest(),
            threads: u32::try_from(threads).unwrap_or(u32::MAX),
            is_busy_polling: self.plan.is_busy_polling,
        };
        Outcome {
            schema: SCHEMA.to_owned(),
            scenario: self.scenario.name().to_owned(),
            operation: self.scenario.operation().to_owned(),
            settings: match self.scenario.settings() {
                Value::Object(map) => map.into_iter().collect(),
                other => [("settings".to_owned(), other)].into(),
            },
            verdict: self.verdict(&own),
            repro: self.plan.repro.clone(),
            window_s,
            rate: Rate {
                offered_per_s: per_second(total.counts.due),
                achieved_per_s: per_second(total.counts.sent),
                received_per_s: per_second(total.counts.received),
                received_mib_per_s: per_second(total.counts.bytes_received) / f64::from(1 << 20),
            },
            counts: total.counts.clone(),
            lost: total.counts.lost(),
            latencies: self
                .scenario
                .metrics()
                .iter()
                .zip(&total.dists)
                .map(|(metric, dist)| Latency {
                    name: metric.name.to_owned(),
                    title: metric.title.to_owned(),
                    corrected: Quantiles::of(&dist.corrected),
                    uncorrected: Quantiles::of(&dist.uncorrected),
                })
                .collect(),
            figures,
            own,
            server,
            streams: std::mem::take(&mut self.streams),
            series,
            notes: std::mem::take(&mut self.notes),
        }
    }

    /// The CPU share of the busiest worker, averaged over whole seconds.
    #[allow(clippy::cast_precision_loss)] // an average of a few
    fn mean_of_busiest(&self) -> f64 {
        let shares: Vec<f64> = self
            .own_cpu_shares
            .iter()
            .copied()
            .filter(|share| *share > 0.0)
            .collect();
        shares.iter().sum::<f64>() / shares.len().max(1) as f64
    }

    fn verdict(&self, own: &OwnConduct) -> Verdict {
        let limits = self.plan.own_limits;
        let mut reasons = Vec::new();
        for (what, quantiles) in [
            ("sent", &own.lateness),
            ("read what had come", &own.receive_lag),
        ] {
            if quantiles.p99_ms > limits.lateness_p99_ms {
                reasons.push(format!(
                    "the generator was the bottleneck: it {what} {:.3} ms late at p99, where {:.3} ms is allowed; \
                     give it a CPU of its own (--cpu), more threads (--threads) or less to do",
                    quantiles.p99_ms, limits.lateness_p99_ms
                ));
            }
        }
        if own.cpu_share_max > limits.cpu_share {
            reasons.push(format!(
                "the generator was the bottleneck: its busiest thread used {:.0} % of a CPU; give it more threads (--threads)",
                own.cpu_share_max * 100.0
            ));
        }
        if self.total.counts.due == 0 {
            reasons.push("nothing was due within the window; give it a longer --window".to_owned());
        }
        if self.plan.stop.is_told() {
            reasons.push("it was interrupted".to_owned());
        }
        Verdict {
            is_valid: reasons.is_empty(),
            reasons,
        }
    }

    fn tell(&mut self, mut what: impl FnMut(&mut dyn Sink)) {
        for sink in &mut self.plan.sinks {
            what(&mut **sink);
        }
    }
}

/// A worker's thread.
fn serve(
    mut worker: Box<dyn Worker>,
    cpu: Option<usize>,
    open: impl FnOnce(Timetable, Sender<Said>) -> Meter,
    started: &Receiver<Timetable>,
    said: &Sender<Said>,
    report: &Sender<FromWorker>,
    stop: &Stop,
) -> Result<Vec<Stream>, Failure> {
    cpu.map_or(Ok(()), pin::to)?;
    let outcome = worker.prepare(stop).and_then(|()| {
        // As is a conductor that has given up: its end of `started` is gone then.
        let _ = report.send(FromWorker::Ready);
        match started.recv() {
            Ok(timetable) => worker.run(open(timetable, said.clone()), stop),
            Err(_) => Ok(Vec::new()),
        }
    });
    worker.clean_up();
    outcome
}

#[allow(clippy::cast_precision_loss)] // a share
fn share(part_ns: u64, whole_ns: u64) -> f64 {
    if whole_ns == 0 {
        0.0
    } else {
        part_ns as f64 / whole_ns as f64
    }
}

/// For the server to have seen every hello and parked every request.
const SETTLE_NS: u64 = SECOND / 2;
/// How often the conductor looks around.
const PERIOD: Duration = Duration::from_millis(50);
/// A day; what a worker says of later seconds is in the total alone.
const SECONDS_MAX: usize = 86_400;
/// Different notes that are shown.
const NOTES_MAX: usize = 50;
