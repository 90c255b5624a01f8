//! Where and when something was measured: without it a figure cannot be judged, or repeated.

use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use loadgen::machine::rfc3339;

/// What is worth knowing of the machine, the source and the run, as Markdown.
pub(crate) fn describe(date: Option<&str>) -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpuinfo
            .lines()
            .find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
        line.and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
    };
    let count = cpuinfo
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let hypervisor = if field("flags").is_some_and(|flags| flags.contains("hypervisor")) {
        ", a virtual machine"
    } else {
        ""
    };
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory
        .lines()
        .next()
        .and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .unwrap_or(0);
    let governor = fs::read_to_string("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
        .map_or_else(|_| "not shown".to_owned(), |text| text.trim().to_owned());
    let lines = [
        format!("- date: {}", date.map_or_else(today, str::to_owned)),
        format!(
            "- CPU: {} × {}{hypervisor}; governor {governor}",
            count,
            field("model name").unwrap_or_else(|| "unknown".into())
        ),
        format!("- memory: {} GiB; kernel: {}", memory >> 20, kernel.trim()),
        format!("- commit: {}", commit()),
        format!(
            "- command: `{}`",
            std::env::args().collect::<Vec<_>>().join(" ")
        ),
    ];
    lines.join("\n")
}

fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git")
            .args(args)
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    match (git(&["rev-parse", "HEAD"]), git(&["status", "--porcelain"])) {
        (Some(commit), Some(changes)) if changes.is_empty() => commit,
        (Some(commit), _) => format!("{commit}, with changes"),
        (None, _) => "unknown".into(),
    }
}

fn today() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let mut date = rfc3339(seconds);
    date.truncate("2026-11-21".len());
    date
}
