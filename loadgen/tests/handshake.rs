//! The scenario `handshake` against an orchestrator that answers as a real one does and errs by script: every fault is told, by kind.

#[path = "handshake/orchestrator.rs"]
mod orchestrator;
mod support;

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::Duration;

use loadgen::Failure;
use loadgen::conduct::{Lengths, OwnLimits, Plan, Stop, conduct};
use loadgen::handshake::{Handshake, Options};
use loadgen::outcome::{Outcome, Repro};
use loadgen::sample::Sampler;
use proto::net::OrchestratorInfo;

use orchestrator::{Action, Orchestrator};
use support::{errors, target};

/// 200 requests in a window, all of which count.
const LOAD: &str = "senders = 5\nrate = 500\nconnections = 4\n";
const WINDOW: Duration = Duration::from_millis(400);

fn handshake(url: &str, options: &str) -> Handshake {
    let options: Options = toml::from_str(&format!("{LOAD}{options}")).expect("options");
    Handshake::resolve(&options, target(url), 1).expect("a load")
}

fn carry_out(handshake: &Handshake, drain: Duration) -> Result<Outcome, Failure> {
    let plan = Plan {
        lengths: Lengths {
            warmup: Duration::ZERO,
            window: WINDOW,
            cooldown: Duration::ZERO,
            drain,
        },
        threads: 2,
        cpus: Vec::new(),
        is_busy_polling: false,
        // Tests share their machine with others: the generator may be late.
        own_limits: OwnLimits {
            lateness_p99_ms: 1e6,
            cpu_share: 1e6,
        },
        sampler: Sampler::default(),
        repro: Repro::default(),
        sinks: Vec::new(),
        stop: Stop::default(),
    };
    conduct(handshake, plan)
}

fn run(server: &Orchestrator, options: &str) -> Outcome {
    carry_out(&handshake(&server.url, options), Duration::from_secs(5)).expect("an outcome")
}

fn figure(outcome: &Outcome, name: &str) -> f64 {
    let figure = outcome.figures.iter().find(|figure| figure.name == name);
    figure.unwrap_or_else(|| panic!("no figure {name}")).value
}

fn assert_clean(outcome: &Outcome) {
    let counts = &outcome.counts;
    assert_eq!(counts.errors, [].into(), "{:?}", outcome.notes);
    assert_eq!((counts.due, counts.sent, counts.received), (200, 200, 200));
    assert_eq!((counts.dropped, outcome.lost), (0, 0));
    assert_eq!(outcome.latencies[0].corrected.count, 200);
}

#[test]
fn a_server_without_fault_is_told_to_have_none() {
    let server = Orchestrator::start(|_| Action::Serve);
    let outcome = run(&server, "model = \"acme/style\"");
    assert_clean(&outcome);
    assert_eq!(server.connections(), 4);
    let answered = figure(&outcome, "handshakes_per_s");
    assert!((250.0..=500.0).contains(&answered), "{answered}");
    assert!(figure(&outcome, "answer_bytes") > 200.0);
    assert_eq!(figure(&outcome, "refused_percent"), 0.0);
    let asked = server.asked();
    let senders: HashSet<_> = asked.iter().map(|it| it.address.clone()).collect();
    assert_eq!((asked.len(), senders.len()), (200, 5));
    for request in &asked {
        assert!(!request.ignore_capacity_check);
        let needed = request.capabilities.as_ref().unwrap();
        assert_eq!(needed.bitstring[0] >> 35 & 1, 1);
        let constraints = &needed.constraints.as_ref().unwrap().per_capability;
        assert!(constraints[&35].models.contains_key("acme/style"));
    }
}

