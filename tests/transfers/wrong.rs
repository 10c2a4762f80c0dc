//! What is wrong with a streamed body, with the answer to it, or with the service itself, on real sockets.

use std::future::{Future, poll_fn};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use http_body::{Body as _, Frame};
use ringway::Application;
use ringway::config::Config;
use ringway::server::Running;
use ringway::tower::{Body, serve};
use socket2::SockRef;
use tower_service::Service;

use super::async_support::namesakes::Frames;
use super::async_support::signal::{Alive, Census};
use super::async_support::sockets::{self, connect, read_to_end, read_until, send, wait_until};

/// How long nothing must move to be taken for stopped.
const QUIET: Duration = Duration::from_millis(300);
const BODY_MAX: u64 = 1000;

/// What the application has seen.
#[derive(Clone, Default)]
struct Seen {
    call_count: Arc<AtomicUsize>,
    alive: Census,
    /// How each body has ended, with its size or why.
    ends: Arc<Mutex<Vec<Result<usize, String>>>>,
}

impl Seen {
    fn enter(&self) -> Alive {
        self.call_count.fetch_add(1, Ordering::AcqRel);
        self.alive.enter()
    }

    fn calls(&self) -> usize {
        self.call_count.load(Ordering::Acquire)
    }

    fn take_ends(&self) -> Vec<Result<usize, String>> {
        std::mem::take(&mut *lock(&self.ends))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn router(seen: &Seen) -> Router {
    Router::new()
        .route("/late", any(late))
        .route("/early", any(early))
        .route("/fails", any(async || broken(["first", "second"], None)))
        .route("/short", any(async || broken(["short", ""], Some("10"))))
        .with_state(seen.clone())
}

/// Answers behind the whole body.
async fn late(State(seen): State<Seen>, request: Request) -> String {
    let _alive = seen.enter();
    let (mut body, mut size) = (request.into_body(), 0);
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        match frame {
            Ok(frame) => size += frame.data_ref().map_or(0, Bytes::len),
            Err(error) => {
                lock(&seen.ends).push(Err(error.to_string()));
                return "an error".into();
            }
        }
    }
    lock(&seen.ends).push(Ok(size));
    format!("{size} bytes.")
}

/// Answers at once, with a body that ends when that of the request has.
async fn early(State(seen): State<Seen>, request: Request) -> axum::body::Body {
    let alive = seen.enter();
    axum::body::Body::new(Early { seen, _alive: alive, input: Some(request.into_body()), size: 0, has_begun: false })
}

struct Early {
    seen: Seen,
    _alive: Alive,
    input: Option<axum::body::Body>,
    size: usize,
    has_begun: bool,
}

impl http_body::Body for Early {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if !std::mem::replace(&mut self.has_begun, true) {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"begun")))));
        }
        let Some(input) = &mut self.input else { return Poll::Ready(None) };
        let end = match std::task::ready!(Pin::new(input).poll_frame(context)) {
            Some(Ok(frame)) => {
                self.size += frame.data_ref().map_or(0, Bytes::len);
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(Err(error)) => Err(error.to_string()),
            None => Ok(self.size),
        };
        lock(&self.seen.ends).push(end);
        self.input = None;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"ended")))))
    }
}

