//! The states in which a response is made: the application is called, its answer judged, its stream pulled.
//!
//! An application's fault or panic costs its request a 500 where the head is not yet published, and the
//! connection where it is. No I/O: what is to be said to the operator goes to the witness.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::app::{Admission, Application};
use crate::buffer::{Payload, let_go};
use crate::environ::{Environ, Input, Request, Sender};
use crate::http::error::Error;
use crate::http::framing::Framing;
use crate::http::head::{Head, Version};
use crate::http::status::Status;
use crate::http::target::Target;
use crate::outbound::Outbound;
use crate::response::answer::{Assembled, Mailbox};
use crate::response::fault::{Fault, one_line};
use crate::response::guard::guarded;
use crate::response::nudge::Nudge;
use crate::response::stream::{Pulled, Room};
use crate::response::writer::Direct;
use crate::response::{Delimiter, Draft, Responded, Rest, Stamp, StartResponse, Terms, Verdict};
use crate::stats::Limit;
use crate::timer::{Moment, MomentOrNone};

use super::exchange::{Exchange, Streaming};
use super::own_answers::{fail, options, plain};
use super::request_id::RequestId;
use super::witness::{Completed, Witness};
use super::{Connection, Host, Next, Phase, Step};

/// Who asks.
pub(super) struct Asker<'a> {
    pub(super) sender: &'a Sender<'a>,
    /// Of an id that was made for the request before.
    pub(super) number: Option<NonZeroU64>,
}

/// Whether a request may go on to its body.
pub(super) enum Admitted {
    /// An id that was made for it is to be made again of this number.
    Yes(Option<NonZeroU64>),
    /// The response is written: it is the last, or the body is read away before the next request.
    Refused,
}

impl Connection {
    /// Decides on the complete head: what the server refuses itself, and what the application does not want.
    pub(super) fn admit(
        &mut self,
        head: &Head<'_>,
        sender: &Sender<'_>,
        outbound: &mut Outbound,
        host: &mut Host<'_>,
        now: Moment,
    ) -> Admitted {
        let is_head = head.method == b"HEAD";
        if let Framing::Length(size) = head.facts.framing
            && size > host.limits.body.body_max
        {
            self.refuse(Error::BodyTooLarge, is_head, outbound, host);
            return Admitted::Refused;
        }
        if head.method == b"CONNECT" || head.method == b"TRACE" {
            self.refuse(Error::MethodNotImplemented, is_head, outbound, host);
            return Admitted::Refused;
        }
        if matches!(head.facts.framing, Framing::None) || head.target == Target::Asterisk {
            return Admitted::Yes(None);
        }
        let skip_size = skippable_size(head, host);
        let Host { app, origin, scratch, .. } = host;
        scratch.reset();
        let mut digits = itoa::Buffer::new();
        let request = Request {
            head,
            input: Input::new(&[]),
            content_length: match head.facts.framing {
                Framing::Length(size) => digits.format(size).as_bytes(),
                Framing::Chunked | Framing::None => b"",
            },
            sender,
            origin,
            scratch,
        };
        let mut number = None;
        let id = RequestId::of(&Environ::new(&request), host.request_ids.as_deref_mut(), &mut number);
        let overlay = id.overlay();
        let environ = Environ::overlaid(&request, overlay.as_ref());
        let status = match guarded(|| app.admit(&environ)) {
            Ok(Admission::Buffer) => return Admitted::Yes(number),
            Ok(Admission::Refuse(status)) => status,
            Err(fault) => {
                host.witness.fault(name_of(*app, &environ), &fault);
                Status::INTERNAL_SERVER_ERROR
            }
        };
        let mut draft = Draft::default();
        let terms = self.terms(head.version, is_head, skip_size.is_some(), id.shown(), host.stamp, host.mailbox);
        let responded = plain(StartResponse::new(outbound, &terms, &mut draft).start(status), status.reason_phrase());
        if let Ok(verdict) = responded.judge() {
            self.tell_completed(&environ, &id, &verdict, host.witness, now);
        }
        match skip_size {
            Some(size) => {
                self.skip_size = size;
                self.phase = Phase::Skip;
                self.deadline = (now + host.limits.linger_timeout).into();
            }
            None => {
                if matches!(head.facts.framing, Framing::Length(size) if size > host.limits.drain_max) {
                    host.witness.met(Limit::Drain);
                }
                self.close_after();
            }
        }
        Admitted::Refused
    }

