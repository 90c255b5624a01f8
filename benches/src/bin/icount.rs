//! How many instructions each unit costs: see `benches::units`.
//!
//! Time on a busy or borrowed machine says little; instructions say the same twice. The binary starts itself under
//! `valgrind --tool=callgrind`, once a unit, and counts nothing but the unit's round:
//!
//! ```text
//!   icount ──▶ valgrind icount --round http/body ──▶ prepare, run   several times, not counted
//!      ▲                                             prepare
//!      └────────── callgrind.out ◀────────────────── run            counted, from entry to end of one function
//! ```
//!
//! Invariants:
//! - The same binary gives the same number on the same machine: the child has no environment, opens nothing and asks for no
//!   time.
//! - A count of nothing is an error: the function was not found by its name.
//! - Every child has a deadline, and its file is removed whatever happens.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use benches::units::{UNITS, Unit, counted_by_callgrind};
use clap::Parser;

/// Counts the instructions of the engine's parts with callgrind.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Count only units whose name has this in it; all of them that are listed
    filters: Vec<String>,
    /// List the units and exit
    #[arg(long)]
    list: bool,
    /// Compare with a file that --out wrote
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Fail when a unit costs so many percent more than in the baseline
    #[arg(long, value_name = "PERCENT", requires = "baseline", value_parser = percent)]
    fail_above: Option<f64>,
    /// Write the counts to a file, one unit a line
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Do the rounds of one unit, as valgrind's child
    #[arg(long, value_name = "UNIT", hide = true)]
    round: Option<String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.round {
        Some(name) => do_rounds(name).map(|()| Verdict::Fine),
        None if cli.list => {
            for unit in counted(&cli.filters) {
                println!("{}", unit.name);
            }
            Ok(Verdict::Fine)
        }
        None => count_all(&cli),
    };
    match outcome {
        Ok(Verdict::Fine) => ExitCode::SUCCESS,
        Ok(Verdict::Costlier(names)) => {
            eprintln!("icount: costlier than the baseline: {}", names.join(", "));
            ExitCode::FAILURE
        }
        Err(why) => {
            eprintln!("icount: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What became of it.
enum Verdict {
    Fine,
    /// These units cost more than was allowed.
    Costlier(Vec<&'static str>),
}

/// The instructions of one round.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Count {
    instructions: u64,
    operations: u64,
}

impl Count {
    fn per_operation(self) -> f64 {
        self.instructions as f64 / self.operations.max(1) as f64
    }
}

/// By name of the unit.
type Counts = BTreeMap<String, Count>;

fn counted(filters: &[String]) -> impl Iterator<Item = &'static Unit> {
    let is_wanted = |unit: &&Unit| {
        filters.is_empty() || filters.iter().any(|part| unit.name.contains(part.as_str()))
    };
    UNITS
        .iter()
        .filter(|unit| unit.is_counted)
        .filter(is_wanted)
        .collect::<Vec<_>>()
        .into_iter()
}

// === the parent ===

fn count_all(cli: &Cli) -> Result<Verdict, String> {
    let baseline = cli.baseline.as_deref().map(read_counts).transpose()?;
    let units: Vec<_> = counted(&cli.filters).collect();
    if units.is_empty() {
        return Err("no unit has that in its name; --list shows them".into());
    }
    let valgrind = find_valgrind()?;
    let counts = units
        .iter()
        .map(|unit| Ok((unit.name.to_owned(), count(&valgrind, unit)?)))
        .collect::<Result<Counts, String>>()?;
    if cfg!(debug_assertions) {
        println!("This is not a release build: the figures are those of the compiler's haste.\n");
    }
    print!("{}", table(&units, &counts, baseline.as_ref()));
    if let Some(path) = &cli.out {
        fs::write(path, to_text(&counts)).map_err(|error| said(path, &error))?;
    }
    let costlier = match (&baseline, cli.fail_above) {
        (Some(baseline), Some(percent)) => costlier(&units, &counts, baseline, percent),
        _ => Vec::new(),
    };
    Ok(if costlier.is_empty() {
        Verdict::Fine
    } else {
        Verdict::Costlier(costlier)
    })
}

/// Looks along the path, since the child gets none.
fn find_valgrind() -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join("valgrind"))
        .find(|file| file.is_file())
        .ok_or_else(|| {
            "valgrind is not installed; on Debian and its kin: apt-get install valgrind".into()
        })
}

