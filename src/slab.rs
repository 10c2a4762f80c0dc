//! Connection slots in a flat array, each with a generation.
//!
//! A [`Key`] names one use of one slot. Freeing a slot changes its generation, so a completion that comes
//! late for the former connection finds nothing. The array grows by chunks that stay where they are: doubling
//! would copy every slot and leave the allocator with as much again. This module knows nothing of what a slot holds.

use crate::driver::Key;

/// A flat array of `T`, reused in the order last out, first in.
pub struct Slab<T> {
    values: Chunks<Option<T>>,
    /// Of every slot that there ever was: a late answer may name one of long ago. Each completion looks at one, so they
    /// lie in one piece.
    generations: Vec<u32>,
    free: Vec<u32>,
}

/// An array that grows by chunks. What is not there is as good as a default value.
pub struct Chunks<T> {
    chunks: Vec<Option<Box<[T; CHUNK_SIZE]>>>,
}

impl<T> Slab<T> {
    /// An empty slab, with room for the generations of `slot_count` slots before it has to copy them. Room costs
    /// address space; it becomes memory as slots are used.
    #[must_use]
    pub fn new(slot_count: usize) -> Slab<T> {
        let (generations, free) = (Vec::with_capacity(slot_count), Vec::with_capacity(slot_count));
        Slab { values: Chunks::new(), generations, free }
    }

    /// Puts the value that `make` makes of its key into a free slot.
    pub fn insert(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        let slot = self.free.pop().unwrap_or_else(|| {
            let slot = u32::try_from(self.generations.len()).expect("descriptors, and so slots, are fewer than 2^32");
            self.generations.push(0);
            slot
        });
        let key = Key { slot, generation: self.generations[slot as usize] };
        let value = self.values.get_or_grow(slot as usize);
        assert!(value.is_none(), "a free slot is empty");
        *value = Some(make(key));
        key
    }

    /// The value of `key`, `None` if its slot has been freed or reused.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        if self.generations.get(key.slot as usize) != Some(&key.generation) {
            return None;
        }
        self.values.get_mut(key.slot as usize)?.as_mut()
    }

    /// Frees the slot of `key` and gives its value back.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let generation =
            self.generations.get_mut(key.slot as usize).filter(|generation| **generation == key.generation)?;
        let value = self.values.get_mut(key.slot as usize)?.take()?;
        *generation = (*generation + 1) & GENERATION_MAX;
        self.free.push(key.slot);
        Some(value)
    }

    /// The key of an occupied slot.
    #[must_use]
    pub fn key_of(&self, slot: u32) -> Option<Key> {
        self.values.get(slot as usize)?.as_ref()?;
        Some(Key { slot, generation: self.generations[slot as usize] })
    }

    /// The keys of every occupied slot.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        let end = u32::try_from(self.generations.len()).unwrap_or(u32::MAX);
        (0..end).filter_map(|slot| self.key_of(slot))
    }

    /// Occupied slots.
    #[must_use]
    pub fn count(&self) -> usize {
        self.generations.len() - self.free.len()
    }

    /// Gives the memory of free slots back, as far as a whole chunk is free. The first one stays.
    pub fn trim(&mut self) {
        self.values.trim(Option::is_none);
    }
}

impl<T: Default> Chunks<T> {
    /// An array of nothing.
    #[must_use]
    pub fn new() -> Chunks<T> {
        Chunks { chunks: Vec::new() }
    }

    /// The value at `index`, which is made if it is not there.
    pub fn get_or_grow(&mut self, index: usize) -> &mut T {
        let (chunk, offset) = (index / CHUNK_SIZE, index % CHUNK_SIZE);
        if chunk >= self.chunks.len() {
            self.chunks.resize_with(chunk + 1, || None);
        }
        &mut self.chunks[chunk].get_or_insert_with(chunk_of_defaults)[offset]
    }

    /// The value at `index`, if it is there.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&T> {
        Some(&self.chunks.get(index / CHUNK_SIZE)?.as_ref()?[index % CHUNK_SIZE])
    }

    /// The value at `index`, if it is there.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        Some(&mut self.chunks.get_mut(index / CHUNK_SIZE)?.as_mut()?[index % CHUNK_SIZE])
    }

    /// Frees the chunks in which every value may go, but for the first.
    pub fn trim(&mut self, may_go: impl Fn(&T) -> bool) {
        for chunk in self.chunks.iter_mut().skip(1) {
            chunk.take_if(|values| values.iter().all(&may_go));
        }
    }
}

impl<T: Default> Default for Chunks<T> {
    fn default() -> Chunks<T> {
        Chunks::new()
    }
}

/// Made on the heap: values of a whole chunk would be much on a stack.
fn chunk_of_defaults<T: Default>() -> Box<[T; CHUNK_SIZE]> {
    let values: Vec<T> = std::iter::repeat_with(T::default).take(CHUNK_SIZE).collect();
    values.try_into().unwrap_or_else(|_| unreachable!("so many were made"))
}

/// Bytes of address space that are set aside for each slot: its generation, and its place among the free ones.
pub const SLOT_ROOM_SIZE: usize = 2 * size_of::<u32>();
/// Slots that are given memory together.
const CHUNK_SIZE: usize = 64;
/// A generation has 24 bits, so that it fits a completion's user data beside slot and operation.
const GENERATION_MAX: u32 = (1 << 24) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut slab = Slab::new(16);
        let first = slab.insert(|_| "first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert(|_| "second");
        assert_eq!(second.slot, first.slot);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get_mut(second), Some(&mut "second"));
        assert_eq!(slab.count(), 1);
    }

    #[test]
    fn a_trimmed_slot_keeps_its_generation() {
        let mut slab = Slab::new(16);
        let keys: Vec<Key> = (0..1000).map(|_| slab.insert(|key| key)).collect();
        let (stays, goes) = (keys[700], keys[999]);
        keys.iter().filter(|key| **key != stays).for_each(|key| assert_eq!(slab.remove(*key), Some(*key)));
        slab.trim();
        assert_eq!(slab.values.chunks.iter().flatten().count(), 2);
        assert_eq!(slab.keys().collect::<Vec<_>>(), [stays]);
        assert_eq!(slab.get_mut(goes), None);
        assert_eq!(slab.remove(goes), None);
        let next = slab.insert(|key| key);
        assert_eq!((next.slot, next.generation), (goes.slot, goes.generation + 1));
        assert_eq!(slab.get_mut(goes), None);
    }
}
