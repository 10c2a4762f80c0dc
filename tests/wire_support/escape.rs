//! Bytes as one line of printable ASCII, both ways.

use std::fmt::Write;

/// The bytes that `text` stands for: `\r \n \t \0 \\ \xNN`, and itself for any other printable character.
///
/// # Errors
/// A sentence about the first thing that is not allowed.
pub fn decode(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'\\' => match rest.next() {
                Some(b'r') => bytes.push(b'\r'),
                Some(b'n') => bytes.push(b'\n'),
                Some(b't') => bytes.push(b'\t'),
                Some(b'0') => bytes.push(0),
                Some(b'\\') => bytes.push(b'\\'),
                Some(b'x') => bytes.push(hex(rest.next())? << 4 | hex(rest.next())?),
                Some(other) => return Err(format!("there is no escape \\{}", char::from(other))),
                None => return Err("a backslash ends the line; write \\\\ for one".to_owned()),
            },
            b' '..=b'~' => bytes.push(byte),
            _ => return Err(format!("the byte {byte:#04x} must be written as an escape")),
        }
    }
    if text.ends_with(' ') {
        return Err("a space at the end of a line is invisible; write it as \\x20".to_owned());
    }
    Ok(bytes)
}

/// `bytes` as text that [`decode`] reads back, with a line break after each LF and `indent` before each line.
#[must_use]
pub fn show(bytes: &[u8], indent: &str) -> String {
    let mut text = String::new();
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        text.push_str(indent);
        for &byte in line {
            match byte {
                b'\r' => text.push_str("\\r"),
                b'\n' => text.push_str("\\n"),
                b'\t' => text.push_str("\\t"),
                b'\\' => text.push_str("\\\\"),
                b' '..=b'~' => text.push(char::from(byte)),
                _ => write!(text, "\\x{byte:02x}").expect("writing to a String succeeds"),
            }
        }
        text.push('\n');
    }
    text
}

/// As [`show`], but only the first and last lines' worth of a long input.
#[must_use]
pub fn show_ends(bytes: &[u8], indent: &str) -> String {
    const END_SIZE: usize = 700;
    if bytes.is_empty() {
        return format!("{indent}(nothing)\n");
    }
    if bytes.len() <= 2 * END_SIZE {
        return show(bytes, indent);
    }
    let (front, back) = (&bytes[..END_SIZE], &bytes[bytes.len() - END_SIZE..]);
    let left_out = bytes.len() - 2 * END_SIZE;
    format!("{}{indent}... {left_out} bytes ...\n{}", show(front, indent), show(back, indent))
}

fn hex(digit: Option<u8>) -> Result<u8, String> {
    let value = digit.and_then(|digit| char::from(digit).to_digit(16));
    let value = value.ok_or("\\x needs two hexadecimal digits")?;
    Ok(u8::try_from(value).expect("a hexadecimal digit is below 16"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_escape_is_read() {
        assert_eq!(decode(r"a b\r\n\t\0\\\xfF~").unwrap(), b"a b\r\n\t\0\\\xff~");
    }

    #[test]
    fn what_cannot_be_seen_or_read_is_refused() {
        for (text, sentence) in [
            ("a ", "invisible"),
            ("a\tb", "must be written as an escape"),
            ("\u{e9}", "must be written as an escape"),
            (r"\q", "there is no escape \\q"),
            (r"\", "a backslash ends the line"),
            (r"\x4", "two hexadecimal digits"),
            (r"\x4g", "two hexadecimal digits"),
        ] {
            let refusal = decode(text).unwrap_err();
            assert!(refusal.contains(sentence), "{text:?}: {refusal}");
        }
    }

    #[test]
    fn every_byte_survives_being_shown() {
        let all: Vec<u8> = (0..=255).chain([b' ', b'x']).collect();
        let shown = show(&all, "");
        assert_eq!(decode(&shown.replace('\n', "")).unwrap(), all);
    }

    #[test]
    fn a_long_input_is_shown_by_its_ends() {
        let shown = show_ends(&[b'a'; 5000], "  ");
        assert!(shown.contains("... 3600 bytes ..."), "{shown}");
        assert!(shown.len() < 1600);
    }
}
