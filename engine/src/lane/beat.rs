//! The rhythm in which a session's units arrive, so that a batch knows whether waiting for one is worth while.

use std::time::{Duration, Instant};

/// Units further apart than this have no rhythm that could be waited for.
const INTERVAL_MAX: Duration = Duration::from_millis(250);

/// The rhythm in which a session's units arrive.
#[derive(Default)]
pub(super) struct Beat {
    last: Option<Instant>,
    interval: Option<Duration>,
}

impl Beat {
    pub(super) fn note(&mut self, at: Instant) {
        if let Some(last) = self.last {
            let new = at.saturating_duration_since(last).min(INTERVAL_MAX);
            // An average of the last eight or so.
            self.interval = Some(self.interval.map_or(new, |old| (old * 7 + new) / 8));
        }
        self.last = Some(at);
    }

    /// Whether a unit is likely to come before `until`. One that is overdue by half an interval is not waited for any more.
    pub(super) fn is_due(&self, now: Instant, until: Instant) -> bool {
        let (Some(last), Some(interval)) = (self.last, self.interval) else {
            return false;
        };
        let due = last + interval;
        interval < INTERVAL_MAX && due <= until && due + interval / 2 >= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_due_by_the_rhythm_of_those_before() {
        let ms = Duration::from_millis;
        let began = Instant::now();
        let mut beat = Beat::default();
        assert!(!beat.is_due(began, began + ms(1000)));
        for n in 0..10 {
            beat.note(began + ms(33) * n);
        }
        let next = began + ms(330);
        assert!(beat.is_due(next - ms(2), next + ms(1)));
        assert!(!beat.is_due(next - ms(9), next - ms(5)), "not yet");
        assert!(beat.is_due(next + ms(10), next + ms(12)), "a little late");
        assert!(!beat.is_due(next + ms(40), next + ms(42)), "it has paused");
    }
}
