//! The whole journey with the built binary: the demo, and a session driven by curl over TLS.
//!
//! ffmpeg and curl are used where they are installed. A test that misses one says `SKIPPED`, and fails where
//! `MILLSTREAM_REQUIRE_TOOLS` is set.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const CLIP: &[u8] = include_bytes!("../assets/clip.ts");
const DEMO_SECONDS: usize = 3;

#[test]
fn the_demo_leaves_what_it_promises() {
    let dir = Dir::new("demo");
    let out = dir.path("look");
    let began = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_millstream"))
        .args(["demo", "--seconds", &DEMO_SECONDS.to_string(), "--out"])
        .arg(&out)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}after {:.1?}", began.elapsed());
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{complaint}");
    assert!(!said.contains('\x1b'), "plain when piped");

    let row = |name: &str| {
        let mut rows = said.lines().map(str::trim);
        rows.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
            .map(|row| row.trim().to_owned())
    };
    let frames = DEMO_SECONDS * 30;
    assert_eq!(
        row("frames").as_deref(),
        Some(&*format!("{frames} in, {frames} out"))
    );
    let audio = row("audio").expect("a row about sound");
    let (same, all) = audio
        .split_once(" packets bit for bit")
        .unwrap()
        .0
        .split_once(" of ")
        .unwrap();
    assert!(same == all && all.parse::<u32>().unwrap() >= 6, "{audio}");
    assert_eq!(
        row("in step").as_deref(),
        Some("sound against picture moved by 0 us")
    );
    assert!(
        row("latency").is_some_and(|latency| latency.contains("p50 ") && latency.contains("p99 "))
    );
    assert!(row("likeness").is_some_and(|likeness| likeness.contains(" dB mean luma PSNR")));

    let stream = std::fs::read(out.join("out.ts")).unwrap();
    assert_eq!(engine::offline::index(&stream).frames.len(), frames);
    let picture = std::fs::File::open(out.join("side-by-side.png")).unwrap();
    let mut reader = png::Decoder::new(BufReader::new(picture))
        .read_info()
        .unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.width, info.height), (640 + 8 + 640, 360));
    assert!(
        pixels.iter().any(|pixel| *pixel != pixels[0]),
        "there is something to see"
    );

    let path = out.join("out.ts");
    if let Some(ffmpeg) = tool(
        "ffmpeg",
        &[
            "-nostdin",
            "-v",
            "warning",
            "-i",
            path.to_str().unwrap(),
            "-f",
            "null",
            "-",
        ],
    ) {
        let complaint = String::from_utf8_lossy(&ffmpeg.stderr);
        assert!(
            ffmpeg.status.success() && complaint.is_empty(),
            "ffmpeg: {complaint}"
        );
    }
}

#[test]
fn a_session_over_tls_and_http1_with_curl() {
    journey("h1", "--http1.1", "1.1");
}

#[test]
fn a_session_over_tls_and_http2_with_curl() {
    journey("h2", "--http2", "2");
}

