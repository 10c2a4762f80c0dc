//! Workers at their edges, on real sockets: a drain that finds the worker busy, full or flooded, and what one
//! peer or one application must not cost the others. The test turns the worker itself, so what waits in the
//! kernel at the moment of a signal is not left to chance.

#[path = "support/thorn.rs"]
mod thorn;

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Type};

use ringway::buffer::{Outgoing, Pool};
use ringway::connection::Limits;
use ringway::driver::{Completion, Driver, Key, Socket, epoll, uring};
use ringway::environ::Origin;
use ringway::response::awaited::Awaited;
use ringway::stats::Row;
use ringway::sys::Waker;
use ringway::sys::process::{self, Resource};
use ringway::worker::{Control, Settings, Worker};
use ringway::{
    Admission, Answer, Application, Environ, Pulled, Responded, Room, StartResponse, Status, Stream, blocks,
};

use thorn::Thorn;

const PATIENCE: Duration = Duration::from_secs(10);
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// A worker that is turned by the test.
trait Turned {
    /// One turn, which does not wait. Answers whether there is to be another.
    fn turn(&mut self) -> bool;
    /// Open connections.
    fn connection_count(&self) -> usize;
}

struct Bench<D: Driver> {
    worker: Worker<D>,
    control: Arc<Control>,
}

impl<D: Driver> Turned for Bench<D> {
    fn turn(&mut self) -> bool {
        self.control.waker().wake();
        self.worker.turn().expect("the driver stays usable")
    }

    fn connection_count(&self) -> usize {
        self.worker.connection_count()
    }
}

type Scene = fn(&mut dyn Turned, &Control, SocketAddr);

/// Plays `scene` with a worker on each driver that this machine has.
fn play(app: fn() -> Box<dyn Application>, change: fn(&mut Settings), scene: Scene) {
    play_with(4096, app, change, scene);
}

/// The same with a pool that keeps so many blocks.
fn play_with(block_count_max: usize, app: fn() -> Box<dyn Application>, change: fn(&mut Settings), scene: Scene) {
    ringway::connection::quiet_panics();
    let _ = process::raise_limit(Resource::Descriptors);
    let parts = || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        // The standard library's listen queue is short; to listen again lengthens it.
        SockRef::from(&listener).listen(4096).expect("it listens already");
        let waker = Waker::new().expect("an eventfd");
        let control = Arc::new(Control::new(waker.clone()));
        let mut settings = settings();
        change(&mut settings);
        (vec![OwnedFd::from(listener)], address, waker, control, settings, Pool::new(0, block_count_max))
    };
    let (listeners, address, waker, control, settings, pool) = parts();
    let driver = epoll::Epoll::new(waker, listeners, pool).expect("epoll is there");
    println!("on epoll");
    begin(driver, app, settings, control, address, scene);
    println!("on uring");
    match uring::build() {
        Err(refusal) => eprintln!("skipped: on uring: {refusal}"),
        Ok(mut ring) => {
            let (listeners, address, waker, control, settings, pool) = parts();
            let driver = uring::Uring::new(&mut ring, waker, listeners, pool).expect("the ring is set up");
            begin(driver, app, settings, control, address, scene);
        }
    }
}

fn begin<D: Driver>(
    driver: D,
    app: fn() -> Box<dyn Application>,
    settings: Settings,
    control: Arc<Control>,
    address: SocketAddr,
    scene: Scene,
) {
    let mut worker = Worker::new(driver, app(), settings, control.clone());
    worker.start();
    let mut bench = Bench { worker, control: control.clone() };
    scene(&mut bench, &control, address);
}

fn settings() -> Settings {
    Settings {
        limits: Limits::default(),
        listeners: vec![Origin { server_name: "h".into(), server_port: "80".into(), url_scheme: "http" }],
        own_listeners: vec![true],
        access_log: None,
        shows_request_ids: false,
        connection_count_max: 10_000,
        spool_dir: std::env::temp_dir(),
        stats: Row::default(),
        reserve: ringway::sys::Reserve::default(),
        graceful_timeout: Duration::from_secs(30),
    }
}

fn hello() -> Box<dyn Application> {
    fn hello<'r>(_environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        start_response.start(Status::OK).body("hello")
    }
    Box::new(hello)
}

fn unchanged(_settings: &mut Settings) {}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the listen queue has room");
    stream.set_nonblocking(true).expect("a socket has this option");
    stream
}

