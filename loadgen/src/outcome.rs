//! The result of a run, as it is written to JSON and read again: the one thing that reports, `search` and `compare` know.
//!
//! Times are in milliseconds, with fractions, except where a name says otherwise. A field is added without a new version; one
//! that changes its meaning makes a new [`SCHEMA`].

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::measure::{Counts, histogram};

/// Names this layout.
pub const SCHEMA: &str = "loadgen/1";

/// Everything about a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// [`SCHEMA`].
    pub schema: String,
    /// `trickle`, `churn`, `live`, `tickets`.
    pub scenario: String,
    /// The operation that is counted: `chunk`, `join`, `frame`, `payment`.
    pub operation: String,
    /// Every setting as it was resolved, by name.
    pub settings: BTreeMap<String, Value>,
    /// Whether the figures count.
    pub verdict: Verdict,
    /// Where, when and with what.
    pub repro: Repro,
    /// How long it was measured, in seconds.
    pub window_s: f64,
    /// Rates, of operations a second.
    pub rate: Rate,
    /// Numbers over the window.
    pub counts: Counts,
    /// Results that should have come and did not.
    pub lost: u64,
    /// Times by metric; the first is the scenario's main one.
    pub latencies: Vec<Latency>,
    /// Derived figures, such as `fps` or `cpu_s_per_gib`.
    pub figures: Vec<Figure>,
    /// The generator's own conduct.
    pub own: OwnConduct,
    /// What the server used, when it could be watched.
    pub server: Option<ServerUse>,
    /// Every stream by itself, where a scenario has streams worth telling apart.
    pub streams: Vec<Stream>,
    /// A second each.
    pub series: Vec<Second>,
    /// What the operator was told while it ran.
    pub notes: Vec<String>,
}

/// Whether the figures count.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Verdict {
    /// The generator kept up, and the run came to its end.
    pub is_valid: bool,
    /// Why not.
    pub reasons: Vec<String>,
}

/// What is needed to do it again, and to judge it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Repro {
    /// Of this program.
    pub version: String,
    /// Commit that it was built from, with `-dirty` when there were changes.
    pub git_sha: String,
    /// As it was called.
    pub command: Vec<String>,
    /// Of all chance.
    pub seed: u64,
    /// UTC, RFC 3339.
    pub started_at: String,
    /// The server: URL, and its executable, version and command line when it could be found out.
    pub server: BTreeMap<String, String>,
    /// Of the machine of the generator: see [`crate::machine`].
    pub machine: Machine,
}

/// A machine, as far as it matters to a figure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// Model name of the CPU.
    pub cpu: String,
    /// Logical CPUs there are.
    pub cpus: u32,
    /// Those that this process may use, as a list such as `0-1`.
    pub cpus_allowed: String,
    /// NUMA nodes.
    pub numa_nodes: u32,
    /// Frequency governor, or `not shown`.
    pub governor: String,
    /// Simultaneous multithreading: `on`, `off`, `not shown`.
    pub smt: String,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Kernel release.
    pub kernel: String,
    /// `none`, or what kind of virtual machine, as far as it shows.
    pub virtual_machine: String,
    /// `none`, or what kind of container, as far as it shows.
    pub container: String,
    /// CPU and memory limits of the control group, such as `cpu.max=max 100000`.
    pub cgroup: Vec<String>,
    /// GPUs, one line each: model, memory, driver, engines; or one line that says why there is none.
    pub gpus: Vec<String>,
    /// Network interfaces that are up, with their speed when it shows.
    pub nics: Vec<String>,
}

impl Machine {
    /// What must be the same for two results to be compared.
    pub fn hardware(&self) -> [(&'static str, String); 5] {
        [
            ("CPU", self.cpu.clone()),
            ("number of CPUs", self.cpus.to_string()),
            (
                "memory in GiB",
                (self.memory_mib.div_ceil(1_024)).to_string(),
            ),
            ("GPUs", self.gpus.join("; ")),
            ("virtual machine", self.virtual_machine.clone()),
        ]
    }
}

/// Operations a second.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Rate {
    /// As was due.
    pub offered_per_s: f64,
    /// As was begun.
    pub achieved_per_s: f64,
    /// Results, such as a chunk at a subscriber.
    pub received_per_s: f64,
    /// Payload received.
    pub received_mib_per_s: f64,
}

/// A distribution, told twice: see [`crate::measure::Dist`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Latency {
    /// In an SLO: `chunk`, `first_byte`.
    pub name: String,
    /// For people, from when to when.
    pub title: String,
    /// From due.
    pub corrected: Quantiles,
    /// As a tool would have told that waits for each answer.
    pub uncorrected: Quantiles,
}

/// A distribution in milliseconds, and all of it as a histogram of nanoseconds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[allow(missing_docs)] // the names say it
pub struct Quantiles {
    pub count: u64,
    pub min_ms: f64,
    pub mean_ms: f64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub p9999_ms: f64,
    pub max_ms: f64,
    /// HdrHistogram V2, deflated, base64, of nanoseconds; empty when there are no values.
    pub hdr: String,
}

