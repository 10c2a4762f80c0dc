//! Large bodies in both directions, over real sockets and both drivers: by every way that a response can have
//! one, to readers fast and slow; uploads that are received into their own buffer; and the descriptors that
//! come home.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use ringway::config::{Config, Io, Pin};
use ringway::server::{Running, Server};
use ringway::{Environ, FileRange, Payload, Pulled, Responded, Room, StartResponse, Status, Stream, blocks};

mod support;

use support::fixtures::pattern;

/// How long a server may be silent where it must say something. Only one that is wrong makes a test wait.
const PATIENCE: Duration = Duration::from_secs(10);
const SIZES: [usize; 5] = [1, 16 * 1024, 100 * 1024, 1024 * 1024, 5 * 1024 * 1024];
const WAYS: [&str; 8] = ["body", "static", "owned", "stream", "length", "file", "lent", "lent-length"];

static LARGEST: LazyLock<Vec<u8>> = LazyLock::new(|| pattern(SIZES[4]));
/// What `file` answers from: the pattern behind seven other bytes, and nothing behind it.
static FILE: LazyLock<Arc<File>> = LazyLock::new(|| {
    let file = tempfile::tempfile().expect("a temporary file");
    (&file).write_all(b"before:").and_then(|()| (&file).write_all(&LARGEST)).expect("it can be written");
    Arc::new(file)
});
/// The tests that count the descriptors of this process do not run beside others.
static ALONE: Mutex<()> = Mutex::new(());

/// As many bytes as the query says, by the way that the path says; an upload is answered with its sum.
fn app<'r>(environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    let size = std::str::from_utf8(environ.query_string()).ok().and_then(|query| query.parse().ok()).unwrap_or(0);
    let headers = start_response.start(Status::OK);
    let bytes: &'static [u8] = LARGEST.get(..size).unwrap_or_default();
    match environ.path_info() {
        b"/body" => headers.body(bytes),
        b"/static" => headers.body_static(bytes),
        b"/owned" => headers.body_owned(bytes.to_vec()),
        b"/stream" => headers.stream(blocks(bytes.chunks(10_000))),
        b"/length" => headers.header("Content-Length", size.to_string()).stream(blocks(bytes.chunks(70_000))),
        b"/lent" => headers.stream(Lending::new(bytes)),
        b"/lent-length" => headers.header("Content-Length", size.to_string()).stream(Lending::new(bytes)),
        b"/file" => headers.file(FILE.clone(), 7, size as u64),
        b"/short" => headers.file(FILE.clone(), 7 + LARGEST.len() as u64 - size as u64, size as u64 + 1),
        b"/empty" => headers.file(FILE.clone(), 1 << 40, 1),
        _ => {
            let body = environ.input().bytes();
            headers.body(format!("{} {}", body.len(), sum(body)))
        }
    }
}

/// Lends what it streams in turns from the program, from an owner and from a file, with a few bytes put before.
struct Lending {
    bytes: &'static [u8],
    offset: usize,
    turn: usize,
}

impl Lending {
    fn new(bytes: &'static [u8]) -> Lending {
        Lending { bytes, offset: 0, turn: 0 }
    }
}

impl Stream for Lending {
    fn pull(&mut self, room: &mut Room<'_>) -> std::io::Result<Pulled> {
        let rest = &self.bytes[self.offset..];
        let (put, rest) = rest.split_at(rest.len().min(self.turn % 3));
        assert_eq!(room.put(put), put.len(), "a few bytes fit");
        let lent = &rest[..rest.len().min(100_000)];
        let offset = 7 + (self.offset + put.len()) as u64;
        room.lend(match self.turn % 4 {
            0 => Payload::Static(lent),
            1 => Payload::Owned(Box::new(lent.to_vec())),
            2 => Payload::File(FileRange { file: FILE.clone(), offset, size: lent.len() as u64 }),
            _ => Payload::Static(lent),
        });
        self.turn += 1;
        self.offset += put.len() + lent.len();
        Ok(if self.offset == self.bytes.len() { Pulled::End } else { Pulled::More })
    }
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(7, |sum, byte| (sum * 31 + u64::from(*byte)) % 1_000_003)
}

fn start(io: Io) -> Running {
    let mut config = Config {
        binds: vec!["127.0.0.1:0".parse().expect("an address")],
        worker_count: 1,
        pin: Pin::Off,
        io,
        ..Config::default()
    };
    config.limits.body.body_max = 8 * 1024 * 1024;
    Server::new(config, || Box::new(app)).start().unwrap_or_else(|error| panic!("{error}"))
}

fn end(running: Running) {
    running.drain();
    assert_eq!(running.join().expect("a worker ends in order").cut_count, 0);
}

