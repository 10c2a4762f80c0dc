//! What awaiting costs: one axum application for its own server and for Ringway, and Ringway as a library with one worker.

use crate::field::{BODY_SIZE_MAX, HELLO, STATIC_BODY};
use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use ringway::Application;
use ringway::config::{Address, Config, Io, Pin};
use ringway::server::Server;
use std::io;
use std::net::SocketAddr;

/// The application of the peers `axum` and `ringway-axum`.
pub fn app() -> Router {
    Router::new()
        .route("/", get(async || HELLO))
        .route("/echo", post(async |body: Bytes| body))
        .route("/static", get(async || Bytes::from_static(&STATIC_BODY)))
        .layer(DefaultBodyLimit::max(BODY_SIZE_MAX))
}

/// Serves by a worker on a ring, until the process is ended.
///
/// # Errors
/// An address that cannot be had, or a kernel that refuses the ring.
pub fn serve(address: SocketAddr, factory: fn() -> Box<dyn Application>) -> io::Result<()> {
    let config = Config {
        binds: vec![Address::Inet(address.ip().to_string(), address.port())],
        worker_count: 1,
        pin: Pin::Off,
        io: Io::Uring,
        ..Config::default()
    };
    Server::new(config, factory).start()?.join().map(drop)
}
