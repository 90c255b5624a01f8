//! The output held against the input: nothing lost, nothing out of step, and every picture what the filter makes of it.

use std::collections::BTreeMap;

use engine::offline::{self, Filter, Frame, Index};

use crate::report::Report;

/// Sound and picture may not drift apart by more than this.
const STEP_US_MAX: i64 = 1_000;
/// The least likeness to what the filter makes of the decoded input, in decibels.
const PSNR_DB_MIN: f64 = 30.0;
/// Decoded pictures that wait for their counterpart.
const PICTURES_MAX: usize = 64;

/// What was found.
pub(super) struct Verdict {
    frames_in: usize,
    frames_out: usize,
    audio_in: usize,
    audio_same: usize,
    step_us: Option<i64>,
    psnr_db: Option<f64>,
    damaged: usize,
    pub(super) picture: Option<Pair>,
}

/// The same moment before and after.
pub(super) struct Pair {
    pub(super) before: Frame,
    pub(super) after: Frame,
}

impl Verdict {
    pub(super) fn reach(input: &[u8], output: &[u8], filter: Filter) -> Result<Self, String> {
        let (before, after) = (offline::index(input), offline::index(output));
        let likeness = Likeness::measure(input, output, filter, &after)?;
        let same = before
            .audio
            .iter()
            .zip(&after.audio)
            .filter(|(a, b)| a == b)
            .count();
        Ok(Self {
            frames_in: before.frames.len(),
            frames_out: after.frames.len(),
            audio_in: before.audio.len(),
            audio_same: if before.audio.len() == after.audio.len() {
                same
            } else {
                same.min(after.audio.len())
            },
            step_us: step(&before)
                .zip(step(&after))
                .map(|(before, after)| (after - before) * 100 / 9),
            psnr_db: likeness.mean_db(),
            damaged: likeness.damaged,
            picture: likeness.pair,
        })
    }

    pub(super) fn is_good(&self) -> bool {
        self.complaint().is_empty()
    }

    /// What is wrong, if anything.
    pub(super) fn complaint(&self) -> String {
        let mut wrong = Vec::new();
        if self.frames_out != self.frames_in {
            wrong.push(format!(
                "{} frames went in and {} came out",
                self.frames_in, self.frames_out
            ));
        }
        if self.audio_same != self.audio_in {
            wrong.push(format!(
                "{} of {} audio packets came back as they were",
                self.audio_same, self.audio_in
            ));
        }
        if self.step_us.is_some_and(|us| us.abs() > STEP_US_MAX) {
            wrong.push(format!(
                "sound and picture moved apart by {} us",
                self.step_us.unwrap_or(0)
            ));
        }
        if self.psnr_db.is_none_or(|db| db < PSNR_DB_MIN) {
            wrong.push(format!(
                "the likeness is {:.1} dB, less than {PSNR_DB_MIN}",
                self.psnr_db.unwrap_or(0.0)
            ));
        }
        if self.damaged > 0 {
            wrong.push(format!("{} output frames cannot be decoded", self.damaged));
        }
        wrong.join("; ")
    }

    pub(super) fn describe(&self, report: &mut Report) {
        report.row(
            "frames",
            format!("{} in, {} out", self.frames_in, self.frames_out),
        );
        report.row(
            "audio",
            format!(
                "{} of {} packets bit for bit",
                self.audio_same, self.audio_in
            ),
        );
        if let Some(us) = self.step_us {
            report.row("in step", format!("sound against picture moved by {us} us"));
        }
        if let Some(db) = self.psnr_db {
            report.row(
                "likeness",
                format!(
                    "{db:.1} dB mean luma PSNR against the reference filter on the decoded input"
                ),
            );
        }
    }
}

/// How far sound begins after the picture, in ticks.
fn step(index: &Index) -> Option<i64> {
    Some(index.audio_start()? - index.video_start()?)
}

/// Pictures of both sides, matched by presentation time.
struct Likeness {
    sum_db: f64,
    pictures: usize,
    damaged: usize,
    pair: Option<Pair>,
}

impl Likeness {
    fn measure(input: &[u8], output: &[u8], filter: Filter, after: &Index) -> Result<Self, String> {
        let mut this = Self {
            sum_db: 0.0,
            pictures: 0,
            damaged: 0,
            pair: None,
        };
        // The picture shown is the one in the middle.
        let shown = after
            .frames
            .get(after.frames.len() / 2)
            .map(|frame| frame.pts);
        // Both clips are decoded side by side, so only a few pictures of each are held.
        std::thread::scope(|scope| {
            let (tx, rx) = std::sync::mpsc::sync_channel(PICTURES_MAX / 2);
            let decoding = scope.spawn(move || {
                offline::decode(input, |pts, frame| drop(tx.send((pts, frame.clone()))))
            });
            let mut waiting: BTreeMap<i64, Frame> = BTreeMap::new();
            let damaged = offline::decode(output, |pts, frame| {
                while !waiting.contains_key(&pts) && waiting.len() < PICTURES_MAX {
                    match rx.recv() {
                        Ok((pts, frame)) => drop(waiting.insert(pts, frame)),
                        Err(_) => break,
                    }
                }
                if let Some(before) = waiting.remove(&pts) {
                    this.compare(filter, before, frame, Some(pts) == shown);
                }
                waiting.retain(|waiting, _| *waiting > pts);
            })?;
            this.damaged = damaged;
            drop(rx);
            decoding
                .join()
                .map_err(|_| "the decoder panicked".to_owned())??;
            Ok(this)
        })
    }

    fn compare(&mut self, filter: Filter, before: Frame, after: &Frame, shown: bool) {
        if let Ok(expected) = offline::filter(filter, &before)
            && let Some(psnr) = offline::psnr(&expected, after)
        {
            // Luma alone: chroma that the filter sets to one value would flatter the mean.
            self.sum_db += psnr.y;
            self.pictures += 1;
        }
        if shown {
            self.pair = Some(Pair {
                before,
                after: after.clone(),
            });
        }
    }

    fn mean_db(&self) -> Option<f64> {
        (self.pictures > 0).then(|| self.sum_db / self.pictures as f64)
    }
}
