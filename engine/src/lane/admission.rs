//! Who may come onto a lane: by what a picture costs there and how many there will be, not by how many sessions there are.
//!
//! ```text
//!   utilisation = rate [pixels a second, of all sessions] x cost [lane time a pixel]        refused over the ceiling
//!                        |                                     |
//!   each session: measured, until then 640x480 at 30           decode + step + encode, a moving average; calibrated at the start
//! ```
//!
//! Invariants:
//! - A lane's rate is the sum of its seats' rates at all times: what changes a seat changes the sum by as much.
//! - A place is reserved before it is promised, in one atomic step, so shards that place at once cannot fill a lane twice.
//! - A lane that has nobody takes one session whatever is projected: that may be all that a slow machine can do, and refusing
//!   would not make it faster.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Pixels a second that a session is taken to have until its first picture: a little more than the 512x512 of most real-time
/// models. A larger guess would refuse a dozen small sessions that start together, a smaller one let in large ones that a lane
/// cannot carry; either way it is put right by the first picture, within a second as a rule.
pub(super) const ASSUMED_PIXELS_PER_S: u64 = 640 * 480 * ASSUMED_PICTURES_PER_S;
/// Pictures a second, until a second of them was counted.
const ASSUMED_PICTURES_PER_S: u64 = 30;
/// Picoseconds of lane time a pixel, where nothing was measured: a quarter of a lane for 1280x720 at 30.
pub(super) const ASSUMED_COST_PS: u64 = 1_000_000_000_000 / 4 / (1280 * 720 * 30);
/// The most pictures a second that count. What sends faster gets its turns like others and keeps nobody out.
const PICTURES_PER_S_MAX: f64 = 60.0;
/// How long pictures are counted for one measurement.
const WINDOW: Duration = Duration::from_secs(1);
/// How much of the past a measurement of cost keeps: fifty batches or so.
const KEEP: f64 = 0.98;
/// A session is not taken to need more memory than so many times the calibration's, whatever else goes on on the device.
const MEMORY_FACTOR_MAX: u64 = 8;
/// Device memory that is left alone: for the driver, and for steps that need more now and then.
const MEMORY_SPARE_BYTES: u64 = 256 << 20;

// === what a lane carries ===

/// What a lane's sessions want of it. Written by shards and by the lane.
#[derive(Debug, Default)]
#[repr(align(128))] // alone on its cache lines: shards look at it whenever a session opens
pub(super) struct Demand {
    pub(super) sessions: AtomicU64,
    /// Sessions that have not shown a picture, so that their memory is still to be taken.
    pub(super) fresh: AtomicU64,
    pixels_per_s: AtomicU64,
}

/// One session's part in it.
#[derive(Debug)]
pub(super) struct Seat {
    demand: Arc<Demand>,
    pixels_per_s: AtomicU64,
    fresh: AtomicBool,
    left: AtomicBool,
}

impl Demand {
    pub(super) fn pixels_per_s(&self) -> u64 {
        self.pixels_per_s.load(Ordering::SeqCst)
    }

    /// Reserves a place if the lane stays under the ceiling with it.
    pub(super) fn take_seat(
        self: &Arc<Self>,
        cost_ps: u64,
        ceiling_permille: u64,
    ) -> Option<Arc<Seat>> {
        let assumed = self.assumed();
        let room = |now: u64| {
            let then = now.saturating_add(assumed);
            (now == 0 || permille(then, cost_ps) <= ceiling_permille).then_some(then)
        };
        self.pixels_per_s
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, room)
            .ok()?;
        self.sessions.fetch_add(1, Ordering::Relaxed);
        self.fresh.fetch_add(1, Ordering::Relaxed);
        Some(Arc::new(Seat {
            demand: self.clone(),
            pixels_per_s: AtomicU64::new(assumed),
            fresh: AtomicBool::new(true),
            left: AtomicBool::new(false),
        }))
    }
}

impl Demand {
    /// How many more [`take_seat`](Self::take_seat) would let in, one after another.
    pub(super) fn room(&self, cost_ps: u64, ceiling_permille: u64) -> u32 {
        let now = self.pixels_per_s();
        let most = ceiling_permille.saturating_mul(PERMILLE_PS) / cost_ps.max(1);
        let room = most.saturating_sub(now) / self.assumed();
        u32::try_from(room.max(u64::from(now == 0))).unwrap_or(u32::MAX)
    }

