//! What the fake kernel does in a turn: it lets the peers act, acts on cancellations, and carries operations on,
//! each as its row of the fault table has it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::buffer::{BLOCK_SIZE, Outgoing, Payload, Received};
use crate::driver::{Completion, Key, Socket};
use crate::sys::Errno;

use super::faults::{Cost, Fault, Operation, TABLE};
use super::peer::{End, SimPeer};
use super::{Flight, Open, Receive, Sim, Target, keys_differ};

impl Sim {
    /// Lets the peers and the operations in flight make progress, in an order drawn anew.
    pub(super) fn work(&mut self) {
        self.work_closes(self.turn);
        self.work_wakes();
        for index in 0..self.peers.len() {
            let is_closed = self.listener.is_closed;
            self.peers[index].act(&mut self.chance, is_closed);
        }
        self.work_cancels();
        self.work_accept();
        let mut sockets: Vec<i32> = self.sockets.keys().copied().collect();
        self.chance.shuffle(&mut sockets);
        for socket in sockets {
            if self.chance.below(2) == 0 {
                self.work_receive(socket);
                self.work_send(socket);
            } else {
                self.work_send(socket);
                self.work_receive(socket);
            }
        }
    }

    /// Lets neighbours change places, unless they are of one connection.
    pub(super) fn reorder(&mut self) {
        for index in 1..self.ready.len() {
            if keys_differ(&self.ready[index - 1].1, &self.ready[index].1) && self.strikes(Fault::Reordered) {
                self.ready.swap(index - 1, index);
            }
        }
    }

    /// Shows peers the closes that are due by this turn.
    pub(super) fn work_closes(&mut self, turn: u64) {
        let (due, later) = std::mem::take(&mut self.closing).into_iter().partition(|(due, _)| *due <= turn);
        self.closing = later;
        let due: Vec<(u64, usize)> = due;
        for (_, peer) in due {
            // A reset that comes behind the half-close is not met by whoever reads: the end was there before (tcp_recvmsg).
            let is_reset = self.peers[peer].has_unread() && !self.peers[peer].has_seen_finish();
            self.peers[peer].see_end(if is_reset { End::Reset } else { End::Closed });
        }
    }

    /// Draws whether a fault strikes now, and counts it.
    pub(super) fn strikes(&mut self, fault: Fault) -> bool {
        self.faults.draw(fault, &self.odds, &mut self.chance)
    }

    /// Draws whether one of the errors of an operation strikes.
    fn strike(&mut self, operation: Operation) -> Option<(Cost, Errno)> {
        for row in TABLE.iter().filter(|row| row.operation == operation) {
            if let Some(errno) = row.errno
                && self.strikes(row.fault)
            {
                return Some((row.cost, Errno(errno)));
            }
        }
        None
    }

    /// Puts a completion under way, perhaps late, and so perhaps behind a later one.
    fn complete(&mut self, socket: Option<i32>, completion: Completion) {
        let delay = if self.strikes(Fault::Late) { 1 + self.chance.below(5) } else { 0 };
        if let Some(open) = socket.and_then(|socket| self.sockets.get_mut(&socket)) {
            open.due_count += 1;
        }
        self.ready.push_back((self.turn + delay, completion));
    }

    /// A write to a file, which is over at once: a disk is not waited for in turns.
    pub(super) fn store_now(&mut self, key: Key, socket: i32, file: Arc<File>, offset: u64, bytes: Vec<u8>) {
        let result = match self.strike(Operation::Store) {
            Some((cost, errno)) => {
                if let Some(Open { peer, .. }) = self.sockets.get(&socket)
                    && cost == Cost::Connection
                {
                    self.peers[*peer].hurt();
                }
                Err(errno)
            }
            None => file.write_all_at(&bytes, offset).map_err(|error| Errno::of(&error)),
        };
        self.complete(Some(socket), Completion::Stored { key, file, bytes, result });
    }

    fn work_wakes(&mut self) {
        if self.waker.drain() || self.strikes(Fault::WakeSpurious) {
            let delay = if self.strikes(Fault::WakeLate) { 1 + self.chance.below(5) } else { 0 };
            self.wake_due.get_or_insert(self.turn + delay);
        }
    }