    /// Calls the application for a complete request and acts on what it answers.
    pub(super) fn call(
        &mut self,
        head: &Head<'_>,
        asker: Asker<'_>,
        input: Input<'_>,
        outbound: &mut Outbound,
        host: &mut Host<'_>,
        now: Moment,
    ) {
        host.scratch.reset();
        let mut digits = itoa::Buffer::new();
        let content_length = match head.facts.framing {
            Framing::None => b"",
            Framing::Length(_) | Framing::Chunked => digits.format(input.size()).as_bytes(),
        };
        let Host { app, origin, scratch, .. } = host;
        let Asker { sender, mut number } = asker;
        let request = Request { head, input, content_length, sender, origin, scratch };
        let id = RequestId::of(&Environ::new(&request), host.request_ids.as_deref_mut(), &mut number);
        let overlay = id.overlay();
        let environ = Environ::overlaid(&request, overlay.as_ref());
        let keep_alive = head.facts.keep_alive && host.drain_idle.is_none();
        self.is_done = !head.facts.keep_alive;
        let is_head = head.method == b"HEAD";
        let mut terms = self.terms(head.version, is_head, keep_alive, id.shown(), host.stamp, host.mailbox);
        let left_size = AtomicU64::new(0);
        if let Some(outlet) = host.outlet {
            terms.direct = Direct::Socket { outlet, patience: host.limits.write_idle, left_size: &left_size };
        }
        let mark = outbound.size();
        let mut draft = Draft::default();
        let result = guarded(|| {
            let _responded = ask(*app, head.target, &environ, StartResponse::new(outbound, &terms, &mut draft));
        });
        let left_size = left_size.load(Ordering::Relaxed);
        if left_size > 0 {
            host.witness.left(left_size);
        }
        let verdict = match result.and_then(|()| draft.judge(outbound, head.version, is_head)) {
            Ok(verdict) => verdict,
            Err(fault) => {
                host.witness.fault(name_of(*app, &environ), &fault);
                if left_size > 0 {
                    self.phase = Phase::Broken;
                    return;
                }
                outbound.truncate(mark);
                let_go(std::mem::take(&mut draft));
                fail(StartResponse::new(outbound, &terms, &mut draft))
            }
        };
        self.is_done &= matches!(verdict.rest, Rest::Nothing) && outbound.is_small();
        match verdict.rest {
            Rest::Nothing => {
                self.tell_completed(&environ, &id, &verdict, host.witness, now);
                self.end_request(verdict.keep_alive, host, now);
            }
            Rest::Stream(..) | Rest::Answer(_) => {
                let mut exchange = host.spares.take();
                exchange.name.push_str(name_of(*app, &environ));
                exchange.request_id.extend_from_slice(id.shown());
                exchange.is_head = is_head;
                exchange.is_http10 = head.version == Version::Http10;
                exchange.keep_alive = keep_alive;
                exchange.kept = host.witness.wants_completed().then(|| Completed::of(&environ, &id).keep());
                self.await_rest(exchange, verdict, host.mailbox);
            }
        }
    }

    /// Tells the log of a request whose response is whole.
    fn tell_completed(
        &self,
        environ: &Environ<'_>,
        id: &RequestId<'_>,
        verdict: &Verdict,
        witness: &mut dyn Witness,
        now: Moment,
    ) {
        let Verdict { status, body_size, .. } = *verdict;
        let duration = now - self.began;
        witness.answered(status, duration);
        if witness.wants_completed() {
            let completed = Completed::of(environ, id);
            witness.completed(&Completed { status, body_size, duration, ..completed });
        }
    }

    /// Acts on a pending answer, if it has come.
    pub(super) fn advance_pending(&mut self, outbound: &mut Outbound, host: &mut Host<'_>, now: Moment) -> Step {
        let Some(exchange) = &mut self.exchange else { return self.close_silently() };
        let Some(reply) = exchange.reply.take() else { return Step::Until(Next::Answer) };
        let version = if exchange.is_http10 { Version::Http10 } else { Version::Http11 };
        let is_head = exchange.is_head;
        let judged = reply.and_then(|assembled| {
            let Assembled { outbound: mut written, mut draft } = assembled;
            let verdict = draft.judge(&mut written, version, is_head)?;
            match verdict.rest {
                Rest::Answer(_) => Err(Fault::AnswerPending),
                Rest::Nothing | Rest::Stream(..) => {
                    outbound.append(written);
                    Ok(verdict)
                }
            }
        });
        let verdict = judged.unwrap_or_else(|fault| {
            host.witness.fault(&exchange.name, &fault);
            let Host { stamp, mailbox, .. } = host;
            let (key, keep_alive, request_id) = (self.key, exchange.keep_alive, &exchange.request_id[..]);
            let direct = Direct::Nowhere;
            let terms = Terms { version, is_head, keep_alive, stamp, mailbox, key, request_id, direct };
            fail(StartResponse::new(outbound, &terms, &mut Draft::default()))
        });
        let Some(exchange) = self.exchange.take() else { return self.close_silently() };
        match verdict.rest {
            Rest::Nothing | Rest::Answer(_) => {
                let Verdict { status, body_size, keep_alive, .. } = verdict;
                host.witness.answered(status, now - self.began);
                if let Some(kept) = &exchange.kept {
                    host.witness.completed(&kept.completed(status, body_size, now - self.began));
                }
                host.spares.give(exchange);
                self.end_request(keep_alive, host, now);
            }
            Rest::Stream(..) => self.await_rest(exchange, verdict, host.mailbox),
        }
        Step::Again
    }

