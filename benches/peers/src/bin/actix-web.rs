//! actix-web with one worker: `actix-web PORT`.

use actix_web::web::{self, Bytes, PayloadConfig};
use actix_web::{App, HttpServer, rt};
use ringway_peers::field::{BODY_SIZE_MAX, HELLO, STATIC_BODY, run};
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

fn main() -> ExitCode {
    run("actix-web", |address| rt::System::new().block_on(serve(address)))
}

async fn serve(address: SocketAddr) -> io::Result<()> {
    HttpServer::new(|| {
        App::new()
            .app_data(PayloadConfig::new(BODY_SIZE_MAX))
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
