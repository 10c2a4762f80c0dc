//! The product: a driver over one io_uring, used by the thread that made it.
//!
//! A turn is one `io_uring_enter`: it submits everything, runs the deferred task work, and waits. Accept,
//! receive, tick and wake-up are multishot; receives take their memory from a short ring of blocks; a send
//! is one operation that over TCP the kernel itself retries (`MSG_WAITALL`). Setup and its reasons are in `setup`.
//! HTTP is not known here.
//!
//! # Memory
//! What the kernel may touch lies in the tables of this driver from submission to completion: blocks in the
//! buffer ring, the parts of a send in `sends`, a body's buffer in `fills` or `stores`. Dropping the driver
//! cancels everything and awaits the completions; should one not come, the memory is leaked, not freed.

mod buffer_ring;
mod guest;
mod operation;
mod outcome;
mod sends;
mod setup;
mod store;

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use io_uring::types::{CancelBuilder, Fd, TimeoutFlags, Timespec};
use io_uring::{CompletionQueue, EnterFlags, IoUring, SubmissionQueue, Submitter, cqueue, opcode, squeue};

use super::{Completion, Driver, Key, Socket};
use crate::buffer::{BLOCK_SIZE, Outgoing, Pool, Received};
use crate::sys::{self, Errno, Outlet, Peer, Waker};
use crate::timer::{Moment, TICK};
use buffer_ring::{BufferRing, GROUP};
use operation::Operation;
use outcome::{Tick, is_taken};
use sends::{Begun, Sends, Step};
use store::Storing;

pub use setup::{build, build_guest, probe};

/// A driver that borrows a ring of the same thread.
pub struct Uring<'ring> {
    submitter: Submitter<'ring>,
    sq: SubmissionQueue<'ring>,
    cq: CompletionQueue<'ring>,
    /// Submissions for which the queue had no room, oldest first.
    waiting: VecDeque<squeue::Entry>,
    listeners: Vec<Option<OwnedFd>>,
    buffers: BufferRing,
    pool: Pool,
    sends: Sends,
    /// The body's buffer being received into, of each slot that has one.
    fills: HashMap<u32, Vec<u8>>,
    /// The write in flight of each slot that has one.
    stores: HashMap<u32, Storing>,
    waker: Waker,
    tick: Tick,
    /// The tick's interval. The kernel reads it when the tick is armed.
    interval: Box<Timespec>,
    /// On the clock, in nanoseconds.
    began: u64,
    counters: Counters,
    /// Submissions since the last wait that complete as they are submitted, and whose completion is no news.
    prompt_count: u32,
    /// What the kernel rings where it has something, in somebody else's loop.
    bell: Option<Waker>,
}

/// What a ring has done, for the figures that a measurement stands on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls of `io_uring_enter`.
    pub enter_count: u64,
    /// Submissions.
    pub submission_count: u64,
    /// Completions, internal ones included.
    pub completion_count: u64,
    /// Receives that found no block.
    pub starved_count: u64,
    /// Completions that did not fit the queue. It has to stay 0.
    pub overflow_count: u64,
    /// Operations whose last completion has not come.
    pub in_flight_count: u64,
}

