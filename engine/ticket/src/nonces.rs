//! Which nonces of one set of parameters have come.
//!
//! Senders count from 1, but several streams may share a set of parameters and networks reorder, so any nonce may come at any
//! time, once. 600 in all, as go-livepeer has it; a burst of 600 in any order is taken whole.
//!
//! Small nonces are bits; those few that are not are a sorted list. Most sets are thus 88 bytes, however many tickets came.

use alloc::vec::Vec;

/// The most nonces one set of parameters may have.
pub const NONCES_MAX: u32 = 600;
/// Nonces below this are bits: more than a sender who counts from 1 can use.
const SMALL: u32 = 640;
const WORDS: usize = (SMALL / 64) as usize;
const _: () = assert!(SMALL > NONCES_MAX + 1 && SMALL.is_multiple_of(64));

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nonces {
    small: [u64; WORDS],
    large: Vec<u32>,
    count: u32,
}

/// Why a nonce is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It came before.
    Seen,
    /// As many as may come came before.
    Full,
}

impl Nonces {
    /// Whether a nonce may still come.
    ///
    /// # Errors
    /// It may not.
    pub fn look(&self, nonce: u32) -> Result<(), Taken> {
        let is_seen = match bit(nonce) {
            Some((word, mask)) => self.small[word] & mask != 0,
            None => self.large.binary_search(&nonce).is_ok(),
        };
        match is_seen {
            true => Err(Taken::Seen),
            false if self.count >= NONCES_MAX => Err(Taken::Full),
            false => Ok(()),
        }
    }

    /// Takes a nonce.
    ///
    /// # Errors
    /// It may not come, and nothing has changed.
    pub fn take(&mut self, nonce: u32) -> Result<(), Taken> {
        self.look(nonce)?;
        match bit(nonce) {
            Some((word, mask)) => self.small[word] |= mask,
            None => {
                let at = self.large.partition_point(|large| *large < nonce);
                self.large.insert(at, nonce);
            }
        }
        self.count += 1;
        Ok(())
    }

    /// How many have come.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Each that came, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let small = (0..SMALL)
            .filter(|nonce| bit(*nonce).is_some_and(|(word, mask)| self.small[word] & mask != 0));
        small.chain(self.large.iter().copied())
    }

    /// For storage: the bits, and the large ones behind them.
    pub fn write(&self, into: &mut Vec<u8>) {
        for word in self.small {
            into.extend_from_slice(&word.to_le_bytes());
        }
        for nonce in &self.large {
            into.extend_from_slice(&nonce.to_le_bytes());
        }
    }

    /// From storage; `None` when the bytes cannot have been written by [`write`](Self::write).
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (small, large) = bytes.split_first_chunk::<{ WORDS * 8 }>()?;
        let (words, _) = small.as_chunks();
        let (larges, []) = large.as_chunks() else {
            return None;
        };
        let mut nonces = Self::default();
        for (word, bytes) in nonces.small.iter_mut().zip(words) {
            *word = u64::from_le_bytes(*bytes);
            nonces.count += word.count_ones();
        }
        nonces.large = larges
            .iter()
            .map(|bytes| u32::from_le_bytes(*bytes))
            .collect();
        nonces.count += u32::try_from(nonces.large.len()).ok()?;
        let is_sorted = nonces.large.windows(2).all(|pair| pair[0] < pair[1]);
        let is_large = nonces.large.first().is_none_or(|nonce| *nonce >= SMALL);
        (is_sorted && is_large && nonces.count <= NONCES_MAX).then_some(nonces)
    }
}

/// The word and the bit of a small nonce.
const fn bit(nonce: u32) -> Option<(usize, u64)> {
    match nonce < SMALL {
        true => Some(((nonce / 64) as usize, 1 << (nonce % 64))),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use proptest::prelude::*;

    #[test]
    fn six_hundred_in_any_order_are_taken_and_one_more_is_not() {
        let mut nonces = Nonces::default();
        for n in 0..NONCES_MAX {
            // 7 and 600 share no divisor, so this is a permutation of 1 to 600.
            nonces.take(n * 7 % NONCES_MAX + 1).unwrap();
        }
        assert_eq!(nonces.take(601), Err(Taken::Full));
        assert_eq!(nonces.take(0), Err(Taken::Full));
        assert_eq!(
            nonces.take(300),
            Err(Taken::Seen),
            "seen before full: the truer reason"
        );
        assert!(nonces.iter().eq(1..=NONCES_MAX));
    }

    proptest! {
        #[test]
        fn it_is_a_set_of_at_most_600(arrivals in proptest::collection::vec(prop_oneof![0u32..900, any::<u32>()], 0..900)) {
            let (mut nonces, mut model) = (Nonces::default(), BTreeSet::new());
            for nonce in arrivals {
                let expected = if model.contains(&nonce) {
                    Err(Taken::Seen)
                } else if model.len() == NONCES_MAX as usize {
                    Err(Taken::Full)
                } else {
                    model.insert(nonce);
                    Ok(())
                };
                prop_assert_eq!(nonces.look(nonce).err(), expected.err());
                prop_assert_eq!(nonces.take(nonce), expected);
            }
            prop_assert!(nonces.iter().eq(model.iter().copied()));
            prop_assert_eq!(nonces.count() as usize, model.len());
            let mut bytes = Vec::new();
            nonces.write(&mut bytes);
            prop_assert_eq!(Nonces::read(&bytes), Some(nonces));
        }

        #[test]
        fn storage_that_was_tampered_with_is_refused_or_a_set(bytes in proptest::collection::vec(any::<u8>(), 70..140)) {
            if let Some(nonces) = Nonces::read(&bytes) {
                let mut again = Vec::new();
                nonces.write(&mut again);
                prop_assert_eq!(again, bytes);
                prop_assert!(nonces.iter().count() <= NONCES_MAX as usize);
            }
        }
    }
}
