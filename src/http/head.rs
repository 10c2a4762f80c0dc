//! The head of a request: where it ends, and what it says.
//!
//! A head that comes in one piece and keeps every rule is read in one pass, by [`Head::parse_front`]. Any other is
//! looked at again: [`Scan`] finds the end without looking at a byte twice, however slowly the bytes come, and
//! refuses a bare line feed on the way, which httparse would take for a line's end; [`Head::parse`] then lets
//! httparse read the complete head once and applies our own policy to what it found. No I/O.

use std::mem::MaybeUninit;

use super::error::Error;
use super::framing::{self, Framing};
use super::header;
use super::target::{self, Target};

/// The two versions that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// A field as received: the value without the whitespace around it.
pub type Field<'a> = httparse::Header<'a>;

/// Sizes of a head.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of the request line, without its CRLF; past it 414.
    pub request_line_max: usize,
    /// Bytes from the request line to the empty line; past it 431.
    pub head_max: usize,
    /// Fields, at most [`FIELD_COUNT_MAX`]; past it 431.
    pub field_count_max: usize,
}

/// A search for the end of a head that goes on where it stopped.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scan {
    /// Where the request line begins, behind the ignored empty lines.
    start: u32,
    /// Where the line being looked at begins.
    line_start: u32,
    /// Bytes looked at.
    position: u32,
    ignored_count: u8,
}

/// A complete head lies at `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The first byte of the request line.
    pub start: usize,
    /// One past the empty line.
    pub end: usize,
}

/// A head that keeps every rule.
pub struct Head<'a> {
    /// The method, any token of at most 32 bytes.
    pub method: &'a [u8],
    /// The target.
    pub target: Target<'a>,
    /// The version.
    pub version: Version,
    /// The fields, in order.
    pub fields: &'a [Field<'a>],
    /// All of it as received, up to and with the empty line.
    pub raw: &'a [u8],
    /// What the fields mean for the server.
    pub facts: Facts<'a>,
}

/// What the fields mean for the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts<'a> {
    /// How long the body is.
    pub framing: Framing,
    /// Whether the peer wants the connection to stay (RFC 9112 §9.3).
    pub keep_alive: bool,
    /// Whether a 100 is awaited; only with a body, and on 1.1 (RFC 9110 §10.1.1).
    pub expect_continue: bool,
    /// The host: of an absolute target, else of Host; 1.0 may have none.
    pub host: Option<&'a [u8]>,
}

/// Fields that a head can have at most.
pub const FIELD_COUNT_MAX: usize = 100;

