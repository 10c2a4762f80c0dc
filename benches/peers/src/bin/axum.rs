//! axum on tokio's current-thread runtime: `axum PORT`.

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use ringway_peers::field::{BODY_SIZE_MAX, HELLO, STATIC_BODY, run};
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use tokio::net::TcpListener;

fn main() -> ExitCode {
    run("axum", |address| tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(address)))
}

async fn serve(address: SocketAddr) -> io::Result<()> {
    let app = Router::new()
        .route("/", get(async || HELLO))
        .route("/echo", post(async |body: Bytes| body))
        .route("/static", get(async || Bytes::from_static(&STATIC_BODY)))
        .layer(DefaultBodyLimit::max(BODY_SIZE_MAX));
    axum::serve(TcpListener::bind(address).await?, app).await
}
