//! The transport stream, in both directions, and the pictures in it.

use std::hint::black_box;

use media::{Codec, Demux, Event, Mux, Track, Unit, demux, h26x, mux};

use super::clip::{self, CLIP, PACKET_BYTES};
use super::{Body, Round};

/// What comes off a publisher's socket at once.
const READ_BYTES: usize = 16 << 10;

/// The clip, from bytes to units.
pub(super) struct Demuxing {
    demux: Demux,
}

impl Demuxing {
    pub(super) fn new() -> Self {
        Self {
            demux: Demux::new(demux::Config::default()),
        }
    }

    fn take_events(&mut self) {
        while let Some(event) = self.demux.poll() {
            if let Event::Unit(unit) = black_box(event) {
                self.demux.recycle(unit.data);
            }
        }
    }
}

impl Body for Demuxing {
    fn round(&self) -> Round {
        Round {
            operations: (CLIP.len() / PACKET_BYTES) as u64,
            bytes: Some(CLIP.len() as u64),
        }
    }

    fn prepare(&mut self) {
        *self = Self::new();
    }

    fn run(&mut self) -> u64 {
        for read in black_box(CLIP).chunks(READ_BYTES) {
            self.demux.push(read);
            self.take_events();
        }
        self.demux.flush();
        self.take_events();
        let stats = self.demux.stats();
        stats.packets - stats.damaged
    }
}

/// The pictures of one long byte stream: what a sender that packs several into a PES makes us look for.
pub(super) struct Splitting {
    stream: Vec<u8>,
    pictures: u64,
}

impl Splitting {
    pub(super) fn new() -> Self {
        let pictures = clip::pictures();
        Self {
            pictures: pictures.len() as u64,
            stream: pictures.into_iter().flat_map(|(data, _)| data).collect(),
        }
    }
}

impl Body for Splitting {
    fn round(&self) -> Round {
        Round {
            operations: self.pictures,
            bytes: Some(self.stream.len() as u64),
        }
    }

    fn run(&mut self) -> u64 {
        h26x::split_access_units(Codec::H264, black_box(&self.stream))
            .map(black_box)
            .count() as u64
    }
}

/// The clip's units, to bytes.
pub(super) struct Muxing {
    tracks: Vec<Track>,
    units: Vec<(usize, Unit)>,
    mux: Mux,
    out: Vec<u8>,
    packets: u64,
}

impl Muxing {
    pub(super) fn new() -> Self {
        let (tracks, units) = clip::units();
        let place = |pid: u16| tracks.iter().position(|track| track.pid == pid);
        let units = units
            .into_iter()
            .filter_map(|unit| Some((place(unit.pid)?, unit)))
            .collect();
        let mut muxing = Self {
            mux: fresh(&tracks),
            tracks,
            units,
            out: Vec::new(),
            packets: 0,
        };
        muxing.packets = muxing.run();
        muxing
    }
}

impl Body for Muxing {
    fn round(&self) -> Round {
        Round {
            operations: self.packets,
            bytes: Some(self.packets * PACKET_BYTES as u64),
        }
    }

    fn prepare(&mut self) {
        self.mux = fresh(&self.tracks);
        self.out.clear();
    }

    fn run(&mut self) -> u64 {
        for (track, unit) in &self.units {
            if unit.codec.is_video() && unit.random_access {
                self.mux.tables(&mut self.out);
            }
            let written = mux::Unit {
                pts: unit.pts,
                dts: unit.dts,
                random_access: unit.random_access,
                data: &[black_box(&unit.data)],
            };
            self.mux
                .unit(*track, written, &mut self.out)
                .expect("the track is one that was announced");
        }
        (black_box(&self.out).len() / PACKET_BYTES) as u64
    }
}

fn fresh(tracks: &[Track]) -> Mux {
    Mux::new(mux::Config::default(), tracks).expect("tracks that were in a stream fit into one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_muxed_is_as_long_as_the_clip_was() {
        let muxed = Muxing::new().round().bytes.unwrap() as f64;
        assert!((0.9..1.1).contains(&(muxed / CLIP.len() as f64)), "{muxed}");
        assert_eq!(CLIP.len() % PACKET_BYTES, 0);
        assert_eq!(Splitting::new().pictures, 300);
    }
}
