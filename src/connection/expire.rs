//! How a connection is ended early: the peer has let a deadline pass, or the server is short of what it would need.
//! No clock: the worker says what time it is.

use crate::http::error::Error;
use crate::inbound::Inbound;
use crate::outbound::Outbound;
use crate::stats::Limit;
use crate::timer::{Moment, MomentOrNone};

use super::intake::Cut;
use super::request::asks_for_head;
use super::{Connection, Host, Limits, Next, Phase};

impl Connection {
    /// Ends a connection whose body could not be stored, with 503.
    pub fn lose_part(
        &mut self,
        inbound: &mut Inbound,
        outbound: &mut Outbound,
        host: &mut Host<'_>,
        now: Moment,
    ) -> Next {
        self.turn_away(Error::Spool, inbound, outbound, host);
        self.advance(inbound, outbound, host, now)
    }

    /// Ends a connection that holds what the server is short of, with 503.
    pub fn overload(
        &mut self,
        inbound: &mut Inbound,
        outbound: &mut Outbound,
        host: &mut Host<'_>,
        now: Moment,
    ) -> Next {
        self.turn_away(Error::Blocks, inbound, outbound, host);
        self.advance(inbound, outbound, host, now)
    }

    /// Acts on a deadline that has passed: 408 where a request has begun, else a silent close. Before the
    /// deadline it does nothing but [`Connection::advance`].
    pub fn expire(&mut self, inbound: &mut Inbound, outbound: &mut Outbound, host: &mut Host<'_>, now: Moment) -> Next {
        if self.deadline.get().is_some_and(|deadline| deadline <= now) {
            match self.phase {
                Phase::Head if self.scan.has_begun() => self.turn_away(Error::HeadTimeout, inbound, outbound, host),
                Phase::Body => self.turn_away(self.body_error(host.limits, now), inbound, outbound, host),
                // The input that is streamed, for else it is the application that is slow, and the clock stands.
                Phase::Pending => {
                    self.refuse_input(Cut::Wrong(self.body_error(host.limits, now)), outbound, host);
                }
                Phase::Stream => {
                    self.break_input(Cut::Wrong(self.body_error(host.limits, now)), host);
                }
                Phase::Preface | Phase::Head => {
                    host.witness.met(if self.is_kept { Limit::Keepalive } else { Limit::HeadTimeout });
                    self.phase = Phase::Broken;
                }
                // The response has been sent, and an immediate close could reset it away.
                Phase::Skip => {
                    host.witness.met(Limit::Drain);
                    self.release(host.spares);
                    self.close_after();
                }
                Phase::Last | Phase::Broken | Phase::Linger => {
                    host.witness.met(Limit::Linger);
                    self.phase = Phase::Broken;
                }
            }
            self.deadline = MomentOrNone::NONE;
        }
        self.advance(inbound, outbound, host, now)
    }

    /// What is wrong with a body whose deadline has passed.
    fn body_error(&self, limits: &Limits, now: Moment) -> Error {
        let slow = self.exchange.as_ref().and_then(|exchange| exchange.pace.deadline(limits.rate_min));
        if slow.is_some_and(|deadline| deadline <= now) { Error::BodyRate } else { Error::BodyTimeout }
    }

    /// Refuses the request that is arriving, and gives up what has come of it.
    fn turn_away(&mut self, error: Error, inbound: &Inbound, outbound: &mut Outbound, host: &mut Host<'_>) {
        self.release(host.spares);
        let line = inbound.front().get(self.scan.start()..).unwrap_or_default();
        self.refuse(error, asks_for_head(line), outbound, host);
    }
}
