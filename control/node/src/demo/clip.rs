//! What is played: the built-in clip, or the user's own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::offline::{self, Index};

use crate::failure::Failure;

/// 640×360 at 30 frames a second with sound; how it was made stands beside it.
const BUILT_IN: &[u8] = include_bytes!("../../assets/clip.ts");

/// A clip and where its frames are.
#[derive(Clone)]
pub(super) struct Clip {
    pub(super) name: String,
    pub(super) bytes: Arc<[u8]>,
    pub(super) index: Arc<Index>,
}

impl Clip {
    pub(super) fn load(path: Option<&Path>) -> Result<Self, Failure> {
        let (name, bytes): (String, Arc<[u8]>) = match path {
            None => ("built in".to_owned(), BUILT_IN.into()),
            Some(path) => {
                let bytes = std::fs::read(path).map_err(|error| {
                    Failure::usage(
                        format!("{} cannot be read", path.display()),
                        error.to_string(),
                    )
                })?;
                (path.display().to_string(), bytes.into())
            }
        };
        let index = offline::index(&bytes);
        if index.frames.len() < 2 || !index.frames[0].key {
            return Err(Failure::usage(
                format!("{name} cannot be played"),
                "it must be MPEG-TS with H.264 video that begins with a key frame; `ffmpeg -i FILE -c:v libx264 -c:a aac -f mpegts FILE.ts` makes one",
            ));
        }
        Ok(Self {
            name,
            bytes,
            index: Arc::new(index),
        })
    }

    /// From the first picture to the end of the last, in 90 kHz ticks.
    pub(super) fn ticks(&self) -> i64 {
        let pts = || self.index.frames.iter().map(|frame| frame.pts);
        let (first, last) = (pts().min().unwrap_or(0), pts().max().unwrap_or(0));
        let frames = i64::try_from(self.index.frames.len()).unwrap_or(i64::MAX);
        (last - first) + (last - first) / (frames - 1).max(1)
    }

    pub(super) fn duration(&self) -> Duration {
        ticks_to_time(self.ticks())
    }

    pub(super) fn describe(&self) -> String {
        let seconds = self.duration().as_secs_f64();
        let (frames, sound) = (self.index.frames.len(), self.index.audio.len());
        format!("{frames} frames in {seconds:.1} s, {sound} audio packets")
    }
}

/// 90 kHz ticks as time; negative ones are none.
pub(super) fn ticks_to_time(ticks: i64) -> Duration {
    Duration::from_micros(u64::try_from(ticks).unwrap_or(0).saturating_mul(100) / 9)
}
