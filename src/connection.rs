//! One HTTP/1.1 connection, sans-IO: bytes and time in, bytes and a decision out.
//!
//! [`Connection::advance`] consumes what the peer has sent, calls the application for each complete
//! request, and writes the responses in request order. It has no socket, no clock and no unsafe code; the
//! worker, the tests, the fuzzers and the benches all drive this same function.
//!
//! # The state table
//! ```text
//! Preface   a PROXY header is awaited, where peers speak it; only of a trusted one, else → Head at once
//! Head      a head is awaited       complete, no body or a body in the same block → the application is called
//!                                   complete, more body to come, to be gathered   → Body
//!                                   the same, to be streamed                      → the application is called
//!                                   wrong                                         → an error response, Last
//! Body      the body is awaited     complete → the application is called; wrong   → an error response, Last
//!                                   a part of a large one is stored first, as often as it takes
//! Pending   an answer is awaited    it came  → as if the application had returned it
//! Stream    a body is pulled        ended    → Head or Last; failed               → Broken
//!           In both, a request body that is streamed goes on to its window, as far as that has room.
//!           It is wrong, or stalls: Pending → an error response, Last; Stream → its reader is told, and the response is
//!           the last. The peer goes in the middle of it → Broken. The response is whole before it → Skip, or Last.
//! Skip      a refused body, or one that nobody has read, is read away          gone → Head; is large → Last
//!           after a response that keeps the connection → Head; after one that closes it → Last
//! Last      the last response is on its way; what else the peer sends is not looked at. Where it was the peer who
//!           asked for the end, and nothing has come behind, the connection is closed; else → Linger
//! Broken    a response cannot be completed; what was written is sent, then the connection is closed
//! Linger    half-closed; what still comes is read away, so that the peer can read the last response
//! ```

mod exchange;
mod expire;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod intake;
mod limits;
mod own_answers;
mod pending;
mod proxied;
mod request;
mod request_id;
mod respond;
mod streaming;
mod witness;

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use crate::app::Application;
use crate::buffer::{Pool, let_go};
use crate::driver::Key;
use crate::environ::{Origin, Scratch};
use crate::http::error::Error;
use crate::http::head::Scan;
use crate::inbound::Inbound;
use crate::outbound::Outbound;
use crate::response::Stamp;
use crate::response::answer::{Mailbox, Reply, Word};
use crate::stats::{Limit, State};
use crate::sys::{Outlet, Peer};
use crate::timer::{Moment, MomentOrNone};

pub use crate::response::guard::quiet_panics;
use exchange::Exchange;
pub use exchange::{Part, Spares};
pub use limits::Limits;
use proxied::Remote;
pub use request_id::RequestIds;
pub use witness::{Completed, Witness};

/// The state of one connection.
pub struct Connection {
    phase: Phase,
    scan: Scan,
    key: Key,
    remote: Remote,
    /// When the first byte of the request in service was seen.
    began: Moment,
    /// When the peer will have let the current wait run out. None while it is us who are slow.
    deadline: MomentOrNone,
    /// Since when it is us who are busy, with a send or a store, so that the peer's clocks stand.
    held_since: MomentOrNone,
    /// Whether a request has been served on it.
    is_kept: bool,
    /// Whether the peer has said that its request is the last, has sent nothing behind it, and gets a short response.
    is_done: bool,
    /// Whether the last request had a large body of a declared length.
    is_bulky: bool,
    /// Whether a response is under way whose end is the end of the connection.
    ends_body: bool,
    /// Bytes of a refused body that are still to be read away.
    skip_size: u64,
    /// What only some requests need: a body that came in pieces, a stream, a pending answer.
    exchange: Option<Box<Exchange>>,
}

