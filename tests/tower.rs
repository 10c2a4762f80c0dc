//! Services of the tower family: what of a request they see, and what becomes of whatever they answer.
#![cfg(feature = "async")]

pub mod async_support;
pub mod support;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::io::Read;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use ringway::tower::{Body, ConnectionInfo, ScriptName, serve};
use ringway::{Application, Mounts};

use async_support::Shared;
use async_support::namesakes::{Frames, Function, read, text};
use async_support::signal::{Census, Signal};
use async_support::sockets::{self, connect, read_until, reset, send, wait_until};
use support::memory::Memory;

type Parts = Rc<RefCell<Vec<http::request::Parts>>>;

/// Notes what it sees, and answers with nothing.
fn noting(seen: &Parts) -> impl Application + use<> {
    let seen = seen.clone();
    serve(Function(move |request: Request<Body>| {
        seen.borrow_mut().push(request.into_parts().0);
        async { text(StatusCode::OK, "") }
    }))
}

fn answer(app: impl Application + 'static, request: &str) -> String {
    let mut memory = Memory::new(Box::new(app));
    memory.receive(request.as_bytes());
    String::from_utf8(memory.sent).expect("it is text")
}

/// The answer to a GET, or what the method is, of a service that answers with this.
fn answered(method: &str, response: impl Fn() -> Response<Frames> + 'static) -> String {
    let service = Function(move |_: Request<Body>| std::future::ready(response()));
    answer(serve(service), &format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n"))
}

fn body_of(text: &str) -> &str {
    text.split_once("\r\n\r\n").expect("a head ends").1
}

#[test]
fn the_head_is_passed_on_as_it_came() {
    let seen = Parts::default();
    let request = "M-SEARCH /a%20b/../c?x=%2F&y HTTP/1.1\r\nHost: example.com\r\nX-Twice: one\r\nx-twice: two\r\n\
                   X_Under: kept\r\nCookie: a=b\r\nX-Latin: caf\u{e9}\r\nEmpty:\r\n\r\n";
    assert!(answer(noting(&seen), request).starts_with("HTTP/1.1 200"));
    let seen = seen.take().pop().expect("it was called");
    assert_eq!((seen.method.as_str(), seen.uri.to_string().as_str()), ("M-SEARCH", "/a%20b/../c?x=%2F&y"));
    assert_eq!(seen.version, http::Version::HTTP_11);
    let fields: Vec<_> = seen.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let expected: [(&str, &[u8]); 7] = [
        ("host", b"example.com"),
        ("x-twice", b"one"),
        ("x-twice", b"two"),
        ("x_under", b"kept"),
        ("cookie", b"a=b"),
        ("x-latin", "caf\u{e9}".as_bytes()),
        ("empty", b""),
    ];
    assert_eq!(fields, expected);
    let info = seen.extensions.get::<ConnectionInfo>().expect("it is there");
    assert_eq!((info.peer_addr, info.scheme), (Some(([127, 0, 0, 1], 40_000).into()), "http"));
    assert_eq!(seen.extensions.get::<ScriptName>(), None);
}

#[test]
fn targets_of_every_form_become_uris() {
    for (target, expected) in [
        ("/", "/"),
        ("/?", "/?"),
        ("//host/path", "//host/path"),
        ("http://h/x?y", "http://h/x?y"),
        ("/a`b|c{d}^e\\f", "/a%60b%7Cc%7Bd%7D%5Ee%5Cf"),
    ] {
        let seen = Parts::default();
        answer(noting(&seen), &format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"));
        let uri = seen.take().pop().map(|parts| parts.uri.to_string());
        // What the crate takes as it is stays as it is.
        let is_right = uri.as_deref() == Some(expected) || uri.as_deref() == Some(target);
        assert!(is_right, "{target}: {uri:?}");
    }
}

#[test]
fn the_host_of_an_absolute_target_is_the_host() {
    for (target, host, expected) in [
        ("http://good:81/x", "Host: other\r\n", Some("good:81")),
        ("http://h/x", "", Some("h")),
        ("/x", "Host: h\r\n", Some("h")),
        ("/x", "", None),
    ] {
        let seen = Parts::default();
        let version = if host.is_empty() { "1.0" } else { "1.1" };
        answer(noting(&seen), &format!("GET {target} HTTP/{version}\r\n{host}\r\n"));
        let parts = seen.take().pop().unwrap_or_else(|| panic!("{target} was asked for"));
        let hosts: Vec<_> = parts.headers.get_all("host").iter().map(|value| value.to_str().expect("text")).collect();
        assert_eq!(hosts, expected.into_iter().collect::<Vec<_>>(), "{target}");
    }
}

#[test]
fn a_mount_takes_its_prefix_off_the_path() {
    for (target, expected, script_name) in [
        ("/api/x?y=/api", "/x?y=/api", "/api"),
        ("/api", "/", "/api"),
        ("/api?q", "/?q", "/api"),
        ("/%61pi/%2F", "/%2F", "/api"),
        ("http://h/api/z", "/z", "/api"),
    ] {
        let seen = Parts::default();
        let mounts = Mounts::new().mount("/api", "api", noting(&seen));
        answer(mounts, &format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"));
        let parts = seen.take().pop().unwrap_or_else(|| panic!("{target} was asked for"));
        assert_eq!(parts.uri.to_string(), expected, "{target}");
        assert_eq!(parts.extensions.get(), Some(&ScriptName(script_name.into())), "{target}");
    }
}

#[test]
fn a_body_of_one_piece_is_sent_as_one_and_another_in_chunks() {
    let sized = answered("GET", || text(StatusCode::OK, "sized"));
    assert!(sized.contains("Content-Length: 5\r\n") && body_of(&sized) == "sized", "{sized}");
    // It does not say its size, but its end behind the first frame.
    let ended = answered("GET", || Response::new(Frames::several(["ended"])));
    assert!(ended.contains("Content-Length: 5\r\n") && body_of(&ended) == "ended", "{ended}");
    let chunked = answered("GET", || Response::new(Frames::several(["one", "", "two"])));
    assert!(chunked.contains("Transfer-Encoding: chunked\r\n"), "{chunked}");
    assert_eq!(body_of(&chunked), "0006\r\nonetwo\r\n0\r\n\r\n");
    // In pieces, of a size that is known.
    let counted = answered("GET", || Response::new(Frames { size: Some(6), ..Frames::several(["one", "two"]) }));
    assert!(counted.contains("Content-Length: 6\r\n") && body_of(&counted) == "onetwo", "{counted}");
    let empty = answered("GET", || text(StatusCode::OK, ""));
    assert!(empty.contains("Content-Length: 0\r\n"), "{empty}");
    // Large pieces go out from where they lie, small ones and larger than a block too.
    let large = answered("GET", || {
        let pieces = [1, 9_000, 40_000, 5, 8_192].map(|size| Ok(Frame::data(Bytes::from(vec![b'x'; size]))));
        Response::new(Frames { frames: pieces.into(), size: Some(57_198) })
    });
    assert!(body_of(&large).len() == 57_198 && body_of(&large).bytes().all(|byte| byte == b'x'));
}

#[test]
fn a_head_request_and_a_status_without_a_body_have_none() {
    let declared = answered("HEAD", || {
        let mut response = text(StatusCode::OK, "");
        response.headers_mut().insert("content-length", "5".parse().expect("a value"));
        response
    });
    assert!(declared.contains("Content-Length: 5\r\n") && body_of(&declared).is_empty(), "{declared}");
    let known = answered("HEAD", || text(StatusCode::OK, "known"));
    assert!(known.contains("Content-Length: 5\r\n") && body_of(&known).is_empty(), "{known}");
    let unknown = answered("HEAD", || Response::new(Frames::several(["one", "two"])));
    assert!(!unknown.contains("Content-Length") && body_of(&unknown).is_empty(), "{unknown}");
    // An empty one says nothing of what a GET would have had.
    let empty = answered("HEAD", || text(StatusCode::OK, ""));
    assert!(!empty.contains("Content-Length") && body_of(&empty).is_empty(), "{empty}");
    for (status, framing) in [(204, ""), (304, ""), (205, "Content-Length: 0\r\n")] {
        let status = StatusCode::from_u16(status).expect("a status");
        let none = answered("GET", move || text(status, "dropped"));
        let fields: String =
            none.lines().filter(|line| line.starts_with("Content-L")).map(|l| format!("{l}\r\n")).collect();
        assert_eq!((fields.as_str(), body_of(&none)), (framing, ""), "{status}");
        assert!(!none.contains("chunked"), "{none}");
        // What is said of a body that is not sent, or goes wrong in it, is nobody's business.
        let declared = answered("GET", move || {
            let mut response = Response::new(Frames { frames: [Err("on purpose")].into(), size: None });
            *response.status_mut() = status;
            response.headers_mut().insert("content-length", "7".parse().expect("a value"));
            response
        });
        assert!(declared.starts_with(&format!("HTTP/1.1 {} ", status.as_u16())), "{declared}");
        assert_eq!(declared.contains("Content-Length: 7"), status == StatusCode::NOT_MODIFIED, "{declared}");
    }
}

#[test]
fn hop_by_hop_fields_are_dropped_and_a_close_is_honoured() {
    let with = |name: &'static str, value: &'static str| {
        answered("GET", move || {
            let mut response = text(StatusCode::OK, "body");
            response.headers_mut().insert(name, value.parse().expect("a value"));
            response
        })
    };
    for name in ["keep-alive", "proxy-authenticate", "te", "trailer", "transfer-encoding", "upgrade"] {
        let answer = with(name, "gzip");
        assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("gzip"), "{answer}");
    }
    assert!(with("connection", "upgrade, Close").contains("Connection: close\r\n"));
    assert!(!with("connection", "x-other").contains("Connection"));
    assert!(with("x-other", "kept").contains("x-other: kept\r\n"));
    let own = with("server", "mine");
    assert!(own.contains("server: mine\r\n") && !own.contains("Server: ringway"), "{own}");
}

#[test]
fn trailers_are_sent_to_who_takes_them() {
    let response = || {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().expect("a value"));
        trailers.insert("content-length", "5".parse().expect("a value"));
        let frames = [Ok(Frame::data(Bytes::from("data"))), Ok(Frame::trailers(trailers))];
        Response::new(Frames { frames: frames.into(), size: None })
    };
    for (field, version, expected) in [
        ("TE: trailers\r\n", "1.1", "0004\r\ndata\r\n0\r\ngrpc-status: 0\r\n\r\n"),
        ("TE: gzip;q=0.5, Trailers\r\n", "1.1", "0004\r\ndata\r\n0\r\ngrpc-status: 0\r\n\r\n"),
        ("TE: gzip\r\n", "1.1", "0004\r\ndata\r\n0\r\n\r\n"),
        ("", "1.1", "0004\r\ndata\r\n0\r\n\r\n"),
        ("TE: trailers\r\n", "1.0", "data"),
    ] {
        let service = Function(move |_: Request<Body>| std::future::ready(response()));
        let said = answer(serve(service), &format!("GET / HTTP/{version}\r\nHost: h\r\n{field}\r\n"));
        assert_eq!(body_of(&said), expected, "{field} {version}");
    }
}

#[test]
fn a_body_that_fails_is_a_500_before_the_head_and_an_abort_behind_it() {
    let before = answered("GET", || Response::new(Frames { frames: [Err("on purpose")].into(), size: None }));
    assert!(before.starts_with("HTTP/1.1 500"), "{before}");
    let frames = || [Ok(Frame::data(Bytes::from("first"))), Ok(Frame::data(Bytes::from("x".repeat(9000)))), Err("no")];
    let behind = answered("GET", move || Response::new(Frames { frames: frames().into(), size: None }));
    assert!(behind.starts_with("HTTP/1.1 200") && !behind.ends_with("0\r\n\r\n"), "{behind}");
    let short = answered("GET", || Response::new(Frames { size: Some(9), ..Frames::several(["short", ""]) }));
    assert!(short.contains("Content-Length: 9\r\n") && body_of(&short).len() < 9, "{short}");
}

/// A body that gives a piece and then never says that it was the last.
struct Stuck(Option<Bytes>, SizeHint);

impl http_body::Body for Stuck {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.take().map_or(Poll::Pending, |bytes| Poll::Ready(Some(Ok(Frame::data(bytes)))))
    }

    fn size_hint(&self) -> SizeHint {
        self.1
    }
}

