//! Services of the tower family (axum, warp, poem, salvo, hyper) as applications, without a change to them.
//!
//! ```
//! use std::convert::Infallible;
//! use std::future::{Ready, ready};
//! use std::task::{Context, Poll};
//!
//! #[derive(Clone)]
//! struct Hello;
//!
//! impl tower_service::Service<http::Request<ringway::tower::Body>> for Hello {
//!     type Response = http::Response<String>;
//!     type Error = Infallible;
//!     type Future = Ready<Result<Self::Response, Infallible>>;
//!
//!     fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
//!         Poll::Ready(Ok(()))
//!     }
//!
//!     fn call(&mut self, request: http::Request<ringway::tower::Body>) -> Self::Future {
//!         ready(Ok(http::Response::new(format!("Hello, {}!", request.uri().path()))))
//!     }
//! }
//!
//! # let _ =
//! ringway::apps! { "mine:app" => ringway::tower::serve(Hello) }
//! # ;
//! ```
//!
//! A service is made once in each worker, on its thread and with the runtime at hand, and neither it nor its futures need
//! be `Send`. Each call is polled at once; what is ready is answered without a task. Bodies go both ways piece by piece and
//! under backpressure: a service that does not read has the connection stop to receive, a peer that does not read has the
//! body not polled. Where the peer has gone, future and bodies are dropped.
//!
//! # What a service sees
//! The request line and the fields as they came; below a mount, the path without the prefix, and [`ScriptName`]. Among the
//! extensions is [`ConnectionInfo`]. `100 Continue` is sent when the body is first polled. An `Upgrade` is ignored.
//!
//! # What becomes of a response
//! `Connection: close` closes the connection; the other hop-by-hop fields belong to the server and are dropped. A body
//! whose size is known is sent with its `Content-Length`, any other in chunks. Trailers are sent behind chunks to a peer
//! that takes them (`TE: trailers`). A service whose `poll_ready` fails costs its request a 503, one whose call fails a
//! 500; a body that fails behind its head aborts the connection.

mod body;
mod exchange;
mod gate;
mod request;

use std::cell::RefCell;
use std::fmt::Display;
use std::rc::Rc;

use ::http::{Request, Response};
use tower_service::Service;

use crate::app::{Admission, Application};
use crate::environ::Environ;
use crate::http::status::Status;
use crate::response::{Responded, StartResponse};
use exchange::Exchange;
use gate::Gate;
use request::Maker;

pub use body::Body;
pub use request::{ConnectionInfo, ScriptName};

/// A service as an application.
pub struct Served<S> {
    gate: Rc<Gate<S>>,
    maker: RefCell<Maker>,
}

/// Makes an application of a service.
pub fn serve<S, B>(service: S) -> Served<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Display,
    B: http_body::Body,
    B::Error: Display,
{
    Served { gate: Rc::new(Gate::new(service)), maker: RefCell::default() }
}

impl<S, B> Application for Served<S>
where
    S: Service<Request<Body>, Response = Response<B>> + 'static,
    S::Future: 'static,
    S::Error: Display,
    B: http_body::Body + 'static,
    B::Error: Display,
{
    fn call<'r>(&self, environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        let request = self.maker.borrow_mut().make(environ);
        match request {
            Ok(request) => start_response.when(Box::new(Exchange::new(self.gate.clone(), request))),
            // Some targets pass the server's rules and are none to the `http` crate.
            Err(_) => {
                let headers = start_response.start(Status::BAD_REQUEST).header("Content-Type", "text/plain");
                headers.body("The request target is malformed.\n")
            }
        }
    }

    fn admit(&self, _environ: &Environ<'_>) -> Admission {
        Admission::Stream
    }

    fn needs_runtime(&self) -> bool {
        true
    }
}
