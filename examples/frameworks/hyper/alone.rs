//! The same service on hyper's own server: `cargo run --release --example hyper_alone`.

pub mod app;

use std::io;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

pub async fn serve(listener: TcpListener, notes: app::Notes) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let notes = notes.clone();
        let service = service_fn(move |request| app::answer(notes.clone(), request));
        let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                eprintln!("a connection failed: {error}");
            }
        });
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("hyper's own server: http://{}", listener.local_addr()?);
    serve(listener, app::Notes::default()).await
}