#[test]
fn a_response_of_known_size_has_ended_when_all_of_it_is_there() {
    for (size, is_declared) in [(5, true), (5, false), (20_000, true), (20_000, false)] {
        let piece = Bytes::from("x".repeat(size));
        let service = Function(move |_: Request<Body>| {
            let size_hint = if is_declared { SizeHint::default() } else { SizeHint::with_exact(size as u64) };
            let mut response = Response::new(Stuck(Some(piece.clone()), size_hint));
            if is_declared {
                response.headers_mut().insert("content-length", size.into());
            }
            std::future::ready(response)
        });
        let mut memory = Memory::new(Box::new(serve(service)));
        memory.awaits_answers = false;
        memory.receive(b"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
        let byte_count = memory.sent.iter().filter(|byte| **byte == b'x').count();
        assert_eq!(byte_count, 2 * size, "the second request is answered, {size} {is_declared}");
    }
}

#[test]
fn leave_to_send_comes_before_a_response_that_returns_the_body() {
    let echo = Function(|request: Request<Body>| std::future::ready(Response::new(request.into_body())));
    let mut memory = Memory::new(Box::new(serve(echo)));
    memory.awaits_answers = false;
    memory.receive(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let said = String::from_utf8(memory.sent.clone()).expect("it is text");
    assert!(said.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), "{said}");
    assert_eq!(said.matches("100 Continue").count(), 1, "{said}");
    memory.receive(b"hello");
    while memory.deliver() {}
    assert!(memory.sent.ends_with(b"\r\n\r\nhello") && !memory.is_finished);
    // Who has asked and then thrown the body away wants it no more.
    let fickle = Function(async |request: Request<Body>| {
        let mut body = Box::pin(request.into_body());
        std::future::poll_fn(|context| Poll::Ready(body.as_mut().poll_frame(context).is_ready())).await;
        text(StatusCode::UNAUTHORIZED, "no")
    });
    let said = answer(serve(fickle), "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert!(said.starts_with("HTTP/1.1 401") && said.contains("Connection: close\r\n"), "{said}");
}

/// Ready when it is let, and sometimes not at all.
struct Shy {
    signal: Signal,
    waits: Option<Pin<Box<dyn Future<Output = ()>>>>,
    is_broken: Rc<RefCell<bool>>,
    call_count: Rc<RefCell<usize>>,
}

impl tower_service::Service<Request<Body>> for Shy {
    type Response = Response<Frames>;
    type Error = &'static str;
    type Future = std::future::Ready<Result<Response<Frames>, &'static str>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        if *self.is_broken.borrow() {
            return Poll::Ready(Err("broken on purpose"));
        }
        let signal = self.signal.clone();
        let waits = self.waits.get_or_insert_with(|| Box::pin(async move { signal.taken().await }));
        std::task::ready!(waits.as_mut().poll(context));
        self.waits = None;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        *self.call_count.borrow_mut() += 1;
        std::future::ready(match request.uri().path() {
            "/fails" => Err("failed on purpose"),
            path => Ok(text(StatusCode::OK, path.to_string())),
        })
    }
}

