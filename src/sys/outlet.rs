//! A connected socket that is written to at once, beside the driver, while nothing of its connection is in flight.
//!
//! For an application that writes its body itself, while it is called: its bytes shall not wait for its return.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use super::Errno;

/// A socket that somebody else owns and keeps open meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlet {
    pub(crate) descriptor: RawFd,
}

impl Outlet {
    /// Hands bytes to the kernel, as many as it takes without waiting; 0 where it takes none just now.
    ///
    /// # Errors
    /// What send(2) answers where the peer has gone.
    pub fn send(self, bytes: &[u8]) -> io::Result<usize> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        loop {
            // SAFETY: the pointer is valid for the size, and the kernel copies the bytes.
            let sent = unsafe { libc::send(self.descriptor, bytes.as_ptr().cast(), bytes.len(), flags) };
            match usize::try_from(sent) {
                Ok(size) => return Ok(size),
                Err(_) => match Errno::last() {
                    Errno(libc::EINTR) => {}
                    Errno(libc::EAGAIN) => return Ok(0),
                    errno => return Err(errno.into()),
                },
            }
        }
    }

    /// Has the socket's close be a reset. Where that fails it is a close like others.
    pub(crate) fn reset_at_close(self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let (option, size) = ((&raw const linger).cast(), size_of::<libc::linger>() as libc::socklen_t);
        // SAFETY: the pointer is valid for the size, and the kernel copies the bytes.
        unsafe { libc::setsockopt(self.descriptor, libc::SOL_SOCKET, libc::SO_LINGER, option, size) };
    }

    /// Waits until the kernel takes bytes again.
    ///
    /// # Errors
    /// `TimedOut` where it has not within `patience`.
    pub fn wait(self, patience: Duration) -> io::Result<()> {
        let mut poll = libc::pollfd { fd: self.descriptor, events: libc::POLLOUT, revents: 0 };
        let timeout = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
        loop {
            // SAFETY: one entry is passed, and the kernel writes to it alone.
            match unsafe { libc::poll(&mut poll, 1, timeout) } {
                0 => return Err(io::ErrorKind::TimedOut.into()),
                1.. => return Ok(()),
                _ if Errno::last() == Errno(libc::EINTR) => {}
                _ => return Err(io::Error::last_os_error()),
            }
        }
    }
}