    fn work_cancels(&mut self) {
        let taken = self.taken;
        let (due, kept) = std::mem::take(&mut self.cancels).into_iter().partition(|(number, _)| *number <= taken);
        self.cancels = kept;
        let due: Vec<(u64, Target)> = due;
        for (number, target) in due {
            // What was submitted behind the cancellation is not what it is for, though it may look the same.
            let is_there = match target {
                Target::Accept => self.listener.armed.is_some_and(|armed| armed < number),
                Target::Receive(socket) => self.receive_of(socket).is_some_and(|flight| flight.number < number),
                Target::Send(socket) => self.send_of(socket).is_some_and(|flight| flight.number < number),
            };
            if is_there && !self.strikes(Fault::CancelMissed) {
                self.cancel(target);
            }
        }
    }

    fn cancel(&mut self, target: Target) {
        let is_raced = self.strikes(Fault::CancelRaced);
        let errno = Errno(libc::ECANCELED);
        match target {
            Target::Accept => {
                if is_raced {
                    self.work_accept();
                }
                if self.listener.armed.take().is_some() {
                    self.faults.count(Fault::Cancelled);
                    self.complete(None, Completion::Accepted { listener: 0, result: Err(errno), more: false });
                }
            }
            Target::Receive(socket) => {
                if is_raced {
                    self.work_receive(socket);
                }
                if let Some(flight) = self.sockets.get_mut(&socket).and_then(|open| open.receive.take()) {
                    self.faults.count(Fault::Cancelled);
                    self.end_receive(socket, flight.key, flight.what, errno);
                }
            }
            Target::Send(socket) => {
                if is_raced {
                    self.work_send(socket);
                }
                let Some(Open { peer, .. }) = self.sockets.get(&socket) else { return };
                let peer = *peer;
                if let Some(flight) = self.sockets.get_mut(&socket).and_then(|open| open.send.take()) {
                    self.faults.count(Fault::Cancelled);
                    if self.strikes(Fault::CancelPartly) {
                        self.send_some(peer, &bytes_of(&flight.what));
                    }
                    let result = Err(errno);
                    self.complete(Some(socket), Completion::Sent { key: flight.key, outgoing: flight.what, result });
                }
            }
        }
    }

    fn work_accept(&mut self) {
        while self.listener.armed.is_some_and(|number| number <= self.taken) {
            let Some(peer) = self.peers.iter().position(SimPeer::is_queued) else { return };
            if let Some((cost, errno)) = self.strike(Operation::Accept) {
                if cost == Cost::Connection {
                    self.peers[peer].abort();
                }
                self.listener.armed = None;
                let result = Err(errno);
                return self.complete(None, Completion::Accepted { listener: 0, result, more: false });
            }
            let more = !self.strikes(Fault::AcceptEnds);
            if !more {
                self.listener.armed = None;
            }
            let socket = self.next_socket;
            self.next_socket += 1;
            self.peers[peer].accept();
            let open = Open { peer, key: None, receive: None, send: None, due_count: 0, is_cancelled: false };
            self.sockets.insert(socket, open);
            self.complete(None, Completion::Accepted { listener: 0, result: Ok(Socket(socket)), more });
        }
    }

    fn receive_of(&self, socket: i32) -> Option<&Flight<Receive>> {
        self.sockets.get(&socket).and_then(|open| open.receive.as_ref())
    }

    fn send_of(&self, socket: i32) -> Option<&Flight<Outgoing>> {
        self.sockets.get(&socket).and_then(|open| open.send.as_ref())
    }

    fn work_receive(&mut self, socket: i32) {
        if self.receive_of(socket).is_none_or(|flight| flight.number > self.taken) {
            return;
        }
        let Some(open) = self.sockets.get_mut(&socket).filter(|open| self.peers[open.peer].has_news()) else { return };
        let peer = open.peer;
        let Some(Flight { number, key, what }) = open.receive.take() else { return };
        let operation = match what {
            Receive::Blocks { .. } => Operation::Receive,
            Receive::Into { .. } => Operation::Fill,
        };
        if self.peers[peer].is_reset() {
            return self.end_receive(socket, key, what, Errno(libc::ECONNRESET));
        }
        if let Some((cost, errno)) = self.strike(operation) {
            if cost == Cost::Connection {
                self.peers[peer].hurt();
            }
            return self.end_receive(socket, key, what, errno);
        }
        match what {
            Receive::Blocks { is_lasting } => self.receive_block(socket, peer, number, key, is_lasting),
            Receive::Into { mut buffer, size } => {
                let size = self.share_of(Fault::FillPartial, size);
                let bytes = self.peers[peer].give(size);
                buffer.extend_from_slice(&bytes);
                self.complete(Some(socket), Completion::Filled { key, buffer, result: Ok(bytes.len()) });
            }
        }
    }

