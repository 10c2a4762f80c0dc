//! A warp application on Ringway: `cargo run --release --example warp`, then `curl http://127.0.0.1:8888/`.

pub mod app;

use std::process::ExitCode;
use std::sync::LazyLock;

/// One for all workers.
static NOTES: LazyLock<app::Notes> = LazyLock::new(app::Notes::default);

pub fn hosted(notes: app::Notes) -> impl ringway::Application {
    ringway::tower::serve(warp::service(app::routes(notes)))
}

fn main() -> ExitCode {
    ringway::main(ringway::apps! { "warp:app", "Notes, by warp." => hosted(NOTES.clone()) })
}
