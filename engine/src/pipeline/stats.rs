//! What a session counts and measures.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use link::{SessionStats, Stage, StageLatency};

use crate::lane::Stamps;

/// The longest latency told apart, in microseconds.
const LATENCY_US_MAX: u64 = 60_000_000;

/// A session's counters and where the time of its frames went.
pub(crate) struct Stats {
    pub(crate) totals: SessionStats,
    stages: [Histogram<u32>; Stage::ALL.len()],
}

impl Stats {
    pub(crate) fn new() -> Self {
        let histogram =
            || Histogram::new_with_bounds(1, LATENCY_US_MAX, 2).expect("constant bounds");
        Self {
            totals: SessionStats::default(),
            stages: std::array::from_fn(|_| histogram()),
        }
    }

    /// Notes a frame that has been published.
    pub(crate) fn frame(&mut self, stamps: &Stamps, taken_back: Instant, published: Instant) {
        let Stamps {
            read,
            queued,
            taken,
            decoded,
            processed,
            encoded,
            program: _,
        } = *stamps;
        for (stage, from, to) in [
            (Stage::Demux, read, queued),
            (Stage::QueueIn, queued, taken),
            (Stage::Decode, taken, decoded),
            (Stage::Process, decoded, processed),
            (Stage::Encode, processed, encoded),
            (Stage::QueueOut, encoded, taken_back),
            (Stage::Mux, taken_back, published),
            (Stage::Total, read, published),
        ] {
            self.stages[stage as usize]
                .saturating_record(micros(to.saturating_duration_since(from)).max(1));
        }
        self.totals.frames_out += 1;
        self.totals.last_output_ms = unix_ms();
    }

    /// Totals with the distributions as they are now.
    pub(crate) fn read(&self) -> SessionStats {
        let mut stats = self.totals.clone();
        for (latency, histogram) in stats.stages.iter_mut().zip(&self.stages) {
            *latency = StageLatency {
                count: histogram.len(),
                p50_us: histogram.value_at_quantile(0.5),
                p99_us: histogram.value_at_quantile(0.99),
                max_us: histogram.max(),
            };
        }
        stats
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Unix time.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| {
            u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
        })
}
