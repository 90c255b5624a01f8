//! What a program is made of: tracks, and the codecs that a PMT announces (13818-1 table 2-34 and 2.6.8).
//!
//! A track keeps its stream type and descriptors as they came, so the muxer can announce a codec that this crate cannot name.

use alloc::{vec, vec::Vec};

use crate::clock::Ticks;

/// How a track is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// H.264 byte stream; stream type 0x1b.
    H264,
    /// H.265 byte stream; stream type 0x24, or private with the registration `HEVC`.
    Hevc,
    /// AAC in ADTS frames; stream type 0x0f.
    AacAdts,
    /// Opus, control headers left in place; private with the registration `Opus`.
    Opus,
    /// MPEG audio of any layer; stream types 0x03 and 0x04.
    Mp3,
    /// AC-3; stream type 0x81, or private with the registration `AC-3` or descriptor 0x6a.
    Ac3,
    /// Something else, by its stream type. It passes through.
    Other(u8),
}

impl Codec {
    /// The codec that a PMT entry announces. Descriptors may be hostile; what does not parse is not read.
    pub fn detect(stream_type: u8, descriptors: &[u8]) -> Codec {
        match stream_type {
            STREAM_TYPE_H264 => Codec::H264,
            STREAM_TYPE_HEVC => Codec::Hevc,
            STREAM_TYPE_ADTS => Codec::AacAdts,
            0x03 | 0x04 => Codec::Mp3,
            0x81 => Codec::Ac3,
            STREAM_TYPE_PRIVATE => Descriptors(descriptors)
                .find_map(|(tag, body)| match (tag, body.get(..4)) {
                    (TAG_REGISTRATION, Some(b"Opus")) => Some(Codec::Opus),
                    (TAG_REGISTRATION, Some(b"AC-3")) => Some(Codec::Ac3),
                    (TAG_REGISTRATION, Some(b"HEVC")) => Some(Codec::Hevc),
                    (TAG_AC3, _) => Some(Codec::Ac3),
                    _ => None,
                })
                .unwrap_or(Codec::Other(stream_type)),
            _ => Codec::Other(stream_type),
        }
    }

    /// Whether the track carries pictures.
    pub const fn is_video(self) -> bool {
        match self {
            Codec::H264 | Codec::Hevc => true,
            // MPEG-1, MPEG-2, MPEG-4 part 2, SVC, MVC, JPEG 2000, AVS, VVC, EVC; Dirac and VC-1 by custom.
            Codec::Other(stream_type) => {
                matches!(
                    stream_type,
                    0x01 | 0x02 | 0x10 | 0x1f..=0x21 | 0x33 | 0x35 | 0x42 | 0xd1 | 0xd2 | 0xea
                )
            }
            _ => false,
        }
    }

    /// Whether the track carries sound.
    pub const fn is_audio(self) -> bool {
        match self {
            Codec::AacAdts | Codec::Opus | Codec::Mp3 | Codec::Ac3 => true,
            // AAC in LATM, raw AAC, and the ATSC family.
            Codec::Other(stream_type) => matches!(stream_type, 0x11 | 0x1c | 0x82..=0x85 | 0x87),
            _ => false,
        }
    }
}

/// One elementary stream of a program, as a PMT announces it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Track {
    /// Its packet identifier, 0x10 to 0x1ffe.
    pub pid: u16,
    /// `stream_type` as announced.
    pub stream_type: u8,
    /// What `stream_type` and `descriptors` mean together.
    pub codec: Codec,
    /// The ES info loop as announced: tag, length, body, again and again. The language is in here.
    pub descriptors: Vec<u8>,
}

impl Track {
    /// A track as a PMT would announce it.
    pub fn new(pid: u16, stream_type: u8, descriptors: Vec<u8>) -> Track {
        Track {
            pid,
            stream_type,
            codec: Codec::detect(stream_type, &descriptors),
            descriptors,
        }
    }

    /// An H.264 track.
    pub fn h264(pid: u16) -> Track {
        Track::new(pid, STREAM_TYPE_H264, Vec::new())
    }

