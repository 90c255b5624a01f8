//! Names the resource that gave out: what an operator would buy, move or set to get more.
//!
//! ```text
//!   the generator ─▶ admission ─▶ CPUs ─▶ one thread ─▶ memory ─▶ GPU engine ─▶ the network ─▶ nothing that was watched
//!   (no figure        (it said     (all)   (the others                          (only when nothing else is full
//!    counts)           so itself)           are idle)                            and more load brought no more bytes)
//! ```
//!
//! Invariants:
//! - Every name comes with the numbers that it follows from; where nothing was full, the numbers are told all the same.
//! - The network is never seen itself. It is named as what is left, and the text says so.
//! - A server on one CPU fills it with several threads of which none is busy for itself: the process is looked at, not its threads
//!   alone.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::slo::{real, significant};
use crate::outcome::{Outcome, ServerUse};

/// What gave out, and how that shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bottleneck {
    /// In a word.
    pub resource: Resource,
    /// In a sentence, with numbers.
    pub evidence: String,
}

impl fmt::Display for Bottleneck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.evidence)
    }
}

/// What can give out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// This program or its machine.
    Generator,
    /// The server's own limit on what it takes.
    Admission,
    /// All CPUs that the server may use.
    ServerCpus,
    /// One thread of the server's.
    ServerThread,
    /// Memory.
    Memory,
    /// NVDEC.
    GpuDecoder,
    /// NVENC.
    GpuEncoder,
    /// The GPU's multiprocessors.
    GpuSm,
    /// What lies between.
    Network,
    /// Nothing that was watched.
    Unseen,
}

/// What gave out in `failing`, likeliest first, never nothing. `passing` is the greatest load below it that passed.
pub fn name(passing: Option<&Outcome>, failing: &Outcome) -> Vec<Bottleneck> {
    if !failing.verdict.is_valid {
        // Nothing else in this result can be believed.
        return vec![Bottleneck {
            resource: Resource::Generator,
            evidence: format!(
                "the generator's side gave out, not the server: {}",
                failing.verdict.reasons.join("; ")
            ),
        }];
    }
    let mut named: Vec<Bottleneck> = admission(passing, failing).into_iter().collect();
    if let Some(server) = &failing.server {
        named.extend(cpus(server, failing));
        named.extend(thread(server));
        named.extend(memory(server, failing));
    }
    named.extend(gpus(failing));
    if named.is_empty() {
        named.extend(passing.and_then(|passing| network(passing, failing)));
    }
    if named.is_empty() {
        named.push(unseen(failing));
    }
    named
}

/// The server said no, more often than anything else went wrong.
fn admission(passing: Option<&Outcome>, failing: &Outcome) -> Option<Bottleneck> {
    let refusals = |outcome: &Outcome| -> u64 {
        let errors = outcome.counts.errors.iter();
        errors
            .filter(|(class, _)| is_refusal(class))
            .map(|(_, count)| count)
            .sum()
    };
    let refused = refusals(failing);
    let all = failing.counts.error_count();
    // What was there before it failed did not make it fail.
    let is_new = passing.is_none_or(|passing| refusals(passing).saturating_mul(2) < refused);
    if refused == 0 || refused * 2 <= all || !is_new {
        return None;
    }
    let classes: Vec<String> = failing
        .counts
        .errors
        .iter()
        .filter(|(class, _)| is_refusal(class))
        .map(|(class, count)| format!("{count} {class}"))
        .collect();
    Some(Bottleneck {
        resource: Resource::Admission,
        evidence: format!(
            "the server's admission: it refused ({}; {refused} of {all} errors); look for its limit on sessions or connections",
            classes.join(", ")
        ),
    })
}

fn is_refusal(class: &str) -> bool {
    REFUSALS.contains(&class)
        || class.contains("refused")
        || class.contains("capacity")
        || class.contains("Capped")
}