impl Quantiles {
    /// Of a histogram of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| ms(histogram.value_at_quantile(quantile));
        Self {
            count: histogram.len(),
            min_ms: ms(histogram.min()),
            mean_ms: histogram.mean() / 1e6,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            p9999_ms: at(0.9999),
            max_ms: ms(histogram.max()),
            hdr: encode(histogram),
        }
    }

    /// The histogram, of nanoseconds.
    ///
    /// # Errors
    /// The text is not one.
    pub fn histogram(&self) -> Result<Histogram<u64>, String> {
        if self.hdr.is_empty() {
            return Ok(histogram());
        }
        decode(&self.hdr)
    }

    /// Any quantile in milliseconds, `0.99` for p99.
    ///
    /// # Errors
    /// There is no histogram to ask.
    pub fn at_ms(&self, quantile: f64) -> Result<f64, String> {
        Ok(ms(self.histogram()?.value_at_quantile(quantile)))
    }
}

/// A derived figure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figure {
    /// In an SLO: `fps`, `cpu_s_per_gib`.
    pub name: String,
    /// For people.
    pub title: String,
    /// Its value.
    pub value: f64,
    /// Its unit, such as `frames/s`.
    pub unit: String,
    /// Which way is better.
    pub better: Better,
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Less.
    Lower,
    /// More.
    Higher,
}

/// How the generator did.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct OwnConduct {
    /// From due to begun.
    pub lateness: Quantiles,
    /// From when it can first have been ready to when it was read.
    pub receive_lag: Quantiles,
    /// CPU time of each worker's thread by wall time: 1 is a whole CPU. The busiest worker.
    pub cpu_share_max: f64,
    /// Worker threads.
    pub threads: u32,
    /// They never slept; what they asked in vain is not in their CPU.
    #[serde(default)]
    pub is_busy_polling: bool,
}

/// What the server used in the window.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerUse {
    /// Its process.
    pub pid: u32,
    /// CPU seconds.
    pub cpu_s: f64,
    /// Of them in user space, to a clock tick.
    pub user_s: f64,
    /// CPU seconds a second.
    pub cpu_share: f64,
    /// CPUs that it may use.
    pub cpus_allowed: u32,
    /// Its busiest threads: name, and CPU seconds a second.
    pub threads: Vec<ThreadUse>,
    /// Resident memory at the window's end, and the most ever.
    pub rss_mib: f64,
    /// The most ever.
    pub rss_peak_mib: f64,
    /// Context switches that it asked for, and that it did not.
    pub voluntary_switches: u64,
    /// Involuntary ones.
    pub involuntary_switches: u64,
    /// Threads at the window's end.
    pub thread_count: u32,
    /// GPUs over the window: mean use of each engine.
    pub gpus: Vec<GpuUse>,
    /// How busy each CPU of the machine was, with whatever, by its number: 1 is always.
    pub cpus_busy: Vec<f64>,
}

/// A thread.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ThreadUse {
    /// As the kernel calls it.
    pub name: String,
    /// CPU seconds a second.
    pub cpu_share: f64,
    /// The CPU that it was last seen on; `None` when it hardly ran.
    #[serde(default)]
    pub cpu: Option<u32>,
}

/// A GPU, in percent of each engine; `None` where the driver does not tell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuUse {
    /// Number of the device.
    pub index: u32,
    /// Its model.
    pub name: String,
    /// Streaming multiprocessors.
    pub sm_percent: Option<f64>,
    /// NVDEC.
    pub decoder_percent: Option<f64>,
    /// NVENC.
    pub encoder_percent: Option<f64>,
    /// Memory in use.
    pub memory_mib: Option<u64>,
    /// Power.
    pub watts: Option<f64>,
}

/// One stream of many.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Stream {
    /// Such as a session's manifest id.
    pub name: String,
    /// By name, such as `fps`, `p99_ms`.
    pub figures: BTreeMap<String, f64>,
}

/// One second of the window.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Second {
    /// From the window's start.
    pub second: u32,
    /// Numbers.
    pub counts: Counts,
    /// Times by metric, in the outcome's order, corrected.
    pub latencies: Vec<Quantiles>,
    /// Of the generator: p99 of its lateness in ms.
    pub lateness_p99_ms: f64,
    /// CPU of its busiest worker.
    pub own_cpu_share: f64,
    /// CPU seconds a second of the server.
    pub server_cpu_share: Option<f64>,
    /// Its memory.
    pub server_rss_mib: Option<f64>,
    /// GPUs.
    pub gpus: Vec<GpuUse>,
}

/// Nanoseconds as milliseconds.
#[allow(clippy::cast_precision_loss)] // for display; exact below 100 days
pub fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

fn encode(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new()
        .serialize(histogram, &mut bytes)
        .unwrap_or_else(|e| panic!("a Vec takes everything: {e}"));
    BASE64.encode(bytes)
}

fn decode(text: &str) -> Result<Histogram<u64>, String> {
    let bytes = BASE64
        .decode(text)
        .map_err(|error| format!("a histogram that is not base64: {error}"))?;
    let mut histogram: Histogram<u64> = Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|error| format!("a histogram that does not read: {error:?}"))?;
    histogram.auto(true);
    Ok(histogram)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_survives_json() {
        let mut times = histogram();
        for value in 1..=100_000_u64 {
            times.record(value * 1_000).unwrap();
        }
        let quantiles = Quantiles::of(&times);
        let text = serde_json::to_string(&quantiles).unwrap();
        let back: Quantiles = serde_json::from_str(&text).unwrap();
        assert_eq!(back.histogram().unwrap(), times);
        assert!((back.p99_ms - 99.0).abs() < 0.1, "{}", back.p99_ms);
        assert!((back.at_ms(0.999).unwrap() - 99.9).abs() < 0.1);
        assert!(Quantiles::default().histogram().unwrap().is_empty());
    }
}
