//! Opening a lane's device: at its start, and again after the device was lost, for as long as it takes.
//!
//! ```text
//!   Opening ──▶ Ready ──lost──▶ Rebuilding ──▶ Ready
//!                 (a failure waits: 50 ms, 100 ms, ... 5 s, and tries again)
//! ```
//!
//! While the device is not there, who is placed all the same, because the news had not reached its shard, is told so. A device
//! that is lost again soon after it was opened is not opened at once, so that one that is broken for good does not spin.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gpu::model::Model;
use gpu::{Backend, Codec, Open, Process};
use handoff::ring::Receiver;

use super::admission::Cost;
use super::calibrate;
use super::end::{End, guarded};
use super::stats::{Board, LaneState};
use super::{Job, Outcome};

/// What a session is told that comes while there is no device.
pub(super) const REBUILDING: &str = "the device is being rebuilt";
/// The shortest and the longest pause between two attempts.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A device that has worked for so long is opened again at once.
const SOUND: Duration = Duration::from_secs(5);

/// A backend and what every lane makes on it first.
pub(super) struct Opened<B: Backend> {
    pub(super) backend: B,
    pub(super) processor: Box<dyn Process<B::Surface>>,
}

/// What is done on a device before the first session comes.
#[derive(Clone, Copy)]
pub(super) struct Ahead<'a> {
    /// How long may be spent on finding out what a picture costs; zero for not at all.
    pub(super) calibration: Duration,
    /// The models that are made ready, as many as are kept.
    pub(super) models: &'a [Model],
}

pub(super) struct Opener<'a, O: Open> {
    device: &'a O,
    inbox: &'a Receiver<Job>,
    board: &'a Board,
    stop: &'a AtomicBool,
    ahead: Ahead<'a>,
    tried: Option<Box<dyn FnOnce() + 'a>>,
    backoff: Backoff,
    opened_at: Option<Instant>,
    lost_at: Option<Instant>,
}

impl<'a, O: Open> Opener<'a, O> {
    pub(super) fn new(
        device: &'a O,
        inbox: &'a Receiver<Job>,
        board: &'a Board,
        stop: &'a AtomicBool,
        ahead: Ahead<'a>,
        tried: Box<dyn FnOnce() + 'a>,
    ) -> Self {
        Self {
            device,
            inbox,
            board,
            stop,
            ahead,
            tried: Some(tried),
            backoff: Backoff::default(),
            opened_at: None,
            lost_at: None,
        }
    }

    /// Notes that what was opened is gone.
    pub(super) fn lost(&mut self, why: &str) {
        let now = Instant::now();
        self.board.set_state(LaneState::Rebuilding);
        self.lost_at = Some(now);
        if self.opened_at.is_some_and(|at| now - at >= SOUND) {
            self.backoff = Backoff::default();
        }
        tracing::error!(
            device = self.device.name(),
            why,
            "the device is lost and is opened again"
        );
    }

    /// Opens the device, again and again. `None` when the lane is to stop.
    pub(super) fn open(&mut self, cost: &mut Cost) -> Option<Opened<O::Backend>> {
        loop {
            let pause = self.backoff.next();
            if !self.pause(pause) {
                return None;
            }
            match self.attempt(cost) {
                Ok(opened) => {
                    let now = Instant::now();
                    if let Some(lost_at) = self.lost_at.take() {
                        self.board.rebuilt(now - lost_at);
                        tracing::info!(device = self.device.name(), took = ?now - lost_at, "the device is back");
                    }
                    self.opened_at = Some(now);
                    self.board.set_state(LaneState::Ready);
                    self.tell();
                    return Some(opened);
                }
                Err(why) => {
                    self.board.open_failed();
                    self.board.set_state(LaneState::Rebuilding);
                    self.lost_at.get_or_insert_with(Instant::now);
                    tracing::error!(
                        device = self.device.name(),
                        why,
                        "the device cannot be opened"
                    );
                    self.tell();
                }
            }
        }
    }

    /// Whoever waits for the first attempt need not wait any longer.
    fn tell(&mut self) {
        if let Some(tried) = self.tried.take() {
            tried();
        }
    }

    fn attempt(&self, cost: &mut Cost) -> Result<Opened<O::Backend>, String> {
        let board = self.board;
        let backend = guarded(board, || self.device.open())
            .map_err(text)?
            .map_err(|why| why.to_string())?;
        let processor = guarded(board, || backend.processor())
            .map_err(text)?
            .map_err(|why| why.to_string())?;
        let mut opened = Opened { backend, processor };
        let prepared = guarded(board, || opened.processor.prepare(self.ahead.models));
        for why in prepared.map_err(text)? {
            tracing::warn!(device = self.device.name(), "a model is not ready: {why}");
        }
        let can = |codec: Codec| {
            let config = gpu::decode::Config::default();
            guarded(board, || opened.backend.decoder(codec, config).is_ok()).unwrap_or(false)
        };
        board.set_decodes(can);
        let usage = opened.backend.usage();
        if let Some(free) = usage.memory_free_bytes {
            board.memory_base.store(free, Ordering::Relaxed);
        }
        if cost.ps().is_none() && !self.ahead.calibration.is_zero() {
            let calibrated = calibrate::run(
                &opened.backend,
                &mut opened.processor,
                board,
                self.ahead.calibration,
            );
            match calibrated {
                Ok(measured) => {
                    *cost = measured.cost;
                    tracing::info!(
                        device = self.device.name(),
                        picture_us = cost.ps().unwrap_or(0) * calibrate::PIXELS / 1_000_000,
                        "calibrated: lane time of a 1280x720 picture, edges included"
                    );
                    board
                        .session_bytes
                        .store(measured.session_bytes, Ordering::Relaxed);
                }
                Err(End::Lost(why)) => return Err(why),
                Err(End::BadInput(why) | End::Failed(why)) => tracing::warn!(
                    device = self.device.name(),
                    why,
                    "the lane could not be calibrated: until it has measured, a session of 1280x720 at 30 is taken to need a quarter of it"
                ),
            }
        }
        board.set_cost(cost.ps());
        board.usage(&opened.backend.usage(), &gpu::Usage::default());
        Ok(opened)
    }

    /// Waits, and sends away who comes meanwhile. False when the lane is to stop.
    fn pause(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            if self.stop.load(Ordering::Acquire) {
                return false;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            self.inbox.wait(left);
            while let Some(job) = self.inbox.pop() {
                if let Job::Open { results, .. } = job {
                    let _ = results.send(Outcome::Failed(REBUILDING.to_owned()));
                }
            }
        }
    }
}

fn text(end: End) -> String {
    match end {
        End::BadInput(why) | End::Failed(why) | End::Lost(why) => why,
    }
}

/// Pauses between attempts: none before the first, then doubling.
#[derive(Debug, Default)]
struct Backoff(Duration);

impl Backoff {
    fn next(&mut self) -> Duration {
        let now = self.0;
        self.0 = (now * 2).clamp(PAUSE_MIN, PAUSE_MAX);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..10).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(pauses, [0, 50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }
}
