//! What the windows say, in Markdown, and whether they keep the promise.

use hdrhistogram::Histogram;
use loadgen::search::Found;

use super::windows::{Kind, Neighbour, Window};
use super::{Campaign, SEARCH_SLO};
use crate::run::machine;

/// Windows of one kind, taken together.
#[derive(Debug, Clone)]
pub struct Pooled {
    latency: Histogram<u64>,
    expected: u64,
    lost: u64,
    neighbour: Neighbour,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The neighbours noticed nothing that counts.
    Pass,
    /// They did; each reason with its numbers.
    Fail(Vec<String>),
    /// Nobody knows: the generator was the bottleneck.
    DoesNotCount(Vec<String>),
}

impl Pooled {
    /// The windows of `kind`.
    pub fn of(kind: Kind, windows: &[Window]) -> Self {
        let mut all = Self {
            latency: loadgen::measure::histogram(),
            expected: 0,
            lost: 0,
            neighbour: Neighbour::default(),
        };
        for window in windows.iter().filter(|window| window.kind == kind) {
            // The same bounds, and it grows: there is nothing that does not fit.
            all.latency
                .add(&window.latency)
                .unwrap_or_else(|error| panic!("two histograms of one kind: {error}"));
            all.expected += window.expected;
            all.lost += window.lost;
            all.neighbour.sessions += window.neighbour.sessions;
            all.neighbour.ended += window.neighbour.ended;
            all.neighbour.sent += window.neighbour.sent;
            all.neighbour.received += window.neighbour.received;
        }
        all
    }

    fn at(&self, quantile: f64) -> f64 {
        ms(self.latency.value_at_quantile(quantile))
    }

    #[allow(clippy::cast_precision_loss)] // a share
    fn loss(&self) -> f64 {
        self.lost as f64 / self.expected.max(1) as f64
    }
}

impl Verdict {
    /// Holds the windows against [`P99_MS_MAX`], [`RATIO_MAX`] and [`LOSS_MAX`].
    pub fn reach(windows: &[Window]) -> Self {
        let mut invalid: Vec<String> = windows
            .iter()
            .filter(|it| !it.invalid.is_empty())
            .map(|it| format!("round {}, {}: {}", it.round, it.kind, it.invalid.join(", ")))
            .collect();
        let [calm, disturbed] = [Kind::Calm, Kind::Disturbed].map(|kind| Pooled::of(kind, windows));
        if calm.latency.is_empty() || disturbed.latency.is_empty() {
            invalid.push("no frame came back in one kind of window".to_owned());
        }
        if disturbed.neighbour.sent == 0 {
            invalid.push("no damaged frame was sent".to_owned());
        }
        if !invalid.is_empty() {
            return Self::DoesNotCount(invalid);
        }
        let (p99, ratio) = (disturbed.at(0.99), disturbed.at(0.99) / calm.at(0.99));
        let mut broken = Vec::new();
        if p99 > P99_MS_MAX {
            broken.push(format!("p99 {p99:.1} ms is over {P99_MS_MAX} ms"));
        }
        if ratio > RATIO_MAX {
            broken.push(format!(
                "p99 is {ratio:.2} times the calm one, over {RATIO_MAX}"
            ));
        }
        if disturbed.loss() > LOSS_MAX {
            broken.push(format!(
                "{:.2} % of the frames were lost, over {} %",
                disturbed.loss() * 100.0,
                LOSS_MAX * 100.0
            ));
        }
        match broken.is_empty() {
            true => Self::Pass,
            false => Self::Fail(broken),
        }
    }
}

/// The windows as a result for `benches/results`.
pub fn report(campaign: &Campaign, windows: &[Window], date: Option<&str>) -> String {
    let mut lines = vec![
        "# A damaged session and its neighbours".to_owned(),
        String::new(),
        machine::describe(date),
        format!(
            "- load: {} sessions of {}, {}, on device {}; one of them damaged in the disturbed windows; {} rounds of {} s a kind, seed {}",
            campaign.sessions,
            campaign.model,
            picture(campaign),
            campaign.device,
            campaign.rounds,
            campaign.window.as_secs_f64(),
            campaign.seed
        ),
        String::new(),
        "Latency of each frame of the other sessions, from when it was due to the first byte of its result.".to_owned(),
        String::new(),
        "| window | p50 ms | p99 ms | max ms | frames | lost | the last session: back / sent | its sessions: ended / begun |"
            .to_owned(),
        "|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    for window in windows {
        let alone = Pooled::of(window.kind, std::slice::from_ref(window));
        lines.push(row(
            &format!("round {}, {}", window.round, window.kind),
            &alone,
        ));
    }
    let [calm, disturbed] = [Kind::Calm, Kind::Disturbed].map(|kind| Pooled::of(kind, windows));
    lines.push(row("**calm, all**", &calm));
    lines.push(row("**disturbed, all**", &disturbed));
    let ratio = |quantile| disturbed.at(quantile) / calm.at(quantile).max(f64::MIN_POSITIVE);
    lines.extend([
        format!("| **ratio** | {:.2} | {:.2} | | | | | |", ratio(0.5), ratio(0.99)),
        String::new(),
        match Verdict::reach(windows) {
            Verdict::Pass => format!(
                "**PASS**: p99 at most {P99_MS_MAX} ms, at most {RATIO_MAX} times the calm one, at most {} % lost",
                LOSS_MAX * 100.0
            ),
            Verdict::Fail(why) => format!("**FAIL**: {}", why.join("; ")),
            Verdict::DoesNotCount(why) => format!("**DOES NOT COUNT**: {}", why.join("; ")),
        },
    ]);
    lines.join("\n")
}