/// Counts one round of a unit.
fn count(valgrind: &Path, unit: &Unit) -> Result<Count, String> {
    let this = std::env::current_exe().map_err(|error| format!("where am I: {error}"))?;
    let file = Scratch::new();
    let mut command = Command::new(valgrind);
    command
        .args(["-q", "--tool=callgrind", "--collect-atstart=no"])
        .arg(format!("--toggle-collect=*{FUNCTION}*"))
        .arg(format!("--callgrind-out-file={}", file.0.display()))
        .arg(this)
        .args(["--round", unit.name])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let said_by_child = finish(&mut command).map_err(|why| format!("{}: {why}", unit.name))?;
    let operations = said_by_child
        .trim()
        .parse()
        .map_err(|_| format!("{}: the child said {said_by_child:?}", unit.name))?;
    let report = fs::read_to_string(&file.0).map_err(|error| said(&file.0, &error))?;
    match total(&report) {
        Some(0) | None => Err(format!(
            "{}: callgrind counted nothing: it has not found the function {FUNCTION}",
            unit.name
        )),
        Some(instructions) => Ok(Count {
            instructions,
            operations,
        }),
    }
}

/// Runs a command to its end or its deadline. Returns what it printed.
fn finish(command: &mut Command) -> Result<String, String> {
    let mut child = command
        .spawn()
        .map_err(|error| format!("valgrind does not start: {error}"))?;
    let until = Instant::now() + DEADLINE;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < until => std::thread::sleep(POLL),
            Ok(None) => return Err(end(&mut child, "it took longer than its deadline")),
            Err(error) => return Err(end(&mut child, &error.to_string())),
        }
    };
    // A few lines at most, which a pipe holds; so it is soon enough to read them now.
    let stdout = read(child.stdout.take()).map_err(|error| error.to_string())?;
    let stderr = read(child.stderr.take()).map_err(|error| error.to_string())?;
    if status.success() {
        Ok(stdout)
    } else {
        Err(format!("{status}\n{}", stderr.trim_end()))
    }
}

fn end(child: &mut Child, why: &str) -> String {
    // If it has gone by itself meanwhile, all the better.
    let _ = child.kill();
    let _ = child.wait();
    why.to_owned()
}

fn read(pipe: Option<impl Read>) -> io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(SAID_BYTES_MAX).read_to_end(&mut bytes)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A file of ours among the temporary ones, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let name = format!("icount-{}.callgrind", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It is not there when valgrind did not start.
        let _ = fs::remove_file(&self.0);
    }
}

// === the child ===

/// Does the rounds of a unit, the last of them in the function that is counted, and says how many operations a round has.
fn do_rounds(name: &str) -> Result<(), String> {
    let unit = UNITS.iter().find(|unit| unit.name == name);
    let unit = unit.ok_or_else(|| format!("there is no unit {name:?}"))?;
    let mut body = (unit.build)();
    let operations = body.round().operations;
    for _ in 0..WARM_UP_ROUNDS {
        body.prepare();
        body.run();
    }
    body.prepare();
    counted_by_callgrind(&mut *body, operations);
    println!("{operations}");
    Ok(())
}

// === files and tables ===

