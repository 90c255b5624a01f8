//! What a session's numbers mean: one pure function from counters and time to a state.
//!
//! ```text
//!                 first frame              output lags, frames dropped
//!   LOADING ────────────────► ONLINE ◄──────────────────────────────► DEGRADED_INFERENCE
//!                               ▲
//!                               └──── no input for 2 s ──► DEGRADED_INPUT
//!   from anywhere: ended by its peer or by us ──► OFFLINE     ended by a failure ──► ERROR
//! ```

use std::collections::VecDeque;

use link::{EndCause, SessionStats};

/// Input may pause this long, or two frame intervals if those are longer.
const INPUT_GAP_MS: u64 = 2_000;
/// Output may trail input by this much.
const OUTPUT_LAG_MS: u64 = 2_000;
/// Rates are measured over this much of the past.
const WINDOW_MS: u64 = 5_000;
/// One progress report a second, so the window holds six; the rest is slack.
const SAMPLES: usize = 16;

/// The states that go-livepeer's dashboards know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// No frame has arrived yet.
    Loading,
    /// Frames come and go.
    Online,
    /// Too little comes in.
    DegradedInput,
    /// Too little comes out.
    DegradedInference,
    /// Ended by a failure.
    Error,
    /// Ended.
    Offline,
}

impl State {
    /// The word on the wire.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Loading => "LOADING",
            Self::Online => "ONLINE",
            Self::DegradedInput => "DEGRADED_INPUT",
            Self::DegradedInference => "DEGRADED_INFERENCE",
            Self::Error => "ERROR",
            Self::Offline => "OFFLINE",
        }
    }
}

/// What a session that still runs is to be called.
pub(super) fn running(stats: &SessionStats, meter: &Meter, now_ms: u64) -> State {
    if stats.frames_in == 0 {
        return State::Loading;
    }
    let rates = meter.rates();
    if now_ms.saturating_sub(stats.last_input_ms) > rates.input_gap_ms() {
        return State::DegradedInput;
    }
    // Until something came out, the wait counts from the first frame in.
    let last_output_ms = match stats.last_output_ms {
        0 => meter.first_input_ms,
        at => at,
    };
    let lag_ms = stats.last_input_ms.saturating_sub(last_output_ms);
    match rates.dropped > 0 || lag_ms > OUTPUT_LAG_MS {
        true => State::DegradedInference,
        false => State::Online,
    }
}

/// What a session that has ended is to be called.
pub(super) fn ended(cause: &EndCause) -> State {
    match cause {
        EndCause::BadInput(_) | EndCause::Failed(_) => State::Error,
        _ => State::Offline,
    }
}

/// The recent past of a session's counters.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter {
    samples: VecDeque<Sample>,
    /// When the first frame was seen, 0 before.
    first_input_ms: u64,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at_ms: u64,
    frames_in: u64,
    frames_out: u64,
    frames_dropped: u64,
}

/// Rates over the window.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rates {
    /// Frames a second into the session.
    pub(super) fps_in: f64,
    /// Frames a second out of it.
    pub(super) fps_out: f64,
    /// Frames given up.
    pub(super) dropped: u64,
}

impl Rates {
    fn input_gap_ms(&self) -> u64 {
        match self.fps_in > 0.0 {
            // Saturates, so a tiny rate is a long gap and not a wrap.
            true => INPUT_GAP_MS.max((2_000.0 / self.fps_in) as u64),
            false => INPUT_GAP_MS,
        }
    }
}

impl Meter {
    /// Takes note of the counters at `now_ms`.
    pub(super) fn note(&mut self, now_ms: u64, stats: &SessionStats) {
        if self.first_input_ms == 0 && stats.frames_in > 0 {
            self.first_input_ms = now_ms;
        }
        // The newest sample at least a window old is kept: it is where the window begins.
        while self
            .samples
            .get(1)
            .is_some_and(|second| now_ms.saturating_sub(second.at_ms) >= WINDOW_MS)
            || self.samples.len() >= SAMPLES
        {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample {
            at_ms: now_ms,
            frames_in: stats.frames_in,
            frames_out: stats.frames_out,
            frames_dropped: stats.frames_dropped,
        });
    }

