//! The same application on salvo's own server: `cargo run --release --example salvo_alone`.

pub mod app;

use std::io;

use salvo::Server;
use salvo::conn::tcp::TcpAcceptor;
use tokio::net::TcpListener;

pub async fn serve(listener: TcpListener, notes: app::Notes) -> io::Result<()> {
    Server::new(TcpAcceptor::try_from(listener)?).try_serve(app::service(notes)).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("salvo's own server: http://{}", listener.local_addr()?);
    serve(listener, app::Notes::default()).await
}
