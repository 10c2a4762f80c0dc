//! What stands before a request where proxies are trusted: the PROXY header of a connection, and who a request comes
//! from by the word of a proxy. Where none is trusted, one branch a request is all of it. No I/O.

use crate::environ::{Proxied, Sender};
use crate::http::error::Error;
use crate::http::forwarded::{self, Client, Forwarded, Scheme};
use crate::http::head::Head;
use crate::http::proxies::Proxies;
use crate::http::proxy_protocol::{self, Preface, Source};
use crate::inbound::Inbound;
use crate::sys::Peer;

use super::{Connection, Host, Next, Phase, Step};

/// The other end of a connection.
pub(super) enum Remote {
    /// Nobody has asked for it.
    Unasked,
    /// A peer that speaks for itself, or as a proxy in the fields of each request.
    Peer(Peer),
    /// A proxy that has sent a PROXY header. In a box, so that a connection is no larger for it.
    Proxy(Box<Passage>),
}

/// What a PROXY header has said, and who sent it.
pub(super) struct Passage {
    peer: Peer,
    preface: Preface,
}

impl Connection {
    /// Reads the PROXY header of a trusted peer. What anybody else sends is HTTP from the first byte on.
    pub(super) fn advance_preface(&mut self, inbound: &mut Inbound, host: &mut Host<'_>) -> Step {
        let peer = match self.remote {
            Remote::Peer(peer) if host.limits.proxies.trusts(peer) => peer,
            Remote::Unasked | Remote::Peer(_) | Remote::Proxy(_) => {
                self.phase = Phase::Head;
                return Step::Again;
            }
        };
        let bytes = inbound.front();
        let parsed = if bytes.is_empty() { Ok(None) } else { proxy_protocol::parse(bytes) };
        match parsed {
            Ok(Some(preface)) => {
                inbound.consume(preface.size, host.pool);
                self.remote = Remote::Proxy(Box::new(Passage { peer, preface }));
                self.phase = Phase::Head;
                Step::Again
            }
            Ok(None) if inbound.join(host.pool) => Step::Again,
            Ok(None) if inbound.is_finished() => self.close_silently(),
            Ok(None) => Step::Until(Next::Receive),
            Err(error) => {
                host.witness.refused(error);
                self.close_after();
                Step::Again
            }
        }
    }

    /// Who has sent this request.
    ///
    /// # Errors
    /// What is wrong with the fields of a trusted proxy.
    pub(super) fn sender<'h>(&self, head: &Head<'h>, proxies: &Proxies) -> Result<Sender<'h>, Error> {
        match &self.remote {
            Remote::Unasked => Ok(Sender::default()),
            Remote::Peer(peer) if proxies.is_empty() => Ok(Sender { client: Some(*peer), proxied: None }),
            Remote::Peer(peer) => {
                let near = Sender { client: Some(*peer), proxied: None };
                said_of(near, *peer, Some(*peer), head, proxies)
            }
            Remote::Proxy(passage) => passage.sender(head, proxies),
        }
    }
}

impl Passage {
    /// A proxy that speaks this protocol passes on what its client sends, fields and all. So they are believed only
    /// where that client is a trusted proxy itself.
    fn sender<'h>(&self, head: &Head<'h>, proxies: &Proxies) -> Result<Sender<'h>, Error> {
        let Passage { peer, preface } = self;
        let (client, speaker) = match preface.source {
            Source::Proxy => return Ok(Sender { client: Some(*peer), proxied: None }),
            Source::Hidden => (None, None),
            Source::Inet(address) => (Some(Peer::Inet(address)), Some(Peer::Inet(address))),
        };
        let url_scheme = preface.is_https.then_some(Scheme::Https.name());
        let proxied = Proxied { peer: Some(*peer), url_scheme, host: None };
        said_of(Sender { client, proxied: Some(proxied) }, *peer, speaker, head, proxies)
    }
}

/// The sender as the connection has it, or as the fields have it that `speaker` has sent, if it is trusted.
fn said_of<'h>(
    near: Sender<'h>,
    peer: Peer,
    speaker: Option<Peer>,
    head: &Head<'h>,
    proxies: &Proxies,
) -> Result<Sender<'h>, Error> {
    if !speaker.is_some_and(|speaker| proxies.trusts(speaker)) {
        return Ok(near);
    }
    let said = forwarded::read(head.fields, proxies)?;
    if said == Forwarded::default() {
        return Ok(near);
    }
    let client = match said.client {
        Client::Unsaid => near.client,
        Client::Hidden => None,
        Client::Known(ip, Some(port)) => Some(Peer::Inet((ip, port).into())),
        Client::Known(ip, None) => Some(Peer::Portless(ip)),
    };
    let by_connection = near.proxied.and_then(|proxied| proxied.url_scheme);
    let url_scheme = said.scheme.map(Scheme::name).or(by_connection);
    Ok(Sender { client, proxied: Some(Proxied { peer: Some(peer), url_scheme, host: said.host }) })
}
