//! An answer that comes later, from a thread: `cargo run --release --example later -- later:app`.
//! The worker serves its other connections meanwhile; pipelined requests of this one wait in order.

use ringway::{Environ, Responded, StartResponse, Status};

fn app<'r>(environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    let environ = environ.to_owned();
    let (responded, answer) = start_response.later();
    std::thread::spawn(move || {
        let digest = environ.with(|environ| {
            environ.input().bytes().iter().fold(0u64, |sum, byte| sum * 31 % 65_521 + u64::from(*byte))
        });
        answer.respond(|start_response| start_response.start(Status::OK).body(format!("{digest}\n")));
    });
    responded
}

fn main() -> std::process::ExitCode {
    ringway::main(ringway::apps! { "later:app", "Digests the body in a thread." => app })
}
