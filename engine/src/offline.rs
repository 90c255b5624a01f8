//! The engine's demuxer, decoder and filters without sockets or clocks: for players, pictures and checks.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use gpu::{Backend, Codec, Cpu, Decode, Process, Step};
use media::{Demux, Event};

pub use gpu::{Filter, Frame, Psnr, psnr};

/// Bytes of a transport packet (ISO/IEC 13818-1, 2.4.3.2).
pub const PACKET_BYTES: usize = 188;

/// One video frame's place in a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameAt {
    /// Where its first transport packet begins, or the tables right before it.
    pub offset: usize,
    /// Its presentation time, in 90 kHz ticks, unwrapped.
    pub pts: i64,
    /// Its decoding time.
    pub dts: i64,
    /// Whether decoding can start here.
    pub key: bool,
}

/// What a clip holds.
#[derive(Debug, Clone, Default)]
pub struct Index {
    /// Its video frames, in the order they are stored.
    pub frames: Vec<FrameAt>,
    /// Its audio packets, in the order they are stored.
    pub audio: Vec<AudioAt>,
}

/// One audio packet of a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioAt {
    /// Its presentation time, if it has one.
    pub pts: Option<i64>,
    /// Its length.
    pub bytes: usize,
    /// A hash of its payload, the same for the same bytes within one process.
    pub hash: u64,
}

impl Index {
    /// When the first picture is shown.
    pub fn video_start(&self) -> Option<i64> {
        self.frames.iter().map(|frame| frame.pts).min()
    }

    /// When the first sound is heard.
    pub fn audio_start(&self) -> Option<i64> {
        self.audio.iter().find_map(|packet| packet.pts)
    }
}

/// Finds the frames of an MPEG-TS clip.
pub fn index(clip: &[u8]) -> Index {
    let mut demux = Demux::new(media::demux::Config::default());
    let mut index = Index::default();
    let mut video_pid = None;
    let mut tables = None;
    let mut starts = Vec::new();
    let mut units = Vec::new();
    let mut take = |demux: &mut Demux, video_pid: &mut Option<u16>| {
        while let Some(event) = demux.poll() {
            match event {
                Event::Program(program) => *video_pid = program.video().map(|track| track.pid),
                Event::Unit(unit) if unit.continuation => {}
                Event::Unit(unit) if Some(unit.pid) == *video_pid => units.push(unit),
                Event::Unit(unit) => index.audio.push(AudioAt {
                    pts: unit.pts.map(|pts| pts.0),
                    bytes: unit.data.len(),
                    hash: BuildHasherDefault::<DefaultHasher>::default().hash_one(&unit.data),
                }),
            }
        }
    };
    for (n, packet) in clip.chunks(PACKET_BYTES).enumerate() {
        demux.push(packet);
        take(&mut demux, &mut video_pid);
        let [0x47, high, low, ..] = *packet else {
            continue;
        };
        let pid = u16::from(high & 0x1f) << 8 | u16::from(low);
        let is_media = demux
            .program()
            .is_some_and(|program| program.tracks.iter().any(|track| track.pid == pid));
        if !is_media {
            tables = tables.or(Some(n * PACKET_BYTES));
            continue;
        }
        if high & 0x40 != 0 && video_pid == Some(pid) {
            starts.push(tables.unwrap_or(n * PACKET_BYTES));
        }
        tables = None;
    }
    demux.flush();
    take(&mut demux, &mut video_pid);
    index.frames = starts
        .iter()
        .zip(&units)
        .filter_map(|(&offset, unit)| {
            let pts = unit.pts.or(unit.dts)?.0;
            let key =
                unit.random_access || media::h26x::is_random_access(media::Codec::H264, &unit.data);
            Some(FrameAt {
                offset,
                pts,
                dts: unit.dts.map_or(pts, |dts| dts.0),
                key,
            })
        })
        .collect();
    index
}

/// Decodes a clip and shows each picture with its presentation time, in display order. Returns how many units were damaged.
///
/// # Errors
/// When there is no decoder for it.
pub fn decode(clip: &[u8], mut show: impl FnMut(i64, &Frame)) -> Result<usize, String> {
    let mut decoder = Cpu
        .decoder(Codec::H264, gpu::decode::Config::default())
        .map_err(|error| error.to_string())?;
    let mut demux = Demux::new(media::demux::Config::default());
    let mut pictures = Vec::new();
    let mut damaged = 0;
    demux.push(clip);
    demux.flush();
    while let Some(event) = demux.poll() {
        let Event::Unit(unit) = event else { continue };
        if let (media::Codec::H264, Some(pts)) = (unit.codec, unit.pts.or(unit.dts)) {
            damaged += usize::from(
                decoder
                    .decode(
                        gpu::Unit {
                            data: &unit.data,
                            pts: pts.0,
                        },
                        &mut pictures,
                    )
                    .is_err(),
            );
            present(&mut *decoder, &mut pictures, &mut show);
        }
    }
    decoder
        .flush(&mut pictures)
        .map_err(|error| error.to_string())?;
    present(&mut *decoder, &mut pictures, &mut show);
    Ok(damaged)
}