    /// Pulls the stream once and hands over what it gave: PEP 3333 wants each block on its way before the
    /// next one is asked for.
    pub(super) fn advance_stream(&mut self, outbound: &mut Outbound, host: &mut Host<'_>, now: Moment) -> Step {
        if !outbound.is_empty() {
            return Step::Until(Next::Send);
        }
        outbound.prepare(host.pool);
        let Some(exchange) = &mut self.exchange else { return self.close_silently() };
        let Some(streaming) = &mut exchange.stream else { return self.close_silently() };
        let pulled = guarded(|| streaming.pull(outbound)).and_then(|pulled| pulled);
        let end = match pulled {
            Ok(Flow::More) => return Step::Again,
            Ok(Flow::Starved) => return Step::Until(Next::Yield),
            Ok(Flow::Pending) => return Step::Until(Next::Answer),
            Ok(Flow::End) => None,
            Ok(Flow::Cut) => Some(Fault::StreamLong),
            Err(fault) => {
                host.witness.fault(&exchange.name, &fault);
                self.release(host.spares);
                return self.close_silently();
            }
        };
        if let Some(fault) = end {
            host.witness.fault(&exchange.name, &fault);
        }
        let Streaming { status, keep_alive, body_size, .. } = *streaming;
        host.witness.answered(status, now - self.began);
        if let Some(kept) = &exchange.kept {
            host.witness.completed(&kept.completed(status, body_size, now - self.began));
        }
        self.release(host.spares);
        self.end_request(keep_alive, host, now);
        Step::Again
    }

    fn terms<'r>(
        &self,
        version: Version,
        is_head: bool,
        keep_alive: bool,
        request_id: &'r [u8],
        stamp: &'r Stamp,
        mailbox: &'r Arc<Mailbox>,
    ) -> Terms<'r> {
        let (key, direct) = (self.key, Direct::Nowhere);
        Terms { version, is_head, keep_alive, stamp, mailbox, key, request_id, direct }
    }

    fn await_rest(&mut self, mut exchange: Box<Exchange>, verdict: Verdict, mailbox: &Arc<Mailbox>) {
        self.deadline = MomentOrNone::NONE;
        self.phase = Phase::Pending;
        let Verdict { status, keep_alive, body_size, .. } = verdict;
        match verdict.rest {
            Rest::Stream(stream, delimiter) => {
                let nudge = Nudge::connection(mailbox, self.key);
                let (owes_line_end, is_ended) = (false, false);
                let streaming =
                    Streaming { stream, delimiter, status, keep_alive, body_size, nudge, owes_line_end, is_ended };
                exchange.stream = Some(streaming);
                self.phase = Phase::Stream;
            }
            Rest::Answer(ticket) => exchange.ticket = ticket,
            Rest::Nothing => {}
        }
        self.exchange = Some(exchange);
    }

    /// A peer that was told that the connection stays may send another request at once, so it stays, if only for a moment
    /// where the server drains: the answer to that one is the last, and says so.
    pub(super) fn end_request(&mut self, keep_alive: bool, host: &Host<'_>, now: Moment) {
        if keep_alive {
            let keepalive = host.limits.keepalive(host.is_crowded);
            self.phase = Phase::Head;
            self.deadline = (now + host.drain_idle.map_or(keepalive, |idle| keepalive.min(idle))).into();
            self.is_kept = true;
        } else {
            self.close_after();
        }
    }
}

/// The size of a refused body that is worth reading away to keep the connection: a small one that is on its
/// way. A peer that waits for a 100 may send it or not, and so leaves us to guess (RFC 9110 §10.1.1).
fn skippable_size(head: &Head<'_>, host: &Host<'_>) -> Option<u64> {
    let may_stay = head.facts.keep_alive && !head.facts.expect_continue && host.drain_idle.is_none();
    match head.facts.framing {
        Framing::Length(size) if may_stay && size <= host.limits.drain_max => Some(size),
        Framing::Length(_) | Framing::Chunked | Framing::None => None,
    }
}

/// How a pull went.
enum Flow {
    /// Bytes were written; more are to come.
    More,
    /// There was no byte at hand, or no room.
    Starved,
    /// There was no byte at hand, and a nudge will come.
    Pending,
    End,
    /// The stream had more than it declared.
    Cut,
}

