//! The memory that a write to a file lends to the kernel, and how far the write has come. Nothing is submitted
//! here.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use io_uring::{opcode, squeue, types};

use super::operation::Operation;
use crate::driver::{Completion, Key};
use crate::sys::Errno;

/// A write under way.
pub(super) struct Storing {
    key: Key,
    file: Arc<File>,
    offset: u64,
    bytes: Vec<u8>,
    stored: usize,
}

impl Storing {
    pub(super) fn new(key: Key, file: Arc<File>, offset: u64, bytes: Vec<u8>) -> Storing {
        Storing { key, file, offset, bytes, stored: 0 }
    }

    /// The submission of what is not yet written. It points into the bytes' own memory, which stays where it is
    /// when the handle moves.
    pub(super) fn entry(&self) -> squeue::Entry {
        let rest = &self.bytes[self.stored..];
        let size = u32::try_from(rest.len()).unwrap_or(u32::MAX >> 1);
        opcode::Write::new(types::Fd(self.file.as_raw_fd()), rest.as_ptr(), size)
            .offset(self.offset + self.stored as u64)
            .build()
            .user_data(Operation::Store.pack(self.key))
    }

    /// Counts what a completion brought. `None` where another submission is to follow.
    pub(super) fn note(&mut self, result: Result<usize, Errno>) -> Option<Result<(), Errno>> {
        match result {
            Ok(0) if !self.bytes.is_empty() => Some(Err(Errno(libc::EIO))),
            Ok(size) => {
                self.stored += size;
                (self.stored == self.bytes.len()).then_some(Ok(()))
            }
            Err(Errno(libc::EINTR | libc::EAGAIN)) => None,
            Err(errno) => Some(Err(errno)),
        }
    }

    pub(super) fn complete(self, result: Result<(), Errno>) -> Completion {
        let Storing { key, file, bytes, .. } = self;
        Completion::Stored { key, file, bytes, result }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_write_goes_on_and_a_failed_one_ends() {
        let file = Arc::new(tempfile::tempfile().expect("a temporary file"));
        let key = Key { slot: 1, generation: 2 };
        let mut storing = Storing::new(key, file, 0, vec![0; 10]);
        assert_eq!(storing.note(Ok(4)), None);
        assert_eq!(storing.note(Err(Errno(libc::EINTR))), None);
        assert_eq!(storing.note(Ok(6)), Some(Ok(())));
        let file = Arc::new(tempfile::tempfile().expect("a temporary file"));
        let mut storing = Storing::new(key, file, 0, vec![0; 10]);
        assert_eq!(storing.note(Ok(0)), Some(Err(Errno(libc::EIO))));
        assert_eq!(storing.note(Err(Errno(libc::ENOSPC))), Some(Err(Errno(libc::ENOSPC))));
    }
}
