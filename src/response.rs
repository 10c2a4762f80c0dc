//! `start_response`: a response is started, given fields, given a body, and is then complete.
//!
//! The order is a typestate: [`StartResponse`] → [`Headers`] → [`Responded`]. What PEP 3333 forbids at run
//! time (starting twice, a field after the body, no response at all) does not compile. What types cannot
//! forbid is a [`Fault`]: the response is cut away, the peer gets 500, and the operator one line.
//!
//! Everything is written straight into the connection's [`Outbound`], behind a mark. Layout of a response:
//! ```text
//! mark: HTTP/1.1 200 OK          status line
//!       Content-Type: text/plain the application's fields, up to `fields_end`
//!       Server, Date, framing    the server's fields, written when the body is known
//!                                an empty line
//!       Hello, World!            the body, unless it is a payload or a stream
//! ```
//! A field that middleware adds later is inserted at `fields_end`. This module performs no I/O.
//!
//! Starting twice, a field after the body, and a response without a body do not compile:
//! ```compile_fail,E0382
//! # use ringway::{Responded, StartResponse, Status};
//! fn twice<'r>(start_response: StartResponse<'r>) -> Responded<'r> {
//!     let _first = start_response.start(Status::OK).empty();
//!     start_response.start(Status::OK).empty()
//! }
//! ```
//! ```compile_fail,E0382
//! # use ringway::{Responded, StartResponse, Status};
//! fn late<'r>(start_response: StartResponse<'r>) -> Responded<'r> {
//!     let headers = start_response.start(Status::OK);
//!     let responded = headers.body("body");
//!     let _late = headers.header("X-Late", "1");
//!     responded
//! }
//! ```
//! ```compile_fail,E0308
//! # use ringway::{Responded, StartResponse, Status};
//! fn unfinished<'r>(start_response: StartResponse<'r>) -> Responded<'r> {
//!     start_response.start(Status::OK).header("X-Early", "1")
//! }
//! ```

pub mod answer;
pub mod awaited;
mod draft;
pub mod fault;
pub mod guard;
pub mod nudge;
pub mod pipe;
#[cfg(feature = "wsgi")]
mod prepared;
pub mod stream;
pub mod writer;

use std::fmt::Display;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use crate::buffer::{FileRange, PAYLOAD_SIZE_MIN, Payload};
use crate::driver::Key;
use crate::http::head::Version;
use crate::http::header;
use crate::http::status::Status;
use crate::outbound::Outbound;
use answer::{Answer, Mailbox};
use draft::Body;
use fault::Fault;
use pipe::{Writer, pipe};
use stream::Stream;
use writer::Direct;

pub use draft::{Delimiter, Draft, Rest, Verdict};
#[cfg(feature = "wsgi")]
pub use prepared::Prepared;

/// A response that has not been started. The application consumes it, once.
#[must_use = "a response must be started"]
pub struct StartResponse<'r> {
    outbound: &'r mut Outbound,
    terms: &'r Terms<'r>,
    draft: &'r mut Draft,
}

/// A response with a status, to which fields may be added.
#[must_use = "a response needs a body; `empty()` gives it none"]
pub struct Headers<'r> {
    outbound: &'r mut Outbound,
    terms: &'r Terms<'r>,
    draft: &'r mut Draft,
}

/// A whole response, whose head the server has not yet published.
#[must_use = "a response is returned to the server"]
pub struct Responded<'r> {
    outbound: &'r mut Outbound,
    terms: &'r Terms<'r>,
    draft: &'r mut Draft,
}

/// A stream that is pulled away from its connection.
pub(crate) struct Diverted {
    pub(crate) stream: Box<dyn Stream>,
    /// Where its bytes go; `None` where none are wanted.
    pub(crate) writer: Option<Writer>,
    /// The size that was declared, in bytes, beyond which none are wanted.
    pub(crate) size_max: u64,
}

