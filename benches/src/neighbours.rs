//! What a session's damaged video costs its neighbours, and how many sessions of a kind a server takes.
//!
//! ```text
//!   millstream, one process ◀── sockets ──▶ N-1 sessions that are measured
//!                           ◀── sockets ──▶ the last one: whole in a calm window, damaged in a disturbed one
//!
//!   round 1: calm, disturbed   round 2: disturbed, calm   round 3: calm, disturbed   …
//! ```
//!
//! The load is [`loadgen::live`]: real time, open loop, latency from when a frame was due. What is damaged is inside the slices, so
//! it passes every parser and reaches the decoder. Frames are known by their stamps and not decoded here, so that the generator
//! takes no CPU from the server.
//!
//! Invariants:
//! - Both kinds of window carry the same number of sessions, of the same bytes a second; only the damage differs.
//! - The damaged session is begun anew every few seconds, so that a server which ends it is disturbed by the next.
//! - A window in which the generator was the bottleneck makes the figures not count.

pub mod table;
pub mod windows;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use loadgen::conduct::Stop;
use loadgen::live::{self, Live, Mark};
use loadgen::outcome::Outcome;
use loadgen::search::bisect::Bounds;
use loadgen::search::slo::Slo;
use loadgen::search::{Find, Found, Probe, Resolved, search};
use loadgen::target::{Target, Trust};
use loadgen::units::Time;

use crate::load::Failure;
use crate::run::server::Server;
use windows::{Kind, Lead, Window};

/// What to measure, and on what.
#[derive(Debug, Clone)]
pub struct Campaign {
    /// The millstream binary.
    pub server: PathBuf,
    /// More arguments for it.
    pub server_args: Vec<String>,
    /// `auto`, `cpu`, `cuda:N`.
    pub device: String,
    /// Model of every session.
    pub model: String,
    /// Such as `1280x720`; the clip that is built in, 640x360, when `None`.
    pub picture: Option<String>,
    /// Frames a second; the clip's when `None`.
    pub fps: Option<f64>,
    /// Sessions at once, the damaged one among them; at least 2.
    pub sessions: u32,
    /// How often each kind of window is measured.
    pub rounds: u32,
    /// Length of a window.
    pub window: Duration,
    /// Threads of the generator.
    pub threads: usize,
    /// Of all chance, the damage included.
    pub seed: u64,
}

impl Campaign {
    /// Measures every window; progress goes to standard error.
    ///
    /// # Errors
    /// The server does not start or refuses the sessions; the text holds the last lines of its log.
    pub fn run(&self) -> Result<Vec<Window>, Failure> {
        if self.sessions < 2 {
            return Err(Failure::new(
                "a neighbour needs somebody beside it: give --sessions 2 or more",
            ));
        }
        let server = self.start_server()?;
        let whole = self.load(server.addr())?;
        let healthy = whole.with_sessions(whole.sessions - 1);
        let calm = whole.with_sessions(1);
        let lead = Lead {
            warmup: WARMUP,
            window: self.window,
            threads: self.threads,
            seed: self.seed,
            server_pid: server.pid(),
        };
        let disturbed = calm.damaged(self.seed);
        let mut all = Vec::new();
        for round in 1..=self.rounds {
            // Whichever comes first may find a cold or a tired machine: they take turns.
            let order = match round % 2 {
                1 => [Kind::Calm, Kind::Disturbed],
                _ => [Kind::Disturbed, Kind::Calm],
            };
            for kind in order {
                let neighbour = match kind {
                    Kind::Calm => &calm,
                    Kind::Disturbed => &disturbed,
                };
                let window = lead
                    .measure(round, kind, &healthy, neighbour)
                    .map_err(|why| server.explain(&why.to_string()))?;
                eprintln!("{window}");
                all.push(window);
            }
        }
        server.stop()?;
        Ok(all)
    }