/// What a worker lends to a connection for one call.
pub struct Host<'h> {
    /// The application.
    pub app: &'h dyn Application,
    /// Sizes and deadlines.
    pub limits: &'h Limits,
    /// Where blocks come from and go to.
    pub pool: &'h mut Pool,
    /// The server's own response lines.
    pub stamp: &'h Stamp,
    /// The listener's side of the environ.
    pub origin: &'h Origin,
    /// Where the environ assembles values.
    pub scratch: &'h mut Scratch,
    /// Where ids of requests are made; `None` where nobody wants one.
    pub request_ids: Option<&'h mut RequestIds>,
    /// Exchanges to be used again.
    pub spares: &'h mut Spares,
    /// Where late answers come in.
    pub mailbox: &'h Arc<Mailbox>,
    /// The connection's socket, for bytes that an application writes during its call.
    pub outlet: Option<Outlet>,
    /// Who is told about completed requests and faults.
    pub witness: &'h mut dyn Witness,
    /// How long a connection is kept idle, where the worker drains and every response is to be its connection's last.
    pub drain_idle: Option<Duration>,
    /// Whether most of the connections that there may be are open.
    pub is_crowded: bool,
}

/// What the connection needs before it can go on. Whatever it has written is to be sent in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// More bytes of the peer.
    Receive,
    /// Many more bytes of a body, best received into its own buffer: [`Connection::lend_body`], then
    /// [`Connection::take_body`].
    Fill,
    /// That a part of a large body is stored in its file: [`Connection::lend_part`], then
    /// [`Connection::take_part`] or [`Connection::lose_part`].
    Store,
    /// That what it has written is sent.
    Send,
    /// An [`Answer`](crate::response::answer::Answer), or the nudge of a stream that had nothing at hand.
    Answer,
    /// Another call, in the next turn: the others come first.
    Yield,
    /// The last response has been sent: half-close, then [`Connection::linger`].
    Finish,
    /// What it has written is its last word, and a short one, to a peer that has promised to send nothing more: once that
    /// is sent, half-close and close. The half-close comes first, so that a peer which breaks its promise finds the end
    /// of the response before a reset; a long response is lingered for, as its tail may not have left.
    Leave,
    /// To be closed, once what it has written is sent.
    Close,
}

/// What a worker has a connection do: [`Connection::advance`], or what ends it early, [`Connection::expire`],
/// [`Connection::overload`] and [`Connection::lose_part`].
pub type Act = fn(&mut Connection, &mut Inbound, &mut Outbound, &mut Host<'_>, Moment) -> Next;

/// The states, as in the table above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Preface,
    Head,
    Body,
    Pending,
    Stream,
    Skip,
    Last,
    Broken,
    Linger,
}

/// How one step of the state table ended.
enum Step {
    /// The state has changed, or a request was served; look again.
    Again,
    /// Nothing can be done before this.
    Until(Next),
}

impl Connection {
    /// A connection just accepted. The first byte is due within the head timeout.
    #[must_use]
    pub fn new(key: Key, limits: &Limits, now: Moment) -> Connection {
        Connection {
            phase: if limits.proxies.speak_proxy_protocol { Phase::Preface } else { Phase::Head },
            scan: Scan::default(),
            key,
            remote: Remote::Unasked,
            began: now,
            deadline: (now + limits.head_timeout).into(),
            held_since: MomentOrNone::NONE,
            is_kept: false,
            is_done: false,
            is_bulky: false,
            ends_body: false,
            skip_size: 0,
            exchange: None,
        }
    }

    /// Whether it knows who is at the other end.
    #[must_use]
    pub fn has_peer(&self) -> bool {
        !matches!(self.remote, Remote::Unasked)
    }

    /// Says who is at the other end.
    pub fn set_peer(&mut self, peer: Peer) {
        self.remote = Remote::Peer(peer);
    }

    /// Does whatever can be done now. It is called with nothing in flight but a receive; where it has written, a
    /// send follows, and the peer's clocks stand until the next call.
    pub fn advance(
        &mut self,
        inbound: &mut Inbound,
        outbound: &mut Outbound,
        host: &mut Host<'_>,
        now: Moment,
    ) -> Next {
        self.read_on(now);
        let next = self.step_on(inbound, outbound, host, now);
        if !outbound.is_empty() {
            self.hold(now);
        }
        next
    }

    /// Lets the peer's clocks run again after a send. Answers whether a head is awaited: while nothing has come, there
    /// is nothing for [`Connection::advance`] to do.
    pub fn wait_on(&mut self, now: Moment) -> bool {
        self.read_on(now);
        self.phase == Phase::Head
    }

