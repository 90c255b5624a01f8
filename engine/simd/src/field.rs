//! Eight numbers modulo p = 2^256 − c, c = 2^32 + 977, one a lane.
//!
//! ```text
//!   a number    l0 + l1·2^52 + l2·2^104 + l3·2^156 + l4·2^208          five limbs, a vector each
//!   IFMA        lo: t += (a·b) mod 2^52      hi: t += (a·b) / 2^52      of the factors' low 52 bits
//! ```
//!
//! The multiply-add takes 52 bits of each factor and forgets the rest, so limbs must be below 2^52 whenever they are multiplied.
//! A number is **tight** when l0 to l3 are below 2^52 and l4 is below 2^48 + 2^10; it is then below 2^256 + 2^219. Every operation
//! takes and gives tight numbers. A [`Loose`] one is a tight one or its opposite, limb by limb, and can only be subtracted.
//!
//! What lies above 2^256 is worth c for each 2^256 (and 16c for each 2^260), so it is multiplied by that and added at the bottom.

use std::arch::x86_64::*;

use ticket::curve::Element;

use crate::lanes::{Lanes, Mask, load, splat, store};

/// Eight tight numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct F8(pub(crate) [__m512i; 5]);

/// Eight numbers, each with the limbs of a tight one, or with their opposites.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loose(pub(crate) [__m512i; 5]);

const LIMB: u64 = (1 << 52) - 1;
const TOP: u64 = (1 << 48) - 1;
/// 2^256 modulo p.
const C: u64 = ticket::curve::field::FOLD;
/// 2^260 modulo p: 37 bits.
const C16: u64 = C << 4;
/// p.
const P: [u64; 5] = [
    ticket::curve::field::MODULUS[0] & LIMB,
    LIMB,
    LIMB,
    LIMB,
    TOP,
];
/// 8p, limb by limb: added to the difference of two loose numbers, or to a tight one less two, it makes every limb positive.
const P8: [u64; 5] = [P[0] << 3, LIMB << 3, LIMB << 3, LIMB << 3, TOP << 3];

