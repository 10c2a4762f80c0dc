//! The ring under both services: its setup, its queues, and the submissions that they share.

use crate::buffers::{Buffers, GROUP};
use io_uring::types::{CancelBuilder, Fixed};
use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, cqueue, opcode, squeue};
use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;

/// Entries of the submission queue.
const SQ_SIZE: u32 = 1024;

/// Entries of the completion queue: eight for each submission, because multishot operations complete often.
const CQ_SIZE: u32 = 8192;

/// Direct descriptors, and so connections, at most; fewer where the limit of open files is lower.
const SLOT_COUNT_MAX: u32 = 16 * 1024;

/// A ring with a listener that is accepted from, and buffers to receive into.
pub struct Ring<'ring> {
    submitter: Submitter<'ring>,
    sq: SubmissionQueue<'ring>,
    cq: CompletionQueue<'ring>,
    listener: TcpListener,
    pub buffers: Buffers,
    pub slot_count: u32,
}

#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
pub enum Operation {
    Accept,
    Receive,
    Send,
    Cancel,
    Close,
}

/// What is done with the completions of a ring: one of the two services.
pub trait Service<'ring> {
    fn ring(&mut self) -> &mut Ring<'ring>;

    /// A connection has a slot.
    fn accepted(&mut self, slot: u32);

    fn received(&mut self, slot: u32, generation: u16, result: i32, flags: u32);

    fn sent(&mut self, slot: u32, generation: u16, result: i32);

    /// Reaps, acts and submits, once each a turn.
    fn serve(&mut self) -> io::Result<()> {
        self.ring().arm_accept();
        loop {
            self.ring().turn()?;
            while let Some(completion) = self.ring().completion() {
                self.complete(completion)?;
            }
            self.ring().reaped();
        }
    }

    fn complete(&mut self, completion: cqueue::Entry) -> io::Result<()> {
        let (operation, generation, slot) = unpack(completion.user_data());
        match operation {
            Operation::Accept => {
                if let Some(slot) = self.ring().accepted(&completion)? {
                    self.accepted(slot);
                }
            }
            Operation::Receive => self.received(slot, generation, completion.result(), completion.flags()),
            Operation::Send => self.sent(slot, generation, completion.result()),
            // What they undo may have ended by itself, which is as good.
            Operation::Cancel | Operation::Close => {}
        }
        Ok(())
    }
}

/// A ring of one thread.
pub fn build() -> io::Result<IoUring> {
    IoUring::builder()
        // Only this thread submits, which the kernel rewards by leaving out locks and which the next flag needs.
        .setup_single_issuer()
        // Completions run in our own enter, in batches, and never interrupt us: without it a ring costs half more.
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        // One refused submission must not keep the rest of the turn's from the kernel.
        .setup_submit_all()
        // Submissions are taken in order, so the array of indices would be one more cache line to read.
        .setup_no_sqarray()
        .setup_cqsize(CQ_SIZE)
        .dontfork()
        .build(SQ_SIZE)
}

