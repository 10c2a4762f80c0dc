//! A fake kernel: completions that are partial, late, failing, reordered and starved, all drawn from a seed.
//!
//! It holds the contract of the trait from the other side: an operation submitted twice, a socket closed with
//! something in flight, or used after its close, is an assertion. Peers live inside (`peer`), so that a
//! whole run is a function of its seed; time is virtual and jumps when nothing else can happen. It is public
//! for tests, benches and fuzz targets, makes no system call but reading the waker and writing bodies to their
//! files, and knows nothing of HTTP.

mod chance;
mod peer;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Completion, Driver, Key, Socket};
use crate::buffer::{BLOCK_SIZE, Outgoing, Payload, Pool, Received};
use crate::sys::{Errno, Peer, Waker};
use crate::timer::{Moment, TICK};

pub use chance::{Chance, Fault, Faults, Odds};
pub use peer::{End, SimPeer};

/// The fake kernel, and the peers at the other end.
pub struct Sim {
    chance: Chance,
    odds: Odds,
    faults: Faults,
    /// The completion with this number fails, whatever it is.
    fail_at: Option<u64>,
    completion_count: u64,
    now: Moment,
    next_tick: Option<Moment>,
    /// Whether virtual time jumps to the next tick when nothing else can happen.
    jumps: bool,
    listener: Listener,
    peers: Vec<SimPeer>,
    sockets: BTreeMap<i32, Open>,
    next_socket: i32,
    /// Completions and the turn in which each is due.
    ready: VecDeque<(u64, Completion)>,
    turn: u64,
    pool: Pool,
    waker: Waker,
}

#[derive(Default)]
struct Listener {
    is_armed: bool,
    is_closed: bool,
}

/// A socket of the worker.
struct Open {
    peer: usize,
    /// The connection that it belongs to, once an operation has told.
    key: Option<Key>,
    receive: Option<(Key, Receive)>,
    send: Option<(Key, Outgoing)>,
    /// Operations whose completion is under way.
    due_count: u32,
}

enum Receive {
    Blocks,
    Into { buffer: Vec<u8>, size: usize },
}

impl Sim {
    /// A kernel with one listener, to which `peers` connect.
    #[must_use]
    pub fn new(seed: u64, odds: Odds, peers: Vec<SimPeer>, pool: Pool, waker: Waker) -> Sim {
        Sim {
            chance: Chance::new(seed),
            odds,
            faults: Faults::default(),
            fail_at: None,
            completion_count: 0,
            now: Moment(0),
            next_tick: None,
            jumps: true,
            listener: Listener::default(),
            peers,
            sockets: BTreeMap::new(),
            next_socket: 1000,
            ready: VecDeque::new(),
            turn: 0,
            pool,
            waker,
        }
    }

    /// Makes the completion with this number fail, counted from 1.
    pub fn fail_at(&mut self, number: u64) {
        self.fail_at = Some(number);
    }

    /// Stops virtual time from jumping: whoever waits for a deadline waits forever.
    pub fn hold_time(&mut self) {
        self.jumps = false;
    }

    /// The peers.
    pub fn peers(&mut self) -> &mut Vec<SimPeer> {
        &mut self.peers
    }

    /// What was injected so far.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Completions made so far; one that never reached its number was not made to fail.
    #[must_use]
    pub fn completion_count(&self) -> u64 {
        self.completion_count
    }

