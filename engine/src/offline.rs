//! The engine's demuxer, decoder and filters without sockets or clocks: for players, pictures and checks.

use gpu::{Backend, Codec, Cpu, Decode, Process};
use media::{Demux, Event};

pub use gpu::{Filter, Frame, Psnr, psnr};

/// Bytes of a transport packet (ISO/IEC 13818-1, 2.4.3.2).
pub const PACKET_BYTES: usize = 188;

/// One video frame's place in a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameAt {
    /// Where its first transport packet begins.
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
    /// Audio packets.
    pub audio_packets: usize,
    /// The first audio packet's presentation time.
    pub audio_pts: Option<i64>,
}

/// Finds the frames of an MPEG-TS clip.
pub fn index(clip: &[u8]) -> Index {
    let mut demux = Demux::new(media::demux::Config::default());
    let mut index = Index::default();
    let mut video_pid = None;
    let mut starts = Vec::new();
    let mut units = Vec::new();
    let mut take = |demux: &mut Demux, video_pid: &mut Option<u16>| {
        while let Some(event) = demux.poll() {
            match event {
                Event::Program(program) => *video_pid = program.video().map(|track| track.pid),
                Event::Unit(unit) if unit.continuation => {}
                Event::Unit(unit) if Some(unit.pid) == *video_pid => units.push(unit),
                Event::Unit(unit) => {
                    index.audio_packets += 1;
                    index.audio_pts = index.audio_pts.or(unit.pts.map(|pts| pts.0));
                }
            }
        }
    };
    for (n, packet) in clip.chunks(PACKET_BYTES).enumerate() {
        demux.push(packet);
        take(&mut demux, &mut video_pid);
        if let [0x47, high, low, ..] = *packet
            && high & 0x40 != 0
            && video_pid == Some(u16::from(high & 0x1f) << 8 | u16::from(low))
        {
            starts.push(n * PACKET_BYTES);
        }
    }
    demux.flush();
    take(&mut demux, &mut video_pid);
    index.frames = starts
        .iter()
        .zip(&units)
        .filter_map(|(&offset, unit)| {
            let pts = unit.pts.or(unit.dts)?.0;
            let key = unit.random_access || media::h26x::is_random_access(media::Codec::H264, &unit.data);
            Some(FrameAt { offset, pts, dts: unit.dts.map_or(pts, |dts| dts.0), key })
        })
        .collect();
    index
}

/// Decodes a clip and shows each picture with its presentation time, in display order. Returns how many units were damaged.
///
/// # Errors
/// When there is no decoder for it.
pub fn decode(clip: &[u8], mut show: impl FnMut(i64, &Frame)) -> Result<usize, String> {
    let mut decoder = Cpu.decoder(Codec::H264, gpu::decode::Config::default()).map_err(|error| error.to_string())?;
    let mut demux = Demux::new(media::demux::Config::default());
    let mut pictures = Vec::new();
    let mut damaged = 0;
    demux.push(clip);
    demux.flush();
    while let Some(event) = demux.poll() {
        let Event::Unit(unit) = event else { continue };
        if let (media::Codec::H264, Some(pts)) = (unit.codec, unit.pts.or(unit.dts)) {
            damaged += usize::from(decoder.decode(gpu::Unit { data: &unit.data, pts: pts.0 }, &mut pictures).is_err());
            present(&mut *decoder, &mut pictures, &mut show);
        }
    }
    decoder.flush(&mut pictures);
    present(&mut *decoder, &mut pictures, &mut show);
    Ok(damaged)
}

fn present(decoder: &mut dyn Decode<Frame>, pictures: &mut Vec<gpu::Decoded<Frame>>, show: &mut impl FnMut(i64, &Frame)) {
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
    let mut processor: Box<dyn Process<Frame> + Send> = Cpu.processor().map_err(|error| error.to_string())?;
    let mut output = Cpu.surface();
    processor.process(filter, input, &mut output);
    Ok(output)
}
