//! Every limit and deadline: what is just within it passes, what is one past it is answered as promised and
//! counted. The protocol's own are met in memory, with a clock of the test's; those of a worker on real sockets,
//! on both drivers. `every_limit_is_tested` holds the list complete.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ringway::app;
use ringway::config::{Config, Io, Pin};
use ringway::connection::Limits;
use ringway::driver::uring;
use ringway::server::{Running, Server};
use ringway::stats::Limit;
use ringway::{Application, Environ, StartResponse, Status};

use support::fixtures;
use support::memory::Memory;

/// A size within a request: the bytes at the limit are answered with 200, those one past it with `status`.
struct Size {
    limit: Limit,
    change: fn(&mut Limits),
    within: fn() -> String,
    past: fn() -> String,
    status: u16,
}

fn get(line_size: usize) -> String {
    format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(line_size - "GET / HTTP/1.1".len()))
}

fn head(size: usize) -> String {
    let rest = "GET / HTTP/1.1\r\nHost: h\r\nX: \r\n\r\n".len();
    format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(size - rest))
}

fn fields(count: usize) -> String {
    format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: a\r\n".repeat(count - 1))
}

fn post(size: usize) -> String {
    format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n{}", "a".repeat(size))
}

fn chunked(body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

/// One chunk with an extension of this size, its semicolon included.
fn extension(size: usize) -> String {
    chunked(&format!("1;{}\r\na\r\n0\r\n\r\n", "e".repeat(size - 1)))
}

/// Chunks of one byte, each of which costs five of framing besides, and a last one that costs five in all.
fn tiny_chunks(count: usize) -> String {
    chunked(&format!("{}0\r\n\r\n", "1\r\na\r\n".repeat(count)))
}

fn trailer(size: usize) -> String {
    chunked(&format!("0\r\nX: {}\r\n\r\n", "a".repeat(size - "X: \r\n".len())))
}

fn trailers(count: usize) -> String {
    chunked(&format!("0\r\n{}\r\n", "X: a\r\n".repeat(count)))
}

const SIZES: &[Size] = &[
    Size {
        limit: Limit::RequestLine,
        change: |limits| limits.head.request_line_max = 100,
        within: || get(100),
        past: || get(101),
        status: 414,
    },
    Size {
        limit: Limit::Head,
        change: |limits| limits.head.head_max = 200,
        within: || head(200),
        past: || head(201),
        status: 431,
    },
    Size {
        limit: Limit::Fields,
        change: |limits| limits.head.field_count_max = 5,
        within: || fields(5),
        past: || fields(6),
        status: 431,
    },
    Size {
        limit: Limit::Body,
        change: |limits| limits.body.body_max = 10,
        within: || post(10),
        past: || post(11),
        status: 413,
    },
    Size {
        limit: Limit::Body,
        change: |limits| limits.body.body_max = 10,
        within: || chunked("5\r\naaaaa\r\n5\r\naaaaa\r\n0\r\n\r\n"),
        past: || chunked("5\r\naaaaa\r\n6\r\naaaaaa\r\n0\r\n\r\n"),
        status: 413,
    },
    Size {
        limit: Limit::ChunkExtensions,
        change: |limits| limits.body.extension_max = 20,
        within: || extension(20),
        past: || extension(21),
        status: 400,
    },
    Size {
        limit: Limit::ChunkOverhead,
        change: |_| {},
        // Overhead may be 16 KiB: five bytes for each chunk and five for the last.
        within: || tiny_chunks((16 * 1024 - 5) / 5),
        past: || tiny_chunks((16 * 1024 - 5) / 5 + 1),
        status: 400,
    },
    Size {
        limit: Limit::Trailer,
        change: |limits| limits.body.trailer_max = 30,
        within: || trailer(30),
        past: || trailer(31),
        status: 400,
    },
    Size {
        limit: Limit::Trailers,
        change: |limits| limits.body.trailer_count_max = 3,
        within: || trailers(3),
        past: || trailers(4),
        status: 400,
    },
    Size {
        limit: Limit::Bodies,
        change: |limits| limits.bodies_max = 20_000,
        within: || post(20_000),
        past: || post(20_001),
        status: 503,
    },
    Size {
        limit: Limit::Bodies,
        change: |limits| limits.bodies_max = 20_000,
        within: || chunked(&format!("4e20\r\n{}\r\n0\r\n\r\n", "a".repeat(20_000))),
        past: || chunked(&format!("4e21\r\n{}\r\n0\r\n\r\n", "a".repeat(20_001))),
        status: 503,
    },
];

fn hello() -> Box<dyn Application> {
    fixtures::make("hello:app").expect("it is bundled")
}

fn with(change: impl FnOnce(&mut Limits), app: Box<dyn Application>) -> Memory {
    let mut limits = Limits::default();
    change(&mut limits);
    Memory::with(app, limits)
}

fn status(memory: &Memory) -> u16 {
    let text = String::from_utf8_lossy(&memory.sent);
    let code = text.split(' ').nth(1).and_then(|code| code.parse().ok());
    code.unwrap_or_else(|| panic!("no status in {text:?}"))
}

/// How often the limit was met.
fn met(memory: &Memory, limit: Limit) -> usize {
    let refused = memory.heard.refused.iter().filter_map(|error| error.limit());
    refused.chain(memory.heard.met.iter().copied()).filter(|met| *met == limit).count()
}

#[test]
fn sizes_are_met_one_past_them() {
    for Size { limit, change, within, past, status: expected } in SIZES {
        let mut memory = with(change, hello());
        memory.receive(within().as_bytes());
        assert_eq!((status(&memory), met(&memory, *limit)), (200, 0), "at {}", limit.name());
        assert!(!memory.is_finished, "at {}", limit.name());
        let mut memory = with(change, hello());
        memory.receive(past().as_bytes());
        assert_eq!((status(&memory), met(&memory, *limit)), (*expected, 1), "past {}", limit.name());
        assert!(memory.is_finished, "past {}", limit.name());
        assert_eq!(memory.heard.completed.len(), 0, "past {}", limit.name());
    }
}

#[test]
fn a_body_without_room_is_refused_before_it_is_sent_and_may_be_tried_again() {
    let mut memory = with(|limits| limits.bodies_max = 999, hello());
    memory.receive(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n");
    let text = String::from_utf8_lossy(&memory.sent).into_owned();
    assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("\r\nRetry-After: 5\r\n"), "{text}");
}

/// A deadline: just before it nothing happens, at it the connection ends as it should.
struct Deadline {
    limit: Limit,
    /// What is sent before the wait.
    before: &'static [u8],
    seconds: u64,
    /// `None` where the connection is closed without a word.
    status: Option<u16>,
}

const DEADLINES: &[Deadline] = &[
    Deadline { limit: Limit::HeadTimeout, before: b"", seconds: 10, status: None },
    Deadline { limit: Limit::HeadTimeout, before: b"GET / HT", seconds: 10, status: Some(408) },
    Deadline {
        limit: Limit::BodyIdle,
        before: b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf",
        seconds: 30,
        status: Some(408),
    },
    Deadline {
        limit: Limit::BodyIdle,
        before: b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nha",
        seconds: 30,
        status: Some(408),
    },
    Deadline { limit: Limit::Keepalive, before: b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", seconds: 60, status: None },
    Deadline {
        limit: Limit::Linger,
        // Something comes behind the last request, and more may.
        before: b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nG",
        seconds: 2,
        status: None,
    },
];

const MOMENT: Duration = Duration::from_millis(1);

#[test]
fn deadlines_are_met_at_their_end() {
    for Deadline { limit, before, seconds, status: expected } in DEADLINES {
        let name = limit.name();
        let mut memory = Memory::new(hello());
        memory.receive(before);
        let answered = memory.sent.len();
        memory.wait(Duration::from_secs(*seconds) - MOMENT);
        assert_eq!((memory.is_closed, memory.sent.len(), met(&memory, *limit)), (false, answered, 0), "before {name}");
        memory.wait(MOMENT);
        assert_eq!(met(&memory, *limit), 1, "at {name}");
        memory.sent.drain(..answered);
        match expected {
            Some(expected) => assert_eq!((status(&memory), memory.is_finished), (*expected, true), "at {name}"),
            None => assert_eq!((memory.sent.len(), memory.is_closed), (0, true), "at {name}"),
        }
    }
}

/// The answer to HEAD has no body, whatever it says (RFC 9110 §9.3.2).
#[test]
fn a_head_request_that_comes_too_slowly_gets_no_body() {
    for behind in ["", "Host: h\r\nContent-Length: 5\r\n\r\n", "Host: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\na"] {
        let mut memory = Memory::new(hello());
        memory.receive(format!("HEAD / HTTP/1.1\r\n{behind}").as_bytes());
        memory.wait(Duration::from_secs(30));
        assert_eq!(status(&memory), 408);
        assert!(memory.sent.ends_with(b"\r\n\r\n"), "{:?}", String::from_utf8_lossy(&memory.sent));
    }
}

#[test]
fn a_head_has_its_time_from_the_first_byte_however_it_drips() {
    let mut memory = Memory::new(hello());
    memory.wait(Duration::from_secs(9));
    for (second, byte) in b"GET / HTTP/1.1\r\nHost".iter().enumerate().take(10) {
        assert!(!memory.is_finished, "after {second} s");
        memory.receive(&[*byte]);
        memory.wait(Duration::from_secs(1));
    }
    assert_eq!((status(&memory), met(&memory, Limit::HeadTimeout)), (408, 1));
}

#[test]
fn a_late_request_for_a_head_is_refused_without_a_body() {
    for before in ["\r\nHEAD / HT", "HEAD / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf"] {
        let mut memory = Memory::new(hello());
        memory.receive(before.as_bytes());
        memory.wait(Duration::from_secs(30));
        let text = String::from_utf8_lossy(&memory.sent);
        assert!(text.starts_with("HTTP/1.1 408 ") && text.ends_with("\r\n\r\n"), "{text}");
    }
}

#[test]
fn a_body_must_keep_the_rate_in_every_minute() {
    for framing in ["Content-Length: 1000000", "Transfer-Encoding: chunked"] {
        for (rate, is_kept) in [(240, true), (239, false)] {
            let mut memory = Memory::new(hello());
            memory.receive(format!("POST / HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n").as_bytes());
            // A fast beginning saves nothing up.
            let beginning = 100_000;
            let piece = |size: usize| match framing {
                "Transfer-Encoding: chunked" => format!("{size:x}\r\n{}\r\n", "a".repeat(size)),
                _ => "a".repeat(size),
            };
            memory.receive(piece(beginning).as_bytes());
            for _ in 0..200 {
                if !memory.is_finished {
                    memory.receive(piece(rate).as_bytes());
                }
                // A hair under a second, so that the piece that completes a minute comes before its end.
                memory.wait(Duration::from_secs(1) - MOMENT);
            }
            assert_eq!((!memory.is_finished, met(&memory, Limit::Rate)), (is_kept, usize::from(!is_kept)), "{framing}");
            assert!(is_kept || status(&memory) == 408);
        }
    }
}

/// Whatever the peer has to do next, its time begins when it has the response.
#[test]
fn a_send_that_takes_long_is_not_counted_as_the_next_wait() {
    let [get, post] =
        ["GET / HTTP/1.1\r\nHost: h\r\n\r\n", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999\r\n\r\n"];
    for (limit, behind, seconds) in
        [(Limit::Keepalive, "", 60), (Limit::HeadTimeout, "GET /", 10), (Limit::BodyIdle, post, 30)]
    {
        let mut memory = Memory::new(hello());
        memory.send_time = Duration::from_secs(1000);
        memory.receive(format!("{get}{behind}").as_bytes());
        memory.wait(Duration::from_secs(seconds) - MOMENT);
        assert_eq!((memory.is_finished, met(&memory, limit)), (false, 0), "before {limit:?}");
        memory.wait(MOMENT);
        assert_eq!((memory.is_finished, met(&memory, limit)), (true, 1), "at {limit:?}");
    }
    let mut memory = Memory::new(hello());
    memory.send_time = Duration::from_secs(1000);
    memory.receive(format!("{get}{post}").as_bytes());
    for _ in 0..200 {
        memory.receive(&[b'a'; 240]);
        memory.wait(Duration::from_secs(1) - MOMENT);
    }
    assert_eq!((memory.is_finished, met(&memory, Limit::Rate)), (false, 0));
}

#[test]
fn a_crowd_leaves_two_seconds_between_requests() {
    let mut memory = Memory::new(hello());
    memory.is_crowded = true;
    memory.receive(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    memory.wait(Duration::from_secs(2) - MOMENT);
    assert!(!memory.is_closed);
    memory.wait(MOMENT);
    assert_eq!((memory.is_closed, met(&memory, Limit::Keepalive)), (true, 1));
}

#[test]
fn a_refused_body_is_read_away_up_to_its_limit() {
    let early = || fixtures::make("fixture:early").expect("a fixture");
    let mut memory = with(|limits| limits.drain_max = 1000, early());
    memory.receive(post(1000).as_bytes());
    assert_eq!((status(&memory), memory.is_finished, met(&memory, Limit::Drain)), (403, false, 0));
    let mut memory = with(|limits| limits.drain_max = 1000, early());
    memory.receive(post(1001).as_bytes());
    assert_eq!((status(&memory), memory.is_finished, met(&memory, Limit::Drain)), (403, true, 1));
}

#[test]
fn a_connection_has_so_many_requests_a_turn() {
    // Each request is one step, and so is finding out that there is no other.
    for (count, expected) in [(31, 0), (32, 1), (64, 2)] {
        let mut memory = Memory::new(hello());
        memory.receive("GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(count).as_bytes());
        assert_eq!((memory.heard.completed.len(), met(&memory, Limit::Turn)), (count, expected));
    }
}

/// Serves on each driver that this machine has.
fn serve(name: &str, make: fn() -> Box<dyn Application>, change: fn(&mut Config), scene: fn(&Running)) {
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
            spool_dir: std::env::temp_dir(),
            ..Config::default()
        };
        change(&mut config);
        let running = Server::new(config, make).start().expect("it starts");
        println!("on {io:?}");
        scene(&running);
        running.stop();
        running.join().expect("it ends in order");
    }
}

fn connect(running: &Running) -> TcpStream {
    let stream = TcpStream::connect(running.addresses()[0]).expect("the listen queue has room");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket has this option");
    stream
}

/// The answer's head and as much of its body as is declared.
fn answer(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer comes");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("a head is text");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
    let mut body = vec![0; length.parse().expect("a number")];
    stream.read_exact(&mut body).expect("the body comes");
    (head, body)
}

fn wait_for(running: &Running, limit: Limit, count: u64) {
    let start = Instant::now();
    while running.counts().of(limit) < count {
        assert!(start.elapsed() < PATIENCE, "{} is {}", limit.name(), running.counts().of(limit));
        std::thread::yield_now();
    }
}

/// Whether the peer has closed, be it by a reset.
fn is_closed(stream: &mut TcpStream) -> bool {
    loop {
        match stream.read(&mut [0; 64]) {
            // A socket with a timeout is not read again by the kernel itself (signal(7)).
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return matches!(result, Ok(0) | Err(_)),
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn connections_past_the_limit_wait_in_the_queue() {
    let change = |config: &mut Config| config.connection_count_max = Some(3);
    serve("connections_past_the_limit_wait_in_the_queue", hello, change, |running| {
        let mut streams: Vec<TcpStream> = (0..2).map(|_| connect(running)).collect();
        for stream in &mut streams {
            stream.write_all(GET).expect("it is taken");
            answer(stream);
        }
        assert_eq!(running.counts().of(Limit::Connections), 0);
        streams.push(connect(running));
        wait_for(running, Limit::Connections, 1);
        let mut late = connect(running);
        late.write_all(GET).expect("the queue takes it");
        drop(streams);
        answer(&mut late);
    });
}

#[test]
fn a_crowd_shortens_the_wait_of_those_who_wait_already() {
    let change = |config: &mut Config| config.connection_count_max = Some(10);
    serve("a_crowd_shortens_the_wait_of_those_who_wait_already", hello, change, |running| {
        let mut first = connect(running);
        first.write_all(GET).expect("it is taken");
        answer(&mut first);
        let start = Instant::now();
        let _others: Vec<TcpStream> = (0..8).map(|_| connect(running)).collect();
        assert!(is_closed(&mut first));
        assert!(start.elapsed() < Duration::from_secs(10), "it was closed after {:?}", start.elapsed());
        let met: Vec<_> = running.counts().met().collect();
        assert_eq!(met, [(Limit::Keepalive, 1)]);
    });
}

fn with_bodies(config: &mut Config) {
    config.limits.body.body_max = 8 << 20;
    config.limits.body_memory = 100_000;
}

#[test]
fn a_body_larger_than_memory_is_spooled_and_comes_back_whole() {
    let echo = || fixtures::make("echo:app").expect("it is bundled");
    serve("a_body_larger_than_memory_is_spooled_and_comes_back_whole", echo, with_bodies, |running| {
        let mut stream = connect(running);
        let mut spooled_count = 0;
        for size in [99_999, 100_000, 100_001, 262_144, 524_288, 524_289, 3_000_000] {
            let body = fixtures::pattern(size);
            for framing in ["Content-Length", "chunked"] {
                let mut bytes = Vec::new();
                match framing {
                    "chunked" => {
                        bytes.extend_from_slice(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
                        for chunk in body.chunks(70_001) {
                            write!(bytes, "{:x}\r\n", chunk.len()).expect("a vector takes it");
                            bytes.extend_from_slice(chunk);
                            bytes.extend_from_slice(b"\r\n");
                        }
                        bytes.extend_from_slice(b"0\r\n\r\n");
                    }
                    _ => {
                        write!(bytes, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n")
                            .expect("a vector takes it");
                        bytes.extend_from_slice(&body);
                    }
                }
                // A request behind it, to see that nothing is left over.
                bytes.extend_from_slice(GET);
                let sending = stream.try_clone().expect("a socket can be cloned");
                std::thread::scope(|scope| {
                    scope.spawn(move || (&sending).write_all(&bytes).expect("it is taken"));
                    let (head, echoed) = answer(&mut stream);
                    assert!(head.starts_with("HTTP/1.1 200 ") && echoed == body, "{framing}, {size} bytes");
                    let (head, _) = answer(&mut stream);
                    assert!(head.starts_with("HTTP/1.1 200 "), "behind {framing}, {size} bytes");
                });
                spooled_count += u64::from(size > 100_000);
                assert_eq!(running.counts().of(Limit::BodyMemory), spooled_count, "{framing}, {size} bytes");
            }
        }
    });
}

#[test]
fn an_application_reads_a_spooled_body_in_every_way() {
    fn digest() -> Box<dyn Application> {
        Box::new(app(|environ: &Environ<'_>, start_response: StartResponse<'_>| {
            let input = environ.input();
            let mut read = Vec::new();
            input.reader().read_to_end(&mut read).expect("the body can be read");
            let owned = environ.to_owned().with(|environ| environ.input().bytes().to_vec());
            let is_same = read == input.bytes() && read == owned && read.len() as u64 == input.size();
            let length = environ.content_length().expect("it has a body");
            let answer = format!("{is_same} {length} {}", input.file().is_some());
            start_response.start(Status::OK).body(answer)
        }))
    }
    serve("an_application_reads_a_spooled_body_in_every_way", digest, with_bodies, |running| {
        let mut stream = connect(running);
        for (size, is_spooled) in [(90_000, false), (300_000, true)] {
            stream.write_all(post(size).as_bytes()).expect("it is taken");
            let (_, body) = answer(&mut stream);
            assert_eq!(String::from_utf8_lossy(&body), format!("true {size} {is_spooled}"));
        }
    });
}

#[test]
fn a_spool_that_is_gone_costs_a_503() {
    fn spool() -> std::path::PathBuf {
        std::env::temp_dir().join(format!("ringway-limits-{}", std::process::id()))
    }
    fn change(config: &mut Config) {
        with_bodies(config);
        config.spool_dir = spool();
        std::fs::create_dir(spool()).expect("the name is free");
    }
    serve("a_spool_that_is_gone_costs_a_503", hello, change, |running| {
        std::fs::remove_dir(spool()).expect("nothing is in it");
        let mut stream = connect(running);
        stream.write_all(post(300_000).as_bytes()).expect("it is taken");
        let (head, _) = answer(&mut stream);
        assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("Retry-After"), "{head}");
        assert_eq!(running.counts().of(Limit::Spool), 1);
    });
}

#[test]
fn a_server_says_at_its_start_that_it_cannot_spool() {
    let mut config = Config { binds: vec!["127.0.0.1:0".parse().expect("an address")], ..Config::default() };
    config.limits.body.body_max = 2 << 20;
    config.spool_dir = "/nonexistent".into();
    let error = Server::new(config, hello).start().err().expect("there is no such directory").to_string();
    assert!(error.contains("/nonexistent") && error.contains("--spool-dir"), "{error}");
}

#[test]
fn a_peer_that_takes_nothing_is_let_go() {
    let large = || fixtures::make("fixture:large").expect("a fixture");
    let change = |config: &mut Config| config.limits.write_idle = Duration::from_millis(500);
    serve("a_peer_that_takes_nothing_is_let_go", large, change, |running| {
        let mut stream = connect(running);
        // So many answers that no socket buffer holds them.
        let requests = GET.repeat(200);
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket has this option");
        let _ = stream.write_all(&requests);
        wait_for(running, Limit::WriteIdle, 1);
        assert_eq!(running.counts().of(Limit::Rate), 0);
    });
}

#[test]
fn a_response_that_takes_long_leaves_the_peer_its_time_for_another_request() {
    fn change(config: &mut Config) {
        config.limits.keepalive = Duration::from_secs(1);
    }
    fn large() -> Box<dyn Application> {
        fn large<'r>(_environ: &Environ<'_>, start_response: StartResponse<'r>) -> ringway::Responded<'r> {
            start_response.start(Status::OK).body_owned(vec![b'x'; 16 << 20])
        }
        Box::new(large)
    }
    serve("a_response_that_takes_long", large, change, |running| {
        let mut stream = connect(running);
        for _ in 0..2 {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("it is taken");
            let (mut piece, mut size) = (vec![0; 128 * 1024], 0);
            // 16 MiB in two seconds.
            while size < 16 << 20 {
                match stream.read(&mut piece) {
                    Ok(0) => panic!("closed after {size} bytes"),
                    Ok(more) => size += more,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Interrupted),
                }
                std::thread::sleep(Duration::from_millis(15));
            }
        }
        assert_eq!(running.counts().of(Limit::Keepalive), 0);
    });
}

#[test]
fn a_peer_that_is_ahead_is_held_back() {
    let never = || fixtures::make("fixture:never").expect("a fixture");
    serve(
        "a_peer_that_is_ahead_is_held_back",
        never,
        |_| {},
        |running| {
            let mut stream = connect(running);
            stream.set_nonblocking(true).expect("a socket has this option");
            let flood = GET.repeat(1000);
            // Until the kernel's own buffers are full: the server does not read on.
            let start = Instant::now();
            while running.counts().of(Limit::ReadAhead) == 0 {
                let _ = stream.write(&flood);
                assert!(start.elapsed() < PATIENCE, "it reads on and on");
            }
        },
    );
}

/// The limits whose tests lie elsewhere.
const ELSEWHERE: &[(Limit, &str)] = &[
    (Limit::Descriptors, "tests/descriptors.rs"),
    (Limit::Blocks, "tests/edges.rs, peers with half a request each hold every block"),
    (Limit::Graceful, "tests/cli.rs, what outlasts the graceful timeout is cut and counted"),
];

#[test]
fn every_limit_is_tested() {
    let here = [
        Limit::Connections,
        Limit::BodyMemory,
        Limit::Spool,
        Limit::Rate,
        Limit::WriteIdle,
        Limit::Drain,
        Limit::Turn,
        Limit::ReadAhead,
    ];
    for limit in Limit::ALL {
        let is_tested = SIZES.iter().any(|size| size.limit == *limit)
            || DEADLINES.iter().any(|deadline| deadline.limit == *limit)
            || ELSEWHERE.iter().any(|(other, _)| other == limit)
            || here.contains(limit);
        assert!(is_tested, "{limit:?} has no test");
    }
}

/// Every file below a directory, as one text.
fn text_below(directory: &std::path::Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(directory).expect("it can be read") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            text.push_str(&text_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(&path).expect("a source is text"));
        }
    }
    text
}

#[test]
fn the_manual_of_security_names_what_is_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let manual = std::fs::read_to_string(root.join("docs/SECURITY.md")).expect("it is there");
    let sources = text_below(&root.join("tests")) + &text_below(&root.join("src"));
    for limit in Limit::ALL {
        let (flag, name) = (format!("| `--{}` |", limit.name()), format!("| `{}` (no flag) |", limit.name()));
        assert!(manual.contains(&flag) || manual.contains(&name), "{} is not in the table", limit.name());
    }
    let mut test_count = 0;
    for span in manual.split('`').skip(1).step_by(2) {
        if span.starts_with("tests/") || span.starts_with("src/") {
            assert!(root.join(span).exists(), "{span} is not there");
        } else if span.matches('_').count() >= 2 && span.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            let is_there = sources.contains(&format!("fn {span}(")) || sources.contains(&format!(" {span},"));
            assert!(is_there || sources.contains(&format!(" {span};")), "there is no test {span}");
            test_count += 1;
        }
    }
    assert!(test_count > 20, "only {test_count} tests are named");
}