    /// Sockets that the worker has not closed.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.sockets.len()
    }

    /// Whether nothing is under way and no peer can act by itself.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let is_waiting =
            |open: &Open| open.send.is_none() && !(open.receive.is_some() && self.peers[open.peer].has_news());
        self.ready.is_empty() && self.sockets.values().all(is_waiting) && !self.peers_can_act()
    }

    fn peers_can_act(&self) -> bool {
        self.peers.iter().any(|peer| peer.can_act(self.listener.is_closed))
    }

    fn open(&mut self, socket: &Socket) -> &mut Open {
        self.sockets.get_mut(&socket.0).expect("a socket is used while it is open")
    }

    /// Puts a completion under way, perhaps late, and so perhaps behind a later one.
    fn complete(&mut self, socket: Option<i32>, completion: Completion) {
        self.completion_count += 1;
        let delay = if self.strikes(Fault::Late) { 1 + self.chance.below(5) } else { 0 };
        if let Some(open) = socket.and_then(|socket| self.sockets.get_mut(&socket)) {
            open.due_count += 1;
        }
        self.ready.push_back((self.turn + delay, completion));
    }

    /// Draws whether a fault strikes now, and counts it.
    fn strikes(&mut self, fault: Fault) -> bool {
        let strikes = self.chance.per_mille(self.odds.of(fault));
        if strikes {
            self.faults.count(fault);
        }
        strikes
    }

    /// Whether the completion about to be made is the one that has to fail.
    fn must_fail(&self) -> bool {
        self.fail_at == Some(self.completion_count + 1)
    }

    /// Lets the peers and the operations in flight make progress, in an order drawn anew.
    fn work(&mut self) {
        for index in 0..self.peers.len() {
            let is_closed = self.listener.is_closed;
            self.peers[index].act(&mut self.chance, is_closed);
        }
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

    fn work_accept(&mut self) {
        while self.listener.is_armed {
            let Some(peer) = self.peers.iter().position(SimPeer::is_queued) else { return };
            if self.must_fail() || self.strikes(Fault::AcceptError) {
                let errno =
                    self.chance.pick(&[libc::EMFILE, libc::ENFILE, libc::ECONNABORTED, libc::ENOMEM, libc::ENOBUFS]);
                self.listener.is_armed = false;
                let result = Err(Errno(errno));
                return self.complete(None, Completion::Accepted { listener: 0, result, more: false });
            }
            let more = !self.strikes(Fault::AcceptEnds);
            self.listener.is_armed = more;
            let socket = self.next_socket;
            self.next_socket += 1;
            self.peers[peer].accept();
            self.sockets.insert(socket, Open { peer, key: None, receive: None, send: None, due_count: 0 });
            self.complete(None, Completion::Accepted { listener: 0, result: Ok(Socket(socket)), more });
        }
    }

    fn work_receive(&mut self, socket: i32) {
        let Some(Open { peer, receive: Some(_), .. }) = self.sockets.get(&socket) else { return };
        let peer = *peer;
        if !self.peers[peer].has_news() {
            return;
        }
        let Some((key, receive)) = self.sockets.get_mut(&socket).and_then(|open| open.receive.take()) else { return };
        let error = if self.peers[peer].is_reset() {
            Some(libc::ECONNRESET)
        } else if self.must_fail() || self.strikes(Fault::ReceiveError) {
            self.peers[peer].hurt();
            Some(self.chance.pick(&[libc::ECONNRESET, libc::ETIMEDOUT, libc::ENOMEM]))
        } else if matches!(receive, Receive::Blocks) && self.strikes(Fault::Starved) {
            Some(libc::ENOBUFS)
        } else {
            None
        };
        if let Some(errno) = error {
            return self.end_receive(socket, key, receive, Errno(errno));
        }
        match receive {
            Receive::Blocks => self.receive_block(socket, peer, key),
            Receive::Into { mut buffer, size } => {
                let size = self.share_of(size);
                let bytes = self.peers[peer].give(size);
                buffer.extend_from_slice(&bytes);
                self.complete(Some(socket), Completion::Filled { key, buffer, result: Ok(bytes.len()) });
            }
        }
    }

    fn receive_block(&mut self, socket: i32, peer: usize, key: Key) {
        let mut block = self.pool.take();
        let size_max = self.share_of(BLOCK_SIZE);
        let bytes = self.peers[peer].give(size_max);
        if bytes.is_empty() {
            self.pool.give(block);
            return self.complete(Some(socket), Completion::Received { key, result: Ok(None), more: false });
        }
        block[..bytes.len()].copy_from_slice(&bytes);
        let more = !self.strikes(Fault::ReceiveEnds);
        if more && let Some(open) = self.sockets.get_mut(&socket) {
            open.receive = Some((key, Receive::Blocks));
        }
        let result = Ok(Some(Received { block, size: bytes.len() }));
        self.complete(Some(socket), Completion::Received { key, result, more });
    }

    fn end_receive(&mut self, socket: i32, key: Key, receive: Receive, errno: Errno) {
        let completion = match receive {
            Receive::Blocks => Completion::Received { key, result: Err(errno), more: false },
            Receive::Into { buffer, .. } => Completion::Filled { key, buffer, result: Err(errno) },
        };
        self.complete(Some(socket), completion);
    }

    fn work_send(&mut self, socket: i32) {
        let Some(Open { peer, send: Some(_), .. }) = self.sockets.get(&socket) else { return };
        let peer = *peer;
        if !self.peers[peer].takes(&mut self.chance) {
            return;
        }
        let Some((key, outgoing)) = self.sockets.get_mut(&socket).and_then(|open| open.send.take()) else { return };
        let bytes = bytes_of(&outgoing);
        let result = if self.peers[peer].is_reset() {
            Err(Errno(libc::ECONNRESET))
        } else if self.must_fail() || self.strikes(Fault::SendError) {
            // Some of the bytes may have left before it failed.
            let size = self.chance.below(bytes.len() as u64 + 1) as usize;
            self.peers[peer].take(&bytes[..size]);
            self.peers[peer].hurt();
            Err(Errno(self.chance.pick(&[libc::EPIPE, libc::ECONNRESET, libc::ETIMEDOUT])))
        } else {
            self.peers[peer].take(&bytes);
            Ok(())
        };
        self.complete(Some(socket), Completion::Sent { key, outgoing, result });
    }

    /// Lets neighbours change places, unless they are of one connection.
    fn reorder(&mut self) {
        for index in 1..self.ready.len() {
            if keys_differ(&self.ready[index - 1].1, &self.ready[index].1) && self.strikes(Fault::Reordered) {
                self.ready.swap(index - 1, index);
            }
        }
    }

    /// A receive brings as much as there is, or less.
    fn share_of(&mut self, size: usize) -> usize {
        if self.strikes(Fault::Partial) { 1 + self.chance.below(size.min(300) as u64) as usize } else { size }
    }

    fn cancelled(&mut self, socket: i32, key: Key, receive: Receive) {
        self.faults.count(Fault::Cancelled);
        self.end_receive(socket, key, receive, Errno(libc::ECANCELED));
    }
}

