//! One session on its lane: its codecs, its place on its own clock, and what waits for its turn.
//!
//! A frame is *late* when it comes up for processing more than [`LATE`] after it was due, due being the later of its arrival and
//! its place on the stream's own clock. A late frame is given up after decoding (its successors need it) if newer ones wait.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gpu::{Backend, Codec, Decode, Decoded, Encode, Step, Unavailable};
use handoff::ring::Sender;

use super::admission::{Pace, Seat};
use super::beat::Beat;
use super::end::{End, guarded};
use super::stats::Board;
use super::{Outcome, Output, Stamps, Unit};

/// How late a frame may be and still be worth encoding.
pub(super) const LATE: Duration = Duration::from_millis(500);
/// A key frame at least this often, so that output segments stay about this long.
const KEY_INTERVAL_TICKS: i64 = 2 * 90_000;
/// And not more often than this, however many key frames the input has.
const KEY_SPACING_TICKS: i64 = 90_000;
/// Frames whose stamps are remembered while their decoder holds them back.
const HELD_MAX: usize = 64;

/// What a session has been sent.
pub(super) enum Task {
    Unit(Unit),
    Step(Step),
    Flush,
}

/// What is done for a session in one turn.
pub(super) enum Turn {
    Unit(Unit),
    /// Bring out what the decoder holds back, and say so.
    Flush,
    /// Bring it out, because the next unit needs another decoder.
    Change,
}

pub(super) struct Session<S> {
    pub(super) results: Sender<Outcome>,
    pub(super) seat: Arc<Seat>,
    pub(super) step: Step,
    /// Where its pictures are processed to, once there is one that is.
    pub(super) output: Option<S>,
    inbox: VecDeque<Task>,
    beat: Beat,
    /// Made at the first unit, which says what for.
    decoder: Option<(Codec, Box<dyn Decode<S>>)>,
    /// `None` where the output is [`Output::Dropped`].
    encoder: Option<Box<dyn Encode<S>>>,
    collected: Vec<Decoded<S>>,
    /// Decoded pictures whose turn has not come.
    pictures: VecDeque<Decoded<S>>,
    /// Frames inside the decoder, by PTS.
    held: BTreeMap<i64, Held>,
    /// When the first frame arrived, and its PTS: the stream's own clock.
    anchor: Option<(Instant, i64)>,
    key_pts: Option<i64>,
    pts_last: Option<i64>,
    pace: Pace,
    /// Whether a picture was decoded: then all that it needs of the device has been made, or is made in this batch.
    pub(super) has_shown: bool,
}

#[derive(Clone, Copy)]
struct Held {
    stamps: Stamps,
    key: bool,
}

/// A picture on its way through a batch.
pub(super) struct Picture<S> {
    pub(super) decoded: Decoded<S>,
    pub(super) stamps: Stamps,
    /// Whether its unit was a key frame.
    pub(super) key: bool,
    /// Whether the encoder has it.
    pub(super) submitted: bool,
}

impl<S> Picture<S> {
    pub(super) const fn pixels(&self) -> u64 {
        (self.decoded.width * self.decoded.height) as u64
    }
}

// === what is sent, and turns ===

impl<S: 'static> Session<S> {
    pub(super) fn new<B: Backend<Surface = S>>(
        backend: &B,
        board: &Board,
        step: Step,
        output: Output,
        results: Sender<Outcome>,
        seat: Arc<Seat>,
    ) -> Result<Self, (End, Sender<Outcome>)> {
        let config = gpu::encode::Config {
            key_interval: 0,
            ..Default::default()
        };
        let encoder = match output {
            Output::Dropped => None,
            Output::Encoded => {
                let made = guarded(board, || backend.encoder(Codec::H264, config))
                    .and_then(|made| made.map_err(End::from));
                match made {
                    Ok(encoder) => Some(encoder),
                    Err(end) => return Err((end, results)),
                }
            }
        };
        Ok(Self {
            results,
            seat,
            step,
            output: None,
            inbox: VecDeque::new(),
            beat: Beat::default(),
            decoder: None,
            encoder,
            collected: Vec::new(),
            pictures: VecDeque::new(),
            held: BTreeMap::new(),
            anchor: None,
            key_pts: None,
            pts_last: None,
            pace: Pace::new(),
            has_shown: false,
        })
    }

    /// Queues a task. True when the session had none, so that its turn is to be queued.
    pub(super) fn queue(&mut self, task: Task) -> bool {
        let first = self.inbox.is_empty();
        if let Task::Unit(unit) = &task {
            self.beat.note(unit.stamps.queued);
        }
        match (self.inbox.back_mut(), task) {
            // However often it is asked for another step, the last one counts.
            (Some(Task::Step(before)), Task::Step(step)) => *before = step,
            (_, task) => self.inbox.push_back(task),
        }
        first
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.inbox.is_empty()
    }

    pub(super) fn has_unit(&self) -> bool {
        self.inbox.iter().any(|task| matches!(task, Task::Unit(_)))
    }

    /// Whether a unit is likely to arrive before `until`.
    pub(super) fn is_due(&self, now: Instant, until: Instant) -> bool {
        self.inbox.is_empty() && self.beat.is_due(now, until)
    }

    /// What this turn is for; `None` if only the step changed.
    pub(super) fn take_turn(&mut self) -> Option<Turn> {
        loop {
            match self.inbox.pop_front()? {
                Task::Step(step) => self.step = step,
                Task::Flush => return Some(Turn::Flush),
                Task::Unit(unit) => {
                    if self
                        .decoder
                        .as_ref()
                        .is_some_and(|(codec, _)| *codec != unit.codec)
                    {
                        self.inbox.push_front(Task::Unit(unit));
                        return Some(Turn::Change);
                    }
                    return Some(Turn::Unit(unit));
                }
            }
        }
    }

    /// Queues a result. A shard that does not take a thousand results is gone or stuck: what does not fit is lost with the session.
    pub(super) fn push(&self, outcome: Outcome) {
        let _ = self.results.push(outcome);
    }
}

