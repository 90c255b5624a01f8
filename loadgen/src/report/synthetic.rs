//! A made-up run that looks like a real one: for the tests of the reports, and for the eye.

use std::path::PathBuf;
use std::time::Duration;

use fastrand::Rng;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::conduct::{Lengths, Scenario, Worker};
use crate::failure::Failure;
use crate::measure::{Dist, Interval, Metric, histogram};
use crate::outcome::{
    Better, Figure, GpuUse, Latency, Machine, Outcome, OwnConduct, Quantiles, Rate, Repro, SCHEMA,
    Second, ServerUse, Stream, ThreadUse, Verdict, ms,
};

/// Half a minute at 2,000 chunks a second to four subscribers, with a stall of the server's in the middle.
pub(crate) fn outcome() -> Outcome {
    let mut total = Interval::new(0, 3);
    let mut rng = Rng::with_seed(7);
    let mut series = Vec::new();
    for second in 0..SECONDS {
        let interval = interval(second, &mut rng);
        series.push(moment(&interval, &mut rng));
        total.add(&interval);
    }
    let window_s = f64::from(SECONDS);
    #[allow(clippy::cast_precision_loss)] // rates
    let per_second = |count: u64| count as f64 / window_s;
    let latency = |number: usize, name: &str, title: &str| Latency {
        name: name.to_owned(),
        title: title.to_owned(),
        corrected: Quantiles::of(&total.dists[number].corrected),
        uncorrected: Quantiles::of(&total.dists[number].uncorrected),
    };
    Outcome {
        schema: SCHEMA.to_owned(),
        scenario: "trickle".to_owned(),
        operation: "chunk".to_owned(),
        settings: [
            ("streams".to_owned(), json!(250)),
            ("subscribers".to_owned(), json!(4)),
            ("rate".to_owned(), json!("8/s")),
            ("chunk".to_owned(), json!("4k..64k")),
            ("note".to_owned(), json!("<script>alert(1)</script>")),
        ]
        .into(),
        verdict: Verdict {
            is_valid: true,
            reasons: Vec::new(),
        },
        repro: repro(),
        window_s,
        rate: Rate {
            offered_per_s: per_second(total.counts.due),
            achieved_per_s: per_second(total.counts.sent),
            received_per_s: per_second(total.counts.received),
            received_mib_per_s: per_second(total.counts.bytes_received) / f64::from(1 << 20),
        },
        counts: total.counts.clone(),
        lost: total.counts.lost(),
        latencies: vec![
            latency(0, "chunk", "chunk due → last byte at a subscriber"),
            latency(1, "first_byte", "chunk due → first byte at a subscriber"),
            latency(2, "gap", "between two chunks at a subscriber"),
        ],
        figures: vec![
            figure(
                "cpu_s_per_gib",
                "Server CPU per GiB received",
                0.412,
                "s/GiB",
            ),
            figure(
                "cpu_us_per_chunk",
                "Server CPU per chunk received",
                98.4,
                "µs",
            ),
            figure(
                "switches_per_chunk",
                "Server context switches per chunk received",
                0.73,
                "",
            ),
            figure("rss_mib", "Server memory at the window's end", 118.2, "MiB"),
        ],
        own: OwnConduct {
            lateness: Quantiles::of(&total.own.lateness),
            receive_lag: Quantiles::of(&total.own.receive_lag),
            cpu_share_max: 0.31,
            threads: 2,
            is_busy_polling: false,
        },
        server: Some(server()),
        streams: streams(&mut rng),
        series,
        notes: vec!["the server closed 3 idle connections; they were opened again".to_owned()],
    }
}

