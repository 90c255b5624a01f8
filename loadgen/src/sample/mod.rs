//! What the server uses while it is under load, seen from outside: its process, the CPUs of the machine, the GPUs.
//!
//! ```text
//!   find     who listens there?    /proc/net/tcp, tcp6 ──▶ inode ──▶ /proc/*/fd        once
//!   process  /proc/PID/{stat,status}, task/*/schedstat                              ┐
//!   host     /proc/stat                                                             ├─ a look a second
//!   gpu      NVML                                                                   ┘
//! ```
//!
//! Invariants:
//! - A look reads what has changed: one small file a thread, and more only of threads that have run since the last.
//! - What was used never goes back, whichever threads end in between.
//! - What cannot be seen is `None`, and [`Sampler::notes`] says why; nothing is made up for it.

pub mod find;
pub mod gpu;
mod host;
mod process;

pub use find::find_server;

use crate::measure::Interval;
use crate::outcome::{Better, Figure, GpuUse, ServerUse};

use gpu::Gpus;
use host::Host;
use process::{Look, Process};

/// Watches a server's process.
#[derive(Debug, Default)]
pub struct Sampler {
    process: Option<Process>,
    host: Option<Host>,
    gpus: Option<&'static Gpus>,
    notes: Vec<String>,
}

impl Sampler {
    /// Watches process `pid`, when there is one, the CPUs, and the GPUs, when they are asked for. What cannot be watched is not, and
    /// [`notes`](Self::notes) says so.
    pub fn attach(pid: Option<u32>, gpus: bool) -> Self {
        let mut sampler = Self::default();
        match pid.map(Process::open).transpose() {
            Ok(process) => sampler.process = process,
            Err(why) => sampler.notes.push(why),
        }
        sampler.host = sampler.process.as_ref().map(|_| Host::default());
        if gpus {
            match gpu::gpus() {
                Ok(gpus) => sampler.gpus = Some(gpus),
                Err(why) => sampler
                    .notes
                    .push(format!("the GPUs are not watched: {why}")),
            }
        }
        sampler
    }

    /// What was asked for and cannot be watched, in words.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What the process has used until now.
    pub fn sample(&mut self) -> Sample {
        if let Some(host) = &mut self.host {
            host.look();
        }
        Sample {
            process: self.process.as_mut().and_then(Process::look),
            gpus: self.gpus.map(Gpus::look).unwrap_or_default(),
        }
    }

    /// What was used between the first sample and the last; `None` when the server could not be watched.
    pub fn conclude(&self, samples: &[Sample]) -> Option<ServerUse> {
        let process = self.process.as_ref()?;
        let mut looks = samples.iter().filter_map(|sample| sample.process);
        let first = looks.next()?;
        let last = looks.next_back()?;
        let wall_s = seconds(last.wall_ns.saturating_sub(first.wall_ns));
        if wall_s <= 0.0 {
            return None;
        }
        let cpu_s = seconds(last.cpu_ns.saturating_sub(first.cpu_ns));
        let gpus: Vec<&[GpuUse]> = samples
            .iter()
            .map(|sample| sample.gpus.as_slice())
            .collect();
        Some(ServerUse {
            pid: process.pid(),
            cpu_s,
            user_s: seconds(last.user_ticks.saturating_sub(first.user_ticks) * process::TICK_NS),
            cpu_share: cpu_s / wall_s,
            cpus_allowed: last.cpus_allowed,
            threads: process.busiest(wall_s),
            rss_mib: mib(last.rss_kib),
            rss_peak_mib: mib(last.rss_peak_kib),
            voluntary_switches: last.voluntary.saturating_sub(first.voluntary),
            involuntary_switches: last.involuntary.saturating_sub(first.involuntary),
            thread_count: last.threads,
            gpus: gpu::means(&gpus),
            cpus_busy: self.host.as_ref().map(Host::busy).unwrap_or_default(),
        })
    }
}

/// One look at the server and the GPUs.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    process: Option<Look>,
    gpus: Vec<GpuUse>,
}

impl Sample {
    /// CPU seconds a second since an earlier look.
    pub fn cpu_share_since(&self, before: &Self) -> Option<f64> {
        let (before, after) = (before.process?, self.process?);
        let wall_s = seconds(after.wall_ns.saturating_sub(before.wall_ns));
        (wall_s > 0.0).then(|| seconds(after.cpu_ns.saturating_sub(before.cpu_ns)) / wall_s)
    }

    /// Resident memory.
    pub fn rss_mib(&self) -> Option<f64> {
        self.process.map(|look| mib(look.rss_kib))
    }

    /// The GPUs.
    pub fn gpus(&self) -> Vec<GpuUse> {
        self.gpus.clone()
    }
}

