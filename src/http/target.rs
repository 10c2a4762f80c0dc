//! The request target and the host (RFC 9112 §3.2, RFC 3986). Nothing is normalised here, and a path is
//! decoded once, when somebody asks for it.

use super::byte_class::{self, are_all};
use super::error::Error;

/// The four forms of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// `/path?query`.
    Origin {
        /// The path, not decoded.
        path: &'a [u8],
        /// What follows the first `?`.
        query: Option<&'a [u8]>,
    },
    /// `http://authority/path?query`.
    Absolute {
        /// The authority, which is the host of the request.
        authority: &'a [u8],
        /// The path, not decoded; `/` where there was none.
        path: &'a [u8],
        /// What follows the first `?`.
        query: Option<&'a [u8]>,
    },
    /// `*`, for OPTIONS only.
    Asterisk,
    /// `host:port`, for CONNECT only.
    Authority(&'a [u8]),
}

impl<'a> Target<'a> {
    /// Reads a target as `method` may have it.
    ///
    /// # Errors
    /// [`Error::Target`] for a byte that may not stand in one, a malformed or NUL escape, or a form that
    /// does not go with the method.
    #[inline(always)]
    pub fn parse(method: &[u8], target: &'a [u8]) -> Result<Target<'a>, Error> {
        let classes = byte_class::shared(target);
        if target.is_empty() || classes & byte_class::TARGET == 0 {
            return Err(Error::Target);
        }
        if method == b"CONNECT" {
            return if is_authority(target) { Ok(Target::Authority(target)) } else { Err(Error::Target) };
        }
        if target == b"*" {
            return if method == b"OPTIONS" { Ok(Target::Asterisk) } else { Err(Error::Target) };
        }
        if target.starts_with(b"/") {
            if classes & byte_class::PLAIN != 0 {
                return Ok(Target::Origin { path: target, query: None });
            }
            let (path, query) = split_query(target)?;
            return Ok(Target::Origin { path, query });
        }
        let rest = strip_scheme(target, b"http://").or_else(|| strip_scheme(target, b"https://"));
        let rest = rest.ok_or(Error::Target)?;
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        // Userinfo is refused with the other malformed authorities (RFC 9110 §4.2.4).
        if authority.is_empty() || !is_authority(authority) {
            return Err(Error::Target);
        }
        let (path, query) = split_query(rest)?;
        let path = if path.is_empty() { b"/" } else { path };
        Ok(Target::Absolute { authority, path, query })
    }
}

/// Whether `host` is `host[:port]` as a Host field has it (RFC 9110 §7.2): a name, an IPv4 address or a
/// bracketed IPv6 address, and a port of at most 65535.
#[must_use]
pub fn is_authority(host: &[u8]) -> bool {
    // No byte of a name is a bracket or a colon: then that is all.
    if !host.is_empty() && are_all(host, byte_class::NAME) {
        return true;
    }
    let (name, port) = if let Some(rest) = host.strip_prefix(b"[") {
        let Some(end) = memchr::memchr(b']', rest) else { return false };
        let (address, rest) = rest.split_at(end);
        let text = std::str::from_utf8(address).unwrap_or_default();
        if text.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        match rest.get(1..) {
            Some([]) | None => return true,
            Some([b':', port @ ..]) => (&b"v6"[..], port),
            Some(_) => return false,
        }
    } else {
        // No further from the end than a port is long: what has a colon before that is no name.
        let end = host.len().saturating_sub(PORT_SIZE_MAX + 1);
        match host[end..].iter().position(|byte| *byte == b':') {
            Some(offset) => (&host[..end + offset], &host[end + offset + 1..]),
            None => (host, &b""[..]),
        }
    };
    !name.is_empty() && is_name(name) && is_port(port)
}

/// Appends `path` to `decoded`, each `%HH` as its byte.
pub fn decode_into(path: &[u8], decoded: &mut Vec<u8>) {
    let mut rest = path;
    while let Some((byte, behind)) = rest.split_first() {
        match (byte, behind) {
            (b'%', [high, low, behind @ ..]) if let (Some(high), Some(low)) = (hex_value(*high), hex_value(*low)) => {
                decoded.push(high << 4 | low);
                rest = behind;
            }
            _ => {
                decoded.push(*byte);
                rest = behind;
            }
        }
    }
}

fn split_query(target: &[u8]) -> Result<(&[u8], Option<&[u8]>), Error> {
    let mark = match memchr::memchr2(b'?', b'%', target) {
        Some(escape) if target[escape] == b'%' => memchr::memchr(b'?', target),
        mark => return Ok(split_at_mark(target, mark)),
    };
    let (path, query) = split_at_mark(target, mark);
    // A query is the application's, escapes and all.
    if are_escapes_right(path) { Ok((path, query)) } else { Err(Error::Target) }
}

/// The path and the query, which begins behind the mark at `mark`.
fn split_at_mark(target: &[u8], mark: Option<usize>) -> (&[u8], Option<&[u8]>) {
    match mark {
        Some(mark) => (&target[..mark], Some(&target[mark + 1..])),
        None => (target, None),
    }
}

/// Every `%` is followed by two hexadecimal digits, and none of them makes a NUL.
fn are_escapes_right(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'%', bytes).all(|at| {
        let digit = |offset| bytes.get(at + offset).copied().and_then(hex_value);
        matches!((digit(1), digit(2)), (Some(high), Some(low)) if high << 4 | low != 0)
    })
}

