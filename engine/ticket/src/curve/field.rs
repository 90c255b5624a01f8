//! Numbers modulo p = 2^256 − 2^32 − 977, in four words, the least first.
//!
//! Invariants:
//! - An [`Element`] is any number below 2^256; p and what follows it are second names of small numbers. Only [`Element::normal`]
//!   makes it unique, and whatever looks at bits does so first.
//! - Every operation takes and gives such numbers.

use ruint::aliases::U256;

/// A number modulo p.
#[derive(Clone, Copy, Debug, Default)]
pub struct Element(pub(super) [u64; 4]);

/// p.
pub const MODULUS: [u64; 4] = [0xffff_fffe_ffff_fc2f, u64::MAX, u64::MAX, u64::MAX];
/// 2^256 modulo p: what overflow is worth.
pub const FOLD: u64 = 0x1_0000_03d1;

impl Element {
    /// 0.
    pub const ZERO: Self = Self([0; 4]);
    /// 1.
    pub const ONE: Self = Self([1, 0, 0, 0]);

    /// Of four words, the least first.
    #[must_use]
    pub const fn from_words(words: [u64; 4]) -> Self {
        Self(words)
    }

    /// Of bytes, the greatest first; `None` when they are p or more.
    #[must_use]
    pub fn from_be_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let words = words_of(bytes);
        (!at_least(&words, &MODULUS)).then_some(Self(words))
    }

    /// Its one name below p.
    #[must_use]
    pub const fn normal(&self) -> [u64; 4] {
        match at_least(&self.0, &MODULUS) {
            true => minus(&self.0, &MODULUS).0,
            false => self.0,
        }
    }

    /// The greatest byte first.
    #[must_use]
    pub fn to_be_bytes(&self) -> [u8; 32] {
        bytes_of(&self.normal())
    }

    /// Whether it is 0.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        let [a, b, c, d] = self.0;
        (a | b | c | d) == 0 || (a == MODULUS[0] && b & c & d == u64::MAX)
    }

    /// Whether it is the same number.
    #[must_use]
    pub fn equals(&self, other: &Self) -> bool {
        self.normal() == other.normal()
    }

    /// Whether its normal form is odd.
    #[must_use]
    pub const fn is_odd(&self) -> bool {
        self.normal()[0] & 1 == 1
    }

    /// `self + other`.
    #[must_use]
    #[inline]
    pub const fn add(&self, other: &Self) -> Self {
        let (sum, carry) = plus(&self.0, &other.0);
        // A carry is worth FOLD. Adding that may carry once more, and then what is left is far below FOLD.
        let (sum, carry) = plus_word(&sum, if carry { FOLD } else { 0 });
        Self(plus_word(&sum, if carry { FOLD } else { 0 }).0)
    }

    /// `self − other`.
    #[must_use]
    #[inline]
    pub const fn sub(&self, other: &Self) -> Self {
        let (difference, borrow) = minus(&self.0, &other.0);
        let (difference, borrow) = minus_word(&difference, if borrow { FOLD } else { 0 });
        Self(minus_word(&difference, if borrow { FOLD } else { 0 }).0)
    }

    /// `−self`.
    #[must_use]
    pub const fn negate(&self) -> Self {
        Self::ZERO.sub(self)
    }

    /// `self × other`.
    #[must_use]
    #[inline]
    pub const fn mul(&self, other: &Self) -> Self {
        fold(wide_mul(&self.0, &other.0))
    }

    /// `self²`.
    #[must_use]
    #[inline]
    pub const fn square(&self) -> Self {
        fold(wide_mul(&self.0, &self.0))
    }

    /// `self` squared `times` times.
    #[must_use]
    const fn squared(&self, times: u32) -> Self {
        let mut power = *self;
        let mut n = 0;
        while n < times {
            power = power.square();
            n += 1;
        }
        power
    }

    /// `self⁻¹`, and 0 of 0 (by Lehmer's form of Euclid's algorithm, five times as fast as a power).
    #[must_use]
    pub fn invert(&self) -> Self {
        let inverse = U256::from_limbs(self.normal()).inv_mod(U256::from_limbs(MODULUS));
        Self(inverse.unwrap_or_default().into_limbs())
    }

    /// A number whose square it is; `None` when there is none. `self^((p + 1)/4)`, since p is 3 modulo 4.
    #[must_use]
    pub fn sqrt(&self) -> Option<Self> {
        // The exponent is 223 ones, 0, 22 ones, 0000, 11, 00; nN is the power whose exponent is N ones.
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
        let root = n223.squared(23).mul(&n22).squared(6).mul(&n2).squared(2);
        root.square().equals(self).then_some(root)
    }
}