fn turn_until(turned: &mut dyn Turned, what: &str, mut is_done: impl FnMut(&dyn Turned) -> bool) {
    let start = Instant::now();
    while !is_done(turned) {
        assert!(start.elapsed() < PATIENCE, "it takes too long until {what}");
        turned.turn();
    }
}

/// Turns until the worker ends.
fn turn_to_end(turned: &mut dyn Turned, patience: Duration) {
    let start = Instant::now();
    while turned.turn() {
        assert!(start.elapsed() < patience, "the worker does not end");
    }
}

/// What has come on a connection so far.
fn received(stream: &mut TcpStream) -> Vec<u8> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return bytes,
            Ok(size) => bytes.extend_from_slice(&piece[..size]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return bytes,
            Err(_) => return bytes,
        }
    }
}

fn is_served(stream: &mut TcpStream) -> bool {
    received(stream).starts_with(b"HTTP/1.1 200 ")
}

/// Also who has announced a large body holds a block, that of the head, and is let go where they are all held.
#[test]
fn large_bodies_that_drip_do_not_hold_every_block() {
    play_with(80, hello, unchanged, |turned, control, address| {
        let head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\na";
        let mut crowd: Vec<_> = (0..100).map(|_| connect(address)).collect();
        turn_until(turned, "all are accepted", |turned| turned.connection_count() == 100);
        for peer in &mut crowd {
            peer.write_all(head).expect("it is taken");
            peer.set_nonblocking(true).expect("a socket has this mode");
        }
        let (start, mut refused_count) = (Instant::now(), 0);
        while refused_count < 20 {
            assert!(start.elapsed() < PATIENCE, "only {refused_count} are refused");
            for peer in &mut crowd {
                // One that is refused may have closed.
                let _ = peer.write(b"a");
            }
            for _ in 0..20 {
                turned.turn();
            }
            crowd.retain_mut(|peer| {
                let mut answer = [0; 12];
                let is_refused = matches!(peer.read(&mut answer), Ok(size) if size > 0);
                assert!(!is_refused || answer == *b"HTTP/1.1 503");
                refused_count += usize::from(is_refused);
                !is_refused
            });
        }
        drop(crowd);
        control.drain();
        turn_to_end(turned, PATIENCE);
    });
}

#[test]
fn a_drain_finds_the_connection_that_is_queued_behind_a_crowd() {
    const CROWD: usize = 900;
    play(hello, unchanged, |turned, control, address| {
        let mut crowd: Vec<TcpStream> = (0..CROWD).map(|_| connect(address)).collect();
        turn_until(turned, "all are accepted", |turned| turned.connection_count() == CROWD);
        (0..100).for_each(|_| assert!(turned.turn()));
        for stream in &mut crowd {
            stream.write_all(GET).expect("the socket has room");
        }
        let mut late = connect(address);
        late.write_all(GET).expect("the socket has room");
        control.drain();
        turn_to_end(turned, PATIENCE);
        assert!(is_served(&mut late), "the one who came last was not served");
        assert!(crowd.iter_mut().all(is_served), "one of the crowd was not served");
    });
}

#[test]
fn a_drain_of_a_full_worker_takes_the_whole_queue() {
    play(
        hello,
        |settings| settings.connection_count_max = 2,
        |turned, control, address| {
            let mut streams: Vec<TcpStream> = (0..200).map(|_| connect(address)).collect();
            for stream in &mut streams {
                stream.write_all(GET).expect("the socket has room");
            }
            (0..3).for_each(|_| assert!(turned.turn()));
            println!("{} connections at a limit of 2", turned.connection_count());
            for _ in 0..150 {
                let mut stream = connect(address);
                stream.write_all(GET).expect("the socket has room");
                streams.push(stream);
            }
            control.drain();
            turn_to_end(turned, PATIENCE);
            let served_count = streams.iter_mut().map(is_served).filter(|is_served| *is_served).count();
            assert_eq!(served_count, streams.len(), "who was in the listen queue is served");
        },
    );
}

#[test]
fn a_drain_ends_although_connections_keep_coming() {
    play(
        hello,
        |settings| {
            settings.graceful_timeout = Duration::from_millis(300);
            // One that others hold as well, so that newcomers are not refused.
            settings.own_listeners = vec![false];
        },
        |turned, control, address| {
            control.drain();
            let start = Instant::now();
            let mut streams = Vec::new();
            while turned.turn() {
                assert!(start.elapsed() < Duration::from_secs(2), "the drain does not end");
                // Refused once the listener is closed.
                streams.extend(TcpStream::connect(address));
                std::thread::sleep(Duration::from_millis(1));
            }
        },
    );
}

