//! What a worker keeps of a connection, and the operations on its socket.
//!
//! Each completion first counts its operation out of flight; then, if the slot is closing, it tries to
//! finish that and nothing else. HTTP is not known here.

use std::fs::File;
use std::sync::Arc;

use crate::buffer::{Outgoing, Received, let_go};
use crate::connection::{Connection, Limits, Part};
use crate::driver::{Driver, Key, POSTED_COUNT, Socket};
use crate::inbound::Inbound;
use crate::slab::SLOT_ROOM_SIZE;
use crate::spool;
use crate::stats::{Limit, State, Stats};
use crate::sys::Errno;
use crate::timer::{Moment, MomentOrNone, TICK, Wheel};

use super::patience::Patience;
use super::{TRIM_COUNT, Worker};

/// One connection of a worker.
pub(super) struct Slot {
    /// `None` once it has been closed.
    pub(super) socket: Option<Socket>,
    pub(super) connection: Connection,
    pub(super) inbound: Inbound,
    pub(super) receive: Receive,
    pub(super) is_sending: bool,
    /// Whether a part of a body is being stored.
    pub(super) is_storing: bool,
    pub(super) is_closing: bool,
    pub(super) is_yielded: bool,
    /// What the worker's numbers say that it is about.
    pub(super) state: State,
    /// The listener that it came from.
    pub(super) listener: u16,
    /// With a peer that takes what is sent.
    pub(super) patience: Patience,
    /// When a close that has not come through is tried again.
    pub(super) close_again_at: MomentOrNone,
}

/// What an idle connection costs is mostly this. So many in a chunk are a size that the allocator has, without a rest.
const _: () = assert!(size_of::<Option<Slot>>() <= 192);

/// The receive of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receive {
    /// None is in flight.
    Off,
    /// Armed: completions come until the last.
    Armed,
    /// Cancelled: the last completion is awaited.
    Ending,
    /// One receive into a body's own buffer is in flight.
    Filling,
}

impl Slot {
    /// What is in flight decides whose patience counts.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Moment> {
        match self.close_again_at.get() {
            Some(moment) => Some(moment),
            None if self.is_sending => Some(self.patience.look_at(limits)),
            // It is the disk that is slow.
            None if self.is_storing => None,
            None => self.connection.deadline(),
        }
    }

    /// What it is about now. A body that is being stored is still on its way.
    pub(super) fn state_now(&self) -> State {
        match (self.is_closing, self.is_sending) {
            (true, _) => State::Closing,
            (false, true) => State::Writing,
            (false, false) => self.connection.state(),
        }
    }

    /// Brings the numbers up to what it is about now.
    pub(super) fn note_state(&mut self, stats: &Stats) {
        let state = self.state_now();
        if state != self.state {
            stats.changed(std::mem::replace(&mut self.state, state), state);
        }
    }
}

impl<D: Driver> Worker<D> {
    /// Arms the receive, unless it is armed. One that is ending is armed again by its last completion.
    pub(super) fn receive(&mut self, key: Key) {
        let is_lasting = self.slots.get_mut(key).is_some_and(|slot| !slot.connection.is_bulky());
        self.arm(key, is_lasting);
    }

    /// Has a peer watched whose request is in service: that it goes is to be seen, also where the last receive was for
    /// one block, or for a body, alone. Where all blocks that may be held are, one that is ahead at all is let go: how long an
    /// answer is awaited is the application's affair.
    pub(super) fn watch(&mut self, key: Key) {
        let count = self.slots.get_mut(key).map_or(0, |slot| slot.inbound.block_count());
        if count > 0 && self.driver.pool().is_exhausted() {
            self.stats.note(Limit::Blocks);
            self.close(key);
        } else if count > READ_AHEAD_COUNT {
            self.hold_back(key);
        } else {
            self.arm(key, true);
        }
    }

