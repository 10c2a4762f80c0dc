//! The bundled applications and the fixtures once more, as routers of axum: its extractors, its bodies, its responses.

use std::convert::Infallible;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use ringway::Application;
use ringway::tower::serve;

use super::namesakes::{Frames, HEAD, WithHead, unhex};
use super::site;

/// The namesake of an application of the wire cases; `None` for one that only an environ can answer for, or that breaks a
/// rule which the `http` crate does not let anybody break.
pub fn make(name: &str) -> Option<Box<dyn Application>> {
    Some(served(match name {
        "hello:app" => Router::new().fallback(hello),
        "hello:json" => Router::new().fallback(async || text("application/json", r#"{"message":"Hello, World!"}"#)),
        "echo:app" => Router::new().fallback(echo),
        "fixture:nobody204" => Router::new().fallback(async || (StatusCode::NO_CONTENT, "dropped")),
        "fixture:s304" => Router::new().fallback(async || (StatusCode::NOT_MODIFIED, [("ETag", "\"tag\"")])),
        "fixture:stream" => Router::new().fallback(async || pieces(["one", "two", "three"])),
        "fixture:short" => Router::new().fallback(async || ([("Content-Length", "10")], pieces(["01234", ""]))),
        "fixture:long" => Router::new().fallback(async || ([("Content-Length", "5")], pieces(["0123456789", ""]))),
        "fixture:ownte" | "fixture:panic" => Router::new().fallback(panicking),
        "fixture:reads" => Router::new().fallback(async |body: Bytes| format!("body size {}", body.len())),
        _ => return None,
    }))
}

/// What attacks are aimed at: the greeting, the echo below its path, and what streams.
pub fn site() -> Box<dyn Application> {
    let router = Router::new().fallback(hello).route("/echo", any(echo)).route("/echo/{*rest}", any(echo));
    served(router.merge(site::router()))
}

fn served(router: Router) -> Box<dyn Application> {
    Box::new(WithHead(serve(router)))
}

/// Reads what it has no use for, as a request that was buffered has come completely too.
async fn hello(_body: Bytes) -> Response {
    text("text/plain", "Hello, World!")
}

async fn echo(headers: HeaderMap, body: Bytes) -> Response {
    if body.is_empty() {
        let head = headers.get(HEAD).expect("it was laid over");
        return text("text/plain", unhex(head.as_bytes()));
    }
    let mut response = body.into_response();
    let content_type = headers.get("Content-Type").cloned();
    let content_type = content_type.unwrap_or(HeaderValue::from_static("application/octet-stream"));
    response.headers_mut().insert("Content-Type", content_type);
    response
}

async fn panicking() -> Result<(), Infallible> {
    panic!("on purpose");
}

fn text(content_type: &'static str, body: impl IntoResponse) -> Response {
    ([("Content-Type", content_type)], body).into_response()
}

fn pieces<const COUNT: usize>(pieces: [&'static str; COUNT]) -> Body {
    Body::new(Frames::several(pieces))
}
