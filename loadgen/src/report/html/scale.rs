//! From values to places: linear and logarithmic axes whose ticks are 1, 2 and 5 times powers of ten.
//!
//! Invariants:
//! - An axis has an extent whatever it is asked to show: nothing, one value, or values that are none.
//! - Every tick lies on the axis.

use crate::report::text::{number, whole};

/// One axis.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    /// What is on it, with its unit.
    pub(super) title: String,
    /// Where it begins and ends, in values.
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) is_log: bool,
    /// Values that have a line and a label.
    pub(super) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From nought to the largest value, or a little further.
    pub(super) fn from_zero(title: &str, values: impl Iterator<Item = f64>) -> Self {
        let max = values
            .filter(|value| value.is_finite())
            .fold(0.0_f64, f64::max);
        let max = if max > 0.0 { max } else { 1.0 };
        let step = step(max, LINEAR_TICKS);
        let max = (max * 1.02 / step).ceil() * step;
        Self::linear(title, 0.0, max)
    }

    /// Between two values, as they are.
    pub(super) fn linear(title: &str, min: f64, max: f64) -> Self {
        let max = if max > min { max } else { min + 1.0 };
        let step = step(max - min, LINEAR_TICKS);
        let first = (min / step).ceil();
        let ticks = (0..)
            .map(|number| (first + f64::from(number)) * step)
            .take_while(|value| *value <= max + step * 1e-6)
            .take(TICKS_MAX)
            .map(|value| (value, label(tidy(value, step), step)))
            .collect();
        Self {
            title: title.to_owned(),
            min,
            max,
            is_log: false,
            ticks,
        }
    }

    /// Logarithmic when the values go far apart, from nought otherwise. What is not positive has no place on a logarithmic one.
    pub(super) fn fitting(title: &str, values: impl Iterator<Item = f64>) -> Self {
        let values: Vec<f64> = values
            .filter(|value| value.is_finite() && *value > 0.0)
            .collect();
        let max = values.iter().copied().fold(0.0_f64, f64::max);
        let min = values.iter().copied().fold(f64::INFINITY, f64::min);
        if max <= 0.0 || max / min < WIDE {
            return Self::from_zero(title, values.into_iter());
        }
        Self::log(title, below(min), above(max))
    }

    fn log(title: &str, min: f64, max: f64) -> Self {
        let decades = (max / min).log10();
        let factors: &[f64] = match decades {
            d if d <= 2.5 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        // f64's decades are some 600.
        #[allow(clippy::cast_possible_truncation)]
        let (first, last) = (min.log10().floor() as i32, max.log10().ceil() as i32);
        let mut ticks: Vec<(f64, String)> = (first..=last)
            .flat_map(|decade| {
                factors
                    .iter()
                    .map(move |factor| factor * 10_f64.powi(decade))
            })
            .filter(|value| *value >= min * 0.999 && *value <= max * 1.001)
            .take(TICKS_MAX)
            .map(|value| (value, label(value, value)))
            .collect();
        // So that one sees where the floor is.
        if ticks.first().is_none_or(|(value, _)| *value > min * 1.001) {
            ticks.insert(0, (min, label(min, min)));
        }
        Self {
            title: title.to_owned(),
            min,
            max,
            is_log: true,
            ticks,
        }
    }

    /// Quantiles by what is left above them: 50 %, 90 %, 99 % … each as far from the next.
    pub(super) fn quantiles(count: u64) -> Self {
        #[allow(clippy::cast_precision_loss)] // a place on an axis
        let max = (count.max(10)) as f64;
        let mut ticks = vec![(2.0, "50 %".to_owned())];
        for nines in 1..=12_u32 {
            let value = 10_f64.powi(nines.cast_signed());
            if value <= max * 1.001 {
                let label = match nines {
                    1 => "90 %".to_owned(),
                    2 => "99 %".to_owned(),
                    more => format!("99.{} %", "9".repeat(more as usize - 2)),
                };
                ticks.push((value, label));
            }
        }
        Self {
            title: "of all, no more than".to_owned(),
            min: 1.0,
            max,
            is_log: true,
            ticks,
        }
    }

    /// Where on the axis, 0 is its beginning and 1 its end; `None` for what is not on it.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        if !value.is_finite() {
            return None;
        }
        let place = if self.is_log {
            if value <= 0.0 {
                return None;
            }
            (value / self.min).ln() / (self.max / self.min).ln()
        } else {
            (value - self.min) / (self.max - self.min)
        };
        // A little beyond is rounding; far beyond was asked not to be shown.
        (-0.001..=1.001)
            .contains(&place)
            .then(|| place.clamp(0.0, 1.0))
    }
}

