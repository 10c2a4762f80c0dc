//! The `ringway` command: the bundled applications behind the whole command line.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The allocator would back memory with huge pages, of which one touched byte makes 2 MiB resident: a connection's
    // half a KiB could not be told from it, and a rush would leave them behind.
    ringway::sys::process::refuse_huge_pages();
    ringway::sys::memory::set_collector(ringway::sys::mimalloc::collect);
    ringway::main(ringway::apps::bundled())
}
