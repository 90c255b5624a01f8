//! What a lane tells about itself: plain atomics that the lane alone writes, read by whoever asks. Nobody waits for anybody.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gpu::Codec;

use super::admission::Spent;

/// The upper bounds of the batch sizes that are told apart: 1, 2, up to 4, 8, 16, and more.
pub const BATCH_SIZES: [u64; 6] = [1, 2, 4, 8, 16, u64::MAX];
/// Codecs that a lane is asked about.
const CODECS: [Codec; 4] = [Codec::H264, Codec::H265, Codec::Vp9, Codec::Av1];
/// Stands for memory that is not counted.
const NO_MEMORY: u64 = u64::MAX;

/// What a lane is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneState {
    /// It has not opened its device yet.
    Opening,
    /// It works, or waits for work.
    Ready,
    /// It has lost its device and is opening it again.
    Rebuilding,
    /// It has been in one device call for longer than is allowed. The thread cannot be ended; it gets no new sessions.
    Stuck,
    /// It has ended.
    Ended,
}

impl LaneState {
    /// A word for tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Ready => "ready",
            Self::Rebuilding => "rebuilding",
            Self::Stuck => "stuck",
            Self::Ended => "ended",
        }
    }

    const fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Opening,
            1 => Self::Ready,
            2 => Self::Rebuilding,
            3 => Self::Stuck,
            _ => Self::Ended,
        }
    }
}

/// One lane, now.
#[derive(Debug, Clone)]
pub struct LaneReport {
    /// Its number.
    pub lane: usize,
    /// What its device is called: `cpu`, `cuda:0`.
    pub device: String,
    /// What it is doing.
    pub state: LaneState,
    /// How long it has been in the device call that it is in, if it is in one.
    pub in_call: Option<Duration>,
    /// The codecs that it decodes.
    pub decodes: Vec<&'static str>,
    /// Sessions placed on it now.
    pub sessions: u64,
    /// The part of its time that these are projected to take, in thousandths.
    pub utilisation_permille: u64,
    /// What it has counted.
    pub metrics: LaneMetrics,
}

/// What a lane has counted since it started; of its device, over all times that it opened it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaneMetrics {
    /// Frames encoded.
    pub frames: u64,
    /// Batches worked on.
    pub batches: u64,
    /// Batches by their size; see [`BATCH_SIZES`].
    pub batch_sizes: [u64; BATCH_SIZES.len()],
    /// How long units waited for the lane, in all.
    pub queue_ns: u64,
    /// Lane time of decoding, device time included.
    pub decode_ns: u64,
    /// Lane time of steps.
    pub process_ns: u64,
    /// Lane time of encoding.
    pub encode_ns: u64,
    /// Device time of decoding, where the device says.
    pub device_decode_ns: u64,
    /// Device time of steps.
    pub device_process_ns: u64,
    /// Device time of encoding.
    pub device_encode_ns: u64,
    /// Bytes copied to the device.
    pub to_device_bytes: u64,
    /// Bytes copied from the device.
    pub from_device_bytes: u64,
    /// Surfaces that exist now.
    pub surfaces: u64,
    /// Device memory that is free, where it is counted.
    pub memory_free_bytes: Option<u64>,
    /// Device memory in all, where it is counted.
    pub memory_total_bytes: Option<u64>,
    /// Frames given up because they were late.
    pub shed: u64,
    /// Sessions that it ended: their codec or step failed or panicked, or the device was lost.
    pub failed_sessions: u64,
    /// Panics in codecs and steps, caught.
    pub panics: u64,
    /// Times that opening the device failed.
    pub open_failures: u64,
    /// Times that the device was lost and opened again.
    pub rebuilds: u64,
    /// How long that took, in all.
    pub rebuild_ns: u64,
    /// What a pixel costs, in picoseconds of lane time; 0 before it is known.
    pub cost_ps: u64,
}

