//! One live session's task.
//!
//! ```text
//!   Running ──input ended, idle, bad, or told to──▶ Draining ──lane flushed, or too slow──▶ (report, close, gone)
//! ```
//!
//! Each poll gathers orders, results and input, in that order, so that what is finished leaves before more is begun. Input is
//! left in its channel while the lane has enough to do; the channel's own window then decides what is lost.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use handoff::ring::Receiver;
use link::{EndCause, Report};
use media::{Demux, Event, Ticks};

use super::output::{Audio, Output};
use super::stats::{Stats, unix_ms};
use super::{Orders, close_channels};
use crate::lane::{Outcome, Place, Stamps, Unit};
use crate::limits::MESSAGE_BYTES;
use crate::shard::Shard;
use crate::shard::local::{Found, Pen, Tail};
use crate::shard::net;
use crate::shard::payload::Payload;

/// Units that may be on the lane at once.
const IN_FLIGHT_MAX: usize = 240;
/// Spans looked at in one poll.
const SPANS_MAX: usize = 64;
/// How often progress is reported.
const PROGRESS: Duration = Duration::from_secs(1);
/// How long input may come without a picture before it is called bad.
const BAD_INPUT: Duration = Duration::from_secs(10);
/// How long the last frame of a segment may wait for the next segment to show whether it is whole.
const SEGMENT_PAUSE: Duration = Duration::from_millis(200);
/// How long the lane may take to bring out what it holds.
const DRAIN: Duration = Duration::from_secs(5);

/// Starts the task.
pub(super) fn spawn(
    shard: Rc<Shard>,
    id: String,
    orders: Rc<Orders>,
    place: Place,
    results: Receiver<Outcome>,
) {
    net::spawn_task(async move {
        let mut session = Box::new(Session::new(shard.clone(), id, orders, place, results));
        let cause = poll_fn(|cx| session.poll_guarded(cx)).await;
        session.end(cause);
        shard.ring();
    });
}

struct Session {
    shard: Rc<Shard>,
    id: String,
    orders: Rc<Orders>,
    place: Place,
    results: Receiver<Outcome>,
    input: Tail,
    control: Tail,
    message: Vec<u8>,
    demux: Demux,
    /// The track that is processed.
    video: Option<Video>,
    output: Output,
    pen: Pen,
    stats: Stats,
    in_flight: usize,
    /// When the newest input was read, and what came before it.
    read_at: Instant,
    read_before: Instant,
    input_at: Instant,
    picture_at: Instant,
    /// Whether a segment has ended and the next has not begun.
    between_segments: bool,
    trouble: Option<String>,
    progress_at: Instant,
    draining: Option<(EndCause, Instant)>,
    flushed: bool,
}

#[derive(Clone, Copy)]
struct Video {
    pid: u16,
    codec: media::Codec,
    /// The same, as the device knows it.
    device_codec: gpu::Codec,
}

impl Session {
    fn new(
        shard: Rc<Shard>,
        id: String,
        orders: Rc<Orders>,
        place: Place,
        results: Receiver<Outcome>,
    ) -> Self {
        let now = Instant::now();
        let waiter = orders.waiter;
        Self {
            input: Tail::new(&id, 0, waiter),
            control: Tail::new(&format!("{id}-control"), 0, waiter),
            pen: Pen::new(&format!("{id}-out")),
            message: Vec::new(),
            demux: Demux::new(media::demux::Config::default()),
            video: None,
            output: Output::new(),
            stats: Stats::new(),
            in_flight: 0,
            read_at: now,
            read_before: now,
            input_at: now,
            picture_at: now,
            between_segments: false,
            trouble: None,
            progress_at: now + PROGRESS,
            draining: None,
            flushed: false,
            shard,
            id,
            orders,
            place,
            results,
        }
    }

