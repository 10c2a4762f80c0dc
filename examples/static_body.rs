//! A body that is always the same, sent from where it lies: `cargo run --release --example static_body -- static:app`.
//! No byte of it is copied on the way to the socket, however large it is.

use ringway::{Environ, Responded, StartResponse, Status};

/// Read-only memory of the program, which outlives every response.
static BODY: [u8; 256 * 1024] = [b'x'; 256 * 1024];

fn app<'r>(_: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    start_response.start(Status::OK).header("Content-Type", "text/plain").body_static(&BODY)
}

fn main() -> std::process::ExitCode {
    ringway::main(ringway::apps! { "static:app", "Answers with 256 KiB that are never copied." => app })
}