fn run(name: &str, io: Io, test: fn(SocketAddr)) {
    if let (Io::Uring, Err(refusal)) = (io, ringway::driver::uring::probe()) {
        eprintln!("skipped: {name}: {refusal}");
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let running = start(io);
    test(running.addresses()[0]);
    end(running);
}

macro_rules! on_both {
    ($($test:ident: $uring:ident, $epoll:ident;)*) => {$(
        #[test]
        fn $uring() {
            run(stringify!($uring), Io::Uring, $test);
        }

        #[test]
        fn $epoll() {
            run(stringify!($epoll), Io::Epoll, $test);
        }
    )*};
}

on_both! {
    to_a_fast_reader: bodies_to_a_fast_reader_on_uring, bodies_to_a_fast_reader_on_epoll;
    to_a_slow_reader: bodies_to_a_slow_reader_on_uring, bodies_to_a_slow_reader_on_epoll;
    pipelined: large_answers_pipelined_on_uring, large_answers_pipelined_on_epoll;
    short_files: short_files_on_uring, short_files_on_epoll;
    reader_that_leaves: a_reader_that_leaves_on_uring, a_reader_that_leaves_on_epoll;
    uploads: uploads_with_a_length_on_uring, uploads_with_a_length_on_epoll;
    chunked_upload: chunked_uploads_on_uring, chunked_uploads_on_epoll;
}

/// A client, and what it has read and not yet used.
struct Client {
    stream: TcpStream,
    bytes: Vec<u8>,
    /// How much it reads at once.
    piece_size: usize,
}

impl Client {
    fn new(address: SocketAddr, piece_size: usize) -> Client {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        if piece_size < 64 * 1024 {
            // A small window makes the server's sends come back short and wait.
            socket.set_recv_buffer_size(4096).expect("it is one");
        }
        socket.connect(&address.into()).expect("the server accepts");
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).expect("the duration is not zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("the duration is not zero");
        stream.set_nodelay(true).expect("a TCP socket has this option");
        Client { stream, bytes: Vec::new(), piece_size }
    }

    fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the server reads");
    }

    /// Reads more. Answers whether there was any before the end, in order or not.
    fn read(&mut self) -> bool {
        let old_size = self.bytes.len();
        self.bytes.resize(old_size + self.piece_size, 0);
        let size = loop {
            match self.stream.read(&mut self.bytes[old_size..]) {
                Ok(size) => break size,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break 0,
                // The thread that has probed for a ring may be woken by its end.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("the server is silent: {error}"),
            }
        };
        self.bytes.truncate(old_size + size);
        size > 0
    }

    fn take(&mut self, size: usize) -> Vec<u8> {
        while self.bytes.len() < size {
            assert!(self.read(), "the server ends {} bytes too soon", size - self.bytes.len());
        }
        let rest = self.bytes.split_off(size);
        std::mem::replace(&mut self.bytes, rest)
    }

    fn take_line(&mut self) -> String {
        let mut searched_size = 0;
        loop {
            if let Some(end) = self.bytes[searched_size..].iter().position(|byte| *byte == b'\n') {
                return String::from_utf8_lossy(&self.take(searched_size + end + 1)).trim_end().to_string();
            }
            searched_size = self.bytes.len();
            assert!(self.read(), "the server ends within a line");
        }
    }

    /// Reads a head and answers how long its body is, `None` where it comes in chunks.
    fn take_head(&mut self) -> Option<usize> {
        assert_eq!(self.take_line(), "HTTP/1.1 200 OK");
        let mut size = None;
        loop {
            let line = self.take_line();
            if line.is_empty() {
                return size;
            }
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                size = Some(value.parse().expect("a number"));
            }
        }
    }

    fn take_body(&mut self) -> Vec<u8> {
        if let Some(size) = self.take_head() {
            return self.take(size);
        }
        let mut body = Vec::new();
        loop {
            let size = usize::from_str_radix(&self.take_line(), 16).expect("the size of a chunk");
            body.extend(self.take(size));
            assert_eq!(self.take_line(), "");
            if size == 0 {
                return body;
            }
        }
    }
}

fn get(way: &str, size: usize) -> String {
    format!("GET /{way}?{size} HTTP/1.1\r\nHost: h\r\n\r\n")
}

fn check_all(client: &mut Client) {
    for size in SIZES {
        for way in WAYS {
            client.say(get(way, size));
            assert!(client.take_body() == LARGEST[..size], "{size} bytes by {way}");
        }
    }
}

fn to_a_fast_reader(address: SocketAddr) {
    check_all(&mut Client::new(address, 256 * 1024));
}

fn to_a_slow_reader(address: SocketAddr) {
    check_all(&mut Client::new(address, 1500));
}

/// All requests are sent before an answer is read.
fn pipelined(address: SocketAddr) {
    for piece_size in [2000, 256 * 1024] {
        let mut client = Client::new(address, piece_size);
        let requests: Vec<_> = SIZES[..4].iter().flat_map(|size| WAYS.map(|way| (way, *size))).collect();
        client.say(requests.iter().map(|(way, size)| get(way, *size)).collect::<String>());
        client.stream.shutdown(Shutdown::Write).expect("it is connected");
        for (way, size) in requests {
            assert!(client.take_body() == LARGEST[..size], "{size} bytes by {way}");
        }
        assert!(!client.read(), "nothing comes behind the last answer");
    }
}

