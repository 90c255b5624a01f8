//! Which chunks have come to a subscriber: the last 4,096 of them, in 512 bytes,
//! however long a run is.
//!
//! ```text
//!   word     …  k-63 │ k-62 │ …… │ k      a bit a chunk; word w lies in slot w mod 64
//!                └───────── 64 words ─┘    k holds the highest number that has come
//! ```
//!
//! What comes more than a window late can no longer be told from a duplicate, and is taken for one.

/// The chunks of the last 4,096 numbers, or rather more than two minutes at 30 a second.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    top: u64,
    words: [u64; WORDS],
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            top: 0,
            words: [0; WORDS],
        }
    }
}

impl Seen {
    /// Notes a number; whether it is here for the first time.
    pub(crate) fn insert(&mut self, number: u64) -> bool {
        let word = number / 64;
        if word > self.top {
            for between in (self.top + 1..=word).rev().take(WORDS) {
                self.words[slot(between)] = 0;
            }
            self.top = word;
        } else if self.top - word >= WORDS as u64 {
            return false;
        }
        let bit = 1 << (number % 64);
        let bits = &mut self.words[slot(word)];
        let is_new = *bits & bit == 0;
        *bits |= bit;
        is_new
    }
}

#[allow(clippy::cast_possible_truncation)] // below 64
fn slot(word: u64) -> usize {
    (word % WORDS as u64) as usize
}

const WORDS: usize = 64;
/// How far back it is remembered, at most.
#[cfg(test)]
const WINDOW_CHUNKS: u64 = 64 * WORDS as u64;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn within_the_window_it_is_a_set() {
        let mut rng = fastrand::Rng::with_seed(3);
        let (mut seen, mut oracle) = (Seen::default(), HashSet::new());
        let mut top = 0;
        for _ in 0..200_000 {
            let number = (top + rng.u64(0..90)).saturating_sub(rng.u64(0..3_000));
            top = top.max(number);
            assert_eq!(seen.insert(number), oracle.insert(number), "{number}");
        }
    }

    #[test]
    fn what_is_older_is_taken_for_a_duplicate() {
        let mut seen = Seen::default();
        assert!(seen.insert(1) && seen.insert(10 * WINDOW_CHUNKS) && !seen.insert(2));
        assert!(seen.insert(u64::MAX) && !seen.insert(u64::MAX) && seen.insert(u64::MAX - 1));
    }
}