#[test]
fn over_tls_each_may_have_a_connection_of_its_own() {
    let server = Orchestrator::start_tls(|_| Action::Serve);
    assert_clean(&run(&server, ""));
    assert_eq!(server.connections(), 4);
    let server = Orchestrator::start_tls(|_| Action::Serve);
    let options: Options = toml::from_str("rate = 100\nfresh = true").unwrap();
    let fresh = Handshake::resolve(&options, target(&server.url), 1).unwrap();
    let outcome = carry_out(&fresh, Duration::from_secs(5)).unwrap();
    assert_eq!(outcome.counts.errors, [].into());
    assert_eq!((outcome.counts.received, outcome.lost), (40, 0));
    // Each worker made one before, to see that there is a server.
    assert_eq!(server.connections(), 42);
}

#[test]
fn fresh_connections_are_bounded_and_the_rest_waits() {
    let server = Orchestrator::start(|_| Action::Slow(20));
    let outcome = run(&server, "fresh = true");
    assert_clean(&outcome);
    assert_eq!(server.connections(), 202);
    // Four at a time, 20 ms each: the last of 200 is done after a second.
    assert!(outcome.latencies[0].corrected.max_ms >= 500.0);
}

#[test]
fn one_may_ask_for_nothing_and_be_nobody() {
    let server = Orchestrator::start(|_| Action::Serve);
    assert_clean(&run(&server, "plain = true"));
    assert!(server.asked().iter().all(|it| it.capabilities.is_none()));
    let server = Orchestrator::start(|_| Action::Serve);
    assert_clean(&run(&server, "offchain = true"));
    assert!(server.asked().iter().all(|it| it.sig.is_empty()));
}

#[test]
fn what_is_wrong_with_an_answer_is_told_by_kind() {
    let server = Orchestrator::start(|number| match number % 10 {
        1 => Action::Refuse("Invalid orchestrator request: OrchestratorCapped"),
        2 => Action::Refuse(""),
        3 => Action::Without(|info| info.ticket_params = None),
        4 => Action::Without(|info| info.ticket_params.as_mut().unwrap().face_value.clear()),
        5 => Action::Without(|info| info.transcoder.clear()),
        6 => Action::Without(|info| info.auth_token = None),
        7 => Action::Without(|info: &mut OrchestratorInfo| info.price_info = None),
        8 => Action::Repeat,
        _ => Action::Serve,
    });
    let outcome = run(&server, "");
    for (class, count) in [
        ("grpc: Invalid orchestrator request: OrchestratorCapped", 20),
        ("grpc: gRPC status 2", 20),
        ("no-ticket-params", 20),
        ("no-face-value", 20),
        ("no-transcoder", 20),
        ("no-auth-token", 20),
        ("no-price", 20),
        // The first of them was new.
        ("repeated-hash", 19),
    ] {
        assert_eq!(
            errors(&outcome, class),
            count,
            "{class}: {:?}",
            outcome.counts
        );
    }
    assert_eq!(outcome.counts.error_count(), 159);
    assert_eq!((outcome.counts.received, outcome.lost), (41, 159));
    let refused = figure(&outcome, "refused_percent");
    assert!((refused - 4_000.0 / 81.0).abs() < 1e-9, "{refused}");
}

#[test]
fn a_slow_server_is_waited_for_and_what_it_never_answers_is_an_error() {
    let server = Orchestrator::start(|_| Action::Slow(100));
    let outcome = run(&server, "");
    assert_clean(&outcome);
    assert_eq!(server.connections(), 4, "many calls a connection");
    let latency = &outcome.latencies[0];
    assert!(latency.corrected.min_ms >= 100.0 && latency.corrected.p50_ms < 400.0);
    let server = Orchestrator::start(|number| match number {
        7 => Action::Ignore,
        _ => Action::Serve,
    });
    let handshake = handshake(&server.url, "");
    let outcome = carry_out(&handshake, Duration::from_millis(300)).unwrap();
    assert_eq!((errors(&outcome, "unknown"), outcome.lost), (1, 1));
}

#[test]
fn a_server_that_breaks_every_connection_and_takes_none_is_gone() {
    let server = Orchestrator::start(|number| match number {
        20 => Action::Kill,
        _ => Action::Serve,
    });
    let handshake = handshake(&server.url, "");
    let why = carry_out(&handshake, Duration::from_secs(5)).unwrap_err();
    assert!(why.to_string().contains("is gone"), "{why}");
}

