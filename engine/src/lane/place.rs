//! The node's lanes as its shards see them, and a session's place on one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use gpu::model::Model;
use gpu::{Codec, Open, Step};
use handoff::ring::{self, Receiver, Sender};
use link::Refusal;

use super::admission::{self, Demand, Memory, Seat};
use super::stats::{Board, LaneReport, LaneState};
use super::{Job, Key, Outcome, Output, Unit, media, recover};
use crate::config::Device;
use crate::limits::Limits;

/// Jobs that may wait for a lane, of all its sessions.
const JOBS_MAX: usize = 4096;
/// How long starting waits for a lane to open its device. It goes on without it.
const OPEN_PATIENCE: Duration = Duration::from_secs(15);

/// The node's lanes. Clones are the same lanes.
#[derive(Clone)]
pub(crate) struct Lanes(Arc<All>);

struct All {
    entries: Vec<Entry>,
    stop: Arc<AtomicBool>,
    device: String,
    ceiling_permille: u64,
    call_max: Duration,
}

struct Entry {
    jobs: Sender<Job>,
    demand: Arc<Demand>,
    board: Arc<Board>,
}

/// A session's place on a lane; leaving it is dropping it.
pub(crate) struct Place {
    lanes: Lanes,
    lane: usize,
    key: Key,
    seat: Arc<Seat>,
}

// === impl Lanes ===

impl Lanes {
    /// Starts `count` lanes on a device, and waits until each has opened it, with the first of the models ready, or has failed to
    /// for the first time.
    ///
    /// # Errors
    /// When there is no such device, or a thread cannot be started; a sentence.
    pub(crate) fn start(
        device: &Device,
        count: usize,
        limits: &Limits,
        models: &[Model],
    ) -> Result<(Self, Vec<JoinHandle<()>>), String> {
        match device {
            Device::Cpu => Self::start_on(gpu::Cpu, count, limits, models),
            Device::Cuda(ordinal) => {
                let device = gpu::Cuda::new(*ordinal);
                device
                    .check()
                    .map_err(|error| format!("cuda:{ordinal}: {error}"))?;
                Self::start_on(device, count, limits, models)
            }
            Device::Stub(stub) => Self::start_on(stub.clone(), count, limits, models),
        }
    }

    fn start_on<O: Open>(
        device: O,
        count: usize,
        limits: &Limits,
        models: &[Model],
    ) -> Result<(Self, Vec<JoinHandle<()>>), String> {
        let device = Arc::new(device);
        let models: Arc<[Model]> = models.into();
        let stop = Arc::new(AtomicBool::new(false));
        let calibration = limits.lane_calibration;
        let (tried, is_tried) = mpsc::channel();
        let (mut entries, mut threads) = (Vec::new(), Vec::new());
        for index in 0..count {
            let (jobs, inbox): (_, Receiver<Job>) = ring::ring(JOBS_MAX);
            let board = Arc::new(Board::new());
            let tried = tried.clone();
            let thread = std::thread::Builder::new()
                .name(format!("lane-{index}"))
                .spawn({
                    let (device, board, stop) = (device.clone(), board.clone(), stop.clone());
                    let models = models.clone();
                    move || {
                        let start = media::Start {
                            inbox,
                            board: &board,
                            stop: &stop,
                            calibration,
                            models: &models,
                            tried: Box::new(move || {
                                // Nobody waits any more: fine.
                                let _ = tried.send(());
                            }),
                        };
                        media::run(&*device, start);
                    }
                })
                .map_err(|error| format!("cannot start a lane: {error}"))?;
            threads.push(thread);
            entries.push(Entry {
                jobs,
                demand: Arc::default(),
                board,
            });
        }
        for _ in 0..count {
            if is_tried.recv_timeout(OPEN_PATIENCE).is_err() {
                tracing::error!(
                    device = device.name(),
                    "a lane has not opened its device in {} s; it gets no sessions until it has",
                    OPEN_PATIENCE.as_secs()
                );
                break;
            }
        }
        let all = All {
            entries,
            stop,
            device: device.name(),
            ceiling_permille: u64::from(limits.lane_percent) * 10,
            call_max: limits.lane_call,
        };
        Ok((Self(Arc::new(all)), threads))
    }

