//! Reads responses off a byte stream, by the letter, and refuses what a careful client would.
//!
//! This module knows only the bytes and what was asked; it shares nothing with the server's code.

use std::fmt;

/// What the request says of its response's framing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// It was a HEAD request.
    pub head: bool,
    /// It was an HTTP/1.0 request.
    pub http10: bool,
}

/// A complete, well-formed response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The fields, in order, values without the whitespace around them.
    pub fields: Vec<(String, Vec<u8>)>,
    /// The body, decoded.
    pub body: Vec<u8>,
    /// Whether it says `Connection: close`.
    pub close: bool,
    /// Whether it says `Connection: keep-alive`.
    pub keep_alive: bool,
    /// The bytes that it took of the stream.
    pub size: usize,
}

/// Why bytes are not a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The first line is not a status line.
    StatusLine,
    /// The status is below 100 or above 599.
    Status,
    /// An LF without its CR.
    BareLf,
    /// A CR without its LF.
    BareCr,
    /// A control character in the head.
    Control,
    /// A field without a colon.
    NoColon,
    /// A field name that is not a token.
    FieldName,
    /// Two Content-Length fields.
    TwoLengths,
    /// A Content-Length that is not 1*DIGIT.
    Length,
    /// A Transfer-Encoding that is not exactly `chunked`, once.
    TransferEncoding,
    /// Content-Length and Transfer-Encoding together.
    TwoFramings,
    /// Neither, and the end of the connection isn't one either.
    NoFraming,
    /// A framing field on a response that must have none.
    FramingOnEmpty,
    /// Transfer-Encoding in the answer to an HTTP/1.0 request.
    ChunkedTo10,
    /// A 1xx in answer to an HTTP/1.0 request.
    InterimTo10,
    /// Not exactly one Date.
    Date,
    /// A Date that is not an IMF-fixdate.
    DateForm,
    /// Not exactly one Server.
    Server,
    /// `close` twice, or beside `keep-alive`.
    Connection,
    /// A chunk size that is not 1*HEXDIG, or too large to be true.
    ChunkSize,
    /// A chunk's bytes are not followed by CRLF.
    ChunkEnd,
    /// Something between the last chunk and the final CRLF.
    Trailer,
    /// A 205 with a body.
    ResetContent,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Malformed::StatusLine => "it does not begin with `HTTP/1.1`, a space, three digits and a space",
            Malformed::Status => "its status is not one of 100 to 599",
            Malformed::BareLf => "its head has an LF without a CR",
            Malformed::BareCr => "its head has a CR without an LF",
            Malformed::Control => "its head has a control character",
            Malformed::NoColon => "it has a field without a colon",
            Malformed::FieldName => "it has a field whose name is not a token",
            Malformed::TwoLengths => "it has two Content-Length fields",
            Malformed::Length => "its Content-Length is not a number in digits alone",
            Malformed::TransferEncoding => "its Transfer-Encoding is not `chunked`, said once",
            Malformed::TwoFramings => "it has both Content-Length and Transfer-Encoding",
            Malformed::NoFraming => "it has neither Content-Length nor Transfer-Encoding, and may not end by closing",
            Malformed::FramingOnEmpty => "it is a 1xx, 204 or 304 with a framing field that this status excludes",
            Malformed::ChunkedTo10 => "it has Transfer-Encoding, and the request was HTTP/1.0",
            Malformed::InterimTo10 => "it is a 1xx, and the request was HTTP/1.0",
            Malformed::Date => "it does not have exactly one Date",
            Malformed::DateForm => "its Date is not of the form `Sun, 06 Nov 1994 08:49:37 GMT`",
            Malformed::Server => "it does not have exactly one Server",
            Malformed::Connection => "its Connection says close twice, or both close and keep-alive",
            Malformed::ChunkSize => "it has a chunk whose size is not plain hexadecimal digits and CRLF",
            Malformed::ChunkEnd => "it has a chunk whose bytes are not followed by CRLF",
            Malformed::Trailer => "its last chunk is not followed by an empty line",
            Malformed::ResetContent => "it is a 205 with a body",
        })
    }
}

impl Reply {
    /// The values of the fields with this name, in any case.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let named = move |field: &&(String, Vec<u8>)| field.0.eq_ignore_ascii_case(name);
        self.fields.iter().filter(named).map(|field| field.1.as_slice())
    }
}

