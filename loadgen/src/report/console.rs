//! For the eyes: a line a second while it runs, a table when it is over.
//!
//! In a terminal the line is drawn over itself; elsewhere there is one after another, and no escape codes. While it runs, all goes to
//! stderr, so that stdout has the result alone.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Stderr, Write};
use std::path::PathBuf;

use super::text::{grouped, number, percent, plain, short};
use crate::conduct::{Lengths, Scenario, Sink};
use crate::measure::Interval;
use crate::outcome::{Outcome, Quantiles, Second, ServerUse};

/// The line.
#[derive(Debug)]
pub struct Console<W: Write = Stderr> {
    out: W,
    is_live: bool,
    /// The cursor is behind a line that may be drawn over.
    is_within_line: bool,
    window_s: u64,
    lengths: Option<Lengths>,
}

impl Console<Stderr> {
    /// On stderr, live in a terminal.
    pub fn new() -> Self {
        Self::to(io::stderr(), io::stderr().is_terminal())
    }
}

impl Default for Console<Stderr> {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: Write> Console<W> {
    /// On anything.
    pub fn to(out: W, is_live: bool) -> Self {
        Self {
            out,
            is_live,
            is_within_line: false,
            window_s: 0,
            lengths: None,
        }
    }

    /// A line that stays. A terminal that has gone away ends nothing.
    fn say(&mut self, text: &str) {
        let end = if std::mem::take(&mut self.is_within_line) {
            "\n"
        } else {
            ""
        };
        let _ = writeln!(self.out, "{end}{text}").and_then(|()| self.out.flush());
    }

    /// A line that the next one may replace.
    fn draw(&mut self, text: &str) {
        if !self.is_live {
            return self.say(text);
        }
        self.is_within_line = true;
        let _ = write!(self.out, "\r{text}\x1b[K").and_then(|()| self.out.flush());
    }
}

impl<W: Write> Sink for Console<W> {
    fn begin(&mut self, scenario: &dyn Scenario, lengths: Lengths) {
        self.window_s = lengths.window.as_secs();
        self.lengths = Some(lengths);
        let metric = scenario
            .metrics()
            .first()
            .map_or(String::new(), |metric| format!("; ms is {}", metric.title));
        self.say(&format!(
            "{}: {:?} warm-up, {:?} window, {:?} cool-down{metric}",
            scenario.name(),
            lengths.warmup,
            lengths.window,
            lengths.cooldown
        ));
    }

    fn phase(&mut self, name: &str) {
        let length = self.lengths.and_then(|lengths| match name {
            "warming up" => Some(lengths.warmup),
            "measuring" => Some(lengths.window),
            "cooling down" => Some(lengths.cooldown),
            "draining" => Some(lengths.drain),
            _ => None,
        });
        match length {
            Some(length) if length.is_zero() => {}
            Some(length) if name == "draining" => self.say(&format!("{name}, {length:?} at most")),
            Some(length) => self.say(&format!("{name}, {length:?}")),
            None => self.say(name),
        }
        if name == "measuring" {
            self.say(HEAD);
        }
    }

    fn second(&mut self, second: &Second, total: &Interval) {
        let row = row(second, total, self.window_s);
        self.draw(&row);
    }