#[test]
fn newcomers_of_a_drain_are_refused_and_those_before_are_served() {
    play(
        hello,
        |_| {},
        |turned, control, address| {
            let mut before: Vec<TcpStream> = (0..20).map(|_| connect(address)).collect();
            control.drain();
            // The drain begins with this turn.
            assert!(turned.turn());
            for stream in &mut before {
                stream.write_all(GET).expect("the socket has room");
            }
            let newcomer = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
            newcomer.set_nonblocking(true).expect("it can be set");
            newcomer.connect(&address.into()).expect_err("it is under way");
            turn_to_end(turned, PATIENCE);
            assert!(before.iter_mut().all(is_served), "one who called before was not served");
            newcomer.set_nonblocking(false).expect("it can be set");
            newcomer.set_read_timeout(Some(PATIENCE)).expect("it can be set");
            // Its SYN was dropped; the one behind it finds nobody.
            while newcomer.peer_addr().is_err() {
                match newcomer.take_error().expect("it can be asked") {
                    Some(error) => return assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
                    None => std::thread::yield_now(),
                }
            }
            panic!("a newcomer was connected");
        },
    );
}

/// Refuses every body.
struct Refusing;

impl Application for Refusing {
    fn call<'r>(&self, _environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        start_response.start(Status::OK).body("hello")
    }

    fn admit(&self, _environ: &Environ<'_>) -> Admission {
        Admission::Refuse(Status::FORBIDDEN)
    }
}

#[test]
fn a_drain_does_not_keep_a_connection_whose_refused_body_was_read_away() {
    play(
        || Box::new(Refusing),
        unchanged,
        |turned, control, address| {
            let mut stream = connect(address);
            stream.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbo").expect("it has room");
            turn_until(turned, "it is accepted", |turned| turned.connection_count() == 1);
            (0..20).for_each(|_| assert!(turned.turn()));
            control.drain();
            (0..5).for_each(|_| assert!(turned.turn()));
            stream.write_all(b"dy").expect("it has room");
            turn_to_end(turned, Duration::from_secs(5));
        },
    );
}

#[test]
fn a_declared_length_reserves_no_memory_that_is_not_there() {
    play(
        hello,
        |settings| settings.limits.body.body_max = u64::MAX,
        |turned, _control, address| {
            for length in ["10000000000000000000", "9000000000000000000", "1000000000000000"] {
                let mut stream = connect(address);
                let head = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\nbody");
                stream.write_all(head.as_bytes()).expect("it has room");
                (0..20).for_each(|_| assert!(turned.turn()));
                stream.write_all(b"more of it").expect("it has room");
                (0..20).for_each(|_| assert!(turned.turn()));
            }
            let mut stream = connect(address);
            stream.write_all(GET).expect("it has room");
            (0..20).for_each(|_| assert!(turned.turn()));
            assert!(is_served(&mut stream), "another connection is served");
        },
    );
}

#[test]
fn a_body_larger_than_the_room_it_is_given_at_first_arrives_whole() {
    fn sum<'r>(environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        let bytes = environ.input().bytes();
        let is_right = bytes.iter().zip((0..=250).cycle()).all(|(byte, expected)| *byte == expected);
        start_response.start(Status::OK).body(format!("{} {is_right}", bytes.len()))
    }
    play(
        || Box::new(sum),
        |settings| settings.limits.body.body_max = u64::MAX,
        |turned, _control, address| {
            let body: Vec<u8> = (0..=250).cycle().take(5_000_000).collect();
            let head = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len());
            // A pipelined request behind it is found where the body ends.
            let bytes = [head.as_bytes(), &body, GET].concat();
            let mut stream = connect(address);
            let (mut sent, mut answer) = (0, Vec::new());
            turn_until(turned, "both are answered", |_| {
                sent += stream.write(&bytes[sent..]).unwrap_or(0);
                answer.extend(received(&mut stream));
                answer.windows(5).filter(|window| *window == b" true").count() == 2
            });
            assert!(String::from_utf8_lossy(&answer).contains("5000000 true"));
        },
    );
}

impl Stream for Thorn {
    fn pull(&mut self, room: &mut Room<'_>) -> std::io::Result<Pulled> {
        room.put(&self.0);
        Ok(Pulled::End)
    }
}

