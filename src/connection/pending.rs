//! The states in which an answer is awaited, and in which its body is pulled.
//!
//! What is awaited on the worker's own thread lies in the exchange: it is polled here, and dropping the exchange cancels
//! it. An answer from elsewhere comes by the mailbox. Meanwhile the input of the request goes on, where that is streamed.
//! No I/O.

use std::task::{Context, Poll, Waker};

use crate::buffer::let_go;
use crate::http::head::Version;
use crate::inbound::Inbound;
use crate::outbound::Outbound;
use crate::response::answer::Assembled;
use crate::response::awaited::{Awaited, give_up};
use crate::response::fault::Fault;
use crate::response::guard::guarded;
use crate::response::nudge::Nudge;
use crate::response::writer::Direct;
use crate::response::{Delimiter, Draft, Rest, StartResponse, Terms, Verdict};
use crate::timer::{Moment, MomentOrNone};

use super::exchange::{Exchange, Spares};
use super::intake::{CONTINUE, Intake};
use super::own_answers::fail;
use super::streaming::{Flow, Source, Streaming};
use super::{Connection, Host, Next, Phase, Step};

impl Connection {
    /// Polls who is awaited, or looks whether the pending answer has come, and acts on the response.
    pub(super) fn advance_pending(
        &mut self,
        inbound: &mut Inbound,
        outbound: &mut Outbound,
        host: &mut Host<'_>,
        now: Moment,
    ) -> Step {
        self.attend();
        if let Err(cut) = self.take_in(inbound, outbound, host, now) {
            return self.refuse_input(cut, outbound, host);
        }
        let Some(exchange) = &mut self.exchange else { return self.close_silently() };
        let version = if exchange.is_http10 { Version::Http10 } else { Version::Http11 };
        let (key, is_head) = (self.key, exchange.is_head);
        let polled = exchange.poll();
        if matches!(polled, Ok(Poll::Pending)) && exchange.reply.is_none() {
            return self.stand_by(inbound, outbound, host, now);
        }
        if matches!(polled, Ok(Poll::Ready(()))) && exchange.owes_leave() {
            outbound.put(CONTINUE);
        }
        let mark = outbound.size();
        let keep_alive = exchange.keep_alive && exchange.may_stay(host.limits);
        let Exchange { awaited, reply, request_id, name, .. } = &mut **exchange;
        let Host { stamp, mailbox, witness, .. } = host;
        let direct = Direct::Nowhere;
        let terms = Terms { version, is_head, keep_alive, stamp, mailbox, key, request_id, direct };
        let mut draft = Draft::default();
        let judged = polled.and_then(|_| match (awaited, reply.take()) {
            (Some(awaited), _) => written(awaited, outbound, &terms, &mut draft),
            (None, Some(reply)) => append(reply?, outbound, version, is_head),
            (None, None) => unreachable!("one of them is there"),
        });
        let verdict = judged.and_then(whole).unwrap_or_else(|fault| {
            witness.fault(name, &fault);
            outbound.truncate(mark);
            let_go(std::mem::take(&mut draft));
            fail(StartResponse::new(outbound, &terms, &mut draft), &fault)
        });
        let Some(exchange) = self.exchange.take() else { return self.close_silently() };
        if matches!(verdict.rest, Rest::Nothing) {
            let Verdict { status, body_size, keep_alive, .. } = verdict;
            host.witness.answered(status, now - self.began);
            if let Some(kept) = &exchange.kept {
                host.witness.completed(&kept.completed(status, body_size, now - self.began));
            }
            self.exchange = Some(exchange);
            self.end_exchange(keep_alive, host, now);
        } else {
            self.await_rest(exchange, verdict, host);
        }
        Step::Again
    }

    /// Goes on with who is awaited, where they have called while an earlier response is still on its way: they may hold
    /// what others wait for, and how fast their peer reads is its own affair. What becomes of it is written later.
    pub fn advance_awaited(&mut self) {
        let Some(exchange) = self.exchange.as_mut().filter(|_| self.phase == Phase::Pending) else { return };
        let Some(alarm) = exchange.alarm.clone().filter(|alarm| alarm.is_rung()) else { return };
        if exchange.awaited.is_none() || exchange.polled.is_some() {
            return;
        }
        alarm.attend();
        match exchange.poll() {
            Ok(Poll::Pending) if alarm.leave() => {}
            // It has called itself, and so the others come first.
            Ok(Poll::Pending) => alarm.nudge().nudge(),
            Ok(Poll::Ready(())) => exchange.polled = Some(Ok(())),
            Err(fault) => exchange.polled = Some(Err(fault)),
        }
    }

