//! Who joins when, where and for how long: drawn from the seed, one after another.
//!
//! Every worker draws all joins and takes those of its own channels, so that the load is the same however many share it.

use std::time::Duration;

use super::options::{Arrivals, JoinAt, Options};
use crate::clock::SECOND;
use crate::failure::Failure;
use crate::units::{Span, Time};

/// How viewers behave.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    /// A second.
    pub(super) joins: u32,
    pub(super) arrivals: Arrivals,
    pub(super) join_at: JoinAt,
    pub(super) stay: Span<Time>,
    pub(super) at_once_max: u32,
    channels: u32,
    seed: u64,
}

impl Manner {
    pub(super) fn resolve(options: &Options, channels: u32, seed: u64) -> Result<Self, Failure> {
        let manner = Self {
            joins: options.joins.unwrap_or(50),
            arrivals: options.arrivals.unwrap_or_default(),
            join_at: options.join_at.unwrap_or_default(),
            stay: options.stay.unwrap_or(Span {
                min: Time(Duration::from_secs(1)),
                max: Time(Duration::from_secs(5)),
            }),
            at_once_max: options.at_once_max.unwrap_or(2_000),
            channels,
            seed,
        };
        if !(1..=JOINS_MAX).contains(&manner.joins) {
            return Err(Failure::new(format!(
                "1 to {JOINS_MAX} joins a second are possible, not {}",
                manner.joins
            )));
        }
        Ok(manner)
    }

    /// All joins of a run, from its start on, without an end.
    pub(super) fn joins(&self) -> impl Iterator<Item = Join> + Send + use<> {
        let manner = self.clone();
        // Of its own, so that it is not that of the channels.
        let mut rng = fastrand::Rng::with_seed(self.seed ^ 0x6368_7572_6e00);
        let mut at_s = 0.0;
        let mut number = 0_u64;
        std::iter::from_fn(move || {
            let rate = f64::from(manner.joins);
            at_s += match manner.arrivals {
                // 1 - [0, 1) is never 0, whose logarithm there is not.
                Arrivals::Poisson => -(1.0 - rng.f64()).ln() / rate,
                Arrivals::Even => 1.0 / rate,
            };
            number += 1;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            // of a run that lasts days at most
            let at_ns = match manner.arrivals {
                Arrivals::Poisson => (at_s * 1e9) as u64,
                Arrivals::Even => number * SECOND / u64::from(manner.joins),
            };
            Some(Join {
                at_ns,
                channel: rng.usize(0..manner.channels as usize),
                stay_ns: manner.stay.draw_ns(&mut rng),
                is_abrupt: rng.bool(),
            })
        })
    }
}

/// One viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Join {
    /// After the start.
    pub(super) at_ns: u64,
    pub(super) channel: usize,
    pub(super) stay_ns: u64,
    /// It leaves in the middle of whatever it is doing.
    pub(super) is_abrupt: bool,
}

const JOINS_MAX: u32 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn manner(arrivals: Arrivals, seed: u64) -> Manner {
        let options = Options {
            joins: Some(100),
            arrivals: Some(arrivals),
            ..Options::default()
        };
        Manner::resolve(&options, 3, seed).unwrap()
    }

    #[test]
    fn random_arrivals_keep_their_rate_and_are_as_uneven_as_chance() {
        let joins: Vec<Join> = manner(Arrivals::Poisson, 1).joins().take(20_000).collect();
        let gaps: Vec<f64> = joins
            .windows(2)
            .map(|pair| (pair[1].at_ns - pair[0].at_ns) as f64 / 1e9)
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean - 0.01).abs() < 0.000_3, "{mean}");
        // Of an exponential distribution the deviation is the mean.
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.03, "{variance}");
        for channel in 0..3 {
            let count = joins.iter().filter(|join| join.channel == channel).count();
            assert!((6_300..7_050).contains(&count), "{count}");
        }
    }

    #[test]
    fn even_arrivals_are_even_and_a_seed_repeats_itself() {
        let even: Vec<Join> = manner(Arrivals::Even, 1).joins().take(300).collect();
        assert!(
            even.windows(2)
                .all(|pair| pair[1].at_ns - pair[0].at_ns == SECOND / 100)
        );
        let drawn =
            |seed| -> Vec<Join> { manner(Arrivals::Poisson, seed).joins().take(50).collect() };
        assert_eq!(drawn(4), drawn(4));
        assert_ne!(drawn(4), drawn(5));
    }
}
