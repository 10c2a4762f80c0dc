//! One thread's loop: reap, act, submit.
//!
//! A worker owns a driver, the connection slots and an instance of the application, and shares nothing with
//! another worker. Each turn it takes what the driver has completed, lets the connections act on it, and
//! hands over what they have to say; then one system call submits all of it and waits. It is the only place
//! where a socket meets a protocol state, and it knows no byte of HTTP.
//!
//! # The life of a slot
//! Accepted → its receive is armed → bytes come, [`Connection::advance`] is called, what it wrote is sent →
//! closing: no further operation is begun, those in flight are cancelled → the last completion comes → the
//! socket is closed and the slot is free, with another generation.

mod accept;
mod control;
mod drain;
mod guest;
mod log;
mod patience;
mod slot;
mod tally;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::app::Application;
use crate::buffer::let_go;
use crate::connection::{Act, Connection, Host, Limits, Next, RequestIds, Spares};
use crate::driver::{Completion, Driver, Key, Socket};
use crate::environ::{Origin, Scratch};
use crate::outbound::Outbound;
use crate::response::Stamp;
use crate::response::answer::Mailbox;
use crate::response::guard::guarded;
use crate::slab::Slab;
use crate::stats::{Row, State};
use crate::sys::{self, Reserve};
use crate::timer::{Moment, Wheel};

use accept::Listener;
use drain::Drain;
use log::Log;
use slot::{Receive, Slot, room_count};

pub use control::Control;
pub use log::{LogFormat, Redact, Redacted, RequestLog};
pub use slot::room_size;

/// What a worker is told at its start.
pub struct Settings {
    /// Sizes and deadlines of a connection.
    pub limits: Limits,
    /// The listeners, in the order in which the driver has them.
    pub listeners: Vec<Origin>,
    /// Which of them nobody else holds, so that a drain may have the kernel refuse newcomers.
    pub own_listeners: Vec<bool>,
    /// Where completed requests are logged, and how.
    pub access_log: Option<RequestLog>,
    /// Whether applications and peers are shown an id of each request; the log has one in any case.
    pub shows_request_ids: bool,
    /// Connections at a time. Past it the accept pauses, and peers wait in the listen queue.
    pub connection_count_max: usize,
    /// Where bodies are spooled that are too large for memory.
    pub spool_dir: PathBuf,
    /// Where this worker counts.
    pub stats: Row,
    /// Given up for one connection when there is no other descriptor. Made before anybody is told that it serves.
    pub reserve: Reserve,
    /// How long a drain may take before the remaining connections are cut.
    pub graceful_timeout: Duration,
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Connections with a request in service that were cut.
    pub cut_count: usize,
}

/// A worker's state, apart from its driver.
pub struct Worker<D: Driver> {
    driver: D,
    settings: Settings,
    control: Arc<Control>,
    mailbox: Arc<Mailbox>,
    slots: Slab<Slot>,
    listeners: Vec<Listener>,
    wheel: Wheel,
    is_ticking: bool,
    /// Ticks that are still to come after a connection has come or gone, so that what that has left goes as well.
    trim_count: u32,
    /// Connections that want another call before the others have to wait again.
    yielded: VecDeque<Key>,
    /// Connections accepted while every slot was taken, and the listeners that they came from.
    parked: VecDeque<(usize, Socket)>,
    /// Connections whose receive found no free block.
    starved: VecDeque<Key>,
    spares: Spares,
    /// What the connection at hand says. It is empty between two, and keeps its block for the next.
    outbound: Outbound,
    scratch: Scratch,
    request_ids: Option<RequestIds>,
    stamp: Stamp,
    stamp_until: Moment,
    log: Log,
    stats: Row,
    /// Whether most of the connections that there may be are open.
    is_crowded: bool,
    wants_peer: bool,
    drain: Drain,
    /// How long a connection is kept idle in it.
    drain_idle: Option<Duration>,
    /// What the last turn brought.
    completion_count: usize,
    now: Moment,
    /// Dropped last: threads that it may have are then waited for, and must not wait for a connection that is left.
    app: Box<dyn Application>,
}

/// Serves until [`Control::drain`] or [`Control::stop`] and answers how it ended.
///
/// # Errors
/// What made the driver unusable.
pub fn run<D: Driver>(
    driver: D,
    app: Box<dyn Application>,
    settings: Settings,
    control: Arc<Control>,
) -> std::io::Result<Outcome> {
    let mut worker = Worker::new(driver, app, settings, control);
    worker.start();
    while worker.turn()? {}
    Ok(worker.outcome())
}

