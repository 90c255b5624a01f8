//! Numbers modulo n, the order of the curve: what points are multiplied by.
//!
//! Multiplication is Montgomery's: `a ⊗ b = a·b / 2^256`. A factor that is kept times 2^256 ([`Mont`]) makes it an ordinary one, and
//! only the inverses of `s` are kept so: `u1 = z ⊗ s⁻¹·2^256` needs no conversion of `z`.

use alloc::vec::Vec;

use ruint::aliases::U256;

use super::field::{at_least, minus, plus, words_of};

/// A number below n, in four words, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scalar(pub(super) [u64; 4]);

/// A number below n, times 2^256 modulo n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mont([u64; 4]);

/// n.
pub const ORDER: [u64; 4] = [
    0xbfd2_5e8c_d036_4141,
    0xbaae_dce6_af48_a03b,
    0xffff_ffff_ffff_fffe,
    u64::MAX,
];
/// −n⁻¹ modulo 2^64.
const ORDER_INVERSE: u64 = negative_inverse(ORDER[0]);
/// 2^512 modulo n: what makes a number its own [`Mont`].
const SQUARED: [u64; 4] = power_of_two(512);
/// 2^768 modulo n.
const CUBED: [u64; 4] = power_of_two(768);
const ONE: Mont = Mont(power_of_two(256));

impl Scalar {
    /// 0.
    pub const ZERO: Self = Self([0; 4]);

    /// Of bytes, the greatest first; `None` when they are n or more.
    #[must_use]
    pub fn from_be_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let words = words_of(bytes);
        (!at_least(&words, &ORDER)).then_some(Self(words))
    }

    /// What is left of a digest's number.
    #[must_use]
    pub fn reduced(bytes: &[u8; 32]) -> Self {
        // n is above 2^255, so once is enough.
        Self(reduce_once(words_of(bytes), false))
    }

    /// Whether it is 0.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        let [a, b, c, d] = self.0;
        a | b | c | d == 0
    }

    /// The words, the least first.
    #[must_use]
    pub const fn words(&self) -> [u64; 4] {
        self.0
    }

    /// `self × factor`.
    #[must_use]
    pub fn times(&self, factor: &Mont) -> Self {
        Self(montgomery(&self.0, &factor.0))
    }

    /// As a factor.
    #[must_use]
    pub fn to_mont(self) -> Mont {
        Mont(montgomery(&self.0, &SQUARED))
    }

    /// `n − self`, and 0 of 0.
    #[must_use]
    pub const fn negate(&self) -> Self {
        match self.is_zero() {
            true => Self::ZERO,
            false => Self(minus(&ORDER, &self.0).0),
        }
    }

    /// Signed odd digits, of which there is exactly one for each window, and none is 0.
    ///
    /// An odd k below 2^256 is the sum of `(2b_j − 1)·2^j` over the 256 bits `b_j` of `(k + 2^256 − 1)/2`; so `width` bits of that, as a
    /// number B, are a digit `2B − (2^width − 1)`: odd, and at most `2^width − 1` either way. An even k is `−(n − k)`, and n − k is odd.
    #[must_use]
    pub const fn digits(&self) -> Digits {
        let is_even = self.0[0] & 1 == 0;
        let [a, b, c, d] = if is_even {
            minus(&ORDER, &self.0).0
        } else {
            self.0
        };
        Digits {
            bits: [
                a >> 1 | b << 63,
                b >> 1 | c << 63,
                c >> 1 | d << 63,
                d >> 1 | 1 << 63,
            ],
            is_negated: is_even,
        }
    }
}

/// A scalar in signed odd digits; see [`Scalar::digits`].
#[derive(Clone, Copy, Debug)]
pub struct Digits {
    /// What the digits are cut from.
    pub bits: [u64; 4],
    /// Whether each digit is to be taken with the other sign.
    pub is_negated: bool,
}

impl Digits {
    /// The digit of a window of `WIDTH` bits: which odd multiple it is, counted from 0 for 1 (so ±(2·index + 1)), and whether it is
    /// negative. `WIDTH` divides 64.
    #[must_use]
    #[inline]
    pub const fn digit<const WIDTH: u32>(&self, window: u32) -> (usize, bool) {
        const { assert!(64 % WIDTH == 0) };
        let at = window * WIDTH;
        let half = 1u64 << (WIDTH - 1);
        let bits = self.bits[(at / 64) as usize] >> (at % 64);
        let is_negative = bits & half == 0;
        // B − half of an upper one, half − 1 − B of a lower one: its bits turned over.
        let index = if is_negative { !bits } else { bits } & (half - 1);
        (index as usize, is_negative != self.is_negated)
    }
}

impl Mont {
    /// `self × other`.
    #[must_use]
    pub fn times(&self, other: &Self) -> Self {
        Self(montgomery(&self.0, &other.0))
    }

    /// `self⁻¹`, and 0 of 0.
    #[must_use]
    pub fn invert(&self) -> Self {
        // Of a·2^256 the inverse is a⁻¹·2^−256, and Montgomery's product with 2^768 makes that a⁻¹·2^256.
        let inverse = U256::from_limbs(self.0).inv_mod(U256::from_limbs(ORDER));
        Self(montgomery(
            &inverse.unwrap_or_default().into_limbs(),
            &CUBED,
        ))
    }
}