/// What the connection knows about the answer before it is made.
#[derive(Clone, Copy)]
pub struct Terms<'r> {
    /// The request's version; HTTP/1.0 knows neither chunks nor interim responses.
    pub version: Version,
    /// Whether the request's method was HEAD, so that no byte of a body may be sent.
    pub is_head: bool,
    /// Whether the connection is to stay open after this answer.
    pub keep_alive: bool,
    /// The rendered `Server` and `Date` lines.
    pub stamp: &'r Stamp,
    /// Where a pending answer comes back to.
    pub mailbox: &'r Arc<Mailbox>,
    /// The connection.
    pub key: Key,
    /// The request's id, for a field of the server's own; empty where there is none.
    pub request_id: &'r [u8],
    /// Where bytes go that the application writes during its call.
    pub direct: Direct<'r>,
}

/// The server's own lines, rendered once a second: `Server: ringway` CRLF `Date: …` CRLF `Content-Length: `, whose
/// digits are each response's own.
#[derive(Clone)]
pub struct Stamp {
    lines: [u8; STAMP_SIZE],
}

impl<'r> StartResponse<'r> {
    /// Made by the connection, or by an [`Answer`], for one request; public for a bench that assembles a response alone.
    #[doc(hidden)]
    pub fn new(outbound: &'r mut Outbound, terms: &'r Terms<'r>, draft: &'r mut Draft) -> StartResponse<'r> {
        StartResponse { outbound, terms, draft }
    }

    /// Starts the response with a final status (RFC 9110 §15).
    pub fn start(self, status: Status) -> Headers<'r> {
        let StartResponse { outbound, terms, draft } = self;
        let mark = outbound.size();
        put_status_line(outbound, status);
        *draft = Draft::new(status, mark, outbound.size(), terms.keep_alive);
        Headers { outbound, terms, draft }
    }

    /// Answers later, from anywhere: return the [`Responded`] and complete the [`Answer`], which may be
    /// sent to another thread. An answer that is dropped is a 500.
    pub fn later(self) -> (Responded<'r>, Answer) {
        let StartResponse { outbound, terms, draft } = self;
        let mark = outbound.size();
        *draft = Draft::new(Status::OK, mark, mark, terms.keep_alive);
        let answer = Answer::new(terms);
        draft.body = Body::Later(answer.ticket());
        (Responded { outbound, terms, draft }, answer)
    }

    /// The application failed: the peer gets 500, and the operator `reason` on one line.
    pub fn fail(self, reason: impl Display) -> Responded<'r> {
        self.refuse(Fault::Failed(fault::one_line(&reason.to_string())))
    }

    /// The application broke a rule: the peer gets the fault's status, and the operator one line.
    pub(crate) fn refuse(self, fault: Fault) -> Responded<'r> {
        let headers = self.start(fault.status());
        headers.draft.refuse(fault);
        headers.empty()
    }
}

