//! A salvo application on Ringway: `cargo run --release --example salvo`, then `curl http://127.0.0.1:8888/`.

pub mod app;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::LazyLock;

use http_body_util::BodyExt;
use ringway::tower::{Body, ConnectionInfo};
use salvo::http::{ReqBody, uri::Scheme};
use salvo::hyper::service::Service as _;

/// One for all workers.
static NOTES: LazyLock<app::Notes> = LazyLock::new(app::Notes::default);

pub fn hosted(notes: app::Notes) -> impl ringway::Application {
    let service = app::service(notes);
    ringway::tower::serve(tower::service_fn(move |request: salvo::hyper::Request<Body>| {
        let info: ConnectionInfo = *request.extensions().get().expect("every request has it");
        let [local, peer] = [info.local_addr, info.peer_addr].map(known);
        let handler = service.hyper_handler(local, peer, Scheme::HTTP, None, None);
        handler.call(request.map(|body| ReqBody::Boxed { inner: Box::pin(body.map_err(Into::into)), fusewire: None }))
    }))
}

/// The address as salvo has it.
fn known(address: Option<SocketAddr>) -> salvo::conn::SocketAddr {
    address.map_or(salvo::conn::SocketAddr::Unknown, Into::into)
}

fn main() -> ExitCode {
    ringway::main(ringway::apps! { "salvo:app", "Notes, by salvo." => hosted(NOTES.clone()) })
}
