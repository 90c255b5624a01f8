//! What is published: a clip, decoded, marked frame by frame, and encoded again.
//!
//! ```text
//!   .ts ─▶ Demux ─▶ openh264 ─▶ pictures in order of display ─▶ mark k ─▶ openh264 ─▶ frame k: one access unit
//!                                                                        key frame every `segment`
//! ```
//!
//! A clip that is to be neither marked nor paced otherwise, and has no reordered frames, is published as it is, bit for bit.
//!
//! Invariants:
//! - As many frames as the source has, in order of display, none reordered: decoding and display order are one.
//! - Frame 0 is a key frame, so that the clip can be played in a loop; every key frame has its parameter sets.
//! - Frames are evenly spaced, whatever the source's spacing was.

use std::fs;
use std::path::Path;

use openh264::OpenH264API;
use openh264::decoder::{DecodedYUV, Decoder, DecoderConfig, Flush};
use openh264::encoder::{
    BitRate, Complexity, Encoder, EncoderConfig, FrameRate, Profile, RateControlMode, UsageType,
};
use openh264::formats::YUVSource;

use super::draw;
use super::mark;
use super::ts::demux::{Demux, Unit};
use super::ts::{TICKS_PER_SECOND, is_key, nal_types, ticks_between};
use crate::clock::SECOND;
use crate::failure::Failure;

/// What is to become of a source.
#[derive(Debug, Clone, Copy)]
pub struct Making {
    /// Frames a second; the source's when `None`.
    pub fps: Option<f64>,
    /// Bits a second; the source's when `None`.
    pub bitrate_bps: Option<u64>,
    /// From one key frame to the next.
    pub segment_ns: u64,
    /// Whether frames are marked.
    pub is_marked: bool,
}

impl Making {
    /// Nothing is asked for that the source does not have: no mark, no other rate. Its segments are its groups of pictures then.
    fn leaves_alone(&self) -> bool {
        !self.is_marked && self.fps.is_none() && self.bitrate_bps.is_none()
    }
}

/// A clip that can be published.
#[derive(Debug, Clone)]
pub struct Clip {
    /// Where it is from.
    pub name: String,
    /// Samples of a line.
    pub width: usize,
    /// Lines.
    pub height: usize,
    /// Frames a second.
    pub rate: Rate,
    /// Where the mark is, when frames have one.
    pub layout: Option<mark::Layout>,
    /// At least one; the first is a key frame.
    pub frames: Vec<ClipFrame>,
}

/// One frame of it.
#[derive(Debug, Clone)]
pub struct ClipFrame {
    /// Whether a segment begins with it.
    pub is_key: bool,
    /// NAL units with start codes.
    pub unit: Vec<u8>,
}

/// Frames a second as a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    num: u64,
    den: u64,
}

impl Rate {
    /// `count` frames in `ticks` of 90 kHz; `None` unless there is from one frame a minute to 1,000 a second.
    pub fn of_ticks(count: u64, ticks: u64) -> Option<Self> {
        let rate = Self {
            num: count.checked_mul(TICKS_PER_SECOND)?,
            den: ticks,
        };
        let is_possible = count > 0 && rate.num <= 1_000 * rate.den && rate.den <= 60 * rate.num;
        is_possible.then_some(rate)
    }

