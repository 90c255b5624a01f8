//! One session's book: which frames were sent, which came back, when, and how evenly. It asks the world for nothing.
//!
//! ```text
//!   sent(due, written) ─▶ [frame, frame, …] ◀─ which one? ── arrived(stamp, mark, times)
//!                                            mark: its number within the clip
//!                                            stamp: its number within the run, and whose it is
//! ```
//!
//! A mark says which frame of the clip a picture is, and the clip is played in a loop; which turn of the loop it is, its time stamp
//! says. Where the two contradict each other the picture is believed, the frame nearest to the stamp is taken, and it is counted as
//! `misdated`. Where a server gives stamps of its own, the latest turn is taken: right as long as a frame takes less time than
//! the clip.
//!
//! Each session's stamps begin somewhere else, so that a frame of another session shows: it is counted as `crosstalk`.

use std::collections::VecDeque;
use std::sync::Arc;

use hdrhistogram::Histogram;

use super::clip::Rate;
use super::ts::PTS_RANGE;
use super::{FRAME, FRAME_WHOLE, INTERARRIVAL, JITTER};
use crate::measure::{Meter, Timetable, histogram};

/// Where each session's stamps begin.
#[derive(Debug)]
pub struct Bases {
    spacing: u64,
    offsets: Vec<u64>,
}

impl Bases {
    /// Spread over the 33 bits, each moved a little by chance, so that stamps that a server makes up meet none of them.
    pub fn new(sessions: usize, rng: &mut fastrand::Rng) -> Self {
        let spacing = PTS_RANGE / (sessions as u64).max(1);
        Self {
            spacing,
            offsets: (0..sessions)
                .map(|_| rng.u64(spacing / 8..spacing / 4))
                .collect(),
        }
    }

    /// The stamp of a session's first frame.
    pub fn base(&self, session: usize) -> u64 {
        session as u64 * self.spacing + self.offsets[session]
    }

    /// The session and its frame that a stamp would be of.
    fn owner(&self, pts: u64, rate: Rate) -> Option<(usize, u64)> {
        let session = usize::try_from(pts / self.spacing).ok()?;
        self.offsets.get(session)?;
        let frame = self.frame_of(session, pts, rate)?;
        (rate.ticks(frame) < self.spacing).then_some((session, frame))
    }

    /// Which frame of a session's has this stamp.
    fn frame_of(&self, session: usize, pts: u64, rate: Rate) -> Option<u64> {
        // A rounded stamp may lie just before the base.
        let ticks = (pts + PTS_RANGE + EARLY_TICKS - self.base(session)) % PTS_RANGE;
        rate.frame_at(ticks.saturating_sub(EARLY_TICKS))
    }
}

/// What is the same for all sessions.
#[derive(Debug, Clone)]
pub struct Common {
    /// Frames a second.
    pub rate: Rate,
    /// Frames of the clip.
    pub clip_frames: u64,
    /// Where stamps begin.
    pub bases: Arc<Bases>,
    /// A longer gap between frames is a stall.
    pub stall_ns: u64,
}

/// What a picture said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// Its number within the clip.
    Number(u16),
    /// It has a mark that cannot be read, or is no picture.
    Unreadable,
    /// There was no time to look.
    Unread,
    /// Nobody asked.
    NotAsked,
}

/// A frame that came.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// Its time stamp.
    pub pts: Option<u64>,
    /// When its first byte came.
    pub first_ns: u64,
    /// When its last byte came.
    pub last_ns: u64,
    /// What its picture said.
    pub read: Read,
}

/// One session's book.
#[derive(Debug)]
pub struct Tally {
    common: Common,
    session: usize,
    timetable: Timetable,
    sent: VecDeque<Sent>,
    /// Number of the first of `sent`.
    oldest: u64,
    newest_received: Option<u64>,
    before: Option<Arrival>,
    first_due_ns: Option<u64>,
    first_back_ns: Option<u64>,
    latency: Histogram<u64>,
    expected: u64,
    received: u64,
    frames_in_window: u64,
    stalls: u64,
    stall_ns: u64,
}

#[derive(Debug)]
struct Sent {
    due_ns: u64,
    /// When its last byte was handed to the socket; `None` when it was dropped.
    written_ns: Option<u64>,
    is_received: bool,
}

/// Whose frame it is.
#[derive(Debug, PartialEq, Eq)]
enum Identity {
    Ours(u64),
    Misdated(u64),
    Another,
    Unknown,
}

