//! Versions of peers, as leniently as go-livepeer reads them.
//!
//! `v0.9`, `1` and `0.8.1-3f2c` are versions. What stands behind a `-` or a `+` must be well formed and counts for nothing: what comes
//! before a release elsewhere comes after one here.

use std::fmt;

use semver::{BuildMetadata, Prerelease, Version};

use crate::printable::printable;

/// Why a version is not good enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionFault {
    /// It is not said.
    Unknown {
        /// What is asked for, fit to be shown.
        min: String,
    },
    /// It is none.
    Unreadable {
        /// What is said, fit to be shown.
        said: String,
        /// What is asked for.
        min: Version,
    },
    /// It is too old.
    Older {
        /// What is there.
        version: Version,
        /// What is asked for.
        min: Version,
    },
}

impl fmt::Display for VersionFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { min } => write!(
                f,
                "the version is not known, and {min} or newer is asked for"
            ),
            Self::Unreadable { said, min } => {
                write!(
                    f,
                    "version `{said}` is none, and {min} or newer is asked for"
                )
            }
            Self::Older { version, min } => write!(f, "version {version} is older than {min}"),
        }
    }
}

impl std::error::Error for VersionFault {}

/// A version without what stands behind `-` and `+`; `None` when the text is none.
#[must_use]
pub fn parse(text: &str) -> Option<Version> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let (text, build) = split(text, '+');
    let (numbers, pre) = split(text, '-');
    let well_formed = build
        .is_none_or(|build| !build.is_empty() && BuildMetadata::new(build).is_ok())
        && pre.is_none_or(|pre| !pre.is_empty() && Prerelease::new(pre).is_ok());
    let mut parts = numbers.splitn(3, '.').map(|part| {
        let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<u64>().ok().filter(|_| is_number)
    });
    let mut next = || parts.next().unwrap_or(Some(0));
    let (major, minor, patch) = (next()?, next()?, next()?);
    well_formed.then(|| Version::new(major, minor, patch))
}

/// Whether `version` is `min` or newer. Nothing is asked for by an empty `min`; by one that is no version, only that there is one.
pub(super) fn is_enough(version: &str, min: &str) -> Result<(), VersionFault> {
    if min.is_empty() {
        return Ok(());
    }
    if version.is_empty() || version == "undefined" {
        let min = printable(min, SHOWN_CHARS);
        return Err(VersionFault::Unknown { min });
    }
    let Some(min) = parse(min) else {
        return Ok(());
    };
    match parse(version) {
        None => Err(VersionFault::Unreadable {
            said: printable(version, SHOWN_CHARS),
            min,
        }),
        Some(version) if version < min => Err(VersionFault::Older { version, min }),
        Some(_) => Ok(()),
    }
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at)
        .map_or((text, None), |(front, back)| (front, Some(back)))
}

const SHOWN_CHARS: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_leniently() {
        for (text, version) in [
            ("0.9.1", (0, 9, 1)),
            ("v0.9.1", (0, 9, 1)),
            ("0.9", (0, 9, 0)),
            ("v2", (2, 0, 0)),
            ("0.8.1-3f2c-dirty", (0, 8, 1)),
            ("1.2.3-rc.1+build.07", (1, 2, 3)),
            ("1.2.3+build-7", (1, 2, 3)),
            ("1-beta", (1, 0, 0)),
            ("01.02.3", (1, 2, 3)),
        ] {
            let (major, minor, patch) = version;
            assert_eq!(
                parse(text),
                Some(Version::new(major, minor, patch)),
                "{text}"
            );
        }
        for none in [
            "",
            "v",
            "vv1",
            "V1",
            "1.",
            ".1",
            "1..2",
            "1.2.3.4",
            "+1",
            "1.+2",
            "1.2.3-",
            "1.2.3+",
            "1.2.3-a..b",
            "1.2.3-01",
            "1.2.3-ü",
            " 1",
            "1.2.99999999999999999999",
            "undefined",
        ] {
            assert_eq!(parse(none), None, "{none}");
        }
    }

    #[test]
    fn a_version_is_enough_by_go_livepeers_rules() {
        for (version, min) in [
            ("", ""),
            ("junk", ""),
            ("junk", "not a version"),
            ("0.9.0", "0.9.0"),
            ("0.9.0-abc", "0.9.0"),
            ("0.9.0", "0.9.0-rc.2"),
            ("v1", "0.9.9"),
            ("0.10.0", "0.9.0"),
        ] {
            assert_eq!(is_enough(version, min), Ok(()), "{version}, {min}");
        }
        for (version, min, text) in [
            ("0.8.1", "0.9.0", "version 0.8.1 is older than 0.9.0"),
            ("0.8.1-late", "v0.9", "version 0.8.1 is older than 0.9.0"),
            (
                "",
                "0.9.0",
                "the version is not known, and 0.9.0 or newer is asked for",
            ),
            (
                "",
                "some\n",
                "the version is not known, and some\u{fffd} or newer is asked for",
            ),
            (
                "undefined",
                "0.9.0",
                "the version is not known, and 0.9.0 or newer is asked for",
            ),
            (
                "new\x1b[2J",
                "0.9.0",
                "version `new\u{fffd}[2J` is none, and 0.9.0 or newer is asked for",
            ),
        ] {
            let fault = is_enough(version, min).unwrap_err();
            assert_eq!(fault.to_string(), text);
        }
    }
}
