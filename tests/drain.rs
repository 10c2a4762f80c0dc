//! TERM under load loses nothing: every request that was sent completely before the signal is answered
//! completely, on connections that stay and on connections made for one request; the exit code is 0.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const CLIENT_COUNT: usize = 64;
/// Answers before the signal is sent: enough for every client to be in the middle of its work.
const WARM_COUNT: usize = 3000;
const PATIENCE: Duration = Duration::from_secs(10);

struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(io: &str) -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringway"))
            .args(["hello:app", "--bind", "127.0.0.1:0", "--workers", "2", "--io", io])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary is built");
        let mut banner = String::new();
        let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        while !banner.contains(" on http://") {
            banner.clear();
            assert!(stderr.read_line(&mut banner).expect("it is text") > 0, "it ends before its banner");
        }
        let address = banner.split("http://").nth(1).and_then(|rest| rest.split(' ').next()).expect("an address");
        Server { address: address.parse().expect("an address"), child }
    }

    fn terminate(&self) {
        let done = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(done.expect("kill is there").success());
    }

    fn exit_code(&mut self) -> Option<i32> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status.code();
            }
            std::thread::yield_now();
        }
        None
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Default)]
struct Tally {
    has_signalled: AtomicBool,
    sent_before: AtomicUsize,
    answered_before: AtomicUsize,
    answered: AtomicUsize,
    truncated: AtomicUsize,
}

/// One answer, or how much of it came.
enum Reply {
    Whole { closes: bool },
    Nothing,
    Truncated,
}

fn read_reply(stream: &mut TcpStream) -> Reply {
    let mut bytes = Vec::new();
    let mut piece = [0; 1024];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            if bytes.len() == end + 4 + b"Hello, World!".len() {
                assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && bytes.ends_with(b"Hello, World!"), "{head}");
                return Reply::Whole { closes: head.contains("Connection: close") };
            }
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) if bytes.is_empty() => return Reply::Nothing,
            Ok(0) | Err(_) => return Reply::Truncated,
            Ok(size) => bytes.extend_from_slice(&piece[..size]),
        }
    }
}

/// One request and its answer. Answers whether the connection may be used again.
fn exchange(stream: &mut TcpStream, request: &[u8], tally: &Tally) -> bool {
    if stream.write_all(request).is_err() {
        return false;
    }
    // If the signal has not been sent by now, the request was complete before it.
    let was_before = !tally.has_signalled.load(Ordering::SeqCst);
    tally.sent_before.fetch_add(usize::from(was_before), Ordering::SeqCst);
    match read_reply(stream) {
        Reply::Whole { closes } => {
            tally.answered_before.fetch_add(usize::from(was_before), Ordering::SeqCst);
            tally.answered.fetch_add(1, Ordering::SeqCst);
            !closes
        }
        Reply::Nothing => false,
        Reply::Truncated => {
            tally.truncated.fetch_add(1, Ordering::SeqCst);
            false
        }
    }
}

fn connect(address: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect(address).ok()?;
    stream.set_nodelay(true).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    Some(stream)
}

/// A client that keeps its connection, and makes another when the server has closed it.
fn keep(address: SocketAddr, tally: &Tally) {
    while let Some(mut stream) = connect(address) {
        while exchange(&mut stream, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", tally) {}
        if tally.has_signalled.load(Ordering::SeqCst) {
            return;
        }
    }
}

/// A client that makes a connection for each request.
fn reconnect(address: SocketAddr, tally: &Tally) {
    while let Some(mut stream) = connect(address) {
        exchange(&mut stream, b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", tally);
        if tally.has_signalled.load(Ordering::SeqCst) {
            return;
        }
    }
}

fn drain_under_load(io: &str, client: fn(SocketAddr, &Tally)) {
    let mut server = Server::start(io);
    let (address, tally) = (server.address, Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..CLIENT_COUNT {
            scope.spawn(|| client(address, &tally));
        }
        let start = Instant::now();
        while tally.answered.load(Ordering::SeqCst) < WARM_COUNT && start.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
        tally.has_signalled.store(true, Ordering::SeqCst);
        server.terminate();
    });
    assert_eq!(server.exit_code(), Some(0), "{io}: the exit code of a drain");
    let [sent, answered, truncated] =
        [&tally.sent_before, &tally.answered_before, &tally.truncated].map(|count| count.load(Ordering::SeqCst));
    println!("{io}: {sent} sent before TERM, {answered} answered, {truncated} truncated");
    assert!(answered >= WARM_COUNT / 2, "{io}: there was no load");
    assert_eq!((answered, truncated), (sent, 0), "{io}: requests sent before TERM and their answers");
}

fn run(name: &str, io: &str, client: fn(SocketAddr, &Tally)) {
    if io == "uring"
        && let Err(refusal) = ringway::driver::uring::probe()
    {
        eprintln!("skipped: {name}: {refusal}");
        return;
    }
    for _ in 0..3 {
        drain_under_load(io, client);
    }
}

#[test]
fn kept_connections_on_uring() {
    run("kept_connections_on_uring", "uring", keep);
}

#[test]
fn kept_connections_on_epoll() {
    run("kept_connections_on_epoll", "epoll", keep);
}

#[test]
fn connections_per_request_on_uring() {
    run("connections_per_request_on_uring", "uring", reconnect);
}

#[test]
fn connections_per_request_on_epoll() {
    run("connections_per_request_on_epoll", "epoll", reconnect);
}
