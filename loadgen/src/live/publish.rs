//! A session's publisher: a segment a group of pictures, an HTTP chunk a frame, with the habits of a stock gateway.
//!
//! ```text
//!   POST n    head ── frame ── frame ── … ── frame ── end ──▶ 200
//!   POST n+1  head ─────────────────────────────────────── frame ── …     opened when n begins
//! ```
//!
//! Invariants:
//! - A frame goes when it is due, whatever has become of those before it. One that nobody takes is dropped, and so are those after
//!   it that could not be decoded without it: up to the next key frame.
//! - What waits in a socket is bounded by [`BACKLOG_BYTES_MAX`].

use super::Life;
use super::clip::Clip;
use super::lines::{Broken, Hands, Kind, Lines};
use super::ts::mux::Mux;
use crate::clock;
use crate::http::Head;
use crate::measure::Meter;
use crate::net::Token;

/// One session's input.
#[derive(Debug)]
pub(super) struct Publisher {
    session: usize,
    path: String,
    mux: Mux,
    base_pts: u64,
    start_ns: u64,
    /// Number of the next frame within the run.
    next: u64,
    /// Of the segment that is opened next.
    seq: u64,
    current: Option<Token>,
    ahead: Option<Token>,
}

impl Publisher {
    /// Frame 0 is due at `start_ns` and stamped `base_pts`.
    pub(super) fn new(session: usize, path: String, base_pts: u64, start_ns: u64) -> Self {
        Self {
            session,
            path,
            mux: Mux::default(),
            base_pts,
            start_ns,
            next: 0,
            seq: 0,
            current: None,
            ahead: None,
        }
    }

    /// Opens the first segment, so that it is there when the first frame is due.
    pub(super) fn begin(&mut self, hands: &mut Hands<'_>) {
        self.open_ahead(hands.lines, hands.meter);
    }

    /// When the next frame is due.
    pub(super) fn due_ns(&self, clip: &Clip) -> u64 {
        self.start_ns.saturating_add(clip.rate.ns(self.next))
    }

    /// Whether a segment begins with the next frame.
    pub(super) fn is_at_segment(&self, clip: &Clip) -> bool {
        let within = usize::try_from(self.next % clip.frames.len() as u64).unwrap_or(0);
        clip.frames[within].is_key
    }

    /// Sends the next frame: gives when its last byte was handed to the socket, or `None` when it was dropped.
    pub(super) fn send(
        &mut self,
        clip: &Clip,
        scratch: &mut Vec<u8>,
        life: &Life,
        lines: &mut Lines,
        meter: &mut Meter,
    ) -> Option<u64> {
        let due_ns = self.due_ns(clip);
        let number = self.next;
        self.next += 1;
        let within = usize::try_from(number % clip.frames.len() as u64).unwrap_or(0);
        let frame = &clip.frames[within];
        if frame.is_key && !life.is_over {
            self.begin_segment(lines, meter);
        }
        let taken = self
            .current
            .filter(|&token| !life.is_over && lines.net().unsent(token) <= BACKLOG_BYTES_MAX);
        let Some(token) = taken else {
            if self.current.is_some() && !life.is_over {
                meter.record_more(due_ns, "backlogged", 1);
            }
            self.end_segment(lines, meter);
            meter.record_drop(due_ns, 1);
            return None;
        };
        scratch.clear();
        if frame.is_key {
            self.mux.write_tables(scratch);
        }
        let pts = self.base_pts.wrapping_add(clip.rate.ticks(number));
        self.mux
            .write_frame(pts, &frame.unit, frame.is_key, scratch);
        let size = format!("{:x}\r\n", scratch.len());
        let begun_ns = clock::now_ns();
        match lines.send(token, &[size.as_bytes(), scratch, b"\r\n"]) {
            Ok(()) => {
                meter.record_send(due_ns, begun_ns, 1);
                if meter.timetable().is_measured(due_ns) {
                    meter.counts().bytes_sent += scratch.len() as u64;
                }
                Some(clock::now_ns())
            }
            Err(class) => {
                self.current = None;
                meter.record_error(class);
                meter.record_drop(due_ns, 1);
                None
            }
        }
    }

    /// There are no more frames: ends what was begun.
    pub(super) fn end(&mut self, lines: &mut Lines, meter: &mut Meter) {
        self.end_segment(lines, meter);
    }

    /// A POST was answered. `false`: its connection is of no further use.
    pub(super) fn handle_head(
        &mut self,
        token: Token,
        head: &Head,
        life: &mut Life,
        meter: &mut Meter,
    ) -> bool {
        let is_early = self.forget(token);
        match head.status {
            _ if life.is_ending || life.is_over => {}
            404 => life.end(meter),
            200 if head.is_closed => life.end(meter),
            // Part of a segment was not wanted, or the next one not at all.
            200 if is_early => meter.record_error("early-answer"),
            200 => {}
            status => meter.record_error(format!("status-{status}")),
        }
        !is_early
    }

    /// A POST came to nothing.
    pub(super) fn handle_broken(
        &mut self,
        token: Token,
        broken: Broken,
        life: &Life,
        hands: &mut Hands<'_>,
    ) {
        let was_ahead = self.ahead == Some(token);
        self.forget(token);
        if life.is_ending || life.is_over {
            return;
        }
        if broken.is_stale && was_ahead {
            self.seq -= 1;
            self.open_ahead(hands.lines, hands.meter);
        } else {
            hands.meter.record_error(broken.class);
        }
    }

    fn begin_segment(&mut self, lines: &mut Lines, meter: &mut Meter) {
        self.end_segment(lines, meter);
        if self.ahead.is_none() {
            self.open_ahead(lines, meter);
        }
        self.current = self.ahead.take();
        self.open_ahead(lines, meter);
    }

    fn end_segment(&mut self, lines: &mut Lines, meter: &mut Meter) {
        if let Some(token) = self.current.take()
            && let Err(class) = lines.send(token, &[b"0\r\n\r\n"])
        {
            meter.record_error(class);
        }
    }

    fn open_ahead(&mut self, lines: &mut Lines, meter: &mut Meter) {
        let line = format!("POST {}/{}", self.path, self.seq);
        self.seq += 1;
        match lines.request((self.session, Kind::Post), &line, FIELDS) {
            Ok(token) => self.ahead = Some(token),
            Err(class) => meter.record_error(class),
        }
    }

    /// Whether the request was still to be written to.
    fn forget(&mut self, token: Token) -> bool {
        let mut is_ours = false;
        for place in [&mut self.current, &mut self.ahead] {
            if *place == Some(token) {
                (*place, is_ours) = (None, true);
            }
        }
        is_ours
    }
}

const FIELDS: &str = "Content-Type: video/mp2t\r\nTransfer-Encoding: chunked\r\n";
/// What may wait for a server that does not read: some seconds of good video.
const BACKLOG_BYTES_MAX: usize = 8 << 20;
