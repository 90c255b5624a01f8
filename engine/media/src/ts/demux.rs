//! A transport stream becomes units: the first program of a stream, all its tracks, one clock.
//!
//! Push bytes as they come, then poll until `None`; at the end of a segment flush, then poll again.
//!
//! Invariants:
//! - Nothing fails. What cannot be used is counted in [`Stats`] and left behind; the stream goes on.
//! - A unit is given out as soon as its end is known: with its last packet when its length is stated or when the sender's
//!   stuffing has proved to mark the end, else with the start of the next one or with a flush.
//! - [`Event::Program`] comes before the first unit of a track, and after the last unit of a track that it takes away.
//! - What is held stays within [`Config`]; see [`limits`](crate::limits) for the sum.

use alloc::vec::Vec;

use super::{
    assemble::Assembler,
    outbox::Outbox,
    packet::{PID_NULL, PID_PAT, Packet},
    psi::{self, PmtPlace},
    sync::{RawPacket, Sync},
    table::Table,
};
use crate::{
    clock::Ticks,
    codec::{Codec, Program},
};

/// The bounds of one demuxer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Bytes of one unit. A larger one is dropped whole, and the next says `discontinuity`.
    pub unit_bytes_max: usize,
    /// Bytes of all units being assembled. A unit that would go over is dropped as if it were too large.
    pub pending_bytes_max: usize,
    /// Bytes of units that nobody polled. Past it the newest unit is dropped, and the next says `discontinuity`.
    pub queued_bytes_max: usize,
    /// Bytes of buffers kept for reuse. Past it a buffer is freed.
    pub spare_bytes_max: usize,
    /// Tracks of the program. More are not followed.
    pub tracks_max: usize,
}

impl Default for Config {
    fn default() -> Config {
        const MIB: usize = 1 << 20;
        Config {
            unit_bytes_max: 4 * MIB,
            pending_bytes_max: 8 * MIB,
            queued_bytes_max: 16 * MIB,
            spare_bytes_max: 8 * MIB,
            tracks_max: 16,
        }
    }
}

/// What came out of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Tracks appeared, changed or went away. This is all of them.
    Program(Program),
    /// A unit is complete.
    Unit(Unit),
}

/// The payload of one PES packet: usually one access unit of video, or some frames of audio.
///
/// A PES may legally hold several access units, or part of one; it is given out as it came.
/// [`h26x::split_access_units`](crate::h26x::split_access_units) finds the pictures in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The track it belongs to.
    pub pid: u16,
    /// The codec of that track.
    pub codec: Codec,
    /// When it is to be presented; `None` when the sender did not say.
    pub pts: Option<Ticks>,
    /// When it is to be decoded, where that differs from `pts`.
    pub dts: Option<Ticks>,
    /// Whether a decoder may start here: the sender said so, the first picture is IDR or IRAP, or it is audio.
    pub random_access: bool,
    /// Something of this track is missing just before this unit, or the sender announced a break.
    pub discontinuity: bool,
    /// The end of this unit is missing: `data` is a true prefix of it.
    pub damaged: bool,
    /// The rest of the unit before, which was given out too soon. Timestamps are of that unit.
    pub continuation: bool,
    /// Given out on the evidence of stuffing, before the next unit began.
    pub early: bool,
    /// Given out by its own last byte, on its stated length or on the evidence of stuffing, and not by what came after it.
    pub at_its_end: bool,
    /// The payload, byte for byte. Give it back with [`Demux::recycle`].
    pub data: Vec<u8>,
}

impl Unit {
    /// When it is to be decoded: `dts`, else `pts`.
    pub fn decode_time(&self) -> Option<Ticks> {
        self.dts.or(self.pts)
    }
}

/// What was seen since the demuxer was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Packets that were recognised, null packets included.
    pub packets: u64,
    /// Packets marked as damaged or with lengths that lie, and PES headers that are none or are cut.
    pub damaged: u64,
    /// Times that packets had to be searched for.
    pub resyncs: u64,
    /// Bytes that were in no packet.
    pub skipped_bytes: u64,
    /// Jumps of a continuity counter.
    pub discontinuities: u64,
    /// Packets that were sent twice.
    pub duplicates: u64,
    /// Sections that failed their CRC or do not fit.
    pub crc_errors: u64,
    /// Packets that were scrambled, and so skipped.
    pub scrambled: u64,
    /// Units given out.
    pub units: u64,
    /// Of those, how many on the evidence of stuffing.
    pub early_units: u64,
    /// Units dropped because they grew too large.
    pub oversize_units: u64,
    /// Units dropped because nobody polled.
    pub dropped_units: u64,
    /// Ends of a unit that turned out to be none.
    pub late_tails: u64,
}

/// The demuxer.
///
/// Change it with [`push`](Demux::push), [`flush`](Demux::flush) and [`recycle`](Demux::recycle); then drain it with
/// [`poll`](Demux::poll); look at it with [`program`](Demux::program), [`stats`](Demux::stats) and
/// [`buffered_bytes`](Demux::buffered_bytes).
#[derive(Debug, Clone)]
pub struct Demux {
    sync: Sync,
    core: Core,
}

