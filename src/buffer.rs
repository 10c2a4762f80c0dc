//! The memory that crosses the kernel's border: fixed blocks, their pool, and the parts of a send.
//!
//! A [`Block`] has one owner at any time: the [`Pool`], a driver (while the kernel may touch it), an
//! `Inbound` or an `Outbound`. A driver takes the handle by value and its completion gives it back, so
//! touching memory that the kernel owns is a type error, not a rule to remember.
//! This module performs no I/O and knows nothing of HTTP.

use std::alloc::{Layout, handle_alloc_error};
use std::fs::File;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::Arc;

/// Bytes in a [`Block`]: one holds a whole request head, and 64 of them stay under the second-level cache.
pub const BLOCK_SIZE: usize = 16 * 1024;

/// A page-aligned, zeroed piece of memory of [`BLOCK_SIZE`] bytes with a stable address.
pub struct Block {
    memory: NonNull<u8>,
}

/// A block with the number of bytes at its front that a receive has filled.
pub struct Received {
    /// The memory; bytes past `size` are stale.
    pub block: Block,
    /// Bytes received, 1 to [`BLOCK_SIZE`].
    pub size: usize,
}

/// The free blocks of one worker, last in first out so that the hot ones are used again first.
pub struct Pool {
    free: Vec<Block>,
    /// Blocks without memory behind them, each as good as one that has still to be made. To unmap it would leave a
    /// hole, and a process may have only so many mappings (`vm.max_map_count`).
    hollow: Vec<Block>,
    made_count: usize,
    count_max: usize,
    /// So many are kept however long they are idle.
    warm_count: usize,
    /// The fewest free blocks there were since the last trim: so many had no use.
    idle_count: usize,
}

/// What one send says, in order: the bytes of a block, then spilled bytes, then at most one payload.
///
/// A driver takes it by value, and the send's completion returns it.
#[derive(Default)]
pub struct Outgoing {
    /// Heads and small bodies, gathered. `None` where there are none.
    pub block: Option<Block>,
    /// How many bytes of `block` are to be sent.
    pub block_size: usize,
    /// Bytes that did not fit the block. Usually empty.
    pub spill: Vec<u8>,
    /// A body that is sent from where it lies.
    pub payload: Payload,
}

/// A body that is sent without being copied into a block.
#[derive(Default)]
pub enum Payload {
    /// No such body.
    #[default]
    None,
    /// Bytes of the program itself.
    Static(&'static [u8]),
    /// Bytes whose owner is dropped when the send has completed.
    Owned(OwnedBytes),
    /// A range of an open file.
    File(FileRange),
}

/// From this many bytes on, a body is sent from where it lies: copying it costs more than another vector
/// of the send (7 % of a request at 16 KiB, measured on the bare loop).
pub const PAYLOAD_SIZE_MIN: usize = 8 * 1024;

/// Bytes kept alive by whoever owns them; dropping it is the drop guard.
pub type OwnedBytes = Box<dyn AsRef<[u8]> + Send>;

/// The beginning of bytes that are kept alive as a whole.
struct Cut {
    bytes: OwnedBytes,
    count: usize,
}

/// `size` bytes of `file` from `offset` on.
#[derive(Clone)]
pub struct FileRange {
    /// The open file; its own position is neither used nor moved.
    pub file: Arc<File>,
    /// Where the range begins, in bytes.
    pub offset: u64,
    /// How many bytes it has.
    pub size: u64,
}

impl Block {
    const LAYOUT: Layout = match Layout::from_size_align(BLOCK_SIZE, 4096) {
        Ok(layout) => layout,
        Err(_) => panic!("a block's size and alignment form a layout"),
    };

