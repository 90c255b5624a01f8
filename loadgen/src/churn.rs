//! The scenario `churn`: viewers who come and go, on channels that are live all the while.
//!
//! ```text
//!   due ──▶ new connection ──▶ open ──▶ GET {channel}/-2 ──▶ first byte ──▶ reads along for a while ──▶ leaves
//!    ├───────── connect ────────┤                              │             half of them at a segment's end,
//!    ├──────────────────────────── join ───────────────────────┤             half in the middle of whatever comes
//! ```
//!
//! Invariants:
//! - A join is due when it is due, however many are still waiting: at random, as people come, or at even distances.
//! - Who joins when, where and for how long depends on the seed alone, and not on the number of threads.
//! - A join is expected to bring a first byte; how long it stays counts from there. One that brings none within
//!   ten seconds is given up, and is an error of class `timeout`.

use serde_json::{Value, json};

use crate::conduct::{Lengths, Scenario, Worker};
use crate::failure::Failure;
use crate::measure::{Interval, Metric};
use crate::outcome::{Better, Figure, Stream};
use crate::polite::Demand;
use crate::target::Target;
use crate::trickle::channel::{self, Channel, Layout};

mod arrivals;
mod joiners;
mod options;
mod worker;

use arrivals::Manner;
pub use options::{Arrivals, JoinAt, Options};
use worker::ChurnWorker;

/// The scenario, resolved.
#[derive(Debug, Clone)]
pub struct Churn {
    layout: Layout,
    manner: Manner,
    target: Target,
    channels: Vec<Channel>,
}

impl Churn {
    /// Fills in the defaults, and draws from ranges by `seed`.
    ///
    /// # Errors
    /// The options ask for what cannot be.
    pub fn resolve(options: &Options, target: Target, seed: u64) -> Result<Self, Failure> {
        let layout = Layout::resolve(&options.channels())?;
        let channels = layout.draw(&target, seed)?;
        let manner = Manner::resolve(options, layout.channels, seed)?;
        Ok(Self {
            layout,
            manner,
            target,
            channels,
        })
    }
}

impl Scenario for Churn {
    fn name(&self) -> &'static str {
        "churn"
    }

    fn operation(&self) -> &'static str {
        "join"
    }

    fn metrics(&self) -> &'static [Metric] {
        METRICS
    }

    fn settings(&self) -> Value {
        let (layout, manner) = (&self.layout, &self.manner);
        json!({
            "channels": layout.channels,
            "chunk_size": layout.chunk_size,
            "rate": layout.rate,
            "segment": layout.segment,
            "base": layout.base,
            "channel": layout.channel,
            "joins": manner.joins,
            "arrivals": manner.arrivals,
            "join_at": manner.join_at,
            "stay": manner.stay,
            "at_once_max": manner.at_once_max,
        })
    }

    fn demand(&self, traffic_s: f64) -> Demand {
        let publishing = channel::demand(&self.channels, traffic_s);
        let stay_s = self.manner.stay.max.0.as_secs_f64();
        let at_once =
            (f64::from(self.manner.joins) * stay_s).min(f64::from(self.manner.at_once_max));
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates
        let joins = (f64::from(self.manner.joins) * traffic_s).ceil() as u32;
        Demand {
            sessions: publishing.sessions.saturating_add(joins),
            mbit_per_s: publishing.mbit_per_s
                + at_once * publishing.mbit_per_s / f64::from(self.layout.channels),
            seconds: traffic_s,
        }
    }

    fn workers(&self, threads: usize, _: Lengths) -> Result<Vec<Box<dyn Worker>>, Failure> {
        let hands = channel::deal(&self.channels, threads);
        let count = hands.len();
        Ok(hands
            .into_iter()
            .enumerate()
            .map(|(hand, channels)| {
                let target = self.target.clone();
                Box::new(ChurnWorker::new(
                    target,
                    channels,
                    &self.manner,
                    hand,
                    count,
                )) as Box<dyn Worker>
            })
            .collect())
    }

    fn figures(&self, total: &Interval, _: &[Stream], _: f64) -> Vec<Figure> {
        #[allow(clippy::cast_precision_loss)] // a share
        let share = total.counts.received as f64 / total.counts.expected.max(1) as f64;
        vec![Figure {
            name: "joined_percent".to_owned(),
            title: "joins that brought a first byte".to_owned(),
            value: share * 100.0,
            unit: "%".to_owned(),
            better: Better::Higher,
        }]
    }
}

const METRICS: &[Metric] = &[
    Metric {
        name: "join",
        title: "due to first byte of a body",
    },
    Metric {
        name: "connect",
        title: "due to connected, TLS included",
    },
    Metric {
        name: "chunk",
        title: "due to last byte at a viewer who was there before",
    },
];
