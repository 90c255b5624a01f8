//! How soon a node is ready, and what it holds when nobody asks anything of it.
//!
//! A start is a fresh process on a data directory that is there already, with its files in the page cache. It is ready when its report is
//! printed: it listens, and has been reached at its service URL by a ping over its own port. The first start of each kind makes the data directory
//! and does not count.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::run::machine;

/// What is measured.
#[derive(Debug, Clone)]
pub struct Campaign {
    /// The node's binary.
    pub server: PathBuf,
    /// Starts of each kind.
    pub runs: usize,
    /// How long a node is left alone before its memory is looked at.
    pub idle: Duration,
}

/// A kind of node, and its flags.
const KINDS: [(&str, &[&str]); 3] = [
    ("off-chain, TLS", &["--service-addr", "https://127.0.0.1:0"]),
    (
        "paid, TLS",
        &[
            "--service-addr",
            "https://127.0.0.1:0",
            "--network",
            "memory",
            "--price-per-unit",
            "1200",
        ],
    ),
    (
        "paid, TLS, no self-ping",
        &[
            "--service-addr",
            "https://127.0.0.1:0",
            "--network",
            "memory",
            "--price-per-unit",
            "1200",
            "--startup-availability-check=false",
        ],
    ),
];

/// What a kind came to.
struct Figures {
    ready_ms: Vec<f64>,
    resident_mib: f64,
    peak_mib: f64,
}

/// Measures, and reports as Markdown.
///
/// # Errors
/// A node did not start; a sentence.
pub fn report(campaign: &Campaign, date: Option<&str>) -> Result<String, String> {
    let mut text = format!(
        "# Start and idle memory\n\n{}\n\n{} starts of each kind; memory after {} s without a request.\n\n",
        machine::describe(date),
        campaign.runs,
        campaign.idle.as_secs()
    );
    text.push_str("| node | ready: least | median | most | resident, idle | peak |\n|---|---|---|---|---|---|\n");
    for (name, flags) in KINDS {
        let mut figures = measure(campaign, flags)?;
        figures.ready_ms.sort_by(f64::total_cmp);
        let at = |part: usize| figures.ready_ms[(figures.ready_ms.len() - 1) * part / 2];
        text.push_str(&format!(
            "| {name} | {:.0} ms | {:.0} ms | {:.0} ms | {:.1} MiB | {:.1} MiB |\n",
            at(0),
            at(1),
            at(2),
            figures.resident_mib,
            figures.peak_mib
        ));
    }
    Ok(text)
}

fn measure(campaign: &Campaign, flags: &[&str]) -> Result<Figures, String> {
    let dir = std::env::temp_dir().join(format!("millstream-startup-{}", std::process::id()));
    let outcome = measure_in(&dir, campaign, flags);
    drop(fs::remove_dir_all(&dir));
    outcome
}

fn measure_in(dir: &Path, campaign: &Campaign, flags: &[&str]) -> Result<Figures, String> {
    let mut figures = Figures {
        ready_ms: Vec::new(),
        resident_mib: 0.0,
        peak_mib: 0.0,
    };
    for run in 0..=campaign.runs.max(1) {
        let began = Instant::now();
        let mut node = Node::start(&campaign.server, dir, flags)?;
        let ready = began.elapsed();
        if run > 0 {
            figures.ready_ms.push(ready.as_secs_f64() * 1_000.0);
        }
        if run == campaign.runs.max(1) {
            std::thread::sleep(campaign.idle);
            figures.resident_mib = node.mib("VmRSS:")?;
            figures.peak_mib = node.mib("VmHWM:")?;
        }
        node.stop();
    }
    Ok(figures)
}

/// A node that runs; killed when it is dropped.
struct Node(Child);

impl Node {
    fn start(server: &Path, dir: &Path, flags: &[&str]) -> Result<Self, String> {
        let child = Command::new(server)
            .arg("orchestrator")
            .args(["--log", "error", "--data-dir"])
            .arg(dir)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| {
                format!(
                    "{} cannot be run: {error}; build it with `cargo build --release`",
                    server.display()
                )
            })?;
        let mut node = Self(child);
        let stdout = node.0.stdout.take().ok_or("no standard output")?;
        for line in BufReader::new(stdout).lines() {
            let line = line.map_err(|error| error.to_string())?;
            // The report is printed in one piece, and this is its last row.
            if line.trim_start().starts_with("ping ") {
                return Ok(node);
            }
        }
        Err(format!("{} {flags:?} did not start", server.display()))
    }

    fn mib(&self, field: &str) -> Result<f64, String> {
        let path = format!("/proc/{}/status", self.0.id());
        let status = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kib.map(|kib| kib / 1_024.0)
            .ok_or(format!("{path} has no {field}"))
    }

    fn stop(&mut self) {
        // A data directory that a killed node leaves is as good as any.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}
