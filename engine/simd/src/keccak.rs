//! Keccak-f\[1600\] of eight states at once: word n of all of them is vector n.
//!
//! Source: FIPS 202, section 3.2. Rotations are one instruction, and so is any function of three words.

use std::arch::x86_64::*;

use ticket::keccak::State;

use crate::lanes::{load, splat, store, transpose};

/// Permutes every state; the last few are joined by empty ones.
#[target_feature(enable = "avx512f")]
pub(crate) fn permute(states: &mut [State]) {
    for states in states.chunks_mut(8) {
        if let [a, b, c, d, e, f, g, h] = states {
            permute8([a, b, c, d, e, f, g, h]);
        } else {
            let mut spare = [[0; 25]; 8];
            spare[..states.len()].copy_from_slice(states);
            permute8(spare.each_mut());
            states.copy_from_slice(&spare[..states.len()]);
        }
    }
}

#[target_feature(enable = "avx512f")]
fn permute8(states: [&mut State; 8]) {
    // Three blocks of eight words, and one word.
    let mut words = [splat(0); 25];
    for (block, words) in words.chunks_exact_mut(8).enumerate() {
        let mut rows = [splat(0); 8];
        for (row, state) in rows.iter_mut().zip(&states) {
            let (blocks, _) = state.as_chunks();
            *row = load(&blocks[block]);
        }
        words.copy_from_slice(&transpose(rows));
    }
    words[24] = load(&std::array::from_fn(|lane| states[lane][24]));
    for constant in ROUNDS {
        words = round(&words, constant);
    }
    let last = store(words[24]);
    let (blocks, _) = words.as_chunks();
    let rows = [
        transpose(blocks[0]),
        transpose(blocks[1]),
        transpose(blocks[2]),
    ];
    for (lane, state) in states.into_iter().enumerate() {
        for (part, rows) in state.chunks_exact_mut(8).zip(&rows) {
            part.copy_from_slice(&store(rows[lane]));
        }
        state[24] = last[lane];
    }
}

/// Theta, rho, pi, chi and iota.
#[target_feature(enable = "avx512f")]
#[inline]
fn round(a: &[__m512i; 25], constant: u64) -> [__m512i; 25] {
    const XOR3: i32 = 0b1001_0110;
    // b and not a, xor the third.
    const CHI: i32 = 0b1101_0010;
    let mut c = [splat(0); 5];
    for x in 0..5 {
        let upper = _mm512_ternarylogic_epi64::<XOR3>(a[x], a[x + 5], a[x + 10]);
        c[x] = _mm512_ternarylogic_epi64::<XOR3>(upper, a[x + 15], a[x + 20]);
    }
    let mut turned = c;
    for turned in &mut turned {
        *turned = _mm512_rol_epi64::<1>(*turned);
    }
    let mut b = [splat(0); 25];
    macro_rules! move_words {
        ($($at:literal)*) => {$(
            let word = _mm512_ternarylogic_epi64::<XOR3>(a[$at], c[($at + 4) % 5], turned[($at + 1) % 5]);
            b[const { moved($at) }] = _mm512_rol_epi64::<{ rotation($at) }>(word);
        )*};
    }
    move_words!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24);
    let mut out = b;
    for y in 0..5 {
        for x in 0..5 {
            let (one, two) = (b[5 * y + (x + 1) % 5], b[5 * y + (x + 2) % 5]);
            out[5 * y + x] = _mm512_ternarylogic_epi64::<CHI>(b[5 * y + x], one, two);
        }
    }
    out[0] = _mm512_xor_si512(out[0], splat(constant));
    out
}

/// Where the word at x + 5y goes: to (y, 2x + 3y).
const fn moved(at: usize) -> usize {
    let (x, y) = (at % 5, at / 5);
    y + 5 * ((2 * x + 3 * y) % 5)
}

/// How far it is rotated on the way: words other than the first are met along a path, and the t-th is rotated by the t-th
/// triangular number.
const fn rotation(at: usize) -> i32 {
    let (mut x, mut y) = (1, 0);
    let mut t = 0;
    while t < 24 {
        if x + 5 * y == at {
            return (t + 1) * (t + 2) / 2 % 64;
        }
        (x, y) = (y, (2 * x + 3 * y) % 5);
        t += 1;
    }
    0
}

/// What is added in each round: bits from a shift register with the polynomial x^8 + x^6 + x^5 + x^4 + 1.
const ROUNDS: [u64; 24] = {
    let mut constants = [0; 24];
    let mut register = 1u32;
    let mut n = 0;
    while n < 24 {
        let mut j = 0;
        while j < 7 {
            constants[n] |= ((register & 1) as u64) << ((1 << j) - 1);
            register <<= 1;
            if register & 0x100 != 0 {
                register ^= 0x171;
            }
            j += 1;
        }
        n += 1;
    }
    constants
};

#[cfg(test)]
mod tests {
    use super::*;
    use ticket::keccak::{Permute, Plain};

    #[test]
    fn it_permutes_as_plain_code_does_whatever_the_number() {
        let Ok(mut vector) = crate::Vector::detect() else {
            println!("SKIPPED: {}", crate::Vector::detect().unwrap_err());
            return;
        };
        for count in [0, 1, 2, 7, 8, 9, 16, 31] {
            let mut states: Vec<State> = (0..count)
                .map(|n| {
                    std::array::from_fn(|word| {
                        (n as u64 + 1)
                            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                            .rotate_left(word as u32)
                    })
                })
                .collect();
            let mut expected = states.clone();
            for _ in 0..3 {
                vector.permute(&mut states);
                Plain.permute(&mut expected);
                assert_eq!(states, expected, "{count} states");
            }
        }
    }
}