impl<'ring> Uring<'ring> {
    /// Takes over `ring` for the driver's life. `pool` should hold twice the 64 blocks that are lent to the
    /// kernel for receiving.
    ///
    /// # Errors
    /// A kernel that takes no buffer ring.
    pub fn new(
        ring: &'ring mut IoUring,
        waker: Waker,
        listeners: Vec<OwnedFd>,
        pool: Pool,
    ) -> io::Result<Uring<'ring>> {
        // One split for the driver's life: only this Submitter remembers the registered descriptor.
        let (mut submitter, sq, cq) = ring.split();
        // Only a saving; kernels before 5.18 do not have it.
        let _ = submitter.register_ring_fd();
        let buffers = BufferRing::register(&submitter)?;
        let is_internet = listeners.iter().all(|listener| sys::is_internet(listener.as_raw_fd()));
        let interval = Timespec::new().sec(TICK.as_secs()).nsec(TICK.subsec_nanos());
        let mut driver = Uring {
            submitter,
            sq,
            cq,
            waiting: VecDeque::new(),
            listeners: listeners.into_iter().map(Some).collect(),
            buffers,
            pool,
            sends: Sends::new(is_internet),
            fills: HashMap::new(),
            stores: HashMap::new(),
            waker,
            tick: Tick::default(),
            interval: Box::new(interval),
            began: sys::monotonic_ns(),
            counters: Counters::default(),
            prompt_count: 0,
            bell: None,
        };
        driver.arm_wake();
        Ok(driver)
    }

    /// What it has done so far.
    #[must_use]
    pub fn counters(&mut self) -> Counters {
        Counters { overflow_count: u64::from(self.cq.overflow()), ..self.counters }
    }

    fn push(&mut self, entry: squeue::Entry) {
        self.counters.submission_count += 1;
        self.counters.in_flight_count += 1;
        // SAFETY: whatever the entry points to lies in one of this driver's tables until its completion has
        // come, and `Drop` awaits that.
        if !self.waiting.is_empty() || unsafe { self.sq.push(&entry) }.is_err() {
            self.waiting.push_back(entry);
        }
    }

    /// Pushes what completes as it is submitted and is then no news.
    fn push_prompt(&mut self, entry: squeue::Entry) {
        self.prompt_count += 1;
        self.push(entry);
    }

    /// Fills the queue with what had no room, and hands it over as often as that takes.
    fn push_waiting(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            while let Some(entry) = self.waiting.pop_front() {
                // SAFETY: as in `push`.
                if unsafe { self.sq.push(&entry) }.is_err() {
                    self.waiting.push_front(entry);
                    break;
                }
            }
            if self.waiting.is_empty() || !self.enter(0)? {
                break;
            }
        }
        Ok(())
    }

    /// One system call. Answers whether the kernel took what it was given.
    fn enter(&mut self, want: u32) -> io::Result<bool> {
        self.sq.sync();
        self.counters.enter_count += 1;
        let size = u32::try_from(self.sq.len()).unwrap_or(u32::MAX);
        // SAFETY: no argument is passed; the entries were pushed under the promise of `push`.
        let result = unsafe { self.submitter.enter::<libc::sigset_t>(size, want, EnterFlags::GETEVENTS.bits(), None) };
        self.sq.sync();
        is_taken(result)
    }

    fn arm_wake(&mut self) {
        let poll = opcode::PollAdd::new(Fd(self.waker.descriptor()), libc::POLLIN as u32).multi(true).build();
        self.push(poll.user_data(Operation::Wake.pack(NO_KEY)));
    }

    fn arm_tick(&mut self) {
        self.tick.is_armed = true;
        let flags = if self.tick.is_multishot { TimeoutFlags::MULTISHOT } else { TimeoutFlags::empty() };
        let timeout = opcode::Timeout::new(&*self.interval).flags(flags).build();
        self.push(timeout.user_data(Operation::Tick.pack(NO_KEY)));
    }

    fn cancel(&mut self, user_data: u64) {
        let cancel = opcode::AsyncCancel2::new(CancelBuilder::user_data(user_data)).build();
        self.push_prompt(cancel.user_data(Operation::Quiet.pack(NO_KEY)));
    }

    /// What a completion of the kernel means to the worker, if anything.
    fn translate(&mut self, entry: &cqueue::Entry) -> Option<Completion> {
        let (operation, key) = Operation::unpack(entry.user_data());
        let more = cqueue::more(entry.flags());
        if !more {
            self.counters.in_flight_count -= 1;
        }
        // A result is a count or a negative errno, so it fits once its sign is known.
        let result = usize::try_from(entry.result()).map_err(|_| Errno(-entry.result()));
        match operation {
            Operation::Accept => {
                let result = result.map(|_| Socket(entry.result()));
                Some(Completion::Accepted { listener: key.slot as usize, result, more })
            }
            Operation::Receive => Some(self.received(key, result, cqueue::buffer_select(entry.flags()), more)),
            Operation::Fill => {
                let mut buffer = self.fills.remove(&key.slot).expect("one receive of a slot is in flight");
                if let Ok(size) = result {
                    // SAFETY: the kernel has written `size` bytes behind the length, within the capacity.
                    unsafe { buffer.set_len(buffer.len() + size) };
                }
                Some(Completion::Filled { key, buffer, result })
            }
            Operation::Send => self.sent(key, result),
            Operation::Store => self.stored(key, result),
            Operation::Wake => {
                if !more {
                    self.arm_wake();
                }
                self.waker.drain();
                Some(Completion::Woken)
            }
            Operation::Tick => self.ticked(result, more),
            Operation::Quiet => None,
        }
    }

    fn received(&mut self, key: Key, result: Result<usize, Errno>, id: Option<u16>, more: bool) -> Completion {
        // What has come waits for the end of the send before it, which therefore is news after all.
        if self.sends.has_prompt(key) {
            self.prompt_count = 0;
        }
        let block = id.map(|id| self.buffers.take(id));
        let result = match (result, block) {
            (Ok(size), Some(block)) if size > 0 => Ok(Some(Received { block, size })),
            (result, block) => {
                if let Some(block) = block {
                    self.pool.give(block);
                }
                result.map(|_| None)
            }
        };
        self.counters.starved_count += u64::from(matches!(result, Err(Errno(libc::ENOBUFS))));
        Completion::Received { key, result, more }
    }

    /// Goes on with a send until every byte is taken.
    fn sent(&mut self, key: Key, result: Result<usize, Errno>) -> Option<Completion> {
        match self.sends.proceed(key, result) {
            Step::Submit(entry) => {
                self.push(entry);
                None
            }
            Step::Done { outgoing, result } => Some(Completion::Sent { key, outgoing, result }),
        }
    }

    /// Goes on with a write until every byte is in the file.
    fn stored(&mut self, key: Key, result: Result<usize, Errno>) -> Option<Completion> {
        let mut storing = self.stores.remove(&key.slot).expect("one store of a slot is in flight");
        match storing.note(result) {
            Some(result) => Some(storing.complete(result)),
            None => {
                self.push_store(key, storing);
                None
            }
        }
    }

    fn push_store(&mut self, key: Key, storing: Storing) {
        let entry = storing.entry();
        let earlier = self.stores.insert(key.slot, storing);
        assert!(earlier.is_none(), "one store of a slot is in flight");
        self.push(entry);
    }

    fn ticked(&mut self, result: Result<usize, Errno>, more: bool) -> Option<Completion> {
        // A rush of connections has made it long; most turns' submissions find room in the ring's own queue.
        self.waiting.shrink_to(self.sq.capacity());
        let (is_tick, is_to_be_armed) = self.tick.note(result, more);
        if is_to_be_armed {
            self.arm_tick();
        }
        is_tick.then_some(Completion::Tick)
    }
}

