//! One run of one scenario: settings to scenario, scenario to outcome, outcome to files.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{SystemTime, UNIX_EPOCH};

use loadgen::conduct::{Plan, Sink, Stop, conduct};
use loadgen::failure::Failure;
use loadgen::outcome::Outcome;
use loadgen::polite::{self, Budget, Gate};
use loadgen::report::{self, console::Console, jsonl::Jsonl, prometheus::Exporter};
use loadgen::sample::{self, Sampler};
use loadgen::search::slo::{Judgement, Slo, Verdict};
use loadgen::settings::{Common, File};
use loadgen::target::Target;
use loadgen::{churn, handshake, live, machine, tickets, trickle};

use super::load::Load;
use super::{FAILED, MISSED, NOT_VALID, RunArgs};

/// `loadgen trickle`, `churn`, `live`, `tickets`, `handshake`.
pub(crate) fn run<T: Load>(args: RunArgs<T>) -> Result<ExitCode, Failure> {
    let mut file = File::read(args.scenario.as_deref())?;
    let common = args.common.or(file.take("run")?);
    let own = args.own.or(file.take(T::NAME)?);
    file.finish()?;
    measure(&own, &common, args.slo.as_ref())
}

/// `loadgen run FILE`.
pub(crate) fn run_file(path: &Path) -> Result<ExitCode, Failure> {
    fn go<T: Load>(mut file: File) -> Result<ExitCode, Failure> {
        let (common, own): (Common, T) = (file.take("run")?, file.take(T::NAME)?);
        file.finish()?;
        measure(&own, &common, None)
    }
    let file = File::read(Some(path))?;
    let names = [
        trickle::Options::NAME,
        churn::Options::NAME,
        live::Options::NAME,
        tickets::Options::NAME,
        handshake::Options::NAME,
    ];
    match names.into_iter().find(|name| file.has(name)) {
        Some(trickle::Options::NAME) => go::<trickle::Options>(file),
        Some(churn::Options::NAME) => go::<churn::Options>(file),
        Some(live::Options::NAME) => go::<live::Options>(file),
        Some(tickets::Options::NAME) => go::<tickets::Options>(file),
        Some(handshake::Options::NAME) => go::<handshake::Options>(file),
        _ => Err(Failure::new(format!(
            "{}: no scenario; it has none of the tables [{}]",
            path.display(),
            names.join("], [")
        ))),
    }
}

fn measure<T: Load>(own: &T, common: &Common, slo: Option<&Slo>) -> Result<ExitCode, Failure> {
    if let Some(errand) = own.errand() {
        let (target, _) = address(&run_id(), common)?;
        let is_done = errand(&target, &on_interrupt()?)?;
        return Ok(ExitCode::from(if is_done { 0 } else { MISSED }));
    }
    let desk = Desk::set_up(T::NAME, common)?;
    let mut console = Console::new();
    let outcome = desk.perform(own, common, &mut console)?;
    let files = match &desk.dir {
        Some(dir) => report::write_files(&outcome, dir)?,
        None => Vec::new(),
    };
    report::console::print(&outcome, &files);
    let judgement = slo.map(|slo| slo.judge(&outcome)).transpose()?;
    if let Some(judgement) = &judgement {
        println!("objective  {judgement}");
    }
    Ok(status(&outcome, judgement.as_ref()))
}

/// What an outcome means to a script.
pub(crate) fn status(outcome: &Outcome, judgement: Option<&Judgement>) -> ExitCode {
    if !outcome.verdict.is_valid {
        ExitCode::from(NOT_VALID)
    } else if judgement.is_some_and(|judgement| judgement.verdict != Verdict::Met) {
        ExitCode::from(MISSED)
    } else {
        ExitCode::SUCCESS
    }
}

/// What all runs of a command share.
pub(crate) struct Desk {
    /// Where files go.
    pub(crate) dir: Option<PathBuf>,
    target: Target,
    gate: Gate,
    server_pid: Option<u32>,
    stop: Stop,
}

impl Desk {
    pub(crate) fn set_up(name: &str, common: &Common) -> Result<Self, Failure> {
        let run = run_id();
        let (target, gate) = address(&run, common)?;
        let dir = (!common.no_files.unwrap_or(false)).then(|| {
            common
                .out
                .clone()
                .unwrap_or_else(|| Path::new("loadgen-results").join(format!("{name}-{run}")))
        });
        if let Some(dir) = &dir {
            std::fs::create_dir_all(dir).map_err(|error| {
                Failure::new(format!(
                    "{}: {error}; give another folder with --out",
                    dir.display()
                ))
            })?;
        }
        Ok(Self {
            dir,
            server_pid: server_pid(common, &target)?,
            target,
            gate,
            stop: on_interrupt()?,
        })
    }