    fn note(&mut self, text: &str) {
        self.say(&format!("note: {text}"));
    }
}

impl<W: Write> Drop for Console<W> {
    fn drop(&mut self) {
        if self.is_within_line {
            let _ = writeln!(self.out);
        }
    }
}

#[allow(clippy::cast_precision_loss)] // for display
fn row(second: &Second, total: &Interval, window_s: u64) -> String {
    let main = second
        .latencies
        .first()
        .filter(|quantiles| quantiles.count > 0);
    let time =
        |pick: fn(&Quantiles) -> f64| main.map_or("–".to_owned(), |main| number(pick(main)));
    let counts = &second.counts;
    format!(
        "{:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6} {:>6} {:>6} {:>5}",
        format!("{}/{window_s} s", second.second + 1),
        short(counts.due as f64),
        short(counts.sent as f64),
        short(counts.received as f64),
        time(|q| q.p50_ms),
        time(|q| q.p99_ms),
        time(|q| q.max_ms),
        short(total.counts.lost() as f64),
        short(total.counts.error_count() as f64),
        short(total.counts.late as f64),
        second.server_cpu_share.map_or("–".to_owned(), percent),
        percent(second.own_cpu_share),
    )
}

/// Of [`row`]. What is on its way is missing until it comes; the table at the end has what is lost.
const HEAD: &str = "     time  offered     sent      got   p50 ms   p99 ms   max ms  missing errors   late server   own";

/// The result on stdout, and where the files are.
pub fn print(outcome: &Outcome, files: &[PathBuf]) {
    let text = render(outcome, files, io::stdout().is_terminal());
    // A pipe that is closed has seen enough.
    let _ = io::stdout().write_all(text.as_bytes());
}

/// The result as text of at most 100 columns.
pub fn render(outcome: &Outcome, files: &[PathBuf], is_coloured: bool) -> String {
    let mut text = String::new();
    verdict(&mut text, outcome, is_coloured);
    rates(&mut text, outcome);
    counts(&mut text, outcome);
    latencies(&mut text, outcome);
    if let Some(server) = &outcome.server {
        self::server(&mut text, server);
    }
    figures(&mut text, outcome);
    for note in &outcome.notes {
        wrapped(&mut text, "note", note);
    }
    for file in files {
        line(&mut text, "file", &file.display().to_string());
    }
    text
}

fn verdict(text: &mut String, outcome: &Outcome, is_coloured: bool) {
    let verdict = &outcome.verdict;
    let (word, colour) = if verdict.is_valid {
        ("VALID", "\x1b[1;32m")
    } else {
        ("NOT VALID: these figures do not count", "\x1b[1;31m")
    };
    let (colour, uncoloured) = if is_coloured {
        (colour, "\x1b[0m")
    } else {
        ("", "")
    };
    let _ = writeln!(
        text,
        "\n{colour}{word}{uncoloured}  {} for {} s, seed {}, {}",
        outcome.scenario,
        plain(outcome.window_s),
        outcome.repro.seed,
        outcome.repro.server.get("url").map_or("", String::as_str)
    );
    for reason in &verdict.reasons {
        wrapped(text, "because", reason);
    }
    text.push('\n');
}

fn rates(text: &mut String, outcome: &Outcome) {
    let rate = outcome.rate;
    line(
        text,
        "rate",
        &format!(
            "{}/s offered, {}/s achieved, {}/s received, {} MiB/s",
            number(rate.offered_per_s),
            number(rate.achieved_per_s),
            number(rate.received_per_s),
            number(rate.received_mib_per_s)
        ),
    );
}

fn counts(text: &mut String, outcome: &Outcome) {
    let counts = &outcome.counts;
    line(
        text,
        "sent",
        &format!(
            "{} of {} {}s due; {} late, {} dropped",
            grouped(counts.sent),
            grouped(counts.due),
            outcome.operation,
            grouped(counts.late),
            grouped(counts.dropped)
        ),
    );
    line(
        text,
        "received",
        &format!(
            "{} of {} expected; {} lost, {} duplicate, {} reordered",
            grouped(counts.received),
            grouped(counts.expected),
            grouped(outcome.lost),
            grouped(counts.duplicate),
            grouped(counts.reordered)
        ),
    );
    line(
        text,
        "",
        &format!(
            "{} corrupt, {} truncated",
            grouped(counts.corrupt),
            grouped(counts.truncated)
        ),
    );
    let classes: Vec<String> = counts
        .errors
        .iter()
        .map(|(class, count)| format!("{class} {}", grouped(*count)))
        .collect();
    let errors = if classes.is_empty() {
        "none".to_owned()
    } else {
        format!("{}: {}", grouped(counts.error_count()), classes.join(", "))
    };
    wrapped(text, "errors", &errors);
    if !counts.more.is_empty() {
        let more: Vec<String> = counts
            .more
            .iter()
            .map(|(name, count)| format!("{name} {}", grouped(*count)))
            .collect();
        wrapped(text, "also", &more.join(", "));
    }
    text.push('\n');
}

fn latencies(text: &mut String, outcome: &Outcome) {
    let _ = writeln!(
        text,
        "{:<34} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "ms", "p50", "p90", "p99", "p99.9", "p99.99", "max"
    );
    for latency in &outcome.latencies {
        let _ = writeln!(text, "{}: {}", latency.name, latency.title);
        let has_both = latency.uncorrected.count > 0;
        let name = if has_both { "  from due" } else { "  all" };
        quantiles(text, name, &latency.corrected);
        if has_both {
            quantiles(text, "  uncorrected", &latency.uncorrected);
        }
    }
    let _ = writeln!(
        text,
        "the generator itself, threads: {}; {} of a CPU at most",
        outcome.own.threads,
        percent(outcome.own.cpu_share_max)
    );
    quantiles(text, "  sent late by", &outcome.own.lateness);
    quantiles(text, "  read late by", &outcome.own.receive_lag);
    text.push('\n');
}

fn quantiles(text: &mut String, name: &str, of: &Quantiles) {
    if of.count == 0 {
        let _ = writeln!(text, "{name:<34}    nothing was timed");
        return;
    }
    let _ = writeln!(
        text,
        "{name:<34} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        number(of.p50_ms),
        number(of.p90_ms),
        number(of.p99_ms),
        number(of.p999_ms),
        number(of.p9999_ms),
        number(of.max_ms)
    );
}

fn server(text: &mut String, server: &ServerUse) {
    line(
        text,
        "server",
        &format!(
            "pid {}: {} of a CPU, {} CPUs allowed, {} threads, {} MiB, {} MiB at most",
            server.pid,
            percent(server.cpu_share),
            server.cpus_allowed,
            server.thread_count,
            number(server.rss_mib),
            number(server.rss_peak_mib)
        ),
    );
    let threads: Vec<String> = server
        .threads
        .iter()
        .take(4)
        .filter(|thread| thread.cpu_share >= 0.01)
        .map(|thread| match thread.cpu {
            Some(cpu) => format!("{} {} on CPU {cpu}", thread.name, percent(thread.cpu_share)),
            None => format!("{} {}", thread.name, percent(thread.cpu_share)),
        })
        .collect();
    if !threads.is_empty() {
        wrapped(text, "threads", &threads.join(", "));
    }
    let full: Vec<String> = (0..)
        .zip(&server.cpus_busy)
        .filter(|(_, busy)| **busy >= CPU_FULL)
        .map(|(cpu, busy): (u32, &f64)| format!("CPU {cpu} {}", percent(*busy)))
        .collect();
    if !full.is_empty() {
        wrapped(text, "saturated", &full.join(", "));
    }
    for gpu in &server.gpus {
        let told = |name: &str, value: Option<f64>, unit: &str| {
            value.map(|value| format!("{name}{}{unit}", number(value)))
        };
        #[allow(clippy::cast_precision_loss)] // MiB
        let parts: Vec<String> = [
            told("SM ", gpu.sm_percent, " %"),
            told("NVDEC ", gpu.decoder_percent, " %"),
            told("NVENC ", gpu.encoder_percent, " %"),
            told("", gpu.memory_mib.map(|mib| mib as f64), " MiB"),
            told("", gpu.watts, " W"),
        ]
        .into_iter()
        .flatten()
        .collect();
        wrapped(
            text,
            "GPU",
            &format!("{} {}: {}", gpu.index, gpu.name, parts.join(", ")),
        );
    }
}

fn figures(text: &mut String, outcome: &Outcome) {
    for figure in &outcome.figures {
        let _ = writeln!(
            text,
            "{:<24} {:>12} {:<10} {}",
            figure.name,
            number(figure.value),
            figure.unit,
            figure.title
        );
    }
    text.push('\n');
}

fn line(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "{name:<10} {value}");
}

