//! The orchestrator as a process: it starts, answers, says what it is, and goes when it is told to.

#[path = "support/node.rs"]
mod node;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use node::Node;
use rustix::process::Signal;

const CLEARTEXT: [&str; 4] = [
    "--service-addr",
    "http://127.0.0.1:0",
    "--max-sessions",
    "2",
];
const START: &str = "POST /live-video-to-video HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";

/// The same for a model.
fn start_of(model: &str) -> String {
    let body = format!("{{\"model_id\":\"{model}\"}}");
    format!(
        "POST /live-video-to-video HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

#[test]
fn it_starts_answers_and_ends_with_status_0() {
    let mut node = Node::start("life", &CLEARTEXT);
    let url = format!("http://{}", node.addr);
    assert!(
        node.report.contains(&format!("service    {url}")),
        "{}",
        node.report
    );
    assert!(!node.report.contains('\x1b'), "plain when piped");
    let device = node
        .report
        .lines()
        .find(|line| line.starts_with("  device "));
    let device = device.unwrap().trim_start_matches("  device ").trim();
    assert!(
        device == "no CUDA driver (libcuda.so.1 not found); using CPU"
            || device.starts_with("cuda:"),
        "{device}"
    );
    assert!(node.http(HEALTH).starts_with("HTTP/1.1 200 OK\r\n"));
    let answer = node.http(START);
    assert!(
        answer.contains(&format!("\"publish_url\":\"{url}/ai/trickle/")),
        "{answer}"
    );
    node.signal(Signal::INT);
    // One session runs and gets its time, a second signal takes it away.
    std::thread::sleep(Duration::from_millis(500));
    assert!(node.child.try_wait().unwrap().is_none(), "it drains");
    let answer = node.http(START);
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("\r\n\r\ninsufficient capacity\n"),
        "{answer}"
    );
    node.signal(Signal::TERM);
    assert_eq!(node.ended(Duration::from_secs(15)), Some(0));
}

#[test]
fn trickle_alone_is_at_the_second_address_and_peers_are_told_what_the_flag_says() {
    let second = ["--trickle-addr", "127.0.0.1:0"];
    let node = Node::start("second", &[&CLEARTEXT[..], &second].concat());
    let alone = node
        .report
        .lines()
        .find_map(|line| line.trim().strip_suffix(", cleartext, trickle alone"));
    let alone = alone
        .unwrap_or_else(|| panic!("{}", node.report))
        .parse()
        .unwrap();
    assert_ne!(alone, node.addr);
    let answer = node.http(START);
    let urls = format!("\"publish_url\":\"http://{}/ai/trickle/", node.addr);
    let (_, id) = answer
        .split_once(&urls)
        .unwrap_or_else(|| panic!("{answer}"));
    let id = id.split('"').next().unwrap();
    // The session's channels are at both, and all else at the first.
    let next =
        format!("GET /ai/trickle/{id}/next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    for addr in [alone, node.addr] {
        let answer = Node::http_at(addr, &next);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    for request in [HEALTH, START] {
        let answer = Node::http_at(alone, request);
        assert!(
            answer.starts_with("HTTP/1.1 404 ") && answer.ends_with("404 page not found\n"),
            "{answer}"
        );
    }
    drop(node);

    let told = ["--trickle-service-addr", "http://127.0.0.1:0"];
    let node = Node::start("second-told", &[&CLEARTEXT[..], &second, &told].concat());
    let url = node
        .report
        .lines()
        .find_map(|line| line.trim().strip_prefix("trickle "))
        .and_then(|row| row.trim().strip_prefix("peers are told "));
    let url = url.unwrap_or_else(|| panic!("{}", node.report)).to_owned();
    assert_ne!(url, format!("http://{}", node.addr));
    let answer = node.http(START);
    for name in ["publish", "subscribe", "control", "events"] {
        let named = format!("\"{name}_url\":\"{url}/ai/trickle/");
        assert!(answer.contains(&named), "{answer}");
    }
}

#[test]
fn the_report_names_the_device_and_sessions_may_ask_for_the_models_that_are_there() {
    let dir = std::env::temp_dir().join(format!("millstream-offered-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let real = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../engine/gpu/models/denoise.onnx"
    );
    std::fs::copy(real, dir.join("sharpen.onnx")).unwrap();
    let args = [&CLEARTEXT[..], &["--device", "cpu", "--models-dir"]].concat();
    let node = Node::start("offered", &[&args[..], &[dir.to_str().unwrap()]].concat());
    let row = |name: &str| {
        let mut rows = node.report.lines().map(str::trim);
        rows.find_map(|row| row.strip_prefix(name)).map(str::trim)
    };
    assert_eq!(row("device "), Some("cpu, as asked"), "{}", node.report);
    assert_eq!(
        row("models "),
        Some("onnx/sharpen (13.4 KiB), onnx/denoise (built in)"),
        "{}",
        node.report
    );
    let answer = node.http(&start_of("onnx/blunt"));
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(
        answer.contains("unknown model \"onnx/blunt\"; this node offers builtin/passthrough, ")
            && answer.ends_with(", onnx/sharpen, onnx/denoise\n"),
        "{answer}"
    );
    let answer = node.http(&start_of("onnx/sharpen"));
    assert!(!answer.starts_with("HTTP/1.1 400 "), "{answer}");
    drop(std::fs::remove_dir_all(dir));
}

#[test]
fn a_models_directory_that_is_of_no_use_is_a_status_of_its_own() {
    let (mut command, dir) = Node::command(
        "no-models",
        &[&CLEARTEXT[..], &["--models-dir", "/nowhere/models"]].concat(),
    );
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(16), "{said}");
    assert!(said.contains("/nowhere/models cannot be read"), "{said}");
    drop(std::fs::remove_dir_all(dir));
}

#[test]
fn a_drain_ends_at_its_deadline() {
    let mut node = Node::start(
        "drain",
        &[&CLEARTEXT[..], &["--drain-timeout", "1"]].concat(),
    );
    assert!(node.http(START).starts_with("HTTP/1.1 200 OK\r\n"));
    let begin = Instant::now();
    node.signal(Signal::TERM);
    assert_eq!(node.ended(Duration::from_secs(15)), Some(0));
    assert!(
        begin.elapsed() >= Duration::from_secs(1),
        "the session had its second"
    );
}

#[test]
fn a_port_that_is_taken_is_a_status_of_its_own() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", taken.local_addr().unwrap());
    let (mut command, dir) = Node::command("taken", &["--service-addr", &url]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(12), "{said}");
    assert!(
        said.contains("cannot listen on 127.0.0.1:") && said.contains("fix: `ss -ltnp"),
        "{said}"
    );
    drop(std::fs::remove_dir_all(dir));
}