/// Inverts every element in place, at the cost of one inversion and three multiplications each (Montgomery). None may be 0.
/// `scratch` is kept between calls.
pub fn invert_all(elements: &mut [Element], scratch: &mut alloc::vec::Vec<Element>) {
    scratch.clear();
    let mut product = Element::ONE;
    for element in &*elements {
        scratch.push(product);
        product = product.mul(element);
    }
    let mut inverse = product.invert();
    for (element, before) in elements.iter_mut().zip(&*scratch).rev() {
        let of_this = inverse.mul(before);
        inverse = inverse.mul(element);
        *element = of_this;
    }
}

/// The product of 512 bits, brought below 2^256.
#[inline]
const fn fold(wide: [u64; 8]) -> Element {
    let mut low = [0; 4];
    let mut carry = 0u128;
    let mut n = 0;
    while n < 4 {
        carry += wide[n] as u128 + wide[n + 4] as u128 * FOLD as u128;
        low[n] = carry as u64;
        carry >>= 64;
        n += 1;
    }
    // What is above 2^256 now is below 2^34, so its worth is below 2^68: two words.
    let over = carry * FOLD as u128;
    let (sum, c) = plus(&low, &[over as u64, (over >> 64) as u64, 0, 0]);
    Element(plus_word(&sum, if c { FOLD } else { 0 }).0)
}

#[inline]
pub(super) const fn wide_mul(a: &[u64; 4], b: &[u64; 4]) -> [u64; 8] {
    let mut wide = [0; 8];
    let mut i = 0;
    while i < 4 {
        let mut carry = 0u128;
        let mut j = 0;
        while j < 4 {
            // At most (2^64 − 1)² + 2 (2^64 − 1) = 2^128 − 1.
            carry += wide[i + j] as u128 + a[i] as u128 * b[j] as u128;
            wide[i + j] = carry as u64;
            carry >>= 64;
            j += 1;
        }
        wide[i + 4] = carry as u64;
        i += 1;
    }
    wide
}

/// `a + b`, and whether it overflowed.
#[inline]
pub(super) const fn plus(a: &[u64; 4], b: &[u64; 4]) -> ([u64; 4], bool) {
    let (w0, c) = add_with(a[0], b[0], false);
    let (w1, c) = add_with(a[1], b[1], c);
    let (w2, c) = add_with(a[2], b[2], c);
    let (w3, c) = add_with(a[3], b[3], c);
    ([w0, w1, w2, w3], c)
}

/// `a − b`, and whether it went below 0.
#[inline]
pub(super) const fn minus(a: &[u64; 4], b: &[u64; 4]) -> ([u64; 4], bool) {
    let (w0, c) = sub_with(a[0], b[0], false);
    let (w1, c) = sub_with(a[1], b[1], c);
    let (w2, c) = sub_with(a[2], b[2], c);
    let (w3, c) = sub_with(a[3], b[3], c);
    ([w0, w1, w2, w3], c)
}

#[inline]
const fn plus_word(a: &[u64; 4], word: u64) -> ([u64; 4], bool) {
    plus(a, &[word, 0, 0, 0])
}

#[inline]
const fn minus_word(a: &[u64; 4], word: u64) -> ([u64; 4], bool) {
    minus(a, &[word, 0, 0, 0])
}

#[inline]
const fn add_with(a: u64, b: u64, carry: bool) -> (u64, bool) {
    let (sum, over) = a.overflowing_add(b);
    let (sum, over_again) = sum.overflowing_add(carry as u64);
    (sum, over | over_again)
}

#[inline]
const fn sub_with(a: u64, b: u64, borrow: bool) -> (u64, bool) {
    let (difference, under) = a.overflowing_sub(b);
    let (difference, under_again) = difference.overflowing_sub(borrow as u64);
    (difference, under | under_again)
}

