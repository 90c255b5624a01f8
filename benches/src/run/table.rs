//! The result as Markdown: a line a scenario and server, the ratio to the floor, and every round.

use std::fmt::Write;

use super::{Campaign, Measured, Scenario, machine};
use crate::load::{LATENESS_NS_MAX, OWN_CPU_SHARE_MAX, Target};

impl Measured {
    #[allow(clippy::cast_precision_loss)] // for display
    pub(super) fn gib(&self) -> f64 {
        self.delivered_bytes as f64 / (1_u64 << 30) as f64
    }

    #[allow(clippy::cast_precision_loss)] // for display
    pub(super) fn cpu_s_per_gib(&self) -> f64 {
        self.usage.cpu_ns as f64 / 1e9 / self.gib()
    }

    #[allow(clippy::cast_precision_loss)] // for display
    fn user_percent(&self) -> f64 {
        100.0 * self.usage.user_ticks as f64
            / (self.usage.user_ticks + self.usage.system_ticks).max(1) as f64
    }

    #[allow(clippy::cast_precision_loss)] // for display
    fn peak_rss_mib(&self) -> f64 {
        self.peak_rss_bytes as f64 / f64::from(1 << 20)
    }
}

/// The whole result.
pub fn report(campaign: &Campaign, all: &[Measured]) -> String {
    let plan = &campaign.plan;
    let mut text = String::new();
    let mut line = |words: &str| {
        text.push_str(words);
        text.push('\n');
    };
    line("# Fan-out\n");
    line(&machine::describe(campaign.date.as_deref()));
    line(&format!(
        "- load: chunks of {} bytes, {} a second a publisher; segments of {:?}; {:?} measured after {:?}; {} rounds",
        plan.chunk_bytes,
        plan.chunks_per_second,
        plan.segment,
        plan.window,
        plan.warmup,
        campaign.rounds
    ));
    line(&format!(
        "- server on CPU {}, load on CPU {}\n",
        campaign.server_cpu, campaign.load_cpu
    ));
    line(
        "Medians over the rounds. CPU is the server's, in the window; GiB are of payload, as received by all subscribers.",
    );
    line("Latency is from when a chunk was due to when its last byte was received.\n");
    line(HEADING);
    for &scenario in &campaign.scenarios {
        for target in [Target::Floor, Target::Trickle] {
            let rounds: Vec<&Measured> = all
                .iter()
                .filter(|m| m.scenario == scenario && m.target == target)
                .collect();
            if !rounds.is_empty() {
                line(&row(scenario, target, "", &rounds));
            }
        }
    }
    line("");
    for &scenario in &campaign.scenarios {
        if let Some(words) = ratios(scenario, all) {
            line(&words);
        }
    }
    line("\n## Every round\n");
    line(HEADING);
    for measured in all {
        line(&row(
            measured.scenario,
            measured.target,
            &format!(", round {}", measured.round),
            &[measured],
        ));
    }
    for warning in warnings(all) {
        line(&format!("\n**{warning}**"));
    }
    text.trim_end().to_owned()
}

/// What a target is called in a table.
pub(super) fn name(target: Target) -> &'static str {
    match target {
        Target::Floor => "floor",
        Target::Trickle => "trickle",
    }
}

/// Nanoseconds as milliseconds.
#[allow(clippy::cast_precision_loss)] // for display
pub(super) fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

fn row(scenario: Scenario, target: Target, suffix: &str, rounds: &[&Measured]) -> String {
    let of = |figure: fn(&Measured) -> f64| median(rounds.iter().map(|m| figure(m)).collect());
    let mut row = format!("| {scenario} | {}{suffix} |", name(target));
    let figures = [
        (of(Measured::gib), 2),
        (of(Measured::cpu_s_per_gib), 3),
        (of(Measured::user_percent), 0),
        (of(|m| ms(m.p50_ns)), 3),
        (of(|m| ms(m.p99_ns)), 3),
        (of(|m| ms(m.p999_ns)), 3),
        (of(Measured::peak_rss_mib), 1),
    ];
    for (figure, digits) in figures {
        let _ = write!(row, " {figure:.digits$} |"); // writing to a string cannot fail
    }
    // Not a median: one round that lost something is one too many.
    let lost: u64 = rounds.iter().map(|m| m.missing).sum();
    let faults: u64 = rounds.iter().map(|m| m.faults).sum();
    let lateness = of(|m| ms(m.lateness_p99_ns));
    let busy = of(|m| m.own_cpu_share * 100.0);
    let _ = write!(row, " {lost} | {faults} | {lateness:.3} | {busy:.0} |");
    row
}

fn ratios(scenario: Scenario, all: &[Measured]) -> Option<String> {
    let of = |target: Target, figure: fn(&Measured) -> f64| {
        let figures: Vec<f64> = all
            .iter()
            .filter(|m| m.scenario == scenario && m.target == target)
            .map(figure)
            .collect();
        (!figures.is_empty()).then(|| median(figures))
    };
    let ratio = |figure| Some(of(Target::Trickle, figure)? / of(Target::Floor, figure)?);
    Some(format!(
        "- {scenario}, trickle ÷ floor: CPU s/GiB **{:.2}**, p50 {:.2}, p99 {:.2}, p99.9 {:.2}",
        ratio(Measured::cpu_s_per_gib)?,
        ratio(|m| ms(m.p50_ns))?,
        ratio(|m| ms(m.p99_ns))?,
        ratio(|m| ms(m.p999_ns))?,
    ))
}

fn warnings(all: &[Measured]) -> Vec<String> {
    let mut warnings = Vec::new();
    for m in all {
        let which = format!("{} {}, round {}", m.scenario, name(m.target), m.round);
        if m.is_generator_bound {
            warnings.push(format!(
                "{which}: the generator was the bottleneck (p99 of its lateness over {} ms, or its CPU over {:.0} %); the figures do not count.",
                LATENESS_NS_MAX / 1_000_000,
                OWN_CPU_SHARE_MAX * 100.0
            ));
        }
        if m.missing + m.faults > 0 {
            warnings.push(format!(
                "{which}: {} chunks missing, {} duplicate, corrupt or truncated.",
                m.missing, m.faults
            ));
        }
    }
    warnings
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 {
        figures[middle]
    } else {
        f64::midpoint(figures[middle - 1], figures[middle])
    }
}

const HEADING: &str = "\
| scenario | target | delivered GiB | CPU s/GiB | user % | p50 ms | p99 ms | p99.9 ms | peak RSS MiB | missing | faults | generator late p99 ms | generator CPU % |
|---|---|---|---|---|---|---|---|---|---|---|---|---|";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_two_is_between_them() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0]) - 2.5).abs() < 1e-9);
    }
}
