//! What a device does, and how far what is around it keeps up: the six questions of `gpubench`.
//!
//! ```text
//!   clip ─▶ decode   the device's pictures beside the CPU's
//!        ─▶ ceiling  decoders alone, more and more, pictures thrown away ─▶ the same streams through lanes: the ratio
//!        ─▶ encode   pictures a second into the encoder, and what a round trip loses
//!        ─▶ copies   bytes between host and device a frame, beside the bitstream's
//!        ─▶ model    an ONNX model, one picture at a time and sixteen
//!        ─▶ recover  a device that is lost: thrown away, opened anew, first picture
//! ```
//!
//! Invariants:
//! - The same code runs on every device. The CPU and the stub rehearse it, and their reports begin by saying so.
//! - What is compared is measured in one run, by one process, one after the other.
//! - A figure that was not measured is a sentence in its place and no number.
//! - Every loop ends by a deadline, and `bin/gpubench` ends a step whose device does not come back.

pub mod ceiling;
pub mod clip;
pub mod copies;
pub mod crew;
pub mod decode;
pub mod device;
pub mod encode;
pub mod fleet;
pub mod model;
pub mod recover;
pub mod report;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use clip::Clip;
use device::{Found, Subject};
use report::{Report, Trouble};

/// One question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Question {
    /// Are the device's pictures those of the CPU's decoder, and how fast do they come?
    Decode,
    /// How many pictures a second do its decoders give, and how much of that do lanes keep?
    Ceiling,
    /// How many pictures a second are encoded, where, and what does it cost the picture?
    Encode,
    /// What is copied between host and device for a frame, beside the bitstream?
    Copies,
    /// What does an ONNX model take, one picture at a time and sixteen?
    Model,
    /// How long after a device is lost does the first picture come?
    Recover,
}

/// How the questions are to be put.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Files of MPEG-TS in the place of drawn clips.
    pub clips: Vec<PathBuf>,
    /// Sizes of drawn clips in the place of each question's own.
    pub sizes: Vec<(usize, usize)>,
    /// How long a question may measure; making clips and opening devices is not counted.
    pub time: Duration,
    /// The library that models are to be run with.
    pub onnxruntime: Option<PathBuf>,
}

impl Question {
    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Ceiling => "ceiling",
            Self::Encode => "encode",
            Self::Copies => "copies",
            Self::Model => "model",
            Self::Recover => "recover",
        }
    }

    /// Puts it to a device.
    ///
    /// # Errors
    /// When what it needs is absent, or nothing could be measured.
    pub fn put(self, found: &Found, settings: &Settings) -> Result<Report, Trouble> {
        match found {
            Found::Cuda(device) => self.put_to(device, settings),
            Found::Cpu(device) => self.put_to(device, settings),
            Found::Stub(device) => self.put_to(device, settings),
        }
    }

    fn put_to<S: Subject>(self, subject: &S, settings: &Settings) -> Result<Report, Trouble> {
        match self {
            Self::Decode => decode::run(subject, settings),
            Self::Ceiling => ceiling::run(subject, settings),
            Self::Encode => encode::run(subject, settings),
            Self::Copies => copies::run(subject, settings),
            Self::Model => model::run(subject, settings),
            Self::Recover => recover::run(subject, settings),
        }
    }
}

impl Settings {
    /// The clips to measure with: the files, else drawn ones of the sizes that were named, else of these.
    fn clips(&self, sizes: &[(usize, usize)]) -> Result<Vec<Clip>, Trouble> {
        if !self.clips.is_empty() {
            return self.clips.iter().map(|path| Clip::read(path)).collect();
        }
        let named = &self.sizes[..];
        let sizes = if named.is_empty() { sizes } else { named };
        sizes
            .iter()
            .map(|&(width, height)| Clip::draw(width, height))
            .collect()
    }

    /// One clip: the first of [`Settings::clips`].
    fn clip(&self, size: (usize, usize)) -> Result<Clip, Trouble> {
        self.clips(&[size])?
            .into_iter()
            .next()
            .ok_or_else(|| Trouble::Failed("there is no clip".to_owned()))
    }

    /// The part of the time that one window may take, of so many.
    fn window(&self, of: u32) -> Duration {
        self.time / of.max(1)
    }

    fn until(&self) -> Instant {
        Instant::now() + self.time
    }
}
