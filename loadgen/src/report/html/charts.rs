//! Which charts a result has, and what is on them.

use super::plot::{Chart, Line, Size};
use super::scale::Axis;
use crate::outcome::{GpuUse, Latency, Outcome, Quantiles, Second, ms};
use crate::report::text::{grouped, number, percent};

/// Latency by quantile, corrected and not.
pub(super) fn percentiles(latency: &Latency, size: Size) -> Chart {
    let corrected = curve(&latency.corrected);
    let uncorrected = curve(&latency.uncorrected);
    let y = Axis::fitting("ms", corrected.iter().chain(&uncorrected).map(|(_, y)| *y));
    let mut lines = vec![Line::new(
        if uncorrected.is_empty() {
            "all"
        } else {
            "from due"
        },
        "a",
        corrected,
    )];
    if !uncorrected.is_empty() {
        lines.push(Line::new("uncorrected", "b", uncorrected).dashed());
    }
    Chart {
        title: format!("{} by percentile", latency.title),
        size,
        x: Axis::quantiles(latency.corrected.count.max(latency.uncorrected.count)),
        y,
        right: None,
        lines,
        marks: Vec::new(),
        hovers: hovers(latency),
    }
}

/// By 1/(1-q). When the histogram does not read, the quantiles that stand beside it are all there is.
#[allow(clippy::cast_precision_loss)] // places on an axis
fn curve(quantiles: &Quantiles) -> Vec<(f64, f64)> {
    if quantiles.count == 0 {
        return Vec::new();
    }
    let count = quantiles.count as f64;
    let Ok(times) = quantiles.histogram() else {
        return fixed(quantiles)
            .into_iter()
            .map(|(_, x, y)| (x, y))
            .filter(|(x, _)| *x <= count)
            .collect();
    };
    let steps = (count.log10() * POINTS_PER_DECADE).ceil().max(1.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a few hundred
    let steps = steps as u32;
    (0..=steps)
        .map(|step| {
            let x = count.powf(f64::from(step) / f64::from(steps));
            (x, ms(times.value_at_quantile(1.0 - 1.0 / x)))
        })
        .collect()
}

fn fixed(quantiles: &Quantiles) -> [(&'static str, f64, f64); 5] {
    [
        ("50 %", 2.0, quantiles.p50_ms),
        ("90 %", 10.0, quantiles.p90_ms),
        ("99 %", 100.0, quantiles.p99_ms),
        ("99.9 %", 1e3, quantiles.p999_ms),
        ("99.99 %", 1e4, quantiles.p9999_ms),
    ]
}

fn hovers(latency: &Latency) -> Vec<(f64, f64, String)> {
    let spread = 10_f64.sqrt();
    fixed(&latency.corrected)
        .into_iter()
        .zip(fixed(&latency.uncorrected))
        .map(|((name, x, corrected), (_, _, uncorrected))| {
            let mut text = format!("{name}: {} ms", number(corrected));
            if latency.uncorrected.count > 0 {
                text.push_str(&format!(", uncorrected {} ms", number(uncorrected)));
            }
            let from = if x < 5.0 { 1.0 } else { x / spread };
            let to = if x < 5.0 { spread } else { x * spread };
            (from, to, text)
        })
        .collect()
}

/// The main metric's second by second.
pub(super) fn latency_over_time(outcome: &Outcome) -> Chart {
    let bins = Bins::of(&outcome.series);
    let line = |pick: fn(&Quantiles) -> f64| {
        bins.worst(|second| {
            let main = second.latencies.first()?;
            (main.count > 0).then(|| pick(main))
        })
    };
    let (p50, p99, max) = (line(|q| q.p50_ms), line(|q| q.p99_ms), line(|q| q.max_ms));
    let all = p50.iter().chain(&p99).chain(&max).map(|(_, y)| *y);
    Chart {
        title: "Latency over time".to_owned(),
        size: Size::Whole,
        x: bins.axis(),
        y: Axis::fitting("ms", all),
        right: None,
        hovers: bins.hovers(|second| {
            let main = second.latencies.first().filter(|main| main.count > 0);
            main.map_or("nothing came".to_owned(), |main| {
                format!(
                    "p50 {} ms, p99 {} ms, max {} ms",
                    number(main.p50_ms),
                    number(main.p99_ms),
                    number(main.max_ms)
                )
            })
        }),
        lines: vec![
            Line::new("max", "b", max),
            Line::new("p99", "a", p99),
            Line::new("p50", "c", p50),
        ],
        marks: Vec::new(),
    }
}

/// Operations a second, and where there were errors.
#[allow(clippy::cast_precision_loss)] // rates
pub(super) fn rates(outcome: &Outcome) -> Chart {
    // What comes after the window has no rate of its own.
    let within = outcome
        .series
        .iter()
        .take_while(|second| f64::from(second.second) < outcome.window_s.ceil())
        .count();
    let bins = Bins::of(&outcome.series[..within]);
    let line = |pick: fn(&Second) -> u64| bins.mean(|second| Some(pick(second) as f64));
    let (offered, achieved, received) = (
        line(|s| s.counts.due),
        line(|s| s.counts.sent),
        line(|s| s.counts.received),
    );
    let all = offered.iter().chain(&received).map(|(_, y)| *y);
    let y = Axis::from_zero("a second", all);
    let marks = bins
        .sums(|second| second.counts.error_count())
        .into_iter()
        .filter(|(_, errors)| *errors > 0)
        .map(|(x, errors)| (x, format!("{} errors", grouped(errors))))
        .collect();
    Chart {
        title: "Rates over time".to_owned(),
        size: Size::Whole,
        x: bins.axis(),
        y,
        right: None,
        hovers: bins.hovers(|second| {
            let counts = &second.counts;
            format!(
                "offered {}, achieved {}, received {}, errors {}",
                grouped(counts.due),
                grouped(counts.sent),
                grouped(counts.received),
                grouped(counts.error_count())
            )
        }),
        lines: vec![
            Line::new("received", "c", received),
            Line::new("achieved", "a", achieved),
            Line::new("offered", "quiet", offered).dashed(),
        ],
        marks,
    }
}

/// How busy everybody was.
pub(super) fn utilisation(outcome: &Outcome) -> Chart {
    let bins = Bins::of(&outcome.series);
    let mut lines = Vec::new();
    let mut add = |name: &str, colour, points: Vec<(f64, f64)>| {
        if points.iter().any(|(_, y)| y.is_finite()) {
            lines.push(Line::new(name, colour, points));
        }
    };
    add(
        "server CPU",
        "a",
        bins.mean(|second| second.server_cpu_share.map(|share| share * 100.0)),
    );
    add(
        "own CPU",
        "quiet",
        bins.mean(|second| {
            // Stragglers' seconds have no CPU of their own.
            (second.own_cpu_share > 0.0).then_some(second.own_cpu_share * 100.0)
        }),
    );
    let busiest = |second: &Second, pick: fn(&GpuUse) -> Option<f64>| {
        second.gpus.iter().filter_map(pick).reduce(f64::max)
    };
    add(
        "GPU SM",
        "d",
        bins.mean(|s| busiest(s, |gpu| gpu.sm_percent)),
    );
    add(
        "NVDEC",
        "e",
        bins.mean(|s| busiest(s, |gpu| gpu.decoder_percent)),
    );
    add(
        "NVENC",
        "f",
        bins.mean(|s| busiest(s, |gpu| gpu.encoder_percent)),
    );
    let y = Axis::from_zero(
        "% of a CPU, or engine",
        lines
            .iter()
            .flat_map(|line| line.points.iter().map(|(_, y)| *y)),
    );
    let memory = bins.mean(|second| second.server_rss_mib);
    let right = memory
        .iter()
        .any(|(_, y)| y.is_finite())
        .then(|| Axis::from_zero("MiB", memory.iter().map(|(_, y)| *y)));
    if right.is_some() {
        lines.push(
            Line::new("server memory", "b", memory)
                .dashed()
                .on_the_right(),
        );
    }
    Chart {
        title: "Utilisation over time".to_owned(),
        size: Size::Whole,
        x: bins.axis(),
        y,
        right,
        hovers: bins.hovers(|second| {
            let mut parts = vec![format!("own CPU {}", percent(second.own_cpu_share))];
            if let Some(share) = second.server_cpu_share {
                parts.push(format!("server CPU {}", percent(share)));
            }
            if let Some(mib) = second.server_rss_mib {
                parts.push(format!("{} MiB", number(mib)));
            }
            parts.join(", ")
        }),
        lines,
        marks: Vec::new(),
    }
}

/// The generator's own fault.
pub(super) fn lateness(outcome: &Outcome) -> Chart {
    let bins = Bins::of(&outcome.series);
    let points = bins.worst(|second| (second.counts.sent > 0).then_some(second.lateness_p99_ms));
    Chart {
        title: "Lateness of the generator over time".to_owned(),
        size: Size::Whole,
        x: bins.axis(),
        y: Axis::fitting("ms", points.iter().map(|(_, y)| *y)),
        right: None,
        hovers: bins.hovers(|second| format!("p99 {} ms late", number(second.lateness_p99_ms))),
        lines: vec![Line::new("p99 late", "a", points)],
        marks: Vec::new(),
    }
}

/// Seconds side by side, several to a point when there are too many.
struct Bins<'a> {
    series: &'a [Second],
    width: usize,
}

impl<'a> Bins<'a> {
    fn of(series: &'a [Second]) -> Self {
        Self {
            series,
            width: series.len().div_ceil(BINS_MAX).max(1),
        }
    }

    fn axis(&self) -> Axis {
        let last = self.series.last().map_or(0, |second| second.second);
        let title = match self.width {
            1 => "seconds into the window".to_owned(),
            width => format!("seconds into the window; a point is {width} s"),
        };
        Axis::linear(&title, 0.0, f64::from(last) + 1.0)
    }

    fn bins(&self) -> impl Iterator<Item = (f64, f64, &'a [Second])> {
        self.series.chunks(self.width).filter_map(|bin| {
            let (first, last) = (bin.first()?, bin.last()?);
            Some((f64::from(first.second), f64::from(last.second) + 1.0, bin))
        })
    }

    /// The largest of each bin, so that no peak is lost; a gap where there is none.
    fn worst(&self, pick: impl Fn(&Second) -> Option<f64>) -> Vec<(f64, f64)> {
        self.bins()
            .map(|(from, to, bin)| {
                let worst = bin.iter().filter_map(&pick).reduce(f64::max);
                (f64::midpoint(from, to), worst.unwrap_or(f64::NAN))
            })
            .collect()
    }

    #[allow(clippy::cast_precision_loss)] // a few seconds
    fn mean(&self, pick: impl Fn(&Second) -> Option<f64>) -> Vec<(f64, f64)> {
        self.bins()
            .map(|(from, to, bin)| {
                let values: Vec<f64> = bin.iter().filter_map(&pick).collect();
                // None of none is no number, which is a gap.
                (
                    f64::midpoint(from, to),
                    values.iter().sum::<f64>() / values.len() as f64,
                )
            })
            .collect()
    }

    fn sums(&self, pick: impl Fn(&Second) -> u64) -> Vec<(f64, u64)> {
        self.bins()
            .map(|(from, to, bin)| (f64::midpoint(from, to), bin.iter().map(&pick).sum()))
            .collect()
    }

    /// Of single seconds only: a bin has no text of its own.
    fn hovers(&self, text: impl Fn(&Second) -> String) -> Vec<(f64, f64, String)> {
        if self.width > 1 {
            return Vec::new();
        }
        self.bins()
            .filter_map(|(from, to, bin)| {
                let second = bin.first()?;
                Some((
                    from,
                    to,
                    format!("second {}: {}", second.second, text(second)),
                ))
            })
            .collect()
    }
}

const POINTS_PER_DECADE: f64 = 30.0;
/// More would not be told apart on a screen.
const BINS_MAX: usize = 600;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    #[test]
    fn a_curve_rises_from_the_least_to_the_most() {
        let outcome = synthetic::outcome();
        let main = &outcome.latencies[0].corrected;
        let points = curve(main);
        assert!(points.len() > 100, "{}", points.len());
        assert!(
            points
                .windows(2)
                .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1)
        );
        assert!((points[0].1 - main.min_ms).abs() < 0.01);
        assert!(points.last().unwrap().1 > main.p999_ms);
        let mut broken = main.clone();
        broken.hdr = "nonsense".to_owned();
        assert_eq!(curve(&broken).len(), 5);
        assert!(curve(&Quantiles::default()).is_empty());
    }

    #[test]
    fn a_long_run_is_a_few_hundred_points_and_keeps_its_peak() {
        let series: Vec<Second> = (0..7_200)
            .map(|second| Second {
                second,
                lateness_p99_ms: if second == 5_003 { 77.0 } else { 0.1 },
                ..Second::default()
            })
            .collect();
        let bins = Bins::of(&series);
        let worst = bins.worst(|second| Some(second.lateness_p99_ms));
        assert_eq!(worst.len(), 600);
        assert!(worst.iter().any(|(_, y)| (*y - 77.0).abs() < 1e-9));
        assert!(bins.hovers(|_| String::new()).is_empty());
    }
}