impl<'ring> Ring<'ring> {
    pub fn new(ring: &'ring mut IoUring, listener: TcpListener) -> io::Result<Ring<'ring>> {
        // One split for life, because only this Submitter remembers the registered ring descriptor.
        let (mut submitter, sq, cq) = ring.split();
        submitter.register_ring_fd()?;
        let slot_count = slot_count();
        submitter.register_files_sparse(slot_count)?;
        let buffers = Buffers::new(&submitter)?;
        Ok(Ring { submitter, sq, cq, listener, buffers, slot_count })
    }

    /// Offers the buffers that came home, submits what was pushed, and waits until something has completed.
    fn turn(&mut self) -> io::Result<()> {
        self.buffers.publish();
        self.sq.sync();
        match self.submitter.submit_and_wait(1) {
            Ok(_) => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY | libc::EAGAIN)) => {}
            Err(error) => return Err(error),
        }
        self.cq.sync();
        Ok(())
    }

    /// The next completion of this turn.
    fn completion(&mut self) -> Option<cqueue::Entry> {
        self.cq.next()
    }

    /// Gives the completions back that were read. The head must be published before the next wait, or the kernel
    /// counts the entries just read as completions enough and returns at once.
    fn reaped(&mut self) {
        self.cq.sync();
    }

    /// The slot of an accepted connection, if there is one; the accept is armed again if it has ended.
    fn accepted(&mut self, completion: &cqueue::Entry) -> io::Result<Option<u32>> {
        if !cqueue::more(completion.flags()) {
            self.arm_accept();
        }
        match completion.result() {
            slot @ 0.. => Ok(Some(slot as u32)),
            error if -error == libc::ECONNABORTED => Ok(None),
            error => Err(io::Error::from_raw_os_error(-error)),
        }
    }

    fn arm_accept(&mut self) {
        let listener = io_uring::types::Fd(self.listener.as_raw_fd());
        let accept = opcode::AcceptMulti::new(listener).allocate_file_index(true).build();
        self.push(&[accept.user_data(pack(Operation::Accept, 0, 0))]);
    }

    /// Arms the receive that goes on by itself and takes a shared buffer for what it brings.
    pub fn arm_receive(&mut self, slot: u32, generation: u16) {
        let receive = opcode::RecvMulti::new(Fixed(slot), GROUP).build();
        self.push(&[receive.user_data(pack(Operation::Receive, generation, slot))]);
    }

    /// Queues submissions, and enters early only if a turn needs more of them than the queue holds.
    pub fn push(&mut self, entries: &[squeue::Entry]) {
        // SAFETY: sends point into answers that live for ever, or into a connection's own memory, which neither
        // moves nor is freed while its send or its receive is in flight; receives else write into the buffers,
        // which are never freed.
        while unsafe { self.sq.push_multiple(entries) }.is_err() {
            self.sq.sync();
            self.submitter.submit().expect("the kernel takes a full submission queue");
            self.sq.sync();
        }
    }
}

/// A send of all of `part` that the kernel completes once.
pub fn send(slot: u32, generation: u16, part: &[u8]) -> squeue::Entry {
    opcode::Send::new(Fixed(slot), part.as_ptr(), part.len() as u32)
        .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
        .build()
        .user_data(pack(Operation::Send, generation, slot))
}

/// The end of the receive of a generation.
pub fn cancel(slot: u32, generation: u16) -> squeue::Entry {
    let receive = pack(Operation::Receive, generation, slot);
    let cancel = opcode::AsyncCancel2::new(CancelBuilder::user_data(receive)).build();
    cancel.user_data(pack(Operation::Cancel, 0, slot))
}

/// The end of the receive and the close of the slot, hard-linked so that the close comes whether or not there
/// was a receive to cancel.
pub fn closing(slot: u32, generation: u16) -> [squeue::Entry; 2] {
    let close = opcode::Close::new(Fixed(slot)).build();
    [cancel(slot, generation).flags(squeue::Flags::IO_HARDLINK), close.user_data(pack(Operation::Close, 0, slot))]
}

/// As many slots as the kernel will register, which is bounded by the soft limit of open files.
fn slot_count() -> u32 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills the limit, or leaves it alone and fails.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } == 0;
    if known { limit.rlim_cur.min(SLOT_COUNT_MAX.into()) as u32 } else { SLOT_COUNT_MAX }
}

pub fn pack(operation: Operation, generation: u16, slot: u32) -> u64 {
    (operation as u64) << 48 | (generation as u64) << 32 | slot as u64
}

fn unpack(user_data: u64) -> (Operation, u16, u32) {
    let operation = match user_data >> 48 {
        0 => Operation::Accept,
        1 => Operation::Receive,
        2 => Operation::Send,
        3 => Operation::Cancel,
        4 => Operation::Close,
        other => unreachable!("operation {other} was never submitted"),
    };
    (operation, (user_data >> 32) as u16, user_data as u32)
}
