//! A bare io_uring loop on one thread: `ring-floor PORT [--body BYTES]`.
//!
//! It is the base of every measurement, the least that a request can cost on a ring:
//!
//! 1. one multishot accept into direct descriptors, so that no operation looks up a file by number;
//! 2. one multishot receive a connection, which takes its buffer from a ring of 64 only when bytes are there;
//! 3. all answers of a receive in one send that the kernel itself completes (MSG_WAITALL);
//! 4. one `io_uring_enter` a turn: it submits, runs the deferred task work and waits, all at once;
//! 5. a closing answer, the end of the receive and the close as one hard-linked chain.
//!
//! A loop like this loses to epoll by one fault in its setup, so each flag has its reason in [`ring`].
//! What httparse sees and what is answered are the same as in `epoll-floor`.

use io_uring::types::{BufRingEntry, CancelBuilder, Fixed};
use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, cqueue, opcode, squeue};
use ringway_peers::{Answers, Exchange, RECEIVE_SIZE};
use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// Entries of the submission queue.
const SQ_SIZE: u32 = 1024;

/// Entries of the completion queue: eight for each submission, because multishot operations complete often.
const CQ_SIZE: u32 = 8192;

/// Direct descriptors, and so connections, at most; fewer where the limit of open files is lower.
const SLOT_COUNT_MAX: u32 = 16 * 1024;

/// Buffers in the receive ring, a power of two: the kernel takes about 40 a turn, and 64 of 16 KiB stay in the
/// second-level cache.
const BUFFER_COUNT: u16 = 64;

/// The only buffer group.
const GROUP: u16 = 0;

struct Floor<'ring> {
    submitter: Submitter<'ring>,
    sq: SubmissionQueue<'ring>,
    cq: CompletionQueue<'ring>,
    listener: TcpListener,
    buffers: Buffers,
    /// Indexed by direct descriptor.
    connections: Vec<Connection>,
    answers: Answers,
}

/// A slot. Its generation changes when its close is submitted, and completions of older generations are
/// stale: they give their buffers back and touch nothing else.
#[derive(Default)]
struct Connection {
    exchange: Exchange,
    generation: u16,
    sending: bool,
}

/// The receive buffers and the ring that offers them to the kernel.
struct Buffers {
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    /// Buffers offered so far, wrapping; published to the kernel once a turn.
    tail: u16,
    /// Buffers that came home in this turn.
    spent: Vec<u16>,
}

#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
enum Operation {
    Accept,
    Receive,
    Send,
    Cancel,
    Close,
}

fn main() -> ExitCode {
    ringway_peers::run("ring-floor", |listener, answers| {
        let mut ring = ring()?;
        Floor::new(&mut ring, listener, answers)?.serve()
    })
}

