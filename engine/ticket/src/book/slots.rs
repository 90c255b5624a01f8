//! Numbered places, the lowest free one first.
//!
//! Invariant: the last place is never empty, so that what is equal in content is equal.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slots<T> {
    places: Vec<Option<T>>,
    free: BTreeSet<u32>,
}

impl<T> Slots<T> {
    pub(super) const fn new() -> Self {
        Self {
            places: Vec::new(),
            free: BTreeSet::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// The place that the next one goes to.
    pub(super) fn vacant(&self) -> u32 {
        let end = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        self.free.first().copied().unwrap_or(end)
    }

    pub(super) fn get(&self, slot: u32) -> Option<&T> {
        self.places.get(slot as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.places.get_mut(slot as usize)?.as_mut()
    }

    /// Fills a place; `None` when it is not free. Places before it that never were become free ones.
    pub(super) fn put(&mut self, slot: u32, item: T) -> Option<()> {
        let end = u32::try_from(self.places.len()).ok()?;
        if slot > end.saturating_add(GAP_MAX) {
            return None;
        }
        for missing in end..=slot {
            self.places.push(None);
            self.free.insert(missing);
        }
        // Only a place that was there can be taken, so the last one is full now.
        self.free
            .remove(&slot)
            .then(|| self.places[slot as usize] = Some(item))
    }

    pub(super) fn take(&mut self, slot: u32) -> Option<T> {
        let item = self.places.get_mut(slot as usize)?.take()?;
        self.free.insert(slot);
        while self.places.pop_if(|last| last.is_none()).is_some() {
            self.free.pop_last();
        }
        Some(item)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..)
            .zip(&self.places)
            .filter_map(|(slot, place)| Some((slot, place.as_ref()?)))
    }
}

/// So that a damaged number does not take all memory.
const GAP_MAX: u32 = 1 << 24;
