//! A worker in somebody else's loop: one that waits for more than the worker's driver.
//!
//! It awaits the worker's descriptor among others, for no longer than the worker's time, and then has it take a turn.

use std::io;
use std::os::fd::BorrowedFd;
use std::task;
use std::time::Duration;

use crate::driver::{Driver, Guest};

use super::Worker;

impl<D: Driver> Worker<D> {
    /// One turn that does not wait. Answers whether there is to be another.
    ///
    /// # Errors
    /// What made the driver unusable.
    pub fn turn_ready(&mut self) -> io::Result<bool> {
        self.turn_once(false)
    }

    /// Has late answers wake this task instead of the driver: they look after themselves where they come from the worker's
    /// own thread, without a system call. Whoever runs the task has the worker take a turn where
    /// [`Worker::has_replies`].
    pub fn wake_task(&mut self, task: task::Waker) {
        self.mailbox.wake_task(task);
    }

    /// Whether late answers wait to be fetched by a turn.
    #[must_use]
    pub fn has_replies(&self) -> bool {
        self.mailbox.has_replies()
    }

    /// Whether a request is in service that was not answered at once.
    #[must_use]
    pub fn has_unanswered(&self) -> bool {
        self.spares.taken_count() > 0
    }

    /// Whether the last turn has brought something, so that the next is likely to.
    #[must_use]
    pub fn was_busy(&self) -> bool {
        self.completion_count > 0
    }
}

impl<D: Guest> Worker<D> {
    /// The descriptor that is readable when a turn has something to do.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.driver.descriptor()
    }

    /// How long no turn is needed unless the descriptor becomes readable; `None` is for ever.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        if self.has_work() || self.has_replies() { Some(Duration::ZERO) } else { self.driver.time_left() }
    }

    /// Says that the loop is about to wait. Answers whether there is nothing to be done.
    pub fn doze(&mut self) -> bool {
        self.driver.doze()
    }

    /// Makes the descriptor readable once without any news. Answers whether it could.
    pub fn ring(&self) -> bool {
        self.driver.ring()
    }

    /// Says that the loop takes turns again.
    pub fn rouse(&mut self) {
        self.driver.rouse();
    }
}
