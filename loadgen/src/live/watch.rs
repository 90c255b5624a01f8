//! A session's watcher: follows the output, segment by segment, with the habits of a stock gateway.
//!
//! ```text
//!   GET -1 ──▶ head n ── frames … ── end
//!                 └─▶ GET n+1 ──▶ (waits) ── head n+1 ── …      asked for when the head of n is there
//! ```
//!
//! Invariants:
//! - Frames are handed over in the order of segments, whatever order the connections speak in; each has the times at which it came.
//! - What is held back for a segment that does not end is bounded by [`HELD_MAX`]; then the segment is taken to have ended.
//! - Errors are followed by a pause; [`FAILURES_MAX`] in a row are the end, as they are for a stock gateway.

use std::collections::VecDeque;

use super::Life;
use super::lines::{Broken, Hands, Kind};
use super::ts::demux::{Demux, Unit};
use crate::http::Head;
use crate::measure::Meter;
use crate::net::Token;

/// One session's output.
#[derive(Debug)]
pub(super) struct Watcher {
    session: usize,
    path: String,
    keeps_bytes: bool,
    /// In order; the first is handed over as it comes.
    segments: VecDeque<Segment>,
    failures: u32,
    retry: Option<Retry>,
}

/// When to ask again, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Retry {
    /// When.
    pub(super) at_ns: u64,
    /// Which segment.
    pub(super) seq: i64,
}

#[derive(Debug)]
struct Segment {
    token: Token,
    /// As it was asked for, and then as it was answered.
    seq: i64,
    is_begun: bool,
    is_done: bool,
    demux: Demux,
    held: Vec<Unit>,
}

impl Watcher {
    /// Of the channel at `path`; `keeps_bytes` when frames are to be decoded.
    pub(super) fn new(session: usize, path: String, keeps_bytes: bool) -> Self {
        Self {
            session,
            path,
            keeps_bytes,
            segments: VecDeque::new(),
            failures: 0,
            retry: None,
        }
    }

    /// Asks for a segment; -1 is the next to be written.
    pub(super) fn get(&mut self, seq: i64, life: &mut Life, hands: &mut Hands<'_>) {
        if life.is_over {
            return;
        }
        let line = format!("GET {}/{seq}", self.path);
        match hands.lines.request((self.session, Kind::Get), &line, "") {
            Ok(token) => self.segments.push_back(Segment {
                token,
                seq,
                is_begun: false,
                is_done: false,
                demux: Demux::new(self.keeps_bytes),
                held: Vec::new(),
            }),
            Err(class) => {
                hands.meter.record_error(class);
                self.fail(seq, life, hands);
            }
        }
    }

    /// When to ask again, once.
    pub(super) fn take_retry(&mut self) -> Option<Retry> {
        self.retry.take()
    }

    /// Frames that have come, wholly or in part, and were not handed over.
    pub(super) fn held(&self) -> usize {
        self.segments
            .iter()
            .map(|it| it.held.len() + usize::from(it.demux.is_within_frame()))
            .sum()
    }

    /// A GET was answered. `false`: its connection is of no further use.
    pub(super) fn handle_head(
        &mut self,
        token: Token,
        head: &Head,
        life: &mut Life,
        hands: &mut Hands<'_>,
    ) -> bool {
        let Some(at) = self.position(token) else {
            return false;
        };
        let seq = self.segments[at].seq;
        match head.status {
            404 => life.end(hands.meter),
            200 if head.is_closed => life.end(hands.meter),
            200 => {
                self.failures = 0;
                let segment = &mut self.segments[at];
                segment.is_begun = true;
                segment.seq = head.seq.unwrap_or(seq);
                let next = segment.seq + 1;
                // A server that does not say which one is next is followed one at a time.
                self.get(if next > 0 { next } else { -1 }, life, hands);
            }
            status => {
                self.segments.remove(at);
                if !life.is_ending {
                    hands.meter.record_error(format!("status-{status}"));
                    let latest = head.latest.filter(|_| status == STATUS_MISSING);
                    self.fail(latest.unwrap_or(seq), life, hands);
                }
                // The rest of the answer is of no interest, but the connection is: it is read to its end.
                return true;
            }
        }
        if life.is_over {
            self.segments.remove(at);
        }
        true
    }

