//! Applications that hold applications, on the way in and on the way out:
//! `cargo run --release --example middleware -- guarded:app`.

use ringway::{Application, Environ, Responded, StartResponse, Status};

/// Lets in who brings a token, tells the inner application who that is, and adds a field to its answers.
struct Guard<A>(A);

impl<A: Application> Application for Guard<A> {
    fn call<'r>(&self, environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        let Some(user) = environ.get("HTTP_AUTHORIZATION").and_then(|value| value.strip_prefix(b"Bearer ")) else {
            return start_response
                .start(Status::UNAUTHORIZED)
                .header("WWW-Authenticate", "Bearer")
                .body("Bring a token.\n");
        };
        let responded = environ.with("REMOTE_USER", user, |environ| self.0.call(environ, start_response));
        responded.header("Cache-Control", "no-store")
    }
}

/// Replaces the body of what went wrong.
struct ErrorPage<A>(A);

impl<A: Application> Application for ErrorPage<A> {
    fn call<'r>(&self, environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        let responded = self.0.call(environ, start_response);
        match responded.status() {
            Some(Status::NOT_FOUND) => responded.replace_body().body("There is nothing of that name here.\n"),
            Some(_) | None => responded,
        }
    }
}

fn greet<'r>(environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    if environ.path_info() != b"/" {
        return start_response.start(Status::NOT_FOUND).empty();
    }
    let user = environ.get("REMOTE_USER").unwrap_or_default();
    start_response.start(Status::OK).header("Content-Type", "text/plain").body([b"Hello, ", user, b"!\n"].concat())
}

fn main() -> std::process::ExitCode {
    ringway::main(ringway::apps! { "guarded:app", "Greets who brings a token." => Guard(ErrorPage(greet)) })
}
