//! Writes that do not wait, for what may not be taken: a pipe whose reader is slow, a terminal that is stopped.
//!
//! `O_NONBLOCK` would do the same, but it belongs to the open file, and standard output and error are shared with
//! other processes, which would find their own writes failing. So the wish not to wait goes with each call.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// Bytes that a pipe takes as a whole or not at all, apart from what other processes write (pipe(7)).
pub const PIPE_BUF: usize = libc::PIPE_BUF;

/// Writes what is taken at once and answers how many bytes that was.
///
/// A kernel before 6.5 refuses the wish for a pipe, and any kernel does for a terminal: then it is first asked whether
/// there is room, and waited for only if another process fills that in between. At most [`PIPE_BUF`] bytes find room.
///
/// # Errors
/// `WouldBlock` where nothing is taken now; else what write(2) answers.
pub fn write_now(descriptor: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let number = descriptor.as_raw_fd();
    let part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    loop {
        // SAFETY: the pointers are valid for one part and for its bytes, which are only read. An offset of -1, in two
        // words, is the position of the file.
        let written =
            unsafe { libc::syscall(libc::SYS_pwritev2, number, &raw const part, 1, -1i64, -1i64, libc::RWF_NOWAIT) };
        if let Ok(size) = usize::try_from(written) {
            return Ok(size);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL | libc::ESPIPE | libc::EPERM) => break,
            _ => return Err(error),
        }
    }
    if !wait_writable(descriptor, Duration::ZERO) {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    // SAFETY: the pointer is valid for as many bytes, which are only read.
    let written = unsafe { libc::write(number, bytes.as_ptr().cast(), bytes.len()) };
    usize::try_from(written).map_err(|_| io::Error::last_os_error())
}

/// Waits until a write would not, or would fail, and answers whether that is so. A signal may end the wait.
#[must_use]
pub fn wait_writable(descriptor: BorrowedFd<'_>, timeout: Duration) -> bool {
    let mut entry = libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    let timeout = timeout.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(i32::MAX);
    // SAFETY: the pointer is valid for the one entry.
    unsafe { libc::poll(&raw mut entry, 1, timeout) > 0 }
}

/// Whether it is a regular file, whose writes wait for nobody but the disk.
#[must_use]
pub fn is_regular(descriptor: BorrowedFd<'_>) -> bool {
    let mut status = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the pointer is valid for what the call writes, and all-zero bytes are a valid `stat`.
    let status = unsafe {
        libc::fstat(descriptor.as_raw_fd(), status.as_mut_ptr());
        status.assume_init()
    };
    status.st_mode & libc::S_IFMT == libc::S_IFREG
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_full_pipe_takes_nothing_and_an_emptied_one_does() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let piece = [b'x'; PIPE_BUF];
        let mut size = 0;
        let error = loop {
            match write_now(writer.as_fd(), &piece) {
                Ok(written) => size += written,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(!wait_writable(writer.as_fd(), Duration::ZERO) && !is_regular(writer.as_fd()));
        let mut taken = vec![0; size];
        reader.read_exact(&mut taken).expect("it holds what was written");
        assert!(wait_writable(writer.as_fd(), Duration::ZERO));
        drop(reader);
        assert_eq!(write_now(writer.as_fd(), b"x").map_err(|error| error.kind()), Err(io::ErrorKind::BrokenPipe));
    }
}