/// How a session did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Summary {
    /// Different frames that came within the window, a second.
    pub fps: f64,
    /// Of the frames due within the window: median latency from due to first byte, in nanoseconds.
    pub p50_ns: u64,
    /// p99.
    pub p99_ns: u64,
    /// How many of them never came.
    pub lost: u64,
    /// Gaps that were too long.
    pub stalls: u64,
    /// By how much they were longer than a frame, in all.
    pub stall_ns: u64,
    /// From when the first frame was due to when any came back.
    pub first_frame_ns: Option<u64>,
}

impl Tally {
    /// An empty book.
    pub fn new(session: usize, common: Common, timetable: Timetable) -> Self {
        Self {
            common,
            session,
            timetable,
            sent: VecDeque::new(),
            oldest: 0,
            newest_received: None,
            before: None,
            first_due_ns: None,
            first_back_ns: None,
            latency: histogram(),
            expected: 0,
            received: 0,
            frames_in_window: 0,
            stalls: 0,
            stall_ns: 0,
        }
    }

    /// The next frame was written, or dropped. To be called for every frame in order.
    pub fn sent(&mut self, due_ns: u64, written_ns: Option<u64>) {
        self.first_due_ns.get_or_insert(due_ns);
        self.expected += u64::from(self.timetable.is_measured(due_ns));
        if self.sent.len() == SENT_MAX {
            self.sent.pop_front();
            self.oldest += 1;
        }
        self.sent.push_back(Sent {
            due_ns,
            written_ns,
            is_received: false,
        });
    }

    /// Whether every frame that counts has come.
    pub fn is_complete(&self) -> bool {
        self.received == self.expected
    }

    /// How many frames that count have not come.
    pub fn lost(&self) -> u64 {
        self.expected - self.received
    }

    /// A frame came. To be called in the order of arrival.
    pub fn arrived(&mut self, arrival: Arrival, meter: &mut Meter) {
        let at_ns = arrival.first_ns;
        match arrival.read {
            Read::Unreadable => meter.record_more(at_ns, "unreadable", 1),
            Read::Unread => meter.record_more(at_ns, "unread", 1),
            Read::Number(_) | Read::NotAsked => {}
        }
        let frame = match self.identify(arrival.pts, arrival.read) {
            Identity::Another => {
                meter.record_more(at_ns, "crosstalk", 1);
                if self.timetable.is_measured(at_ns) {
                    meter.counts().corrupt += 1;
                }
                return;
            }
            Identity::Unknown => {
                meter.record_more(at_ns, "unknown", 1);
                None
            }
            Identity::Misdated(frame) => {
                meter.record_more(at_ns, "misdated", 1);
                Some(frame)
            }
            Identity::Ours(frame) => Some(frame),
        };
        self.record_pace(arrival, meter);
        if let Some(frame) = frame {
            self.record(frame, arrival, meter);
        }
        self.before = Some(arrival);
    }

    /// Nothing more will come.
    pub fn finish(&mut self, meter: &mut Meter) -> Summary {
        let Timetable {
            window_start_ns,
            window_end_ns,
            ..
        } = self.timetable;
        // A stall that nothing ended, or that ended too late for the window.
        if self.expected > 0 {
            let last_ns = self
                .before
                .map_or(window_start_ns, |before| before.first_ns);
            if last_ns < window_end_ns {
                self.record_gap(last_ns, window_end_ns - 1, meter);
            }
        }
        let first_frame_ns = self.first_back_ns.zip(self.first_due_ns);
        #[allow(clippy::cast_precision_loss)] // a rate
        let fps = self.frames_in_window as f64 / self.timetable.window_seconds();
        Summary {
            fps,
            p50_ns: self.latency.value_at_quantile(0.5),
            p99_ns: self.latency.value_at_quantile(0.99),
            lost: self.lost(),
            stalls: self.stalls,
            stall_ns: self.stall_ns,
            first_frame_ns: first_frame_ns.map(|(back, due)| back.saturating_sub(due)),
        }
    }

    fn identify(&self, pts: Option<u64>, read: Read) -> Identity {
        let Common {
            rate,
            clip_frames,
            bases,
            ..
        } = &self.common;
        let dated = pts
            .and_then(|pts| bases.frame_of(self.session, pts, *rate))
            .filter(|&frame| self.was_sent(frame));
        let number = match read {
            Read::Number(number) if u64::from(number) < *clip_frames => u64::from(number),
            _ if dated.is_some() => return dated.map_or(Identity::Unknown, Identity::Ours),
            _ if self.is_of_another(pts) => return Identity::Another,
            _ => return Identity::Unknown,
        };
        match dated {
            Some(frame) if frame % clip_frames == number => Identity::Ours(frame),
            Some(frame) => self
                .turn_nearest(number, frame)
                .map_or(Identity::Unknown, Identity::Misdated),
            None if self.is_of_another(pts) => Identity::Another,
            None => self
                .turn_nearest(number, u64::MAX)
                .map_or(Identity::Unknown, Identity::Ours),
        }
    }