/// Where a lane writes it.
#[derive(Debug)]
#[repr(align(128))] // alone on its cache lines, which the lane writes to all the time
pub(super) struct Board {
    epoch: Instant,
    state: AtomicU8,
    decodes: AtomicU8,
    /// When the device call at hand began, in nanoseconds from the epoch; 0 when there is none.
    call_began: AtomicU64,
    /// What was free when the device had been opened, and what a session took in the calibration.
    pub(super) memory_base: AtomicU64,
    pub(super) session_bytes: AtomicU64,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    frames: AtomicU64,
    batches: AtomicU64,
    batch_sizes: [AtomicU64; BATCH_SIZES.len()],
    queue_ns: AtomicU64,
    decode_ns: AtomicU64,
    process_ns: AtomicU64,
    encode_ns: AtomicU64,
    device_decode_ns: AtomicU64,
    device_process_ns: AtomicU64,
    device_encode_ns: AtomicU64,
    to_device_bytes: AtomicU64,
    from_device_bytes: AtomicU64,
    surfaces: AtomicU64,
    memory_free: AtomicU64,
    memory_total: AtomicU64,
    shed: AtomicU64,
    failed_sessions: AtomicU64,
    panics: AtomicU64,
    open_failures: AtomicU64,
    rebuilds: AtomicU64,
    rebuild_ns: AtomicU64,
    cost_ps: AtomicU64,
}

impl Board {
    pub(super) fn new() -> Self {
        let board = Self {
            epoch: Instant::now(),
            state: AtomicU8::new(LaneState::Opening as u8),
            decodes: AtomicU8::new(0),
            call_began: AtomicU64::new(0),
            memory_base: AtomicU64::new(0),
            session_bytes: AtomicU64::new(0),
            counts: Counts::default(),
        };
        set(&board.counts.memory_free, NO_MEMORY);
        set(&board.counts.memory_total, NO_MEMORY);
        board
    }

    // === what the lane writes ===

    pub(super) fn set_state(&self, state: LaneState) {
        self.state.store(state as u8, Ordering::Release);
    }

    pub(super) fn set_decodes(&self, can: impl Fn(Codec) -> bool) {
        let mask = CODECS
            .iter()
            .fold(0, |mask, &codec| mask | u8::from(can(codec)) << bit(codec));
        self.decodes.store(mask, Ordering::Relaxed);
    }

    /// Runs a device call, under the eyes of whoever looks whether the lane is stuck.
    pub(super) fn call<T>(&self, call: impl FnOnce() -> T) -> T {
        let now = u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.call_began.store(now.max(1), Ordering::Relaxed);
        // A panic leaves here too, so the mark is wiped by a guard.
        let _wipe = Wipe(&self.call_began);
        call()
    }

    pub(super) fn batch(&self, size: usize, queued: Duration) {
        let counts = &self.counts;
        let class = BATCH_SIZES.iter().position(|&most| size as u64 <= most);
        bump(&counts.batches, 1);
        bump(
            &counts.batch_sizes[class.unwrap_or(BATCH_SIZES.len() - 1)],
            1,
        );
        bump(&counts.queue_ns, nanos(queued));
    }

    pub(super) fn spent(&self, spent: &Spent, cost_ps: Option<u64>) {
        let counts = &self.counts;
        bump(&counts.decode_ns, nanos(spent.decode));
        bump(&counts.process_ns, nanos(spent.process));
        bump(&counts.encode_ns, nanos(spent.encode));
        self.set_cost(cost_ps);
    }

    pub(super) fn set_cost(&self, cost_ps: Option<u64>) {
        set(&self.counts.cost_ps, cost_ps.unwrap_or(0));
    }

    pub(super) fn frame(&self) {
        bump(&self.counts.frames, 1);
    }

    pub(super) fn shed(&self) {
        bump(&self.counts.shed, 1);
    }

    pub(super) fn failed_session(&self) {
        bump(&self.counts.failed_sessions, 1);
    }

    pub(super) fn panicked(&self) {
        bump(&self.counts.panics, 1);
    }

    pub(super) fn open_failed(&self) {
        bump(&self.counts.open_failures, 1);
    }

    pub(super) fn rebuilt(&self, took: Duration) {
        bump(&self.counts.rebuilds, 1);
        bump(&self.counts.rebuild_ns, nanos(took));
    }

