//! The scenario `trickle`: publishers and subscribers of segmented channels over HTTP/1.1, with the habits of those in the wild.
//!
//! ```text
//!   publisher of a channel ── POST {base}{name}/{n}, a chunk every 1/rate ──▶ server ── GET {base}{name}/{n} ──▶ subscribers
//!        chunk k is due at start + phase + k/rate                              chunk = due ──▶ last byte
//! ```
//!
//! Invariants:
//! - A chunk goes out when it is due, whatever the server does; one HTTP chunk each.
//! - Every chunk says who sent it, which one it is and when it was due, so loss, duplicates, wrong order and wrong bytes are
//!   counted one by one, and latency needs no second clock.
//! - What the server does wrong is counted and survived. Only a server that takes no channel at all ends a run, before it begins.
//!
//! Errors by class: `connect`, `tls`, `descriptors`, `ports` (no connection), `timeout`, `reset` (it broke), `no-answer` (closed
//! without one), `cut` (closed within one), `closed-early` (a POST answered before its end), `closed` (`Lp-Trickle-Closed`),
//! `status-N`, `wrong-seq` (another segment than was asked for), `malformed` (no HTTP).

use serde_json::{Value, json};

use crate::conduct::{Lengths, Scenario, Worker};
use crate::failure::Failure;
use crate::measure::{Interval, Metric};
use crate::outcome::{Better, Figure, Stream};
use crate::polite::Demand;
use crate::target::Target;

pub(crate) mod channel;
pub(crate) mod clients;
mod options;
mod publish;
mod seen;
mod subscribe;
mod wire;
pub(crate) mod worker;

use channel::{Channel, Layout};
pub use options::{Connection, Options, Verify};
use worker::TrickleWorker;

/// The scenario, resolved.
#[derive(Debug, Clone)]
pub struct Trickle {
    layout: Layout,
    target: Target,
    channels: Vec<Channel>,
}

impl Trickle {
    /// Fills in the defaults, and draws from ranges by `seed`.
    ///
    /// # Errors
    /// The options ask for what cannot be.
    pub fn resolve(options: &Options, target: Target, seed: u64) -> Result<Self, Failure> {
        let layout = Layout::resolve(options)?;
        let channels = layout.draw(&target, seed)?;
        Ok(Self {
            layout,
            target,
            channels,
        })
    }
}

impl Scenario for Trickle {
    fn name(&self) -> &'static str {
        "trickle"
    }

    fn operation(&self) -> &'static str {
        "chunk"
    }

    fn metrics(&self) -> &'static [Metric] {
        METRICS
    }

    fn settings(&self) -> Value {
        serde_json::to_value(&self.layout)
            .unwrap_or_else(|error| json!({"error": error.to_string()}))
    }

    fn demand(&self, traffic_s: f64) -> Demand {
        channel::demand(&self.channels, traffic_s)
    }

    fn workers(&self, threads: usize, _: Lengths) -> Result<Vec<Box<dyn Worker>>, Failure> {
        let is_kept = self.layout.connection == Connection::KeepAlive;
        Ok(channel::deal(&self.channels, threads)
            .into_iter()
            .map(|channels| {
                Box::new(TrickleWorker::new(
                    self.target.clone(),
                    channels,
                    is_kept,
                    self.layout.preconnect,
                )) as Box<dyn Worker>
            })
            .collect())
    }

    fn figures(&self, total: &Interval, _: &[Stream], window_s: f64) -> Vec<Figure> {
        #[allow(clippy::cast_precision_loss)] // a rate
        let bits = total.counts.bytes_received as f64 * 8.0;
        vec![Figure {
            name: "gbit_per_s".to_owned(),
            title: "payload delivered".to_owned(),
            value: bits / 1e9 / window_s,
            unit: "Gbit/s".to_owned(),
            better: Better::Higher,
        }]
    }
}

const METRICS: &[Metric] = &[
    Metric {
        name: "chunk",
        title: "due to last byte at a subscriber",
    },
    Metric {
        name: "first_byte",
        title: "due to first byte at a subscriber",
    },
];
