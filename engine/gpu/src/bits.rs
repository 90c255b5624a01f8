//! Bits in and out, in the coding of H.264 clause 9.1.
//!
//! The reader works on raw bytes with emulation prevention removed. Reading past the end gives `None`, never zero.

/// Reads bits from the most significant down.
pub(crate) struct BitReader<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    /// How many bits have been read.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn bit(&mut self) -> Option<bool> {
        let byte = self.data.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// `u(count)`, at most 32 bits.
    pub(crate) fn bits(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u32::from(self.bit()?);
        }
        Some(value)
    }

    /// `ue(v)`.
    pub(crate) fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1 << zeros) - 1 + self.bits(zeros)?)
    }

    /// `se(v)`: 0, 1, -1, 2, -2 and so on.
    pub(crate) fn se(&mut self) -> Option<i64> {
        let code = i64::from(self.ue()?);
        Some(if code % 2 == 1 {
            (code + 1) / 2
        } else {
            -(code / 2)
        })
    }

    /// `count` bits that say nothing here.
    pub(crate) fn skip(&mut self, count: u32) -> Option<()> {
        (0..count).try_for_each(|_| self.bit().map(drop))
    }

    /// `se(v)` of which only the length matters.
    pub(crate) fn skip_se(&mut self) -> Option<()> {
        self.ue().map(drop)
    }
}

/// Writes bits from the most significant down.
#[derive(Default)]
pub(crate) struct BitWriter {
    data: Vec<u8>,
    free: u32,
}

impl BitWriter {
    pub(crate) fn bit(&mut self, bit: bool) {
        if self.free == 0 {
            self.data.push(0);
            self.free = 8;
        }
        self.free -= 1;
        if let Some(last) = self.data.last_mut() {
            *last |= u8::from(bit) << self.free;
        }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golomb_and_fixed() {
        // 1 | 010 | 011 | 00100 | 101
        let mut reader = BitReader::new(&[0b1010_0110, 0b0100_1010]);
        assert_eq!(reader.ue(), Some(0));
        assert_eq!(reader.ue(), Some(1));
        assert_eq!(reader.ue(), Some(2));
        assert_eq!(reader.ue(), Some(3));
        assert_eq!(reader.bits(3), Some(0b101));
        assert_eq!(reader.position(), 15);
        assert_eq!(reader.bits(2), None);
        assert_eq!(BitReader::new(&[0; 16]).ue(), None);
    }

    #[test]
    fn signed_golomb_alternates() {
        // 1 | 010 | 011 | 00100 | 00101
        let mut reader = BitReader::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        let read: Vec<_> = (0..5).map(|_| reader.se().unwrap()).collect();
        assert_eq!(read, [0, 1, -1, 2, -2]);
        assert_eq!((reader.skip(7), reader.skip(1)), (Some(()), None));
    }

    #[test]
    fn written_bits_read_back() {
        let mut writer = BitWriter::default();
        for bit in [true, false, true, true, false, false, false, false, true] {
            writer.bit(bit);
        }
        assert_eq!(writer.into_bytes(), [0b1011_0000, 0b1000_0000]);
    }
}