#[test]
fn a_panic_in_a_drop_costs_no_worker() {
    fn thorns<'r>(environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        let headers = start_response.start(Status::OK);
        match environ.path_info() {
            b"/owned" => headers.body_owned(Thorn(vec![b'o'; 100_000])),
            b"/stream" => headers.stream(Thorn(vec![b's'; 10])),
            _ => headers.body("hello"),
        }
    }
    play(
        || Box::new(thorns),
        unchanged,
        |turned, _control, address| {
            for path in ["/owned", "/stream", "/"] {
                let mut stream = connect(address);
                let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
                stream.write_all(request.as_bytes()).expect("it has room");
                let mut answer = Vec::new();
                turn_until(turned, "it is answered", |turned| {
                    answer.extend(received(&mut stream));
                    let _ = stream.shutdown(Shutdown::Write);
                    turned.connection_count() == 0 && !answer.is_empty()
                });
                assert!(answer.starts_with(b"HTTP/1.1 200 "), "{path}");
            }
        },
    );
}

/// Has its peer see a reset, and the server as well.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket has this option");
}

/// What was written during a call has reached the peer, the answers before it too, so that nothing can be put in its
/// place. The worker goes on all the same.
#[test]
fn a_fault_behind_bytes_that_have_left_costs_one_connection() {
    fn writing<'r>(environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        let headers = start_response.start(Status::OK);
        match environ.path_info() {
            b"/refused" => {
                let mut writer = headers.header("TE", "x").write();
                writer.write(b"left").expect("the peer is there");
                writer.stream(|_| blocks([""; 0]))
            }
            b"/thorn" => {
                let mut writer = headers.write();
                writer.write(b"left").expect("the peer is there");
                let _responded = writer.stream(|_| Thorn(vec![b's'; 10]));
                panic!("with a stream in hand");
            }
            _ => headers.body("hello"),
        }
    }
    play(
        || Box::new(writing),
        unchanged,
        |turned, _control, address| {
            for path in ["/refused", "/thorn"] {
                let mut other = connect(address);
                let mut stream = connect(address);
                let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
                let pipeline = [GET, GET, request.as_bytes(), GET].concat();
                stream.write_all(&pipeline).expect("it has room");
                let mut answer = Vec::new();
                turn_until(turned, "its connection has ended", |turned| {
                    answer.extend(received(&mut stream));
                    turned.connection_count() == 1 && !answer.is_empty()
                });
                let answer = String::from_utf8_lossy(&answer);
                assert_eq!(answer.matches("\r\n\r\nhello").count(), 2, "{path}: {answer}");
                assert!(answer.ends_with("\r\n\r\n4\r\nleft\r\n"), "{path}: {answer}");
                other.write_all(GET).expect("it has room");
                turn_until(turned, "the other is served", |_| is_served(&mut other));
                drop(other);
                turn_until(turned, "the other has gone", |turned| turned.connection_count() == 0);
            }
        },
    );
}

/// The peer goes while bytes of the stream are on their way.
#[test]
fn a_panic_in_the_drop_of_a_stream_under_way_costs_one_connection() {
    struct Endless(#[allow(dead_code, reason = "it is there to be dropped")] Thorn);
    impl Stream for Endless {
        fn pull(&mut self, room: &mut Room<'_>) -> std::io::Result<Pulled> {
            room.put(&[b'e'; 5000]);
            Ok(Pulled::More)
        }
    }
    fn endless<'r>(environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        let headers = start_response.start(Status::OK);
        match environ.path_info() {
            b"/endless" => headers.stream(Endless(Thorn(Vec::new()))),
            _ => headers.body("hello"),
        }
    }
    play(
        || Box::new(endless),
        unchanged,
        |turned, _control, address| {
            let mut stream = connect(address);
            stream.write_all(b"GET /endless HTTP/1.1\r\nHost: h\r\n\r\n").expect("it has room");
            turn_until(turned, "some of it has come", |_| is_served(&mut stream));
            // The socket's own buffer fills up, so that some are left to be sent.
            (0..2000).for_each(|_| assert!(turned.turn()));
            reset(stream);
            turn_until(turned, "its connection has ended", |turned| turned.connection_count() == 0);
            let mut other = connect(address);
            other.write_all(GET).expect("it has room");
            turn_until(turned, "another is served", |_| is_served(&mut other));
        },
    );
}

thread_local! {
    /// Answers that nobody gives.
    static KEPT: RefCell<Vec<Answer>> = const { RefCell::new(Vec::new()) };
    /// Answers that are awaited now.
    static AWAITED_COUNT: Cell<usize> = const { Cell::new(0) };
}

/// Never ready. It is dropped when its peer has gone.
struct Never;

