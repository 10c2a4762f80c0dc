//! The states in which a request arrives: head and body.
//!
//! A request that lies in one block is served from where it lies. Otherwise its head stays at the front of
//! the inbound and its body is gathered in an [`Exchange`]; when it is complete the head is parsed once
//! more, which is cheaper than keeping what was parsed. No I/O.

use std::mem::MaybeUninit;
use std::num::NonZeroU64;

use crate::buffer::BLOCK_SIZE;
use crate::environ::Input;
use crate::http::chunked::{self, Chunked};
use crate::http::error::Error;
use crate::http::framing::Framing;
use crate::http::head::{FIELD_COUNT_MAX, Field, Found, Head, Scan};
use crate::inbound::Inbound;
use crate::outbound::Outbound;
use crate::timer::{Moment, Pace};

use super::exchange::{Exchange, Progress};
use super::intake::CONTINUE;
use super::respond::{Admitted, Asker};
use super::{Connection, Host, Limits, Next, Phase, Step};

/// What became of a request whose head is complete.
enum Served {
    /// It was served or refused; so many bytes were it.
    Whole(usize),
    /// Its head is wrong after all. Whether its method is HEAD.
    Wrong(Error, bool),
    /// Its body is awaited.
    Body { found: Found, framing: Framing, expects_continue: bool, number: Option<NonZeroU64> },
}

