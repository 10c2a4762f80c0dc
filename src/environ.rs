//! `environ`: one request as PEP 3333 and CGI (RFC 3875) name its parts.
//!
//! An [`Environ`] is a small copyable view of bytes that lie in the receive buffer; making one allocates
//! nothing and copies nothing. What has to be assembled (a percent-decoded path, duplicate fields joined,
//! an address in text) is made in the worker's [`Scratch`] when it is asked for. Values are `&[u8]`, as
//! they came. It is never the process's environment. This module performs no I/O.

mod input;
pub mod input_stream;
mod iter;
pub mod owned;
mod scratch;

use std::net::{IpAddr, SocketAddr};

use crate::http::head::{Head, Version};
use crate::http::header;
use crate::http::target::Target;
use crate::sys::Peer;

pub use input::{Gathered, Input, InputReader};
pub use input_stream::{InputError, InputStream};
#[cfg(feature = "wsgi")]
pub(crate) use iter::has_own_key;
pub use iter::{Iter, Key};
pub use owned::OwnedEnviron;
pub use scratch::Scratch;

/// One request, as an application sees it.
#[derive(Clone, Copy)]
pub struct Environ<'a> {
    request: &'a Request<'a>,
    overlay: Option<&'a Overlay<'a>>,
    /// How many bytes of the decoded path are SCRIPT_NAME; the rest is PATH_INFO.
    script_name_size: usize,
}

/// What an environ is a view of.
pub struct Request<'a> {
    /// The parsed head.
    pub head: &'a Head<'a>,
    /// The body, complete.
    pub input: Input<'a>,
    /// The size of the body as digits, for `CONTENT_LENGTH`; empty where the request has none.
    pub content_length: &'a [u8],
    /// Who has sent it.
    pub sender: &'a Sender<'a>,
    /// The listener's side.
    pub origin: &'a Origin,
    /// Where values are assembled.
    pub scratch: &'a Scratch,
}

/// Who has sent a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sender<'a> {
    /// The client, if it was asked for: the other end, or who is behind it by the word of a trusted proxy.
    pub client: Option<Peer>,
    /// What a trusted proxy has said.
    pub proxied: Option<Proxied<'a>>,
}

/// What a trusted proxy has said of a request that it passed on.
#[derive(Clone, Copy, Debug)]
pub struct Proxied<'a> {
    /// The proxy, which is the other end of the connection.
    pub peer: Option<Peer>,
    /// The scheme by which the client asked, if that was said.
    pub url_scheme: Option<&'static str>,
    /// The host that the client asked for, if that was said.
    pub host: Option<&'a [u8]>,
}

/// What is the same for every request of a listener.
#[derive(Clone, Debug)]
pub struct Origin {
    /// `SERVER_NAME`: the host of the listener's address.
    pub server_name: String,
    /// `SERVER_PORT`: the port as text; empty for a unix socket.
    pub server_port: String,
    /// `wsgi.url_scheme`.
    pub url_scheme: &'static str,
}

/// The parts of a request line.
#[cfg(feature = "wsgi")]
pub(crate) struct Line<'a> {
    pub(crate) method: &'a [u8],
    pub(crate) script_name: &'a [u8],
    pub(crate) path_info: &'a [u8],
    pub(crate) query: &'a [u8],
    /// As received.
    pub(crate) target: &'a [u8],
    pub(crate) protocol: &'static [u8],
}

/// A key laid over the request's own, by middleware or by the server.
pub(crate) struct Overlay<'a> {
    key: &'a str,
    value: &'a [u8],
    below: Option<&'a Overlay<'a>>,
}

