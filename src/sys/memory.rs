//! Giving freed memory back to the system, where the allocator has to be asked.

use std::sync::OnceLock;

static COLLECTOR: OnceLock<fn()> = OnceLock::new();

/// Sets what has the allocator give back what the calling thread has freed: a program knows its allocator, the
/// library does not. Workers call it when it has been quiet for a while, never for a request. The first one stays.
pub fn set_collector(collector: fn()) {
    // A second one would be that of the same program.
    let _ = COLLECTOR.set(collector);
}

/// Calls the collector, if there is one.
pub(crate) fn collect() {
    if let Some(collector) = COLLECTOR.get() {
        collector();
    }
}
