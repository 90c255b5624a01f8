//! Clips, and what a stream holds.

use engine::offline::{self, FrameAt};
use media::{Demux, Event, Program};

/// Bytes of a transport packet (ISO/IEC 13818-1, 2.4.3.2).
pub(crate) const PACKET: usize = 188;

/// A clip, cut into frames.
#[derive(Clone)]
pub(crate) struct Clip {
    pub(crate) bytes: Vec<u8>,
    pub(crate) frames: Vec<FrameAt>,
}

macro_rules! fixture {
    ($name:literal) => {
        Clip::new(include_bytes!(concat!("../../media/tests/data/", $name)))
    };
}

impl Clip {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            frames: offline::index(bytes).frames,
        }
    }

    /// 640×360 at 30 fps, no B-frames, AAC, a key frame every 2 s; the first `seconds` of 10.
    pub(crate) fn mill(seconds: usize) -> Self {
        let whole = Self::new(include_bytes!("../../../control/node/assets/clip.ts"));
        whole.head(seconds * 30)
    }

    pub(crate) fn b_frames() -> Self {
        fixture!("bframes-aac.ts")
    }

    pub(crate) fn no_audio() -> Self {
        fixture!("no-audio.ts")
    }

    pub(crate) fn hevc() -> Self {
        fixture!("hevc.ts")
    }

    pub(crate) fn offset_26_hours() -> Self {
        fixture!("offset-26h.ts")
    }

    pub(crate) fn wrap() -> Self {
        fixture!("wrap.ts")
    }

    pub(crate) fn opus() -> Self {
        fixture!("opus.ts")
    }

    pub(crate) fn mp3() -> Self {
        fixture!("mp3.ts")
    }

    pub(crate) fn ac3() -> Self {
        fixture!("ac3.ts")
    }

    pub(crate) fn pmt_change() -> Self {
        fixture!("pmt-change.ts")
    }

    /// The first `frames` frames.
    pub(crate) fn head(self, frames: usize) -> Self {
        match self.frames.get(frames) {
            Some(next) => Self::new(&self.bytes[..next.offset]),
            None => self,
        }
    }

    /// The bytes of one frame, with the tables before it and the sound after it.
    pub(crate) fn frame(&self, n: usize) -> &[u8] {
        let begin = if n == 0 { 0 } else { self.frames[n].offset };
        let end = self
            .frames
            .get(n + 1)
            .map_or(self.bytes.len(), |next| next.offset);
        &self.bytes[begin..end]
    }

    /// Its segments, each beginning with a key frame, as the numbers of their frames.
    pub(crate) fn segments(&self) -> Vec<std::ops::Range<usize>> {
        let mut starts: Vec<usize> = (0..self.frames.len())
            .filter(|&n| n == 0 || self.frames[n].key)
            .collect();
        starts.push(self.frames.len());
        starts.windows(2).map(|pair| pair[0]..pair[1]).collect()
    }

    /// Its segments as bytes.
    pub(crate) fn segment_bytes(&self) -> Vec<Vec<u8>> {
        let bytes =
            |range: std::ops::Range<usize>| range.flat_map(|n| self.frame(n).to_vec()).collect();
        self.segments().into_iter().map(bytes).collect()
    }

    pub(crate) fn stream(&self) -> Stream {
        Stream::of([&self.bytes[..]])
    }
}

/// What a stream holds.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub(crate) video: Vec<Picture>,
    pub(crate) audio: Vec<Sound>,
    pub(crate) programs: Vec<Program>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) pts: i64,
    pub(crate) key: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sound {
    pub(crate) codec: media::Codec,
    pub(crate) pts: Option<i64>,
    pub(crate) data: Vec<u8>,
}

impl Stream {
    /// Reads segments that follow each other.
    pub(crate) fn of<'a>(segments: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut demux = Demux::new(media::demux::Config::default());
        let mut stream = Self::default();
        for segment in segments {
            demux.push(segment);
            demux.flush();
            while let Some(event) = demux.poll() {
                stream.take(event);
            }
        }
        stream
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Program(program) => self.programs.push(program),
            Event::Unit(unit) if unit.continuation => {}
            Event::Unit(unit) if unit.codec.is_video() => self.video.push(Picture {
                pts: unit.pts.or(unit.dts).expect("a time stamp").0,
                key: media::h26x::is_random_access(unit.codec, &unit.data),
            }),
            Event::Unit(unit) => self.audio.push(Sound {
                codec: unit.codec,
                pts: unit.pts.map(|pts| pts.0),
                data: unit.data,
            }),
        }
    }

    /// Presentation times in display order.
    pub(crate) fn pts(&self) -> Vec<i64> {
        let mut pts: Vec<i64> = self.video.iter().map(|picture| picture.pts).collect();
        pts.sort_unstable();
        pts
    }

    /// How far sound begins after the picture, in ticks.
    pub(crate) fn step(&self) -> Option<i64> {
        let sound = self.audio.iter().find_map(|sound| sound.pts)?;
        Some(sound - self.pts().first()?)
    }
}

/// The PID of a transport packet, and whether something begins in it.
pub(crate) fn pid(packet: &[u8]) -> (u16, bool) {
    assert_eq!(packet[0], 0x47, "a transport packet");
    let pid = u16::from(packet[1] & 0x1f) << 8 | u16::from(packet[2]);
    (pid, packet[1] & 0x40 != 0)
}
