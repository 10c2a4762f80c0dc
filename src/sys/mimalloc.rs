//! What the allocator of the binary needs so that memory comes home.

// Its C library is linked only where the crate is named.
use mimalloc as _;

use super::memory;

unsafe extern "C" {
    fn mi_collect(force: bool);
}

/// Prepares a process whose allocator is mimalloc; called once, first thing. It would back memory with huge pages,
/// of which one touched byte makes 2 MiB resident: a connection's quarter of a KiB could not be told from it, and a rush
/// would leave them behind. And it gives memory back by itself only when more is freed, so that after a rush all of
/// it would stay: it is asked to instead.
pub fn prepare() {
    // SAFETY: the call takes numbers only. A kernel that has no such choice changes nothing.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
    memory::set_collector(collect);
}

/// Gives memory of this thread back to the system that has been free for some milliseconds.
fn collect() {
    // SAFETY: callable from any thread at any time; where another allocator serves, there is nothing to collect.
    unsafe { mi_collect(true) };
}
