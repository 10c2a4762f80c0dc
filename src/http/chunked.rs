//! Chunked bodies (RFC 9112 §7.1), pushed in as they come.
//!
//! A small state machine that looks at framing byte by byte, refuses the first byte that cannot become right,
//! and lends the data from where it lies. It keeps no bytes and allocates nothing.

use super::error::Error;
use super::header;

/// Sizes of a body.
#[derive(Clone, Copy, Debug)]
pub struct ChunkedLimits {
    /// Bytes of data; past it 413.
    pub body_max: u64,
    /// Bytes of chunk extensions in a message; past it 400.
    pub extension_max: usize,
    /// Bytes of trailer fields; past it 400.
    pub trailer_max: usize,
    /// Trailer fields; past it 400.
    pub trailer_count_max: usize,
}

/// A decoder's state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chunked {
    state: State,
    /// The size of the chunk being read, or what is missing of it.
    size: u64,
    digit_count: u8,
    body_size: u64,
    overhead_size: u64,
    extension_size: usize,
    trailer_size: usize,
    trailer_count: usize,
    /// The first bytes of the trailer's name, to know the forbidden ones.
    name: [u8; NAME_SIZE],
    name_size: u8,
}

/// What a piece of a chunked body was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'b> {
    /// Data, the last `data.len()` of the `consumed` bytes.
    Data {
        /// Bytes consumed, framing and data.
        consumed: usize,
        /// The data.
        data: &'b [u8],
    },
    /// All of the bytes were framing, and more must come.
    More {
        /// Bytes consumed.
        consumed: usize,
    },
    /// The body has ended; what follows is the next request.
    End {
        /// Bytes consumed.
        consumed: usize,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Hexadecimal digits of a size.
    #[default]
    Size,
    /// Whitespace behind the size or an extension: only before a `;` or a `=` (BWS).
    Blank,
    /// Behind a `;`: whitespace or the first byte of a name.
    ExtensionStart,
    ExtensionName,
    /// Whitespace behind a name.
    ExtensionNameBlank,
    /// Behind a `=`.
    ValueStart,
    ValueToken,
    ValueQuoted,
    ValueEscaped,
    /// Behind a closing quote.
    ValueEnd,
    SizeLineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    /// At the start of a trailer line.
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLineFeed,
    EndLineFeed,
    Ended,
}