impl<'r> Headers<'r> {
    /// Adds a field. `Date`, `Server` and `X-Request-Id` replace the server's own; `Content-Length` declares the size of
    /// the body; a hop-by-hop field, a name that is no token and a value with CR, LF or NUL are refused
    /// (RFC 9110 §5, PEP 3333 "Other HTTP Features").
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Headers<'r> {
        self.add(name.as_ref(), value.as_ref());
        self
    }

    /// Adds every field of an iterable, as [`Headers::header`] does.
    pub fn headers<N: AsRef<[u8]>, V: AsRef<[u8]>>(mut self, fields: impl IntoIterator<Item = (N, V)>) -> Headers<'r> {
        for (name, value) in fields {
            self.add(name.as_ref(), value.as_ref());
        }
        self
    }

    /// Closes the connection after this response.
    pub fn close(self) -> Headers<'r> {
        self.draft.keep_alive = false;
        self
    }

    /// Completes the response with these bytes, which are copied.
    pub fn body(mut self, bytes: impl AsRef<[u8]>) -> Responded<'r> {
        let bytes = bytes.as_ref();
        let size = bytes.len() as u64;
        let is_sent = self.admit_body(size);
        self.finish_head(Some(self.draft.declared_size.unwrap_or(size)), if is_sent { bytes } else { b"" });
        self.complete()
    }

    /// Completes the response without a body; where the status allows one, with `Content-Length: 0` or,
    /// for HEAD, the length that was declared.
    pub fn empty(self) -> Responded<'r> {
        self.body(b"")
    }

    /// Completes the response with bytes of the program itself, sent from where they lie if they are many.
    pub fn body_static(self, bytes: &'static [u8]) -> Responded<'r> {
        if bytes.len() < PAYLOAD_SIZE_MIN {
            return self.body(bytes);
        }
        self.payload(Payload::Static(bytes))
    }

    /// Completes the response with bytes that are sent from where they lie, and whose owner is dropped when
    /// the kernel has taken them.
    pub fn body_owned(self, bytes: impl AsRef<[u8]> + Send + 'static) -> Responded<'r> {
        if bytes.as_ref().len() < PAYLOAD_SIZE_MIN {
            return self.body(bytes);
        }
        self.payload(Payload::Owned(Box::new(bytes)))
    }

    /// Completes the response with `size` bytes of `file` from `offset` on (bytes, both). A file that is
    /// shorter closes the connection.
    pub fn file(self, file: impl Into<Arc<File>>, offset: u64, size: u64) -> Responded<'r> {
        if size == 0 {
            return self.empty();
        }
        self.payload(Payload::File(FileRange { file: file.into(), offset, size }))
    }

    /// Completes the response with a payload that is sent from where it lies, whatever its size: [`Headers::file`] and
    /// the others above make one, and so does [`Input::payload`](crate::environ::Input::payload).
    pub fn payload(mut self, payload: Payload) -> Responded<'r> {
        let size = payload.size();
        let is_sent = self.admit_body(size);
        self.finish_head(Some(self.draft.declared_size.unwrap_or(size)), b"");
        if is_sent {
            self.outbound.set_payload(payload);
            self.draft.body = Body::Payload(size);
        }
        self.complete()
    }

    /// Completes the response with a body that is pulled when there is room. Declare `Content-Length` where
    /// it is known: a shorter stream aborts the connection, a longer one is cut.
    pub fn stream(mut self, stream: impl Stream + 'static) -> Responded<'r> {
        let declared = self.draft.declared_size;
        self.finish_head(declared, b"");
        self.draft.body = Body::Stream(Box::new(stream));
        self.complete()
    }

    fn add(&mut self, name: &[u8], value: &[u8]) {
        if !self.draft.check(name, value) {
            return;
        }
        self.outbound.put_parts([name, b": ", value, b"\r\n"]);
    }

    /// Holds a body of `size` bytes against what was declared. Answers whether bytes of it may follow the head.
    fn admit_body(&mut self, size: u64) -> bool {
        let is_bodiless = self.draft.status.is_bodiless();
        match self.draft.declared_size {
            Some(declared) if declared != size && !is_bodiless && !(self.terms.is_head && size == 0) => {
                self.draft.refuse(Fault::SizeMismatch { declared, actual: size });
            }
            Some(_) | None => {}
        }
        size > 0 && !self.terms.is_head && !is_bodiless && self.draft.status != Status::RESET_CONTENT
    }

    /// Writes the server's fields, the empty line, and `body` behind it. `size` is that of the whole body, `None` where
    /// it is not known.
    fn finish_head(&mut self, size: Option<u64>, body: &[u8]) {
        let Headers { outbound, terms, draft } = self;
        draft.fields_end = outbound.size();
        // First of the server's own, so that middleware which has another one can put it in its place.
        if !terms.request_id.is_empty() && !draft.has_request_id {
            put_request_id(outbound, terms.request_id);
        }
        let mut digits = itoa::Buffer::new();
        let length = match (draft.status.is_bodiless(), draft.status) {
            // A 204 must not have a length (RFC 9110 §8.6); a 304 may only repeat that of the 200.
            (true, Status::NOT_MODIFIED) => draft.declared_size,
            (true, _) => None,
            (false, Status::RESET_CONTENT) => Some(0),
            (false, _) => size,
        };
        let is_chunked = length.is_none() && !draft.status.is_bodiless() && terms.version == Version::Http11;
        if length.is_none() && !draft.status.is_bodiless() && !is_chunked {
            draft.keep_alive &= terms.is_head;
        }
        // The end of the line before, what the connection is told, and the empty line.
        let end: &[u8] = match (draft.keep_alive, terms.version) {
            (true, Version::Http11) => b"\r\n\r\n",
            (true, Version::Http10) => b"\r\nConnection: keep-alive\r\n\r\n",
            (false, Version::Http11 | Version::Http10) => b"\r\nConnection: close\r\n\r\n",
        };
        let stamp = terms.stamp;
        match length {
            // As nearly every head ends, in one copy and the digits.
            Some(length) if !draft.has_server && !draft.has_date => {
                outbound.put_parts([&stamp.lines, digits.format(length).as_bytes(), end, body]);
            }
            Some(length) => {
                let lines = stamp.lines(!draft.has_server, !draft.has_date);
                outbound.put_parts([lines, CONTENT_LENGTH, digits.format(length).as_bytes(), end, body]);
            }
            None => {
                let lines = stamp.lines(!draft.has_server, !draft.has_date);
                let coding: &[u8] = if is_chunked { b"Transfer-Encoding: chunked\r\n" } else { b"" };
                outbound.put_parts([lines, coding, &end[2..], body]);
            }
        }
        draft.body_start = outbound.size() - body.len();
    }

    fn complete(self) -> Responded<'r> {
        let Headers { outbound, terms, draft } = self;
        Responded { outbound, terms, draft }
    }
}