/// A search as a result for `benches/results`.
pub fn found(campaign: &Campaign, found: &Found, date: Option<&str>) -> String {
    let mut lines = vec![
        "# The most sessions".to_owned(),
        String::new(),
        machine::describe(date),
        format!(
            "- load: sessions of {}, {}, on device {}; windows of {} s, seed {}; to hold: {SEARCH_SLO}",
            campaign.model,
            picture(campaign),
            campaign.device,
            campaign.window.as_secs_f64(),
            campaign.seed
        ),
        String::new(),
        "```".to_owned(),
    ];
    lines.extend(found.steps.iter().map(ToString::to_string));
    lines.push(String::new());
    lines.push(found.to_string().trim_end().to_owned());
    lines.push("```".to_owned());
    lines.join("\n")
}

/// Nanoseconds as milliseconds.
#[allow(clippy::cast_precision_loss)] // for display
pub fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

fn picture(campaign: &Campaign) -> String {
    let size = campaign
        .picture
        .as_deref()
        .unwrap_or("640x360, the built-in clip");
    let fps = campaign.fps.unwrap_or(30.0);
    format!("{size}, {fps} frames/s")
}

fn row(name: &str, it: &Pooled) -> String {
    format!(
        "| {name} | {:.1} | {:.1} | {:.1} | {} | {} | {} / {} | {} / {} |",
        it.at(0.5),
        it.at(0.99),
        ms(it.latency.max()),
        it.expected,
        it.lost,
        it.neighbour.received,
        it.neighbour.sent,
        it.neighbour.ended,
        it.neighbour.sessions
    )
}

/// What is promised of the other sessions while one is damaged.
const P99_MS_MAX: f64 = 60.0;
/// Disturbed by calm.
const RATIO_MAX: f64 = 1.2;
const LOSS_MAX: f64 = 0.001;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn window(round: u32, kind: Kind, ms: u64) -> Window {
        let mut latency = loadgen::measure::histogram();
        latency.record_n(ms * 1_000_000, 1_000).unwrap();
        Window {
            round,
            kind,
            latency,
            expected: 1_000,
            lost: 0,
            invalid: Vec::new(),
            neighbour: Neighbour {
                sessions: 2,
                ended: 0,
                sent: 300,
                received: 150,
            },
        }
    }

    fn both(calm_ms: u64, disturbed_ms: u64) -> [Window; 2] {
        [
            window(1, Kind::Calm, calm_ms),
            window(1, Kind::Disturbed, disturbed_ms),
        ]
    }

    #[test]
    fn a_promise_is_kept_or_broken_with_its_numbers() {
        assert_eq!(Verdict::reach(&both(20, 23)), Verdict::Pass);
        let Verdict::Fail(why) = Verdict::reach(&both(20, 30)) else {
            panic!("half as long again")
        };
        assert_eq!(why, ["p99 is 1.50 times the calm one, over 1.2"]);
        let Verdict::Fail(why) = Verdict::reach(&both(70, 70)) else {
            panic!("too slow, though alike")
        };
        assert!(why[0].ends_with(" ms is over 60 ms"), "{why:?}");
        let mut windows = both(20, 20);
        windows[1].lost = 2;
        let Verdict::Fail(why) = Verdict::reach(&windows) else {
            panic!("lost frames have no latency, and count")
        };
        assert_eq!(why, ["0.20 % of the frames were lost, over 0.1 %"]);
    }

    #[test]
    fn what_was_not_measured_does_not_count() {
        let mut windows = both(20, 20);
        windows[0].invalid.push("late".to_owned());
        assert_eq!(
            Verdict::reach(&windows),
            Verdict::DoesNotCount(vec!["round 1, calm: late".to_owned()])
        );
        let mut windows = both(20, 20);
        windows[1].neighbour.sent = 0;
        assert!(matches!(Verdict::reach(&windows), Verdict::DoesNotCount(_)));
        assert!(matches!(Verdict::reach(&[]), Verdict::DoesNotCount(_)));
    }

    #[test]
    fn a_report_has_every_window_and_both_sums() {
        let campaign = Campaign {
            server: "x".into(),
            server_args: vec![],
            device: "cpu".to_owned(),
            model: "builtin/edges".to_owned(),
            picture: None,
            fps: None,
            sessions: 4,
            rounds: 1,
            window: Duration::from_secs(5),
            threads: 1,
            seed: 1,
        };
        let text = report(&campaign, &both(20, 22), Some("2026-11-21"));
        assert!(
            text.contains(
                "\n| round 1, calm | 20.0 | 20.0 | 20.0 | 1000 | 0 | 150 / 300 | 0 / 2 |\n"
            ),
            "{text}"
        );
        assert!(text.contains("\n| **ratio** | 1.10 | 1.10 |"), "{text}");
        assert!(text.contains("\n**PASS**: p99 at most 60 ms"), "{text}");
        assert!(
            text.contains("640x360, the built-in clip, 30 frames/s, on device cpu"),
            "{text}"
        );
    }
}
