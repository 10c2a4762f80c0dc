//! The application of the peer `axum`, on Ringway: `ringway-axum PORT`.

use ringway_peers::asynchronous::{app, serve};
use ringway_peers::field::run;
use std::process::ExitCode;

fn main() -> ExitCode {
    run("ringway-axum", |address| serve(address, || Box::new(ringway::tower::serve(app()))))
}
