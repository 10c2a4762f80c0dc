//! The input of a request whose application was called before it has come: moved from the inbound to a window, from which
//! the application reads.
//!
//! Three things let it stand: a full window, an application that has not asked for what its peer waits for leave to send,
//! and one that wants nothing more. The peer's clocks stand with it. What nobody has read when the response is whole is read
//! away, or costs the connection. No I/O.

use crate::buffer::let_go;
use crate::environ::Input;
use crate::environ::input_stream::{InputError, InputStream, WINDOW_SIZE};
use crate::http::chunked::{self, Chunked};
use crate::http::error::Error;
use crate::http::framing::Framing;
use crate::http::head::Head;
use crate::inbound::Inbound;
use crate::outbound::Outbound;
use crate::stats::Limit;
use crate::timer::{Moment, MomentOrNone, Pace};

use super::exchange::{Exchange, Progress};
use super::limits::Limits;
use super::respond::Asker;
use super::{Connection, Host, Next, Phase, Step};

/// How the input stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intake {
    /// There is none, or all of it has come.
    Over,
    /// More bytes of the peer are wanted.
    Wanted,
    /// It is us who are slow.
    Stands,
}

/// Why the input ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Wrong(Error),
    /// The peer has finished in the middle of its request.
    Gone,
}

impl Connection {
    /// Calls the application for a request whose head is complete and whose body is not. What it has answered at once is
    /// the response to a body that nobody wants.
    #[cold]
    pub(super) fn call_streamed(
        &mut self,
        head: &Head<'_>,
        asker: Asker<'_>,
        outbound: &mut Outbound,
        host: &mut Host<'_>,
        now: Moment,
    ) {
        let stream = match self.begin_input(head, host, now) {
            Ok(stream) => stream,
            Err(error) => {
                self.refuse(error, head.method == b"HEAD", outbound, host);
                return;
            }
        };
        self.call(head, asker, Input::streamed(&stream), outbound, host, now);
        drop(stream);
        match self.phase {
            Phase::Pending | Phase::Stream => {}
            Phase::Broken => self.release(host.spares),
            phase => self.end_input(phase == Phase::Head, host, now),
        }
    }

    /// Makes a window for the body.
    ///
    /// # Errors
    /// Where that would be more than all bodies together may have.
    fn begin_input(&mut self, head: &Head<'_>, host: &mut Host<'_>, now: Moment) -> Result<InputStream, Error> {
        let (declared, progress) = match head.facts.framing {
            Framing::Length(size) => (Some(size), Progress::Length(size)),
            Framing::Chunked => (None, Progress::Chunked(Chunked::default())),
            Framing::None => unreachable!("a request without a body has it complete"),
        };
        let held_size = declared.unwrap_or(u64::MAX).min(WINDOW_SIZE as u64);
        if !host.spares.has_room(held_size, host.limits.bodies_max) {
            return Err(Error::Bodies);
        }
        let mut exchange = host.spares.take();
        host.spares.hold(&mut exchange, held_size);
        exchange.pace = Pace::new(now);
        exchange.progress = progress;
        exchange.expects_continue = head.facts.expect_continue;
        let alarm = exchange.arm(host.mailbox, self.key);
        let (feed, stream) = InputStream::window(declared, alarm.into());
        exchange.feed = Some(feed);
        self.exchange = Some(exchange);
        self.deadline = MomentOrNone::NONE;
        Ok(stream)
    }

    /// Moves what has come to the window, as far as that has room, and has the clocks run or stand.
    pub(super) fn take_in(
        &mut self,
        inbound: &mut Inbound,
        outbound: &mut Outbound,
        host: &mut Host<'_>,
        now: Moment,
    ) -> Result<Intake, Cut> {
        let may_continue = self.phase == Phase::Pending;
        let Some(exchange) = self.exchange.as_mut().filter(|exchange| exchange.has_input_left()) else {
            return Ok(Intake::Over);
        };
        let mut moved_size = 0;
        let intake = loop {
            let bytes = inbound.front();
            if bytes.is_empty() {
                let Some(intake) = exchange.await_bytes() else { continue };
                if intake == Intake::Wanted && std::mem::take(&mut exchange.expects_continue) && may_continue {
                    outbound.put(CONTINUE);
                }
                if intake == Intake::Wanted && inbound.is_finished() {
                    return Err(Cut::Gone);
                }
                break intake;
            }
            // A peer that has begun to send does not wait for leave (RFC 9110 §10.1.1).
            exchange.expects_continue = false;
            let Some(room) = exchange.input_room(host.limits) else { break Intake::Stands };
            let bytes = bytes.get(..room.min(bytes.len())).unwrap_or_default();
            let consumed = exchange.pass(bytes, &host.limits.body).map_err(Cut::Wrong)?;
            inbound.consume(consumed, host.pool);
            moved_size += consumed as u64;
            if exchange.is_complete {
                break Intake::Over;
            }
        };
        if self.phase != Phase::Skip {
            self.time_input(intake, moved_size, host.limits, now);
        }
        Ok(intake)
    }