impl Driver for Uring<'_> {
    fn now(&self) -> Moment {
        Moment(sys::monotonic_ns().saturating_sub(self.began))
    }

    fn wall_clock(&self) -> SystemTime {
        SystemTime::now()
    }

    fn pool(&mut self) -> &mut Pool {
        &mut self.pool
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn accept(&mut self, listener: usize) {
        let Some(Some(descriptor)) = self.listeners.get(listener) else { return };
        let accept = opcode::AcceptMulti::new(Fd(descriptor.as_raw_fd())).flags(libc::SOCK_CLOEXEC).build();
        self.push(accept.user_data(Operation::Accept.pack(listener_key(listener))));
    }

    fn cancel_accept(&mut self, listener: usize) {
        self.cancel(Operation::Accept.pack(listener_key(listener)));
    }

    fn refuse_newcomers(&mut self, listener: usize) {
        if let Some(descriptor) = self.listeners.get(listener).and_then(Option::as_ref) {
            sys::refuse_newcomers(descriptor);
        }
    }

    fn has_queued(&self, listener: usize) -> bool {
        self.listeners.get(listener).and_then(Option::as_ref).is_some_and(sys::is_readable)
    }

    fn close_listener(&mut self, listener: usize) {
        if let Some(descriptor) = self.listeners.get_mut(listener) {
            drop(descriptor.take());
        }
    }

    fn receive(&mut self, key: Key, socket: &Socket, is_lasting: bool) {
        let receive = if is_lasting {
            opcode::RecvMulti::new(Fd(socket.0), GROUP).build()
        } else {
            // As large as the block that the kernel chooses.
            let receive = opcode::Recv::new(Fd(socket.0), std::ptr::null_mut(), BLOCK_SIZE as u32);
            receive.buf_group(GROUP).build().flags(squeue::Flags::BUFFER_SELECT)
        };
        self.push(receive.user_data(Operation::Receive.pack(key)));
    }

    fn receive_into(&mut self, key: Key, socket: &Socket, mut buffer: Vec<u8>, size: usize) {
        let spare = buffer.spare_capacity_mut();
        let size = u32::try_from(size.min(spare.len())).unwrap_or(u32::MAX);
        let receive = opcode::Recv::new(Fd(socket.0), spare.as_mut_ptr().cast(), size).build();
        let earlier = self.fills.insert(key.slot, buffer);
        assert!(earlier.is_none(), "one receive of a slot is in flight");
        self.push(receive.user_data(Operation::Fill.pack(key)));
    }

    fn cancel_receive(&mut self, key: Key, _socket: &Socket) {
        let is_filling = self.fills.contains_key(&key.slot);
        self.cancel(if is_filling { Operation::Fill } else { Operation::Receive }.pack(key));
    }

    fn send(&mut self, key: Key, socket: &Socket, outgoing: Outgoing, is_awaited: bool) {
        match self.sends.begin(key, socket.0, outgoing) {
            Begun::Prompt(entry) if !is_awaited => self.push_prompt(entry),
            Begun::Prompt(entry) | Begun::Lasting(entry) => self.push(entry),
        }
    }

    fn cancel_send(&mut self, key: Key, _socket: &Socket) {
        self.sends.cancel(key);
        self.cancel(Operation::Send.pack(key));
    }

    fn store(&mut self, key: Key, _socket: &Socket, file: Arc<File>, offset: u64, bytes: Vec<u8>) {
        self.push_store(key, Storing::new(key, file, offset, bytes));
    }

    fn progress(&self, key: Key, socket: &Socket) -> u64 {
        sys::taken(socket.0, self.sends.progress(key))
    }

    fn shutdown(&mut self, socket: &Socket) {
        // The ring's own operation would be handed to a kernel worker thread.
        sys::shutdown(socket.0);
    }

    fn close(&mut self, socket: Socket) {
        // On the ring it costs no system call, and a socket's close is not handed to a worker thread.
        let close = opcode::Close::new(Fd(socket.0)).build();
        self.push_prompt(close.user_data(Operation::Quiet.pack(NO_KEY)));
    }

    fn peer(&self, socket: &Socket) -> Result<Peer, Errno> {
        sys::peer(socket.0)
    }

    fn outlet(&self, socket: &Socket) -> Option<Outlet> {
        Some(Outlet { descriptor: socket.0 })
    }

    fn tick(&mut self, on: bool) {
        self.tick.is_wanted = on;
        match (on, self.tick.is_armed) {
            (true, false) => self.arm_tick(),
            (false, true) => {
                let remove = opcode::TimeoutRemove::new(Operation::Tick.pack(NO_KEY)).build();
                self.push_prompt(remove.user_data(Operation::Quiet.pack(NO_KEY)));
            }
            (true, true) | (false, false) => {}
        }
    }

    fn turn(&mut self, wait: bool) -> io::Result<()> {
        self.buffers.refill(&mut self.pool);
        if !wait && self.has_nothing() {
            return Ok(());
        }
        self.push_waiting()?;
        // The head is published before the wait, or the kernel counts the entries just read as completions
        // enough and returns at once: one wasted system call a batch.
        self.cq.sync();
        let is_ready = !self.cq.is_empty();
        // Nor is it waited for while submissions are kept back: theirs may be the completions to come.
        let may_wait = wait && !is_ready && self.waiting.is_empty();
        // Beside those that are no news another completion is waited for, or the thread would be back at once for the
        // end of the sends that it has just submitted.
        let prompt_count = std::mem::take(&mut self.prompt_count);
        self.enter(if may_wait { prompt_count + 1 } else { 0 })?;
        self.cq.sync();
        Ok(())
    }

    fn completion(&mut self) -> Option<Completion> {
        while let Some(entry) = self.cq.next() {
            self.counters.completion_count += 1;
            if let Some(completion) = self.translate(&entry) {
                return Some(completion);
            }
        }
        None
    }
}

