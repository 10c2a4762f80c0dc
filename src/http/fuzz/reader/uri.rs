//! Targets and hosts (RFC 9112 §3.2, RFC 3986 §3) for the second reading.

/// The four forms of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form<'a> {
    Origin { path: &'a [u8], query: Option<&'a [u8]> },
    Absolute { authority: &'a [u8], path: &'a [u8], query: Option<&'a [u8]> },
    Asterisk,
    Authority,
}

/// The form of a target, or `None` where it has none that goes with the method.
pub(crate) fn read_target<'a>(method: &[u8], target: &'a [u8]) -> Option<Form<'a>> {
    // Visible ASCII without what no URI has; browsers send the rest.
    if target.iter().any(|byte| !byte.is_ascii_graphic() || b"#\"<>".contains(byte)) {
        return None;
    }
    match (method, target) {
        (b"CONNECT", _) => is_host(target).then_some(Form::Authority),
        (b"OPTIONS", b"*") => Some(Form::Asterisk),
        (_, [b'/', ..]) => {
            let (path, query) = cut(target, b"?");
            is_escaped(path).then_some(Form::Origin { path, query })
        }
        _ => {
            let text = std::str::from_utf8(target).ok()?;
            let (scheme, rest) = text.split_once("://")?;
            if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
                return None;
            }
            let size = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, rest) = rest.as_bytes().split_at(size);
            let (path, query) = cut(rest, b"?");
            let path = if path.is_empty() { b"/" } else { path };
            (is_host(authority) && is_escaped(path)).then_some(Form::Absolute { authority, path, query })
        }
    }
}

/// `uri-host [ ":" port ]` (RFC 9110 §7.2), without a comma, which no host has and two would.
pub(crate) fn is_host(host: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(host) else { return false };
    let (name, port) = match text.rsplit_once(':') {
        // The colons of an IPv6 address stand in its brackets.
        Some((name, port)) if !port.contains(']') => (name, port),
        Some(_) | None => (text, ""),
    };
    // A port is at most 65535, in five digits.
    if port.len() > 5 || !port.bytes().all(|byte| byte.is_ascii_digit()) || port.parse::<u32>().is_ok_and(|n| n > 65535)
    {
        return false;
    }
    if let Some(address) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    // reg-name = *( unreserved / pct-encoded / sub-delims )
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=%".contains(&byte);
    !name.is_empty() && name.bytes().all(is_plain) && is_escaped(name.as_bytes())
}

/// The bytes with each `%HH` as its byte; `None` where one is malformed.
pub(crate) fn unescape(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut parts = bytes.split(|byte| *byte == b'%');
    let mut decoded = parts.next().unwrap_or_default().to_vec();
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        decoded.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        decoded.extend_from_slice(&part[2..]);
    }
    Some(decoded)
}

/// Every escape is one, and none is a NUL.
fn is_escaped(bytes: &[u8]) -> bool {
    unescape(bytes).is_some_and(|decoded| !decoded.contains(&0))
}

fn cut<'a>(bytes: &'a [u8], mark: &[u8; 1]) -> (&'a [u8], Option<&'a [u8]>) {
    match bytes.iter().position(|byte| *byte == mark[0]) {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    }
}
