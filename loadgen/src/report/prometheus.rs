//! The run as a scraper sees it: `GET /metrics`, in the Prometheus text format or, for who asks, in OpenMetrics.
//!
//! ```text
//!   conductor ── second ──▶ Mutex<Snapshot> ◀── render ── one thread ◀── GET /metrics
//! ```
//!
//! Invariants:
//! - The run never waits for a scraper: a snapshot is replaced under a lock that is held for a copy.
//! - One connection at a time, a head of at most 8 KiB, a second to send it and a second to take the answer: a slow scraper is cut off.
//! - The thread ends with the exporter, whoever is connected.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::conduct::{Lengths, Scenario, Sink};
use crate::failure::Failure;
use crate::measure::{Counts, Interval};
use crate::outcome::Second;

/// Serves what is known.
#[derive(Debug)]
pub struct Exporter {
    shared: Arc<Shared>,
    addr: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    snapshot: Mutex<Snapshot>,
    is_over: AtomicBool,
}

#[derive(Debug, Clone, Default)]
struct Snapshot {
    scenario: String,
    target: String,
    metric: String,
    counts: Counts,
    /// Cumulative, by [`BUCKETS_S`].
    buckets: Vec<u64>,
    timed: u64,
    sum_s: f64,
    server_cpu: Option<f64>,
    server_rss_mib: Option<f64>,
    own_cpu: f64,
    lateness_p99_ms: f64,
}

