//! Load scenario `live`: live-video-to-video sessions, each a real clip at real-time pace, and what their viewers would see.
//!
//! ```text
//!   clip ─▶ decode ─▶ burn a number into each frame ─▶ encode        once, before anything begins
//!                                   │
//!        due ─▶ POST a segment, a chunk a frame ─▶ orchestrator ─▶ GET ─▶ first byte, last byte ─▶ decode ─▶ which number?
//!         └──────────────────────────── latency of frame k ─────────────────┘                          └─ frame k
//! ```
//!
//! - A frame is due at its place in an even row, whatever the server does. Its latency is from then to its first byte back; as
//!   *uncorrected* it is from when its last byte was handed to the socket, or from when the frame before it came back.
//! - A frame is known by what its picture shows, not by what the server says of it (`--mark picture`), unless the load is to be
//!   more than decoders can follow (`--mark pts`).
//! - Sessions pay when they are told to (`--pay`), as a stock gateway does; what they paid is in an [`Account`] each.
//! - Sessions are begun before the first frame is due, one every `start_every`. What a session's first frame took is what the
//!   answer to its request took and, once frames are due, what the first that came back took since the first that was due.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub mod api;
pub mod clip;
mod damage;
mod draw;
mod lines;
pub mod mark;
mod pay;
mod publish;
mod reader;
pub mod tally;
pub mod ts;
mod watch;
mod worker;

use crate::conduct::{self, Lengths, Scenario};
use crate::failure::Failure;
use crate::gateway::{Identity, PrivateKey};
use crate::measure::{Interval, Meter, Metric};
use crate::or_else;
use crate::outcome::{Better, Figure, Stream, ms};
use crate::polite::Demand;
use crate::target::Target;
use crate::units::{Size, Time};
use clip::{Clip, Making};
use pay::Till;
pub use pay::{Account, SCHEMA, Totals};
use worker::{Shared, Worker};

/// Flags, and the table `[live]`; what neither says is `None`.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Sessions at once [default: 1]
    #[arg(long, value_name = "N", help_heading = "Live")]
    pub sessions: Option<u32>,
    /// Model of each session [default: builtin/passthrough]
    #[arg(long, value_name = "ID", help_heading = "Live")]
    pub model: Option<String>,
    /// Parameters of the model, as a JSON object [default: {}]
    #[arg(long, value_name = "JSON", help_heading = "Live")]
    pub params: Option<String>,
    /// MPEG-TS file with H.264 to publish, in a loop [default: the clip that is built in, 640x360 at 30 frames/s]
    #[arg(long, value_name = "FILE.ts", help_heading = "Live")]
    pub input: Option<PathBuf>,
    /// Draw a moving picture of this size, such as 1280x720, in place of a clip [default: the clip]
    #[arg(
        long,
        value_name = "WxH",
        conflicts_with = "input",
        help_heading = "Live"
    )]
    pub picture: Option<String>,
    /// Frames a second [default: the clip's]
    #[arg(long, value_name = "N", help_heading = "Live")]
    pub fps: Option<f64>,
    /// Bits a second that each session publishes, such as 500k (k is 1,024) [default: as much as the clip has]
    #[arg(long, value_name = "BITS", help_heading = "Live")]
    pub bitrate: Option<Size>,
    /// From one key frame, and one segment, to the next [default: 1s]
    #[arg(long, value_name = "TIME", help_heading = "Live")]
    pub segment: Option<Time>,
    /// How a frame is known when it comes back: by its picture, or by its time stamp alone, which takes no decoder [default: picture]
    #[arg(long, value_enum, value_name = "HOW", help_heading = "Live")]
    pub mark: Option<Mark>,
    /// A gap of more than so many frames is a stall [default: 5]
    #[arg(long, value_name = "FRAMES", help_heading = "Live")]
    pub stall: Option<f64>,
    /// From the start of one session to that of the next [default: 200ms]
    #[arg(long, value_name = "TIME", help_heading = "Live")]
    pub start_every: Option<Time>,
    /// Pay for each session with tickets, as a stock gateway does [default: false]
    #[arg(long, help_heading = "Payment", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub pay: Option<bool>,
    /// Private key that pays: 64 hexadecimal digits [default: follows from the seed, the same as that of the first sender of tickets]
    #[arg(long, value_name = "HEX", help_heading = "Payment")]
    pub key: Option<PrivateKey>,
    /// From one payment of a session to the next, at the least; it is made when an input segment begins [default: 5s]
    #[arg(long, value_name = "TIME", help_heading = "Payment")]
    pub pay_every: Option<Time>,
    /// Write what was reckoned and credited, session by session, to this file [default: none]
    #[arg(long, value_name = "FILE", help_heading = "Payment")]
    pub ledger: Option<PathBuf>,
}

