//! The numbers of a server, as they are shown: with the built binary, held against what a client has done.

mod admin_support;
#[allow(dead_code, reason = "this file needs a part of it")]
mod cli_support;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use ringway::config::{Config, Io};
use ringway::server::Server;
use ringway::stats::{Board, bound};
use ringway::{Environ, Responded, StartResponse, Status, blocks};

use admin_support::exposition::Samples;
use admin_support::{PATIENCE, ask, connect, json, metrics, metrics_when, talk};
use cli_support::{Ringway, ringway, run, skip};

const ANY: &str = "127.0.0.1:0";

/// A server with an admin address, and the port of that.
fn start(arguments: &[&str]) -> (Ringway, u16) {
    let server = Ringway::start(&[&["--bind", ANY, "--admin", ANY], arguments].concat());
    let port = admin_port(&server);
    (server, port)
}

fn admin_port(server: &Ringway) -> u16 {
    let note = server.before_banner.iter().find_map(|line| line.strip_prefix("ringway: admin on http://127.0.0.1:"));
    note.and_then(|port| port.parse().ok()).expect("the admin address is said")
}

fn of(samples: &Samples, key: &str) -> f64 {
    *samples.get(key).unwrap_or_else(|| panic!("no sample {key}"))
}

fn open(samples: &Samples) -> f64 {
    let states = samples.iter().filter(|(key, _)| key.starts_with("ringway_connections{"));
    states.map(|(_, count)| count).sum()
}

fn classes(samples: &Samples) -> [f64; 5] {
    [1, 2, 3, 4, 5].map(|class| of(samples, &format!("ringway_requests_total{{class=\"{class}xx\"}}")))
}

/// The drivers that can be used here.
fn drivers() -> Vec<&'static str> {
    let io_uring = ringway::driver::uring::probe();
    if let Err(refusal) = &io_uring {
        skip("io_uring", &refusal.to_string());
    }
    [("epoll", true), ("uring", io_uring.is_ok())].into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect()
}

/// Sends a request on an open connection and reads its answer: what went each way.
fn exchange(stream: &mut TcpStream, request: &[u8]) -> (u64, u64) {
    stream.write_all(request).expect("it takes a request");
    let mut answer = Vec::new();
    let mut buffer = [0; 65536];
    loop {
        let size = match stream.read(&mut buffer) {
            // A socket with a timeout is not read again by the kernel itself (signal(7)).
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result.expect("it answers"),
        };
        answer.extend_from_slice(&buffer[..size]);
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let field = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length: usize = field.and_then(|length| length.parse().ok()).unwrap_or(0);
        if body.len() >= length || size == 0 {
            return (request.len() as u64, answer.len() as u64);
        }
    }
}

#[test]
fn the_numbers_are_what_the_client_has_done() {
    for io in drivers() {
        let (server, admin) = start(&["--mount", "/echo=echo:app", "--workers", "2", "--io", io]);
        let (mut sent, mut received, mut connections) = (0, 0, Vec::new());
        for index in 0..10 {
            let mut stream = connect(server.port());
            let body = "x".repeat(1 + index * 9_000);
            let posted = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let requests =
                [posted.as_str(), "GET /echo/a HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"];
            for request in requests {
                let (there, back) = exchange(&mut stream, request.as_bytes());
                sent += there;
                received += back;
            }
            connections.push(stream);
        }
        // A send is counted when the kernel says that it is done, which the client may be ahead of.
        let samples = metrics_when(admin, "all sent", |one| of(one, "ringway_sent_bytes_total") as u64 == received);
        assert_eq!(of(&samples, "ringway_received_bytes_total") as u64, sent, "{io}");
        assert_eq!(classes(&samples), [0.0, 20.0, 0.0, 10.0, 0.0], "{io}");
        assert_eq!(of(&samples, "ringway_request_duration_seconds_count"), 30.0);
        assert_eq!(of(&samples, "ringway_connections_accepted_total"), 10.0);
        let samples = metrics_when(admin, "all idle", |one| of(one, "ringway_connections{state=\"idle\"}") == 10.0);
        assert_eq!(open(&samples), 10.0, "none is counted twice");
        let by_worker = |name: &str| (0..2).map(|index| of(&samples, &format!("{name}{{worker=\"{index}\"}}"))).sum();
        let (requests, connections_of_workers): (f64, f64) =
            (by_worker("ringway_worker_requests_total"), by_worker("ringway_worker_connections"));
        assert_eq!((requests, connections_of_workers), (30.0, 10.0));

        let refused = talk(server.port(), "GET / HTTP/1.1\r\n\r\n");
        assert_eq!(refused.status, 400);
        let large = talk(server.port(), "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n");
        assert_eq!(large.status, 413);
        drop(connections);
        let samples = metrics_when(admin, "all closed", |one| open(one) == 0.0);
        assert_eq!(classes(&samples), [0.0, 20.0, 0.0, 12.0, 0.0], "{io}");
        assert_eq!(of(&samples, "ringway_limit_total{limit=\"body-max\"}"), 1.0);
        assert_eq!(of(&samples, "ringway_connections_closed_total"), 12.0);
        let driver = if io == "epoll" { "epoll" } else { "io_uring" };
        assert_eq!(of(&samples, &format!("ringway_build_info{{version=\"0.1.0\",io=\"{driver}\"}}")), 1.0);
        assert_eq!((of(&samples, "ringway_workers"), of(&samples, "ringway_workers_wanted")), (2.0, 2.0));
        assert_eq!(server.terminate().code, Some(0));
    }
}

