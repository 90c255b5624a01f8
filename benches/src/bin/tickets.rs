//! How many tickets one core validates: see `benches::tickets`.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use benches::tickets::{Campaign, Shape, VERIFIERS, flood, run, table};
use clap::Parser;
use engine::Gather;

const EXAMPLES: &str = "\
Examples:
  tickets --out benches/results/tickets.md
      All verifiers, 1 and 1,000 senders, 1 and 100 tickets a payment, and latency at 70 % of each rate.
  tickets --verifier vector --senders 1000 --tickets-each 1 --rounds 1
      One figure.
  tickets --batch 64 --wait-us 0 --verifier vector
      How the lane gathers.
  tickets --flood --tickets-each 1 --rounds 3
      One sender pays, and another floods the lane with forged tickets.

Exit status: 0 measured, 1 it could not be, 2 wrong flags.";

/// Measures tickets validated by one core, from a payment's bytes to an answer that is on disk.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Cli {
    /// Only these verifiers
    #[arg(long, value_parser = ["reference", "known", "vector"])]
    verifier: Vec<String>,
    /// Only these numbers of senders [default: 1 and 1000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    senders: Vec<u32>,
    /// Only these numbers of tickets a payment [default: 1 and 100]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=600))]
    tickets_each: Vec<u32>,
    /// How often each is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Tickets of one measurement; a fifth are for warming up
    #[arg(long, default_value_t = 150_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    tickets: u32,
    /// Tickets of a batch
    #[arg(long, default_value_t = Gather::default().batch_tickets)]
    batch: usize,
    /// How long a batch waits to fill
    #[arg(long, default_value_t = 200)]
    wait_us: u64,
    /// Where databases are made: the disk that is measured
    #[arg(long, default_value = "target/tickets")]
    dir: PathBuf,
    /// The core that is measured, and the one of the latency's generator
    #[arg(long, num_args = 2, default_values_t = [0, 1])]
    cpu: Vec<usize>,
    /// Measure a flood of forged tickets instead, and what it takes from who pays beside it
    #[arg(long)]
    flood: bool,
    /// Leave latency out
    #[arg(long)]
    no_latency: bool,
    /// Write the report there as well
    #[arg(long)]
    out: Option<PathBuf>,
    /// The date that the report says
    #[arg(long)]
    date: Option<String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let or = |given: &[u32], usual: [u32; 2]| {
        if given.is_empty() {
            usual.to_vec()
        } else {
            given.to_vec()
        }
    };
    let shapes = or(&cli.senders, [1, 1_000])
        .into_iter()
        .flat_map(|senders| {
            or(&cli.tickets_each, [1, 100])
                .into_iter()
                .map(move |tickets_each| Shape {
                    senders: senders as usize,
                    tickets_each,
                })
        });
    let names = VERIFIERS.iter().map(|(name, _)| *name);
    let campaign = Campaign {
        shapes: shapes.collect(),
        verifiers: names
            .filter(|name| {
                cli.verifier.is_empty() || cli.verifier.iter().any(|wanted| wanted == name)
            })
            .collect(),
        rounds: cli.rounds as usize,
        tickets: cli.tickets as usize,
        gather: Gather {
            batch_tickets: cli.batch,
            wait: Duration::from_micros(cli.wait_us),
            ..Gather::default()
        },
        dir: cli.dir.clone(),
        cpus: (cli.cpu[0], cli.cpu[1]),
        has_latency: !cli.no_latency,
    };
    if cli.flood {
        let report = flood::report(&campaign, cli.date.as_deref(), |text| eprintln!("{text}"));
        return finish(report, cli.out.as_deref());
    }
    let report = run(&campaign, |text| eprintln!("{text}"))
        .map(|figures| table::report(&campaign, &figures, cli.date.as_deref()));
    finish(report, cli.out.as_deref())
}

fn finish(report: Result<String, String>, out: Option<&Path>) -> ExitCode {
    let report = match report {
        Ok(report) => report,
        Err(why) => {
            eprintln!("tickets: {why}");
            return ExitCode::from(1);
        }
    };
    print!("{report}");
    if let Some(path) = out
        && let Err(error) = std::fs::write(path, &report)
    {
        eprintln!("tickets: cannot write {}: {error}", path.display());
        return ExitCode::from(1);
    }
    ExitCode::SUCCESS
}
