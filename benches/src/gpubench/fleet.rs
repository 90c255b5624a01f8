//! Sessions on lanes, as the engine runs them, fed as fast as they take it.
//!
//! Each session has a few units in flight and no more, so a lane always has work and no frame is ever late by waiting behind its own.

use std::time::{Duration, Instant};

use engine::drive::{Drive, Event, Options, Session, Step};

use super::clip::Clip;

/// Units of a session in flight: one that is worked on, and those that are there when its turn comes again.
const IN_FLIGHT: usize = 3;
/// How long the feeder sleeps when there is nothing to feed.
const NAP: Duration = Duration::from_micros(500);
/// How long what was sent may take to come back.
const PATIENCE: Duration = Duration::from_secs(20);

/// Lanes, and the sessions on them.
pub struct Fleet {
    streams: Vec<Stream>,
    drive: Drive,
    clip: Clip,
    /// What has come of all of them.
    pub tally: Tally,
}

struct Stream {
    session: Session,
    sent: usize,
    frames: u64,
}

/// What has come of a fleet's units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Pictures that went all the way.
    pub frames: u64,
    /// Pictures that were given up because they were late.
    pub dropped: u64,
    /// Units that gave no picture.
    pub damaged: u64,
    /// Bytes of the units that were sent.
    pub bytes_in: u64,
    /// Bytes of the access units that came back.
    pub bytes_out: u64,
}

impl Tally {
    /// What was added since.
    pub const fn since(self, before: Self) -> Self {
        Self {
            frames: self.frames - before.frames,
            dropped: self.dropped - before.dropped,
            damaged: self.damaged - before.damaged,
            bytes_in: self.bytes_in - before.bytes_in,
            bytes_out: self.bytes_out - before.bytes_out,
        }
    }
}

impl Fleet {
    /// Starts lanes and places so many sessions of a clip on them.
    ///
    /// # Errors
    /// When lanes do not start, or there is no place.
    pub fn start(
        device: &engine::Device,
        options: Options,
        step: &Step,
        clip: &Clip,
        sessions: usize,
    ) -> Result<Self, String> {
        let mut drive = Drive::start(device, options).map_err(|why| why.to_string())?;
        let placed: Result<Vec<Stream>, String> = (0..sessions)
            .map(|n| {
                let session = drive
                    .session(step.clone(), IN_FLIGHT)
                    .map_err(|why| format!("session {} of {sessions}: {why}", n + 1))?;
                Ok(Stream {
                    session,
                    sent: 0,
                    frames: 0,
                })
            })
            .collect();
        Ok(Self {
            streams: placed?,
            drive,
            clip: clip.clone(),
            tally: Tally::default(),
        })
    }

    /// The lanes.
    pub const fn drive(&self) -> &Drive {
        &self.drive
    }

    /// Feeds every session until then.
    ///
    /// # Errors
    /// When one of them ended.
    pub fn run(&mut self, until: Instant) -> Result<(), String> {
        while Instant::now() < until {
            if !self.round()? {
                std::thread::sleep(NAP);
            }
        }
        Ok(())
    }

    /// Feeds them until each has shown a picture.
    ///
    /// # Errors
    /// When one ended, or shows nothing.
    pub fn warm_up(&mut self) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        while self.streams.iter().any(|stream| stream.frames == 0) {
            if Instant::now() >= until {
                return Err(format!(
                    "a session showed nothing in {} s",
                    PATIENCE.as_secs()
                ));
            }
            if !self.round()? {
                std::thread::sleep(NAP);
            }
        }
        Ok(())
    }

    /// Takes what is still on its way, and what decoders hold back.
    ///
    /// # Errors
    /// When a session ended, or does not answer.
    pub fn drain(&mut self) -> Result<(), String> {
        for stream in &self.streams {
            if !stream.session.flush() {
                return Err("a lane takes nothing more".to_owned());
            }
        }
        let (until, mut flushed) = (Instant::now() + PATIENCE, 0);
        while flushed < self.streams.len() {
            if Instant::now() >= until {
                return Err(format!("a session did not end in {} s", PATIENCE.as_secs()));
            }
            flushed += self.take()?;
            std::thread::sleep(NAP);
        }
        Ok(())
    }

    /// Fills and empties every session once. Whether anything was sent.
    fn round(&mut self) -> Result<bool, String> {
        let mut has_sent = false;
        for stream in &mut self.streams {
            loop {
                let (unit, pts) = self.clip.at(stream.sent);
                if !stream
                    .session
                    .push(self.clip.codec, &unit.data, pts, unit.key)
                {
                    break;
                }
                stream.sent += 1;
                self.tally.bytes_in += unit.data.len() as u64;
                has_sent = true;
            }
        }
        self.take()?;
        Ok(has_sent)
    }

    /// Takes what has come. How many sessions have brought out all that was held back.
    fn take(&mut self) -> Result<usize, String> {
        let mut flushed = 0;
        for stream in &mut self.streams {
            while let Some(event) = stream.session.next(Duration::ZERO) {
                match event {
                    Event::Frame(frame) => {
                        stream.frames += 1;
                        self.tally.frames += 1;
                        self.tally.bytes_out += frame.data.len() as u64;
                    }
                    Event::Dropped => self.tally.dropped += 1,
                    Event::Damaged(_) => self.tally.damaged += 1,
                    Event::Flushed => flushed += 1,
                    Event::Ended(why) => return Err(why),
                }
            }
        }
        Ok(flushed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gpu::stub::Stub;

    #[test]
    fn every_unit_that_is_sent_comes_back() {
        let clip = Clip::draw(64, 64).unwrap();
        for encode in [true, false] {
            let device = engine::Device::Stub(Stub::default());
            let options = Options { lanes: 2, encode };
            let step = Step::default();
            let mut fleet = Fleet::start(&device, options, &step, &clip, 3).unwrap();
            fleet.warm_up().unwrap();
            let before = fleet.tally;
            fleet
                .run(Instant::now() + Duration::from_millis(50))
                .unwrap();
            fleet.drain().unwrap();
            let sent: usize = fleet.streams.iter().map(|stream| stream.sent).sum();
            let tally = fleet.tally;
            assert_eq!(tally.frames + tally.dropped, sent as u64);
            assert_eq!(tally.damaged, 0);
            assert_eq!(tally.bytes_out > 0, encode);
            assert!(tally.since(before).frames < tally.frames);
            assert_eq!(fleet.drive().lanes().len(), 2);
        }
    }
}
