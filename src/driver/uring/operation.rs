//! What identifies an operation in its completion, and the memory that a send lends to the kernel.
//!
//! User data packs operation, generation and slot. Most sends are short, of one block, tried once: [`Prompt`] is all that is kept of
//! them. A [`Sending`] is boxed, so that the addresses in its vectors stay right wherever its handle is. Nothing is
//! submitted here.

use std::os::fd::AsRawFd;

use io_uring::{opcode, squeue, types};

use crate::buffer::{Block, Outgoing, Payload};
use crate::driver::Key;
use crate::sys::Errno;

/// The kinds of submissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Accept,
    Receive,
    Fill,
    Send,
    Store,
    Wake,
    Tick,
    /// Its completion says nothing of interest: a cancellation, a close, the removal of the tick.
    Quiet,
}

/// A short send of one block that is tried once (`MSG_DONTWAIT`): its completion comes with its submission, so that nobody has
/// to be woken for it. What the socket has no room for then is sent as one that lasts.
pub(super) struct Prompt {
    block: Block,
    size: u32,
    descriptor: i32,
    generation: u32,
    pub(super) is_cancelled: bool,
}

/// A send under way: the parts, and how far it has come.
pub(super) struct Sending {
    pub(super) key: Key,
    pub(super) descriptor: i32,
    flags: i32,
    pub(super) outgoing: Outgoing,
    /// Bytes of the parts in memory that the kernel has taken.
    sent: usize,
    /// Bytes of the file range that have been read and sent.
    file_sent: u64,
    /// What has been read of the file and not yet sent.
    piece: Vec<u8>,
    piece_sent: usize,
    is_reading: bool,
    pub(super) is_cancelled: bool,
    vectors: [libc::iovec; PART_COUNT],
    header: libc::msghdr,
}

/// How far a send has come.
pub(super) enum Progress {
    /// This is to be submitted next.
    Submit(squeue::Entry),
    /// Every byte has been taken.
    Done,
}

impl Operation {
    pub(super) fn pack(self, key: Key) -> u64 {
        (self as u64) << 56 | u64::from(key.generation) << 32 | u64::from(key.slot)
    }

    pub(super) fn unpack(user_data: u64) -> (Operation, Key) {
        let operation = match user_data >> 56 {
            0 => Operation::Accept,
            1 => Operation::Receive,
            2 => Operation::Fill,
            3 => Operation::Send,
            4 => Operation::Store,
            5 => Operation::Wake,
            6 => Operation::Tick,
            7 => Operation::Quiet,
            other => unreachable!("operation {other} was never submitted"),
        };
        // Both fit: the masks leave 24 and 32 bits.
        (operation, Key { generation: (user_data >> 32) as u32 & 0xff_ffff, slot: user_data as u32 })
    }
}

impl Prompt {
    /// `outgoing` as a prompt send, if it is a few bytes of one block and no more; else all of it again.
    pub(super) fn of(key: Key, descriptor: i32, outgoing: Outgoing) -> Result<Prompt, Outgoing> {
        match outgoing {
            Outgoing { block: Some(block), block_size, spill, payload: Payload::None }
                if spill.is_empty() && block_size <= PROMPT_SIZE_MAX =>
            {
                let size = u32::try_from(block_size).expect("a block has few bytes");
                Ok(Prompt { block, size, descriptor, generation: key.generation, is_cancelled: false })
            }
            outgoing => Err(outgoing),
        }
    }

    /// What is to be submitted. It points into the block, which must stay until the completion has come.
    pub(super) fn entry(&self, slot: u32, flags: i32) -> squeue::Entry {
        let key = Key { slot, generation: self.generation };
        opcode::Send::new(types::Fd(self.descriptor), self.block.address(), self.size)
            // Without MSG_WAITALL: some kernels would lose count of what they have taken of a send that is tried once.
            .flags(flags & !libc::MSG_WAITALL | libc::MSG_DONTWAIT)
            .build()
            .user_data(Operation::Send.pack(key))
    }

    /// Whether the completion with this result is that of every byte.
    pub(super) fn is_whole(&self, result: Result<usize, Errno>) -> bool {
        result == Ok(self.size as usize)
    }

    pub(super) fn is_of(&self, key: Key) -> bool {
        self.generation == key.generation
    }

    pub(super) fn into_outgoing(self) -> Outgoing {
        Outgoing { block: Some(self.block), block_size: self.size as usize, ..Outgoing::default() }
    }

    /// The send that goes on where this one has ended, and its result as that one's: no room is as good as a signal.
    pub(super) fn lasting(
        self,
        slot: u32,
        result: Result<usize, Errno>,
        flags: i32,
    ) -> (Sending, Result<usize, Errno>) {
        let Prompt { descriptor, generation, is_cancelled, .. } = self;
        let sending = Sending::new(Key { slot, generation }, descriptor, self.into_outgoing(), flags);
        let result = result.map_err(|errno| if errno.0 == libc::EAGAIN { Errno(libc::EINTR) } else { errno });
        (Sending { is_cancelled, ..sending }, result)
    }
}