    /// What one more is taken to want: as much as those that are there do on average, and not less than is assumed of a first.
    fn assumed(&self) -> u64 {
        let there = self.sessions.load(Ordering::Relaxed);
        let mean = self.pixels_per_s().checked_div(there).unwrap_or(0);
        // Both are read while others come and go: no more than the largest picture at the highest rate can come of it.
        mean.clamp(
            ASSUMED_PIXELS_PER_S,
            8192 * 8192 * PICTURES_PER_S_MAX as u64,
        )
    }
}

impl Seat {
    /// Whether the shard has given the session up.
    pub(super) fn has_left(&self) -> bool {
        self.left.load(Ordering::SeqCst)
    }

    /// Gives the place back; what the lane measures from now on does not count.
    pub(super) fn leave(&self) {
        if !self.left.swap(true, Ordering::SeqCst) {
            self.demand.sessions.fetch_sub(1, Ordering::Relaxed);
            self.settle();
            self.change(0);
        }
    }

    /// Whether its memory is still to be taken.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh.load(Ordering::Relaxed)
    }

    /// What memory the session needs is taken, and what is left was made known.
    pub(super) fn settle(&self) {
        if self.fresh.swap(false, Ordering::Relaxed) {
            self.demand.fresh.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The session was measured.
    pub(super) fn measured(&self, pixels_per_s: u64) {
        self.change(pixels_per_s.max(1));
        // Should it have left meanwhile: whoever comes second takes the last of it away.
        if self.has_left() {
            self.change(0);
        }
    }

    fn change(&self, to: u64) {
        let from = self.pixels_per_s.swap(to, Ordering::SeqCst);
        // Wrapping, so that one addition serves both directions; the sum itself never wraps.
        self.demand
            .pixels_per_s
            .fetch_add(to.wrapping_sub(from), Ordering::SeqCst);
    }
}

/// The part of a lane's time that this takes, in thousandths.
pub(super) const fn permille(pixels_per_s: u64, cost_ps: u64) -> u64 {
    pixels_per_s.saturating_mul(cost_ps) / PERMILLE_PS
}

/// ps/s are millionths of millionths; a thousandth is so many of them.
const PERMILLE_PS: u64 = 1_000_000_000;

// === memory ===

/// What is known of a device's memory when a session is to be placed, over all lanes on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    /// What is free now.
    pub(super) free_bytes: u64,
    /// What was free when the lanes had no sessions.
    pub(super) base_bytes: u64,
    /// What a session took in the calibration; 0 if there was none.
    pub(super) session_bytes: u64,
    /// Sessions that have taken theirs, and those that have not yet.
    pub(super) settled: u64,
    pub(super) fresh: u64,
}

impl Memory {
    /// Whether one more session fits, and all that were promised a place before it.
    pub(super) fn has_room(&self) -> bool {
        let needed = self.a_session().saturating_mul(self.fresh + 1);
        let spare = MEMORY_SPARE_BYTES.min(self.base_bytes / 16);
        self.free_bytes >= needed.saturating_add(spare)
    }

    /// What a session takes: what those that are there have taken, and not less than the calibration's.
    fn a_session(&self) -> u64 {
        let taken = self.base_bytes.saturating_sub(self.free_bytes);
        let mean = taken.checked_div(self.settled).unwrap_or(0);
        if self.session_bytes == 0 {
            return mean;
        }
        mean.min(self.session_bytes * MEMORY_FACTOR_MAX)
            .max(self.session_bytes)
    }
}

// === measuring ===

/// What a pixel costs, as a moving average over batches, weighted by their pixels.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    decode: Share,
    process: Share,
    encode: Share,
}

/// Lane time of one batch, and the pixels that went through each step.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    pub(super) decode: Duration,
    pub(super) process: Duration,
    pub(super) encode: Duration,
    pub(super) decoded_pixels: u64,
    pub(super) encoded_pixels: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Share {
    ns: f64,
    pixels: f64,
}