/// What callgrind counted, from the `totals:` line of its file.
fn total(report: &str) -> Option<u64> {
    let line = report
        .lines()
        .find_map(|line| line.strip_prefix("totals:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// One unit a line: name, instructions, operations.
fn to_text(counts: &Counts) -> String {
    let mut text = String::from("# unit\tinstructions\toperations\n");
    for (name, count) in counts {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name}\t{}\t{}", count.instructions, count.operations);
    }
    text
}

fn from_text(text: &str) -> Result<Counts, String> {
    let mut counts = Counts::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut fields = line.split('\t');
        let whole = |fields: &mut std::str::Split<'_, char>| fields.next()?.parse().ok();
        let (Some(name), Some(instructions), Some(operations)) =
            (fields.next(), whole(&mut fields), whole(&mut fields))
        else {
            return Err(format!(
                "line {number}: a name and two numbers are expected"
            ));
        };
        let count = Count {
            instructions,
            operations,
        };
        counts.insert(name.to_owned(), count);
    }
    Ok(counts)
}

fn read_counts(path: &Path) -> Result<Counts, String> {
    let text = fs::read_to_string(path).map_err(|error| said(path, &error))?;
    from_text(&text).map_err(|why| format!("{}: {why}", path.display()))
}

fn said(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// Markdown, with two more columns when there is something to compare with.
fn table(units: &[&Unit], counts: &Counts, baseline: Option<&Counts>) -> String {
    let mut text = String::from("| unit | operation | instructions each | operations counted |");
    let mut rule = String::from("|---|---|---|---|");
    if baseline.is_some() {
        text.push_str(" before | change |");
        rule.push_str("---|---|");
    }
    let _ = writeln!(text, "\n{rule}");
    for unit in units {
        let Some(count) = counts.get(unit.name) else {
            continue;
        };
        let _ = write!(
            text,
            "| {} | {} | {:.1} | {} |",
            unit.name,
            unit.operation,
            count.per_operation(),
            count.operations
        );
        match baseline.map(|baseline| baseline.get(unit.name)) {
            None => {}
            Some(None) => text.push_str(" absent | |"),
            Some(Some(before)) => {
                let change = change_percent(*before, *count);
                let _ = write!(text, " {:.1} | {change:+.2} % |", before.per_operation());
            }
        }
        text.push('\n');
    }
    text
}

fn change_percent(before: Count, now: Count) -> f64 {
    match before.per_operation() {
        0.0 => 0.0,
        before => (now.per_operation() / before - 1.0) * 100.0,
    }
}

/// Units that cost more than `percent` more than before.
fn costlier(
    units: &[&'static Unit],
    counts: &Counts,
    baseline: &Counts,
    percent: f64,
) -> Vec<&'static str> {
    let is_costlier = |unit: &&&Unit| match (baseline.get(unit.name), counts.get(unit.name)) {
        (Some(before), Some(now)) => change_percent(*before, *now) > percent,
        _ => false,
    };
    let costlier = units.iter().filter(is_costlier);
    costlier.map(|unit| unit.name).collect()
}

fn percent(text: &str) -> Result<f64, String> {
    let value = text.parse().ok();
    value
        .filter(|value| (0.0..=1000.0).contains(value))
        .ok_or_else(|| "a percentage from 0 to 1000".into())
}

/// The function from whose entry to whose end is counted, as it stands in any form of its symbol.
const FUNCTION: &str = "counted_by_callgrind";
/// Enough for every buffer, window and list of a unit to have its lasting size: a channel holds five segments.
const WARM_UP_ROUNDS: u32 = 8;
/// The slowest takes a few seconds of a release build; a debug build on a busy machine a hundred times that.
const DEADLINE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(10);
const SAID_BYTES_MAX: u64 = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(&str, u64, u64)]) -> Counts {
        let count = |&(name, instructions, operations): &(&str, u64, u64)| {
            let count = Count {
                instructions,
                operations,
            };
            (name.to_owned(), count)
        };
        of.iter().map(count).collect()
    }

    #[test]
    fn the_total_is_read_from_a_report() {
        let report = "version: 1\npositions: line\nevents: Ir\nsummary: 77\n\nfn=(1) f\n3 77\n\ntotals: 77\n";
        assert_eq!(total(report), Some(77));
        assert_eq!(total("events: Ir\n"), None);
        assert_eq!(total("totals: x\n"), None);
    }

    #[test]
    fn counts_survive_a_file() {
        let counts = counts(&[("http/body", 12_345, 64), ("ts/mux", 7, 1)]);
        assert_eq!(from_text(&to_text(&counts)), Ok(counts));
    }

    #[test]
    fn a_file_that_is_none_names_its_line() {
        for text in ["a\t1", "a\t1\tx", "a b c", "a\t-1\t2"] {
            let why = from_text(&format!("# unit\n{text}\n")).unwrap_err();
            assert!(why.starts_with("line 2"), "{why}");
        }
    }

    #[test]
    fn a_change_is_shown_and_judged() {
        let units: Vec<_> = counted(&["http/".into()]).collect();
        let before = counts(&[("http/head-post", 1000, 10), ("http/head-get", 1000, 10)]);
        let now = counts(&[
            ("http/head-post", 1030, 10),
            ("http/head-get", 950, 10),
            ("http/body", 5, 1),
        ]);
        let table = table(&units, &now, Some(&before));
        assert!(
            table.contains("| http/head-post | head | 103.0 | 10 | 100.0 | +3.00 % |"),
            "{table}"
        );
        assert!(table.contains("| 95.0 | 10 | 100.0 | -5.00 % |"), "{table}");
        assert!(
            table.contains("| http/body | chunk | 5.0 | 1 | absent | |"),
            "{table}"
        );
        assert_eq!(costlier(&units, &now, &before, 2.0), ["http/head-post"]);
        assert!(costlier(&units, &now, &before, 4.0).is_empty());
    }

    #[test]
    fn the_codecs_are_not_counted() {
        assert!(counted(&["codec".into()]).next().is_none());
        assert!(counted(&[]).count() > 10);
    }
}
