//! What the load is made of: flags, or the table `[trickle]`.

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::or_else;
use crate::units::{Size, Span, Time};

/// Flags, and the table `[trickle]`; what neither says is `None`. A range lets every channel draw its own.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Channels, each with a publisher of its own [default: 1]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub channels: Option<u32>,
    /// Subscribers of each channel; every one gets every chunk. A number, or a range such as 1..20 [default: 5]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub subscribers: Option<Span<u32>>,
    /// Bytes of a chunk, from 32 to 16M: what is published at once, such as a few MPEG-TS packets of a frame. 16k, or 4k..64k [default: 16k]
    #[arg(long, value_name = "SIZE", help_heading = "Load")]
    pub chunk_size: Option<Span<Size>>,
    /// Chunks a second that each publisher sends, whatever the server does [default: 30]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub rate: Option<Span<u32>>,
    /// Length of a segment: each is one POST, and one GET a subscriber [default: 2s]
    #[arg(long, value_name = "TIME", help_heading = "Load")]
    pub segment: Option<Span<Time>>,
    /// Whether a connection carries one segment after another, as Go and pytrickle do, or one alone, as ai-runner does [default: keep-alive]
    #[arg(long, value_enum, value_name = "HOW", help_heading = "Clients")]
    pub connection: Option<Connection>,
    /// POST segment n+1 when n starts and GET n+1 when n has begun to arrive, as all known clients do; =false asks when n is over [default: true]
    #[arg(long, help_heading = "Clients", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub preconnect: Option<bool>,
    /// What a subscriber checks of a chunk: all of it, or its header of 32 bytes, which takes the generator less CPU [default: full]
    #[arg(long, value_enum, value_name = "WHAT", help_heading = "Clients")]
    pub verify: Option<Verify>,
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
            channels,
            subscribers,
            chunk_size,
            rate,
            segment,
            connection,
            preconnect,
            verify,
            base,
            channel,
        );
        self
    }
}

/// What a connection carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Connection {
    /// One segment after another.
    #[default]
    KeepAlive,
    /// One segment; then it is closed, and says so before.
    PerSegment,
}

/// What a subscriber checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verify {
    /// Every byte.
    #[default]
    Full,
    /// The header.
    Header,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_and_a_file_may_write_ranges() {
        let file: Options =
            toml::from_str("channels = 4\nchunk_size = \"4k..8k\"\nverify = \"header\"").unwrap();
        let flags = Options {
            channels: Some(2),
            ..Options::default()
        };
        let both = flags.or(file);
        assert_eq!(
            (both.channels, both.verify),
            (Some(2), Some(Verify::Header))
        );
        assert_eq!(both.chunk_size.unwrap().max.0, 8_192);
        assert!(toml::from_str::<Options>("chanels = 4").is_err());
    }
}
