//! Half precision (IEEE 754 binary16) by hand: `core` has no such type, and a device kernel must give the same bits.
//!
//! ```text
//!   f32:  s eeeeeeee mmmmmmmmmmmmmmmmmmmmmmm      value 1.m · 2^(e - 127)
//!   f16:  s eeeee mmmmmmmmmm                      value 1.m · 2^(e - 15);  e = 0: 0.m · 2^-14
//! ```
//!
//! Rounding is to nearest, ties to even. A number whose nearest half would be 65 536 or more is infinite. A
//! not-a-number stays one, made quiet, with its sign and the upper bits of its payload.
//!
//! Each function computes every case and selects, so that a loop over it vectorises.

/// The bits of the half nearest to `x`.
pub fn from_f32(x: f32) -> u16 {
    let bits = x.to_bits();
    // Without its sign the number is a non-negative i32, which orders as the float does.
    let magnitude = (bits & 0x7fff_ffff) as i32;
    // Normal: the exponent moves by 127 - 15 = 112, and 13 bits go, of which 0x1000 is a half.
    let odd = (magnitude >> 13) & 1;
    let normal = magnitude.wrapping_sub(112 << 23).wrapping_add(0xfff + odd) >> 13;
    // Below 2^-14: a half then counts in 2^-24, which is the last place of an f32 in 0.5..1. The addition rounds.
    let tiny = (f32::from_bits(magnitude as u32) + 0.5).to_bits() as i32 - ONE_HALF;
    let nan = 0x7e00 | ((magnitude >> 13) & 0x1ff);
    let finite = if magnitude < NORMAL_MIN { tiny } else { normal };
    let number = if magnitude < OVERFLOW { finite } else { 0x7c00 };
    let half = if magnitude > INFINITE { nan } else { number };
    half as u16 | (bits >> 16) as u16 & 0x8000
}

/// The number that a half's bits mean. Every half is an `f32`, so nothing is rounded.
pub fn to_f32(half: u16) -> f32 {
    let magnitude = i32::from(half & 0x7fff);
    let normal = (magnitude << 13) + (112 << 23);
    // Infinite and not a number: the exponent is all ones in either form.
    let special = (magnitude << 13) | INFINITE;
    // Zero and subnormal: an integer below 1024, times 2^-24.
    let tiny = (magnitude as f32 * STEP).to_bits() as i32;
    let finite = if magnitude < 0x400 { tiny } else { normal };
    let number = if magnitude < 0x7c00 { finite } else { special };
    f32::from_bits(number as u32 | u32::from(half & 0x8000) << 16)
}

/// 0.5 as bits.
const ONE_HALF: i32 = 0x3f00_0000;
/// 2^-14, the smallest normal half, as bits of an `f32`.
const NORMAL_MIN: i32 = 0x3880_0000;
/// 65 520, halfway from the largest half (65 504) to 65 536: it and all above are infinite.
const OVERFLOW: i32 = 0x477f_f000;
/// Infinity as bits of an `f32`.
const INFINITE: i32 = 0x7f80_0000;
/// 2^-24, the smallest half.
const STEP: f32 = 1.0 / 16_777_216.0;

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    use proptest::prelude::*;
    use std::vec::Vec;

    /// The meaning of a finite half, written from the definition.
    fn value(half: u16) -> f64 {
        let sign = if half & 0x8000 == 0 { 1.0 } else { -1.0 };
        let (exponent, fraction) = (i32::from(half >> 10 & 0x1f), f64::from(half & 0x3ff));
        assert!(exponent < 31);
        let magnitude = if exponent == 0 {
            fraction / 1024.0 * 2_f64.powi(-14)
        } else {
            (1.0 + fraction / 1024.0) * 2_f64.powi(exponent - 15)
        };
        sign * magnitude
    }

    /// The nearest half by search: among all positive ones, with 65 536 standing for infinity.
    fn nearest(x: f32) -> u16 {
        let values: Vec<f64> = (0..0x7c00).map(value).chain([65_536.0]).collect();
        let (x, sign) = (
            f64::from(x).abs(),
            if x.is_sign_negative() { 0x8000 } else { 0 },
        );
        let above = values.partition_point(|&v| v < x).min(0x7c00);
        let below = above.saturating_sub(1);
        let (down, up) = (x - values[below], values[above] - x);
        let even = if below.is_multiple_of(2) {
            below
        } else {
            above
        };
        let best = if down < up {
            below
        } else if up < down {
            above
        } else {
            even
        };
        best as u16 | sign
    }

    #[test]
    fn every_half_means_what_it_should_and_comes_back() {
        for half in 0..=u16::MAX {
            let x = to_f32(half);
            let magnitude = half & 0x7fff;
            match magnitude {
                0..0x7c00 => {
                    assert_eq!(f64::from(x), value(half));
                    assert_eq!(x.is_sign_negative(), half & 0x8000 != 0);
                    assert_eq!(from_f32(x), half);
                }
                0x7c00 => {
                    assert!(x.is_infinite());
                    assert_eq!(from_f32(x), half);
                }
                _ => {
                    assert!(x.is_nan());
                    assert_eq!(from_f32(x), half | 0x200, "quiet, payload kept");
                }
            }
        }
    }

    #[test]
    fn between_two_halves_the_nearer_wins_and_a_tie_goes_to_the_even() {
        for half in 0..0x7bff_u16 {
            let (low, high) = (to_f32(half), to_f32(half + 1));
            let middle = (low + high) / 2.0;
            let even = half + half % 2;
            let (before, after) = (middle.next_down(), middle.next_up());
            for (x, expected) in [(before, half), (middle, even), (after, half + 1)] {
                assert_eq!(from_f32(x), expected, "{x:e}");
                assert_eq!(from_f32(-x), expected | 0x8000, "-{x:e}");
            }
        }
    }

    #[test]
    fn the_ends() {
        for (x, half) in [
            (65_504.0, 0x7bff),
            (65_519.996, 0x7bff),
            (65_520.0, 0x7c00),
            (f32::MAX, 0x7c00),
            (f32::INFINITY, 0x7c00),
            (f32::NEG_INFINITY, 0xfc00),
            (-0.0, 0x8000),
            (f32::from_bits(1), 0),
            (2_f32.powi(-25), 0),
            (2_f32.powi(-25).next_up(), 1),
        ] {
            assert_eq!(from_f32(x), half, "{x:e}");
        }
        // A payload that lies in the bits that go is still not a number.
        assert_eq!(from_f32(f32::from_bits(0xff80_0001)), 0xfe00);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_number_goes_to_the_nearest_half(bits in any::<u32>(), small in any::<u32>()) {
            // Half of them within the range of a half: exponents 2^-27 to 2^17.
            let near = small & 0x807f_ffff | (100 + (small >> 23) % 45) << 23;
            for x in [bits, near].map(f32::from_bits) {
                if !x.is_nan() {
                    prop_assert_eq!(from_f32(x), nearest(x), "{:e}", x);
                }
            }
        }
    }
}
