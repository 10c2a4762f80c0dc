//! The driver for kernels and containers that refuse io_uring: completions emulated over readiness. It is also
//! the control of every measurement, so it is to be as good as readiness can be.
//!
//! # Edges
//! A socket is added once, edge-triggered, with its first operation, and leaves by close(2): no request pays for
//! a change of interest. What an edge has told is kept in flags of the socket's `Entry` until a call has shown
//! that it is over, whether or not an operation is armed meanwhile; so nothing is lost by a receive that is
//! cancelled. Every edge of a batch is noted before anything acts on one, so an old edge never overrides what a
//! later call has found.
//! 1. *Readable* ends with EAGAIN, or with a receive that brings less than was asked for: the kernel had no
//!    more under the socket's lock, and what comes later is an edge of its own. This saves the EAGAIN of each
//!    request. It does not hold where a receive stops early for another reason: at the end of the stream and at
//!    urgent bytes, of which EPOLLRDHUP and EPOLLPRI tell, and behind descriptors passed over a unix socket.
//! 2. *Writable* ends with EAGAIN only. Room is not watched before a send has met it: a unix socket makes an
//!    edge each time that its peer reads.
//!
//! # Turns
//! First every send that was submitted is tried, then the kernel is asked for events, then each readable socket
//! gives one block; those that could go on are queued for the next turn, so that a flood is fair. Calls of one kind
//! stand together: to receive, answer and send one socket after the other would do with a few hot blocks, and costs
//! 2 % more. A turn that has something at hand does not ask, unless the one before did not. The memory rules are
//! those of the trait, and nothing is ever in the kernel's hands between two calls. HTTP is not known here.

mod accept;
mod guest;
mod socket;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Completion, Driver, Key, Socket};
use crate::buffer::{BLOCK_SIZE, Outgoing, Pool};
use crate::slab::Chunks;
use crate::sys::{self, Errno, Outlet, Peer, Waker};
use crate::timer::{Moment, TICK};
use accept::Listener;
use socket::{Entry, Receiving, Sending};

/// A driver over one epoll instance.
pub struct Epoll {
    epoll: OwnedFd,
    listeners: Vec<Listener>,
    /// Indexed by slot.
    entries: Chunks<Entry>,
    /// Sends that have not been tried yet, or have had their share of this turn.
    to_send: VecDeque<Key>,
    /// Readable sockets with an armed receive, each of them once.
    readable: VecDeque<Key>,
    completions: VecDeque<Completion>,
    #[allow(clippy::vec_box, reason = "a spare moves into an entry without being copied")]
    spare_sends: Vec<Box<Sending>>,
    /// Filled by the kernel in each turn.
    events: Vec<libc::epoll_event>,
    /// Whether this turn has asked the kernel for events.
    has_asked: bool,
    /// Whether the kernel may have kept some back.
    has_left: bool,
    /// Whether a short receive shows that a socket is empty, as far as its kind tells.
    is_short_final: bool,
    pool: Pool,
    waker: Waker,
    next_tick: Option<Moment>,
    /// On the clock, in nanoseconds.
    began: u64,
    /// System calls made for sockets and for events.
    call_count: u64,
}

