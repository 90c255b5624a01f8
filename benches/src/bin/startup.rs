//! How soon a node is ready, and what it holds idle: see `benches::startup`.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use benches::startup::{Campaign, report};
use clap::Parser;

/// Measures how soon `millstream orchestrator` is ready, and what it holds when nobody asks anything of it.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// The binary that is started
    #[arg(long, default_value = "target/release/millstream")]
    server: PathBuf,
    /// Starts of each kind
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    runs: u32,
    /// Seconds before memory is looked at
    #[arg(long, default_value_t = 5)]
    idle: u64,
    /// Write the report there as well
    #[arg(long)]
    out: Option<PathBuf>,
    /// The date that the report says
    #[arg(long)]
    date: Option<String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let campaign = Campaign {
        server: cli.server,
        runs: cli.runs as usize,
        idle: Duration::from_secs(cli.idle),
    };
    let report = match report(&campaign, cli.date.as_deref()) {
        Ok(report) => report,
        Err(why) => {
            eprintln!("startup: {why}");
            return ExitCode::from(1);
        }
    };
    print!("{report}");
    if let Some(path) = cli.out
        && let Err(error) = std::fs::write(&path, &report)
    {
        eprintln!("startup: cannot write {}: {error}", path.display());
        return ExitCode::from(1);
    }
    ExitCode::SUCCESS
}
