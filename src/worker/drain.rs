//! The end of a worker: nothing accepted is lost, and it does not take forever.
//!
//! 1. The kernel is told to take no newcomers, so that nobody is lost between the last accept and the close; whose
//!    handshake has begun has a tick to come to the queue. (Not on a listener that others hold: there the queue outlives
//!    the worker. A supervisor tells the kernel itself.)
//! 2. The accepts stay armed until a turn has brought no new connection, and so little else that none can have
//!    been left behind: the listen queue is empty. Then they are cancelled and the listeners are closed. The
//!    limit of connections does not hold meanwhile, and half of the graceful timeout is the most it takes, so
//!    that peers who keep coming do not keep the worker.
//! 3. Every response from now on is its connection's last. A connection between two requests gets a moment
//!    in which a request that is already on its way is served; then it is closed.
//! 4. What still runs at the graceful timeout is cut, and counted.
//!
//! A worker that retires, because a successor shares its listeners, begins with the third step, and leaves the queue.

use std::time::Duration;

use crate::connection::Connection;
use crate::driver::Driver;
use crate::stats::Limit;
use crate::timer::{Moment, TICK};

use super::Worker;
use super::accept::Accept;
use super::control::Word;

/// How far a drain has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drain {
    Serving,
    /// Newcomers are refused; those who were about to be queued still come.
    Refusing {
        until: Moment,
        /// When all of them have.
        queued_at: Moment,
    },
    /// The listen queue is being emptied.
    Accepting {
        until: Moment,
        /// Whether this turn leaves open if the queue is empty.
        is_busy: bool,
    },
    /// What runs is being finished.
    Finishing {
        until: Moment,
    },
    /// What is in flight is being awaited, then the worker ends.
    Cutting {
        cut_count: usize,
    },
}

impl Drain {
    pub(super) fn is_draining(self) -> bool {
        self != Drain::Serving
    }

    /// Whether the next turn must not wait, because its emptiness is what is to be learned.
    pub(super) fn is_hasty(self) -> bool {
        matches!(self, Drain::Accepting { .. })
    }

    /// A connection has come, or an accept was armed that may find one: this turn proves no emptiness.
    pub(super) fn note_busy(&mut self) {
        if let Drain::Accepting { is_busy, .. } = self {
            *is_busy = true;
        }
    }

    /// A kernel hands out a bounded share of what is ready: behind a full one a connection may still wait.
    pub(super) fn note_turn(&mut self, completion_count: usize) {
        if let Drain::Accepting { is_busy, .. } = self {
            *is_busy |= completion_count >= FULL_TURN_COUNT_MIN;
        }
    }

    /// Whether connections are no longer wanted, not even those that come with the last completions.
    pub(super) fn is_cutting(self) -> bool {
        matches!(self, Drain::Cutting { .. })
    }

    /// Whether an accept that has ended is armed again.
    pub(super) fn wants_accept(self) -> bool {
        matches!(self, Drain::Serving | Drain::Refusing { .. } | Drain::Accepting { .. })
    }

    /// Whether there is time for a connection that was queued when the accept was cancelled.
    pub(super) fn may_take(self, now: Moment, graceful_timeout: Duration) -> bool {
        matches!(self, Drain::Finishing { until } if now + graceful_timeout / 2 < until)
    }

    pub(super) fn cut_count(self) -> usize {
        match self {
            Drain::Cutting { cut_count } => cut_count,
            Drain::Serving | Drain::Refusing { .. } | Drain::Accepting { .. } | Drain::Finishing { .. } => 0,
        }
    }
}

impl<D: Driver> Worker<D> {
    /// Called at the end of each turn. Answers whether there is to be another.
    pub(super) fn advance_drain(&mut self) -> bool {
        let word = self.control.word();
        self.resume_accept();
        match self.drain {
            Drain::Serving => match word {
                Word::Serve => {}
                Word::Retire => self.retire(),
                Word::Drain => self.begin_drain(),
                Word::Stop => self.cut(),
            },
            Drain::Refusing { .. } | Drain::Accepting { .. } | Drain::Finishing { .. } if word == Word::Stop => {
                self.cut()
            }
            Drain::Refusing { until, queued_at } => {
                if queued_at <= self.now {
                    self.drain = Drain::Accepting { until, is_busy: true };
                }
            }
            Drain::Accepting { is_busy, until } => {
                let has_time = self.now + self.settings.graceful_timeout / 2 < until;
                if has_time && (is_busy || self.is_accept_paused()) {
                    self.drain = Drain::Accepting { until, is_busy: false };
                } else {
                    self.drain = Drain::Finishing { until };
                    self.stop_accepting();
                }
            }
            Drain::Finishing { until } => {
                self.close_listeners();
                if word == Word::Drain && self.drain_idle > Some(IDLE_TICK_COUNT * TICK) {
                    // It had retired, and now somebody waits for it.
                    self.let_idle(IDLE_TICK_COUNT * TICK);
                }
                if until <= self.now {
                    self.cut();
                } else if self.slots.count() == 0 && self.are_listeners_closed() {
                    self.drain = Drain::Cutting { cut_count: 0 };
                }
            }
            Drain::Cutting { .. } => self.close_listeners(),
        }
        !(matches!(self.drain, Drain::Cutting { .. }) && self.slots.count() == 0 && self.are_listeners_closed())
    }

