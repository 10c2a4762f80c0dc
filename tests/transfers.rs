//! Bodies that are streamed through axum: large ones, many slow ones, those of requests that their clients give up, and those
//! with which something is wrong. Where it is measured the server is a process of its own, so that its memory and its descriptors can be counted: this program once more, which
//! serves a site of axum's. With RINGWAY_LONG=1 (that is `scripts/test --long`) the sizes are those of the promise and
//! not the short ones of the gate. Nothing here sleeps to let something happen: it is waited for, with a bound.
#![cfg(feature = "async")]

pub mod async_support;
mod attack_support;

#[path = "transfers/cancelled.rs"]
mod cancelled;
#[path = "transfers/large.rs"]
mod large;
#[path = "transfers/many.rs"]
mod many;
#[path = "transfers/wrong.rs"]
mod wrong;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, PoisonError};

use ringway::driver::uring;

use attack_support::server::Server;
use attack_support::{Attacked, PATIENCE};

/// That of the binary, as this program is the server too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The tests measure, so they do not run beside each other.
static ALONE: Mutex<()> = Mutex::new(());

/// Has `scene` play on both drivers.
fn on_both(name: &str, flags: &[&str], scene: impl Fn(&Server, &str)) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for io in ["epoll", "uring"] {
        if let ("uring", Err(refusal)) = (io, uring::probe()) {
            eprintln!("skipped: {name} on io_uring: {refusal}");
            continue;
        }
        let server = Server::start_one(Attacked::Axum, io, flags);
        scene(&server, io);
        server.end();
    }
}

/// The server of all tests is this one in a process of its own. Here it is asked for an answer.
#[test]
fn axum_server() {
    attack_support::attacked::serve_if_asked();
    on_both("axum_server", &[], |server, _| assert_eq!(ask(&mut connect(server), "/"), "Hello, World!"));
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address).expect("the listen queue has room");
    stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_write_timeout(Some(PATIENCE))).expect("options");
    stream.set_nodelay(true).expect("a socket has this option");
    stream
}

/// The body of the answer to a GET, which is short and has its length told.
fn ask(stream: &mut TcpStream, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).expect("it is taken");
    answer(stream)
}

fn answer(stream: &mut TcpStream) -> String {
    let head = head(stream);
    let size = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::parse));
    let mut body = vec![0; size.and_then(Result::ok).unwrap_or_else(|| panic!("a length is told: {head}"))];
    stream.read_exact(&mut body).expect("the body comes");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}{}", body.escape_ascii());
    String::from_utf8(body).expect("it is text")
}

fn head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error} after {}", head.escape_ascii()));
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("a head is text")
}
