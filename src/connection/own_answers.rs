//! What the server answers itself, without an application: refusals, failures, `OPTIONS *`. No I/O.

use crate::driver::Key;
use crate::http::error::Error;
use crate::http::head::Version;
use crate::http::status::Status;
use crate::outbound::Outbound;
use crate::response::fault::Fault;
use crate::response::writer::Direct;
use crate::response::{Draft, Headers, Responded, StartResponse, Terms, Verdict};

use super::Host;

/// Writes the response to a peer's error: its status, a sentence, and the end of the connection.
pub(super) fn refuse(error: Error, is_head: bool, key: Key, outbound: &mut Outbound, host: &mut Host<'_>) {
    host.witness.refused(error);
    let Host { stamp, mailbox, .. } = host;
    let (version, keep_alive, request_id, direct) = (Version::Http11, false, &b""[..], Direct::Nowhere);
    let terms = Terms { version, is_head, keep_alive, stamp, mailbox, key, request_id, direct };
    let mut draft = Draft::default();
    let mut headers = StartResponse::new(outbound, &terms, &mut draft).start(error.status());
    if error.status() == Status::SERVICE_UNAVAILABLE {
        headers = headers.header("Retry-After", RETRY_AFTER);
    }
    assert!(plain(headers, error.reason()).judge().is_ok(), "the server's own answers break no rule");
}

/// The answer to an application's fault.
pub(super) fn fail(start_response: StartResponse<'_>, fault: &Fault) -> Verdict {
    let status = fault.status();
    match plain(start_response.start(status), status.reason_phrase()).judge() {
        Ok(verdict) => verdict,
        Err(fault) => unreachable!("the server's own answer breaks a rule: {fault}"),
    }
}

/// A short answer in text.
pub(super) fn plain<'r>(headers: Headers<'r>, sentence: &str) -> Responded<'r> {
    headers.header("Content-Type", "text/plain").body([sentence, "\n"].concat())
}

/// `OPTIONS *` asks about the server as a whole (RFC 9110 §9.3.7).
pub(super) fn options(start_response: StartResponse<'_>) -> Responded<'_> {
    start_response.start(Status::NO_CONTENT).header("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS").empty()
}

/// Seconds after which a peer may try again what the server was short of memory for (RFC 9110 §10.2.3).
const RETRY_AFTER: &str = "5";
