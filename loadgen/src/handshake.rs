//! The scenario `handshake`: a storm of `GetOrchestrator`, the call with which every gateway asks every orchestrator for its terms.
//!
//! ```text
//!   before   requests are signed, one a sender ── connections are made (none with --fresh)
//!   then     due ──▶ a connection has room ──▶ OrchestratorRequest ──▶ OrchestratorInfo ──▶ is all in it?
//!             ├───────────────────────────── handshake ────────────────────────┤
//! ```
//!
//! Invariants:
//! - A request goes out when it is due, or when a connection has room after that. Latency counts from due.
//! - An answer counts when everything is in it that a gateway needs to choose and to pay; a hash comes once in a run.
//! - A request is answered within 8 s, which is what stock gateways wait for the slowest, or it is an error.
//!
//! Errors by class: `connect`, `tls`, `alpn` (no HTTP/2 was agreed on), `reset`, `malformed` (no HTTP/2), `timeout`, `unknown` (the run was
//! over before the answer), `stream-reset`, `gone-away`, `too-long`, `status-N` and `no-grpc` (another server), `grpc: …` with the words of a
//! refusal; and what is wrong with an answer: `undecodable`, `no-transcoder`, `no-auth-token`, `no-price`, `no-ticket-params`,
//! `no-recipient`, `no-face-value`, `no-win-probability`, `no-hash`, `no-seed`, `no-expiration`, `no-round`, `repeated-hash`.

use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::conduct::{Lengths, Scenario, Worker};
use crate::failure::Failure;
use crate::gateway::{Identity, live_capabilities};
use crate::measure::{Interval, Metric};
use crate::or_else;
use crate::outcome::{Better, Figure, ServerUse, Stream};
use crate::polite::Demand;
use crate::target::Target;

mod judge;
mod lines;
mod worker;

use judge::Hashes;
use worker::HandshakeWorker;

/// Flags, and the table `[handshake]`; what neither says is `None`.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Requests a second over all senders, whatever the orchestrator does [default: 100]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub rate: Option<u32>,
    /// Connections, each with as many requests under way as the orchestrator lets it; with --fresh, the most at a time [default: 16, with --fresh 1000]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub connections: Option<u32>,
    /// A new connection for each request, TLS and all, as stock gateways make them [default: false]
    #[arg(long, help_heading = "Load", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub fresh: Option<bool>,
    /// Senders; the key of each follows from the seed [default: 10]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub senders: Option<u32>,
    /// Live-video-to-video model to ask for [default: builtin/passthrough]
    #[arg(long, value_name = "ID", help_heading = "Request")]
    pub model: Option<String>,
    /// Ask for no capabilities: the answer has the hardware and the prices of all of them [default: false]
    #[arg(long, help_heading = "Request", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub plain: Option<bool>,
    /// Ask as a gateway without a chain: signed by nobody, and to be offered nothing to pay with [default: false]
    #[arg(long, help_heading = "Request", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub offchain: Option<bool>,
}

impl Options {
    /// What a file says fills in what the flags did not.
    #[must_use]
    pub fn or(mut self, file: Self) -> Self {
        or_else!(
            self,
            file,
            rate,
            connections,
            fresh,
            senders,
            model,
            plain,
            offchain,
        );
        self
    }
}

/// The scenario, resolved.
#[derive(Debug, Clone)]
pub struct Handshake {
    /// Whether the first refusal that asks for patience ends the run.
    pub stop_at_refusal: bool,
    target: Target,
    seed: u64,
    manner: Manner,
    hashes: Arc<Mutex<Hashes>>,
}

/// The options, resolved.
#[derive(Debug, Clone, Serialize)]
struct Manner {
    rate: u32,
    connections: u32,
    fresh: bool,
    senders: u32,
    model: Option<String>,
    offchain: bool,
}

impl Handshake {
    /// Fills in the defaults.
    ///
    /// # Errors
    /// The options ask for what cannot be.
    pub fn resolve(options: &Options, target: Target, seed: u64) -> Result<Self, Failure> {
        let is_plain = options.plain.unwrap_or(false);
        if is_plain && options.model.is_some() {
            return Err(Failure::new("--plain and --model: it is one or the other"));
        }
        let model = options.model.as_deref().unwrap_or("builtin/passthrough");
        let fresh = options.fresh.unwrap_or(false);
        let manner = Manner {
            rate: options.rate.unwrap_or(100),
            connections: options
                .connections
                .unwrap_or(if fresh { 1_000 } else { 16 }),
            fresh,
            senders: options.senders.unwrap_or(10),
            model: (!is_plain).then(|| model.to_owned()),
            offchain: options.offchain.unwrap_or(false),
        };
        for (count, max, what) in [
            (manner.rate, RATE_MAX, "requests a second"),
            (manner.connections, CONNECTIONS_MAX, "connections"),
            (manner.senders, SENDERS_MAX, "senders"),
        ] {
            if !(1..=max).contains(&count) {
                return Err(Failure::new(format!(
                    "1 to {max} {what} are possible, and no other number"
                )));
            }
        }
        Ok(Self {
            stop_at_refusal: false,
            target,
            seed,
            manner,
            hashes: Arc::default(),
        })
    }

    /// What each sender asks, as it is sent.
    fn requests(&self) -> Vec<Vec<u8>> {
        use proto::Message as _;
        let capabilities = self.manner.model.as_deref().map(live_capabilities);
        let senders = if self.manner.offchain {
            1
        } else {
            self.manner.senders
        };
        (0..senders)
            .map(|number| match self.manner.offchain {
                true => Identity::anonymous_request(capabilities.clone()),
                false => Identity::seeded(self.seed, number).request(capabilities.clone()),
            })
            .map(|request| crate::grpc::body(&request.encode_to_vec()))
            .collect()
    }

