//! `.hgrm`: the percentile text that HdrHistogram's plotter and others read. Values are in milliseconds.
//!
//! ```text
//!        Value     Percentile TotalCount 1/(1-Percentile)
//!
//!     0.118000 0.500000000000       5000           2.00
//!     ⋮
//!     4.911000 1.000000000000      10000
//! #[Mean    =        0.131, StdDeviation   =        0.057]
//! ```

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use crate::outcome::ms;

/// A histogram of nanoseconds as percentile text.
pub fn render(times: &Histogram<u64>) -> String {
    let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    let mut count = 0;
    let mut is_whole = false;
    for step in times.iter_quantiles(TICKS_PER_HALF) {
        count += step.count_since_last_iteration();
        let quantile = step.quantile_iterated_to();
        let value = ms(step.value_iterated_to().min(times.max()));
        // Every quantile from the last value on is that value; once is enough.
        if is_whole {
            break;
        }
        is_whole = count == times.len();
        // Writing to a String cannot fail.
        let _ = if is_whole || quantile >= 1.0 {
            writeln!(text, "{value:12.6} {:1.12} {count:10}", 1.0)
        } else {
            let inverse = 1.0 / (1.0 - quantile);
            writeln!(
                text,
                "{value:12.6} {quantile:1.12} {count:10} {inverse:14.2}"
            )
        };
    }
    let _ = write!(
        text,
        "#[Mean    = {:12.6}, StdDeviation   = {:12.6}]\n\
         #[Max     = {:12.6}, Total count    = {:12}]\n\
         #[Buckets = {:12}, SubBuckets     = {:12}]\n",
        times.mean() / 1e6,
        times.stdev() / 1e6,
        ms(times.max()),
        times.len(),
        times.buckets(),
        SUB_BUCKETS,
    );
    text
}

/// Steps between one half of what is left and the next, as other tools have it.
const TICKS_PER_HALF: u32 = 5;
/// Of three significant digits.
const SUB_BUCKETS: u32 = 2_048;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::histogram;

    #[test]
    fn percentiles_rise_to_the_whole() {
        let mut times = histogram();
        for value in 1..=10_000_u64 {
            times.record(value * 1_000).unwrap();
        }
        let text = render(&times);
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                line.split_whitespace()
                    .map(|n| n.parse().unwrap())
                    .collect()
            })
            .collect();
        assert!(rows.len() > 20, "{text}");
        for pair in rows.windows(2) {
            assert!(
                (0..3).all(|column| pair[0][column] <= pair[1][column]),
                "{pair:?}"
            );
        }
        let middle = rows.iter().find(|row| row[1] >= 0.5).unwrap();
        assert!(
            (middle[0] - 5.0).abs() < 0.01 && (middle[3] - 2.0).abs() < 0.01,
            "{middle:?}"
        );
        let last = rows.last().unwrap();
        assert!((last[0] - 10.0).abs() < 0.01 && last.len() == 3, "{last:?}");
        assert!((last[1] - 1.0).abs() < 1e-12 && (last[2] - 10_000.0).abs() < 1e-9);
        assert_eq!(rows.iter().filter(|row| row.len() == 3).count(), 1);
        assert!(text.contains("Total count    =        10000]"), "{text}");
    }

    #[test]
    fn an_empty_one_has_its_head_and_foot() {
        let text = render(&histogram());
        assert!(
            text.starts_with("       Value") && text.contains("#[Max"),
            "{text}"
        );
    }
}