/// For middleware: what an application answered may be read, added to and replaced.
impl<'r> Responded<'r> {
    /// The status, `None` if the answer comes later.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        match self.draft.body {
            Body::Later(_) | Body::Awaited(_) => None,
            Body::Written | Body::Payload(_) | Body::Stream(_) | Body::Pulled => Some(self.draft.status),
        }
    }

    /// A copy of the application's fields, in order.
    #[must_use]
    pub fn fields(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let head = self.outbound.copy_range(self.draft.fields_start, self.draft.fields_end);
        let lines = head.split(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\r"));
        lines
            .filter_map(|line| {
                let colon = memchr::memchr(b':', line)?;
                Some((line[..colon].to_vec(), header::trim(&line[colon + 1..]).to_vec()))
            })
            .collect()
    }

    /// A copy of the body, if it was written as bytes; `None` for a payload, a stream or a pending answer.
    #[must_use]
    pub fn body_bytes(&self) -> Option<Vec<u8>> {
        match self.draft.body {
            Body::Written => Some(self.outbound.copy_range(self.draft.body_start, self.outbound.size())),
            Body::Payload(_) | Body::Stream(_) | Body::Later(_) | Body::Awaited(_) | Body::Pulled => None,
        }
    }

    /// Adds a field behind the application's. A pending answer is left as it is: wrap its completion instead.
    pub fn header(self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Responded<'r> {
        let (name, value) = (name.as_ref(), value.as_ref());
        if self.status().is_none() || self.draft.fault.is_some() {
            return self;
        }
        let has_own_id = !self.terms.request_id.is_empty() && !self.draft.has_request_id;
        if is_settled(name) {
            self.draft.refuse(Fault::LateField(fault::one_line(&String::from_utf8_lossy(name))));
        } else if self.draft.check(name, value) {
            let line = [name, b": ", value, b"\r\n"].concat();
            let replaced_size = match has_own_id && self.draft.has_request_id {
                true => REQUEST_ID.len() + self.terms.request_id.len() + 4,
                false => 0,
            };
            let position = self.draft.fields_end;
            self.outbound.replace(position, position + replaced_size, &line);
            self.draft.fields_end += line.len();
            self.draft.body_start = self.draft.body_start + line.len() - replaced_size;
        }
        self
    }

    /// Drops the body, keeps status and fields (without `Content-Length`), and awaits another body.
    pub fn replace_body(self) -> Headers<'r> {
        let fields = self.fields();
        let Responded { outbound, terms, draft } = self;
        awaited::give_up();
        outbound.truncate(draft.mark);
        let (status, keep_alive, fault) = (draft.status, draft.keep_alive, draft.fault.take());
        let mut headers = StartResponse { outbound, terms, draft }.start(status);
        headers.draft.keep_alive = keep_alive;
        headers.draft.fault = fault;
        for (name, value) in &fields {
            if !name.eq_ignore_ascii_case(b"content-length") {
                headers.add(name, value);
            }
        }
        headers
    }

    /// Drops the whole response and awaits another.
    pub fn restart(self) -> StartResponse<'r> {
        let Responded { outbound, terms, draft } = self;
        awaited::give_up();
        outbound.truncate(draft.mark);
        *draft = Draft::default();
        StartResponse { outbound, terms, draft }
    }

    /// Takes the stream, to be pulled elsewhere, and puts a pipe in its place.
    pub(crate) fn divert(&mut self) -> Option<Diverted> {
        if !matches!(self.draft.body, Body::Stream(_)) {
            return None;
        }
        let (writer, body) = match self.draft.relayed.take() {
            Some(writer) => (writer, Body::Written),
            None => {
                let (writer, reader) = pipe();
                (writer, Body::Stream(Box::new(reader)))
            }
        };
        let Body::Stream(stream) = std::mem::replace(&mut self.draft.body, body) else { return None };
        let is_wanted = !self.terms.is_head && self.draft.fault.is_none() && !self.draft.status.is_bodiless();
        let size_max = self.draft.declared_size.unwrap_or(u64::MAX);
        Some(Diverted { stream, writer: is_wanted.then_some(writer), size_max })
    }

    /// The connection's view: what was written and what is still to come, or the fault for which it was
    /// cut away.
    pub(crate) fn judge(self) -> Result<Verdict, Fault> {
        let Responded { outbound, terms, draft } = self;
        draft.judge(outbound, terms.version, terms.is_head)
    }
}

