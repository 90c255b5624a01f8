//! The reader: decodes what came back and reads the marks, on a thread of its own, so that no arrival waits for a decoder.
//!
//! ```text
//!   worker ── Job: a frame ──▶ [bounded queue] ──▶ a decoder a session ──▶ mark ── Seen: what it said ──▶ worker
//! ```
//!
//! Invariants:
//! - Every job that is taken is answered once, in whatever order pictures come out of the decoder.
//! - A full queue takes nothing, and the worker goes on: it says so with the session's next job, whose decoder then waits for
//!   a key frame.
//! - Frames come out of a decoder in order of display, so each is the one with the earliest stamp of those that went in. At a key
//!   frame everything before it has come out, so a mistake does not last.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use openh264::decoder::{DecodedYUV, Decoder};
use openh264::formats::YUVSource;

use super::clip;
use super::mark::{Layout, Luma};
use super::tally::Read;
use super::ts::{has_picture, is_key, ticks_between};
use crate::failure::Failure;

/// A frame to look at.
#[derive(Debug)]
pub(super) struct Job {
    /// Whose.
    pub(super) session: usize,
    /// Which, in the order of arrival.
    pub(super) ordinal: u64,
    /// Its time stamp.
    pub(super) pts: u64,
    /// NAL units with start codes.
    pub(super) unit: Vec<u8>,
    /// Whether there were frames before it that the reader was not given.
    pub(super) is_after_gap: bool,
}

/// What it said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// Whose.
    pub(super) session: usize,
    /// Which.
    pub(super) ordinal: u64,
    /// Its number, or why there is none.
    pub(super) read: Read,
}

/// The worker's end. When it is dropped, the thread ends.
#[derive(Debug)]
pub(super) struct Reader {
    jobs: Option<SyncSender<Job>>,
    seen: Receiver<Seen>,
}

impl Reader {
    /// Starts the thread. It runs where the caller may run, so a worker that is pinned should not be the caller.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn start(layout: Layout) -> Result<Self, Failure> {
        let (jobs, taken) = sync_channel(QUEUE_JOBS);
        let (tell, seen) = sync_channel(QUEUE_SEEN);
        thread::Builder::new()
            .name("load-reader".to_owned())
            .spawn(move || work(layout, &taken, &tell))?;
        Ok(Self {
            jobs: Some(jobs),
            seen,
        })
    }

    /// Hands a frame over, if there is room.
    pub(super) fn try_read(&self, job: Job) -> bool {
        match &self.jobs {
            Some(jobs) => match jobs.try_send(job) {
                Ok(()) => true,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
            },
            None => false,
        }
    }

    /// What has been seen since.
    pub(super) fn poll(&self) -> impl Iterator<Item = Seen> {
        self.seen.try_iter()
    }

    /// There are no more jobs: gives what is still to be seen, until the last job is answered.
    pub(super) fn finish(&mut self) -> impl Iterator<Item = Seen> {
        self.jobs = None;
        self.seen.iter()
    }
}

fn work(layout: Layout, jobs: &Receiver<Job>, tell: &SyncSender<Seen>) {
    let mut sessions: HashMap<usize, Session> = HashMap::new();
    let mut seen = Vec::new();
    for job in jobs {
        let session = sessions
            .entry(job.session)
            .or_insert_with(|| Session::new(job.session));
        session.handle(&job, layout, &mut seen);
        if !seen.drain(..).all(|seen| tell.send(seen).is_ok()) {
            return; // nobody is interested any more
        }
    }
    for session in sessions.values_mut() {
        session.flush(layout, &mut seen);
    }
    for seen in seen {
        if tell.send(seen).is_err() {
            return;
        }
    }
}

/// One session's decoder.
struct Session {
    number: usize,
    /// `None` while it waits for a key frame.
    decoder: Option<Decoder>,
    /// Stamp and ordinal of what is in the decoder.
    within: Vec<(u64, u64)>,
}

impl Session {
    fn new(number: usize) -> Self {
        Self {
            number,
            decoder: None,
            within: Vec::new(),
        }
    }

    fn handle(&mut self, job: &Job, layout: Layout, seen: &mut Vec<Seen>) {
        if job.is_after_gap {
            self.give_up(seen);
        }
        if is_key(&job.unit) {
            self.flush(layout, seen);
            if self.decoder.is_none() {
                self.decoder = clip::decoder().ok();
            }
        }
        let Some(decoder) = self.decoder.as_mut().filter(|_| has_picture(&job.unit)) else {
            let read = if self.decoder.is_none() && has_picture(&job.unit) {
                Read::Unread
            } else {
                Read::Unreadable
            };
            seen.push(self.seen(job.ordinal, read));
            return;
        };
        self.within.push((job.pts, job.ordinal));
        match decoder.decode(&job.unit) {
            Ok(Some(picture)) => {
                let read = read(&picture, layout);
                self.answer_earliest(read, seen);
            }
            Ok(None) if self.within.len() <= HELD_MAX => {}
            Ok(None) | Err(_) => self.give_up(seen),
        }
    }

