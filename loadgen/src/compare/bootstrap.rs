//! How far chance alone may have moved a difference: the seconds of both results, drawn again and again.
//!
//! ```text
//!   measured    0 1 2 3 4 5 6 7 8 9 …        a second each, in rows
//!   drawn       6 7 8│1 2 3│7 8 9│0 1 2│…    blocks, since what slows one second slows the next
//!                    ▼
//!   weights     [2 2 2 1 0 0 1 2 2 1]        how often each row was drawn: a quantile needs no more than this
//! ```
//!
//! A quantile of a draw is found by halving over the values, with the numbers of values up to each, row by row, laid out side by
//! side: some dozen products of weights and numbers, rather than a merge of histograms.
//!
//! Invariants:
//! - The same seed gives the same interval.
//! - Few blocks make an interval too narrow; it is widened as Student's distribution is wider than the normal one.

use fastrand::Rng;

/// How seconds are put into rows, and rows into blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Rows there are.
    pub rows: usize,
    /// Seconds in a row; the last may have fewer.
    pub row_seconds: usize,
    /// Rows in a block.
    pub block: usize,
}

impl Shape {
    /// For so many seconds: blocks as long as the cube root of all, and rows as long as a block when there would be too many.
    pub fn of_seconds(seconds: usize) -> Self {
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss
        )]
        let block_seconds = ((seconds as f64).cbrt().round() as usize).max(1);
        let row_seconds = seconds.div_ceil(ROWS_MAX).max(1);
        Self {
            rows: seconds.div_ceil(row_seconds),
            row_seconds,
            block: block_seconds.div_ceil(row_seconds),
        }
    }

    /// Draws every row's weight anew. Blocks go on at the first row after the last, so that all rows are equally likely.
    fn draw(&self, weights: &mut [u64], rng: &mut Rng) {
        weights.fill(0);
        let mut drawn = 0;
        while drawn < self.rows {
            let start = rng.usize(0..self.rows);
            for row in 0..self.block.min(self.rows - drawn) {
                weights[(start + row) % self.rows] += 1;
            }
            drawn += self.block;
        }
    }

    /// Draws that do not depend on each other.
    fn blocks(&self) -> usize {
        self.rows / self.block
    }
}

/// Values by row, for quantiles.
#[derive(Debug, Clone)]
pub struct Distribution {
    rows: usize,
    /// All that occur, ascending.
    values: Vec<u64>,
    /// By value, then by row: how many values of the row are at most this.
    up_to: Vec<u64>,
}

impl Distribution {
    /// Of rows, each with its values and how often they occur, in any order.
    pub fn new(rows: &[Vec<(u64, u64)>]) -> Self {
        let mut values: Vec<u64> = rows.iter().flatten().map(|(value, _)| *value).collect();
        values.sort_unstable();
        values.dedup();
        let mut up_to = vec![0; values.len() * rows.len()];
        for (row, pairs) in rows.iter().enumerate() {
            for (value, count) in pairs {
                if let Ok(at) = values.binary_search(value) {
                    up_to[at * rows.len() + row] += count;
                }
            }
        }
        for at in rows.len()..up_to.len() {
            up_to[at] += up_to[at - rows.len()];
        }
        Self {
            rows: rows.len(),
            values,
            up_to,
        }
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.values
            .len()
            .checked_sub(1)
            .map_or(0, |last| self.up_to[last * self.rows..].iter().sum())
    }