/// Inverts every factor in place, as [`super::field::invert_all`] does. None may be 0.
pub fn invert_all(factors: &mut [Mont], scratch: &mut Vec<Mont>) {
    scratch.clear();
    let mut product = ONE;
    for factor in &*factors {
        scratch.push(product);
        product = product.times(factor);
    }
    let mut inverse = product.invert();
    for (factor, before) in factors.iter_mut().zip(&*scratch).rev() {
        let of_this = inverse.times(before);
        inverse = inverse.times(factor);
        *factor = of_this;
    }
}

/// `a·b / 2^256` modulo n. One of them is below n, the other below 2^256.
#[inline]
fn montgomery(a: &[u64; 4], b: &[u64; 4]) -> [u64; 4] {
    let mut t = [0u64; 6];
    for &word in a {
        let mut carry = 0u128;
        for j in 0..4 {
            carry += u128::from(t[j]) + u128::from(word) * u128::from(b[j]);
            t[j] = carry as u64;
            carry >>= 64;
        }
        carry += u128::from(t[4]);
        t[4] = carry as u64;
        t[5] = (carry >> 64) as u64;
        // A multiple of n that makes the least word 0; then everything moves down by one.
        let m = u128::from(t[0].wrapping_mul(ORDER_INVERSE));
        let mut carry = (u128::from(t[0]) + m * u128::from(ORDER[0])) >> 64;
        for j in 1..4 {
            carry += u128::from(t[j]) + m * u128::from(ORDER[j]);
            t[j - 1] = carry as u64;
            carry >>= 64;
        }
        carry += u128::from(t[4]);
        t[3] = carry as u64;
        t[4] = t[5] + (carry >> 64) as u64;
    }
    // Below 2n: (2^256·n + 2^256·n) / 2^256.
    reduce_once([t[0], t[1], t[2], t[3]], t[4] != 0)
}

const fn reduce_once(words: [u64; 4], is_over: bool) -> [u64; 4] {
    let (less, borrow) = minus(&words, &ORDER);
    match borrow && !is_over {
        true => words,
        false => less,
    }
}

const fn negative_inverse(odd: u64) -> u64 {
    // Newton: each step doubles the bits that are right, and an odd number is its own inverse modulo 8.
    let mut inverse = odd;
    let mut n = 0;
    while n < 5 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse)));
        n += 1;
    }
    inverse.wrapping_neg()
}

const fn power_of_two(exponent: u32) -> [u64; 4] {
    let mut power = [1, 0, 0, 0];
    let mut n = 0;
    while n < exponent {
        let (double, over) = plus(&power, &power);
        power = reduce_once(double, over);
        n += 1;
    }
    power
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ruint::aliases::U512;

    const N: U256 = U256::from_limbs(ORDER);

    fn any_bytes() -> impl Strategy<Value = [u8; 32]> {
        let near = |at: U256| {
            (0u64..4, any::<bool>()).prop_map(move |(n, up)| {
                if up {
                    at.wrapping_add(U256::from(n))
                } else {
                    at.wrapping_sub(U256::from(n))
                }
            })
        };
        let half = N >> 1;
        prop_oneof![
            near(N),
            near(half),
            near(U256::ZERO),
            any::<[u64; 4]>().prop_map(U256::from_limbs)
        ]
        .prop_map(|number| number.to_be_bytes())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn arithmetic_is_that_of_integers_modulo_n(a in any_bytes(), b in any_bytes()) {
            let (x, y) = (U256::from_be_bytes(a), U256::from_be_bytes(b));
            prop_assert_eq!(Scalar::from_be_bytes(&a).is_some(), x < N);
            let (a, b) = (Scalar::reduced(&a), Scalar::reduced(&b));
            let (x, y) = (x % N, y % N);
            prop_assert_eq!(U256::from_limbs(a.words()), x);
            prop_assert_eq!(U256::from_limbs(a.times(&b.to_mont()).0), x.mul_mod(y, N));
            prop_assert_eq!(U256::from_limbs(a.negate().0), (N - x) % N);
            prop_assert_eq!(a.is_zero(), x.is_zero());
            let mut factors = [a, b, a].map(Scalar::to_mont);
            if !a.is_zero() && !b.is_zero() {
                invert_all(&mut factors, &mut Vec::new());
                prop_assert_eq!(U256::from_limbs(a.times(&factors[0]).0), U256::from(1));
                prop_assert_eq!(U256::from_limbs(b.times(&factors[1]).0), U256::from(1));
                prop_assert_eq!(factors[0], factors[2]);
            }
        }

        #[test]
        fn digits_add_up(k in any_bytes()) {
            let k = Scalar::reduced(&k);
            prop_assert_eq!(sum::<4>(&k), U512::from(U256::from_limbs(k.0)));
            prop_assert_eq!(sum::<8>(&k), U512::from(U256::from_limbs(k.0)));
        }
    }

    /// The digits' sum modulo n.
    fn sum<const WIDTH: u32>(k: &Scalar) -> U512 {
        let n = U512::from(N);
        let mut sum = U512::ZERO;
        for window in (0..256 / WIDTH).rev() {
            let (index, is_negative) = k.digits().digit::<WIDTH>(window);
            let digit = U512::from(2 * index + 1);
            assert!(digit < U512::from(1u32 << WIDTH));
            let digit = if is_negative { n - digit } else { digit };
            sum = ((sum << WIDTH) + digit) % n;
        }
        sum
    }
}
