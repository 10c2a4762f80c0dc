//! A worker in somebody else's loop: one that waits for more than the worker's driver.
//!
//! It polls the worker's descriptor among others, for no longer than the worker's time, and then has it take a turn.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use crate::driver::Driver;
use crate::driver::epoll::Epoll;

use super::Worker;

impl<D: Driver> Worker<D> {
    /// One turn that does not wait. Answers whether there is to be another.
    ///
    /// # Errors
    /// What made the driver unusable.
    pub fn turn_ready(&mut self) -> io::Result<bool> {
        self.turn_once(false)
    }
}

impl Worker<Epoll> {
    /// The descriptor that is readable when a turn has something to do.
    #[must_use]
    pub fn descriptor(&self) -> RawFd {
        self.driver.descriptor()
    }

    /// How long no turn is needed unless the descriptor becomes readable; `None` is for ever.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        if self.has_work() { Some(Duration::ZERO) } else { self.driver.time_left() }
    }
}
