//! The same application on warp's own server: `cargo run --release --example warp_alone`.

pub mod app;

use std::io;

use tokio::net::TcpListener;

pub async fn serve(listener: TcpListener, notes: app::Notes) -> io::Result<()> {
    warp::serve(app::routes(notes)).incoming(listener).run().await;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("warp's own server: http://{}", listener.local_addr()?);
    serve(listener, app::Notes::default()).await
}
