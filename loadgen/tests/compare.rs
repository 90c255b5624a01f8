//! Whole results, written to files, compared: what is told apart, what is not, and what is refused.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::{env, fs, process};

use loadgen::compare::{self, Args, Compared, Comparison, Verdict};
use loadgen::measure::{Counts, histogram};
use loadgen::outcome::{
    self, Better, Figure, Latency, Outcome, OwnConduct, Quantiles, Rate, Repro, Second,
};

/// A folder of its own, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("loadgen-compare-{name}-{}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn keep(&self, name: &str, outcome: &Outcome) -> PathBuf {
        let folder = self.0.join(name);
        fs::create_dir_all(&folder).unwrap();
        let text = serde_json::to_string(outcome).unwrap();
        fs::write(folder.join("result.json"), text).unwrap();
        folder
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays behind in a temporary folder harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A result of so many seconds with a hundred results each, of which `scale` stretches the times; a share of `loss` is lost.
fn result(seconds: u32, scale: f64, loss: f64, seed: u64) -> Outcome {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut all, mut counts, mut series) = (histogram(), Counts::default(), Vec::new());
    for second in 0..seconds {
        let (mut times, mut second_counts) = (histogram(), Counts::default());
        let mood = 1.0 + 0.1 * rng.f64();
        for _ in 0..100 {
            second_counts.due += 1;
            second_counts.sent += 1;
            second_counts.expected += 1;
            if rng.f64() < loss {
                continue;
            }
            second_counts.received += 1;
            let time_ns = (scale * mood * (1.0 + rng.f64() + rng.f64()) * 1e6) as u64;
            times.record(time_ns).unwrap();
        }
        all.add(&times).unwrap();
        counts.add(&second_counts);
        series.push(Second {
            second,
            counts: second_counts,
            latencies: vec![Quantiles::of(&times)],
            server_cpu_share: Some(0.4 * scale * (1.0 + 0.05 * rng.f64())),
            ..Second::default()
        });
    }
    let per_s = |count: u64| count as f64 / f64::from(seconds);
    Outcome {
        schema: outcome::SCHEMA.to_owned(),
        scenario: "live".to_owned(),
        operation: "frame".to_owned(),
        settings: [("sessions".to_owned(), 4.into())].into(),
        verdict: outcome::Verdict {
            is_valid: true,
            reasons: Vec::new(),
        },
        repro: Repro::default(),
        window_s: f64::from(seconds),
        rate: Rate {
            offered_per_s: per_s(counts.due),
            achieved_per_s: per_s(counts.sent),
            received_per_s: per_s(counts.received),
            received_mib_per_s: 1.0,
        },
        lost: counts.lost(),
        latencies: vec![Latency {
            name: "frame".to_owned(),
            title: "frame, from due to decoded".to_owned(),
            corrected: Quantiles::of(&all),
            uncorrected: Quantiles::default(),
        }],
        figures: vec![Figure {
            name: "fps".to_owned(),
            title: "frames a second a session".to_owned(),
            value: per_s(counts.received) / 4.0,
            unit: "frames/s".to_owned(),
            better: Better::Higher,
        }],
        own: OwnConduct::default(),
        server: None,
        streams: Vec::new(),
        series,
        notes: Vec::new(),
        counts,
    }
}

fn args(before: &Path, after: &Path) -> Args {
    Args {
        before: before.to_owned(),
        after: after.to_owned(),
        threshold: Vec::new(),
        confidence: 95.0,
        resamples: 400,
        seed: 1,
        any_hardware: false,
        any_settings: false,
        even_invalid: false,
        json: None,
    }
}

fn figure<'a>(comparison: &'a Comparison, name: &str) -> &'a Compared {
    comparison
        .figures
        .iter()
        .find(|figure| figure.name == name)
        .unwrap_or_else(|| panic!("no {name} in {comparison}"))
}

#[test]
fn a_result_is_no_different_from_itself() {
    let folder = Folder::new("itself");
    let path = folder.keep("a", &result(30, 1.0, 0.01, 1));
    let comparison = compare::run(&args(&path, &path)).unwrap();
    assert!(!comparison.has_failed);
    for name in ["p50", "p90", "p99", "received", "loss", "cost", "fps"] {
        let figure = figure(&comparison, name);
        assert_eq!(figure.verdict, Verdict::Same, "{figure:?}");
        assert_eq!(figure.difference, Some(0.0), "{figure:?}");
    }
    let text = comparison.to_string();
    assert!(text.contains("passed: nothing is worse"), "{text}");
}

