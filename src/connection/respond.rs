//! A response is made: the application is asked about a body, and called, and its answer is judged.
//!
//! An application's fault or panic costs its request a 500 where the head is not yet published, and the
//! connection where it is. No I/O: what is to be said to the operator goes to the witness.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::app::{Admission, Application};
use crate::buffer::let_go;
use crate::environ::{Environ, Input, Request, Sender};
use crate::http::error::Error;
use crate::http::framing::Framing;
use crate::http::head::{Head, Version};
use crate::http::header;
use crate::http::status::Status;
use crate::http::target::Target;
use crate::outbound::Outbound;
use crate::response::answer::Mailbox;
use crate::response::awaited::give_up;
use crate::response::guard::guarded;
use crate::response::writer::Direct;
use crate::response::{Draft, Responded, Rest, Stamp, StartResponse, Terms, Verdict};
use crate::stats::Limit;
use crate::timer::Moment;

use super::exchange::Exchange;
use super::own_answers::{fail, options, plain};
use super::request_id::RequestId;
use super::witness::{Completed, Witness};
use super::{Connection, Host, Phase};

/// Who asks.
pub(super) struct Asker<'a> {
    pub(super) sender: &'a Sender<'a>,
    /// Of an id that was made for the request before.
    pub(super) number: Option<NonZeroU64>,
}

/// What is known of a request whose response is still to come.
struct Later<'a> {
    /// The application's.
    name: &'a str,
    /// The id that is shown.
    id: &'a [u8],
    is_head: bool,
    keep_alive: bool,
}

impl Later<'_> {
    /// Keeps it in an exchange: a new one, or that of a body which is streamed.
    #[cold]
    fn keep(&self, head: &Head<'_>, mut exchange: Box<Exchange>) -> Box<Exchange> {
        exchange.name.push_str(self.name);
        exchange.request_id.extend_from_slice(self.id);
        exchange.is_head = self.is_head;
        exchange.is_http10 = head.version == Version::Http10;
        exchange.keep_alive = self.keep_alive;
        exchange.takes_trailers = takes_trailers(head);
        exchange
    }
}

/// Whether a request may go on to its body.
pub(super) enum Admitted {
    /// An id that was made for it is to be made again of this number.
    /// And whether the application is called before the body has come.
    Yes(Option<NonZeroU64>, bool),
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
            return Admitted::Yes(None, false);
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
            Ok(Admission::Refuse(status)) => status,
            Ok(admission) => return Admitted::Yes(number, admission == Admission::Stream),
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
            Framing::Length(size) => digits.format(size).as_bytes(),
            Framing::Chunked if input.is_streamed() => b"",
            Framing::Chunked => digits.format(input.size()).as_bytes(),
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
            draft.judge(outbound, head.version, is_head)
        });
        let left_size = left_size.load(Ordering::Relaxed);
        if left_size > 0 {
            host.witness.left(left_size);
        }
        let verdict = match result.and_then(|judged| self.look(judged?, outbound, &terms, host.spares, &mut draft)) {
            Ok(verdict) => verdict,
            Err(fault) => {
                give_up();
                host.witness.fault(name_of(*app, &environ), &fault);
                let_go(std::mem::take(&mut draft));
                if left_size > 0 {
                    self.phase = Phase::Broken;
                    return;
                }
                outbound.truncate(mark);
                fail(StartResponse::new(outbound, &terms, &mut draft), &fault)
            }
        };
        self.is_done &= matches!(verdict.rest, Rest::Nothing) && outbound.is_small();
        match verdict.rest {
            Rest::Nothing => {
                self.tell_completed(&environ, &id, &verdict, host.witness, now);
                self.end_request(verdict.keep_alive, host, now);
            }
            Rest::Stream(..) | Rest::Answer(_) | Rest::Awaited(_) | Rest::Pulled(_) => {
                let exchange = self.exchange.take();
                let later = Later { name: name_of(*app, &environ), id: id.shown(), is_head, keep_alive };
                let mut exchange = later.keep(head, exchange.unwrap_or_else(|| host.spares.take()));
                exchange.kept = host.witness.wants_completed().then(|| Completed::of(&environ, &id).keep());
                self.await_rest(exchange, verdict, host);
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

/// The application's name for the log; its own, unless asking for it panics.
fn name_of<'s>(app: &'s dyn Application, environ: &Environ<'_>) -> &'s str {
    guarded(|| app.name(environ)).unwrap_or("an application whose name panics")
}

/// Whether the peer takes trailers behind a chunked body (RFC 9110 §10.1.4).
fn takes_trailers(head: &Head<'_>) -> bool {
    let mut codings = head.fields.iter().filter(|field| field.name.eq_ignore_ascii_case("te"));
    codings.any(|field| header::list(field.value).any(|coding| coding.eq_ignore_ascii_case(b"trailers")))
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