    /// As people write it.
    pub fn of_fps(fps: f64) -> Option<Self> {
        if !(0.02..=1_000.0).contains(&fps) {
            return None;
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within the range above
        let ticks = (1_000.0 * 90_000.0 / fps).round() as u64;
        Self::of_ticks(1_000, ticks)
    }

    /// Frames a second.
    #[allow(clippy::cast_precision_loss)] // both are small
    pub fn fps(self) -> f64 {
        self.num as f64 / self.den as f64
    }

    /// From the first frame to number `frame`, in 90 kHz ticks.
    pub fn ticks(self, frame: u64) -> u64 {
        self.scale(frame, TICKS_PER_SECOND)
    }

    /// From the first frame to number `frame`.
    pub fn ns(self, frame: u64) -> u64 {
        self.scale(frame, SECOND)
    }

    /// The frame that is `ticks` after the first, when there is one to the tick or next to it.
    pub fn frame_at(self, ticks: u64) -> Option<u64> {
        let nearest = (u128::from(ticks) * u128::from(self.num)
            + u128::from(self.den) * u128::from(TICKS_PER_SECOND) / 2)
            / (u128::from(self.den) * u128::from(TICKS_PER_SECOND));
        let frame = u64::try_from(nearest).ok()?;
        (self.ticks(frame).abs_diff(ticks) <= TICKS_TOLERANCE).then_some(frame)
    }

    fn scale(self, frame: u64, per_second: u64) -> u64 {
        let scaled = u128::from(frame) * u128::from(self.den) * u128::from(per_second)
            / u128::from(self.num);
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }
}

impl Clip {
    /// The built-in clip, or a file; `progress` is told how it goes.
    ///
    /// # Errors
    /// It cannot be read, is not H.264 in MPEG-TS, or cannot be decoded, marked or encoded.
    pub fn load(
        path: Option<&Path>,
        making: Making,
        progress: &dyn Fn(&str),
    ) -> Result<Self, Failure> {
        let Some(path) = path else {
            return Self::make("built in", BUILT_IN, making, progress);
        };
        let name = path.display().to_string();
        let wrong = |why: &dyn std::fmt::Display| Failure::new(format!("{name}: {why}"));
        let bytes = fs::metadata(path).map_err(|error| wrong(&error))?.len();
        if bytes > FILE_BYTES_MAX {
            return Err(wrong(&"it is longer than 1 GiB; cut it"));
        }
        let bytes = fs::read(path).map_err(|error| wrong(&error))?;
        Self::make(&name, &bytes, making, progress)
    }

    /// Some seconds of a moving picture of this size, drawn and encoded here: at 30 frames a second, and as many bits as its
    /// pixels need, unless `making` says otherwise.
    ///
    /// # Errors
    /// There are no pictures of that size, or the encoder refuses them.
    pub fn draw(
        width: usize,
        height: usize,
        making: Making,
        progress: &dyn Fn(&str),
    ) -> Result<Self, Failure> {
        let sides = SIDE_MIN..=SIDE_MAX;
        let is_even = width.is_multiple_of(2) && height.is_multiple_of(2);
        if !(is_even && sides.contains(&width) && sides.contains(&height)) {
            return Err(Failure::new(format!(
                "{width}x{height}: both sides must be even, and {SIDE_MIN} to {SIDE_MAX}"
            )));
        }
        let fps = making.fps.unwrap_or(DRAWN_FPS);
        let rate = Rate::of_fps(fps)
            .ok_or_else(|| Failure::new(format!("{fps} frames a second cannot be")))?;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss
        )] // of a size and a rate within their bounds
        let (bitrate_bps, count) = (
            ((width * height) as f64 * rate.fps() * DRAWN_BITS_A_PIXEL) as u64,
            ((rate.fps() * DRAWN_SECONDS) as usize).clamp(1, FRAMES_MAX),
        );
        let mut maker = Maker {
            making,
            rate,
            bitrate_bps: making
                .bitrate_bps
                .unwrap_or(bitrate_bps.max(u64::from(BITRATE_BPS_MIN))),
            running: None,
            frames: Vec::new(),
        };
        for number in 0..count {
            if number % 100 == 0 {
                progress(&format!("drawing the clip: {number} of {count} frames"));
            }
            maker.add(width, height, |picture| {
                draw::paint(number, width, height, &mut picture.planes);
            })?;
        }
        Ok(Self {
            name: "drawn".to_owned(),
            width,
            height,
            rate,
            layout: maker.running.and_then(|running| running.layout),
            frames: maker.frames,
        })
    }

    /// From MPEG-TS.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn make(
        name: &str,
        bytes: &[u8],
        making: Making,
        progress: &dyn Fn(&str),
    ) -> Result<Self, Failure> {
        Self::try_make(name, bytes, making, progress)
            .map_err(|why| why.during(format_args!("the clip ({name})")))
    }

    fn try_make(
        name: &str,
        bytes: &[u8],
        making: Making,
        progress: &dyn Fn(&str),
    ) -> Result<Self, Failure> {
        let source = Source::read(bytes)?;
        let rate = match making.fps {
            Some(fps) => Rate::of_fps(fps)
                .ok_or_else(|| Failure::new(format!("{fps} frames a second cannot be")))?,
            None => source.rate,
        };
        let mut decoder = decoder()?;
        if making.leaves_alone() && source.is_in_order() {
            // Only to know its size; what cannot be decoded here can be published all the same.
            let (width, height) = size_of(&mut decoder, &source.units[0]).unwrap_or_default();
            return Ok(Self {
                name: name.to_owned(),
                width,
                height,
                rate,
                layout: None,
                frames: source.into_frames(),
            });
        }
        let mut maker = Maker {
            making,
            rate,
            bitrate_bps: making.bitrate_bps.unwrap_or(source.bitrate_bps(rate)),
            running: None,
            frames: Vec::new(),
        };
        let count = source.units.len();
        for (done, unit) in source.units.iter().enumerate() {
            if done % 100 == 0 {
                progress(&format!("preparing the clip: {done} of {count} frames"));
            }
            let picture = decoder.decode(&unit.bytes).map_err(undecodable)?;
            picture.map_or(Ok(()), |picture| maker.take(&picture))?;
        }
        for picture in decoder.flush_remaining().map_err(undecodable)? {
            maker.take(&picture)?;
        }
        if maker.frames.len() != count {
            return Err(Failure::new(format!(
                "{} of its {count} frames could be decoded; it must be progressive H.264 in 4:2:0, 8 bits; {REMEDY}",
                maker.frames.len()
            )));
        }
        let running = maker.running.ok_or_else(|| Failure::new(REMEDY))?;
        Ok(Self {
            name: name.to_owned(),
            width: running.picture.width,
            height: running.picture.height,
            rate,
            layout: running.layout,
            frames: maker.frames,
        })
    }
}