    /// Tells the lanes to end after the batch at hand.
    pub(crate) fn stop(&self) {
        self.0.stop.store(true, Ordering::Release);
        for entry in &self.0.entries {
            entry.jobs.ring();
        }
    }

    /// Gives a session a place on the lane that has the least to do, if it stays under the ceiling with it.
    ///
    /// # Errors
    /// [`Refusal::Full`] with what there is not enough of; [`Refusal::Busy`] when the lane's ring is full.
    pub(crate) fn place(
        &self,
        key: Key,
        step: Step,
        results: Sender<Outcome>,
    ) -> Result<Place, Refusal> {
        self.place_for(Output::Encoded, key, step, results)
    }

    /// As [`Lanes::place`], for pictures that are to become this.
    pub(crate) fn place_for(
        &self,
        output: Output,
        key: Key,
        step: Step,
        results: Sender<Outcome>,
    ) -> Result<Place, Refusal> {
        let mut open = Vec::new();
        for (lane, entry) in self.0.entries.iter().enumerate() {
            if entry.board.state(self.0.call_max) == LaneState::Ready {
                open.push((entry.load(), lane));
            }
        }
        open.sort_unstable();
        if open.is_empty() {
            return Err(Refusal::Full(self.why_none_is_open()));
        }
        if self.memory().is_some_and(|memory| !memory.has_room()) {
            return Err(Refusal::Full("device memory"));
        }
        for (_, lane) in open {
            let entry = &self.0.entries[lane];
            let Some(seat) = entry
                .demand
                .take_seat(entry.cost_ps(), self.0.ceiling_permille)
            else {
                continue;
            };
            // From here on the seat is given back when the place is dropped.
            let place = Place {
                lanes: self.clone(),
                lane,
                key,
                seat,
            };
            let job = Job::Open {
                key,
                step,
                output,
                results,
                seat: place.seat.clone(),
            };
            return match entry.jobs.send(job) {
                Ok(()) => Ok(place),
                Err(_) => Err(Refusal::Busy),
            };
        }
        Err(Refusal::Full("lane time"))
    }

    /// How many more sessions the lanes could carry, each being what one is taken to be until it was measured.
    pub(crate) fn room(&self) -> u32 {
        if self.memory().is_some_and(|memory| !memory.has_room()) {
            return 0;
        }
        let is_ready = |entry: &&Entry| entry.board.state(self.0.call_max) == LaneState::Ready;
        let each = self
            .0
            .entries
            .iter()
            .filter(is_ready)
            .map(|entry| entry.demand.room(entry.cost_ps(), self.0.ceiling_permille));
        each.fold(0, u32::saturating_add)
    }

