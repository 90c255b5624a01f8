//! Units become a transport stream, a frame at a time.
//!
//! ```text
//! tables() at the start of a segment:   PAT | PMT
//! unit() for each frame:                47 pid cc | adaptation: PCR, random access | PES header | AUD | data...
//!                                       47 pid cc | data...
//!                                       47 pid cc | adaptation: stuffing | ...data
//! ```
//!
//! Invariants:
//! - Stuffing is in the last packet of a unit and in no other, and a length that can be stated is stated, so a receiver knows
//!   the end of a unit with its last packet.
//! - Continuity counters run on over segments; segments in a row are one stream.
//! - The PCR comes with the units of one track, `pcr_lead` before their decoding, and never runs backwards, except that a
//!   sender who starts over more than [`RESTART_BACK`] earlier is announced as a discontinuity.

use alloc::{vec, vec::Vec};

use super::{
    packet::{PID_NULL, PID_PAT},
    pes::{self, Written},
    psi::{self, PmtPlace},
    write::{Adaptation, write_header, write_section},
};
use crate::{
    clock::Ticks,
    codec::{Codec, Program},
    h26x,
    limits::{PACKET_BYTES, PACKET_PAYLOAD_BYTES_MAX, SECTION_BYTES_MAX},
};

pub use crate::codec::Track;

/// How a stream is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// `transport_stream_id` of the PAT.
    pub transport_stream_id: u16,
    /// `program_number` of the only program; not 0.
    pub program_number: u16,
    /// Where the PMT goes. If a track has this PID, the PMT moves to the next free one.
    pub pmt_pid: u16,
    /// How long before its decoding a unit is on its way, at most a second.
    pub pcr_lead: Ticks,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            transport_stream_id: 1,
            program_number: 1,
            pmt_pid: 0x1000,
            pcr_lead: Ticks::from_ms(100),
        }
    }
}

/// Why tracks cannot be announced, or a unit cannot be written. Always the caller's to put right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// No track may have this PID.
    BadPid(u16),
    /// Two tracks have this PID.
    PidTwice(u16),
    /// The program number is 0, which the PAT keeps for itself.
    BadProgramNumber,
    /// The tracks and their descriptors do not fit a PMT.
    TooManyTracks,
    /// There is no track with this index.
    NoSuchTrack(usize),
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Error::BadPid(pid) => write!(f, "PID {pid:#06x} is not for tracks"),
            Error::PidTwice(pid) => write!(f, "two tracks have PID {pid:#06x}"),
            Error::BadProgramNumber => f.write_str("program number 0 is not a program"),
            Error::TooManyTracks => f.write_str("the tracks do not fit a PMT"),
            Error::NoSuchTrack(track) => write!(f, "no track has index {track}"),
        }
    }
}

impl core::error::Error for Error {}

/// One unit to write.
#[derive(Debug, Clone, Copy)]
pub struct Unit<'a> {
    /// When it is to be presented. Without it the PES has no timestamps, no PCR and no delimiter: the rest of a unit.
    pub pts: Option<Ticks>,
    /// When it is to be decoded, where that differs.
    pub dts: Option<Ticks>,
    /// Whether a decoder may start here.
    pub random_access: bool,
    /// The payload, in pieces that follow one another.
    pub data: &'a [&'a [u8]],
}

/// The muxer of one program.
#[derive(Debug, Clone)]
pub struct Mux {
    config: Config,
    program: Program,
    lanes: Vec<Lane>,
    pat: Vec<u8>,
    pmt: Vec<u8>,
    place: PmtPlace,
    pat_continuity: u8,
    pmt_continuity: u8,
    last_pcr: Option<Ticks>,
}

/// What the muxer remembers of a track.
#[derive(Debug, Clone, Copy, Default)]
struct Lane {
    continuity: u8,
    /// The next packet is to say that its counter did not follow from anything.
    is_new: bool,
}