impl Scan {
    /// Looks on in `bytes`, which begin where they began in the last call and are longer.
    ///
    /// # Errors
    /// As soon as the head cannot become right: a CR without LF or an LF without CR, a third empty line, a
    /// request line without a version, a size past its limit.
    pub fn advance(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<Option<Found>, Error> {
        loop {
            let rest = bytes.get(self.position as usize..).unwrap_or_default();
            let Some(offset) = memchr::memchr2(b'\r', b'\n', rest) else {
                self.position = place(bytes.len());
                break;
            };
            self.position += place(offset);
            let mark = rest.get(offset..offset + 2).or(rest.get(offset..)).unwrap_or_default();
            if mark == b"\r" {
                break;
            }
            // What was there of the head before the byte that shows what this CR or LF is.
            let seen_size = self.position - self.start + u32::from(mark.starts_with(b"\r"));
            self.check_sizes(seen_size, limits)?;
            match mark {
                b"\r\n" => {}
                [b'\r', ..] => return Err(Error::Head),
                _ => return Err(Error::BareLineFeed),
            }
            let line = bytes.get(self.line_start as usize..self.position as usize).unwrap_or_default();
            self.position += 2;
            if let Some(found) = self.end_line(line)? {
                return Ok(Some(found));
            }
        }
        self.check_sizes(place(bytes.len()) - self.start, limits)?;
        Ok(None)
    }

    /// A size is told before anything else that is wrong, as it is where the bytes come one at a time. The line
    /// goes up to `position`, without the CR that may end it; to `seen_size` at least one byte must come. A head
    /// that is too large before its first line has ended has too long a one.
    fn check_sizes(&self, seen_size: u32, limits: &HeadLimits) -> Result<(), Error> {
        let is_request_line = self.line_start == self.start;
        if is_request_line && (self.position - self.start) as usize > limits.request_line_max {
            return Err(Error::RequestLineTooLong);
        }
        match (seen_size as usize >= limits.head_max, is_request_line) {
            (false, true | false) => Ok(()),
            (true, true) => Err(Error::RequestLineTooLong),
            (true, false) => Err(Error::HeadTooLarge),
        }
    }

    /// A line has ended at `position`; an empty one behind the request line ends the head.
    fn end_line(&mut self, line: &[u8]) -> Result<Option<Found>, Error> {
        let is_request_line = self.line_start == self.start;
        self.line_start = self.position;
        match (line.is_empty(), is_request_line) {
            (true, true) if self.ignored_count == IGNORED_COUNT_MAX => return Err(Error::EmptyLines),
            (true, true) => {
                self.ignored_count += 1;
                self.start = self.position;
            }
            (true, false) => {
                return Ok(Some(Found { start: self.start as usize, end: self.position as usize }));
            }
            // A line without a version is HTTP/0.9, which has no fields to wait for.
            (false, true) if !has_version(line) => return Err(Error::Head),
            (false, true | false) => {}
        }
        Ok(None)
    }

    /// Whether a byte of a request line has been seen; only then is a timeout one of the peer's request.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.position > self.start
    }

    /// Where the request line begins, behind the ignored empty lines.
    #[must_use]
    pub fn start(&self) -> usize {
        self.start as usize
    }

    /// Forgets the ignored empty lines, whose bytes the caller consumes. Answers how many bytes they are.
    pub fn take_ignored(&mut self) -> usize {
        let size = std::mem::take(&mut self.start);
        self.line_start -= size;
        self.position -= size;
        size as usize
    }
}

impl<'a> Head<'a> {
    /// Reads a head from the front of `bytes` in one pass, where it is complete there and right. `None` says
    /// nothing: what is missing or wrong is told by [`Scan`] and [`Head::parse`], in the order that is theirs.
    ///
    /// httparse takes a bare line feed for a line's end, so the CR is looked for before each; that a lone CR ends
    /// no line, and that no line is folded, it sees to itself.
    pub fn parse_front(
        bytes: &'a [u8],
        slots: &'a mut [MaybeUninit<Field<'a>>],
        limits: &HeadLimits,
    ) -> Option<Head<'a>> {
        // Empty lines before a request are for the scan to count.
        if !bytes.first()?.is_ascii_graphic() {
            return None;
        }
        let mut request = httparse::Request::new(&mut []);
        let Ok(httparse::Status::Complete(size)) = request.parse_with_uninit_headers(bytes, slots) else { return None };
        let bytes = bytes.get(..size).filter(|bytes| size <= limits.head_max && bytes.ends_with(b"\r\n\r\n"))?;
        let fields: &'a [Field<'a>] = request.headers;
        let starts = fields.iter().map(|field| field.name.as_ptr().addr() - bytes.as_ptr().addr());
        if !starts.clone().all(|start| bytes[..start].ends_with(b"\r\n")) {
            return None;
        }
        let request_line_size = starts.clone().next().map_or(size - 4, |start| start - 2);
        if request_line_size > limits.request_line_max {
            return None;
        }
        Head::of(bytes, request.method?, request.path?, request.version?, fields).ok()
    }

    /// Reads a head that [`Scan`] has found complete.
    ///
    /// # Errors
    /// Whatever is wrong with it; where several things are, any of them.
    pub fn parse(bytes: &'a [u8], slots: &'a mut [MaybeUninit<Field<'a>>]) -> Result<Head<'a>, Error> {
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(bytes, slots) {
            Ok(httparse::Status::Complete(size)) if size == bytes.len() => {}
            Ok(httparse::Status::Complete(_) | httparse::Status::Partial) => return Err(Error::Head),
            Err(error) => return Err(classify(bytes, error)),
        }
        let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
            return Err(Error::Head);
        };
        Head::of(bytes, method, target, version, request.headers)
    }

    /// Applies our own policy to what httparse has found in `bytes`. Inlined, or each head would be copied on its way out.
    #[inline(always)]
    fn of(
        bytes: &'a [u8],
        method: &'a str,
        target: &'a str,
        version: u8,
        fields: &'a [Field<'a>],
    ) -> Result<Head<'a>, Error> {
        let version = if version == 0 { Version::Http10 } else { Version::Http11 };
        if method.len() > METHOD_SIZE_MAX {
            return Err(Error::MethodTooLong);
        }
        let target = Target::parse(method.as_bytes(), target.as_bytes())?;
        let facts = Facts::of(version, &target, fields)?;
        Ok(Head { method: method.as_bytes(), target, version, fields, raw: bytes, facts })
    }
}

