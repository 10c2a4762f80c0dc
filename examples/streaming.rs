//! A body that is made while it is sent: `cargo run --release --example streaming -- count:app`, then
//! `curl -N 'http://127.0.0.1:8888/?1000'`. It is pulled only when the peer takes what it has got.

use ringway::{Environ, Responded, StartResponse, Status, blocks};

fn app<'r>(environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    let count = std::str::from_utf8(environ.query_string()).ok().and_then(|query| query.parse().ok()).unwrap_or(10_u32);
    let lines = (1..=count).map(|number| format!("{number}\n"));
    start_response.start(Status::OK).header("Content-Type", "text/plain").stream(blocks(lines))
}

fn main() -> std::process::ExitCode {
    ringway::main(ringway::apps! { "count:app", "Counts to the query, line by line." => app })
}