impl Exporter {
    /// Listens on `addr`, port 0 for any, and tells of a load on `target`.
    ///
    /// # Errors
    /// The address is taken, or is not ours.
    pub fn listen(addr: SocketAddr, target: &str) -> Result<Self, Failure> {
        let cannot = |error: std::io::Error| {
            Failure::new(format!("cannot serve metrics on {addr}: {error}"))
        };
        let listener = TcpListener::bind(addr).map_err(cannot)?;
        listener.set_nonblocking(true).map_err(cannot)?;
        let addr = listener.local_addr().map_err(cannot)?;
        let shared = Arc::new(Shared {
            snapshot: Mutex::new(Snapshot {
                target: target.to_owned(),
                buckets: vec![0; BUCKETS_S.len()],
                ..Snapshot::default()
            }),
            is_over: AtomicBool::new(false),
        });
        let thread = thread::Builder::new().name("metrics".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || serve(&listener, &shared)
        })?;
        Ok(Self {
            shared,
            addr,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn with(&self, change: impl FnOnce(&mut Snapshot)) {
        // A snapshot is whole at all times, so a panic beside it spoils nothing.
        change(
            &mut self
                .shared
                .snapshot
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // It had nothing to give.
            let _ = thread.join();
        }
    }
}

impl Sink for Exporter {
    fn begin(&mut self, scenario: &dyn Scenario, _lengths: Lengths) {
        let metric = scenario.metrics().first();
        self.with(|snapshot| {
            scenario.name().clone_into(&mut snapshot.scenario);
            metric
                .map_or("", |metric| metric.name)
                .clone_into(&mut snapshot.metric);
        });
    }

    fn phase(&mut self, _name: &str) {}

    fn second(&mut self, second: &Second, total: &Interval) {
        let (buckets, timed, sum_s) = buckets(total);
        self.with(|snapshot| {
            snapshot.counts.clone_from(&total.counts);
            (snapshot.buckets, snapshot.timed, snapshot.sum_s) = (buckets, timed, sum_s);
            snapshot.server_cpu = second.server_cpu_share;
            snapshot.server_rss_mib = second.server_rss_mib;
            snapshot.own_cpu = second.own_cpu_share;
            snapshot.lateness_p99_ms = second.lateness_p99_ms;
        });
    }

    fn note(&mut self, _text: &str) {}
}

/// The main metric, corrected: cumulative counts, all, and their sum.
#[allow(clippy::cast_precision_loss)] // seconds
fn buckets(total: &Interval) -> (Vec<u64>, u64, f64) {
    let mut buckets = vec![0; BUCKETS_S.len()];
    let Some(dist) = total.dists.first() else {
        return (buckets, 0, 0.0);
    };
    let mut sum_s = 0.0;
    for step in dist.corrected.iter_recorded() {
        let (value_s, count) = (step.value_iterated_to() as f64 / 1e9, step.count_at_value());
        sum_s += value_s * count as f64;
        let first = BUCKETS_S.partition_point(|edge_s| *edge_s < value_s);
        for bucket in &mut buckets[first..] {
            *bucket += count;
        }
    }
    (buckets, dist.corrected.len(), sum_s)
}

fn serve(listener: &TcpListener, shared: &Shared) {
    let patience = Timespec {
        tv_sec: 0,
        tv_nsec: 100_000_000,
    };
    while !shared.is_over.load(Ordering::Acquire) {
        let mut fds = [PollFd::new(listener, PollFlags::IN)];
        // Interrupted, or nobody came: look whether it is over, and wait again.
        if !matches!(poll(&mut fds, Some(&patience)), Ok(1..)) {
            continue;
        }
        if let Ok((stream, _)) = listener.accept() {
            // A scraper that goes away is its own affair.
            let _ = answer(stream, shared);
        }
    }
}

fn answer(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = head(&mut stream)?;
    let snapshot = shared
        .snapshot
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    stream.write_all(&respond(&head, &snapshot))
}

/// Until the empty line, in all within [`PATIENCE`].
fn head(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let deadline = Instant::now() + PATIENCE;
    let mut head = Vec::new();
    let mut part = [0; 1_024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        let left = deadline.saturating_duration_since(Instant::now());
        // A timeout of zero would be none.
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(&mut part)? {
            0 => break,
            len => head.extend_from_slice(&part[..len]),
        }
        if Instant::now() >= deadline {
            break;
        }
    }
    Ok(head)
}

fn respond(head: &[u8], snapshot: &Snapshot) -> Vec<u8> {
    let head = String::from_utf8_lossy(head);
    let mut words = head.lines().next().unwrap_or("").split_whitespace();
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let path = path.split('?').next().unwrap_or("");
    let is_whole = head.contains("\r\n\r\n");
    let (status, kind, body) = match (method, path) {
        _ if !is_whole => ("400 Bad Request", TEXT, "not a whole request\n".to_owned()),
        ("GET" | "HEAD", "/metrics") => {
            let is_open = head.lines().any(|line| {
                let line = line.to_ascii_lowercase();
                line.starts_with("accept:") && line.contains("application/openmetrics-text")
            });
            let kind = if is_open { OPENMETRICS } else { TEXT };
            ("200 OK", kind, render(snapshot, is_open))
        }
        ("GET" | "HEAD", _) => ("404 Not Found", TEXT, "see /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", TEXT, "GET alone\n".to_owned()),
    };
    let mut response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    if method != "HEAD" {
        response.push_str(&body);
    }
    response.into_bytes()
}

/// The two formats differ in what a counter's family is called, and in the last line.
fn render(snapshot: &Snapshot, is_open: bool) -> String {
    let labels = format!(
        "scenario=\"{}\",target=\"{}\"",
        escaped(&snapshot.scenario),
        escaped(&snapshot.target)
    );
    let mut page = Page {
        text: String::new(),
        labels,
        is_open,
    };
    let counts = &snapshot.counts;
    for (name, help, count) in [
        ("due", "Operations that were due in the window.", counts.due),
        ("sent", "Operations that were begun.", counts.sent),
        (
            "late",
            "Operations that were begun more than 1 ms late.",
            counts.late,
        ),
        (
            "dropped",
            "Operations that were due and never begun.",
            counts.dropped,
        ),
        ("expected", "Results that should come.", counts.expected),
        (
            "received",
            "Results that came, once and whole.",
            counts.received,
        ),
        ("duplicate", "Results that came again.", counts.duplicate),
        (
            "reordered",
            "Results that came after a later one.",
            counts.reordered,
        ),
        ("corrupt", "Results with a wrong byte.", counts.corrupt),
        (
            "truncated",
            "Segments that ended within a result.",
            counts.truncated,
        ),
        ("sent_bytes", "Payload sent.", counts.bytes_sent),
        ("received_bytes", "Payload received.", counts.bytes_received),
    ] {
        page.counter(name, help, &[(String::new(), count)]);
    }
    let errors: Vec<(String, u64)> = counts
        .errors
        .iter()
        .map(|(class, count)| (format!(",class=\"{}\"", escaped(class)), *count))
        .collect();
    page.counter("errors", "Errors by class.", &errors);
    page.histogram(snapshot);
    page.gauge(
        "server_cpu_cores",
        "CPU seconds a second of the server.",
        snapshot.server_cpu,
    );
    page.gauge(
        "server_resident_bytes",
        "Memory of the server.",
        snapshot.server_rss_mib.map(|mib| mib * f64::from(1 << 20)),
    );
    page.gauge(
        "own_cpu_cores",
        "CPU seconds a second of the generator's busiest worker.",
        Some(snapshot.own_cpu),
    );
    page.gauge(
        "own_lateness_p99_seconds",
        "How late the generator began operations in the last second.",
        Some(snapshot.lateness_p99_ms / 1e3),
    );
    if is_open {
        page.text.push_str("# EOF\n");
    }
    page.text
}

struct Page {
    text: String,
    labels: String,
    is_open: bool,
}

// Writing to a String cannot fail.
impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP loadgen_{name} {help}");
        let _ = writeln!(self.text, "# TYPE loadgen_{name} {kind}");
    }