impl Epoll {
    /// Makes an epoll instance for `listeners`, which become non-blocking.
    ///
    /// # Errors
    /// A lack of descriptors or memory.
    pub fn new(waker: Waker, listeners: Vec<OwnedFd>, pool: Pool) -> io::Result<Epoll> {
        // SAFETY: no pointer is passed.
        let descriptor = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let epoll = unsafe { OwnedFd::from_raw_fd(descriptor) };
        for listener in &listeners {
            socket::set_nonblocking(listener.as_raw_fd())?;
        }
        let is_short_final = listeners.iter().all(|listener| sys::is_internet(listener.as_raw_fd()));
        let mut driver = Epoll {
            epoll,
            listeners: listeners.into_iter().map(Listener::new).collect(),
            entries: Chunks::new(),
            to_send: VecDeque::new(),
            readable: VecDeque::new(),
            completions: VecDeque::new(),
            spare_sends: Vec::new(),
            events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENT_COUNT],
            has_asked: false,
            has_left: false,
            is_short_final,
            pool,
            waker,
            next_tick: None,
            began: sys::monotonic_ns(),
            call_count: 0,
        };
        // Each wake is an edge, so the eventfd need not be read.
        let waker = driver.waker.descriptor();
        driver.control(libc::EPOLL_CTL_ADD, waker, libc::EPOLLIN | libc::EPOLLET, WAKER_DATA)?;
        Ok(driver)
    }

    /// System calls made so far for sockets and for events: the figure that this driver is judged by.
    #[must_use]
    pub fn call_count(&self) -> u64 {
        self.call_count
    }

    /// Whether something is at hand that needs no news from the kernel.
    fn has_work(&self) -> bool {
        !(self.completions.is_empty() && self.readable.is_empty() && self.to_send.is_empty())
    }

    fn control(&mut self, operation: i32, descriptor: RawFd, events: i32, data: u64) -> io::Result<()> {
        self.call_count += 1;
        let mut event = libc::epoll_event { events: events as u32, u64: data };
        // SAFETY: the event is valid for the call, which copies it.
        let result = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, descriptor, &mut event) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn entry(&mut self, key: Key) -> &mut Entry {
        let entry = self.entries.get_or_grow(key.slot as usize);
        if entry.generation != key.generation {
            *entry = Entry::new(key.generation, self.is_short_final);
        }
        entry
    }

    /// Adds a socket to what epoll watches, with its first operation. A child that is being spawned may hold it a
    /// moment longer than we do; then edges still come, and the generation tells that they are stale.
    fn watch(&mut self, key: Key, descriptor: RawFd) {
        let entry = self.entry(key);
        if entry.is_watched {
            assert!(entry.descriptor == descriptor, "a key has one socket");
            return;
        }
        entry.is_watched = true;
        entry.descriptor = descriptor;
        if let Err(error) = self.control(libc::EPOLL_CTL_ADD, descriptor, READABLE, data_of(key)) {
            self.entry(key).is_watched = false;
            self.fail(key, Errno::of(&error));
        }
    }

    /// Watches a socket for room too, from the first send on that met none. If there is room by now, that is an
    /// edge.
    fn watch_room(&mut self, key: Key) {
        let entry = self.entry(key);
        let descriptor = entry.descriptor;
        if std::mem::replace(&mut entry.is_room_watched, true) {
            return;
        }
        if let Err(error) = self.control(libc::EPOLL_CTL_MOD, descriptor, READABLE | libc::EPOLLOUT, data_of(key)) {
            self.entry(key).is_room_watched = false;
            self.fail(key, Errno::of(&error));
        }
    }

    /// A socket that cannot be watched ends its operations.
    fn fail(&mut self, key: Key, errno: Errno) {
        let entry = self.entry(key);
        let receiving = std::mem::take(&mut entry.receiving);
        let sending = entry.sending.take();
        self.completions.extend(receiving.end(key, errno));
        if let Some(sending) = sending {
            self.end_send(key, sending, Err(errno));
        }
    }

    /// Remembers what an edge has told, and queues the operations that it lets go on.
    fn note(&mut self, key: Key, events: i32) {
        let Some(entry) = current(&mut self.entries, key) else { return };
        if events & (libc::EPOLLIN | UNUSUAL) != 0 {
            entry.is_readable = true;
            entry.is_short_final &= events & UNUSUAL == 0;
            if entry.is_due() {
                self.readable.push_back(key);
            }
        }
        if events & (libc::EPOLLOUT | libc::EPOLLERR | libc::EPOLLHUP) != 0
            && !std::mem::replace(&mut entry.is_writable, true)
            && entry.sending.is_some()
        {
            self.try_send(key);
        }
    }

    /// Arms a receive. A socket that is known to be readable makes no new edge for it.
    fn arm(&mut self, key: Key, socket: &Socket, receiving: Receiving) {
        let entry = self.entry(key);
        assert!(matches!(entry.receiving, Receiving::Off), "one receive of a slot is in flight");
        entry.receiving = receiving;
        if entry.is_due() {
            self.readable.push_back(key);
        }
        self.watch(key, socket.0);
    }

    /// Sends as much as the socket takes, up to its share; completes when it has taken everything.
    fn try_send(&mut self, key: Key) {
        // A send that was cancelled before it was tried may have left its key behind, and the slot another owner.
        let Some(entry) = current(&mut self.entries, key) else { return };
        let Some(sending) = &mut entry.sending else { return };
        let result = sending.advance();
        self.call_count += std::mem::take(&mut sending.call_count);
        let result = match result {
            Ok(true) => Ok(()),
            // The socket may still be writable, and then makes no edge.
            Ok(false) => return self.to_send.push_back(key),
            Err(Errno(libc::EAGAIN)) => {
                entry.is_writable = false;
                return self.watch_room(key);
            }
            Err(errno) => Err(errno),
        };
        if let Some(sending) = entry.sending.take() {
            self.end_send(key, sending, result);
        }
    }

    /// Gives the parts of a send back and keeps its box.
    fn end_send(&mut self, key: Key, mut sending: Box<Sending>, result: Result<(), Errno>) {
        let outgoing = std::mem::take(&mut sending.outgoing);
        if self.spare_sends.len() < SPARE_COUNT_MAX {
            self.spare_sends.push(sending);
        }
        self.completions.push_back(Completion::Sent { key, outgoing, result });
    }

    /// Receives once. A socket that stays readable is queued again, behind the others.
    fn try_receive(&mut self, key: Key) {
        let Some(entry) = current(&mut self.entries, key) else { return };
        entry.is_queued = false;
        self.call_count += u64::from(entry.is_armed());
        match std::mem::take(&mut entry.receiving) {
            Receiving::Off => {}
            Receiving::Blocks { is_lasting } => {
                let (result, more) = match socket::receive(entry.descriptor, &mut self.pool) {
                    Err(Errno(libc::EAGAIN)) => {
                        entry.is_readable = false;
                        entry.receiving = Receiving::Blocks { is_lasting };
                        return;
                    }
                    Ok(Some(received)) => {
                        entry.note_received(received.size, BLOCK_SIZE);
                        if is_lasting {
                            entry.receiving = Receiving::Blocks { is_lasting };
                        }
                        (Ok(Some(received)), is_lasting)
                    }
                    Ok(None) => (Ok(None), false),
                    Err(errno) => (Err(errno), false),
                };
                if entry.is_due() {
                    self.readable.push_back(key);
                }
                self.completions.push_back(Completion::Received { key, result, more });
            }
            Receiving::Into { mut buffer, size } => {
                let result = socket::receive_into(entry.descriptor, &mut buffer, size);
                match result {
                    Err(Errno(libc::EAGAIN)) => {
                        entry.is_readable = false;
                        entry.receiving = Receiving::Into { buffer, size };
                        return;
                    }
                    Ok(received_size) => entry.note_received(received_size, size),
                    Err(_) => {}
                }
                self.completions.push_back(Completion::Filled { key, buffer, result });
            }
        }
    }

    /// Milliseconds until the tick; forever without one.
    fn timeout(&self) -> i32 {
        match self.next_tick {
            None => -1,
            Some(moment) => {
                let rest = moment.since(self.now()) + Duration::from_micros(999);
                i32::try_from(rest.as_millis()).unwrap_or(i32::MAX)
            }
        }
    }

    /// Asks the kernel for events, and notes them all.
    fn ask(&mut self, timeout: i32) -> io::Result<()> {
        let size = i32::try_from(self.events.len()).unwrap_or(i32::MAX);
        self.call_count += 1;
        // SAFETY: `events` has room for `size` events.
        let count = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), self.events.as_mut_ptr(), size, timeout) };
        if count < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        }
        self.has_left = count == size;
        for index in 0..usize::try_from(count).unwrap_or(0) {
            let Some(libc::epoll_event { events, u64: data }) = self.events.get(index).copied() else { break };
            if data == WAKER_DATA {
                self.completions.push_back(Completion::Woken);
            } else if data >= LISTENER_DATA {
                self.try_accept((data - LISTENER_DATA) as usize);
            } else {
                self.note(Key { slot: data as u32, generation: (data >> 32) as u32 }, events as i32);
            }
        }
        Ok(())
    }
}

