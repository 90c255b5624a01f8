//! What is measured with: coded pictures with their times, from a file, drawn, or built in.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use gpu::{Backend, Codec, Cpu, Decoded, Frame};
use loadgen::live::clip::{Clip as Drawn, Making};
use media::{Demux, Event, demux, h26x};

use super::report::Trouble;

/// Ticks of 90 kHz from picture to picture at 30 a second.
pub const TICKS: i64 = 3000;
/// The most pictures of a file that are used.
pub const PICTURES_MAX: usize = 120;
/// The largest file.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// The drawing takes four seconds at this rate, which is thirty pictures. The bits a picture do not depend on it.
const DRAWN_FPS: f64 = 7.5;
const NS: u64 = 1_000_000_000;

const BUILT_IN_H265: &[u8] = include_bytes!("../../../engine/gpu/tests/data/main.h265");
const BUILT_IN_422: &[u8] = include_bytes!("../../../engine/gpu/tests/data/high422-slices.h264");

/// A stream, or the beginning of one, from its first key picture on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Clip {
    /// What tables call it.
    pub name: String,
    /// How it is compressed.
    pub codec: Codec,
    /// At least one; the first is a key picture.
    units: Arc<[Coded]>,
    /// From the first picture's time to that of the first when it comes again.
    span: i64,
}

/// One access unit.
#[derive(Debug, Clone)]
pub struct Coded {
    /// Annex B.
    pub data: Vec<u8>,
    /// When it is shown, in ticks of 90 kHz.
    pub pts: i64,
    /// Whether decoding can start here.
    pub key: bool,
}

impl Clip {
    fn new(name: String, codec: Codec, units: Vec<Coded>) -> Result<Self, Trouble> {
        let mut units: Vec<Coded> = units.into_iter().skip_while(|unit| !unit.key).collect();
        units.truncate(PICTURES_MAX);
        let first = units.iter().map(|unit| unit.pts).min();
        let last = units.iter().map(|unit| unit.pts).max();
        let (Some(first), Some(last)) = (first, last) else {
            return Err(Trouble::Failed(format!("{name}: it has no key picture")));
        };
        Ok(Self {
            name,
            codec,
            units: units.into(),
            span: last.saturating_sub(first).saturating_add(TICKS),
        })
    }

    /// Thirty pictures of a moving scene, drawn and encoded here by the CPU.
    ///
    /// # Errors
    /// When there are no pictures of that size.
    pub fn draw(width: usize, height: usize) -> Result<Self, Trouble> {
        let making = Making {
            fps: Some(DRAWN_FPS),
            bitrate_bps: None,
            segment_ns: 60 * NS,
            is_marked: false,
        };
        let drawn = Drawn::draw(width, height, making, &|_| {})
            .map_err(|why| Trouble::Failed(format!("no clip of {width}x{height}: {why}")))?;
        let timed = drawn.frames.into_iter().zip(0_i64..);
        let units = timed.map(|(frame, n)| Coded {
            data: frame.unit,
            pts: n * TICKS,
            key: frame.is_key,
        });
        Self::new(
            format!("drawn {width}x{height}"),
            Codec::H264,
            units.collect(),
        )
    }

    /// The video of an MPEG-TS file, its first [`PICTURES_MAX`] pictures.
    ///
    /// # Errors
    /// When it cannot be read, or has no H.264 or H.265.
    pub fn read(path: &Path) -> Result<Self, Trouble> {
        let name = path.display().to_string();
        let cannot = |why: &dyn std::fmt::Display| Trouble::Failed(format!("{name}: {why}"));
        let bytes = fs::metadata(path).map_err(|why| cannot(&why))?.len();
        if bytes > FILE_BYTES_MAX {
            return Err(cannot(&"it is longer than 256 MiB; cut it"));
        }
        let bytes = fs::read(path).map_err(|why| cannot(&why))?;
        Self::demuxed(&name, &bytes)
    }

    fn demuxed(name: &str, bytes: &[u8]) -> Result<Self, Trouble> {
        let mut demux = Demux::new(demux::Config::default());
        let mut video = None;
        let mut units = Vec::new();
        // Bit by bit: what nobody has polled is bounded.
        let mut chunks = bytes.chunks(64 << 10);
        loop {
            let chunk = chunks.next();
            match chunk {
                Some(chunk) => demux.push(chunk),
                None => demux.flush(),
            }
            while let Some(event) = demux.poll() {
                let Event::Unit(unit) = event else { continue };
                let codec = match unit.codec {
                    media::Codec::H264 => Codec::H264,
                    media::Codec::Hevc => Codec::H265,
                    _ => continue,
                };
                let &mut (pid, _) = video.get_or_insert((unit.pid, codec));
                if let (true, Some(pts)) = (pid == unit.pid, unit.pts.or(unit.dts)) {
                    units.push(Coded {
                        key: unit.random_access || h26x::is_random_access(unit.codec, &unit.data),
                        data: unit.data,
                        pts: pts.0,
                    });
                }
            }
            if chunk.is_none() || units.len() > 2 * PICTURES_MAX {
                break;
            }
        }
        match video {
            Some((_, codec)) => Self::new(name.to_owned(), codec, units),
            None => Err(Trouble::Failed(format!(
                "{name}: it has no H.264 or H.265 in MPEG-TS"
            ))),
        }
    }

