//! The driver for kernels and containers that refuse io_uring: completions emulated over readiness.
//!
//! Level-triggered. A send is tried at once in the next turn, gathered; what the socket does not take waits
//! for writability. An armed receive is interest in readability, and a readable socket gives one block a turn,
//! so that a flood is fair. The memory rules are those of the trait; nothing is ever in the kernel's hands
//! between two turns. HTTP is not known here.

mod socket;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant, SystemTime};

use super::{Completion, Driver, Key, Socket};
use crate::buffer::{Outgoing, Pool};
use crate::slab::Chunks;
use crate::sys::{self, Errno, Peer, Waker};
use crate::timer::{Moment, TICK};
use socket::{Entry, Receiving, Sending};

/// A driver over one epoll instance.
pub struct Epoll {
    epoll: OwnedFd,
    listeners: Vec<Listener>,
    /// Indexed by slot.
    entries: Chunks<Entry>,
    /// Slots with a send that has not been tried yet.
    to_send: VecDeque<Key>,
    completions: VecDeque<Completion>,
    #[allow(clippy::vec_box, reason = "a spare moves into an entry without being copied")]
    spare_sends: Vec<Box<Sending>>,
    /// Filled by the kernel in each turn.
    events: Vec<libc::epoll_event>,
    pool: Pool,
    waker: Waker,
    next_tick: Option<Moment>,
    began: Instant,
}