impl<'a> Facts<'a> {
    /// One pass over the fields; only those that matter to the server are looked at closely.
    #[inline(always)]
    fn of(version: Version, target: &Target<'a>, fields: &'a [Field<'a>]) -> Result<Facts<'a>, Error> {
        let mut framing = framing::Fields::default();
        let mut host = None;
        let mut expects_continue = false;
        let (mut says_close, mut says_keep_alive) = (false, false);
        for field in fields {
            let (name, value) = (field.name.as_bytes(), field.value);
            match name.len() {
                4 if header::is_named(name, b"host") && host.replace(value).is_some() => {
                    return Err(Error::Host);
                }
                6 if header::is_named(name, b"expect") => {
                    if !value.eq_ignore_ascii_case(b"100-continue") {
                        return Err(Error::Expectation);
                    }
                    expects_continue = true;
                }
                10 if header::is_named(name, b"connection") => {
                    for option in header::list(value) {
                        says_close |= option.eq_ignore_ascii_case(b"close");
                        says_keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                    }
                }
                14 if header::is_named(name, b"content-length") => framing.content_length(value)?,
                17 if header::is_named(name, b"transfer-encoding") => framing.transfer_encoding(value)?,
                _ => {}
            }
        }
        let codings = fields.iter().filter(|field| field.name.eq_ignore_ascii_case("transfer-encoding"));
        let framing = framing.decide(version, codings.map(|field| field.value))?;
        let has_body = !matches!(framing, Framing::None | Framing::Length(0));
        Ok(Facts {
            framing,
            keep_alive: !says_close && (version == Version::Http11 || says_keep_alive),
            expect_continue: expects_continue && has_body && version == Version::Http11,
            host: effective_host(version, target, host)?,
        })
    }
}

/// RFC 9112 §3.2: 1.1 must have a Host, and whoever has one must have it well formed; an absolute target's
/// authority overrules it.
fn effective_host<'a>(
    version: Version,
    target: &Target<'a>,
    host: Option<&'a [u8]>,
) -> Result<Option<&'a [u8]>, Error> {
    if host.is_none() && version == Version::Http11 || host.is_some_and(|host| !is_host(host)) {
        return Err(Error::Host);
    }
    match target {
        Target::Absolute { .. } if host.is_some_and(<[u8]>::is_empty) => Err(Error::Host),
        Target::Absolute { authority, .. } => Ok(Some(authority)),
        Target::Origin { .. } | Target::Asterisk | Target::Authority(_) => Ok(host),
    }
}

/// An empty Host is right where the target has no authority (RFC 9112 §3.2).
fn is_host(host: &[u8]) -> bool {
    host.is_empty() || target::is_authority(host)
}

/// A place in what has come of a head, which never is more than a few blocks.
fn place(index: usize) -> u32 {
    u32::try_from(index).expect("a head that long was refused long before")
}