impl<'a> Environ<'a> {
    /// The view of a request.
    #[must_use]
    pub fn new(request: &'a Request<'a>) -> Environ<'a> {
        Environ { request, overlay: None, script_name_size: 0 }
    }

    /// The view of a request, with what the server lays over it.
    pub(crate) fn overlaid(request: &'a Request<'a>, overlay: Option<&'a Overlay<'a>>) -> Environ<'a> {
        Environ { overlay, ..Environ::new(request) }
    }

    /// Calls `call` with a view in which `key` (in CGI form) has this value, whatever lies below.
    pub fn with<R>(&self, key: &str, value: &[u8], call: impl FnOnce(&Environ<'_>) -> R) -> R {
        let overlay = Overlay { key, value, below: self.overlay };
        call(&Environ { overlay: Some(&overlay), ..*self })
    }

    /// The view of an application mounted `size` bytes further down the decoded path: they move from
    /// `PATH_INFO` to `SCRIPT_NAME`.
    #[must_use]
    pub(crate) fn mounted(&self, size: usize) -> Environ<'a> {
        let script_name_size = (self.script_name_size + size).min(self.path().len());
        Environ { script_name_size, ..*self }
    }

    /// The value of a key in CGI form (`HTTP_HOST`, `PATH_INFO`), `None` where the request has none.
    /// Duplicate fields are joined by `, ` (cookies by `; `), RFC 9110 §5.3. A field whose own name has an
    /// underscore is never found: it would pass for the one with a hyphen.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a [u8]> {
        self.laid(key).or_else(|| match key.strip_prefix("HTTP_") {
            Some("HOST") | None => self.variable(key),
            Some(name) => self.field(name.as_bytes()),
        })
    }

    /// Every key with its value, without duplicates: overlays, then variables, then fields as received.
    #[must_use]
    pub fn iter(&self) -> Iter<'a> {
        Iter::new(*self)
    }

    /// `REQUEST_METHOD`, as received; methods are case-sensitive (RFC 9110 §9.1).
    #[must_use]
    pub fn request_method(&self) -> &'a [u8] {
        self.laid("REQUEST_METHOD").unwrap_or(self.request.head.method)
    }

    /// `SCRIPT_NAME`: the decoded path at which the application is mounted, empty at the root.
    #[must_use]
    pub fn script_name(&self) -> &'a [u8] {
        self.laid("SCRIPT_NAME").unwrap_or_else(|| self.mounted_path())
    }

    /// `PATH_INFO`: the path below the mount, percent-decoded once and not normalised.
    #[must_use]
    pub fn path_info(&self) -> &'a [u8] {
        self.get("PATH_INFO").unwrap_or_default()
    }

    /// `QUERY_STRING`: what follows the first `?`, not decoded; empty without one.
    #[must_use]
    pub fn query_string(&self) -> &'a [u8] {
        self.get("QUERY_STRING").unwrap_or_default()
    }

    /// `CONTENT_TYPE`.
    #[must_use]
    pub fn content_type(&self) -> Option<&'a [u8]> {
        self.get("CONTENT_TYPE")
    }

    /// `CONTENT_LENGTH`: the size of the body in bytes, also where it came in chunks; `None` where the
    /// request has no body.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        std::str::from_utf8(self.get("CONTENT_LENGTH")?).ok()?.parse().ok()
    }

    /// `SERVER_NAME`: the host of the listener's address. Prefer `HTTP_HOST` for building URLs (PEP 3333).
    #[must_use]
    pub fn server_name(&self) -> &'a [u8] {
        self.get("SERVER_NAME").unwrap_or_default()
    }

    /// `SERVER_PORT`, as text.
    #[must_use]
    pub fn server_port(&self) -> &'a [u8] {
        self.get("SERVER_PORT").unwrap_or_default()
    }

    /// `SERVER_PROTOCOL`: `HTTP/1.1` or `HTTP/1.0`.
    #[must_use]
    pub fn server_protocol(&self) -> &'a [u8] {
        self.laid("SERVER_PROTOCOL").unwrap_or_else(|| protocol(self.request.head.version))
    }

    /// `REMOTE_ADDR`: the address of the client as text; empty for a unix socket, and where a trusted proxy hides it.
    #[must_use]
    pub fn remote_addr(&self) -> &'a [u8] {
        self.get("REMOTE_ADDR").unwrap_or_default()
    }

    /// `wsgi.url_scheme`: `http` or `https`.
    #[must_use]
    pub fn url_scheme(&self) -> &'a [u8] {
        self.get("wsgi.url_scheme").unwrap_or_default()
    }

    /// `wsgi.input`: the body.
    #[must_use]
    pub fn input(&self) -> Input<'a> {
        self.request.input
    }

    /// The request line and the fields as received, each with its CRLF, without the empty line.
    #[must_use]
    pub fn raw_head(&self) -> &'a [u8] {
        let raw = self.request.head.raw;
        raw.strip_suffix(b"\r\n").unwrap_or(raw)
    }

    /// Whether the request came with a body, be it empty.
    #[must_use]
    pub fn has_body(&self) -> bool {
        !self.request.content_length.is_empty() || self.request.input.is_streamed()
    }

    /// The body in pieces, also where it is still on its way ([`Admission::Stream`](crate::Admission::Stream)); a copy of it
    /// where it has come.
    #[must_use]
    pub fn input_stream(&self) -> InputStream {
        self.request.input.stream()
    }

    /// An owned copy of head, body and overlays, which another thread may keep.
    #[must_use]
    pub fn to_owned(&self) -> OwnedEnviron {
        OwnedEnviron::copy(self)
    }

    /// The address and port of the client, if both are known: of the other end, or by the word of a trusted proxy.
    #[must_use]
    pub fn remote_socket_addr(&self) -> Option<SocketAddr> {
        match self.client() {
            Some(Peer::Inet(address)) => Some(address),
            Some(Peer::Portless(_) | Peer::Unix) | None => None,
        }
    }

    /// The client, if it was asked for and is not hidden.
    pub(crate) fn client(&self) -> Option<Peer> {
        self.request.sender.client
    }

    /// The address of the client, if it is known.
    #[must_use]
    pub fn remote_ip_addr(&self) -> Option<IpAddr> {
        self.client()?.ip()
    }

    /// The port of the client, if it is known.
    pub(crate) fn remote_port(&self) -> Option<u16> {
        self.client()?.port()
    }

    /// The fields as received, repetitions included.
    #[cfg(any(feature = "async", feature = "wsgi"))]
    pub(crate) fn fields(&self) -> impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> {
        self.request.head.fields.iter().map(|field| (field.name.as_bytes(), field.value))
    }

    /// The values of the request line, below the overlays.
    #[cfg(feature = "wsgi")]
    pub(crate) fn line(&self) -> Line<'a> {
        let head = self.request.head;
        let (script_name, path_info) = self.path().split_at(self.script_name_size);
        Line {
            method: head.method,
            script_name,
            path_info,
            query: query(&head.target).unwrap_or_default(),
            target: request_target(head.raw),
            protocol: protocol(head.version),
        }
    }

    /// The listener's side.
    #[cfg(feature = "wsgi")]
    pub(crate) fn origin(&self) -> &'a Origin {
        self.request.origin
    }

    /// The host that is asked for, below the overlays.
    pub(crate) fn host(&self) -> Option<&'a [u8]> {
        self.request.sender.proxied.and_then(|proxied| proxied.host).or(self.request.head.facts.host)
    }

    /// The scheme by which it is asked for, below the overlays.
    pub(crate) fn scheme(&self) -> &'static str {
        self.request.sender.proxied.and_then(|proxied| proxied.url_scheme).unwrap_or(self.request.origin.url_scheme)
    }

    /// The address of the trusted proxy that has passed the request on.
    pub(crate) fn proxy_ip_addr(&self) -> Option<IpAddr> {
        self.request.sender.proxied?.peer?.ip()
    }

    /// The host and the port of the listener's address, as text.
    #[cfg(feature = "async")]
    pub(crate) fn listener(&self) -> (&'a str, &'a str) {
        (&self.request.origin.server_name, &self.request.origin.server_port)
    }

    /// The target as received.
    #[cfg(feature = "async")]
    pub(crate) fn raw_target(&self) -> &'a [u8] {
        request_target(self.request.head.raw)
    }

    /// The path of the target as received.
    #[cfg(feature = "async")]
    pub(crate) fn raw_path(&self) -> &'a [u8] {
        raw_path(&self.request.head.target)
    }

    /// The authority of an absolute target, for which the `Host` field is ignored (RFC 9112 §3.2.2).
    #[cfg(feature = "async")]
    pub(crate) fn authority(&self) -> Option<&'a [u8]> {
        match self.request.head.target {
            Target::Absolute { authority, .. } => Some(authority),
            Target::Origin { .. } | Target::Asterisk | Target::Authority(_) => None,
        }
    }

    /// The keys that middleware laid over the request's own, with their values.
    #[cfg(any(feature = "async", feature = "wsgi"))]
    pub(crate) fn overlays(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let overlays = std::iter::successors(self.overlay, |overlay| overlay.below);
        overlays.map(|overlay| (overlay.key, self.get(overlay.key).unwrap_or_default()))
    }

    /// The value that was laid over the request's own, the topmost of several.
    fn laid(&self, key: &str) -> Option<&'a [u8]> {
        let mut overlays = std::iter::successors(self.overlay, |overlay| overlay.below);
        overlays.find(|overlay| overlay.key == key).map(|overlay| overlay.value)
    }

    /// The values that are not fields. Every key of [`VARIABLES`] has its arm here.
    fn variable(&self, key: &str) -> Option<&'a [u8]> {
        let Request { head, content_length, origin, scratch, .. } = self.request;
        Some(match key {
            "REQUEST_METHOD" => head.method,
            "SCRIPT_NAME" => self.mounted_path(),
            "PATH_INFO" => self.path().get(self.script_name_size..)?,
            "QUERY_STRING" => query(&head.target).unwrap_or_default(),
            "REQUEST_URI" => request_target(head.raw),
            "CONTENT_TYPE" => return self.value_of(b"Content-Type"),
            "CONTENT_LENGTH" => return Some(*content_length).filter(|digits| !digits.is_empty()),
            "SERVER_NAME" => origin.server_name.as_bytes(),
            "SERVER_PORT" => origin.server_port.as_bytes(),
            "SERVER_PROTOCOL" => protocol(head.version),
            "HTTP_HOST" => self.host()?,
            "SERVER_SOFTWARE" => concat!("ringway/", env!("CARGO_PKG_VERSION")).as_bytes(),
            "REMOTE_ADDR" => scratch.address(self.remote_ip_addr()?),
            "REMOTE_PORT" => scratch.port(self.remote_port()?),
            "ringway.peer_addr" => scratch.proxy(self.proxy_ip_addr()?),
            "wsgi.url_scheme" => self.scheme().as_bytes(),
            _ => return None,
        })
    }

    /// The value of `HTTP_<cgi_name>`. The body's own two fields have no such form (RFC 3875 §4.1.18), nor
    /// has the framing that the server undid.
    fn field(&self, cgi_name: &[u8]) -> Option<&'a [u8]> {
        match cgi_name {
            b"CONTENT_TYPE" | b"CONTENT_LENGTH" | b"TRANSFER_ENCODING" => None,
            _ => self.value_of(self.find(cgi_name)?),
        }
    }

    /// The name, as received, of the first field with this name in CGI form.
    fn find(&self, cgi_name: &[u8]) -> Option<&'a [u8]> {
        let mut names = self.request.head.fields.iter().map(|field| field.name.as_bytes());
        names.find(|name| header::matches_cgi(name, cgi_name))
    }

    /// The value of the fields with this name, joined if there are several.
    fn value_of(&self, name: &[u8]) -> Option<&'a [u8]> {
        let head = self.request.head;
        let mut values = head.fields.iter().filter(|field| field.name.as_bytes().eq_ignore_ascii_case(name));
        let first = values.next()?;
        match values.next() {
            None => Some(first.value),
            Some(_) => Some(self.request.scratch.joined(head.fields, first.name.as_bytes())),
        }
    }

    /// SCRIPT_NAME. Nothing has to be decoded for an application at the root.
    fn mounted_path(&self) -> &'a [u8] {
        match self.script_name_size {
            0 => b"",
            size => self.path().get(..size).unwrap_or_default(),
        }
    }

    /// The whole decoded path: SCRIPT_NAME and PATH_INFO.
    fn path(&self) -> &'a [u8] {
        let path = raw_path(&self.request.head.target);
        if memchr::memchr(b'%', path).is_some() { self.request.scratch.path(path) } else { path }
    }
}

