//! What happens when the peer has let a deadline pass. No clock: the worker says what time it is.

use crate::http::error::Error;
use crate::inbound::Inbound;
use crate::outbound::Outbound;
use crate::stats::Limit;
use crate::timer::Moment;

use super::request::asks_for_head;
use super::{Connection, Host, Next, Phase};

impl Connection {
    /// Ends a connection whose body could not be stored, with 503.
    pub fn lose_part(
        &mut self,
        inbound: &mut Inbound,
        outbound: &mut Outbound,
        host: &mut Host<'_>,
        now: Moment,
    ) -> Next {
        self.release(host.spares);
        self.refuse(Error::Spool, self.is_of_head(inbound), outbound, host);
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
        self.release(host.spares);
        self.refuse(Error::Blocks, self.is_of_head(inbound), outbound, host);
        self.advance(inbound, outbound, host, now)
    }

    /// Acts on a deadline that has passed: 408 where a request has begun, else a silent close. Before the
    /// deadline it does nothing but [`Connection::advance`].
    pub fn expire(&mut self, inbound: &mut Inbound, outbound: &mut Outbound, host: &mut Host<'_>, now: Moment) -> Next {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            match self.phase {
                Phase::Head if self.scan.has_begun() => {
                    self.refuse(Error::HeadTimeout, self.is_of_head(inbound), outbound, host);
                }
                Phase::Body => {
                    let is_slow = self.exchange.as_ref().is_some_and(|exchange| {
                        exchange.pace.deadline(host.limits.rate_min).is_some_and(|deadline| deadline <= now)
                    });
                    self.release(host.spares);
                    let error = if is_slow { Error::BodyRate } else { Error::BodyTimeout };
                    self.refuse(error, self.is_of_head(inbound), outbound, host);
                }
                Phase::Head | Phase::Skip | Phase::Last | Phase::Broken | Phase::Linger => {
                    host.witness.met(match self.phase {
                        Phase::Head if self.is_kept => Limit::Keepalive,
                        Phase::Head => Limit::HeadTimeout,
                        _ => Limit::Linger,
                    });
                    self.phase = Phase::Broken;
                }
                // Here it is the application that is slow, and the clock stands.
                Phase::Pending | Phase::Stream => {}
            }
            self.deadline = None;
        }
        self.advance(inbound, outbound, host, now)
    }

    /// Whether the request that is arriving is a HEAD, as far as is known: its head lies in front until it is served.
    fn is_of_head(&self, inbound: &Inbound) -> bool {
        asks_for_head(inbound.front().get(self.scan.start()..).unwrap_or_default())
    }
}