#[test]
fn a_service_that_is_not_ready_is_waited_for_and_one_that_never_will_be_is_unavailable() {
    let (signal, is_broken, call_count) = (Signal::default(), Rc::default(), Rc::<RefCell<usize>>::default());
    let shy =
        Shy { signal: signal.clone(), waits: None, is_broken: Rc::clone(&is_broken), call_count: call_count.clone() };
    let app = Rc::new(serve(shy));
    let mut memories: Vec<_> = (0..4)
        .map(|index| {
            let mut memory = Memory::new(Box::new(Shared(app.clone())));
            memory.awaits_answers = false;
            memory.receive(format!("GET /{index} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
            memory
        })
        .collect();
    let answered = |memories: &mut Vec<Memory>| -> Vec<bool> {
        while memories.iter_mut().any(Memory::deliver) {}
        memories.iter().map(|memory| memory.sent.starts_with(b"HTTP/1.1 200")).collect()
    };
    assert_eq!((answered(&mut memories), *call_count.borrow()), (vec![false; 4], 0));
    // The first of them goes, and so makes place for the second.
    memories[0].cut();
    signal.give();
    assert_eq!(answered(&mut memories), [false, true, false, false]);
    // One that waits in the middle goes.
    memories[2].cut();
    signal.give();
    assert_eq!((answered(&mut memories), *call_count.borrow()), (vec![false, true, false, true], 2));
    signal.give();
    memories[1].receive(b"GET /fails HTTP/1.1\r\nHost: h\r\n\r\n");
    while memories[1].deliver() {}
    assert!(String::from_utf8_lossy(&memories[1].sent).contains("HTTP/1.1 500"));
    *is_broken.borrow_mut() = true;
    memories[3].receive(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(String::from_utf8_lossy(&memories[3].sent).contains("HTTP/1.1 503"));
    let faults: Vec<_> = memories.iter().flat_map(|memory| &memory.heard.faults).collect();
    assert_eq!(faults.len(), 2, "{faults:?}");
}

/// Executors poll a future by one waker, so that many keep the first that they are given.
#[test]
fn a_future_that_keeps_its_first_waker_is_polled_again() {
    let (kept, is_let) = (Rc::<RefCell<Option<Waker>>>::default(), Rc::<Cell<bool>>::default());
    let (keeping, letting) = (kept.clone(), is_let.clone());
    let service = Function(move |_: Request<Body>| {
        let (keeping, letting) = (keeping.clone(), letting.clone());
        std::future::poll_fn(move |context| {
            keeping.borrow_mut().get_or_insert_with(|| context.waker().clone());
            if letting.get() { Poll::Ready(text(StatusCode::OK, "late")) } else { Poll::Pending }
        })
    });
    let mut memory = Memory::new(Box::new(serve(service)));
    memory.awaits_answers = false;
    memory.receive(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    while memory.deliver() {}
    assert!(memory.sent.is_empty());
    is_let.set(true);
    kept.take().expect("it was polled").wake();
    while memory.deliver() {}
    assert_eq!(body_of(&String::from_utf8_lossy(&memory.sent)), "late");
}

#[test]
fn a_body_knows_its_size_and_its_end() {
    let service = Function(async |request: Request<Body>| {
        let body = request.into_body();
        let (size, is_ended) = (body.size_hint().exact(), body.is_end_stream());
        let bytes = read(body).await.expect("it comes");
        text(StatusCode::OK, format!("{size:?} {is_ended} {}", bytes.len()))
    });
    for (request, expected) in [
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", "Some(0) true 0"),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", "Some(3) false 3"),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "None false 3"),
    ] {
        let said = answer(serve(service.clone()), request);
        // Chunks have come before the body is looked at, where they come in one piece.
        let is_right = body_of(&said) == expected || body_of(&said) == "Some(3) false 3";
        assert!(is_right, "{request}: {said}");
    }
}

#[test]
fn a_dropped_client_drops_the_future_and_both_bodies() {
    let census = Census::default();
    let counted = census.clone();
    let make = move || {
        let census = counted.clone();
        Box::new(serve(Function(move |request: Request<Body>| {
            let alive = census.enter();
            async move {
                let _alive = alive;
                drop(read(request.into_body()).await);
                std::future::pending::<Response<Frames>>().await
            }
        }))) as Box<dyn Application>
    };
    sockets::serve(
        "a_dropped_client_drops_the_future",
        make,
        |_| {},
        |running, _| {
            for request in [
                "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
                "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf",
                "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nfull",
            ] {
                let mut stream = connect(running);
                send(&mut stream, request);
                wait_until("it is called", || census.count() == 1);
                reset(stream);
                wait_until("it is cancelled", || census.count() == 0);
            }
        },
    );
}

/// A body that gives pieces as long as anybody takes them, and is counted while it lives.
struct Endless(#[allow(dead_code, reason = "it is there to be dropped")] async_support::signal::Alive);

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 5000])))))
    }
}

