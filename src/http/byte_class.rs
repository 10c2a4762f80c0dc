//! What a byte may be part of, as one table: each class is a bit.
//!
//! A run of bytes is judged by the classes that all of them share. There is no branch in it that a byte decides, and
//! bytes that are right, which nearly all are, would be looked at to the last in any case.

/// A token (RFC 9110 §5.6.2).
pub(super) const TOKEN: u8 = 1;
/// The value of a field (RFC 9110 §5.5): no control byte but HTAB.
pub(super) const VALUE: u8 = 1 << 1;
/// A request target: visible ASCII without the delimiters that no URI has. Real browsers send `\ ^ { | }` and the
/// backtick unescaped, so those pass (HTTP_RULES row 30).
pub(super) const TARGET: u8 = 1 << 2;
/// A registered name or an IPv4 address (RFC 3986 §3.2.2), escapes aside. Without the comma: no host has one, and it
/// would make two of one.
pub(super) const NAME: u8 = 1 << 3;
/// A decimal digit.
pub(super) const DIGIT: u8 = 1 << 4;

/// A decoded path: a target without `?` and `%`.
pub(super) const PLAIN: u8 = 1 << 5;

/// The classes that every byte belongs to; all of them where there is none.
pub(super) fn shared(bytes: &[u8]) -> u8 {
    let class = |byte: u8| CLASSES[usize::from(byte)];
    // By fours, as the counting of single bytes would cost as much as the looking.
    let (fours, rest) = bytes.as_chunks();
    let shared =
        fours.iter().fold(u8::MAX, |shared, [a, b, c, d]| shared & class(*a) & class(*b) & class(*c) & class(*d));
    rest.iter().fold(shared, |shared, byte| shared & class(*byte))
}

/// Whether every byte belongs to `class`, as those of no bytes do.
pub(super) fn are_all(bytes: &[u8], class: u8) -> bool {
    shared(bytes) & class != 0
}

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < classes.len() {
        classes[byte] = classes_of(byte as u8);
        byte += 1;
    }
    classes
};

const fn classes_of(byte: u8) -> u8 {
    let is_alphanumeric = byte.is_ascii_alphanumeric();
    let mut classes = 0;
    if is_alphanumeric
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
    {
        classes |= TOKEN;
    }
    if matches!(byte, b'\t' | 0x20..=0x7e | 0x80..=0xff) {
        classes |= VALUE;
    }
    if matches!(byte, 0x21..=0x7e) && !matches!(byte, b'#' | b'"' | b'<' | b'>') {
        classes |= TARGET;
        if !matches!(byte, b'?' | b'%') {
            classes |= PLAIN;
        }
    }
    if is_alphanumeric
        || matches!(
            byte,
            b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'='
        )
    {
        classes |= NAME;
    }
    if byte.is_ascii_digit() {
        classes |= DIGIT;
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sets as the RFCs list them, byte by byte.
    #[test]
    fn every_byte_is_in_the_classes_that_the_rfcs_put_it_in() {
        for byte in 0..=u8::MAX {
            let one_of = |set: &str| set.as_bytes().contains(&byte);
            let is_alphanumeric = byte.is_ascii_alphanumeric();
            let is_in = |class| are_all(&[byte], class);
            assert_eq!(is_in(TOKEN), is_alphanumeric || one_of("!#$%&'*+-.^_`|~"), "{byte}");
            assert_eq!(is_in(VALUE), byte == b'\t' || byte == b' ' || byte.is_ascii_graphic() || byte > 0x7f, "{byte}");
            assert_eq!(is_in(TARGET), byte.is_ascii_graphic() && !one_of("#\"<>"), "{byte}");
            assert_eq!(is_in(PLAIN), byte.is_ascii_graphic() && !one_of("#\"<>?%"), "{byte}");
            assert_eq!(is_in(NAME), is_alphanumeric || one_of("-._~!$&'()*+;="), "{byte}");
            assert_eq!(is_in(DIGIT), byte.is_ascii_digit(), "{byte}");
        }
    }

    #[test]
    fn one_wrong_byte_is_enough_wherever_it_is() {
        assert!(are_all(b"", TOKEN) && are_all(b"token", TOKEN));
        for place in 0..40 {
            let mut bytes = [b'a'; 40];
            bytes[place] = b' ';
            assert!(!are_all(&bytes, TOKEN) && are_all(&bytes, VALUE), "{place}");
        }
    }
}
