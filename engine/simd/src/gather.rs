//! From tables in memory to vectors: eight lanes each pick a point of their own.

use std::arch::x86_64::*;

use ticket::curve::scalar::Digits;
use ticket::curve::table::Point;

use crate::field::F8;
use crate::lanes::{Lanes, Mask, load, splat, store, transpose};
use crate::points::FreshPoints;

/// The digits of eight scalars, word by word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Digits8 {
    words: [__m512i; 4],
    /// In which lanes every digit changes its sign.
    negated: Mask,
}

/// One digit of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Digit8 {
    indices: __m512i,
    /// In which lanes it is negative.
    pub(crate) negative: Mask,
}

impl Digit8 {
    /// Which odd multiple.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn indices(&self) -> Lanes {
        store(self.indices)
    }

    /// In which lanes it is that one.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn lanes_with(&self, index: u64) -> Mask {
        _mm512_cmpeq_epi64_mask(self.indices, splat(index))
    }
}

impl Digits8 {
    /// Of one scalar a lane.
    #[target_feature(enable = "avx512f")]
    pub(crate) fn of(digits: &[Digits; 8]) -> Self {
        let mut words = [splat(0); 4];
        for (n, word) in words.iter_mut().enumerate() {
            *word = load(&std::array::from_fn(|lane| digits[lane].bits[n]));
        }
        let negated = (0..8)
            .filter(|lane| digits[*lane].is_negated)
            .fold(0, |mask, lane| mask | 1 << lane);
        Self { words, negated }
    }

    /// The digit of a window of `WIDTH` bits, as `ticket::curve::scalar::Digits::digit` has it.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn digit<const WIDTH: u32>(&self, window: u32) -> Digit8 {
        let half = 1u64 << (WIDTH - 1);
        let at = window * WIDTH;
        let shift = _mm_cvtsi64_si128(i64::from(at % 64));
        let bits = _mm512_srl_epi64(self.words[(at / 64) as usize], shift);
        let negative = _mm512_testn_epi64_mask(bits, splat(half));
        let turned = _mm512_mask_xor_epi64(bits, negative, bits, splat(u64::MAX));
        Digit8 {
            indices: _mm512_and_si512(turned, splat(half - 1)),
            negative: negative ^ self.negated,
        }
    }
}

/// Eight points, one a lane, with the signs of a digit.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn gather(points: [&Point; 8], negative: Mask) -> FreshPoints {
    let mut rows = [splat(0); 8];
    for (row, point) in rows.iter_mut().zip(points) {
        let ([a, b, c, d], [e, f, g, h]) = (point.x, point.y);
        *row = load(&[a, b, c, d, e, f, g, h]);
    }
    let [a, b, c, d, e, f, g, h] = transpose(rows);
    FreshPoints {
        x: F8::of_words([a, b, c, d]),
        y: F8::of_words([e, f, g, h]).loose().negate_in(negative),
    }
}