impl Mux {
    /// A muxer for `tracks`, in the order in which units will name them.
    ///
    /// # Errors
    /// When the tracks cannot be announced in one PMT.
    pub fn new(config: Config, tracks: &[Track]) -> Result<Mux, Error> {
        if config.program_number == 0 {
            return Err(Error::BadProgramNumber);
        }
        let mut mux = Mux {
            config: Config {
                pcr_lead: config.pcr_lead.clamp(Ticks::ZERO, Ticks(Ticks::HZ)),
                ..config
            },
            program: Program {
                number: config.program_number,
                version: 0,
                pcr_pid: PID_NULL,
                tracks: Vec::new(),
            },
            lanes: Vec::new(),
            pat: Vec::new(),
            pmt: Vec::new(),
            place: PmtPlace {
                program_number: config.program_number,
                pmt_pid: config.pmt_pid,
            },
            pat_continuity: 0,
            pmt_continuity: 0,
            last_pcr: None,
        };
        mux.announce(tracks, 0)?;
        mux.lanes = vec![Lane::default(); tracks.len()];
        Ok(mux)
    }

    /// Replaces the tracks and bumps the version of the PMT. Write [`tables`](Mux::tables) before the next unit.
    ///
    /// Tracks that keep their PID keep their continuity counter. Nothing changes when the tracks are the same.
    ///
    /// # Errors
    /// When the tracks cannot be announced; then the old ones stay.
    pub fn set_tracks(&mut self, tracks: &[Track]) -> Result<(), Error> {
        if tracks == self.program.tracks {
            return Ok(());
        }
        let old = core::mem::take(&mut self.program.tracks);
        if let Err(error) = self.announce(tracks, (self.program.version + 1) & 0x1f) {
            self.program.tracks = old;
            return Err(error);
        }
        let lane = |track: &Track| match old.iter().position(|old| old.pid == track.pid) {
            Some(index) => self.lanes[index],
            None => Lane {
                continuity: 0,
                is_new: true,
            },
        };
        self.lanes = tracks.iter().map(lane).collect();
        Ok(())
    }

    /// The tracks, in the order of their index.
    pub fn tracks(&self) -> &[Track] {
        &self.program.tracks
    }

    /// Appends the PAT and the PMT to `out`: the start of a segment.
    pub fn tables(&mut self, out: &mut Vec<u8>) {
        write_section(PID_PAT, &mut self.pat_continuity, &self.pat, out);
        write_section(self.place.pmt_pid, &mut self.pmt_continuity, &self.pmt, out);
    }

    /// Appends one unit of track `track` to `out`, as one PES packet.
    ///
    /// An H.264 or H.265 unit that does not open with an access unit delimiter gets one, as 13818-1 2.14 and 2.17 ask.
    ///
    /// # Errors
    /// [`Error::NoSuchTrack`]; then nothing is written.
    pub fn unit(&mut self, track: usize, unit: Unit<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        let (Some(lane), Some(Track { pid, codec, .. })) = (
            self.lanes.get(track).copied(),
            self.program.tracks.get(track),
        ) else {
            return Err(Error::NoSuchTrack(track));
        };
        let (pid, codec) = (*pid, *codec);
        let decode_time = unit.dts.or(unit.pts).filter(|_| unit.pts.is_some());
        let delimiter = if decode_time.is_some() {
            missing_delimiter(codec, unit.data)
        } else {
            &[]
        };
        let payload_bytes =
            unit.data.iter().map(|piece| piece.len()).sum::<usize>() + delimiter.len();
        let is_aligned = codec.is_video() && decode_time.is_some();
        let header = Written::new(
            stream_id(codec),
            unit.pts,
            unit.dts,
            is_aligned,
            payload_bytes,
        );

        let mut adaptation = Adaptation {
            is_random_access: unit.random_access,
            is_discontinuous: lane.is_new,
            pcr: None,
        };
        if let Some(decode_time) = decode_time.filter(|_| pid == self.program.pcr_pid) {
            let (pcr, is_restart) = self.pcr_at(decode_time);
            adaptation.pcr = Some(pcr);
            adaptation.is_discontinuous |= is_restart;
        }

        let bytes = header.as_bytes().len() + payload_bytes;
        out.reserve(
            (bytes + Adaptation::BYTES_MAX).div_ceil(PACKET_PAYLOAD_BYTES_MAX) * PACKET_BYTES,
        );
        let mut pieces = [header.as_bytes(), delimiter]
            .into_iter()
            .chain(unit.data.iter().copied());
        let mut piece: &[u8] = &[];
        let mut continuity = lane.continuity;
        let (mut left, mut is_first) = (bytes, true);
        while left > 0 {
            let adaptation = if is_first {
                adaptation
            } else {
                Adaptation::default()
            };
            let payload = left.min(PACKET_PAYLOAD_BYTES_MAX - adaptation.bytes());
            write_header(pid, is_first, adaptation, payload, &mut continuity, out);
            left -= payload;
            is_first = false;
            let mut room = payload;
            while room > 0 {
                if piece.is_empty() {
                    // There is one: the pieces hold as many bytes as were counted.
                    let Some(next) = pieces.next() else { break };
                    piece = next;
                }
                let (taken, rest) = piece.split_at(room.min(piece.len()));
                out.extend_from_slice(taken);
                piece = rest;
                room -= taken.len();
            }
        }
        self.lanes[track] = Lane {
            continuity,
            is_new: false,
        };
        Ok(())
    }

