//! One process through /proc: CPU time to the nanosecond over all its threads, memory, context switches.
//!
//! ```text
//!   task/TID/schedstat   every look, every thread   "ran_ns waited_ns slices"
//!   task/TID/status      only when ran_ns has moved: who has not run has not been switched either
//!   task/TID/stat        only when it ran a good deal: on which CPU
//! ```
//!
//! Invariants:
//! - A thread that ends keeps what it had used at the last look: the sums never go back.
//! - The two files that are read often stay open for the first [`OPEN_MAX`] threads; it is the opening that costs.
//! - A number that another process or thread has been given since is noticed by its age, and is not the old one.
//! - A thread that lives and dies between two looks is not seen. Servers' threads live longer.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use crate::clock;
use crate::outcome::ThreadUse;

/// A process that is watched.
#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
    /// When it began, in ticks since boot: tells it from another that is given its number.
    begun_ticks: u64,
    tasks: BTreeMap<u32, Task>,
    /// What threads that have ended had used.
    ended: Used,
    /// Of it since the first look, for the shares of threads.
    ended_since_first_ns: u64,
    has_looked: bool,
    round: u64,
    buffer: Vec<u8>,
}

/// What one look shows. Sums are since the process began, as far as it was seen.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Look {
    pub(super) wall_ns: u64,
    pub(super) cpu_ns: u64,
    pub(super) user_ticks: u64,
    pub(super) voluntary: u64,
    pub(super) involuntary: u64,
    pub(super) rss_kib: u64,
    pub(super) rss_peak_kib: u64,
    pub(super) threads: u32,
    pub(super) cpus_allowed: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Used {
    cpu_ns: u64,
    voluntary: u64,
    involuntary: u64,
}

#[derive(Debug, Default)]
struct Task {
    name: String,
    used: Used,
    /// When the process was first looked at; 0 for a thread that came later.
    first_cpu_ns: u64,
    cpu: Option<u32>,
    schedstat: Option<File>,
    status: Option<File>,
    /// The look that saw it last.
    round: u64,
}