    fn was_sent(&self, frame: u64) -> bool {
        self.get(frame)
            .is_some_and(|sent| sent.written_ns.is_some())
    }

    fn get(&self, frame: u64) -> Option<&Sent> {
        let at = usize::try_from(frame.checked_sub(self.oldest)?).ok()?;
        self.sent.get(at)
    }

    fn is_of_another(&self, pts: Option<u64>) -> bool {
        pts.and_then(|pts| self.common.bases.owner(pts, self.common.rate))
            .is_some_and(|(owner, _)| owner != self.session)
    }

    /// The frame with this number within the clip that is nearest to `frame`, of those that were sent.
    fn turn_nearest(&self, number: u64, frame: u64) -> Option<u64> {
        let clip = self.common.clip_frames;
        let last = (self.oldest + self.sent.len() as u64).checked_sub(1)?;
        // The latest turn that was sent, and those before it.
        let latest = last - (last + clip - number) % clip;
        let turns = (0..=latest / clip).map(|turn| latest - turn * clip);
        turns
            .take_while(|&turn| turn >= self.oldest)
            .filter(|&turn| self.was_sent(turn))
            .min_by_key(|turn| turn.abs_diff(frame))
    }

    fn record(&mut self, frame: u64, arrival: Arrival, meter: &mut Meter) {
        let before = self.before.map_or((0, 0), |it| (it.first_ns, it.last_ns));
        let newest = self.newest_received.replace(
            self.newest_received
                .map_or(frame, |newest| newest.max(frame)),
        );
        let Some(sent) = usize::try_from(frame - self.oldest)
            .ok()
            .and_then(|at| self.sent.get_mut(at))
        else {
            return;
        };
        let (due_ns, written_ns) = (sent.due_ns, sent.written_ns.unwrap_or(sent.due_ns));
        let is_again = std::mem::replace(&mut sent.is_received, true);
        let is_measured = self.timetable.is_measured(due_ns);
        if is_again {
            meter.counts().duplicate += u64::from(is_measured);
            return;
        }
        self.first_back_ns.get_or_insert(arrival.first_ns);
        self.frames_in_window += u64::from(self.timetable.is_measured(arrival.first_ns));
        if !is_measured {
            return;
        }
        self.received += 1;
        let counts = meter.counts();
        counts.received += 1;
        counts.reordered += u64::from(newest.is_some_and(|newest| newest > frame));
        let (first_ns, last_ns) = (arrival.first_ns, arrival.last_ns);
        meter.record(FRAME, due_ns, written_ns.max(before.0), first_ns);
        meter.record(FRAME_WHOLE, due_ns, written_ns.max(before.1), last_ns);
        self.latency
            .saturating_record(first_ns.saturating_sub(due_ns));
    }

    fn record_pace(&mut self, arrival: Arrival, meter: &mut Meter) {
        let Some(before) = self.before else {
            return;
        };
        let at_ns = arrival.first_ns;
        let gap_ns = at_ns.saturating_sub(before.first_ns);
        meter.record_plain(INTERARRIVAL, at_ns, gap_ns);
        meter.record_plain(JITTER, at_ns, gap_ns.abs_diff(self.interval_ns()));
        self.record_gap(before.first_ns, at_ns, meter);
    }

    /// No frame came from `from_ns` to `to_ns`; what lies before the window does not count.
    fn record_gap(&mut self, from_ns: u64, to_ns: u64, meter: &mut Meter) {
        let from_ns = from_ns.max(self.timetable.window_start_ns);
        let gap_ns = to_ns.saturating_sub(from_ns);
        if gap_ns > self.common.stall_ns && self.timetable.is_measured(to_ns) {
            let excess_ns = gap_ns - self.interval_ns();
            self.stalls += 1;
            self.stall_ns += excess_ns;
            meter.record_more(to_ns, "stalls", 1);
            meter.record_more(to_ns, "stall_ms", excess_ns / 1_000_000);
        }
    }

    fn interval_ns(&self) -> u64 {
        self.common.rate.ns(1)
    }
}