#[test]
fn an_upload_is_echoed_while_it_comes_and_an_endless_body_ends_with_its_reader() {
    let census = Census::default();
    let counted = census.clone();
    let make = move || {
        let census = counted.clone();
        let endless =
            serve(Function(move |_: Request<Body>| std::future::ready(Response::new(Endless(census.enter())))));
        let echo = serve(Function(|request: Request<Body>| std::future::ready(Response::new(request.into_body()))));
        Box::new(Mounts::new().mount("/echo", "echo", echo).mount("/", "endless", endless)) as Box<dyn Application>
    };
    let change = |config: &mut ringway::config::Config| config.limits.body.body_max = 1 << 30;
    sockets::serve("an_upload_is_echoed_while_it_comes", make, change, |running, _| {
        let mut stream = connect(running);
        let (chunk, count) = ("%".repeat(10_000), 2_000);
        send(&mut stream, "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
        let mut other = stream.try_clone().expect("a descriptor");
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for _ in 0..count {
                    send(&mut other, format!("{:x}\r\n{chunk}\r\n", chunk.len()));
                }
                send(&mut other, "0\r\n\r\n");
            });
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).expect("it ends in order");
            assert_eq!(bytes.iter().filter(|byte| **byte == b'%').count(), 10_000 * count);
            assert!(bytes.ends_with(b"0\r\n\r\n"));
        });
        let mut stream = connect(running);
        send(&mut stream, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        read_until(&mut stream, "xxxxx");
        assert_eq!(census.count(), 1);
        reset(stream);
        wait_until("it is dropped", || census.count() == 0);
    });
}