impl Driver for Epoll {
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
        self.arm_accept(listener);
    }

    fn cancel_accept(&mut self, listener: usize) {
        if self.disarm_accept(listener) {
            let result = Err(Errno(libc::ECANCELED));
            self.completions.push_back(Completion::Accepted { listener, result, more: false });
        }
    }

    fn refuse_newcomers(&mut self, listener: usize) {
        if let Some(descriptor) = self.listeners.get(listener).and_then(|entry| entry.descriptor.as_ref()) {
            sys::refuse_newcomers(descriptor);
        }
    }

    fn has_queued(&self, listener: usize) -> bool {
        self.listeners.get(listener).and_then(|entry| entry.descriptor.as_ref()).is_some_and(sys::is_readable)
    }

    fn close_listener(&mut self, listener: usize) {
        self.disarm_accept(listener);
        if let Some(entry) = self.listeners.get_mut(listener) {
            drop(entry.descriptor.take());
        }
    }

    fn receive(&mut self, key: Key, socket: &Socket, is_lasting: bool) {
        self.arm(key, socket, Receiving::Blocks { is_lasting });
    }

    fn receive_into(&mut self, key: Key, socket: &Socket, buffer: Vec<u8>, size: usize) {
        self.arm(key, socket, Receiving::Into { buffer, size });
    }

    fn cancel_receive(&mut self, key: Key, _socket: &Socket) {
        let receiving = std::mem::take(&mut self.entry(key).receiving);
        self.completions.extend(receiving.end(key, Errno(libc::ECANCELED)));
    }

    fn send(&mut self, key: Key, socket: &Socket, outgoing: Outgoing, _is_awaited: bool) {
        let sending = Sending::new(socket.0, outgoing);
        let sending = match self.spare_sends.pop() {
            Some(mut spare) => {
                *spare = sending;
                spare
            }
            None => Box::new(sending),
        };
        let entry = self.entry(key);
        assert!(entry.sending.is_none(), "one send of a slot is in flight");
        entry.sending = Some(sending);
        if entry.is_writable {
            self.to_send.push_back(key);
        }
        self.watch(key, socket.0);
    }

    fn cancel_send(&mut self, key: Key, _socket: &Socket) {
        if let Some(sending) = self.entry(key).sending.take() {
            self.end_send(key, sending, Err(Errno(libc::ECANCELED)));
        }
    }

    fn store(&mut self, key: Key, _socket: &Socket, file: Arc<File>, offset: u64, bytes: Vec<u8>) {
        // Regular files are always ready, so there is nothing to wait for but the write itself.
        let result = file.write_all_at(&bytes, offset).map_err(|error| Errno::of(&error));
        self.completions.push_back(Completion::Stored { key, file, bytes, result });
    }

    fn progress(&self, key: Key, socket: &Socket) -> u64 {
        let entry = self.entries.get(key.slot as usize).filter(|entry| entry.generation == key.generation);
        let sending = entry.and_then(|entry| entry.sending.as_ref());
        sys::taken(socket.0, sending.map_or(0, |sending| sending.progress()))
    }

    fn shutdown(&mut self, socket: &Socket) {
        sys::shutdown(socket.0);
    }

    fn close(&mut self, socket: Socket) {
        // It was its only descriptor, so this ends its watch too.
        sys::close(socket.0);
    }

    fn peer(&self, socket: &Socket) -> Result<Peer, Errno> {
        sys::peer(socket.0)
    }

    fn outlet(&self, socket: &Socket) -> Option<Outlet> {
        Some(Outlet { descriptor: socket.0 })
    }

    fn tick(&mut self, on: bool) {
        self.next_tick = on.then(|| self.now() + TICK);
    }

    fn turn(&mut self, wait: bool) -> io::Result<()> {
        for _ in 0..self.to_send.len() {
            if let Some(key) = self.to_send.pop_front() {
                self.try_send(key);
            }
        }
        let has_work = self.has_work();
        // What is at hand comes first, and its answers are sent before the kernel is asked again; but not twice in a
        // row, or those who are busy keep out the others. A turn that must not wait is one that wants to know.
        self.has_asked = !(wait && has_work && self.has_asked);
        if self.has_asked {
            self.ask(if wait && !has_work { self.timeout() } else { 0 })?;
        }
        for _ in 0..self.readable.len() {
            if let Some(key) = self.readable.pop_front() {
                self.try_receive(key);
            }
        }
        if let Some(moment) = self.next_tick
            && moment <= self.now()
        {
            self.next_tick = Some(self.now() + TICK);
            // A rush of connections has made it long.
            self.completions.shrink_to(EVENT_COUNT);
            self.completions.push_back(Completion::Tick);
        }
        Ok(())
    }

    fn completion(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }
}

/// The entry of `key`, unless its slot has another owner by now.
fn current(entries: &mut Chunks<Entry>, key: Key) -> Option<&mut Entry> {
    entries.get_mut(key.slot as usize).filter(|entry| entry.generation == key.generation)
}

fn data_of(key: Key) -> u64 {
    u64::from(key.generation) << 32 | u64::from(key.slot)
}

/// Boxes of sends that are kept: so many sends at a time allocate nothing.
const SPARE_COUNT_MAX: usize = 1024;
const EVENT_COUNT: usize = 256;
/// What every socket is watched for.
const READABLE: i32 = libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLPRI | libc::EPOLLET;
/// What tells that a receive may stop before the socket is empty.
const UNUSUAL: i32 = libc::EPOLLRDHUP | libc::EPOLLPRI | libc::EPOLLHUP | libc::EPOLLERR;
/// Slots and generations stay below: a generation has 24 bits.
const LISTENER_DATA: u64 = 1 << 60;
const WAKER_DATA: u64 = u64::MAX;
