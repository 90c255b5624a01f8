//! `copies`: what crosses between host and device for a frame, beside the bitstream, when a lane runs steadily.
//!
//! ```text
//!   host ──▶ device   the unit's bytes; item descriptors of the kernels; pictures, if the CPU decodes
//!   host ◀── device   the access unit's bytes; pictures, if the CPU encodes
//! ```
//!
//! Both ends of the measurement are at rest: everything that was sent has come back, and the lane has looked at its device's
//! totals since. So the bytes are those of the frames between, and of nothing else.

use std::time::{Duration, Instant};

use engine::drive::{Options, Step};
use gpu::{Backend, Filter};

use super::Settings;
use super::device::{Subject, has_engine, open};
use super::fleet::{Fleet, Tally};
use super::report::{Report, Table, Trouble, Verdict};

const SIZE: (usize, usize) = (1280, 720);
const SESSIONS: usize = 4;
/// The descriptor of one picture for one launch. The edges are one launch.
const ITEM_BYTES: f64 = size_of::<kernels::Item>() as f64;
/// A driver's parser may count a start code or a filler more or less than we sent.
const SLACK_BYTES: f64 = 64.0;
/// A lane at rest looks at its device's totals every half second.
const REST: Duration = Duration::from_millis(700);
/// The measured part is so much of the question's time; the rest is for coming to it and to rest.
const WINDOWS: u32 = 3;

/// One direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Way {
    /// For people: `host to device`.
    pub name: &'static str,
    /// The step at whose end it lies.
    pub step: &'static str,
    /// Whether the chip's engine does that step.
    pub is_engine: bool,
    /// Bytes a frame that were copied.
    pub copied: f64,
    /// Bytes a frame of the bitstream.
    pub bitstream: f64,
    /// Bytes a frame of item descriptors.
    pub items: f64,
}

/// Puts the question.
///
/// # Errors
/// When there is no clip, or a session ends.
pub fn run<S: Subject>(subject: &S, settings: &Settings) -> Result<Report, Trouble> {
    let clip = settings.clip(SIZE)?;
    let backend = open(subject)?;
    let engines = ["NVDEC", "NVENC"].map(|engine| has_engine(&backend, engine));
    let about = format!("device: {}", backend.name());
    drop(backend);
    let options = Options {
        lanes: 1,
        encode: true,
    };
    let step = Step::Filter(Filter::Edges { gain_percent: 100 });
    let mut fleet = Fleet::start(&subject.lanes_on(), options, &step, &clip, SESSIONS)
        .map_err(Trouble::Failed)?;
    let (frames, copied) = steady(&mut fleet, settings.window(WINDOWS)).map_err(Trouble::Failed)?;
    if frames.frames == 0 {
        return Err(Trouble::Failed("no frame came back".to_owned()));
    }
    let a_frame = |bytes: u64| bytes as f64 / frames.frames as f64;
    let ways = [
        Way {
            name: "host to device",
            step: "decoding",
            is_engine: engines[0],
            copied: a_frame(copied[0]),
            bitstream: a_frame(frames.bytes_in),
            items: if subject.ordinal().is_some() {
                ITEM_BYTES
            } else {
                0.0
            },
        },
        Way {
            name: "device to host",
            step: "encoding",
            is_engine: engines[1],
            copied: a_frame(copied[1]),
            bitstream: a_frame(frames.bytes_out),
            items: 0.0,
        },
    ];
    Ok(report(about, &clip.name, &frames, &ways))
}

/// What came of the frames of a window, and the bytes that were copied for them, there and back.
fn steady(fleet: &mut Fleet, window: Duration) -> Result<(Tally, [u64; 2]), String> {
    fleet.warm_up()?;
    fleet.drain()?;
    std::thread::sleep(REST);
    let (before, copied) = (fleet.tally, copies(fleet));
    fleet.run(Instant::now() + window)?;
    fleet.drain()?;
    std::thread::sleep(REST);
    let now = copies(fleet);
    let tally = fleet.tally.since(before);
    Ok((tally, [now[0] - copied[0], now[1] - copied[1]]))
}

fn copies(fleet: &Fleet) -> [u64; 2] {
    let lanes = fleet.drive().lanes();
    let sum =
        |pick: fn(&engine::LaneMetrics) -> u64| lanes.iter().map(|lane| pick(&lane.metrics)).sum();
    [
        sum(|metrics| metrics.to_device_bytes),
        sum(|metrics| metrics.from_device_bytes),
    ]
}

fn report(about: String, clip: &str, frames: &Tally, ways: &[Way]) -> Report {
    let mut table = Table::new([
        "way",
        "copied, bytes a frame",
        "bitstream",
        "item descriptors",
        "the rest",
    ]);
    for way in ways {
        table.row([
            way.name.to_owned(),
            format!("{:.0}", way.copied),
            format!("{:.0}", way.bitstream),
            format!("{:.0}", way.items),
            format!("{:.0}", way.rest()),
        ]);
    }
    Report {
        notes: vec![
            about,
            format!(
                "{SESSIONS} sessions of {clip} on one lane, builtin/edges: {} frames, {} given up for being late",
                frames.frames, frames.dropped
            ),
        ],
        tables: vec![table],
        verdicts: ways.iter().map(|way| way.judge()).collect(),
    }
}

impl Way {
    /// What is neither bitstream nor descriptors.
    pub fn rest(self) -> f64 {
        self.copied - self.bitstream - self.items
    }

    /// Whether nothing but those crosses.
    pub fn judge(self) -> Verdict {
        let Self {
            name, step, items, ..
        } = self;
        if self.is_engine {
            return Verdict::of(
                self.rest() <= SLACK_BYTES,
                format!(
                    "{name}: {:.0} bytes a frame beside the bitstream and {items:.0} of descriptors, promised at most {SLACK_BYTES:.0}",
                    self.rest()
                ),
            );
        }
        if self.copied == 0.0 {
            return Verdict::NotJudged(format!(
                "{name}: {step} is on the CPU and nothing is copied; pictures lie in host memory"
            ));
        }
        Verdict::NotJudged(format!(
            "{name}: {step} is on the CPU, so what crosses is what that step asks for: {:.0} bytes a frame beside the bitstream",
            self.rest()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_more_than_the_bitstream_is_a_failure_of_an_engine_and_not_of_the_cpu() {
        let way = Way {
            name: "host to device",
            step: "decoding",
            is_engine: true,
            copied: 12_192.0,
            bitstream: 12_000.0,
            items: 192.0,
        };
        assert_eq!(way.rest(), 0.0);
        assert!(matches!(way.judge(), Verdict::Pass(_)));
        let picture = Way {
            copied: 1_394_592.0,
            ..way
        };
        assert!(matches!(picture.judge(), Verdict::Fail(_)));
        let cpu = Way {
            is_engine: false,
            ..picture
        };
        let told = cpu.judge().to_string();
        assert!(
            told.contains("decoding is on the CPU") && told.contains("1382400"),
            "{told}"
        );
        let host = Way { copied: 0.0, ..cpu };
        assert!(host.judge().to_string().contains("nothing is copied"));
    }
}