/// A body of empty frames without end.
struct Hollow(#[allow(dead_code, reason = "it is there to be dropped")] async_support::signal::Alive);

impl http_body::Body for Hollow {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::new()))))
    }
}

#[test]
fn a_body_of_empty_frames_lets_the_others_have_their_turns() {
    let census = Census::default();
    let counted = census.clone();
    let make = move || {
        let census = counted.clone();
        let hollow = serve(Function(move |_: Request<Body>| std::future::ready(Response::new(Hollow(census.enter())))));
        let other = serve(Function(async |_: Request<Body>| text(StatusCode::OK, "answered")));
        Box::new(Mounts::new().mount("/hollow", "hollow", hollow).mount("/", "other", other)) as Box<dyn Application>
    };
    sockets::serve(
        "a_body_of_empty_frames",
        make,
        |_| {},
        |running, _| {
            let mut stream = connect(running);
            send(&mut stream, "GET /hollow HTTP/1.1\r\nHost: h\r\n\r\n");
            assert!(read_until(&mut stream, "\r\n\r\n").contains("chunked"));
            let mut other = connect(running);
            send(&mut other, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
            read_until(&mut other, "answered");
            assert_eq!(census.count(), 1);
            reset(stream);
            wait_until("it is dropped", || census.count() == 0);
        },
    );
}

#[test]
fn a_response_that_ends_with_the_connection_is_reset_where_it_is_not_whole() {
    let make = || {
        Box::new(serve(Function(async |request: Request<Body>| {
            let last = if request.uri().path() == "/fails" { Err("no") } else { Ok(Frame::data(Bytes::from("last"))) };
            let frames = [Ok(Frame::data(Bytes::from("first"))), Ok(Frame::data(Bytes::from("x".repeat(9000)))), last];
            Response::new(Frames { frames: frames.into(), size: None })
        }))) as Box<dyn Application>
    };
    sockets::serve(
        "a_response_that_ends_with_the_connection",
        make,
        |_| {},
        |running, _| {
            let ask = |path: &str| {
                let mut stream = connect(running);
                send(&mut stream, format!("GET {path} HTTP/1.0\r\n\r\n"));
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).map(|_| bytes)
            };
            assert!(ask("/").expect("it ends in order").ends_with(b"xlast"));
            let error = ask("/fails").expect_err("who reads it learns that it is not whole");
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        },
    );
}

#[test]
fn those_who_are_ahead_of_awaited_answers_hold_no_more_blocks_than_there_may_be() {
    const BLOCK_COUNT_MAX: usize = 128;
    let make = || {
        Box::new(serve(Function(|_: Request<Body>| std::future::pending::<Response<Frames>>()))) as Box<dyn Application>
    };
    let change = |config: &mut ringway::config::Config| config.block_count_max = BLOCK_COUNT_MAX;
    sockets::serve("those_who_are_ahead", make, change, |running, _| {
        let streams: Vec<_> = (0..3 * BLOCK_COUNT_MAX)
            .map(|_| {
                let mut stream = connect(running);
                send(&mut stream, "GET / HTTP/1.1\r\nHost: h\r\n\r\nG");
                stream
            })
            .collect();
        wait_until("the others are let go", || {
            let counts = running.counts();
            counts.accepted == streams.len() as u64 && counts.accepted - counts.closed <= BLOCK_COUNT_MAX as u64
        });
        assert!(running.counts().of(ringway::stats::Limit::Blocks) >= 2 * BLOCK_COUNT_MAX as u64);
        streams.into_iter().for_each(reset);
    });
}
