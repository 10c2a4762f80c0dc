//! New connections: accepted while there is room, paused without spinning while there is none.

use std::time::Duration;

use crate::connection::Connection;
use crate::driver::{Driver, Socket};
use crate::inbound::Inbound;
use crate::stats::{Limit, State};
use crate::sys::Errno;
use crate::timer::{Moment, MomentOrNone};

use super::patience::Patience;
use super::slot::{Receive, Slot};
use super::{TRIM_COUNT, Worker};

/// A listener's accept.
#[derive(Default)]
pub(super) struct Listener {
    pub(super) state: Accept,
    /// Errors in a row; each doubles the pause behind it.
    pub(super) error_count: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Accept {
    /// Not armed, and not to be.
    #[default]
    Off,
    Armed,
    /// Cancelled: the last completion is awaited.
    Ending,
    /// Not armed, because every slot is taken.
    Full,
    /// Not armed, because of an error, until this moment.
    Failed(Moment),
    /// Closed for good.
    Closed,
}

impl<D: Driver> Worker<D> {
    pub(super) fn accept(&mut self, listener: usize) {
        self.listeners[listener].state = Accept::Armed;
        // Only a turn shows whether somebody is queued.
        self.drain.note_busy();
        self.driver.accept(listener);
    }

    pub(super) fn on_accepted(&mut self, listener: usize, result: Result<Socket, Errno>, more: bool) {
        match result {
            Ok(socket) => {
                self.listeners[listener].error_count = 0;
                self.drain.note_busy();
                if self.is_full() && !self.drain.is_draining() {
                    // A multishot accept takes more of the queue before its cancellation comes through.
                    self.parked.push_back((listener, socket));
                } else {
                    self.open(listener, socket);
                }
                if !more {
                    self.after_accept(listener);
                }
            }
            // The peer was gone before it was accepted; the next one is none the worse for it. (EAGAIN is not of
            // these: a listener that another process has made non-blocking would answer it again at once.)
            Err(Errno(libc::ECONNABORTED | libc::EINTR | libc::EPROTO)) if !more => {
                self.after_accept(listener);
            }
            Err(Errno(libc::ECANCELED)) if !more => self.after_cancelled_accept(listener),
            Err(errno) if !more => self.after_failed_accept(listener, errno),
            Err(_) => {}
        }
        if self.is_full() && !self.drain.is_draining() && self.listeners[listener].state == Accept::Armed {
            self.listeners[listener].state = Accept::Ending;
            self.stats.note(Limit::Connections);
            self.driver.cancel_accept(listener);
        }
    }

    /// Whether every slot that there may be is taken.
    fn is_full(&self) -> bool {
        self.slots.count() >= self.settings.connection_count_max
    }

    /// Opens connections that were accepted while every slot was taken: those for which there is room, or all
    /// of them when the worker drains.
    pub(super) fn open_parked(&mut self) {
        while !self.is_full() || self.drain.is_draining() {
            let Some((listener, socket)) = self.parked.pop_front() else { return };
            self.open(listener, socket);
        }
    }

    fn open(&mut self, listener: usize, socket: Socket) {
        if self.drain.is_cutting() {
            // It was accepted before the cancellation came through; nobody would cut it any more.
            return self.driver.close(socket);
        }
        let (limits, now) = (&self.settings.limits, self.now);
        let key = self.slots.insert(|key| Slot {
            socket: Some(socket),
            connection: Connection::new(key, limits, now),
            inbound: Inbound::new(),
            receive: Receive::Off,
            is_sending: false,
            is_storing: false,
            is_closing: false,
            is_yielded: false,
            state: State::Idle,
            listener: u16::try_from(listener).expect("listeners are few"),
            patience: Patience::new(now),
            close_again_at: MomentOrNone::NONE,
        });
        self.stats.opened();
        self.trim_count = TRIM_COUNT;
        self.receive(key);
        self.set_deadline(key);
        self.note_opened();
    }

    /// Above four fifths of the connections that there may be, those between two requests have little time left.
    fn note_opened(&mut self) {
        let max = self.settings.connection_count_max;
        if !self.is_crowded && self.slots.count().saturating_mul(5) > max.saturating_mul(4) {
            self.is_crowded = true;
            self.hurry(self.now + self.settings.limits.keepalive(true), Connection::is_resting);
        }
    }

