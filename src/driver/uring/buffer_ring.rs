//! The provided buffer ring: blocks that the kernel may fill, and what it does not tell by itself.
//!
//! The kernel takes entries from the head of the ring as receives need them and names the block by its id in
//! the completion. A short ring, refilled with the blocks that came home last, keeps the memory that a turn
//! touches hot: 64 blocks of 16 KiB cost 0.92 of a long first-in-first-out ring (measured). This module makes
//! no system call but the registration.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use crate::buffer::{BLOCK_SIZE, Block, Pool};
use crate::driver::POSTED_COUNT;

/// The blocks lent to the kernel for receiving.
pub(super) struct BufferRing {
    entries: NonNull<BufRingEntry>,
    /// The block of each id, while the kernel has it.
    posted: Vec<Option<Block>>,
    free_ids: Vec<u16>,
    /// Entries added so far, wrapping; the kernel sees them when it is published.
    tail: u16,
    is_leaked: bool,
}

impl BufferRing {
    /// Registers an empty ring as group [`GROUP`].
    pub(super) fn register(submitter: &Submitter<'_>) -> io::Result<BufferRing> {
        // SAFETY: the layout's size is not zero.
        let memory = unsafe { alloc_zeroed(LAYOUT) };
        let Some(entries) = NonNull::new(memory.cast::<BufRingEntry>()) else { handle_alloc_error(LAYOUT) };
        let ring = BufferRing {
            entries,
            posted: (0..COUNT).map(|_| None).collect(),
            free_ids: (0..COUNT).rev().collect(),
            tail: 0,
            is_leaked: false,
        };
        // SAFETY: the memory is page aligned, holds COUNT entries, and is freed only after it has been
        // unregistered (`unregister`), or never.
        unsafe { submitter.register_buf_ring_with_flags(entries.as_ptr() as u64, COUNT, GROUP, 0)? };
        Ok(ring)
    }

    /// Whether the kernel takes such a ring.
    pub(super) fn try_register(submitter: &Submitter<'_>) -> io::Result<()> {
        let mut ring = BufferRing::register(submitter)?;
        ring.unregister(submitter)
    }

    /// Takes the ring from the kernel; the memory is freed when it is dropped.
    pub(super) fn unregister(&mut self, submitter: &Submitter<'_>) -> io::Result<()> {
        submitter.unregister_buf_ring(GROUP)
    }

    /// Posts blocks of `pool` until the ring is full, and publishes them by one store.
    pub(super) fn refill(&mut self, pool: &mut Pool) {
        let tail = self.tail;
        while let Some(id) = self.free_ids.pop() {
            let block = pool.take();
            // SAFETY: the index lies in the ring, and the kernel does not look at entries past the published
            // tail. The fields are set one by one: the tail itself lies in the first entry's padding.
            unsafe {
                let entry = &mut *self.entries.as_ptr().add(usize::from(self.tail % COUNT));
                entry.set_addr(block.address() as u64);
                entry.set_len(BLOCK_SIZE as u32);
                entry.set_bid(id);
            }
            self.posted[usize::from(id)] = Some(block);
            self.tail = self.tail.wrapping_add(1);
        }
        if self.tail != tail {
            // SAFETY: the tail is an aligned half-word in the first entry, which only we write and the kernel
            // reads; the release makes the entries visible before it.
            let shared = unsafe { &*BufRingEntry::tail(self.entries.as_ptr()).cast::<AtomicU16>() };
            shared.store(self.tail, Ordering::Release);
        }
    }

    /// Takes back the block that a completion names.
    pub(super) fn take(&mut self, id: u16) -> Block {
        let block = self.posted.get_mut(usize::from(id)).and_then(Option::take);
        self.free_ids.push(id);
        block.expect("the kernel names a block that was posted")
    }

    /// Leaves ring and blocks to the kernel for good: used where it may still write to them.
    pub(super) fn leak(&mut self) {
        std::mem::forget(std::mem::take(&mut self.posted));
        // The ring's own memory is only read by the kernel, but it must stay mapped.
        self.is_leaked = true;
    }

    /// Gives every posted block back, once the kernel has no use for them.
    pub(super) fn recall(&mut self, pool: &mut Pool) {
        for block in self.posted.iter_mut().filter_map(Option::take) {
            pool.give(block);
        }
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        if self.is_leaked {
            return;
        }
        // SAFETY: allocated with this layout in `register`; the owner drops the ring only when the kernel has
        // given it up, and leaks it otherwise.
        unsafe { dealloc(self.entries.as_ptr().cast(), LAYOUT) }
    }
}

/// The only buffer group of a ring.
pub(super) const GROUP: u16 = 0;
const COUNT: u16 = POSTED_COUNT;
const _: () = assert!(COUNT.is_power_of_two(), "the kernel wants a ring's size so");
const LAYOUT: Layout = match Layout::from_size_align(COUNT as usize * size_of::<BufRingEntry>(), 4096) {
    Ok(layout) => layout,
    Err(_) => panic!("the ring's size and a page form a layout"),
};
