//! ADTS frames (13818-7 6.2): where they begin and how long they sound. The sound itself is not looked at.
//!
//! Invariant: frames tile the input from its first byte. The walk stops at the first byte that is not a frame, and what is
//! left can be asked for; nothing is guessed.

use crate::{clock::Ticks, codec::duration_of};

/// What the header of an ADTS frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// MPEG-4 audio object type: 2 is AAC LC.
    pub object_type: u8,
    /// Sample rate in hertz.
    pub sample_rate_hz: u32,
    /// `channel_configuration`: 0 when the payload says it, else the number of channels, except that 7 stands for eight.
    pub channel_configuration: u8,
    /// Bytes of the frame, its header included.
    pub frame_bytes: usize,
    /// Bytes of the header: 7, or 9 with a CRC.
    pub header_bytes: usize,
    /// Samples per channel: 1024 for each raw data block.
    pub samples: u32,
}

impl Header {
    /// Reads the header at the start of `bytes`; `None` when it is cut or is not a header.
    pub fn parse(bytes: &[u8]) -> Option<Header> {
        let b = bytes.first_chunk::<7>()?;
        // Twelve bits of sync, then layer, which is 0.
        if b[0] != 0xff || b[1] & 0xf6 != 0xf0 {
            return None;
        }
        let header_bytes = if b[1] & 1 == 1 { 7 } else { 9 };
        let sample_rate_hz = *SAMPLE_RATES_HZ.get(usize::from(b[2] >> 2 & 0xf))?;
        let frame_bytes =
            usize::from(b[3] & 3) << 11 | usize::from(b[4]) << 3 | usize::from(b[5]) >> 5;
        if frame_bytes < header_bytes {
            return None;
        }
        Some(Header {
            object_type: (b[2] >> 6) + 1,
            sample_rate_hz,
            channel_configuration: (b[2] & 1) << 2 | b[3] >> 6,
            frame_bytes,
            header_bytes,
            samples: 1024 * (u32::from(b[6] & 3) + 1),
        })
    }

    /// How long the frame sounds, to the nearest tick. Sum samples, not ticks, over many frames.
    pub const fn duration(&self) -> Ticks {
        duration_of(self.samples, self.sample_rate_hz)
    }

    /// Channels, when the header knows them.
    pub const fn channels(&self) -> Option<u8> {
        match self.channel_configuration {
            0 => None,
            7 => Some(8),
            n => Some(n),
        }
    }
}

/// One whole ADTS frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What its header says.
    pub header: Header,
    /// The frame, header included.
    pub bytes: &'a [u8],
}

/// Walks the frames at the start of a PES payload.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    rest: &'a [u8],
}

/// The frames of `bytes`, in order.
pub const fn frames(bytes: &[u8]) -> Frames<'_> {
    Frames { rest: bytes }
}

impl<'a> Frames<'a> {
    /// What was not walked: the cut or broken end, empty when the frames tile the payload.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Samples per channel of all frames left, and their rate; `None` without a frame. The rate is the first frame's.
    pub fn total(self) -> Option<(u64, u32)> {
        let mut total = None;
        for frame in self {
            let (samples, rate_hz) = total.unwrap_or((0, frame.header.sample_rate_hz));
            total = Some((samples + u64::from(frame.header.samples), rate_hz));
        }
        total
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        let header = Header::parse(self.rest)?;
        let (bytes, rest) = self.rest.split_at_checked(header.frame_bytes)?;
        self.rest = rest;
        Some(Frame { header, bytes })
    }
}

/// 14496-3 table 1.18; indices 13 to 15 are reserved or say the rate elsewhere.
const SAMPLE_RATES_HZ: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn frame(body: usize) -> Vec<u8> {
        let bytes = 7 + body;
        // AAC LC, 44.1 kHz, stereo, no CRC, one raw data block.
        let mut out = alloc::vec![
            0xff,
            0xf1,
            1 << 6 | 4 << 2,
            2 << 6 | (bytes >> 11) as u8,
            (bytes >> 3) as u8,
            (bytes << 5) as u8 | 0x1f,
            0xfc
        ];
        out.resize(bytes, 0xaa);
        out
    }

    #[test]
    fn frames_tile_the_payload() {
        let mut payload = frame(100);
        payload.extend(frame(2000));
        let mut walk = frames(&payload);
        let first = walk.next().unwrap();
        assert_eq!(first.header.sample_rate_hz, 44_100);
        assert_eq!(first.header.channels(), Some(2));
        assert_eq!(first.header.object_type, 2);
        assert_eq!(first.header.duration(), Ticks(2090));
        assert_eq!(first.bytes.len(), 107);
        assert_eq!(walk.next().unwrap().bytes.len(), 2007);
        assert_eq!(walk.next(), None);
        assert!(walk.rest().is_empty());
        assert_eq!(frames(&payload).total(), Some((2048, 44_100)));
    }

    #[test]
    fn a_cut_frame_is_left_over() {
        let payload = frame(50);
        let mut walk = frames(&payload[..40]);
        assert_eq!(walk.next(), None);
        assert_eq!(walk.rest().len(), 40);
        assert_eq!(
            Header::parse(&[0xff, 0xf1, 0x50, 0, 0, 0, 0]),
            None,
            "shorter than its own header"
        );
        assert_eq!(
            Header::parse(&[0xff, 0xf1, 0x7c, 0, 0xff, 0, 0]),
            None,
            "a reserved rate"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_end_the_walk(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut walk = frames(&bytes);
            let walked: usize = walk.by_ref().map(|frame| frame.bytes.len()).sum();
            prop_assert_eq!(walked + walk.rest().len(), bytes.len());
        }
    }
}
