//! A set of capabilities as the wire packs it: capability `c` is bit `c mod 64` of word `c / 64`, the least bit first.
//!
//! Two sets with the same members are equal, whatever they were read from: zero words at the end mean nothing. go-livepeer counts
//! words before it looks at them, so that a job with a zero word too many fits no peer; who reads such words here does not.

use super::Capability;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Bits {
    /// The last one is not zero.
    words: Vec<u64>,
}

/// Capabilities from here on are not looked at. There are 38; a peer that names more of them than anybody can is not stored.
const CAPABILITIES_MAX: u32 = 4_096;
const WORD_BITS: u32 = u64::BITS;
const WORDS_MAX: usize = (CAPABILITIES_MAX / WORD_BITS) as usize;

impl Bits {
    /// Of a message's words.
    #[must_use]
    pub fn of_words(words: &[u64]) -> Self {
        let known = &words[..words.len().min(WORDS_MAX)];
        let length = known.iter().rposition(|word| *word != 0);
        Self {
            words: known[..length.map_or(0, |last| last + 1)].to_vec(),
        }
    }

    /// For a message; as few as there can be.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Adds one. Nothing happens to those that are not looked at.
    pub fn insert(&mut self, capability: Capability) {
        let Some((word, bit)) = place(capability) else {
            return;
        };
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= bit;
    }

    /// Whether it is in there.
    #[must_use]
    pub fn contains(&self, capability: Capability) -> bool {
        place(capability)
            .is_some_and(|(word, bit)| self.words.get(word).is_some_and(|held| held & bit != 0))
    }

    /// Whether `other` has all of these.
    #[must_use]
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.without(other).is_empty()
    }

    /// Those that `other` has not.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let theirs = other.words.iter().copied().chain(std::iter::repeat(0));
        let words: Vec<u64> = self
            .words
            .iter()
            .zip(theirs)
            .map(|(ours, theirs)| ours & !theirs)
            .collect();
        Self::of_words(&words)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// All of them, by number.
    pub fn iter(&self) -> impl Iterator<Item = Capability> + '_ {
        let numbered = (0..).step_by(WORD_BITS as usize).zip(&self.words);
        numbered.flat_map(|(first, word)| {
            (0..WORD_BITS)
                .filter(move |bit| word >> bit & 1 == 1)
                .map(move |bit| Capability(first + bit))
        })
    }
}

impl FromIterator<Capability> for Bits {
    fn from_iter<T: IntoIterator<Item = Capability>>(capabilities: T) -> Self {
        let mut bits = Self::default();
        for capability in capabilities {
            bits.insert(capability);
        }
        bits
    }
}

fn place(Capability(number): Capability) -> Option<(usize, u64)> {
    let word = usize::try_from(number / WORD_BITS).ok()?;
    (number < CAPABILITIES_MAX).then_some((word, 1 << (number % WORD_BITS)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bits(numbers: impl IntoIterator<Item = u32>) -> Bits {
        numbers.into_iter().map(Capability).collect()
    }

    #[test]
    fn words_are_packed_as_go_livepeer_packs_them() {
        assert_eq!(bits(0..=5).words(), [63]);
        assert_eq!(bits([193, 192]).words(), [0, 0, 0, 3]);
        assert_eq!(bits([]).words(), [0; 0]);
        assert_eq!(bits([63, 64]).words(), [1 << 63, 1]);
    }

    #[test]
    fn zero_words_at_the_end_mean_nothing() {
        assert_eq!(Bits::of_words(&[63, 0, 0]), bits(0..=5));
        assert_eq!(Bits::of_words(&[0; 9]), Bits::default());
        assert!(Bits::of_words(&[1, 0, 0]).is_subset_of(&Bits::of_words(&[1])));
    }

    #[test]
    fn what_nobody_can_have_is_not_stored() {
        let huge = vec![u64::MAX; 100_000];
        assert_eq!(Bits::of_words(&huge).words().len(), WORDS_MAX);
        assert_eq!(bits([4_096, u32::MAX]), Bits::default());
        assert!(!Bits::of_words(&huge).contains(Capability(4_096)));
        assert!(Bits::of_words(&huge).contains(Capability(4_095)));
    }

    proptest! {
        #[test]
        fn members_come_back_in_order(numbers in prop::collection::btree_set(0u32..5_000, 0..50)) {
            let expected: Vec<_> = numbers.iter().filter(|n| **n < CAPABILITIES_MAX).map(|n| Capability(*n)).collect();
            let set = bits(numbers);
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), expected.clone());
            prop_assert!(expected.iter().all(|it| set.contains(*it)));
            prop_assert_eq!(Bits::of_words(set.words()), set);
        }

        #[test]
        fn a_subset_is_one_by_its_members(a in prop::collection::vec(0u64..4, 0..4), b in prop::collection::vec(0u64..4, 0..4)) {
            let (ours, theirs) = (Bits::of_words(&a), Bits::of_words(&b));
            let expected = ours.iter().all(|it| theirs.contains(it));
            prop_assert_eq!(ours.is_subset_of(&theirs), expected);
            prop_assert_eq!(ours.without(&theirs).is_empty(), expected);
            prop_assert!(ours.without(&theirs).iter().all(|it| ours.contains(it) && !theirs.contains(it)));
        }

        #[test]
        fn a_bigger_peer_still_has_all(a in any::<Vec<u64>>(), more in any::<u32>()) {
            let ours = Bits::of_words(&a);
            let mut theirs = ours.clone();
            theirs.insert(Capability(more));
            prop_assert!(ours.is_subset_of(&theirs));
        }
    }
}
