//! `hello:app` and `hello:json`: the smallest applications there are, one as a type, one as a function.

use crate::app::Application;
use crate::environ::Environ;
use crate::http::status::Status;
use crate::response::{Responded, StartResponse};

/// `hello:app`. A type of its own, to say that it never looks at the peer's address.
pub struct Hello;

impl Application for Hello {
    fn call<'r>(&self, _environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        start_response.start(Status::OK).header("Content-Type", "text/plain").body("Hello, World!")
    }

    fn reads_peer(&self) -> bool {
        false
    }
}

/// `hello:json`.
pub fn json<'r>(_environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    start_response.start(Status::OK).header("Content-Type", "application/json").body(r#"{"message":"Hello, World!"}"#)
}