    /// The most sessions, `from` or more, whose frames keep to [`SEARCH_SLO`]; stops after `limit` with what it has.
    ///
    /// # Errors
    /// The server does not start, or not even the least number of sessions can be measured.
    pub fn search(&self, from: u64, limit: Duration) -> Result<Found, Failure> {
        let options = Resolved {
            slo: Slo::parse(SEARCH_SLO).map_err(Failure::new)?,
            find: Find::Sessions,
            bounds: Bounds {
                from,
                to: SEARCH_TO,
                precision: SEARCH_PRECISION,
                tries: 2,
            },
        };
        let server = self.start_server()?;
        let mut prober = Prober {
            load: self.load(server.addr())?,
            lead: Lead {
                warmup: SEARCH_WARMUP,
                window: self.window,
                threads: self.threads,
                seed: self.seed,
                server_pid: server.pid(),
            },
            until: Instant::now() + limit,
        };
        let found = search(&options, &mut prober, &mut |step| eprintln!("{step}"))
            .map_err(|why| server.explain(&why.to_string()))?;
        server.stop()?;
        Ok(found)
    }

    fn start_server(&self) -> Result<Server, Failure> {
        if !self.server.is_file() {
            return Err(Failure::new(format!(
                "{} is not a file; build it with `cargo build --release`, or give --server",
                self.server.display()
            )));
        }
        Server::start("millstream", &self.server, None, |addr, data_dir| {
            let mut args: Vec<String> = ["orchestrator", "--log", "warn"].map(Into::into).into();
            args.extend(["--service-addr".to_owned(), format!("http://{addr}")]);
            args.extend(["--device".to_owned(), self.device.clone()]);
            args.extend(["--max-sessions".to_owned(), SESSIONS_MAX.to_string()]);
            args.extend(["--data-dir".to_owned(), data_dir.display().to_string()]);
            args.extend(self.server_args.iter().cloned());
            args
        })
    }

    fn load(&self, addr: SocketAddr) -> Result<Live, Failure> {
        let options = live::Options {
            sessions: Some(self.sessions),
            model: Some(self.model.clone()),
            picture: self.picture.clone(),
            fps: self.fps,
            mark: Some(Mark::Pts),
            start_every: Some(Time(START_EVERY)),
            ..live::Options::default()
        };
        let target = Target::resolve(&format!("http://{addr}"), Trust::Anyone, String::new())
            .map_err(foreign)?;
        Live::resolve(&options, target, self.seed, &|step| eprintln!("{step}")).map_err(foreign)
    }
}

/// Runs of the search.
struct Prober {
    load: Live,
    lead: Lead,
    until: Instant,
}

impl Probe for Prober {
    fn measure(&mut self, n: u64, is_confirmation: bool) -> Result<Outcome, loadgen::Failure> {
        let load = self
            .load
            .with_sessions(usize::try_from(n).unwrap_or(usize::MAX));
        let times = if is_confirmation { 2 } else { 1 };
        self.lead.conduct(&load, times, &Stop::default())
    }

    fn is_stopped(&self) -> bool {
        Instant::now() >= self.until
    }
}

#[allow(clippy::needless_pass_by_value)] // for `map_err`
fn foreign(failure: loadgen::Failure) -> Failure {
    Failure::new(failure.to_string())
}

const WARMUP: Duration = Duration::from_secs(2);
/// What a search holds the sessions to.
pub const SEARCH_SLO: &str = "p99<=100ms,loss<=0.1%";
/// The server's own bound on sessions is to be none here: what gives out shall be something else.
const SESSIONS_MAX: u32 = 1_024;
const SEARCH_TO: u64 = 512;
const SEARCH_PRECISION: f64 = 0.05;
/// A search is many short runs.
const SEARCH_WARMUP: Duration = Duration::from_secs(1);
/// So that many sessions are begun in a moment, and not all in the same one.
const START_EVERY: Duration = Duration::from_millis(50);
