//! The command line: which scenario, from flags or a file, and what an exit status means.
//!
//! A scenario takes part by being a [`Load`](load::Load): a line in [`Command`], and an implementation of it.

pub(crate) mod load;
pub(crate) mod run;
pub(crate) mod search;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use loadgen::compare;
use loadgen::failure::Failure;
use loadgen::report;
use loadgen::search::slo::Slo;
use loadgen::settings::Common;

/// It could not run.
pub(crate) const FAILED: u8 = 1;
/// Its figures do not count.
pub(crate) const NOT_VALID: u8 = 3;
/// They count, and miss what was asked of them; or payments that were to be settled stay open.
pub(crate) const MISSED: u8 = 4;

/// Load for Livepeer nodes and trickle servers, and numbers that can be believed.
///
/// Open loop: an operation is due when it is due, whatever the server does, and its latency counts from then. The run fails when the
/// generator was the bottleneck. Exit status: 0 well, 1 could not run, 2 wrong flags, 3 the figures do not count, 4 an objective or a
/// threshold is missed.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Publishers and subscribers of trickle channels: latency of a chunk, cost of its delivery
    Trickle(RunArgs<loadgen::trickle::Options>),
    /// Subscribers that come and go: time to the first byte at the live edge
    Churn(RunArgs<loadgen::churn::Options>),
    /// Live video-to-video sessions: latency of a frame, frame rate, jitter, stalls, loss
    Live(RunArgs<loadgen::live::Options>),
    /// Payments with probabilistic tickets: tickets credited a second and for a second of the server's CPU, latency, an exact ledger
    Tickets(RunArgs<loadgen::tickets::Options>),
    /// Gateways that ask for terms: answers to GetOrchestrator a second, latency, whether everything is in them
    Handshake(RunArgs<loadgen::handshake::Options>),
    /// Any of these, from a TOML file that says which
    Run {
        /// A file with a table [trickle], [churn], [live], [tickets] or [handshake], and [run] for the rest
        file: PathBuf,
    },
    /// Find the most channels, sessions, chunks, payments or handshakes a second that hold an objective, and what gives out beyond
    #[command(subcommand)]
    Search(search::Scenario),
    /// Hold two results against each other: what changed beyond noise
    Compare(compare::Args),
    /// Print a result again, and write its files anew
    Report {
        /// A result.json, or the folder that holds it
        result: PathBuf,
        /// Write latency.hgrm and report.html here
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

/// Flags of one scenario.
#[derive(Args)]
pub(crate) struct RunArgs<T: Args> {
    /// Read settings from this TOML file; flags win over it
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) scenario: Option<PathBuf>,
    /// What must hold, such as 'p99<100ms,loss<0.1%'; exit status 4 when it does not
    #[arg(long, value_name = "TERMS")]
    pub(crate) slo: Option<Slo>,
    #[command(flatten)]
    pub(crate) own: T,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// `loadgen compare`.
pub(crate) fn compare(args: &compare::Args) -> Result<ExitCode, Failure> {
    let comparison = compare::run(args)?;
    println!("{comparison}");
    Ok(if comparison.has_failed {
        ExitCode::from(MISSED)
    } else {
        ExitCode::SUCCESS
    })
}

/// `loadgen report`.
pub(crate) fn report(result: &Path, out: Option<&Path>) -> Result<ExitCode, Failure> {
    let outcome = report::load(result)?;
    let files = match out {
        Some(dir) => report::write_files(&outcome, dir)?,
        None => Vec::new(),
    };
    report::console::print(&outcome, &files);
    Ok(run::status(&outcome, None))
}
