//! A service of hyper's on Ringway: `cargo run --release --example hyper`, then `curl http://127.0.0.1:8888/`.

pub mod app;

use std::process::ExitCode;
use std::sync::LazyLock;

/// One for all workers.
static NOTES: LazyLock<app::Notes> = LazyLock::new(app::Notes::default);

pub fn hosted(notes: app::Notes) -> impl ringway::Application {
    ringway::tower::serve(tower::service_fn(move |request| app::answer(notes.clone(), request)))
}

fn main() -> ExitCode {
    ringway::main(ringway::apps! { "hyper:app", "Notes, for hyper." => hosted(NOTES.clone()) })
}
