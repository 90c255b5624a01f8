//! Vectors of eight words, and the arrays they come from. All reading and writing of memory by vector is here.

use std::arch::x86_64::*;

/// Eight words, one of each lane.
pub(crate) type Lanes = [u64; 8];
/// A bit a lane.
pub(crate) type Mask = u8;

/// Reads eight words.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn load(words: &Lanes) -> __m512i {
    // SAFETY: needed because the instruction takes a pointer. It reads 64 bytes, and the array has them, at any alignment.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

/// Writes eight words.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn store(vector: __m512i) -> Lanes {
    let mut words = [0; 8];
    // SAFETY: needed because the instruction takes a pointer. It writes 64 bytes, and the array has them, at any alignment.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), vector) };
    words
}

/// Asks for what will be read soon.
#[inline]
pub(crate) fn prefetch<T>(soon: &T) {
    // SAFETY: needed because the instruction takes a pointer. It reads nothing that could be seen, from any address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(soon).cast()) }
}

/// The same word in every lane.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn splat(word: u64) -> __m512i {
    _mm512_set1_epi64(word.cast_signed())
}

/// Rows become columns: word `n` of vector `m` becomes word `m` of vector `n`.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn transpose(rows: [__m512i; 8]) -> [__m512i; 8] {
    let [a, b, c, d, e, f, g, h] = rows;
    // Pairs of words within quarters, then pairs of quarters, then halves.
    let ab = (_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    let cd = (_mm512_unpacklo_epi64(c, d), _mm512_unpackhi_epi64(c, d));
    let ef = (_mm512_unpacklo_epi64(e, f), _mm512_unpackhi_epi64(e, f));
    let gh = (_mm512_unpacklo_epi64(g, h), _mm512_unpackhi_epi64(g, h));
    let (even, odd) = (
        quarters(ab.0, cd.0, ef.0, gh.0),
        quarters(ab.1, cd.1, ef.1, gh.1),
    );
    [
        even[0], odd[0], even[1], odd[1], even[2], odd[2], even[3], odd[3],
    ]
}

/// The 4 × 4 transpose of quarters of 128 bits.
#[target_feature(enable = "avx512f")]
#[inline]
fn quarters(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> [__m512i; 4] {
    const LOW: i32 = 0b10_00_10_00;
    const HIGH: i32 = 0b11_01_11_01;
    let ab = (
        _mm512_shuffle_i64x2::<LOW>(a, b),
        _mm512_shuffle_i64x2::<HIGH>(a, b),
    );
    let cd = (
        _mm512_shuffle_i64x2::<LOW>(c, d),
        _mm512_shuffle_i64x2::<HIGH>(c, d),
    );
    [
        _mm512_shuffle_i64x2::<LOW>(ab.0, cd.0),
        _mm512_shuffle_i64x2::<LOW>(ab.1, cd.1),
        _mm512_shuffle_i64x2::<HIGH>(ab.0, cd.0),
        _mm512_shuffle_i64x2::<HIGH>(ab.1, cd.1),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_columns() {
        if !std::arch::is_x86_feature_detected!("avx512f") {
            println!("SKIPPED: this processor has no avx512f");
            return;
        }
        #[target_feature(enable = "avx512f")]
        fn run() {
            let rows: [Lanes; 8] =
                std::array::from_fn(|m| std::array::from_fn(|n| (10 * m + n) as u64));
            let mut vectors = [splat(0); 8];
            for (vector, row) in vectors.iter_mut().zip(&rows) {
                *vector = load(row);
            }
            for (n, column) in transpose(vectors).into_iter().enumerate() {
                assert_eq!(store(column), std::array::from_fn(|m| rows[m][n]));
            }
        }
        // SAFETY: needed to call code for avx512f, which was just found.
        unsafe { run() };
    }
}
