//! A status and fields that are checked before the response they belong to is begun.
//!
//! PEP 3333 lets an application call `start_response` long before its first byte, and call it again: what it said
//! is checked at once, where it can still be told, and kept until it is sent. This module performs no I/O.

use crate::http::header;
use crate::http::status::Status;

use super::fault::{self, Fault};
use super::{Draft, Headers, StartResponse};

/// A checked status line and checked fields.
pub struct Prepared {
    status: Status,
    /// The status line where the reason phrase is the application's own; else empty.
    status_line: Vec<u8>,
    lines: Vec<u8>,
    draft: Draft,
}

impl Default for Prepared {
    fn default() -> Prepared {
        let status = Status::OK;
        Prepared { status, status_line: Vec::new(), lines: Vec::new(), draft: Draft::new(status, 0, 0, true) }
    }
}

impl Prepared {
    /// Begins again with a status as PEP 3333 writes it: three digits, a space, a reason phrase.
    ///
    /// # Errors
    /// Text of another form, an interim status, or a control byte in the reason phrase.
    pub fn begin(&mut self, text: &[u8]) -> Result<(), Fault> {
        let wrong = || Fault::StatusText(fault::one_line(&String::from_utf8_lossy(text)));
        let (digits, reason) = text.split_at_checked(3).ok_or_else(wrong)?;
        let reason = reason.strip_prefix(b" ").ok_or_else(wrong)?;
        let is_number = digits.iter().all(u8::is_ascii_digit);
        let code = std::str::from_utf8(digits).ok().filter(|_| is_number).and_then(|digits| digits.parse().ok());
        let status = code.and_then(Status::from_code).ok_or_else(wrong)?;
        if !header::is_field_value(reason) {
            return Err(wrong());
        }
        self.status = status;
        self.status_line.clear();
        if status.reason_phrase().as_bytes() != reason {
            for part in [&b"HTTP/1.1 "[..], text, b"\r\n"] {
                self.status_line.extend_from_slice(part);
            }
        }
        self.lines.clear();
        self.draft = Draft::new(status, 0, 0, true);
        Ok(())
    }

    /// Adds a field, as [`Headers::header`] does.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), Fault> {
        if self.draft.check(name, value) {
            for part in [name, b": ", value, b"\r\n"] {
                self.lines.extend_from_slice(part);
            }
        }
        self.draft.fault.take().map_or(Ok(()), |fault| Err(*fault))
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    /// The Content-Length that was declared, in bytes.
    #[must_use]
    pub fn declared_size(&self) -> Option<u64> {
        self.draft.declared_size
    }

    /// Declares the size of the body, unless the application did.
    pub fn declare(&mut self, size: u64) {
        self.draft.declared_size.get_or_insert(size);
    }
}

impl<'r> StartResponse<'r> {
    /// Starts the response with what was prepared.
    pub(crate) fn start_prepared(self, prepared: &Prepared) -> Headers<'r> {
        let StartResponse { outbound, terms, draft } = self;
        let mark = outbound.size();
        if prepared.status_line.is_empty() {
            super::put_status_line(outbound, prepared.status);
        } else {
            outbound.put(&prepared.status_line);
        }
        let fields_start = outbound.size();
        outbound.put(&prepared.lines);
        *draft = Draft::new(prepared.status, mark, fields_start, terms.keep_alive);
        draft.declared_size = prepared.draft.declared_size;
        draft.has_date = prepared.draft.has_date;
        draft.has_server = prepared.draft.has_server;
        draft.has_request_id = prepared.draft.has_request_id;
        Headers { outbound, terms, draft }
    }

    /// Whether the request's method is HEAD.
    pub(crate) fn is_head(&self) -> bool {
        self.terms.is_head
    }
}