impl Process {
    /// Begins to watch.
    pub(super) fn open(pid: u32) -> Result<Self, String> {
        let cannot = |why: String| format!("process {pid} cannot be watched: {why}");
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
            .map_err(|error| cannot(error.to_string()))?;
        let stat = Stat::parse(&stat).ok_or_else(|| cannot(format!("its stat reads {stat:?}")))?;
        fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat")).map_err(|error| {
            cannot(format!(
                "its schedstat: {error}; the kernel needs CONFIG_SCHED_INFO"
            ))
        })?;
        Ok(Self {
            pid,
            begun_ticks: stat.begun_ticks,
            tasks: BTreeMap::new(),
            ended: Used::default(),
            ended_since_first_ns: 0,
            has_looked: false,
            round: 0,
            buffer: Vec::new(),
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// What it has used until now; `None` when it has ended.
    pub(super) fn look(&mut self) -> Option<Look> {
        let pid = self.pid;
        let stat = Stat::parse(self.read(&format!("/proc/{pid}/stat"))?)?;
        if stat.begun_ticks != self.begun_ticks {
            return None;
        }
        let status = Status::parse(self.read(&format!("/proc/{pid}/status"))?);
        self.round += 1;
        for entry in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
            if let Some(tid) = entry.file_name().to_str().and_then(|tid| tid.parse().ok()) {
                self.look_at(tid);
            }
        }
        let wall_ns = clock::now_ns();
        self.bury();
        self.has_looked = true;
        let mut sum = self.ended;
        for task in self.tasks.values() {
            sum.add(task.used);
        }
        Some(Look {
            wall_ns,
            cpu_ns: sum.cpu_ns,
            user_ticks: stat.user_ticks,
            voluntary: sum.voluntary,
            involuntary: sum.involuntary,
            rss_kib: status.rss_kib,
            rss_peak_kib: status.rss_peak_kib,
            threads: status.threads,
            cpus_allowed: status.cpus_allowed,
        })
    }

    /// A thread whose files cannot be read has just ended, and is buried afterwards.
    fn look_at(&mut self, tid: u32) {
        let folder = format!("/proc/{}/task/{tid}", self.pid);
        // Taken out while it is read: the buffer is ours too.
        let mut task = self.tasks.remove(&tid).unwrap_or_default();
        let may_stay_open = self.tasks.len() < OPEN_MAX;
        let mut read = |kept: &mut Option<File>, name: &str| {
            let opened = match kept.take() {
                Some(file) => file,
                None => File::open(format!("{folder}/{name}")).ok()?,
            };
            let text = text_of(&opened, &mut self.buffer)?;
            *kept = may_stay_open.then_some(opened);
            Some(text.to_owned())
        };
        let ran_ns = read(&mut task.schedstat, "schedstat")
            .as_deref()
            .and_then(ran_ns);
        if let Some(cpu_ns) = ran_ns {
            if cpu_ns < task.used.cpu_ns {
                // Another thread was given its number.
                self.ended.add(task.used);
                self.ended_since_first_ns += task.used.cpu_ns - task.first_cpu_ns;
                task = Task::default();
            }
            let is_new = task.round == 0;
            if is_new && !self.has_looked {
                task.first_cpu_ns = cpu_ns;
            }
            let ran = cpu_ns.saturating_sub(task.used.cpu_ns);
            if ran > 0 || is_new {
                task.used.cpu_ns += ran;
                if let Some(text) = read(&mut task.status, "status") {
                    task.take_status(&text);
                }
            }
            if ran > RAN_NS_SHOWN
                && let Some(stat) = read(&mut None, "stat").as_deref().and_then(Stat::parse)
            {
                task.cpu = stat.cpu;
            }
            task.round = self.round;
        }
        if task.round > 0 {
            self.tasks.insert(tid, task);
        }
    }

    /// Threads that this look has not seen.
    fn bury(&mut self) {
        let round = self.round;
        let ended: Vec<u32> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.round != round)
            .map(|(tid, _)| *tid)
            .collect();
        for tid in ended {
            self.end(tid);
        }
    }

    fn end(&mut self, tid: u32) {
        if let Some(task) = self.tasks.remove(&tid) {
            self.ended.add(task.used);
            self.ended_since_first_ns += task.used.cpu_ns - task.first_cpu_ns;
        }
    }

    /// The threads that used most since the first look; those that have ended are one.
    #[allow(clippy::cast_precision_loss)] // shares
    pub(super) fn busiest(&self, wall_s: f64) -> Vec<ThreadUse> {
        let share = |ns: u64| ns as f64 / 1e9 / wall_s;
        let mut threads: Vec<ThreadUse> = self
            .tasks
            .values()
            .map(|task| ThreadUse {
                name: task.name.clone(),
                cpu_share: share(task.used.cpu_ns - task.first_cpu_ns),
                cpu: task.cpu,
            })
            .collect();
        if self.ended_since_first_ns > 0 {
            threads.push(ThreadUse {
                name: "(ended)".to_owned(),
                cpu_share: share(self.ended_since_first_ns),
                cpu: None,
            });
        }
        threads.sort_by(|a, b| b.cpu_share.total_cmp(&a.cpu_share));
        threads.truncate(THREADS_SHOWN);
        threads
    }

    fn read(&mut self, path: &str) -> Option<&str> {
        text_of(&File::open(path).ok()?, &mut self.buffer)
    }
}

impl Task {
    /// The name is in the first line, and may change after the thread has begun; the switches are in the last two.
    fn take_status(&mut self, status: &str) {
        if let Some(name) = status
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("Name:"))
        {
            name.trim().clone_into(&mut self.name);
        }
        let last = status.trim_end().rsplit('\n').take(2);
        for (key, value) in last.filter_map(|line| line.split_once(':')) {
            let count = value.trim().parse().unwrap_or(0);
            match key {
                "voluntary_ctxt_switches" => {
                    self.used.voluntary = self.used.voluntary.max(count);
                }
                "nonvoluntary_ctxt_switches" => {
                    self.used.involuntary = self.used.involuntary.max(count);
                }
                _ => {}
            }
        }
    }
}

impl Used {
    fn add(&mut self, other: Self) {
        self.cpu_ns += other.cpu_ns;
        self.voluntary += other.voluntary;
        self.involuntary += other.involuntary;
    }
}

/// All of a file of /proc from its beginning, in a buffer that is used again. What the kernel writes here is short.
fn text_of<'a>(file: &File, buffer: &'a mut Vec<u8>) -> Option<&'a str> {
    buffer.resize(FILE_BYTES_MAX, 0);
    let len = file.read_at(buffer, 0).ok()?;
    // A thread's name may be cut within a character.
    for byte in buffer[..len].iter_mut().filter(|b| !b.is_ascii()) {
        *byte = b'?';
    }
    std::str::from_utf8(&buffer[..len]).ok()
}

/// Of `schedstat`.
fn ran_ns(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// Of `/proc/PID/stat`, or a thread's.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    user_ticks: u64,
    begun_ticks: u64,
    cpu: Option<u32>,
}