impl Sending {
    pub(super) fn new(key: Key, descriptor: i32, outgoing: Outgoing, flags: i32) -> Sending {
        // SAFETY: both are C structures of pointers and integers, for which zero bytes are valid.
        let (vectors, header) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        Sending {
            key,
            descriptor,
            flags,
            outgoing,
            sent: 0,
            file_sent: 0,
            piece: Vec::new(),
            piece_sent: 0,
            is_reading: false,
            is_cancelled: false,
            vectors,
            header,
        }
    }

    pub(super) fn progress(&self) -> u64 {
        self.sent as u64 + self.file_sent
    }

    /// Gives back what was sent, once that is over. A spare holds no memory but its own.
    pub(super) fn release(&mut self) -> Outgoing {
        self.piece = Vec::new();
        std::mem::take(&mut self.outgoing)
    }

    /// Counts what a completion brought, and says how it goes on. `Err` where nothing more will come of it.
    pub(super) fn proceed(&mut self, result: Result<usize, Errno>) -> Result<Progress, Errno> {
        match result {
            Ok(size) => self.note(size)?,
            // A signal, and nothing was taken. A cancellation may come in this form too.
            Err(Errno(libc::EINTR)) => self.is_reading = false,
            Err(errno) => return Err(errno),
        }
        match self.next() {
            Progress::Submit(_) if self.is_cancelled => Err(Errno(libc::ECANCELED)),
            progress => Ok(progress),
        }
    }

    fn note(&mut self, size: usize) -> Result<(), Errno> {
        if std::mem::take(&mut self.is_reading) {
            // SAFETY: the kernel has written `size` bytes into the spare capacity, at most as many as were
            // asked for.
            unsafe { self.piece.set_len(size) };
            self.piece_sent = 0;
            // A file that is shorter than its range cannot be sent as declared.
            return if size == 0 { Err(Errno(libc::EIO)) } else { Ok(()) };
        }
        if size == 0 {
            return Err(Errno(libc::EPIPE));
        }
        if self.piece_sent < self.piece.len() {
            self.piece_sent += size;
            self.file_sent += size as u64;
        } else {
            self.sent += size;
        }
        Ok(())
    }

    /// What is to be submitted next. The entry points into `self`, which must not be dropped before its
    /// completion has come; `self` is boxed by the driver, so it does not move.
    pub(super) fn next(&mut self) -> Progress {
        let count = self.gather();
        let entry = match (count, &self.outgoing.payload) {
            (0, Payload::File(range)) if self.piece_sent == self.piece.len() => {
                let missing = range.size - self.file_sent;
                if missing == 0 {
                    return Progress::Done;
                }
                self.is_reading = true;
                self.piece.clear();
                self.piece.reserve_exact(PIECE_SIZE);
                let size = PIECE_SIZE.min(usize::try_from(missing).unwrap_or(PIECE_SIZE));
                opcode::Read::new(types::Fd(range.file.as_raw_fd()), self.piece.as_mut_ptr(), size as u32)
                    .offset(range.offset + self.file_sent)
                    .build()
            }
            (0, Payload::File(_)) => {
                let rest = &self.piece[self.piece_sent..];
                self.send(rest.as_ptr(), rest.len())
            }
            (0, Payload::None | Payload::Static(_) | Payload::Owned(_)) => return Progress::Done,
            (1, _) => self.send(self.vectors[0].iov_base.cast(), self.vectors[0].iov_len),
            (_, _) => {
                self.header.msg_iov = self.vectors.as_mut_ptr();
                self.header.msg_iovlen = count;
                opcode::SendMsg::new(types::Fd(self.descriptor), &self.header).flags(self.flags as u32).build()
            }
        };
        Progress::Submit(entry.user_data(Operation::Send.pack(self.key)))
    }

    fn send(&self, address: *const u8, size: usize) -> squeue::Entry {
        let size = u32::try_from(size).unwrap_or(u32::MAX >> 1);
        opcode::Send::new(types::Fd(self.descriptor), address, size).flags(self.flags).build()
    }