    /// More of a segment. Calls `done` for each frame that is complete.
    pub(super) fn handle_body(
        &mut self,
        token: Token,
        bytes: &[u8],
        now_ns: u64,
        meter: &mut Meter,
        mut done: impl FnMut(Unit, &mut Meter),
    ) {
        let Some(at) = self.position(token) else {
            return;
        };
        if meter.timetable().is_measured(now_ns) {
            meter.counts().bytes_received += bytes.len() as u64;
        }
        let Segment { demux, held, .. } = &mut self.segments[at];
        demux.handle_bytes(bytes, now_ns, |unit| {
            if at == 0 {
                done(unit, meter);
            } else {
                held.push(unit);
            }
        });
        if at > 0 && self.segments[at].held.len() > HELD_MAX {
            meter.record_error("segment-without-end");
            for segment in self.segments.range_mut(..at) {
                segment.is_done = true;
            }
            self.hand_over(now_ns, meter, &mut done);
        }
    }

    /// A segment is over.
    pub(super) fn handle_end(
        &mut self,
        token: Token,
        now_ns: u64,
        meter: &mut Meter,
        mut done: impl FnMut(Unit, &mut Meter),
    ) {
        if let Some(at) = self.position(token) {
            self.segments[at].is_done = true;
            self.hand_over(now_ns, meter, &mut done);
        }
    }

    /// A GET came to nothing, or broke off.
    pub(super) fn handle_broken(
        &mut self,
        token: Token,
        broken: Broken,
        life: &mut Life,
        hands: &mut Hands<'_>,
        mut done: impl FnMut(Unit, &mut Meter),
    ) {
        let Some(at) = self.position(token) else {
            return;
        };
        let Segment { seq, is_begun, .. } = self.segments[at];
        if broken.is_stale && !life.is_over {
            self.segments.remove(at);
            self.get(seq, life, hands);
            return;
        }
        if !life.is_ending && !life.is_over {
            hands.meter.record_error(broken.class);
        }
        if is_begun {
            // The next one was asked for already.
            self.segments[at].is_done = true;
            self.hand_over(hands.now_ns, hands.meter, &mut done);
        } else {
            self.segments.remove(at);
            self.fail(seq, life, hands);
        }
    }

    /// Nothing more is waited for: what is there is complete.
    pub(super) fn flush(
        &mut self,
        now_ns: u64,
        meter: &mut Meter,
        mut done: impl FnMut(Unit, &mut Meter),
    ) {
        for segment in &mut self.segments {
            segment.is_done = true;
        }
        self.hand_over(now_ns, meter, &mut done);
    }

    fn position(&self, token: Token) -> Option<usize> {
        self.segments
            .iter()
            .position(|segment| segment.token == token && !segment.is_done)
    }

    /// Takes segments that are done from the front, and what was held back behind them.
    fn hand_over(
        &mut self,
        now_ns: u64,
        meter: &mut Meter,
        done: &mut impl FnMut(Unit, &mut Meter),
    ) {
        while let Some(segment) = self.segments.front_mut() {
            for unit in segment.held.drain(..) {
                done(unit, meter);
            }
            if !segment.is_done {
                return;
            }
            segment.demux.end(|unit| done(unit, meter));
            if segment.demux.is_damaged() && meter.timetable().is_measured(now_ns) {
                meter.counts().truncated += 1;
            }
            self.segments.pop_front();
        }
    }

    fn fail(&mut self, seq: i64, life: &mut Life, hands: &mut Hands<'_>) {
        self.failures += 1;
        if self.failures > FAILURES_MAX {
            life.end(hands.meter);
        } else if !life.is_over {
            self.retry_later(seq, hands.now_ns);
        }
    }

    fn retry_later(&mut self, seq: i64, now_ns: u64) {
        self.retry = Some(Retry {
            at_ns: now_ns + PAUSE_NS,
            seq,
        });
    }
}

/// The channel is there, the segment is not.
const STATUS_MISSING: u16 = 470;
const FAILURES_MAX: u32 = 5;
const PAUSE_NS: u64 = 300_000_000;
/// Some seconds.
const HELD_MAX: usize = 256;