    /// A connection has gone: there may be room again, and a descriptor. It is a crowd until a quarter is free.
    pub(super) fn note_closed(&mut self) {
        let max = self.settings.connection_count_max;
        if self.slots.count().saturating_mul(4) <= max.saturating_mul(3) {
            self.is_crowded = false;
        }
        self.settings.reserve.restore();
        for listener in 0..self.listeners.len() {
            if let Accept::Failed(until) = &mut self.listeners[listener].state {
                *until = self.now;
            }
        }
        self.resume_accept();
    }

    /// An accept has ended of itself; what it is for decides whether it is armed again.
    fn after_accept(&mut self, listener: usize) {
        match self.listeners[listener].state {
            Accept::Armed => self.accept(listener),
            Accept::Ending => self.after_cancelled_accept(listener),
            Accept::Off | Accept::Full | Accept::Failed(_) | Accept::Closed => {
                unreachable!("an accept that is not armed does not end")
            }
        }
    }

    fn after_cancelled_accept(&mut self, listener: usize) {
        if self.drain.wants_accept() && self.drain.is_draining() {
            // Cancelled because the worker was full; who is queued is taken now or never.
            return self.accept(listener);
        }
        if self.drain.may_take(self.now, self.settings.graceful_timeout) && self.driver.has_queued(listener) {
            // Whether a successor was woken for it cannot be known. Cancelled at once, it takes what is there.
            self.accept(listener);
            self.listeners[listener].state = Accept::Ending;
            return self.driver.cancel_accept(listener);
        }
        self.listeners[listener].state = if self.drain.is_draining() { Accept::Off } else { Accept::Full };
        self.resume_accept();
    }

    /// Descriptors or memory are short, or it would not have waited. The listen queue keeps the peers meanwhile. A
    /// worker whose share of the descriptors others have taken still serves one peer at a time, by the descriptor
    /// held in reserve.
    fn after_failed_accept(&mut self, listener: usize, errno: Errno) {
        if self.listeners[listener].state == Accept::Ending {
            return self.after_cancelled_accept(listener);
        }
        if let Errno(libc::EMFILE | libc::ENFILE) = errno {
            self.stats.note(Limit::Descriptors);
            if self.slots.count() == 0 && self.settings.reserve.release() {
                return self.accept(listener);
            }
        }
        let entry = &mut self.listeners[listener];
        let pause = BACKOFF_MIN * 2u32.pow(entry.error_count.min(BACKOFF_DOUBLING_MAX));
        entry.error_count += 1;
        entry.state = Accept::Failed(self.now + pause);
    }

    /// Arms again what was paused, where the reason has gone: with hysteresis, so that a full server does not
    /// cancel and arm for each connection.
    pub(super) fn resume_accept(&mut self) {
        self.open_parked();
        if !self.drain.wants_accept() {
            return;
        }
        let max = self.settings.connection_count_max;
        let has_room = self.slots.count() < max - max / 8;
        for listener in 0..self.listeners.len() {
            match self.listeners[listener].state {
                Accept::Full if has_room => self.accept(listener),
                Accept::Failed(until) if until <= self.now => self.accept(listener),
                Accept::Full | Accept::Failed(_) | Accept::Off | Accept::Armed | Accept::Ending | Accept::Closed => {}
            }
        }
    }

    /// Cancels again what a cancellation may have missed. It may also be on its way; then this one finds nothing.
    pub(super) fn cancel_ending_accepts(&mut self) {
        for listener in 0..self.listeners.len() {
            if self.listeners[listener].state == Accept::Ending {
                self.driver.cancel_accept(listener);
            }
        }
    }

    /// Whether the end of a cancelled accept is awaited.
    pub(super) fn is_accept_ending(&self) -> bool {
        self.listeners.iter().any(|listener| listener.state == Accept::Ending)
    }

    /// Whether an accept waits for a tick.
    pub(super) fn is_accept_paused(&self) -> bool {
        self.listeners.iter().any(|listener| matches!(listener.state, Accept::Failed(_)))
    }
}

/// The pause behind a first error, and how often it doubles: up to 640 ms.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
const BACKOFF_DOUBLING_MAX: u32 = 6;