/// A gateway's way through a session, each step a curl of its own.
fn journey(name: &str, version: &str, spoken: &str) {
    if tool("curl", &["--version"]).is_none() {
        return;
    }
    let node = Node::start(
        name,
        &[
            "--service-addr",
            "https://127.0.0.1:0",
            "--max-sessions",
            "1",
        ],
    );
    let curl = |args: &[&str]| {
        let mut command = Command::new("curl");
        command.args([
            "-sS",
            "-k",
            "--max-time",
            "30",
            version,
            "-w",
            "\n%{http_code} %{http_version}",
        ]);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Running(Some(command.spawn().unwrap()))
    };
    let ask = |args: &[&str]| curl(args).answer(spoken);
    let start = format!("https://{}/live-video-to-video", node.addr);
    let request =
        r#"{"model_id":"builtin/edges","params":{},"gateway_request_id":"g-1","stream_id":"s-1"}"#;
    let json = "Content-Type: application/json";

    let (status, body) = ask(&["-H", json, "-d", request, &start]);
    assert_eq!(status, 200, "{}", text(&body));
    let session: Value = serde_json::from_slice(&body).unwrap();
    let url = |key: &str| session[key].as_str().unwrap_or_default().to_owned();
    let (publish, subscribe) = (url("publish_url"), url("subscribe_url"));
    let (control, events) = (url("control_url"), url("events_url"));
    let id = url("manifest_id");
    assert_eq!(publish, format!("https://{}/ai/trickle/{id}", node.addr));
    assert_eq!(subscribe, format!("{publish}-out"));

    let (status, body) = ask(&["-H", json, "-d", request, &start]);
    assert_eq!(
        (status, text(&body).trim_end()),
        (503, "insufficient capacity")
    );

    // What a gateway keeps of the events is the newest status.
    let event = (0..3)
        .map(|seq| {
            let (status, body) = ask(&[&format!("{events}/{seq}")]);
            assert_eq!(status, 200, "{}", text(&body));
            serde_json::from_slice::<Value>(&body).unwrap()
        })
        .find(|event| event["event"]["type"] == "status")
        .expect("a status among the first events");
    assert_status(&event);

    // The first group of pictures goes in as one segment; somebody waits for what comes out.
    let output = curl(&[&format!("{subscribe}/0")]);
    let index = engine::offline::index(CLIP);
    let next = index.frames[1..].iter().find(|frame| frame.key).unwrap();
    let segment = node.dir.path("segment.ts");
    std::fs::write(&segment, &CLIP[..next.offset]).unwrap();
    let frames = index
        .frames
        .iter()
        .filter(|frame| frame.offset < next.offset)
        .count();
    let file = segment.to_str().unwrap();
    let (status, body) = ask(&[
        "-X",
        "POST",
        "-T",
        file,
        "-H",
        "Transfer-Encoding: chunked",
        "-H",
        "Content-Type: video/mp2t",
        &format!("{publish}/0"),
    ]);
    assert_eq!(status, 200, "{}", text(&body));
    let (status, _) = ask(&[
        "-H",
        json,
        "-d",
        r#"{"filter":"invert"}"#,
        &format!("{control}/0"),
    ]);
    assert_eq!(status, 200);

    let look = format!("{start}/{id}/status");
    let until = Instant::now() + Duration::from_secs(15);
    let now = loop {
        let (status, body) = ask(&[&look]);
        assert_eq!(status, 200, "{}", text(&body));
        let now: Value = serde_json::from_slice(&body).unwrap();
        let out = now
            .pointer("/stats/frames_out")
            .or_else(|| now.pointer("/frames_out"))
            .and_then(Value::as_u64);
        let heard = now["params"]["filter"] == "invert";
        if heard && out.is_some_and(|out| out + 1 >= frames as u64) {
            break now;
        }
        assert!(Instant::now() < until, "{now:#}");
        std::thread::sleep(Duration::from_millis(200));
    };
    println!("{now}");
    assert_eq!(now["manifest_id"].as_str(), Some(&*id), "{now:#}");

    let (status, _) = ask(&["-X", "DELETE", &publish]);
    assert_eq!(status, 200);
    let (status, stream) = output.answer(spoken);
    assert_eq!(status, 200);
    let came = engine::offline::index(&stream);
    assert_eq!(came.frames.len(), frames, "as many frames out as in");
    assert!(came.frames[0].key);

    let until = Instant::now() + Duration::from_secs(15);
    loop {
        let (status, body) = ask(&["-H", json, "-d", request, &start]);
        if status == 200 {
            break;
        }
        assert_eq!(
            (status, text(&body).trim_end()),
            (503, "insufficient capacity")
        );
        assert!(Instant::now() < until, "the place is free again");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The names that go-livepeer's gateways read.
fn assert_status(event: &Value) {
    assert_eq!(event["queue_event_type"], "ai_stream_events");
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<std::collections::BTreeSet<String>>()
    };
    let has = |value: &Value, names: &[&str]| {
        let keys = keys(value);
        for name in names {
            assert!(keys.contains(*name), "{name} in {value:#}");
        }
    };
    let status = &event["event"];
    has(
        status,
        &[
            "type",
            "pipeline",
            "start_time",
            "state",
            "last_state_update_time",
            "input_status",
            "inference_status",
            "last_status_timestamp",
            "timestamp",
        ],
    );
    has(&status["input_status"], &["last_input_time", "fps"]);
    has(
        &status["inference_status"],
        &[
            "last_output_time",
            "fps",
            "last_params_update_time",
            "last_params",
            "last_params_hash",
            "last_error_time",
            "last_error",
            "last_restart_time",
            "last_restart_logs",
            "restart_count",
        ],
    );
    let state = status["state"].as_str().unwrap();
    assert!(
        ["LOADING", "ONLINE", "DEGRADED_INPUT", "DEGRADED_INFERENCE"].contains(&state),
        "{state}"
    );
    assert!(
        status["start_time"].as_u64().unwrap() > 1_600_000_000_000,
        "milliseconds"
    );
}

// === what runs ===

/// A curl, which does not outlive its test.
struct Running(Option<Child>);

impl Running {
    /// Its status and body; it must have spoken this version of HTTP.
    #[track_caller]
    fn answer(mut self, spoken: &str) -> (u16, Vec<u8>) {
        let output = self.0.take().unwrap().wait_with_output().unwrap();
        let body = output.stdout;
        let at = body
            .iter()
            .rposition(|byte| *byte == b'\n')
            .unwrap_or_else(|| panic!("curl: {}", text(&output.stderr)));
        let (body, trailer) = (body[..at].to_vec(), text(&body[at + 1..]));
        assert!(
            output.status.success(),
            "curl: {}{}",
            text(&output.stderr),
            text(&body)
        );
        let (status, version) = trailer.split_once(' ').unwrap();
        assert_eq!(version, spoken, "the version that was asked for");
        (status.parse().unwrap(), body)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// An orchestrator.
struct Node {
    child: Child,
    addr: SocketAddr,
    dir: Dir,
}

impl Node {
    fn start(name: &str, args: &[&str]) -> Self {
        let dir = Dir::new(name);
        let mut child = Command::new(env!("CARGO_BIN_EXE_millstream"))
            .args([
                "orchestrator",
                "--cores",
                "0",
                "--lanes",
                "1",
                "--page-memory-mib",
                "128",
                "--data-dir",
            ])
            .arg(&dir.0)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let report = BufReader::new(child.stdout.take().unwrap());
        let listening = report.lines().map_while(Result::ok).find_map(|line| {
            let row = line.trim_start().strip_prefix("listening ")?;
            row.trim_start().split(',').next()?.parse().ok()
        });
        let Some(addr) = listening else {
            drop(child.kill());
            panic!("it did not start: {:?}", child.wait());
        };
        Self { child, addr, dir }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Twice: the second one ends what still runs.
        for _ in 0..2 {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            std::thread::sleep(Duration::from_millis(100));
        }
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until && self.child.try_wait().is_ok_and(|status| status.is_none()) {
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A directory of one's own.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir =
            std::env::temp_dir().join(format!("millstream-e2e-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::join(&self.0, name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Runs a tool; `None`, and a word about it, where it is not installed.
fn tool(name: &str, args: &[&str]) -> Option<Output> {
    let output = Command::new(name).args(args).stdin(Stdio::null()).output();
    if output.is_err() {
        assert!(
            std::env::var_os("MILLSTREAM_REQUIRE_TOOLS").is_none(),
            "{name} is not installed"
        );
        println!("SKIPPED: {name} is not installed");
    }
    output.ok()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