impl Never {
    fn begin() -> Never {
        AWAITED_COUNT.set(AWAITED_COUNT.get() + 1);
        Never
    }
}

impl Awaited for Never {
    fn poll(&mut self, _context: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn respond<'r>(&mut self, start_response: StartResponse<'r>) -> Responded<'r> {
        start_response.fail("it was never ready")
    }

    fn pull(&mut self, _room: &mut Room<'_>, _context: &mut Context<'_>) -> std::io::Result<Pulled> {
        Ok(Pulled::End)
    }
}

impl Drop for Never {
    fn drop(&mut self) {
        AWAITED_COUNT.set(AWAITED_COUNT.get() - 1);
    }
}

/// Behind a second large body the last receive was for that alone, or for one block, and no other is needed before the
/// answer is there. That the peer goes meanwhile is seen all the same.
#[test]
fn a_reset_is_seen_while_an_answer_is_awaited_behind_large_bodies() {
    fn pending<'r>(environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        match environ.path_info() {
            b"/later" => {
                let (responded, answer) = start_response.later();
                KEPT.with_borrow_mut(|kept| kept.push(answer));
                responded
            }
            b"/awaited" => start_response.when(Box::new(Never::begin())),
            _ => start_response.start(Status::OK).body(format!("{} bytes!", environ.input().size())),
        }
    }
    fn upload(path: &str) -> Vec<u8> {
        let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 40000\r\n\r\n");
        [head.as_bytes(), &[b'u'; 40_000]].concat()
    }
    fn get(path: &str) -> Vec<u8> {
        format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes()
    }
    fn pending_count() -> usize {
        KEPT.with_borrow(Vec::len) + AWAITED_COUNT.get()
    }
    play(
        || Box::new(pending),
        unchanged,
        |turned, _control, address| {
            for path in ["/later", "/awaited"] {
                for last in [upload(path), get(path)] {
                    for upload_count in 0..4 {
                        let mut stream = connect(address);
                        for _ in 0..upload_count {
                            stream.write_all(&upload("/")).expect("it has room");
                            let mut answer = Vec::new();
                            turn_until(turned, "it is answered", |_| {
                                answer.extend(received(&mut stream));
                                answer.ends_with(b"40000 bytes!")
                            });
                        }
                        stream.write_all(&last).expect("it has room");
                        turn_until(turned, "an answer is awaited", |_| pending_count() == 1);
                        (0..20).for_each(|_| assert!(turned.turn()));
                        assert_eq!((turned.connection_count(), pending_count()), (1, 1), "{path}: nobody has gone");
                        reset(stream);
                        turn_until(turned, "the reset is seen", |turned| turned.connection_count() == 0);
                        assert_eq!(AWAITED_COUNT.get(), 0, "{path}: what is awaited ends with its peer");
                        KEPT.take();
                    }
                }
            }
        },
    );
}

#[test]
fn a_key_left_behind_by_a_cancelled_send_does_not_touch_the_next_owner_of_its_slot() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let pair = || {
        let near = connect(address);
        (near, listener.accept().expect("it is queued").0)
    };
    let mut driver =
        epoll::Epoll::new(Waker::new().expect("an eventfd"), Vec::new(), Pool::new(0, 8)).expect("epoll is there");
    let ((_one, far_one), (mut two, far_two)) = (pair(), pair());
    let (former, next) = (Key { slot: 0, generation: 0 }, Key { slot: 0, generation: 1 });
    let (socket_one, socket_two) = (Socket(far_one.into_raw_fd()), Socket(far_two.as_raw_fd()));
    let spill = b"never sent".to_vec();
    driver.send(former, &socket_one, Outgoing { spill, ..Outgoing::default() }, true);
    driver.cancel_send(former, &socket_one);
    assert!(matches!(driver.completion(), Some(Completion::Sent { result: Err(_), .. })));
    driver.close(socket_one);
    driver.receive(next, &socket_two, true);
    two.write_all(b"bytes").expect("it has room");
    for _ in 0..100 {
        driver.turn(false).expect("it stays usable");
        if let Some(Completion::Received { key, result: Ok(Some(received)), .. }) = driver.completion() {
            assert_eq!((key, received.bytes()), (next, &b"bytes"[..]));
            return;
        }
    }
    panic!("the receive of the next owner is lost");
}