fn strip_scheme<'a>(target: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let start = target.get(..scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then(|| &target[scheme.len()..])
}

/// A registered name or IPv4 address (RFC 3986 §3.2.2), which seldom has an escape.
fn is_name(name: &[u8]) -> bool {
    let is_plain = are_all(name, byte_class::NAME);
    is_plain
        || (name.iter().all(|byte| *byte == b'%' || are_all(&[*byte], byte_class::NAME)) && are_escapes_right(name))
}

fn is_port(port: &[u8]) -> bool {
    port.len() <= PORT_SIZE_MAX
        && are_all(port, byte_class::DIGIT)
        && port.iter().fold(0u32, |value, digit| value * 10 + u32::from(digit - b'0')) <= 65_535
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Digits of a port.
const PORT_SIZE_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_go_with_methods() {
        let origin = |path, query| Ok(Target::Origin { path, query });
        let cases: &[(&str, &str, Result<Target<'_>, Error>)] = &[
            ("GET", "/", origin(b"/", None)),
            ("GET", "/a?b?c", origin(b"/a", Some(b"b?c"))),
            ("GET", "/\\^{|}`", origin(b"/\\^{|}`", None)),
            ("GET", "foo", Err(Error::Target)),
            ("GET", "*", Err(Error::Target)),
            ("OPTIONS", "*", Ok(Target::Asterisk)),
            ("GET", "h:80", Err(Error::Target)),
            ("CONNECT", "h:80", Ok(Target::Authority(b"h:80"))),
            ("GET", "http://h", Ok(Target::Absolute { authority: b"h", path: b"/", query: None })),
            ("GET", "HTTP://h?q", Ok(Target::Absolute { authority: b"h", path: b"/", query: Some(b"q") })),
            ("GET", "http://u@h/", Err(Error::Target)),
            ("GET", "ftp://h/", Err(Error::Target)),
            ("GET", "http:///p", Err(Error::Target)),
            ("GET", "/%00", Err(Error::Target)),
            ("GET", "/%zz", Err(Error::Target)),
            ("GET", "/%2", Err(Error::Target)),
            ("GET", "/?100%", origin(b"/", Some(b"100%"))),
            ("GET", "/#a", Err(Error::Target)),
            ("GET", "/\u{e9}", Err(Error::Target)),
        ];
        for (method, target, expected) in cases {
            assert_eq!(Target::parse(method.as_bytes(), target.as_bytes()), *expected, "{method} {target}");
        }
    }

    #[test]
    fn hosts() {
        for host in ["h", "h:", "h:80", "127.0.0.1:65535", "[::1]", "[::1]:80", "a-b.c_d", "a%2Db"] {
            assert!(is_authority(host.as_bytes()), "{host}");
        }
        for host in
            ["", ":80", "a, b", "a@b", "a/b", "a b", "h:x", "h:65536", "h:123456", "[::1", "[x]", "[::1]x", "a%2"]
        {
            assert!(!is_authority(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn a_path_is_decoded_once() {
        let mut decoded = Vec::new();
        decode_into(b"/a%2Fb%252F%2e", &mut decoded);
        assert_eq!(decoded, b"/a/b%2F.");
    }
}