#[test]
fn what_a_connection_is_about_is_seen() {
    let (server, admin) = start(&["echo:app", "--workers", "1"]);
    let state = |name: &str| format!("ringway_connections{{state=\"{name}\"}}");
    let mut reading = connect(server.port());
    reading.write_all(b"GET / HTTP/1.1\r\nHo").expect("it takes half a head");
    metrics_when(admin, "reading", |one| of(one, &state("reading")) == 1.0);
    let body = server.begin_request();
    metrics_when(admin, "reading two", |one| of(one, &state("reading")) == 2.0);
    // More than fits into the buffers of both sockets, and not read.
    let mut writing = connect(server.port());
    let size = 900_000;
    for _ in 0..60 {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
        writing.set_write_timeout(Some(Duration::from_secs(1))).expect("a timeout can be set");
        let request = [head.as_bytes(), &vec![b'x'; size]].concat();
        if writing.write_all(&request).is_err() {
            break;
        }
    }
    let samples = metrics_when(admin, "writing", |one| of(one, &state("writing")) == 1.0);
    assert_eq!(open(&samples), 3.0);
    drop((reading, body, writing));
    metrics_when(admin, "gone", |one| open(one) == 0.0);
}

#[test]
fn it_is_not_ready_while_it_drains() {
    let (server, admin) = start(&["echo:app", "--workers", "1"]);
    assert_eq!(ask(admin, "GET", "/readyz").status, 200);
    assert_eq!(of(&metrics(admin), "ringway_phase{phase=\"serving\"}"), 1.0);
    let mut stream = server.begin_request();
    server.signal(libc::SIGTERM);
    let until = Instant::now() + PATIENCE;
    let answer = loop {
        let answer = ask(admin, "GET", "/readyz");
        if answer.status != 200 {
            break answer;
        }
        assert!(Instant::now() < until, "it is still ready");
    };
    assert_eq!((answer.status, answer.body.as_str()), (503, "draining\n"));
    assert_eq!(ask(admin, "HEAD", "/readyz").status, 503);
    assert_eq!(ask(admin, "GET", "/healthz").status, 200, "it lives, and must not be killed");
    let samples = metrics(admin);
    assert_eq!(of(&samples, "ringway_phase{phase=\"draining\"}"), 1.0);
    assert_eq!(open(&samples), 1.0);
    stream.write_all(b"0123456789").expect("the body is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.ends_with("0123456789"), "{answer}");
    assert_eq!(server.wait().code, Some(0));
}

#[test]
fn only_what_is_there_is_answered_and_only_to_get_and_head() {
    let (_server, admin) = start(&["hello:app"]);
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/page.css", "text/css; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/status.json", "application/json"),
        ("/healthz", "text/plain; charset=utf-8"),
        ("/readyz?verbose", "text/plain; charset=utf-8"),
    ] {
        let got = ask(admin, "GET", path);
        assert_eq!((got.status, got.field("Content-Type")), (200, kind), "{path}");
        assert_eq!(got.field("Content-Length"), got.body.len().to_string(), "{path}");
        assert_eq!((got.field("Cache-Control"), got.field("X-Content-Type-Options")), ("no-store", "nosniff"));
        assert!(got.field("Content-Security-Policy").starts_with("default-src 'self';"), "{path}");
        let head = ask(admin, "HEAD", path);
        assert_eq!((head.status, head.field("Content-Type"), head.body.as_str()), (200, kind, ""), "{path}");
        assert!(!head.field("Content-Length").is_empty(), "{path}");
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
            let refused = ask(admin, method, path);
            assert_eq!((refused.status, refused.field("Allow")), (405, "GET, HEAD"), "{method} {path}");
        }
    }
    for path in ["/nope", "/metrics/", "//", "/admin/page.js", "/../metrics", "/page.html"] {
        assert_eq!(ask(admin, "GET", path).status, 404, "{path}");
    }
    let with_body = "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc";
    assert_eq!(talk(admin, with_body).status, 413);
    let chunked = "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    assert_eq!(talk(admin, chunked).status, 413);
    assert_eq!(talk(admin, "GET / HTTP/1.1\r\n\r\n").status, 400, "it is as strict as the server");
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let (_server, admin) = start(&["hello:app"]);
    let page = ask(admin, "GET", "/").body;
    let mut count = 0;
    for part in page.split(['"', ' ']).filter(|part| part.starts_with('/') && part.len() > 1 && !part.contains('>')) {
        assert_eq!(ask(admin, "GET", part).status, 200, "{part}");
        count += 1;
    }
    assert!(count >= 7, "the page has links");
    for text in [page, ask(admin, "GET", "/page.css").body, ask(admin, "GET", "/page.js").body] {
        for foreign in ["http://", "https://", "url(", "@import", "innerHTML", "eval(", "style=", "onclick"] {
            assert!(!text.contains(foreign), "{foreign}");
        }
    }
}

