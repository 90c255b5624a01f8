//! Packets of one track become units: one unit for each PES packet (13818-1 2.4.3.6).
//!
//! ```text
//!        a start           header whole
//! Start ─────────▶ Header ──────────────▶ Body ──┬── its length is reached ──────┬──▶ Next
//!   ▲                                      ▲     └── a stuffed packet, if trusted ┘      │
//!   │                                      └────────── more came after the end ─────────┤
//!   └── the next start, or flush; packets lost, unit too large, header bad ◀─────────────┘
//! ```
//!
//! Invariants:
//! - The data of a unit is a true prefix of what was sent: after a loss nothing is appended. Such a unit says `damaged`.
//! - What comes after an end that turned out to be none is a unit with `continuation`, and that way of finding an end is not
//!   used on this track again.

use alloc::vec::Vec;
use core::mem;

use super::{
    continuity::{Continuity, Step},
    demux::Unit,
    outbox::Outbox,
    packet::Packet,
    pes::{Header, Read},
    tail::{Stuffing, Tail},
};
use crate::{clock::Ticks, codec::Track, h26x};

#[derive(Debug, Clone)]
pub(super) struct Assembler {
    pub(super) track: Track,
    awaits: Await,
    continuity: Continuity,
    tail: Tail,
    /// Whether `PES_packet_length` was true so far.
    is_length_trusted: bool,
    /// The unit in progress; its PES header while that is awaited.
    buffer: Vec<u8>,
    head: Head,
    stuffing: Stuffing,
    /// What the next unit is to say.
    owed: Marks,
}

/// What the track waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Await {
    Start,
    Header,
    Body { missing_bytes: Option<usize> },
    Next { ended_by: EndedBy },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndedBy {
    Length,
    Stuffing,
}

#[derive(Debug, Clone, Copy, Default)]
struct Marks {
    discontinuity: bool,
    random_access: bool,
}

/// What a unit in progress already knows of itself.
#[derive(Debug, Clone, Copy, Default)]
struct Head {
    pts: Option<Ticks>,
    dts: Option<Ticks>,
    marks: Marks,
    is_continuation: bool,
}

impl Assembler {
    pub(super) fn new(track: Track) -> Assembler {
        Assembler {
            track,
            awaits: Await::Start,
            continuity: Continuity::default(),
            tail: Tail::new(),
            is_length_trusted: true,
            buffer: Vec::new(),
            head: Head::default(),
            stuffing: Stuffing::default(),
            owed: Marks::default(),
        }
    }

    /// Takes one packet of this track, neither damaged nor scrambled.
    pub(super) fn handle(&mut self, packet: &Packet<'_>, out: &mut Outbox) {
        let Some(payload) = packet.payload else {
            if packet.is_discontinuous {
                self.continuity.allow_jump();
            }
            self.take_marks(packet);
            return;
        };
        match self.continuity.step(packet, payload) {
            Step::Next => {}
            Step::Duplicate => {
                out.stats.duplicates += 1;
                return;
            }
            Step::Jump => {
                out.stats.discontinuities += 1;
                self.break_off(out);
            }
        }
        if packet.starts_unit {
            self.end(out);
            self.take_marks(packet);
            self.start(payload, packet.is_stuffed, out);
        } else {
            self.take_marks(packet);
            self.go_on(payload, packet.is_stuffed, out);
        }
    }

    /// Completes what is pending, and takes what follows as a new stream with the same habits.
    pub(super) fn flush(&mut self, out: &mut Outbox) {
        self.end(out);
        self.continuity.forget();
    }

    /// Completes what is pending and gives the buffer back: the track is no more.
    pub(super) fn retire(mut self, out: &mut Outbox) {
        self.end(out);
    }

    fn take_marks(&mut self, packet: &Packet<'_>) {
        self.owed.discontinuity |= packet.is_discontinuous;
        self.owed.random_access |= packet.is_random_access;
    }

    fn start(&mut self, payload: &[u8], is_stuffed: bool, out: &mut Outbox) {
        self.stuffing = Stuffing::default();
        self.buffer = out.buffer();
        match Header::read(payload) {
            Read::Whole(header) => self.open(header, &payload[header.bytes..], is_stuffed, out),
            Read::Cut => {
                self.stuffing.see(is_stuffed);
                self.awaits = Await::Header;
                self.store(payload, out);
            }
            Read::Bad => {
                out.stats.damaged += 1;
                self.give_up(out);
            }
        }
    }

    fn go_on(&mut self, payload: &[u8], is_stuffed: bool, out: &mut Outbox) {
        match self.awaits {
            Await::Start => {}
            Await::Header => {
                if !self.store(payload, out) {
                    return;
                }
                match Header::read(&self.buffer) {
                    Read::Whole(header) => {
                        let fresh = out.buffer();
                        let start = mem::replace(&mut self.buffer, fresh);
                        out.release(start.len());
                        self.open(header, &start[header.bytes..], is_stuffed, out);
                        out.recycle(start);
                    }
                    Read::Cut => self.stuffing.see(is_stuffed),
                    Read::Bad => {
                        out.stats.damaged += 1;
                        self.give_up(out);
                    }
                }
            }
            Await::Body { missing_bytes } => self.append(missing_bytes, payload, is_stuffed, out),
            Await::Next { ended_by } => self.surplus(ended_by, payload, is_stuffed, out),
        }
    }

