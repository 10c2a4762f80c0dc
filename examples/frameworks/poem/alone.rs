//! The same application on poem's own server: `cargo run --release --example poem_alone`.

pub mod app;

use std::io;

use poem::listener::TcpAcceptor;
use tokio::net::TcpListener;

pub async fn serve(listener: TcpListener, notes: app::Notes) -> io::Result<()> {
    poem::Server::new_with_acceptor(TcpAcceptor::from_tokio(listener)?).run(app::routes(notes)).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("poem's own server: http://{}", listener.local_addr()?);
    serve(listener, app::Notes::default()).await
}
