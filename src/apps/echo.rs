//! `echo:app`: the body of the request as it came; without one, the head as it came.

use crate::environ::Environ;
use crate::http::status::Status;
use crate::response::{Responded, StartResponse};

/// `echo:app`.
pub fn app<'r>(environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    let input = environ.input();
    if input.is_empty() {
        return start_response.start(Status::OK).header("Content-Type", "text/plain").body(environ.raw_head());
    }
    let content_type = environ.content_type().unwrap_or(b"application/octet-stream");
    let headers = start_response.start(Status::OK).header("Content-Type", content_type);
    match input.payload() {
        Some(payload) => headers.payload(payload),
        None => headers.body(input.bytes()),
    }
}