    fn step_on(&mut self, inbound: &mut Inbound, outbound: &mut Outbound, host: &mut Host<'_>, now: Moment) -> Next {
        let mut step_count = 0;
        loop {
            if step_count == host.limits.turn_max {
                host.witness.met(Limit::Turn);
                return Next::Yield;
            }
            step_count += 1;
            let step = match self.phase {
                Phase::Head | Phase::Body | Phase::Pending | Phase::Stream | Phase::Skip if outbound.is_full() => {
                    Step::Until(Next::Send)
                }
                Phase::Preface => self.advance_preface(inbound, host),
                Phase::Head => self.advance_head(inbound, outbound, host, now),
                Phase::Body => self.advance_body(inbound, outbound, host, now),
                Phase::Pending => self.advance_pending(inbound, outbound, host, now),
                Phase::Stream => self.advance_stream(inbound, outbound, host, now),
                Phase::Skip => self.advance_skip(inbound, outbound, host, now),
                Phase::Last | Phase::Broken | Phase::Linger => {
                    self.is_done &= inbound.is_empty();
                    inbound.discard(host.pool);
                    Step::Until(self.end(inbound, outbound))
                }
            };
            match step {
                Step::Again => {}
                Step::Until(next) => return next,
            }
        }
    }

    /// Notes the half-close after [`Next::Finish`].
    pub fn linger(&mut self, limits: &Limits, now: Moment) {
        self.phase = Phase::Linger;
        self.deadline = (now + limits.linger_timeout).into();
    }

    /// Takes the completion of the pending answer, or the nudge of what is polled or pulled. Answers whether it was awaited; one
    /// that was not is dropped, and there is nothing to be done.
    pub fn answer(&mut self, reply: Reply) -> bool {
        let Reply { key: _, ticket, word } = reply;
        match (self.phase, &mut self.exchange, word) {
            (Phase::Pending, Some(exchange), Word::Answer(result)) if exchange.awaits(ticket) => {
                exchange.reply = Some(result);
                true
            }
            (Phase::Pending | Phase::Stream | Phase::Skip, Some(exchange), Word::Nudge) => exchange.is_called(ticket),
            (_, _, word) => {
                let_go(word);
                false
            }
        }
    }

    /// Whether a receive is best ended by its first block, as the head of a large body is in it, and the body behind
    /// is best received into its own memory.
    #[must_use]
    pub fn is_bulky(&self) -> bool {
        self.is_bulky
    }

    /// Lends the buffer of a large body to be received into, with the number of bytes that are missing.
    pub fn lend_body(&mut self) -> Option<(Vec<u8>, usize)> {
        self.exchange.as_mut().and_then(|exchange| exchange.lend_body())
    }

    /// Takes the buffer back, longer by `size` bytes.
    pub fn take_body(&mut self, buffer: Vec<u8>, size: usize, limits: &Limits, now: Moment) {
        if let Some(exchange) = &mut self.exchange {
            exchange.take_body(buffer, size);
            if size > 0 {
                self.note_body(size as u64, limits, now);
            }
        }
    }

    /// Lends the part of the body that is to be stored. The peer's clocks stand meanwhile.
    pub fn lend_part(&mut self, now: Moment) -> Option<Part> {
        self.hold(now);
        self.deadline = MomentOrNone::NONE;
        self.exchange.as_mut().map(|exchange| exchange.lend_part())
    }

    /// Takes the bytes of the part back, which are in `file` now.
    pub fn take_part(&mut self, file: Arc<File>, bytes: Vec<u8>, limits: &Limits, now: Moment) {
        self.read_on(now);
        if let Some(exchange) = &mut self.exchange {
            exchange.take_part(file, bytes);
            self.note_body(0, limits, now);
        }
    }

    /// Gives back what it holds, before it is dropped.
    pub fn release(&mut self, spares: &mut Spares) {
        if let Some(exchange) = self.exchange.take() {
            spares.give(exchange);
        }
    }