    fn begin_drain(&mut self) {
        for (listener, is_own) in self.settings.own_listeners.iter().enumerate() {
            if *is_own {
                self.driver.refuse_newcomers(listener);
            }
        }
        let until = self.now + self.settings.graceful_timeout;
        self.drain = Drain::Refusing { until, queued_at: self.now + TICK.min(self.settings.graceful_timeout / 4) };
        // Peers that waited for a slot or a descriptor are taken now or never.
        for listener in 0..self.listeners.len() {
            match self.listeners[listener].state {
                Accept::Full | Accept::Failed(_) => self.accept(listener),
                Accept::Off | Accept::Armed | Accept::Ending | Accept::Closed => {}
            }
        }
        self.let_idle(IDLE_TICK_COUNT * TICK);
    }

    /// The queue is a successor's. A connection between two requests gets longer than in a drain, for nobody waits for
    /// the end: most peers send another request meanwhile, and are told by its answer that it is the last.
    fn retire(&mut self) {
        let patience = self.settings.graceful_timeout;
        self.drain = Drain::Finishing { until: self.now + patience };
        self.stop_accepting();
        self.let_idle(RETIRED_IDLE_TIME.min(patience / 2));
    }

    fn let_idle(&mut self, time: Duration) {
        self.drain_idle = Some(time);
        self.hurry(self.now + time, Connection::is_idle);
    }

    fn stop_accepting(&mut self) {
        for listener in 0..self.listeners.len() {
            match self.listeners[listener].state {
                Accept::Armed => {
                    self.listeners[listener].state = Accept::Ending;
                    self.driver.cancel_accept(listener);
                }
                Accept::Full | Accept::Failed(_) => self.listeners[listener].state = Accept::Off,
                Accept::Off | Accept::Ending | Accept::Closed => {}
            }
        }
        self.close_listeners();
    }

    fn close_listeners(&mut self) {
        for listener in 0..self.listeners.len() {
            if matches!(self.listeners[listener].state, Accept::Off | Accept::Full | Accept::Failed(_)) {
                self.listeners[listener].state = Accept::Closed;
                self.driver.close_listener(listener);
            }
        }
    }

    fn are_listeners_closed(&self) -> bool {
        self.listeners.iter().all(|listener| listener.state == Accept::Closed)
    }

    /// Closes everything. Connections between two requests are not counted: nothing of theirs is lost.
    fn cut(&mut self) {
        self.stop_accepting();
        // Said first: a slot that becomes free must not be given to a parked connection any more.
        self.drain = Drain::Cutting { cut_count: 0 };
        let keys: Vec<_> = self.slots.keys().collect();
        let mut cut_count = 0;
        for key in keys {
            if let Some(slot) = self.slots.get_mut(key) {
                // One that is closing already, or only waits for its peer to close, is not cut by this.
                let is_served = slot.connection.is_idle() || slot.connection.is_lingering();
                if !slot.is_closing && (slot.is_sending || !is_served) {
                    cut_count += 1;
                    self.stats.note(Limit::Graceful);
                }
                self.close(key);
            }
        }
        self.drain = Drain::Cutting { cut_count };
        self.open_parked();
    }
}

/// From so many completions on a turn may have left others behind: io_uring runs 20 at least of what is
/// deferred, epoll reports 256 events.
const FULL_TURN_COUNT_MIN: usize = 16;
/// The same where a successor serves already.
const RETIRED_IDLE_TIME: Duration = Duration::from_secs(5);
/// How long an idle connection is kept for a request that may be on its way: at least this, in ticks.
const IDLE_TICK_COUNT: u32 = 2;
