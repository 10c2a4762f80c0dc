//! After warm-up, a request that is answered at once allocates nothing, on the real drivers; a service's request and
//! response, which are made of memory, no more than they are known to.
//!
//! The worker runs on this test's own thread or a known one; an allocator counts by thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};

use ringway::config::{Config, Io, Pin};
use ringway::connection::Limits;
use ringway::server::Server;
use ringway::{Environ, Responded, StartResponse, Status};

#[cfg(feature = "async")]
#[path = "../benches/rig/service.rs"]
mod service;

/// Counts the allocations of worker threads, which are known by their name.
struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IS_WORKER: Cell<Option<bool>> = const { Cell::new(None) };
    static IS_ASKING: Cell<bool> = const { Cell::new(false) };
}

fn note() {
    if IS_ASKING.get() {
        return;
    }
    let is_worker = IS_WORKER.get().unwrap_or_else(|| {
        // Asking for the name may itself allocate.
        IS_ASKING.set(true);
        let is_worker = std::thread::current().name().is_some_and(|name| name.starts_with("ringway"));
        IS_ASKING.set(false);
        IS_WORKER.set(Some(is_worker));
        is_worker
    });
    if is_worker {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: everything is left to the system's allocator; the counting does not touch the memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PIPELINED: usize = 10;

/// Sends so many requests, ten at a time, and reads their answers.
fn drive(stream: &mut TcpStream, request: &[u8], answer_size: usize, count: usize) {
    let batch = request.repeat(PIPELINED);
    let mut answers = vec![0; answer_size * PIPELINED];
    for _ in 0..count / PIPELINED {
        stream.write_all(&batch).expect("the server takes it");
        stream.read_exact(&mut answers).expect("the server answers");
        assert!(answers.starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
}

/// The size of one answer.
fn measure(stream: &mut TcpStream, request: &[u8]) -> usize {
    stream.write_all(request).expect("the server takes it");
    let mut bytes = [0; 4096];
    stream.read(&mut bytes).expect("the server answers")
}

fn count_allocations(io: Io, make: fn() -> Box<dyn ringway::Application>, request: &[u8], count: usize) {
    count_with(Config { io, ..Config::default() }, make, request, count);
}

fn count_with(config: Config, make: fn() -> Box<dyn ringway::Application>, request: &[u8], count: usize) {
    let io = config.io;
    let allocations = allocations(config, make, request, count);
    assert_eq!(allocations, 0, "{io:?}: allocations in {count} requests");
    println!("{io:?}: {allocations} allocations in {count} requests");
}

/// How many there are in so many requests, behind a thousand others.
fn allocations(config: Config, make: fn() -> Box<dyn ringway::Application>, request: &[u8], count: usize) -> u64 {
    let config =
        Config { binds: vec!["127.0.0.1:0".parse().expect("an address")], worker_count: 1, pin: Pin::Off, ..config };
    let running = Server::new(config, make).start().expect("it starts");
    let mut stream = TcpStream::connect(running.addresses()[0]).expect("it accepts");
    stream.set_nodelay(true).expect("a TCP socket has this option");
    let size = measure(&mut stream, request);
    drive(&mut stream, request, size, 1000);
    let before = COUNT.load(Ordering::Relaxed);
    drive(&mut stream, request, size, count);
    let allocations = COUNT.load(Ordering::Relaxed) - before;
    running.drain();
    drop(stream);
    running.join().expect("it ends in order");
    allocations
}

/// Three are the service's own: the text, and two for its fields. The adapter's are two for the request's fields, three for
/// its extensions, and one each for who is awaited, the future and the body.
#[cfg(feature = "async")]
fn count_of_service(io: Io, request: &[u8], count: usize) {
    let allocations = allocations(Config { io, ..Config::default() }, service::hello, request, count);
    println!("{io:?}: {allocations} allocations in {count} requests to a service");
    assert!(allocations / count as u64 <= 11, "{io:?}: {allocations} allocations in {count} requests");
}

fn shows_sender<'r>(environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    let sender = [environ.remote_addr(), environ.url_scheme(), environ.get("HTTP_HOST").unwrap_or_default()];
    assert_eq!(sender, [&b"192.0.2.9"[..], b"https", b"a.example"]);
    start_response.start(Status::OK).body(environ.remote_addr())
}

/// One test, because the count is one.
#[test]
fn a_request_allocates_nothing() {
    let get = b"GET /path?query HTTP/1.1\r\nHost: h\r\nUser-Agent: test\r\n\r\n";
    let post = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
    let chunked = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let proxied =
        b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.7, 192.0.2.9\r\nX-Forwarded-Proto: https\r\n\
        X-Forwarded-Host: a.example\r\nForwarded: for=192.0.2.9;proto=https;host=a.example\r\n\r\n";
    let is_refused = ringway::driver::uring::probe();
    for io in [Io::Uring, Io::Epoll] {
        if let (Io::Uring, Err(refusal)) = (io, &is_refused) {
            eprintln!("skipped: a_request_allocates_nothing on io_uring: {refusal}");
            continue;
        }
        count_allocations(io, || Box::new(ringway::apps::hello::Hello), get, 100_000);
        count_allocations(io, || Box::new(ringway::apps::echo::app), post, 20_000);
        count_allocations(io, || Box::new(ringway::apps::echo::app), chunked, 20_000);
        let mut limits = Limits::default();
        limits.proxies.trust("127.0.0.1".parse().expect("an address"));
        count_with(
            Config { io, limits, ..Config::default() },
            || Box::new(ringway::app(shows_sender)),
            proxied,
            20_000,
        );
        #[cfg(feature = "async")]
        count_of_service(io, get, 20_000);
        let with_ids = Config { io, request_id: true, ..Config::default() };
        count_with(with_ids, || Box::new(ringway::apps::hello::Hello), get, 20_000);
    }
}