/// Reads the response that `bytes` begin with, or answers `None` where more must come. `ended` says that no
/// more will, which is what a body without any other end waits for.
///
/// # Errors
/// As soon as the bytes can't become a well-formed response.
pub fn read(bytes: &[u8], asked: Asked, ended: bool) -> Result<Option<Reply>, Malformed> {
    let Some(head_size) = find_head(bytes)? else { return Ok(None) };
    let mut reply = read_head(&bytes[..head_size])?;
    let framing = framing(&reply, asked)?;
    let rest = &bytes[head_size..];
    let body = match framing {
        Framing::Empty => Some((Vec::new(), 0)),
        Framing::Length(size) => rest.get(..size).map(|body| (body.to_vec(), size)),
        Framing::Chunked => read_chunks(rest)?,
        Framing::UntilClose => ended.then(|| (rest.to_vec(), rest.len())),
    };
    let Some((body, body_size)) = body else { return Ok(None) };
    if reply.status == 205 && !body.is_empty() {
        return Err(Malformed::ResetContent);
    }
    reply.body = body;
    reply.size = head_size + body_size;
    Ok(Some(reply))
}

enum Framing {
    Empty,
    Length(usize),
    Chunked,
    UntilClose,
}

/// The size of the head with its empty line, once it is there.
fn find_head(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    const START: &[u8] = b"HTTP/1.1 ";
    let start_size = bytes.len().min(START.len());
    if bytes[..start_size] != START[..start_size] {
        return Err(Malformed::StatusLine);
    }
    let mut line_start = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        match byte {
            b'\n' if index == 0 || bytes[index - 1] != b'\r' => return Err(Malformed::BareLf),
            b'\n' if index - line_start == 1 => return Ok(Some(index + 1)),
            b'\n' => line_start = index + 1,
            b'\r' if bytes.get(index + 1).is_some_and(|&next| next != b'\n') => return Err(Malformed::BareCr),
            b'\r' | b'\t' => {}
            0..=31 | 127 => return Err(Malformed::Control),
            _ => {}
        }
    }
    Ok(None)
}

fn read_head(head: &[u8]) -> Result<Reply, Malformed> {
    let mut lines =
        head[..head.len() - 4].split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let status_line = lines.next().ok_or(Malformed::StatusLine)?;
    let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', b' ', status @ .., b' '] =
        status_line.get(..13).ok_or(Malformed::StatusLine)?
    else {
        return Err(Malformed::StatusLine);
    };
    let status = digits(status).ok_or(Malformed::StatusLine)?;
    let status = u16::try_from(status).ok().filter(|status| (100..=599).contains(status)).ok_or(Malformed::Status)?;
    let mut reply =
        Reply { status, fields: Vec::new(), body: Vec::new(), close: false, keep_alive: false, size: head.len() };
    for line in lines {
        let colon = line.iter().position(|&byte| byte == b':').ok_or(Malformed::NoColon)?;
        let name = std::str::from_utf8(&line[..colon]).map_err(|_| Malformed::FieldName)?;
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(Malformed::FieldName);
        }
        reply.fields.push((name.to_owned(), line[colon + 1..].trim_ascii().to_vec()));
    }
    let options: Vec<Vec<u8>> = reply
        .values("connection")
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(|option| option.trim_ascii().to_ascii_lowercase())
        .collect();
    let said = |word: &[u8]| options.iter().filter(|option| option.as_slice() == word).count();
    let (close_count, keep_alive_count) = (said(b"close"), said(b"keep-alive"));
    if close_count + keep_alive_count > 1 {
        return Err(Malformed::Connection);
    }
    (reply.close, reply.keep_alive) = (close_count == 1, keep_alive_count == 1);
    Ok(reply)
}

