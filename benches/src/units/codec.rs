//! Decoding and encoding on the CPU: the clip's pictures, one thread.

use std::hint::black_box;

use gpu::{Backend, Codec, Cpu, Decode, Decoded, Encode, Frame};

use super::clip;
use super::{Body, Round};

/// Pictures of a round: two seconds, from one key picture to the next.
const PICTURES: usize = 60;
/// Ticks of 90 kHz from picture to picture at 30 a second.
const TICKS: i64 = 3000;

/// Coded pictures, to frames.
pub(super) struct Decoding {
    coded: Vec<(Vec<u8>, i64)>,
    decoder: Box<dyn Decode<Frame>>,
    shown: Vec<Decoded<Frame>>,
}

impl Decoding {
    pub(super) fn new() -> Self {
        let mut coded = clip::pictures();
        coded.truncate(PICTURES);
        Self {
            coded,
            decoder: Cpu
                .decoder(Codec::H264, gpu::decode::Config::default())
                .expect("the CPU decodes H.264"),
            shown: Vec::new(),
        }
    }
}

impl Body for Decoding {
    /// The bytes are those of the coded pictures.
    fn round(&self) -> Round {
        Round {
            operations: self.coded.len() as u64,
            bytes: Some(self.coded.iter().map(|(data, _)| data.len() as u64).sum()),
        }
    }

    fn prepare(&mut self) {
        self.decoder.reset();
    }

    fn run(&mut self) -> u64 {
        let mut shown = 0;
        for (data, pts) in black_box(&self.coded) {
            let unit = gpu::Unit { data, pts: *pts };
            self.decoder
                .decode(unit, &mut self.shown)
                .expect("the clip is whole");
            shown += show(&mut *self.decoder, &mut self.shown);
        }
        self.decoder
            .flush(&mut self.shown)
            .expect("the clip is whole to its end");
        shown + show(&mut *self.decoder, &mut self.shown)
    }
}

fn show(decoder: &mut dyn Decode<Frame>, shown: &mut Vec<Decoded<Frame>>) -> u64 {
    let count = shown.len() as u64;
    for picture in shown.drain(..) {
        decoder.recycle(black_box(picture).surface);
    }
    count
}

/// Frames, to coded pictures.
pub(super) struct Encoding {
    frames: Vec<Frame>,
    encoder: Box<dyn Encode<Frame>>,
    pts: i64,
    out: Vec<u8>,
}

impl Encoding {
    pub(super) fn new() -> Self {
        Self {
            frames: clip::frames(PICTURES),
            encoder: Cpu
                .encoder(Codec::H264, gpu::encode::Config::default())
                .expect("the CPU encodes H.264"),
            pts: 0,
            out: Vec::new(),
        }
    }
}

impl Body for Encoding {
    /// The bytes are those of the pictures before they are coded.
    fn round(&self) -> Round {
        Round {
            operations: self.frames.len() as u64,
            bytes: Some(self.frames.iter().map(super::bytes_of).sum()),
        }
    }

    /// A round begins with a key picture, as each two seconds of a session do.
    fn run(&mut self) -> u64 {
        let mut coded = 0;
        for (n, frame) in black_box(&self.frames).iter().enumerate() {
            self.out.clear();
            let picture = self
                .encoder
                .encode(frame, self.pts, n == 0, &mut self.out)
                .expect("the encoder takes pictures of this size");
            self.pts += TICKS;
            coded += u64::from(black_box(picture).bytes > 0);
        }
        coded
    }
}