/// 1, 2 or 5 times a power of ten, so that at most about `count` fit into `extent`.
fn step(extent: f64, count: f64) -> f64 {
    above(extent / count)
}

/// The least of 1, 2, 5 times a power of ten that is no less.
fn above(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let factor = match value / power {
        f if f <= 1.000_001 => 1.0,
        f if f <= 2.000_001 => 2.0,
        f if f <= 5.000_001 => 5.0,
        _ => 10.0,
    };
    factor * power
}

fn below(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let factor = match value / power {
        f if f >= 5.0 => 5.0,
        f if f >= 2.0 => 2.0,
        _ => 1.0,
    };
    factor * power
}

/// A multiple of a step, without the dust of binary fractions.
fn tidy(value: f64, step: f64) -> f64 {
    (value / step).round() * step
}

/// With as many decimals as its step has.
fn label(value: f64, step: f64) -> String {
    let decimals = -step.log10().floor();
    if value == 0.0 || decimals > 6.0 {
        return number(value);
    }
    if decimals <= 0.0 {
        return whole(value);
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 1 to 6
    let decimals = decimals as usize;
    format!("{value:.decimals$}")
}

const LINEAR_TICKS: f64 = 6.0;
const TICKS_MAX: usize = 40;
/// Further apart than this, small values would lie on the floor.
const WIDE: f64 = 20.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn ticks_are_one_two_and_five() {
        let axis = Axis::from_zero("", [3.0, 87.0].into_iter());
        assert_eq!(labels(&axis), ["0", "20", "40", "60", "80", "100"]);
        let axis = Axis::fitting("", [0.3, 900.0].into_iter());
        assert!(axis.is_log);
        assert_eq!(labels(&axis), ["0.2", "1", "10", "100", "1,000"]);
        let axis = Axis::fitting("", [0.3, 20.0].into_iter());
        assert_eq!(labels(&axis), ["0.2", "0.5", "1", "2", "5", "10", "20"]);
        let axis = Axis::quantiles(50_000);
        assert_eq!(labels(&axis), ["50 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
    }

    #[test]
    fn an_axis_has_an_extent_whatever_it_shows() {
        for values in [
            &[][..],
            &[0.0],
            &[f64::NAN, f64::INFINITY],
            &[-1.0],
            &[1e-300],
            &[1e300],
        ] {
            for axis in [
                Axis::fitting("", values.iter().copied()),
                Axis::from_zero("", values.iter().copied()),
            ] {
                assert!(
                    axis.max > axis.min && axis.max.is_finite(),
                    "{values:?} {axis:?}"
                );
                assert!(!axis.ticks.is_empty(), "{values:?} {axis:?}");
                for (value, _) in &axis.ticks {
                    assert!(axis.place(*value).is_some(), "{values:?} {value} {axis:?}");
                }
            }
        }
        assert!(Axis::linear("", 5.0, 5.0).place(5.0).is_some());
    }

    #[test]
    fn places_go_from_nought_to_one() {
        let axis = Axis::quantiles(10_000);
        assert!((axis.place(100.0).unwrap() - 0.5).abs() < 1e-9);
        assert_eq!(
            (axis.place(f64::NAN), axis.place(0.0), axis.place(1e9)),
            (None, None, None)
        );
        let axis = Axis::linear("", 10.0, 20.0);
        assert!((axis.place(12.5).unwrap() - 0.25).abs() < 1e-9);
        assert_eq!(axis.place(9.0), None);
    }
}