#[test]
fn the_status_says_the_same_as_the_metrics() {
    let (server, admin) = start(&["hello:app", "--workers", "2", "--no-supervisor"]);
    let id = f64::from(server.id());
    for _ in 0..5 {
        assert!(server.get("/").starts_with("HTTP/1.1 200 "));
    }
    let samples = metrics_when(admin, "closed", |one| of(one, "ringway_connections_closed_total") == 5.0);
    let status = json::read(&ask(admin, "GET", "/status.json").body);
    assert_eq!((status.text("version"), status.text("phase")), ("0.1.0", "serving"));
    assert_eq!((status.number("pid"), status.number("workers_wanted")), (id, 2.0));
    assert!(status.number("now") >= status.number("started_at"));
    assert_eq!(status.number("requests.2xx"), 5.0);
    assert_eq!(status.number("accepted"), of(&samples, "ringway_connections_accepted_total"));
    assert_eq!(status.number("received_bytes"), of(&samples, "ringway_received_bytes_total"));
    assert_eq!(status.number("sent_bytes"), of(&samples, "ringway_sent_bytes_total"));
    assert_eq!(status.number("limits.body-max"), 0.0);
    let json::Value::List(buckets) = status.at("duration.buckets") else { panic!("buckets are a list") };
    let json::Value::List(bounds) = status.at("duration.bounds_ns") else { panic!("bounds are a list") };
    assert_eq!(buckets.len(), bounds.len() + 1);
    let requests = status.number("workers.0.requests.2xx") + status.number("workers.1.requests.2xx");
    assert_eq!((requests, status.number("workers.1.pid")), (5.0, id));
    assert_eq!(status.at("workers.0.up"), &json::Value::Truth(true));
}

