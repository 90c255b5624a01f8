//! What a session's damaged video costs the others, and how many sessions there can be: see `benches::neighbours`.
#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use benches::load::Failure;
use benches::neighbours::Campaign;
use benches::neighbours::table::{self, Verdict};
use clap::Parser;

const EXIT: &str = "\
Examples:
  neighbours
      Four sessions of the built-in clip; the last is damaged in every other window.
  neighbours --sessions 8 --size 1280x720 --model builtin/blur --rounds 5 --out benches/results/neighbours.md
  neighbours --search --size 1920x1080
      The most sessions of 1080p at 30 frames/s with p99 at most 100 ms, and what gave out.

Exit status:
   0  PASS, or a number was found     1  it could not be measured     2  wrong flags
   3  the generator was the bottleneck: the figures do not count      4  FAIL, or no number was found";

/// Measures whether one session's damaged video slows the other sessions of a node down.
#[derive(Parser)]
#[command(version, after_help = EXIT)]
struct Cli {
    /// Find the most sessions that hold p99 <= 100 ms, all of them whole
    #[arg(long)]
    search: bool,
    /// Sessions at once, the damaged one among them
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=500))]
    sessions: u32,
    /// How often each kind of window is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Length of a window, in seconds
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Draw a picture of this size, such as 1280x720 [default: the built-in clip, 640x360]
    #[arg(long, value_name = "WxH")]
    size: Option<String>,
    /// Frames a second [default: 30]
    #[arg(long)]
    fps: Option<f64>,
    /// Model of every session
    #[arg(long, default_value = "builtin/edges")]
    model: String,
    /// What the server processes frames with
    #[arg(long, default_value = "auto")]
    device: String,
    /// The millstream binary
    #[arg(long, default_value = "target/release/millstream")]
    server: PathBuf,
    /// Threads of the generator [default: one for every eight CPUs]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: Option<u16>,
    /// Of all chance, the damage included
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A search begins with so many sessions, and looks for no fewer
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=512))]
    from: u64,
    /// A search stops after so many seconds with what it has
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    limit: u64,
    /// Write the result here as well, such as benches/results/NAME.md
    #[arg(long)]
    out: Option<PathBuf>,
    /// The date to put on the result [default: today, UTC]
    #[arg(long)]
    date: Option<String>,
    /// More arguments for the server, after --
    #[arg(last = true)]
    server_args: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            eprintln!("neighbours: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<u8, Failure> {
    benches::run::raise_file_limit();
    let campaign = campaign(cli);
    let date = cli.date.as_deref();
    if cli.search {
        let found = campaign.search(cli.from, Duration::from_secs(cli.limit))?;
        publish(cli, &table::found(&campaign, &found, date))?;
        return Ok(if found.answer.n.is_some() { 0 } else { MISSED });
    }
    let windows = campaign.run()?;
    publish(cli, &table::report(&campaign, &windows, date))?;
    Ok(match Verdict::reach(&windows) {
        Verdict::Pass => 0,
        Verdict::Fail(_) => MISSED,
        Verdict::DoesNotCount(_) => NOT_VALID,
    })
}

fn campaign(cli: &Cli) -> Campaign {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    Campaign {
        server: cli.server.clone(),
        server_args: cli.server_args.clone(),
        device: cli.device.clone(),
        model: cli.model.clone(),
        picture: cli.size.clone(),
        fps: cli.fps,
        sessions: cli.sessions,
        rounds: cli.rounds,
        window: Duration::from_secs(cli.seconds),
        threads: cli.threads.map_or((cpus / 8).max(1), usize::from),
        seed: cli.seed,
    }
}

fn publish(cli: &Cli, report: &str) -> Result<(), Failure> {
    println!("{report}");
    let Some(out) = &cli.out else { return Ok(()) };
    let failed =
        |error: std::io::Error| Failure::new(format!("cannot write {}: {error}", out.display()));
    if let Some(folder) = out.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(out, format!("{report}\n")).map_err(failed)
}

/// As loadgen's.
const NOT_VALID: u8 = 3;
const MISSED: u8 = 4;
