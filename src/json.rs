//! Strings of JSON (RFC 8259 §7), of bytes that may be anything.
//!
//! What comes out is one line and valid UTF-8, whatever went in: control characters are escaped, those that are not
//! ASCII too, and bytes that are no UTF-8 become U+FFFD, as many as the standard library would put.

use std::io::Write;

/// Puts a string with its quotes.
pub(crate) fn put_string(line: &mut Vec<u8>, bytes: &[u8]) {
    line.push(b'"');
    for chunk in bytes.utf8_chunks() {
        put_text(line, chunk.valid());
        if !chunk.invalid().is_empty() {
            line.extend_from_slice(b"\\ufffd");
        }
    }
    line.push(b'"');
}

fn put_text(line: &mut Vec<u8>, text: &str) {
    let mut character = [0; 4];
    for c in text.chars() {
        match c {
            '"' | '\\' => line.extend_from_slice(&[b'\\', c as u8]),
            '\n' => line.extend_from_slice(b"\\n"),
            // Writing to a vector does not fail.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                let _ = write!(line, "\\u{:04x}", u32::from(c));
            }
            c => line.extend_from_slice(c.encode_utf8(&mut character).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn string_of(bytes: &[u8]) -> Vec<u8> {
        let mut line = Vec::new();
        put_string(&mut line, bytes);
        line
    }

    #[test]
    fn what_would_end_a_string_or_a_line_is_escaped() {
        for (bytes, string) in [
            (&b"plain"[..], &br#""plain""#[..]),
            (b"a\"b\\c", br#""a\"b\\c""#),
            (b"a\r\nb\0\x7f", br#""a\u000d\nb\u0000\u007f""#),
            ("\u{85}\u{2028}é".as_bytes(), "\"\\u0085\\u2028é\"".as_bytes()),
            (b"a\xffb\xc3", br#""a\ufffdb\ufffd""#),
        ] {
            assert_eq!(string_of(bytes), string, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn every_string_parses_to_what_went_in(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let string = string_of(&bytes);
            prop_assert!(!string.iter().any(u8::is_ascii_control));
            let parsed: String = serde_json::from_slice(&string).expect("a string of JSON");
            prop_assert_eq!(parsed, String::from_utf8_lossy(&bytes));
        }
    }
}
