//! Panics of applications, which become faults: one line for the operator, and no backtrace.
//!
//! Whatever calls into an application goes through here, on a worker's thread or on that of an answer.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use super::fault::{Fault, panic_message};

/// Makes a panic of an application a fault. What the closure has half written is cut away by the caller.
pub(crate) fn guarded<R>(call: impl FnOnce() -> R) -> Result<R, Fault> {
    // An application may complete an answer while it is called, so that one guard stands in another.
    let was_guarded = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(was_guarded);
    result.map_err(|panic| Fault::Panicked(panic_message(&*panic)))
}

/// Keeps the panic hook silent for the panics that this module turns into faults: they get one line, not a
/// backtrace. Called by the server at its start, once for the process.
pub fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let earlier = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                earlier(info);
            }
        }));
    });
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}
