//! Lanes without shards: for benches that ask what a device does and how it comes back, without sockets in the picture.
//!
//! ```text
//!   Session::push ─▶ the lane's ring ─▶ decode ─▶ step ─▶ encode, or drop ─▶ the session's ring ─▶ Session::next
//!        └──────────────────── at most `in_flight_max` units ──────────────────────┘
//! ```
//!
//! The lanes, their placing and their batches are the engine's own. What differs: nothing is calibrated, nobody is refused for
//! lane time, and with [`Options::encode`] off pictures are thrown away where they would be encoded. On a device whose work goes
//! on after a call returns, the last batches of such a session may still run when their frames are told; each decoder waits for
//! what lies before its next picture, so that is a few pictures and no more.

pub mod tickets;

use std::collections::VecDeque;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use handoff::ring::{self, Receiver};

use crate::config::Device;
use crate::lane::{LaneReport, Lanes, Outcome, Output, Place, RESULTS_MAX, Stamps, Unit};
use crate::limits::Limits;
use crate::{LANE_FAREWELL, LANE_LOOK, StartError};

pub use gpu::{Codec, Step};

/// Units of a session that may be in flight: each gives three results at most, and all must fit into its ring.
pub const IN_FLIGHT_MAX: usize = RESULTS_MAX / 4;
/// Buffers that are kept to be used again.
const SPARE_MAX: usize = 8;

/// How lanes are to be driven.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How many lanes. At least one is started.
    pub lanes: usize,
    /// Whether pictures are encoded; otherwise they are thrown away behind their step.
    pub encode: bool,
}

/// Running lanes. Dropping it ends them; sessions that are left are answered no more.
pub struct Drive {
    lanes: Lanes,
    threads: Vec<JoinHandle<()>>,
    output: Output,
    keys: u64,
}

/// A session's place on a lane. Dropping it gives the place back.
pub struct Session {
    place: Place,
    results: Receiver<Outcome>,
    in_flight_max: usize,
    in_flight: usize,
    spare: VecDeque<Vec<u8>>,
}

/// What comes of the units of a session.
#[derive(Debug)]
pub enum Event {
    /// A picture has gone all the way.
    Frame(Frame),
    /// A picture was decoded and given up, because the session is late.
    Dropped,
    /// A unit gave no picture; why.
    Damaged(String),
    /// All that the decoder held back has come out.
    Flushed,
    /// The session is over; why.
    Ended(String),
}

/// A picture that has gone all the way.
#[derive(Debug)]
pub struct Frame {
    /// Its access unit; empty unless it was encoded.
    pub data: Vec<u8>,
    /// When it is shown, as its unit said.
    pub pts: i64,
    /// Whether decoding can start here; without an encoder, whether it could at its unit.
    pub key: bool,
    /// From when its unit was queued until the lane took it up.
    pub queued: Duration,
    /// From then until it was through.
    pub worked: Duration,
}

// === impl Drive ===

impl Drive {
    /// Starts lanes, and waits until each has opened its device or has failed to for the first time.
    ///
    /// # Errors
    /// When there is no such device, or a thread cannot be started.
    pub fn start(device: &Device, options: Options) -> Result<Self, StartError> {
        let limits = Limits {
            lane_percent: u32::MAX,
            lane_calibration: Duration::ZERO,
            ..Limits::default()
        };
        let (lanes, threads) =
            Lanes::start(device, options.lanes.max(1), &limits, &[]).map_err(StartError)?;
        Ok(Self {
            lanes,
            threads,
            output: if options.encode {
                Output::Encoded
            } else {
                Output::Dropped
            },
            keys: 0,
        })
    }

    /// Places a session on the lane that has the least to do. It may have so many units in flight, up to [`IN_FLIGHT_MAX`].
    ///
    /// # Errors
    /// What there is not enough of.
    pub fn session(&mut self, step: Step, in_flight_max: usize) -> Result<Session, link::Refusal> {
        self.keys += 1;
        let (to, results) = ring::ring(RESULTS_MAX);
        Ok(Session {
            place: self.lanes.place_for(self.output, self.keys, step, to)?,
            results,
            in_flight_max: in_flight_max.clamp(1, IN_FLIGHT_MAX),
            in_flight: 0,
            spare: VecDeque::new(),
        })
    }

    /// What each lane is doing and has counted. Bytes are looked at each 100 ms of work and each half second of rest.
    pub fn lanes(&self) -> Vec<LaneReport> {
        self.lanes.reports()
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        self.lanes.stop();
        let until = Instant::now() + LANE_FAREWELL;
        for thread in self.threads.drain(..) {
            while !thread.is_finished() && Instant::now() < until {
                std::thread::sleep(LANE_LOOK);
            }
            if thread.is_finished() {
                // A panic was told by the lane's own guard.
                let _ = thread.join();
            }
        }
    }
}

// === impl Session ===

impl Session {
    /// Queues one access unit, Annex B, `pts` in ticks of 90 kHz. False when as many are in flight as may be, or the lane's ring
    /// is full: take results first.
    pub fn push(&mut self, codec: Codec, data: &[u8], pts: i64, key: bool) -> bool {
        if self.in_flight >= self.in_flight_max {
            return false;
        }
        let mut buffer = self.spare.pop_front().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(data);
        let now = Instant::now();
        let unit = Unit {
            codec,
            data: buffer,
            pts,
            key,
            stamps: Stamps::found(now, now, 0),
        };
        match self.place.push(unit) {
            Ok(()) => {
                self.in_flight += 1;
                self.place.ring();
                true
            }
            Err(unit) => {
                self.keep(unit.data);
                false
            }
        }
    }