    fn counter(&mut self, name: &str, help: &str, values: &[(String, u64)]) {
        if self.is_open {
            self.family(name, "counter", help);
        } else {
            self.family(&format!("{name}_total"), "counter", help);
        }
        for (more, value) in values {
            let labels = &self.labels;
            let _ = writeln!(self.text, "loadgen_{name}_total{{{labels}{more}}} {value}");
        }
    }

    /// What is not known is not told.
    fn gauge(&mut self, name: &str, help: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.family(name, "gauge", help);
            let labels = &self.labels;
            let _ = writeln!(self.text, "loadgen_{name}{{{labels}}} {value}");
        }
    }

    fn histogram(&mut self, snapshot: &Snapshot) {
        let name = "latency_seconds";
        self.family(
            name,
            "histogram",
            "Of the scenario's main metric, from when it was due.",
        );
        let labels = format!("{},metric=\"{}\"", self.labels, escaped(&snapshot.metric));
        for (edge_s, count) in BUCKETS_S.iter().zip(&snapshot.buckets) {
            let _ = writeln!(
                self.text,
                "loadgen_{name}_bucket{{{labels},le=\"{edge_s:?}\"}} {count}"
            );
        }
        let all = snapshot.timed;
        let _ = writeln!(
            self.text,
            "loadgen_{name}_bucket{{{labels},le=\"+Inf\"}} {all}\n\
             loadgen_{name}_sum{{{labels}}} {}\nloadgen_{name}_count{{{labels}}} {all}",
            snapshot.sum_s
        );
    }
}

