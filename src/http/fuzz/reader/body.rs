//! Bodies (RFC 9112 §6, §7.1) for the second reading: the grammar of the RFC as functions that call each other.

use super::{Sizes, Stop, is_control, is_token};

/// The body of a declared size that `bytes` begin with.
pub(crate) fn read_length(bytes: &[u8], size: u64) -> Result<(Vec<u8>, usize), Stop> {
    let size = usize::try_from(size).map_err(|_| Stop::More)?;
    bytes.get(..size).map(|body| (body.to_vec(), size)).ok_or(Stop::More)
}

/// The chunked body that `bytes` begin with, decoded, and the size of what it took.
pub(crate) fn read_chunks(bytes: &[u8], sizes: &Sizes) -> Result<(Vec<u8>, usize), Stop> {
    let mut cursor = Cursor { bytes, at: 0, body: Vec::new(), extension_size: 0, trailer_size: 0, sizes };
    // chunked-body = *chunk last-chunk trailer-section CRLF
    loop {
        let size = cursor.chunk_size()?;
        cursor.extensions()?;
        cursor.expect(b"\r\n")?;
        if size == 0 {
            break;
        }
        cursor.data(size)?;
        cursor.expect(b"\r\n")?;
    }
    cursor.trailers()?;
    cursor.expect(b"\r\n")?;
    Ok((cursor.body, cursor.at))
}

struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
    body: Vec<u8>,
    extension_size: usize,
    trailer_size: usize,
    sizes: &'b Sizes,
}

impl Cursor<'_> {
    fn peek(&self) -> Result<u8, Stop> {
        self.bytes.get(self.at).copied().ok_or(Stop::More)
    }

    /// Takes a byte of framing, of which there may be 16 KiB, or as much as data.
    fn take(&mut self) -> Result<u8, Stop> {
        let byte = self.peek()?;
        self.at += 1;
        if self.at - self.body.len() > self.body.len().max(16 * 1024) { wrong() } else { Ok(byte) }
    }

    fn expect(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        for byte in bytes {
            if self.take()? != *byte {
                return wrong();
            }
        }
        Ok(())
    }

    /// `chunk-size = 1*HEXDIG`, at most 16 of them and below 2^63.
    fn chunk_size(&mut self) -> Result<u128, Stop> {
        let mut digits = String::new();
        while self.peek()?.is_ascii_hexdigit() {
            digits.push(char::from(self.take()?));
            if digits.len() > 16 || u128::from_str_radix(&digits, 16).is_ok_and(|size| size >= 1 << 63) {
                return wrong();
            }
        }
        let Ok(size) = u128::from_str_radix(&digits, 16) else { return wrong() };
        if self.body.len() as u128 + size > u128::from(self.sizes.body_max) {
            // What ends the size may be wrong as well, or one byte of framing too much.
            return Err(Stop::Wrong(vec![413, 400]));
        }
        Ok(size)
    }

    /// `chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )`
    fn extensions(&mut self) -> Result<(), Stop> {
        let mut has_blank = self.blanks()?;
        while self.peek()? == b';' {
            self.take_extension()?;
            self.blanks()?;
            self.token()?;
            has_blank = self.blanks()?;
            if self.peek()? == b'=' {
                self.take_extension()?;
                self.blanks()?;
                if self.peek()? == b'"' {
                    self.quoted()?
                } else {
                    self.token()?
                }
                has_blank = self.blanks()?;
            }
        }
        self.check_extensions()?;
        // Whitespace may stand before another extension, not before the end of the line.
        if has_blank { wrong() } else { Ok(()) }
    }

    fn token(&mut self) -> Result<(), Stop> {
        if !is_token(&[self.peek()?]) {
            return wrong();
        }
        while is_token(&[self.peek()?]) {
            self.take_extension()?;
        }
        Ok(())
    }

    /// `quoted-string = DQUOTE *( qdtext / quoted-pair ) DQUOTE` (RFC 9110 §5.6.4)
    fn quoted(&mut self) -> Result<(), Stop> {
        self.take_extension()?;
        loop {
            match self.take_extension()? {
                b'"' => return Ok(()),
                b'\\' if is_control(self.peek()?) => return wrong(),
                b'\\' => drop(self.take_extension()?),
                byte if is_control(byte) => return wrong(),
                _ => {}
            }
        }
    }

    fn blanks(&mut self) -> Result<bool, Stop> {
        let start = self.at;
        while matches!(self.peek()?, b' ' | b'\t') {
            self.take_extension()?;
        }
        Ok(self.at > start)
    }

    fn take_extension(&mut self) -> Result<u8, Stop> {
        self.check_extensions()?;
        self.extension_size += 1;
        self.take()
    }

    /// Told at the byte behind the last that was too many.
    fn check_extensions(&self) -> Result<(), Stop> {
        self.peek()?;
        if self.extension_size > self.sizes.extension_max { wrong() } else { Ok(()) }
    }

    fn data(&mut self, size: u128) -> Result<(), Stop> {
        let rest = &self.bytes[self.at..];
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let data = rest.get(..size).ok_or(Stop::More)?;
        self.body.extend_from_slice(data);
        self.at += size;
        Ok(())
    }

    /// `trailer-section = *( field-line CRLF )`: read by the rules of fields, and dropped.
    fn trailers(&mut self) -> Result<(), Stop> {
        let mut count = 0;
        while self.peek()? != b'\r' {
            count += 1;
            let mut name = Vec::new();
            while is_token(&[self.peek()?]) {
                name.push(self.take_trailer()?);
                if count > self.sizes.trailer_count_max {
                    return wrong();
                }
            }
            let is_framing = ["content-length", "transfer-encoding", "host"]
                .iter()
                .any(|other| name.eq_ignore_ascii_case(other.as_bytes()));
            if self.take_trailer()? != b':' || name.is_empty() || is_framing {
                return wrong();
            }
            while !is_control(self.peek()?) {
                self.take_trailer()?;
            }
            if self.take_trailer()? != b'\r' || self.take_trailer()? != b'\n' {
                return wrong();
            }
        }
        Ok(())
    }

    fn take_trailer(&mut self) -> Result<u8, Stop> {
        self.trailer_size += 1;
        let byte = self.take()?;
        if self.trailer_size > self.sizes.trailer_max { wrong() } else { Ok(byte) }
    }
}

fn wrong<T>() -> Result<T, Stop> {
    Err(Stop::Wrong(vec![400]))
}