impl<D: Driver> Worker<D> {
    /// A worker that has not begun.
    pub fn new(driver: D, app: Box<dyn Application>, mut settings: Settings, control: Arc<Control>) -> Worker<D> {
        let now = driver.now();
        let room = room_count(settings.connection_count_max);
        let stamp = Stamp::new(driver.wall_clock());
        let stats = settings.stats.clone();
        let log = Log::new(settings.access_log.take(), stats.clone());
        let request_ids = (log.is_on() || settings.shows_request_ids)
            .then(|| RequestIds::new(sys::random_number(), settings.shows_request_ids));
        Worker {
            mailbox: Arc::new(Mailbox::new(driver.waker())),
            slots: Slab::new(room),
            listeners: settings.listeners.iter().map(|_| Listener::default()).collect(),
            wheel: Wheel::new(now, room),
            is_ticking: false,
            trim_count: 0,
            yielded: VecDeque::new(),
            parked: VecDeque::new(),
            starved: VecDeque::new(),
            spares: Spares::default(),
            outbound: Outbound::new(),
            scratch: Scratch::default(),
            request_ids,
            stamp,
            stamp_until: now,
            wants_peer: app.reads_peer() || log.is_on() || !settings.limits.proxies.is_empty(),
            log,
            stats,
            is_crowded: false,
            drain: Drain::Serving,
            drain_idle: None,
            completion_count: 0,
            now,
            driver,
            app,
            settings,
            control,
        }
    }

    /// Arms the accept of every listener.
    pub fn start(&mut self) {
        for listener in 0..self.listeners.len() {
            self.accept(listener);
        }
    }

    /// One turn. Answers whether there is to be another.
    ///
    /// # Errors
    /// What made the driver unusable.
    pub fn turn(&mut self) -> std::io::Result<bool> {
        self.turn_once(!self.has_work())
    }

    /// Whether a turn has something to do that needs no news from the driver.
    fn has_work(&self) -> bool {
        let is_hasty = self.drain.is_hasty() && !self.is_accept_paused();
        !self.yielded.is_empty() || !self.starved.is_empty() || is_hasty
    }

    fn turn_once(&mut self, is_waiting: bool) -> std::io::Result<bool> {
        let yielded_count = self.yielded.len();
        self.completion_count = self.reap(is_waiting)?;
        if self.mailbox.is_hosted() && self.mailbox.has_replies() {
            self.on_woken();
        }
        self.drain.note_turn(self.completion_count);
        for _ in 0..yielded_count {
            if let Some(key) = self.yielded.pop_front() {
                self.resume(key);
            }
        }
        self.feed_starved();
        self.expire();
        self.end_tally();
        self.outbound.rest(self.driver.pool());
        self.log.flush();
        let goes_on = self.advance_drain();
        self.set_tick();
        Ok(goes_on)
    }

    /// Acts on what the driver has completed and answers how much that was. An application's lock is let go of
    /// for the wait, which costs it dear under load: so a busy worker first looks without waiting.
    fn reap(&mut self, is_waiting: bool) -> std::io::Result<usize> {
        if !is_waiting || !self.app.holds_lock() {
            self.driver.turn(is_waiting)?;
            return Ok(self.complete_all());
        }
        if self.completion_count >= BUSY_TURN_COUNT_MIN {
            self.driver.turn(false)?;
            let completion_count = self.complete_all();
            if completion_count > 0 {
                return Ok(completion_count);
            }
        }
        let Worker { app, driver, .. } = self;
        let mut turned = None;
        // An application that panics over its lock, or never waits, does not end or spin the worker.
        let_go(guarded(|| app.let_wait(&mut || turned = Some(driver.turn(true)))));
        turned.unwrap_or_else(|| driver.turn(true))?;
        Ok(self.complete_all())
    }

    fn complete_all(&mut self) -> usize {
        self.now = self.driver.now();
        self.restamp();
        let mut completion_count = 0;
        while let Some(completion) = self.driver.completion() {
            completion_count += 1;
            self.complete(completion);
        }
        completion_count
    }

