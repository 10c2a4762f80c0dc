//! A service of the tower family that is always ready and answers at once, so that what is counted is its adapter.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use ringway::Application;
use ringway::tower::Body;
use tower_service::Service;

/// Greets whoever asks.
#[derive(Clone)]
struct Hello;

/// The service as an application.
pub(super) fn hello() -> Box<dyn Application> {
    Box::new(ringway::tower::serve(Hello))
}

impl Service<Request<Body>> for Hello {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<Body>) -> Self::Future {
        let mut response = Response::new("Hello, World!".to_string());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        ready(Ok(response))
    }
}
