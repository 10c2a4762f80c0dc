//! An environ that outlives its request's buffers, for answers that come later.
//!
//! It owns copies of the head, the body and the overlays, and lends the same view of them. This module
//! performs no I/O.

use std::mem::MaybeUninit;

use crate::http::head::{FIELD_COUNT_MAX, Field, Head};
use crate::sys::Peer;

use super::input::OwnedInput;
use super::{Environ, InputStream, Origin, Overlay, Proxied, Request, Scratch, Sender};

/// A request that may be kept and sent to another thread.
pub struct OwnedEnviron {
    head: Vec<u8>,
    input: OwnedInput,
    content_length: Vec<u8>,
    client: Option<Peer>,
    proxied: Option<OwnedProxied>,
    origin: Origin,
    /// Topmost first.
    overlays: Vec<(String, Vec<u8>)>,
    script_name_size: usize,
}

/// What a trusted proxy has said.
struct OwnedProxied {
    peer: Option<Peer>,
    url_scheme: Option<&'static str>,
    host: Option<Vec<u8>>,
}

impl OwnedEnviron {
    pub(super) fn copy(environ: &Environ<'_>) -> OwnedEnviron {
        let request = environ.request;
        let overlays = std::iter::successors(environ.overlay, |overlay| overlay.below);
        OwnedEnviron {
            head: request.head.raw.to_vec(),
            input: request.input.to_owned(),
            content_length: request.content_length.to_vec(),
            client: request.sender.client,
            proxied: request.sender.proxied.map(|Proxied { peer, url_scheme, host }| OwnedProxied {
                peer,
                url_scheme,
                host: host.map(<[u8]>::to_vec),
            }),
            origin: request.origin.clone(),
            overlays: overlays.map(|overlay| (overlay.key.to_string(), overlay.value.to_vec())).collect(),
            script_name_size: environ.script_name_size,
        }
    }

    /// Takes the body, in pieces; behind it there is none in here.
    pub fn take_input(&mut self) -> InputStream {
        std::mem::replace(&mut self.input, OwnedInput::Memory(Vec::new())).into_stream()
    }

    /// Lends the view of the request.
    pub fn with<R>(&self, call: impl FnOnce(&Environ<'_>) -> R) -> R {
        let mut slots = [const { MaybeUninit::<Field<'_>>::uninit() }; FIELD_COUNT_MAX];
        let head = match Head::parse(&self.head, &mut slots) {
            Ok(head) => head,
            Err(error) => panic!("a head that was parsed once parses again: {error:?}"),
        };
        let scratch = Scratch::default();
        let sender = Sender {
            client: self.client,
            proxied: self.proxied.as_ref().map(|OwnedProxied { peer, url_scheme, host }| Proxied {
                peer: *peer,
                url_scheme: *url_scheme,
                host: host.as_deref(),
            }),
        };
        let request = Request {
            head: &head,
            input: self.input.lend(),
            content_length: &self.content_length,
            sender: &sender,
            origin: &self.origin,
            scratch: &scratch,
        };
        let environ = Environ { script_name_size: self.script_name_size, ..Environ::new(&request) };
        lay_over(&environ, &self.overlays, call)
    }
}

/// Lays the overlays over `environ`, the last one lowest, and calls `call` with the result.
fn lay_over<R>(environ: &Environ<'_>, overlays: &[(String, Vec<u8>)], call: impl FnOnce(&Environ<'_>) -> R) -> R {
    let mut call = Some(call);
    let mut result = None;
    lay_each(environ, overlays, &mut |environ| result = call.take().map(|call| call(environ)));
    match result {
        Some(result) => result,
        None => unreachable!("the innermost view is lent exactly once"),
    }
}

fn lay_each(environ: &Environ<'_>, overlays: &[(String, Vec<u8>)], call: &mut dyn FnMut(&Environ<'_>)) {
    match overlays.split_last() {
        None => call(environ),
        Some(((key, value), above)) => {
            let overlay = Overlay { key, value, below: environ.overlay };
            lay_each(&Environ { overlay: Some(&overlay), ..*environ }, above, call);
        }
    }
}
