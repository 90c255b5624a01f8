//! What a worker counts while it runs, second by second.
//!
//! ```text
//!      prepare      warm-up            window            cool-down    drain
//!   ├───────────┼─────────────┼────────────────────────┼───────────┼─────────┤
//!    connect    start     window start            window end      end     what is still on its way
//! ```
//!
//! Invariants:
//! - What was *due* within the window counts, whenever it arrives; nothing else does. It is entered in the second in which it
//!   came to its end, so that latency over time shows when people waited.
//! - The sum over all intervals of all workers is the result: nothing is counted on the side.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::clock::{self, SECOND};

/// When everything happens, on the monotonic clock, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub struct Timetable {
    /// The first operation is due.
    pub start_ns: u64,
    /// What is due from here on counts.
    pub window_start_ns: u64,
    /// What is due from here on does not.
    pub window_end_ns: u64,
    /// Nothing is due from here on.
    pub end_ns: u64,
    /// What has not come by now is lost.
    pub drain_end_ns: u64,
}

impl Timetable {
    /// Whether something that is due at `due_ns` counts.
    pub fn is_measured(&self, due_ns: u64) -> bool {
        (self.window_start_ns..self.window_end_ns).contains(&due_ns)
    }

    /// Length of the window in seconds.
    #[allow(clippy::cast_precision_loss)] // for rates
    pub fn window_seconds(&self) -> f64 {
        (self.window_end_ns - self.window_start_ns) as f64 / 1e9
    }
}

/// One thing that a scenario times.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// In files and in an SLO: `chunk`, `first_byte`.
    pub name: &'static str,
    /// For people, from when to when.
    pub title: &'static str,
}

/// A distribution of times in nanoseconds, told twice.
#[derive(Debug, Clone)]
pub struct Dist {
    /// From when it was due.
    pub corrected: Histogram<u64>,
    /// From when it was due or when the one before it on the same stream had come, whichever is later: what a tool would have
    /// seen that waits for each answer before it sends again. Empty for a metric that has no such thing.
    pub uncorrected: Histogram<u64>,
}

impl Default for Dist {
    fn default() -> Self {
        Self {
            corrected: histogram(),
            uncorrected: histogram(),
        }
    }
}

/// Three significant digits, from a nanosecond up, as far as is needed.
pub fn histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1, 2 * SECOND, 3)
        .unwrap_or_else(|e| panic!("constant bounds: {e}"));
    histogram.auto(true);
    histogram
}

/// Numbers of things.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Operations that were due.
    pub due: u64,
    /// Of them begun.
    pub sent: u64,
    /// Of those, begun more than [`LATE_NS`] after they were due: the generator's own fault.
    pub late: u64,
    /// Due and never begun: no connection took them.
    pub dropped: u64,
    /// Results that should come: one a subscriber of each chunk, one a frame.
    pub expected: u64,
    /// Results that came, once and whole.
    pub received: u64,
    /// Results that came again.
    pub duplicate: u64,
    /// Results that came after a later one of the same stream.
    pub reordered: u64,
    /// Results with a wrong byte, or of another stream.
    pub corrupt: u64,
    /// Segments that ended within a result.
    pub truncated: u64,
    /// Payload sent.
    pub bytes_sent: u64,
    /// Payload received.
    pub bytes_received: u64,
    /// Errors by class, such as `connect`, `status-503`, `reset`, `timeout`.
    pub errors: BTreeMap<String, u64>,
    /// What only this scenario counts, such as `stalls`.
    pub more: BTreeMap<String, u64>,
}

impl Counts {
    /// Results that should have come and did not. To be asked when all is over.
    pub fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.received)
    }

    /// All errors.
    pub fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Adds those of another.
    pub fn add(&mut self, other: &Self) {
        for (ours, theirs) in [
            (&mut self.due, other.due),
            (&mut self.sent, other.sent),
            (&mut self.late, other.late),
            (&mut self.dropped, other.dropped),
            (&mut self.expected, other.expected),
            (&mut self.received, other.received),
            (&mut self.duplicate, other.duplicate),
            (&mut self.reordered, other.reordered),
            (&mut self.corrupt, other.corrupt),
            (&mut self.truncated, other.truncated),
            (&mut self.bytes_sent, other.bytes_sent),
            (&mut self.bytes_received, other.bytes_received),
        ] {
            *ours += theirs;
        }
        for (ours, theirs) in [
            (&mut self.errors, &other.errors),
            (&mut self.more, &other.more),
        ] {
            for (name, count) in theirs {
                *ours.entry(name.clone()).or_default() += count;
            }
        }
    }
}

/// How the generator itself did.
#[derive(Debug, Clone)]
pub struct Own {
    /// From when an operation was due to when it was begun.
    pub lateness: Histogram<u64>,
    /// From when what had arrived can first have been ready to when it was read: what the worker's own slowness may have added to a
    /// latency, at the most.
    pub receive_lag: Histogram<u64>,
    /// CPU time of the worker's thread, without what it spent asking again and again whether there is something to do.
    pub cpu_ns: u64,
    /// By so much wall time.
    pub wall_ns: u64,
}

