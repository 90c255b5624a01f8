//! The page's tables, and the block that says how to have it again.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::escaped;
use crate::outcome::{Outcome, Quantiles, ServerUse};
use crate::report::text::{grouped, number, percent, plain};

/// All but the latencies, which stand beside their charts.
pub(super) fn all(page: &mut String, outcome: &Outcome) {
    page.push_str("<div class=\"pair\">\n<div>\n");
    counts(page, outcome);
    page.push_str("</div>\n<div>\n");
    figures(page, outcome);
    page.push_str("</div>\n</div>\n");
    if let Some(server) = &outcome.server {
        self::server(page, server);
    }
    streams(page, outcome);
    notes(page, outcome);
    settings(page, outcome);
    repro(page, outcome);
}

/// Corrected and not, one under the other. Writing to a String cannot fail, here and below.
pub(super) fn latencies(page: &mut String, outcome: &Outcome) {
    page.push_str(
        "<div class=\"scroll\"><table class=\"whole\">\n<tr><th>ms</th><th class=\"n\">count</th><th class=\"n\">mean</th>\
         <th class=\"n\">p50</th><th class=\"n\">p90</th><th class=\"n\">p99</th><th class=\"n\">p99.9</th>\
         <th class=\"n\">p99.99</th><th class=\"n\">max</th></tr>\n",
    );
    for latency in &outcome.latencies {
        group(page, &format!("{}: {}", latency.name, latency.title));
        let has_both = latency.uncorrected.count > 0;
        let name = if has_both { "from due" } else { "all" };
        quantiles(page, name, &latency.corrected);
        if has_both {
            quantiles(page, "uncorrected", &latency.uncorrected);
        }
    }
    group(page, "the generator itself");
    quantiles(page, "sent late by", &outcome.own.lateness);
    quantiles(page, "read late by", &outcome.own.receive_lag);
    page.push_str("</table></div>\n");
}

fn group(page: &mut String, title: &str) {
    let _ = writeln!(
        page,
        "<tr class=\"group\"><td colspan=\"9\">{}</td></tr>",
        escaped(title)
    );
}

fn quantiles(page: &mut String, name: &str, of: &Quantiles) {
    let _ = write!(
        page,
        "<tr><td class=\"in\">{name}</td><td class=\"n of\">{}</td>",
        grouped(of.count)
    );
    for value in [
        of.mean_ms,
        of.p50_ms,
        of.p90_ms,
        of.p99_ms,
        of.p999_ms,
        of.p9999_ms,
        of.max_ms,
    ] {
        let value = if of.count == 0 { f64::NAN } else { value };
        let _ = write!(page, "<td class=\"n\">{}</td>", number(value));
    }
    page.push_str("</tr>\n");
}

fn counts(page: &mut String, outcome: &Outcome) {
    let counts = &outcome.counts;
    let operation = &outcome.operation;
    page.push_str("<h2>Counts</h2>\n<table class=\"whole\">\n");
    for (name, count, is_bad) in [
        (format!("{operation}s due"), counts.due, false),
        ("begun".to_owned(), counts.sent, false),
        ("of them more than 1 ms late".to_owned(), counts.late, false),
        ("never begun".to_owned(), counts.dropped, true),
        ("results expected".to_owned(), counts.expected, false),
        (
            "received, once and whole".to_owned(),
            counts.received,
            false,
        ),
        ("lost".to_owned(), outcome.lost, true),
        ("duplicate".to_owned(), counts.duplicate, true),
        ("reordered".to_owned(), counts.reordered, true),
        ("corrupt".to_owned(), counts.corrupt, true),
        ("truncated segments".to_owned(), counts.truncated, true),
        ("payload sent, bytes".to_owned(), counts.bytes_sent, false),
        (
            "payload received, bytes".to_owned(),
            counts.bytes_received,
            false,
        ),
    ] {
        count_row(page, &name, count, is_bad);
    }
    for (class, count) in &counts.errors {
        count_row(page, &format!("error: {class}"), *count, true);
    }
    if counts.errors.is_empty() {
        count_row(page, "errors", 0, false);
    }
    for (name, count) in &counts.more {
        count_row(page, name, *count, false);
    }
    page.push_str("</table>\n");
}

fn count_row(page: &mut String, name: &str, count: u64, is_bad: bool) {
    let class = if is_bad && count > 0 { "n bad" } else { "n" };
    let _ = writeln!(
        page,
        "<tr><td>{}</td><td class=\"{class}\">{}</td></tr>",
        escaped(name),
        grouped(count)
    );
}

