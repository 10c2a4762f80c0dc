//! The interpreter's lock, held by a thread from its first call of a Python application to its last application's end.
//!
//! Several applications of a thread share one attachment: the lock cannot be given back twice. Where the thread waits in a
//! runtime, beside an application that awaits, nobody lets go of the lock for it: there each call takes it, and what stays
//! from call to call is the thread's identity alone, without which Python would forget its `threading.local`.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use pyo3::ffi;

use crate::app::hosting::is_hosted;

/// Held as long as one of its holders is.
pub(super) struct Attachment {
    state: ffi::PyGILState_STATE,
    /// The thread's state between the calls, where the lock is not held.
    rested: Option<*mut ffi::PyThreadState>,
}

impl Attachment {
    /// That of this thread, taken now if there is none. The interpreter runs.
    pub(super) fn of_this_thread() -> Rc<Attachment> {
        ATTACHMENT.with_borrow_mut(|kept| {
            kept.upgrade().unwrap_or_else(|| {
                // SAFETY: the interpreter runs; it is released in `Drop`, on the same thread, since an `Rc` stays there.
                let state = unsafe { ffi::PyGILState_Ensure() };
                // SAFETY: this thread holds the lock.
                let rested = is_hosted().then(|| unsafe { ffi::PyEval_SaveThread() });
                let attachment = Rc::new(Attachment { state, rested });
                *kept = Rc::downgrade(&attachment);
                attachment
            })
        })
    }

    /// Whether the lock is held between calls.
    pub(super) fn is_lasting(&self) -> bool {
        self.rested.is_none()
    }

    /// Calls `wait` without the lock.
    pub(super) fn let_wait(&self, wait: &mut dyn FnMut()) {
        // Of two applications that wait within each other the outer one has let go of it already.
        // SAFETY: may be called on any thread.
        if unsafe { ffi::PyGILState_Check() } == 0 {
            return wait();
        }
        // SAFETY: this thread holds the lock, and takes it again before anything else is done.
        let state = unsafe { ffi::PyEval_SaveThread() };
        wait();
        // SAFETY: the state is this thread's own, just given up.
        unsafe { ffi::PyEval_RestoreThread(state) };
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        if let Some(rested) = self.rested {
            // SAFETY: the state is this thread's own, which does not hold the lock between calls.
            unsafe { ffi::PyEval_RestoreThread(rested) };
        }
        // SAFETY: the state is what taking it on this thread answered.
        unsafe { ffi::PyGILState_Release(self.state) };
    }
}

thread_local! {
    static ATTACHMENT: RefCell<Weak<Attachment>> = const { RefCell::new(Weak::new()) };
}