/// How a frame is known when it comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// By a number in its picture.
    #[default]
    Picture,
    /// By its time stamp.
    Pts,
}

impl Options {
    /// What a file says fills in what the flags did not.
    #[must_use]
    pub fn or(mut self, file: Self) -> Self {
        or_else!(
            self,
            file,
            sessions,
            model,
            params,
            input,
            picture,
            fps,
            bitrate,
            segment,
            mark,
            stall,
            start_every,
            pay,
            key,
            pay_every,
            ledger,
        );
        self
    }
}

/// The scenario.
#[derive(Debug, Clone)]
pub struct Live {
    /// Sessions at once.
    pub sessions: usize,
    /// From the start of one session to that of the next. May be raised, never lowered, by whoever is polite.
    pub start_every_ns: u64,
    /// Whether the first refusal ends the trying.
    pub stop_at_refusal: bool,
    target: Target,
    seed: u64,
    model: String,
    params: Value,
    mark: Mark,
    segment_ns: u64,
    stall_frames: f64,
    bitrate: Option<Size>,
    clip: Arc<Clip>,
    till: Option<Till>,
}

impl Live {
    /// Resolves the options and makes the clip, which takes a second or so; `progress` is told how it goes.
    ///
    /// # Errors
    /// An option makes no sense, or the clip cannot be made.
    pub fn resolve(
        options: &Options,
        target: Target,
        seed: u64,
        progress: &dyn Fn(&str),
    ) -> Result<Self, Failure> {
        let wrong = |why: String| Err(Failure::new(why));
        let params = options.params.as_deref().unwrap_or("{}");
        let params: Value = match serde_json::from_str(params) {
            Ok(params @ Value::Object(_)) => params,
            Ok(_) => return wrong(format!("--params {params}: it must be a JSON object")),
            Err(error) => return wrong(format!("--params {params}: {error}")),
        };
        let sessions = options.sessions.unwrap_or(1) as usize;
        if !(1..=SESSIONS_MAX).contains(&sessions) {
            return wrong(format!("--sessions {sessions}: 1 to {SESSIONS_MAX}"));
        }
        let stall_frames = options.stall.unwrap_or(5.0);
        if !(1.0..=10_000.0).contains(&stall_frames) {
            return wrong(format!("--stall {stall_frames}: 1 to 10000 frames"));
        }
        let segment = options.segment.unwrap_or(Time(Duration::from_secs(1)));
        if segment.0.is_zero() {
            return wrong("--segment 0: a segment has at least a frame".to_owned());
        }
        let mark = options.mark.unwrap_or_default();
        let making = Making {
            fps: options.fps,
            bitrate_bps: options.bitrate.map(|size| size.0),
            segment_ns: segment.ns(),
            is_marked: mark == Mark::Picture,
        };
        let clip = match &options.picture {
            Some(_) if options.input.is_some() => {
                return wrong("--picture and --input: it is one or the other".to_owned());
            }
            Some(text) => {
                let (width, height) = parse_picture(text)
                    .ok_or_else(|| Failure::new(format!("--picture {text}: write 1280x720")))?;
                Clip::draw(width, height, making, progress)
                    .map_err(|why| why.during("--picture"))?
            }
            None => Clip::load(options.input.as_deref(), making, progress)?,
        };
        let start_every = options
            .start_every
            .unwrap_or(Time(Duration::from_millis(200)));
        let model = options
            .model
            .clone()
            .unwrap_or_else(|| "builtin/passthrough".to_owned());
        let till = resolve_till(options, &target, seed, &model)?;
        Ok(Self {
            sessions,
            start_every_ns: start_every.ns(),
            stop_at_refusal: false,
            target,
            seed,
            model,
            params,
            mark,
            segment_ns: segment.ns(),
            stall_frames,
            bitrate: options.bitrate,
            clip: Arc::new(clip),
            till,
        })
    }