#[test]
fn in_polite_mode_the_first_refusal_is_the_end() {
    let server = Orchestrator::start(|number| match number {
        20 => Action::Refuse("OrchestratorCapped"),
        _ => Action::Serve,
    });
    let mut handshake = handshake(&server.url, "");
    handshake.stop_at_refusal = true;
    let why = carry_out(&handshake, Duration::from_secs(5)).unwrap_err();
    assert!(why.to_string().contains("OrchestratorCapped"), "{why}");
    assert!(server.asked().len() < 150);
}

#[test]
fn whoever_does_not_speak_http_2_is_told_from_an_orchestrator() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 1_024]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let outcome = carry_out(&handshake(&url, ""), Duration::from_millis(300));
    let text = match outcome {
        Ok(outcome) => {
            assert_eq!(outcome.counts.received, 0);
            format!("{:?}", outcome.counts.errors)
        }
        Err(why) => why.to_string(),
    };
    assert!(
        text.contains("malformed") || text.contains("HTTP/2"),
        "{text}"
    );
}

#[test]
fn the_command_line_writes_what_it_found() {
    let help = loadgen(&["handshake", "--help"]);
    let text = String::from_utf8_lossy(&help.stdout);
    for flag in [
        "--rate",
        "--connections",
        "--fresh",
        "--senders",
        "--model",
        "--plain",
        "--offchain",
    ] {
        assert!(text.contains(flag), "{flag}: {text}");
    }
    let out = std::env::temp_dir().join(format!("loadgen-handshake-{}", std::process::id()));
    let server = Orchestrator::start(|_| Action::Serve);
    let times = [
        "--warmup",
        "0",
        "--window",
        "300ms",
        "--cooldown",
        "0",
        "--lateness-max",
        "10s",
    ];
    let run = |more: &[&str]| {
        let common = ["--target", &server.url, "--rate", "100"];
        loadgen(&[more, &common, &times].concat())
    };
    let output = run(&[
        "handshake",
        "--slo",
        "errors<=0,p99<5s",
        "--out",
        out.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = std::fs::read_to_string(out.join("result.json")).unwrap();
    std::fs::remove_dir_all(&out).unwrap();
    let result: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&result["scenario"], &result["operation"]),
        (&"handshake".into(), &"handshake".into())
    );
    assert_eq!(result["counts"]["received"], 30);
    assert_eq!(result["settings"]["model"], "builtin/passthrough");
    let figures = result["figures"].as_array().unwrap();
    for name in [
        "handshakes_per_s",
        "answer_bytes",
        "cpu_us_per_handshake",
        "handshakes_per_core_s",
    ] {
        assert!(
            figures.iter().any(|figure| figure["name"] == name),
            "{name}: {figures:?}"
        );
    }
    let found = loadgen(
        &[
            &[
                "search",
                "handshake",
                "--slo",
                "errors<=0",
                "--from",
                "20",
                "--to",
                "20",
            ][..],
            &["--target", &server.url, "--no-files"],
            &times,
        ]
        .concat(),
    );
    let text = String::from_utf8_lossy(&found.stdout);
    assert_eq!(found.status.code(), Some(0), "{found:?}");
    assert!(text.contains("rate 20"), "{text}");
    let target = ["handshake", "--target", "http://127.0.0.1:9", "--no-files"];
    for (args, want) in [
        (&["--rate", "0"][..], "requests a second"),
        (&["--plain", "--model", "a"], "one or the other"),
        (&["--rate", "1"], "connections could not be made"),
        (&["--rate", "1", "--fresh"], "connections could not be made"),
    ] {
        let output = loadgen(&[&target[..], args].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(want), "{said}");
    }
}

fn loadgen(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(args)
        .output()
        .expect("it starts")
}
