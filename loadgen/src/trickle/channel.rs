//! The channels of a run: what is drawn for each, when its chunks are due, and how they come to be on a server and go again.
//!
//! Chunk `k` of a channel is due at `start + phase + k / rate`. The phases spread the channels over the time between two chunks,
//! since publishers in the field do not beat time together; their segments likewise begin at different times, the first segment of a
//! channel being shorter than the others.

use std::time::Duration;

use serde::Serialize;

use super::options::{Connection, Options, Verify};
use crate::ask::ask;
use crate::chunk::{HEADER_BYTES, Pattern};
use crate::clock::{self, SECOND};
use crate::failure::Failure;
use crate::polite::Demand;
use crate::target::Target;
use crate::units::{Size, Span, Time};

/// What is the same for all channels of a run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Layout {
    pub(crate) channels: u32,
    pub(crate) subscribers: Span<u32>,
    pub(crate) chunk_size: Span<Size>,
    pub(crate) rate: Span<u32>,
    pub(crate) segment: Span<Time>,
    pub(crate) connection: Connection,
    pub(crate) preconnect: bool,
    pub(crate) verify: Verify,
    pub(crate) base: String,
    pub(crate) channel: Vec<String>,
}

impl Layout {
    /// Fills in what is not said, and refuses what cannot be.
    pub(crate) fn resolve(options: &Options) -> Result<Self, Failure> {
        let channel = options.channel.clone().unwrap_or_default();
        let given = u32::try_from(channel.len()).unwrap_or(u32::MAX);
        let channels = match (options.channels, given) {
            (Some(count), 1..) if count != given => {
                return Err(Failure::new(format!(
                    "{count} channels are asked for and {given} are named; leave one of the two out"
                )));
            }
            (_, 1..) => given,
            (count, 0) => count.unwrap_or(1),
        };
        let mut base = options.base.clone().unwrap_or_else(|| BASE.to_owned());
        if !base.ends_with('/') {
            base.push('/');
        }
        let layout = Self {
            channels,
            subscribers: options.subscribers.unwrap_or_else(|| 5.into()),
            chunk_size: options.chunk_size.unwrap_or_else(|| Size(16 << 10).into()),
            rate: options.rate.unwrap_or_else(|| 30.into()),
            segment: options
                .segment
                .unwrap_or_else(|| Time(Duration::from_secs(2)).into()),
            connection: options.connection.unwrap_or_default(),
            preconnect: options.preconnect.unwrap_or(true),
            verify: options.verify.unwrap_or_default(),
            base,
            channel,
        };
        layout.check()?;
        Ok(layout)
    }

    fn check(&self) -> Result<(), Failure> {
        let sizes = HEADER_BYTES as u64..=CHUNK_BYTES_MAX;
        let wrong = if self.channels == 0 || self.channels > CHANNELS_MAX {
            format!(
                "1 to {CHANNELS_MAX} channels are possible, not {}",
                self.channels
            )
        } else if self.subscribers.max > SUBSCRIBERS_MAX {
            format!("at most {SUBSCRIBERS_MAX} subscribers of a channel are possible")
        } else if self.rate.min == 0 || self.rate.max > RATE_MAX {
            format!(
                "1 to {RATE_MAX} chunks a second are possible, not {}",
                self.rate
            )
        } else if !sizes.contains(&self.chunk_size.min.0) || !sizes.contains(&self.chunk_size.max.0)
        {
            format!(
                "a chunk has {HEADER_BYTES} bytes, which is its header, to {CHUNK_BYTES_MAX}, not {}",
                self.chunk_size
            )
        } else if !self.base.starts_with('/') || self.base.contains(char::is_whitespace) {
            format!(
                "{:?} is not a path of a server; write /ai/trickle/",
                self.base
            )
        } else {
            return Ok(());
        };
        Err(Failure::new(wrong))
    }

