//! A fake kernel: completions that are partial, late, failing, reordered and starved, all drawn from a seed.
//!
//! It holds the contract of the trait from the other side: an operation submitted twice, a socket closed with
//! something in flight, or used after its close, is an assertion. Peers live inside (`peer`), so that a
//! whole run is a function of its seed; time is virtual and jumps when nothing else can happen. It is public
//! for tests, benches and fuzz targets, makes no system call but reading the waker and writing bodies to their
//! files, and knows nothing of HTTP.

mod chance;
mod faults;
mod peer;
mod work;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Completion, Driver, Key, Socket};
use crate::buffer::{Outgoing, Pool};
use crate::sys::{Errno, Peer, Waker};
use crate::timer::{Moment, TICK};

pub use chance::Chance;
pub use faults::{Cost, Fault, Faults, Odds, Operation, Row, TABLE};
pub use peer::{End, SimPeer};

/// The fake kernel, and the peers at the other end.
pub struct Sim {
    chance: Chance,
    odds: Odds,
    faults: Faults,
    receives: Receives,
    now: Moment,
    next_tick: Option<Moment>,
    /// Whether the last tick comes again.
    is_tick_doubled: bool,
    /// The turn in which a wake-up under way is due.
    wake_due: Option<u64>,
    /// Whether virtual time jumps to the next tick when nothing else can happen.
    jumps: bool,
    listener: Listener,
    peers: Vec<SimPeer>,
    sockets: BTreeMap<i32, Open>,
    next_socket: i32,
    /// Submissions so far, and how many of them the kernel has taken: a busy turn leaves a rest.
    submitted: u64,
    taken: u64,
    /// Cancellations that the kernel has not acted on, each with its number as a submission.
    cancels: Vec<(u64, Target)>,
    /// Peers whose socket has been closed, and the turn in which they see it.
    closing: Vec<(u64, usize)>,
    /// Completions and the turn in which each is due.
    ready: VecDeque<(u64, Completion)>,
    turn: u64,
    pool: Pool,
    waker: Waker,
}

/// Receives that were armed, by their kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receives {
    /// Into blocks, until they are cancelled.
    pub lasting_count: u64,
    /// Into one block.
    pub single_count: u64,
    /// Into a body's own memory.
    pub filling_count: u64,
}

#[derive(Default)]
struct Listener {
    /// The accept's number as a submission, while it is armed.
    armed: Option<u64>,
    is_closed: bool,
}

/// A socket of the worker.
struct Open {
    peer: usize,
    /// The connection that it belongs to, once an operation has told.
    key: Option<Key>,
    receive: Option<Flight<Receive>>,
    send: Option<Flight<Outgoing>>,
    /// Operations whose completion is under way.
    due_count: u32,
    /// Whether a cancellation was asked for.
    is_cancelled: bool,
}

/// An operation in flight.
struct Flight<T> {
    /// Its number as a submission.
    number: u64,
    key: Key,
    what: T,
}

enum Receive {
    Blocks { is_lasting: bool },
    Into { buffer: Vec<u8>, size: usize },
}

/// What is to be cancelled: the accept, or an operation of a socket.
#[derive(Clone, Copy)]
enum Target {
    Accept,
    Receive(i32),
    Send(i32),
}

impl Sim {
    /// A kernel with one listener, to which `peers` connect.
    #[must_use]
    pub fn new(seed: u64, odds: Odds, peers: Vec<SimPeer>, pool: Pool, waker: Waker) -> Sim {
        Sim {
            chance: Chance::new(seed),
            odds,
            faults: Faults::default(),
            receives: Receives::default(),
            now: Moment(0),
            next_tick: None,
            is_tick_doubled: false,
            wake_due: None,
            jumps: true,
            listener: Listener::default(),
            peers,
            sockets: BTreeMap::new(),
            next_socket: 1000,
            submitted: 0,
            taken: 0,
            cancels: Vec::new(),
            closing: Vec::new(),
            ready: VecDeque::new(),
            turn: 0,
            pool,
            waker,
        }
    }

    /// Lets a fault strike at its occasion with this number, counted from 1.
    pub fn plan(&mut self, fault: Fault, number: u64) {
        self.faults.plan(fault, number);
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

    /// The receives that were armed so far.
    #[must_use]
    pub fn receives(&self) -> Receives {
        self.receives
    }

    /// Whether the worker has not closed its listener.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        !self.listener.is_closed
    }

