//! Where the worker of this thread waits, for applications that hold a lock from call to call.

use std::cell::Cell;

thread_local! {
    static IS_HOSTED: Cell<bool> = const { Cell::new(false) };
}

/// Says that it waits in a runtime, where nobody lets go of a lock for it.
#[cfg(feature = "async")]
pub(crate) fn begin() {
    IS_HOSTED.set(true);
}

/// Whether it does.
pub(crate) fn is_hosted() -> bool {
    IS_HOSTED.get()
}
