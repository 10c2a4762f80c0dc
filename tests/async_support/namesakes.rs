//! The bundled applications and the fixtures once more, as services: the same answers to the same requests.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use ringway::tower::{Body, serve};
use ringway::{Admission, Application, Environ, Responded, StartResponse};

/// A service made of an asynchronous function.
#[derive(Clone)]
pub struct Function<F>(pub F);

/// A body that gives these frames, one a poll.
pub struct Frames {
    /// What is still to come.
    pub frames: std::collections::VecDeque<Result<Frame<Bytes>, &'static str>>,
    /// Bytes in all, where that is told.
    pub size: Option<u64>,
}

impl<F, Answer, B> tower_service::Service<Request<Body>> for Function<F>
where
    F: FnMut(Request<Body>) -> Answer,
    Answer: Future<Output = Response<B>> + 'static,
{
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, Infallible>>>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = (self.0)(request);
        Box::pin(async { Ok(answer.await) })
    }
}

impl Frames {
    /// One frame, of a known size.
    pub fn whole(bytes: impl Into<Bytes>) -> Frames {
        let bytes = bytes.into();
        let size = Some(bytes.len() as u64);
        let frames = if bytes.is_empty() { [].into() } else { [Ok(Frame::data(bytes))].into() };
        Frames { frames, size }
    }

    /// Several, of which nothing is known.
    pub fn several<const COUNT: usize>(pieces: [&'static str; COUNT]) -> Frames {
        Frames { frames: pieces.into_iter().map(|piece| Ok(Frame::data(Bytes::from(piece)))).collect(), size: None }
    }
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        Poll::Ready(self.frames.pop_front())
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.size.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// All bytes of a request's body, or why there are no more.
pub async fn read(body: Body) -> Result<Vec<u8>, ringway::InputError> {
    let mut body = std::pin::pin!(body);
    let mut bytes = Vec::new();
    while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
        bytes.extend_from_slice(frame?.data_ref().expect("trailers are dropped"));
    }
    Ok(bytes)
}

/// A response in text.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Frames> {
    let response = Response::builder().status(status).header("Content-Type", "text/plain");
    response.body(Frames::whole(body)).expect("it is well-formed")
}

/// The namesake of an application of the wire cases; `None` for one that only an environ can answer for, or that breaks a
/// rule which the `http` crate does not let anybody break.
pub fn make(name: &str) -> Option<Box<dyn Application>> {
    Some(match name {
        "hello:app" => Box::new(serve(Function(hello))),
        "hello:json" => Box::new(serve(Function(json))),
        "echo:app" => Box::new(WithHead(serve(Function(echo)))),
        "fixture:nobody204" => Box::new(serve(Function(async |_| text(StatusCode::NO_CONTENT, "dropped")))),
        "fixture:s304" => Box::new(serve(Function(not_modified))),
        "fixture:stream" => Box::new(serve(Function(stream))),
        "fixture:short" => Box::new(serve(Function(async |_| declared("10", "01234")))),
        "fixture:long" => Box::new(serve(Function(async |_| declared("5", "0123456789")))),
        "fixture:ownte" => Box::new(serve(Function(panicking))),
        "fixture:panic" => Box::new(serve(Function(panicking))),
        "fixture:reads" => Box::new(serve(Function(reads))),
        _ => return None,
    })
}

/// Reads what it has no use for, as a request that was buffered has come completely too.
async fn hello(request: Request<Body>) -> Response<Frames> {
    match read(request.into_body()).await {
        Ok(_) => text(StatusCode::OK, "Hello, World!"),
        Err(error) => text(StatusCode::BAD_REQUEST, error.to_string()),
    }
}

async fn json(_request: Request<Body>) -> Response<Frames> {
    let body = Frames::whole(r#"{"message":"Hello, World!"}"#);
    Response::builder().header("Content-Type", "application/json").body(body).expect("it is well-formed")
}

async fn not_modified(_request: Request<Body>) -> Response<Frames> {
    let response = Response::builder().status(StatusCode::NOT_MODIFIED).header("ETag", "\"tag\"");
    response.body(Frames::whole("")).expect("it is well-formed")
}

async fn stream(_request: Request<Body>) -> Response<Frames> {
    let response = Response::builder().header("Content-Type", "text/plain");
    response.body(Frames::several(["one", "two", "three"])).expect("it is well-formed")
}

fn declared(size: &str, body: &'static str) -> Response<Frames> {
    // In pieces, for one that is whole has its size checked before the head is out.
    let response = Response::builder().header("Content-Length", size);
    response.body(Frames::several([body, ""])).expect("it is well-formed")
}

async fn panicking(_request: Request<Body>) -> Response<Frames> {
    panic!("on purpose");
}

async fn reads(request: Request<Body>) -> Response<Frames> {
    match read(request.into_body()).await {
        Ok(bytes) => text(StatusCode::OK, format!("body size {}", bytes.len())),
        Err(error) => text(StatusCode::BAD_REQUEST, error.to_string()),
    }
}

async fn echo(request: Request<Body>) -> Response<Frames> {
    let content_type = request.headers().get("Content-Type").cloned();
    let head = request.headers().get(HEAD).expect("it was laid over").as_bytes().to_vec();
    let body = match read(request.into_body()).await {
        Ok(body) => body,
        Err(error) => return text(StatusCode::BAD_REQUEST, error.to_string()),
    };
    if body.is_empty() {
        return text(StatusCode::OK, unhex(&head));
    }
    let mut response = text(StatusCode::OK, body);
    let content_type = content_type.unwrap_or_else(|| "application/octet-stream".parse().expect("it is a value"));
    response.headers_mut().insert("Content-Type", content_type);
    response
}

/// Lays the head as received over the environ, in hexadecimal digits, for a service has no other way to it.
pub struct WithHead<A>(pub A);

impl<A: Application> Application for WithHead<A> {
    fn call<'r>(&self, environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        let digits: String = environ.raw_head().iter().map(|byte| format!("{byte:02x}")).collect();
        environ.with(HEAD_KEY, digits.as_bytes(), |environ| self.0.call(environ, start_response))
    }

    fn admit(&self, environ: &Environ<'_>) -> Admission {
        self.0.admit(environ)
    }

    fn needs_runtime(&self) -> bool {
        self.0.needs_runtime()
    }
}

/// Bytes of such digits.
pub fn unhex(digits: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a digit") as u8;
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// The name that the head is found by.
pub const HEAD: &str = "x-wire-head";
const HEAD_KEY: &str = "HTTP_X_WIRE_HEAD";
