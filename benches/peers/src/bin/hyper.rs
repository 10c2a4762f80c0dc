//! hyper on tokio's current-thread runtime: `hyper PORT`.
//!
//! Pipelined answers are flushed together, and an echoed body goes back in the pieces in which it came.

use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Either, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use ringway_peers::field::{HELLO, STATIC_BODY, run};
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use tokio::net::TcpListener;

type Body = Either<Full<Bytes>, Collected<Bytes>>;

fn main() -> ExitCode {
    run("hyper", |address| tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(address)))
}

async fn serve(address: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let mut http = http1::Builder::new();
            http.pipeline_flush(true);
            // A connection that fails is the peer's own affair.
            let _ = http.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        });
    }
}

async fn answer(request: Request<Incoming>) -> hyper::Result<Response<Body>> {
    let (kind, body) = match request.uri().path() {
        "/echo" => {
            let size = request.headers().get(CONTENT_LENGTH).cloned();
            let body = request.into_body().collect().await?;
            let mut response = Response::new(Either::Right(body));
            // Collected pieces do not know their sum, without which they would be sent in chunks.
            response.headers_mut().extend(size.map(|size| (CONTENT_LENGTH, size)));
            return Ok(response);
        }
        "/static" => ("application/octet-stream", Bytes::from_static(&STATIC_BODY)),
        _ => ("text/plain", Bytes::from_static(HELLO.as_bytes())),
    };
    let mut response = Response::new(Either::Left(Full::new(body)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}