    /// Maps a zeroed block. It does not come from the allocator, so that the memory of one that is free can go back to
    /// the system, whatever its neighbours do.
    #[must_use]
    pub fn new() -> Block {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, wherever there is room for it.
        let memory = unsafe { libc::mmap(std::ptr::null_mut(), BLOCK_SIZE, protection, flags, -1, 0) };
        match NonNull::new(memory.cast::<u8>()) {
            Some(memory) if memory.as_ptr().cast() != libc::MAP_FAILED => Block { memory },
            Some(_) | None => handle_alloc_error(Self::LAYOUT),
        }
    }

    /// Gives the memory behind the block back to the system. It reads as zeros until it is written to.
    fn hollow_out(self) -> Block {
        // SAFETY: the handle owns these pages alone, and zeros are as good as any bytes. Where the call is refused,
        // as it is for locked memory, the bytes stay.
        unsafe { libc::madvise(self.memory.as_ptr().cast(), BLOCK_SIZE, libc::MADV_DONTNEED) };
        self
    }

    /// The address that a driver hands to the kernel. It stays the same when the handle moves.
    pub(crate) fn address(&self) -> *mut u8 {
        self.memory.as_ptr()
    }
}

impl Default for Block {
    fn default() -> Block {
        Block::new()
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `memory` points to BLOCK_SIZE initialised bytes (zero in `new`, written only as bytes
        // since) that this handle owns; a driver that lends them to the kernel keeps the handle meanwhile.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), BLOCK_SIZE) }
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), BLOCK_SIZE) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: `memory` was mapped with this size and is unmapped once, here.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), BLOCK_SIZE) };
    }
}

// SAFETY: a block owns its memory alone; nothing in it is tied to a thread.
unsafe impl Send for Block {}
// SAFETY: a shared block only lends `&[u8]`.
unsafe impl Sync for Block {}

impl Received {
    /// The bytes that were received.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.block[..self.size]
    }
}

impl Pool {
    /// A pool with `warm_count` blocks made in advance, which keeps at most `count_max`.
    #[must_use]
    pub fn new(warm_count: usize, count_max: usize) -> Pool {
        let warm_count = warm_count.min(count_max);
        let mut free = Vec::with_capacity(warm_count.max(64));
        free.extend((0..warm_count).map(|_| Block::new()));
        Pool { free, hollow: Vec::new(), made_count: warm_count, count_max, warm_count, idle_count: warm_count }
    }

    /// Takes the block that came home last, or makes one. It never fails: who may hold a block while waiting
    /// for a peer is decided by [`Pool::is_exhausted`], and whoever does not wait gets one.
    pub fn take(&mut self) -> Block {
        let block = self.free.pop().unwrap_or_else(|| {
            self.made_count += 1;
            self.hollow.pop().unwrap_or_default()
        });
        self.idle_count = self.idle_count.min(self.free.len());
        block
    }

    /// Brings a block home. One above the limit is freed.
    pub fn give(&mut self, block: Block) {
        assert!(self.free.len() < self.made_count, "a block came home that this pool never made");
        if self.made_count > self.count_max {
            self.made_count -= 1;
            self.hollow.push(block.hollow_out());
        } else {
            self.free.push(block);
        }
    }

    /// Frees a quarter of the blocks above the warm ones that had no use since the last call, the coldest first:
    /// what an attack or a rush has made is given back within seconds, and a steady load never makes a block anew.
    pub fn trim(&mut self) {
        let surplus_count = self.idle_count.saturating_sub(self.warm_count);
        let trimmed_count = surplus_count.div_ceil(4);
        self.made_count -= trimmed_count;
        self.hollow.extend(self.free.drain(..trimmed_count).map(Block::hollow_out));
        self.idle_count = self.free.len();
    }

    /// Whether there are free blocks above the warm ones, so that [`Pool::trim`] should be called now and then.
    #[must_use]
    pub fn has_surplus(&self) -> bool {
        self.free.len() > self.warm_count
    }

