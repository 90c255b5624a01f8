//! Both servers in turn, in one run, and the table.
//!
//! Round after round, scenario after scenario, the floor and then millstream: a fresh process each time, pinned to the
//! server's CPU, with the load on its own. What drifts with the machine drifts under both.

pub(crate) mod machine;
pub(crate) mod server;
mod table;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::load::{Failure, Moment, Plan, Target};
use crate::pin;

use server::{Server, Usage};
pub use table::report;

/// What to compare, and how.
#[derive(Debug, Clone)]
pub struct Campaign {
    /// The millstream binary.
    pub server: PathBuf,
    /// More arguments for it.
    pub server_args: Vec<String>,
    /// Measure the floor alone, when there is no server to compare with.
    pub is_floor_only: bool,
    /// The CPU of either server.
    pub server_cpu: usize,
    /// The CPU of the load.
    pub load_cpu: usize,
    /// Who publishes to how many.
    pub scenarios: Vec<Scenario>,
    /// How often each is measured.
    pub rounds: usize,
    /// Everything about the load but address, target and scenario.
    pub plan: Plan,
    /// Where the result goes, beside standard output.
    pub out: Option<PathBuf>,
    /// The date to put on it; today when there is none.
    pub date: Option<String>,
}

/// So many publishers, each with so many subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// Publishers.
    pub publishers: u32,
    /// Subscribers of each.
    pub subscribers_each: u32,
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |number: &str| number.parse().ok().filter(|&number: &u32| number > 0);
        text.split_once('x')
            .and_then(|(p, s)| {
                Some(Self {
                    publishers: parse(p)?,
                    subscribers_each: parse(s)?,
                })
            })
            .ok_or_else(|| "write 20x5 for 20 publishers with 5 subscribers each".to_owned())
    }
}

impl std::fmt::Display for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}×{}", self.publishers, self.subscribers_each)
    }
}

/// One measurement.
#[derive(Debug, Clone)]
pub struct Measured {
    scenario: Scenario,
    target: Target,
    round: usize,
    delivered_bytes: u64,
    usage: Usage,
    peak_rss_bytes: u64,
    p50_ns: u64,
    p99_ns: u64,
    p999_ns: u64,
    missing: u64,
    faults: u64,
    lateness_p99_ns: u64,
    own_cpu_share: f64,
    is_generator_bound: bool,
}

impl Campaign {
    /// Measures everything; progress goes to standard error.
    ///
    /// # Errors
    /// A server did not start or did not behave; the text holds the last lines of its log.
    pub fn run(&self) -> Result<Vec<Measured>, Failure> {
        if !self.is_floor_only && !self.server.is_file() {
            return Err(Failure::new(format!(
                "{} is not a file; build it with `cargo build --release`, or give --server or --floor-only",
                self.server.display()
            )));
        }
        if self.server_cpu == self.load_cpu {
            eprintln!(
                "warning: server and load share CPU {}: the latencies mean little",
                self.load_cpu
            );
        }
        pin::to(self.load_cpu)?;
        let targets: &[Target] = if self.is_floor_only {
            &[Target::Floor]
        } else {
            &[Target::Floor, Target::Trickle]
        };
        let mut all = Vec::new();
        for round in 1..=self.rounds {
            for &scenario in &self.scenarios {
                for &target in targets {
                    let measured = self.measure(scenario, target, round)?;
                    eprintln!("{measured}");
                    all.push(measured);
                }
            }
        }
        Ok(all)
    }

    fn measure(
        &self,
        scenario: Scenario,
        target: Target,
        round: usize,
    ) -> Result<Measured, Failure> {
        let server = self.start(target)?;
        let mut plan = self.plan.clone();
        plan.target = target;
        plan.addr = server.addr();
        plan.publishers = scenario.publishers;
        plan.subscribers_each = scenario.subscribers_each;
        let mut marks = Vec::new();
        let outcome = plan.run(|moment| marks.push((moment, server.usage())));
        let tally = outcome.map_err(|failure| server.explain(&failure.to_string()))?;
        let mut window = [Usage::default(); 2];
        for (moment, usage) in marks {
            window[usize::from(moment == Moment::WindowEnd)] = usage?;
        }
        let peak_rss_bytes = server.peak_rss_bytes()?;
        server.stop()?;
        Ok(Measured {
            scenario,
            target,
            round,
            delivered_bytes: tally.window_bytes,
            usage: window[1].since(window[0]),
            peak_rss_bytes,
            p50_ns: tally.last_ns.value_at_quantile(0.5),
            p99_ns: tally.last_ns.value_at_quantile(0.99),
            p999_ns: tally.last_ns.value_at_quantile(0.999),
            missing: tally.missing(),
            faults: tally.duplicates + tally.corrupted + tally.truncated,
            lateness_p99_ns: tally.lateness_ns.value_at_quantile(0.99),
            own_cpu_share: tally.own_cpu_share(),
            is_generator_bound: tally.is_generator_bound(),
        })
    }

    fn start(&self, target: Target) -> Result<Server, Failure> {
        match target {
            Target::Floor => {
                let own = std::env::current_exe()?;
                Server::start("floor", &own, Some(self.server_cpu), |addr, _| {
                    vec!["floor".into(), "--listen".into(), addr.to_string()]
                })
            }
            Target::Trickle => Server::start(
                "millstream",
                &self.server,
                Some(self.server_cpu),
                |addr, data_dir| {
                    let mut args: Vec<String> =
                        ["orchestrator", "--lanes", "1", "--trickle-autocreate"]
                            .map(Into::into)
                            .into();
                    args.extend([
                        "--service-addr".into(),
                        service_addr(addr),
                        "--cores".into(),
                        self.server_cpu.to_string(),
                    ]);
                    args.extend(["--data-dir".into(), data_dir.display().to_string()]);
                    args.extend(self.server_args.iter().cloned());
                    args
                },
            ),
        }
    }

    /// Writes the report to where it should go.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn publish(&self, report: &str) -> Result<(), Failure> {
        println!("{report}");
        let Some(out) = &self.out else { return Ok(()) };
        let failed = |error: std::io::Error| {
            Failure::new(format!("cannot write {}: {error}", out.display()))
        };
        if let Some(folder) = out.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        fs::write(out, format!("{report}\n")).map_err(failed)?;
        eprintln!("written to {}", out.display());
        Ok(())
    }
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "round {} {:>6} {:<7} {:.3} CPU s/GiB, p50 {:.3} ms, p99 {:.3} ms, {} missing",
            self.round,
            self.scenario.to_string(),
            table::name(self.target),
            self.cpu_s_per_gib(),
            table::ms(self.p50_ns),
            table::ms(self.p99_ns),
            self.missing,
        )?;
        if self.is_generator_bound {
            write!(f, "; the generator was the bottleneck")
        } else {
            Ok(())
        }
    }
}

fn service_addr(addr: SocketAddr) -> String {
    format!("http://{addr}")
}

/// How long a server may take to listen, and to stop.
const SERVER_PATIENCE: Duration = Duration::from_secs(10);

/// Raises the limit of open files as far as it goes: several sockets a subscriber or session are more than the usual 1024 allow.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if setrlimit(Resource::Nofile, raised).is_err() {
        eprintln!(
            "warning: the limit of open files stays at {:?}",
            limit.current
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_two_numbers() {
        assert_eq!(
            "20x5".parse(),
            Ok(Scenario {
                publishers: 20,
                subscribers_each: 5
            })
        );
        for bad in ["", "20", "x5", "0x5", "5x0", "1x2x3", "a x b"] {
            assert!(bad.parse::<Scenario>().is_err(), "{bad}");
        }
    }
}
