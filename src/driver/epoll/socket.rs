//! One socket under epoll: what is armed on it, and the system calls that do it. None of them blocks.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use crate::buffer::{BLOCK_SIZE, Outgoing, Payload, Pool, Received};
use crate::driver::{Completion, Key};
use crate::sys::Errno;

/// What is in flight, as the worker sees it, for one slot.
#[derive(Default)]
pub(super) struct Entry {
    pub(super) generation: u32,
    pub(super) descriptor: RawFd,
    pub(super) receiving: Receiving,
    /// Boxed, because most connections send nothing at a time.
    pub(super) sending: Option<Box<Sending>>,
    /// Whether the send waits for writability.
    pub(super) is_blocked: bool,
    /// What the kernel watches it for.
    pub(super) watched: u32,
}

/// The receive of a slot.
#[derive(Default)]
pub(super) enum Receiving {
    #[default]
    Off,
    /// Into blocks of the pool, until it ends.
    Blocks,
    /// Once, at most `size` bytes behind those of `buffer`.
    Into { buffer: Vec<u8>, size: usize },
}

/// A send under way.
pub(super) struct Sending {
    pub(super) descriptor: RawFd,
    pub(super) outgoing: Outgoing,
    /// Bytes of the parts in memory that the socket has taken.
    sent: usize,
    /// Bytes of the file range that the socket has taken.
    file_sent: u64,
}

impl Entry {
    /// What the kernel should watch it for.
    pub(super) fn interest(&self) -> u32 {
        let read = match self.receiving {
            Receiving::Off => 0,
            Receiving::Blocks | Receiving::Into { .. } => libc::EPOLLIN | libc::EPOLLRDHUP,
        };
        let write = if self.is_blocked { libc::EPOLLOUT } else { 0 };
        (read | write) as u32
    }
}

impl Receiving {
    /// The last completion of a receive that ends with an error.
    pub(super) fn end(self, key: Key, errno: Errno) -> Option<Completion> {
        match self {
            Receiving::Off => None,
            Receiving::Blocks => Some(Completion::Received { key, result: Err(errno), more: false }),
            Receiving::Into { buffer, .. } => Some(Completion::Filled { key, buffer, result: Err(errno) }),
        }
    }
}

impl Sending {
    /// Bytes that the kernel has taken.
    pub(super) fn progress(&self) -> u64 {
        self.sent as u64 + self.file_sent
    }

    pub(super) fn new(descriptor: RawFd, outgoing: Outgoing) -> Sending {
        Sending { descriptor, outgoing, sent: 0, file_sent: 0 }
    }

    /// Sends as much as the socket takes now, up to the share of one turn: a peer who reads as fast as we send
    /// must not keep the others waiting. Answers whether that was all.
    pub(super) fn advance(&mut self) -> Result<bool, Errno> {
        for _ in 0..SEND_COUNT_MAX {
            let size = match self.send_once() {
                Ok(None) => return Ok(true),
                Ok(Some(size)) => size,
                Err(Errno(libc::EAGAIN)) => return Ok(false),
                Err(Errno(libc::EINTR)) => continue,
                Err(errno) => return Err(errno),
            };
            if size == 0 {
                // A file that is shorter than its range cannot be sent as declared.
                return Err(Errno(libc::EIO));
            }
        }
        // The socket is still writable, so the next turn goes on at once.
        Ok(false)
    }

    /// One system call. `None` where nothing is left.
    fn send_once(&mut self) -> Result<Option<usize>, Errno> {
        let Outgoing { block, block_size, spill, payload } = &self.outgoing;
        let bytes: &[u8] = match payload {
            Payload::Static(bytes) => bytes,
            Payload::Owned(bytes) => (**bytes).as_ref(),
            Payload::None | Payload::File(_) => &[],
        };
        let block = block.as_deref().and_then(|block| block.get(..*block_size)).unwrap_or_default();
        let mut skip = self.sent;
        let mut vectors = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; 3];
        let mut count = 0;
        for part in [block, spill, bytes] {
            let skipped = skip.min(part.len());
            skip -= skipped;
            if let Some(rest) = part.get(skipped..).filter(|rest| !rest.is_empty()) {
                vectors[count] = libc::iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: rest.len() };
                count += 1;
            }
        }
        if count > 0 {
            let size = send_vectors(self.descriptor, &mut vectors[..count])?;
            self.sent += size;
            return Ok(Some(size));
        }
        let Payload::File(range) = payload else { return Ok(None) };
        let missing = range.size - self.file_sent;
        if missing == 0 {
            return Ok(None);
        }
        let mut offset = libc::off_t::try_from(range.offset + self.file_sent).map_err(|_| Errno(libc::EOVERFLOW))?;
        let size = usize::try_from(missing).unwrap_or(usize::MAX).min(SENDFILE_SIZE_MAX);
        // SAFETY: `offset` is valid for the call; both descriptors are open.
        let sent = unsafe { libc::sendfile(self.descriptor, range.file.as_raw_fd(), &mut offset, size) };
        let size = usize::try_from(sent).map_err(|_| Errno::last())?;
        self.file_sent += size as u64;
        Ok(Some(size))
    }
}