/// The same over as many lines as it takes. A word that is too long stands by itself.
fn wrapped(text: &mut String, name: &str, value: &str) {
    let mut name = name;
    let mut row = String::new();
    for word in value.split_whitespace() {
        if !row.is_empty() && row.chars().count() + 1 + word.chars().count() > WIDTH - 11 {
            line(text, std::mem::take(&mut name), &row);
            row.clear();
        }
        if !row.is_empty() {
            row.push(' ');
        }
        row.push_str(word);
    }
    line(text, name, &row);
}

const WIDTH: usize = 100;
/// A CPU that is busier than this has nothing left.
const CPU_FULL: f64 = 0.95;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    #[test]
    fn the_table_fits_and_has_all_that_matters() {
        let mut outcome = synthetic::outcome();
        let files = [PathBuf::from("out/result.json")];
        let text = render(&outcome, &files, false);
        for part in [
            "VALID  trickle for 30 s, seed 42",
            "2,000/s offered",
            "60,000 of 60,000 chunks due; 3 late, 0 dropped",
            "37 lost",
            "7: reset 5, status-503 2",
            "from due",
            "uncorrected",
            "sent late by",
            "shard-0 74 % on CPU 1",
            "CPU 1 97 %",
            "cpu_us_per_chunk",
            "out/result.json",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(!text.contains('\x1b') && !text.contains("NOT VALID"));
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        outcome.verdict.is_valid = false;
        outcome.verdict.reasons = vec!["the generator was the bottleneck, ".repeat(8)];
        let text = render(&outcome, &files, true);
        assert!(text.starts_with("\n\x1b[1;31mNOT VALID"), "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= WIDTH + 11),
            "{text}"
        );
    }

    #[test]
    fn seconds_are_lines_or_one_line() {
        let outcome = synthetic::outcome();
        let written = |is_live| {
            let mut out = Vec::new();
            let mut console = Console::to(&mut out, is_live);
            console.begin(&synthetic::Nothing, synthetic::lengths());
            console.phase("measuring");
            for second in &outcome.series {
                console.second(second, &synthetic::total());
            }
            console.note("it is warm");
            console.second(&Second::default(), &Interval::new(0, 0));
            drop(console);
            String::from_utf8(out).unwrap()
        };
        let plain = written(false);
        assert_eq!(plain.lines().count(), 3 + outcome.series.len() + 2);
        assert!(!plain.contains('\r'), "{plain}");
        for line in plain.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        let live = written(true);
        assert_eq!(live.lines().count(), 3 + 1 + 1 + 1, "{live}");
        assert!(
            live.ends_with('\n') && live.contains("note: it is warm\n"),
            "{live}"
        );
    }

    #[test]
    fn a_row_stands_under_its_head() {
        let outcome = synthetic::outcome();
        let row = row(&outcome.series[17], &synthetic::total(), 30);
        assert_eq!(row.chars().count(), HEAD.chars().count(), "\n{HEAD}\n{row}");
        assert!(row.contains("18/30 s") && row.contains("2.00k"), "{row}");
    }
}