/// A file shorter than its range: what there is of it comes, and then the end of the connection.
fn short_files(address: SocketAddr) {
    for piece_size in [2000, 256 * 1024] {
        for size in [1, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 1024 * 1024] {
            let mut client = Client::new(address, piece_size);
            client.say(get("body", 1) + &get("short", size) + &get("body", 1));
            assert_eq!(client.take_body(), b"a");
            assert_eq!(client.take_head(), Some(size + 1));
            while client.read() {}
            assert!(client.bytes == LARGEST[LARGEST.len() - size..], "all there is of {size} bytes");
        }
        let mut client = Client::new(address, piece_size);
        client.say(get("empty", 0));
        assert_eq!(client.take_head(), Some(1));
        assert!(!client.read() && client.bytes.is_empty(), "a range past the end has no byte");
    }
}

/// It leaves with most of a body unread, and the next client is served.
fn reader_that_leaves(address: SocketAddr) {
    for way in WAYS {
        let mut client = Client::new(address, 1000);
        client.say(get(way, SIZES[4]));
        client.take(1000);
        drop(client);
        let mut client = Client::new(address, 256 * 1024);
        client.say(get(way, 1));
        assert_eq!(client.take_body(), b"a", "{way}");
    }
}

fn upload(client: &mut Client, head: &str, body: &[u8], wire: &[u8]) {
    // Head and body in one piece, and the head ahead of the body, which then comes in several receives.
    let request = format!("POST /sum HTTP/1.1\r\nHost: h\r\n{head}\r\n\r\n");
    client.say([request.as_bytes(), wire, get("static", 20_000).as_bytes()].concat());
    let expected = format!("{} {}", body.len(), sum(body));
    assert_eq!(String::from_utf8_lossy(&client.take_body()), expected);
    assert!(client.take_body() == LARGEST[..20_000], "the request behind the body is served");
    client.say(&request);
    let (first, second) = wire.split_at(wire.len() / 3);
    client.say(first);
    client.say([second, get("body", 3).as_bytes()].concat());
    assert_eq!(String::from_utf8_lossy(&client.take_body()), expected);
    assert_eq!(client.take_body(), b"abc", "the request behind the body is served");
}

fn uploads(address: SocketAddr) {
    let mut client = Client::new(address, 64 * 1024);
    for size in [
        256 * 1024 - 1,
        256 * 1024,
        256 * 1024 + 1,
        // With the block that came with the head, what is missing is exactly the threshold, or about it.
        256 * 1024 + 16 * 1024,
        1024 * 1024,
        5 * 1024 * 1024,
    ] {
        let body = &LARGEST[..size];
        upload(&mut client, &format!("Content-Length: {size}"), body, body);
    }
}

fn chunked_upload(address: SocketAddr) {
    let mut client = Client::new(address, 64 * 1024);
    let body = &LARGEST[..1024 * 1024];
    for chunk_size in [1000, 16 * 1024, 300_000, 1024 * 1024] {
        let mut wire = Vec::new();
        for chunk in body.chunks(chunk_size) {
            write!(wire, "{:x}\r\n", chunk.len()).expect("a vector grows");
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"0\r\n\r\n");
        upload(&mut client, "Transfer-Encoding: chunked", body, &wire);
    }
}

fn descriptor_count() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("Linux has it").count()
}

/// Connections that are closed by the client, by the server's answer, by a reset and by the drain.
fn descriptors_come_home(name: &str, io: Io) {
    if let (Io::Uring, Err(refusal)) = (io, ringway::driver::uring::probe()) {
        eprintln!("skipped: {name}: {refusal}");
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    LazyLock::force(&FILE);
    let before = descriptor_count();
    let running = start(io);
    let address = running.addresses()[0];
    let mut clients: Vec<Client> = (0..200).map(|_| Client::new(address, 64 * 1024)).collect();
    for client in &mut clients {
        client.say(get("owned", 20_000));
    }
    for client in &mut clients {
        assert_eq!(client.take_body().len(), 20_000);
    }
    assert!(descriptor_count() >= before + 400, "both ends are open");
    let mut idle = clients.split_off(150);
    for (index, mut client) in clients.into_iter().enumerate() {
        match index % 3 {
            0 => drop(client),
            1 => {
                client.say("GET /body?1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
                assert_eq!(client.take_body(), b"a");
                assert!(!client.read(), "the server closes");
            }
            _ => {
                let linger = Some(Duration::ZERO);
                socket2::SockRef::from(&client.stream).set_linger(linger).expect("a TCP socket has this option");
                client.say(get("file", SIZES[4]));
            }
        }
    }
    running.drain();
    for client in &mut idle {
        assert!(!client.read(), "a drain closes idle connections");
    }
    drop(idle);
    running.join().expect("a worker ends in order");
    assert_eq!(descriptor_count(), before);
}

#[test]
fn descriptors_come_home_on_uring() {
    descriptors_come_home("descriptors_come_home_on_uring", Io::Uring);
}

#[test]
fn descriptors_come_home_on_epoll() {
    descriptors_come_home("descriptors_come_home_on_epoll", Io::Epoll);
}
