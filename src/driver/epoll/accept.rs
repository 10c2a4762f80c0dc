//! The accept of a listener under epoll.
//!
//! Listeners stay level-triggered: what a turn leaves in the queue beyond its share is told again by the next, and
//! no accept has to be spent on finding the queue empty before a wait. One that is armed is in the epoll instance,
//! one that is not is out of it: a full worker must not be woken for what it cannot take.
//!
//! A listener may be shared, with other workers or, inherited, with other processes. Then all who wait on it are
//! woken, and those who come late find nothing. To have one woken alone (`EPOLLEXCLUSIVE`) would save that, but it
//! may be about to end, and would leave the peer waiting for the next arrival to wake somebody; and since the kernel
//! begins with the same worker each time, that one would collect the connections that stay. Our own listeners have
//! one worker each, so there nobody is woken in vain.

use std::os::fd::{AsRawFd, OwnedFd};

use super::{Epoll, LISTENER_DATA, socket};
use crate::driver::{Completion, Socket};
use crate::sys::Errno;

/// A listener, until it is closed.
pub(super) struct Listener {
    pub(super) descriptor: Option<OwnedFd>,
    /// Whether its accept is armed, and so epoll has it.
    is_armed: bool,
}

impl Listener {
    pub(super) fn new(descriptor: OwnedFd) -> Listener {
        Listener { descriptor: Some(descriptor), is_armed: false }
    }
}

impl Epoll {
    pub(super) fn arm_accept(&mut self, index: usize) {
        let Some(listener) = self.listeners.get_mut(index) else { return };
        let Some(descriptor) = listener.descriptor.as_ref().map(AsRawFd::as_raw_fd) else { return };
        if std::mem::replace(&mut listener.is_armed, true) {
            return;
        }
        let data = LISTENER_DATA + index as u64;
        if let Err(error) = self.control(libc::EPOLL_CTL_ADD, descriptor, libc::EPOLLIN, data) {
            self.listeners[index].is_armed = false;
            let result = Err(Errno::of(&error));
            self.completions.push_back(Completion::Accepted { listener: index, result, more: false });
        }
    }

    /// Answers whether it was armed. The descriptor may have copies elsewhere, so it is taken out by name.
    pub(super) fn disarm_accept(&mut self, index: usize) -> bool {
        let Some(listener) = self.listeners.get_mut(index) else { return false };
        let was_armed = std::mem::take(&mut listener.is_armed);
        if was_armed && let Some(descriptor) = listener.descriptor.as_ref().map(AsRawFd::as_raw_fd) {
            // Epoll has it, so this cannot fail.
            let _ = self.control(libc::EPOLL_CTL_DEL, descriptor, 0, 0);
        }
        was_armed
    }

    /// Accepts what is queued, up to the share of a turn.
    pub(super) fn try_accept(&mut self, index: usize) {
        for _ in 0..ACCEPT_COUNT_MAX {
            let Some(Listener { descriptor: Some(descriptor), is_armed: true }) = self.listeners.get(index) else {
                return;
            };
            self.call_count += 1;
            let result = match socket::accept(descriptor.as_raw_fd()) {
                Err(Errno(libc::EAGAIN)) => return,
                result => result.map(Socket),
            };
            let more = result.is_ok() || !self.disarm_accept(index);
            self.completions.push_back(Completion::Accepted { listener: index, result, more });
        }
    }
}

const ACCEPT_COUNT_MAX: usize = 64;