/// RFC 9112 6.3 from the client's side, and the fields that every final response has here.
fn framing(reply: &Reply, asked: Asked) -> Result<Framing, Malformed> {
    let mut lengths = reply.values("content-length");
    let length = match (lengths.next(), lengths.next()) {
        (None, _) => None,
        (Some(value), None) => Some(digits(value).ok_or(Malformed::Length)?),
        (Some(_), Some(_)) => return Err(Malformed::TwoLengths),
    };
    let encodings: Vec<&[u8]> = reply.values("transfer-encoding").collect();
    let chunked = match encodings[..] {
        [] => false,
        [b"chunked"] => true,
        _ => return Err(Malformed::TransferEncoding),
    };
    let interim = reply.status < 200;
    if !interim {
        final_fields(reply)?;
    }
    if asked.http10 && interim {
        return Err(Malformed::InterimTo10);
    }
    if asked.http10 && chunked {
        return Err(Malformed::ChunkedTo10);
    }
    if length.is_some() && chunked {
        return Err(Malformed::TwoFramings);
    }
    match reply.status {
        100..=199 | 204 if length.is_some() || chunked => return Err(Malformed::FramingOnEmpty),
        304 if chunked => return Err(Malformed::FramingOnEmpty),
        100..=199 | 204 | 304 => return Ok(Framing::Empty),
        _ => {}
    }
    let by_close = asked.http10 && reply.close;
    // A HEAD answer ends with its head (RFC 9112 6.3); what a 1.0 client would have got is not always known.
    match length {
        None if asked.head && asked.http10 => Ok(Framing::Empty),
        None if !chunked && !by_close => Err(Malformed::NoFraming),
        _ if asked.head => Ok(Framing::Empty),
        Some(size) => Ok(Framing::Length(size)),
        None if chunked => Ok(Framing::Chunked),
        None => Ok(Framing::UntilClose),
    }
}

fn final_fields(reply: &Reply) -> Result<(), Malformed> {
    let dates: Vec<&[u8]> = reply.values("date").collect();
    let [date] = dates[..] else { return Err(Malformed::Date) };
    // A letter stands for a letter, a digit for a digit, and the rest for itself.
    const FORM: &[u8] = b"Aaa, 00 Aaa 0000 00:00:00 GMT";
    let fits = |(&form, &byte): (&u8, &u8)| match form {
        b'A' => byte.is_ascii_uppercase(),
        b'a' => byte.is_ascii_lowercase(),
        b'0' => byte.is_ascii_digit(),
        _ => byte == form,
    };
    if date.len() != FORM.len() || !FORM.iter().zip(date).all(fits) {
        return Err(Malformed::DateForm);
    }
    if reply.values("server").count() != 1 {
        return Err(Malformed::Server);
    }
    Ok(())
}

/// The decoded body and the bytes that its chunks took.
fn read_chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Malformed> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let digit_count = bytes[at..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let after = &bytes[at + digit_count..];
        if digit_count > 8 || !starts_like(after, b"\r\n") || (digit_count == 0 && !after.is_empty()) {
            return Err(Malformed::ChunkSize);
        }
        if after.len() < 2 {
            return Ok(None);
        }
        let size = std::str::from_utf8(&bytes[at..at + digit_count]).map_err(|_| Malformed::ChunkSize)?;
        let size = usize::from_str_radix(size, 16).map_err(|_| Malformed::ChunkSize)?;
        let data = &after[2..];
        at += digit_count + 2;
        if size == 0 {
            if !starts_like(data, b"\r\n") {
                return Err(Malformed::Trailer);
            }
            return Ok((data.len() >= 2).then_some((body, at + 2)));
        }
        let Some(end) = data.get(size..) else { return Ok(None) };
        if !starts_like(end, b"\r\n") {
            return Err(Malformed::ChunkEnd);
        }
        if end.len() < 2 {
            return Ok(None);
        }
        body.extend_from_slice(&data[..size]);
        at += size + 2;
    }
}

/// Whether `bytes` begin with `start`, as far as they go.
fn starts_like(bytes: &[u8], start: &[u8]) -> bool {
    let size = bytes.len().min(start.len());
    bytes[..size] == start[..size]
}