impl Chunked {
    /// Decodes up to the next data or the end.
    ///
    /// # Errors
    /// At the first byte that cannot become right, or when a limit is passed.
    pub fn next<'b>(&mut self, bytes: &'b [u8], limits: &ChunkedLimits) -> Result<Step<'b>, Error> {
        let mut consumed = 0;
        while let Some(byte) = bytes.get(consumed) {
            match self.state {
                State::Data => {
                    let rest = bytes.get(consumed..).unwrap_or_default();
                    let size = usize::try_from(self.size).unwrap_or(usize::MAX).min(rest.len());
                    self.size -= size as u64;
                    self.body_size += size as u64;
                    if self.size == 0 {
                        self.state = State::DataReturn;
                    }
                    let data = rest.get(..size).unwrap_or_default();
                    return Ok(Step::Data { consumed: consumed + size, data });
                }
                State::Ended => return Ok(Step::End { consumed }),
                _ => {}
            }
            consumed += 1;
            self.overhead_size += 1;
            if self.overhead_size > OVERHEAD_MAX.max(self.body_size) {
                return Err(Error::ChunkOverhead);
            }
            self.frame(*byte, limits)?;
            if self.state == State::Ended {
                return Ok(Step::End { consumed });
            }
        }
        Ok(Step::More { consumed })
    }

    /// One byte of framing.
    fn frame(&mut self, byte: u8, limits: &ChunkedLimits) -> Result<(), Error> {
        self.state = match self.state {
            State::Size => return self.size_byte(byte, limits),
            State::Blank
            | State::ExtensionStart
            | State::ExtensionName
            | State::ExtensionNameBlank
            | State::ValueStart
            | State::ValueToken
            | State::ValueQuoted
            | State::ValueEscaped
            | State::ValueEnd => return self.extension_byte(byte, limits),
            State::SizeLineFeed if byte == b'\n' => {
                self.digit_count = 0;
                if self.size == 0 { State::TrailerStart } else { State::Data }
            }
            State::DataReturn if byte == b'\r' => State::DataLineFeed,
            State::DataLineFeed if byte == b'\n' => State::Size,
            State::TrailerStart if byte == b'\r' => State::EndLineFeed,
            State::TrailerStart | State::TrailerName | State::TrailerValue | State::TrailerLineFeed => {
                return self.trailer_byte(byte, limits);
            }
            State::EndLineFeed if byte == b'\n' => State::Ended,
            State::SizeLineFeed | State::DataReturn | State::DataLineFeed | State::EndLineFeed => {
                return Err(Error::Chunk);
            }
            State::Data | State::Ended => unreachable!("no framing byte is read in this state"),
        };
        Ok(())
    }

    fn size_byte(&mut self, byte: u8, limits: &ChunkedLimits) -> Result<(), Error> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            self.digit_count += 1;
            if self.digit_count == 1 {
                self.size = 0;
            }
            if self.digit_count > DIGIT_COUNT_MAX || self.size >> 59 != 0 {
                return Err(Error::Chunk);
            }
            self.size = self.size << 4 | u64::from(digit);
            return Ok(());
        }
        if self.digit_count == 0 {
            return Err(Error::Chunk);
        }
        if self.body_size.saturating_add(self.size) > limits.body_max {
            return Err(Error::BodyTooLarge);
        }
        self.state = match byte {
            b'\r' => State::SizeLineFeed,
            b';' => State::ExtensionStart,
            b' ' | b'\t' => State::Blank,
            _ => return Err(Error::Chunk),
        };
        Ok(())
    }

    /// `chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )`, RFC 9112 §7.1.1.
    fn extension_byte(&mut self, byte: u8, limits: &ChunkedLimits) -> Result<(), Error> {
        self.extension_size += 1;
        if self.extension_size > limits.extension_max {
            return Err(Error::ChunkExtensions);
        }
        let is_blank = matches!(byte, b' ' | b'\t');
        let is_token = header::is_token_byte(byte);
        self.state = match (self.state, byte) {
            (State::Blank, b';') => State::ExtensionStart,
            (State::Blank | State::ExtensionStart | State::ExtensionNameBlank | State::ValueStart, _) if is_blank => {
                self.state
            }
            (State::ExtensionStart | State::ExtensionName, _) if is_token => State::ExtensionName,
            (State::ExtensionName, _) if is_blank => State::ExtensionNameBlank,
            (State::ExtensionName | State::ExtensionNameBlank, b'=') => State::ValueStart,
            (State::ExtensionNameBlank, b';') => State::ExtensionStart,
            (State::ValueStart, b'"') => State::ValueQuoted,
            (State::ValueStart | State::ValueToken, _) if is_token => State::ValueToken,
            (State::ValueQuoted, b'"') => State::ValueEnd,
            (State::ValueQuoted, b'\\') => State::ValueEscaped,
            (State::ValueQuoted | State::ValueEscaped, _) if header::is_field_value(&[byte]) => State::ValueQuoted,
            (State::ExtensionName | State::ValueToken | State::ValueEnd, b';') => State::ExtensionStart,
            (State::ExtensionName | State::ValueToken | State::ValueEnd, b'\r') => State::SizeLineFeed,
            (State::ValueToken | State::ValueEnd, _) if is_blank => State::Blank,
            _ => return Err(Error::Chunk),
        };
        Ok(())
    }

    /// A trailer field: checked, counted and dropped. It never becomes a field of the request.
    fn trailer_byte(&mut self, byte: u8, limits: &ChunkedLimits) -> Result<(), Error> {
        self.trailer_size += 1;
        if self.trailer_size > limits.trailer_max {
            return Err(Error::TrailerTooLarge);
        }
        self.state = match (self.state, byte) {
            (State::TrailerStart, _) if header::is_token_byte(byte) => {
                self.trailer_count += 1;
                if self.trailer_count > limits.trailer_count_max {
                    return Err(Error::TooManyTrailers);
                }
                self.name_size = 0;
                self.name_byte(byte);
                State::TrailerName
            }
            (State::TrailerName, b':') if self.is_forbidden_name() => return Err(Error::Trailer),
            (State::TrailerName, b':') => State::TrailerValue,
            (State::TrailerName, _) if header::is_token_byte(byte) => {
                self.name_byte(byte);
                State::TrailerName
            }
            (State::TrailerValue, b'\r') => State::TrailerLineFeed,
            (State::TrailerValue, _) if header::is_field_value(&[byte]) => State::TrailerValue,
            (State::TrailerLineFeed, b'\n') => State::TrailerStart,
            _ => return Err(Error::Trailer),
        };
        Ok(())
    }

    fn name_byte(&mut self, byte: u8) {
        if let Some(place) = self.name.get_mut(usize::from(self.name_size)) {
            *place = byte;
        }
        self.name_size = self.name_size.saturating_add(1);
    }

    /// Fields that frame or route a request may not come behind it (RFC 9110 §6.5.1).
    fn is_forbidden_name(&self) -> bool {
        let name = self.name.get(..usize::from(self.name_size)).unwrap_or_default();
        [&b"content-length"[..], b"transfer-encoding", b"host"].iter().any(|other| name.eq_ignore_ascii_case(other))
    }
}

