//! What a live session owes, and when it is over for want of payment.
//!
//! A second of live video counts as [`PIXELS_PER_SECOND`], whatever its size, as with go-livepeer. A session is charged for the time from its
//! start to the last sign of input:
//!
//! ```text
//!   an input segment begins, and `interval` has passed since the last charge           the rule of go-livepeer, and when its gateways pay
//!   or input goes on, and `longest` has passed since then                              or one endless segment would be free
//!   or the session has ended                                                           what is left
//! ```
//!
//! A charge is always taken, below zero if need be. An account below zero is *unpaid*: it has `grace` to come back to zero or above, is looked at
//! every second meanwhile, and then the session ends. go-livepeer ends at once a session whose balance does not hold the next charge, though a
//! payment may be under way; here nothing ends while the balance is not negative.
//!
//! Invariants:
//! - Pixels are charged once: at any time the sum of all charges is `rate × active time`, rounded down, and fractions carry over.
//! - One charge is under way at a time. One that did not happen is asked for again, with what has come since.
//! - Pure: time is handed in, as the time since the session began.

use std::time::Duration;

/// 1280 × 720 pixels, 30 times a second.
pub const PIXELS_PER_SECOND: u64 = 27_648_000;

/// When a session is charged, and how long it may owe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The least time between two charges while segments come.
    pub interval: Duration,
    /// How long the account may be below zero.
    pub grace: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            grace: Duration::from_secs(10),
        }
    }
}

impl Rules {
    /// The most time between two charges while input comes at all.
    fn longest(&self) -> Duration {
        self.interval * LONGEST_INTERVALS
    }
}

/// With the usual interval half a minute: half of what a gateway pays ahead.
const LONGEST_INTERVALS: u32 = 6;
/// How often an account that owes is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One session's.
#[derive(Debug, Clone)]
pub struct Tab {
    rules: Rules,
    segments: u64,
    bytes: u64,
    /// The last sign of input.
    active: Duration,
    /// A segment began after the last charge.
    segment_began: bool,
    charged_at: Duration,
    charged_pixels: u64,
    under_way: Option<UnderWay>,
    unpaid_since: Option<Duration>,
    looked_at: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct UnderWay {
    pixels: u64,
    at: Duration,
}

/// What a charge, or a look, came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The account is not below zero.
    Paid,
    /// It was, and is not any more.
    PaidAgain,
    /// It is below zero from now on. The session may go on until then, unless it is paid.
    Unpaid {
        /// Time since the session began.
        ends_at: Duration,
    },
    /// It is still below zero, and there is time left.
    StillUnpaid,
    /// It is still below zero, and the time is over.
    Over,
}

impl Tab {
    /// Of a session that begins.
    #[must_use]
    pub const fn new(rules: Rules) -> Self {
        Self {
            rules,
            segments: 0,
            bytes: 0,
            active: Duration::ZERO,
            segment_began: false,
            charged_at: Duration::ZERO,
            charged_pixels: 0,
            under_way: None,
            unpaid_since: None,
            looked_at: Duration::ZERO,
        }
    }

    /// Input so far: segments that began, and bytes.
    pub fn saw(&mut self, now: Duration, segments: u64, bytes: u64) {
        if segments > self.segments || bytes > self.bytes {
            self.active = self.active.max(now);
        }
        self.segment_began |= segments > self.segments;
        (self.segments, self.bytes) = (self.segments.max(segments), self.bytes.max(bytes));
    }

    /// Pixels that are to be charged now; 0 asks to look at the account. Whoever is told has to say what came of it:
    /// [`charged`](Self::charged) or [`not_charged`](Self::not_charged).
    pub fn due(&mut self, now: Duration) -> Option<u64> {
        if self.under_way.is_some() {
            return None;
        }
        let since = now.saturating_sub(self.charged_at);
        let is_due = (self.segment_began && since >= self.rules.interval)
            || (self.active > self.charged_at && since >= self.rules.longest());
        let is_to_be_looked_at = self.unpaid_since.is_some()
            && now.saturating_sub(self.looked_at) >= LOOK_EVERY.min(self.rules.grace);
        match (is_due, is_to_be_looked_at) {
            (true, _) => Some(self.begin(now, self.owed())),
            (false, true) => Some(self.begin(now, 0)),
            (false, false) => None,
        }
    }

    /// What is left to be charged when the session has ended; `None` when nothing is.
    pub fn last(&mut self, now: Duration) -> Option<u64> {
        let pixels = self.owed();
        (self.under_way.is_none() && pixels > 0).then(|| self.begin(now, pixels))
    }

    fn begin(&mut self, now: Duration, pixels: u64) -> u64 {
        self.under_way = Some(UnderWay { pixels, at: now });
        self.segment_began &= pixels == 0;
        self.looked_at = now;
        pixels
    }

    /// Pixels of the active time that are not charged yet.
    fn owed(&self) -> u64 {
        let pixels = self.active.as_nanos() * u128::from(PIXELS_PER_SECOND) / 1_000_000_000;
        u64::try_from(pixels)
            .unwrap_or(u64::MAX)
            .saturating_sub(self.charged_pixels)
    }

