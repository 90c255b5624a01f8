//! The command as it is given: from flags to the table.

use std::process::{Command, Output};

fn fanout(args: &[&str]) -> Output {
    let cpus = rustix::thread::sched_getaffinity(None).unwrap();
    let allowed: Vec<String> = (0..1024)
        .filter(|&cpu| cpus.is_set(cpu))
        .map(|cpu| cpu.to_string())
        .collect();
    Command::new(env!("CARGO_BIN_EXE_fanout"))
        .arg("run")
        .args([
            "--server-cpu",
            allowed.first().unwrap(),
            "--load-cpu",
            allowed.last().unwrap(),
        ])
        .args([
            "--rounds",
            "2",
            "--seconds",
            "0.4",
            "--warmup",
            "0.2",
            "--scenario",
            "2x3",
        ])
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn a_run_leaves_a_table_with_nothing_missing() {
    let out = std::env::temp_dir().join(format!("fanout-test-{}.md", std::process::id()));
    let output = fanout(&[
        "--floor-only",
        "--date",
        "2001-02-03",
        "--out",
        out.to_str().unwrap(),
    ]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    let written = std::fs::read_to_string(&out).unwrap();
    std::fs::remove_file(&out).unwrap();
    assert_eq!(written, String::from_utf8_lossy(&output.stdout));
    assert!(written.contains("- date: 2001-02-03\n"), "{written}");
    let rows: Vec<Vec<&str>> = written
        .lines()
        .filter(|line| line.starts_with("| 2×3 |"))
        .map(|line| line.split(" | ").collect())
        .collect();
    let targets: Vec<&str> = rows.iter().map(|row| row[1]).collect();
    assert_eq!(targets, ["floor", "floor, round 1", "floor, round 2"]);
    for row in rows {
        assert_eq!(row[9..11], ["0", "0"], "missing and faults: {written}");
    }
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let output = fanout(&["--server", "/no/such/millstream"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        told.contains("/no/such/millstream is not a file")
            && told.contains("cargo build --release"),
        "{told}"
    );
}

#[test]
fn a_server_that_does_not_start_is_quoted() {
    let output = fanout(&["--server", "/bin/cat"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        told.contains("ended before it listened") && told.contains("unrecognized option"),
        "{told}"
    );
}