    /// The least value that so large a share of all is at most, with each row counted as often as its weight says.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    pub fn quantile(&self, weights: &[u64], share: f64) -> Option<u64> {
        let count_up_to = |at: usize| -> u64 {
            let numbers = &self.up_to[at * self.rows..(at + 1) * self.rows];
            numbers
                .iter()
                .zip(weights)
                .map(|(n, weight)| n * weight)
                .sum()
        };
        let all = count_up_to(self.values.len().checked_sub(1)?);
        if all == 0 {
            return None;
        }
        let rank = ((share * all as f64).ceil() as u64).clamp(1, all);
        let (mut low, mut high) = (0, self.values.len() - 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if count_up_to(middle) < rank {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Some(self.values[low])
    }
}

/// A part and a whole by row, such as results and seconds, for rates and shares.
#[derive(Debug, Clone, Default)]
pub struct Ratio {
    /// By row.
    pub part: Vec<f64>,
    /// By row.
    pub whole: Vec<f64>,
}

impl Ratio {
    /// Part by whole, with each row counted as often as its weight says.
    #[allow(clippy::cast_precision_loss)] // weights are small
    pub fn value(&self, weights: &[u64]) -> Option<f64> {
        let sum = |of: &[f64]| -> f64 {
            of.iter()
                .zip(weights)
                .map(|(it, weight)| it * *weight as f64)
                .sum()
        };
        let whole = sum(&self.whole);
        (whole > 0.0).then(|| sum(&self.part) / whole)
    }
}

/// A number that follows from the rows' weights; none when the rows have nothing to make it of.
pub type Statistic<'a> = Box<dyn Fn(&[u64]) -> Option<f64> + 'a>;

/// One of the two results.
pub struct Side<'a> {
    /// Its rows.
    pub shape: Shape,
    /// As many as the other side has, in the same order.
    pub statistics: Vec<Statistic<'a>>,
}

/// How a difference is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// After by before, less 1.
    Relative,
    /// After less before.
    Absolute,
}

impl Difference {
    /// Of two values.
    pub fn of(self, before: f64, after: f64) -> f64 {
        match self {
            // Of nothing and nothing, there is no difference.
            Self::Relative if before == after => 0.0,
            Self::Relative => after / before - 1.0,
            Self::Absolute => after - before,
        }
    }
}

/// How to draw.
#[derive(Debug, Clone, Copy)]
pub struct Draws {
    /// How often.
    pub resamples: usize,
    /// In percent, such as 95.
    pub confidence: f64,
    /// Of chance.
    pub seed: u64,
}

/// Where a difference lies.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// An interval for each statistic's difference between two sides; none where most draws had nothing to tell.
pub fn intervals(
    before: &Side<'_>,
    after: &Side<'_>,
    differences: &[Difference],
    draws: Draws,
) -> Vec<Option<Interval>> {
    let mut rng = Rng::with_seed(draws.seed);
    let mut drawn = vec![Vec::with_capacity(draws.resamples); differences.len()];
    let mut weights_before = vec![0; before.shape.rows];
    let mut weights_after = vec![0; after.shape.rows];
    if before.shape.rows == 0 || after.shape.rows == 0 {
        return vec![None; differences.len()];
    }
    for _ in 0..draws.resamples {
        before.shape.draw(&mut weights_before, &mut rng);
        after.shape.draw(&mut weights_after, &mut rng);
        let values = before.statistics.iter().zip(&after.statistics);
        for (((before, after), difference), drawn) in values.zip(differences).zip(&mut drawn) {
            if let (Some(before), Some(after)) = (before(&weights_before), after(&weights_after)) {
                drawn.push(difference.of(before, after));
            }
        }
    }
    let tail = tail(
        draws.confidence,
        before.shape.blocks().min(after.shape.blocks()),
    );
    drawn
        .into_iter()
        .map(|drawn| between_tails(drawn, draws.resamples, tail))
        .collect()
}

/// What is left of the draws without both tails.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
fn between_tails(mut drawn: Vec<f64>, resamples: usize, tail: f64) -> Option<Interval> {
    drawn.retain(|difference| difference.is_finite());
    if drawn.is_empty() || drawn.len() * 10 < resamples * 9 {
        return None;
    }
    drawn.sort_unstable_by(f64::total_cmp);
    let last = drawn.len() - 1;
    // Outwards to the next draw, rather than between two.
    let cut = (tail * last as f64).floor() as usize;
    Some(Interval {
        low: drawn[cut],
        high: drawn[last - cut],
    })
}