impl<'a> Overlay<'a> {
    /// The lowest one.
    pub(crate) fn new(key: &'a str, value: &'a [u8]) -> Overlay<'a> {
        Overlay { key, value, below: None }
    }
}

fn raw_path<'a>(target: &Target<'a>) -> &'a [u8] {
    match *target {
        Target::Origin { path, .. } | Target::Absolute { path, .. } => path,
        Target::Asterisk => b"*",
        Target::Authority(authority) => authority,
    }
}

fn query<'a>(target: &Target<'a>) -> Option<&'a [u8]> {
    match *target {
        Target::Origin { query, .. } | Target::Absolute { query, .. } => query,
        Target::Asterisk | Target::Authority(_) => None,
    }
}

fn protocol(version: Version) -> &'static [u8] {
    match version {
        Version::Http10 => b"HTTP/1.0",
        Version::Http11 => b"HTTP/1.1",
    }
}

/// The request target as received: the second word of the head.
fn request_target(raw: &[u8]) -> &[u8] {
    let mut spaces = memchr::memchr_iter(b' ', raw);
    match (spaces.next(), spaces.next()) {
        (Some(before), Some(behind)) => &raw[before + 1..behind],
        (Some(_), None) | (None, _) => b"",
    }
}

/// The keys that are not plain fields, sorted. Each is absent where there is no value. The host is here because
/// an absolute target overrules the field (RFC 9112 §3.2.2), and a trusted proxy both.
const VARIABLES: [&str; 16] = [
    "CONTENT_LENGTH",
    "CONTENT_TYPE",
    "HTTP_HOST",
    "PATH_INFO",
    "QUERY_STRING",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "REQUEST_METHOD",
    "REQUEST_URI",
    "SCRIPT_NAME",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "SERVER_SOFTWARE",
    "ringway.peer_addr",
    "wsgi.url_scheme",
];
