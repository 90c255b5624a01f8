//! The clip that `millstream demo` plays, taken apart: what the units chew on.
//!
//! It is built in, so that a binary carried elsewhere has it. A clip that does not come apart is a broken build, and a panic.

use gpu::{Backend, Codec, Cpu, Frame};
use media::{Demux, Event, Track, Unit, demux};

/// The clip: 640×360, 30 pictures a second, 10 s, with sound.
pub const CLIP: &[u8] = include_bytes!("../../../control/node/assets/clip.ts");

/// Bytes of a transport packet.
pub const PACKET_BYTES: usize = 188;

/// Its tracks and all of its units, in the order in which they are stored.
pub fn units() -> (Vec<Track>, Vec<Unit>) {
    let (mut tracks, mut units) = (Vec::new(), Vec::new());
    let mut demux = Demux::new(demux::Config::default());
    let mut take = |demux: &mut Demux| {
        while let Some(event) = demux.poll() {
            match event {
                Event::Program(program) => tracks = program.tracks,
                Event::Unit(unit) => units.push(unit),
            }
        }
    };
    // Bit by bit: what nobody has polled is bounded.
    for bytes in CLIP.chunks(64 << 10) {
        demux.push(bytes);
        take(&mut demux);
    }
    demux.flush();
    take(&mut demux);
    (tracks, units)
}

/// Its pictures as they are coded, with their presentation times. The first is a key picture.
pub fn pictures() -> Vec<(Vec<u8>, i64)> {
    let video = units()
        .1
        .into_iter()
        .filter(|unit| unit.codec == media::Codec::H264);
    video
        .map(|unit| {
            let pts = unit.pts.expect("each picture of the clip has its time");
            (unit.data, pts.0)
        })
        .collect()
}

/// Its first `count` pictures, decoded.
pub fn frames(count: usize) -> Vec<Frame> {
    let mut decoder = Cpu
        .decoder(Codec::H264, gpu::decode::Config::default())
        .expect("the CPU decodes H.264");
    let mut decoded = Vec::new();
    for (data, pts) in pictures().iter().take(count) {
        let unit = gpu::Unit { data, pts: *pts };
        decoder
            .decode(unit, &mut decoded)
            .expect("the clip is whole");
    }
    decoder
        .flush(&mut decoded)
        .expect("the clip is whole to its end");
    decoded.into_iter().map(|picture| picture.surface).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clip_is_what_its_readme_says() {
        let (tracks, units) = units();
        assert_eq!(tracks.len(), 2);
        assert!(units.iter().all(|unit| !unit.damaged));
        assert_eq!(pictures().len(), 300);
        let frames = frames(2);
        assert_eq!(frames.len(), 2);
        assert_eq!((frames[0].width(), frames[0].height()), (640, 360));
    }
}