impl Demux {
    /// A demuxer before the first byte.
    pub fn new(config: Config) -> Demux {
        Demux {
            sync: Sync::new(),
            core: Core::new(config),
        }
    }

    /// Takes the next bytes of the stream, cut anywhere.
    pub fn push(&mut self, bytes: &[u8]) {
        self.sync.push(bytes, |raw| self.core.handle(raw));
    }

    /// Ends a segment: completes every unit in progress and drops a packet that is cut. Tables, clocks and what was learned
    /// of the sender stay; continuity counters may start anew, since each segment may come from a muxer of its own.
    pub fn flush(&mut self) {
        self.sync.flush(|raw| self.core.handle(raw));
        self.core.flush();
    }

    /// The next event, or `None` when there is none before the next push.
    pub fn poll(&mut self) -> Option<Event> {
        self.core.out.poll()
    }

    /// Gives the buffer of a unit back, so that later units need no new one.
    pub fn recycle(&mut self, buffer: Vec<u8>) {
        self.core.out.recycle(buffer);
    }

    /// The program as it is now; `None` before its first PMT.
    pub fn program(&self) -> Option<&Program> {
        self.core.program.as_ref()
    }

    /// What was seen so far.
    pub fn stats(&self) -> Stats {
        Stats {
            resyncs: self.sync.losses,
            skipped_bytes: self.sync.skipped_bytes,
            ..self.core.out.stats
        }
    }

    /// Bytes held: of units in progress the payload, of everything else the capacity.
    pub fn buffered_bytes(&self) -> usize {
        self.sync.held_bytes() + self.core.out.held_bytes()
    }
}

/// Everything behind the search for packets.
#[derive(Debug, Clone)]
struct Core {
    out: Outbox,
    pat: Table,
    pmt: Table,
    place: Option<PmtPlace>,
    program: Option<Program>,
    tracks: Vec<Assembler>,
    /// Index of the track that had the last packet: usually it has the next one too.
    recent: usize,
}

impl Core {
    fn new(config: Config) -> Core {
        Core {
            out: Outbox::new(config),
            pat: Table::new(),
            pmt: Table::new(),
            place: None,
            program: None,
            tracks: Vec::new(),
            recent: 0,
        }
    }

    fn handle(&mut self, raw: &RawPacket) {
        self.out.stats.packets += 1;
        let packet = match Packet::parse(raw) {
            Some(packet) if packet.pid == PID_NULL => return,
            Some(packet) if !packet.is_damaged => packet,
            _ => {
                self.out.stats.damaged += 1;
                return;
            }
        };
        if packet.is_scrambled {
            self.out.stats.scrambled += 1;
        } else if packet.pid == PID_PAT {
            self.handle_pat(&packet);
        } else if let Some(place) = self.place.filter(|place| place.pmt_pid == packet.pid) {
            self.handle_pmt(&packet, place.program_number);
        } else if let Some(track) = self.track(packet.pid) {
            self.tracks[track].handle(&packet, &mut self.out);
        }
    }

    fn flush(&mut self) {
        self.pat.flush();
        self.pmt.flush();
        for track in &mut self.tracks {
            track.flush(&mut self.out);
        }
    }

    fn track(&mut self, pid: u16) -> Option<usize> {
        if self
            .tracks
            .get(self.recent)
            .is_none_or(|track| track.track.pid != pid)
        {
            self.recent = self
                .tracks
                .iter()
                .position(|track| track.track.pid == pid)?;
        }
        Some(self.recent)
    }

    fn handle_pat(&mut self, packet: &Packet<'_>) {
        let Core {
            pat, pmt, place, ..
        } = self;
        let counts = pat.handle(packet, |section| {
            let followed = place.map(|place| place.program_number);
            if let Some(found) =
                psi::parse_pat(section, followed).filter(|&found| *place != Some(found))
            {
                *place = Some(found);
                *pmt = Table::new();
            }
        });
        counts.add_to(&mut self.out.stats);
    }

    fn handle_pmt(&mut self, packet: &Packet<'_>, number: u16) {
        let Core {
            out,
            pmt,
            program,
            tracks,
            ..
        } = self;
        let counts = pmt.handle(packet, |section| {
            if let Some(new) = psi::parse_pmt(section, number, out.config.tracks_max) {
                change_program(program, tracks, new, out);
            }
        });
        counts.add_to(&mut self.out.stats);
    }
}

/// Tracks that stay as they were keep what they hold; the others end, or begin.
fn change_program(
    program: &mut Option<Program>,
    tracks: &mut Vec<Assembler>,
    new: Program,
    out: &mut Outbox,
) {
    let is_same = program.as_ref().is_some_and(|old| {
        (old.number, old.pcr_pid, &old.tracks) == (new.number, new.pcr_pid, &new.tracks)
    });
    if !is_same {
        let mut old = core::mem::take(tracks);
        for track in &new.tracks {
            let kept = old.iter().position(|assembler| assembler.track == *track);
            tracks.push(
                kept.map_or_else(|| Assembler::new(track.clone()), |index| old.remove(index)),
            );
        }
        for assembler in old {
            assembler.retire(out);
        }
        out.announce(new.clone());
    }
    *program = Some(new);
}