    /// Takes out what the decoder holds back.
    fn flush(&mut self, layout: Layout, seen: &mut Vec<Seen>) {
        if !self.within.is_empty()
            && let Some(decoder) = &mut self.decoder
        {
            let reads: Vec<Read> = decoder
                .flush_remaining()
                .unwrap_or_default()
                .iter()
                .map(|picture| read(picture, layout))
                .collect();
            for read in reads {
                self.answer_earliest(read, seen);
            }
        }
        for (_, ordinal) in std::mem::take(&mut self.within) {
            seen.push(self.seen(ordinal, Read::Unreadable));
        }
    }

    /// The decoder is of no use until the next key frame.
    fn give_up(&mut self, seen: &mut Vec<Seen>) {
        self.decoder = None;
        for (_, ordinal) in std::mem::take(&mut self.within) {
            seen.push(self.seen(ordinal, Read::Unreadable));
        }
    }

    fn answer_earliest(&mut self, read: Read, seen: &mut Vec<Seen>) {
        let earliest = (0..self.within.len()).reduce(|least, at| {
            if ticks_between(self.within[least].0, self.within[at].0) < 0 {
                at
            } else {
                least
            }
        });
        if let Some(at) = earliest {
            let (_, ordinal) = self.within.remove(at);
            seen.push(self.seen(ordinal, read));
        }
    }

    fn seen(&self, ordinal: u64, read: Read) -> Seen {
        Seen {
            session: self.number,
            ordinal,
            read,
        }
    }
}

fn read(picture: &DecodedYUV<'_>, layout: Layout) -> Read {
    let (width, height) = picture.dimensions();
    let luma = Luma {
        samples: picture.y(),
        stride: picture.strides().0,
        width,
        height,
    };
    layout.read(luma).map_or(Read::Unreadable, Read::Number)
}

/// A second of ten sessions.
const QUEUE_JOBS: usize = 300;
/// Room for all of them, and what decoders held back.
const QUEUE_SEEN: usize = 2 * QUEUE_JOBS;
/// More than H.264 lets a decoder hold back.
const HELD_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::super::clip::{Clip, Making};
    use super::*;
    use crate::clock::SECOND;

    fn clip() -> Clip {
        let making = Making {
            fps: None,
            bitrate_bps: None,
            segment_ns: SECOND,
            is_marked: true,
        };
        Clip::load(None, making, &|_| {}).unwrap()
    }

    fn job(clip: &Clip, session: usize, number: usize) -> Job {
        Job {
            session,
            ordinal: number as u64,
            pts: number as u64 * 3_000,
            unit: clip.frames[number].unit.clone(),
            is_after_gap: false,
        }
    }

    fn answers(reader: &mut Reader, session: usize) -> Vec<(u64, Read)> {
        let mut all: Vec<Seen> = reader.finish().collect();
        all.retain(|seen| seen.session == session);
        all.sort_by_key(|seen| seen.ordinal);
        all.iter().map(|seen| (seen.ordinal, seen.read)).collect()
    }

    #[test]
    fn each_frame_is_answered_once_with_its_number() {
        let clip = clip();
        let mut reader = Reader::start(clip.layout.unwrap()).unwrap();
        for number in 0..70 {
            for session in [4, 9] {
                assert!(reader.try_read(job(&clip, session, number)));
            }
        }
        let want: Vec<(u64, Read)> = (0..70)
            .map(|number| (u64::from(number), Read::Number(number)))
            .collect();
        assert_eq!(answers(&mut reader, 4), want);
    }

    #[test]
    fn after_a_gap_or_damage_it_waits_for_a_key_frame() {
        let clip = clip();
        let mut reader = Reader::start(clip.layout.unwrap()).unwrap();
        for number in 0..70 {
            let mut job = job(&clip, 1, number);
            if number == 5 {
                job.is_after_gap = true;
            }
            if number == 35 {
                job.unit = vec![0, 0, 0, 1, 0x09, 0xf0];
            }
            assert!(reader.try_read(job));
        }
        let answers = answers(&mut reader, 1);
        assert_eq!(answers.len(), 70);
        for (ordinal, read) in answers {
            let want = match ordinal {
                5..30 => Read::Unread,
                35 => Read::Unreadable,
                // What a frame without its predecessor looks like is the decoder's business.
                36..60 if !matches!(read, Read::Number(_)) => continue,
                _ => Read::Number(ordinal as u16),
            };
            assert_eq!(read, want, "{ordinal}");
        }
    }

    #[test]
    fn a_full_queue_says_so() {
        let (jobs, taken) = sync_channel(1);
        let (_tell, seen) = sync_channel(1);
        let reader = Reader {
            jobs: Some(jobs),
            seen,
        };
        let clip = clip();
        assert!(reader.try_read(job(&clip, 0, 0)));
        assert!(!reader.try_read(job(&clip, 0, 1)));
        drop(taken);
        assert!(!reader.try_read(job(&clip, 0, 1)));
    }
}
