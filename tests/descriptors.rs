//! What happens when others have taken every descriptor of the process: a program of its own, because it takes them.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use ringway::config::{Config, Io, Pin};
use ringway::driver::uring;
use ringway::server::{Running, Server};
use ringway::stats::Limit;

const PATIENCE: Duration = Duration::from_secs(20);
/// Enough for the server and the test, and quickly used up.
const DESCRIPTOR_COUNT: u64 = 100;

/// Lowers both limits of descriptors, before the server starts: it would raise the soft one to the hard one, and a
/// ring's accept goes by the limit that there was when it was armed.
fn limit_descriptors(count: u64) {
    let limit = libc::rlimit { rlim_cur: count, rlim_max: count };
    // SAFETY: the pointer is valid for the call.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    assert_eq!(result, 0, "a limit may be lowered");
}

/// Takes every descriptor that is left.
fn take_all() -> Vec<File> {
    let first = File::open("/dev/null").expect("one is left");
    let mut taken = Vec::new();
    while let Ok(another) = first.try_clone() {
        taken.push(another);
    }
    taken.push(first);
    taken
}

/// A socket that has its descriptor already.
fn socket() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor is left");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket has this option");
    socket
}

fn ask(socket: Socket, address: SocketAddr) -> TcpStream {
    socket.connect(&address.into()).expect("the listen queue has room");
    let mut stream = TcpStream::from(socket);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("a socket buffer has room");
    stream
}

fn is_answered(stream: &mut TcpStream) -> bool {
    let mut start = [0; 12];
    loop {
        match stream.read_exact(&mut start) {
            // A socket with a timeout is not read again by the kernel itself (signal(7)).
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result.is_ok() && &start == b"HTTP/1.1 200",
        }
    }
}

fn wait_for(running: &Running, count: u64) {
    let start = Instant::now();
    while running.counts().of(Limit::Descriptors) < count {
        assert!(start.elapsed() < PATIENCE, "no accept fails");
        std::thread::yield_now();
    }
}

#[test]
fn a_worker_without_descriptors_serves_one_peer_at_a_time() {
    limit_descriptors(DESCRIPTOR_COUNT);
    for io in [Io::Epoll, Io::Uring] {
        if let (Io::Uring, Err(refusal)) = (io, uring::probe()) {
            eprintln!("skipped: a_worker_without_descriptors_serves_one_peer_at_a_time on io_uring: {refusal}");
            continue;
        }
        println!("on {io:?}");
        let binds = vec!["127.0.0.1:0".parse().expect("an address")];
        let config = Config { binds, worker_count: 1, pin: Pin::Off, io, ..Config::default() };
        let running = Server::new(config, || Box::new(ringway::apps::hello::Hello)).start().expect("it starts");
        let address = running.addresses()[0];
        let (first, second, third) = (socket(), socket(), socket());
        let taken = take_all();

        let mut first = ask(first, address);
        assert!(is_answered(&mut first), "the descriptor in reserve is for this");
        let met = running.counts().of(Limit::Descriptors);
        let mut second = ask(second, address);
        wait_for(&running, met + 1);
        drop(first);
        assert!(is_answered(&mut second), "who waited gets what became free");
        let met = running.counts().of(Limit::Descriptors);
        assert!(met < 100, "it tried {met} times, which is spinning");

        drop(taken);
        let mut third = ask(third, address);
        assert!(is_answered(&mut third), "there are descriptors again");
        running.stop();
        running.join().expect("it ends in order");
    }
}
