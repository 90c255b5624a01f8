//! Why there is no result: in words for an operator, with what to do about it.

use std::{fmt, io};

/// Why a run came to nothing. An error of the server's that can be counted is counted, and is not one of these.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    /// What went wrong, and the remedy where there is one.
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }

    /// The same, with what was being done before it.
    #[must_use]
    pub fn during(self, what: impl fmt::Display) -> Self {
        Self(format!("{what}: {}", self.0))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}