fn cpus(server: &ServerUse, failing: &Outcome) -> Option<Bottleneck> {
    let allowed = f64::from(server.cpus_allowed);
    let quota = cgroup(failing, "cpu.max").and_then(|value| {
        let (quota, period) = value.split_once(' ')?;
        let cpus = quota.parse::<f64>().ok()? / period.trim().parse::<f64>().ok()?;
        (cpus.is_finite() && cpus > 0.0).then_some(cpus)
    });
    let (cpus, whose) = match quota {
        Some(quota) if quota < allowed => (quota, "CPUs' worth that this control group gives"),
        _ => (allowed, "CPUs that it may use"),
    };
    if cpus <= 0.0 || server.cpu_share < FULL * cpus {
        return None;
    }
    Some(Bottleneck {
        resource: Resource::ServerCpus,
        evidence: format!(
            "the server's CPUs: it used {} of the {} {whose}{}",
            significant(server.cpu_share),
            significant(cpus),
            busiest(server)
        ),
    })
}

fn busiest(server: &ServerUse) -> String {
    let mut threads: Vec<_> = server.threads.iter().collect();
    threads.sort_by(|a, b| b.cpu_share.total_cmp(&a.cpu_share));
    let told: Vec<String> = threads
        .iter()
        .take(THREADS_TOLD)
        .map(|thread| format!("{} {:.0} %", thread.name, thread.cpu_share * 100.0))
        .collect();
    if told.is_empty() {
        String::new()
    } else {
        format!(" (busiest threads: {})", told.join(", "))
    }
}

fn thread(server: &ServerUse) -> Option<Bottleneck> {
    let busy: Vec<String> = server
        .threads
        .iter()
        .filter(|thread| thread.cpu_share >= FULL)
        .map(|thread| {
            format!(
                "{} used {:.0} % of a CPU",
                thread.name,
                thread.cpu_share * 100.0
            )
        })
        .collect();
    (!busy.is_empty()).then(|| Bottleneck {
        resource: Resource::ServerThread,
        evidence: format!(
            "the server's thread: {}, while the whole process used {} of {} CPUs; what it does is not spread any further",
            busy.join(", "),
            significant(server.cpu_share),
            server.cpus_allowed
        ),
    })
}

fn memory(server: &ServerUse, failing: &Outcome) -> Option<Bottleneck> {
    let limit_mib = cgroup(failing, "memory.max")
        .and_then(|value| value.trim().parse::<u64>().ok())
        .map(|bytes| real(bytes) / f64::from(1 << 20));
    let machine_mib = Some(real(failing.repro.machine.memory_mib)).filter(|mib| *mib > 0.0);
    let (limit_mib, whose) = match (limit_mib, machine_mib) {
        (Some(limit), Some(machine)) if limit > machine => (machine, "the machine"),
        (Some(limit), _) => (limit, "this control group's memory.max"),
        (None, Some(machine)) => (machine, "the machine"),
        (None, None) => return None,
    };
    let rss_mib = server.rss_mib.max(server.rss_peak_mib);
    (rss_mib >= FULL * limit_mib).then(|| Bottleneck {
        resource: Resource::Memory,
        evidence: format!(
            "memory: the server held {} MiB of the {} MiB of {whose}",
            significant(rss_mib),
            significant(limit_mib)
        ),
    })
}

fn cgroup<'a>(outcome: &'a Outcome, key: &str) -> Option<&'a str> {
    let lines = outcome.repro.machine.cgroup.iter();
    lines
        .filter_map(|line| line.split_once('='))
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value)
}

fn gpus(failing: &Outcome) -> Vec<Bottleneck> {
    let gpus = failing.server.iter().flat_map(|server| &server.gpus);
    let mut named: Vec<(f64, Bottleneck)> = gpus
        .flat_map(|gpu| {
            [
                (Resource::GpuDecoder, "decoder (NVDEC)", gpu.decoder_percent),
                (Resource::GpuEncoder, "encoder (NVENC)", gpu.encoder_percent),
                (Resource::GpuSm, "multiprocessors (SM)", gpu.sm_percent),
            ]
            .into_iter()
            .filter_map(|(resource, engine, percent)| {
                let percent = percent.filter(|percent| *percent >= FULL * 100.0)?;
                let evidence = format!(
                    "the {engine} of GPU {} ({}): busy for {percent:.0} % of the window",
                    gpu.index, gpu.name
                );
                Some((percent, Bottleneck { resource, evidence }))
            })
        })
        .collect();
    named.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    named.into_iter().map(|(_, named)| named).collect()
}

