//! The epoll set under both services, with the listener in it.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Readiness events taken by one wait.
const EVENT_COUNT: usize = 512;

/// What a connection is watched for; RDHUP tells of an end that arrives together with the last bytes.
pub const READABLE: i32 = libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET;

/// The end or the failure of a connection, which no further edge will tell of.
pub const HUNG_UP: i32 = libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR;

/// An epoll set, and the listener that it watches.
pub struct Poll {
    epoll: OwnedFd,
    listener: TcpListener,
}

/// The events of one wait.
pub type Events = [libc::epoll_event; EVENT_COUNT];

/// What becomes of a connection after its readiness was used.
pub enum Next {
    Wait,
    Close,
}

impl Poll {
    pub fn new(listener: TcpListener) -> io::Result<Poll> {
        listener.set_nonblocking(true)?;
        // SAFETY: a new descriptor is owned by no one else.
        let epoll = unsafe { OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        let poll = Poll { epoll, listener };
        poll.watch(libc::EPOLL_CTL_ADD, poll.listener.as_raw_fd(), libc::EPOLLIN)?;
        Ok(poll)
    }

    /// Room for the events of a wait.
    pub fn events() -> Events {
        [libc::epoll_event { events: 0, u64: 0 }; EVENT_COUNT]
    }

    /// Waits for readiness, however long, and returns it.
    pub fn wait<'e>(&self, events: &'e mut Events) -> io::Result<&'e [libc::epoll_event]> {
        // SAFETY: the kernel writes at most EVENT_COUNT events into an array of as many.
        let waited = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), EVENT_COUNT as i32, -1) };
        match check(waited) {
            Ok(count) => Ok(&events[..count as usize]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(&[]),
            Err(error) => Err(error),
        }
    }

    /// Whether a descriptor is the listener's.
    pub fn is_listener(&self, fd: RawFd) -> bool {
        fd == self.listener.as_raw_fd()
    }

    /// Accepts one that is queued and watches it; `None` is an empty queue.
    pub fn accept(&self, interest: i32) -> io::Result<Option<RawFd>> {
        loop {
            // SAFETY: no address is asked for, so the kernel writes nothing.
            let accepted = unsafe {
                libc::accept4(
                    self.listener.as_raw_fd(),
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                    libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
                )
            };
            match check(accepted) {
                Ok(fd) => {
                    self.watch(libc::EPOLL_CTL_ADD, fd, interest)?;
                    return Ok(Some(fd));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub fn watch(&self, operation: i32, fd: RawFd, interest: i32) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest as u32, u64: fd as u64 };
        // SAFETY: both descriptors are open, and the kernel copies the event.
        check(unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd, &mut event) }).map(drop)
    }
}

/// Closes a connection, which also ends its watch.
pub fn close(fd: RawFd) {
    // SAFETY: the descriptor is the connection's own, and nothing uses it after this.
    unsafe { libc::close(fd) };
}

/// Receives what there is, at most as much as `space` holds.
pub fn receive(fd: RawFd, space: &mut [u8]) -> isize {
    // SAFETY: the kernel writes into the slice, within its length.
    unsafe { libc::recv(fd, space.as_mut_ptr().cast(), space.len(), 0) }
}

/// Sends as much of `part` as the socket takes.
pub fn send(fd: RawFd, part: &[u8]) -> isize {
    // SAFETY: the slice outlives the call, which copies it.
    unsafe { libc::send(fd, part.as_ptr().cast(), part.len(), libc::MSG_NOSIGNAL) }
}

pub fn would_block() -> bool {
    io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
