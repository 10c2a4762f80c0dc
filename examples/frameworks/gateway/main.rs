//! An application that asks another HTTP server: `cargo run --release --example axum_alone &`,
//! `cargo run --release --example gateway`, then `curl http://127.0.0.1:8888/`. `UPSTREAM` names another than
//! 127.0.0.1:3000.

mod app;

use std::process::ExitCode;

fn main() -> ExitCode {
    ringway::main(ringway::apps! { "gateway:app", "Passes requests on to another server." => hosted() })
}

/// Each worker has a client of its own, on its own thread.
fn hosted() -> impl ringway::Application {
    let upstream = std::env::var("UPSTREAM").unwrap_or_else(|_| "127.0.0.1:3000".into());
    let authority = upstream.parse().unwrap_or_else(|error| panic!("UPSTREAM={upstream}: {error}"));
    ringway::tower::serve(app::router(authority))
}