/// The share of draws to leave out at each end. With many blocks it is half of what the confidence leaves; with few, the draws
/// scatter less than they should, by √((n-1)/n), and by the tails that Student's distribution has and the normal one has not.
#[allow(clippy::cast_precision_loss)] // few blocks
fn tail(confidence: f64, blocks: usize) -> f64 {
    let z = normal_quantile(0.5 + confidence / 200.0);
    let n = blocks.max(2) as f64;
    let freedom = n - 1.0;
    // Cornish and Fisher's expansion of Student's quantile about the normal one.
    let t = z
        + (z.powi(3) + z) / (4.0 * freedom)
        + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * freedom.powi(2));
    1.0 - normal(t * (n / freedom).sqrt())
}

/// The normal distribution's share below z, to 1e-7 (Abramowitz and Stegun, 26.2.17).
fn normal(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let sum = [
        1.330_274_429,
        -1.821_255_978,
        1.781_477_937,
        -0.356_563_782,
        0.319_381_53,
    ]
    .into_iter()
    .fold(0.0, |sum, factor| (sum + factor) * t);
    let above = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * sum;
    if z < 0.0 { above } else { 1.0 - above }
}

fn normal_quantile(share: f64) -> f64 {
    let (mut low, mut high) = (-8.0, 8.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if normal(middle) < share {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// More rows are no better, and take memory: for each value that occurs a number a row.
const ROWS_MAX: usize = 240;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_put_into_few_rows_and_short_blocks() {
        for (seconds, rows, row_seconds, block) in [
            (0, 0, 1, 1),
            (1, 1, 1, 1),
            (60, 60, 1, 4),
            (240, 240, 1, 6),
            (3_600, 240, 15, 1),
            (86_400, 240, 360, 1),
        ] {
            let want = Shape {
                rows,
                row_seconds,
                block,
            };
            assert_eq!(Shape::of_seconds(seconds), want, "{seconds}");
        }
    }

    #[test]
    fn a_draw_has_as_many_rows_as_there_are_and_all_equally_often() {
        let shape = Shape::of_seconds(50);
        let (mut rng, mut weights, mut sums) = (Rng::with_seed(3), vec![0; 50], vec![0; 50]);
        for _ in 0..4_000 {
            shape.draw(&mut weights, &mut rng);
            assert_eq!(weights.iter().sum::<u64>(), 50);
            for (sum, weight) in sums.iter_mut().zip(&weights) {
                *sum += weight;
            }
        }
        assert!(
            sums.iter().all(|sum| (3_600..4_400).contains(sum)),
            "{sums:?}"
        );
    }

    #[test]
    fn a_weighted_quantile_is_that_of_the_merged_rows() {
        let mut rng = Rng::with_seed(5);
        let rows: Vec<Vec<(u64, u64)>> = (0..7)
            .map(|_| {
                (0..rng.u64(0..30))
                    .map(|_| (rng.u64(1..40), rng.u64(1..4)))
                    .collect()
            })
            .collect();
        let distribution = Distribution::new(&rows);
        let all: u64 = rows.iter().flatten().map(|(_, count)| count).sum();
        assert_eq!(distribution.count(), all);
        for _ in 0..200 {
            let weights: Vec<u64> = (0..7).map(|_| rng.u64(0..3)).collect();
            let mut merged: Vec<u64> = rows
                .iter()
                .zip(&weights)
                .flat_map(|(row, weight)| {
                    row.iter().flat_map(move |(value, count)| {
                        std::iter::repeat_n(*value, (count * weight) as usize)
                    })
                })
                .collect();
            merged.sort_unstable();
            for share in [0.0, 0.3, 0.5, 0.99, 1.0] {
                let rank = (share * merged.len() as f64).ceil() as usize;
                let want = merged.get(rank.max(1) - 1).copied();
                assert_eq!(distribution.quantile(&weights, share), want);
            }
        }
        assert_eq!(Distribution::new(&[]).quantile(&[], 0.5), None);
        assert_eq!(Distribution::new(&[vec![], vec![]]).count(), 0);
    }

    #[test]
    fn the_normal_and_students_distribution_are_as_in_the_tables() {
        assert!((normal(1.96) - 0.975).abs() < 1e-4);
        assert!((normal(-1.0) - 0.158_655).abs() < 1e-5);
        assert!((normal_quantile(0.975) - 1.959_96).abs() < 1e-4);
        // 15 blocks: t(14) is 2.145, times √(15/14).
        let want = 1.0 - normal(2.145 * (15.0_f64 / 14.0).sqrt());
        assert!((tail(95.0, 15) - want).abs() < 1e-4);
        assert!((tail(95.0, 100_000) - 0.025).abs() < 1e-5);
        assert!((0.0..1e-9).contains(&tail(95.0, 1)));
    }

    /// A result: in each second a hundred times, all slower or faster as the second before was in part, and some results.
    fn experiment(rng: &mut Rng, scale: f64, seconds: usize) -> (Distribution, Ratio) {
        let gauss = |rng: &mut Rng| (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0;
        let (mut mood, mut rows, mut ratio) = (0.0, Vec::new(), Ratio::default());
        for _ in 0..seconds {
            mood = 0.3 * mood + gauss(rng);
            let row = (0..100).map(|_| {
                let time = scale * (6.0 + 0.3 * gauss(rng) + 0.1 * mood).exp();
                // Three digits, as a histogram has.
                ((time as u64).div_ceil(4) * 4, 1)
            });
            rows.push(row.collect());
            ratio.part.push(scale * (1_000.0 + 100.0 * mood));
            ratio.whole.push(1.0);
        }
        (Distribution::new(&rows), ratio)
    }

    fn side(seconds: usize, of: &(Distribution, Ratio)) -> Side<'_> {
        let (times, ratio) = of;
        let quantile = |share: f64| -> Statistic<'_> {
            Box::new(move |weights| times.quantile(weights, share).map(|value| value as f64))
        };
        Side {
            shape: Shape::of_seconds(seconds),
            statistics: vec![
                quantile(0.5),
                quantile(0.99),
                Box::new(|weights| ratio.value(weights)),
            ],
        }
    }

    const RELATIVE: [Difference; 3] = [Difference::Relative; 3];

    #[test]
    fn the_interval_holds_the_truth_as_often_as_it_says() {
        let mut rng = Rng::with_seed(11);
        let (experiments, seconds) = (200, 30);
        let mut held = [0; 3];
        for seed in 0..experiments {
            let before = experiment(&mut rng, 1.0, seconds);
            let after = experiment(&mut rng, 1.1, seconds);
            let draws = Draws {
                resamples: 300,
                confidence: 95.0,
                seed,
            };
            let found = intervals(
                &side(seconds, &before),
                &side(seconds, &after),
                &RELATIVE,
                draws,
            );
            for (held, interval) in held.iter_mut().zip(found) {
                let Interval { low, high } = interval.unwrap();
                *held += u64::from((low..=high).contains(&0.1));
            }
        }
        let share = held.map(|held| held as f64 / experiments as f64);
        println!("held for p50, p99 and the rate: {share:?}");
        assert!(
            share.iter().all(|share| (0.88..=0.99).contains(share)),
            "{share:?}"
        );
    }

    #[test]
    fn the_same_seed_gives_the_same_interval_and_itself_is_no_different() {
        let mut rng = Rng::with_seed(12);
        let one = experiment(&mut rng, 1.0, 40);
        let draws = Draws {
            resamples: 200,
            confidence: 95.0,
            seed: 1,
        };
        let run = |draws| intervals(&side(40, &one), &side(40, &one), &RELATIVE, draws);
        let found = run(draws);
        assert_eq!(found, run(draws));
        assert_ne!(found, run(Draws { seed: 2, ..draws }));
        for interval in found {
            let Interval { low, high } = interval.unwrap();
            assert!(low < 0.0 && high > 0.0, "{low} {high}");
        }
    }

    #[test]
    fn nothing_to_draw_from_has_no_interval() {
        let empty = (Distribution::new(&[vec![], vec![]]), Ratio::default());
        let draws = Draws {
            resamples: 10,
            confidence: 95.0,
            seed: 1,
        };
        for seconds in [0, 2] {
            let found = intervals(
                &side(seconds, &empty),
                &side(seconds, &empty),
                &RELATIVE,
                draws,
            );
            assert_eq!(found, [None; 3]);
        }
        assert!(between_tails(vec![f64::NAN; 10], 10, 0.1).is_none());
    }
}