    /// Draws the channels.
    pub(crate) fn draw(&self, target: &Target, seed: u64) -> Result<Vec<Channel>, Failure> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let largest = usize::try_from(self.chunk_size.max.0).unwrap_or(usize::MAX);
        let mut pattern = Pattern::new(largest);
        if self.verify == Verify::Header {
            pattern = pattern.header_only();
        }
        let now_ns = clock::now_ns();
        let run = format!("{:x}{now_ns:x}", std::process::id());
        // Chunks of another run on the same channel are not taken for ours.
        #[allow(clippy::cast_possible_truncation)] // any bits will do
        let group = (now_ns ^ (now_ns >> 32)) as u32 ^ std::process::id().rotate_left(16);
        (0..self.channels)
            .map(|number| {
                let path = match self.channel.get(number as usize) {
                    Some(given) if given.contains('/') => target.path_of(given)?,
                    Some(name) => format!("{}{name}", self.base),
                    None => format!("{}loadgen-{run}-{number}", self.base),
                };
                let rate = self.rate.draw(&mut rng);
                let chunk_bytes = self.chunk_size.draw(&mut rng);
                let segment_ns = self.segment.draw_ns(&mut rng);
                let segment_chunks: u64 = ((u128::from(segment_ns) * u128::from(rate)
                    + u128::from(SECOND / 2))
                    / u128::from(SECOND))
                .try_into()
                .map_or(u64::MAX, |chunks: u64| chunks.max(1));
                let missing =
                    u128::from(segment_chunks) * u128::from(number) / u128::from(self.channels);
                Ok(Channel {
                    path: path.trim_end_matches('/').to_owned(),
                    is_given: !self.channel.is_empty(),
                    group: group.wrapping_add(number),
                    pattern: pattern
                        .with_chunk_bytes(usize::try_from(chunk_bytes).unwrap_or(largest)),
                    size_line: format!("{chunk_bytes:x}\r\n"),
                    rate,
                    phase_ns: SECOND / u64::from(rate) * u64::from(number)
                        / u64::from(self.channels),
                    segment_chunks,
                    missing_chunks: u64::try_from(missing).unwrap_or(0),
                    subscribers: self.subscribers.draw(&mut rng),
                    seq_first: 0,
                })
            })
            .collect()
    }
}

/// A channel.
#[derive(Debug, Clone)]
pub(crate) struct Channel {
    /// Path on the server, without a slash at its end.
    pub(crate) path: String,
    /// It was there before us, and stays.
    pub(crate) is_given: bool,
    /// Marks its chunks.
    pub(crate) group: u32,
    pub(crate) pattern: Pattern,
    /// Before each HTTP chunk.
    pub(crate) size_line: String,
    pub(crate) rate: u32,
    phase_ns: u64,
    segment_chunks: u64,
    /// By so many the first segment is shorter; less than a whole one.
    missing_chunks: u64,
    pub(crate) subscribers: u32,
    /// Sequence number of the first segment.
    pub(crate) seq_first: i64,
}

impl Channel {
    /// When a chunk is due, after the start.
    pub(crate) fn due_ns(&self, number: u64) -> u64 {
        let since_ns = u128::from(number) * u128::from(SECOND) / u128::from(self.rate);
        self.phase_ns + u64::try_from(since_ns).unwrap_or(u64::MAX / 4)
    }

    /// The segment that a chunk belongs to.
    pub(crate) fn seq_of(&self, number: u64) -> i64 {
        let nth = number.saturating_add(self.missing_chunks) / self.segment_chunks;
        self.seq_first
            .saturating_add(i64::try_from(nth).unwrap_or(i64::MAX))
    }

    /// Whether a segment begins with a chunk.
    pub(crate) fn is_segment_start(&self, number: u64) -> bool {
        number == 0
            || number
                .saturating_add(self.missing_chunks)
                .is_multiple_of(self.segment_chunks)
    }

    /// Creates it, or finds out where its head is.
    pub(crate) fn prepare(&mut self, target: &Target) -> Result<(), Failure> {
        if self.is_given {
            return self.find_head(target);
        }
        let fields = [("Expect-Content", "video/mp2t")];
        let answer =
            ask(target, "POST", &self.path, &fields, b"", ANSWER_TIMEOUT).map_err(start_one)?;
        match answer.status {
            200..300 => Ok(()),
            404 => Err(Failure::new(format!(
                "{target} does not let strangers create channels: POST {} was answered 404; start it so that it does \
                 (`millstream orchestrator --trickle-autocreate`), or name channels that are there already with --channel",
                self.path
            ))),
            status => Err(Failure::new(format!(
                "POST {} at {target}, to create a channel, was answered {status}: {}",
                self.path,
                answer.text()
            ))),
        }
    }

    fn find_head(&mut self, target: &Target) -> Result<(), Failure> {
        let path = format!("{}/next", self.path);
        let answer = ask(target, "GET", &path, &[], b"", ANSWER_TIMEOUT).map_err(start_one)?;
        let latest = answer.field("lp-trickle-latest");
        let next = latest.map_or_else(|| answer.text().parse(), str::parse);
        match (answer.status, next) {
            (200, Ok(next)) => {
                self.seq_first = next;
                Ok(())
            }
            (404, _) => Err(Failure::new(format!(
                "there is no channel {} at {target}; leave --channel out to have one created",
                self.path
            ))),
            (status, _) => Err(Failure::new(format!(
                "GET {path} at {target}, to find the channel's head, was answered {status}: {}",
                answer.text()
            ))),
        }
    }