    /// What was paid in the last run, session by session; nothing unless sessions pay.
    pub fn accounts(&self) -> Vec<Account> {
        self.till.as_ref().map(Till::accounts).unwrap_or_default()
    }

    /// The same load with so many sessions.
    #[must_use]
    pub fn with_sessions(&self, sessions: usize) -> Self {
        Self {
            sessions,
            ..self.clone()
        }
    }

    /// The same load with one frame of twelve or so damaged in its slices; the frames' lengths and times stay.
    #[must_use]
    pub fn damaged(&self, seed: u64) -> Self {
        let mut clip = (*self.clip).clone();
        let damaged = damage::damage(&mut clip, seed);
        clip.name = format!("{}, {damaged} frames damaged", clip.name);
        Self {
            clip: Arc::new(clip),
            ..self.clone()
        }
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )] // 1 to 10,000 frames, of a minute at most
    fn stall_ns(&self) -> u64 {
        (self.clip.rate.ns(1) as f64 * self.stall_frames) as u64
    }
}

impl Scenario for Live {
    fn name(&self) -> &'static str {
        "live"
    }

    fn operation(&self) -> &'static str {
        "frame"
    }

    fn metrics(&self) -> &'static [Metric] {
        match self.till {
            Some(_) => METRICS,
            None => &METRICS[..PAYMENT],
        }
    }

    fn settings(&self) -> Value {
        json!({
            "sessions": self.sessions,
            "model": self.model,
            "params": self.params,
            "input": self.clip.name,
            "picture": format!("{}x{}", self.clip.width, self.clip.height),
            "clip_frames": self.clip.frames.len(),
            "fps": self.clip.rate.fps(),
            "bitrate": self.bitrate,
            "segment": Time(Duration::from_nanos(self.segment_ns)),
            "mark": self.mark,
            "stall": self.stall_frames,
            "start_every": Time(Duration::from_nanos(self.start_every_ns)),
            "pay": self.till.is_some(),
            "payer": self.till.as_ref().map(|till| till.identity().address().to_string()),
            "pay_every": self.till.as_ref().map(|till| Time(Duration::from_nanos(till.every_ns()))),
            "ledger": self.till.as_ref().and_then(Till::ledger),
        })
    }

    fn demand(&self, traffic_s: f64) -> Demand {
        let bytes: usize = self.clip.frames.iter().map(|frame| frame.unit.len()).sum();
        #[allow(clippy::cast_precision_loss)] // a rate
        let (sessions, bits) = (self.sessions as f64, bytes as f64 * 8.0);
        #[allow(clippy::cast_precision_loss)] // a rate
        let bit_per_s = bits * self.clip.rate.fps() / self.clip.frames.len().max(1) as f64;
        Demand {
            sessions: u32::try_from(self.sessions).unwrap_or(u32::MAX),
            // There and back; what comes back is taken to be as much.
            mbit_per_s: sessions * bit_per_s * 2.0 / 1e6,
            seconds: traffic_s + sessions * ms(self.start_every_ns) / 1e3,
        }
    }

    fn workers(
        &self,
        threads: usize,
        _: Lengths,
    ) -> Result<Vec<Box<dyn conduct::Worker>>, Failure> {
        let threads = threads.clamp(1, self.sessions);
        let mut rng = fastrand::Rng::with_seed(self.seed);
        // As the readers below: not on a worker's thread.
        let till = self.till.clone();
        let jobs = till.as_ref().map(|till| till.open(self.sessions));
        let jobs = jobs.transpose()?;
        let shared = Arc::new(Shared {
            till,
            target: self.target.clone(),
            clip: Arc::clone(&self.clip),
            model: self.model.clone(),
            params: self.params.clone(),
            bases: Arc::new(tally::Bases::new(self.sessions, &mut rng)),
            starts: api::Starts::new(self.sessions, self.start_every_ns, self.stop_at_refusal),
            stall_ns: self.stall_ns(),
            segment_ns: self.segment_ns,
            seed: self.seed,
        });
        (0..threads)
            .map(|thread| {
                let numbers = (thread..self.sessions).step_by(threads).collect();
                // Here, and not on the worker's thread, which may be pinned to a CPU that it is to have for itself.
                let reader = self.clip.layout.map(reader::Reader::start).transpose()?;
                let worker = Worker::new(Arc::clone(&shared), numbers, reader, jobs.clone());
                Ok(Box::new(worker) as Box<dyn conduct::Worker>)
            })
            .collect()
    }

    fn remarks(&self) -> Vec<String> {
        let totals = self.till.as_ref().map(|till| Totals::of(&till.accounts()));
        totals
            .map(|totals| totals.to_string())
            .into_iter()
            .collect()
    }

    fn figures(&self, total: &Interval, streams: &[Stream], _window_s: f64) -> Vec<Figure> {
        let of = |name: &str| -> Vec<f64> {
            let mut values: Vec<f64> = streams
                .iter()
                .filter_map(|stream| stream.figures.get(name).copied())
                .collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let (fps, first, start) = (of("fps"), of("first_frame_ms"), of("start_ms"));
        #[allow(clippy::cast_precision_loss)] // numbers of things, for display
        let more = |name: &str| {
            let count = total.counts.more.get(name).copied();
            Some(count.unwrap_or(0) as f64)
        };
        let totals = self.till.as_ref().map(|till| Totals::of(&till.accounts()));
        let paid = |of: fn(&Totals) -> f64| totals.as_ref().map(of);
        let jitter = total.dists.get(JITTER).map(|dist| &dist.corrected);
        #[allow(clippy::cast_precision_loss)] // a few streams
        let mean = |values: &[f64]| {
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let (higher, lower) = (Better::Higher, Better::Lower);
        [
            (
                "fps",
                "frame rate, least session",
                fps.first().copied(),
                "frames/s",
                higher,
            ),
            (
                "fps_mean",
                "frame rate, mean of sessions",
                mean(&fps),
                "frames/s",
                higher,
            ),
            (
                "jitter_p99_ms",
                "jitter: from one frame to the next, against even",
                jitter.map(|it| ms(it.value_at_quantile(0.99))),
                "ms",
                lower,
            ),
            ("stalls", "stalls", more("stalls"), "", lower),
            (
                "stall_ms",
                "stalls, time in all",
                more("stall_ms"),
                "ms",
                lower,
            ),
            (
                "first_frame_p50_ms",
                "first frame, median",
                median(&first),
                "ms",
                lower,
            ),
            (
                "first_frame_max_ms",
                "first frame, worst",
                first.last().copied(),
                "ms",
                lower,
            ),
            (
                "start_p50_ms",
                "answer to a start, median",
                median(&start),
                "ms",
                lower,
            ),
            (
                "paid_tickets",
                "tickets that were credited, first minutes included",
                paid(|totals| count(totals.tickets)),
                "",
                higher,
            ),
            (
                "paid_wei",
                "what they are worth; exact in the notes and the ledger",
                paid(|totals| f64::from(totals.credit_wei)),
                "wei",
                lower,
            ),
            (
                "fee_wei",
                "what was reckoned for the video",
                paid(|totals| f64::from(totals.fee_wei)),
                "wei",
                lower,
            ),
            (
                "payments_refused",
                "payments that were refused",
                paid(|totals| count(totals.refused_count())),
                "",
                lower,
            ),
            (
                "ended_unpaid",
                "sessions that were ended while they were behind with their payments",
                paid(|totals| count(totals.ended_unpaid)),
                "",
                lower,
            ),
        ]
        .into_iter()
        .filter_map(|(name, title, value, unit, better)| {
            Some(Figure {
                name: name.to_owned(),
                title: title.to_owned(),
                value: value?,
                unit: unit.to_owned(),
                better,
            })
        })
        .collect()
    }
}

/// What sessions pay with, if they do.
fn resolve_till(
    options: &Options,
    target: &Target,
    seed: u64,
    model: &str,
) -> Result<Option<Till>, Failure> {
    if !options.pay.unwrap_or(false) {
        let given = [
            ("--key", options.key.is_some()),
            ("--pay-every", options.pay_every.is_some()),
            ("--ledger", options.ledger.is_some()),
        ];
        return match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((flag, _)) => Err(Failure::new(format!(
                "{flag} is for sessions that pay: write --pay"
            ))),
            None => Ok(None),
        };
    }
    let every = options.pay_every.unwrap_or(Time(PAY_EVERY));
    if every.0.is_zero() {
        return Err(Failure::new(
            "--pay-every 0: time is paid for when it has passed",
        ));
    }
    let identity = match &options.key {
        Some(key) => key.identity(),
        None => Identity::seeded(seed, 0),
    };
    let till = Till::new(
        target.clone(),
        identity,
        model.to_owned(),
        every.ns(),
        options.ledger.clone(),
    );
    // So that a file that cannot be written is known before anything is paid.
    till.save()?;
    Ok(Some(till))
}