impl Cost {
    pub(super) fn add(&mut self, spent: &Spent) {
        self.decode.add(spent.decode, spent.decoded_pixels);
        // What a step costs is spread over all pictures, those that pass through as well: the mix decides.
        self.process.add(spent.process, spent.encoded_pixels);
        self.encode.add(spent.encode, spent.encoded_pixels);
    }

    /// Picoseconds of lane time a pixel; `None` before anything was measured.
    pub(super) fn ps(&self) -> Option<u64> {
        let parts = [self.decode, self.process, self.encode];
        let known = self.decode.pixels > 0.0 && self.encode.pixels > 0.0;
        known.then(|| {
            let ns: f64 = parts.iter().map(Share::ns_a_pixel).sum();
            (ns * 1000.0).max(1.0) as u64
        })
    }
}

impl Share {
    fn add(&mut self, time: Duration, pixels: u64) {
        // Time without a picture, as with a decoder that holds one back, counts towards the next.
        let keep = if pixels > 0 { KEEP } else { 1.0 };
        self.ns = self.ns * keep + time.as_nanos() as f64;
        self.pixels = self.pixels * keep + pixels as f64;
    }

    fn ns_a_pixel(&self) -> f64 {
        if self.pixels > 0.0 {
            self.ns / self.pixels
        } else {
            0.0
        }
    }
}

/// Measures one session's pictures.
#[derive(Debug)]
pub(super) struct Pace {
    since: Option<Instant>,
    pictures: u32,
    pixels: u64,
    pixels_per_s: Option<f64>,
}

impl Pace {
    pub(super) const fn new() -> Self {
        Self {
            since: None,
            pictures: 0,
            pixels: 0,
            pixels_per_s: None,
        }
    }