impl Default for Own {
    fn default() -> Self {
        Self {
            lateness: histogram(),
            receive_lag: histogram(),
            cpu_ns: 0,
            wall_ns: 0,
        }
    }
}

/// What a worker counted in one second, by its end.
#[derive(Debug, Clone)]
pub struct Interval {
    /// Seconds since the window's start; stragglers make seconds after its end.
    pub second: u32,
    /// Numbers.
    pub counts: Counts,
    /// Times, by metric.
    pub dists: Vec<Dist>,
    /// The generator.
    pub own: Own,
}

impl Interval {
    /// Nothing yet.
    pub fn new(second: u32, metrics: usize) -> Self {
        Self {
            second,
            counts: Counts::default(),
            dists: vec![Dist::default(); metrics],
            own: Own::default(),
        }
    }

    /// Adds another's, of whichever second.
    pub fn add(&mut self, other: &Self) {
        let add = |ours: &mut Histogram<u64>, theirs: &Histogram<u64>| {
            ours.add(theirs)
                .unwrap_or_else(|e| panic!("ours resizes itself: {e}"));
        };
        self.counts.add(&other.counts);
        for (ours, theirs) in self.dists.iter_mut().zip(&other.dists) {
            add(&mut ours.corrected, &theirs.corrected);
            add(&mut ours.uncorrected, &theirs.uncorrected);
        }
        add(&mut self.own.lateness, &other.own.lateness);
        add(&mut self.own.receive_lag, &other.own.receive_lag);
        self.own.cpu_ns += other.own.cpu_ns;
        self.own.wall_ns += other.own.wall_ns;
    }
}

/// What a worker says while it runs.
#[derive(Debug)]
pub enum Said {
    /// A second is over.
    Interval(Box<Interval>),
    /// Something for the operator, once; it is shown beside the figures.
    Note(String),
}

/// A worker's book.
#[derive(Debug)]
pub struct Meter {
    timetable: Timetable,
    interval: Interval,
    said: Sender<Said>,
    cpu_ns: u64,
    wall_ns: u64,
    idle_ns: u64,
    is_busy_polling: bool,
}

impl Meter {
    /// An empty book, for as many metrics as the scenario has. To be opened on the thread that will write in it.
    pub fn open(timetable: Timetable, metrics: usize, said: Sender<Said>) -> Self {
        Self {
            timetable,
            interval: Interval::new(0, metrics),
            said,
            cpu_ns: clock::thread_cpu_ns(),
            wall_ns: clock::now_ns(),
            idle_ns: 0,
            is_busy_polling: false,
        }
    }

    /// The worker is to ask without end for what has come, and never to sleep.
    #[must_use]
    pub fn busy_polling(mut self, is_busy_polling: bool) -> Self {
        self.is_busy_polling = is_busy_polling;
        self
    }

    /// How long the worker may sleep, in milliseconds, when it would sleep for `wait_ms`.
    pub fn wait_ms(&self, wait_ms: u32) -> u32 {
        if self.is_busy_polling { 0 } else { wait_ms }
    }

    /// The worker asked for `idle_ns` in vain. When it busy-polls, that is no work of its.
    pub fn record_idle(&mut self, idle_ns: u64) {
        if self.is_busy_polling {
            self.idle_ns += idle_ns;
        }
    }

    /// When everything happens.
    pub fn timetable(&self) -> Timetable {
        self.timetable
    }

    /// To be called often: closes the second when it is over.
    pub fn tick(&mut self, now_ns: u64) {
        let second = now_ns.saturating_sub(self.timetable.window_start_ns) / SECOND;
        let second = u32::try_from(second).unwrap_or(u32::MAX);
        if now_ns < self.timetable.window_start_ns {
            (self.cpu_ns, self.wall_ns, self.idle_ns) = (clock::thread_cpu_ns(), now_ns, 0);
        } else if second > self.interval.second {
            self.close(second, now_ns);
        }
    }

    /// The numbers of this second. For what was due in the window only; [`Timetable::is_measured`] tells.
    pub fn counts(&mut self) -> &mut Counts {
        &mut self.interval.counts
    }

    /// An operation was due, and is begun now. `results` are expected of it.
    pub fn record_send(&mut self, due_ns: u64, now_ns: u64, results: u64) {
        self.record_due(due_ns, now_ns, results);
        self.record_begun(due_ns);
    }

    /// An operation was due, which the generator sees now, and waits until the server has room for it. `results` are expected of it.
    /// [`Self::record_begun`] or [`Self::record_given_up`] is to follow.
    pub fn record_due(&mut self, due_ns: u64, now_ns: u64, results: u64) {
        if self.timetable.is_measured(due_ns) {
            let late_ns = now_ns.saturating_sub(due_ns);
            let counts = &mut self.interval.counts;
            counts.due += 1;
            counts.expected += results;
            counts.late += u64::from(late_ns > LATE_NS);
            self.interval.own.lateness.saturating_record(late_ns);
        }
    }

    /// An operation that waited is begun.
    pub fn record_begun(&mut self, due_ns: u64) {
        self.interval.counts.sent += u64::from(self.timetable.is_measured(due_ns));
    }

