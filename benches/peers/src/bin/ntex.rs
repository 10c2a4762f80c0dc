//! ntex with one worker: `ntex PORT`.
//!
//! It has four runtimes by feature. None is asked for here, which leaves it to its own choice: its io_uring
//! reactor where the kernel has a ring, as on every machine where Ringway is measured, else its epoll reactor.

use ntex::util::Bytes;
use ntex::web::types::PayloadConfig;
use ntex::web::{self, App, HttpServer};
use ringway_peers::field::{BODY_SIZE_MAX, HELLO, STATIC_BODY, run};
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

fn main() -> ExitCode {
    run("ntex", serve)
}

#[ntex::main]
async fn serve(address: SocketAddr) -> io::Result<()> {
    HttpServer::new(async || {
        App::new()
            .state(PayloadConfig::new(BODY_SIZE_MAX))
            .route("/", web::get().to(async || HELLO))
            .route("/echo", web::post().to(async |body: Bytes| body))
            .route("/static", web::get().to(async || Bytes::from_static(&STATIC_BODY)))
    })
    .workers(1)
    .disable_signals()
    .bind(address)?
    .run()
    .await
}