    /// Builds the tables of `tracks` and adopts them, or changes nothing but fails.
    fn announce(&mut self, tracks: &[Track], version: u8) -> Result<(), Error> {
        for (index, track) in tracks.iter().enumerate() {
            if !psi::is_free(track.pid) {
                return Err(Error::BadPid(track.pid));
            }
            if tracks[..index].iter().any(|other| other.pid == track.pid) {
                return Err(Error::PidTwice(track.pid));
            }
        }
        if psi::pmt_bytes(tracks) > SECTION_BYTES_MAX {
            return Err(Error::TooManyTracks);
        }
        let is_taken = |pid: u16| tracks.iter().any(|track| track.pid == pid);
        let mut pids = (self.place.pmt_pid..PID_NULL).chain(0..self.place.pmt_pid);
        // A PMT holds 200 tracks at most, so a PID is free.
        let pmt_pid = pids
            .find(|&pid| psi::is_free(pid) && !is_taken(pid))
            .ok_or(Error::TooManyTracks)?;
        let clock_track =
            |wanted: fn(Codec) -> bool| tracks.iter().find(|track| wanted(track.codec));
        let clock_track = clock_track(Codec::is_video)
            .or(clock_track(Codec::is_audio))
            .or(tracks.first());
        let pcr_pid = clock_track.map_or(PID_NULL, |track| track.pid);

        self.place.pmt_pid = pmt_pid;
        self.program = Program {
            number: self.config.program_number,
            version,
            pcr_pid,
            tracks: tracks.to_vec(),
        };
        self.pat = psi::write_pat(self.config.transport_stream_id, self.place);
        self.pmt = psi::write_pmt(&self.program);
        Ok(())
    }

    /// The clock for a unit decoded at `decode_time`, and whether it starts over there.
    fn pcr_at(&mut self, decode_time: Ticks) -> (Ticks, bool) {
        let wanted = decode_time - self.config.pcr_lead;
        let (pcr, is_restart) = match self.last_pcr {
            Some(last) if wanted + RESTART_BACK < last => (wanted, true),
            Some(last) => (wanted.max(last), false),
            None => (wanted, false),
        };
        self.last_pcr = Some(pcr);
        (pcr, is_restart)
    }
}

/// The delimiter that a unit lacks; empty when it has one or its codec has none.
fn missing_delimiter(codec: Codec, data: &[&[u8]]) -> &'static [u8] {
    let delimiter: &[u8] = match codec {
        // Any slice type; then the stop bit.
        Codec::H264 => &[0, 0, 0, 1, h26x::h264::AUD, 0xf0],
        Codec::Hevc => &[0, 0, 0, 1, h26x::hevc::AUD << 1, 1, 0x50],
        _ => return &[],
    };
    let mut head = [0; HEAD_BYTES];
    let mut held = 0;
    for piece in data {
        let taken = piece.len().min(HEAD_BYTES - held);
        head[held..held + taken].copy_from_slice(&piece[..taken]);
        held += taken;
    }
    if h26x::has_aud(codec, &head[..held]) {
        &[]
    } else {
        delimiter
    }
}

fn stream_id(codec: Codec) -> u8 {
    match codec {
        Codec::AacAdts | Codec::Mp3 => pes::STREAM_ID_AUDIO,
        Codec::Other(0x11 | 0x1c) => pes::STREAM_ID_AUDIO,
        _ if codec.is_video() => pes::STREAM_ID_VIDEO,
        _ => pes::STREAM_ID_PRIVATE,
    }
}

/// A decoding time that steps back by more than this is a sender that started over.
pub const RESTART_BACK: Ticks = Ticks::from_ms(1000);

/// Enough of a unit to see its first start code and NAL header.
const HEAD_BYTES: usize = 16;

#[cfg(test)]
mod tests;
