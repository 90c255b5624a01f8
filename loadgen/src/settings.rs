//! What every scenario is told: where, how long, how, and where the results go. From flags, or from a TOML file; flags win.
//!
//! A file has a table `[run]` with the settings of this module and one table named for its scenario. Every name is that of the
//! flag, with `_` for `-`:
//!
//! ```toml
//! [run]
//! target = "https://127.0.0.1:8935"
//! window = "30s"
//!
//! [trickle]
//! channels = 20
//! chunk_size = "4k..64k"   # each channel draws its own
//! ```

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::conduct::{Lengths, OwnLimits};
use crate::failure::Failure;
use crate::target::{Target, Trust};
use crate::units::Time;

/// Flags, and the table `[run]`; what neither says is `None`.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Common {
    /// The server: https://HOST[:PORT] or http://HOST[:PORT] [default: https://127.0.0.1:8935]
    #[arg(long, value_name = "URL", help_heading = "Server")]
    pub target: Option<String>,
    /// Believe only certificates that these roots, a PEM file, vouch for [default: believe any, as stock peers do]
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    pub ca: Option<PathBuf>,
    /// The server's process, to tell what it costs: a PID, `auto` (who listens on the target's port of this machine) or `none` [default: auto]
    #[arg(long, value_name = "PID", help_heading = "Server")]
    pub server_pid: Option<String>,

    /// Traffic before the window [default: 3s]
    #[arg(long, value_name = "TIME", help_heading = "Time")]
    pub warmup: Option<Time>,
    /// How long to measure [default: 20s]
    #[arg(long, value_name = "TIME", help_heading = "Time")]
    pub window: Option<Time>,
    /// Traffic after the window, so that its last operations meet the same load as its first [default: 1s]
    #[arg(long, value_name = "TIME", help_heading = "Time")]
    pub cooldown: Option<Time>,
    /// How long what is still on its way may take at the end [default: 5s]
    #[arg(long, value_name = "TIME", help_heading = "Time")]
    pub drain: Option<Time>,

    /// Seed of all chance [default: 1]
    #[arg(long, value_name = "N", help_heading = "Generator")]
    pub seed: Option<u64>,
    /// Worker threads [default: 1]
    #[arg(long, value_name = "N", help_heading = "Generator")]
    pub threads: Option<usize>,
    /// CPUs for the worker threads, such as 1,3 [default: left to the kernel]
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        help_heading = "Generator"
    )]
    pub cpu: Option<Vec<usize>>,
    /// Never sleep, but ask without end for what has come: sends on time to the microsecond, and spares a server on this machine the cost of waking us. Takes all of a CPU for each thread [default: false]
    #[arg(long, help_heading = "Generator", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub busy_poll: Option<bool>,
    /// Lateness of its own, at p99, with which the generator counts as the bottleneck and the run fails [default: 1ms]
    #[arg(long, value_name = "TIME", help_heading = "Generator")]
    pub lateness_max: Option<Time>,
    /// Tag the traffic and keep to the budget: always, never, or auto, which is when the target is not on a private network [default: auto]
    #[arg(long, value_enum, value_name = "WHEN", help_heading = "Politeness")]
    pub polite: Option<When>,
    /// What polite mode may use, such as sessions=2,starts_per_minute=6,mbit_per_s=50,minutes=10 [default: those]
    #[arg(long, value_name = "LIST", help_heading = "Politeness")]
    pub budget: Option<String>,

    /// Where the files go [default: loadgen-results/SCENARIO-TIME]
    #[arg(long, value_name = "DIR", help_heading = "Results")]
    pub out: Option<PathBuf>,
    /// Write no files
    #[arg(long, help_heading = "Results", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub no_files: Option<bool>,
    /// Serve Prometheus metrics here while it runs, such as 127.0.0.1:9464 [default: nowhere]
    #[arg(long, value_name = "ADDR", help_heading = "Results")]
    pub prometheus: Option<SocketAddr>,
}

/// When something holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// When it is called for.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Gives `ours` where it says something, else `theirs`, for each named field.
#[macro_export]
macro_rules! or_else {
    ($ours:expr, $theirs:expr, $($field:ident),+ $(,)?) => {
        $( $ours.$field = $ours.$field.take().or($theirs.$field); )+
    };
}

