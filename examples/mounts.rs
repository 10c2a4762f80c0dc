//! Several applications on one server, by path: `cargo run --release --example mounts -- site:app`.
//! The operator can do the same with `--mount /shop=site:shop --mount /=site:front`.

use ringway::{Environ, Mounts, Responded, StartResponse, Status};

fn front<'r>(_environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    start_response.start(Status::OK).header("Content-Type", "text/plain").body("The shop is at /shop.\n")
}

fn shop<'r>(environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    let place = [environ.script_name(), b" sells ", environ.path_info(), b"\n"].concat();
    start_response.start(Status::OK).header("Content-Type", "text/plain").body(place)
}

fn main() -> std::process::ExitCode {
    ringway::main(ringway::apps! {
        "site:front", "The front page." => front,
        "site:shop", "The shop." => shop,
        "site:app", "Both." => Mounts::new().mount("/shop", "site:shop", shop).mount("/", "site:front", front),
    })
}
