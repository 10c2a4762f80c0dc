//! The receive buffers that all connections share, and the ring that offers them to the kernel.

use io_uring::Submitter;
use io_uring::types::BufRingEntry;
use ringway_peers::RECEIVE_SIZE;
use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// Buffers in the receive ring, a power of two: the kernel takes about 40 a turn, and 64 of 16 KiB stay in the
/// second-level cache.
const BUFFER_COUNT: u16 = 64;

/// The only buffer group.
pub const GROUP: u16 = 0;

/// The receive buffers and the ring that offers them to the kernel.
pub struct Buffers {
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    /// Buffers offered so far, wrapping; published to the kernel once a turn.
    tail: u16,
    /// Buffers that came home in this turn.
    pub spent: Vec<u16>,
}

impl Buffers {
    pub fn new(submitter: &Submitter<'_>) -> io::Result<Buffers> {
        let buffers = Buffers {
            entries: pages(size_of::<BufRingEntry>() * BUFFER_COUNT as usize).cast(),
            memory: pages(RECEIVE_SIZE * BUFFER_COUNT as usize),
            tail: 0,
            spent: (0..BUFFER_COUNT).collect(),
        };
        // SAFETY: the entries are page aligned, BUFFER_COUNT long and never freed.
        unsafe {
            submitter.register_buf_ring_with_flags(buffers.entries.as_ptr() as u64, BUFFER_COUNT, GROUP, 0)?;
        }
        Ok(buffers)
    }

    pub fn bytes(&self, buffer: u16, size: usize) -> &[u8] {
        assert!(buffer < BUFFER_COUNT && size <= RECEIVE_SIZE);
        // SAFETY: the kernel has given this buffer back with `size` bytes in it, and gets it again only by
        // `publish`, which borrows mutably.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(buffer as usize * RECEIVE_SIZE), size) }
    }

    /// Offers the buffers that came home, the last first because it is the hottest, by one store of the tail.
    pub fn publish(&mut self) {
        for buffer in self.spent.drain(..).rev() {
            let index = self.tail % BUFFER_COUNT;
            // SAFETY: the index is in the ring, and the kernel does not look at entries past the published tail.
            // The fields are set one by one because the tail itself lies in the first entry's padding.
            unsafe {
                let entry = &mut *self.entries.as_ptr().add(index as usize);
                entry.set_addr(self.memory.as_ptr().add(buffer as usize * RECEIVE_SIZE) as u64);
                entry.set_len(RECEIVE_SIZE as u32);
                entry.set_bid(buffer);
            }
            self.tail = self.tail.wrapping_add(1);
        }
        // SAFETY: the tail is an aligned half-word of the first entry that only we write and the kernel reads.
        let tail = unsafe { &*BufRingEntry::tail(self.entries.as_ptr()).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }
}

/// Zeroed pages that live as long as the process.
fn pages(size: usize) -> NonNull<u8> {
    let layout = Layout::from_size_align(size, 4096).expect("a small size");
    // SAFETY: the size is not zero.
    NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}