fn present(
    decoder: &mut dyn Decode<Frame>,
    pictures: &mut Vec<gpu::Decoded<Frame>>,
    show: &mut impl FnMut(i64, &Frame),
) {
    for picture in pictures.drain(..) {
        show(picture.pts, &picture.surface);
        decoder.recycle(picture.surface);
    }
}

/// Runs one filter on one picture.
///
/// # Errors
/// When there is no processor.
pub fn filter(filter: Filter, input: &Frame) -> Result<Frame, String> {
    let mut processor: Box<dyn Process<Frame>> =
        Cpu.processor().map_err(|error| error.to_string())?;
    let mut output = Frame::default();
    processor
        .process_one(&Step::Filter(filter), input, &mut output)
        .map_err(|error| error.to_string())?;
    Ok(output)
}

/// Writes a clip anew with every time stamp moved by `ticks`, so that it can follow itself.
///
/// # Errors
/// When its tracks cannot be announced.
pub fn shifted(clip: &[u8], ticks: i64) -> Result<Vec<u8>, String> {
    let mut demux = Demux::new(media::demux::Config::default());
    let mut mux: Option<media::Mux> = None;
    let mut out = Vec::with_capacity(clip.len() + clip.len() / 16);
    let later = |time: Option<media::Ticks>| time.map(|time| media::Ticks(time.0 + ticks));
    let mut take = |demux: &mut Demux| -> Result<(), media::mux::Error> {
        while let Some(event) = demux.poll() {
            match (event, &mut mux) {
                (Event::Program(program), None) => {
                    mux = Some(media::Mux::new(
                        media::mux::Config::default(),
                        &program.tracks,
                    )?)
                }
                (Event::Program(program), Some(mux)) => mux.set_tracks(&program.tracks)?,
                (Event::Unit(_), None) => {}
                (Event::Unit(unit), Some(mux)) => {
                    let Some(track) = mux.tracks().iter().position(|track| track.pid == unit.pid)
                    else {
                        continue;
                    };
                    if unit.codec.is_video() && unit.random_access {
                        mux.tables(&mut out);
                    }
                    let (pts, dts) = (later(unit.pts), later(unit.dts));
                    let written = media::mux::Unit {
                        pts,
                        dts,
                        random_access: unit.random_access,
                        data: &[&unit.data],
                    };
                    mux.unit(track, written, &mut out)?;
                }
            }
        }
        Ok(())
    };
    for bytes in clip.chunks(64 << 10) {
        demux.push(bytes);
        take(&mut demux).map_err(|error| error.to_string())?;
    }
    demux.flush();
    take(&mut demux).map_err(|error| error.to_string())?;
    Ok(out)
}

/// Finds, in a stream that arrives in pieces, the first bytes of each video frame.
#[derive(Debug, Default)]
pub struct FrameStarts {
    packet: Vec<u8>,
}

impl FrameStarts {
    /// Takes a piece; calls `found` with the presentation time, 33 bits, of each video frame that begins in it.
    pub fn push(&mut self, bytes: &[u8], mut found: impl FnMut(u64)) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let n = rest.len().min(PACKET_BYTES - self.packet.len());
            self.packet.extend_from_slice(&rest[..n]);
            rest = &rest[n..];
            if self.packet.len() == PACKET_BYTES {
                if let Some(pts) = video_pts(&self.packet) {
                    found(pts);
                }
                self.packet.clear();
            }
        }
    }
}

/// The PTS of the video PES packet that begins in this transport packet (ISO/IEC 13818-1, 2.4.3.2 and 2.4.3.6).
fn video_pts(packet: &[u8]) -> Option<u64> {
    let begins = packet[0] == 0x47 && packet[1] & 0x40 != 0;
    let adaptation = if packet[3] & 0x20 != 0 {
        1 + usize::from(packet[4])
    } else {
        0
    };
    let pes = packet
        .get(4 + adaptation..)
        .filter(|pes| begins && pes.len() >= 14)?;
    let is_video = pes[..3] == [0, 0, 1] && pes[3] & 0xf0 == 0xe0 && pes[7] & 0x80 != 0;
    let byte = |n: usize| u64::from(pes[n]);
    is_video.then(|| {
        (byte(9) >> 1 & 7) << 30
            | byte(10) << 22
            | (byte(11) >> 1) << 15
            | byte(12) << 7
            | byte(13) >> 1
    })
}
