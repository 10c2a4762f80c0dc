//! The same application on axum's own server: `cargo run --release --example axum_alone`.

pub mod app;

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

pub async fn serve(listener: TcpListener, notes: app::Notes) -> io::Result<()> {
    axum::serve(listener, app::router(notes).into_make_service_with_connect_info::<SocketAddr>()).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("axum's own server: http://{}", listener.local_addr()?);
    serve(listener, app::Notes::default()).await
}