#[test]
fn a_burst_takes_no_more_slots_than_there_may_be_and_is_served_in_turn() {
    play(
        hello,
        |settings| settings.connection_count_max = 2,
        |turned, control, address| {
            let mut streams: Vec<TcpStream> = (0..100).map(|_| connect(address)).collect();
            for stream in &mut streams {
                stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").expect("it is queued");
            }
            for stream in &mut streams {
                stream.set_nonblocking(true).expect("a socket has this mode");
                let mut bytes = Vec::new();
                turn_until(turned, "an answer", |turned| {
                    assert!(turned.connection_count() <= 2, "{} slots of 2", turned.connection_count());
                    stream.read_to_end(&mut bytes).is_ok()
                });
                assert!(bytes.ends_with(b"hello"), "{}", String::from_utf8_lossy(&bytes));
                stream.shutdown(Shutdown::Both).ok();
            }
            control.drain();
            turn_to_end(turned, PATIENCE);
        },
    );
}

fn ten_megabytes() -> Box<dyn Application> {
    fn large<'r>(_environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        start_response.start(Status::OK).body_owned(vec![b'x'; LARGE_SIZE])
    }
    Box::new(large)
}

const LARGE_SIZE: usize = 10 << 20;

/// The whole send takes longer than the deadline, but never does the peer take nothing for so long.
#[test]
fn a_peer_that_reads_slowly_but_steadily_is_not_cut() {
    let change = |settings: &mut Settings| settings.limits.write_idle = Duration::from_millis(500);
    play(ten_megabytes, change, |turned, control, address| {
        let mut stream = connect(address);
        stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").expect("it is taken");
        stream.set_nonblocking(true).expect("a socket has this mode");
        let (start, mut size, mut piece) = (Instant::now(), 0, vec![0; 64 * 1024]);
        let mut next_read = start;
        loop {
            turned.turn();
            // 64 KiB each 10 ms: the whole takes three times the deadline.
            if Instant::now() < next_read {
                std::thread::yield_now();
                continue;
            }
            next_read += Duration::from_millis(10);
            match stream.read(&mut piece) {
                Ok(0) => break,
                Ok(more) => size += more,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            assert!(start.elapsed() < PATIENCE, "it does not come to an end");
        }
        assert!(size > LARGE_SIZE, "cut after {size} bytes and {:?}", start.elapsed());
        drop(stream);
        control.drain();
        turn_to_end(turned, PATIENCE);
    });
}

/// Counts, which no load of this machine can change: one `io_uring_enter` serves many requests, and no completion
/// is ever lost from the queue.
#[test]
fn a_turn_of_the_ring_is_one_call_and_overflows_nothing() {
    let mut ring = match uring::build() {
        Ok(ring) => ring,
        Err(refusal) => return eprintln!("skipped: a_turn_of_the_ring_is_one_call_and_overflows_nothing: {refusal}"),
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let waker = Waker::new().expect("an eventfd");
    let control = Arc::new(Control::new(waker.clone()));
    let driver = uring::Uring::new(&mut ring, waker, vec![OwnedFd::from(listener)], Pool::new(128, 4096));
    let mut worker = Worker::new(driver.expect("the ring is set up"), hello(), settings(), control.clone());
    worker.start();
    let mut streams: Vec<TcpStream> = (0..64).map(|_| connect(address)).collect();
    let batch = GET.repeat(16);
    const ROUND_COUNT: usize = 50;
    let (mut answered, mut enter_count) = (0, 0);
    for _ in 0..ROUND_COUNT {
        streams.iter_mut().for_each(|stream| stream.write_all(&batch).expect("it is taken"));
        let before = worker.driver_mut().counters().enter_count;
        for stream in &mut streams {
            stream.set_nonblocking(true).expect("a socket has this mode");
            let mut bytes = Vec::new();
            let mut piece = [0; 16 * 1024];
            while bytes.windows(9).filter(|window| window == b"\r\n\r\nhello").count() < 16 {
                match stream.read(&mut piece) {
                    Ok(size) => bytes.extend_from_slice(&piece[..size]),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::WouldBlock);
                        assert!(worker.turn().expect("the ring stays usable"));
                    }
                }
            }
            stream.set_nonblocking(false).expect("a socket has this mode");
            answered += 16;
        }
        enter_count += worker.driver_mut().counters().enter_count - before;
    }
    let counters = worker.driver_mut().counters();
    println!("{answered} requests in {enter_count} calls; {counters:?}");
    assert_eq!(counters.overflow_count, 0);
    assert!(enter_count * 20 <= answered, "{enter_count} calls for {answered} requests");
    drop(streams);
    control.drain();
    while worker.turn().expect("the ring stays usable") {}
}