// === decoding ===

impl<S: 'static> Session<S> {
    /// Hands a unit to the decoder, which is made if it is the first.
    pub(super) fn submit<B: Backend<Surface = S>>(
        &mut self,
        unit: Unit,
        taken: Instant,
        backend: &B,
        board: &Board,
    ) -> Result<(), End> {
        let stamps = Stamps {
            taken,
            ..unit.stamps
        };
        let decoder = match &mut self.decoder {
            Some((_, decoder)) => decoder,
            none => {
                let made = new_decoder(unit.codec, backend, board)?;
                &mut none.insert((unit.codec, made)).1
            }
        };
        self.anchor.get_or_insert((stamps.read, unit.pts));
        self.held.insert(
            unit.pts,
            Held {
                stamps,
                key: unit.key,
            },
        );
        if self.held.len() > HELD_MAX {
            self.held.pop_first();
        }
        let outcome = guarded(board, || {
            decoder.submit(gpu::Unit {
                data: &unit.data,
                pts: unit.pts,
            })
        });
        self.push(Outcome::Spent(unit.data));
        outcome?.or_else(|error| self.damaged(error, unit.pts))
    }

    /// Takes what has been decoded. `pts` is of the unit that was submitted.
    pub(super) fn collect(&mut self, pts: i64, board: &Board) -> Result<(), End> {
        let Some((_, decoder)) = &mut self.decoder else {
            return Ok(());
        };
        let outcome = guarded(board, || decoder.collect(&mut self.collected))?;
        self.pictures.extend(self.collected.drain(..));
        outcome.or_else(|error| self.damaged(error, pts))
    }

    /// Takes what the decoder holds back.
    pub(super) fn flush(&mut self, board: &Board) -> Result<(), End> {
        let Some((_, decoder)) = &mut self.decoder else {
            return Ok(());
        };
        let outcome = guarded(board, || decoder.flush(&mut self.collected))?;
        self.pictures.extend(self.collected.drain(..));
        outcome.map_err(|error| match error {
            gpu::decode::Error::Device(fault) => fault.into(),
            error => End::BadInput(error.to_string()),
        })
    }

    /// Gives the decoder up; the next unit says what the next one is for.
    pub(super) fn drop_decoder(&mut self, board: &Board) -> Result<(), End> {
        let decoder = self.decoder.take();
        self.held.clear();
        guarded(board, || drop(decoder))
    }

    /// Pixels of the pictures whose turn has not come.
    pub(super) fn waiting_pixels(&self) -> u64 {
        let pixels = |picture: &Decoded<S>| (picture.width * picture.height) as u64;
        self.pictures.iter().map(pixels).sum()
    }

    fn damaged(&mut self, error: gpu::decode::Error, pts: i64) -> Result<(), End> {
        match error {
            gpu::decode::Error::Device(fault) => Err(fault.into()),
            error if error.is_fatal() => Err(End::BadInput(error.to_string())),
            error => {
                self.held.remove(&pts);
                self.push(Outcome::Damaged(error));
                Ok(())
            }
        }
    }

    /// The next decoded picture that is worth more work. Late ones are given up on the way, if newer ones wait.
    pub(super) fn next_picture(
        &mut self,
        decoded_at: Instant,
        newer_waits: bool,
        board: &Board,
    ) -> Result<Option<Picture<S>>, End> {
        while let Some(decoded) = self.pictures.pop_front() {
            self.has_shown = true;
            let pixels = (decoded.width * decoded.height) as u64;
            if let Some(pixels_per_s) = self.pace.note(decoded_at, pixels) {
                self.seat.measured(pixels_per_s);
            }
            let Some(Held { stamps, key }) = self.held.remove(&decoded.pts) else {
                self.recycle(decoded.surface, board)?;
                continue;
            };
            if newer_waits && self.is_late(&stamps, decoded.pts) {
                self.recycle(decoded.surface, board)?;
                self.push(Outcome::Dropped);
                board.shed();
                continue;
            }
            return Ok(Some(Picture {
                decoded,
                stamps: Stamps {
                    decoded: decoded_at,
                    processed: decoded_at,
                    ..stamps
                },
                key,
                submitted: false,
            }));
        }
        Ok(None)
    }

    pub(super) fn recycle(&mut self, surface: S, board: &Board) -> Result<(), End> {
        match &mut self.decoder {
            Some((_, decoder)) => guarded(board, || decoder.recycle(surface)),
            None => Ok(()),
        }
    }

    fn is_late(&self, stamps: &Stamps, pts: i64) -> bool {
        let due = self.anchor.map_or(stamps.read, |(at, first)| {
            let media = Duration::from_micros(
                u64::try_from(pts.saturating_sub(first))
                    .unwrap_or(0)
                    .saturating_mul(100)
                    / 9,
            );
            stamps
                .read
                .max(at.checked_add(media).unwrap_or(stamps.read))
        });
        stamps.taken.saturating_duration_since(due) > LATE
    }
}

