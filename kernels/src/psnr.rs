//! How alike two pictures are, in decibels.
//!
//! `PSNR = 10 log10(255² / MSE)` a plane. Equal planes have no finite answer and are given [`EQUAL_DB`], so that a
//! mean over frames stays a number.

use crate::frame::Frame;
use crate::plane::Plane;

/// What two equal planes score. The best that unequal planes of the largest size can score is below
/// `10 log10(255² · 8192²)` = 126.4 dB.
pub const EQUAL_DB: f64 = 127.0;

/// The likeness of two frames, a plane and together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Psnr {
    /// Luma, in dB.
    pub y: f64,
    /// Blue difference, in dB.
    pub u: f64,
    /// Red difference, in dB.
    pub v: f64,
}

impl Psnr {
    /// Luma and chroma as one number, weighted 6:1:1 as codec comparisons do.
    pub fn yuv(&self) -> f64 {
        (6.0 * self.y + self.u + self.v) / 8.0
    }
}

/// Compares two frames; `None` when their sizes differ or there is nothing to compare.
pub fn psnr(a: &Frame, b: &Frame) -> Option<Psnr> {
    of_squares(a.width(), a.height(), squares(a, b)?)
}

/// The sums of squared differences of luma, blue and red difference; `None` as in [`psnr`]. At most 2^26 · 255² = 2^42.
pub fn squares(a: &Frame, b: &Frame) -> Option<[u64; 3]> {
    if (a.width(), a.height()) != (b.width(), b.height()) || a.is_empty() {
        return None;
    }
    let plane = |i: usize| plane_squares(a.planes()[i], b.planes()[i]);
    Some([0, 1, 2].map(plane))
}

/// The likeness of two pictures of this size whose [`squares`] are known; `None` when a side is zero.
pub fn of_squares(width: usize, height: usize, squares: [u64; 3]) -> Option<Psnr> {
    if width == 0 || height == 0 {
        return None;
    }
    let luma = (width, height);
    let chroma = (width.div_ceil(2), height.div_ceil(2));
    Some(Psnr {
        y: decibels(luma, squares[0]),
        u: decibels(chroma, squares[1]),
        v: decibels(chroma, squares[2]),
    })
}

fn decibels((width, height): (usize, usize), squares: u64) -> f64 {
    if squares == 0 {
        return EQUAL_DB;
    }
    let samples = width as f64 * height as f64;
    10.0 * log10(255.0 * 255.0 * samples / squares as f64)
}

fn plane_squares(a: Plane<'_>, b: Plane<'_>) -> u64 {
    a.rows().zip(b.rows()).map(|(a, b)| row_squares(a, b)).sum()
}

/// The sum of squared differences of one row: at most 8192 · 255² = 2^29, so `u32` holds it.
fn row_squares(a: &[u8], b: &[u8]) -> u64 {
    let square = |(&a, &b): (&u8, &u8)| {
        let difference = u32::from(a.abs_diff(b));
        difference * difference
    };
    u64::from(a.iter().zip(b).map(square).sum::<u32>())
}

/// `log10` of a positive normal number; `core` has none.
///
/// `x = m · 2^e` with `1 <= m < 2`, and `ln m = 2 atanh t` with `t = (m-1)/(m+1) < 1/3`, whose series gains a
/// digit a term.
fn log10(x: f64) -> f64 {
    const MANTISSA_BITS: u32 = 52;
    const EXPONENT_BIAS: i64 = 1023;
    let bits = x.to_bits();
    let exponent = (bits >> MANTISSA_BITS) as i64 - EXPONENT_BIAS;
    let mantissa = (bits & ((1 << MANTISSA_BITS) - 1)) | ((EXPONENT_BIAS as u64) << MANTISSA_BITS);
    let m = f64::from_bits(mantissa);
    let t = (m - 1.0) / (m + 1.0);
    let (mut power, mut sum) = (t, 0.0);
    for odd in (1..32).step_by(2) {
        sum += power / f64::from(odd);
        power *= t * t;
    }
    (2.0 * sum + exponent as f64 * core::f64::consts::LN_2) / core::f64::consts::LN_10
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    #[test]
    fn log10_is_that_of_std() {
        let mut x = 1e-3_f64;
        while x < 1e15 {
            assert!((log10(x) - x.log10()).abs() < 1e-12, "{x}");
            x *= 1.37;
        }
    }

    #[test]
    fn known_differences() {
        let mut a = Frame::new(64, 64).unwrap();
        for mut plane in a.planes_mut() {
            plane.fill(100);
        }
        let mut b = a.clone();
        let equal = psnr(&a, &b).unwrap();
        assert_eq!(equal.yuv(), EQUAL_DB);
        b.planes_mut()[0].fill(101);
        let one = psnr(&a, &b).unwrap();
        // MSE 1: 20 log10 255
        assert!((one.y - 48.130_803).abs() < 1e-5, "{one:?}");
        assert_eq!(one.u, EQUAL_DB);
        assert!(one.yuv() > one.y);
        assert_eq!(squares(&a, &b), Some([64 * 64, 0, 0]));
        assert_eq!(of_squares(64, 64, [64 * 64, 0, 0]), Some(one));
        assert!(of_squares(64, 0, [0; 3]).is_none());
        assert!(psnr(&a, &Frame::new(64, 63).unwrap()).is_none());
        assert!(psnr(&Frame::default(), &Frame::default()).is_none());
    }
}