fn interval(second: u32, rng: &mut Rng) -> Interval {
    let mut interval = Interval::new(second, 3);
    let is_stalled = second == 17;
    let counts = &mut interval.counts;
    counts.due = CHUNKS;
    counts.sent = CHUNKS;
    counts.expected = CHUNKS * 4;
    counts.received = CHUNKS * 4 - if is_stalled { 37 } else { 0 };
    counts.late = u64::from(is_stalled) * 3;
    counts.bytes_sent = CHUNKS * 34_000;
    counts.bytes_received = counts.received * 34_000;
    if is_stalled {
        counts.errors.insert("reset".to_owned(), 5);
        counts.errors.insert("status-503".to_owned(), 2);
    }
    for _ in 0..CHUNKS {
        let waited_ns = if is_stalled && rng.u8(..) < 150 {
            rng.u64(1_000_000..1_400_000_000)
        } else {
            0
        };
        let time_ns = skewed(rng, 380_000.0);
        record(&mut interval.dists[0].corrected, time_ns + waited_ns);
        record(
            &mut interval.dists[0].uncorrected,
            time_ns + waited_ns / 400,
        );
        record(
            &mut interval.dists[1].corrected,
            time_ns * 7 / 10 + waited_ns,
        );
        record(
            &mut interval.dists[1].uncorrected,
            time_ns * 7 / 10 + waited_ns / 400,
        );
        record(
            &mut interval.dists[2].corrected,
            125_000_000 + time_ns / 2 + waited_ns,
        );
        record(&mut interval.own.lateness, skewed(rng, 9_000.0));
        record(&mut interval.own.receive_lag, skewed(rng, 6_000.0));
    }
    interval.own.cpu_ns = 310_000_000;
    interval.own.wall_ns = 1_000_000_000;
    interval
}

fn moment(interval: &Interval, rng: &mut Rng) -> Second {
    let wobble = rng.f64() * 0.06;
    Second {
        second: interval.second,
        counts: interval.counts.clone(),
        latencies: interval
            .dists
            .iter()
            .map(|dist: &Dist| Quantiles::of(&dist.corrected))
            .collect(),
        lateness_p99_ms: ms(interval.own.lateness.value_at_quantile(0.99)),
        own_cpu_share: 0.28 + wobble,
        server_cpu_share: (interval.second > 0).then_some(0.76 + wobble),
        server_rss_mib: Some(96.0 + f64::from(interval.second) * 0.8),
        gpus: vec![GpuUse {
            index: 0,
            name: "NVIDIA L4".to_owned(),
            sm_percent: Some(35.0 + wobble * 100.0),
            decoder_percent: Some(61.0 + wobble * 50.0),
            encoder_percent: Some(48.0),
            memory_mib: Some(2_310),
            watts: Some(44.0),
        }],
    }
}

fn skewed(rng: &mut Rng, scale_ns: f64) -> u64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // positive and small
    let ns = (scale_ns * (0.6 - 0.45 * (1.0 - rng.f64()).ln().max(-14.0))) as u64;
    ns
}

fn record(times: &mut Histogram<u64>, ns: u64) {
    times.saturating_record(ns);
}

fn figure(name: &str, title: &str, value: f64, unit: &str) -> Figure {
    Figure {
        name: name.to_owned(),
        title: title.to_owned(),
        value,
        unit: unit.to_owned(),
        better: Better::Lower,
    }
}

fn server() -> ServerUse {
    let thread = |name: &str, cpu_share, cpu| ThreadUse {
        name: name.to_owned(),
        cpu_share,
        cpu,
    };
    ServerUse {
        pid: 4_321,
        cpu_s: 23.6,
        user_s: 9.1,
        cpu_share: 0.787,
        cpus_allowed: 1,
        threads: vec![
            thread("shard-0", 0.74, Some(1)),
            thread("control", 0.04, Some(1)),
            thread("tokio-runtime-w", 0.004, None),
        ],
        rss_mib: 118.2,
        rss_peak_mib: 121.0,
        voluntary_switches: 161_200,
        involuntary_switches: 13_900,
        thread_count: 7,
        gpus: vec![GpuUse {
            name: "NVIDIA L4".to_owned(),
            sm_percent: Some(38.1),
            decoder_percent: Some(62.4),
            encoder_percent: Some(48.0),
            memory_mib: Some(2_310),
            watts: Some(44.0),
            ..GpuUse::default()
        }],
        cpus_busy: vec![0.34, 0.97, 0.02, 0.03],
    }
}

