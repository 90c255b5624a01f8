//! `loadgen search`: one scenario, run again and again with more or less of one thing.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use loadgen::conduct::{Lengths, Sink};
use loadgen::failure::Failure;
use loadgen::measure::Interval;
use loadgen::outcome::{Outcome, Second};
use loadgen::report;
use loadgen::search::{self, Find, Probe, search};
use loadgen::settings::{Common, File};
use loadgen::units::Time;
use loadgen::{churn, handshake, live, tickets, trickle};

use super::MISSED;
use super::load::Load;
use super::run::Desk;

/// What to search.
#[derive(Subcommand)]
pub(crate) enum Scenario {
    /// The most channels, subscribers of each, or chunks a second of each
    Trickle(SearchArgs<trickle::Options>),
    /// The most joins a second
    Churn(SearchArgs<churn::Options>),
    /// The most live sessions
    Live(SearchArgs<live::Options>),
    /// The most payments a second
    Tickets(SearchArgs<tickets::Options>),
    /// The most handshakes a second
    Handshake(SearchArgs<handshake::Options>),
}

/// Flags of a search.
#[derive(Args)]
pub(crate) struct SearchArgs<T: Args> {
    /// Read settings from this TOML file, with the search's own in [search]; flags win over it
    #[arg(long, value_name = "FILE.toml")]
    scenario: Option<PathBuf>,
    #[command(flatten)]
    search: search::Options,
    #[command(flatten)]
    own: T,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(scenario: Scenario) -> Result<ExitCode, Failure> {
    match scenario {
        Scenario::Trickle(args) => find(args),
        Scenario::Churn(args) => find(args),
        Scenario::Live(args) => find(args),
        Scenario::Tickets(args) => find(args),
        Scenario::Handshake(args) => find(args),
    }
}

fn find<T: Load>(args: SearchArgs<T>) -> Result<ExitCode, Failure> {
    let mut file = File::read(args.scenario.as_deref())?;
    let common = args.common.or(file.take("run")?);
    let own = args.own.or(file.take(T::NAME)?);
    let options = args.search.or(file.take("search")?).resolve(T::NAME)?;
    file.finish()?;
    let mut trial = own.clone();
    if !trial.set(options.find, 1) {
        return Err(Failure::new(format!(
            "{} has no {} to search for; without --find it searches for {}",
            T::NAME,
            options.find,
            Find::of_scenario(T::NAME)?
        )));
    }
    let desk = Desk::set_up(&format!("search-{}", T::NAME), &common)?;
    let mut prober = Prober {
        desk: &desk,
        own,
        common,
        find: options.find,
    };
    let found = search(&options, &mut prober, &mut |step| println!("{step}"))?;
    println!("\n{found}");
    if let Some(dir) = &desk.dir {
        found.write(&dir.join("search.json"))?;
        for (name, outcome) in [("best", &found.confirming), ("beyond", &found.failing)] {
            if let Some(outcome) = outcome {
                report::write_files(outcome, &dir.join(name))?;
            }
        }
        println!("files      {}", dir.display());
    }
    Ok(if found.answer.n.is_some() && !desk.is_stopped() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(MISSED)
    })
}

struct Prober<'a, T> {
    desk: &'a Desk,
    own: T,
    common: Common,
    find: Find,
}

impl<T: Load> Probe for Prober<'_, T> {
    fn measure(&mut self, n: u64, is_confirmation: bool) -> Result<Outcome, Failure> {
        let mut own = self.own.clone();
        let n =
            u32::try_from(n).map_err(|_| Failure::new(format!("{n} is more than there can be")))?;
        own.set(self.find, n);
        let mut common = self.common.clone();
        let window = common
            .lengths()
            .window
            .min(PROBE_WINDOW_MAX.max(common.window.map_or(Duration::ZERO, |time| time.0)));
        common.window = Some(Time(if is_confirmation {
            window * CONFIRMATION_TIMES
        } else {
            window
        }));
        self.desk.perform(&own, &common, &mut Quiet)
    }

    fn is_stopped(&self) -> bool {
        self.desk.is_stopped()
    }
}

/// A search shows its steps, not their seconds.
struct Quiet;

impl Sink for Quiet {
    fn begin(&mut self, _: &dyn loadgen::conduct::Scenario, _: Lengths) {}
    fn phase(&mut self, _: &str) {}
    fn second(&mut self, _: &Second, _: &Interval) {}
    fn note(&mut self, text: &str) {
        eprintln!("note: {text}");
    }
}

/// A probe is shorter than a run, unless --window says otherwise.
const PROBE_WINDOW_MAX: Duration = Duration::from_secs(10);
/// So many windows long is the run that confirms the answer.
const CONFIRMATION_TIMES: u32 = 2;
