//! Who is told what happened: the access log, the operator's stderr and the counters.
//!
//! A connection performs no I/O; it tells its witness, and the worker decides what becomes of it.

use std::time::Duration;

use crate::environ::Environ;
use crate::http::error::Error;
use crate::http::status::Status;
use crate::response::fault::Fault;
use crate::stats::Limit;
use crate::sys::Peer;

use super::request_id::RequestId;

/// Is told about completed requests, faults of applications and refused peers.
pub trait Witness {
    /// Whether [`Witness::completed`] is of interest; if not, nothing is kept for it.
    fn wants_completed(&self) -> bool;

    /// A response was handed over completely.
    fn completed(&mut self, completed: &Completed<'_>);

    /// An application's answer was handed over completely, `duration` after the first byte of its request; and again as
    /// [`Witness::completed`] where that is wanted.
    fn answered(&mut self, status: Status, duration: Duration) {
        let _ = (status, duration);
    }

    /// Bytes have left beside the driver, during a call.
    fn left(&mut self, size: u64) {
        let _ = size;
    }

    /// The application `name` broke a rule.
    fn fault(&mut self, name: &str, fault: &Fault);

    /// A request was refused before an application was asked. Where that was for a limit, it is not told by
    /// [`Witness::met`] as well.
    fn refused(&mut self, error: Error);

    /// A limit was met.
    fn met(&mut self, limit: Limit);
}

/// A request and how it was answered.
#[derive(Clone, Copy, Debug)]
pub struct Completed<'a> {
    /// The client, if it was asked for: the other end, or who is behind it by the word of a trusted proxy.
    pub peer: Option<Peer>,
    /// The request line as received, without its CRLF.
    pub request_line: &'a [u8],
    /// `Referer`, empty without one.
    pub referer: &'a [u8],
    /// `User-Agent`, empty without one.
    pub user_agent: &'a [u8],
    /// The host that the request names, empty without one.
    pub host: &'a [u8],
    /// The request's id, taken or made.
    pub request_id: &'a [u8],
    /// The status sent.
    pub status: Status,
    /// Bytes of body handed over, without framing.
    pub body_size: u64,
    /// From the first byte of the request to the last of the response handed over.
    pub duration: Duration,
}

/// What the log will say of a request, kept while its answer is not complete.
pub(super) struct Kept {
    peer: Option<Peer>,
    request_line: Vec<u8>,
    referer: Vec<u8>,
    user_agent: Vec<u8>,
    host: Vec<u8>,
    request_id: Vec<u8>,
}

impl<'a> Completed<'a> {
    pub(super) fn of(environ: &Environ<'a>, id: &'a RequestId<'_>) -> Completed<'a> {
        let raw = environ.raw_head();
        let end = memchr::memchr(b'\r', raw).unwrap_or(raw.len());
        Completed {
            peer: environ.client(),
            request_line: &raw[..end],
            referer: environ.get("HTTP_REFERER").unwrap_or_default(),
            user_agent: environ.get("HTTP_USER_AGENT").unwrap_or_default(),
            host: environ.get("HTTP_HOST").unwrap_or_default(),
            request_id: id.as_bytes(),
            status: Status::OK,
            body_size: 0,
            duration: Duration::ZERO,
        }
    }

    pub(super) fn keep(&self) -> Kept {
        Kept {
            peer: self.peer,
            request_line: self.request_line.to_vec(),
            referer: self.referer.to_vec(),
            user_agent: self.user_agent.to_vec(),
            host: self.host.to_vec(),
            request_id: self.request_id.to_vec(),
        }
    }
}

impl Kept {
    pub(super) fn completed(&self, status: Status, body_size: u64, duration: Duration) -> Completed<'_> {
        Completed {
            peer: self.peer,
            request_line: &self.request_line,
            referer: &self.referer,
            user_agent: &self.user_agent,
            host: &self.host,
            request_id: &self.request_id,
            status,
            body_size,
            duration,
        }
    }
}
