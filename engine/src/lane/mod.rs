//! A lane: one thread fed by a ring, never an executor. It drains the ring, works, and rings back.
//!
//! Shards decide what happens and own the sessions; lanes do what takes milliseconds. A session stays on one lane for its
//! life. A unit that cannot be queued comes back to its shard, which sheds it.
//!
//! Invariants:
//! - What a session sends is worked on in the order it was sent.
//! - Sessions take turns, a unit each, so a long queue delays only its own session.
//! - A panic in a session's codec ends that session and nothing else.

pub(crate) mod media;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use gpu::Filter;
use handoff::ring::{self, Receiver, Sender};

/// Jobs that may wait for a lane, of all its sessions.
const JOBS_MAX: usize = 4096;
/// Results that may wait for one session's shard.
pub(crate) const RESULTS_MAX: usize = 1024;

/// Names a session to its lane.
pub(crate) type Key = u64;

/// One access unit on its way to the lane.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) data: Vec<u8>,
    /// 90 kHz ticks, unwrapped.
    pub(crate) pts: i64,
    /// Whether decoding can start here.
    pub(crate) key: bool,
    pub(crate) stamps: Stamps,
}

/// When a frame passed where, and what it belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamps {
    /// Its last byte came off the socket.
    pub(crate) read: Instant,
    /// It was a whole access unit, and was queued.
    pub(crate) queued: Instant,
    /// The lane took it up.
    pub(crate) taken: Instant,
    /// It was decoded.
    pub(crate) decoded: Instant,
    /// It was filtered.
    pub(crate) processed: Instant,
    /// It was encoded, and queued.
    pub(crate) encoded: Instant,
    /// The program it came in, counted as the input announced them.
    pub(crate) program: u32,
}

impl Stamps {
    /// A frame that has just been found.
    pub(crate) const fn found(read: Instant, queued: Instant, program: u32) -> Self {
        Self {
            read,
            queued,
            taken: queued,
            decoded: queued,
            processed: queued,
            encoded: queued,
            program,
        }
    }
}

/// What a shard asks of a lane.
pub(crate) enum Job {
    /// A session begins.
    Open {
        key: Key,
        filter: Filter,
        results: Sender<Outcome>,
        left: Arc<AtomicBool>,
    },
    /// A unit of a session.
    Unit { key: Key, unit: Unit },
    /// From the next frame on, another filter.
    Filter { key: Key, filter: Filter },
    /// The input has ended: bring out what is held back.
    Flush { key: Key },
}

/// What a lane gives back.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A frame, encoded.
    Frame {
        data: Vec<u8>,
        pts: i64,
        key: bool,
        stamps: Stamps,
    },
    /// A unit's buffer, to be used again; the unit is no longer in flight.
    Spent(Vec<u8>),
    /// A frame was decoded but given up, because the session is late.
    Dropped,
    /// A unit gave no picture.
    Damaged(gpu::decode::Error),
    /// All that was held back has come out.
    Flushed,
    /// The session cannot go on.
    Failed(String),
}

/// The node's lanes, as shards see them.
#[derive(Clone)]
pub(crate) struct Lanes(Arc<[Entry]>, Arc<AtomicBool>);

struct Entry {
    jobs: Sender<Job>,
    sessions: AtomicUsize,
}

/// A session's place on a lane; leaving it is dropping it.
pub(crate) struct Place {
    lanes: Lanes,
    lane: usize,
    key: Key,
    left: Arc<AtomicBool>,
}

impl Lanes {
    /// Starts `count` lanes.
    pub(crate) fn start(count: usize) -> std::io::Result<(Self, Vec<JoinHandle<()>>)> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut entries = Vec::new();
        let mut threads = Vec::new();
        for index in 0..count {
            let (jobs, inbox): (_, Receiver<Job>) = ring::ring(JOBS_MAX);
            let thread = std::thread::Builder::new()
                .name(format!("lane-{index}"))
                .spawn({
                    let stop = stop.clone();
                    move || media::run(&inbox, &stop)
                })?;
            entries.push(Entry {
                jobs,
                sessions: AtomicUsize::new(0),
            });
            threads.push(thread);
        }
        Ok((Self(entries.into(), stop), threads))
    }

    /// Tells the lanes to end after the task at hand.
    pub(crate) fn stop(&self) {
        self.1.store(true, Ordering::Release);
        for entry in &*self.0 {
            entry.jobs.ring();
        }
    }

    /// Gives a session a place on the lane with the fewest; `None` when that lane's ring is full.
    pub(crate) fn place(
        &self,
        key: Key,
        filter: Filter,
        results: Sender<Outcome>,
    ) -> Option<Place> {
        let (lane, entry) = self
            .0
            .iter()
            .enumerate()
            .min_by_key(|(_, entry)| entry.sessions.load(Ordering::Relaxed))?;
        let left = Arc::new(AtomicBool::new(false));
        entry
            .jobs
            .send(Job::Open {
                key,
                filter,
                results,
                left: left.clone(),
            })
            .ok()?;
        entry.sessions.fetch_add(1, Ordering::Relaxed);
        Some(Place {
            lanes: self.clone(),
            lane,
            key,
            left,
        })
    }
}

impl Place {
    fn jobs(&self) -> &Sender<Job> {
        &self.lanes.0[self.lane].jobs
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

    /// Asks for another filter. False when the lane's ring is full.
    pub(crate) fn set_filter(&self, filter: Filter) -> bool {
        self.jobs()
            .send(Job::Filter {
                key: self.key,
                filter,
            })
            .is_ok()
    }

    /// Asks for all that is held back. False when the lane's ring is full.
    pub(crate) fn flush(&self) -> bool {
        self.jobs().send(Job::Flush { key: self.key }).is_ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lanes.0[self.lane]
            .sessions
            .fetch_sub(1, Ordering::Relaxed);
        // A flag and not a job: a full ring must not keep a dead session alive.
        self.left.store(true, Ordering::Release);
        self.jobs().ring();
    }
}
