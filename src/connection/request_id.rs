//! The id of a request: the peer's own, where it is fit to be repeated, or one that no other request has.
//!
//! A worker makes ids of a random number of its own and a count, so that two workers, two processes and two runs of a
//! server do not make the same, and no request costs a system call. This module performs no I/O.

use std::num::NonZeroU64;

use crate::environ::{Environ, Overlay};

/// Makes the ids of one worker.
#[derive(Clone, Debug)]
pub struct RequestIds {
    prefix: u64,
    count: u64,
    is_shown: bool,
}

/// A request's id, if anybody wants one.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestId<'a> {
    text: Text<'a>,
    is_shown: bool,
}

#[derive(Clone, Copy, Debug)]
enum Text<'a> {
    None,
    /// `X-Request-Id`, as received.
    Taken(&'a [u8]),
    Made([u8; MADE_SIZE]),
}

impl RequestIds {
    /// Ids that begin with `prefix`. `is_shown` says whether the application and the peer see them too, or the log
    /// alone.
    #[must_use]
    pub fn new(prefix: u64, is_shown: bool) -> RequestIds {
        RequestIds { prefix, count: 0, is_shown }
    }

    fn number(&mut self) -> NonZeroU64 {
        self.count += 1;
        NonZeroU64::new(self.count).unwrap_or(NonZeroU64::MAX)
    }

    fn made(&self, number: NonZeroU64) -> Text<'static> {
        let mut text = [0; MADE_SIZE];
        for (index, digit) in text.iter_mut().enumerate() {
            let (half, place) = if index < 16 { (self.prefix, index) } else { (number.get(), index - 16) };
            *digit = b"0123456789abcdef"[(half >> (60 - 4 * place) & 15) as usize];
        }
        Text::Made(text)
    }
}

impl<'a> RequestId<'a> {
    /// The id of a request. One that is made for it twice, on its head and on the whole of it, is the same by its
    /// number.
    pub(super) fn of(
        environ: &Environ<'a>,
        ids: Option<&mut RequestIds>,
        number: &mut Option<NonZeroU64>,
    ) -> RequestId<'a> {
        let Some(ids) = ids else { return RequestId { text: Text::None, is_shown: false } };
        let text = match environ.get(KEY).filter(|id| is_fit(id)) {
            Some(taken) => Text::Taken(taken),
            None => {
                let number = *number.get_or_insert_with(|| ids.number());
                ids.made(number)
            }
        };
        RequestId { text, is_shown: ids.is_shown }
    }

    /// For the log; empty where nobody wants one.
    pub(super) fn as_bytes(&self) -> &[u8] {
        match &self.text {
            Text::None => b"",
            Text::Taken(bytes) => bytes,
            Text::Made(text) => text,
        }
    }

    /// For the application and the peer; empty where the log alone names it.
    pub(super) fn shown(&self) -> &[u8] {
        if self.is_shown { self.as_bytes() } else { b"" }
    }

    /// What is laid over the request's own field.
    pub(super) fn overlay(&self) -> Option<Overlay<'_>> {
        self.is_shown.then(|| Overlay::new(KEY, self.as_bytes()))
    }
}

/// Whether an id can be repeated in a field, a log and a shell: of visible ASCII, without what ends a quoted string.
fn is_fit(id: &[u8]) -> bool {
    (1..=TAKEN_SIZE_MAX).contains(&id.len()) && id.iter().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(byte))
}

/// What the environ calls it.
const KEY: &str = "HTTP_X_REQUEST_ID";
/// Bytes of an id that a peer may bring.
const TAKEN_SIZE_MAX: usize = 128;
/// Hexadecimal digits of two words.
const MADE_SIZE: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_fit_that_cannot_be_mistaken_for_anything_else() {
        for id in ["a", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "a/b+c=~'", &"x".repeat(128)] {
            assert!(is_fit(id.as_bytes()), "{id}");
        }
        for id in ["", "a b", "a\"", "a\\", "a\tb", "\u{e9}", "a\x7f", "a, b", &"x".repeat(129)] {
            assert!(!is_fit(id.as_bytes()), "{id}");
        }
    }

    #[test]
    fn made_ids_are_the_prefix_and_a_count() {
        let mut ids = RequestIds::new(0x0123_4567_89ab_cdef, true);
        let (first, second) = (ids.number(), ids.number());
        let text = |number| RequestId { text: ids.made(number), is_shown: false };
        assert_eq!(text(first).as_bytes(), b"0123456789abcdef0000000000000001");
        assert_eq!(text(second).as_bytes(), b"0123456789abcdef0000000000000002");
        assert!(is_fit(text(first).as_bytes()) && text(first).shown().is_empty());
    }
}
