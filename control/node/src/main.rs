//! `millstream`: one binary, a subcommand a role.
//!
//! Only this package names both planes. It reads flags, environment and files, wires the planes together, and turns
//! what went wrong into a text and an exit status.

#![forbid(unsafe_code)]

mod account;
mod addr;
mod cert;
mod cli;
mod cores;
mod demo;
mod device;
mod devices;
mod failure;
mod gateway;
mod models;
mod options;
mod orchestrator;
mod payments;
mod ping;
mod plan;
mod preflight;
mod price_list;
mod report;
mod secrets;
mod tickets;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use tracing::Level;
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command, ConfigCommand, OrchestratorArgs};
use crate::failure::Failure;
use crate::options::Options;
use crate::plan::{Machine, Plan};
use crate::report::Style;

fn main() -> ExitCode {
    // The one provider that is linked; a second install would mean a second main.
    drop(rustls::crypto::ring::default_provider().install_default());
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            drop(io::stderr().write_all(failure.to_string().as_bytes()));
            ExitCode::from(failure.status())
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Orchestrator(args) => run_orchestrator(*args),
        Command::Demo(args) => {
            start_log("warn")?;
            demo::run(&args)
        }
        Command::Devices(args) => {
            let probe = engine::devices();
            print(&match args.json {
                true => devices::json(&probe),
                false => devices::text(&probe, Style::of(io::stdout().is_terminal())),
            });
            Ok(())
        }
        Command::Gateway(command) => {
            start_log("warn")?;
            let mut said = String::new();
            let style = Style::of(io::stdout().is_terminal());
            let outcome = gateway::run(&command, style, &mut said);
            print(&said);
            outcome
        }
        Command::Ticket(command) => {
            let mut said = String::new();
            let outcome = tickets::run(&command, &mut said);
            print(&said);
            outcome
        }
        Command::Config(ConfigCommand::Example) => {
            print(&cli::example());
            Ok(())
        }
    }
}

fn run_orchestrator(args: OrchestratorArgs) -> Result<(), Failure> {
    let file = match &args.config {
        Some(path) => Options::from_file(path)?,
        None => Options::default(),
    };
    let plan = Plan::resolve(args.options.or(file), &Machine::probe())?;
    if args.print_config {
        print(&plan.to_options().to_toml()?);
        return Ok(());
    }
    start_log(&plan.log)?;
    let running = orchestrator::start(plan)?;
    let signals = running.hear_signals()?;
    print(&running.report(Style::of(io::stdout().is_terminal())));
    running.until_signal(signals)
}

/// Logs go to standard error, so that standard output stays what was asked for.
fn start_log(filter: &str) -> Result<(), Failure> {
    let parsed = EnvFilter::try_new(with_quiet_libraries(filter)).map_err(|error| {
        Failure::usage(
            format!("the log filter {filter:?} is not understood"),
            error.to_string(),
        )
    })?;
    let started = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(io::stderr)
        .with_ansi(Style::of(io::stderr().is_terminal()) == Style::Terminal)
        .try_init();
    // Only a log that runs already can be in the way, and then there is one.
    drop(started);
    Ok(())
}

/// A bare level means our own words; who wants every frame of HTTP/2 names it in a filter.
fn with_quiet_libraries(filter: &str) -> String {
    match filter.parse::<Level>() {
        Ok(_) => format!("{filter},h2=warn,hyper=warn,hyper_util=warn,rustls=warn"),
        Err(_) => filter.to_owned(),
    }
}

/// A reader that went away is no failure of ours.
fn print(text: &str) {
    drop(io::stdout().write_all(text.as_bytes()));
}
