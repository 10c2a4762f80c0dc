//! Middleware in Rust around an application in Python.

use ringway::wsgi::WsgiApplication;
use ringway::{Application, Environ, Responded, StartResponse};

/// Shows its application the head as received.
pub(crate) struct WithHead(pub(crate) WsgiApplication);

impl Application for WithHead {
    fn call<'r>(&self, environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        environ.with("test.raw_head", environ.raw_head(), |environ| self.0.call(environ, start_response))
    }

    fn name<'s>(&'s self, environ: &Environ<'_>) -> &'s str {
        self.0.name(environ)
    }

    fn holds_lock(&self) -> bool {
        self.0.holds_lock()
    }

    fn let_wait(&self, wait: &mut dyn FnMut()) {
        self.0.let_wait(wait);
    }
}