struct Listener {
    descriptor: Option<OwnedFd>,
    is_armed: bool,
    is_registered: bool,
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
        let listener = |descriptor| Listener { descriptor: Some(descriptor), is_armed: false, is_registered: false };
        let driver = Epoll {
            epoll,
            listeners: listeners.into_iter().map(listener).collect(),
            entries: Chunks::new(),
            to_send: VecDeque::new(),
            completions: VecDeque::new(),
            spare_sends: Vec::new(),
            events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENT_COUNT],
            pool,
            waker,
            next_tick: None,
            began: Instant::now(),
        };
        driver.control(libc::EPOLL_CTL_ADD, driver.waker.descriptor(), libc::EPOLLIN as u32, WAKER_DATA)?;
        Ok(driver)
    }

    fn control(&self, operation: i32, descriptor: RawFd, events: u32, data: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: data };
        // SAFETY: the event is valid for the call, which copies it.
        let result = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, descriptor, &mut event) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn entry(&mut self, key: Key) -> &mut Entry {
        let entry = self.entries.get_or_grow(key.slot as usize);
        if entry.generation != key.generation {
            *entry = Entry { generation: key.generation, ..Entry::default() };
        }
        entry
    }

    /// Tells the kernel what a socket is watched for, if that has changed. A receive that ended is not taken
    /// out at once: the next one usually follows before anything is readable.
    fn watch(&mut self, key: Key, descriptor: RawFd) {
        let entry = self.entry(key);
        let wanted = entry.interest();
        if wanted == entry.watched {
            return;
        }
        let operation = match entry.watched {
            0 if wanted == 0 => return,
            0 => libc::EPOLL_CTL_ADD,
            _ if wanted == 0 => libc::EPOLL_CTL_DEL,
            _ => libc::EPOLL_CTL_MOD,
        };
        entry.watched = wanted;
        let data = u64::from(key.generation) << 32 | u64::from(key.slot);
        if let Err(error) = self.control(operation, descriptor, wanted, data) {
            self.fail(key, Errno::of(&error));
        }
    }

    /// A socket that cannot be watched ends its operations.
    fn fail(&mut self, key: Key, errno: Errno) {
        let entry = self.entry(key);
        entry.watched = 0;
        let receiving = std::mem::take(&mut entry.receiving);
        let sending = entry.sending.take();
        self.completions.extend(receiving.end(key, errno));
        if let Some(sending) = sending {
            self.end_send(key, sending, Err(errno));
        }
    }

    /// Sends as much as the socket takes; completes when it has taken everything.
    fn try_send(&mut self, key: Key) {
        // A send that was cancelled before it was tried may have left its key behind, and the slot another owner.
        let slot = key.slot as usize;
        let Some(entry) = self.entries.get_mut(slot).filter(|entry| entry.generation == key.generation) else { return };
        let Some(sending) = &mut entry.sending else { return };
        let descriptor = sending.descriptor;
        let result = match sending.advance() {
            Ok(true) => Ok(()),
            Ok(false) => {
                entry.is_blocked = true;
                return self.watch(key, descriptor);
            }
            Err(errno) => Err(errno),
        };
        entry.is_blocked = false;
        if let Some(sending) = entry.sending.take() {
            self.end_send(key, sending, result);
        }
        self.watch(key, descriptor);
    }

    /// Gives the parts of a send back and keeps its box.
    fn end_send(&mut self, key: Key, mut sending: Box<Sending>, result: Result<(), Errno>) {
        let outgoing = std::mem::replace(&mut sending.outgoing, NOTHING);
        if self.spare_sends.len() < SPARE_COUNT_MAX {
            self.spare_sends.push(sending);
        }
        self.completions.push_back(Completion::Sent { key, outgoing, result });
    }

    fn try_receive(&mut self, key: Key) {
        let slot = key.slot as usize;
        let Some(entry) = self.entries.get_mut(slot).filter(|entry| entry.generation == key.generation) else { return };
        let descriptor = entry.descriptor;
        match std::mem::take(&mut entry.receiving) {
            Receiving::Off => {}
            Receiving::Blocks => {
                let (result, more) = match socket::receive(descriptor, &mut self.pool) {
                    Err(Errno(libc::EAGAIN)) => {
                        entry.receiving = Receiving::Blocks;
                        return;
                    }
                    Ok(Some(received)) => (Ok(Some(received)), true),
                    Ok(None) => (Ok(None), false),
                    Err(errno) => (Err(errno), false),
                };
                if more {
                    entry.receiving = Receiving::Blocks;
                }
                self.completions.push_back(Completion::Received { key, result, more });
            }
            Receiving::Into { mut buffer, size } => match socket::receive_into(descriptor, &mut buffer, size) {
                Err(Errno(libc::EAGAIN)) => entry.receiving = Receiving::Into { buffer, size },
                result => self.completions.push_back(Completion::Filled { key, buffer, result }),
            },
        }
        // A receive that is not armed again in this turn is no longer watched for, or it would spin.
        self.watch(key, descriptor);
    }

    fn try_accept(&mut self, index: usize) {
        for _ in 0..ACCEPT_COUNT_MAX {
            let Some(Listener { descriptor: Some(descriptor), is_armed: true, .. }) = self.listeners.get(index) else {
                return;
            };
            match socket::accept(descriptor.as_raw_fd()) {
                Err(Errno(libc::EAGAIN)) => return,
                Ok(socket) => {
                    let result = Ok(Socket(socket));
                    self.completions.push_back(Completion::Accepted { listener: index, result, more: true });
                }
                Err(errno) => {
                    self.disarm(index);
                    let result = Err(errno);
                    self.completions.push_back(Completion::Accepted { listener: index, result, more: false });
                }
            }
        }
    }

    fn disarm(&mut self, index: usize) {
        let Some(listener) = self.listeners.get_mut(index) else { return };
        listener.is_armed = false;
        if std::mem::take(&mut listener.is_registered)
            && let Some(descriptor) = listener.descriptor.as_ref().map(AsRawFd::as_raw_fd)
        {
            // It was registered, so this cannot fail but for a descriptor that is gone.
            let _ = self.control(libc::EPOLL_CTL_DEL, descriptor, 0, 0);
        }
    }

    /// Milliseconds to wait: until the tick, forever without one, not at all if there is something to do.
    fn timeout(&self, wait: bool) -> i32 {
        if !wait || !self.completions.is_empty() {
            return 0;
        }
        match self.next_tick {
            None => -1,
            Some(moment) => {
                let rest = moment.since(self.now()) + Duration::from_micros(999);
                i32::try_from(rest.as_millis()).unwrap_or(i32::MAX)
            }
        }
    }

    fn act_on(&mut self, event: libc::epoll_event) {
        let (data, flags) = (event.u64, event.events);
        if data == WAKER_DATA {
            self.waker.drain();
            return self.completions.push_back(Completion::Woken);
        }
        if data >= LISTENER_DATA {
            return self.try_accept((data - LISTENER_DATA) as usize);
        }
        let key = Key { slot: data as u32, generation: (data >> 32) as u32 };
        let is_current = self.entries.get(key.slot as usize).is_some_and(|entry| entry.generation == key.generation);
        if !is_current {
            return;
        }
        if flags & (libc::EPOLLOUT | libc::EPOLLERR | libc::EPOLLHUP) as u32 != 0 {
            self.try_send(key);
        }
        if flags & (libc::EPOLLIN | libc::EPOLLERR | libc::EPOLLHUP | libc::EPOLLRDHUP) as u32 != 0 {
            self.try_receive(key);
        }
    }
}