impl Common {
    /// What a file says fills in what the flags did not.
    #[must_use]
    pub fn or(mut self, file: Self) -> Self {
        or_else!(
            self,
            file,
            target,
            ca,
            server_pid,
            warmup,
            window,
            cooldown,
            drain,
            seed,
            threads,
            cpu,
            busy_poll,
            lateness_max,
            polite,
            budget,
            out,
            no_files,
            prometheus,
        );
        self
    }

    /// The server; `tag` are header lines for every request.
    ///
    /// # Errors
    /// The URL is not a server's.
    pub fn resolve_target(&self, tag: String) -> Result<Target, Failure> {
        let trust = self.ca.clone().map_or(Trust::Anyone, Trust::Roots);
        let url = self.target.as_deref().unwrap_or("https://127.0.0.1:8935");
        Target::resolve(url, trust, tag)
    }

    /// How long each part takes.
    pub fn lengths(&self) -> Lengths {
        let or = |time: Option<Time>, seconds| {
            time.map_or(std::time::Duration::from_secs(seconds), |time| time.0)
        };
        Lengths {
            warmup: or(self.warmup, 3),
            window: or(self.window, 20),
            cooldown: or(self.cooldown, 1),
            drain: or(self.drain, 5),
        }
    }

    /// When the generator counts as the bottleneck.
    pub fn own_limits(&self) -> OwnLimits {
        OwnLimits {
            lateness_p99_ms: self
                .lateness_max
                .map_or(1.0, |time| crate::outcome::ms(time.ns())),
            cpu_share: 0.95,
        }
    }

    /// Seed of all chance.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or(1)
    }
}

/// A scenario file, whose tables are taken one by one; what nobody takes is refused.
#[derive(Debug, Default)]
pub struct File {
    path: PathBuf,
    tables: toml::Table,
    taken: Vec<&'static str>,
}

impl File {
    /// Reads a file; without a path it is as if it were empty.
    ///
    /// # Errors
    /// It cannot be read, or is not TOML; with the line.
    pub fn read(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let text = fs::read_to_string(path)
            .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        Self::parse(&text)
            .map(|file| Self {
                path: path.to_owned(),
                ..file
            })
            .map_err(|why| why.during(path.display()))
    }

    fn parse(text: &str) -> Result<Self, Failure> {
        let tables = toml::from_str(text).map_err(|error| Failure::new(error.to_string()))?;
        Ok(Self {
            tables,
            ..Self::default()
        })
    }

    /// Whether there is a table of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tables.contains_key(name)
    }

    /// The table of this name, or what an empty one would say.
    ///
    /// # Errors
    /// It says what nobody asked for, or says it wrongly.
    pub fn take<T: DeserializeOwned + Default>(
        &mut self,
        name: &'static str,
    ) -> Result<T, Failure> {
        self.taken.push(name);
        let table = self.tables.remove(name);
        table.map_or(Ok(T::default()), |table| {
            table.try_into().map_err(|error: toml::de::Error| {
                Failure::new(error.to_string()).during(format!("{}: [{name}]", self.path.display()))
            })
        })
    }

    /// That nothing is left.
    ///
    /// # Errors
    /// There is a table, or a value outside all tables, that nobody took.
    pub fn finish(self) -> Result<(), Failure> {
        match self.tables.keys().next() {
            None => Ok(()),
            Some(other) => Err(Failure::new(format!(
                "{}: `{other}` is not for this scenario, which reads the tables [{}]",
                self.path.display(),
                self.taken.join("], [")
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Own {
        channels: Option<u32>,
    }

    fn parse(text: &str) -> Result<(Common, Own), Failure> {
        let mut file = File::parse(text)?;
        let both = (file.take("run")?, file.take("trickle")?);
        file.finish()?;
        Ok(both)
    }

    #[test]
    fn a_file_fills_in_what_the_flags_do_not_say() {
        let (file, own) =
            parse("[run]\nwindow = \"30s\"\nseed = 9\n[trickle]\nchannels = 4").unwrap();
        let flags = Common {
            seed: Some(2),
            ..Common::default()
        };
        let common = flags.or(file);
        assert_eq!((common.seed(), common.lengths().window.as_secs()), (2, 30));
        assert_eq!(own.channels, Some(4));
    }

    #[test]
    fn a_name_that_nobody_knows_is_refused() {
        for (text, want) in [
            ("[run]\nwindw = 1", "windw"),
            ("[trickle]\nchanels = 1", "chanels"),
            ("[live]\nsessions = 1", "`live`"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