impl Driver for Sim {
    fn now(&self) -> Moment {
        self.now
    }

    fn wall_clock(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn pool(&mut self) -> &mut Pool {
        &mut self.pool
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn accept(&mut self, listener: usize) {
        assert!(listener == 0 && !self.listener.is_armed && !self.listener.is_closed, "an accept is armed once");
        self.listener.is_armed = true;
    }

    fn cancel_accept(&mut self, _listener: usize) {
        if std::mem::take(&mut self.listener.is_armed) {
            let result = Err(Errno(libc::ECANCELED));
            self.complete(None, Completion::Accepted { listener: 0, result, more: false });
        }
    }

    fn close_listener(&mut self, _listener: usize) {
        assert!(!self.listener.is_armed && !self.listener.is_closed, "a listener is closed once, unarmed");
        self.listener.is_closed = true;
    }

    fn receive(&mut self, key: Key, socket: &Socket) {
        let open = self.open(socket);
        assert!(open.receive.is_none(), "one receive of a socket is in flight");
        open.key = Some(key);
        open.receive = Some((key, Receive::Blocks));
    }

    fn receive_into(&mut self, key: Key, socket: &Socket, buffer: Vec<u8>, size: usize) {
        assert!(buffer.capacity() - buffer.len() >= size && size > 0, "the buffer has the room that is promised");
        let open = self.open(socket);
        assert!(open.receive.is_none(), "one receive of a socket is in flight");
        open.key = Some(key);
        open.receive = Some((key, Receive::Into { buffer, size }));
    }

    fn cancel_receive(&mut self, _key: Key, socket: &Socket) {
        // Bytes that come between the cancellation and its effect are still delivered.
        if self.strikes(Fault::CancelLate) {
            self.work_receive(socket.0);
        }
        if let Some((key, receive)) = self.open(socket).receive.take() {
            self.cancelled(socket.0, key, receive);
        }
    }

    fn send(&mut self, key: Key, socket: &Socket, outgoing: Outgoing) {
        assert!(outgoing.size() > 0, "a send has bytes");
        let open = self.open(socket);
        assert!(open.send.is_none(), "one send of a socket is in flight");
        open.send = Some((key, outgoing));
    }

    fn cancel_send(&mut self, _key: Key, socket: &Socket) {
        if let Some((key, outgoing)) = self.open(socket).send.take() {
            self.faults.count(Fault::Cancelled);
            let result = Err(Errno(libc::ECANCELED));
            self.complete(Some(socket.0), Completion::Sent { key, outgoing, result });
        }
    }

    fn store(&mut self, key: Key, socket: &Socket, file: Arc<File>, offset: u64, bytes: Vec<u8>) {
        self.open(socket).key = Some(key);
        let result = if self.must_fail() || self.strikes(Fault::StoreError) {
            let peer = self.open(socket).peer;
            self.peers[peer].hurt();
            Err(Errno(self.chance.pick(&[libc::ENOSPC, libc::EIO, libc::EDQUOT])))
        } else {
            file.write_all_at(&bytes, offset).map_err(|error| Errno::of(&error))
        };
        self.complete(Some(socket.0), Completion::Stored { key, file, bytes, result });
    }

    fn progress(&self, _key: Key, socket: &Socket) -> u64 {
        let open = self.sockets.get(&socket.0).expect("a socket is used while it is open");
        self.peers[open.peer].received().len() as u64
    }

    fn shutdown(&mut self, socket: &Socket) {
        let peer = self.open(socket).peer;
        assert!(self.open(socket).send.is_none(), "the last bytes are sent before the half-close");
        self.peers[peer].see_end(End::Finished);
    }

    fn close(&mut self, socket: Socket) {
        let open = self.sockets.remove(&socket.0).expect("a socket is closed once");
        assert!(
            open.receive.is_none() && open.send.is_none() && open.due_count == 0,
            "a socket is closed with nothing in flight"
        );
        let has_unread = self.peers[open.peer].has_unread();
        self.peers[open.peer].see_end(if has_unread { End::Reset } else { End::Closed });
    }

    fn peer(&self, socket: &Socket) -> Result<Peer, Errno> {
        match self.sockets.get(&socket.0) {
            Some(open) if self.peers[open.peer].is_reset() => Err(Errno(libc::ENOTCONN)),
            Some(_) => Ok(Peer::Inet(([127, 0, 0, 1], 40_000).into())),
            None => unreachable!("a socket is used while it is open"),
        }
    }

    fn tick(&mut self, on: bool) {
        self.next_tick = on.then(|| self.now + TICK);
    }

    fn turn(&mut self, wait: bool) -> io::Result<()> {
        self.turn += 1;
        self.now = self.now + Duration::from_micros(self.chance.below(50));
        // A signal: nothing is done and nothing is lost.
        if self.strikes(Fault::Interrupted) {
            return Ok(());
        }
        self.work();
        self.reorder();
        if wait
            && self.jumps
            && self.is_quiet()
            && let Some(moment) = self.next_tick
        {
            self.now = self.now.max(moment);
        }
        Ok(())
    }

    fn completion(&mut self) -> Option<Completion> {
        if self.waker.drain() {
            return Some(Completion::Woken);
        }
        if self.next_tick.is_some_and(|moment| moment <= self.now) {
            self.next_tick = Some(self.now + TICK);
            return Some(Completion::Tick);
        }
        let index = self.ready.iter().position(|(due, _)| *due <= self.turn)?;
        // Completions of one connection keep their order, as those of one operation do.
        let index =
            (0..index).find(|earlier| !keys_differ(&self.ready[*earlier].1, &self.ready[index].1)).unwrap_or(index);
        let (_, completion) = self.ready.remove(index)?;
        let key = key_of(&completion);
        if let Some(open) = self.sockets.values_mut().find(|open| key.is_some() && open.key == key) {
            open.due_count -= 1;
        }
        Some(completion)
    }
}

fn key_of(completion: &Completion) -> Option<Key> {
    match completion {
        Completion::Received { key, .. }
        | Completion::Filled { key, .. }
        | Completion::Sent { key, .. }
        | Completion::Stored { key, .. } => Some(*key),
        Completion::Accepted { .. } | Completion::Tick | Completion::Woken => None,
    }
}

/// Whether two completions belong to different connections, so that their order is the kernel's to choose.
fn keys_differ(one: &Completion, other: &Completion) -> bool {
    key_of(one) != key_of(other)
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

/// How the sockets stand, for a message.
impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sim { now, next_tick, ready, pool, .. } = self;
        writeln!(f, "{now:?}, {next_tick:?}, {} under way, {} blocks away", ready.len(), pool.away_count())?;
        for (socket, Open { peer, receive, send, due_count, .. }) in &self.sockets {
            let (is_receiving, is_sending) = (receive.is_some(), send.is_some());
            writeln!(f, "{socket}: peer {peer}, receiving {is_receiving}, sending {is_sending}, due {due_count}")?;
        }
        Ok(())
    }
}
