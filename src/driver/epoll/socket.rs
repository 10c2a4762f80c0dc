//! One socket under epoll: what is armed on it, and the system calls that do it. None of them blocks.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use crate::buffer::{BLOCK_SIZE, Outgoing, Payload, Pool, Received};
use crate::driver::{Completion, Key};
use crate::sys::Errno;

/// What is known of a socket and in flight on it, as the worker sees it, for one slot.
pub(super) struct Entry {
    pub(super) generation: u32,
    pub(super) descriptor: RawFd,
    pub(super) receiving: Receiving,
    /// Boxed, because most connections send nothing at a time.
    pub(super) sending: Option<Box<Sending>>,
    /// Whether epoll has it.
    pub(super) is_watched: bool,
    /// Whether it is watched for room too.
    pub(super) is_room_watched: bool,
    /// Whether a receive may find something: bytes, the end or an error.
    pub(super) is_readable: bool,
    /// Whether a send may find room.
    pub(super) is_writable: bool,
    /// Whether a receive that brings less than it may has emptied the socket.
    pub(super) is_short_final: bool,
    /// Whether it is queued to be received from.
    pub(super) is_queued: bool,
}

/// The receive of a slot.
#[derive(Default)]
pub(super) enum Receiving {
    #[default]
    Off,
    /// Into blocks of the pool, until it ends, or into one.
    Blocks { is_lasting: bool },
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
    /// System calls made for it.
    pub(super) call_count: u64,
}

impl Entry {
    /// A socket that nobody has touched: it has room, and its first edge tells whether it is readable.
    pub(super) fn new(generation: u32, is_short_final: bool) -> Entry {
        Entry {
            generation,
            descriptor: -1,
            receiving: Receiving::Off,
            sending: None,
            is_watched: false,
            is_room_watched: false,
            is_readable: false,
            is_writable: true,
            is_short_final,
            is_queued: false,
        }
    }

    pub(super) fn is_armed(&self) -> bool {
        !matches!(self.receiving, Receiving::Off)
    }

    /// Whether it is to be queued for a receive; then it counts as queued.
    pub(super) fn is_due(&mut self) -> bool {
        self.is_readable && self.is_armed() && !std::mem::replace(&mut self.is_queued, true)
    }

    /// Notes what a receive of at most `asked` bytes has shown. The end of the stream stays to be read.
    pub(super) fn note_received(&mut self, size: usize, asked: usize) {
        self.is_readable = size == 0 || size >= asked || !self.is_short_final;
    }
}

impl Default for Entry {
    /// An entry of nobody: no generation is as large.
    fn default() -> Entry {
        Entry::new(u32::MAX, false)
    }
}

impl Receiving {
    /// The last completion of a receive that ends with an error.
    pub(super) fn end(self, key: Key, errno: Errno) -> Option<Completion> {
        match self {
            Receiving::Off => None,
            Receiving::Blocks { .. } => Some(Completion::Received { key, result: Err(errno), more: false }),
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
        Sending { descriptor, outgoing, sent: 0, file_sent: 0, call_count: 0 }
    }

    /// Sends as much as the socket takes now, up to the share of one turn: a peer who reads as fast as we send
    /// must not keep the others waiting. Answers whether that was all; `EAGAIN` where the socket has no room.
    pub(super) fn advance(&mut self) -> Result<bool, Errno> {
        for _ in 0..SEND_COUNT_MAX {
            let size = match self.send_once() {
                Ok(None) => return Ok(true),
                Ok(Some(size)) => size,
                Err(Errno(libc::EINTR)) => continue,
                Err(errno) => return Err(errno),
            };
            if size == 0 {
                // A file that is shorter than its range cannot be sent as declared.
                return Err(Errno(libc::EIO));
            }
        }
        // The socket may still be writable, so the next turn goes on at once.
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
            // A file follows in a call of its own, and need not in a packet of its own.
            let is_file_next = matches!(payload, Payload::File(range) if range.size > 0);
            let flags = if is_file_next { libc::MSG_MORE } else { 0 };
            self.call_count += 1;
            let size = send_vectors(self.descriptor, &mut vectors[..count], flags)?;
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
        self.call_count += 1;
        // SAFETY: `offset` is valid for the call; both descriptors are open.
        let sent = unsafe { libc::sendfile(self.descriptor, range.file.as_raw_fd(), &mut offset, size) };
        let size = usize::try_from(sent).map_err(|_| Errno::last())?;
        self.file_sent += size as u64;
        Ok(Some(size))
    }
}

fn send_vectors(descriptor: RawFd, vectors: &mut [libc::iovec], flags: i32) -> Result<usize, Errno> {
    let flags = flags | libc::MSG_NOSIGNAL;
    let sent = if let [vector] = vectors {
        // The usual answer is one run of bytes, and this call has less to copy and to check.
        // SAFETY: the vector points to as many readable bytes as it says, for the length of the call.
        unsafe { libc::send(descriptor, vector.iov_base, vector.iov_len, flags) }
    } else {
        // SAFETY: a C structure of pointers and integers, for which zero bytes are valid.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = vectors.as_mut_ptr();
        header.msg_iovlen = vectors.len();
        // SAFETY: the header and its vectors point to readable memory for the length of the call.
        unsafe { libc::sendmsg(descriptor, &header, flags) }
    };
    usize::try_from(sent).map_err(|_| Errno::last())
}

/// One receive into a block of the pool. `None` at the end of what the peer sends.
pub(super) fn receive(descriptor: RawFd, pool: &mut Pool) -> Result<Option<Received>, Errno> {
    let mut block = pool.take();
    match receive_bytes(descriptor, block.as_mut_ptr(), BLOCK_SIZE) {
        Ok(size) if size > 0 => Ok(Some(Received { block, size })),
        result => {
            pool.give(block);
            result.map(|_| None)
        }
    }
}

/// One receive behind the bytes of `buffer`, into the first `size` bytes of its spare capacity.
pub(super) fn receive_into(descriptor: RawFd, buffer: &mut Vec<u8>, size: usize) -> Result<usize, Errno> {
    let spare = buffer.spare_capacity_mut();
    assert!(size <= spare.len(), "the buffer has the room that is promised");
    let size = receive_bytes(descriptor, spare.as_mut_ptr().cast(), size)?;
    // SAFETY: the kernel has written `size` bytes behind the length, within the capacity.
    unsafe { buffer.set_len(buffer.len() + size) };
    Ok(size)
}

/// One receive of at most `size` bytes to `address`, where the caller has as many writable ones. A signal is no
/// result: it would be taken for an empty socket.
fn receive_bytes(descriptor: RawFd, address: *mut u8, size: usize) -> Result<usize, Errno> {
    loop {
        // SAFETY: both callers pass memory that is theirs alone and has `size` writable bytes.
        let result = unsafe { libc::recv(descriptor, address.cast(), size, 0) };
        match usize::try_from(result).map_err(|_| Errno::last()) {
            Err(Errno(libc::EINTR)) => {}
            result => return result,
        }
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
        let outgoing = Outgoing { payload, ..Outgoing::default() };
        let mut sending = Sending::new(sink.as_raw_fd(), outgoing);
        let mut turn_count = 1;
        while !sending.advance().expect("it takes everything") {
            turn_count += 1;
        }
        assert!(turn_count > 2, "16 MiB went out in {turn_count} turns");
    }
}