/// Decoder of whatever comes, without ever getting ahead of the order of display.
///
/// # Errors
/// The library cannot be initialised.
pub fn decoder() -> Result<Decoder, Failure> {
    let config = DecoderConfig::new().flush_after_decode(Flush::NoFlush);
    Decoder::with_api_config(OpenH264API::from_source(), config)
        .map_err(|error| Failure::new(format!("openh264: {error}")))
}

/// Width and height of a key frame, when it can be decoded.
fn size_of(decoder: &mut Decoder, unit: &Unit) -> Option<(usize, usize)> {
    if let Some(picture) = decoder.decode(&unit.bytes).ok()? {
        return Some(picture.dimensions());
    }
    let held_back = decoder.flush_remaining().ok()?;
    held_back.first().map(|picture| picture.dimensions())
}

/// A file's video.
struct Source {
    units: Vec<Unit>,
    rate: Rate,
}

impl Source {
    fn read(bytes: &[u8]) -> Result<Self, Failure> {
        let (mut demux, mut units) = (Demux::new(true), Vec::new());
        demux.handle_bytes(bytes, 0, |unit| units.push(unit));
        demux.end(|unit| units.push(unit));
        match units.iter().position(|unit| is_key(&unit.bytes)) {
            Some(first) => drop(units.drain(..first)),
            None => return Err(Failure::new(format!("it has no key frame; {REMEDY}"))),
        }
        if units.len() > FRAMES_MAX {
            return Err(Failure::new(format!(
                "it has {} frames, and a mark counts to {FRAMES_MAX}; cut it",
                units.len()
            )));
        }
        let first = units[0].pts;
        let offsets: Vec<i64> = units
            .iter()
            .filter_map(|unit| Some(ticks_between(first?, unit.pts?)))
            .collect();
        if offsets.len() != units.len() {
            return Err(Failure::new(format!(
                "not every frame has a time stamp; {REMEDY}"
            )));
        }
        let last = offsets.iter().copied().max().unwrap_or(0);
        let rate =
            Rate::of_ticks(units.len() as u64 - 1, last.unsigned_abs()).ok_or_else(|| {
                Failure::new(format!(
                    "{} frames in {last} ticks of 1/90,000 s; give the rate with --fps",
                    units.len()
                ))
            })?;
        Ok(Self { units, rate })
    }