    /// Has the clocks run while bytes are awaited, and stand otherwise.
    fn time_input(&mut self, intake: Intake, moved_size: u64, limits: &Limits, now: Moment) {
        let Some(exchange) = &mut self.exchange else { return };
        if intake != Intake::Wanted {
            exchange.has_stood = true;
            self.deadline = MomentOrNone::NONE;
            return;
        }
        if std::mem::take(&mut exchange.has_stood) {
            // What came before says nothing of how fast its peer is now.
            exchange.pace = Pace::new(now);
        }
        if moved_size > 0 || self.deadline == MomentOrNone::NONE {
            self.note_body(moved_size, limits, now);
        }
    }

    /// Whether a part of the request's body has still to come.
    pub(super) fn has_input_left(&self) -> bool {
        self.exchange.as_ref().is_some_and(|exchange| exchange.has_input_left())
    }

    /// The response is whole, and the body is not. The rest is read away where that is little.
    pub(super) fn end_input(&mut self, keep_alive: bool, host: &mut Host<'_>, now: Moment) {
        let Some(exchange) = &mut self.exchange else { return };
        let_go((exchange.awaited.take(), exchange.stream.take(), exchange.reply.take()));
        if let Some(feed) = &exchange.feed {
            feed.fail(InputError::Gone);
        }
        exchange.is_dropping = true;
        // What it has promised is not kept before the rest of its request has come.
        self.is_done = false;
        if keep_alive && exchange.may_stay(host.limits) {
            self.phase = Phase::Skip;
            self.deadline = (now + host.limits.linger_timeout).into();
        } else {
            if keep_alive && !exchange.expects_continue {
                host.witness.met(Limit::Drain);
            }
            self.release(host.spares);
            self.close_after();
        }
    }

    /// Reads away the rest of a streamed body.
    pub(super) fn skip_input(
        &mut self,
        inbound: &mut Inbound,
        outbound: &mut Outbound,
        host: &mut Host<'_>,
        now: Moment,
    ) -> Step {
        match self.take_in(inbound, outbound, host, now) {
            Ok(Intake::Wanted) => return Step::Until(Next::Receive),
            Ok(Intake::Over) => {
                self.release(host.spares);
                self.end_request(true, host, now);
            }
            // The response has been sent, and an immediate close could reset it away.
            Ok(Intake::Stands) | Err(Cut::Wrong(_)) => {
                host.witness.met(Limit::Drain);
                self.release(host.spares);
                self.close_after();
            }
            Err(Cut::Gone) => {
                self.release(host.spares);
                return self.close_silently();
            }
        }
        Step::Again
    }

    /// What is wrong with the input ends a request that has not been answered.
    pub(super) fn refuse_input(&mut self, cut: Cut, outbound: &mut Outbound, host: &mut Host<'_>) -> Step {
        let is_head = self.exchange.as_ref().is_some_and(|exchange| exchange.is_head);
        if let (Cut::Wrong(error), Some(exchange)) = (cut, &mut self.exchange) {
            exchange.fail_input(error);
        }
        self.release(host.spares);
        match cut {
            Cut::Wrong(error) => self.refuse(error, is_head, outbound, host),
            // Nobody is left to be told.
            Cut::Gone => self.close_silently(),
        }
    }

    /// What is wrong with the input is told to its reader, where the head of the response is gone; that response is the
    /// last. `None` where the stream may go on.
    pub(super) fn break_input(&mut self, cut: Cut, host: &mut Host<'_>) -> Option<Step> {
        let (Cut::Wrong(error), Some(exchange)) = (cut, &mut self.exchange) else {
            self.release(host.spares);
            return Some(self.close_silently());
        };
        exchange.fail_input(error);
        if let Some(streaming) = &mut exchange.stream {
            streaming.keep_alive = false;
        }
        if let Some(limit) = error.limit() {
            host.witness.met(limit);
        }
        self.deadline = MomentOrNone::NONE;
        None
    }
}