fn send_vectors(descriptor: RawFd, vectors: &mut [libc::iovec]) -> Result<usize, Errno> {
    // SAFETY: a C structure of pointers and integers, for which zero bytes are valid.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = vectors.as_mut_ptr();
    header.msg_iovlen = vectors.len();
    // SAFETY: the header and its vectors point to readable memory for the length of the call.
    let sent = unsafe { libc::sendmsg(descriptor, &header, libc::MSG_NOSIGNAL) };
    usize::try_from(sent).map_err(|_| Errno::last())
}

/// One receive into a block of the pool. `None` at the end of what the peer sends.
pub(super) fn receive(descriptor: RawFd, pool: &mut Pool) -> Result<Option<Received>, Errno> {
    let mut block = pool.take();
    // SAFETY: the block has BLOCK_SIZE writable bytes.
    let result = unsafe { libc::recv(descriptor, block.as_mut_ptr().cast(), BLOCK_SIZE, 0) };
    match usize::try_from(result) {
        Ok(0) => {
            pool.give(block);
            Ok(None)
        }
        Ok(size) => Ok(Some(Received { block, size })),
        Err(_) => {
            let errno = Errno::last();
            pool.give(block);
            Err(if errno == Errno(libc::EINTR) { Errno(libc::EAGAIN) } else { errno })
        }
    }
}

/// One receive behind the bytes of `buffer`.
pub(super) fn receive_into(descriptor: RawFd, buffer: &mut Vec<u8>, size: usize) -> Result<usize, Errno> {
    let spare = buffer.spare_capacity_mut();
    let size = size.min(spare.len());
    // SAFETY: the spare capacity has that many writable bytes.
    let result = unsafe { libc::recv(descriptor, spare.as_mut_ptr().cast(), size, 0) };
    match usize::try_from(result) {
        Ok(size) => {
            // SAFETY: the kernel has written `size` bytes behind the length, within the capacity.
            unsafe { buffer.set_len(buffer.len() + size) };
            Ok(size)
        }
        Err(_) => match Errno::last() {
            Errno(libc::EINTR) => Err(Errno(libc::EAGAIN)),
            errno => Err(errno),
        },
    }
}

/// Accepts one connection, non-blocking and closed on exec.
pub(super) fn accept(listener: RawFd) -> Result<RawFd, Errno> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: null pointers ask for no address.
    let socket = unsafe { libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), flags) };
    if socket < 0 { Err(Errno::last()) } else { Ok(socket) }
}

pub(super) fn set_nonblocking(descriptor: RawFd) -> io::Result<()> {
    // SAFETY: no pointer is passed.
    let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFL) };
    // SAFETY: no pointer is passed.
    if flags < 0 || unsafe { libc::fcntl(descriptor, libc::F_SETFL, flags | libc::O_NONBLOCK) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

const SENDFILE_SIZE_MAX: usize = 1 << 20;
/// System calls of one send in one turn.
const SEND_COUNT_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Arc;

    use super::*;
    use crate::buffer::FileRange;

    #[test]
    fn a_send_that_never_blocks_takes_turns() {
        // /dev/null takes everything at once, as a peer on the same machine may.
        let sink = File::options().write(true).open("/dev/null").expect("it is there");
        let file = Arc::new(tempfile::tempfile().expect("a temporary file"));
        let size = 16 * SENDFILE_SIZE_MAX as u64;
        file.set_len(size).expect("it may be sparse");
        let payload = Payload::File(FileRange { file, offset: 0, size });
        let outgoing = Outgoing { block: None, block_size: 0, spill: Vec::new(), payload };
        let mut sending = Sending::new(sink.as_raw_fd(), outgoing);
        let mut turn_count = 1;
        while !sending.advance().expect("it takes everything") {
            turn_count += 1;
        }
        assert!(turn_count > 2, "16 MiB went out in {turn_count} turns");
    }
}