    /// Whether as many blocks are elsewhere as there should be at most.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.away_count() >= self.count_max
    }

    /// Blocks that are at home.
    #[must_use]
    pub fn home_count(&self) -> usize {
        self.free.len()
    }

    /// Blocks that are elsewhere: with the driver, an `Inbound` or an `Outbound`.
    #[must_use]
    pub fn away_count(&self) -> usize {
        self.made_count - self.free.len()
    }
}

impl Payload {
    /// Bytes that the payload adds to the send.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Payload::None => 0,
            Payload::Static(bytes) => bytes.len() as u64,
            Payload::Owned(bytes) => (**bytes).as_ref().len() as u64,
            Payload::File(range) => range.size,
        }
    }

    /// The first `size` bytes of it, or all where it has fewer.
    #[must_use]
    pub fn cut(self, size: u64) -> Payload {
        let count = usize::try_from(size).unwrap_or(usize::MAX);
        match self {
            _ if size == 0 => Payload::None,
            Payload::None => Payload::None,
            Payload::Static(bytes) => Payload::Static(bytes.get(..count).unwrap_or(bytes)),
            Payload::Owned(bytes) if (*bytes).as_ref().len() > count => Payload::Owned(Box::new(Cut { bytes, count })),
            Payload::Owned(bytes) => Payload::Owned(bytes),
            Payload::File(range) => Payload::File(FileRange { size: range.size.min(size), ..range }),
        }
    }
}

impl AsRef<[u8]> for Cut {
    fn as_ref(&self) -> &[u8] {
        let bytes = (*self.bytes).as_ref();
        bytes.get(..self.count).unwrap_or(bytes)
    }
}

impl Outgoing {
    /// Bytes in all parts.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.block_size as u64 + self.spill.len() as u64 + self.payload.size()
    }
}

/// Drops what belongs to an application: its bytes, its stream. A panic there has its line from the panic hook
/// and costs nothing else; the worker goes on.
pub fn let_go<T>(value: T) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(value)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process may have 65530 mappings, and one that has them all gets no memory any more.
    #[test]
    fn blocks_that_are_freed_here_and_there_leave_no_holes() {
        let mapping_count = || std::fs::read_to_string("/proc/self/maps").expect("it can be read").lines().count();
        let mut pool = Pool::new(0, 100);
        let before = mapping_count();
        let blocks: Vec<Block> = (0..4000).map(|_| pool.take()).collect();
        let mut kept = Vec::new();
        for (index, mut block) in blocks.into_iter().enumerate() {
            block[0] = 1;
            if index % 2 == 0 { kept.push(block) } else { pool.give(block) }
        }
        assert!(mapping_count() < before + 500, "{} mappings, {before} before", mapping_count());
        assert_eq!((pool.away_count(), pool.home_count()), (2000, 0));
        // What was freed is used again, and is as good as new.
        kept.extend((0..2000).map(|_| pool.take()));
        assert!(kept.iter().skip(2000).all(|block| block.iter().all(|byte| *byte == 0)));
        kept.into_iter().for_each(|block| pool.give(block));
        assert_eq!(pool.away_count(), 0);
    }

    #[test]
    fn blocks_without_use_are_freed_and_those_in_use_stay() {
        let mut pool = Pool::new(4, 1000);
        let rush: Vec<Block> = (0..100).map(|_| pool.take()).collect();
        pool.trim();
        assert_eq!(pool.away_count(), 100);
        rush.into_iter().for_each(|block| pool.give(block));
        // Nothing is known yet of blocks that have just come home.
        pool.trim();
        assert_eq!(pool.home_count(), 100);
        for _ in 0..20 {
            let steady: Vec<Block> = (0..30).map(|_| pool.take()).collect();
            steady.into_iter().for_each(|block| pool.give(block));
            pool.trim();
        }
        assert_eq!((pool.home_count(), pool.away_count()), (34, 0));
        (0..20).for_each(|_| pool.trim());
        assert_eq!(pool.home_count(), 4);
        assert!(!pool.has_surplus());
    }
}