#[test]
fn two_runs_of_the_same_server_pass_and_a_slower_one_fails() {
    let folder = Folder::new("slower");
    let before = folder.keep("before", &result(30, 1.0, 0.0, 1));
    let again = folder.keep("again", &result(30, 1.0, 0.0, 2));
    let slower = folder.keep("slower", &result(30, 1.2, 0.03, 3));
    let comparison = compare::run(&args(&before, &again)).unwrap();
    assert!(!comparison.has_failed, "{comparison}");
    let comparison = compare::run(&args(&before, &slower)).unwrap();
    assert!(comparison.has_failed);
    for (name, truth, verdict) in [
        ("p50", 0.2, Verdict::Failed),
        ("p99", 0.2, Verdict::Failed),
        ("cost", 1.2 / 0.97 - 1.0, Verdict::Failed),
        ("loss", 0.03, Verdict::Failed),
        ("received", -0.03, Verdict::Worse),
        ("fps", -0.03, Verdict::Worse),
    ] {
        let figure = figure(&comparison, name);
        assert_eq!(figure.verdict, verdict, "{name} in {comparison}");
        let interval = figure.interval.unwrap();
        let slack = (interval.high - interval.low) / 2.0;
        assert!(
            interval.low - slack <= truth && truth <= interval.high + slack,
            "{name} in {comparison}"
        );
    }
    let loss = comparison.to_string();
    let loss = loss.lines().find(|line| line.starts_with("loss"));
    assert!(loss.unwrap().contains(" 0 % "), "{loss:?}");
    assert!(loss.unwrap().contains("points"), "{loss:?}");
    let max = figure(&comparison, "max");
    assert!(max.interval.is_none() && max.verdict == Verdict::NotJudged);
    let text = comparison.to_string();
    assert!(
        text.contains("FAILED: worse by more than the threshold: p50"),
        "{text}"
    );
    // The other way round it is better, and with enough patience it passes.
    let better = compare::run(&args(&slower, &before)).unwrap();
    assert!(!better.has_failed && figure(&better, "p99").verdict == Verdict::Better);
    let mut patient = args(&before, &slower);
    patient.threshold = vec!["50%".to_owned(), "loss=5%".to_owned()];
    let comparison = compare::run(&patient).unwrap();
    assert!(!comparison.has_failed && figure(&comparison, "p99").verdict == Verdict::Worse);
    patient.threshold.push("p99=10%".to_owned());
    let comparison = compare::run(&patient).unwrap();
    assert_eq!(figure(&comparison, "p99").verdict, Verdict::Failed);
    assert_eq!(figure(&comparison, "p50").verdict, Verdict::Worse);
}

#[test]
fn what_has_too_little_to_go_by_is_shown_and_not_judged() {
    let folder = Folder::new("little");
    let short = folder.keep("short", &result(5, 1.0, 0.0, 1));
    let slow = folder.keep("slow", &result(5, 9.0, 0.0, 2));
    let comparison = compare::run(&args(&short, &slow)).unwrap();
    assert!(!comparison.has_failed);
    let p50 = figure(&comparison, "p50");
    assert!(p50.difference.unwrap() > 5.0 && p50.interval.is_none());
    assert!(p50.note.as_ref().unwrap().contains("too few seconds"));
    // Three thousand values are enough for p99 and not for p99.9.
    let long = folder.keep("long", &result(30, 1.0, 0.0, 1));
    let comparison = compare::run(&args(&long, &long)).unwrap();
    let rare = figure(&comparison, "p99.9");
    let note = rare.note.as_ref().unwrap();
    assert!(note.contains("too few values: 3000, of 20000"), "{note}");
    // A result whose seconds were taken out says so.
    let mut bare = result(30, 1.0, 0.0, 1);
    for second in &mut bare.series {
        second.latencies.clear();
    }
    let bare = folder.keep("bare", &bare);
    let comparison = compare::run(&args(&long, &bare)).unwrap();
    let note = figure(&comparison, "p50").note.as_ref().unwrap();
    assert!(note.contains("the seconds hold 0 values"), "{note}");
}

#[test]
fn what_is_not_alike_is_refused() {
    let folder = Folder::new("refused");
    let before = result(12, 1.0, 0.0, 1);
    let path = folder.keep("before", &before);
    let mut other = before.clone();
    other.repro.machine.cpu = "abacus".to_owned();
    other.verdict.is_valid = false;
    let other = folder.keep("other", &other);
    let mut args_other = args(&path, &other);
    let failure = compare::run(&args_other).unwrap_err().to_string();
    assert!(
        failure.contains("abacus") && failure.contains("--even-invalid"),
        "{failure}"
    );
    (args_other.any_hardware, args_other.even_invalid) = (true, true);
    let comparison = compare::run(&args_other).unwrap();
    assert_eq!(comparison.passed_over.len(), 2);
    assert!(
        comparison
            .to_string()
            .contains("passed over, as you said: CPU")
    );

    let refused = |path: &Path, want: &str| {
        let failure = compare::run(&args(path, path)).unwrap_err().to_string();
        assert!(failure.contains(want), "{failure}");
    };
    refused(&folder.0, "result.json");
    let file = folder.0.join("text.json");
    for (text, want) in [
        ("not json", "not JSON"),
        ("{}", "names no schema"),
        ("{\"schema\":\"loadgen/2\"}", "this program reads"),
        ("{\"schema\":\"loadgen/1\"}", "not a whole result"),
    ] {
        fs::write(&file, text).unwrap();
        refused(&file, want);
    }
    let mut wrong = result(12, 1.0, 0.0, 1);
    wrong.series[3].latencies[0].hdr = "!".to_owned();
    refused(
        &folder.keep("wrong", &wrong),
        "the first result: a histogram",
    );
}

#[test]
fn what_makes_no_sense_is_refused_and_json_is_written() {
    let folder = Folder::new("json");
    let path = folder.keep("a", &result(12, 1.0, 0.0, 1));
    let with = |change: &dyn Fn(&mut Args)| {
        let mut args = args(&path, &path);
        change(&mut args);
        compare::run(&args)
    };
    assert!(with(&|args| args.confidence = 100.0).is_err());
    assert!(with(&|args| args.confidence = f64::NAN).is_err());
    assert!(with(&|args| args.resamples = 1).is_err());
    let unknown = with(&|args| args.threshold = vec!["p98=1%".to_owned()]).unwrap_err();
    assert!(unknown.to_string().contains("p99.9"), "{unknown}");
    let json = folder.0.join("comparison.json");
    let told = with(&|args| args.json = Some(json.clone())).unwrap();
    let again: Comparison = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(again.schema, compare::SCHEMA);
    assert_eq!(again.to_string(), told.to_string());
    let nowhere = with(&|args| args.json = Some(folder.0.join("no/such/folder")));
    assert!(nowhere.is_err());
}