    /// Rates between the oldest and the newest sample kept; all zero until there are two.
    pub(super) fn rates(&self) -> Rates {
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else {
            return Rates::default();
        };
        let elapsed_ms = last.at_ms.saturating_sub(first.at_ms);
        if elapsed_ms == 0 {
            return Rates::default();
        }
        let per_second = |from: u64, to: u64| {
            let exact = to.saturating_sub(from) as f64 * 1_000.0 / elapsed_ms as f64;
            (exact * 100.0).round() / 100.0
        };
        Rates {
            fps_in: per_second(first.frames_in, last.frames_in),
            fps_out: per_second(first.frames_out, last.frames_out),
            dropped: last.frames_dropped.saturating_sub(first.frames_dropped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays `seconds` of a 30 fps stream into a meter; the clock starts at 100 s.
    fn played(seconds: u64, shape: impl Fn(&mut SessionStats)) -> (SessionStats, Meter, u64) {
        let mut meter = Meter::default();
        let mut stats = SessionStats::default();
        meter.note(100_000, &stats);
        for second in 1..=seconds {
            let now_ms = 100_000 + second * 1_000;
            stats.frames_in = second * 30;
            stats.frames_out = second * 30 - 2;
            stats.last_input_ms = now_ms;
            stats.last_output_ms = now_ms - 10;
            shape(&mut stats);
            meter.note(now_ms, &stats);
        }
        (stats, meter, 100_000 + seconds * 1_000)
    }

    #[test]
    fn a_session_loads_until_its_first_frame() {
        let meter = Meter::default();
        assert_eq!(
            running(&SessionStats::default(), &meter, 999_999),
            State::Loading
        );
    }

    #[test]
    fn a_stream_that_flows_is_online_and_its_rate_is_measured() {
        let (stats, meter, now_ms) = played(8, |_| ());
        assert_eq!(running(&stats, &meter, now_ms), State::Online);
        assert_eq!(
            meter.rates(),
            Rates {
                fps_in: 30.0,
                fps_out: 30.0,
                dropped: 0
            }
        );
    }

    #[test]
    fn input_that_stops_degrades_after_two_seconds() {
        let (stats, meter, now_ms) = played(8, |_| ());
        assert_eq!(running(&stats, &meter, now_ms + 2_000), State::Online);
        assert_eq!(
            running(&stats, &meter, now_ms + 2_001),
            State::DegradedInput
        );
    }

    #[test]
    fn a_slow_stream_is_measured_by_its_own_interval() {
        // One frame in four seconds.
        let mut meter = Meter::default();
        let mut stats = SessionStats::default();
        for second in 0..=12_u64 {
            stats.frames_in = 1 + second / 4;
            stats.frames_out = stats.frames_in;
            stats.last_input_ms = 100_000 + (second / 4) * 4_000;
            stats.last_output_ms = stats.last_input_ms;
            meter.note(100_000 + second * 1_000, &stats);
        }
        assert_eq!(
            running(&stats, &meter, 115_000),
            State::Online,
            "three seconds are not long here"
        );
    }

    #[test]
    fn drops_and_lag_degrade_inference_and_recover() {
        let (stats, meter, now_ms) = played(8, |stats| stats.frames_dropped = stats.frames_in / 10);
        assert_eq!(running(&stats, &meter, now_ms), State::DegradedInference);
        let (stats, meter, now_ms) = played(8, |stats| stats.last_output_ms = 101_000);
        assert_eq!(running(&stats, &meter, now_ms), State::DegradedInference);
        // Drops that are older than the window are forgiven.
        let (stats, meter, now_ms) =
            played(20, |stats| stats.frames_dropped = stats.frames_in.min(60));
        assert_eq!(running(&stats, &meter, now_ms), State::Online);
    }

    #[test]
    fn nothing_out_at_all_is_lag_once_it_is_late() {
        let silent = |stats: &mut SessionStats| (stats.frames_out, stats.last_output_ms) = (0, 0);
        let (stats, meter, now_ms) = played(2, silent);
        assert_eq!(running(&stats, &meter, now_ms), State::Online);
        let (stats, meter, now_ms) = played(5, silent);
        assert_eq!(running(&stats, &meter, now_ms), State::DegradedInference);
    }

    #[test]
    fn a_clock_that_runs_backwards_harms_nobody() {
        let mut meter = Meter::default();
        let stats = SessionStats {
            frames_in: 5,
            last_input_ms: 50,
            ..SessionStats::default()
        };
        meter.note(100, &stats);
        meter.note(40, &SessionStats::default());
        assert_eq!(meter.rates(), Rates::default());
        assert_eq!(running(&stats, &meter, 0), State::Online);
    }

    #[test]
    fn an_end_by_failure_is_an_error() {
        assert_eq!(ended(&EndCause::InputEnded), State::Offline);
        assert_eq!(ended(&EndCause::Draining), State::Offline);
        assert_eq!(ended(&EndCause::BadInput("x".into())), State::Error);
        assert_eq!(ended(&EndCause::Failed("x".into())), State::Error);
    }
}
