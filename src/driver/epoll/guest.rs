//! Readiness in somebody else's loop: an epoll instance can itself be waited for, and makes an edge for each of its own.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::Epoll;
use crate::driver::{Driver, Guest};

impl Guest for Epoll {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    fn time_left(&self) -> Option<Duration> {
        // What the kernel has kept back of a full batch makes no edge any more.
        if self.has_work() || self.has_left {
            return Some(Duration::ZERO);
        }
        self.next_tick.map(|moment| moment.since(self.now()))
    }

    fn doze(&mut self) -> bool {
        true
    }

    fn rouse(&mut self) {}
}
