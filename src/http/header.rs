//! Field names and values, both ways. Pure functions over bytes, no allocation.

use super::byte_class::{self, are_all};

/// Whether `name` is a token (RFC 9110 §5.6.2).
#[must_use]
pub fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && are_all(name, byte_class::TOKEN)
}

/// Whether `value` may be the value of a field (RFC 9110 §5.5): no control byte but HTAB.
#[must_use]
pub fn is_field_value(value: &[u8]) -> bool {
    are_all(value, byte_class::VALUE)
}

/// Whether the field speaks of one connection only, and so is the server's (RFC 9110 §7.6.1).
#[must_use]
pub fn is_hop_by_hop(name: &[u8]) -> bool {
    let names: &[&[u8]] = match name.len() {
        2 => &[b"te"],
        7 => &[b"trailer", b"upgrade"],
        8 => &[b"trailers"],
        10 => &[b"connection", b"keep-alive"],
        16 => &[b"proxy-connection"],
        17 => &[b"transfer-encoding"],
        18 => &[b"proxy-authenticate"],
        19 => &[b"proxy-authorization"],
        _ => &[],
    };
    names.iter().any(|hop| name.eq_ignore_ascii_case(hop))
}

/// Whether a field may stand behind a body: it is well-formed, and nobody has to know it before the body (RFC 9110 §6.5.1).
#[must_use]
pub fn is_trailer(name: &[u8]) -> bool {
    const BEFORE: [&[u8]; 12] = [
        b"content-length",
        b"content-encoding",
        b"content-type",
        b"content-range",
        b"host",
        b"authorization",
        b"set-cookie",
        b"cache-control",
        b"expect",
        b"max-forwards",
        b"range",
        b"date",
    ];
    is_token(name) && !is_hop_by_hop(name) && !BEFORE.iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// Whether a field's name, which is a token, is this one, in whatever case (RFC 9110 §5.1). `lower` is in small letters, digits
/// and hyphens: the bit that tells a small letter from a capital is set in all of these, and no other byte of a token
/// differs from one by it.
pub(super) fn is_named<const SIZE: usize>(name: &[u8], lower: &[u8; SIZE]) -> bool {
    let Ok(name) = <&[u8; SIZE]>::try_from(name) else { return false };
    name.iter().zip(lower).fold(0, |difference, (byte, lower)| difference | ((byte | 0x20) ^ lower)) == 0
}

/// `value` without the optional whitespace around it (RFC 9110 §5.6.3): spaces and tabs, nothing else.
#[must_use]
pub fn trim(value: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    value.get(start..end).unwrap_or_default()
}

/// The elements of a comma-separated list, trimmed, empty ones included (RFC 9110 §5.6.1).
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim)
}

/// Whether a field's name has this CGI form, without `HTTP_`: `X_FOO` is `X-Foo`. A name that itself has an
/// underscore has none: it would pass for another (HTTP_RULES row 15).
#[must_use]
pub fn matches_cgi(name: &[u8], cgi_name: &[u8]) -> bool {
    name.len() == cgi_name.len()
        && name.iter().zip(cgi_name).all(|(byte, cgi)| match byte {
            b'-' => *cgi == b'_',
            b'_' => false,
            _ => byte.to_ascii_uppercase() == *cgi,
        })
}

/// Whether `byte` may stand in a token.
pub(super) fn is_token_byte(byte: u8) -> bool {
    are_all(&[byte], byte_class::TOKEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_told_from_every_other_token_of_its_size() {
        for place in 0..b"content-length".len() {
            for byte in (0..=u8::MAX).filter(|byte| is_token(&[*byte])) {
                let mut name = *b"Content-Length";
                name[place] = byte;
                assert_eq!(is_named(&name, b"content-length"), name.eq_ignore_ascii_case(b"content-length"), "{byte}");
            }
        }
        assert!(is_named(b"HOST", b"host") && !is_named(b"host2", b"host") && !is_named(b"", b"host"));
    }

    #[test]
    fn names_and_values() {
        assert!(is_token(b"X-Foo") && !is_token(b"") && !is_token(b"a b") && !is_token(b"a:"));
        assert!(is_field_value(b"a\tb \xff") && !is_field_value(b"a\r") && !is_field_value(b"\0"));
        assert!(is_hop_by_hop(b"Connection") && is_hop_by_hop(b"TE") && !is_hop_by_hop(b"Host"));
        assert_eq!(trim(b" \t a b\t "), b"a b");
        assert_eq!(trim(b" \t"), b"");
        assert_eq!(list(b"a, ,b").collect::<Vec<_>>(), [&b"a"[..], b"", b"b"]);
        assert!(matches_cgi(b"User-Agent", b"USER_AGENT") && !matches_cgi(b"User_Agent", b"USER_AGENT"));
    }
}