    /// A panic in here must end this session and no other.
    fn poll_guarded(&mut self, cx: &mut Context<'_>) -> Poll<EndCause> {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.poll(cx)));
        outcome.unwrap_or_else(|_| {
            self.shard.counters.add(|c| &mut c.panics, 1);
            Poll::Ready(EndCause::Failed("the session panicked".to_owned()))
        })
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<EndCause> {
        let shard = self.shard.clone();
        shard.sleepers.take_woken(self.orders.waiter);
        self.take_orders();
        loop {
            if let Err(cause) = self.take_results() {
                return Poll::Ready(cause);
            }
            if self.results.poll_wait(cx).is_pending() {
                break;
            }
            if self.results.is_abandoned() && self.draining.is_none() {
                return Poll::Ready(EndCause::Failed("the lane has ended".to_owned()));
            }
            if self.results.is_abandoned() {
                break;
            }
        }
        let more = if self.draining.is_none() {
            self.take_control();
            self.take_input()
        } else {
            false
        };
        shard.ring();
        let now = Instant::now();
        if let Some(cause) = self.look_at_clock(now) {
            return Poll::Ready(cause);
        }
        if more {
            cx.waker().wake_by_ref();
        }
        let deadline = shard.now().plus(
            u64::try_from(self.progress_at.saturating_duration_since(now).as_millis()).unwrap_or(0)
                + 1,
        );
        shard
            .sleepers
            .sleep(self.orders.waiter, cx.waker(), Some(deadline));
        Poll::Pending
    }

    fn report(&self, report: Report) {
        self.shard.control.report(report);
    }

    fn take_orders(&mut self) {
        let step = self.orders.step.borrow_mut().take();
        if let Some(step) = step
            && !self.place.set_step(step.clone())
        {
            self.orders.step.replace(Some(step));
        }
        let close = self.orders.close.borrow_mut().take();
        if let Some(cause) = close {
            self.begin_drain(cause);
        }
    }

    fn begin_drain(&mut self, cause: EndCause) {
        if self.draining.is_none() {
            self.demux.flush();
            self.take_events();
            self.draining = Some((cause, Instant::now() + DRAIN));
            self.flushed = !self.place.flush();
        }
    }

    // === results ===

    fn take_results(&mut self) -> Result<(), EndCause> {
        while let Some(outcome) = self.results.pop() {
            match outcome {
                Outcome::Spent(buffer) => {
                    self.in_flight = self.in_flight.saturating_sub(1);
                    self.demux.recycle(buffer);
                }
                Outcome::Frame {
                    data,
                    pts,
                    key,
                    stamps,
                } => self.publish(&data, Ticks(pts), key, &stamps),
                Outcome::Dropped => self.stats.totals.frames_dropped += 1,
                Outcome::Damaged(error) => {
                    self.stats.totals.decode_errors += 1;
                    self.trouble(error.to_string());
                }
                Outcome::Flushed => self.flushed = true,
                Outcome::BadInput(why) => return Err(EndCause::BadInput(why)),
                Outcome::Failed(why) => return Err(EndCause::Failed(why)),
            }
        }
        Ok(())
    }

    fn publish(&mut self, data: &[u8], pts: Ticks, key: bool, stamps: &Stamps) {
        let taken_back = Instant::now();
        let written = self
            .output
            .video(&self.shard, &mut self.pen, stamps.program, pts, key, data);
        self.shard.ring();
        if !written {
            self.stats.totals.frames_dropped += 1;
            return;
        }
        if self.stats.totals.frames_out == 0 {
            self.report(Report::FirstOutput {
                manifest_id: self.id.clone(),
            });
        }
        self.picture_at = Instant::now();
        self.stats.frame(stamps, taken_back, self.picture_at);
        self.stats.totals.bytes_out = self.output.bytes();
    }

    fn trouble(&mut self, message: String) {
        if self.trouble.as_ref() != Some(&message) {
            self.report(Report::Trouble {
                manifest_id: self.id.clone(),
                message: message.clone(),
            });
            self.trouble = Some(message);
        }
    }

    // === input ===

    fn take_control(&mut self) {
        loop {
            match self.control.poll(&self.shard) {
                Found::Span(payload) => {
                    if self.message.len() + payload.span.len() <= MESSAGE_BYTES {
                        self.message.extend_from_slice(&payload.span);
                    }
                }
                Found::SegmentEnd if !self.message.is_empty() => {
                    let bytes = std::mem::take(&mut self.message);
                    self.report(Report::ControlMessage {
                        manifest_id: self.id.clone(),
                        bytes,
                    });
                }
                Found::SegmentEnd => {}
                Found::Gap => self.message.clear(),
                // Without a control channel a session goes on as it is.
                Found::Nothing | Found::Closed => return,
            }
        }
    }

    /// True when there may be more.
    fn take_input(&mut self) -> bool {
        for _ in 0..SPANS_MAX {
            if self.in_flight >= IN_FLIGHT_MAX {
                return false; // the lane will ring
            }
            match self.input.poll(&self.shard) {
                Found::Span(payload) => self.take_span(&payload),
                Found::SegmentEnd => self.between_segments = true,
                Found::Gap => {
                    self.demux.flush();
                    self.take_events();
                    self.trouble("input segments were lost".to_owned());
                }
                Found::Nothing => return false,
                Found::Closed => {
                    self.begin_drain(EndCause::InputEnded);
                    return false;
                }
            }
        }
        true
    }

    fn take_span(&mut self, payload: &Payload) {
        // A segment that does not begin with tables may go on where the one before was cut, even inside a packet.
        if std::mem::take(&mut self.between_segments) && begins_with_tables(&payload.span) {
            self.demux.flush();
            self.take_events();
        }
        self.read_before = self.read_at;
        self.read_at = self.shard.epoch() + Duration::from_micros(payload.read_at_us);
        self.input_at = Instant::now();
        if self.stats.totals.bytes_in == 0 {
            self.picture_at = self.input_at;
            self.read_before = self.read_at;
        }
        self.stats.totals.segments_in = self.input.begun();
        self.stats.totals.bytes_in += payload.span.len() as u64;
        self.stats.totals.last_input_ms = unix_ms();
        self.demux.push(&payload.span);
        self.take_events();
    }

    fn take_events(&mut self) {
        let mut queued = false;
        while let Some(event) = self.demux.poll() {
            match event {
                Event::Program(program) => self.take_program(&program),
                Event::Unit(unit) => {
                    if let Some(video) = self.video
                        && video.pid == unit.pid
                    {
                        queued |= self.take_video(unit, video);
                        continue;
                    }
                    self.stats.totals.audio_packets += 1;
                    let audio = Audio {
                        program: self.output.newest_program(),
                        pid: unit.pid,
                        pts: unit.pts,
                        data: unit.data,
                        at: self.input_at,
                    };
                    if let Some(buffer) = self.output.audio(&self.shard, &mut self.pen, audio) {
                        self.demux.recycle(buffer);
                    }
                }
            }
        }
        if queued {
            self.place.ring();
        }
        self.stats.totals.damaged_packets = self.demux.stats().damaged;
    }

    fn take_program(&mut self, program: &media::Program) {
        if let Some(track) = program.video() {
            let can = |codec: &gpu::Codec| self.place.decodes(*codec);
            match codec_of(track.codec).filter(can) {
                Some(device_codec) => {
                    self.video = Some(Video {
                        pid: track.pid,
                        codec: track.codec,
                        device_codec,
                    });
                }
                None => self.orders.end(
                    &self.shard,
                    EndCause::BadInput(format!(
                        "{:?} video is recognised, but there is no decoder for it here; send H.264",
                        track.codec
                    )),
                ),
            }
        }
        if let Err(error) = self.output.set_program(program) {
            self.trouble(format!("the program cannot be announced: {error}"));
        }
    }

    /// True when it was queued.
    fn take_video(&mut self, unit: media::Unit, video: Video) -> bool {
        if unit.continuation {
            // The tail of a unit that was taken for whole: its picture is gone already.
            self.demux.recycle(unit.data);
            return false;
        }
        let totals = &mut self.stats.totals;
        totals.frames_in += 1;
        if totals.frames_in == 1 {
            let description = describe(&unit, video.codec, self.output.has_audio());
            self.report(Report::FirstInput {
                manifest_id: self.id.clone(),
                description,
            });
        }
        let Some(pts) = unit.pts.or(unit.dts) else {
            self.stats.totals.decode_errors += 1;
            self.trouble("a video access unit has no time stamp".to_owned());
            self.demux.recycle(unit.data);
            return false;
        };
        // A unit given out at its end ended with the bytes at hand; any other ended with those before them.
        let read = if unit.at_its_end {
            self.read_at
        } else {
            self.read_before
        };
        let key = unit.random_access || media::h26x::is_random_access(video.codec, &unit.data);
        let unit = Unit {
            codec: video.device_codec,
            data: unit.data,
            pts: pts.0,
            key,
            stamps: Stamps::found(read, Instant::now(), self.output.newest_program()),
        };
        match self.place.push(unit) {
            Ok(()) => {
                self.in_flight += 1;
                true
            }
            Err(unit) => {
                self.stats.totals.frames_dropped += 1;
                self.demux.recycle(unit.data);
                self.trouble("the lane's ring is full".to_owned());
                true
            }
        }
    }

    // === time ===

    fn look_at_clock(&mut self, now: Instant) -> Option<EndCause> {
        if let Some((cause, deadline)) = &self.draining {
            return (self.flushed || now >= *deadline).then(|| cause.clone());
        }
        if now < self.progress_at {
            return None;
        }
        self.progress_at = now + PROGRESS;
        if let Some(why) = self.place.is_stuck() {
            return Some(EndCause::Failed(why));
        }
        let silent = now.saturating_duration_since(self.input_at);
        if self.between_segments && silent >= SEGMENT_PAUSE {
            self.between_segments = false;
            self.demux.flush();
            self.take_events();
        }
        self.output
            .release_stale_audio(&self.shard, &mut self.pen, now);
        self.report(Report::Progress {
            manifest_id: self.id.clone(),
            stats: self.stats.read(),
        });
        if silent >= self.shard.config.limits.session_idle {
            self.begin_drain(EndCause::InputIdle);
        } else if self.stats.totals.bytes_in > 0
            && silent < PROGRESS
            && now.saturating_duration_since(self.picture_at) >= BAD_INPUT
        {
            // It is not the input if nobody has looked at it.
            if let Some(why) = self.place.in_call(BAD_INPUT / 2) {
                return Some(EndCause::Failed(why));
            }
            let why = self
                .trouble
                .take()
                .unwrap_or_else(|| "no H.264 video in MPEG-TS was found".to_owned());
            self.begin_drain(EndCause::BadInput(format!(
                "no picture for {} s: {why}",
                BAD_INPUT.as_secs()
            )));
        }
        None
    }

    fn end(&mut self, cause: EndCause) {
        self.output.finish(&self.shard, &mut self.pen);
        self.stats.totals.bytes_out = self.output.bytes();
        close_channels(&self.shard, &self.id, &["", "-out", "-control"]);
        // Should the control plane forget to delete it, the sweep will.
        let (events, now) = (format!("{}-events", self.id), self.shard.now());
        self.shard.hub.borrow_mut().keep(&events, false, now);
        self.shard.sleepers.unregister(self.orders.waiter);
        self.shard.remove_session(&self.id);
        self.report(Report::SessionEnded {
            manifest_id: self.id.clone(),
            cause,
            stats: self.stats.read(),
        });
    }
}

/// Whether a segment's first packet carries tables, such as a PAT or an SDT (ISO/IEC 13818-1, table 2-3), from their start.
fn begins_with_tables(span: &[u8]) -> bool {
    matches!(span, [0x47, high, low, ..] if high & 0x5f == 0x40 && *low < 0x20)
}

/// The codec as the device knows it, if it is one that a device might know.
fn codec_of(codec: media::Codec) -> Option<gpu::Codec> {
    match codec {
        media::Codec::H264 => Some(gpu::Codec::H264),
        media::Codec::Hevc => Some(gpu::Codec::H265),
        _ => None,
    }
}

fn describe(unit: &media::Unit, codec: media::Codec, audio: bool) -> String {
    let (name, sps) = match codec {
        media::Codec::H264 => ("H.264", media::h26x::find_sps(&unit.data)),
        _ => ("H.265", None),
    };
    let size = sps.map_or_else(String::new, |sps| format!(" {}×{}", sps.width, sps.height));
    format!(
        "{name}{size}, {}",
        if audio { "with audio" } else { "no audio" }
    )
}