#[test]
fn a_slow_client_disturbs_nobody() {
    let (server, admin) = start(&["hello:app", "--workers", "1"]);
    let mut slow: Vec<TcpStream> = (0..40).map(|_| connect(admin)).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /metrics HT").expect("it takes half a line");
    }
    // Who asks for much and reads nothing holds up nobody either.
    let mut deaf = connect(admin);
    deaf.write_all("GET /status.json HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2000).as_bytes()).expect("it takes them");
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(ask(admin, "GET", "/readyz").status, 200);
        assert!(server.get("/").starts_with("HTTP/1.1 200 "));
    }
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    // They are let go, by the head timeout of the admin's own.
    let mut rest = String::new();
    slow[0].read_to_string(&mut rest).expect("it is closed");
    assert!(rest.starts_with("HTTP/1.1 408 "), "{rest}");
    assert_eq!(classes(&metrics(admin)), [0.0, 20.0, 0.0, 0.0, 0.0], "the admin's own are not counted");
    server.signal(libc::SIGINT);
    assert_eq!(server.wait().code, Some(0));
}

#[test]
fn where_the_numbers_are_shown_is_said_and_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("admin.sock");
    let unix = format!("unix:{}", path.display());
    let mut command = ringway(&["hello:app", "--bind", ANY]);
    command.env("RINGWAY_ADMIN", format!("{ANY},{unix}"));
    let server = Ringway::spawn(&mut command);
    assert!(server.before_banner.iter().any(|line| line.ends_with(&format!(", {unix}"))), "{:?}", server.before_banner);
    let mut stream = UnixStream::connect(&path).expect("it listens");
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("it takes a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.ends_with("\r\n\r\nready\n"), "{answer}");
    assert_eq!(server.terminate().code, Some(0));
    assert!(!path.exists(), "the file goes with the server");
}

#[test]
fn an_address_that_cannot_be_had_is_said() {
    let taken = TcpListener::bind(ANY).expect("a port is free");
    let address = taken.local_addr().expect("it has an address").to_string();
    let ended = run(&mut ringway(&["hello:app", "--bind", ANY, "--admin", &address]));
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.starts_with(&format!("ringway: cannot listen on {address}: the address is in use")));
    let ended = run(&mut ringway(&["hello:app", "--bind", ANY, "--admin", "nowhere"]));
    assert_eq!(ended.code, Some(2));
    let server = Ringway::start(&["hello:app", "--bind", ANY]);
    assert!(!server.before_banner.iter().any(|line| line.contains("admin")), "it is off by default");
}

/// Takes its time on the worker's own thread, and writes its body itself.
fn slow<'r>(_environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    std::thread::sleep(SLOW);
    let mut writer = start_response.start(Status::OK).header("Content-Length", "6").write();
    writer.write(b"abc").expect("the peer takes it");
    writer.stream(|_| blocks([b"def"]))
}

const SLOW: Duration = Duration::from_millis(20);

#[test]
fn workers_count_in_their_rows_what_an_application_writes_and_how_long_it_takes() {
    for io in drivers() {
        let io = if io == "epoll" { Io::Epoll } else { Io::Uring };
        let config = Config { binds: vec![ANY.parse().expect("an address")], worker_count: 1, io, ..Config::default() };
        let board = Board::new(3).expect("memory can be shared");
        let server =
            Server::new(config.clone(), || Box::new(slow)).counting(vec![board.row(1)]).start().expect("it starts");
        let (_, received) = exchange(&mut connect(server.addresses()[0].port()), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let until = Instant::now() + PATIENCE;
        while board.counts().closed == 0 && Instant::now() < until {
            std::thread::yield_now();
        }
        let counts = board.rows()[1].counts();
        assert_eq!(counts, board.counts(), "the other rows are nobody's");
        assert_eq!((counts.accepted, counts.closed, counts.open_count(), counts.responses), (1, 1, 0, [0, 1, 0, 0, 0]));
        assert_eq!(counts.sent, received, "what the application has sent itself is counted too");
        assert!(counts.duration_sum >= SLOW.as_nanos() as u64, "{counts:?}");
        let fast = (0..).map_while(bound).take_while(|bound| *bound < SLOW).count();
        assert_eq!(counts.buckets[..fast].iter().sum::<u64>(), 0, "{counts:?}");
        assert_eq!(board.serving_count(), 1);
        drop(server);
        assert_eq!(board.serving_count(), 0);
        let error =
            Server::new(config, || Box::new(slow)).counting(Vec::new()).start().map(|_| ()).expect_err("no row");
        assert!(error.to_string().contains("as many rows as workers"), "{error}");
    }
}