    /// Whether its frames are coded in the order in which they are shown.
    fn is_in_order(&self) -> bool {
        self.units
            .is_sorted_by(|before, after| match (before.pts, after.pts) {
                (Some(before), Some(after)) => ticks_between(before, after) > 0,
                _ => false,
            })
    }

    fn into_frames(self) -> Vec<ClipFrame> {
        let frames = self.units.into_iter().map(|unit| ClipFrame {
            is_key: is_key(&unit.bytes),
            unit: unit.bytes,
        });
        frames.collect()
    }

    fn bitrate_bps(&self, rate: Rate) -> u64 {
        let bits: u64 = self
            .units
            .iter()
            .map(|unit| unit.bytes.len() as u64 * 8)
            .sum();
        bits * SECOND / rate.ns(self.units.len() as u64).max(1)
    }
}

/// Pictures in, frames out.
struct Maker {
    making: Making,
    rate: Rate,
    bitrate_bps: u64,
    running: Option<Running>,
    frames: Vec<ClipFrame>,
}

struct Running {
    encoder: Encoder,
    picture: Picture,
    layout: Option<mark::Layout>,
    segment_frames: usize,
}

impl Maker {
    fn take(&mut self, decoded: &DecodedYUV<'_>) -> Result<(), Failure> {
        let (width, height) = decoded.dimensions();
        self.add(width, height, |picture| picture.copy(decoded))
    }

    /// One more frame of this size, of which `fill` makes the picture.
    fn add(
        &mut self,
        width: usize,
        height: usize,
        fill: impl FnOnce(&mut Picture),
    ) -> Result<(), Failure> {
        let running = match &mut self.running {
            Some(running) => running,
            None => {
                let running = self.start(width, height)?;
                self.running.insert(running)
            }
        };
        if (running.picture.width, running.picture.height) != (width, height) {
            return Err(Failure::new("its pictures change their size"));
        }
        fill(&mut running.picture);
        let number = self.frames.len();
        if let Some(layout) = running.layout {
            running.picture.mark(layout, number);
        }
        if number.is_multiple_of(running.segment_frames) {
            running.encoder.force_intra_frame();
        }
        let unit = running
            .encoder
            .encode(&running.picture)
            .map_err(unencodable)?
            .to_vec();
        if nal_types(&unit).next().is_none() {
            return Err(Failure::new(format!(
                "openh264 skipped frame {number}; give more --bitrate"
            )));
        }
        self.frames.push(ClipFrame {
            is_key: is_key(&unit),
            unit,
        });
        Ok(())
    }

    fn start(&self, width: usize, height: usize) -> Result<Running, Failure> {
        let layout = if self.making.is_marked {
            Some(mark::Layout::new(width, height).ok_or_else(|| {
                Failure::new(format!(
                    "{width}×{height} is too small for a mark; use --mark pts"
                ))
            })?)
        } else {
            None
        };
        let bitrate = u32::try_from(self.bitrate_bps)
            .ok()
            .filter(|bps| (BITRATE_BPS_MIN..=BITRATE_BPS_MAX).contains(bps))
            .ok_or_else(|| {
                Failure::new(format!(
                    "{} bit/s cannot be; give --bitrate between {BITRATE_BPS_MIN} and {BITRATE_BPS_MAX}",
                    self.bitrate_bps
                ))
            })?;
        #[allow(clippy::cast_possible_truncation)] // at most 1,000
        let hz = self.rate.fps() as f32;
        let config = EncoderConfig::new()
            .usage_type(UsageType::CameraVideoRealTime)
            .profile(Profile::Baseline)
            .complexity(Complexity::Low)
            .num_threads(1)
            .skip_frames(false)
            .scene_change_detect(false)
            .background_detection(false)
            .rate_control_mode(RateControlMode::Bitrate)
            .bitrate(BitRate::from_bps(bitrate))
            .max_frame_rate(FrameRate::from_hz(hz));
        let encoder =
            Encoder::with_api_config(OpenH264API::from_source(), config).map_err(unencodable)?;
        let segment = u128::from(self.making.segment_ns) * u128::from(self.rate.num)
            / u128::from(self.rate.den)
            / u128::from(SECOND);
        Ok(Running {
            encoder,
            picture: Picture::new(width, height),
            layout,
            segment_frames: usize::try_from(segment).unwrap_or(usize::MAX).max(1),
        })
    }
}