    /// Polls who is awaited for the first time, before anything is kept of the request: for who is ready and has all of the
    /// response nothing is.
    #[inline]
    pub(super) fn look(
        &mut self,
        verdict: Verdict,
        outbound: &mut Outbound,
        terms: &Terms<'_>,
        spares: &mut Spares,
        draft: &mut Draft,
    ) -> Result<Verdict, Fault> {
        let kept = match verdict.rest {
            // While a body comes it is fed first.
            Rest::Awaited(kept) if self.exchange.is_none() => kept,
            Rest::Awaited(_) | Rest::Nothing | Rest::Stream(..) | Rest::Pulled(_) | Rest::Answer(_) => {
                return Ok(verdict);
            }
        };
        let terms = &Terms { direct: Direct::Nowhere, ..*terms };
        let mut exchange = spares.take();
        exchange.arm(terms.mailbox, terms.key);
        exchange.awaited = kept.take();
        let looked = match (exchange.poll(), &mut exchange.awaited) {
            (Ok(Poll::Ready(())), Some(awaited)) => written(awaited, outbound, terms, draft).and_then(whole),
            (polled, _) => polled.map(|_| verdict),
        };
        match looked {
            Ok(Verdict { rest: Rest::Nothing, .. }) | Err(_) => spares.give_unused(exchange),
            // Polled once more as whoever waits is, by the same alarm, or pulled.
            Ok(_) => self.exchange = Some(exchange),
        }
        looked
    }

    /// Pulls the stream once and hands over what it gave: PEP 3333 wants each block on its way before the
    /// next one is asked for.
    pub(super) fn advance_stream(
        &mut self,
        inbound: &mut Inbound,
        outbound: &mut Outbound,
        host: &mut Host<'_>,
        now: Moment,
    ) -> Step {
        if !outbound.is_empty() {
            return Step::Until(Next::Send);
        }
        self.attend();
        if let Err(cut) = self.take_in(inbound, outbound, host, now)
            && let Some(step) = self.break_input(cut, host)
        {
            return step;
        }
        outbound.prepare(host.pool);
        let Some(exchange) = &mut self.exchange else { return self.close_silently() };
        let waker = exchange.waker();
        let Some(streaming) = &mut exchange.stream else { return self.close_silently() };
        let mut context = Context::from_waker(&waker);
        let pulled = guarded(|| streaming.pull(outbound, &mut context)).and_then(|pulled| pulled);
        let end = match pulled {
            Ok(Flow::More) => return Step::Again,
            Ok(Flow::Starved) => return Step::Until(Next::Yield),
            Ok(Flow::Pending) => return self.stand_by(inbound, outbound, host, now),
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
        self.ends_body = false;
        let Streaming { status, keep_alive, body_size, .. } = *streaming;
        host.witness.answered(status, now - self.began);
        if let Some(kept) = &exchange.kept {
            host.witness.completed(&kept.completed(status, body_size, now - self.began));
        }
        self.end_exchange(keep_alive, host, now);
        Step::Again
    }

    /// Keeps what is still to come of a response.
    pub(super) fn await_rest(&mut self, mut exchange: Box<Exchange>, verdict: Verdict, host: &mut Host<'_>) {
        if exchange.feed.is_none() {
            self.deadline = MomentOrNone::NONE;
        }
        self.phase = Phase::Pending;
        let Verdict { status, keep_alive, body_size, .. } = verdict;
        let (source, delimiter, nudge) = match verdict.rest {
            Rest::Stream(stream, delimiter) => {
                (Some(Source::Stream(stream)), delimiter, Nudge::connection(host.mailbox, self.key))
            }
            Rest::Pulled(delimiter) => {
                let nudge = exchange.arm(host.mailbox, self.key).nudge().clone();
                (exchange.awaited.take().map(Source::Awaited), delimiter, nudge)
            }
            Rest::Answer(ticket) => {
                exchange.ticket = ticket;
                self.exchange = Some(exchange);
                return;
            }
            Rest::Awaited(kept) => {
                exchange.arm(host.mailbox, self.key);
                exchange.awaited = exchange.awaited.take().or_else(|| kept.take());
                self.exchange = Some(exchange);
                return;
            }
            Rest::Nothing => unreachable!("there is something to come"),
        };
        let Some(source) = source else {
            host.witness.fault(&exchange.name, &Fault::PulledFromNobody);
            host.spares.give(exchange);
            self.phase = Phase::Broken;
            return;
        };
        self.ends_body = delimiter == Delimiter::Close;
        let takes_trailers = exchange.takes_trailers && delimiter == Delimiter::Chunked;
        exchange.stream = Some(Streaming {
            source,
            delimiter,
            status,
            keep_alive,
            body_size,
            nudge,
            takes_trailers,
            trailers: Vec::new(),
            owes_line_end: false,
            is_ended: false,
        });
        self.phase = Phase::Stream;
        self.exchange = Some(exchange);
    }

    /// A response is handed over completely, with what was kept for it.
    pub(super) fn end_exchange(&mut self, keep_alive: bool, host: &mut Host<'_>, now: Moment) {
        if !self.has_input_left() {
            self.release(host.spares);
            self.end_request(keep_alive, host, now);
        } else {
            self.end_input(keep_alive, host, now);
        }
    }

    /// Looks at everything from now on, so that nobody need call.
    fn attend(&self) {
        if let Some(alarm) = self.exchange.as_ref().and_then(|exchange| exchange.alarm.as_ref()) {
            alarm.attend();
        }
    }

    /// There is nothing at hand. Before the connection waits it takes in what the application has made room for, and looks
    /// whether it was called meanwhile.
    fn stand_by(&mut self, inbound: &mut Inbound, outbound: &mut Outbound, host: &mut Host<'_>, now: Moment) -> Step {
        let before = inbound.size();
        let intake = match self.take_in(inbound, outbound, host, now) {
            Ok(intake) => intake,
            // It is acted on at once: a second look at the same bytes would begin where the first has ended, within them.
            Err(cut) if self.phase == Phase::Pending => return self.refuse_input(cut, outbound, host),
            Err(cut) => return self.break_input(cut, host).unwrap_or(Step::Again),
        };
        let may_wait =
            self.exchange.as_ref().and_then(|exchange| exchange.alarm.as_ref()).is_none_or(|alarm| alarm.leave());
        if matches!(intake, Intake::Over) && self.is_given_up(inbound) {
            return self.close_silently();
        }
        match intake {
            _ if !may_wait && inbound.size() < before => Step::Again,
            // It has called itself, and so the others come first.
            _ if !may_wait => Step::Until(Next::Yield),
            Intake::Wanted => Step::Until(Next::Receive),
            Intake::Over | Intake::Stands => Step::Until(Next::Answer),
        }
    }

    /// Whether who is awaited would answer nobody: the peer has ended its stream behind its only request, before there is
    /// anything of the response. It may have ended its sending half alone (RFC 9293 §3.6), but whoever closes a tab does
    /// the same, and what is awaited can take for ever. hyper's servers go by that, too. Behind a head the next bytes find
    /// it out, and so it is not cut.
    fn is_given_up(&self, inbound: &Inbound) -> bool {
        let is_awaited = self.exchange.as_ref().is_some_and(|exchange| exchange.awaited.is_some());
        is_awaited && self.phase == Phase::Pending && inbound.is_finished() && inbound.is_empty()
    }
}

impl Exchange {
    /// Polls who is awaited. Where nobody is, it is an answer that comes by the mailbox.
    fn poll(&mut self) -> Result<Poll<()>, Fault> {
        if let Some(polled) = self.polled.take() {
            return polled.map(Poll::Ready);
        }
        let waker = self.waker();
        match &mut self.awaited {
            Some(awaited) => guarded(|| awaited.poll(&mut Context::from_waker(&waker))),
            None => Ok(Poll::Pending),
        }
    }

