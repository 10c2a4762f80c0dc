//! Every key of an environ, for a bridge, a lint or a person. It allocates nothing itself.

use std::fmt;

use crate::http::header;

use super::{Environ, Overlay, VARIABLES};

/// A key in CGI form: it prints, and compares to a `str`, as `HTTP_USER_AGENT` does.
#[derive(Clone, Copy)]
pub enum Key<'a> {
    /// A variable, or a key that middleware laid over it.
    Name(&'a str),
    /// A field, by the name it was received with.
    Field(&'a [u8]),
}

/// The keys and values of an [`Environ`].
pub struct Iter<'a> {
    environ: Environ<'a>,
    overlay: Option<&'a Overlay<'a>>,
    variables: std::slice::Iter<'static, &'static str>,
    field_index: usize,
}

impl<'a> Iter<'a> {
    pub(super) fn new(environ: Environ<'a>) -> Iter<'a> {
        Iter { environ, overlay: environ.overlay, variables: VARIABLES.iter(), field_index: 0 }
    }

    /// The key of the next overlay that no later one hides.
    fn next_overlay(&mut self) -> Option<&'a str> {
        while let Some(overlay) = self.overlay {
            self.overlay = overlay.below;
            let topmost = std::iter::successors(self.environ.overlay, |overlay| overlay.below)
                .find(|other| other.key == overlay.key);
            if topmost.is_some_and(|topmost| std::ptr::eq(topmost, overlay)) {
                return Some(overlay.key);
            }
        }
        None
    }

    fn is_overlaid(&self, key: Key<'_>) -> bool {
        std::iter::successors(self.environ.overlay, |overlay| overlay.below).any(|overlay| key == *overlay.key)
    }

    /// The next field that has a key of its own: not a repetition, not the body's, not the server's.
    fn next_field(&mut self) -> Option<(Key<'a>, &'a [u8])> {
        let head = self.environ.request.head;
        while let Some(field) = head.fields.get(self.field_index) {
            let earlier = head.fields.iter().take(self.field_index);
            self.field_index += 1;
            let name = field.name.as_bytes();
            let is_repeated = earlier.into_iter().any(|other| other.name.as_bytes().eq_ignore_ascii_case(name));
            let key = Key::Field(name);
            if is_repeated || !has_own_key(name) || self.is_overlaid(key) {
                continue;
            }
            return Some((key, self.environ.value_of(name)?));
        }
        None
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (Key<'a>, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(key) = self.next_overlay() {
            return Some((Key::Name(key), self.environ.get(key)?));
        }
        while let Some(&key) = self.variables.next() {
            if !self.is_overlaid(Key::Name(key))
                && let Some(value) = self.environ.get(key)
            {
                return Some((Key::Name(key), value));
            }
        }
        self.next_field()
    }
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        match self {
            Key::Name(name) => f.write_str(name),
            Key::Field(name) => {
                f.write_str("HTTP_")?;
                name.iter().try_for_each(|byte| f.write_char(char::from(cgi_byte(*byte))))
            }
        }
    }
}

impl fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq<str> for Key<'_> {
    fn eq(&self, other: &str) -> bool {
        match self {
            Key::Name(name) => *name == other,
            Key::Field(name) => {
                other.strip_prefix("HTTP_").is_some_and(|cgi_name| header::matches_cgi(name, cgi_name.as_bytes()))
            }
        }
    }
}

/// Whether a field is shown under a key made of its name.
pub(crate) fn has_own_key(name: &[u8]) -> bool {
    !name.contains(&b'_') && !HIDDEN.iter().any(|hidden| name.eq_ignore_ascii_case(hidden))
}

fn cgi_byte(byte: u8) -> u8 {
    if byte == b'-' { b'_' } else { byte.to_ascii_uppercase() }
}

/// Fields that are not shown as such: the body's two and the host have their own keys, and of the framing the
/// server has left nothing.
const HIDDEN: [&[u8]; 4] = [b"content-type", b"content-length", b"transfer-encoding", b"host"];
