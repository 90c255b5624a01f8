//! A part of a test that runs in a process of its own: the test binary again, told by its environment which part to play.
//!
//! Both sides talk in lines. The child ends when its standard input does, so that a failed test leaves nobody behind.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child as Process, ChildStdin, ChildStdout, Command, Stdio};

const PART: &str = "MILLSTREAM_TEST_PART";
/// Before every line of the child, to tell it from the test harness's own.
const MARK: &str = ">> ";

/// The other process, seen from the test.
pub(crate) struct Child {
    process: Process,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Child {
    /// Runs `test` of this binary alone, with `part` to play.
    pub(crate) fn spawn(test: &str, part: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(PART, part)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child process");
        let stdin = process.stdin.take().expect("its input");
        let stdout = BufReader::new(process.stdout.take().expect("its output"));
        Self {
            process,
            stdin,
            stdout,
        }
    }

    /// Waits for the child's next line.
    pub(crate) fn hear(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(
                self.stdout.read_line(&mut line).expect("a line") > 0,
                "the child ended early"
            );
            if let Some(at) = line.find(MARK) {
                return line[at + MARK.len()..].trim_end().to_owned();
            }
        }
    }

    /// Tells the child something.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").expect("the child listens");
    }

    /// Lets it end.
    pub(crate) fn finish(self) {
        let Self {
            mut process, stdin, ..
        } = self;
        drop(stdin);
        let _ = process.wait();
    }
}

/// The part this process was started to play, if it is a child.
pub(crate) fn part() -> Option<String> {
    std::env::var(PART).ok()
}

/// The child says a line.
pub(crate) fn say(line: &str) {
    println!("{MARK}{line}");
    let _ = std::io::stdout().flush();
}

/// The child waits for a line; `None` when the test is over.
pub(crate) fn listen() -> Option<String> {
    let mut line = String::new();
    (std::io::stdin().read_line(&mut line).ok()? > 0).then(|| line.trim_end().to_owned())
}
