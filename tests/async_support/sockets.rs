//! A server on each driver, and clients of it.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ringway::Application;
use ringway::config::{Config, Io, Pin};
use ringway::driver::uring;
use ringway::server::{Running, Server};

/// How long something that must happen may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Serves on each driver that this machine has. What the scene leaves is drained.
pub fn serve(
    name: &str,
    make: impl Fn() -> Box<dyn Application> + Clone + Send + Sync + 'static,
    change: impl Fn(&mut Config),
    scene: impl Fn(&Running, Io),
) {
    for io in [Io::Epoll, Io::Uring] {
        if let (Io::Uring, Err(refusal)) = (io, uring::probe()) {
            eprintln!("skipped: {name} on io_uring: {refusal}");
            continue;
        }
        let mut config = Config {
            binds: vec!["127.0.0.1:0".parse().expect("an address")],
            worker_count: 1,
            pin: Pin::Off,
            io,
            ..Config::default()
        };
        change(&mut config);
        let running = Server::new(config, make.clone()).start().expect("it starts");
        println!("{name} on {io:?}");
        scene(&running, io);
        running.stop();
        running.join().expect("it ends in order");
    }
}

/// A connection to the first address.
pub fn connect(running: &Running) -> TcpStream {
    let stream = TcpStream::connect(running.addresses()[0]).expect("the listen queue has room");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket has this option");
    stream.set_write_timeout(Some(PATIENCE)).expect("a socket has this option");
    stream.set_nodelay(true).expect("a socket has this option");
    stream
}

/// Sends these bytes.
pub fn send(stream: &mut TcpStream, bytes: impl AsRef<[u8]>) {
    stream.write_all(bytes.as_ref()).expect("the server takes it");
}

/// Reads until what was read ends so.
pub fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(end.as_bytes()) {
        match stream.read(&mut byte) {
            Ok(1) => bytes.push(byte[0]),
            Ok(_) => panic!("it ends before {end:?}: {}", bytes.escape_ascii()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("{error} before {end:?}: {}", bytes.escape_ascii()),
        }
    }
    String::from_utf8(bytes).expect("it is text")
}

/// Reads to the end of the connection.
pub fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("it ends in order");
    String::from_utf8(bytes).expect("it is text")
}

/// Breaks the connection off, so that the server sees a reset.
pub fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket has this option");
}

/// Waits until something is so.
pub fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "it never came to be: {what}");
        std::thread::yield_now();
    }
}
