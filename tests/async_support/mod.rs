//! What the tests of applications that await share: services of the tower family and routers of axum, things to be awaited.
#![allow(dead_code, unreachable_pub, reason = "each test program that includes this module uses its own part of it")]

pub mod namesakes;
pub mod routers;
pub mod signal;
pub mod site;
pub mod sockets;

use std::rc::Rc;

use ringway::{Application, Environ, Responded, StartResponse};

/// Several connections share an application, as those of a worker do.
pub struct Shared<A: ?Sized>(pub Rc<A>);

impl<A: Application + ?Sized> Application for Shared<A> {
    fn call<'r>(&self, environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        self.0.call(environ, start_response)
    }
}