impl Connection {
    /// Looks for a head and, once it is there, serves the request or awaits its body.
    pub(super) fn advance_head(
        &mut self,
        inbound: &mut Inbound,
        outbound: &mut Outbound,
        host: &mut Host<'_>,
        now: Moment,
    ) -> Step {
        if inbound.is_empty() && !inbound.is_finished() {
            return Step::Until(Next::Receive);
        }
        if self.scan.has_begun() {
            return self.advance_scan(inbound, outbound, host, now);
        }
        let mut slots = [const { MaybeUninit::<Field<'_>>::uninit() }; FIELD_COUNT_MAX];
        let head = Head::parse_front(inbound.front(), fields_in(&mut slots, host.limits), &host.limits.head);
        let Some(head) = &head else { return self.advance_scan(inbound, outbound, host, now) };
        self.began = now;
        let found = Found { start: 0, end: head.raw.len() };
        let served = self.serve_head(head, found, inbound.front(), outbound, host, now);
        self.take_request(served, inbound, outbound, host, now)
    }

    /// Looks on for the end of a head that is not complete and right at the first look. Not inlined, so that what most
    /// heads need stays short.
    #[inline(never)]
    fn advance_scan(
        &mut self,
        inbound: &mut Inbound,
        outbound: &mut Outbound,
        host: &mut Host<'_>,
        now: Moment,
    ) -> Step {
        let had_begun = self.scan.has_begun();
        let found = match self.scan.advance(inbound.front(), &host.limits.head) {
            Ok(Some(found)) => found,
            Ok(None) => return self.await_head(had_begun, inbound, host, now),
            Err(error) => {
                let line = inbound.front().get(self.scan.start()..).unwrap_or_default();
                return self.refuse(error, asks_for_head(line), outbound, host);
            }
        };
        self.scan = Scan::default();
        if !had_begun {
            self.began = now;
        }
        let mut slots = [const { MaybeUninit::<Field<'_>>::uninit() }; FIELD_COUNT_MAX];
        let Some(bytes) = inbound.front().get(found.start..found.end) else { return self.close_silently() };
        match Head::parse(bytes, fields_in(&mut slots, host.limits)) {
            Ok(head) => {
                let served = self.serve_head(&head, found, inbound.front(), outbound, host, now);
                self.take_request(served, inbound, outbound, host, now)
            }
            Err(error) => self.refuse(error, asks_for_head(bytes), outbound, host),
        }
    }

    /// Serves the request of a complete head whose body, if it has one, is complete in `front` as well. Answers what is to
    /// become of its bytes. Inlined, because nearly every head comes by the short way.
    #[inline(always)]
    fn serve_head(
        &mut self,
        head: &Head<'_>,
        found: Found,
        front: &[u8],
        outbound: &mut Outbound,
        host: &mut Host<'_>,
        now: Moment,
    ) -> Served {
        let sent = self.sender(head, &host.limits.proxies);
        let sender = match &sent {
            Ok(sender) => sender,
            Err(error) => return Served::Wrong(*error, head.method == b"HEAD"),
        };
        let (number, is_streamed) = match self.admit(head, sender, outbound, host, now) {
            Admitted::Yes(number, is_streamed) => (number, is_streamed),
            Admitted::Refused => return Served::Whole(found.end),
        };
        let framing = head.facts.framing;
        let body_size = match framing {
            Framing::None => 0,
            Framing::Length(size) => usize::try_from(size).unwrap_or(usize::MAX),
            Framing::Chunked => usize::MAX,
        };
        let body_end = found.end.saturating_add(body_size);
        let asker = Asker { sender, number };
        let Some(body) = front.get(found.end..body_end) else {
            if is_streamed {
                self.call_streamed(head, asker, outbound, host, now);
                return Served::Whole(found.end);
            }
            return Served::Body { found, framing, expects_continue: head.facts.expect_continue, number };
        };
        self.call(head, asker, Input::new(body), outbound, host, now);
        Served::Whole(body_end)
    }

    /// Takes the bytes of a request that was served, or what is to be kept of one whose body is awaited.
    #[inline(always)]
    fn take_request(
        &mut self,
        served: Served,
        inbound: &mut Inbound,
        outbound: &mut Outbound,
        host: &mut Host<'_>,
        now: Moment,
    ) -> Step {
        match served {
            Served::Whole(size) => {
                self.is_bulky = false;
                inbound.consume(size, host.pool);
                Step::Again
            }
            Served::Wrong(error, is_head) => self.refuse(error, is_head, outbound, host),
            Served::Body { found, framing, expects_continue, number } => {
                inbound.consume(found.start, host.pool);
                let head_size = found.end - found.start;
                let step = self.await_body(head_size, framing, expects_continue, inbound, outbound, host, now);
                if let Some(exchange) = &mut self.exchange {
                    exchange.request_number = number;
                }
                step
            }
        }
    }

    /// The head is not complete: joins it with the next block, or awaits more of it.
    fn await_head(&mut self, had_begun: bool, inbound: &mut Inbound, host: &mut Host<'_>, now: Moment) -> Step {
        if self.scan.has_begun() && !had_begun {
            self.began = now;
            self.deadline = (now + host.limits.head_timeout).into();
        }
        // Ignored empty lines make room for the head behind them, which may be in the next block.
        let ignored_size = self.scan.take_ignored();
        let is_next_in_front = ignored_size > 0 && ignored_size == inbound.front().len();
        inbound.consume(ignored_size, host.pool);
        if inbound.join(host.pool) || (is_next_in_front && !inbound.is_empty()) {
            return Step::Again;
        }
        if inbound.is_finished() {
            return self.close_silently();
        }
        Step::Until(Next::Receive)
    }

    /// Starts to gather a body that has not arrived completely.
    #[allow(clippy::too_many_arguments)]
    fn await_body(
        &mut self,
        head_size: usize,
        framing: Framing,
        expects_continue: bool,
        inbound: &mut Inbound,
        outbound: &mut Outbound,
        host: &mut Host<'_>,
        now: Moment,
    ) -> Step {
        // What would not fit is refused before it is sent; a chunked body is counted as it comes.
        if let Framing::Length(size) = framing
            && !host.spares.has_room(size.min(host.limits.body_memory), host.limits.bodies_max)
        {
            return self.refuse(Error::Bodies, asks_for_head(inbound.front()), outbound, host);
        }
        let mut exchange = host.spares.take();
        exchange.head_size = head_size;
        exchange.pace = Pace::new(now);
        exchange.progress = match framing {
            Framing::Length(size) => {
                exchange.reserve(size, host.limits);
                // The second of its kind, as to change over costs more than it saves the first.
                let is_bulk = size >= BULK_SIZE_MIN;
                exchange.is_filling = is_bulk && self.is_bulky;
                self.is_bulky = is_bulk;
                Progress::Length(size)
            }
            Framing::Chunked => {
                self.is_bulky = false;
                Progress::Chunked(Chunked::default())
            }
            Framing::None => unreachable!("a request without a body has it complete"),
        };
        self.exchange = Some(exchange);
        self.phase = Phase::Body;
        self.note_body(0, host.limits, now);
        // A peer that has begun to send does not wait for leave (RFC 9110 §10.1.1).
        let has_begun = inbound.front().len() > head_size || !inbound.next().is_empty();
        if expects_continue && !has_begun {
            outbound.put(CONTINUE);
        }
        Step::Again
    }

    /// Gathers what has arrived of the body, and serves the request when it is complete.
    pub(super) fn advance_body(
        &mut self,
        inbound: &mut Inbound,
        outbound: &mut Outbound,
        host: &mut Host<'_>,
        now: Moment,
    ) -> Step {
        let Some(exchange) = &mut self.exchange else { return self.close_silently() };
        let former_size = exchange.size();
        let gathered = gather(exchange, inbound, host);
        let size = exchange.size() - former_size;
        let counted = host.spares.count(exchange, host.limits.bodies_max);
        if size > 0 {
            self.note_body(size, host.limits, now);
        }
        match counted.and(gathered) {
            Ok(_) if self.has_part(host) => Step::Until(Next::Store),
            Ok(true) => self.serve_gathered(inbound, outbound, host, now),
            // The peer has gone in the middle of its request: nobody is left to be told.
            Ok(false) if inbound.is_finished() => self.close_silently(),
            Ok(false) if self.exchange.as_ref().is_some_and(|exchange| exchange.is_large()) => Step::Until(Next::Fill),
            Ok(false) => Step::Until(Next::Receive),
            Err(error) => {
                self.release(host.spares);
                self.refuse(error, asks_for_head(inbound.front()), outbound, host)
            }
        }
    }

    /// Reads away the body that was refused, or what of a streamed one nobody has read, so that the next request is found
    /// behind it.
    pub(super) fn advance_skip(
        &mut self,
        inbound: &mut Inbound,
        outbound: &mut Outbound,
        host: &mut Host<'_>,
        now: Moment,
    ) -> Step {
        if self.exchange.is_some() {
            return self.skip_input(inbound, outbound, host, now);
        }
        if self.skip_size == 0 {
            self.end_request(true, host, now);
            return Step::Again;
        }
        let size = usize::try_from(self.skip_size).unwrap_or(usize::MAX).min(inbound.front().len());
        inbound.consume(size, host.pool);
        self.skip_size -= size as u64;
        match size {
            0 if inbound.is_finished() => self.close_silently(),
            0 => Step::Until(Next::Receive),
            _ => Step::Again,
        }
    }

    fn serve_gathered(
        &mut self,
        inbound: &mut Inbound,
        outbound: &mut Outbound,
        host: &mut Host<'_>,
        now: Moment,
    ) -> Step {
        let Some(exchange) = self.exchange.take() else { return self.close_silently() };
        let mut slots = [const { MaybeUninit::<Field<'_>>::uninit() }; FIELD_COUNT_MAX];
        let Some(bytes) = inbound.front().get(..exchange.head_size) else { return self.close_silently() };
        let spool = exchange.spool();
        let input = spool.as_ref().map_or_else(|| Input::gathered(&exchange.body), Input::spooled);
        let head = Head::parse(bytes, fields_in(&mut slots, host.limits));
        let sent = head.and_then(|head| Ok((self.sender(&head, &host.limits.proxies)?, head)));
        match sent {
            Ok((sender, head)) => {
                let asker = Asker { sender: &sender, number: exchange.request_number };
                self.call(&head, asker, input, outbound, host, now);
            }
            Err(error) => {
                host.spares.give(exchange);
                return self.refuse(error, asks_for_head(bytes), outbound, host);
            }
        }
        inbound.consume(exchange.head_size, host.pool);
        host.spares.give(exchange);
        Step::Again
    }
}

/// Bytes of a body from which on a connection that has more of them receives each into its own memory: two blocks.
const BULK_SIZE_MIN: u64 = 2 * BLOCK_SIZE as u64;

/// As many slots as a head may have fields.
fn fields_in<'s, T>(slots: &'s mut [T], limits: &Limits) -> &'s mut [T] {
    let count = limits.head.field_count_max.min(slots.len());
    &mut slots[..count]
}

/// Whether what is wrong is wrong about a HEAD request, whose answer has no body. `line` is its request line, as
/// far as it is there; what is wrong about it is never told before its method is.
pub(super) fn asks_for_head(line: &[u8]) -> bool {
    line.starts_with(b"HEAD ")
}

/// Moves what has arrived of the body to the exchange. Answers whether the body is complete.
fn gather(exchange: &mut Exchange, inbound: &mut Inbound, host: &mut Host<'_>) -> Result<bool, Error> {
    let Exchange { head_size, progress, is_complete, body, .. } = exchange;
    let body = body.memory();
    *is_complete |= matches!(progress, Progress::Length(0));
    while !*is_complete {
        let behind_head = inbound.front().get(*head_size..).unwrap_or_default();
        let is_in_front = !behind_head.is_empty();
        let bytes = if is_in_front { behind_head } else { inbound.next() };
        if bytes.is_empty() {
            return Ok(false);
        }
        let (consumed, has_ended) = match progress {
            Progress::Length(missing) => {
                let size = usize::try_from(*missing).unwrap_or(usize::MAX).min(bytes.len());
                body.extend_from_slice(&bytes[..size]);
                *missing -= size as u64;
                (size, *missing == 0)
            }
            Progress::Chunked(decoder) => gather_chunks(decoder, bytes, body, &host.limits.body)?,
        };
        if is_in_front {
            inbound.consume_behind(*head_size, consumed);
        } else {
            inbound.consume_next(consumed, host.pool);
        }
        *is_complete = has_ended;
    }
    Ok(true)
}

/// Decodes every chunk in `bytes`. Answers how many bytes were consumed and whether the body has ended.
fn gather_chunks(
    decoder: &mut Chunked,
    bytes: &[u8],
    body: &mut Vec<u8>,
    limits: &chunked::ChunkedLimits,
) -> Result<(usize, bool), Error> {
    let mut total = 0;
    while let Some(rest) = bytes.get(total..).filter(|rest| !rest.is_empty()) {
        match decoder.next(rest, limits)? {
            chunked::Step::Data { consumed, data } => {
                body.extend_from_slice(data);
                total += consumed;
            }
            chunked::Step::More { consumed } => total += consumed,
            chunked::Step::End { consumed } => return Ok((total + consumed, true)),
        }
    }
    Ok((total, false))
}
