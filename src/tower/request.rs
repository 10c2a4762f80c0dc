//! From an environ to an `http::Request`. The head is copied once; its values and the path are parts of that copy.

use std::net::SocketAddr;

use ::http::header::{HOST, HeaderName, HeaderValue};
use ::http::{HeaderMap, Method, Request, Uri, Version};
use bytes::{Bytes, BytesMut};

use super::Body;
use crate::environ::Environ;

/// Where a request has come from and to: an extension of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// The client, which is the other end of the connection or who is behind it by the word of a trusted proxy. `None` for
    /// a unix socket, and where a proxy hides it.
    pub peer_addr: Option<SocketAddr>,
    /// The address that the server listens on. `None` for a unix socket.
    pub local_addr: Option<SocketAddr>,
    /// `http` or `https`.
    pub scheme: &'static str,
}

/// The decoded path that a service is mounted at, which is not part of its URI any more: an extension of requests below a
/// mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptName(pub String);

/// What makes the requests of a worker, and what they have in common.
#[derive(Default)]
pub(super) struct Maker {
    /// Where heads are copied to, one behind the other. The memory is used again when nothing is left of them.
    heads: BytesMut,
    listener: Listener,
}

/// The listener that was last asked for.
#[derive(Default)]
struct Listener {
    name: String,
    port: String,
    /// What these two are, where that is an address of the internet.
    address: Option<SocketAddr>,
}

impl Maker {
    /// The request as a service takes it.
    ///
    /// # Errors
    /// Where the target is none to the `http` crate.
    pub(super) fn make(&mut self, environ: &Environ<'_>) -> Result<Request<Body>, ::http::Error> {
        let raw = environ.raw_head();
        let head = self.copy(raw);
        let mut request = Request::new(body(environ));
        *request.method_mut() = Method::from_bytes(environ.request_method())?;
        *request.uri_mut() = uri(environ, &head, raw)?;
        *request.version_mut() = match environ.server_protocol() {
            b"HTTP/1.0" => Version::HTTP_10,
            _ => Version::HTTP_11,
        };
        *request.headers_mut() = headers(environ, &head, raw)?;
        request.extensions_mut().insert(ConnectionInfo {
            peer_addr: environ.remote_socket_addr(),
            local_addr: self.listener.address(environ.listener()),
            scheme: environ.scheme(),
        });
        if !environ.script_name().is_empty() {
            let script_name = String::from_utf8_lossy(environ.script_name()).into_owned();
            request.extensions_mut().insert(ScriptName(script_name));
        }
        Ok(request)
    }

    /// A copy of a head, in memory of its own where it is large.
    fn copy(&mut self, raw: &[u8]) -> Bytes {
        if raw.len() > HEADS_SIZE {
            return Bytes::copy_from_slice(raw);
        }
        if self.heads.capacity() < raw.len() {
            self.heads.reserve(HEADS_SIZE);
        }
        self.heads.extend_from_slice(raw);
        self.heads.split().freeze()
    }
}

impl Listener {
    /// The address of a listener, which is read from its text where that is another than the last time.
    fn address(&mut self, (name, port): (&str, &str)) -> Option<SocketAddr> {
        if self.name != name || self.port != port {
            *self = Listener { name: name.into(), port: port.into(), address: address(name, port) };
        }
        self.address
    }
}

/// Bytes of the memory that heads share: some of a browser's, and not much to be kept by a service that keeps a value of one.
const HEADS_SIZE: usize = 4 * 1024;

fn body(environ: &Environ<'_>) -> Body {
    let input = environ.input();
    if input.is_streamed() || input.file().is_some() {
        return Body::stream(environ.input_stream());
    }
    Body::whole(Bytes::copy_from_slice(input.bytes()))
}

/// The target as received, without what a mount has taken of its path.
fn uri(environ: &Environ<'_>, head: &Bytes, raw: &[u8]) -> Result<Uri, ::http::Error> {
    let target = environ.raw_target();
    let mounted_size = environ.script_name().len();
    if mounted_size == 0 {
        return parse(part(head, raw, target));
    }
    let path = environ.raw_path();
    let offset = raw_size(path, mounted_size);
    let rest = path.get(offset..).unwrap_or_default();
    let query = environ.query_string();
    let rest_and_query = match (rest.is_empty(), query.is_empty()) {
        (false, true) => part(head, raw, rest),
        (is_root, _) => {
            let root: &[u8] = if is_root { b"/" } else { b"" };
            let mark: &[u8] = if query.is_empty() { b"" } else { b"?" };
            Bytes::from([root, rest, mark, query].concat())
        }
    };
    parse(rest_and_query)
}