/// A label's value.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// From what a loopback takes to what nobody waits for.
const BUCKETS_S: [f64; 18] = [
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0,
    5.0, 10.0, 30.0,
];
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PATIENCE: Duration = Duration::from_secs(1);
const HEAD_BYTES_MAX: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::report::synthetic;

    /// A small reader of the text format: every sample by its whole name; panics at what the format does not allow.
    fn read(text: &str, is_open: bool) -> BTreeMap<String, f64> {
        assert!(text.ends_with('\n'));
        let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
        let mut samples = BTreeMap::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (family, kind) = rest.split_once(' ').unwrap();
                assert!(kinds.insert(family, kind).is_none(), "twice: {line}");
                continue;
            }
            if line.starts_with("# HELP ") || line == "# EOF" {
                continue;
            }
            let (name, value) = line.rsplit_once(' ').unwrap();
            let metric = name.split('{').next().unwrap();
            assert!(
                name.ends_with('}') && name.contains("scenario=\"") && name.contains("target=\"")
            );
            let is_known = kinds.iter().any(|(family, kind)| match *kind {
                "histogram" => ["_bucket", "_sum", "_count"]
                    .iter()
                    .any(|end| metric.strip_suffix(end) == Some(family)),
                "counter" if is_open => metric.strip_suffix("_total") == Some(family),
                _ => metric == *family,
            });
            assert!(is_known, "no TYPE for {line}");
            let value: f64 = value.parse().unwrap();
            assert!(
                samples.insert(name.to_owned(), value).is_none(),
                "twice: {line}"
            );
        }
        assert_eq!(text.ends_with("# EOF\n"), is_open);
        samples
    }

    fn exporter() -> Exporter {
        let mut exporter =
            Exporter::listen("127.0.0.1:0".parse().unwrap(), "http://a\"b\\c\nd").unwrap();
        exporter.begin(&synthetic::Nothing, synthetic::lengths());
        let outcome = synthetic::outcome();
        exporter.second(&outcome.series[17], &synthetic::total());
        exporter
    }

    fn ask(addr: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_scraper_reads_what_was_counted() {
        let exporter = exporter();
        for (accept, is_open) in [("*/*", false), ("application/openmetrics-text;q=0.9", true)] {
            let request = format!("GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n");
            let response = ask(exporter.addr(), &request);
            let (head, body) = response.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
            assert!(
                head.contains(&format!("Content-Length: {}", body.len())),
                "{head}"
            );
            let samples = read(body, is_open);
            let value = |start: &str| {
                let found: Vec<f64> = samples
                    .iter()
                    .filter(|(name, _)| name.starts_with(start))
                    .map(|(_, value)| *value)
                    .collect();
                assert_eq!(found.len(), 1, "{start} in {samples:?}");
                found[0]
            };
            assert!((value("loadgen_due_total{") - 2_000.0).abs() < 1e-9);
            assert!((value("loadgen_latency_seconds_count{") - 2_000.0).abs() < 1e-9);
            assert!(value("loadgen_latency_seconds_sum{") > 0.5);
            assert!(value("loadgen_server_resident_bytes{") > 1e6);
            let reset = samples
                .iter()
                .find(|(name, _)| name.contains("class=\"reset\""));
            assert!((reset.unwrap().1 - 5.0).abs() < 1e-9);
            assert!(body.contains("target=\"http://a\\\"b\\\\c\\nd\""), "{body}");
        }
    }

    #[test]
    fn buckets_are_cumulative_and_the_last_has_all() {
        let total = synthetic::total();
        let (buckets, timed, _) = buckets(&total);
        assert!(
            buckets.windows(2).all(|pair| pair[0] <= pair[1]),
            "{buckets:?}"
        );
        assert_eq!(buckets.last(), Some(&timed));
        assert!(buckets[0] < timed && timed == 2_000);
    }

    #[test]
    fn what_is_not_a_question_is_refused() {
        let exporter = exporter();
        for (request, status) in [
            ("GET / HTTP/1.1\r\n\r\n", "404"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
            (&"x".repeat(HEAD_BYTES_MAX), "400"),
        ] {
            let response = ask(exporter.addr(), request);
            assert!(
                response.starts_with(&format!("HTTP/1.1 {status}")),
                "{response}"
            );
        }
        // One that says nothing does not keep the exporter from its end.
        let silent = TcpStream::connect(exporter.addr()).unwrap();
        drop(exporter);
        drop(silent);
    }
}