    fn why_none_is_open(&self) -> &'static str {
        let is_stuck = |entry: &Entry| entry.board.state(self.0.call_max) == LaneState::Stuck;
        if self.0.entries.iter().all(is_stuck) {
            "every lane is stuck in a device call"
        } else {
            recover::REBUILDING
        }
    }

    /// What is known of the device's memory; `None` where pictures lie in host memory. All lanes are on one device, so the least
    /// that any of them has seen is the newest, and whoever was promised a place on any of them is still to take its memory.
    fn memory(&self) -> Option<Memory> {
        let all = || self.0.entries.iter();
        let most = |pick: fn(&Board) -> &AtomicU64| {
            let values = all().map(|entry| pick(&entry.board).load(Ordering::Relaxed));
            values.max().unwrap_or(0)
        };
        let fresh = all().map(|entry| entry.demand.fresh.load(Ordering::Relaxed));
        let sessions = all().map(|entry| entry.demand.sessions.load(Ordering::Relaxed));
        let (fresh, sessions): (u64, u64) = (fresh.sum(), sessions.sum());
        Some(Memory {
            free_bytes: all().filter_map(|entry| entry.board.memory_free()).min()?,
            base_bytes: most(|board| &board.memory_base),
            session_bytes: most(|board| &board.session_bytes),
            settled: sessions.saturating_sub(fresh),
            fresh,
        })
    }

    /// What each lane is doing.
    pub(crate) fn reports(&self) -> Vec<LaneReport> {
        let report = |(lane, entry): (usize, &Entry)| LaneReport {
            lane,
            device: self.0.device.clone(),
            state: entry.board.state(self.0.call_max),
            in_call: entry.board.in_call(),
            decodes: entry.board.decodes_names(),
            sessions: entry.demand.sessions.load(Ordering::Relaxed),
            utilisation_permille: entry.load(),
            metrics: entry.board.metrics(),
        };
        self.0.entries.iter().enumerate().map(report).collect()
    }

    /// How many lanes are stuck.
    pub(crate) fn stuck(&self) -> u64 {
        let is_stuck = |entry: &&Entry| entry.board.state(self.0.call_max) == LaneState::Stuck;
        self.0.entries.iter().filter(is_stuck).count() as u64
    }

    /// What is wrong with them, a sentence each.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let trouble = |report: LaneReport| {
            let LaneReport {
                lane,
                device,
                state,
                in_call,
                ..
            } = report;
            match state {
                LaneState::Stuck => Some(format!(
                    "lane {lane} ({device}) is stuck: it has been in one device call for {} s",
                    in_call.unwrap_or_default().as_secs()
                )),
                LaneState::Opening => Some(format!("lane {lane} ({device}) is opening its device")),
                LaneState::Rebuilding => {
                    Some(format!("lane {lane} ({device}): {}", recover::REBUILDING))
                }
                LaneState::Ready | LaneState::Ended => None,
            }
        };
        self.reports().into_iter().filter_map(trouble).collect()
    }
}

impl Entry {
    fn cost_ps(&self) -> u64 {
        self.board.cost_ps().unwrap_or(admission::ASSUMED_COST_PS)
    }

    /// The part of its time that its sessions are projected to take, in thousandths.
    fn load(&self) -> u64 {
        admission::permille(self.demand.pixels_per_s(), self.cost_ps())
    }
}

// === impl Place ===

impl Place {
    fn entry(&self) -> &Entry {
        &self.lanes.0.entries[self.lane]
    }

    fn jobs(&self) -> &Sender<Job> {
        &self.entry().jobs
    }

    /// Whether the lane's device decodes this.
    pub(crate) fn decodes(&self, codec: Codec) -> bool {
        self.entry().board.decodes(codec)
    }

    /// Queues a unit without waking the lane; gives it back when the ring is full.
    #[allow(clippy::result_large_err)] // the unit itself comes back, not a description of a failure
    pub(crate) fn push(&self, unit: Unit) -> Result<(), Unit> {
        match self.jobs().push(Job::Unit {
            key: self.key,
            unit,
        }) {
            Err(Job::Unit { unit, .. }) => Err(unit),
            _ => Ok(()),
        }
    }

    /// Wakes the lane.
    pub(crate) fn ring(&self) {
        self.jobs().ring();
    }

    /// Asks for another step. False when the lane's ring is full.
    pub(crate) fn set_step(&self, step: Step) -> bool {
        self.jobs()
            .send(Job::Step {
                key: self.key,
                step,
            })
            .is_ok()
    }

    /// Asks for all that is held back. False when the lane's ring is full.
    pub(crate) fn flush(&self) -> bool {
        self.jobs().send(Job::Flush { key: self.key }).is_ok()
    }

    /// A sentence, if the lane has been in one device call for `at_least` so long.
    pub(crate) fn in_call(&self, at_least: Duration) -> Option<String> {
        let time = self
            .entry()
            .board
            .in_call()
            .filter(|&time| time >= at_least)?;
        Some(format!(
            "{}: lane {} has been in one device call for {:.1} s",
            self.lanes.0.device,
            self.lane,
            time.as_secs_f64()
        ))
    }

    /// The same, if it has been there for longer than is allowed.
    pub(crate) fn is_stuck(&self) -> Option<String> {
        self.in_call(self.lanes.0.call_max)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A flag and not a job: a full ring must not keep a dead session alive.
        self.seat.leave();
        self.jobs().ring();
    }
}
