//! Bits of a raw byte sequence payload (H.264 7.3.1, 7.2, 9.1), emulation prevention removed on the way.
//!
//! Invariant: a read past the end or a number wider than 32 bits is `None`, and nothing else happens.

/// Reads bits, most significant first.
#[derive(Debug, Clone)]
pub(super) struct Bits<'a> {
    rest: &'a [u8],
    byte: u8,
    left: u32,
    zeros: u32,
}

impl<'a> Bits<'a> {
    pub(super) const fn new(payload: &'a [u8]) -> Bits<'a> {
        Bits {
            rest: payload,
            byte: 0,
            left: 0,
            zeros: 0,
        }
    }

    /// `u(1)` as a flag.
    pub(super) fn flag(&mut self) -> Option<bool> {
        if self.left == 0 {
            self.byte = self.byte()?;
            self.left = 8;
        }
        self.left -= 1;
        Some(self.byte >> self.left & 1 == 1)
    }

    /// `u(n)`, n at most 32.
    pub(super) fn bits(&mut self, n: u32) -> Option<u32> {
        let mut value = 0u32;
        for _ in 0..n.min(32) {
            value = value << 1 | u32::from(self.flag()?);
        }
        Some(value)
    }

    /// `u(8)`.
    pub(super) fn u8(&mut self) -> Option<u8> {
        self.bits(8).map(|value| value as u8)
    }

    /// `ue(v)`, up to 2^32 - 2.
    pub(super) fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        // 2^31 - 1 + 2^31 - 1 fits.
        Some(((1u32 << zeros) - 1) + self.bits(zeros)?)
    }

    /// `se(v)`.
    pub(super) fn se(&mut self) -> Option<i32> {
        let code = i64::from(self.ue()?);
        let value = if code % 2 == 1 {
            (code + 1) / 2
        } else {
            -(code / 2)
        };
        i32::try_from(value).ok()
    }

    /// The next byte of the payload: a 3 after two zeros is not part of it.
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        if self.zeros >= 2 && byte == 3 {
            self.zeros = 0;
            return self.byte_after_prevention();
        }
        self.zeros = if byte == 0 { self.zeros + 1 } else { 0 };
        Some(byte)
    }

    fn byte_after_prevention(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        self.zeros = u32::from(byte == 0);
        Some(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn exp_golomb() {
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        assert_eq!(
            [bits.ue(), bits.ue(), bits.ue(), bits.ue()],
            [Some(0), Some(1), Some(2), Some(3)]
        );
        assert_eq!(bits.se(), Some(-2));
        assert_eq!(Bits::new(&[0; 40]).ue(), None, "no end to the zeros");
        assert_eq!(
            Bits::new(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]).ue(),
            Some(u32::MAX - 1)
        );
        assert_eq!(
            Bits::new(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]).se(),
            Some(-i32::MAX)
        );
    }

    #[test]
    fn emulation_prevention_is_removed() {
        let mut bits = Bits::new(&[0, 0, 3, 1, 0, 0, 3, 3, 0, 0, 3]);
        assert_eq!(bits.bits(24), Some(1));
        assert_eq!(bits.bits(24), Some(3));
        assert_eq!(bits.bits(16), Some(0));
        assert_eq!(bits.flag(), None);
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut bits = Bits::new(&bytes);
            let mut reads = 0;
            while bits.ue().is_some() && bits.se().is_some() { reads += 1; }
            prop_assert!(reads <= bytes.len() * 8);
        }
    }
}