/// Frames that are remembered: nine minutes at 30 a second. What comes later than that is unknown.
const SENT_MAX: usize = 1 << 14;
/// How far a rounded stamp may lie before that of the first frame.
const EARLY_TICKS: u64 = 2;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::super::METRICS;
    use super::*;
    use crate::clock::SECOND;
    use crate::measure::{Interval, Said};

    const CLIP: u64 = 30;
    const LATENCY_NS: u64 = 20_000_000;

    struct Book {
        tally: Tally,
        meter: Meter,
        heard: mpsc::Receiver<Said>,
    }

    /// Two sessions; this is the second. Frames 60 to 119 are due within the window.
    fn book() -> Book {
        let timetable = Timetable {
            start_ns: 0,
            window_start_ns: 2 * SECOND,
            window_end_ns: 4 * SECOND,
            end_ns: 5 * SECOND,
            drain_end_ns: 6 * SECOND,
        };
        let rate = Rate::of_fps(30.0).unwrap();
        let common = Common {
            rate,
            clip_frames: CLIP,
            bases: Arc::new(Bases::new(2, &mut fastrand::Rng::with_seed(1))),
            stall_ns: 5 * rate.ns(1),
        };
        let (said, heard) = mpsc::channel();
        Book {
            tally: Tally::new(1, common, timetable),
            meter: Meter::open(timetable, METRICS.len(), said),
            heard,
        }
    }

    impl Book {
        fn due_ns(&self, frame: u64) -> u64 {
            self.tally.common.rate.ns(frame)
        }

        fn send(&mut self, frame: u64) {
            let due = self.due_ns(frame);
            self.meter.record_send(due, due, 1);
            self.tally.sent(due, Some(due + 1_000_000));
        }

        fn pts(&self, frame: u64) -> u64 {
            self.tally.common.bases.base(1) + self.tally.common.rate.ticks(frame)
        }

        fn arrive(&mut self, at_ns: u64, pts: u64, read: Read) {
            let arrival = Arrival {
                pts: Some(pts),
                first_ns: at_ns,
                last_ns: at_ns + 2_000_000,
                read,
            };
            self.tally.arrived(arrival, &mut self.meter);
        }

        fn come_back(&mut self, frame: u64) {
            let (at, pts) = (self.due_ns(frame) + LATENCY_NS, self.pts(frame));
            self.arrive(at, pts, Read::Number((frame % CLIP) as u16));
        }

        fn total(mut self) -> (Interval, Summary) {
            let summary = self.tally.finish(&mut self.meter);
            self.meter.finish();
            let mut total = Interval::new(0, METRICS.len());
            for said in self.heard {
                if let Said::Interval(interval) = said {
                    total.add(&interval);
                }
            }
            (total, summary)
        }
    }

    fn more(total: &Interval, name: &str) -> u64 {
        total.counts.more.get(name).copied().unwrap_or(0)
    }

    fn is_near(value_ns: u64, want_ns: u64) -> bool {
        value_ns.abs_diff(want_ns) < want_ns / 100
    }

    #[test]
    fn an_even_stream_is_all_there_and_even() {
        let mut book = book();
        for frame in 0..150 {
            book.send(frame);
            book.come_back(frame);
        }
        assert!(book.tally.is_complete());
        let (total, summary) = book.total();
        let counts = &total.counts;
        assert_eq!(
            (counts.expected, counts.received, counts.lost()),
            (60, 60, 0)
        );
        assert_eq!(
            (counts.duplicate, counts.reordered, counts.corrupt),
            (0, 0, 0)
        );
        assert!(counts.more.is_empty(), "{:?}", counts.more);
        let frame = &total.dists[FRAME];
        assert!(is_near(frame.corrected.max(), LATENCY_NS));
        // From when it was written.
        assert!(is_near(frame.uncorrected.max(), LATENCY_NS - 1_000_000));
        assert!(is_near(
            total.dists[FRAME_WHOLE].corrected.max(),
            LATENCY_NS + 2_000_000
        ));
        assert!(is_near(
            total.dists[INTERARRIVAL].corrected.max(),
            33_333_333
        ));
        assert!(total.dists[JITTER].corrected.max() < 1_000);
        assert!((summary.fps - 30.0).abs() < 0.6, "{summary:?}");
        assert!(is_near(summary.p99_ns, LATENCY_NS));
        assert_eq!((summary.lost, summary.stalls), (0, 0));
        assert!(is_near(summary.first_frame_ns.unwrap(), LATENCY_NS));
    }

    #[test]
    fn lost_double_and_disordered_frames_are_counted_as_such() {
        let mut book = book();
        for frame in 0..150 {
            book.send(frame);
        }
        for frame in (0..150).filter(|frame| ![70, 80, 81].contains(frame)) {
            book.come_back(frame);
            if frame == 90 {
                book.come_back(90);
            }
            if frame == 82 {
                book.come_back(80);
            }
        }
        let (total, summary) = book.total();
        let counts = &total.counts;
        assert_eq!(
            (counts.lost(), counts.duplicate, counts.reordered),
            (2, 1, 1)
        );
        assert_eq!(summary.lost, 2);
    }

    #[test]
    fn a_stall_is_counted_with_its_length_and_so_is_one_that_does_not_end() {
        let mut book = book();
        for frame in 0..150 {
            book.send(frame);
            if !(75..85).contains(&frame) && frame < 108 {
                book.come_back(frame);
            }
        }
        let (total, summary) = book.total();
        assert_eq!((more(&total, "stalls"), summary.stalls), (2, 2));
        // Ten frames were missing, and then those from 3.587 s to 4 s, less an interval.
        let want_ns = 10 * 33_333_333 + 380_000_000;
        assert!(is_near(summary.stall_ns, want_ns), "{summary:?}");
    }

    #[test]
    fn the_picture_is_believed_before_the_stamp() {
        let mut book = book();
        for frame in 0..100 {
            book.send(frame);
        }
        // Stamped as 70 (the tenth of its turn), it is the eleventh: 71.
        let (at, pts) = (book.due_ns(71) + LATENCY_NS, book.pts(70));
        book.arrive(at, pts, Read::Number(11));
        // Stamps of the server's own: the latest turn.
        book.arrive(3 * SECOND, 777, Read::Number(2));
        // No mark: the stamp it is. Neither: nobody knows.
        let (at, pts) = (book.due_ns(75) + LATENCY_NS, book.pts(75));
        book.arrive(at, pts, Read::Unreadable);
        book.arrive(at, 777, Read::Unread);
        let (total, _) = book.total();
        assert_eq!(total.counts.received, 3);
        assert_eq!(more(&total, "misdated"), 1);
        assert_eq!((more(&total, "unreadable"), more(&total, "unread")), (1, 1));
        assert_eq!(more(&total, "unknown"), 1);
        // Frame 92, due at 3.067 s, cannot have come at 3 s: a saturated zero.
        assert_eq!(total.dists[FRAME].corrected.min(), 0);
    }

    #[test]
    fn a_frame_of_another_session_is_crosstalk() {
        let mut book = book();
        for frame in 0..100 {
            book.send(frame);
        }
        let base = book.tally.common.bases.base(0);
        let pts = base + book.tally.common.rate.ticks(50);
        book.arrive(3 * SECOND, pts, Read::Number(20));
        book.arrive(3 * SECOND, pts, Read::NotAsked);
        let (total, _) = book.total();
        assert_eq!((more(&total, "crosstalk"), total.counts.corrupt), (2, 2));
        assert_eq!(total.counts.received, 0);
    }

    #[test]
    fn what_was_dropped_is_lost_and_does_not_shift_the_others() {
        let mut book = book();
        for frame in 0..100 {
            if frame == 65 {
                let due = book.due_ns(frame);
                book.meter.record_drop(due, 1);
                book.tally.sent(due, None);
            } else {
                book.send(frame);
                book.come_back(frame);
            }
        }
        assert!(!book.tally.is_complete());
        let (total, _) = book.total();
        assert_eq!((total.counts.dropped, total.counts.lost()), (1, 1));
        assert_eq!(total.counts.reordered, 0);
    }

    #[test]
    fn stamps_begin_apart_and_wrap() {
        let rate = Rate::of_fps(30.0).unwrap();
        let bases = Bases::new(7, &mut fastrand::Rng::with_seed(4));
        for session in 0..7 {
            let base = bases.base(session);
            for frame in [0, 1, 500] {
                let pts = base + rate.ticks(frame);
                assert_eq!(bases.owner(pts, rate), Some((session, frame)));
                assert_eq!(bases.frame_of(session, pts, rate), Some(frame));
            }
            assert_eq!(bases.frame_of(session, base - 1, rate), Some(0));
        }
        let one = Bases::new(1, &mut fastrand::Rng::with_seed(4));
        let frame = 2_700_000;
        let pts = (one.base(0) + rate.ticks(frame)) % PTS_RANGE;
        assert!(pts < one.base(0), "it wraps");
        assert_eq!(one.frame_of(0, pts, rate), Some(frame));
    }
}