/// Tells our errors apart where httparse has refused.
fn classify(bytes: &[u8], error: httparse::Error) -> Error {
    match error {
        httparse::Error::TooManyHeaders => Error::TooManyFields,
        httparse::Error::Version if has_other_version(bytes) => Error::Version,
        httparse::Error::Token if bytes.split(|byte| *byte == b' ').next().is_some_and(|m| !header::is_token(m)) => {
            Error::Method
        }
        httparse::Error::Version
        | httparse::Error::Token
        | httparse::Error::HeaderName
        | httparse::Error::HeaderValue
        | httparse::Error::NewLine
        | httparse::Error::Status => Error::Head,
    }
}

/// Whether the last word of the request line begins as a version does.
fn has_version(line: &[u8]) -> bool {
    let start = memchr::memrchr(b' ', line).map_or(0, |space| space + 1);
    line.get(start..).is_some_and(|word| word.len() >= 5 && word[..5].eq_ignore_ascii_case(b"HTTP/"))
}

/// Whether the request line ends in a version of the right grammar that is neither 1.0 nor 1.1.
fn has_other_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let version = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    match version.strip_prefix(b"HTTP/") {
        Some([major, b'.', minor]) => {
            major.is_ascii_digit() && minor.is_ascii_digit() && !(*major == b'1' && matches!(minor, b'0' | b'1'))
        }
        Some(_) | None => false,
    }
}

