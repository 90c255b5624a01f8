//! What the demo measures from outside: when each frame left, when it came back.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::report::Report;

/// Over how long rates are averaged.
const WINDOW: Duration = Duration::from_secs(2);
/// Frames whose sending time is remembered.
const PENDING_MAX: usize = 4096;

/// Times of frames, shared by publisher, watcher and screen.
#[derive(Default)]
pub(super) struct Meter(Mutex<State>);

struct State {
    began: Option<Instant>,
    /// When a frame's last byte was sent, by its 33-bit PTS.
    pending: HashMap<u64, Instant>,
    sent: Rate,
    received: Rate,
    latency_us: Histogram<u64>,
}

#[derive(Default)]
struct Rate {
    total: u64,
    recent: VecDeque<Instant>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            began: None,
            pending: HashMap::new(),
            sent: Rate::default(),
            received: Rate::default(),
            latency_us: Histogram::new_with_bounds(1, 60_000_000, 3).expect("constant bounds"),
        }
    }
}

impl Rate {
    fn tick(&mut self, now: Instant) {
        self.total += 1;
        self.recent.push_back(now);
        self.trim(now);
    }

    fn trim(&mut self, now: Instant) {
        while self
            .recent
            .front()
            .is_some_and(|at| now.saturating_duration_since(*at) > WINDOW)
        {
            self.recent.pop_front();
        }
    }

    fn per_second(&mut self, now: Instant) -> f64 {
        self.trim(now);
        match (self.recent.front(), self.recent.len()) {
            (Some(first), n) if n > 1 => {
                (n - 1) as f64
                    / now
                        .saturating_duration_since(*first)
                        .as_secs_f64()
                        .max(0.001)
            }
            _ => 0.0,
        }
    }
}

impl Meter {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A frame's last byte has left.
    pub(super) fn sent(&self, pts: u64, at: Instant) {
        let mut state = self.lock();
        state.began.get_or_insert(at);
        state.sent.tick(at);
        if state.pending.len() < PENDING_MAX {
            state.pending.insert(pts, at);
        }
    }

    /// A frame's first byte has come back.
    pub(super) fn received(&self, pts: u64, at: Instant) {
        let mut state = self.lock();
        state.received.tick(at);
        if let Some(sent) = state.pending.remove(&pts) {
            let us =
                u64::try_from(at.saturating_duration_since(sent).as_micros()).unwrap_or(u64::MAX);
            state.latency_us.saturating_record(us.max(1));
        }
    }

    /// How it goes, in a line.
    pub(super) fn line(&self, now: Instant) -> String {
        let mut state = self.lock();
        let elapsed = state.began.map_or(0.0, |began| {
            now.saturating_duration_since(began).as_secs_f64()
        });
        let (fps_in, fps_out) = (state.sent.per_second(now), state.received.per_second(now));
        let ms = |q: f64| state.latency_us.value_at_quantile(q) as f64 / 1000.0;
        format!(
            "{elapsed:6.1} s   in {:5} frames {fps_in:5.1} fps   out {:5} frames {fps_out:5.1} fps   glass to glass p50 {:6.2} ms  p99 {:6.2} ms   on the way {}",
            state.sent.total,
            state.received.total,
            ms(0.5),
            ms(0.99),
            state.sent.total.saturating_sub(state.received.total),
        )
    }

    pub(super) fn describe(&self, report: &mut Report) {
        let state = self.lock();
        let ms = |us: u64| us as f64 / 1000.0;
        let latency = &state.latency_us;
        report.row(
            "latency",
            format!(
                "p50 {:.2} ms   p99 {:.2} ms   worst {:.2} ms   ({} frames: last byte sent to first byte back)",
                ms(latency.value_at_quantile(0.5)),
                ms(latency.value_at_quantile(0.99)),
                ms(latency.max()),
                latency.len()
            ),
        );
    }
}