impl F8 {
    /// 0 in every lane.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn zero() -> Self {
        Self([splat(0); 5])
    }

    /// 1 in every lane.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn one() -> Self {
        Self([splat(1), splat(0), splat(0), splat(0), splat(0)])
    }

    /// Of words below 2^256, the least first.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn of_words([w0, w1, w2, w3]: [__m512i; 4]) -> Self {
        let limb = splat(LIMB);
        // (a or b) and c.
        const JOIN: i32 = 0b1010_1000;
        Self([
            _mm512_and_si512(w0, limb),
            _mm512_ternarylogic_epi64::<JOIN>(
                _mm512_srli_epi64::<52>(w0),
                _mm512_slli_epi64::<12>(w1),
                limb,
            ),
            _mm512_ternarylogic_epi64::<JOIN>(
                _mm512_srli_epi64::<40>(w1),
                _mm512_slli_epi64::<24>(w2),
                limb,
            ),
            _mm512_ternarylogic_epi64::<JOIN>(
                _mm512_srli_epi64::<28>(w2),
                _mm512_slli_epi64::<36>(w3),
                limb,
            ),
            _mm512_srli_epi64::<16>(w3),
        ])
    }

    /// Of eight numbers.
    #[target_feature(enable = "avx512f")]
    pub(crate) fn of_elements(elements: &[Element; 8]) -> Self {
        let normal = elements.map(|element| element.normal());
        let mut words = [splat(0); 4];
        for (n, word) in words.iter_mut().enumerate() {
            let lanes: Lanes = std::array::from_fn(|lane| normal[lane][n]);
            *word = load(&lanes);
        }
        Self::of_words(words)
    }

    /// The eight numbers.
    #[target_feature(enable = "avx512f")]
    pub(crate) fn to_elements(self) -> [Element; 8] {
        let mut limbs = [[0; 8]; 5];
        for (lanes, vector) in limbs.iter_mut().zip(self.0) {
            *lanes = store(vector);
        }
        std::array::from_fn(|lane| {
            let [l0, l1, l2, l3, l4] = limbs.map(|lanes| lanes[lane]);
            let low = [
                l0 | l1 << 52,
                l1 >> 12 | l2 << 40,
                l2 >> 24 | l3 << 28,
                l3 >> 36 | l4 << 16,
            ];
            let over = [(l4 >> 48) * C, 0, 0, 0];
            Element::from_words(low).add(&Element::from_words(over))
        })
    }

    /// `self × other`.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(crate) fn mul(&self, other: &Self) -> Self {
        let (a, b) = (&self.0, &other.0);
        let mut t = [splat(0); 10];
        for i in 0..5 {
            for j in 0..5 {
                t[i + j] = _mm512_madd52lo_epu64(t[i + j], a[i], b[j]);
                t[i + j + 1] = _mm512_madd52hi_epu64(t[i + j + 1], a[i], b[j]);
            }
        }
        fold(t)
    }

    /// `self²`.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(crate) fn square(&self) -> Self {
        let a = &self.0;
        let mut t = [splat(0); 10];
        for i in 0..5 {
            for j in i + 1..5 {
                t[i + j] = _mm512_madd52lo_epu64(t[i + j], a[i], a[j]);
                t[i + j + 1] = _mm512_madd52hi_epu64(t[i + j + 1], a[i], a[j]);
            }
        }
        // Each product of two limbs counts twice.
        for column in &mut t {
            *column = _mm512_add_epi64(*column, *column);
        }
        for i in 0..5 {
            t[2 * i] = _mm512_madd52lo_epu64(t[2 * i], a[i], a[i]);
            t[2 * i + 1] = _mm512_madd52hi_epu64(t[2 * i + 1], a[i], a[i]);
        }
        fold(t)
    }

    /// `self` squared `times` times.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(crate) fn squared(&self, times: u32) -> Self {
        let mut power = *self;
        for _ in 0..times {
            power = power.square();
        }
        power
    }

    /// `self + other`.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(crate) fn add(&self, other: &Self) -> Self {
        let mut t = self.0;
        for (t, limb) in t.iter_mut().zip(other.0) {
            *t = _mm512_add_epi64(*t, limb);
        }
        tighten(t)
    }

    /// `2·self`.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(crate) fn double(&self) -> Self {
        self.add(self)
    }

    /// `3·self`.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(crate) fn triple(&self) -> Self {
        let mut t = self.0;
        for t in &mut t {
            *t = _mm512_add_epi64(_mm512_add_epi64(*t, *t), *t);
        }
        tighten(t)
    }

    /// `self − other`.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(crate) fn sub(&self, other: &Self) -> Self {
        self.loose().minus(&other.loose())
    }

    /// `self − one − other`.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(crate) fn sub_both(&self, one: &Self, other: &Self) -> Self {
        let mut t = self.0;
        for n in 0..5 {
            t[n] = _mm512_sub_epi64(
                _mm512_add_epi64(t[n], splat(P8[n])),
                _mm512_add_epi64(one.0[n], other.0[n]),
            );
        }
        tighten(t)
    }

    /// As a loose number.
    pub(crate) const fn loose(&self) -> Loose {
        Loose(self.0)
    }

    /// In which lanes it is 0 (or p, its other name).
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn zeros(&self) -> Mask {
        let [l0, ..] = self.0;
        let maybe = _mm512_testn_epi64_mask(l0, l0) | _mm512_cmpeq_epi64_mask(l0, splat(P[0]));
        // One limb says no but once in 2^51.
        if maybe == 0 {
            0
        } else {
            self.is_zero_in(maybe)
        }
    }

    #[target_feature(enable = "avx512f")]
    #[cold]
    fn is_zero_in(&self, maybe: Mask) -> Mask {
        let elements = self.to_elements();
        (0..8)
            .filter(|lane| elements[*lane].is_zero())
            .fold(0, |mask, lane| mask | 1 << lane)
            & maybe
    }

    /// `self`, and in the lanes of `mask` `other`.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn blend(&self, mask: Mask, other: &Self) -> Self {
        let mut limbs = self.0;
        for (limb, other) in limbs.iter_mut().zip(other.0) {
            *limb = _mm512_mask_mov_epi64(*limb, mask, other);
        }
        Self(limbs)
    }

    /// A number whose square it is, where there is one: `self^((p + 1)/4)`. The exponent is 223 ones, 0, 22 ones, 0000, 11, 00.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(crate) fn root(&self) -> Self {
        let n2 = self.square().mul(self);
        let n3 = n2.square().mul(self);
        let n6 = n3.squared(3).mul(&n3);
        let n9 = n6.squared(3).mul(&n3);
        let n11 = n9.squared(2).mul(&n2);
        let n22 = n11.squared(11).mul(&n11);
        let n44 = n22.squared(22).mul(&n22);
        let n88 = n44.squared(44).mul(&n44);
        let n176 = n88.squared(88).mul(&n88);
        let n220 = n176.squared(44).mul(&n44);
        let n223 = n220.squared(3).mul(&n3);
        n223.squared(23).mul(&n22).squared(6).mul(&n2).squared(2)
    }
}

