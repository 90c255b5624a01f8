//! What a pixel costs: an exact rational.
//!
//! On the wire a price is two int64, `pricePerUnit` wei for `pixelsPerUnit` pixels, and either may be negative or absent. Here it
//! is reduced, its denominator is not zero and nothing is negative: a negative price would turn a debit into a credit (a known
//! weakness of go-livepeer), and a sender that reduces the fraction that we offered must still send the same price.

use core::fmt;

/// `wei` for every `pixels` pixels, reduced.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Price {
    wei: u64,
    pixels: u64,
}

/// What is wrong with a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriceFault {
    /// It was not sent, or its denominator is zero.
    NoPixels,
    /// A part of it is negative.
    Negative,
}

impl fmt::Display for PriceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPixels => "pixels per unit is 0",
            Self::Negative => "a price is not negative",
        })
    }
}

impl core::error::Error for PriceFault {}

impl Price {
    /// Nothing for nothing.
    pub(crate) const NONE: Self = Self { wei: 0, pixels: 1 };

    /// Nothing for any number of pixels.
    pub const FREE: Self = Self { wei: 0, pixels: 1 };

    /// # Errors
    /// A zero denominator, or a negative part.
    pub const fn new(price_per_unit: i64, pixels_per_unit: i64) -> Result<Self, PriceFault> {
        if price_per_unit < 0 || pixels_per_unit < 0 {
            return Err(PriceFault::Negative);
        }
        if pixels_per_unit == 0 {
            return Err(PriceFault::NoPixels);
        }
        let (wei, pixels) = (
            price_per_unit.unsigned_abs(),
            pixels_per_unit.unsigned_abs(),
        );
        let common = gcd(wei, pixels);
        Ok(Self {
            wei: wei / common,
            pixels: pixels / common,
        })
    }

    /// Wei, for [`pixels`](Self::pixels).
    #[must_use]
    pub const fn wei(&self) -> u64 {
        self.wei
    }

    /// Pixels that [`wei`](Self::wei) pays for; not zero.
    #[must_use]
    pub const fn pixels(&self) -> u64 {
        self.pixels
    }

    /// Whether nothing has to be paid.
    #[must_use]
    pub const fn is_free(&self) -> bool {
        self.wei == 0
    }

    /// Both parts as the wire has them.
    #[must_use]
    pub const fn to_wire(&self) -> (i64, i64) {
        // They came from int64s and only got smaller.
        (self.wei.cast_signed(), self.pixels.cast_signed())
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.wei, self.pixels)
    }
}

impl fmt::Debug for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Euclid's. `b` is not zero.
const fn gcd(a: u64, b: u64) -> u64 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_price_is_reduced_and_never_negative() {
        assert_eq!(Price::new(2400, 2000).unwrap().to_string(), "6/5");
        assert_eq!(Price::new(0, 7).unwrap(), Price::FREE);
        assert_eq!(Price::new(i64::MAX, 1).unwrap().to_wire(), (i64::MAX, 1));
        assert_eq!(Price::new(1, 0), Err(PriceFault::NoPixels));
        assert_eq!(Price::new(0, 0), Err(PriceFault::NoPixels));
        for (wei, pixels) in [
            (-1200, 1),
            (1200, -1),
            (-1200, -1),
            (i64::MIN, i64::MIN),
            (-1, 0),
        ] {
            assert_eq!(Price::new(wei, pixels), Err(PriceFault::Negative));
        }
    }
}
