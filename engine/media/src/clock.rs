//! The 90 kHz clock, and its way out of 33 bits (13818-1 2.4.3.7).
//!
//! Invariants:
//! - Unwrapping never changes a timestamp modulo 2^33, so the muxer can write back exactly what the demuxer read.
//! - Arithmetic wraps rather than panics: the values come from the network.

use core::ops::{Add, AddAssign, Neg, Sub, SubAssign};

/// A time or a duration in ticks of 90 kHz, unwrapped. May be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ticks(pub i64);

impl Ticks {
    /// Ticks in a second.
    pub const HZ: i64 = 90_000;
    /// The lap of a 33-bit timestamp: 26 h 30 min 43.7 s.
    pub const LAP: i64 = 1 << 33;
    /// No time at all.
    pub const ZERO: Ticks = Ticks(0);

    /// The nearest tick to `us` microseconds.
    pub const fn from_us(us: i64) -> Ticks {
        let ticks = us as i128 * 9;
        Ticks(clamp((ticks + 50).div_euclid(100)))
    }

    /// The nearest tick to `ms` milliseconds; exact.
    pub const fn from_ms(ms: i64) -> Ticks {
        Ticks(ms.saturating_mul(Ticks::HZ / 1000))
    }

    /// The nearest microsecond. `from_us(t.to_us()) == t` for any `t` within ±2^59.
    pub const fn to_us(self) -> i64 {
        let us = self.0 as i128 * 100;
        clamp((us + 4).div_euclid(9))
    }

    /// The 33 bits that go on the wire.
    pub const fn wire(self) -> u64 {
        self.0.rem_euclid(Ticks::LAP) as u64
    }
}

const fn clamp(value: i128) -> i64 {
    if value > i64::MAX as i128 {
        i64::MAX
    } else if value < i64::MIN as i128 {
        i64::MIN
    } else {
        value as i64
    }
}

impl Add for Ticks {
    type Output = Ticks;
    fn add(self, other: Ticks) -> Ticks {
        Ticks(self.0.wrapping_add(other.0))
    }
}

impl Sub for Ticks {
    type Output = Ticks;
    fn sub(self, other: Ticks) -> Ticks {
        Ticks(self.0.wrapping_sub(other.0))
    }
}

impl Neg for Ticks {
    type Output = Ticks;
    fn neg(self) -> Ticks {
        Ticks(self.0.wrapping_neg())
    }
}

impl AddAssign for Ticks {
    fn add_assign(&mut self, other: Ticks) {
        *self = *self + other;
    }
}

impl SubAssign for Ticks {
    fn sub_assign(&mut self, other: Ticks) {
        *self = *self - other;
    }
}

/// Unwraps the 33-bit timestamps of one program.
///
/// Each timestamp lands within half a lap (13 h) of the one before it, in either direction, so B-frames, audio that lags
/// behind video, and a sender that starts over are all followed. The first keeps its 33-bit value. All tracks of a program
/// share one unwrapper: they share one time base.
#[derive(Debug, Clone, Default)]
pub struct Unwrapper {
    last: Option<Ticks>,
}

impl Unwrapper {
    /// Before the first timestamp.
    pub const fn new() -> Unwrapper {
        Unwrapper { last: None }
    }

    /// Unwraps `wire`, of which only the low 33 bits count, and measures the next one from it.
    pub fn follow(&mut self, wire: u64) -> Ticks {
        let ticks = self.near(wire);
        self.last = Some(ticks);
        ticks
    }

    /// Unwraps `wire` beside the one before it, and forgets it again.
    pub fn near(&self, wire: u64) -> Ticks {
        let wire = (wire & (Ticks::LAP as u64 - 1)) as i64;
        let Some(last) = self.last else {
            return Ticks(wire);
        };
        let ahead = (wire - last.wire() as i64).rem_euclid(Ticks::LAP);
        let step = if ahead >= Ticks::LAP / 2 {
            ahead - Ticks::LAP
        } else {
            ahead
        };
        last + Ticks(step)
    }

    /// The timestamp unwrapped last.
    pub const fn last(&self) -> Option<Ticks> {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn first_keeps_its_value_and_laps_are_counted() {
        let mut clock = Unwrapper::new();
        let start = Ticks::LAP - 3000;
        assert_eq!(clock.follow(start as u64), Ticks(start));
        assert_eq!(clock.follow(0), Ticks(Ticks::LAP));
        assert_eq!(
            clock.follow(start as u64 + 1),
            Ticks(start + 1),
            "a B-frame may step back over the edge"
        );
        assert_eq!(clock.follow(3000), Ticks(Ticks::LAP + 3000));
    }

    #[test]
    fn a_step_back_over_zero_is_negative() {
        let mut clock = Unwrapper::new();
        clock.follow(100);
        assert_eq!(clock.follow((1 << 33) - 50), Ticks(-50));
        assert_eq!(Ticks(-50).wire(), (1 << 33) - 50);
    }

    #[test]
    fn a_sender_that_starts_over_is_followed() {
        let mut clock = Unwrapper::new();
        clock.follow(90_000 * 1000);
        assert_eq!(clock.follow(90_000), Ticks(90_000));
    }

    proptest! {
        #[test]
        fn modulo_a_lap_nothing_changes(wires in proptest::collection::vec(0u64..1 << 33, 1..200)) {
            let mut clock = Unwrapper::new();
            let mut last: Option<Ticks> = None;
            for wire in wires {
                let ticks = clock.follow(wire);
                prop_assert_eq!(ticks.wire(), wire);
                if let Some(last) = last {
                    prop_assert!((ticks - last).0.abs() <= Ticks::LAP / 2);
                }
                last = Some(ticks);
            }
        }

        #[test]
        fn microseconds_and_back(ticks in -(1i64 << 59)..1 << 59) {
            prop_assert_eq!(Ticks::from_us(Ticks(ticks).to_us()), Ticks(ticks));
        }
    }
}