    /// Takes it away again, if it is ours.
    pub(crate) fn delete(&self, target: &Target) -> Result<(), Failure> {
        if !self.is_given {
            ask(target, "DELETE", &self.path, &[], b"", DELETE_TIMEOUT)?;
        }
        Ok(())
    }
}

/// Deals channels to at most `threads` workers, in turn.
pub(crate) fn deal(channels: &[Channel], threads: usize) -> Vec<Vec<Channel>> {
    let hands = threads.clamp(1, channels.len().max(1));
    let hand = |first| {
        channels
            .iter()
            .skip(first)
            .step_by(hands)
            .cloned()
            .collect()
    };
    (0..hands).map(hand).collect()
}

fn start_one(why: Failure) -> Failure {
    Failure::new(format!(
        "{why}; is a server there? Start one with `millstream orchestrator --trickle-autocreate`, or name another with --target"
    ))
}

/// What publishers and subscribers of these channels ask of a server.
pub(crate) fn demand(channels: &[Channel], traffic_s: f64) -> Demand {
    let people = |channel: &Channel| channel.subscribers.saturating_add(1);
    let bits = |channel: &Channel| {
        let chunk_bits = channel.pattern.chunk_bytes() as u64 * 8;
        u64::from(channel.rate) * chunk_bits * u64::from(people(channel))
    };
    #[allow(clippy::cast_precision_loss)] // a rate
    let bit_per_s = channels.iter().map(bits).sum::<u64>() as f64;
    Demand {
        sessions: channels.iter().map(people).fold(0, u32::saturating_add),
        mbit_per_s: bit_per_s / 1e6,
        seconds: traffic_s,
    }
}

const BASE: &str = "/ai/trickle/";
const CHANNELS_MAX: u32 = 100_000;
const SUBSCRIBERS_MAX: u32 = 100_000;
/// A chunk every 10 µs is more than one thread can send.
const RATE_MAX: u32 = 100_000;
const CHUNK_BYTES_MAX: u64 = 16 << 20;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// At the end nobody wants to wait long for a server that is gone.
const DELETE_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Trust;

    fn target() -> Target {
        Target::resolve("http://127.0.0.1:1", Trust::Anyone, String::new()).unwrap()
    }

    fn layout(text: &str) -> Result<Layout, Failure> {
        Layout::resolve(&toml::from_str(text).unwrap())
    }

    #[test]
    fn channels_take_turns_and_keep_their_rate() {
        let layout = layout("channels = 4\nrate = 30\nsegment = \"2s\"").unwrap();
        let channels = layout.draw(&target(), 1).unwrap();
        let phases: Vec<u64> = channels.iter().map(|channel| channel.due_ns(0)).collect();
        assert!(
            phases
                .windows(2)
                .all(|pair| pair[1] - pair[0] == SECOND / 120),
            "{phases:?}"
        );
        // An hour later it is still in time.
        assert_eq!(channels[0].due_ns(3_600 * 30), 3_600 * SECOND);
    }

    #[test]
    fn segments_begin_at_different_times_and_their_numbers_have_no_gap() {
        let layout = layout("channels = 4\nrate = 30\nsegment = \"2s\"").unwrap();
        for (number, channel) in (0..).zip(layout.draw(&target(), 1).unwrap()) {
            // The first is shorter by as many quarters of a segment.
            let starts: Vec<u64> = (0..200).filter(|&k| channel.is_segment_start(k)).collect();
            let second = 60 - 15 * number;
            assert_eq!(starts[..3], [0, second, second + 60], "channel {number}");
            for (seq, start) in (0..).zip(starts) {
                assert_eq!(channel.seq_of(start), seq);
                assert!(start == 0 || channel.seq_of(start - 1) == seq - 1);
            }
        }
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let layout = layout(
            "channels = 9\nrate = \"10..50\"\nchunk_size = \"4k..64k\"\nsubscribers = \"0..9\"",
        )
        .unwrap();
        let drawn = |seed| -> Vec<(u32, usize, u32)> {
            let channels = layout.draw(&target(), seed).unwrap();
            channels
                .iter()
                .map(|c| (c.rate, c.pattern.chunk_bytes(), c.subscribers))
                .collect()
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for wrong in [
            "channels = 0",
            "rate = 0",
            "chunk_size = 31",
            "chunk_size = \"1k..17M\"",
            "base = \"ai\"",
            "channels = 2\nchannel = [\"a\"]",
        ] {
            assert!(layout(wrong).is_err(), "{wrong}");
        }
        let given = layout("channel = [\"a\", \"http://127.0.0.1:1/x/b/\"]").unwrap();
        let paths: Vec<String> = given
            .draw(&target(), 1)
            .unwrap()
            .into_iter()
            .map(|channel| channel.path)
            .collect();
        assert_eq!(paths, ["/ai/trickle/a", "/x/b"]);
    }
}
