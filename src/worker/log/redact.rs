//! What of a request is not written into the log, though it stands in its target or its Referer.
//!
//! Fields that carry credentials (Authorization, Cookie) are never logged, so nothing is to be done about them.

use std::str::FromStr;

use crate::http::target;

/// What is replaced by `[redacted]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redact {
    /// Whole queries, with what follows them.
    pub query: bool,
    /// What goes by the name of a credential in a query, and the user of a URL.
    pub credentials: bool,
}

/// One word of [`Redact`], as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redacted {
    /// `query`
    Query,
    /// `credentials`
    Credentials,
}

impl Redact {
    /// Puts a target or a URL, without what it must not show.
    pub(super) fn put(self, url: &[u8], written: &mut Vec<u8>) {
        let url = if self.credentials { put_user(url, written) } else { url };
        let mark = url.iter().position(|byte| matches!(byte, b'?' | b'#'));
        let Some(mark) = mark.filter(|_| self.query || self.credentials) else {
            return written.extend_from_slice(url);
        };
        let (path, query) = url.split_at(mark + 1);
        written.extend_from_slice(path);
        if self.query {
            written.extend_from_slice(MARKER);
        } else {
            // A fragment, which a careless client may send, has parameters like a query's.
            for parameter in query.split_inclusive(|byte| matches!(byte, b'&' | b';' | b'?' | b'#')) {
                put_parameter(parameter, written);
            }
        }
    }
}

impl FromIterator<Redacted> for Redact {
    fn from_iter<I: IntoIterator<Item = Redacted>>(words: I) -> Redact {
        words.into_iter().fold(Redact::default(), |redact, word| match word {
            Redacted::Query => Redact { query: true, ..redact },
            Redacted::Credentials => Redact { credentials: true, ..redact },
        })
    }
}

impl FromStr for Redacted {
    type Err = String;

    fn from_str(text: &str) -> Result<Redacted, String> {
        match text {
            "query" => Ok(Redacted::Query),
            "credentials" => Ok(Redacted::Credentials),
            _ => Err("write query or credentials".into()),
        }
    }
}

/// Puts what is before the host, without the user and the password, and answers with the rest (RFC 3986 §3.2.1).
fn put_user<'u>(url: &'u [u8], written: &mut Vec<u8>) -> &'u [u8] {
    let is_delimiter = |byte: &u8| matches!(byte, b'/' | b'?' | b'#');
    let Some(slashes) = memchr::memmem::find(url, b"//") else { return url };
    let (before, rest) = url.split_at(slashes + 2);
    if before.iter().take(slashes).any(is_delimiter) {
        return url;
    }
    let authority = rest.split(is_delimiter).next().unwrap_or_default();
    let Some(at) = memchr::memrchr(b'@', authority) else { return url };
    written.extend_from_slice(before);
    written.extend_from_slice(MARKER);
    rest.split_at(at).1
}

/// Puts `name=value` with what separates it from the next one; the value only where the name allows it.
fn put_parameter(parameter: &[u8], written: &mut Vec<u8>) {
    let separator_size = usize::from(parameter.last().is_some_and(|byte| matches!(byte, b'&' | b';' | b'?' | b'#')));
    let (pair, separator) = parameter.split_at(parameter.len() - separator_size);
    let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
    if name.len() < pair.len() && is_credential(name) {
        written.extend_from_slice(name);
        written.push(b'=');
        written.extend_from_slice(MARKER);
    } else {
        written.extend_from_slice(pair);
    }
    written.extend_from_slice(separator);
}

fn is_credential(name: &[u8]) -> bool {
    let mut decoded = Vec::with_capacity(name.len());
    target::decode_into(name, &mut decoded);
    decoded.make_ascii_lowercase();
    NAMES.iter().any(|part| memchr::memmem::find(&decoded, part).is_some())
}

/// Parts of names whose values let somebody in.
const NAMES: [&[u8]; 10] =
    [b"password", b"passwd", b"secret", b"token", b"key", b"auth", b"signature", b"session", b"code", b"credential"];
const MARKER: &[u8] = b"[redacted]";

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(redact: Redact, url: &str) -> String {
        let mut written = Vec::new();
        redact.put(url.as_bytes(), &mut written);
        String::from_utf8(written).expect("it was text")
    }

    #[test]
    fn queries_go_as_a_whole() {
        let redact = Redact { query: true, credentials: false };
        for (url, written) in [
            ("/", "/"),
            ("/a?b=c&d", "/a?[redacted]"),
            ("/a?", "/a?[redacted]"),
            ("http://h/a?b#c?d", "http://h/a?[redacted]"),
            ("http://h/a#b", "http://h/a#[redacted]"),
            ("http://u:p@h/a", "http://u:p@h/a"),
            ("*", "*"),
        ] {
            assert_eq!(redacted(redact, url), written, "{url}");
        }
    }

    #[test]
    fn credentials_go_and_what_is_beside_them_stays() {
        let redact = Redact { query: false, credentials: true };
        for (url, written) in [
            ("/a?b=c", "/a?b=c"),
            ("/a?token=t&b=c", "/a?token=[redacted]&b=c"),
            ("/a?b=c;access_TOKEN=t", "/a?b=c;access_TOKEN=[redacted]"),
            ("/a?%74oken=t", "/a?%74oken=[redacted]"),
            ("/a?x%5Bpass%77ord%5D=t&y=1", "/a?x%5Bpass%77ord%5D=[redacted]&y=1"),
            ("/a?api_key=a=b&c", "/a?api_key=[redacted]&c"),
            ("/a?token", "/a?token"),
            ("/a?token=", "/a?token=[redacted]"),
            ("/token=t", "/token=t"),
            ("/a?q=1?code=2", "/a?q=1?code=[redacted]"),
            ("/cb#access_token=t&state=s", "/cb#access_token=[redacted]&state=s"),
            ("http://u:p@h/a?b", "http://[redacted]@h/a?b"),
            ("//u@h", "//[redacted]@h"),
            ("http://u:p@x@h:80?session=1", "http://[redacted]@h:80?session=[redacted]"),
            ("http://h/a//b@c", "http://h/a//b@c"),
            ("/a//b@c", "/a//b@c"),
            ("/?next=http://u:p@h/", "/?next=http://u:p@h/"),
        ] {
            assert_eq!(redacted(redact, url), written, "{url}");
        }
    }

    #[test]
    fn both_are_typed_together_and_nothing_changes_nothing() {
        let both: Redact = [Redacted::Credentials, Redacted::Query].into_iter().collect();
        assert_eq!(redacted(both, "http://u@h/?token=t"), "http://[redacted]@h/?[redacted]");
        assert_eq!(redacted(Redact::default(), "http://u@h/?token=t"), "http://u@h/?token=t");
        assert_eq!(Redacted::from_str("query"), Ok(Redacted::Query));
        assert!(Redacted::from_str("cookies").is_err());
    }
}
