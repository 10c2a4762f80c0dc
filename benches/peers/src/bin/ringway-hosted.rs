//! What a runtime costs who does not need it: an application that answers at once, in a worker that is a task of tokio-uring
//! all the same. `ringway-hosted PORT`.

use ringway::apps::hello::Hello;
use ringway::{Application, Environ, Responded, StartResponse};
use ringway_peers::asynchronous::serve;
use ringway_peers::field::run;
use std::process::ExitCode;

fn main() -> ExitCode {
    run("ringway-hosted", |address| serve(address, || Box::new(Hosted)))
}

/// `hello:app`, which says that it awaits.
struct Hosted;

impl Application for Hosted {
    fn call<'r>(&self, environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        Hello.call(environ, start_response)
    }

    fn reads_peer(&self) -> bool {
        Hello.reads_peer()
    }

    fn needs_runtime(&self) -> bool {
        true
    }
}