fn new_decoder<B: Backend>(
    codec: Codec,
    backend: &B,
    board: &Board,
) -> Result<Box<dyn Decode<B::Surface>>, End> {
    let config = gpu::decode::Config::default();
    guarded(board, || backend.decoder(codec, config))?.map_err(|why| match why {
        Unavailable::Codec { .. } => End::BadInput(format!(
            "{} video: this device decodes {} only",
            codec.name(),
            board.decodes_names().join(", ")
        )),
        why => why.into(),
    })
}

// === encoding ===

impl<S: 'static> Session<S> {
    /// Hands a picture to the encoder: the processed one if there is a step, else the decoded one.
    pub(super) fn submit_picture(
        &mut self,
        picture: &mut Picture<S>,
        board: &Board,
    ) -> Result<(), End> {
        let pts = picture.decoded.pts;
        if self.pts_last.is_some_and(|last| pts <= last) {
            // Time went back: a new epoch of the stream. The encoder's clock must rise, so it begins anew.
            self.key_pts = None;
        }
        self.pts_last = Some(pts);
        let since_key = self.key_pts.map(|key| pts.saturating_sub(key));
        let force_key = since_key.is_none_or(|ticks| {
            ticks >= KEY_INTERVAL_TICKS || (picture.key && ticks >= KEY_SPACING_TICKS)
        });
        let surface = match &self.output {
            Some(output) if !self.step.is_passthrough() => output,
            _ => &picture.decoded.surface,
        };
        let Some(encoder) = &mut self.encoder else {
            picture.submitted = true;
            return Ok(());
        };
        match guarded(board, || encoder.submit(surface, pts, force_key))? {
            Ok(()) => picture.submitted = true,
            Err(error) => self.not_encoded(error)?,
        }
        Ok(())
    }

    /// Takes the encoded picture and sends it on its way.
    pub(super) fn collect_picture(
        &mut self,
        picture: Picture<S>,
        board: &Board,
    ) -> Result<(), End> {
        if picture.submitted {
            let mut data = Vec::new();
            let collected = match &mut self.encoder {
                Some(encoder) => guarded(board, || encoder.collect(&mut data))?,
                None => Ok(gpu::Encoded {
                    key: picture.key,
                    bytes: 0,
                }),
            };
            match collected {
                Ok(encoded) => {
                    let pts = picture.decoded.pts;
                    if encoded.key {
                        self.key_pts = Some(pts);
                    }
                    board.frame();
                    self.push(Outcome::Frame {
                        data,
                        pts,
                        key: encoded.key,
                        stamps: Stamps {
                            encoded: Instant::now(),
                            ..picture.stamps
                        },
                    });
                }
                Err(error) => self.not_encoded(error)?,
            }
        }
        self.recycle(picture.decoded.surface, board)
    }

    fn not_encoded(&self, error: gpu::encode::Error) -> Result<(), End> {
        match error {
            gpu::encode::Error::Size { .. } => Err(End::BadInput(error.to_string())),
            gpu::encode::Error::Device(fault) => Err(fault.into()),
            _ => {
                self.push(Outcome::Dropped);
                Ok(())
            }
        }
    }
}