#[allow(clippy::cast_precision_loss)] // for display
fn count(number: u64) -> f64 {
    number as f64
}

/// `1280x720`
fn parse_picture(text: &str) -> Option<(usize, usize)> {
    let (width, height) = text.split_once('x')?;
    Some((width.parse().ok()?, height.parse().ok()?))
}

fn median(sorted: &[f64]) -> Option<f64> {
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

/// Whether a session goes on.
#[derive(Debug, Default)]
struct Life {
    /// We end it.
    is_ending: bool,
    /// It is over.
    is_over: bool,
    /// The server ended it, and we did not.
    was_ended: bool,
}

impl Life {
    /// The server has ended it: an error unless we did.
    fn end(&mut self, meter: &mut Meter) {
        if !self.is_over && !self.is_ending {
            meter.record_error("session-ended");
            self.was_ended = true;
        }
        self.is_over = true;
    }
}

const FRAME: usize = 0;
const FRAME_WHOLE: usize = 1;
const INTERARRIVAL: usize = 2;
const JITTER: usize = 3;
const FIRST_FRAME: usize = 4;
const START: usize = 5;
const PAYMENT: usize = START + 1;

const METRICS: &[Metric] = &[
    Metric {
        name: "frame",
        title: "frame: due to first byte back",
    },
    Metric {
        name: "frame_whole",
        title: "whole frame: due to last byte back",
    },
    Metric {
        name: "interarrival",
        title: "from one frame to the next, as they come back",
    },
    Metric {
        name: "jitter",
        title: "the same, by how much it differs from even",
    },
    Metric {
        name: "first_frame",
        title: "first frame: a session's request to its answer, and its first frame due to the first back",
    },
    Metric {
        name: "start",
        title: "start: a session's request to its answer",
    },
    Metric {
        name: "payment",
        title: "payment: an input segment begins to the answer that it is credited",
    },
];
/// As stock gateways.
const PAY_EVERY: Duration = Duration::from_secs(5);

/// Each has five connections, and descriptors are finite.
const SESSIONS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::target::Trust;

    fn resolve(options: &Options) -> Result<Live, Failure> {
        let target = Target::resolve("http://127.0.0.1:1", Trust::Anyone, String::new())?;
        Live::resolve(options, target, 1, &|_| {})
    }

    #[test]
    fn options_that_make_no_sense_are_refused_by_name() {
        let none = Options::default;
        for (options, want) in [
            (
                Options {
                    sessions: Some(0),
                    ..none()
                },
                "--sessions",
            ),
            (
                Options {
                    params: Some("[]".into()),
                    ..none()
                },
                "--params",
            ),
            (
                Options {
                    params: Some("{".into()),
                    ..none()
                },
                "--params",
            ),
            (
                Options {
                    stall: Some(0.5),
                    ..none()
                },
                "--stall",
            ),
            (
                Options {
                    segment: Some(Time::default()),
                    ..none()
                },
                "--segment",
            ),
            (
                Options {
                    picture: Some("1280".into()),
                    ..none()
                },
                "--picture 1280: write 1280x720",
            ),
            (
                Options {
                    picture: Some("64x64".into()),
                    input: Some("x.ts".into()),
                    ..none()
                },
                "one or the other",
            ),
            (
                Options {
                    fps: Some(0.0),
                    ..none()
                },
                "frames a second",
            ),
        ] {
            let error = resolve(&options).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn a_file_reads_as_flags_do() {
        let file: Options = toml::from_str(
            "sessions = 3\nmodel = \"builtin/edges\"\nmark = \"pts\"\nsegment = \"500ms\"\nbitrate = \"1M\"",
        )
        .unwrap();
        let flags = Options {
            sessions: Some(2),
            ..Options::default()
        };
        let live = resolve(&flags.or(file)).unwrap();
        assert_eq!((live.sessions, live.segment_ns), (2, 500_000_000));
        let settings = live.settings();
        assert_eq!(settings["mark"], "pts");
        assert_eq!(settings["segment"], "500ms");
        assert!(live.clip.layout.is_none());
        assert!(toml::from_str::<Options>("session = 3").is_err());
    }

    #[test]
    fn a_load_can_be_damaged_and_says_so() {
        let live = resolve(&Options {
            picture: Some("160x96".into()),
            mark: Some(Mark::Pts),
            ..Options::default()
        })
        .unwrap();
        let settings = live.settings();
        assert_eq!(
            (&settings["picture"], &settings["input"]),
            (&json!("160x96"), &json!("drawn"))
        );
        let damaged = live.damaged(1);
        let name = damaged.settings()["input"].to_string();
        assert!(
            name.starts_with("\"drawn, ") && name.ends_with(" frames damaged\""),
            "{name}"
        );
        assert_eq!(damaged.demand(1.0), live.demand(1.0));
    }

    #[test]
    fn figures_tell_of_the_worst_session() {
        let live = resolve(&Options::default()).unwrap();
        let stream = |fps: f64, first: f64| Stream {
            name: String::new(),
            figures: BTreeMap::from([("fps".into(), fps), ("first_frame_ms".into(), first)]),
        };
        let streams = [
            stream(30.0, 100.0),
            stream(12.0, 400.0),
            stream(30.0, 200.0),
        ];
        let figures = live.figures(&Interval::new(0, METRICS.len()), &streams, 10.0);
        let value = |name: &str| figures.iter().find(|it| it.name == name).map(|it| it.value);
        assert_eq!(value("fps"), Some(12.0));
        assert_eq!(value("fps_mean"), Some(24.0));
        assert_eq!(value("first_frame_p50_ms"), Some(200.0));
        assert_eq!(value("first_frame_max_ms"), Some(400.0));
        assert_eq!(value("stalls"), Some(0.0));
    }
}
