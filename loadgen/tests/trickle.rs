//! The instrument against servers that err by script: what they do wrong must be told, to the chunk, and nothing else.

mod support;

use std::collections::HashMap;
use std::time::Duration;

use loadgen::outcome::Outcome;
use loadgen::trickle::{Options, Trickle};

use support::faulty::{Fault, Faulty, Script};
use support::{carry_out, errors, target};

/// A hundred chunks a second of a kilobyte, and segments of half a second: the window has chunks 20 on, and begins with
/// segment 0.
const LOAD: &str = "channels = 1\nsubscribers = 2\nchunk_size = 1000\nrate = 100\nsegment = 0.5\n";

fn trickle(url: &str, options: &str) -> Trickle {
    let options: Options = toml::from_str(options).expect("options");
    Trickle::resolve(&options, target(url), 1).expect("a load")
}

fn run(script: Script, is_tls: bool, options: &str, window_ms: u64) -> (Outcome, Faulty) {
    let server = Faulty::start(script, is_tls);
    let scenario = trickle(&server.url, options);
    let outcome = carry_out(&scenario, Duration::from_millis(window_ms)).expect("an outcome");
    (outcome, server)
}

fn faults<const N: usize>(faults: [(u64, Fault); N]) -> Script {
    Script {
        faults: faults.into(),
        ..Script::default()
    }
}

#[test]
fn a_server_without_fault_is_told_to_have_none() {
    for (is_tls, options) in [
        (false, ""),
        (true, ""),
        (false, "connection = \"per-segment\""),
        (false, "preconnect = false\nverify = \"header\""),
    ] {
        let load = format!(
            "channels = 3\nsubscribers = \"1..3\"\nchunk_size = \"32..9k\"\nrate = \"40..90\"\nsegment = \"100ms..400ms\"\n{options}"
        );
        let (outcome, server) = run(Script::default(), is_tls, &load, 1_000);
        let counts = &outcome.counts;
        assert!(counts.due >= 120 && counts.sent == counts.due, "{counts:?}");
        assert!(counts.received == counts.expected, "{counts:?}");
        assert!(counts.bytes_received > 0 && counts.bytes_sent > 0);
        assert_eq!((outcome.lost, counts.error_count()), (0, 0), "{counts:?}");
        assert_eq!(counts.duplicate + counts.reordered + counts.corrupt, 0);
        assert_eq!((counts.truncated, counts.dropped), (0, 0));
        assert_eq!(counts.more, [].into(), "nothing strange: {options}");
        assert_eq!(outcome.latencies[0].corrected.count, counts.received);
        assert_eq!(outcome.latencies[1].corrected.count, counts.received);
        assert_eq!(server.channels(), (0, 3), "what was created is deleted");
    }
}

#[test]
fn a_pause_is_seen_by_every_chunk_that_was_due_in_it() {
    let pause = Fault::Pause(Duration::from_secs(1));
    let (outcome, _) = run(faults([(150, pause)]), false, LOAD, 4_000);
    let chunk = &outcome.latencies[0];
    assert_eq!(chunk.name, "chunk");
    let (corrected_ms, uncorrected_ms) = (chunk.corrected.p99_ms, chunk.uncorrected.p99_ms);
    println!("p99 {corrected_ms:.1} ms corrected, {uncorrected_ms:.3} ms uncorrected");
    assert!((800.0..1_300.0).contains(&corrected_ms), "{corrected_ms}");
    assert!(uncorrected_ms < 200.0, "{uncorrected_ms}");
    assert_eq!((outcome.lost, outcome.counts.received), (0, 800));
}

#[test]
fn loss_duplicates_wrong_order_and_wrong_bytes_are_counted_one_by_one() {
    for is_tls in [false, true] {
        let script = faults([
            (30, Fault::Drop),
            (31, Fault::Drop),
            (77, Fault::Drop),
            (40, Fault::Duplicate),
            (90, Fault::Duplicate),
            (60, Fault::Swap),
            (80, Fault::Swap),
            (110, Fault::Swap),
            (65, Fault::Flip),
            // Segment 2 has chunks 100 to 149: half of 140 comes, and then no more of it.
            (140, Fault::Cut),
        ]);
        let (outcome, _) = run(script, is_tls, LOAD, 2_000);
        let counts = &outcome.counts;
        assert_eq!((counts.due, counts.expected), (200, 400), "{counts:?}");
        assert_eq!(outcome.lost, 2 * (3 + 1 + 10), "{counts:?}");
        assert_eq!(counts.duplicate, 2 * 2, "{counts:?}");
        assert_eq!(counts.reordered, 2 * 3, "{counts:?}");
        assert_eq!(counts.corrupt, 2, "{counts:?}");
        assert_eq!(counts.truncated, 2, "{counts:?}");
        assert_eq!(counts.error_count(), 0, "{counts:?}");
    }
}

#[test]
fn one_who_is_told_470_jumps_to_the_latest_and_goes_on() {
    // Both subscribers ask for segment 2, half a second long, when segment 1 begins.
    let script = Script {
        answers: HashMap::from([("GET 2", (470, 2))]),
        ..Script::default()
    };
    let (outcome, _) = run(script, false, LOAD, 2_000);
    assert_eq!(errors(&outcome, "status-470"), 2, "{:?}", outcome.counts);
    assert_eq!(outcome.lost, 0, "Latest was 2 itself: {:?}", outcome.counts);
    assert_eq!(outcome.counts.error_count(), 2);
}