impl Stat {
    /// The name is in brackets and may hold anything; the state after it is field 3 of the manual's.
    fn parse(text: &str) -> Option<Self> {
        let (_, after_name) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        Some(Self {
            user_ticks: fields.get(14 - 3)?.parse().ok()?,
            begun_ticks: fields.get(22 - 3)?.parse().ok()?,
            cpu: fields.get(39 - 3).and_then(|cpu| cpu.parse().ok()),
        })
    }
}

/// Of `/proc/PID/status`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Status {
    rss_kib: u64,
    rss_peak_kib: u64,
    threads: u32,
    cpus_allowed: u32,
}

impl Status {
    fn parse(text: &str) -> Self {
        let mut status = Self::default();
        let number = |value: &str| {
            let digits = value.split_whitespace().next();
            digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
        };
        for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
            match key {
                "VmRSS" => status.rss_kib = number(value),
                "VmHWM" => status.rss_peak_kib = number(value),
                "Threads" => status.threads = u32::try_from(number(value)).unwrap_or(u32::MAX),
                "Cpus_allowed_list" => status.cpus_allowed = list_length(value.trim()),
                _ => {}
            }
        }
        status
    }
}

/// How many `0-3,8` are.
fn list_length(list: &str) -> u32 {
    list.split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
            Some(last.checked_sub(first)? + 1)
        })
        .sum()
}

/// The kernel's USER_HZ, in which it tells user and system time: 100 on everything that this runs on.
pub(super) const TICK_NS: u64 = 10_000_000;
/// A thread that has run so long since the last look is asked on which CPU.
const RAN_NS_SHOWN: u64 = 10_000_000;
/// Two files each; a process may commonly have 1,024, and the connections need them.
const OPEN_MAX: usize = 128;
const THREADS_SHOWN: usize = 16;
const FILE_BYTES_MAX: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn proc_files_are_read_by_their_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 120 0 0 0 31 17 0 0 20 0 1 0 1234 1 1 1 \
                    1 1 1 1 1 1 1 1 1 1 1 1 17 5 0 0";
        assert_eq!(
            Stat::parse(stat),
            Some(Stat {
                user_ticks: 31,
                begun_ticks: 1_234,
                cpu: Some(5)
            })
        );
        assert_eq!(Stat::parse("nonsense"), None);
        let status = Status::parse(
            "Name:\tserver\nVmHWM:\t  2048 kB\nVmRSS:\t 1024 kB\nThreads:\t9\nCpus_allowed_list:\t0-3,8\n\
             voluntary_ctxt_switches:\t70\nnonvoluntary_ctxt_switches:\t3\n",
        );
        assert_eq!((status.rss_kib, status.rss_peak_kib), (1_024, 2_048));
        assert_eq!((status.threads, status.cpus_allowed), (9, 5));
        let mut task = Task::default();
        task.take_status("Name:\tserver\nThreads:\t9\nvoluntary_ctxt_switches:\t70\nnonvoluntary_ctxt_switches:\t3\n");
        assert_eq!((task.used.voluntary, task.used.involuntary), (70, 3));
        assert_eq!(task.name, "server");
        assert_eq!(ran_ns("172206 2233652 2\n"), Some(172_206));
        assert_eq!((list_length(""), list_length("3-1")), (0, 0));
    }

    #[test]
    fn a_thread_that_ends_keeps_what_it_used() {
        let mut process = Process::open(std::process::id()).unwrap();
        process.look().unwrap();
        let (looked, may_end) = mpsc::channel::<()>();
        let (used, has_used) = mpsc::channel();
        let worker = std::thread::Builder::new()
            .name("short-lived".to_owned())
            .spawn(move || {
                let before = clock::thread_cpu_ns();
                while clock::thread_cpu_ns() < before + 30_000_000 {
                    std::hint::spin_loop();
                }
                used.send(()).unwrap();
                may_end.recv().unwrap();
            })
            .unwrap();
        has_used.recv().unwrap();
        let alive = process.look().unwrap();
        assert!(
            process
                .tasks
                .values()
                .any(|task| task.name == "short-lived"),
            "{:?}",
            process.tasks
        );
        looked.send(()).unwrap();
        worker.join().unwrap();
        let after = process.look().unwrap();
        assert!(after.cpu_ns >= alive.cpu_ns, "{after:?} {alive:?}");
        assert!(after.voluntary >= alive.voluntary);
        assert!(process.ended_since_first_ns >= 20_000_000);
    }
}