    /// How it ended; asked when [`Worker::turn`] has answered `false`.
    pub fn outcome(&self) -> Outcome {
        Outcome { cut_count: self.drain.cut_count() }
    }

    /// Open connections.
    pub fn connection_count(&self) -> usize {
        self.slots.count()
    }

    /// Open connections by what they are about, in the order of [`State::ALL`], for a test that holds the numbers
    /// against them.
    pub fn count_states(&mut self) -> [u64; State::ALL.len()] {
        let mut counts = [0; State::ALL.len()];
        let keys: Vec<_> = self.slots.keys().collect();
        for key in keys {
            if let Some(slot) = self.slots.get_mut(key) {
                counts[slot.state_now() as usize] += 1;
            }
        }
        counts
    }

    /// The driver, for a test that looks at both sides.
    pub fn driver_mut(&mut self) -> &mut D {
        &mut self.driver
    }

    fn complete(&mut self, completion: Completion) {
        match completion {
            Completion::Accepted { listener, result, more } => self.on_accepted(listener, result, more),
            Completion::Received { key, result, more } => self.on_received(key, result, more),
            Completion::Filled { key, buffer, result } => self.on_filled(key, buffer, result),
            Completion::Sent { key, outgoing, result } => self.on_sent(key, outgoing, result),
            Completion::Stored { key, file, bytes, result } => self.on_stored(key, file, bytes, result),
            Completion::Tick => {
                self.settings.reserve.restore();
                self.cancel_ending_accepts();
                self.trim();
            }
            Completion::Woken => self.on_woken(),
        }
    }

    /// Counts what the requests of this turn took.
    fn end_tally(&mut self) {
        if self.log.tally.has_answered() {
            let rest = self.driver.now() - self.now;
            self.log.tally.end_turn(rest);
        }
    }

    /// Gives back what a rush has made and nothing needs any more. The allocator is asked once, when it has been
    /// quiet for a while: that costs more than a request.
    fn trim(&mut self) {
        self.driver.pool().trim();
        if self.trim_count > 0 {
            self.trim_count -= 1;
            self.slots.trim();
            if self.trim_count == 0 {
                sys::memory::collect();
            }
        }
    }

    /// Fetches what other threads have left.
    fn on_woken(&mut self) {
        for reply in self.mailbox.take() {
            let key = reply.key;
            if let Some(slot) = self.slots.get_mut(key) {
                if slot.connection.answer(reply) {
                    self.pump(key);
                }
            } else {
                let_go(reply);
            }
        }
    }