    /// Sockets that the worker has not closed.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.sockets.len()
    }

    /// Whether nothing is under way and no peer can act by itself.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let is_waiting = |open: &Open| {
            let peer = &self.peers[open.peer];
            (open.send.is_none() || peer.is_stuck()) && !(open.receive.is_some() && peer.has_news())
        };
        self.ready.is_empty()
            && self.closing.is_empty()
            && self.wake_due.is_none()
            && self.taken == self.submitted
            && self.sockets.values().all(is_waiting)
            && !self.peers_can_act()
    }

    /// Lets every close take effect, as a kernel does when the ring's thread has ended.
    pub fn settle(&mut self) {
        self.work_closes(u64::MAX);
    }

    fn peers_can_act(&self) -> bool {
        self.peers.iter().any(|peer| peer.can_act(self.listener.is_closed))
    }

    fn open(&mut self, socket: &Socket) -> &mut Open {
        self.sockets.get_mut(&socket.0).expect("a socket is used while it is open")
    }

    /// Numbers a submission.
    fn submit(&mut self) -> u64 {
        self.submitted += 1;
        self.submitted
    }

    fn begin_receive(&mut self, key: Key, socket: &Socket, what: Receive) {
        let number = self.submit();
        *match what {
            Receive::Blocks { is_lasting: true } => &mut self.receives.lasting_count,
            Receive::Blocks { is_lasting: false } => &mut self.receives.single_count,
            Receive::Into { .. } => &mut self.receives.filling_count,
        } += 1;
        let open = self.open(socket);
        assert!(open.receive.is_none(), "one receive of a socket is in flight");
        open.key = Some(key);
        open.is_cancelled = false;
        open.receive = Some(Flight { number, key, what });
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
        let is_off = self.listener.armed.is_none() && !self.listener.is_closed;
        assert!(listener == 0 && is_off, "an accept is armed once");
        self.listener.armed = Some(self.submit());
    }

    fn cancel_accept(&mut self, _listener: usize) {
        let number = self.submit();
        self.cancels.push((number, Target::Accept));
    }

    /// Peers of the simulation call at their start only.
    fn refuse_newcomers(&mut self, _listener: usize) {}

    fn has_queued(&self, _listener: usize) -> bool {
        !self.listener.is_closed && self.peers.iter().any(SimPeer::is_queued)
    }

    fn close_listener(&mut self, _listener: usize) {
        let is_off = self.listener.armed.is_none() && !self.listener.is_closed;
        assert!(is_off, "a listener is closed once, unarmed");
        self.listener.is_closed = true;
    }

    fn receive(&mut self, key: Key, socket: &Socket, is_lasting: bool) {
        self.begin_receive(key, socket, Receive::Blocks { is_lasting });
    }

    fn receive_into(&mut self, key: Key, socket: &Socket, buffer: Vec<u8>, size: usize) {
        assert!(buffer.capacity() - buffer.len() >= size && size > 0, "the buffer has the room that is promised");
        self.begin_receive(key, socket, Receive::Into { buffer, size });
    }

    fn cancel_receive(&mut self, _key: Key, socket: &Socket) {
        let number = self.submit();
        self.open(socket).is_cancelled = true;
        self.cancels.push((number, Target::Receive(socket.0)));
    }

    fn send(&mut self, key: Key, socket: &Socket, outgoing: Outgoing, _is_awaited: bool) {
        assert!(outgoing.size() > 0, "a send has bytes");
        let number = self.submit();
        let open = self.open(socket);
        assert!(open.send.is_none(), "one send of a socket is in flight");
        open.send = Some(Flight { number, key, what: outgoing });
    }

    fn cancel_send(&mut self, _key: Key, socket: &Socket) {
        let number = self.submit();
        self.open(socket).is_cancelled = true;
        self.cancels.push((number, Target::Send(socket.0)));
    }

    fn store(&mut self, key: Key, socket: &Socket, file: Arc<File>, offset: u64, bytes: Vec<u8>) {
        self.submit();
        self.open(socket).key = Some(key);
        self.store_now(key, socket.0, file, offset, bytes);
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
        let delay = if self.strikes(Fault::CloseLate) { 1 + self.chance.below(5) } else { 0 };
        self.closing.push((self.turn + delay, open.peer));
    }

    fn peer(&self, socket: &Socket) -> Result<Peer, Errno> {
        match self.sockets.get(&socket.0) {
            Some(open) if self.peers[open.peer].is_reset() => Err(Errno(libc::ENOTCONN)),
            Some(_) => Ok(Peer::Inet(([127, 0, 0, 1], 40_000).into())),
            None => unreachable!("a socket is used while it is open"),
        }
    }

    fn tick(&mut self, on: bool) {
        let first = if on && self.strikes(Fault::TickEarly) { self.now } else { self.now + TICK };
        self.next_tick = on.then_some(first);
    }

    fn turn(&mut self, wait: bool) -> io::Result<()> {
        self.turn += 1;
        self.now = self.now + Duration::from_micros(self.chance.below(50));
        if self.strikes(Fault::TurnInterrupted) {
            return Ok(());
        }
        if !self.strikes(Fault::TurnBusy) {
            self.taken = self.submitted;
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
        if self.wake_due.is_some_and(|due| due <= self.turn) {
            self.wake_due = None;
            return Some(Completion::Woken);
        }
        if std::mem::take(&mut self.is_tick_doubled) {
            return Some(Completion::Tick);
        }
        if self.next_tick.is_some_and(|moment| moment <= self.now) {
            self.is_tick_doubled = self.strikes(Fault::TickTwice);
            let count = if self.strikes(Fault::TickLate) { 2 + self.chance.below(9) as u32 } else { 1 };
            self.next_tick = Some(self.now + count * TICK);
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
            if open.is_cancelled && !is_cancelled(&completion) {
                self.faults.count(Fault::AfterCancel);
            }
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

/// Whether a completion says that its operation was cancelled.
fn is_cancelled(completion: &Completion) -> bool {
    let errno = match completion {
        Completion::Received { result, .. } => result.as_ref().err(),
        Completion::Filled { result, .. } => result.as_ref().err(),
        Completion::Sent { result, .. } => result.as_ref().err(),
        Completion::Accepted { .. } | Completion::Stored { .. } | Completion::Tick | Completion::Woken => None,
    };
    errno == Some(&Errno(libc::ECANCELED))
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
