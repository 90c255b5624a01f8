//! What ends the process: what is wrong, why, and what to do about it; one exit status a reason.

use std::fmt;

/// A reason not to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    reason: Reason,
    what: String,
    why: String,
    fix: String,
    /// Other things found at the same time.
    more: Vec<Failure>,
}

/// The exit statuses; `--help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// What was asked is not so: vectors do not agree, no orchestrator is compatible.
    No = 1,
    /// A flag, a variable or the file cannot be understood.
    Usage = 2,
    /// The kernel gives no io_uring.
    IoUring = 10,
    /// Too little memory may be locked.
    Memlock = 11,
    /// The port cannot be had.
    Port = 12,
    /// The data directory cannot be written.
    DataDir = 13,
    /// Too few files may be open.
    OpenFiles = 14,
    /// The certificate or its key is of no use.
    Tls = 15,
    /// The models directory, or a file in it, is of no use.
    Models = 16,
    /// What is recorded of payments is of no use, or in use.
    Payments = 17,
    /// The account that signs is not to be had.
    Account = 18,
    /// Peers cannot reach the node where it says.
    Unreachable = 19,
    /// The engine did not start.
    Engine = 20,
    /// The control plane did not start, or ended by itself.
    Control = 21,
}

impl Failure {
    pub(crate) fn new(
        reason: Reason,
        what: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            reason,
            what: what.into(),
            why: why.into(),
            fix: fix.into(),
            more: Vec::new(),
        }
    }

    /// Something in the settings cannot be meant.
    pub(crate) fn usage(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(
            Reason::Usage,
            what,
            why,
            "see `millstream orchestrator --help`",
        )
    }

    /// All of them as one; the first gives the exit status.
    pub(crate) fn all(failures: Vec<Self>) -> Option<Self> {
        let mut failures = failures.into_iter();
        let mut first = failures.next()?;
        first.more.extend(failures);
        Some(first)
    }

    pub(crate) fn status(&self) -> u8 {
        self.reason as u8
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "millstream: {}", self.what)?;
        writeln!(f, "  why: {}", self.why)?;
        writeln!(f, "  fix: {}", self.fix)?;
        self.more
            .iter()
            .try_for_each(|failure| write!(f, "{failure}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_found_is_said_and_the_first_decides() {
        let failures = vec![
            Failure::new(Reason::Memlock, "a", "b", "c"),
            Failure::new(Reason::Port, "d", "e", "f"),
        ];
        let failure = Failure::all(failures).unwrap();
        assert_eq!(failure.status(), 11);
        assert_eq!(
            failure.to_string(),
            "millstream: a\n  why: b\n  fix: c\nmillstream: d\n  why: e\n  fix: f\n"
        );
        assert_eq!(Failure::all(vec![]), None);
    }
}
