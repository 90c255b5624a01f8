//! Streams to test with, cut into access units.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(unreachable_pub, reason = "a test binary exports nothing")]

use gpu::{Backend, Codec, Cpu, Decode, Decoded, Frame, Unit, decode};

/// Ticks of 90 kHz from picture to picture at 30 a second.
pub const TICKS: i64 = 3000;

/// The long streams of `data`, and by how many pictures each is reordered. The kinds alternate between the libraries.
pub const STREAMS: [(&str, usize); 6] = [
    ("baseline", 0),
    ("high422-slices", 0),
    ("high-zerolatency", 0),
    ("high-b3", 2),
    ("high422-b3", 2),
    ("main-b3", 2),
];

/// Whether a stream is one that openh264 does not read.
pub fn is_wide(name: &str) -> bool {
    name.starts_with("high422")
}

/// One access unit and its place on the screen.
pub struct Timed {
    pub data: Vec<u8>,
    pub pts: i64,
}

impl Timed {
    pub fn unit(&self) -> Unit<'_> {
        Unit {
            data: &self.data,
            pts: self.pts,
        }
    }

    pub fn is_key(&self) -> bool {
        self.data
            .windows(4)
            .any(|w| w[..3] == [0, 0, 1] && w[3] & 0x1f == 5)
    }
}

pub fn stream(name: &str) -> Vec<Timed> {
    let path = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    let units = access_units(&std::fs::read(format!("{path}.h264")).unwrap());
    let order: Vec<i64> = match std::fs::read_to_string(format!("{path}.order")) {
        Ok(order) => order.lines().map(|line| line.parse().unwrap()).collect(),
        Err(_) => (0..units.len() as i64).collect(),
    };
    assert_eq!(units.len(), order.len(), "{name}");
    let timed = |(data, place)| Timed {
        data,
        pts: place * TICKS,
    };
    units.into_iter().zip(order).map(timed).collect()
}

/// Cuts a byte stream before whatever can only stand at the head of an access unit.
pub fn access_units(data: &[u8]) -> Vec<Vec<u8>> {
    let starts: Vec<usize> = (0..data.len().saturating_sub(4))
        .filter(|&at| data[at..at + 3] == [0, 0, 1])
        .collect();
    let mut units: Vec<Vec<u8>> = vec![Vec::new()];
    let mut has_slice = false;
    for (i, &start) in starts.iter().enumerate() {
        let end = starts.get(i + 1).copied().unwrap_or(data.len());
        let slice = matches!(data[start + 3] & 0x1f, 1 | 5);
        let first_slice = slice && data[start + 4] & 0x80 != 0;
        if has_slice && (first_slice || !slice) {
            units.push(Vec::new());
            has_slice = false;
        }
        has_slice |= slice;
        units.last_mut().unwrap().extend(&data[start..end]);
    }
    units
}

pub fn decoder() -> Box<dyn Decode<Frame>> {
    Cpu.decoder(Codec::H264, decode::Config::default()).unwrap()
}

/// Decodes all of a stream that is whole.
pub fn decode_all(units: &[Timed]) -> Vec<Decoded<Frame>> {
    let mut decoder = decoder();
    let mut out = Vec::new();
    for timed in units {
        decoder.decode(timed.unit(), &mut out).unwrap();
    }
    decoder.flush(&mut out).unwrap();
    out
}

/// xorshift64: the same numbers from the same seed, everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end.max(1)
    }
}
