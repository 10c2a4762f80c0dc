//! A ring in somebody else's loop, which cannot wait inside `io_uring_enter`.
//!
//! The kernel rings a bell, an eventfd that is registered with the ring, and the loop awaits that. Three things make it
//! cheap and keep it from being missed:
//! 1. The bell is off while turns are taken (`IORING_CQ_EVENTFD_DISABLED`). Or the ring's own submissions would ring it,
//!    and each sleep would begin with a false alarm.
//! 2. With DEFER_TASKRUN a completion is posted only by our own enter. What tells that there is work for one is a flag in
//!    shared memory (`IORING_SQ_TASKRUN`): a turn that has nothing to submit and does not see it makes no system call.
//! 3. The bell is switched on first and the flag is looked at afterwards, with a full barrier in between; the kernel sets
//!    the flag first and looks at the switch afterwards. So one of them sees the other. That the kernel's two steps stay
//!    in this order is certain only where an atomic operation is a barrier, as on x86; elsewhere one enter behind the
//!    switch takes the place of the look.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use io_uring::IoUring;

use super::Uring;
use crate::buffer::Pool;
use crate::driver::Guest;
use crate::sys::Waker;

impl<'ring> Uring<'ring> {
    /// The same as [`Uring::new`] for somebody else's loop, over a ring that [`build_guest`](super::build_guest) has made.
    ///
    /// # Errors
    /// As of [`Uring::new`], and a lack of descriptors.
    pub fn guest(
        ring: &'ring mut IoUring,
        waker: Waker,
        listeners: Vec<OwnedFd>,
        pool: Pool,
    ) -> io::Result<Uring<'ring>> {
        let mut driver = Uring::new(ring, waker, listeners, pool)?;
        let bell = Waker::new()?;
        driver.cq.disable_eventfd();
        driver.submitter.register_eventfd(bell.descriptor())?;
        driver.bell = Some(bell);
        Ok(driver)
    }

    /// Whether a turn that does not wait has nothing to do: nothing to submit, and nothing that an enter would fetch. Known
    /// only in somebody else's loop, whose ring has the flag that tells.
    pub(super) fn has_nothing(&mut self) -> bool {
        if self.bell.is_none() || self.has_submissions() {
            return false;
        }
        self.cq.sync();
        !self.has_news() && self.cq.is_empty()
    }

    fn has_submissions(&self) -> bool {
        !self.sq.is_empty() || !self.waiting.is_empty()
    }

    /// Whether the kernel has something that only an enter fetches.
    fn has_news(&self) -> bool {
        self.sq.taskrun() || self.sq.cq_overflow()
    }
}

impl Guest for Uring<'_> {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.bell.as_ref().map(Waker::as_fd).expect("a guest has a bell")
    }

    /// The tick is the ring's own, so that only what is to be submitted is pressing.
    fn time_left(&self) -> Option<Duration> {
        self.has_submissions().then_some(Duration::ZERO)
    }

    fn doze(&mut self) -> bool {
        self.cq.enable_eventfd();
        fence(Ordering::SeqCst);
        if !IS_ORDERED && self.enter(0).is_err() {
            return false;
        }
        self.has_nothing()
    }

    fn rouse(&mut self) {
        self.cq.disable_eventfd();
    }

    fn ring(&self) -> bool {
        self.bell.as_ref().is_some_and(|bell| {
            bell.wake();
            true
        })
    }
}

/// Whether the kernel's atomic operations are barriers here.
const IS_ORDERED: bool = cfg!(target_arch = "x86_64");