impl Loose {
    /// `−self` in the lanes of `mask`.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn negate_in(&self, mask: Mask) -> Self {
        let mut limbs = self.0;
        for limb in &mut limbs {
            *limb = _mm512_mask_sub_epi64(*limb, mask, splat(0), *limb);
        }
        Self(limbs)
    }

    /// As a tight number.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(crate) fn tight(&self) -> F8 {
        let mut t = self.0;
        for n in 0..5 {
            t[n] = _mm512_add_epi64(t[n], splat(P8[n]));
        }
        tighten(t)
    }

    /// `self − other`.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(crate) fn minus(&self, other: &Self) -> F8 {
        let mut t = self.0;
        for n in 0..5 {
            t[n] = _mm512_sub_epi64(_mm512_add_epi64(t[n], splat(P8[n])), other.0[n]);
        }
        tighten(t)
    }
}

/// Columns of a product become a tight number.
///
/// Bounds: of tight factors the product is below 2^513. Each column is a sum of at most ten numbers below 2^52, so below 2^56. Once
/// the upper five are carried through they are limbs, the last below 2^46; times 16c they add at most 2^53 to a lower column.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn fold(mut t: [__m512i; 10]) -> F8 {
    let limb = splat(LIMB);
    for n in 5..9 {
        t[n + 1] = _mm512_add_epi64(t[n + 1], _mm512_srli_epi64::<52>(t[n]));
        t[n] = _mm512_and_si512(t[n], limb);
    }
    let c16 = splat(C16);
    // What reaches 2^260 once more: below 2^31.
    let mut over = splat(0);
    for n in 0..5 {
        t[n] = _mm512_madd52lo_epu64(t[n], t[n + 5], c16);
        match n {
            4 => over = _mm512_madd52hi_epu64(over, t[9], c16),
            _ => t[n + 1] = _mm512_madd52hi_epu64(t[n + 1], t[n + 5], c16),
        }
    }
    // All above 2^256: of l4 at most 9 bits, and 16 for each 2^260. Below 2^36, so times c it is below 2^69: both halves.
    let over = _mm512_add_epi64(_mm512_slli_epi64::<4>(over), _mm512_srli_epi64::<48>(t[4]));
    t[4] = _mm512_and_si512(t[4], splat(TOP));
    t[0] = _mm512_madd52lo_epu64(t[0], over, splat(C));
    t[1] = _mm512_madd52hi_epu64(t[1], over, splat(C));
    // Columns are below 2^57, so a carry is below 2^5.
    for n in 0..4 {
        t[n + 1] = _mm512_add_epi64(t[n + 1], _mm512_srli_epi64::<52>(t[n]));
        t[n] = _mm512_and_si512(t[n], limb);
    }
    F8([t[0], t[1], t[2], t[3], t[4]])
}

/// Five limbs become a tight number. None is negative; each is below 2^57, the last below 2^53.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn tighten(mut t: [__m512i; 5]) -> F8 {
    // At most 5 bits, so times c it is below 2^38.
    let over = _mm512_srli_epi64::<48>(t[4]);
    t[4] = _mm512_and_si512(t[4], splat(TOP));
    t[0] = _mm512_madd52lo_epu64(t[0], over, splat(C));
    let limb = splat(LIMB);
    for n in 0..4 {
        t[n + 1] = _mm512_add_epi64(t[n + 1], _mm512_srli_epi64::<52>(t[n]));
        t[n] = _mm512_and_si512(t[n], limb);
    }
    F8(t)
}

#[cfg(test)]
mod tests;
