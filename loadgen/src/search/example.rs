//! A result to try things on: of a thousand operations in ten seconds, the nth took n milliseconds.

use crate::measure::{Counts, histogram};
use crate::outcome::{
    Better, Figure, Latency, Outcome, OwnConduct, Quantiles, Rate, Repro, SCHEMA, ServerUse,
    Verdict,
};

pub(crate) fn outcome() -> Outcome {
    let times = |scale_ns: u64| {
        let mut times = histogram();
        for value in 1..=1_000 {
            times.saturating_record(value * scale_ns);
        }
        Quantiles::of(&times)
    };
    let figure = |name: &str, value, unit: &str, better| Figure {
        name: name.to_owned(),
        title: name.to_owned(),
        value,
        unit: unit.to_owned(),
        better,
    };
    let latency = |name: &str, scale_ns| Latency {
        name: name.to_owned(),
        title: format!("{name}, from due to arrived"),
        corrected: times(scale_ns),
        uncorrected: times(scale_ns / 2),
    };
    Outcome {
        schema: SCHEMA.to_owned(),
        scenario: "trickle".to_owned(),
        operation: "chunk".to_owned(),
        settings: [("channels".to_owned(), 10.into())].into(),
        verdict: Verdict {
            is_valid: true,
            reasons: Vec::new(),
        },
        repro: Repro::default(),
        window_s: 10.0,
        rate: Rate {
            offered_per_s: 100.0,
            achieved_per_s: 100.0,
            received_per_s: 100.0,
            received_mib_per_s: 1.0,
        },
        counts: Counts {
            due: 1_000,
            sent: 1_000,
            expected: 1_000,
            received: 1_000,
            ..Counts::default()
        },
        lost: 0,
        latencies: vec![latency("chunk", 1_000_000), latency("first_byte", 100_000)],
        figures: vec![
            figure("fps", 29.5, "frames/s", Better::Higher),
            figure("ttff", 1_900.0, "ms", Better::Lower),
            figure("busy", 75.0, "%", Better::Lower),
        ],
        own: OwnConduct::default(),
        server: Some(ServerUse::default()),
        streams: Vec::new(),
        series: Vec::new(),
        notes: Vec::new(),
    }
}
