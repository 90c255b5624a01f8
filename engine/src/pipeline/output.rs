//! A session's output: frames and audio into MPEG-TS, a chunk a frame, cut into segments at key frames.
//!
//! Invariants:
//! - A frame is published the moment it is there; audio waits for the frame that is shown after it, so the two stay in step.
//! - Audio passes through bit for bit. What was shown before a cut lies before the cut.
//! - Every segment begins with tables and a key frame.
//! - A program is announced with the first frame that came in it, not before.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use media::{Mux, Program, Ticks, Track, mux};

use crate::shard::Shard;
use crate::shard::local::Pen;

/// Audio units that may wait for video.
const AUDIO_MAX: usize = 512;
/// Programs that may wait for their first frame; more of them replace each other.
const PROGRAMS_MAX: usize = 8;
/// How long audio waits for video that does not come.
const AUDIO_PATIENCE: Duration = Duration::from_secs(1);

/// One audio unit, as it came.
pub(super) struct Audio {
    /// The program it came in, as [`Output::newest_program`] counts.
    pub(super) program: u32,
    pub(super) pid: u16,
    pub(super) pts: Option<Ticks>,
    pub(super) data: Vec<u8>,
    pub(super) at: Instant,
}

/// The muxing end of a session.
pub(super) struct Output {
    mux: Option<Mux>,
    /// What is announced now, and its number.
    tracks: Vec<Track>,
    video: Option<usize>,
    program: u32,
    /// What the input has announced since; each takes over with the first frame that came in it.
    coming: VecDeque<Vec<Track>>,
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
            program: 0,
            coming: VecDeque::new(),
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

    /// The number of the program that the input is in; 0 before the first.
    pub(super) fn newest_program(&self) -> u32 {
        self.program + u32::try_from(self.coming.len()).unwrap_or(0)
    }

    pub(super) fn has_audio(&self) -> bool {
        self.newest_tracks()
            .iter()
            .any(|track| track.codec.is_audio())
    }

    fn newest_tracks(&self) -> &[Track] {
        self.coming.back().unwrap_or(&self.tracks)
    }

    /// The input's tracks appeared or changed. The output announces the same once it has got there: frames of the program
    /// before may still be on the lane.
    pub(super) fn set_program(&mut self, program: &Program) -> Result<(), mux::Error> {
        let video = program.video().map(|track| track.pid);
        let is_wanted = |track: &&Track| track.codec.is_audio() || Some(track.pid) == video;
        let tracks: Vec<Track> = program
            .tracks
            .iter()
            .filter(is_wanted)
            .map(as_it_leaves)
            .collect();
        Mux::new(mux::Config::default(), &tracks)?;
        if self.coming.len() == PROGRAMS_MAX {
            self.coming.pop_back();
        }
        self.coming.push_back(tracks);
        Ok(())
    }

    /// Announces the programs up to `program`. What still waits in the ones before goes first.
    fn enter(&mut self, program: u32) {
        while self.program < program
            && let Some(tracks) = self.coming.pop_front()
        {
            self.write_audio(None);
            let announced = match &mut self.mux {
                Some(mux) => mux.set_tracks(&tracks).is_ok(),
                None => Mux::new(mux::Config::default(), &tracks)
                    .map(|mux| self.mux = Some(mux))
                    .is_ok(),
            };
            debug_assert!(announced, "set_program has tried it");
            self.video = tracks.iter().position(|track| track.codec.is_video());
            self.tracks = tracks;
            self.program += 1;
        }
    }

    /// Publishes a frame. False when it could not be.
    pub(super) fn video(
        &mut self,
        shard: &Shard,
        pen: &mut Pen,
        program: u32,
        pts: Ticks,
        key: bool,
        data: &[u8],
    ) -> bool {
        let is_new = program > self.program;
        if is_new {
            self.enter(program);
        }
        if key {
            // A new segment: what was shown before it belongs to the old one.
            if self.begun {
                self.write_audio(Some(pts));
                self.bytes += send(shard, pen, &mut self.buffer).1;
                pen.end_segment(shard);
            }
            self.begun = true;
        }
        let (Some(mux), Some(track), true) = (&mut self.mux, self.video, self.begun) else {
            return false;
        };
        if key || is_new {
            mux.tables(&mut self.buffer);
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
        self.write_audio(Some(pts));
        let (sent, bytes) = send(shard, pen, &mut self.buffer);
        self.bytes += bytes;
        sent
    }

    /// Takes an audio unit; gives its buffer back if it is not wanted.
    pub(super) fn audio(&mut self, shard: &Shard, pen: &mut Pen, audio: Audio) -> Option<Vec<u8>> {
        let is_ours = |track: &Track| track.pid == audio.pid && track.codec.is_audio();
        if !self.newest_tracks().iter().any(is_ours) {
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

    /// Publishes the first `count` that wait, whatever video there is.
    fn release(&mut self, shard: &Shard, pen: &mut Pen, count: usize) {
        for _ in 0..count {
            let Some(audio) = self.waiting.pop_front() else {
                break;
            };
            if audio.program > self.program {
                self.enter(audio.program);
                if let Some(mux) = &mut self.mux {
                    mux.tables(&mut self.buffer);
                }
            }
            self.write(audio);
        }
        self.bytes += send(shard, pen, &mut self.buffer).1;
    }

    /// Muxes the audio of this program that is shown before `until`, or all of it.
    fn write_audio(&mut self, until: Option<Ticks>) {
        while let Some(audio) = self.waiting.front() {
            let shown = audio.pts.or(self.audio_pts);
            if audio.program > self.program
                || until.is_some_and(|until| shown.is_some_and(|pts| pts >= until))
            {
                break;
            }
            let Some(audio) = self.waiting.pop_front() else {
                break;
            };
            self.write(audio);
        }
    }

    /// Muxes one audio unit.
    fn write(&mut self, audio: Audio) {
        let track = self.tracks.iter().position(|track| track.pid == audio.pid);
        if let (Some(mux), Some(track), true) = (&mut self.mux, track, self.begun) {
            let unit = mux::Unit {
                pts: audio.pts,
                dts: None,
                random_access: true,
                data: &[&audio.data],
            };
            // What cannot be muxed (too large for a PES packet) was not legal where it came from either.
            let _ = mux.unit(track, unit, &mut self.buffer);
        }
        self.audio_pts = audio.pts.or(self.audio_pts);
    }
}

/// Sound leaves as it came; pictures leave in H.264, whatever they came in.
fn as_it_leaves(track: &Track) -> Track {
    if track.codec.is_video() && track.codec != media::Codec::H264 {
        Track::h264(track.pid)
    } else {
        track.clone()
    }
}

/// Publishes the buffer and empties it. Whether it was taken, and how many bytes.
fn send(shard: &Shard, pen: &mut Pen, buffer: &mut Vec<u8>) -> (bool, u64) {
    let bytes = buffer.len() as u64;
    let sent = bytes == 0 || pen.write(shard, buffer);
    buffer.clear();
    (sent, if sent { bytes } else { 0 })
}