impl Streaming {
    /// Pulls once, writes the bytes with their framing, and ends the body if the stream has.
    fn pull(&mut self, outbound: &mut Outbound) -> Result<Flow, Fault> {
        if std::mem::take(&mut self.owes_line_end) {
            outbound.put(b"\r\n");
        }
        if self.is_ended {
            outbound.put(b"0\r\n\r\n");
            return Ok(Flow::End);
        }
        let prefix_size = if self.delimiter == Delimiter::Chunked { CHUNK_PREFIX_SIZE } else { 0 };
        let spare = outbound.spare();
        // The end of the chunk, and what may follow it, need room behind the bytes.
        let end = spare.len().saturating_sub(CHUNK_SUFFIX_SIZE_MAX);
        let Some(bytes) = spare.get_mut(prefix_size..end).filter(|bytes| !bytes.is_empty()) else {
            return Ok(Flow::Starved);
        };
        let mut room = Room::with_nudge(bytes, &self.nudge);
        let pulled = self.stream.pull(&mut room).map_err(|error| Fault::StreamFailed(one_line(&error.to_string())))?;
        let (size, lent) = (room.size(), room.take_lent());
        match &mut self.delimiter {
            Delimiter::Length(missing) => {
                let given = size as u64 + lent.size();
                let body_size = given.min(*missing);
                *missing -= body_size;
                let missing = *missing;
                let kept_size = usize::try_from(body_size).unwrap_or(usize::MAX).min(size);
                outbound.advance(kept_size);
                outbound.set_payload(lent.cut(body_size - kept_size as u64));
                self.body_size += body_size;
                match flow(pulled, given) {
                    // What there was is sent all the same.
                    Flow::End if missing > 0 => Err(Fault::StreamShort { missing }),
                    _ if given > body_size => Ok(Flow::Cut),
                    flow => Ok(flow),
                }
            }
            Delimiter::Chunked => Ok(self.pass_chunks(size, lent, pulled, outbound)),
            Delimiter::Close => {
                let given = size as u64 + lent.size();
                outbound.advance(size);
                outbound.set_payload(lent);
                self.body_size += given;
                Ok(flow(pulled, given))
            }
        }
    }

    /// Makes a chunk of the bytes that were put behind room for its size, and another of what was lent.
    fn pass_chunks(&mut self, size: usize, lent: Payload, pulled: Pulled, outbound: &mut Outbound) -> Flow {
        let given = size as u64 + lent.size();
        self.body_size += given;
        if size > 0 {
            write_chunk_prefix(&mut outbound.spare()[..CHUNK_PREFIX_SIZE], size);
            outbound.advance(CHUNK_PREFIX_SIZE + size);
            outbound.put(b"\r\n");
        }
        if lent.size() > 0 {
            outbound.put(format!("{:x}\r\n", lent.size()).as_bytes());
            outbound.set_payload(lent);
            // Nothing can be written behind a payload, so that its line's end and the last chunk come after the send.
            self.owes_line_end = true;
            self.is_ended = pulled == Pulled::End;
            return Flow::More;
        }
        if pulled == Pulled::End {
            outbound.put(b"0\r\n\r\n");
        }
        flow(pulled, given)
    }
}

fn flow(pulled: Pulled, given: u64) -> Flow {
    match pulled {
        Pulled::More if given == 0 => Flow::Starved,
        Pulled::Pending if given == 0 => Flow::Pending,
        Pulled::More | Pulled::Pending => Flow::More,
        Pulled::End => Flow::End,
    }
}

/// The application's name for the log; its own, unless asking for it panics.
fn name_of<'s>(app: &'s dyn Application, environ: &Environ<'_>) -> &'s str {
    guarded(|| app.name(environ)).unwrap_or("an application whose name panics")
}

/// Has the application answer, or what is asked of the server as a whole.
fn ask<'r>(
    app: &dyn Application,
    target: Target<'_>,
    environ: &Environ<'_>,
    start_response: StartResponse<'r>,
) -> Responded<'r> {
    match target {
        Target::Asterisk => options(start_response),
        Target::Origin { .. } | Target::Absolute { .. } | Target::Authority(_) => app.call(environ, start_response),
    }
}

fn write_chunk_prefix(prefix: &mut [u8], size: usize) {
    for (index, byte) in prefix.iter_mut().enumerate() {
        *byte = match index {
            0..4 => b"0123456789abcdef"[size >> (12 - 4 * index) & 15],
            4 => b'\r',
            _ => b'\n',
        };
    }
}

/// Four hexadecimal digits, enough for a block, and CRLF.
const CHUNK_PREFIX_SIZE: usize = 6;
/// CRLF, and the size of a payload, sixteen digits and CRLF; the last chunk is shorter.
const CHUNK_SUFFIX_SIZE_MAX: usize = 20;