fn repro() -> Repro {
    Repro {
        version: "0.1.0".to_owned(),
        git_sha: "5cc0be2a91d0-dirty".to_owned(),
        command: [
            "loadgen",
            "trickle",
            "--target",
            "https://127.0.0.1:8935",
            "--streams",
            "250",
            "--tag",
            "it's <b>",
        ]
        .map(str::to_owned)
        .to_vec(),
        seed: 42,
        started_at: "2026-11-21T12:00:00Z".to_owned(),
        server: [
            ("url".to_owned(), "https://127.0.0.1:8935".to_owned()),
            ("pid".to_owned(), "4321".to_owned()),
            (
                "command".to_owned(),
                "millstream orchestrator -v 6".to_owned(),
            ),
        ]
        .into(),
        machine: Machine {
            cpu: "AMD EPYC 7B13".to_owned(),
            cpus: 4,
            cpus_allowed: "0-3".to_owned(),
            numa_nodes: 1,
            governor: "not shown".to_owned(),
            smt: "on".to_owned(),
            memory_mib: 16_000,
            kernel: "6.18.44".to_owned(),
            virtual_machine: "yes: hypervisor flag, kind not shown".to_owned(),
            container: "none".to_owned(),
            cgroup: vec!["cpu.max=max 100000".to_owned()],
            gpus: vec!["NVIDIA L4, 23034 MiB, driver 570.86, NVDEC there, NVENC there".to_owned()],
            nics: vec!["eth0, speed not shown".to_owned()],
        },
    }
}

fn streams(rng: &mut Rng) -> Vec<Stream> {
    (0..6)
        .map(|number| Stream {
            name: format!("stream-{number}"),
            figures: [
                ("fps".to_owned(), 29.9 + rng.f64() / 10.0),
                ("p99_ms".to_owned(), 1.0 + rng.f64()),
                ("stalls".to_owned(), f64::from(u8::from(number == 3))),
            ]
            .into(),
        })
        .collect()
}

/// What the sinks are told of a made-up run.
pub(crate) fn total() -> Interval {
    let mut total = interval(17, &mut Rng::with_seed(1));
    total.own.lateness = histogram();
    total
}

/// Two seconds before, thirty of the window, one after.
pub(crate) fn lengths() -> Lengths {
    Lengths {
        warmup: Duration::from_secs(2),
        window: Duration::from_secs(u64::from(SECONDS)),
        cooldown: Duration::from_secs(1),
        drain: Duration::from_secs(2),
    }
}

/// A scenario that has a name, and does nothing.
pub(crate) struct Nothing;

impl Scenario for Nothing {
    fn name(&self) -> &'static str {
        "trickle"
    }

    fn operation(&self) -> &'static str {
        "chunk"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[Metric {
            name: "chunk",
            title: "chunk due → last byte at a subscriber",
        }]
    }

    fn settings(&self) -> Value {
        Value::Null
    }

    fn demand(&self, _: f64) -> crate::polite::Demand {
        crate::polite::Demand {
            sessions: 0,
            mbit_per_s: 0.0,
            seconds: 0.0,
        }
    }

    fn workers(&self, _: usize, _: Lengths) -> Result<Vec<Box<dyn Worker>>, Failure> {
        Ok(Vec::new())
    }

    fn figures(&self, _total: &Interval, _streams: &[Stream], _window_s: f64) -> Vec<Figure> {
        Vec::new()
    }
}

/// A folder of this process's own.
pub(crate) fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("loadgen-report-{}-{name}", std::process::id()))
}

const SECONDS: u32 = 30;
const CHUNKS: u64 = 2_000;

/// For the eye: `cargo test -p loadgen --lib -- --ignored page_to_look_at` writes it to `report-look` among the temporary files.
#[test]
#[ignore = "writes a page to be looked at"]
fn page_to_look_at() {
    let dir = std::env::temp_dir().join("report-look");
    let paths = super::write_files(&outcome(), &dir).unwrap_or_else(|e| panic!("{e}"));
    assert!(paths.iter().all(|path| path.exists()), "{paths:?}");
}