/// Cost per unit: CPU s/GiB of payload received, µs a result, context switches a result. A unit of which there was none has no cost.
#[allow(clippy::cast_precision_loss)] // averages
pub fn costs(server: &ServerUse, total: &Interval, operation: &str, window_s: f64) -> Vec<Figure> {
    let figure = |name: String, title: String, value: f64, unit: &str| Figure {
        name,
        title,
        value,
        unit: unit.to_owned(),
        better: Better::Lower,
    };
    let mut figures = Vec::new();
    // The server is watched from one whole second to another, which need not be the window to the nanosecond.
    let used_s = server.cpu_share * window_s;
    let received = total.counts.received as f64;
    let gib = total.counts.bytes_received as f64 / f64::from(1 << 30);
    if gib > 0.0 {
        figures.push(figure(
            "cpu_s_per_gib".to_owned(),
            "Server CPU per GiB received".to_owned(),
            used_s / gib,
            "s/GiB",
        ));
    }
    if received > 0.0 {
        figures.push(figure(
            format!("cpu_us_per_{operation}"),
            format!("Server CPU per {operation} received"),
            used_s * 1e6 / received,
            "µs",
        ));
        let switches = server.voluntary_switches + server.involuntary_switches;
        figures.push(figure(
            format!("switches_per_{operation}"),
            format!("Server context switches per {operation} received"),
            switches as f64 / received,
            "",
        ));
    }
    if server.cpu_s > 0.0 {
        figures.push(figure(
            "user_percent".to_owned(),
            "Of the server's CPU, in user space".to_owned(),
            (server.user_s / server.cpu_s).min(1.0) * 100.0,
            "%",
        ));
    }
    figures.push(figure(
        "rss_mib".to_owned(),
        "Server memory at the window's end".to_owned(),
        server.rss_mib,
        "MiB",
    ));
    figures
}

#[allow(clippy::cast_precision_loss)] // for rates; exact below 100 days
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[allow(clippy::cast_precision_loss)] // for display
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn our_own_process_is_watched_like_any_other() {
        let mut sampler = Sampler::attach(Some(std::process::id()), false);
        assert!(sampler.notes().is_empty(), "{:?}", sampler.notes());
        let mut samples = vec![sampler.sample()];
        let (start_ns, cpu_ns) = (clock::now_ns(), clock::thread_cpu_ns());
        // Until this thread has used 50 ms, however long a busy machine takes to give them.
        while clock::thread_cpu_ns() < cpu_ns + 50_000_000
            && clock::now_ns() < start_ns + 60 * clock::SECOND
        {
            std::hint::spin_loop();
        }
        samples.push(sampler.sample());
        let used = sampler.conclude(&samples).unwrap();
        // The kernel brings a thread's book up to date at its ticks, a few ms apart.
        assert!(used.cpu_s >= 0.03, "{used:?}");
        assert!(
            used.rss_mib > 0.5 && used.rss_peak_mib >= used.rss_mib - 1.0,
            "{used:?}"
        );
        assert!(used.thread_count >= 1 && used.cpus_allowed >= 1, "{used:?}");
        assert!(
            !used.threads.is_empty() && !used.cpus_busy.is_empty(),
            "{used:?}"
        );
        let share = samples[1].cpu_share_since(&samples[0]).unwrap();
        assert!((share - used.cpu_share).abs() < 1e-9);
        assert!(samples[1].rss_mib().unwrap() > 0.5);
    }

    #[test]
    fn nobody_to_watch_is_none_and_said() {
        let mut nobody = Sampler::default();
        let samples = [nobody.sample(), nobody.sample()];
        assert!(nobody.conclude(&samples).is_none() && nobody.notes().is_empty());
        assert_eq!(samples[1].cpu_share_since(&samples[0]), None);
        assert_eq!(samples[0].rss_mib(), None);
        let gone = Sampler::attach(Some(u32::MAX - 1), false);
        assert!(
            gone.notes()[0].contains("cannot be watched"),
            "{:?}",
            gone.notes()
        );
    }

    #[test]
    fn costs_are_by_what_was_received() {
        let mut total = Interval::new(0, 1);
        total.counts.received = 1_000;
        total.counts.bytes_received = 1 << 29;
        let server = ServerUse {
            cpu_s: 2.0,
            cpu_share: 0.2,
            user_s: 0.5,
            voluntary_switches: 1_500,
            involuntary_switches: 500,
            rss_mib: 64.0,
            ..ServerUse::default()
        };
        let figures = costs(&server, &total, "chunk", 10.0);
        let value = |name: &str| {
            figures
                .iter()
                .find(|figure| figure.name == name)
                .unwrap()
                .value
        };
        assert!((value("cpu_s_per_gib") - 4.0).abs() < 1e-9);
        assert!((value("cpu_us_per_chunk") - 2_000.0).abs() < 1e-9);
        assert!((value("switches_per_chunk") - 2.0).abs() < 1e-9);
        assert!((value("user_percent") - 25.0).abs() < 1e-9);
        let idle = costs(&server, &Interval::new(0, 1), "chunk", 10.0);
        assert!(idle.iter().all(|figure| figure.value.is_finite()));
    }
}
