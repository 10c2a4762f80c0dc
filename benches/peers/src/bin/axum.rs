//! axum on tokio's current-thread runtime: `axum PORT`.

use ringway_peers::asynchronous::app;
use ringway_peers::field::run;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use tokio::net::TcpListener;

fn main() -> ExitCode {
    run("axum", |address| tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(address)))
}

async fn serve(address: SocketAddr) -> io::Result<()> {
    axum::serve(TcpListener::bind(address).await?, app()).await
}