    /// Points the vectors at the parts in memory that are not yet sent. Answers how many there are.
    fn gather(&mut self) -> usize {
        let Outgoing { block, block_size, spill, payload } = &self.outgoing;
        let payload: &[u8] = match payload {
            Payload::Static(bytes) => bytes,
            Payload::Owned(bytes) => (**bytes).as_ref(),
            Payload::None | Payload::File(_) => &[],
        };
        let block = block.as_deref().and_then(|block| block.get(..*block_size)).unwrap_or_default();
        let (mut skip, mut count, mut total) = (self.sent, 0, 0);
        for part in [block, spill, payload] {
            let skipped = skip.min(part.len());
            skip -= skipped;
            let rest = &part[skipped..];
            let rest = &rest[..rest.len().min(SEND_SIZE_MAX - total)];
            total += rest.len();
            if !rest.is_empty() {
                self.vectors[count] = libc::iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: rest.len() };
                count += 1;
            }
        }
        count
    }
}

/// The flags of every send. A peer that has gone raises no signal. Over TCP the kernel retries a short send itself;
/// elsewhere it would not tell how far it has come.
pub(super) fn send_flags(is_internet: bool) -> i32 {
    libc::MSG_NOSIGNAL | if is_internet { libc::MSG_WAITALL } else { 0 }
}

/// Bytes that a socket nearly always has room for, so that a send of them is nearly always whole.
const PROMPT_SIZE_MAX: usize = 4 * 1024;
/// Bytes of one submission, so that a large body is seen to make progress.
const SEND_SIZE_MAX: usize = 1 << 20;
/// Block, spill and payload.
const PART_COUNT: usize = 3;
/// Bytes of a file read at once.
const PIECE_SIZE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::buffer::FileRange;

    fn sending(spill_size: usize, file_size: u64) -> Sending {
        let payload = match file_size {
            0 => Payload::None,
            size => {
                let file = Arc::new(tempfile::tempfile().expect("a temporary file"));
                Payload::File(FileRange { file, offset: 0, size })
            }
        };
        let outgoing = Outgoing { spill: vec![b'x'; spill_size], payload, ..Outgoing::default() };
        Sending::new(Key { slot: 0, generation: 0 }, 0, outgoing, send_flags(true))
    }

    /// The kernel's answers to a send, in order, and how it goes on behind the last: `Ok(true)` where it is done.
    #[test]
    fn every_answer_to_a_send_has_its_consequence() {
        let [interrupted, gone] = [libc::EINTR, libc::ECONNRESET].map(|errno| Err(Errno(errno)));
        let error = |errno| Err(Errno(errno));
        for (name, spill_size, file_size, is_cancelled, answers, expected) in [
            ("whole", 10, 0, false, &[Ok(10)][..], Ok(true)),
            ("short", 10, 0, false, &[Ok(4)], Ok(false)),
            ("short and the rest", 10, 0, false, &[Ok(4), Ok(6)], Ok(true)),
            ("nothing taken", 10, 0, false, &[Ok(0)], error(libc::EPIPE)),
            ("interrupted", 10, 0, false, &[interrupted], Ok(false)),
            ("interrupted behind some", 10, 0, false, &[Ok(4), interrupted, Ok(6)], Ok(true)),
            ("reset", 10, 0, false, &[gone], gone.map(|_| true)),
            ("reset behind some", 10, 0, false, &[Ok(4), gone], gone.map(|_| true)),
            ("cancelled", 10, 0, true, &[error(libc::ECANCELED).map(|_: bool| 0)], error(libc::ECANCELED)),
            ("cancelled between two", 10, 0, true, &[Ok(4)], error(libc::ECANCELED)),
            ("cancelled by a signal", 10, 0, true, &[interrupted], error(libc::ECANCELED)),
            ("cancelled when it was done", 10, 0, true, &[Ok(10)], Ok(true)),
            ("file", 0, 5, false, &[Ok(5), Ok(5)], Ok(true)),
            ("file behind bytes", 10, 5, false, &[Ok(10), Ok(5), Ok(5)], Ok(true)),
            ("file, read and sent short", 0, 5, false, &[Ok(3), Ok(2), Ok(1), Ok(2), Ok(2)], Ok(true)),
            ("file, read interrupted", 0, 5, false, &[interrupted, Ok(5), Ok(5)], Ok(true)),
            ("file, sent interrupted", 0, 5, false, &[Ok(5), interrupted, Ok(5)], Ok(true)),
            ("file too short", 0, 5, false, &[Ok(3), Ok(3), Ok(0)], error(libc::EIO)),
            ("file unreadable", 0, 5, false, &[error(libc::EIO).map(|_: bool| 0)], error(libc::EIO)),
        ] {
            let mut sending = sending(spill_size, file_size);
            assert!(matches!(sending.next(), Progress::Submit(_)), "{name}: a send has bytes");
            let mut outcome = Ok(false);
            for (index, answer) in answers.iter().enumerate() {
                // It is cancelled while the last answer is on its way.
                sending.is_cancelled = is_cancelled && index + 1 == answers.len();
                outcome = sending.proceed(*answer).map(|progress| matches!(progress, Progress::Done));
            }
            assert_eq!(outcome, expected, "{name}");
        }
    }
}
