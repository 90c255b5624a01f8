//! How much worse a figure may be.

use super::LOSS;
use crate::failure::Failure;

/// One for all, and others by name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Thresholds {
    all: f64,
    named: Vec<(String, f64)>,
}

impl Thresholds {
    /// Of `5%`, `p99=10%`, `first_byte.p99=10%`, in any order; the last of a name counts.
    pub(super) fn parse(texts: &[String]) -> Result<Self, String> {
        let mut thresholds = Self {
            all: ALL_DEFAULT,
            named: vec![(LOSS.to_owned(), LOSS_DEFAULT)],
        };
        for text in texts {
            match text.split_once('=') {
                Some((name, share)) if !name.trim().is_empty() => {
                    let share = parse_share(share)?;
                    thresholds.named.push((name.trim().to_owned(), share));
                }
                Some(_) => return Err(format!("{text:?} names no figure; write p99=10%")),
                None => thresholds.all = parse_share(text)?,
            }
        }
        Ok(thresholds)
    }

    /// Of a figure: its own, or that of its statistic in every metric, or that of all.
    pub(super) fn of(&self, figure: &str) -> f64 {
        let named = |is_it: &dyn Fn(&str) -> bool| {
            let mut named = self.named.iter().rev();
            named.find(|(name, _)| is_it(name)).map(|(_, share)| *share)
        };
        named(&|name| name == figure)
            .or_else(|| named(&|name| is_statistic_of(name, figure)))
            .unwrap_or(self.all)
    }

    /// Whether every name is one of these.
    pub(super) fn check_names<'a>(
        &self,
        figures: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<(), Failure> {
        let unknown = self.named.iter().find(|(name, _)| {
            !figures
                .clone()
                .any(|figure| figure == name || is_statistic_of(name, figure))
        });
        match unknown {
            Some((name, _)) => Err(Failure::new(format!(
                "--threshold {name}=…: these results have no {name:?}, but {}",
                figures.collect::<Vec<_>>().join(", ")
            ))),
            None => Ok(()),
        }
    }
}

/// `p99` of `first_byte.p99`.
fn is_statistic_of(name: &str, figure: &str) -> bool {
    figure
        .strip_suffix(name)
        .is_some_and(|metric| metric.len() > 1 && metric.ends_with('.'))
}

/// Unlike a share of a whole, a worsening may be more than all.
fn parse_share(text: &str) -> Result<f64, String> {
    let text = text.trim();
    let (number, scale) = match text.strip_suffix('%') {
        Some(number) => (number.trim_end(), 0.01),
        None => (text, 1.0),
    };
    let share = number.parse::<f64>().ok().map(|number| number * scale);
    share
        .filter(|share| (0.0..=100.0).contains(share))
        .ok_or_else(|| format!("{text:?} is not a threshold; write 5% or 0.05"))
}

const ALL_DEFAULT: f64 = 0.05;
/// A tenth of a point.
const LOSS_DEFAULT: f64 = 0.001;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(texts: &[&str]) -> Result<Thresholds, String> {
        Thresholds::parse(
            &texts
                .iter()
                .map(|&text| text.to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn the_nearest_name_counts() {
        let thresholds = parse(&["3%", "p99=0.1", "first_byte.p99=20%", "p99.9=200%"]).unwrap();
        for (figure, want) in [
            ("p50", 0.03),
            ("p99", 0.1),
            ("other.p99", 0.1),
            ("first_byte.p99", 0.2),
            ("p99.9", 2.0),
            ("other.p99.9", 2.0),
            ("loss", 0.001),
        ] {
            assert!((thresholds.of(figure) - want).abs() < 1e-12, "{figure}");
        }
        assert_eq!(parse(&["loss=1%"]).unwrap().of("loss"), 0.01);
        assert_eq!(parse(&[]).unwrap().of("p50"), 0.05);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for wrong in ["", "five", "-1%", "=5%", "p99=", "nan", "inf"] {
            assert!(parse(&[wrong]).is_err(), "{wrong}");
        }
        let failure = parse(&["p98=1%"])
            .unwrap()
            .check_names(["p99", "loss"].into_iter())
            .unwrap_err();
        assert!(failure.to_string().contains("but p99, loss"), "{failure}");
        let fits = parse(&["p99=1%"]).unwrap();
        fits.check_names(["a.p99", "loss"].into_iter()).unwrap();
    }
}
