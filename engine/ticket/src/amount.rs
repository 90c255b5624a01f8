//! Money, exactly.
//!
//! A ticket is worth `face value × win probability`, and the probability is a number of parts of 2^256 − 1. So credits are kept
//! as what they are: whole numbers of such parts of a wei. A sum of 2^64 of the largest is below 2^576; [`Credit`] has 640 bits.

use core::fmt;
use core::ops::AddAssign;

use ruint::Uint;
use ruint::aliases::{U256, U512};

/// An amount of wei.
pub type Wei = U256;

/// The greatest win probability: certainty (but for one hash in 2^256). Expected values are parts of it.
pub const PROBABILITY_MAX: U256 = U256::MAX;

/// What one ticket is worth: `face value × win probability`, in parts of [`PROBABILITY_MAX`] of a wei.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct ExpectedValue(U512);

impl ExpectedValue {
    /// Of a ticket.
    #[must_use]
    pub fn of(face_value: Wei, win_prob: U256) -> Self {
        Self(face_value.widening_mul(win_prob))
    }

    /// Of a whole amount.
    #[must_use]
    pub fn of_wei(wei: Wei) -> Self {
        Self::of(wei, PROBABILITY_MAX)
    }

    /// The numerator over [`PROBABILITY_MAX`].
    #[must_use]
    pub const fn parts(&self) -> U512 {
        self.0
    }

    /// Whole wei, the fraction dropped.
    #[must_use]
    pub fn floor_wei(&self) -> Wei {
        (self.0 / U512::from(PROBABILITY_MAX)).to()
    }

    /// Of `count` such tickets; `None` when that is more than anything can be worth.
    #[must_use]
    pub fn times(&self, count: u64) -> Option<Self> {
        self.0.checked_mul(U512::from(count)).map(Self)
    }
}

impl fmt::Debug for ExpectedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/(2^256-1) wei", self.0)
    }
}

/// A sum of expected values, in parts of [`PROBABILITY_MAX`] of a wei.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Credit(Uint<640, 10>);

impl Credit {
    /// Bytes of [`to_be_bytes`](Self::to_be_bytes).
    pub const BYTES: usize = 80;
    /// Nothing.
    pub const ZERO: Self = Self(Uint::ZERO);

    /// The numerator over [`PROBABILITY_MAX`].
    #[must_use]
    pub const fn parts(&self) -> Uint<640, 10> {
        self.0
    }

    /// For storage; the greatest byte first.
    #[must_use]
    pub fn to_be_bytes(&self) -> [u8; Self::BYTES] {
        self.0.to_be_bytes()
    }

    /// From storage.
    #[must_use]
    pub fn from_be_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(Uint::from_be_bytes(bytes))
    }

    /// Whole wei, the fraction dropped.
    #[must_use]
    pub fn floor_wei(&self) -> Uint<640, 10> {
        self.0 / PROBABILITY_MAX.to::<Uint<640, 10>>()
    }
}

impl AddAssign<ExpectedValue> for Credit {
    fn add_assign(&mut self, value: ExpectedValue) {
        // 640 bits hold 2^128 of the largest; saturation is for those who live to see it.
        self.0 = self.0.saturating_add(value.0.to());
    }
}

impl fmt::Debug for Credit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/(2^256-1) wei", self.0)
    }
}

/// An integer as the wire has it: big-endian, without leading zeros, empty for 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinBytes {
    bytes: [u8; 32],
    from: usize,
}

impl MinBytes {
    /// Of an integer.
    #[must_use]
    pub fn of(value: U256) -> Self {
        Self {
            bytes: value.to_be_bytes(),
            from: value.leading_zeros() / 8,
        }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.from..]
    }

    /// What such bytes mean; leading zeros change nothing. `None` for more than 32 bytes, however many of them are zeros: go's
    /// layout shifts with such a number, so nobody honest sends it.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<U256> {
        U256::try_from_be_slice(bytes).filter(|_| bytes.len() <= 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn a_certain_ticket_is_worth_its_face() {
        let face = Wei::from(12_000_000_000_000_000_u64);
        assert_eq!(ExpectedValue::of(face, PROBABILITY_MAX).floor_wei(), face);
        assert_eq!(
            ExpectedValue::of_wei(face),
            ExpectedValue::of(face, PROBABILITY_MAX)
        );
        assert_eq!(ExpectedValue::of(face, U256::ZERO).floor_wei(), Wei::ZERO);
        let most = ExpectedValue::of(Wei::MAX, PROBABILITY_MAX);
        assert_eq!(most.floor_wei(), Wei::MAX);
        assert_eq!(most.times(2), None);
    }

    #[test]
    fn fractions_add_up_to_wholes() {
        // 2^256 − 1 is a multiple of three.
        let third = ExpectedValue::of(Wei::from(1), PROBABILITY_MAX / U256::from(3));
        let mut credit = Credit::ZERO;
        credit += third;
        credit += third;
        assert_eq!(credit.floor_wei(), Uint::ZERO);
        credit += third;
        assert_eq!(credit.floor_wei(), Uint::from(1));
        assert_eq!(Credit::from_be_bytes(credit.to_be_bytes()), credit);
    }

    #[test]
    fn integers_on_the_wire_have_no_leading_zeros() {
        for (value, bytes) in [(0u64, &[][..]), (1, &[1]), (255, &[255]), (256, &[1, 0])] {
            let min = MinBytes::of(U256::from(value));
            assert_eq!(min.as_bytes(), bytes);
            assert_eq!(MinBytes::parse(bytes), Some(U256::from(value)));
        }
        assert_eq!(MinBytes::of(U256::MAX).as_bytes(), [255; 32]);
        assert_eq!(MinBytes::parse(&[0, 0, 5]), Some(U256::from(5)));
        assert_eq!(MinBytes::parse(&[0; 33]), None, "33 bytes are too many");
        assert_eq!(
            format!("{:?}", ExpectedValue::of(U256::from(2), U256::from(3))),
            "6/(2^256-1) wei"
        );
    }
}