    /// It was charged, or looked at, and the account is now below zero or not.
    pub fn charged(&mut self, now: Duration, is_negative: bool) -> Verdict {
        if let Some(UnderWay { pixels, at }) = self.under_way.take()
            && pixels > 0
        {
            self.charged_pixels = self.charged_pixels.saturating_add(pixels);
            self.charged_at = at;
        }
        match (is_negative, self.unpaid_since) {
            (false, None) => Verdict::Paid,
            (false, Some(_)) => {
                self.unpaid_since = None;
                Verdict::PaidAgain
            }
            (true, None) if self.rules.grace.is_zero() => Verdict::Over,
            (true, None) => {
                self.unpaid_since = Some(now);
                Verdict::Unpaid {
                    ends_at: now + self.rules.grace,
                }
            }
            (true, Some(since)) if now.saturating_sub(since) >= self.rules.grace => Verdict::Over,
            (true, Some(_)) => Verdict::StillUnpaid,
        }
    }

    /// It was not charged: it will be due again, a second later.
    pub fn not_charged(&mut self) {
        self.segment_began |= self.under_way.take().is_some_and(|way| way.pixels > 0);
    }

    /// Pixels charged so far.
    #[must_use]
    pub const fn charged_pixels(&self) -> u64 {
        self.charged_pixels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn tab() -> Tab {
        Tab::new(Rules::default())
    }

    #[test]
    fn a_charge_is_due_when_a_segment_begins_after_the_interval() {
        let mut tab = tab();
        // Segments of two seconds: the one that begins at 6 s is the first at which five have passed.
        for n in 0..3 {
            tab.saw(s(2 * n), n + 1, 1_000 * (n + 1));
            assert_eq!(tab.due(s(2 * n)), None);
        }
        tab.saw(s(6), 4, 4_000);
        assert_eq!(tab.due(s(6)), Some(6 * PIXELS_PER_SECOND));
        assert_eq!(tab.due(s(7)), None, "one is under way");
        assert_eq!(tab.charged(s(7), false), Verdict::Paid);
        tab.saw(s(10), 5, 5_000);
        assert_eq!(tab.due(s(10)), None, "four seconds since the last");
        tab.saw(s(12), 6, 6_000);
        assert_eq!(tab.due(s(12)), Some(6 * PIXELS_PER_SECOND));
    }

    #[test]
    fn an_endless_segment_is_not_free_and_silence_is() {
        let mut tab = tab();
        tab.saw(s(0), 1, 1);
        for second in 1..30 {
            tab.saw(s(second), 1, second + 1);
            assert_eq!(tab.due(s(second)).is_some(), second == 5, "{second}");
            if second == 5 {
                // The first segment began after no charge at all.
                tab.charged(s(5), false);
            }
        }
        for second in 30..35 {
            tab.saw(s(second), 1, second + 1);
            assert_eq!(tab.due(s(second)), None);
        }
        tab.saw(s(35), 1, 36);
        assert_eq!(tab.due(s(35)), Some(30 * PIXELS_PER_SECOND));
        tab.charged(s(35), false);
        // Nothing comes any more: nothing is charged, however long that is.
        assert_eq!(tab.due(s(500)), None);
        assert_eq!(tab.last(s(500)), None);
        // It comes again, and the pause counts, as gateways pay for it.
        tab.saw(s(500), 2, 40);
        assert_eq!(tab.due(s(500)), Some(465 * PIXELS_PER_SECOND));
    }

    #[test]
    fn pixels_are_charged_once_whatever_the_times() {
        let mut tab = tab();
        let mut now = Duration::ZERO;
        let mut sum = 0;
        for n in 1..1_000 {
            now += Duration::from_nanos(1_234_567_891);
            tab.saw(now, n, n);
            if let Some(pixels) = tab.due(now) {
                match n % 5 {
                    // The disk was in trouble.
                    0 => tab.not_charged(),
                    _ => {
                        sum += pixels;
                        tab.charged(now, false);
                    }
                }
            }
        }
        if let Some(pixels) = tab.last(now) {
            sum += pixels;
            tab.charged(now, false);
        }
        let all = now.as_nanos() * u128::from(PIXELS_PER_SECOND) / 1_000_000_000;
        assert_eq!(u128::from(sum), all);
        assert_eq!(tab.charged_pixels(), sum);
        assert_eq!(tab.last(now), None);
    }

    #[test]
    fn an_unpaid_session_has_the_grace_and_no_more() {
        let mut tab = tab();
        tab.saw(s(5), 1, 1);
        assert!(tab.due(s(5)).is_some());
        assert_eq!(
            tab.charged(s(5), true),
            Verdict::Unpaid { ends_at: s(15) },
            "told once, with the time"
        );
        assert_eq!(tab.due(Duration::from_millis(5_500)), None);
        assert_eq!(tab.due(s(6)), Some(0), "looked at every second");
        assert_eq!(tab.charged(s(6), true), Verdict::StillUnpaid);
        assert_eq!(tab.due(s(7)), Some(0));
        assert_eq!(tab.charged(s(7), false), Verdict::PaidAgain);
        assert_eq!(tab.due(s(8)), None);
        tab.saw(s(12), 2, 2);
        assert!(tab.due(s(12)).is_some());
        assert_eq!(tab.charged(s(12), true), Verdict::Unpaid { ends_at: s(22) });
        assert_eq!(tab.due(s(22)), Some(0));
        assert_eq!(tab.charged(s(22), true), Verdict::Over);
    }

    #[test]
    fn without_grace_it_is_over_at_once() {
        let mut tab = Tab::new(Rules {
            grace: Duration::ZERO,
            ..Rules::default()
        });
        tab.saw(s(5), 1, 1);
        assert!(tab.due(s(5)).is_some());
        assert_eq!(tab.charged(s(5), true), Verdict::Over);
    }
}