    /// What has the connection called again.
    fn waker(&self) -> Waker {
        self.alarm.clone().map_or_else(|| Waker::noop().clone(), Waker::from)
    }
}

/// Has who was awaited write the response.
fn written(
    awaited: &mut Box<dyn Awaited>,
    outbound: &mut Outbound,
    terms: &Terms<'_>,
    draft: &mut Draft,
) -> Result<Verdict, Fault> {
    guarded(|| {
        let _responded = awaited.respond(StartResponse::new(outbound, terms, draft));
    })?;
    draft.judge(outbound, terms.version, terms.is_head)
}

/// Appends an answer that was made elsewhere.
fn append(assembled: Assembled, outbound: &mut Outbound, version: Version, is_head: bool) -> Result<Verdict, Fault> {
    let Assembled { outbound: written, mut draft } = assembled;
    let judged = draft.judge(&written, version, is_head);
    match &judged {
        Ok(Verdict { rest: Rest::Nothing | Rest::Stream(..), .. }) => outbound.append(written),
        // What it holds of the application's may panic as it is dropped.
        Ok(_) | Err(_) => let_go(written),
    }
    judged
}

/// Refuses an answer that is itself to come later.
fn whole(verdict: Verdict) -> Result<Verdict, Fault> {
    give_up();
    match verdict.rest {
        Rest::Answer(_) | Rest::Awaited(_) => Err(Fault::AnswerPending),
        Rest::Nothing | Rest::Stream(..) | Rest::Pulled(_) => Ok(verdict),
    }
}