    /// An operation that waited is not begun any more. Its results are lost.
    pub fn record_given_up(&mut self, due_ns: u64) {
        self.interval.counts.dropped += u64::from(self.timetable.is_measured(due_ns));
    }

    /// An operation was due, and cannot be begun. Its `results` are lost.
    pub fn record_drop(&mut self, due_ns: u64, results: u64) {
        if self.timetable.is_measured(due_ns) {
            let counts = &mut self.interval.counts;
            counts.due += 1;
            counts.dropped += 1;
            counts.expected += results;
        }
    }

    /// Something that was due at `due_ns` has come at `at_ns`; the one before it on its stream came at `before_ns`, or 0.
    pub fn record(&mut self, metric: usize, due_ns: u64, before_ns: u64, at_ns: u64) {
        if self.timetable.is_measured(due_ns) {
            let dist = &mut self.interval.dists[metric];
            dist.corrected
                .saturating_record(at_ns.saturating_sub(due_ns));
            dist.uncorrected
                .saturating_record(at_ns.saturating_sub(due_ns.max(before_ns)));
        }
    }

    /// A time that has no due, such as between two arrivals. `at_ns` is when it was known; it counts within the window.
    pub fn record_plain(&mut self, metric: usize, at_ns: u64, time_ns: u64) {
        if self.timetable.is_measured(at_ns) {
            self.interval.dists[metric]
                .corrected
                .saturating_record(time_ns);
        }
    }

    /// Something was read `lag_ns` after it can first have been ready.
    pub fn record_receive_lag(&mut self, at_ns: u64, lag_ns: u64) {
        if self.timetable.is_measured(at_ns) {
            self.interval.own.receive_lag.saturating_record(lag_ns);
        }
    }

    /// An error, whenever it occurs: those of warm-up and cool-down count too, since they are never right.
    pub fn record_error(&mut self, class: impl Into<String>) {
        *self.interval.counts.errors.entry(class.into()).or_default() += 1;
    }

    /// One more of what only this scenario counts.
    pub fn record_more(&mut self, at_ns: u64, name: &str, count: u64) {
        if self.timetable.is_measured(at_ns) {
            *self
                .interval
                .counts
                .more
                .entry(name.to_owned())
                .or_default() += count;
        }
    }

    /// Something for the operator, once.
    pub fn note(&self, text: impl Into<String>) {
        // The conductor has gone only when the run is over.
        let _ = self.said.send(Said::Note(text.into()));
    }

    /// The last second.
    pub fn finish(mut self) {
        self.close(u32::MAX, clock::now_ns());
    }

    fn close(&mut self, next: u32, now_ns: u64) {
        let cpu_ns = clock::thread_cpu_ns();
        // CPU and wall time of the drain say nothing about the load.
        if self.wall_ns < self.timetable.window_end_ns {
            self.interval.own.cpu_ns = (cpu_ns - self.cpu_ns).saturating_sub(self.idle_ns);
            self.interval.own.wall_ns = now_ns - self.wall_ns;
        }
        (self.cpu_ns, self.wall_ns, self.idle_ns) = (cpu_ns, now_ns, 0);
        let metrics = self.interval.dists.len();
        let closed = std::mem::replace(&mut self.interval, Interval::new(next, metrics));
        // As above.
        let _ = self.said.send(Said::Interval(Box::new(closed)));
    }
}

/// An operation that begins later than this after it was due is late.
pub const LATE_NS: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn timetable() -> Timetable {
        Timetable {
            start_ns: 0,
            window_start_ns: 2 * SECOND,
            window_end_ns: 5 * SECOND,
            end_ns: 6 * SECOND,
            drain_end_ns: 7 * SECOND,
        }
    }

    #[test]
    fn what_was_due_within_the_window_counts_and_nothing_else() {
        let (said, heard) = std::sync::mpsc::channel();
        let mut meter = Meter::open(timetable(), 1, said);
        for second in 0..7 {
            let due = second * SECOND;
            meter.tick(due);
            meter.record_send(due, due + 10, 2);
            meter.record(0, due, 0, due + 100);
        }
        meter.finish();
        let mut total = Interval::new(0, 1);
        for said in heard {
            let Said::Interval(interval) = said else {
                panic!("a note: {said:?}")
            };
            total.add(&interval);
        }
        assert_eq!((total.counts.due, total.counts.expected), (3, 6));
        assert_eq!(total.dists[0].corrected.len(), 3);
        assert_eq!(total.own.lateness.len(), 3);
    }

    #[test]
    fn a_wait_behind_another_is_seen_from_due_alone() {
        let (said, heard) = std::sync::mpsc::channel();
        let mut meter = Meter::open(timetable(), 1, said);
        let due = 2 * SECOND;
        meter.record(0, due, due + 900, due + 1_000);
        meter.finish();
        let Ok(Said::Interval(interval)) = heard.recv() else {
            panic!("no interval")
        };
        assert_eq!(interval.dists[0].corrected.max(), 1_000);
        assert_eq!(interval.dists[0].uncorrected.max(), 100);
    }
}