const METHOD_SIZE_MAX: usize = 32;
const IGNORED_COUNT_MAX: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { request_line_max: 100, head_max: 200, field_count_max: 100 };

    fn check(head: &[u8]) -> Result<(), Error> {
        let mut scan = Scan::default();
        let found = scan.advance(head, &LIMITS)?.ok_or(Error::Head)?;
        let mut slots = [const { MaybeUninit::<Field<'_>>::uninit() }; FIELD_COUNT_MAX];
        Head::parse(&head[found.start..found.end], &mut slots).map(|_| ())
    }

    /// The verdict is the same when the bytes come one at a time.
    fn check_slowly(head: &[u8]) -> Result<Option<Found>, Error> {
        let mut scan = Scan::default();
        for size in 1..=head.len() {
            if let Some(found) = scan.advance(&head[..size], &LIMITS)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    #[test]
    fn heads_and_verdicts() {
        let cases: &[(&str, Result<(), Error>)] = &[
            ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", Ok(())),
            ("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", Ok(())),
            ("\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", Err(Error::EmptyLines)),
            ("\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", Err(Error::BareLineFeed)),
            ("GET / HTTP/1.1\nHost: h\r\n\r\n", Err(Error::BareLineFeed)),
            ("GET / HTTP/1.1\r\nHost: h\n\r\n", Err(Error::BareLineFeed)),
            ("GET / HTTP/1.1\r\nHost: h\r\n\n", Err(Error::BareLineFeed)),
            ("GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n", Err(Error::Head)),
            ("GET / HTTP/1.1\r\n Host: h\r\n\r\n", Err(Error::Head)),
            ("GET / HTTP/1.1\r\nHost : h\r\n\r\n", Err(Error::Head)),
            ("GET / HTTP/1.1\r\n: x\r\nHost: h\r\n\r\n", Err(Error::Head)),
            ("GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", Err(Error::Head)),
            ("GET / HTTP/1.1\r\n\r\n", Err(Error::Host)),
            ("GET / HTTP/1.0\r\n\r\n", Ok(())),
            ("GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", Err(Error::Host)),
            ("GET http://h/ HTTP/1.1\r\nHost:\r\n\r\n", Err(Error::Host)),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n", Ok(())),
            ("GET / HTTP/2.0\r\nHost: h\r\n\r\n", Err(Error::Version)),
            ("PRI * HTTP/2.0\r\n\r\n", Err(Error::Version)),
            ("GET / HTTP/1.2\r\nHost: h\r\n\r\n", Err(Error::Version)),
            ("GET / http/1.1\r\nHost: h\r\n\r\n", Err(Error::Head)),
            ("GET / HTTP/1.32\r\nHost: h\r\n\r\n", Err(Error::Head)),
            ("GET  / HTTP/1.1\r\nHost: h\r\n\r\n", Err(Error::Head)),
            ("G@T / HTTP/1.1\r\nHost: h\r\n\r\n", Err(Error::Method)),
            ("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1\r\nHost: h\r\n\r\n", Err(Error::MethodTooLong)),
            ("GET / HTTP/1.1\r\nHost: h\r\nExpect: foo\r\n\r\n", Err(Error::Expectation)),
        ];
        for (head, expected) in cases {
            assert_eq!(check(head.as_bytes()), *expected, "{head:?}");
            let slow = check_slowly(head.as_bytes());
            let fast = Scan::default().advance(head.as_bytes(), &LIMITS);
            assert_eq!(slow, fast, "{head:?} in single bytes");
        }
    }

    #[test]
    fn sizes_have_their_own_status() {
        let long_line = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(100));
        let large_head = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(200));
        assert_eq!(check_slowly(long_line.as_bytes()), Err(Error::RequestLineTooLong));
        assert_eq!(check(long_line.as_bytes()), Err(Error::RequestLineTooLong));
        assert_eq!(check_slowly(large_head.as_bytes()), Err(Error::HeadTooLarge));
        assert_eq!(check(large_head.as_bytes()), Err(Error::HeadTooLarge));
        let exact = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(100 - 14));
        assert_eq!(check(exact.as_bytes()), Ok(()));
        let small = HeadLimits { head_max: 50, ..LIMITS };
        for size in [50, 99, 100, 101] {
            let verdict = Scan::default().advance(&vec![b'a'; size], &small);
            assert_eq!(verdict, Err(Error::RequestLineTooLong), "a line larger than a head");
        }
        // Something else is wrong as well, behind the byte that is one too many.
        for (start, expected) in [("", Error::RequestLineTooLong), ("GET / HTTP/1.1\r\nX: ", Error::HeadTooLarge)] {
            for end in ["\n", "\rX", "\r\n\r\n"] {
                let twice_wrong = format!("{start}{}{end}", "a".repeat(200));
                assert_eq!(check(twice_wrong.as_bytes()), Err(expected), "{end:?}");
                assert_eq!(check_slowly(twice_wrong.as_bytes()), Err(expected), "{end:?} in single bytes");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_get_the_same_verdict_in_any_pieces(bytes in proptest::collection::vec(
            proptest::sample::select(b"GET / HTTP/1.1\r\n\r\n:ax\n".to_vec()), 0..80), cut in 0usize..80) {
            let whole = Scan::default().advance(&bytes, &LIMITS);
            let mut scan = Scan::default();
            let first = scan.advance(&bytes[..cut.min(bytes.len())], &LIMITS);
            let pieces = match first {
                Ok(None) => scan.advance(&bytes, &LIMITS),
                Ok(Some(_)) | Err(_) => first,
            };
            proptest::prop_assert_eq!(whole, pieces);
            let _ = check(&bytes);
        }

        /// Lines right and wrong, in any order, with a byte changed here or there, under small and large limits.
        #[test]
        fn a_head_that_is_read_at_once_is_read_alike(
            lines in proptest::collection::vec(proptest::sample::select(LINES.to_vec()), 0..8),
            changed in 0usize..400, to in proptest::sample::select(b"\r\n :\t\0a".to_vec()), limits in 0u8..16) {
            let mut bytes = [&[0, limits * 3, limits, limits][..], &lines.concat()].concat();
            if let Some(byte) = bytes.get_mut(4 + changed) {
                *byte = to;
            }
            crate::http::fuzz::head(&bytes);
        }
    }

    const LINES: [&[u8]; 16] = [
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\n",
        b"POST /a?b HTTP/1.0\r\n",
        b"GET / HTTP/1.1\n",
        b"Host: h\r\n",
        b"Host: h\r\n",
        b"Host: h\n",
        b"Host:\r\n",
        b"X: a \r\n",
        b"X:\ta\r\n",
        b" folded\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"\r\n",
        b"\r\n",
        b"\n",
    ];
}
