//! How a response stands: what has been said of it, what is wrong with it, and what is still to come.
//!
//! The bytes themselves are in the outbound. Nothing is written here.

use crate::buffer::let_go;
use crate::http::head::Version;
use crate::http::header;
use crate::http::status::Status;
use crate::outbound::Outbound;

use super::answer::Ticket;
use super::awaited::Kept;
use super::fault::{self, Fault};
use super::pipe;
use super::stream::Stream;

/// How a response stands, without the bytes themselves. It stays where whoever asked for the response has it, and the
/// states of the response point to it: to move it from one to the next cost more than to write it.
pub struct Draft {
    pub(super) status: Status,
    pub(super) mark: usize,
    pub(super) fields_start: usize,
    pub(super) fields_end: usize,
    pub(super) body_start: usize,
    pub(super) declared_size: Option<u64>,
    pub(super) has_date: bool,
    pub(super) has_server: bool,
    pub(super) has_request_id: bool,
    pub(super) keep_alive: bool,
    pub(super) body: Body,
    /// What is wrong with it. Boxed, because nearly none has any, and a draft is written anew for each response.
    pub(super) fault: Option<Box<Fault>>,
    /// Bytes of the body that were written during the call.
    pub(super) written_size: u64,
    /// The pipe through which they went, for the rest of the body.
    pub(super) relayed: Option<pipe::Writer>,
}

impl Default for Draft {
    fn default() -> Draft {
        Draft::new(Status::OK, 0, 0, true)
    }
}

/// Where the body of a response comes from.
#[derive(Default)]
pub(super) enum Body {
    /// It lies behind the head, or there is none.
    #[default]
    Written,
    /// It is the outbound's payload, of this size.
    Payload(u64),
    /// It is pulled when there is room.
    Stream(Box<dyn Stream>),
    /// The whole response comes later, by the answer with this ticket.
    Later(Ticket),
    /// The whole response is awaited on the worker's thread.
    Awaited(Kept),
    /// It is pulled from who was awaited for the head.
    Pulled,
}

/// What becomes of a response that the application has returned.
pub struct Verdict {
    /// The status sent, for the log.
    pub status: Status,
    /// Bytes of body known so far; a stream's are counted when they are pulled.
    pub body_size: u64,
    /// Whether the connection stays open.
    pub keep_alive: bool,
    /// What is still to come.
    pub rest: Rest,
}

/// What of a response is still to come once its application has returned.
pub enum Rest {
    /// Nothing: the response is whole.
    Nothing,
    /// A stream to be pulled, and how its end is told.
    Stream(Box<dyn Stream>, Delimiter),
    /// Everything, by the answer with this ticket.
    Answer(Ticket),
    /// Everything, by who is to be polled.
    Awaited(Kept),
    /// The body, from who was awaited for the head, and how its end is told.
    Pulled(Delimiter),
}

/// How the peer learns where a streamed body ends (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delimiter {
    /// After this many bytes.
    Length(u64),
    /// By the last chunk.
    Chunked,
    /// By the end of the connection.
    Close,
}

impl Draft {
    pub(super) fn new(status: Status, mark: usize, fields_start: usize, keep_alive: bool) -> Draft {
        Draft {
            status,
            mark,
            fields_start,
            fields_end: fields_start,
            body_start: fields_start,
            declared_size: None,
            has_date: false,
            has_server: false,
            has_request_id: false,
            keep_alive,
            body: Body::Written,
            fault: None,
            written_size: 0,
            relayed: None,
        }
    }

    /// What the response has become, or the fault for which its bytes are to be cut away, as far as they have not left. A
    /// stream of the application's is taken, or dropped where it is not wanted, which cannot panic.
    pub(crate) fn judge(&mut self, outbound: &Outbound, version: Version, is_head: bool) -> Result<Verdict, Fault> {
        let body = std::mem::take(&mut self.body);
        if let Some(fault) = self.fault.take() {
            let_go(body);
            return Err(*fault);
        }
        let Draft { status, keep_alive, .. } = *self;
        let verdict = |body_size, rest| Verdict { status, body_size, keep_alive, rest };
        Ok(match body {
            // A head ends with an empty line, so that no body begins where its fields do.
            Body::Written if self.body_start == self.fields_start => return Err(Fault::NotItsOwn),
            Body::Written => verdict((outbound.size() - self.body_start) as u64, Rest::Nothing),
            Body::Payload(size) => verdict(size, Rest::Nothing),
            Body::Later(ticket) => verdict(0, Rest::Answer(ticket)),
            Body::Stream(stream) if is_head || status.forbids_content() => {
                let_go(stream);
                verdict(0, Rest::Nothing)
            }
            Body::Stream(stream) => {
                verdict(self.written_size, Rest::Stream(stream, delimiter(self.declared_size, version)))
            }
            Body::Awaited(kept) if kept.is_there() => verdict(0, Rest::Awaited(kept)),
            // Nobody would poll it here, or another has taken its place.
            Body::Awaited(_) => return Err(Fault::AnswerPending),
            Body::Pulled if is_head || status.forbids_content() => verdict(0, Rest::Nothing),
            Body::Pulled => verdict(0, Rest::Pulled(delimiter(self.declared_size, version))),
        })
    }

    /// Notes what a field means, or refuses it. The first fault is the one that is told.
    pub(super) fn check(&mut self, name: &[u8], value: &[u8]) -> bool {
        let fault = if !header::is_token(name) {
            Fault::FieldName(fault::one_line(&String::from_utf8_lossy(name)))
        } else if !header::is_field_value(value) {
            Fault::FieldValue(fault::one_line(&String::from_utf8_lossy(name)))
        } else if header::is_hop_by_hop(name) {
            Fault::HopByHop(fault::one_line(&String::from_utf8_lossy(name)))
        } else {
            match name.len() {
                4 => self.has_date |= name.eq_ignore_ascii_case(b"date"),
                6 => self.has_server |= name.eq_ignore_ascii_case(b"server"),
                12 => self.has_request_id |= name.eq_ignore_ascii_case(super::REQUEST_ID.as_bytes()),
                14 if name.eq_ignore_ascii_case(b"content-length") => return self.declare(value),
                _ => {}
            }
            return true;
        };
        self.refuse(fault);
        false
    }

    /// Takes the application's Content-Length; the line itself is written with the server's fields.
    fn declare(&mut self, value: &[u8]) -> bool {
        let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        match digits.and_then(|text| text.parse().ok()) {
            Some(_) if self.declared_size.is_some() => self.refuse(Fault::SecondLength),
            Some(size) => self.declared_size = Some(size),
            None => self.refuse(Fault::LengthValue(fault::one_line(&String::from_utf8_lossy(value)))),
        }
        false
    }

    pub(super) fn refuse(&mut self, fault: Fault) {
        self.fault.get_or_insert_with(|| Box::new(fault));
    }
}

/// How the end of a body is told of which so many bytes were declared.
fn delimiter(declared_size: Option<u64>, version: Version) -> Delimiter {
    match (declared_size, version) {
        (Some(size), Version::Http10 | Version::Http11) => Delimiter::Length(size),
        (None, Version::Http11) => Delimiter::Chunked,
        (None, Version::Http10) => Delimiter::Close,
    }
}