    /// Calls a connection that had yielded.
    fn resume(&mut self, key: Key) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.is_yielded = false;
            self.pump(key);
        }
    }

    /// Lets a connection do what it can, unless a send or a store of it is in flight: the bytes are not ours
    /// meanwhile.
    fn pump(&mut self, key: Key) {
        self.act(key, Connection::advance);
    }

    fn act(&mut self, key: Key, act: Act) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if slot.is_sending || slot.is_storing || slot.is_closing {
            return self.stand_by(key);
        }
        let outlet = slot.socket.as_ref().and_then(|socket| self.driver.outlet(socket));
        let pool = self.driver.pool();
        assert!(self.outbound.is_empty(), "what one connection says goes to no other");
        self.outbound.prepare(pool);
        let mut host = Host {
            app: &*self.app,
            limits: &self.settings.limits,
            pool,
            stamp: &self.stamp,
            origin: &self.settings.listeners[slot.listener as usize],
            scratch: &mut self.scratch,
            request_ids: self.request_ids.as_mut(),
            spares: &mut self.spares,
            mailbox: &self.mailbox,
            outlet,
            witness: &mut self.log,
            drain_idle: self.drain_idle,
            is_crowded: self.is_crowded,
        };
        let next = act(&mut slot.connection, &mut slot.inbound, &mut self.outbound, &mut host, self.now);
        self.follow(key, next);
    }

    /// Sends what the connection has written, and sees to what it needs next.
    fn follow(&mut self, key: Key, next: Next) {
        let slot = self.slots.get_mut(key).expect("a connection that has just acted is there");
        let socket = slot.socket.as_ref().expect("a connection that acts has its socket");
        if !self.outbound.is_empty() {
            slot.is_sending = true;
            slot.patience.begin(self.now);
            self.driver.send(key, socket, self.outbound.take(), next != Next::Receive);
        }
        match next {
            // What nearly every request ends with: its answer is on its way, and another one may come.
            Next::Receive if slot.receive == Receive::Armed && slot.inbound.is_empty() => {}
            // A peer that makes us wait with a block in hand, when all that may be held are, is let go: those
            // whose requests come in one piece hold none, and are served.
            Next::Receive | Next::Fill if slot.inbound.block_count() > 0 && self.driver.pool().is_exhausted() => {
                self.act(key, Connection::overload);
            }
            Next::Receive => self.receive(key),
            Next::Fill => self.fill(key),
            Next::Store if slot.is_sending => self.hold_back(key),
            Next::Store => self.store(key),
            Next::Answer => self.watch(key),
            Next::Send => self.hold_back(key),
            Next::Yield => {
                if !slot.is_sending && !slot.is_yielded {
                    slot.is_yielded = true;
                    self.yielded.push_back(key);
                }
                self.hold_back(key);
            }
            Next::Finish => {
                self.driver.shutdown(socket);
                slot.connection.linger(&self.settings.limits, self.now);
                self.receive(key);
            }
            // The end of the receive is on its way with the last bytes, so that nothing is left to be awaited behind them.
            Next::Leave if slot.is_sending && slot.receive == Receive::Armed => {
                slot.receive = Receive::Ending;
                self.driver.cancel_receive(key, socket);
            }
            Next::Leave | Next::Close if slot.is_sending => {}
            Next::Leave => {
                self.driver.shutdown(socket);
                self.close(key);
            }
            Next::Close => self.close(key),
        }
        self.settle(key);
    }

    /// Notes what the connection is about now, and how long it may be.
    fn settle(&mut self, key: Key) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.note_state(&self.stats);
            if let Some(deadline) = slot.deadline(&self.settings.limits) {
                self.wheel.set(key.slot, deadline);
            }
        }
    }

    fn set_deadline(&mut self, key: Key) {
        if let Some(slot) = self.slots.get_mut(key)
            && let Some(deadline) = slot.deadline(&self.settings.limits)
        {
            self.wheel.set(key.slot, deadline);
        }
    }

    /// Shortens the wait of the idle connections that are meant.
    fn hurry(&mut self, deadline: Moment, is_meant: fn(&Connection) -> bool) {
        let keys: Vec<_> = self.slots.keys().collect();
        for key in keys {
            if let Some(slot) = self.slots.get_mut(key)
                && is_meant(&slot.connection)
            {
                slot.connection.hurry(deadline, self.now);
                self.set_deadline(key);
            }
        }
    }

    /// Looks at every connection whose deadline may have passed.
    fn expire(&mut self) {
        while let Some(index) = self.wheel.due(self.now) {
            let Some(key) = self.slots.key_of(index) else { continue };
            let Some(slot) = self.slots.get_mut(key) else { continue };
            match slot.deadline(&self.settings.limits) {
                None => {}
                Some(deadline) if deadline > self.now => self.wheel.set(index, deadline),
                Some(_) if slot.is_closing => self.close(key),
                Some(_) if slot.is_sending => self.look_at_send(key),
                Some(_) => self.act(key, Connection::expire),
            }
        }
    }

    fn set_tick(&mut self) {
        let is_accept_timed = self.is_accept_paused() || self.is_accept_ending();
        let has_memory = self.trim_count > 0 || self.driver.pool().has_surplus();
        let is_owing = has_memory || self.log.owes_line();
        let is_needed = !self.wheel.is_empty() || is_accept_timed || self.drain.is_draining() || is_owing;
        if is_needed != self.is_ticking {
            self.is_ticking = is_needed;
            self.driver.tick(is_needed);
        }
    }

    /// Renders the Date line when the calendar's second has changed.
    fn restamp(&mut self) {
        if self.now >= self.stamp_until {
            let wall_clock = self.driver.wall_clock();
            let past = wall_clock.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            self.stamp = Stamp::new(wall_clock);
            self.stamp_until = self.now + (Duration::from_secs(1) - Duration::from_nanos(past.subsec_nanos().into()));
            self.log.set_time(wall_clock);
        }
    }
}

/// How many ticks memory is looked after once the last connection has come or gone.
const TRIM_COUNT: u32 = 10;
/// Completions of a turn from which on the next is likely to find some without waiting.
const BUSY_TURN_COUNT_MIN: usize = 4;
