//! How busy each CPU of the machine was: a saturated one explains a latency, whoever used it.

use std::fs;

/// The CPUs, from the first look to the last.
#[derive(Debug, Default)]
pub(super) struct Host {
    first: Vec<Ticks>,
    last: Vec<Ticks>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    all: u64,
}

impl Host {
    pub(super) fn look(&mut self) {
        self.last = parse(&fs::read_to_string("/proc/stat").unwrap_or_default());
        if self.first.is_empty() {
            self.first.clone_from(&self.last);
        }
    }

    /// By CPU number, 1 is always busy. Empty when they could not be read, or were not all there all the time.
    #[allow(clippy::cast_precision_loss)] // shares
    pub(super) fn busy(&self) -> Vec<f64> {
        if self.first.len() != self.last.len() {
            return Vec::new();
        }
        let pairs = self.first.iter().zip(&self.last);
        pairs
            .map(|(first, last)| {
                let all = last.all.saturating_sub(first.all);
                last.busy.saturating_sub(first.busy) as f64 / all.max(1) as f64
            })
            .collect()
    }
}

/// `cpuN user nice system idle iowait irq softirq steal …`; guests are in `user` already. A CPU that is offline has no line, and
/// counts as idle in its place.
fn parse(stat: &str) -> Vec<Ticks> {
    let mut cpus = Vec::new();
    for line in stat.lines() {
        let Some((name, fields)) = line
            .strip_prefix("cpu")
            .and_then(|rest| rest.split_once(' '))
        else {
            continue;
        };
        let Ok(number) = name.parse::<usize>() else {
            continue; // the sum over all
        };
        if number >= CPUS_MAX {
            continue;
        }
        let ticks: Vec<u64> = fields
            .split_whitespace()
            .take(8)
            .filter_map(|field| field.parse().ok())
            .collect();
        let all: u64 = ticks.iter().sum();
        let idle: u64 = ticks.iter().skip(3).take(2).sum();
        if cpus.len() <= number {
            cpus.resize(number + 1, Ticks::default());
        }
        cpus[number] = Ticks {
            busy: all - idle,
            all,
        };
    }
    cpus
}

/// As many as the kernel can be built for.
const CPUS_MAX: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_cpu_is_named_by_its_place() {
        let first =
            parse("cpu  9 9 9 9\ncpu0 100 0 0 100 0 0 0 0 0 0\ncpu2 0 0 0 10 10 0 0 0\nintr 5\n");
        let last = parse("cpu0 190 0 0 110 0 0 0 0 0 0\ncpu2 0 0 5 20 15 0 0 0\n");
        assert_eq!(first.len(), 3);
        let busy = Host { first, last }.busy();
        assert!((busy[0] - 0.9).abs() < 1e-9, "{busy:?}");
        assert!(
            busy[1].abs() < 1e-9 && (busy[2] - 0.25).abs() < 1e-9,
            "{busy:?}"
        );
        assert!(Host::default().busy().is_empty());
    }
}