    fn receive_block(&mut self, socket: i32, peer: usize, number: u64, key: Key, is_lasting: bool) {
        let mut block = self.pool.take();
        let size_max = self.share_of(Fault::ReceivePartial, BLOCK_SIZE);
        let bytes = self.peers[peer].give(size_max);
        if bytes.is_empty() {
            self.pool.give(block);
            return self.complete(Some(socket), Completion::Received { key, result: Ok(None), more: false });
        }
        block[..bytes.len()].copy_from_slice(&bytes);
        let more = is_lasting && !self.strikes(Fault::ReceiveEnds);
        if more && let Some(open) = self.sockets.get_mut(&socket) {
            open.receive = Some(Flight { number, key, what: Receive::Blocks { is_lasting } });
        }
        let result = Ok(Some(Received { block, size: bytes.len() }));
        self.complete(Some(socket), Completion::Received { key, result, more });
    }

    fn end_receive(&mut self, socket: i32, key: Key, receive: Receive, errno: Errno) {
        let completion = match receive {
            Receive::Blocks { .. } => Completion::Received { key, result: Err(errno), more: false },
            Receive::Into { buffer, .. } => Completion::Filled { key, buffer, result: Err(errno) },
        };
        self.complete(Some(socket), completion);
    }

    fn work_send(&mut self, socket: i32) {
        if self.send_of(socket).is_none_or(|flight| flight.number > self.taken) {
            return;
        }
        let Some(Open { peer, .. }) = self.sockets.get(&socket) else { return };
        let peer = *peer;
        if !self.peers[peer].takes(&mut self.chance) || self.strikes(Fault::SendStalled) {
            return;
        }
        let flight = self.sockets.get_mut(&socket).and_then(|open| open.send.take());
        let Some(Flight { key, what: outgoing, .. }) = flight else { return };
        let bytes = bytes_of(&outgoing);
        let result = if self.peers[peer].is_reset() {
            Err(Errno(libc::ECONNRESET))
        } else if let Some((_, errno)) = self.strike(Operation::Send) {
            self.send_some(peer, &bytes);
            self.peers[peer].hurt();
            Err(errno)
        } else {
            self.peers[peer].take(&bytes);
            Ok(())
        };
        self.complete(Some(socket), Completion::Sent { key, outgoing, result });
    }

    /// Sends a beginning of the bytes, or none, or all of them.
    fn send_some(&mut self, peer: usize, bytes: &[u8]) {
        let size = self.chance.below(bytes.len() as u64 + 1) as usize;
        self.peers[peer].take(&bytes[..size]);
    }

    /// A receive brings as much as there is, or less.
    fn share_of(&mut self, fault: Fault, size: usize) -> usize {
        if self.strikes(fault) { 1 + self.chance.below(size.min(300) as u64) as usize } else { size }
    }
}

fn bytes_of(outgoing: &Outgoing) -> Vec<u8> {
    let block = outgoing.block.as_deref().map(|block| &block[..outgoing.block_size]).unwrap_or_default();
    let mut bytes = [block, &outgoing.spill].concat();
    match &outgoing.payload {
        Payload::None => {}
        Payload::Static(payload) => bytes.extend_from_slice(payload),
        Payload::Owned(payload) => bytes.extend_from_slice((**payload).as_ref()),
        Payload::File(range) => {
            let start = bytes.len();
            bytes.resize(start + usize::try_from(range.size).expect("a simulated file is small"), 0);
            range.file.read_exact_at(&mut bytes[start..], range.offset).expect("a simulated file is whole");
        }
    }
    bytes
}
