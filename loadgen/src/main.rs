//! `loadgen`: load for Livepeer nodes, and numbers that can be believed.
//!
//! | exit status | means |
//! |---|---|
//! | 0 | it ran, its figures count, and what was asked of them holds |
//! | 1 | it could not run |
//! | 2 | the command line is not right |
//! | 3 | it ran, and its figures do not count: the generator was the bottleneck, or it was interrupted |
//! | 4 | the figures count, and miss the objective or the threshold; or what was to be settled stays open |
#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Trickle(args) => cli::run::run(args),
        Command::Churn(args) => cli::run::run(args),
        Command::Live(args) => cli::run::run(args),
        Command::Tickets(args) => cli::run::run(args),
        Command::Handshake(args) => cli::run::run(args),
        Command::Run { file } => cli::run::run_file(&file),
        Command::Search(scenario) => cli::search::run(scenario),
        Command::Compare(args) => cli::compare(&args),
        Command::Report { result, out } => cli::report(&result, out.as_deref()),
    };
    outcome.unwrap_or_else(|failure| {
        eprintln!("loadgen: {failure}");
        ExitCode::from(cli::FAILED)
    })
}
