//! Viewers who come and go, against a server that does as it is told.

mod support;

use std::collections::HashMap;
use std::time::Duration;

use loadgen::churn::{Churn, Options};
use loadgen::outcome::{Outcome, Quantiles};

use support::faulty::{Faulty, Script};
use support::{carry_out, errors, target};

/// Forty joins a second, of which seven are due before the window: the first is due after 25 ms.
const LOAD: &str = "joins = 40\narrivals = \"even\"\nstay = \"100ms..800ms\"\n\
    channels = 2\nchunk_size = 1000\nrate = 50\nsegment = \"500ms\"\n";

fn run(script: Script, is_tls: bool, options: &str) -> (Outcome, Faulty) {
    let server = Faulty::start(script, is_tls);
    let options: Options = toml::from_str(&format!("{LOAD}{options}")).expect("options");
    let scenario = Churn::resolve(&options, target(&server.url), 1).expect("a load");
    let outcome = carry_out(&scenario, Duration::from_secs(2)).expect("an outcome");
    (outcome, server)
}

fn latency<'a>(outcome: &'a Outcome, name: &str) -> &'a Quantiles {
    let found = outcome
        .latencies
        .iter()
        .find(|latency| latency.name == name);
    &found.expect("a metric").corrected
}

#[test]
fn every_join_brings_a_first_byte_and_everybody_leaves_in_peace() {
    for is_tls in [false, true] {
        let (outcome, server) = run(Script::default(), is_tls, "");
        let counts = &outcome.counts;
        assert_eq!(
            (counts.due, counts.sent, counts.expected),
            (80, 80, 80),
            "{counts:?}"
        );
        assert_eq!((counts.received, outcome.lost), (80, 0), "{counts:?}");
        assert_eq!(counts.error_count(), 0, "{counts:?}");
        assert_eq!(
            counts.duplicate + counts.reordered + counts.corrupt,
            0,
            "{counts:?}"
        );
        assert_eq!(counts.truncated, 0, "{counts:?}");
        assert!(counts.bytes_received > 80 * 1_000 && counts.bytes_sent >= 190_000);
        let (join, connect) = (latency(&outcome, "join"), latency(&outcome, "connect"));
        assert_eq!((join.count, connect.count), (80, 80));
        assert!(connect.min_ms > 0.0 && connect.mean_ms < join.mean_ms);
        // At the live edge: some dozens of chunks each.
        assert!(latency(&outcome, "chunk").count > 80 * 5);
        assert_eq!(outcome.figures[0].name, "joined_percent");
        assert!((outcome.figures[0].value - 100.0).abs() < 1e-9);
        assert_eq!(server.channels(), (0, 2), "what was created is deleted");
    }
}

#[test]
fn who_joins_at_the_next_segment_waits_for_its_beginning() {
    let (outcome, _) = run(Script::default(), false, "join_at = \"next\"");
    assert_eq!(
        (outcome.lost, outcome.counts.received),
        (0, 80),
        "{:?}",
        outcome.counts
    );
    // Half a second long, so a quarter on average.
    let join = latency(&outcome, "join");
    assert!((150.0..400.0).contains(&join.mean_ms), "{}", join.mean_ms);
    assert!(join.max_ms > 350.0, "{}", join.max_ms);
}

#[test]
fn joins_beyond_the_bound_are_dropped_and_counted() {
    let (outcome, _) = run(Script::default(), false, "at_once_max = 3");
    let counts = &outcome.counts;
    assert_eq!(
        (counts.due, counts.sent + counts.dropped),
        (80, 80),
        "{counts:?}"
    );
    assert!(
        (2..=20).contains(&counts.sent),
        "three a second: {counts:?}"
    );
    assert_eq!(outcome.lost, counts.dropped, "{counts:?}");
}

#[test]
fn a_join_that_is_turned_away_is_lost_and_one_that_is_put_off_is_late() {
    let script = |status| Script {
        answers: HashMap::from([("GET -2", (status, 20))]),
        ..Script::default()
    };
    let (outcome, _) = run(script(404), false, "");
    // The first twenty, of which seven were due before the window.
    assert_eq!(errors(&outcome, "status-404"), 20, "{:?}", outcome.counts);
    assert_eq!(outcome.lost, 13, "{:?}", outcome.counts);

    let (outcome, _) = run(script(503), false, "");
    assert_eq!(errors(&outcome, "status-503"), 20, "{:?}", outcome.counts);
    assert_eq!(outcome.lost, 0, "{:?}", outcome.counts);
    assert!(latency(&outcome, "join").max_ms >= 250.0);
}