    /// An AAC track in ADTS frames.
    pub fn aac(pid: u16) -> Track {
        Track::new(pid, STREAM_TYPE_ADTS, Vec::new())
    }

    /// An Opus track of one or two channels; its units must carry the control header of Opus in TS.
    pub fn opus(pid: u16, channels: u8) -> Track {
        let mut descriptors = vec![TAG_REGISTRATION, 4];
        descriptors.extend_from_slice(b"Opus");
        descriptors.extend_from_slice(&[TAG_EXTENSION, 2, 0x80, channels]);
        Track::new(pid, STREAM_TYPE_PRIVATE, descriptors)
    }

    /// The ISO 639 code of the track, if it has one (13818-1 2.6.18).
    pub fn language(&self) -> Option<[u8; 3]> {
        Descriptors(&self.descriptors)
            .find(|(tag, _)| *tag == TAG_LANGUAGE)
            .and_then(|(_, body)| body.first_chunk::<3>().copied())
    }
}

/// The tracks of one program, and its clock.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Program {
    /// `program_number` of the PAT.
    pub number: u16,
    /// `version_number` of the PMT, 0 to 31.
    pub version: u8,
    /// The PID that carries the clock; 0x1fff for none.
    pub pcr_pid: u16,
    /// In the order of the PMT.
    pub tracks: Vec<Track>,
}

impl Program {
    /// The first track of pictures.
    pub fn video(&self) -> Option<&Track> {
        self.tracks.iter().find(|track| track.codec.is_video())
    }

    /// The first track of sound.
    pub fn audio(&self) -> Option<&Track> {
        self.tracks.iter().find(|track| track.codec.is_audio())
    }
}

/// `samples` at `rate_hz` as a duration, to the nearest tick; zero when there is no rate.
pub const fn duration_of(samples: u32, rate_hz: u32) -> Ticks {
    if rate_hz == 0 {
        return Ticks::ZERO;
    }
    Ticks((samples as i64 * Ticks::HZ + rate_hz as i64 / 2) / rate_hz as i64)
}

/// Walks a descriptor loop and stops at what does not fit.
struct Descriptors<'a>(&'a [u8]);

impl<'a> Iterator for Descriptors<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[tag, length], rest) = self.0.split_first_chunk::<2>()?;
        let body = rest.get(..usize::from(length))?;
        self.0 = &rest[usize::from(length)..];
        Some((tag, body))
    }
}

pub(crate) const STREAM_TYPE_PRIVATE: u8 = 0x06;
pub(crate) const STREAM_TYPE_ADTS: u8 = 0x0f;
pub(crate) const STREAM_TYPE_H264: u8 = 0x1b;
pub(crate) const STREAM_TYPE_HEVC: u8 = 0x24;
const TAG_REGISTRATION: u8 = 0x05;
const TAG_LANGUAGE: u8 = 0x0a;
const TAG_AC3: u8 = 0x6a;
const TAG_EXTENSION: u8 = 0x7f;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_name_private_streams() {
        assert_eq!(Track::opus(0x101, 1).codec, Codec::Opus);
        assert_eq!(Codec::detect(6, b"\x0a\x04eng\0\x05\x04HEVC"), Codec::Hevc);
        assert_eq!(Codec::detect(6, b"\x6a\x01\0"), Codec::Ac3);
        assert_eq!(
            Codec::detect(6, b"\x05\x04Opu"),
            Codec::Other(6),
            "a cut descriptor is not read"
        );
        assert_eq!(Codec::detect(6, b"\x05\xff"), Codec::Other(6));
        assert_eq!(Codec::detect(0x15, b""), Codec::Other(0x15));
    }

    #[test]
    fn language_is_in_the_descriptors() {
        assert_eq!(
            Track::new(0x101, 0x0f, b"\x0a\x04deu\0".to_vec()).language(),
            Some(*b"deu")
        );
        assert_eq!(Track::aac(0x101).language(), None);
    }

    #[test]
    fn durations_round_to_the_nearest_tick() {
        assert_eq!(duration_of(1024, 48_000), Ticks(1920));
        assert_eq!(duration_of(1024, 44_100), Ticks(2090));
        assert_eq!(duration_of(1024, 0), Ticks::ZERO);
    }
}