    /// Whether an answer has everything in it.
    fn judge(&self, message: &[u8]) -> Result<(), judge::Fault> {
        let hash = judge::judge(message, !self.manner.offchain)?;
        let Some(hash) = hash else { return Ok(()) };
        // A panic elsewhere leaves hashes that were seen.
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        match hashes.is_new(&hash) {
            true => Ok(()),
            false => Err(judge::Fault::RepeatedHash),
        }
    }
}

impl Scenario for Handshake {
    fn name(&self) -> &'static str {
        "handshake"
    }

    fn operation(&self) -> &'static str {
        "handshake"
    }

    fn metrics(&self) -> &'static [Metric] {
        METRICS
    }

    fn settings(&self) -> Value {
        serde_json::to_value(&self.manner)
            .unwrap_or_else(|error| json!({"error": error.to_string()}))
    }

    fn demand(&self, traffic_s: f64) -> Demand {
        let rate = f64::from(self.manner.rate);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates
        let starts = (rate * traffic_s).ceil() as u32;
        Demand {
            sessions: match self.manner.fresh {
                true => starts,
                false => self.manner.connections,
            },
            mbit_per_s: rate * EXCHANGE_BYTES * 8.0 / 1e6,
            seconds: traffic_s,
        }
    }

    fn workers(&self, threads: usize, _: Lengths) -> Result<Vec<Box<dyn Worker>>, Failure> {
        let requests = Arc::new(self.requests());
        *self.hashes.lock().unwrap_or_else(PoisonError::into_inner) = Hashes::default();
        let connections = self.manner.connections as usize;
        let hands = threads.clamp(1, connections);
        Ok((0..hands)
            .map(|hand| {
                let worker = HandshakeWorker {
                    handshake: self.clone(),
                    requests: Arc::clone(&requests),
                    hand: hand as u64,
                    hands: hands as u64,
                    connections: (connections - hand).div_ceil(hands),
                    lines: None,
                };
                Box::new(worker) as Box<dyn Worker>
            })
            .collect())
    }

    fn figures(&self, total: &Interval, _: &[Stream], window_s: f64) -> Vec<Figure> {
        let counts = &total.counts;
        let received = count(counts.received);
        let refused = more(total, "refused");
        let share = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
        [
            (
                "handshakes_per_s",
                "handshakes answered well within the window",
                Some(more(total, "handshakes") / window_s),
                "handshakes/s",
                Better::Higher,
            ),
            (
                "answer_bytes",
                "an answer, on average",
                share(count(counts.bytes_received), received),
                "B",
                Better::Lower,
            ),
            (
                "refused_percent",
                "requests that were refused",
                share(refused * 100.0, refused + received),
                "%",
                Better::Lower,
            ),
        ]
        .into_iter()
        .filter_map(|(name, title, value, unit, better)| {
            Some(figure(name, title, value?, unit, better))
        })
        .collect()
    }

    fn costs(&self, server: &ServerUse, total: &Interval, window_s: f64) -> Vec<Figure> {
        let cpu_s = server.cpu_share * window_s;
        let (name, title) = (
            "handshakes_per_core_s",
            "handshakes for a second of the server's CPU",
        );
        let value = (cpu_s > 0.0).then(|| more(total, "handshakes") / cpu_s);
        let figure = value.map(|value| figure(name, title, value, "handshakes/s", Better::Higher));
        figure.into_iter().collect()
    }
}

fn figure(name: &str, title: &str, value: f64, unit: &str, better: Better) -> Figure {
    Figure {
        name: name.to_owned(),
        title: title.to_owned(),
        value,
        unit: unit.to_owned(),
        better,
    }
}

fn more(total: &Interval, name: &str) -> f64 {
    count(total.counts.more.get(name).copied().unwrap_or(0))
}

#[allow(clippy::cast_precision_loss)] // for rates and shares
fn count(number: u64) -> f64 {
    number as f64
}

const METRICS: &[Metric] = &[Metric {
    name: "handshake",
    title: "due to the whole answer",
}];
/// Place in [`METRICS`].
const HANDSHAKE: usize = 0;
/// What stock gateways wait for the slowest.
const ANSWER_TIMEOUT_S: u32 = 8;
/// A request and an answer, roughly.
const EXCHANGE_BYTES: f64 = 1_200.0;
const RATE_MAX: u32 = 1_000_000;
const CONNECTIONS_MAX: u32 = 10_000;
const SENDERS_MAX: u32 = 100_000;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::target::Trust;

    fn handshake(text: &str) -> Result<Handshake, Failure> {
        let target = Target::resolve("http://127.0.0.1:9", Trust::Anyone, String::new())?;
        Handshake::resolve(&toml::from_str(text).unwrap(), target, 1)
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (wrong, want) in [
            ("rate = 0", "requests a second"),
            ("connections = 0", "connections"),
            ("senders = 0", "senders"),
            ("plain = true\nmodel = \"a\"", "one or the other"),
        ] {
            let why = handshake(wrong).unwrap_err().to_string();
            assert!(why.contains(want), "{why}");
        }
        let fresh = handshake("fresh = true").unwrap();
        assert_eq!(fresh.manner.connections, 1_000);
        assert_eq!(fresh.demand(2.5).sessions, 250, "each is a start");
    }

    #[test]
    fn without_a_chain_everybody_is_nobody() {
        let signed = handshake("senders = 3").unwrap().requests();
        assert_eq!(signed.iter().collect::<HashSet<_>>().len(), 3);
        assert_eq!(
            handshake("senders = 3\noffchain = true")
                .unwrap()
                .requests()
                .len(),
            1
        );
        let plain = handshake("senders = 1\nplain = true").unwrap().requests();
        assert!(plain[0].len() < signed[0].len());
    }
}
