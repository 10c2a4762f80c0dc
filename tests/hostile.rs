//! Applications that await and do what they should not, and clients that make the most of it: what a panic costs, who waits
//! for whom, and what outlives a request.
#![cfg(feature = "async")]

pub mod async_support;
pub mod support;

use std::cell::RefCell;
use std::future::{Future, pending, poll_fn};
use std::net::TcpStream;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use ringway::app::asynchronous::StartResponse;
use ringway::server::Running;
use ringway::tower::{Body, serve as tower};
use ringway::{Application, InputError, Mounts, OwnedEnviron, Status, asynchronous};
use socket2::{Domain, Socket, Type};

use async_support::Shared;
use async_support::namesakes::{Frames, text};
use async_support::signal::{Alive, Census, Signal};
use async_support::sockets::{connect, read_until, reset, send, serve, wait_until};
use support::memory::Memory;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

fn path(environ: &OwnedEnviron) -> String {
    environ.with(|environ| String::from_utf8_lossy(environ.path_info()).into_owned())
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// A service that takes one request at a time, and says when it takes the next.
#[derive(Clone, Default)]
struct OneAtATime(Rc<RefCell<(bool, Option<Waker>)>>, Signal);

/// Held while a request is answered.
struct Turn(OneAtATime);

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.0.0.borrow_mut();
        state.0 = false;
        let waker = state.1.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl tower_service::Service<Request<Body>> for OneAtATime {
    type Response = Response<Frames>;
    type Error = &'static str;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Frames>, &'static str>>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        let mut state = self.0.borrow_mut();
        if state.0 {
            state.1 = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.0.borrow_mut().0 = true;
        let turn = Turn(self.clone());
        assert!(request.uri().path() != "/panics", "on purpose");
        let signal = self.1.clone();
        Box::pin(async move {
            let _turn = turn;
            if request.uri().path() == "/holds" {
                signal.taken().await;
            }
            Ok(text(StatusCode::OK, "had its turn"))
        })
    }
}

#[test]
fn a_service_that_panics_over_a_request_that_had_waited_serves_the_next() {
    let service = OneAtATime::default();
    let app: Rc<dyn Application> = Rc::new(tower(service.clone()));
    let mut memories: Vec<_> = ["/holds", "/panics", "/last"]
        .iter()
        .map(|path| {
            let mut memory = Memory::new(Box::new(Shared(app.clone())));
            memory.awaits_answers = false;
            memory.receive(get(path).as_bytes());
            memory
        })
        .collect();
    service.1.give();
    while memories.iter_mut().any(Memory::deliver) {}
    let status = |memory: &Memory| String::from_utf8_lossy(&memory.sent[..memory.sent.len().min(12)]).into_owned();
    let statuses: Vec<_> = memories.iter().map(status).collect();
    assert_eq!(statuses, ["HTTP/1.1 200", "HTTP/1.1 500", "HTTP/1.1 200"]);
}

/// How long nothing must happen to be taken for rest.
const QUIET: Duration = Duration::from_millis(300);

/// Who pipelines a request behind answers that it does not read has its request go on all the same: it may have its turn,
/// and others wait for theirs.
#[test]
fn a_reader_that_is_slow_with_one_answer_does_not_hold_up_whoever_waits_behind_its_next() {
    // Less than three quarters of a block, so that the next request is seen before it is sent.
    const PIECE_SIZE: usize = 11_500;
    let piece_count = Arc::new(AtomicUsize::new(0));
    let counted = piece_count.clone();
    let make = move || {
        let service = OneAtATime::default();
        let signal = service.1.clone();
        let open = ringway::app(move |_, start_response| {
            signal.give();
            start_response.start(Status::OK).body("opened")
        });
        let counted = counted.clone();
        let piece = ringway::app(move |_, start_response| {
            counted.fetch_add(1, Ordering::AcqRel);
            start_response.start(Status::OK).body(vec![b'p'; PIECE_SIZE])
        });
        let mounts = Mounts::new().mount("/open", "open", open).mount("/piece", "piece", piece);
        Box::new(mounts.mount("/", "one", tower(service))) as Box<dyn Application>
    };
    serve(
        "a_reader_that_is_slow",
        make,
        |_| {},
        |running, _| {
            // How many of them the kernel takes for who does not read is found by asking for more.
            piece_count.store(0, Ordering::Release);
            let mut probe = connect_narrow(running);
            send(&mut probe, get("/piece").repeat(2000));
            wait_until("it comes to rest", || {
                let before = piece_count.load(Ordering::Acquire);
                std::thread::sleep(QUIET);
                before > 0 && before == piece_count.load(Ordering::Acquire)
            });
            let taken_count = piece_count.load(Ordering::Acquire);
            assert!(taken_count < 2000, "it never comes to rest");
            let mut first = connect(running);
            send(&mut first, get("/holds"));
            // Some of them have their last answers on their way when their requests are seen, and there they stay.
            let slow: Vec<_> = (taken_count.saturating_sub(10)..taken_count + 4)
                .map(|count| {
                    let mut stream = connect_narrow(running);
                    send(&mut stream, get("/piece").repeat(count) + &get("/slow"));
                    stream
                })
                .collect();
            let mut other = connect(running);
            for _ in 0..100 {
                send(&mut other, get("/piece"));
                read_until(&mut other, &"p".repeat(PIECE_SIZE));
            }
            let mut next = connect(running);
            send(&mut next, get("/next"));
            send(&mut other, get("/open"));
            read_until(&mut other, "opened");
            read_until(&mut first, "had its turn");
            read_until(&mut next, "had its turn");
            slow.into_iter().chain([probe]).for_each(reset);
        },
    );
}

/// A connection of a client that has hardly any room for what it does not read.
fn connect_narrow(running: &Running) -> TcpStream {
    let address = running.addresses()[0];
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a socket has this option");
    socket.connect(&address.into()).expect("the listen queue has room");
    socket.into()
}

/// Panics when it is woken.
struct Explosive;

impl Wake for Explosive {
    fn wake(self: Arc<Self>) {
        panic!("on purpose");
    }
}

#[test]
fn a_waker_of_the_application_that_panics_costs_nothing_else() {
    let signal = Signal::default();
    let given = signal.clone();
    let app = asynchronous(move |mut environ: OwnedEnviron, start_response: StartResponse| {
        let signal = signal.clone();
        async move {
            let mut input = environ.take_input();
            let explosive = Waker::from(Arc::new(Explosive));
            assert!(input.poll_next(&mut Context::from_waker(&explosive)).is_pending());
            // Nobody else is to be woken when bytes come.
            signal.taken().await;
            start_response.start(Status::OK).body(input.read_all().await.expect("it comes"))
        }
    });
    let mut memory = Memory::new(Box::new(app));
    memory.awaits_answers = false;
    memory.receive(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n");
    memory.receive(b"abc");
    given.give();
    while memory.deliver() {}
    assert!(memory.sent.ends_with(b"\r\n\r\nabc"), "{}", memory.sent.escape_ascii());
    // Likewise where the body ends early.
    memory.receive(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n");
    memory.cut();
}

/// Panics when it is dropped.
struct Grudge(#[allow(dead_code, reason = "it is there to be dropped")] Alive);

impl Drop for Grudge {
    fn drop(&mut self) {
        panic!("on purpose");
    }
}

#[test]
fn a_future_that_panics_as_it_is_dropped_costs_its_request_alone() {
    let census = Census::default();
    let counted = census.clone();
    let make = move || {
        let census = counted.clone();
        Box::new(asynchronous(move |environ: OwnedEnviron, start_response: StartResponse| {
            let grudge = (path(&environ) != "/").then(|| Grudge(census.enter()));
            async move {
                match path(&environ).as_str() {
                    "/waits" => pending::<()>().await,
                    "/writes" => {
                        return start_response.start(Status::OK).write(async move |mut writer| {
                            let _grudge = grudge;
                            writer.write("begun").await?;
                            pending().await
                        });
                    }
                    _ => {}
                }
                drop(grudge);
                start_response.start(Status::OK).body("fine")
            }
        })) as Box<dyn Application>
    };
    serve(
        "a_future_that_panics_as_it_is_dropped",
        make,
        |_| {},
        |running, _| {
            let mut other = connect(running);
            for _ in 0..20 {
                for path in ["/waits", "/writes"] {
                    let mut stream = connect(running);
                    send(&mut stream, get(path));
                    wait_until("it is called", || census.count() == 1);
                    if path == "/writes" {
                        read_until(&mut stream, "begun");
                    }
                    reset(stream);
                    wait_until("it is cancelled", || census.count() == 0);
                }
                send(&mut other, get("/ends"));
                assert!(read_until(&mut other, "\r\n\r\n").starts_with("HTTP/1.1 500 "));
                read_until(&mut other, "\n");
                send(&mut other, GET);
                read_until(&mut other, "fine");
            }
        },
    );
}

#[test]
fn futures_and_tasks_that_never_rest_starve_nobody() {
    let make = || {
        Box::new(asynchronous(async |environ: OwnedEnviron, start_response: StartResponse| {
            match path(&environ).as_str() {
                // Wakes itself whenever it is polled.
                "/spins" => {
                    poll_fn(|context| {
                        context.waker().wake_by_ref();
                        Poll::<()>::Pending
                    })
                    .await;
                }
                "/task" => {
                    tokio::task::spawn_local(async {
                        loop {
                            tokio::task::yield_now().await;
                        }
                    });
                }
                "/sleeps" => tokio::time::sleep(Duration::from_millis(1)).await,
                _ => {}
            }
            start_response.start(Status::OK).body("fine")
        })) as Box<dyn Application>
    };
    serve(
        "futures_and_tasks_that_never_rest",
        make,
        |_| {},
        |running, _| {
            let mut spinning: Vec<_> = (0..20).map(|_| connect(running)).collect();
            spinning.iter_mut().for_each(|stream| send(stream, get("/spins")));
            let mut other = connect(running);
            for _ in 0..3 {
                send(&mut other, get("/task"));
                read_until(&mut other, "fine");
            }
            for path in ["/", "/sleeps"].iter().cycle().take(100) {
                send(&mut other, get(path));
                read_until(&mut other, "fine");
            }
            // Nor do they keep their clients' going from being seen.
            spinning.into_iter().for_each(reset);
            let mut newcomer = connect(running);
            send(&mut newcomer, GET);
            read_until(&mut newcomer, "fine");
        },
    );
}

/// How bodies that tasks have kept came to their ends.
type Ends = Arc<Mutex<Vec<Result<usize, InputError>>>>;

fn ends_of(ends: &Ends) -> Vec<Result<usize, InputError>> {
    ends.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

#[test]
fn a_body_that_a_task_has_kept_ends_with_its_request_and_the_connection_goes_on() {
    let (ends, started) = (Ends::default(), Arc::new(AtomicUsize::new(0)));
    let (noted, count) = (ends.clone(), started.clone());
    let make = move || {
        let (ends, count) = (noted.clone(), count.clone());
        Box::new(asynchronous(move |mut environ: OwnedEnviron, start_response: StartResponse| {
            let (ends, count) = (ends.clone(), count.clone());
            async move {
                let (mut input, never) = (environ.take_input(), path(&environ) == "/never");
                tokio::task::spawn_local(async move {
                    count.fetch_add(1, Ordering::AcqRel);
                    let end = input.read_all().await.map(|bytes| bytes.len());
                    ends.lock().unwrap_or_else(PoisonError::into_inner).push(end);
                });
                if never {
                    pending::<()>().await;
                }
                start_response.start(Status::OK).body("answered")
            }
        })) as Box<dyn Application>
    };
    let post = |path: &str| format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\n");
    serve(
        "a_body_that_a_task_has_kept",
        make,
        |_| {},
        |running, _| {
            let before = (ends_of(&ends).len(), started.load(Ordering::Acquire));
            let mut stream = connect(running);
            for round in 1..=10 {
                send(&mut stream, post("/") + "half");
                read_until(&mut stream, "answered");
                // The rest is nobody's any more, and is read away.
                send(&mut stream, "full");
                wait_until("its reader is told", || ends_of(&ends).len() == before.0 + round);
            }
            assert!(ends_of(&ends)[before.0..].iter().all(|end| *end == Err(InputError::Gone)), "{:?}", ends_of(&ends));
            let mut stream = connect(running);
            send(&mut stream, post("/never") + "half");
            wait_until("its task runs", || started.load(Ordering::Acquire) == before.1 + 11);
            reset(stream);
            wait_until("its reader is told", || ends_of(&ends).len() == before.0 + 11);
            // What tasks keep at the end of the server is dropped with them, behind its worker.
            let mut stream = connect(running);
            send(&mut stream, post("/never") + "half");
            wait_until("its task runs", || started.load(Ordering::Acquire) == before.1 + 12);
        },
    );
}

#[test]
fn wakers_outlive_their_requests_and_their_server() {
    let kept: Arc<Mutex<Vec<Waker>>> = Arc::default();
    let keeping = kept.clone();
    let wake_all = move |wakers: &Mutex<Vec<Waker>>| {
        let wakers = wakers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        std::thread::spawn(move || wakers.iter().for_each(Waker::wake_by_ref)).join().expect("a waker does not panic");
    };
    let make = move || {
        let kept = keeping.clone();
        Box::new(asynchronous(move |environ: OwnedEnviron, start_response: StartResponse| {
            let kept = kept.clone();
            async move {
                let mut poll_count = if path(&environ) == "/never" { usize::MAX } else { 2 };
                poll_fn(|context| {
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push(context.waker().clone());
                    poll_count -= 1;
                    if poll_count == 0 { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                start_response.start(Status::OK).body("woken")
            }
        })) as Box<dyn Application>
    };
    let count = || kept.lock().unwrap_or_else(PoisonError::into_inner).len();
    serve(
        "wakers_outlive_their_requests",
        make,
        |config| config.worker_count = 2,
        |running, _| {
            let mut stream = connect(running);
            for _ in 0..50 {
                let before = count();
                send(&mut stream, GET);
                wait_until("it waits", || count() > before);
                // With all of those that nobody waits for any more.
                wake_all(&kept);
                read_until(&mut stream, "woken");
            }
            let (before, mut stream) = (count(), connect(running));
            send(&mut stream, get("/never"));
            wait_until("it waits", || count() > before);
        },
    );
    // The servers have ended, with a request in the making.
    wake_all(&kept);
    drop(kept.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect::<Vec<_>>());
}

/// A body of a response that panics at the poll with this number.
struct Panicking(usize);

impl http_body::Body for Panicking {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, std::convert::Infallible>>> {
        assert!(self.0 > 0, "on purpose");
        self.0 -= 1;
        Poll::Ready(Some(Ok(http_body::Frame::data(bytes::Bytes::from_static(&[b'p'; 9000])))))
    }
}

#[test]
fn a_body_that_panics_is_a_500_before_the_head_and_an_abort_behind_it() {
    let router = axum::Router::new()
        .route("/at/once", axum::routing::get(async || axum::body::Body::new(Panicking(0))))
        .route("/later", axum::routing::get(async || axum::body::Body::new(Panicking(3))))
        .fallback(async || "fine");
    let mut memory = Memory::new(Box::new(tower(router)));
    for path in ["/at/once", "/", "/later"] {
        memory.receive(get(path).as_bytes());
    }
    let said = String::from_utf8_lossy(&memory.sent).into_owned();
    let statuses: Vec<_> = said.match_indices("HTTP/1.1 ").map(|(at, _)| &said[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["500", "200", "200"]);
    assert!(memory.is_closed && !said.ends_with("0\r\n\r\n"), "{}", said.len());
    assert_eq!(memory.heard.faults.len(), 2, "{:?}", memory.heard.faults);
}
