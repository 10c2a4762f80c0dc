//! A body that is returned, and one that is refused before it is read:
//! `cargo run --release --example echo -- echo:images`.

use ringway::{Admission, Application, Environ, Responded, StartResponse, Status};

/// Returns images; whatever else is refused on its head, so that no byte of it is read.
struct Images;

impl Application for Images {
    fn call<'r>(&self, environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        let content_type = environ.content_type().unwrap_or(b"image/png");
        start_response.start(Status::OK).header("Content-Type", content_type).body(environ.input().bytes())
    }

    fn admit(&self, environ: &Environ<'_>) -> Admission {
        match environ.content_type() {
            Some(content_type) if content_type.starts_with(b"image/") => Admission::Buffer,
            Some(_) | None => Admission::Refuse(Status::UNSUPPORTED_MEDIA_TYPE),
        }
    }
}

fn main() -> std::process::ExitCode {
    ringway::main(ringway::apps! { "echo:images", "Returns images, refuses the rest." => Images })
}
