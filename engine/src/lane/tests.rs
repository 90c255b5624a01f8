//! Lanes on the stub device, driven over their rings as shards drive them.

mod batches;
mod faults;
mod room;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gpu::stub::{Faults, Settings, Stub};
use gpu::{Backend, Batching, Codec, Cpu, Fault, Filter, Frame, Step};
use handoff::ring::{self, Receiver};
use link::Refusal;

use super::{LaneMetrics, LaneReport, Lanes, Outcome, Place, RESULTS_MAX, Stamps, Unit};
use crate::config::Device;
use crate::limits::Limits;

const PATIENCE: Duration = Duration::from_secs(20);
/// Ticks of 90 kHz from picture to picture at 30 a second.
const TICKS: i64 = 3000;

const LOST: Fault = Fault::Lost {
    call: "stubLaunch",
    name: "STUB_ERROR_ILLEGAL_ADDRESS",
};
const FULL: Fault = Fault::Full {
    call: "stubMemAlloc",
    name: "STUB_ERROR_OUT_OF_MEMORY",
};
const FAILED: Fault = Fault::Failed {
    call: "stubLaunch",
    name: "STUB_ERROR_INVALID_VALUE",
};

/// Lanes and the device that they are on.
struct Rig {
    lanes: Lanes,
    threads: Vec<JoinHandle<()>>,
    faults: Faults,
    keys: AtomicU64,
}

impl Rig {
    /// `count` lanes. There is room for whatever comes, and nothing is measured ahead, unless `set` says otherwise.
    fn start(stub: &Stub, count: usize, set: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = Limits {
            lane_percent: 1_000_000,
            lane_calibration: Duration::ZERO,
            ..Limits::default()
        };
        set(&mut limits);
        let device = Device::Stub(stub.clone());
        let (lanes, threads) = Lanes::start(&device, count, &limits, &[]).expect("lanes start");
        Self {
            lanes,
            threads,
            faults: stub.faults(),
            keys: AtomicU64::new(1),
        }
    }

    fn try_client(&self) -> Result<Client, Refusal> {
        let key = self.keys.fetch_add(1, Ordering::Relaxed);
        let (to, results) = ring::ring(RESULTS_MAX);
        let step = Step::Filter(Filter::Invert {
            amount_percent: 100,
        });
        Ok(Client {
            place: self.lanes.place(key, step, to)?,
            results,
            first_pts: key as i64 * 1_000_000_000,
            sent: 0,
        })
    }

    #[track_caller]
    fn client(&self) -> Client {
        self.try_client().expect("there is a place")
    }

    fn report(&self, lane: usize) -> LaneReport {
        self.lanes.reports().swap_remove(lane)
    }

    fn metrics(&self, lane: usize) -> LaneMetrics {
        self.report(lane).metrics
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.lanes.stop();
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "a lane panicked");
        }
    }
}

/// A session, as its shard holds it.
struct Client {
    place: Place,
    results: Receiver<Outcome>,
    first_pts: i64,
    sent: usize,
}

/// What has come of it.
#[derive(Debug, Default)]
struct Seen {
    /// Timestamps, counted in pictures from the first.
    frames: Vec<i64>,
    /// When each was queued, and when it was encoded.
    times: Vec<(Instant, Instant)>,
    spent: usize,
    dropped: usize,
    damaged: usize,
    flushed: usize,
    bad_input: Option<String>,
    failed: Option<String>,
}

impl Client {
    /// The timestamp of its `n`th picture.
    fn pts(&self, n: usize) -> i64 {
        self.first_pts + n as i64 * TICKS
    }

    /// Sends the next units of the clip.
    fn send(&mut self, count: usize) {
        for _ in 0..count {
            self.send_as(Codec::H264);
        }
    }

    fn send_as(&mut self, codec: Codec) {
        let clip = clip();
        let now = Instant::now();
        let unit = Unit {
            codec,
            data: clip[self.sent % clip.len()].clone(),
            pts: self.pts(self.sent),
            key: self.sent.is_multiple_of(clip.len()),
            stamps: Stamps::found(now, now, 0),
        };
        self.place.push(unit).expect("the ring has room");
        self.place.ring();
        self.sent += 1;
    }

    /// Takes what has come, until `enough`.
    #[track_caller]
    fn see(&self, seen: &mut Seen, enough: impl Fn(&Seen) -> bool) {
        let until = Instant::now() + PATIENCE;
        loop {
            while let Some(outcome) = self.results.pop() {
                match outcome {
                    Outcome::Frame { pts, stamps, .. } => {
                        seen.frames.push((pts - self.first_pts) / TICKS);
                        seen.times.push((stamps.queued, stamps.encoded));
                    }
                    Outcome::Spent(_) => seen.spent += 1,
                    Outcome::Dropped => seen.dropped += 1,
                    Outcome::Damaged(_) => seen.damaged += 1,
                    Outcome::Flushed => seen.flushed += 1,
                    Outcome::BadInput(why) => seen.bad_input = Some(why),
                    Outcome::Failed(why) => seen.failed = Some(why),
                }
            }
            if enough(seen) {
                return;
            }
            assert!(Instant::now() < until, "it never came: {seen:?}");
            self.results.wait(Duration::from_millis(20));
        }
    }

    /// What comes, until as many frames have come as were sent.
    #[track_caller]
    fn see_all(&self) -> Seen {
        let mut seen = Seen::default();
        self.see(&mut seen, |seen| seen.frames.len() == self.sent);
        seen
    }

    /// Why it failed.
    #[track_caller]
    fn see_failure(&self) -> String {
        let mut seen = Seen::default();
        self.see(&mut seen, |seen| seen.failed.is_some());
        seen.failed.expect("it was waited for")
    }

    /// Every frame that was sent has come, in order.
    #[track_caller]
    fn assert_whole(&self) {
        let frames = self.see_all().frames;
        assert!(frames.iter().copied().eq(0..self.sent as i64), "{frames:?}");
    }
}

/// Thirty small pictures, the first a key picture.
fn clip() -> &'static [Vec<u8>] {
    static CLIP: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    CLIP.get_or_init(|| {
        let config = gpu::encode::Config {
            key_interval: 0,
            ..Default::default()
        };
        let mut encoder = Cpu.encoder(Codec::H264, config).expect("an encoder");
        let mut frame = Frame::new(64, 48).expect("a size");
        let picture = |n: usize| {
            for plane in &mut frame.planes_mut() {
                plane.fill((n * 8) as u8);
            }
            let mut data = Vec::new();
            encoder
                .encode(&frame, n as i64 * TICKS, n == 0, &mut data)
                .expect("a picture");
            data
        };
        (0..30).map(picture).collect()
    })
}

fn stub(units_max: usize, call_time: Duration) -> Stub {
    Stub::new(Settings {
        batching: Batching {
            units_max,
            wait: Duration::ZERO,
        },
        call_time,
        ..Settings::default()
    })
}

/// Waits until `is_so`.
#[track_caller]
fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "never came true: {what}");
        std::thread::sleep(ms(2));
    }
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}