    /// Asks for what the decoder holds back. False when the lane's ring is full.
    pub fn flush(&self) -> bool {
        self.place.flush()
    }

    /// Units that were queued and whose buffers have not come back.
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The next event, waiting for one no longer than this.
    pub fn next(&mut self, wait: Duration) -> Option<Event> {
        let until = Instant::now() + wait;
        loop {
            while let Some(outcome) = self.results.pop() {
                if let Some(event) = self.event(outcome) {
                    return Some(event);
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            if self.results.is_abandoned() {
                return Some(Event::Ended("its lane has given it up".to_owned()));
            }
            self.results.wait(left);
        }
    }

    fn event(&mut self, outcome: Outcome) -> Option<Event> {
        match outcome {
            Outcome::Spent(buffer) => {
                self.in_flight = self.in_flight.saturating_sub(1);
                self.keep(buffer);
                None
            }
            Outcome::Frame {
                data,
                pts,
                key,
                stamps,
            } => Some(Event::Frame(Frame {
                data,
                pts,
                key,
                queued: stamps.taken.saturating_duration_since(stamps.queued),
                worked: stamps.encoded.saturating_duration_since(stamps.taken),
            })),
            Outcome::Dropped => Some(Event::Dropped),
            Outcome::Damaged(error) => Some(Event::Damaged(error.to_string())),
            Outcome::Flushed => Some(Event::Flushed),
            Outcome::BadInput(why) | Outcome::Failed(why) => Some(Event::Ended(why)),
        }
    }

    fn keep(&mut self, buffer: Vec<u8>) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push_back(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gpu::stub::{Point, Stub};
    use gpu::{Backend, Cpu, Fault, Filter};

    const PATIENCE: Duration = Duration::from_secs(20);

    fn clip() -> Vec<Vec<u8>> {
        let mut encoder = Cpu
            .encoder(Codec::H264, gpu::encode::Config::default())
            .unwrap();
        let frame = gpu::Frame::new(64, 48).unwrap();
        let mut picture = |n: i64| {
            let mut data = Vec::new();
            encoder.encode(&frame, n * 3000, n == 0, &mut data).unwrap();
            data
        };
        (0..6).map(&mut picture).collect()
    }

    /// Sends the clip, and what comes of it until as many frames have come.
    fn frames(session: &mut Session) -> Vec<Frame> {
        let (clip, mut sent, mut frames) = (clip(), 0, Vec::new());
        while frames.len() < clip.len() {
            if sent < clip.len()
                && session.push(Codec::H264, &clip[sent], sent as i64 * 3000, sent == 0)
            {
                sent += 1;
                continue;
            }
            match session.next(PATIENCE) {
                Some(Event::Frame(frame)) => frames.push(frame),
                other => panic!("{other:?}"),
            }
        }
        frames
    }

    #[test]
    fn pictures_go_all_the_way_with_and_without_an_encoder() {
        let step = Step::Filter(Filter::Edges { gain_percent: 100 });
        for encode in [true, false] {
            let stub = Stub::default();
            let device = Device::Stub(stub.clone());
            let mut drive = Drive::start(&device, Options { lanes: 1, encode }).unwrap();
            let mut session = drive.session(step.clone(), 2).unwrap();
            let frames = frames(&mut session);
            let shown: Vec<i64> = frames.iter().map(|frame| frame.pts / 3000).collect();
            assert_eq!(shown, [0, 1, 2, 3, 4, 5]);
            assert!(frames[0].key && !frames[1].key);
            assert!(frames.iter().all(|frame| frame.data.is_empty() != encode));
            assert_eq!(stub.faults().calls(Point::Encoder), u64::from(encode));
            assert_eq!(stub.faults().calls(Point::Process), 6, "the step is done");
        }
    }

    #[test]
    fn no_more_is_in_flight_than_was_said() {
        let stub = Stub::default();
        stub.faults()
            .hang(Point::DecodeSubmit, Duration::from_millis(200));
        let options = Options {
            lanes: 1,
            encode: false,
        };
        let mut drive = Drive::start(&Device::Stub(stub), options).unwrap();
        let mut session = drive.session(Step::default(), 2).unwrap();
        let clip = clip();
        let taken = (0..5)
            .filter(|&n| session.push(Codec::H264, &clip[n], n as i64 * 3000, n == 0))
            .count();
        assert_eq!((taken, session.in_flight()), (2, 2));
    }

    #[test]
    fn a_lost_device_ends_a_session_and_the_next_is_served() {
        let stub = Stub::default();
        let options = Options {
            lanes: 1,
            encode: true,
        };
        let mut drive = Drive::start(&Device::Stub(stub.clone()), options).unwrap();
        let mut session = drive.session(Step::default(), 2).unwrap();
        frames(&mut session);
        let lost = Fault::Lost {
            call: "stubLaunch",
            name: "STUB_ERROR_ILLEGAL_ADDRESS",
        };
        stub.faults().fail_next(Point::DecodeSubmit, lost);
        assert!(session.push(Codec::H264, &clip()[0], 90_000, true));
        match session.next(PATIENCE) {
            Some(Event::Ended(why)) => assert!(why.contains("device lost"), "{why}"),
            other => panic!("{other:?}"),
        }
        let until = Instant::now() + PATIENCE;
        let mut again = loop {
            match drive.session(Step::default(), 2) {
                Ok(session) => break session,
                Err(why) => assert!(Instant::now() < until, "{why}"),
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        frames(&mut again);
        assert_eq!(drive.lanes()[0].metrics.rebuilds, 1);
    }
}