    /// When [`Connection::expire`] is to be called, unless something happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        self.deadline.get()
    }

    /// Whether no request is in service and nothing of a next one has been seen; so is a new connection, and one that
    /// has only said where it comes from.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        match self.phase {
            Phase::Preface => true,
            Phase::Head => !self.scan.has_begun(),
            Phase::Body
            | Phase::Pending
            | Phase::Stream
            | Phase::Skip
            | Phase::Last
            | Phase::Broken
            | Phase::Linger => false,
        }
    }

    /// What it is about, while nothing of it is being sent.
    #[must_use]
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Head if !self.scan.has_begun() => State::Idle,
            Phase::Preface | Phase::Head | Phase::Body | Phase::Skip => State::Reading,
            Phase::Pending | Phase::Stream => State::Waiting,
            Phase::Last | Phase::Broken | Phase::Linger => State::Closing,
        }
    }

    /// Whether it is idle between two requests, unlike a new one.
    #[must_use]
    pub fn is_resting(&self) -> bool {
        self.is_kept && self.is_idle()
    }

    /// Whether its end now would pass for that of its response, which is not whole: only a reset tells (RFC 9112 §8).
    #[must_use]
    pub fn would_mislead(&self) -> bool {
        self.ends_body
    }

    /// Whether it is half-closed behind its last response, so that a peer loses nothing by its end.
    #[must_use]
    pub fn is_lingering(&self) -> bool {
        self.phase == Phase::Linger
    }

    /// Shortens the wait of an idle connection: it ends at `deadline`, unless it would end before.
    pub fn hurry(&mut self, deadline: Moment, now: Moment) {
        if self.is_idle() {
            self.catch_up(now);
            let sooner = self.deadline.get().map_or(deadline, |earlier| earlier.min(deadline));
            self.deadline = sooner.into();
        }
    }

    fn has_part(&mut self, host: &mut Host<'_>) -> bool {
        self.exchange.as_mut().is_some_and(|exchange| exchange.has_part(host.limits))
    }

    /// Stops the peer's clocks.
    fn hold(&mut self, now: Moment) {
        if self.held_since == MomentOrNone::NONE {
            self.held_since = now.into();
        }
    }

    /// Lets the peer's clocks run again, as if no time had passed since they were stopped.
    fn read_on(&mut self, now: Moment) {
        if let Some(since) = self.held_since.take() {
            if let Some(deadline) = self.deadline.get() {
                self.deadline = (deadline + (now - since)).into();
            }
            if let Some(exchange) = &mut self.exchange {
                exchange.pace.pause(now - since);
            }
        }
    }

    /// Brings clocks that stand up to now, so that they can be set.
    fn catch_up(&mut self, now: Moment) {
        if self.held_since != MomentOrNone::NONE {
            self.read_on(now);
            self.hold(now);
        }
    }

    /// Counts bytes of a body, and says when the peer must have sent more.
    fn note_body(&mut self, size: u64, limits: &Limits, now: Moment) {
        self.catch_up(now);
        if let Some(exchange) = &mut self.exchange {
            exchange.pace.note(size, limits.rate_min, now);
            let idle = now + limits.body_idle;
            self.deadline = exchange.pace.deadline(limits.rate_min).map_or(idle, |slow| slow.min(idle)).into();
        }
    }

    fn end(&self, inbound: &Inbound, outbound: &Outbound) -> Next {
        // Whoever has promised to send nothing more needs no linger to read the last response (RFC 9112 §9.6).
        if self.phase == Phase::Last && self.is_done {
            return Next::Leave;
        }
        if !outbound.is_empty() {
            return Next::Send;
        }
        match self.phase {
            Phase::Last if !inbound.is_finished() => Next::Finish,
            Phase::Linger if !inbound.is_finished() => Next::Receive,
            Phase::Last | Phase::Linger | Phase::Broken => Next::Close,
            Phase::Preface | Phase::Head | Phase::Body | Phase::Pending | Phase::Stream | Phase::Skip => {
                unreachable!("it is at its end")
            }
        }
    }

    /// Writes the response to what is wrong, as the last one.
    fn refuse(&mut self, error: Error, is_head: bool, outbound: &mut Outbound, host: &mut Host<'_>) -> Step {
        own_answers::refuse(error, is_head, self.key, outbound, host);
        self.close_after();
        Step::Again
    }

    fn close_after(&mut self) {
        self.phase = Phase::Last;
        self.deadline = MomentOrNone::NONE;
    }

    fn close_silently(&mut self) -> Step {
        self.phase = Phase::Broken;
        Step::Again
    }
}