    /// Carries a scenario out.
    pub(crate) fn perform<T: Load>(
        &self,
        own: &T,
        common: &Common,
        sink: &mut dyn Sink,
    ) -> Result<Outcome, Failure> {
        let lengths = common.lengths();
        let scenario = own.resolve(self.target.clone(), common.seed(), &self.gate)?;
        let traffic = lengths.warmup + lengths.window + lengths.cooldown;
        self.gate
            .check_plan(&scenario.demand(traffic.as_secs_f64()))?;
        raise_file_limit();
        let mut jsonl = match &self.dir {
            Some(dir) => Some(Jsonl::create(&dir.join("seconds.jsonl"))?),
            None => None,
        };
        let mut exporter = match common.prometheus {
            Some(addr) => Some(Exporter::listen(addr, &self.target.url)?),
            None => None,
        };
        let mut sinks: Vec<&mut dyn Sink> = vec![sink];
        if let Some(jsonl) = &mut jsonl {
            sinks.push(jsonl);
        }
        if let Some(exporter) = &mut exporter {
            sinks.push(exporter);
        }
        let outcome = conduct(
            &*scenario,
            Plan {
                lengths,
                threads: common.threads.unwrap_or(1).max(1),
                cpus: common.cpu.clone().unwrap_or_default(),
                is_busy_polling: common.busy_poll.unwrap_or(false),
                own_limits: common.own_limits(),
                sampler: Sampler::attach(self.server_pid, self.target.is_local()),
                repro: machine::repro(common.seed(), &self.target, self.server_pid),
                sinks,
                stop: self.stop.clone(),
            },
        );
        self.heed(&outcome);
        outcome
    }

    /// A refusal, of the whole load or of a part of it, shuts the gate of a polite run.
    fn heed(&self, outcome: &Result<Outcome, Failure>) {
        match outcome {
            Err(why) => self.gate.refused_in_words(&why.to_string()),
            Ok(outcome) => {
                let statuses = outcome
                    .counts
                    .errors
                    .keys()
                    .filter_map(|class| class.strip_prefix("status-"));
                for status in statuses.filter_map(|status| status.parse().ok()) {
                    self.gate.refused(status);
                }
            }
        }
    }

    /// Whether nothing more may be sent.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.is_told() || self.gate.is_shut()
    }
}

/// The server, with the tag that every request to it has, and what stands between us and it.
fn address(run: &str, common: &Common) -> Result<(Target, Gate), Failure> {
    let mut target = common.resolve_target(String::new())?;
    let is_polite = polite::is_polite(common.polite.unwrap_or_default(), &target);
    target.tag = polite::tag(run, is_polite);
    if !is_polite {
        return Ok((target, Gate::open()));
    }
    let budget = common
        .budget
        .as_deref()
        .map_or(Ok(Budget::default()), Budget::parse);
    Ok((target, Gate::with(budget.map_err(Failure::new)?)))
}

/// Names a run: when it began, and which process it is. `20261121T131500Z-1f3a`.
fn run_id() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let when: String = machine::rfc3339(seconds)
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    format!("{when}-{:x}", std::process::id())
}

fn server_pid(common: &Common, target: &Target) -> Result<Option<u32>, Failure> {
    match common.server_pid.as_deref().unwrap_or("auto") {
        "none" => Ok(None),
        "auto" if target.is_local() => {
            let found = sample::find_server(target.addr);
            if found.is_none() {
                eprintln!(
                    "note: nobody can be seen to listen on port {}, so the server's CPU and memory are not measured; name its process with --server-pid",
                    target.port
                );
            }
            Ok(found)
        }
        "auto" => {
            eprintln!(
                "note: {target} is on another machine, so its CPU and memory are not measured"
            );
            Ok(None)
        }
        pid => pid.parse().map(Some).map_err(|_| {
            Failure::new(format!(
                "--server-pid {pid}: write a process number, auto or none"
            ))
        }),
    }
}

/// The first Ctrl-C ends the run in good order, the second at once.
fn on_interrupt() -> Result<Stop, Failure> {
    let stop = Stop::default();
    let flag: Arc<AtomicBool> = stop.flag();
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, i32::from(FAILED), flag.clone())?;
        signal_hook::flag::register(signal, flag.clone())?;
    }
    Ok(stop)
}

/// Two sockets a subscriber are more than the usual 1024 allow.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if setrlimit(Resource::Nofile, raised).is_err() {
        eprintln!("note: the limit of open files stays at {:?}", limit.current);
    }
}
