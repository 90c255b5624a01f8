//! The scenario `live` against an orchestrator whose every fault is known: what it does to which frame, the figures must tell.

mod orchestrator;
#[path = "../support/mod.rs"]
mod support;

mod pay;

use std::time::Duration;

use loadgen::Failure;
use loadgen::conduct::{Lengths, OwnLimits, Plan, Stop, conduct};
use loadgen::live::{Live, Mark, Options};
use loadgen::outcome::{Outcome, Repro};
use loadgen::sample::Sampler;
use loadgen::target::{Target, Trust};
use loadgen::units::Time;
use orchestrator::{Action, Orchestrator, Script};

const DELAY: Duration = Duration::from_millis(20);

/// Of the window, frames 30 to 59 are in any case: the first one is due within a second of the start.
const LENGTHS: Lengths = Lengths {
    warmup: Duration::from_secs(1),
    window: Duration::from_secs(2),
    cooldown: Duration::from_millis(200),
    drain: Duration::from_secs(3),
};

fn run(server: &Orchestrator, sessions: u32, mark: Mark) -> Result<Outcome, Failure> {
    let options = Options {
        sessions: Some(sessions),
        mark: Some(mark),
        ..Options::default()
    };
    carry_out(&live(server, options)?)
}

fn live(server: &Orchestrator, options: Options) -> Result<Live, Failure> {
    let target = Target::resolve(server.url(), Trust::Anyone, "X-Tag: 1\r\n".to_owned())?;
    let options = Options {
        start_every: Some(Time(Duration::from_millis(1))),
        ..options
    };
    Live::resolve(&options, target, 5, &|_| {})
}

fn carry_out(live: &Live) -> Result<Outcome, Failure> {
    let plan = Plan {
        lengths: LENGTHS,
        threads: 2,
        cpus: Vec::new(),
        // Tests share their machine with others: the generator may be late.
        is_busy_polling: false,
        own_limits: OwnLimits {
            lateness_p99_ms: 1e6,
            cpu_share: 1e6,
        },
        sampler: Sampler::default(),
        repro: Repro::default(),
        sinks: Vec::new(),
        stop: Stop::default(),
    };
    conduct(live, plan)
}

fn played(script: Script, sessions: u32, mark: Mark) -> Outcome {
    let server = Orchestrator::start(DELAY, 10, script);
    let outcome = run(&server, sessions, mark).unwrap();
    let mut deleted = server.deleted();
    deleted.sort();
    let want: Vec<String> = (0..sessions).map(|session| format!("c{session}")).collect();
    assert_eq!(deleted, want, "what was started is ended");
    outcome
}

fn more(outcome: &Outcome, name: &str) -> u64 {
    outcome.counts.more.get(name).copied().unwrap_or(0)
}

fn figure(outcome: &Outcome, name: &str) -> f64 {
    let figure = outcome.figures.iter().find(|figure| figure.name == name);
    figure.unwrap_or_else(|| panic!("no figure {name}")).value
}

#[test]
fn a_delay_is_measured_and_every_picture_is_known() {
    let outcome = played(|_, _| Action::Pass, 2, Mark::Picture);
    let counts = &outcome.counts;
    assert_eq!((outcome.lost, counts.duplicate, counts.corrupt), (0, 0, 0));
    assert_eq!((counts.due, counts.received), (120, 120));
    assert!(counts.errors.is_empty(), "{:?}", counts.errors);
    for name in ["unknown", "unreadable", "misdated", "crosstalk"] {
        assert_eq!(more(&outcome, name), 0, "{name}");
    }
    let frame = &outcome.latencies[0];
    let delay_ms = 20.0;
    assert_eq!(frame.name, "frame");
    assert!(
        frame.corrected.min_ms >= delay_ms,
        "{}",
        frame.corrected.min_ms
    );
    assert!(frame.corrected.p50_ms < 60.0, "{}", frame.corrected.p50_ms);
    assert!(frame.uncorrected.p50_ms <= frame.corrected.p50_ms);
    for name in ["first_frame_p50_ms", "first_frame_max_ms"] {
        assert!(figure(&outcome, name) >= delay_ms, "{name}");
    }
    assert!((figure(&outcome, "fps") - 30.0).abs() < 3.0);
    assert_eq!(outcome.streams.len(), 2);
    assert!(
        outcome
            .streams
            .iter()
            .all(|stream| stream.figures["p50_ms"] >= delay_ms)
    );
    assert!(
        outcome
            .latencies
            .iter()
            .all(|latency| latency.corrected.count > 0)
    );
}

#[test]
fn lost_and_double_frames_are_counted_exactly() {
    // The last of its group of pictures is missed by no other.
    let outcome = played(
        |session, frame| match (session, frame) {
            (0, 59) => Action::Drop,
            (1, 45 | 47) => Action::Twice,
            _ => Action::Pass,
        },
        2,
        Mark::Picture,
    );
    let counts = &outcome.counts;
    assert_eq!(
        (counts.expected, counts.received, outcome.lost),
        (120, 119, 1)
    );
    assert_eq!((counts.duplicate, counts.reordered), (2, 0));
    let mut lost: Vec<f64> = outcome
        .streams
        .iter()
        .map(|it| it.figures["lost"])
        .collect();
    lost.sort_by(f64::total_cmp);
    assert_eq!(lost, [0.0, 1.0]);
}

#[test]
fn by_time_stamps_alone_crosstalk_shows_too() {
    let outcome = played(
        |session, frame| match (session, frame) {
            (0, 40) => Action::Drop,
            (0, 45..48) => Action::AlsoTo(1),
            _ => Action::Pass,
        },
        2,
        Mark::Pts,
    );
    assert_eq!(
        (more(&outcome, "crosstalk"), outcome.counts.corrupt),
        (3, 3)
    );
    assert_eq!((outcome.lost, more(&outcome, "unknown")), (1, 0));
}

#[test]
fn frames_that_stay_away_are_a_stall_and_a_session_that_ends_is_an_error() {
    let outcome = played(
        |session, frame| match (session, frame) {
            (0, 35..50) => Action::Drop,
            (1, 40) => Action::End,
            _ => Action::Pass,
        },
        2,
        Mark::Pts,
    );
    assert!(more(&outcome, "stalls") >= 2, "{:?}", outcome.counts);
    assert_eq!(outcome.counts.errors.get("session-ended"), Some(&1));
    assert!(outcome.counts.dropped > 0);
    assert!(figure(&outcome, "fps") < 25.0);
    assert!(figure(&outcome, "stall_ms") >= 400.0);
}

#[test]
fn a_refusal_says_how_many_and_why_and_leaves_nothing_behind() {
    let server = Orchestrator::start(DELAY, 1, |_, _| Action::Pass);
    let failure = run(&server, 3, Mark::Pts).unwrap_err().to_string();
    assert!(
        failure.starts_with("2 of 3 sessions were refused after 1 had started"),
        "{failure}"
    );
    assert!(failure.contains("503: insufficient capacity"), "{failure}");
    // The worker that had one ends it, and is waited for.
    assert_eq!(server.deleted(), ["c0"]);
}