    /// The header is whole: a unit begins with `body`.
    fn open(&mut self, header: Header, body: &[u8], is_stuffed: bool, out: &mut Outbox) {
        if header.is_opaque {
            self.give_up(out);
            return;
        }
        // The next timestamp is measured from the DTS; a PTS may lie far from its neighbours.
        let dts = header.dts.map(|wire| out.clock.follow(wire));
        let pts = header.pts.map(|wire| {
            if dts.is_some() {
                out.clock.near(wire)
            } else {
                out.clock.follow(wire)
            }
        });
        self.head = Head {
            pts,
            dts,
            marks: mem::take(&mut self.owed),
            is_continuation: false,
        };
        let missing_bytes = header.payload_bytes.filter(|_| self.is_length_trusted);
        self.append(missing_bytes, body, is_stuffed, out);
    }

    fn append(
        &mut self,
        missing_bytes: Option<usize>,
        bytes: &[u8],
        is_stuffed: bool,
        out: &mut Outbox,
    ) {
        self.stuffing.see(is_stuffed);
        let wanted = missing_bytes.map_or(bytes.len(), |missing| missing.min(bytes.len()));
        let (wanted, surplus) = bytes.split_at(wanted);
        if !self.store(wanted, out) {
            return;
        }
        let missing_bytes = missing_bytes.map(|missing| missing - wanted.len());
        self.awaits = Await::Body { missing_bytes };
        if missing_bytes == Some(0) {
            self.tail.learn(self.stuffing);
            self.deliver(Delivery::Measured, out);
            self.awaits = Await::Next {
                ended_by: EndedBy::Length,
            };
            self.surplus(EndedBy::Length, surplus, is_stuffed, out);
        } else if missing_bytes.is_none() && is_stuffed && self.tail.is_trusted() {
            self.deliver(Delivery::Early, out);
            self.awaits = Await::Next {
                ended_by: EndedBy::Stuffing,
            };
        }
    }

    /// Bytes after an end. Fill bytes are no breach: some senders fill with payload what they should stuff.
    fn surplus(&mut self, ended_by: EndedBy, bytes: &[u8], is_stuffed: bool, out: &mut Outbox) {
        if bytes.iter().all(|&byte| byte == 0xff) {
            return;
        }
        out.stats.late_tails += 1;
        match ended_by {
            EndedBy::Length => self.is_length_trusted = false,
            EndedBy::Stuffing => self.tail.distrust(),
        }
        self.head.is_continuation = true;
        self.head.marks = Marks::default();
        self.buffer = out.buffer();
        self.append(None, bytes, is_stuffed, out);
    }

    /// The next unit starts, or the stream ends: what is pending is complete, unless its length says otherwise.
    fn end(&mut self, out: &mut Outbox) {
        match self.awaits {
            Await::Body {
                missing_bytes: None,
            } => {
                if !self.head.is_continuation {
                    self.tail.learn(self.stuffing);
                }
                self.deliver(Delivery::Whole, out);
            }
            Await::Body {
                missing_bytes: Some(_),
            } => self.deliver(Delivery::Damaged, out),
            Await::Header => {
                out.stats.damaged += 1;
                self.give_up(out);
            }
            Await::Start | Await::Next { .. } => {}
        }
        self.awaits = Await::Start;
    }

    /// Packets were lost: what is pending ends here, and the rest of it is not ours to guess.
    fn break_off(&mut self, out: &mut Outbox) {
        match self.awaits {
            Await::Body { .. } => self.deliver(Delivery::Damaged, out),
            Await::Header => self.give_up(out),
            Await::Start | Await::Next { .. } => {}
        }
        self.awaits = Await::Start;
        self.owed.discontinuity = true;
    }

    /// Drops the unit in progress.
    fn give_up(&mut self, out: &mut Outbox) {
        out.discard(mem::take(&mut self.buffer));
        self.awaits = Await::Start;
        self.owed.discontinuity = true;
    }

    /// Stores bytes, or drops the unit that they would make too large.
    fn store(&mut self, bytes: &[u8], out: &mut Outbox) -> bool {
        let stored = out.store(&mut self.buffer, bytes);
        if !stored {
            out.stats.oversize_units += 1;
            self.give_up(out);
        }
        stored
    }

    fn deliver(&mut self, delivery: Delivery, out: &mut Outbox) {
        let data = mem::take(&mut self.buffer);
        let codec = self.track.codec;
        let is_whole_sound = codec.is_audio() && !self.head.is_continuation;
        let delivered = out.deliver(Unit {
            pid: self.track.pid,
            codec,
            pts: self.head.pts,
            dts: self.head.dts,
            random_access: self.head.marks.random_access
                || is_whole_sound
                || h26x::is_random_access(codec, &data),
            discontinuity: self.head.marks.discontinuity,
            damaged: delivery == Delivery::Damaged,
            continuation: self.head.is_continuation,
            early: delivery == Delivery::Early,
            at_its_end: matches!(delivery, Delivery::Early | Delivery::Measured),
            data,
        });
        self.owed.discontinuity |= !delivered;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    /// Ended by what came after it.
    Whole,
    /// Ended by its stated length.
    Measured,
    /// Ended by stuffing.
    Early,
    Damaged,
}
