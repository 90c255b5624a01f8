//! The orchestrator as a process, for tests.

#![allow(dead_code)] // each test uses a part of it

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Flags of a node that is paid, with tickets of which half win.
pub(crate) const PAID_HALF_WIN: [&str; 12] = [
    "--network",
    "memory",
    "--eth-orch-addr",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "--price-per-unit",
    "1200",
    "--ticket-ev",
    "8000000000",
    "--max-face-value",
    "16000000000",
    "--lanes",
    "1",
];

/// A node and its data directory, which goes with it.
pub(crate) struct Node {
    pub(crate) child: Child,
    pub(crate) dir: PathBuf,
    pub(crate) report: String,
    pub(crate) addr: SocketAddr,
}

impl Node {
    pub(crate) fn command(name: &str, args: &[&str]) -> (Command, PathBuf) {
        let dir = std::env::temp_dir().join(format!("millstream-{name}-{}", std::process::id()));
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command
            .arg("orchestrator")
            .args(["--data-dir", dir.to_str().unwrap()])
            .args(args);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        (command, dir)
    }

    /// Starts one and reads its report.
    pub(crate) fn start(name: &str, args: &[&str]) -> Self {
        let (command, dir) = Self::command(name, args);
        Self::run(command, dir)
    }

    fn run(mut command: Command, dir: PathBuf) -> Self {
        let mut child = command.spawn().unwrap();
        let mut report = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while let Some(Ok(line)) = lines.next() {
            let last = line.trim_start().starts_with("drain ");
            report.push_str(&line);
            report.push('\n');
            if last {
                break;
            }
        }
        let Some(addr) = listening(&report) else {
            let mut said = String::new();
            child
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut said)
                .unwrap();
            panic!("it did not start: {report}{said}");
        };
        Self {
            child,
            dir,
            report,
            addr,
        }
    }

    /// Kills it, as a crash would, and starts it again on the same data.
    pub(crate) fn crash_and_start(&mut self, name: &str, args: &[&str]) {
        self.crash();
        self.start_again(name, args);
    }

    /// Kills it, as a crash would.
    pub(crate) fn crash(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same data, once it has ended.
    pub(crate) fn start_again(&mut self, name: &str, args: &[&str]) {
        let (command, dir) = Self::command(name, args);
        assert_eq!(dir, self.dir);
        // What is dropped must not take the data along.
        self.dir = PathBuf::new();
        *self = Self::run(command, dir);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn ended(&mut self, within: Duration) -> Option<i32> {
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it still runs");
    }

    pub(crate) fn http(&self, request: &str) -> String {
        Self::http_at(self.addr, request)
    }

    /// As [`Self::http`], at another of its addresses.
    pub(crate) fn http_at(addr: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if !self.dir.as_os_str().is_empty() {
            drop(std::fs::remove_dir_all(&self.dir));
        }
    }
}

fn listening(report: &str) -> Option<SocketAddr> {
    let line = report
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("listening "))?;
    line.trim_start().split(',').next()?.parse().ok()
}
