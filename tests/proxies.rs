//! Behind a proxy, with the built binary: over TCP and a unix socket, on both drivers. Every rule of what is believed
//! is a wire case (`tests/wire/forwarded.http`, `tests/wire/proxy-protocol.http`); here is what those cannot show.

#[allow(dead_code, reason = "this file needs a part of it")]
mod cli_support;
mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ringway::connection::Limits;
use ringway::stats::Limit;
use ringway::sys::Peer;

use cli_support::{Ringway, ringway, run, skip};
use support::fixtures;
use support::memory::Memory;

const IO: [&str; 2] = ["uring", "epoll"];
const FIELDS: &str =
    "X-Forwarded-For: 198.51.100.7, 192.0.2.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: a.example\r\n";
const LINE: &str = "PROXY TCP4 192.0.2.9 198.51.100.1 56324 443\r\n";

/// Whether a driver can be had.
fn is_there(io: &str) -> bool {
    match ringway::driver::uring::probe() {
        Err(refusal) if io == "uring" => {
            skip("a test behind a proxy on io_uring", &refusal.to_string());
            false
        }
        Ok(_) | Err(_) => true,
    }
}

fn request(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{fields}\r\n")
}

/// What comes for these bytes until the server closes.
fn exchange<S: Read + Write>(mut stream: S, pieces: &[&str]) -> String {
    for piece in pieces {
        stream.write_all(piece.as_bytes()).expect("it takes the bytes");
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers and closes");
    answer
}

fn tcp(server: &Ringway) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", server.port())).expect("it listens");
    stream.set_nodelay(true).expect("a TCP socket has this option");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("the duration is not zero");
    stream
}

fn has(answer: &str, lines: &[&str]) {
    for line in lines {
        assert!(answer.lines().any(|one| one == *line), "{line} is not in\n{answer}");
    }
}

const BELIEVED: &[&str] = &["REMOTE_ADDR: 192.0.2.9", "wsgi.url_scheme: https", "HTTP_HOST: a.example"];
const AS_CONNECTED: &[&str] = &["REMOTE_ADDR: 127.0.0.1", "wsgi.url_scheme: http", "HTTP_HOST: h"];

#[test]
fn fields_are_believed_of_trusted_peers_on_tcp() {
    for io in IO.into_iter().filter(|io| is_there(io)) {
        let start = ["environ:app", "--bind", "127.0.0.1:0", "--io", io, "--workers", "1"];
        let server = Ringway::start(&[&start[..], &["--trusted-proxy", "127.0.0.1"]].concat());
        has(&exchange(tcp(&server), &[&request(FIELDS)]), BELIEVED);
        let refused = exchange(tcp(&server), &[&request("X-Forwarded-For: x\r\n")]);
        assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
        assert!(refused.ends_with("What a proxy says of the request in Forwarded or X-Forwarded is malformed.\n"));
        let refused = exchange(tcp(&server), &[&request(&[FIELDS, "Forwarded: for=192.0.2.9\r\n"].concat())]);
        assert!(refused.ends_with("Forwarded and the X-Forwarded fields must say the same.\n"), "{refused}");
        assert_eq!(server.terminate().code, Some(0));
        let server = Ringway::start(&[&start[..], &["--trusted-proxy", "192.0.2.0/24,unix"]].concat());
        has(&exchange(tcp(&server), &[&request(FIELDS)]), AS_CONNECTED);
    }
}

#[test]
fn peers_on_a_unix_socket_are_trusted_by_that_word() {
    for io in IO.into_iter().filter(|io| is_there(io)) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let bind = format!("unix:{}", path.display());
        let start = ["environ:app", "--bind", &bind, "--io", io, "--workers", "1"];
        let connect = || {
            let stream = UnixStream::connect(&path).expect("it listens");
            stream.set_read_timeout(Some(Duration::from_secs(20))).expect("the duration is not zero");
            stream
        };
        let server = Ringway::start(&[&start[..], &["--trusted-proxy", "unix"]].concat());
        let answer = exchange(connect(), &[&request(FIELDS)]);
        has(&answer, BELIEVED);
        assert!(!answer.contains("ringway.peer_addr"), "a unix socket has no address");
        assert_eq!(server.terminate().code, Some(0));
        let server = Ringway::start(&[&start[..], &["--trusted-proxy", "unix", "--proxy-protocol"]].concat());
        has(
            &exchange(connect(), &[LINE, &request(FIELDS)]),
            &["REMOTE_ADDR: 192.0.2.9", "REMOTE_PORT: 56324", "HTTP_HOST: h"],
        );
        assert_eq!(exchange(connect(), &[&request("")]), "");
        assert_eq!(server.terminate().code, Some(0));
        let server = Ringway::start(&[&start[..], &["--trusted-proxy", "0.0.0.0/0,::/0"]].concat());
        let answer = exchange(connect(), &[&request(FIELDS)]);
        has(&answer, &["wsgi.url_scheme: http", "HTTP_HOST: h"]);
        assert!(!answer.contains("REMOTE_ADDR"), "{answer}");
        assert_eq!(server.terminate().code, Some(0));
    }
}

