//! An axum application on Ringway: `cargo run --release --example axum`, then `curl http://127.0.0.1:8888/`.

pub mod app;

use std::process::ExitCode;
use std::sync::LazyLock;

use axum::extract::{ConnectInfo, Request};
use ringway::tower::ConnectionInfo;
use tower::ServiceBuilder;

/// One for all workers.
static NOTES: LazyLock<app::Notes> = LazyLock::new(app::Notes::default);

/// The application, with the peer's address where axum looks for it.
pub fn hosted(notes: app::Notes) -> impl ringway::Application {
    let named = ServiceBuilder::new().map_request(|mut request: Request<ringway::tower::Body>| {
        let peer = request.extensions().get().and_then(|info: &ConnectionInfo| info.peer_addr);
        peer.map(|peer| request.extensions_mut().insert(ConnectInfo(peer)));
        request
    });
    ringway::tower::serve(named.service(app::router(notes)))
}

fn main() -> ExitCode {
    ringway::main(ringway::apps! { "axum:app", "Notes, by axum." => hosted(NOTES.clone()) })
}
