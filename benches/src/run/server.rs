//! A server as a child process: pinned, watched through /proc, stopped.
//!
//! Invariants:
//! - A child that is to be on a CPU is there from its first instruction, and with it every thread that it ever starts.
//! - A server that is dropped is dead, and its folder is gone.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::SERVER_PATIENCE;
use crate::clock;
use crate::load::Failure;
use crate::pin;

/// A server that listens.
#[derive(Debug)]
pub(crate) struct Server {
    name: &'static str,
    child: Child,
    addr: SocketAddr,
    folder: PathBuf,
}

/// CPU time that a process has used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// To the nanosecond, over all its threads.
    pub(crate) cpu_ns: u64,
    /// Of it in user space, in clock ticks of 10 ms.
    pub(crate) user_ticks: u64,
    /// Of it in the kernel, likewise.
    pub(crate) system_ticks: u64,
}

impl Usage {
    /// What was used since an earlier moment.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns.saturating_sub(earlier.cpu_ns),
            user_ticks: self.user_ticks.saturating_sub(earlier.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(earlier.system_ticks),
        }
    }
}

impl Server {
    /// Starts `program`, on `cpu` alone if that is given, and waits until it listens on an address of our choice.
    pub(crate) fn start(
        name: &'static str,
        program: &Path,
        cpu: Option<usize>,
        args: impl FnOnce(SocketAddr, &Path) -> Vec<String>,
    ) -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!(
            "bench-{}-{:x}",
            std::process::id(),
            clock::now_ns()
        ));
        fs::create_dir_all(&folder)?;
        let log = fs::File::create(folder.join(LOG))?;
        // Free a moment ago; nobody else is likely to take it in between, and if so the start fails and says why.
        let addr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(program);
        command
            .args(args(addr, &folder))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let spawned = match cpu {
            Some(cpu) => pin::while_on(cpu, || command.spawn()),
            None => command.spawn(),
        };
        let child = spawned.map_err(|error| {
            // Nothing holds the folder yet; should it not go, the system's own sweep takes it.
            let _ = fs::remove_dir_all(&folder);
            Failure::new(format!("cannot start {}: {error}", program.display()))
        })?;
        let mut server = Self {
            name,
            child,
            addr,
            folder,
        };
        server.wait_until_it_listens()?;
        Ok(server)
    }

    fn wait_until_it_listens(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + SERVER_PATIENCE;
        while TcpStream::connect(self.addr).is_err() {
            if let Some(status) = self.child.try_wait()? {
                return Err(self.explain(&format!(
                    "it ended before it listened on {}: {status}",
                    self.addr
                )));
            }
            if Instant::now() > deadline {
                return Err(self.explain(&format!(
                    "it does not listen on {} after {SERVER_PATIENCE:?}",
                    self.addr
                )));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// A failure, with the end of the server's log.
    pub(crate) fn explain(&self, why: &str) -> Failure {
        let log = fs::read(self.folder.join(LOG)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n  ");
        Failure::new(format!(
            "{}: {why}\nits log ends with:\n  {tail}",
            self.name
        ))
    }

    /// CPU time so far.
    pub(crate) fn usage(&self) -> Result<Usage, Failure> {
        let mut usage = Usage::default();
        let tasks = fs::read_dir(self.proc("task"))
            .map_err(|error| self.explain(&format!("it is gone: {error}")))?;
        for task in tasks {
            // A thread may end between the listing and the reading: what it used is then not counted, as it is not later.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
                continue;
            };
            usage.cpu_ns += text
                .split_whitespace()
                .next()
                .and_then(|ns| ns.parse::<u64>().ok())
                .unwrap_or(0);
        }
        let stat = fs::read_to_string(self.proc("stat"))?;
        (usage.user_ticks, usage.system_ticks) =
            ticks(&stat).ok_or_else(|| Failure::new(format!("/proc/PID/stat reads {stat:?}")))?;
        Ok(usage)
    }

    /// The most memory it ever had.
    pub(crate) fn peak_rss_bytes(&self) -> Result<u64, Failure> {
        let status = fs::read_to_string(self.proc("status"))?;
        peak_rss_bytes(&status)
            .ok_or_else(|| self.explain("its /proc/PID/status has no VmHWM; it has ended"))
    }

    /// Ends it, in its own way if it will.
    pub(crate) fn stop(mut self) -> Result<(), Failure> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            kill_process(pid, Signal::TERM).map_err(io::Error::from)?;
        }
        let deadline = Instant::now() + SERVER_PATIENCE;
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        eprintln!(
            "warning: {} does not stop on SIGTERM within {SERVER_PATIENCE:?}; killed",
            self.name
        );
        Ok(())
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.child.id()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail when it is dead already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// `utime` and `stime` of /proc/PID/stat. The name before them is in brackets and may hold anything.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ').skip(11); // the state is field 3, utime field 14
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn peak_rss_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

const LOG: &str = "log";
const LOG_LINES_SHOWN: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read_by_their_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 120 0 0 0 31 17 0 0 20 0 1 0 1234 1 1 1";
        assert_eq!(ticks(stat), Some((31, 17)));
        assert_eq!(
            peak_rss_bytes("VmPeak:\t 9 kB\nVmHWM:\t    2048 kB\n"),
            Some(2 << 20)
        );
        assert_eq!(peak_rss_bytes("State:\tZ (zombie)\n"), None);
    }

    #[test]
    fn a_server_that_ends_at_once_is_explained() {
        let error = Server::start("sh", Path::new("/bin/sh"), Some(0), |_, _| {
            vec!["-c".into(), "echo no such flag; exit 3".into()]
        });
        // On a machine where CPU 0 is not ours, that is what it says instead.
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("no such flag") && error.contains("exit status: 3")
                || error.contains("CPU 0"),
            "{error}"
        );
    }
}
