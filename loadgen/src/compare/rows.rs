//! The figures of a result, second by second, as the bootstrap wants them.
//!
//! ```text
//!   series   │ 0 │ 1 │ … │ 59 │ 60 │ 61 │      what came after the window was due within it: it belongs to its last second
//!   rows     │ 0 │ 1 │ … │ 59 + 60 + 61 │
//! ```

use super::bootstrap::{Distribution, Ratio, Shape};
use crate::outcome::{Outcome, Second};

/// A result in rows.
#[derive(Debug)]
pub struct Rows {
    /// How many, and how they are drawn.
    pub shape: Shape,
    /// Whole seconds of the window that were measured.
    pub seconds: usize,
    /// Results a second.
    pub received: Ratio,
    /// Lost of expected.
    pub loss: Ratio,
    /// CPU microseconds of the server's by results; of the seconds in which the server was watched.
    pub cpu: Ratio,
    series: Vec<Second>,
}

impl Rows {
    /// Of a result's series.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    pub fn of(outcome: &Outcome) -> Self {
        let window_s = outcome.window_s.clamp(0.0, SECONDS_MAX);
        // A last second that is hardly one goes to the one before it.
        let seconds = ((window_s - 0.5).ceil().max(0.0) as usize).min(outcome.series.len());
        let shape = Shape::of_seconds(seconds);
        let mut rows = Self {
            shape,
            seconds,
            received: Ratio::of(shape.rows),
            loss: Ratio::of(shape.rows),
            cpu: Ratio::of(shape.rows),
            series: outcome.series.clone(),
        };
        for (number, second) in outcome.series.iter().enumerate() {
            let Some(row) = rows.row(number) else { break };
            let counts = &second.counts;
            let length_s = (window_s - number as f64).clamp(0.0, 1.0);
            rows.received.part[row] += counts.received as f64;
            rows.received.whole[row] += length_s;
            rows.loss.part[row] += counts.expected as f64 - counts.received as f64;
            rows.loss.whole[row] += counts.expected as f64;
            if let Some(share) = second.server_cpu_share.filter(|_| length_s > 0.0) {
                rows.cpu.part[row] += share * length_s * 1e6;
                rows.cpu.whole[row] += counts.received as f64;
            }
        }
        rows
    }

    /// The times of a metric, by its place in the outcome.
    ///
    /// # Errors
    /// A second's histogram does not read.
    pub fn distribution(&self, metric: usize) -> Result<Distribution, String> {
        let mut rows = vec![Vec::new(); self.shape.rows];
        for (number, second) in self.series.iter().enumerate() {
            let Some((row, quantiles)) = self.row(number).zip(second.latencies.get(metric)) else {
                continue;
            };
            let histogram = quantiles.histogram()?;
            rows[row].extend(
                histogram
                    .iter_recorded()
                    .map(|step| (step.value_iterated_to(), step.count_at_value())),
            );
        }
        Ok(Distribution::new(&rows))
    }

    /// The row of a second; all after the window are in the last.
    fn row(&self, second: usize) -> Option<usize> {
        let last = self.shape.rows.checked_sub(1)?;
        Some((second / self.shape.row_seconds).min(last))
    }
}

impl Ratio {
    fn of(rows: usize) -> Self {
        Self {
            part: vec![0.0; rows],
            whole: vec![0.0; rows],
        }
    }
}

/// A day: nothing here runs for longer.
const SECONDS_MAX: f64 = 86_400.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Counts;
    use crate::outcome::Quantiles;
    use crate::search::example;

    #[test]
    fn what_comes_after_the_window_belongs_to_its_last_second() {
        let mut outcome = example::outcome();
        outcome.window_s = 2.5;
        outcome.series = (0..5)
            .map(|second| {
                let mut times = crate::measure::histogram();
                times.record(1_000 * (u64::from(second) + 1)).unwrap();
                Second {
                    second,
                    counts: Counts {
                        expected: if second < 3 { 10 } else { 0 },
                        received: [10, 8, 5, 4, 2][second as usize],
                        ..Counts::default()
                    },
                    latencies: vec![Quantiles::of(&times)],
                    server_cpu_share: (second < 3).then_some(0.5),
                    ..Second::default()
                }
            })
            .collect();
        let rows = Rows::of(&outcome);
        assert_eq!((rows.seconds, rows.shape.rows), (2, 2));
        assert_eq!(rows.received.part, [10.0, 19.0]);
        assert_eq!(rows.received.whole, [1.0, 1.5]);
        assert_eq!(rows.loss.value(&[1, 1]), Some(1.0 / 30.0));
        assert_eq!(rows.cpu.value(&[1, 0]), Some(50_000.0));
        let times = rows.distribution(0).unwrap();
        assert_eq!(times.count(), 5);
        assert_eq!(times.quantile(&[1, 0], 1.0), Some(1_000));
        assert_eq!(rows.distribution(7).unwrap().count(), 0);
        outcome.series.clear();
        assert_eq!(Rows::of(&outcome).shape.rows, 0);
    }
}
