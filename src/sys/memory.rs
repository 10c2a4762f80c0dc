//! Giving freed memory back to the system, where the allocator has to be asked.

use std::sync::OnceLock;

static COLLECTOR: OnceLock<fn()> = OnceLock::new();

/// Sets what [`collect_memory`] calls: a program knows its allocator, the library does not. The first one stays.
pub fn set_collector(collector: fn()) {
    // A second one would be that of the same program.
    let _ = COLLECTOR.set(collector);
}

/// Has the allocator give back what this thread has freed. Called once a tick, never for a request.
pub(crate) fn collect_memory() {
    if let Some(collector) = COLLECTOR.get() {
        collector();
    }
}
