//! What it costs to hand one publisher's bytes to many subscribers: see the crate's documentation.
#![forbid(unsafe_code)]

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use benches::load::{Failure, Plan, Tally, Target};
use benches::run::{Campaign, Scenario, report};
use benches::{floor, pin};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Measures the fan-out of a trickle server against the least that any server could do.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Both servers in turn, in one run, and a table of what they cost
    Run(RunArgs),
    /// The load alone, against a server that runs already
    Load(LoadArgs),
    /// The floor alone: copies a publisher's bytes to its subscribers and does nothing else
    Floor {
        /// Where to listen
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Pin to this CPU
        #[arg(long)]
        cpu: Option<usize>,
    },
}

#[derive(Args)]
struct Shape {
    /// Length of a chunk, in bytes
    #[arg(long, default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(32..=16 << 20))]
    chunk_bytes: u32,
    /// Chunks a second, each publisher
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    chunks_per_second: u32,
    /// How long to measure
    #[arg(long, default_value = "20", value_parser = seconds)]
    seconds: Duration,
    /// How many seconds to run before that
    #[arg(long, default_value = "3", value_parser = seconds)]
    warmup: Duration,
    /// Length of a trickle segment
    #[arg(long, default_value = "2", value_parser = seconds)]
    segment_seconds: Duration,
    /// The path under which a trickle server keeps its channels
    #[arg(long, default_value = "/ai/trickle/")]
    base: String,
}

#[derive(Args)]
struct LoadArgs {
    /// The server's kind
    #[arg(long, value_enum, default_value_t = Kind::Trickle)]
    target: Kind,
    /// The server's address
    #[arg(long)]
    addr: SocketAddr,
    /// How many publish
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    publishers: u32,
    /// How many listen to each
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    subscribers_per_publisher: u32,
    /// Pin to this CPU
    #[arg(long)]
    cpu: Option<usize>,
    #[command(flatten)]
    shape: Shape,
}

#[derive(Args)]
struct RunArgs {
    /// The millstream binary
    #[arg(long, default_value = "target/release/millstream")]
    server: PathBuf,
    /// Measure the floor alone
    #[arg(long)]
    floor_only: bool,
    /// The CPU that the server is pinned to, all its threads together
    #[arg(long, default_value_t = 0)]
    server_cpu: usize,
    /// The CPU that the load is pinned to
    #[arg(long, default_value_t = 1)]
    load_cpu: usize,
    /// Publishers and subscribers of each, such as 20x5; may be given again [default: 1x200 20x5]
    #[arg(long = "scenario")]
    scenarios: Vec<Scenario>,
    /// How often each scenario is measured on each server
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Write the result here as well, such as benches/results/NAME.md
    #[arg(long)]
    out: Option<PathBuf>,
    /// The date to put on the result [default: today, UTC]
    #[arg(long)]
    date: Option<String>,
    #[command(flatten)]
    shape: Shape,
    /// More arguments for the server, after --
    #[arg(last = true)]
    server_args: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Trickle,
    Floor,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Floor { listen, cpu } => serve_floor(listen, cpu),
        Command::Load(args) => load(&args),
        Command::Run(args) => run(args),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("fanout: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn serve_floor(listen: SocketAddr, cpu: Option<usize>) -> Result<ExitCode, Failure> {
    benches::run::raise_file_limit();
    cpu.map_or(Ok(()), pin::to)?;
    let listener = TcpListener::bind(listen)
        .map_err(|error| Failure::new(format!("cannot listen on {listen}: {error}")))?;
    println!("listening on {}", listener.local_addr()?);
    floor::serve(&listener)?;
    Ok(ExitCode::SUCCESS)
}

fn load(args: &LoadArgs) -> Result<ExitCode, Failure> {
    benches::run::raise_file_limit();
    args.cpu.map_or(Ok(()), pin::to)?;
    let mut plan = args.shape.plan(args.addr);
    plan.target = match args.target {
        Kind::Trickle => Target::Trickle,
        Kind::Floor => Target::Floor,
    };
    (plan.publishers, plan.subscribers_each) = (args.publishers, args.subscribers_per_publisher);
    let tally = plan.run(|_| {})?;
    print_tally(&tally);
    Ok(if tally.is_sound() && !tally.is_generator_bound() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn run(args: RunArgs) -> Result<ExitCode, Failure> {
    benches::run::raise_file_limit();
    let both = ["1x200", "20x5"]
        .map(str::parse)
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .map_err(Failure::new)?;
    let campaign = Campaign {
        server: args.server,
        server_args: args.server_args,
        is_floor_only: args.floor_only,
        server_cpu: args.server_cpu,
        load_cpu: args.load_cpu,
        scenarios: if args.scenarios.is_empty() {
            both
        } else {
            args.scenarios
        },
        rounds: args.rounds as usize,
        plan: args.shape.plan(SocketAddr::from(([127, 0, 0, 1], 0))),
        out: args.out,
        date: args.date,
    };
    let all = campaign.run()?;
    campaign.publish(&report(&campaign, &all))?;
    Ok(ExitCode::SUCCESS)
}

impl Shape {
    fn plan(&self, addr: SocketAddr) -> Plan {
        Plan {
            target: Target::Floor,
            addr,
            base: self.base.clone(),
            publishers: 1,
            subscribers_each: 1,
            chunk_bytes: self.chunk_bytes as usize,
            chunks_per_second: self.chunks_per_second,
            warmup: self.warmup,
            window: self.seconds,
            segment: self.segment_seconds,
        }
    }
}

#[allow(clippy::cast_precision_loss)] // for display
fn print_tally(tally: &Tally) {
    let mib = tally.window_bytes as f64 / f64::from(1 << 20);
    println!(
        "delivered     {mib:.1} MiB, {:.1} MiB/s",
        mib * 1e9 / tally.window_ns.max(1) as f64
    );
    println!(
        "chunks        {} expected, {} missing",
        tally.expected(),
        tally.missing()
    );
    println!(
        "faults        {} duplicate, {} corrupt, {} truncated",
        tally.duplicates, tally.corrupted, tally.truncated
    );
    let histograms = [
        ("first byte", &tally.first_ns),
        ("last byte", &tally.last_ns),
        ("own lateness", &tally.lateness_ns),
    ];
    for (name, histogram) in histograms {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
        let max = histogram.max() as f64 / 1e6;
        println!(
            "{name:<13} p50 {:.3} ms, p99 {:.3} ms, p99.9 {:.3} ms, max {max:.3} ms",
            at(0.5),
            at(0.99),
            at(0.999)
        );
    }
    println!("own CPU       {:.0} %", tally.own_cpu_share() * 100.0);
    if tally.is_generator_bound() {
        println!("the generator was the bottleneck: these figures do not count");
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds")?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| time.as_secs() <= 86_400)
        .ok_or_else(|| "not 0 to 86400".into())
}
