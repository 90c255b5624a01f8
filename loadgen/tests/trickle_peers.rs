//! The scenarios against a trickle server that is not ours.

mod support;

use std::time::Duration;

use loadgen::churn::{self, Churn};
use loadgen::trickle::{Options, Trickle};

use support::python::PythonServer;
use support::{carry_out, target};

#[test]
fn trickle_finds_no_fault_with_a_server_in_python() {
    let Some(server) = PythonServer::start("trickle") else {
        return;
    };
    for how in ["", "connection = \"per-segment\"", "preconnect = false"] {
        let options = format!(
            "channels = 2\nsubscribers = 3\nchunk_size = \"1k..20k\"\nrate = \"20..40\"\nsegment = \"300ms\"\n{how}"
        );
        let options: Options = toml::from_str(&options).expect("options");
        let scenario = Trickle::resolve(&options, target(&server.url), 1).expect("a load");
        let outcome = carry_out(&scenario, Duration::from_secs(2)).expect("an outcome");
        let counts = &outcome.counts;
        assert!(
            counts.due >= 80 && counts.sent == counts.due,
            "{how}: {counts:?}"
        );
        assert_eq!(counts.received, counts.expected, "{how}: {counts:?}");
        assert_eq!(outcome.latencies[0].corrected.count, counts.received);
        let faults = counts.duplicate + counts.reordered + counts.corrupt + counts.truncated;
        assert_eq!((faults, counts.error_count()), (0, 0), "{how}: {counts:?}");
    }
}

#[test]
fn churn_finds_no_fault_with_a_server_in_python() {
    let Some(server) = PythonServer::start("churn") else {
        return;
    };
    for join_at in ["current", "next"] {
        let options = format!(
            "channels = 2\njoins = 20\nstay = \"100ms..900ms\"\nsegment = \"500ms\"\nchunk_size = 2000\njoin_at = \"{join_at}\""
        );
        let options: churn::Options = toml::from_str(&options).expect("options");
        let scenario = Churn::resolve(&options, target(&server.url), 1).expect("a load");
        let outcome = carry_out(&scenario, Duration::from_secs(2)).expect("an outcome");
        let counts = &outcome.counts;
        assert!(counts.due > 15, "{join_at}: {counts:?}");
        assert_eq!(
            (outcome.lost, counts.error_count()),
            (0, 0),
            "{join_at}: {counts:?}"
        );
        assert_eq!(
            counts.duplicate + counts.corrupt + counts.truncated,
            0,
            "{counts:?}"
        );
        assert_eq!(outcome.latencies[0].corrected.count, counts.received);
    }
}
