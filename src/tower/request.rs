//! From an environ to an `http::Request`. The head is copied once; its values and the path are parts of that copy.

use std::net::SocketAddr;

use ::http::header::{HOST, HeaderName, HeaderValue};
use ::http::{HeaderMap, Method, Request, Uri, Version};
use bytes::Bytes;

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

/// The request as a service takes it.
///
/// # Errors
/// Where the target is none to the `http` crate.
pub(super) fn request(environ: &Environ<'_>) -> Result<Request<Body>, ::http::Error> {
    let raw = environ.raw_head();
    let head = Bytes::copy_from_slice(raw);
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
        local_addr: local_addr(environ),
        scheme: environ.scheme(),
    });
    if !environ.script_name().is_empty() {
        let script_name = String::from_utf8_lossy(environ.script_name()).into_owned();
        request.extensions_mut().insert(ScriptName(script_name));
    }
    Ok(request)
}

fn body(environ: &Environ<'_>) -> Body {
    let input = environ.input();
    if input.is_streamed() || input.file().is_some() {
        return Body::stream(environ.input_stream());
    }
    Body::whole(Bytes::copy_from_slice(input.bytes()))
}

/// The target as received, without what a mount has taken of its path.
fn uri(environ: &Environ<'_>, head: &Bytes, raw: &[u8]) -> Result<Uri, ::http::Error> {
    let target = raw.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
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
    let mut headers = HeaderMap::with_capacity(environ.fields().count());
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

/// The listener's address, where it is one of the internet.
fn local_addr(environ: &Environ<'_>) -> Option<SocketAddr> {
    let (name, port) = environ.listener();
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
    fn a_part_shares_what_it_is_a_part_of_and_copies_what_it_is_not() {
        let raw = b"GET / HTTP/1.1".to_vec();
        let head = Bytes::copy_from_slice(&raw);
        let path = part(&head, &raw, &raw[4..5]);
        assert_eq!((&path[..], path.as_ptr()), (&b"/"[..], head[4..].as_ptr()));
        assert_eq!(&part(&head, &raw, b"elsewhere")[..], b"elsewhere");
        assert_eq!(&part(&head, &raw, b"")[..], b"");
    }
}