    /// A small clip in H.265, 320x180.
    ///
    /// # Errors
    /// Never: a test reads it.
    pub fn h265() -> Result<Self, Trouble> {
        let name = "H.265 320x180, built in";
        Self::stream(name, Codec::H265, media::Codec::Hevc, BUILT_IN_H265)
    }

    /// A small clip of H.264 in 4:2:2, which most chips refuse, 320x180.
    ///
    /// # Errors
    /// Never: a test reads it.
    pub fn h264_422() -> Result<Self, Trouble> {
        let name = "H.264 4:2:2 320x180, built in";
        Self::stream(name, Codec::H264, media::Codec::H264, BUILT_IN_422)
    }

    /// A bare stream whose pictures are in the order of the screen.
    fn stream(name: &str, codec: Codec, of: media::Codec, bytes: &[u8]) -> Result<Self, Trouble> {
        let units = h26x::split_access_units(of, bytes).zip(0_i64..);
        let units = units.map(|(data, n)| Coded {
            data: data.to_vec(),
            pts: n * TICKS,
            key: h26x::is_random_access(of, data),
        });
        Self::new(name.to_owned(), codec, units.collect())
    }

    /// Its access units.
    pub fn units(&self) -> &[Coded] {
        &self.units
    }

    /// Unit number `n` of the clip in an endless loop, and its time.
    pub fn at(&self, n: usize) -> (&Coded, i64) {
        let (lap, place) = (n / self.units.len(), n % self.units.len());
        let unit = &self.units[place];
        let lap = i64::try_from(lap).unwrap_or(i64::MAX);
        (unit, unit.pts.saturating_add(lap.saturating_mul(self.span)))
    }

    /// Its first pictures as the CPU decodes them, in the order of the screen; why not, where the CPU does not read it.
    ///
    /// # Errors
    /// The decoder's own words.
    pub fn on_the_cpu(&self, count: usize) -> Result<Vec<Decoded<Frame>>, String> {
        let config = gpu::decode::Config::default();
        let mut decoder = Cpu
            .decoder(self.codec, config)
            .map_err(|why| why.to_string())?;
        let mut out = Vec::new();
        for unit in self.units.iter().take(count) {
            let unit = gpu::Unit {
                data: &unit.data,
                pts: unit.pts,
            };
            decoder
                .decode(unit, &mut out)
                .map_err(|why| why.to_string())?;
        }
        decoder.flush(&mut out).map_err(|why| why.to_string())?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::clip as demo;

    #[test]
    fn a_drawn_clip_goes_round_and_round() {
        let clip = Clip::draw(64, 64).unwrap();
        assert_eq!(clip.units().len(), 30);
        let keys = clip.units().iter().filter(|unit| unit.key).count();
        assert_eq!(keys, 1, "one lap is one group");
        assert_eq!(clip.at(0).1, 0);
        assert_eq!(clip.at(29).1 + TICKS, clip.at(30).1);
        assert!(clip.at(60).0.key);
        assert_eq!(clip.on_the_cpu(5).unwrap().len(), 5);
        assert!(Clip::draw(1, 2).is_err());
    }

    #[test]
    fn a_file_is_taken_apart() {
        let clip = Clip::demuxed("demo", demo::CLIP).unwrap();
        assert_eq!(clip.units().len(), PICTURES_MAX);
        assert_eq!(clip.codec, Codec::H264);
        assert!(clip.units()[0].key);
        let frames = clip.on_the_cpu(3).unwrap();
        assert_eq!((frames[0].width, frames[0].height), (640, 360));
        for broken in [&b""[..], &[0x47; 188 * 40], &demo::CLIP[..188 * 3]] {
            assert!(Clip::demuxed("broken", broken).is_err());
        }
        assert!(Clip::read(Path::new("/nowhere.ts")).is_err());
    }

    #[test]
    fn the_built_in_ones_are_whole() {
        let h265 = Clip::h265().unwrap();
        assert_eq!((h265.codec, h265.units().len()), (Codec::H265, 24));
        assert!(h265.on_the_cpu(1).is_err(), "the CPU reads no H.265");
        let wide = Clip::h264_422().unwrap();
        assert_eq!(wide.units().len(), 60);
        assert_eq!(wide.on_the_cpu(60).unwrap().len(), 60);
    }
}