impl Drop for Uring<'_> {
    /// The kernel must have let go of all memory before it is freed.
    fn drop(&mut self) {
        let until = Instant::now() + DROP_TIME_MAX;
        self.tick.is_wanted = false;
        for round in 0.. {
            // Again and again: a cancellation misses what is just being woken, and that is armed anew.
            if round % DROP_CANCEL_EVERY == 0 {
                let cancel = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
                self.push(cancel.user_data(Operation::Quiet.pack(NO_KEY)));
            }
            if self.push_waiting().is_err() || self.enter(0).is_err() {
                break;
            }
            self.cq.sync();
            for entry in self.cq.by_ref() {
                let (operation, _) = Operation::unpack(entry.user_data());
                self.counters.in_flight_count -= u64::from(!cqueue::more(entry.flags()));
                if operation == Operation::Accept && entry.result() >= 0 {
                    sys::close(entry.result());
                }
                if let Some(id) = cqueue::buffer_select(entry.flags()) {
                    self.pool.give(self.buffers.take(id));
                }
            }
            if self.counters.in_flight_count == 0 || Instant::now() > until {
                break;
            }
            std::thread::yield_now();
        }
        let is_clean = self.counters.in_flight_count == 0 && self.buffers.unregister(&self.submitter).is_ok();
        if is_clean {
            self.buffers.recall(&mut self.pool);
        } else {
            // Something is still in the kernel's hands. A leak is the lesser evil.
            self.sends.leak();
            std::mem::forget(std::mem::take(&mut self.fills));
            std::mem::forget(std::mem::take(&mut self.stores));
            std::mem::forget(std::mem::replace(&mut self.interval, Box::new(Timespec::new())));
            self.buffers.leak();
        }
    }
}

