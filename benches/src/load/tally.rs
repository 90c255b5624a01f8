//! What came back: latencies, bytes, and what is missing.
//!
//! Only chunks of the window count for latency and for what is missing; corruption and duplicates count whenever they occur.

use hdrhistogram::Histogram;

use super::Plan;
use crate::chunk::{Arrived, Pattern, Reader};
use crate::clock;

/// Beyond this p99 of its own lateness a generator is the bottleneck of what it measures.
pub const LATENESS_NS_MAX: u64 = 5_000_000;

/// Beyond this share of its CPU likewise.
pub const OWN_CPU_SHARE_MAX: f64 = 0.95;

/// The count of a load.
#[derive(Debug)]
pub struct Tally {
    pattern: Pattern,
    subscribers_each: usize,
    chunks: usize,
    warmup_chunks: u64,
    /// A bit for every chunk that every subscriber should get.
    seen: Vec<bool>,
    seen_count: usize,
    seen_in_window: u64,
    window: Option<Window>,
    arrived: Vec<Arrived>,
    /// From due to the first byte, in nanoseconds.
    pub first_ns: Histogram<u64>,
    /// From due to the last byte, in nanoseconds.
    pub last_ns: Histogram<u64>,
    /// From due to when the generator got round to sending, in nanoseconds.
    pub lateness_ns: Histogram<u64>,
    /// Payload received while the window was open.
    pub window_bytes: u64,
    /// How long the window was open.
    pub window_ns: u64,
    /// CPU time of the generator while the window was open.
    pub own_cpu_ns: u64,
    /// Chunks that came twice.
    pub duplicates: u64,
    /// Chunks with a wrong byte, or of another channel.
    pub corrupted: u64,
    /// Segments that ended within a chunk.
    pub truncated: u64,
}

#[derive(Debug)]
struct Window {
    start_ns: u64,
    cpu_ns: u64,
}

impl Tally {
    /// Nothing yet.
    pub fn new(plan: &Plan) -> Self {
        let chunks = usize::try_from(plan.chunks()).unwrap_or(usize::MAX);
        let subscribers_each = plan.subscribers_each as usize;
        // Three digits from a microsecond to a minute: the error is below a thousandth.
        let histogram = || {
            Histogram::new_with_bounds(1_000, 60 * clock::SECOND, 3)
                .unwrap_or_else(|e| panic!("{e}"))
        };
        Self {
            pattern: Pattern::new(plan.chunk_bytes),
            subscribers_each,
            chunks,
            warmup_chunks: plan.warmup_chunks(),
            seen: vec![false; chunks * subscribers_each * plan.publishers as usize],
            seen_count: 0,
            seen_in_window: 0,
            window: None,
            arrived: Vec::new(),
            first_ns: histogram(),
            last_ns: histogram(),
            lateness_ns: histogram(),
            window_bytes: 0,
            window_ns: 0,
            own_cpu_ns: 0,
            duplicates: 0,
            corrupted: 0,
            truncated: 0,
        }
    }

    /// Chunks of the window that somebody should have got and did not.
    pub fn missing(&self) -> u64 {
        self.expected() - self.seen_in_window
    }

    /// Chunks of the window, times those who should get them.
    pub fn expected(&self) -> u64 {
        (self.seen.len() / self.chunks) as u64 * (self.chunks as u64 - self.warmup_chunks)
    }

    /// Whether the generator was slower than what it measured.
    pub fn is_generator_bound(&self) -> bool {
        self.lateness_ns.value_at_quantile(0.99) > LATENESS_NS_MAX
            || self.own_cpu_share() > OWN_CPU_SHARE_MAX
    }

    /// CPU time of the generator's process in the window, by the length of the window.
    #[allow(clippy::cast_precision_loss)] // for display and a threshold
    pub fn own_cpu_share(&self) -> f64 {
        self.own_cpu_ns as f64 / self.window_ns.max(1) as f64
    }

    /// Whether every byte came, once and whole.
    pub fn is_sound(&self) -> bool {
        self.missing() + self.duplicates + self.corrupted + self.truncated == 0
    }

    pub(super) fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// Whether nothing more can come.
    pub(super) fn is_complete(&self) -> bool {
        self.seen_count == self.seen.len()
    }

    pub(super) fn open_window(&mut self) {
        self.window = Some(Window {
            start_ns: clock::now_ns(),
            cpu_ns: clock::own_cpu_ns(),
        });
    }

    pub(super) fn close_window(&mut self) {
        if let Some(window) = self.window.take() {
            self.window_ns = clock::now_ns() - window.start_ns;
            self.own_cpu_ns = clock::own_cpu_ns() - window.cpu_ns;
        }
    }

    pub(super) fn record_lateness(&mut self, number: u64, late_ns: u64) {
        if number >= self.warmup_chunks {
            self.lateness_ns.saturating_record(late_ns);
        }
    }

    /// Takes payload of subscriber `subscriber`, counted over all groups.
    pub(super) fn handle_payload(
        &mut self,
        subscriber: usize,
        reader: &mut Reader,
        bytes: &[u8],
        now_ns: u64,
    ) {
        if self.window.is_some() {
            self.window_bytes += bytes.len() as u64;
        }
        // Out of the way while they are read, for want of two halves of `self`.
        let mut arrived = std::mem::take(&mut self.arrived);
        reader.handle_bytes(bytes, now_ns, &self.pattern, |chunk| arrived.push(chunk));
        for chunk in arrived.drain(..) {
            self.handle_arrival(subscriber, chunk);
        }
        self.arrived = arrived;
    }

    fn handle_arrival(&mut self, subscriber: usize, chunk: Arrived) {
        let number = usize::try_from(chunk.number).unwrap_or(usize::MAX);
        let is_ours =
            chunk.group as usize == subscriber / self.subscribers_each && number < self.chunks;
        if !chunk.intact || !is_ours {
            self.corrupted += 1;
            return;
        }
        if std::mem::replace(&mut self.seen[subscriber * self.chunks + number], true) {
            self.duplicates += 1;
            return;
        }
        self.seen_count += 1;
        if chunk.number >= self.warmup_chunks {
            self.seen_in_window += 1;
            self.first_ns
                .saturating_record(chunk.first_ns.saturating_sub(chunk.due_ns));
            self.last_ns
                .saturating_record(chunk.last_ns.saturating_sub(chunk.due_ns));
        }
    }
}