/// Framing may cost this much, in bytes, or as much as the data that it carries.
const OVERHEAD_MAX: u64 = 16 * 1024;
const DIGIT_COUNT_MAX: u8 = 16;
const NAME_SIZE: usize = 17;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ChunkedLimits =
        ChunkedLimits { body_max: 1 << 20, extension_max: 64, trailer_max: 64, trailer_count_max: 2 };

    /// The data and the bytes left over, or the error; `None` where more must come.
    fn decode(pieces: &[&[u8]]) -> Result<Option<(Vec<u8>, usize)>, Error> {
        let mut decoder = Chunked::default();
        let mut body = Vec::new();
        for (index, piece) in pieces.iter().enumerate() {
            let mut rest = *piece;
            while !rest.is_empty() {
                match decoder.next(rest, &LIMITS)? {
                    Step::Data { consumed, data } => {
                        body.extend_from_slice(data);
                        rest = &rest[consumed..];
                    }
                    Step::More { consumed } => rest = &rest[consumed..],
                    Step::End { consumed } => {
                        let later: usize = pieces[index + 1..].iter().map(|piece| piece.len()).sum();
                        return Ok(Some((body, rest.len() - consumed + later)));
                    }
                }
            }
        }
        Ok(None)
    }

    fn check(text: &str, expected: Result<Option<(&str, usize)>, Error>) {
        let expected = expected.map(|found| found.map(|(body, rest)| (body.as_bytes().to_vec(), rest)));
        let bytes = text.as_bytes();
        assert_eq!(decode(&[bytes]), expected, "{text:?}");
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(decode(&single), expected, "{text:?} in single bytes");
        for cut in 0..bytes.len() {
            assert_eq!(decode(&[&bytes[..cut], &bytes[cut..]]), expected, "{text:?} cut at {cut}");
        }
    }

    #[test]
    fn right_bodies() {
        check("0\r\n\r\n", Ok(Some(("", 0))));
        check("5\r\nhello\r\n0\r\n\r\nGET", Ok(Some(("hello", 3))));
        check("00005\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n", Ok(Some(("hello0123456789", 0))));
        check("5;a=b;c=\"d\\\"\"\r\nhello\r\n0\r\n\r\n", Ok(Some(("hello", 0))));
        check("5 ; a = b\r\nhello\r\n0;x\r\n\r\n", Ok(Some(("hello", 0))));
        check("0\r\nA: b\r\nC: d\r\n\r\n", Ok(Some(("", 0))));
        check("5\r\nhel", Ok(None));
        check("0\r\n", Ok(None));
    }

    #[test]
    fn rows_46_to_51_and_55() {
        for text in [
            "0x5\r\n",
            "+5\r\n",
            "-5\r\n",
            "5_0\r\n",
            " 5\r\n",
            "\r\n",
            ";x\r\n",
            "5 \r\n",
            "5;\r\n",
            "5;a b\r\n",
            "5;\0\r\n",
            "5;a=\"un\r\n",
            "5;a=\r\n",
            "5\n",
            "5\rX",
            "5;a\n",
            "5;a=\"\n\"\r\n",
            "5\r\nhelloX",
            "5\r\nhello\n",
            "5\r\nhello\rX",
            "0\r\n\rX",
            "11111111111111111\r\n",
            "8000000000000000\r\n",
        ] {
            check(text, Err(Error::Chunk));
        }
        check("0\r\nX\r\n", Err(Error::Trailer));
        check("200000\r\n", Err(Error::BodyTooLarge));
    }

    #[test]
    fn rows_52_to_54() {
        // The limit of 64 counts the semicolon and 63 letters.
        check(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(63)), Ok(Some(("hello", 0))));
        check(&format!("5;{}\r\n", "a".repeat(64)), Err(Error::ChunkExtensions));
        check("0\r\nContent-Length: 5\r\n\r\n", Err(Error::Trailer));
        check("0\r\ntransfer-encoding: x\r\n\r\n", Err(Error::Trailer));
        check("0\r\nHost: x\r\n\r\n", Err(Error::Trailer));
        check("0\r\nA: b\r\n c\r\n\r\n", Err(Error::Trailer));
        check("0\r\nA: b\nC: d\r\n\r\n", Err(Error::Trailer));
        check("0\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n", Err(Error::TooManyTrailers));
        check(&format!("0\r\nA: {}\r\n\r\n", "b".repeat(59)), Ok(Some(("", 0))));
        check(&format!("0\r\nA: {}\r\n\r\n", "b".repeat(60)), Err(Error::TrailerTooLarge));
        let tiny = "1\r\na\r\n".repeat(20_000);
        assert_eq!(decode(&[tiny.as_bytes()]), Err(Error::ChunkOverhead));
    }
}
