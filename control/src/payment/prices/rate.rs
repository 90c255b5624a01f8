//! What a pixel costs, before it must fit a message: an exact rational.
//!
//! A [`Price`] is what two int64 of the wire hold. What an operator writes may be finer: half an ether for 10^12 pixels in twelve
//! decimals. A rate holds that, reduced, and what is offered is cut from it once, at the end.

use std::fmt;
use std::num::NonZeroU64;

use ruint::aliases::U256;
use ticket::{Price, Wei};

/// Wei of an ether.
const ETHER_WEI: u64 = 1_000_000_000_000_000_000;

/// `wei` for every `pixels` pixels, reduced; or for every unit of pixels, until [`Rate::per`] says how many that is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    wei: U256,
    pixels: U256,
}

impl Rate {
    /// Nothing for any number of pixels.
    pub const FREE: Self = Self {
        wei: U256::ZERO,
        pixels: U256::ONE,
    };

    /// `wei` for every `pixels`.
    pub fn new(wei: Wei, pixels: NonZeroU64) -> Self {
        Self::reduced(wei, U256::from(pixels.get()))
    }

    /// `pixels` is not 0.
    pub(super) fn reduced(wei: U256, pixels: U256) -> Self {
        let common = wei.gcd(pixels);
        Self {
            wei: wei / common,
            pixels: pixels / common,
        }
    }

    /// Of one, what it is of `unit` of them: a price for a unit becomes one for a pixel. `None` when it is finer than 256 bits.
    pub fn per(self, unit: NonZeroU64) -> Option<Self> {
        let unit = U256::from(unit.get());
        let common = self.wei.gcd(unit);
        Some(Self {
            wei: self.wei / common,
            pixels: self.pixels.checked_mul(unit / common)?,
        })
    }

    /// What was written in ether, in wei. `None` when that is more than 256 bits.
    pub(super) fn of_ether(self) -> Option<Self> {
        let ether = U256::from(ETHER_WEI);
        let common = self.pixels.gcd(ether);
        Some(Self {
            wei: self.wei.checked_mul(ether / common)?,
            pixels: self.pixels / common,
        })
    }

    /// Whether nothing has to be paid.
    pub fn is_free(&self) -> bool {
        self.wei.is_zero()
    }

    /// The numerator.
    pub(super) const fn wei(&self) -> U256 {
        self.wei
    }

    /// The denominator; not 0.
    pub(super) const fn pixels(&self) -> U256 {
        self.pixels
    }
}

impl From<Price> for Rate {
    fn from(price: Price) -> Self {
        // Reduced already, and its denominator is not 0.
        Self {
            wei: U256::from(price.wei()),
            pixels: U256::from(price.pixels()),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.wei, self.pixels)
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_reduced_whatever_it_was_made_of() {
        let unit = |pixels| NonZeroU64::new(pixels).unwrap();
        assert_eq!(
            Rate::new(Wei::from(2_400), unit(2_000)).to_string(),
            "6/5",
            "new"
        );
        assert_eq!(Rate::new(Wei::ZERO, unit(7)), Rate::FREE);
        let half = Rate::new(Wei::from(1), unit(2));
        assert_eq!(half.of_ether().unwrap().to_string(), "500000000000000000/1");
        let per_pixel = half.of_ether().unwrap().per(unit(1_000_000_000_000));
        assert_eq!(per_pixel.unwrap().to_string(), "500000/1");
        assert_eq!(half.per(unit(6)).unwrap().to_string(), "1/12");
        let price = Price::new(2_400, 2_000).unwrap();
        assert_eq!(Rate::from(price), Rate::new(Wei::from(6), unit(5)));
        assert!(Rate::from(Price::FREE).is_free());
    }

    #[test]
    fn what_does_not_fit_is_not_cut() {
        let most = Rate::new(Wei::MAX, NonZeroU64::MIN);
        assert_eq!(most.of_ether(), None);
        let finest = Rate::reduced(U256::ONE, U256::MAX);
        assert_eq!(finest.per(NonZeroU64::MAX), None);
        assert!(most.per(NonZeroU64::MAX).is_some());
    }
}