impl Exchange {
    fn has_input_left(&self) -> bool {
        self.feed.is_some() && !self.is_complete
    }

    /// Tells the reader, and takes nothing in any more.
    fn fail_input(&mut self, error: Error) {
        if let Some(feed) = self.feed.take() {
            feed.fail(InputError::Refused(error));
        }
    }

    /// Nothing has come: whether that is for us or for the peer. `None` where that has just changed.
    fn await_bytes(&self) -> Option<Intake> {
        let Some(feed) = &self.feed else { return Some(Intake::Over) };
        if self.expects_continue && !feed.is_asked() {
            return feed.wait(true).then_some(Intake::Stands);
        }
        if !self.is_dropping && feed.room() == 0 {
            return feed.wait(false).then_some(Intake::Stands);
        }
        Some(Intake::Wanted)
    }

    /// Whether the peer waits for leave to send, and who answers has asked for bytes in the same breath and reads on. Asked
    /// once: from then on it does not wait.
    pub(super) fn owes_leave(&mut self) -> bool {
        let is_wanted = self.feed.as_ref().is_some_and(|feed| feed.is_asked() && !feed.is_reader_gone());
        is_wanted && std::mem::take(&mut self.expects_continue)
    }

    /// Bytes that may be taken in now, at least one; `None` where the input stands. What nobody wants is dropped, up to what
    /// is worth it.
    fn input_room(&mut self, limits: &Limits) -> Option<usize> {
        let feed = self.feed.as_ref()?;
        self.is_dropping |= feed.is_reader_gone();
        if self.is_dropping {
            let left = limits.drain_max.saturating_sub(self.dropped_size);
            return usize::try_from(left).ok().filter(|room| *room > 0);
        }
        loop {
            match feed.room() {
                0 if feed.wait(false) => return None,
                0 => {}
                room => return Some(room),
            }
        }
    }

    /// Hands bytes of the body over, and notes its end. Answers how many bytes were consumed.
    fn pass(&mut self, bytes: &[u8], limits: &chunked::ChunkedLimits) -> Result<usize, Error> {
        let Exchange { feed, progress, is_complete, is_dropping, dropped_size, .. } = self;
        let mut give = |data: &[u8]| match feed {
            Some(feed) if !*is_dropping => feed.push(data),
            Some(_) | None => *dropped_size += data.len() as u64,
        };
        let mut consumed_size = 0;
        match progress {
            Progress::Length(missing) => {
                consumed_size = usize::try_from(*missing).unwrap_or(usize::MAX).min(bytes.len());
                give(&bytes[..consumed_size]);
                *missing -= consumed_size as u64;
                *is_complete = *missing == 0;
            }
            Progress::Chunked(decoder) => {
                while let Some(rest) = bytes.get(consumed_size..).filter(|rest| !rest.is_empty() && !*is_complete) {
                    let (consumed, has_ended) = match decoder.next(rest, limits)? {
                        chunked::Step::Data { consumed, data } => {
                            give(data);
                            (consumed, false)
                        }
                        chunked::Step::More { consumed } => (consumed, false),
                        chunked::Step::End { consumed } => (consumed, true),
                    };
                    consumed_size += consumed;
                    *is_complete = has_ended;
                }
            }
        }
        if let Some(feed) = feed.as_ref().filter(|_| *is_complete) {
            feed.finish();
        }
        Ok(consumed_size)
    }

    /// Whether the connection may stay behind the response, as far as is known of the rest of the body: not where nobody
    /// wants it and it is large, or where the peer has not been told whether to send it.
    pub(super) fn may_stay(&self, limits: &Limits) -> bool {
        let is_wanted = !self.is_dropping && self.feed.as_ref().is_some_and(|feed| !feed.is_reader_gone());
        if !self.has_input_left() || is_wanted {
            return true;
        }
        let left = limits.drain_max.saturating_sub(self.dropped_size);
        let is_little = match self.progress {
            Progress::Length(missing) => missing <= left,
            Progress::Chunked(_) => left > 0,
        };
        is_little && !self.expects_continue
    }
}

/// What gives a peer leave to send its body (RFC 9110 §10.1.1).
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