/// More was asked for, and no more came, though nothing else was full.
fn network(passing: &Outcome, failing: &Outcome) -> Option<Bottleneck> {
    // Results that should come, not operations: with more subscribers the one grows and the other does not.
    let asked = |outcome: &Outcome| {
        real(outcome.counts.expected.max(outcome.counts.due)) / outcome.window_s
    };
    let growth = |before: f64, after: f64| after / before - 1.0;
    let asked_more = growth(asked(passing), asked(failing));
    let came_more = growth(
        passing.rate.received_mib_per_s,
        failing.rate.received_mib_per_s,
    );
    // Written so that what is no number, after a division by nothing, is no growth.
    let is_plateau = asked_more >= GROWTH_MIN && came_more < asked_more * PLATEAU;
    is_plateau.then(|| Bottleneck {
        resource: Resource::Network,
        evidence: format!(
            "probably the network, or a queue that was not watched: {:.0} % more was asked for, and {:+.1} % came ({} MiB/s after {}), \
             while {}",
            asked_more * 100.0,
            came_more * 100.0,
            significant(failing.rate.received_mib_per_s),
            significant(passing.rate.received_mib_per_s),
            watched(failing)
        ),
    })
}

fn unseen(failing: &Outcome) -> Bottleneck {
    Bottleneck {
        resource: Resource::Unseen,
        evidence: format!("nothing that was watched gave out: {}", watched(failing)),
    }
}

/// The numbers, when none of them is high.
fn watched(outcome: &Outcome) -> String {
    let mut told = Vec::new();
    match &outcome.server {
        None => told.push("the server could not be watched (it is not on this machine, or --server-pid is missing)".to_owned()),
        Some(server) => {
            told.push(format!(
                "the server used {} of {} CPUs{} and {} MiB",
                significant(server.cpu_share),
                server.cpus_allowed,
                busiest(server),
                significant(server.rss_mib)
            ));
            for gpu in &server.gpus {
                let percent = |value: Option<f64>| {
                    value.map_or("not told".to_owned(), |value| format!("{value:.0} %"))
                };
                told.push(format!(
                    "GPU {}: decoder {}, encoder {}, SM {}",
                    gpu.index,
                    percent(gpu.decoder_percent),
                    percent(gpu.encoder_percent),
                    percent(gpu.sm_percent)
                ));
            }
        }
    }
    told.push(format!(
        "the generator's busiest thread used {:.0} % of a CPU",
        outcome.own.cpu_share_max * 100.0
    ));
    if !outcome.counts.errors.is_empty() {
        let errors: Vec<String> = outcome
            .counts
            .errors
            .iter()
            .map(|(class, count)| format!("{count} {class}"))
            .collect();
        told.push(format!("errors: {}", errors.join(", ")));
    }
    told.join("; ")
}

