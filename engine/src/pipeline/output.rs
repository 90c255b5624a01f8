//! A session's output: frames and audio into MPEG-TS, a chunk a frame, cut into segments at key frames.
//!
//! Invariants:
//! - A frame is published the moment it is there; audio waits for the frame that is shown after it, so the two stay in step.
//! - Audio passes through bit for bit. What was shown before a cut lies before the cut.
//! - Every segment begins with tables and a key frame.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use media::{Mux, Program, Ticks, mux};

use crate::shard::Shard;
use crate::shard::local::Pen;

/// Audio units that may wait for video.
const AUDIO_MAX: usize = 512;
/// How long audio waits for video that does not come.
const AUDIO_PATIENCE: Duration = Duration::from_secs(1);

/// One audio unit, as it came.
pub(super) struct Audio {
    pub(super) pid: u16,
    pub(super) pts: Option<Ticks>,
    pub(super) data: Vec<u8>,
    pub(super) at: Instant,
}

/// The muxing end of a session.
pub(super) struct Output {
    mux: Option<Mux>,
    tracks: Vec<media::Track>,
    video: Option<usize>,
    waiting: VecDeque<Audio>,
    audio_pts: Option<Ticks>,
    buffer: Vec<u8>,
    bytes: u64,
    begun: bool,
}

impl Output {
    pub(super) const fn new() -> Self {
        Self {
            mux: None,
            tracks: Vec::new(),
            video: None,
            waiting: VecDeque::new(),
            audio_pts: None,
            buffer: Vec::new(),
            bytes: 0,
            begun: false,
        }
    }

    /// Payload bytes published.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn has_audio(&self) -> bool {
        self.tracks.iter().any(|track| track.codec.is_audio())
    }

    /// The input's tracks appeared or changed; the output announces the same.
    pub(super) fn set_program(&mut self, program: &Program) -> Result<(), mux::Error> {
        let video = program.video().map(|track| track.pid);
        self.tracks = program
            .tracks
            .iter()
            .filter(|track| track.codec.is_audio() || Some(track.pid) == video)
            .cloned()
            .collect();
        self.video = self
            .tracks
            .iter()
            .position(|track| Some(track.pid) == video);
        match &mut self.mux {
            Some(mux) => {
                mux.set_tracks(&self.tracks)?;
                if self.begun {
                    mux.tables(&mut self.buffer);
                }
                Ok(())
            }
            None => Mux::new(mux::Config::default(), &self.tracks).map(|mux| self.mux = Some(mux)),
        }
    }

    /// Publishes a frame. False when it could not be.
    pub(super) fn video(
        &mut self,
        shard: &Shard,
        pen: &mut Pen,
        pts: Ticks,
        key: bool,
        data: &[u8],
    ) -> bool {
        let (Some(mux), Some(track)) = (&mut self.mux, self.video) else {
            return false;
        };
        if key {
            // A new segment: what was shown before it belongs to the old one.
            if self.begun {
                write_audio(
                    mux,
                    &self.tracks,
                    &mut self.waiting,
                    &mut self.audio_pts,
                    Some(pts),
                    &mut self.buffer,
                );
                self.bytes += send(shard, pen, &mut self.buffer).1;
                pen.end_segment(shard);
            }
            self.begun = true;
            mux.tables(&mut self.buffer);
        } else if !self.begun {
            return false;
        }
        let unit = mux::Unit {
            pts: Some(pts),
            dts: None,
            random_access: key,
            data: &[data],
        };
        if mux.unit(track, unit, &mut self.buffer).is_err() {
            return false;
        }
        write_audio(
            mux,
            &self.tracks,
            &mut self.waiting,
            &mut self.audio_pts,
            Some(pts),
            &mut self.buffer,
        );
        let (sent, bytes) = send(shard, pen, &mut self.buffer);
        self.bytes += bytes;
        sent
    }

    /// Takes an audio unit; gives its buffer back if it is not wanted.
    pub(super) fn audio(&mut self, shard: &Shard, pen: &mut Pen, audio: Audio) -> Option<Vec<u8>> {
        if !self
            .tracks
            .iter()
            .any(|track| track.pid == audio.pid && track.codec.is_audio())
        {
            return Some(audio.data);
        }
        self.waiting.push_back(audio);
        if self.waiting.len() > AUDIO_MAX && self.begun {
            self.release(shard, pen, 1);
        } else if self.waiting.len() > AUDIO_MAX {
            return self.waiting.pop_front().map(|audio| audio.data);
        }
        None
    }

    /// Publishes audio that has waited too long for video.
    pub(super) fn release_stale_audio(&mut self, shard: &Shard, pen: &mut Pen, now: Instant) {
        let stale = self
            .waiting
            .iter()
            .take_while(|audio| now.saturating_duration_since(audio.at) > AUDIO_PATIENCE)
            .count();
        if stale > 0 && self.begun {
            self.release(shard, pen, stale);
        }
    }

    /// Publishes all that waits and ends the last segment.
    pub(super) fn finish(&mut self, shard: &Shard, pen: &mut Pen) {
        if self.begun {
            self.release(shard, pen, self.waiting.len());
        }
        pen.end_segment(shard);
    }

    fn release(&mut self, shard: &Shard, pen: &mut Pen, count: usize) {
        let Some(mux) = &mut self.mux else { return };
        let mut due: VecDeque<Audio> = self.waiting.drain(..count).collect();
        write_audio(
            mux,
            &self.tracks,
            &mut due,
            &mut self.audio_pts,
            None,
            &mut self.buffer,
        );
        self.bytes += send(shard, pen, &mut self.buffer).1;
    }
}

/// Muxes the audio that is shown before `until`, or all.
fn write_audio(
    mux: &mut Mux,
    tracks: &[media::Track],
    waiting: &mut VecDeque<Audio>,
    audio_pts: &mut Option<Ticks>,
    until: Option<Ticks>,
    buffer: &mut Vec<u8>,
) {
    while let Some(audio) = waiting.front() {
        if until.is_some_and(|until| audio.pts.or(*audio_pts).is_some_and(|pts| pts >= until)) {
            break;
        }
        let Some(audio) = waiting.pop_front() else {
            break;
        };
        if let Some(track) = tracks.iter().position(|track| track.pid == audio.pid) {
            let unit = mux::Unit {
                pts: audio.pts,
                dts: None,
                random_access: true,
                data: &[&audio.data],
            };
            // What cannot be muxed (too large for a PES packet) was not legal where it came from either.
            let _ = mux.unit(track, unit, buffer);
        }
        *audio_pts = audio.pts.or(*audio_pts);
    }
}

/// Publishes the buffer and empties it. Whether it was taken, and how many bytes.
fn send(shard: &Shard, pen: &mut Pen, buffer: &mut Vec<u8>) -> (bool, u64) {
    let bytes = buffer.len() as u64;
    let sent = bytes == 0 || pen.write(shard, buffer);
    buffer.clear();
    (sent, if sent { bytes } else { 0 })
}