/// A picture of our own, which can be written on.
struct Picture {
    width: usize,
    height: usize,
    planes: [Vec<u8>; 3],
}

impl Picture {
    fn new(width: usize, height: usize) -> Self {
        let chroma = vec![128; width / 2 * (height / 2)];
        Self {
            width,
            height,
            planes: [vec![0; width * height], chroma.clone(), chroma],
        }
    }

    fn copy(&mut self, from: &DecodedYUV<'_>) {
        let (luma, chroma, other) = from.strides();
        let width = self.width;
        let planes = [
            (from.y(), luma, width),
            (from.u(), chroma, width / 2),
            (from.v(), other, width / 2),
        ];
        for (ours, (theirs, stride, width)) in self.planes.iter_mut().zip(planes) {
            for (to, from) in ours.chunks_mut(width).zip(theirs.chunks(stride)) {
                to.copy_from_slice(&from[..width]);
            }
        }
    }

    /// The mark has no colour.
    fn mark(&mut self, layout: mark::Layout, number: usize) {
        let number = u16::try_from(number).unwrap_or(u16::MAX); // there are no more frames: FRAMES_MAX
        layout.write(number, &mut self.planes[0], self.width);
        let (columns, lines) = layout.size();
        for plane in &mut self.planes[1..] {
            for line in plane.chunks_mut(self.width / 2).take(lines / 2) {
                line[..columns / 2].fill(128);
            }
        }
    }
}

impl YUVSource for Picture {
    fn dimensions(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    fn strides(&self) -> (usize, usize, usize) {
        (self.width, self.width / 2, self.width / 2)
    }

    fn y(&self) -> &[u8] {
        &self.planes[0]
    }

    fn u(&self) -> &[u8] {
        &self.planes[1]
    }

    fn v(&self) -> &[u8] {
        &self.planes[2]
    }
}

#[allow(clippy::needless_pass_by_value)] // for `map_err`
fn undecodable(error: openh264::Error) -> Failure {
    Failure::new(format!("it cannot be decoded: {error}; {REMEDY}"))
}

#[allow(clippy::needless_pass_by_value)] // for `map_err`
fn unencodable(error: openh264::Error) -> Failure {
    Failure::new(format!("it cannot be encoded: {error}"))
}

/// 640×360 at 30 frames a second; how it was made stands beside it.
const BUILT_IN: &[u8] = include_bytes!("../../../control/node/assets/clip.ts");
const REMEDY: &str = "`ffmpeg -i FILE -an -c:v libx264 -pix_fmt yuv420p -bf 0 -f mpegts FILE.ts` makes one that will do";
const FILE_BYTES_MAX: u64 = 1 << 30;
/// As many as a mark tells apart.
const FRAMES_MAX: usize = 1 << 16;
const BITRATE_BPS_MIN: u32 = 10_000;
const BITRATE_BPS_MAX: u32 = 200_000_000;
/// What a drawn clip is like unless told otherwise: this long, so fast, and coded with so much.
const DRAWN_SECONDS: f64 = 4.0;
const DRAWN_FPS: f64 = 30.0;
/// 2.8 Mbit/s at 1280x720 and 30 frames a second, as cameras send it.
const DRAWN_BITS_A_PIXEL: f64 = 0.1;
const SIDE_MIN: usize = 64;
const SIDE_MAX: usize = 4_096;
/// Servers that work in another time base than 90 kHz round.
const TICKS_TOLERANCE: u64 = 2;

#[cfg(test)]
mod tests {
    use super::super::mark::Luma;
    use super::*;

    fn making() -> Making {
        Making {
            fps: None,
            bitrate_bps: None,
            segment_ns: SECOND,
            is_marked: true,
        }
    }