#[test]
fn an_answer_of_500_costs_its_segment_and_no_other() {
    let script = Script {
        answers: HashMap::from([("POST 2", (500, 1)), ("GET 3", (500, 1))]),
        ..Script::default()
    };
    let (outcome, _) = run(script, false, LOAD, 2_000);
    let counts = &outcome.counts;
    assert_eq!(errors(&outcome, "status-500"), 2, "{counts:?}");
    // The POST that was refused ahead is made again when its segment begins.
    assert_eq!((counts.dropped, outcome.lost), (0, 0), "{counts:?}");
}

#[test]
fn a_channel_that_is_closed_is_over_for_everybody() {
    let (outcome, _) = run(faults([(100, Fault::CloseChannel)]), false, LOAD, 2_000);
    let counts = &outcome.counts;
    let gone = errors(&outcome, "status-404") + errors(&outcome, "closed");
    assert!(gone >= 3, "a publisher and two subscribers: {counts:?}");
    assert!(counts.dropped > 0, "{counts:?}");
    assert_eq!(counts.due, 200, "it goes on to be due: {counts:?}");
    assert!(
        (outcome.lost..=counts.expected).contains(&240),
        "{counts:?}"
    );
}

#[test]
fn a_publisher_whose_connection_breaks_goes_on_with_the_next_segment() {
    // Segment 1 has chunks 50 to 99.
    let (outcome, _) = run(faults([(70, Fault::AbortPost)]), false, LOAD, 2_000);
    let counts = &outcome.counts;
    let broken = errors(&outcome, "reset") + errors(&outcome, "no-answer");
    assert_eq!(broken, 1, "{counts:?}");
    assert_eq!(counts.error_count(), 1, "{counts:?}");
    assert!((1..=30).contains(&counts.dropped), "{counts:?}");
    assert_eq!(outcome.lost, 2 * 30, "70 to 99: {counts:?}");
}

#[test]
fn a_subscriber_whose_connection_breaks_reads_its_segment_again() {
    let (outcome, _) = run(faults([(70, Fault::AbortReaders)]), false, LOAD, 2_000);
    let counts = &outcome.counts;
    let broken = errors(&outcome, "cut") + errors(&outcome, "reset");
    assert_eq!((broken, counts.error_count()), (2, 2), "{counts:?}");
    assert_eq!((outcome.lost, counts.duplicate), (0, 0), "{counts:?}");
    let repeated = counts.more.get("repeated").copied().unwrap_or(0);
    assert!((20..=2 * 50).contains(&repeated), "{counts:?}");
}

#[test]
fn a_server_that_does_not_read_costs_chunks_and_not_memory() {
    // 30 MB are due while it does not read; the sockets take some, and 8 MiB wait.
    let pause = Fault::Pause(Duration::from_millis(1_500));
    let load = "subscribers = 1\nchunk_size = \"200k\"\nrate = 100\nsegment = 10";
    let (outcome, _) = run(faults([(40, pause)]), false, load, 2_000);
    let counts = &outcome.counts;
    assert!(counts.dropped > 0, "{counts:?}");
    assert_eq!(outcome.lost, counts.dropped, "{counts:?}");
    assert_eq!((counts.due, counts.error_count()), (200, 0), "{counts:?}");
    assert!(
        outcome
            .notes
            .iter()
            .any(|note| note.contains("does not read"))
    );
}

#[test]
fn a_channel_that_was_there_is_used_from_its_head_and_left_there() {
    let server = Faulty::start(Script::default(), false);
    server.add_channel("camera", 41);
    let options = format!("{LOAD}channel = [\"{}/ai/trickle/camera\"]", server.url);
    let scenario = trickle(&server.url, &options);
    let outcome = carry_out(&scenario, Duration::from_secs(1)).expect("an outcome");
    assert_eq!((outcome.lost, outcome.counts.expected), (0, 200));
    assert_eq!(server.channels(), (1, 0));
    let options = format!("{LOAD}channel = [\"nowhere\"]");
    let scenario = trickle(&server.url, &options);
    let why = carry_out(&scenario, Duration::from_secs(1))
        .unwrap_err()
        .to_string();
    assert!(why.contains("no channel /ai/trickle/nowhere"), "{why}");
}

#[test]
fn what_keeps_a_run_from_beginning_comes_with_its_remedy() {
    let script = Script {
        is_closed: true,
        ..Script::default()
    };
    let server = Faulty::start(script, false);
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let gone_url = format!("http://{}", gone.local_addr().expect("an address"));
    drop(gone);
    for (url, wants) in [
        (&server.url, ["--trickle-autocreate", "--channel"]),
        (&gone_url, ["refused", "millstream orchestrator"]),
    ] {
        let why = carry_out(&trickle(url, LOAD), Duration::from_secs(1))
            .unwrap_err()
            .to_string();
        for want in wants {
            assert!(why.contains(want), "{why}");
        }
    }
}