impl Stamp {
    /// Renders the lines for `now`.
    #[must_use]
    pub fn new(now: std::time::SystemTime) -> Stamp {
        let mut lines = [b' '; STAMP_SIZE];
        // Once a second, and still nothing is allocated. An IMF-fixdate always has 29 bytes (RFC 9110 §5.6.7).
        let written =
            write!(&mut lines[..], "Server: ringway\r\nDate: {}\r\nContent-Length: ", httpdate::HttpDate::from(now));
        assert!(written.is_ok() && lines.ends_with(CONTENT_LENGTH), "a date has its fixed size");
        Stamp { lines }
    }

    /// Those of the two whole lines that are wanted.
    fn lines(&self, with_server: bool, with_date: bool) -> &[u8] {
        let lines = &self.lines[..STAMP_SIZE - CONTENT_LENGTH.len()];
        let (server, date) = lines.split_at(SERVER_LINE_SIZE);
        match (with_server, with_date) {
            (true, true) => lines,
            (true, false) => server,
            (false, true) => date,
            (false, false) => b"",
        }
    }
}

/// Whether the server's lines, already written, depend on the field.
fn is_settled(name: &[u8]) -> bool {
    [&b"content-length"[..], b"date", b"server"].iter().any(|settled| name.eq_ignore_ascii_case(settled))
}

fn put_request_id(outbound: &mut Outbound, id: &[u8]) {
    outbound.put_parts([REQUEST_ID.as_bytes(), b": ", id, b"\r\n"]);
}

fn put_status_line(outbound: &mut Outbound, status: Status) {
    match status.line() {
        Some(line) => outbound.put(line.as_bytes()),
        None => outbound.put_parts([b"HTTP/1.1 ", itoa::Buffer::new().format(status.code()).as_bytes(), b" \r\n"]),
    }
}

/// The field that carries the request's id.
pub(crate) const REQUEST_ID: &str = "X-Request-Id";
const SERVER_LINE_SIZE: usize = b"Server: ringway\r\n".len();
const CONTENT_LENGTH: &[u8] = b"Content-Length: ";
const STAMP_SIZE: usize = SERVER_LINE_SIZE + b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n".len() + CONTENT_LENGTH.len();