    #[test]
    fn a_clip_that_nothing_is_asked_of_stays_as_it_is() {
        let making = Making {
            fps: None,
            bitrate_bps: None,
            segment_ns: SECOND,
            is_marked: false,
        };
        let clip = Clip::make("built in", BUILT_IN, making, &|_| ()).unwrap();
        let source = Source::read(BUILT_IN).unwrap();
        assert_eq!(
            (clip.width, clip.height, clip.frames.len()),
            (640, 360, 300)
        );
        assert!(clip.frames[0].is_key && clip.layout.is_none());
        for (frame, unit) in clip.frames.iter().zip(&source.units) {
            assert!(frame.unit == unit.bytes);
        }
    }

    #[test]
    fn every_frame_of_the_built_in_clip_tells_its_number() {
        let clip = Clip::load(None, making(), &|_| {}).unwrap();
        assert_eq!(
            (clip.width, clip.height, clip.frames.len()),
            (640, 360, 300)
        );
        assert!((clip.rate.fps() - 30.0).abs() < 1e-9);
        let mut decoder = decoder().unwrap();
        let layout = clip.layout.unwrap();
        for (number, frame) in clip.frames.iter().enumerate() {
            assert_eq!(frame.is_key, number % 30 == 0);
            // No frame is held back: there is no reordering.
            let picture = decoder.decode(&frame.unit).unwrap().unwrap();
            let luma = Luma {
                samples: picture.y(),
                stride: picture.strides().0,
                width: 640,
                height: 360,
            };
            assert_eq!(layout.read(luma).map(usize::from), Some(number));
        }
        let bytes: usize = clip.frames.iter().map(|frame| frame.unit.len()).sum();
        let source = BUILT_IN.len();
        assert!(
            (source / 2..source * 2).contains(&bytes),
            "{bytes} bytes of {source}"
        );
    }

    #[test]
    fn a_drawn_clip_has_its_size_and_rate_and_decodes() {
        let making = Making {
            fps: Some(25.0),
            is_marked: false,
            ..making()
        };
        let clip = Clip::draw(320, 180, making, &|_| {}).unwrap();
        assert_eq!(
            (clip.width, clip.height, clip.frames.len()),
            (320, 180, 100)
        );
        let mut decoder = decoder().unwrap();
        for (number, frame) in clip.frames.iter().enumerate() {
            assert_eq!(frame.is_key, number % 25 == 0);
            let picture = decoder.decode(&frame.unit).unwrap().unwrap();
            assert_eq!(picture.dimensions(), (320, 180));
        }
        for (width, height) in [(0, 0), (321, 180), (8_000, 64), (usize::MAX - 1, 2)] {
            let error = Clip::draw(width, height, making, &|_| {}).unwrap_err();
            assert!(error.to_string().contains("64 to 4096"), "{error}");
        }
    }

    #[test]
    fn what_is_no_clip_is_refused_with_a_remedy() {
        for bytes in [&b""[..], b"not MPEG-TS at all", &BUILT_IN[..188 * 3]] {
            let error = Clip::make("x", bytes, making(), &|_| {})
                .unwrap_err()
                .to_string();
            assert!(error.contains("(x)") && error.contains("ffmpeg"), "{error}");
        }
        let error = Clip::load(Some(Path::new("/nonexistent.ts")), making(), &|_| {});
        assert!(error.unwrap_err().to_string().contains("/nonexistent.ts"));
    }

    #[test]
    fn frames_are_evenly_spaced_and_found_by_their_stamps() {
        for fps in [24.0, 23.976, 25.0, 29.97, 30.0, 60.0] {
            let rate = Rate::of_fps(fps).unwrap();
            assert!((rate.fps() - fps).abs() < 1e-4);
            for frame in (0..1_000_000).step_by(997) {
                let ticks = rate.ticks(frame);
                assert_eq!(rate.frame_at(ticks), Some(frame), "{fps}");
                assert_eq!(rate.frame_at(ticks + 2), Some(frame), "{fps}");
                assert_eq!(rate.frame_at(ticks + 700), None, "{fps}");
            }
        }
        assert_eq!(Rate::of_fps(0.0), None);
        assert_eq!(Rate::of_fps(f64::NAN), None);
        assert_eq!(Rate::of_ticks(1, 0), None);
    }
}
