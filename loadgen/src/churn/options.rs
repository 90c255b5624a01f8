//! What the load is made of: flags, or the table `[churn]`.

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::or_else;
use crate::trickle;
use crate::units::{Size, Span, Time};

/// Flags, and the table `[churn]`; what neither says is `None`. A range lets every channel, or every viewer, draw its own.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Joins a second, over all channels, however many are still waiting [default: 50]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub joins: Option<u32>,
    /// Whether viewers come at random, as people do, or at even distances [default: poisson]
    #[arg(long, value_enum, value_name = "HOW", help_heading = "Load")]
    pub arrivals: Option<Arrivals>,
    /// Where a viewer begins: with the segment that is being written (GET -2), or with the next one (GET -1), whose beginning it waits for [default: current]
    #[arg(long, value_enum, value_name = "WHERE", help_heading = "Load")]
    pub join_at: Option<JoinAt>,
    /// How long a viewer stays after its first byte [default: 1s..5s]
    #[arg(long, value_name = "TIME", help_heading = "Load")]
    pub stay: Option<Span<Time>>,
    /// Viewers at once; joins beyond them are dropped, and counted [default: 2000]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub at_once_max: Option<u32>,
    /// Channels, each with a publisher of its own [default: 1]
    #[arg(long, value_name = "N", help_heading = "Channels")]
    pub channels: Option<u32>,
    /// Bytes of a chunk, from 32 to 16M [default: 16k]
    #[arg(long, value_name = "SIZE", help_heading = "Channels")]
    pub chunk_size: Option<Span<Size>>,
    /// Chunks a second that each publisher sends [default: 30]
    #[arg(long, value_name = "N", help_heading = "Channels")]
    pub rate: Option<Span<u32>>,
    /// Length of a segment; who joins one gets it from its beginning [default: 2s]
    #[arg(long, value_name = "TIME", help_heading = "Channels")]
    pub segment: Option<Span<Time>>,
    /// Path of the server under which it keeps its channels [default: /ai/trickle/]
    #[arg(long, value_name = "PATH", help_heading = "Server")]
    pub base: Option<String>,
    /// Publish to this channel, which is there already, by name or URL; may be given again. None is created or deleted then [default: channels are created, and deleted afterwards]
    #[arg(long, value_name = "NAME", help_heading = "Server")]
    pub channel: Option<Vec<String>>,
}

impl Options {
    /// What a file says fills in what the flags did not.
    #[must_use]
    pub fn or(mut self, file: Self) -> Self {
        or_else!(
            self,
            file,
            joins,
            arrivals,
            join_at,
            stay,
            at_once_max,
            channels,
            chunk_size,
            rate,
            segment,
            base,
            channel,
        );
        self
    }

    /// What of it is said of the channels. Nobody subscribes but those who join.
    pub(super) fn channels(&self) -> trickle::Options {
        trickle::Options {
            channels: self.channels,
            subscribers: Some(0.into()),
            chunk_size: self.chunk_size,
            rate: self.rate,
            segment: self.segment,
            base: self.base.clone(),
            channel: self.channel.clone(),
            ..trickle::Options::default()
        }
    }
}

/// How viewers come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// At random: the time between two is exponential.
    #[default]
    Poisson,
    /// At even distances.
    Even,
}

/// Where a viewer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JoinAt {
    /// The segment that is being written.
    #[default]
    Current,
    /// The next one.
    Next,
}

impl JoinAt {
    /// As it is asked for.
    pub(super) fn seq(self) -> i64 {
        match self {
            Self::Current => -2,
            Self::Next => -1,
        }
    }
}
