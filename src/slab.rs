//! Connection slots in a flat array, each with a generation.
//!
//! A [`Key`] names one use of one slot. Freeing a slot changes its generation, so a completion that comes
//! late for the former connection finds nothing. This module knows nothing of what a slot holds.

use crate::driver::Key;

/// A flat array of `T`, reused in the order last out, first in.
pub struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
}

struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    /// An empty slab.
    #[must_use]
    pub fn new() -> Slab<T> {
        Slab { entries: Vec::new(), free: Vec::new() }
    }

    /// Puts the value that `make` makes of its key into a free slot.
    pub fn insert(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        let slot = self.free.pop().unwrap_or_else(|| {
            let slot = u32::try_from(self.entries.len()).expect("descriptors, and so slots, are fewer than 2^32");
            self.entries.push(Entry { generation: 0, value: None });
            slot
        });
        let entry = &mut self.entries[slot as usize];
        assert!(entry.value.is_none(), "a free slot is empty");
        let key = Key { slot, generation: entry.generation };
        entry.value = Some(make(key));
        key
    }

    /// The value of `key`, `None` if its slot has been freed or reused.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.entries
            .get_mut(key.slot as usize)
            .filter(|entry| entry.generation == key.generation)
            .and_then(|entry| entry.value.as_mut())
    }

    /// Frees the slot of `key` and gives its value back.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.get_mut(key.slot as usize).filter(|entry| entry.generation == key.generation)?;
        let value = entry.value.take()?;
        entry.generation = (entry.generation + 1) & GENERATION_MAX;
        self.free.push(key.slot);
        Some(value)
    }

    /// The key of an occupied slot.
    #[must_use]
    pub fn key_of(&self, slot: u32) -> Option<Key> {
        let entry = self.entries.get(slot as usize).filter(|entry| entry.value.is_some())?;
        Some(Key { slot, generation: entry.generation })
    }

    /// The keys of every occupied slot.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        (0u32..)
            .zip(&self.entries)
            .filter(|(_, entry)| entry.value.is_some())
            .map(|(slot, entry)| Key { slot, generation: entry.generation })
    }

    /// Occupied slots.
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries.len() - self.free.len()
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Slab<T> {
        Slab::new()
    }
}

/// A generation has 24 bits, so that it fits a completion's user data beside slot and operation.
const GENERATION_MAX: u32 = (1 << 24) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut slab = Slab::new();
        let first = slab.insert(|_| "first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert(|_| "second");
        assert_eq!(second.slot, first.slot);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get_mut(second), Some(&mut "second"));
        assert_eq!(slab.count(), 1);
    }
}