    /// Notes a picture; gives the new measurement when a window is full, and one by its size alone at the first picture.
    pub(super) fn note(&mut self, now: Instant, pixels: u64) -> Option<u64> {
        let Some(since) = self.since else {
            self.since = Some(now);
            return Some(pixels * ASSUMED_PICTURES_PER_S);
        };
        self.pictures += 1;
        self.pixels += pixels;
        let window = now.saturating_duration_since(since);
        if window < WINDOW {
            return None;
        }
        let pictures = f64::from(self.pictures);
        let rate = (pictures / window.as_secs_f64()).min(PICTURES_PER_S_MAX);
        let new = rate * self.pixels as f64 / pictures;
        let smooth = self.pixels_per_s.map_or(new, |old| (old + new) / 2.0);
        self.pixels_per_s = Some(smooth);
        (self.since, self.pictures, self.pixels) = (Some(now), 0, 0);
        Some(smooth as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CEILING: u64 = 850;

    #[test]
    fn the_room_is_what_is_let_in() {
        for (cost_ps, ceiling) in [
            (10_000, 850),
            (1_000, 850),
            (200, 1_000),
            (1, 850),
            (90_000, 20),
        ] {
            let demand = Arc::new(Demand::default());
            let mut room = demand.room(cost_ps, ceiling);
            let mut seats = Vec::new();
            while let Some(seat) = demand.take_seat(cost_ps, ceiling) {
                seats.push(seat);
                room -= 1;
                assert_eq!(demand.room(cost_ps, ceiling), room, "{cost_ps} {ceiling}");
                if seats.len() > 500 {
                    break;
                }
            }
            assert!(room == 0 || seats.len() > 500);
        }
    }

    #[test]
    fn what_nothing_is_known_of_takes_a_twelfth() {
        assert_eq!(permille(ASSUMED_PIXELS_PER_S, ASSUMED_COST_PS), 83);
        assert_eq!(permille(1280 * 720 * 30, ASSUMED_COST_PS), 249);
    }

    #[test]
    fn a_lane_fills_to_its_ceiling_and_has_room_again() {
        let demand = Arc::new(Demand::default());
        let take = || demand.take_seat(3 * ASSUMED_COST_PS, CEILING);
        let seats: Vec<_> = std::iter::from_fn(take).collect();
        assert_eq!(seats.len(), 3, "a fourth would be 99.6 %");
        seats[0].leave();
        seats[0].leave();
        assert!(take().is_some());
        assert!(take().is_none());
        // Smaller than was assumed: that makes room.
        seats[1].measured(320 * 180 * 30);
        assert_eq!(
            demand.pixels_per_s(),
            2 * ASSUMED_PIXELS_PER_S + 320 * 180 * 30
        );
        assert!(take().is_some());
    }

    #[test]
    fn one_more_is_taken_to_be_like_those_that_are_there() {
        let demand = Arc::new(Demand::default());
        let take = || demand.take_seat(ASSUMED_COST_PS, CEILING);
        let first = take().unwrap();
        first.measured(1280 * 720 * 30);
        let (_second, _third) = (take().unwrap(), take().unwrap());
        assert_eq!(demand.pixels_per_s(), 3 * 1280 * 720 * 30);
        assert!(take().is_none(), "a fourth would be 99.6 %");
    }

    #[test]
    fn an_empty_lane_takes_one_whatever_it_costs() {
        let demand = Arc::new(Demand::default());
        let seat = demand.take_seat(u64::MAX, CEILING).unwrap();
        assert!(demand.take_seat(u64::MAX, CEILING).is_none());
        seat.leave();
        assert!(demand.take_seat(u64::MAX, CEILING).is_some());
    }

    #[test]
    fn who_has_left_counts_for_nothing_however_it_races_with_the_lane() {
        let demand = Arc::new(Demand::default());
        for _ in 0..200 {
            let seat = demand.take_seat(1, CEILING).unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| seat.leave());
                scope.spawn(|| {
                    seat.settle();
                    seat.measured(77);
                });
            });
            assert_eq!(demand.pixels_per_s(), 0);
            assert_eq!(demand.sessions.load(Ordering::Relaxed), 0);
            assert_eq!(demand.fresh.load(Ordering::Relaxed), 0);
        }
    }

    #[test]
    fn cost_is_of_decode_step_and_encode_together_and_follows_what_is_measured() {
        let ms = Duration::from_millis;
        let mut cost = Cost::default();
        assert_eq!(cost.ps(), None);
        let batch = |scale: u32| Spent {
            decode: ms(2) * scale,
            process: ms(1) * scale,
            encode: ms(7) * scale,
            decoded_pixels: 1_000_000,
            encoded_pixels: 1_000_000,
        };
        cost.add(&batch(1));
        assert_eq!(cost.ps(), Some(10_000), "10 ns a pixel");
        for _ in 0..300 {
            cost.add(&batch(3));
        }
        let now = cost.ps().unwrap();
        assert!((29_000..=30_000).contains(&now), "{now}");
        // A picture that is held back costs nothing yet; its time is not forgotten.
        let held = Spent {
            decoded_pixels: 0,
            encoded_pixels: 0,
            ..batch(3)
        };
        cost.add(&held);
        assert!(cost.ps().unwrap() > now);
    }

    #[test]
    fn a_session_is_measured_by_its_first_picture_and_then_second_by_second() {
        const HD: u64 = 1280 * 720 * 30;
        let mut pace = Pace::new();
        let began = Instant::now();
        let mut measured = Vec::new();
        for n in 0..=90_u64 {
            let now = began + Duration::from_millis(n * 1000 / 30);
            measured.extend(pace.note(now, 1280 * 720));
        }
        assert_eq!(measured, [HD; 4]);
        // A burst counts as sixty a second at most.
        let began = began + Duration::from_secs(3);
        let mut measured = Vec::new();
        for n in 0..=10_000_u64 {
            let now = began + Duration::from_millis(n);
            measured.extend(pace.note(now, 1280 * 720));
        }
        let last = *measured.last().unwrap();
        assert!(last <= 2 * HD, "{last}");
    }

    #[test]
    fn memory_is_kept_for_those_that_were_promised_it() {
        let gib = 1 << 30;
        let memory = Memory {
            free_bytes: 2 * gib,
            base_bytes: 8 * gib,
            session_bytes: gib / 2,
            settled: 0,
            fresh: 0,
        };
        assert!(memory.has_room());
        let promised = |fresh| Memory { fresh, ..memory }.has_room();
        assert!(promised(2) && !promised(3));
        // Six gigabytes in the hands of three: two each.
        let seen = Memory {
            settled: 3,
            ..memory
        };
        assert!(!seen.has_room());
        // Somebody else's model is not taken for a session.
        let other = Memory {
            settled: 1,
            free_bytes: 5 * gib,
            session_bytes: gib / 4,
            ..memory
        };
        assert!(other.has_room());
    }
}
