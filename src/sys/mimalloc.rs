//! The allocator of the binary, asked to give back what it keeps.

// Its C library is linked only where the crate is named.
use mimalloc as _;

unsafe extern "C" {
    fn mi_collect(force: bool);
}

/// Gives freed memory of this thread back to the system, where it has been free for some milliseconds. mimalloc does
/// so by itself only when more is freed, so that after a rush all of it stays.
pub fn collect() {
    // SAFETY: callable from any thread at any time; where another allocator serves, there is nothing to collect.
    unsafe { mi_collect(true) };
}