/// Whether `a ≥ b`.
#[inline]
pub(super) const fn at_least(a: &[u64; 4], b: &[u64; 4]) -> bool {
    !minus(a, b).1
}

/// Words of bytes, the greatest byte first, the least word first.
pub(super) fn words_of(bytes: &[u8; 32]) -> [u64; 4] {
    let (chunks, _) = bytes.as_chunks();
    core::array::from_fn(|n| u64::from_be_bytes(chunks[3 - n]))
}

/// The reverse of [`words_of`].
pub(super) fn bytes_of(words: &[u64; 4]) -> [u8; 32] {
    let mut bytes = [0; 32];
    let (chunks, _) = bytes.as_chunks_mut();
    for (chunk, word) in chunks.iter_mut().rev().zip(words) {
        *chunk = word.to_be_bytes();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const P: U256 = U256::from_limbs(MODULUS);

    fn big(element: &Element) -> U256 {
        U256::from_limbs(element.normal())
    }

    /// Any number below 2^256, edges often.
    pub(crate) fn any_element() -> impl Strategy<Value = Element> {
        let edge = prop_oneof![
            Just([0; 4]),
            Just(MODULUS),
            Just([u64::MAX; 4]),
            (0u64..4).prop_map(|n| [n, 0, 0, 0]),
            (0u64..4).prop_map(|n| minus(&MODULUS, &[n, 0, 0, 0]).0),
            (0u64..FOLD).prop_map(|n| plus(&MODULUS, &[n, 0, 0, 0]).0),
            any::<[bool; 4]>().prop_map(|ones| ones.map(|one| if one { u64::MAX } else { 0 })),
        ];
        prop_oneof![edge, any::<[u64; 4]>()].prop_map(Element)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn arithmetic_is_that_of_integers_modulo_p(a in any_element(), b in any_element()) {
            let (x, y) = (U256::from_limbs(a.0) % P, U256::from_limbs(b.0) % P);
            prop_assert_eq!(big(&a), x);
            prop_assert_eq!(big(&a.add(&b)), x.add_mod(y, P));
            prop_assert_eq!(big(&a.sub(&b)), x.add_mod(P - y, P));
            prop_assert_eq!(big(&a.negate()), (P - x) % P);
            prop_assert_eq!(big(&a.mul(&b)), x.mul_mod(y, P));
            prop_assert_eq!(big(&a.square()), x.mul_mod(x, P));
            prop_assert_eq!(a.is_zero(), x.is_zero());
            prop_assert_eq!(a.is_odd(), x.bit(0));
            prop_assert_eq!(a.equals(&b), x == y);
            prop_assert_eq!(Element::from_be_bytes(&a.to_be_bytes()).unwrap().0, a.normal());
        }
    }

    proptest! {
        #[test]
        fn inverses_and_roots_are_such(a in any_element(), others in proptest::collection::vec(any_element(), 0..9)) {
            let expected = if a.is_zero() { Element::ZERO } else { Element::ONE };
            prop_assert!(a.mul(&a.invert()).equals(&expected));
            let root = a.square().sqrt().expect("a square has a root");
            prop_assert!(root.equals(&a) || root.equals(&a.negate()));
            if let Some(root) = a.sqrt() {
                prop_assert!(root.square().equals(&a));
            } else {
                // −1 is no square modulo p, so of a number and its opposite one is.
                prop_assert!(a.negate().sqrt().is_some());
            }
            let mut all: alloc::vec::Vec<_> = others.into_iter().filter(|e| !e.is_zero()).collect();
            let before = all.clone();
            invert_all(&mut all, &mut alloc::vec::Vec::new());
            for (inverse, element) in all.iter().zip(&before) {
                prop_assert!(inverse.mul(element).equals(&Element::ONE));
            }
        }
    }

    #[test]
    fn p_and_beyond_are_no_bytes_of_an_element() {
        assert!(Element::from_be_bytes(&bytes_of(&MODULUS)).is_none());
        assert!(Element::from_be_bytes(&[255; 32]).is_none());
        let greatest = minus(&MODULUS, &[1, 0, 0, 0]).0;
        assert_eq!(
            Element::from_be_bytes(&bytes_of(&greatest)).unwrap().0,
            greatest
        );
    }
}