/// The `http` crate is stricter than browsers are: what it does not take as it is, it takes encoded (RFC 3986 §2.1).
fn parse(target: Bytes) -> Result<Uri, ::http::Error> {
    match Uri::from_maybe_shared(target.clone()) {
        Ok(uri) => Ok(uri),
        Err(_) => {
            let encoded = target.iter().map(|byte| match br"\^`{|}".contains(byte) {
                true => format!("%{byte:02X}"),
                false => char::from(*byte).to_string(),
            });
            Ok(Uri::from_maybe_shared(Bytes::from(encoded.collect::<String>()))?)
        }
    }
}

/// How many bytes of an encoded path make so many decoded ones.
fn raw_size(path: &[u8], decoded_size: usize) -> usize {
    let mut offset = 0;
    for _ in 0..decoded_size {
        offset += if path.get(offset) == Some(&b'%') { 3 } else { 1 };
    }
    offset.min(path.len())
}

/// The fields as received, with the host of an absolute target, and those that were laid over the environ.
fn headers(environ: &Environ<'_>, head: &Bytes, raw: &[u8]) -> Result<HeaderMap, ::http::Error> {
    let mut headers = HeaderMap::with_capacity(environ.fields().len());
    for (name, value) in environ.fields() {
        headers.try_append(HeaderName::from_bytes(name)?, HeaderValue::from_maybe_shared(part(head, raw, value))?)?;
    }
    if let Some(authority) = environ.authority() {
        headers.try_insert(HOST, HeaderValue::from_maybe_shared(part(head, raw, authority))?)?;
    }
    for (key, value) in environ.overlays() {
        if let Some(name) = key.strip_prefix("HTTP_") {
            let name = name.replace('_', "-");
            headers.try_insert(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_bytes(value)?)?;
        }
    }
    Ok(headers)
}

fn address(name: &str, port: &str) -> Option<SocketAddr> {
    Some(SocketAddr::new(name.trim_matches(['[', ']']).parse().ok()?, port.parse().ok()?))
}

/// The part of `head` that is what `bytes` are of `raw`, of which it is a copy. Bytes that are not of `raw` are copied.
fn part(head: &Bytes, raw: &[u8], bytes: &[u8]) -> Bytes {
    let offset = (bytes.as_ptr() as usize).wrapping_sub(raw.as_ptr() as usize);
    match offset.checked_add(bytes.len()) {
        Some(end) if end <= raw.len() => head.slice(offset..end),
        Some(_) | None => Bytes::copy_from_slice(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_of_an_encoded_path_is_found_by_its_decoded_size() {
        for (path, size, expected) in
            [(&b"/api/x"[..], 4, 4), (b"/%61pi/x", 4, 6), (b"/a%2Fb/c", 4, 6), (b"/api", 4, 4), (b"/a", 9, 2)]
        {
            assert_eq!(raw_size(path, size), expected, "{}", path.escape_ascii());
        }
    }

    #[test]
    fn the_address_is_that_of_the_listener_at_hand() {
        let mut listener = Listener::default();
        for (name, port, expected) in [
            ("", "", None),
            ("127.0.0.1", "80", Some("127.0.0.1:80")),
            ("127.0.0.1", "81", Some("127.0.0.1:81")),
            ("::1", "81", Some("[::1]:81")),
            ("localhost", "", None),
            ("127.0.0.1", "80", Some("127.0.0.1:80")),
        ] {
            for _ in 0..2 {
                let address = listener.address((name, port)).map(|address| address.to_string());
                assert_eq!(address.as_deref(), expected);
            }
        }
    }

    #[test]
    fn what_is_kept_of_a_head_stays_when_others_come() {
        let mut maker = Maker::default();
        let heads = [1, 700, HEADS_SIZE - 1, HEADS_SIZE, HEADS_SIZE + 1];
        let kept: Vec<_> = (0..100_u8).map(|byte| maker.copy(&[byte].repeat(heads[usize::from(byte) % 5]))).collect();
        for (byte, head) in (0..100_u8).zip(kept) {
            assert!(head.len() == heads[usize::from(byte) % 5] && head.iter().all(|other| *other == byte), "{byte}");
        }
    }

    #[test]
    fn a_part_shares_what_it_is_a_part_of_and_copies_what_it_is_not() {
        let raw = b"GET / HTTP/1.1".to_vec();
        let head = Bytes::copy_from_slice(&raw);
        let path = part(&head, &raw, &raw[4..5]);
        assert_eq!((&path[..], path.as_ptr()), (&b"/"[..], head[4..].as_ptr()));
        assert_eq!(&part(&head, &raw, b"elsewhere")[..], b"elsewhere");
        assert_eq!(&part(&head, &raw, b"")[..], b"");
    }
}
