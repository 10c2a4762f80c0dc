//! An application that asks Redis: `redis-server &`, `cargo run --release --example redis`, then
//! `curl -X POST http://127.0.0.1:8888/front`. `REDIS_URL` names another Redis than `redis://127.0.0.1/`.

mod app;

use std::process::ExitCode;

fn main() -> ExitCode {
    ringway::main(ringway::apps! { "redis:app", "Counts visits of pages in Redis." => hosted() })
}

/// Each worker has a connection of its own, on its own thread.
fn hosted() -> impl ringway::Application {
    let address = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1/".into());
    let visits = app::Visits::new(&address).unwrap_or_else(|error| panic!("REDIS_URL={address}: {error}"));
    ringway::tower::serve(app::router(visits))
}