impl Driver for Epoll {
    fn now(&self) -> Moment {
        Moment(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX))
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
        let Some(entry) = self.listeners.get_mut(listener) else { return };
        entry.is_armed = true;
        let Some(descriptor) = entry.descriptor.as_ref().map(AsRawFd::as_raw_fd) else { return };
        if std::mem::replace(&mut entry.is_registered, true) {
            return;
        }
        if let Err(error) =
            self.control(libc::EPOLL_CTL_ADD, descriptor, libc::EPOLLIN as u32, LISTENER_DATA + listener as u64)
        {
            self.listeners[listener].is_armed = false;
            self.listeners[listener].is_registered = false;
            let result = Err(Errno::of(&error));
            self.completions.push_back(Completion::Accepted { listener, result, more: false });
        }
    }

    fn cancel_accept(&mut self, listener: usize) {
        if self.listeners.get(listener).is_some_and(|entry| entry.is_armed) {
            self.disarm(listener);
            let result = Err(Errno(libc::ECANCELED));
            self.completions.push_back(Completion::Accepted { listener, result, more: false });
        }
    }

    fn close_listener(&mut self, listener: usize) {
        self.disarm(listener);
        if let Some(entry) = self.listeners.get_mut(listener) {
            drop(entry.descriptor.take());
        }
    }

    fn receive(&mut self, key: Key, socket: &Socket) {
        let entry = self.entry(key);
        assert!(matches!(entry.receiving, Receiving::Off), "one receive of a slot is in flight");
        entry.descriptor = socket.0;
        entry.receiving = Receiving::Blocks;
        self.watch(key, socket.0);
    }

    fn receive_into(&mut self, key: Key, socket: &Socket, buffer: Vec<u8>, size: usize) {
        let entry = self.entry(key);
        assert!(matches!(entry.receiving, Receiving::Off), "one receive of a slot is in flight");
        entry.descriptor = socket.0;
        entry.receiving = Receiving::Into { buffer, size };
        self.watch(key, socket.0);
    }

    fn cancel_receive(&mut self, key: Key, socket: &Socket) {
        let receiving = std::mem::take(&mut self.entry(key).receiving);
        self.completions.extend(receiving.end(key, Errno(libc::ECANCELED)));
        self.watch(key, socket.0);
    }

    fn send(&mut self, key: Key, socket: &Socket, outgoing: Outgoing) {
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
        entry.descriptor = socket.0;
        entry.sending = Some(sending);
        self.to_send.push_back(key);
    }

    fn cancel_send(&mut self, key: Key, socket: &Socket) {
        let entry = self.entry(key);
        entry.is_blocked = false;
        if let Some(sending) = entry.sending.take() {
            self.end_send(key, sending, Err(Errno(libc::ECANCELED)));
        }
        self.watch(key, socket.0);
    }

    fn progress(&self, key: Key, socket: &Socket) -> u64 {
        let entry = self.entries.get(key.slot as usize).filter(|entry| entry.generation == key.generation);
        let sending = entry.and_then(|entry| entry.sending.as_ref());
        sys::acknowledged(socket.0) + sending.map_or(0, |sending| sending.progress())
    }

    fn shutdown(&mut self, socket: &Socket) {
        sys::shutdown(socket.0);
    }

    fn close(&mut self, socket: Socket) {
        // It is not watched any more: whatever ended its last operation has seen to that.
        sys::close(socket.0);
    }

    fn peer(&self, socket: &Socket) -> Result<Peer, Errno> {
        sys::peer(socket.0)
    }

    fn tick(&mut self, on: bool) {
        self.next_tick = on.then(|| self.now() + TICK);
    }

    fn turn(&mut self, wait: bool) -> io::Result<()> {
        while let Some(key) = self.to_send.pop_front() {
            self.try_send(key);
        }
        let timeout = self.timeout(wait);
        let size = i32::try_from(self.events.len()).unwrap_or(i32::MAX);
        // SAFETY: `events` has room for `size` events.
        let count = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), self.events.as_mut_ptr(), size, timeout) };
        if count < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        }
        for index in 0..usize::try_from(count).unwrap_or(0) {
            if let Some(event) = self.events.get(index).copied() {
                self.act_on(event);
            }
        }
        if let Some(moment) = self.next_tick
            && moment <= self.now()
        {
            self.next_tick = Some(self.now() + TICK);
            self.completions.push_back(Completion::Tick);
        }
        Ok(())
    }

    fn completion(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }
}

const NOTHING: Outgoing =
    Outgoing { block: None, block_size: 0, spill: Vec::new(), payload: crate::buffer::Payload::None };
/// Boxes of sends that are kept: so many sends at a time allocate nothing.
const SPARE_COUNT_MAX: usize = 1024;
const EVENT_COUNT: usize = 256;
const ACCEPT_COUNT_MAX: usize = 64;
/// Slots and generations stay below: a generation has 24 bits.
const LISTENER_DATA: u64 = 1 << 60;
const WAKER_DATA: u64 = u64::MAX;