#[test]
fn a_connection_begins_with_a_header_by_the_byte_or_in_one_packet() {
    for io in IO.into_iter().filter(|io| is_there(io)) {
        let server = Ringway::start(&[
            "environ:app",
            "--bind",
            "127.0.0.1:0",
            "--io",
            io,
            "--workers",
            "1",
            "--threads",
            "2",
            "--trusted-proxy",
            "127.0.0.0/8",
            "--proxy-protocol",
        ]);
        let bytes = [LINE, &request(FIELDS)].concat();
        let expected = ["REMOTE_ADDR: 192.0.2.9", "REMOTE_PORT: 56324", "HTTP_HOST: h", "ringway.peer_addr: 127.0.0.1"];
        has(&exchange(tcp(&server), &[&bytes]), &expected);
        let pieces: Vec<&str> = bytes.split_inclusive(|_| true).collect();
        has(&exchange(tcp(&server), &pieces), &expected);
        assert_eq!(exchange(tcp(&server), &[&request("")]), "", "no header, no answer");
        let stream = tcp(&server);
        stream.shutdown(Shutdown::Write).expect("it is connected");
        assert_eq!(exchange_nothing(stream), "", "a check that connects and goes");
        let mut half = tcp(&server);
        half.write_all(b"PROXY TCP4 192.0.2.9").expect("it takes the bytes");
        // Nobody has asked for anything on it, so that a drain ends it, and cuts nothing.
        assert_eq!(server.terminate().code, Some(0));
    }
}

fn exchange_nothing(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it closes in order");
    answer
}

#[test]
fn the_log_has_the_clients_address() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("access.log");
    let log = path.display().to_string();
    // An application that does not read the address, so that it is asked for because of the proxies.
    let mut command = ringway(&["hello:app", "--bind", "127.0.0.1:0", "--workers", "1", "--access-log", &log]);
    command.env("RINGWAY_TRUSTED_PROXY", "198.18.0.0/15,127.0.0.1");
    let server = Ringway::spawn(&mut command);
    for fields in ["", FIELDS, "Forwarded: for=_hidden\r\n", "Forwarded: for=\"[2001:db8::9]:80\"\r\n"] {
        assert!(exchange(tcp(&server), &[&request(fields)]).starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(server.terminate().code, Some(0));
    let text = std::fs::read_to_string(&path).expect("it is text");
    let addresses: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(addresses, ["127.0.0.1", "192.0.2.9", "-", "2001:db8::9"]);
}

#[test]
fn what_is_no_proxy_is_a_usage_error() {
    for (value, reason) in [
        ("10.0.0.1/8", "the network is 10.0.0.0/8"),
        ("fd00::/129", "a number from 0 to 128"),
        ("localhost", "`localhost` is no IP address; write 10.0.0.0/8, 192.0.2.1, fd00::/8 or unix"),
        ("10.0.0.0/8,", "`` is no IP address"),
    ] {
        let ended = run(&mut ringway(&["hello:app", "--trusted-proxy", value]));
        assert_eq!(ended.code, Some(2), "{value}: {}", ended.stderr);
        assert!(ended.stderr.contains(reason), "{value}: {}", ended.stderr);
    }
    let ended = run(&mut ringway(&["hello:app", "--proxy-protocol"]));
    assert_eq!(ended.code, Some(2));
    assert_eq!(ended.stderr, "ringway: --proxy-protocol needs --trusted-proxy: it is spoken by trusted proxies only\n");
    let mut command = ringway(&["hello:app"]);
    assert_eq!(run(command.env("RINGWAY_PROXY_PROTOCOL", "yes")).code, Some(2), "the variable says the same");
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.proxies.trust("127.0.0.1".parse().expect("an address"));
    limits.proxies.speak_proxy_protocol = true;
    limits
}

#[test]
fn a_header_has_the_time_of_a_head_from_the_accept_on() {
    for bytes in ["", "PROXY TCP4 192.0.2.9", LINE] {
        let mut memory = Memory::with(fixtures::make("hello:app").expect("it is there"), limits());
        if !bytes.is_empty() {
            memory.receive(bytes.as_bytes());
        }
        memory.wait(Duration::from_millis(9_999));
        assert!(!memory.is_closed, "{bytes:?}");
        memory.wait(Duration::from_millis(1));
        assert!(memory.is_closed && memory.sent.is_empty(), "{bytes:?}");
        assert_eq!(memory.heard.met, [Limit::HeadTimeout], "{bytes:?}");
    }
    let mut memory = Memory::with(fixtures::make("hello:app").expect("it is there"), limits());
    memory.receive(LINE.as_bytes());
    memory.receive(b"GET / HT");
    memory.wait(Duration::from_secs(10));
    assert!(memory.sent.starts_with(b"HTTP/1.1 408 "), "behind it, a head is a head");
}

#[test]
fn a_mapped_address_is_that_of_ipv4() {
    let mut memory = Memory::with(fixtures::make("environ:app").expect("it is there"), limits());
    memory.set_peer(Peer::Inet("[::ffff:127.0.0.1]:80".parse().expect("an address")));
    memory.receive([LINE, &request("")].concat().as_bytes());
    let answer = String::from_utf8_lossy(&memory.sent).into_owned();
    has(&answer, &["REMOTE_ADDR: 192.0.2.9", "ringway.peer_addr: 127.0.0.1"]);
}

#[test]
fn a_broken_header_is_told_without_an_answer() {
    let mut memory = Memory::with(fixtures::make("hello:app").expect("it is there"), limits());
    memory.receive(request("").as_bytes());
    assert!(memory.is_finished && memory.sent.is_empty());
    assert_eq!(memory.heard.refused, [ringway::http::error::Error::ProxyHeader]);
}
