//! The `ringway` command: the bundled applications behind the whole command line.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ringway::sys::mimalloc::prepare();
    ringway::main(ringway::apps::bundled())
}
