//! The smallest server: `cargo run --release --example hello -- mine:app`.

use ringway::{Environ, Responded, StartResponse, Status};

fn app<'r>(environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    start_response.start(Status::OK).header("Content-Type", "text/plain").body(environ.path_info())
}

fn main() -> std::process::ExitCode {
    ringway::main(ringway::apps! { "mine:app", "Answers with the path." => app })
}