fn listener_key(listener: usize) -> Key {
    Key { slot: u32::try_from(listener).expect("listeners are few"), generation: 0 }
}

const NO_KEY: Key = Key { slot: 0, generation: 0 };
/// What the kernel may take to let go of everything at the end.
const DROP_TIME_MAX: Duration = Duration::from_secs(5);
/// After so many looks without it all is cancelled again.
const DROP_CANCEL_EVERY: usize = 16;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// The completions of some turns that wait for nothing, and of one receive the errors and whether it goes on.
    fn received(driver: &mut Uring<'_>) -> Vec<(Option<Errno>, bool)> {
        let mut results = Vec::new();
        for _ in 0..3 {
            driver.turn(false).expect("the ring stays usable");
            while let Some(completion) = driver.completion() {
                match completion {
                    Completion::Received { result, more, .. } => results.push((result.err(), more)),
                    _ => panic!("nothing else is in flight"),
                }
            }
        }
        results
    }

    /// What a peer sends behind a request waits for the end of the answer, which is then not left lying in the queue.
    #[test]
    fn the_end_of_a_send_is_news_where_something_has_come_behind_it() {
        let mut ring = match build() {
            Ok(ring) => ring,
            Err(refusal) => {
                let name = "the_end_of_a_send_is_news_where_something_has_come_behind_it";
                return eprintln!("skipped: {name}: {refusal}");
            }
        };
        let waker = Waker::new().expect("an eventfd");
        let mut driver =
            Uring::new(&mut ring, waker.clone(), Vec::new(), Pool::new(0, 128)).expect("the ring is set up");
        let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
        let (key, socket) = (Key { slot: 3, generation: 5 }, Socket(ours.as_raw_fd()));
        // Two blocks, so that there are two completions at once.
        theirs.write_all(&[b'x'; crate::buffer::BLOCK_SIZE + 1]).expect("the socket has room");
        driver.receive(key, &socket, true);
        driver.turn(false).expect("the ring stays usable");
        driver.turn(false).expect("the ring stays usable");
        let mut received_count = 0;
        while let Some(Completion::Received { result: Ok(Some(received)), .. }) = driver.completion() {
            if received_count == 0 {
                let outgoing = Outgoing { block: Some(received.block), block_size: 9, ..Outgoing::default() };
                driver.send(key, &socket, outgoing, false);
            } else {
                driver.pool().give(received.block);
            }
            received_count += 1;
        }
        assert_eq!(received_count, 2);
        // Only this would end a wait that is one too long.
        let (told, done) = std::sync::mpsc::channel();
        let watchdog = std::thread::spawn(move || {
            if done.recv_timeout(Duration::from_secs(5)).is_err() {
                waker.wake();
            }
        });
        driver.turn(true).expect("the ring stays usable");
        told.send(()).expect("the watchdog listens, unless it has barked");
        watchdog.join().expect("the watchdog ends");
        let sent = driver.completion();
        assert!(matches!(sent, Some(Completion::Sent { result: Ok(()), .. })), "the end of the send");
        assert!(driver.completion().is_none(), "and nobody had to wake it");
        if let Some(Completion::Sent { outgoing: Outgoing { block: Some(block), .. }, .. }) = sent {
            driver.pool().give(block);
        }
    }

    /// A cancellation finds its receive, finds it no more (ENOENT), or was never for anything; and says nothing.
    #[test]
    fn a_cancellation_says_nothing_itself() {
        let mut ring = match build() {
            Ok(ring) => ring,
            Err(refusal) => return eprintln!("skipped: a_cancellation_says_nothing_itself: {refusal}"),
        };
        let waker = Waker::new().expect("an eventfd");
        let mut driver = Uring::new(&mut ring, waker, Vec::new(), Pool::new(0, 128)).expect("the ring is set up");
        let (ours, _theirs) = UnixStream::pair().expect("a pair of sockets");
        let (key, socket) = (Key { slot: 3, generation: 5 }, Socket(ours.as_raw_fd()));
        driver.cancel_receive(key, &socket);
        driver.cancel_send(key, &socket);
        assert_eq!(received(&mut driver), []);
        driver.receive(key, &socket, true);
        assert_eq!(received(&mut driver), []);
        driver.cancel_receive(key, &socket);
        driver.cancel_receive(key, &socket);
        assert_eq!(received(&mut driver), [(Some(Errno(libc::ECANCELED)), false)]);
        // One that was submitted before a receive is not for it, though their keys are the same.
        driver.cancel_receive(key, &socket);
        driver.receive(key, &socket, true);
        assert_eq!(received(&mut driver), []);
        driver.cancel_receive(key, &socket);
        assert_eq!(received(&mut driver), [(Some(Errno(libc::ECANCELED)), false)]);
        assert_eq!(driver.counters().in_flight_count, 1, "the wake-up is");
    }
}