fn figures(page: &mut String, outcome: &Outcome) {
    page.push_str("<h2>Figures</h2>\n");
    if outcome.figures.is_empty() {
        page.push_str("<p class=\"none\">none</p>\n");
        return;
    }
    page.push_str("<table class=\"whole\">\n");
    for figure in &outcome.figures {
        let _ = writeln!(
            page,
            "<tr><td>{}<br><span class=\"under\">{}</span></td><td class=\"n\">{} {}</td></tr>",
            escaped(&figure.title),
            escaped(&figure.name),
            number(figure.value),
            escaped(&figure.unit)
        );
    }
    page.push_str("</table>\n");
}

fn server(page: &mut String, server: &ServerUse) {
    page.push_str("<h2>Server</h2>\n<div class=\"pair\">\n<div><table class=\"whole\">\n");
    let user = if server.cpu_s > 0.0 {
        (server.user_s / server.cpu_s).min(1.0)
    } else {
        f64::NAN
    };
    for (name, value) in [
        ("process", server.pid.to_string()),
        (
            "CPU",
            format!(
                "{} s, {} of a CPU",
                number(server.cpu_s),
                percent(server.cpu_share)
            ),
        ),
        ("of it in user space", percent(user)),
        ("CPUs that it may use", server.cpus_allowed.to_string()),
        ("threads", server.thread_count.to_string()),
        (
            "memory, at the end",
            format!("{} MiB", number(server.rss_mib)),
        ),
        (
            "memory, at most",
            format!("{} MiB", number(server.rss_peak_mib)),
        ),
        (
            "context switches, voluntary",
            grouped(server.voluntary_switches),
        ),
        (
            "context switches, involuntary",
            grouped(server.involuntary_switches),
        ),
    ] {
        let _ = writeln!(page, "<tr><td>{name}</td><td class=\"n\">{value}</td></tr>");
    }
    for gpu in &server.gpus {
        for (what, value, unit) in [
            ("SM", gpu.sm_percent, "%"),
            ("NVDEC", gpu.decoder_percent, "%"),
            ("NVENC", gpu.encoder_percent, "%"),
            ("power", gpu.watts, "W"),
        ] {
            let value = value.map_or("not told".to_owned(), |value| {
                format!("{} {unit}", number(value))
            });
            let _ = writeln!(
                page,
                "<tr><td>GPU {} {what}</td><td class=\"n\">{value}</td></tr>",
                gpu.index
            );
        }
    }
    page.push_str("</table></div>\n<div><table class=\"whole\">\n<tr><th>busiest threads</th><th class=\"n\">last on CPU</th><th class=\"n\">of a CPU</th></tr>\n");
    for thread in server.threads.iter().take(10) {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{} %</td></tr>",
            escaped(&thread.name),
            thread.cpu.map_or("–".to_owned(), |cpu| cpu.to_string()),
            number(thread.cpu_share * 100.0)
        );
    }
    page.push_str("</table>\n");
    cpus(page, &server.cpus_busy);
    page.push_str("</div>\n</div>\n");
}

/// The busiest few; a large machine has hundreds.
fn cpus(page: &mut String, busy: &[f64]) {
    let mut cpus: Vec<(usize, f64)> = busy.iter().copied().enumerate().collect();
    cpus.sort_by(|a, b| b.1.total_cmp(&a.1));
    if cpus.is_empty() {
        return;
    }
    page.push_str("<table class=\"whole\">\n<tr><th>busiest CPUs, by whomever</th><th class=\"n\">busy</th></tr>\n");
    for (cpu, share) in cpus.into_iter().take(8) {
        let class = if share >= 0.95 { "n bad" } else { "n" };
        let _ = writeln!(
            page,
            "<tr><td>CPU {cpu}</td><td class=\"{class}\">{}</td></tr>",
            percent(share)
        );
    }
    page.push_str("</table>\n");
}