fn digits(text: &[u8]) -> Option<usize> {
    let all_digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    all_digits.then(|| std::str::from_utf8(text).ok()?.parse().ok())?
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &str = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: ringway\r\n";
    const GET: Asked = Asked { head: false, http10: false };
    const HEAD: Asked = Asked { head: true, http10: false };
    const OLD: Asked = Asked { head: false, http10: true };

    fn ok(more: &str) -> String {
        format!("HTTP/1.1 200 OK\r\n{FIELDS}{more}")
    }

    #[test]
    fn each_framing_is_read_to_its_end() {
        for (asked, bytes, body, rest) in [
            (GET, ok("Content-Length: 5\r\n\r\nhelloHTTP"), "hello", 4),
            (GET, ok("Content-Length: 0\r\n\r\n"), "", 0),
            (
                GET,
                ok("Transfer-Encoding: chunked\r\n\r\n3\r\none\r\nA\r\n0123456789\r\n0\r\n\r\nHTTP"),
                "one0123456789",
                4,
            ),
            (HEAD, ok("Content-Length: 5\r\n\r\nHTTP"), "", 4),
            (HEAD, ok("Transfer-Encoding: chunked\r\n\r\nHTTP"), "", 4),
            (OLD, ok("Connection: close\r\n\r\nall of it"), "all of it", 0),
            (Asked { head: true, http10: true }, ok("\r\nHTTP"), "", 4),
            (GET, format!("HTTP/1.1 204 No Content\r\n{FIELDS}\r\nHTTP"), "", 4),
            (GET, format!("HTTP/1.1 304 Not Modified\r\n{FIELDS}Content-Length: 13\r\n\r\nHTTP"), "", 4),
            (GET, "HTTP/1.1 100 Continue\r\n\r\nHTTP".to_owned(), "", 4),
        ] {
            let reply = read(bytes.as_bytes(), asked, true).unwrap().unwrap();
            assert_eq!((reply.body.as_slice(), bytes.len() - reply.size), (body.as_bytes(), rest), "{bytes:?}");
        }
    }

    #[test]
    fn a_prefix_of_a_response_waits_for_more() {
        for whole in [
            ok("Content-Length: 5\r\n\r\nhello"),
            ok("Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n"),
            "HTTP/1.1 100 Continue\r\n\r\n".to_owned(),
        ] {
            for size in 0..whole.len() {
                assert_eq!(read(&whole.as_bytes()[..size], GET, false), Ok(None), "{size} of {whole:?}");
            }
        }
        assert_eq!(read(ok("Connection: close\r\n\r\nall").as_bytes(), OLD, false), Ok(None));
    }

    #[test]
    fn connection_options_are_read() {
        let reply = read(ok("connection: x, Close\r\nContent-Length: 0\r\n\r\n").as_bytes(), GET, false);
        assert!(reply.unwrap().unwrap().close);
        let reply = read(ok("Connection: keep-alive\r\nContent-Length: 0\r\n\r\n").as_bytes(), GET, false);
        assert!(reply.unwrap().unwrap().keep_alive);
    }

    #[test]
    fn each_malformed_response_is_refused_for_its_own_reason() {
        let long = "Content-Length: 0\r\n\r\n";
        for (asked, bytes, reason) in [
            (GET, "Hello, World!".to_owned(), Malformed::StatusLine),
            (GET, format!("HTTP/1.0 200 OK\r\n{FIELDS}{long}"), Malformed::StatusLine),
            (GET, format!("HTTP/1.1 200\r\n{FIELDS}{long}"), Malformed::StatusLine),
            (GET, format!("HTTP/1.1 2x0 OK\r\n{FIELDS}{long}"), Malformed::StatusLine),
            (GET, format!("HTTP/1.1 600 OK\r\n{FIELDS}{long}"), Malformed::Status),
            (GET, format!("HTTP/1.1 099 OK\r\n{FIELDS}{long}"), Malformed::Status),
            (GET, format!("HTTP/1.1 200 OK\n{FIELDS}{long}"), Malformed::BareLf),
            (GET, ok("A: b\rc\r\n\r\n"), Malformed::BareCr),
            (GET, ok("A: \0\r\n\r\n"), Malformed::Control),
            (GET, ok("A: \u{7f}\r\n\r\n"), Malformed::Control),
            (GET, ok("nothing\r\n\r\n"), Malformed::NoColon),
            (GET, ok("a b: c\r\n\r\n"), Malformed::FieldName),
            (GET, ok(": c\r\n\r\n"), Malformed::FieldName),
            (GET, ok(" folded: c\r\n\r\n"), Malformed::FieldName),
            (GET, ok("Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"), Malformed::TwoLengths),
            (GET, ok("Content-Length: +5\r\n\r\nhello"), Malformed::Length),
            (GET, ok("Content-Length: 5, 5\r\n\r\nhello"), Malformed::Length),
            (GET, ok("Content-Length:\r\n\r\n"), Malformed::Length),
            (GET, ok("Content-Length: 99999999999999999999\r\n\r\n"), Malformed::Length),
            (GET, ok("Transfer-Encoding: gzip, chunked\r\n\r\n"), Malformed::TransferEncoding),
            (GET, ok("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"), Malformed::TransferEncoding),
            (GET, ok("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), Malformed::TwoFramings),
            (GET, ok("\r\nall of it"), Malformed::NoFraming),
            (GET, ok("Connection: close\r\n\r\nall of it"), Malformed::NoFraming),
            (OLD, ok("\r\nall of it"), Malformed::NoFraming),
            (HEAD, ok("\r\n"), Malformed::NoFraming),
            (GET, format!("HTTP/1.1 204 No Content\r\n{FIELDS}{long}"), Malformed::FramingOnEmpty),
            (GET, format!("HTTP/1.1 304 X\r\n{FIELDS}Transfer-Encoding: chunked\r\n\r\n"), Malformed::FramingOnEmpty),
            (GET, format!("HTTP/1.1 100 Continue\r\n{long}"), Malformed::FramingOnEmpty),
            (OLD, ok("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), Malformed::ChunkedTo10),
            (OLD, "HTTP/1.1 100 Continue\r\n\r\n".to_owned(), Malformed::InterimTo10),
            (GET, format!("HTTP/1.1 200 OK\r\nServer: x\r\n{long}"), Malformed::Date),
            (GET, ok(&format!("{FIELDS}{long}")), Malformed::Date),
            (GET, format!("HTTP/1.1 200 OK\r\nDate: Sunday, 06-Nov-94 08:49:37 GMT\r\n{long}"), Malformed::DateForm),
            (GET, format!("HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n{long}"), Malformed::Server),
            (GET, ok(&format!("Server: two\r\n{long}")), Malformed::Server),
            (GET, ok(&format!("Connection: close\r\nConnection: close\r\n{long}")), Malformed::Connection),
            (GET, ok(&format!("Connection: close, keep-alive\r\n{long}")), Malformed::Connection),
            (GET, format!("HTTP/1.1 205 Reset\r\n{FIELDS}Content-Length: 1\r\n\r\nx"), Malformed::ResetContent),
        ] {
            assert_eq!(read(bytes.as_bytes(), asked, true), Err(reason), "{bytes:?}");
        }
    }

    #[test]
    fn chunks_are_decoded_by_the_letter() {
        for (chunks, reason) in [
            ("5;a=b\r\nhello\r\n0\r\n\r\n", Malformed::ChunkSize),
            ("0x5\r\nhello\r\n0\r\n\r\n", Malformed::ChunkSize),
            ("5\nhello\r\n0\r\n\r\n", Malformed::ChunkSize),
            (" 5\r\nhello\r\n0\r\n\r\n", Malformed::ChunkSize),
            ("\r\nhello\r\n0\r\n\r\n", Malformed::ChunkSize),
            ("000000005\r\nhello\r\n0\r\n\r\n", Malformed::ChunkSize),
            ("5\r\nhello!\r\n0\r\n\r\n", Malformed::ChunkEnd),
            ("5\r\nhello\n0\r\n\r\n", Malformed::ChunkEnd),
            ("0\r\nA: b\r\n\r\n", Malformed::Trailer),
            ("0\r\n\n", Malformed::Trailer),
        ] {
            let bytes = ok(&format!("Transfer-Encoding: chunked\r\n\r\n{chunks}"));
            assert_eq!(read(bytes.as_bytes(), GET, true), Err(reason), "{chunks:?}");
        }
    }

    #[test]
    fn every_reason_is_its_own_sentence() {
        let all = [
            Malformed::StatusLine,
            Malformed::Status,
            Malformed::BareLf,
            Malformed::BareCr,
            Malformed::Control,
            Malformed::NoColon,
            Malformed::FieldName,
            Malformed::TwoLengths,
            Malformed::Length,
            Malformed::TransferEncoding,
            Malformed::TwoFramings,
            Malformed::NoFraming,
            Malformed::FramingOnEmpty,
            Malformed::ChunkedTo10,
            Malformed::InterimTo10,
            Malformed::Date,
            Malformed::DateForm,
            Malformed::Server,
            Malformed::Connection,
            Malformed::ChunkSize,
            Malformed::ChunkEnd,
            Malformed::Trailer,
            Malformed::ResetContent,
        ];
        let sentences: std::collections::HashSet<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(sentences.len(), all.len());
    }
}