    fn arm(&mut self, key: Key, is_lasting: bool) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if slot.receive == Receive::Off
            && !slot.is_closing
            && !slot.inbound.is_finished()
            && let Some(socket) = &slot.socket
        {
            slot.receive = Receive::Armed;
            self.driver.receive(key, socket, is_lasting);
        }
    }

    /// What is in flight of a connection has to come back before it acts. Only who answers its next request goes on.
    pub(super) fn stand_by(&mut self, key: Key) {
        if let Some(slot) = self.slots.get_mut(key)
            && !slot.is_closing
        {
            slot.connection.advance_awaited();
        }
        self.hold_back(key);
    }

    /// Stops reading from a peer who is ahead of us by more than a block; again, if that was missed. One burst of
    /// it may be on its way, as many blocks as a driver posts. Where all blocks that may be held are, a peer that
    /// holds some without letting us go on is let go itself.
    pub(super) fn hold_back(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let count = slot.inbound.block_count();
        if slot.is_closing || count <= READ_AHEAD_COUNT {
            return;
        }
        // Not while its body is being stored: then it is the disk that is slow.
        if self.driver.pool().is_exhausted() && !slot.is_storing {
            self.stats.note(Limit::Blocks);
            return self.close(key);
        }
        let is_reading = match slot.receive {
            Receive::Armed => true,
            // Where as many blocks come behind a cancellation as are posted, it may have missed its receive.
            Receive::Ending => count.is_multiple_of(POSTED_COUNT.into()),
            Receive::Off | Receive::Filling => false,
        };
        if is_reading && let Some(socket) = &slot.socket {
            slot.receive = Receive::Ending;
            self.stats.note(Limit::ReadAhead);
            self.driver.cancel_receive(key, socket);
        }
    }

    pub(super) fn on_received(&mut self, key: Key, result: Result<Option<Received>, Errno>, more: bool) {
        let Some(slot) = self.slots.get_mut(key) else {
            if let Ok(Some(received)) = result {
                self.driver.pool().give(received.block);
            }
            return;
        };
        if !more {
            slot.receive = Receive::Off;
        }
        if slot.is_closing {
            if let Ok(Some(received)) = result {
                self.driver.pool().give(received.block);
            }
            return self.finish_closing(key);
        }
        match result {
            Ok(Some(received)) => {
                self.stats.note_received(received.size as u64);
                slot.inbound.push(received);
            }
            Ok(None) => slot.inbound.finish(),
            // Nothing is lost with either: it is armed again.
            Err(Errno(errno @ (libc::ENOBUFS | libc::EINTR))) => {
                if errno == libc::ENOBUFS {
                    self.stats.note_starved();
                }
                return self.starved.push_back(key);
            }
            // Ended by us, because the peer was ahead; it is armed again when the connection wants more.
            Err(Errno(libc::ECANCELED)) => {}
            Err(_) => return self.close(key),
        }
        if self.wants_peer && !self.learn_peer(key) {
            return self.close(key);
        }
        self.pump(key);
    }

    /// Receives into the body's own buffer. An armed receive is ended first; its last completion leads here
    /// again.
    pub(super) fn fill(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let Some(socket) = &slot.socket else { return };
        match slot.receive {
            Receive::Armed => {
                slot.receive = Receive::Ending;
                self.driver.cancel_receive(key, socket);
            }
            Receive::Off if !slot.inbound.is_finished() => {
                if let Some((buffer, size)) = slot.connection.lend_body() {
                    slot.receive = Receive::Filling;
                    self.driver.receive_into(key, socket, buffer, size);
                }
            }
            Receive::Off | Receive::Ending | Receive::Filling => {}
        }
    }

    pub(super) fn on_filled(&mut self, key: Key, buffer: Vec<u8>, result: Result<usize, Errno>) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.receive = Receive::Off;
        if slot.is_closing {
            return self.finish_closing(key);
        }
        let size = result.unwrap_or(0);
        self.stats.note_received(size as u64);
        slot.connection.take_body(buffer, size, &self.settings.limits, self.now);
        match result {
            Ok(0) => slot.inbound.finish(),
            // After a signal the same bytes are asked for again.
            Ok(_) | Err(Errno(libc::EINTR)) => {}
            Err(_) => return self.close(key),
        }
        self.pump(key);
    }

    pub(super) fn on_sent(&mut self, key: Key, outgoing: Outgoing, result: Result<(), Errno>) {
        let size = outgoing.size();
        if let Some(block) = outgoing.block {
            self.driver.pool().give(block);
        }
        let_go(outgoing.payload);
        if result.is_ok() {
            self.stats.note_sent(size);
        }
        let Some(slot) = self.slots.get_mut(key) else { return };
        assert!(slot.is_sending, "a send completes once");
        slot.is_sending = false;
        slot.patience.end(size, &self.settings.limits, self.now);
        if slot.is_closing {
            return self.finish_closing(key);
        }
        // Nothing has come while it was sent, and nothing else is awaited: that is what most sends end with.
        let is_quiet = slot.receive == Receive::Armed && slot.inbound.is_empty() && !slot.inbound.is_finished();
        match result {
            Ok(()) if is_quiet && slot.connection.wait_on(self.now) => self.settle(key),
            Ok(()) => self.pump(key),
            Err(_) => self.close(key),
        }
    }

    /// A send has taken long: it goes on while the peer takes bytes.
    pub(super) fn look_at_send(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let Some(socket) = &slot.socket else { return };
        let progress = self.driver.progress(key, socket);
        match slot.patience.look(progress, &self.settings.limits, self.now) {
            Ok(()) => self.set_deadline(key),
            Err(limit) => {
                self.stats.note(limit);
                self.close(key);
            }
        }
    }

    /// Stores a part of a body in its file, which is created for the first.
    pub(super) fn store(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let Some(socket) = &slot.socket else { return };
        let Some(Part { file, offset, bytes }) = slot.connection.lend_part(self.now) else { return };
        let created = file.map_or_else(|| spool::create(&self.settings.spool_dir).map(Arc::new), Ok);
        match created {
            Ok(file) => {
                if offset == 0 {
                    self.stats.note(Limit::BodyMemory);
                }
                slot.is_storing = true;
                self.driver.store(key, socket, file, offset, bytes);
                self.hold_back(key);
            }
            Err(error) => self.lose_part(key, &error),
        }
    }

    pub(super) fn on_stored(&mut self, key: Key, file: Arc<File>, bytes: Vec<u8>, result: Result<(), Errno>) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.is_storing = false;
        if slot.is_closing {
            return self.finish_closing(key);
        }
        match result {
            Ok(()) => {
                slot.connection.take_part(file, bytes, &self.settings.limits, self.now);
                self.pump(key);
            }
            Err(errno) => self.lose_part(key, &errno.into()),
        }
    }

    fn lose_part(&mut self, key: Key, error: &std::io::Error) {
        self.log.lost_part(&self.settings.spool_dir, error);
        self.act(key, Connection::lose_part);
    }

    /// Begins to close: nothing new is begun, what is in flight is cancelled.
    pub(super) fn close(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.is_closing = true;
        // A cancellation can miss an operation that is just about to complete; then it is sent again.
        slot.close_again_at = (self.now + TICK).into();
        if let Some(socket) = &slot.socket {
            if slot.receive != Receive::Off {
                slot.receive = Receive::Ending;
                self.driver.cancel_receive(key, socket);
            }
            if slot.is_sending {
                self.driver.cancel_send(key, socket);
            }
        }
        self.finish_closing(key);
    }

    /// Closes the socket and frees the slot, once nothing of it is in flight.
    fn finish_closing(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if slot.receive != Receive::Off || slot.is_sending || slot.is_storing {
            return self.settle(key);
        }
        let Some(mut slot) = self.slots.remove(key) else { return };
        self.stats.closed(slot.state);
        self.wheel.clear(key.slot);
        self.trim_count = TRIM_COUNT;
        let pool = self.driver.pool();
        slot.inbound.discard(pool);
        slot.connection.release(&mut self.spares);
        if let Some(socket) = slot.socket.take() {
            if slot.connection.would_mislead()
                && let Some(outlet) = self.driver.outlet(&socket)
            {
                outlet.reset_at_close();
            }
            self.driver.close(socket);
        }
        self.note_closed();
    }

    /// Looks after the receives that found no block posted, in their order and a few in each turn; the driver posts
    /// others before the next wait. The connection is asked, because its peer may be the one who has taken them all.
    ///
    /// All at once would take the blocks from those who are armed, for what is submitted comes first; they starve in
    /// their turn, and it never ends. With 512 connections seven receives failed for each that did not.
    pub(super) fn feed_starved(&mut self) {
        for _ in 0..FED_COUNT.min(self.starved.len()) {
            if let Some(key) = self.starved.pop_front() {
                self.pump(key);
            }
        }
    }

    /// Asks once for the address of the other end. After a reset there is none, and nothing to be served.
    fn learn_peer(&mut self, key: Key) -> bool {
        let Some(slot) = self.slots.get_mut(key) else { return false };
        if slot.connection.has_peer() {
            return true;
        }
        let Some(socket) = &slot.socket else { return false };
        match self.driver.peer(socket) {
            Ok(peer) => {
                slot.connection.set_peer(peer);
                true
            }
            Err(_) => false,
        }
    }
}

/// Slots for which there is room in the flat arrays from the start.
pub(super) fn room_count(connection_count_max: usize) -> usize {
    connection_count_max.min(ROOM_MAX)
}

/// Bytes of address space that a worker of so many connections sets aside at its start.
#[must_use]
pub fn room_size(connection_count_max: usize) -> u64 {
    let size = room_count(connection_count_max) * (SLOT_ROOM_SIZE + Wheel::SLOT_ROOM_SIZE);
    u64::try_from(size).unwrap_or(u64::MAX)
}

/// Connections for which there is room from the start. Past it doubling makes room, and the copies cost a while more memory.
const ROOM_MAX: usize = 1 << 20;
/// Blocks that a peer may be ahead while its request is in service.
const READ_AHEAD_COUNT: usize = 1;
/// Starved receives that are armed in a turn: the other blocks are for those who are armed already, of which the kernel lets
/// some 40 go on in a turn.
const FED_COUNT: usize = POSTED_COUNT as usize / 4;
