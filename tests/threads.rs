//! An application in threads of its own, over real sockets and both drivers: calls that block, streams that block,
//! peers that leave, panics and a drain.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ringway::config::{Config, Io, Pin};
use ringway::server::{Running, Server};
use ringway::{Application, Environ, Responded, StartResponse, Status, Threads, app, blocks};

/// What the tests and the application share.
#[derive(Clone)]
struct Shared {
    gate: Arc<Mutex<Receiver<()>>>,
    dropped_count: Arc<AtomicUsize>,
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn answer<'r>(environ: &Environ<'_>, start_response: StartResponse<'r>, shared: &Shared) -> Responded<'r> {
    let headers = |start_response: StartResponse<'r>| start_response.start(Status::OK);
    match environ.path_info() {
        b"/slow" => {
            std::thread::sleep(Duration::from_secs(1));
            headers(start_response).body("slow")
        }
        b"/panic" => panic!("on purpose"),
        b"/gated" => {
            let gate = shared.gate.clone();
            headers(start_response).stream(blocks((0..2).map(move |index| {
                if index == 1 {
                    gate.lock().unwrap_or_else(PoisonError::into_inner).recv().expect("the test opens it");
                }
                format!("block {index}")
            })))
        }
        b"/endless" => {
            let counted = Counted(shared.dropped_count.clone());
            headers(start_response).stream(blocks(std::iter::repeat_with(move || {
                let _ = &counted;
                vec![b'x'; 10_000]
            })))
        }
        path => headers(start_response).body(path),
    }
}

fn start(io: Io) -> Option<(Running, SocketAddr, Sender<()>, Arc<AtomicUsize>)> {
    if let (Io::Uring, Err(refusal)) = (io, ringway::driver::uring::probe()) {
        eprintln!("skipped: threads: {refusal}");
        return None;
    }
    let binds = vec!["127.0.0.1:0".parse().expect("an address")];
    let config = Config { binds, worker_count: 1, pin: Pin::Off, io, ..Config::default() };
    let (opener, gate) = channel();
    let dropped_count = Arc::new(AtomicUsize::new(0));
    let shared = Shared { gate: Arc::new(Mutex::new(gate)), dropped_count: dropped_count.clone() };
    let factory = Arc::new(move || {
        let shared = shared.clone();
        let called = app(move |environ: &Environ<'_>, start_response| answer(environ, start_response, &shared));
        Box::new(called) as Box<dyn Application>
    });
    let server = Server::new(config, move || Box::new(Threads::new(4, factory.clone())));
    let running = server.start().unwrap_or_else(|error| panic!("{error}"));
    let address = running.addresses()[0];
    Some((running, address, opener, dropped_count))
}

fn connect(address: SocketAddr, paths: &[&str]) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the server accepts");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("the duration is not zero");
    let requests: String = paths.iter().map(|path| format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")).collect();
    stream.write_all(requests.as_bytes()).expect("the server reads");
    stream
}

/// Reads until `text` has come and answers with everything read.
fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut seen = String::new();
    let mut bytes = [0; 4096];
    while !seen.contains(text) {
        let size = match stream.read(&mut bytes) {
            Ok(size) => size,
            // The thread that has probed for a ring may be woken by its end.
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => panic!("the server is silent: {error}"),
        };
        assert!(size > 0, "it ends without {text}: {seen}");
        seen.push_str(&String::from_utf8_lossy(&bytes[..size]));
    }
    seen
}

fn check(io: Io) {
    let Some((running, address, opener, dropped_count)) = start(io) else { return };
    // Three that block leave a thread for those that do not.
    let began = Instant::now();
    let mut slow: Vec<_> = (0..3).map(|_| connect(address, &["/slow"])).collect();
    read_until(&mut connect(address, &["/fast"]), "/fast");
    assert!(began.elapsed() < Duration::from_millis(900), "a fast one waits for slow ones");
    slow.push(connect(address, &["/slow"]));
    slow.iter_mut().for_each(|stream| drop(read_until(stream, "\r\n\r\nslow")));
    assert!(began.elapsed() < Duration::from_secs(3), "slow ones wait for each other");

    let pipelined = read_until(&mut connect(address, &["/1", "/panic", "/2", "/3"]), "\r\n\r\n/3");
    let places: Vec<_> =
        ["\r\n\r\n/1", " 500 ", "\r\n\r\n/2", "\r\n\r\n/3"].iter().map(|text| pipelined.find(text)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{pipelined}");

    // The first block comes while the second is not allowed.
    let mut gated = connect(address, &["/gated"]);
    assert!(!read_until(&mut gated, "block 0").contains("block 1"));
    opener.send(()).expect("the application listens");
    read_until(&mut gated, "0\r\n\r\n");

    drop(connect(address, &["/endless"]));
    let mut reading = connect(address, &["/endless"]);
    read_until(&mut reading, "xxx");
    drop(reading);
    let until = Instant::now() + Duration::from_secs(10);
    while dropped_count.load(Ordering::SeqCst) < 2 {
        assert!(Instant::now() < until, "a stream without a reader stays");
        std::thread::sleep(Duration::from_millis(5));
    }

    let mut last = connect(address, &["/slow"]);
    std::thread::sleep(Duration::from_millis(200));
    running.drain();
    read_until(&mut last, "\r\n\r\nslow");
    assert_eq!(running.join().expect("a worker ends in order").cut_count, 0);
}

#[test]
fn calls_in_threads_on_uring() {
    check(Io::Uring);
}

#[test]
fn calls_in_threads_on_epoll() {
    check(Io::Epoll);
}