/// A ring of one thread.
fn ring() -> io::Result<IoUring> {
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

impl<'ring> Floor<'ring> {
    fn new(ring: &'ring mut IoUring, listener: TcpListener, answers: Answers) -> io::Result<Floor<'ring>> {
        // One split for life, because only this Submitter remembers the registered ring descriptor.
        let (mut submitter, sq, cq) = ring.split();
        submitter.register_ring_fd()?;
        let slot_count = slot_count();
        submitter.register_files_sparse(slot_count)?;
        let buffers = Buffers::new();
        // SAFETY: the entries are page aligned, BUFFER_COUNT long and never freed.
        unsafe {
            submitter.register_buf_ring_with_flags(buffers.entries.as_ptr() as u64, BUFFER_COUNT, GROUP, 0)?;
        }
        let connections = (0..slot_count).map(|_| Connection::default()).collect();
        Ok(Floor { submitter, sq, cq, listener, buffers, connections, answers })
    }

    /// Reaps, acts and submits, once each a turn.
    fn serve(&mut self) -> io::Result<()> {
        self.arm_accept();
        loop {
            self.buffers.publish();
            self.sq.sync();
            match self.submitter.submit_and_wait(1) {
                Ok(_) => {}
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY | libc::EAGAIN)) => {}
                Err(error) => return Err(error),
            }
            self.cq.sync();
            while let Some(completion) = self.cq.next() {
                self.complete(completion)?;
            }
            // The head must be published before the next wait, or the kernel counts the entries just read as
            // completions enough and returns at once.
            self.cq.sync();
        }
    }

    fn complete(&mut self, completion: cqueue::Entry) -> io::Result<()> {
        let (operation, generation, slot) = unpack(completion.user_data());
        let result = completion.result();
        match operation {
            Operation::Accept => {
                if !cqueue::more(completion.flags()) {
                    self.arm_accept();
                }
                match result {
                    0.. => self.accepted(result as u32),
                    _ if -result == libc::ECONNABORTED => {}
                    _ => return Err(io::Error::from_raw_os_error(-result)),
                }
            }
            Operation::Receive => self.received(slot, generation, result, completion.flags()),
            Operation::Send => self.sent(slot, generation, result),
            // What they undo may have ended by itself, which is as good.
            Operation::Cancel | Operation::Close => {}
        }
        Ok(())
    }

    fn accepted(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        let generation = connection.generation;
        *connection = Connection { generation, ..Connection::default() };
        self.arm_receive(slot);
    }

    fn received(&mut self, slot: u32, generation: u16, result: i32, flags: u32) {
        let buffer = cqueue::buffer_select(flags);
        if self.connections[slot as usize].generation == generation {
            if !cqueue::more(flags) && (result > 0 || -result == libc::ENOBUFS) {
                self.arm_receive(slot);
            }
            match (result, buffer) {
                (1.., Some(buffer)) => {
                    let bytes = self.buffers.bytes(buffer, result as usize);
                    match self.connections[slot as usize].exchange.receive(bytes, &self.answers) {
                        Ok(()) => self.send(slot),
                        Err(_) => self.close(slot),
                    }
                }
                // Every buffer was taken; those of this turn are home before the receive just armed can run.
                _ if -result == libc::ENOBUFS => {}
                // The peer has ended or reset the connection. Answers still in flight are lost on purpose: a
                // generator that stops does not read them.
                _ => self.close(slot),
            }
        }
        if let Some(buffer) = buffer {
            self.buffers.spent.push(buffer);
        }
    }

    fn sent(&mut self, slot: u32, generation: u16, result: i32) {
        let connection = &mut self.connections[slot as usize];
        if connection.generation != generation {
            return;
        }
        connection.sending = false;
        if result < 0 {
            return self.close(slot);
        }
        connection.exchange.sent(result as usize);
        self.send(slot);
    }

    /// Sends what is owed, unless a send is in flight; the last one takes the close with it.
    fn send(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        let part = connection.exchange.outgoing(&self.answers);
        if connection.sending || part.is_empty() {
            return;
        }
        let send = opcode::Send::new(Fixed(slot), part.as_ptr(), part.len() as u32)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build()
            .user_data(pack(Operation::Send, connection.generation, slot));
        connection.sending = true;
        if connection.exchange.is_closing() && part.len() == connection.exchange.owed_size() {
            let [cancel, close] = self.closing(slot);
            // One push, because a chain ends where a submission ends.
            self.push(&[send.flags(squeue::Flags::IO_HARDLINK), cancel, close]);
        } else {
            self.push(&[send]);
        }
    }

    fn close(&mut self, slot: u32) {
        let chain = self.closing(slot);
        self.push(&chain);
    }

    /// The end of the receive and the close of the slot, hard-linked so that the close comes whether or not
    /// there was a receive to cancel.
    fn closing(&mut self, slot: u32) -> [squeue::Entry; 2] {
        let connection = &mut self.connections[slot as usize];
        let receive = pack(Operation::Receive, connection.generation, slot);
        connection.generation = connection.generation.wrapping_add(1);
        let cancel = opcode::AsyncCancel2::new(CancelBuilder::user_data(receive)).build();
        let close = opcode::Close::new(Fixed(slot)).build();
        [
            cancel.flags(squeue::Flags::IO_HARDLINK).user_data(pack(Operation::Cancel, 0, slot)),
            close.user_data(pack(Operation::Close, 0, slot)),
        ]
    }

    fn arm_accept(&mut self) {
        let listener = io_uring::types::Fd(self.listener.as_raw_fd());
        let accept = opcode::AcceptMulti::new(listener).allocate_file_index(true).build();
        self.push(&[accept.user_data(pack(Operation::Accept, 0, 0))]);
    }

    fn arm_receive(&mut self, slot: u32) {
        let generation = self.connections[slot as usize].generation;
        let receive = opcode::RecvMulti::new(Fixed(slot), GROUP).build();
        self.push(&[receive.user_data(pack(Operation::Receive, generation, slot))]);
    }

    /// Queues submissions, and enters early only if a turn needs more of them than the queue holds.
    fn push(&mut self, entries: &[squeue::Entry]) {
        // SAFETY: sends point into the answers and receives into the buffers; neither is freed or moved while
        // the ring lives.
        while unsafe { self.sq.push_multiple(entries) }.is_err() {
            self.sq.sync();
            self.submitter.submit().expect("the kernel takes a full submission queue");
            self.sq.sync();
        }
    }
}

impl Buffers {
    fn new() -> Buffers {
        Buffers {
            entries: pages(size_of::<BufRingEntry>() * BUFFER_COUNT as usize).cast(),
            memory: pages(RECEIVE_SIZE * BUFFER_COUNT as usize),
            tail: 0,
            spent: (0..BUFFER_COUNT).collect(),
        }
    }

    fn bytes(&self, buffer: u16, size: usize) -> &[u8] {
        assert!(buffer < BUFFER_COUNT && size <= RECEIVE_SIZE);
        // SAFETY: the kernel has given this buffer back with `size` bytes in it, and gets it again only by
        // `publish`, which borrows mutably.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(buffer as usize * RECEIVE_SIZE), size) }
    }

    /// Offers the buffers that came home, the last first because it is the hottest, by one store of the tail.
    fn publish(&mut self) {
        for buffer in self.spent.drain(..).rev() {
            let index = self.tail % BUFFER_COUNT;
            // SAFETY: the index is in the ring, and the kernel does not look at entries past the published tail.
            // The fields are set one by one because the tail itself lies in the first entry's padding.
            unsafe {
                let entry = &mut *self.entries.as_ptr().add(index as usize);
                entry.set_addr(self.memory.as_ptr().add(buffer as usize * RECEIVE_SIZE) as u64);
                entry.set_len(RECEIVE_SIZE as u32);
                entry.set_bid(buffer);
            }
            self.tail = self.tail.wrapping_add(1);
        }
        // SAFETY: the tail is an aligned half-word of the first entry that only we write and the kernel reads.
        let tail = unsafe { &*BufRingEntry::tail(self.entries.as_ptr()).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }
}

/// As many slots as the kernel will register, which is bounded by the soft limit of open files.
fn slot_count() -> u32 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills the limit, or leaves it alone and fails.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } == 0;
    if known { limit.rlim_cur.min(SLOT_COUNT_MAX.into()) as u32 } else { SLOT_COUNT_MAX }
}

/// Zeroed pages that live as long as the process.
fn pages(size: usize) -> NonNull<u8> {
    let layout = Layout::from_size_align(size, 4096).expect("a small size");
    // SAFETY: the size is not zero.
    NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

fn pack(operation: Operation, generation: u16, slot: u32) -> u64 {
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