    /// Notes what the device says, added to what it said `before` it was opened this time.
    pub(super) fn usage(&self, usage: &gpu::Usage, before: &gpu::Usage) {
        let counts = &self.counts;
        set(&counts.device_decode_ns, before.decode_ns + usage.decode_ns);
        set(
            &counts.device_process_ns,
            before.process_ns + usage.process_ns,
        );
        set(&counts.device_encode_ns, before.encode_ns + usage.encode_ns);
        set(
            &counts.to_device_bytes,
            before.to_device_bytes + usage.to_device_bytes,
        );
        set(
            &counts.from_device_bytes,
            before.from_device_bytes + usage.from_device_bytes,
        );
        set(&counts.surfaces, usage.surfaces);
        set(
            &counts.memory_free,
            usage.memory_free_bytes.unwrap_or(NO_MEMORY),
        );
        set(
            &counts.memory_total,
            usage.memory_total_bytes.unwrap_or(NO_MEMORY),
        );
    }

    // === what others read ===

    /// What it is doing; being in one call for longer than `call_max` is being stuck.
    pub(super) fn state(&self, call_max: Duration) -> LaneState {
        match self.in_call() {
            Some(time) if time > call_max => LaneState::Stuck,
            _ => LaneState::from_u8(self.state.load(Ordering::Acquire)),
        }
    }

    /// How long it has been in the call that it is in.
    pub(super) fn in_call(&self) -> Option<Duration> {
        let began = self.call_began.load(Ordering::Relaxed);
        (began > 0).then(|| {
            self.epoch
                .elapsed()
                .saturating_sub(Duration::from_nanos(began))
        })
    }

    pub(super) fn decodes(&self, codec: Codec) -> bool {
        self.decodes.load(Ordering::Relaxed) >> bit(codec) & 1 == 1
    }

    /// The names of the codecs that it decodes.
    pub(super) fn decodes_names(&self) -> Vec<&'static str> {
        let can = CODECS.iter().filter(|&&codec| self.decodes(codec));
        can.map(|codec| codec.name()).collect()
    }

    pub(super) fn cost_ps(&self) -> Option<u64> {
        Some(read(&self.counts.cost_ps)).filter(|&cost| cost > 0)
    }

    pub(super) fn memory_free(&self) -> Option<u64> {
        counted(&self.counts.memory_free)
    }

    pub(super) fn metrics(&self) -> LaneMetrics {
        let counts = &self.counts;
        LaneMetrics {
            frames: read(&counts.frames),
            batches: read(&counts.batches),
            batch_sizes: std::array::from_fn(|n| read(&counts.batch_sizes[n])),
            queue_ns: read(&counts.queue_ns),
            decode_ns: read(&counts.decode_ns),
            process_ns: read(&counts.process_ns),
            encode_ns: read(&counts.encode_ns),
            device_decode_ns: read(&counts.device_decode_ns),
            device_process_ns: read(&counts.device_process_ns),
            device_encode_ns: read(&counts.device_encode_ns),
            to_device_bytes: read(&counts.to_device_bytes),
            from_device_bytes: read(&counts.from_device_bytes),
            surfaces: read(&counts.surfaces),
            memory_free_bytes: counted(&counts.memory_free),
            memory_total_bytes: counted(&counts.memory_total),
            shed: read(&counts.shed),
            failed_sessions: read(&counts.failed_sessions),
            panics: read(&counts.panics),
            open_failures: read(&counts.open_failures),
            rebuilds: read(&counts.rebuilds),
            rebuild_ns: read(&counts.rebuild_ns),
            cost_ps: read(&counts.cost_ps),
        }
    }
}

struct Wipe<'a>(&'a AtomicU64);

impl Drop for Wipe<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Adds to a counter that this thread alone writes, so that no locked instruction is needed.
fn bump(counter: &AtomicU64, n: u64) {
    set(counter, read(counter).wrapping_add(n));
}

fn set(counter: &AtomicU64, value: u64) {
    counter.store(value, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn counted(counter: &AtomicU64) -> Option<u64> {
    Some(read(counter)).filter(|&bytes| bytes != NO_MEMORY)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

const fn bit(codec: Codec) -> u8 {
    match codec {
        Codec::H264 => 0,
        Codec::H265 => 1,
        Codec::Vp9 => 2,
        Codec::Av1 => 3,
        // One that this build does not know of yet: nobody has said that it decodes it.
        _ => 7,
    }
}
