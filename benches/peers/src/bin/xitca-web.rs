//! xitca-web with one worker, on its default runtime, which is tokio's: `xitca-web PORT`.
//!
//! Its io_uring runtime rests on a fork of tokio-uring and is left out, as it is no default.

use ringway_peers::field::{BODY_SIZE_MAX, HELLO, STATIC_BODY, run};
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use xitca_web::App;
use xitca_web::bytes::Bytes;
use xitca_web::handler::body::Limit;
use xitca_web::handler::handler_service;
use xitca_web::route::{get, post};

fn main() -> ExitCode {
    run("xitca-web", serve)
}

fn serve(address: SocketAddr) -> io::Result<()> {
    App::new()
        .at("/", get(handler_service(async || HELLO)))
        .at("/echo", post(handler_service(echo)))
        .at("/static", get(handler_service(async || Bytes::from_static(&STATIC_BODY))))
        .serve()
        .worker_threads(1)
        .disable_signal()
        .bind(address)?
        .run()
        .wait()
}

async fn echo((body, _): (Bytes, Limit<BODY_SIZE_MAX>)) -> Bytes {
    body
}