/// A resource that is used to this part is full: means over a window hide the moments in which it was wholly so.
const FULL: f64 = 0.9;
/// Below this, growth says nothing.
const GROWTH_MIN: f64 = 0.05;
/// What came grew by less than this part of what was asked for.
const PLATEAU: f64 = 0.1;
/// Error classes that mean no rather than broken. `connect` is a connection that was not accepted.
const REFUSALS: [&str; 5] = [
    "connect",
    "status-402",
    "status-429",
    "status-503",
    "refused",
];
const THREADS_TOLD: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{GpuUse, ThreadUse};
    use crate::search::example;

    fn with(server: ServerUse) -> Outcome {
        Outcome {
            server: Some(server),
            ..example::outcome()
        }
    }

    fn threads(shares: &[f64]) -> Vec<ThreadUse> {
        (0..)
            .zip(shares)
            .map(|(number, &cpu_share)| ThreadUse {
                name: format!("worker-{number}"),
                cpu: None,
                cpu_share,
            })
            .collect()
    }

    fn first(passing: Option<&Outcome>, failing: &Outcome, want: Resource, evidence: &str) {
        let named = name(passing, failing);
        assert_eq!(named[0].resource, want, "{named:?}");
        assert!(named[0].evidence.contains(evidence), "{named:?}");
    }

    #[test]
    fn the_generator_comes_before_everything() {
        let mut failing = with(ServerUse {
            cpu_share: 4.0,
            cpus_allowed: 4,
            ..ServerUse::default()
        });
        failing.verdict.is_valid = false;
        failing.verdict.reasons = vec!["it sent 3 ms late".to_owned()];
        first(None, &failing, Resource::Generator, "3 ms late");
        assert_eq!(name(None, &failing).len(), 1);
    }

    #[test]
    fn a_server_that_says_no_is_believed() {
        let mut failing = example::outcome();
        failing.counts.errors = [("status-503".to_owned(), 9), ("reset".to_owned(), 4)].into();
        first(
            Some(&example::outcome()),
            &failing,
            Resource::Admission,
            "9 status-503; 9 of 13",
        );
        // Not when the same was there before, nor when other errors are more.
        first(
            Some(&failing.clone()),
            &failing,
            Resource::Unseen,
            "9 status-503",
        );
        failing.counts.errors.insert("timeout".to_owned(), 20);
        first(None, &failing, Resource::Unseen, "20 timeout");
    }

    #[test]
    fn one_thread_is_told_from_all_cpus() {
        let failing = with(ServerUse {
            cpu_share: 1.3,
            cpus_allowed: 4,
            threads: threads(&[0.93, 0.3]),
            ..ServerUse::default()
        });
        first(None, &failing, Resource::ServerThread, "worker-0 used 93 %");
        // On one CPU, three threads fill it and none is busy for itself.
        let failing = with(ServerUse {
            cpu_share: 0.97,
            cpus_allowed: 1,
            threads: threads(&[0.4, 0.3, 0.27]),
            ..ServerUse::default()
        });
        first(None, &failing, Resource::ServerCpus, "0.97 of the 1 CPUs");
        assert_eq!(name(None, &failing).len(), 1);
        // A quota is as good as fewer CPUs.
        let mut failing = with(ServerUse {
            cpu_share: 1.9,
            cpus_allowed: 8,
            ..ServerUse::default()
        });
        failing.repro.machine.cgroup = vec!["cpu.max=200000 100000".to_owned()];
        first(
            None,
            &failing,
            Resource::ServerCpus,
            "1.9 of the 2 CPUs' worth",
        );
        failing.repro.machine.cgroup = vec!["cpu.max=max 100000".to_owned()];
        first(None, &failing, Resource::Unseen, "1.9 of 8 CPUs");
    }

    #[test]
    fn memory_is_held_against_the_nearest_limit() {
        let mut failing = with(ServerUse {
            rss_mib: 950.0,
            cpus_allowed: 4,
            ..ServerUse::default()
        });
        failing.repro.machine.memory_mib = 16_384;
        first(None, &failing, Resource::Unseen, "950 MiB");
        failing.repro.machine.cgroup = vec!["memory.max=1073741824".to_owned()];
        first(None, &failing, Resource::Memory, "950 MiB of the 1024 MiB");
        failing.repro.machine.memory_mib = 1_000;
        first(None, &failing, Resource::Memory, "the machine");
    }

    #[test]
    fn the_busiest_engine_of_a_gpu_comes_first() {
        let failing = with(ServerUse {
            gpus: vec![GpuUse {
                decoder_percent: Some(91.0),
                encoder_percent: Some(99.0),
                sm_percent: Some(40.0),
                ..GpuUse::default()
            }],
            cpus_allowed: 8,
            ..ServerUse::default()
        });
        first(None, &failing, Resource::GpuEncoder, "99 %");
        assert_eq!(name(None, &failing)[1].resource, Resource::GpuDecoder);
        assert_eq!(name(None, &failing).len(), 2);
    }

    #[test]
    fn the_network_is_what_is_left_when_bytes_stop_growing() {
        let passing = example::outcome();
        let mut failing = example::outcome();
        failing.counts.expected = 1_500;
        failing.rate.received_mib_per_s = 1.02;
        first(
            Some(&passing),
            &failing,
            Resource::Network,
            "50 % more was asked for, and +2.0 % came",
        );
        failing.rate.received_mib_per_s = 1.4;
        first(
            Some(&passing),
            &failing,
            Resource::Unseen,
            "nothing that was watched",
        );
        failing.rate.received_mib_per_s = 1.0;
        first(None, &failing, Resource::Unseen, "nothing that was watched");
        failing.server = None;
        let mut nothing = example::outcome();
        nothing.rate.received_mib_per_s = 0.0;
        first(
            Some(&nothing),
            &failing,
            Resource::Unseen,
            "could not be watched",
        );
    }
}