/// Pieces, and what is no end of them.
fn broken<const COUNT: usize>(pieces: [&'static str; COUNT], declared: Option<&'static str>) -> Response {
    let mut frames = Frames::several(pieces);
    let mut response = Response::builder();
    match declared {
        Some(size) => response = response.header("Content-Length", size),
        None => frames.frames.push_back(Err("it breaks off on purpose")),
    }
    response.body(axum::body::Body::new(frames)).expect("it is well-formed")
}

/// Serves the router on both drivers.
fn on_both(name: &str, change: impl Fn(&mut Config), scene: impl Fn(&Running, &Seen)) {
    let seen = Seen::default();
    let made = seen.clone();
    let make = move || Box::new(serve(router(&made))) as Box<dyn Application>;
    sockets::serve(name, make, change, |running, _| {
        seen.call_count.store(0, Ordering::Release);
        scene(running, &seen);
        wait_until("nothing is left", || seen.alive.count() == 0);
    });
}

fn begin(running: &Running, path: &str, framing: &str) -> TcpStream {
    let mut stream = connect(running);
    send(&mut stream, format!("POST {path} HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n"));
    stream
}

const CHUNKED: &str = "Transfer-Encoding: chunked";

fn chunk(size: usize) -> String {
    format!("{size:x}\r\n{}\r\n", "x".repeat(size))
}

#[test]
fn a_body_that_is_too_large_is_refused_before_the_call_or_told_to_its_reader() {
    let change = |config: &mut Config| config.limits.body.body_max = BODY_MAX;
    on_both("a_body_that_is_too_large", change, |running, seen| {
        for path in ["/late", "/early"] {
            let mut stream = begin(running, path, &format!("Content-Length: {}", BODY_MAX + 1));
            let said = read_to_end(&mut stream);
            assert!(said.starts_with("HTTP/1.1 413 ") && said.contains("Connection: close\r\n"), "{said}");
            assert_eq!(seen.calls(), 0, "before the application is called");
        }
        // One that grows past it while its answer is awaited: that is the refusal, and the future is dropped.
        let mut stream = begin(running, "/late", CHUNKED);
        send(&mut stream, chunk(600));
        wait_until("it is called", || seen.calls() == 1);
        send(&mut stream, chunk(600));
        let said = read_to_end(&mut stream);
        assert!(said.starts_with("HTTP/1.1 413 ") && said.contains("Connection: close\r\n"), "{said}");
        wait_until("it is cancelled", || seen.alive.count() == 0);
        assert_eq!(seen.take_ends(), [], "it has not seen an end");
        // And while the response is under way: its reader is told, and the response is the last.
        let mut stream = begin(running, "/early", CHUNKED);
        send(&mut stream, chunk(600));
        read_until(&mut stream, "begun\r\n");
        send(&mut stream, chunk(600));
        let said = read_to_end(&mut stream);
        assert!(said.ends_with("0005\r\nended\r\n0\r\n\r\n"), "{said}");
        assert_eq!(seen.take_ends(), [Err("The body is larger than this server takes.".to_string())]);
        // Just as much as there may be is served, and the connection stays.
        let mut stream = begin(running, "/late", CHUNKED);
        for _ in 0..2 {
            send(&mut stream, format!("{}0\r\n\r\nPOST /late HTTP/1.1\r\nHost: h\r\n{CHUNKED}\r\n\r\n", chunk(1000)));
            read_until(&mut stream, "1000 bytes.");
        }
        assert_eq!(seen.take_ends(), [Ok(1000), Ok(1000)]);
    });
}

#[test]
fn a_body_that_stalls_is_timed_out_or_told_to_its_reader() {
    let change = |config: &mut Config| config.limits.body_idle = Duration::from_secs(1);
    on_both("a_body_that_stalls", change, |running, seen| {
        let mut streams = ["/late", "/early"].map(|path| begin(running, path, "Content-Length: 10"));
        streams.iter_mut().for_each(|stream| send(stream, "half"));
        let [late, early] = streams.each_mut().map(read_to_end);
        assert!(late.starts_with("HTTP/1.1 408 ") && late.contains("Connection: close\r\n"), "{late}");
        assert!(early.starts_with("HTTP/1.1 200 ") && early.ends_with("ended\r\n0\r\n\r\n"), "{early}");
        let ends = seen.take_ends();
        assert!(matches!(&ends[..], [Err(error)] if error.contains("in time")), "{ends:?}");
    });
}

#[test]
fn a_response_that_fails_behind_its_head_has_no_proper_end() {
    on_both(
        "a_response_that_fails",
        |_| {},
        |running, _| {
            for (path, piece) in [("/fails", "second"), ("/short", "short")] {
                let mut stream = connect(running);
                send(
                    &mut stream,
                    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\nGET {path} HTTP/1.1\r\nHost: h\r\n\r\n"),
                );
                let mut said = Vec::new();
                // It may be a reset, behind what was sent.
                let _ = stream.read_to_end(&mut said);
                let said = String::from_utf8(said).expect("it is text");
                assert!(said.starts_with("HTTP/1.1 200 ") && said.matches("HTTP/1.1").count() == 1, "{said}");
                assert!(said.contains(piece) || path == "/fails", "{said}");
                assert!(!said.ends_with("0\r\n\r\n"), "{said}");
            }
        },
    );
}

/// The router behind a door.
struct Shy(Router, Arc<Mutex<Door>>);

#[derive(Default)]
struct Door {
    is_open: bool,
    is_broken: bool,
    waker: Option<Waker>,
}

impl Service<http::Request<Body>> for Shy {
    type Response = Response;
    type Error = &'static str;
    type Future = Pin<Box<dyn Future<Output = Result<Response, &'static str>>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        let mut door = lock(&self.1);
        if door.is_broken {
            return Poll::Ready(Err("broken on purpose"));
        }
        if door.is_open {
            return Poll::Ready(Ok(()));
        }
        door.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async { answer.await.map_err(|never| match never {}) })
    }
}

#[test]
fn a_service_that_is_not_ready_stops_its_peers_and_one_that_fails_is_unavailable() {
    let (seen, door) = (Seen::default(), Arc::<Mutex<Door>>::default());
    let (made, shut) = (seen.clone(), door.clone());
    let make = move || Box::new(serve(Shy(router(&made), shut.clone()))) as Box<dyn Application>;
    let change = |config: &mut Config| config.limits.body.body_max = u64::MAX;
    sockets::serve("a_service_that_is_not_ready", make, change, |running, _| {
        *lock(&door) = Door::default();
        seen.call_count.store(0, Ordering::Release);
        let size = 4 << 20;
        let mut upload = begin(running, "/late", &format!("Content-Length: {size}"));
        SockRef::from(&upload).set_send_buffer_size(16 * 1024).expect("a socket has this option");
        upload.set_write_timeout(Some(QUIET)).expect("a socket has this option");
        let mut sent = 0;
        let error = loop {
            match upload.write(&vec![b'x'; size - sent]) {
                Ok(written) => sent += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break error,
            }
            assert!(sent < size, "a service that is not ready is sent all of it");
        };
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
        let mut other = begin(running, "/late", "Content-Length: 0");
        assert_eq!(seen.calls(), 0, "nobody is called");
        let waker = {
            let mut door = lock(&door);
            door.is_open = true;
            door.waker.take()
        };
        // From a thread that is not the worker's.
        waker.expect("somebody waits").wake();
        read_until(&mut other, "0 bytes.");
        upload.set_write_timeout(Some(sockets::PATIENCE)).expect("a socket has this option");
        send(&mut upload, vec![b'x'; size - sent]);
        read_until(&mut upload, &format!("{size} bytes."));
        lock(&door).is_broken = true;
        for _ in 0..2 {
            send(&mut other, "GET /late HTTP/1.1\r\nHost: h\r\n\r\n");
            assert!(read_until(&mut other, "\r\n\r\n").starts_with("HTTP/1.1 503 "));
            read_until(&mut other, "\n");
        }
        assert_eq!(seen.calls(), 2);
        lock(&door).is_broken = false;
        send(&mut other, "GET /late HTTP/1.1\r\nHost: h\r\n\r\n");
        read_until(&mut other, "0 bytes.");
    });
}
