//! A poem application on Ringway: `cargo run --release --example poem`, then `curl http://127.0.0.1:8888/`.

pub mod app;

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::{Arc, LazyLock};

use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use poem::http::{Request, Response, uri::Scheme};
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint};
use ringway::tower::{Body, ConnectionInfo};

/// One for all workers.
static NOTES: LazyLock<app::Notes> = LazyLock::new(app::Notes::default);

pub fn hosted(notes: app::Notes) -> impl ringway::Application {
    let routes = Arc::new(app::routes(notes));
    ringway::tower::serve(tower::service_fn(move |request: Request<Body>| {
        let routes = routes.clone();
        async move { Ok::<_, Infallible>(answer(&*routes, request).await) }
    }))
}

/// What poem's own server does with a request of hyper.
async fn answer(routes: &impl Endpoint, request: Request<Body>) -> Response<BoxBody<bytes::Bytes, std::io::Error>> {
    let (parts, body) = request.into_parts();
    let info: ConnectionInfo = *parts.extensions.get().expect("every request has it");
    let [local, remote] = [info.local_addr, info.peer_addr].map(|addr| addr.map(Addr::SocketAddr).unwrap_or_default());
    let parts = (parts, LocalAddr(local), RemoteAddr(remote), Scheme::HTTP).into();
    let body = body.map_err(std::io::Error::other).boxed();
    routes.get_response(poem::Request::from_parts(parts, body.into())).await.into()
}

fn main() -> ExitCode {
    ringway::main(ringway::apps! { "poem:app", "Notes, by poem." => hosted(NOTES.clone()) })
}