fn streams(page: &mut String, outcome: &Outcome) {
    if outcome.streams.is_empty() {
        return;
    }
    let columns: BTreeSet<&str> = outcome
        .streams
        .iter()
        .flat_map(|stream| stream.figures.keys().map(String::as_str))
        .collect();
    let is_long = outcome.streams.len() > STREAMS_OPEN;
    let _ = writeln!(page, "<h2>Streams</h2>");
    if is_long {
        let _ = writeln!(
            page,
            "<details><summary>{} streams</summary>",
            grouped(outcome.streams.len() as u64)
        );
    }
    page.push_str("<div class=\"scroll\"><table>\n<tr><th>stream</th>");
    for column in &columns {
        let _ = write!(page, "<th class=\"n\">{}</th>", escaped(column));
    }
    page.push_str("</tr>\n");
    for stream in outcome.streams.iter().take(STREAMS_MAX) {
        let _ = write!(page, "<tr><td>{}</td>", escaped(&stream.name));
        for column in &columns {
            let value = stream
                .figures
                .get(*column)
                .copied()
                .map_or("–".to_owned(), plain);
            let _ = write!(page, "<td class=\"n\">{value}</td>");
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table></div>\n");
    if outcome.streams.len() > STREAMS_MAX {
        let _ = writeln!(
            page,
            "<p class=\"why\">and {} more in result.json</p>",
            grouped((outcome.streams.len() - STREAMS_MAX) as u64)
        );
    }
    if is_long {
        page.push_str("</details>\n");
    }
}

fn notes(page: &mut String, outcome: &Outcome) {
    if outcome.notes.is_empty() {
        return;
    }
    page.push_str("<h2>Notes</h2>\n<ul>\n");
    for note in &outcome.notes {
        let _ = writeln!(page, "<li>{}</li>", escaped(note));
    }
    page.push_str("</ul>\n");
}

fn settings(page: &mut String, outcome: &Outcome) {
    page.push_str("<h2>Settings</h2>\n<table>\n");
    for (name, value) in &outcome.settings {
        let value = match value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let _ = writeln!(
            page,
            "<tr><td class=\"of\">{}</td><td>{}</td></tr>",
            escaped(name),
            escaped(&value)
        );
    }
    page.push_str("</table>\n");
}

fn repro(page: &mut String, outcome: &Outcome) {
    let repro = &outcome.repro;
    let machine = &repro.machine;
    let command: Vec<String> = repro.command.iter().map(|arg| quoted(arg)).collect();
    let mut lines = vec![
        ("command", command.join(" ")),
        ("loadgen", format!("{} at {}", repro.version, repro.git_sha)),
        ("started", repro.started_at.clone()),
        ("seed", repro.seed.to_string()),
    ];
    for (name, value) in &repro.server {
        lines.push(("server", format!("{name}: {value}")));
    }
    lines.extend([
        (
            "CPU",
            format!(
                "{}, {} of them, SMT {}, governor {}",
                machine.cpu, machine.cpus, machine.smt, machine.governor
            ),
        ),
        ("allowed CPUs", machine.cpus_allowed.clone()),
        ("NUMA nodes", machine.numa_nodes.to_string()),
        ("memory", format!("{} MiB", machine.memory_mib)),
        ("kernel", machine.kernel.clone()),
        ("virtual machine", machine.virtual_machine.clone()),
        ("container", machine.container.clone()),
    ]);
    for (name, values) in [
        ("control group", &machine.cgroup),
        ("GPU", &machine.gpus),
        ("network", &machine.nics),
    ] {
        lines.extend(values.iter().map(|value| (name, value.clone())));
    }
    page.push_str("<h2>To have it again</h2>\n<pre>");
    let mut before = "";
    for (name, value) in lines {
        let shown = if name == before { "" } else { name };
        before = name;
        let _ = writeln!(page, "{shown:<16} {}", escaped(&value));
    }
    page.push_str("</pre>\n");
}

/// As a shell takes it for one argument.
fn quoted(arg: &str) -> String {
    let is_plain = !arg.is_empty()
        && arg
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c));
    if is_plain {
        arg.to_owned()
    } else {
        format!("'{}'", arg.replace('\'', r"'\''"))
    }
}

/// More are folded away.
const STREAMS_OPEN: usize = 20;
/// More make a page that no browser likes.
const STREAMS_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Stream;
    use crate::report::synthetic;

    #[test]
    fn a_command_can_be_copied() {
        assert_eq!(quoted("--rate=8/s"), "--rate=8/s");
        assert_eq!(quoted("it's <b>"), r"'it'\''s <b>'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn many_streams_are_folded_and_then_cut() {
        let mut outcome = synthetic::outcome();
        outcome.streams = vec![Stream::default(); STREAMS_MAX + 3];
        let mut page = String::new();
        streams(&mut page, &outcome);
        assert_eq!(page.matches("<tr>").count(), STREAMS_MAX + 1);
        assert!(
            page.contains("<details>") && page.contains("and 3 more"),
            "{page}"
        );
    }
}
