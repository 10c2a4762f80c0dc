//! The logs, with the built binary: what they say, where they go, and that nothing waits for them.
//!
//! Nothing sleeps: a test waits for a response, a line, a file or the end of the process. Each client keeps what it saw,
//! and the log has to say the same.

#[allow(dead_code, reason = "this file needs a part of it")]
mod cli_support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cli_support::{Ringway, skip};
use ringway::sys::write::{PIPE_BUF, write_now};
use ringway::{Environ, Invocation, Responded, StartResponse};

/// Status and bytes of body, by target.
type Seen = BTreeMap<String, (u16, u64)>;

/// A client of one connection.
struct Client {
    stream: BufReader<TcpStream>,
}

/// A response as a client sees it.
struct Response {
    status: u16,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Client {
    fn of(stream: TcpStream) -> Client {
        Client { stream: BufReader::new(stream) }
    }

    fn send(&mut self, target: &str, fields: &str) -> Response {
        let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        self.stream.get_mut().write_all(request.as_bytes()).expect("it takes a request");
        self.receive()
    }

    fn receive(&mut self) -> Response {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("it answers");
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
        let mut fields = Vec::new();
        loop {
            line.clear();
            self.stream.read_line(&mut line).expect("it goes on");
            match line.trim_end().split_once(": ") {
                Some((name, value)) => fields.push((name.to_string(), value.to_string())),
                None => break,
            }
        }
        let mut response = Response { status, fields, body: Vec::new() };
        let size = response.field("Content-Length").and_then(|size| size.parse().ok()).expect("a length");
        response.body.resize(size, 0);
        self.stream.read_exact(&mut response.body).expect("the body");
        response
    }
}

impl Response {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|field| field.0.eq_ignore_ascii_case(name)).map(|field| &field.1[..])
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Runs a test on both drivers, as far as they can be had here.
fn on_each_driver(name: &str, test: fn(&str)) {
    for io in ["uring", "epoll"] {
        match ringway::driver::uring::probe() {
            Err(refusal) if io == "uring" => skip(name, &refusal.to_string()),
            Ok(_) | Err(_) => test(io),
        }
    }
}

fn start(arguments: &[&str]) -> Ringway {
    Ringway::start(&[&["--bind", "127.0.0.1:0"], arguments].concat())
}

/// What combined lines say of requests; every target at most once.
fn seen_by(log: &str) -> Seen {
    let mut seen = Seen::new();
    for line in log.lines() {
        let parts: Vec<&str> = line.split('"').collect();
        assert_eq!((parts.len(), line.matches("127.0.0.1 - - [").count()), (9, 1), "a line is whole: {line}");
        let target = parts[1].split(' ').nth(1).expect("a target").to_string();
        let numbers: Vec<&str> = parts[2].split_whitespace().collect();
        let answer = (numbers[0].parse().expect("a status"), numbers[1].parse().expect("a size"));
        assert_eq!(seen.insert(target, answer), None, "logged twice: {line}");
    }
    seen
}

/// The sum of the numbers in the lines that tell of dropped ones.
fn dropped(said: &str) -> usize {
    let lines = said.lines().filter(|line| line.contains("dropped from the access log"));
    lines.map(|line| line.split(' ').nth(1).and_then(|count| count.parse::<usize>().ok()).expect("a count")).sum()
}

fn await_file(path: &Path) {
    let until = Instant::now() + PATIENCE;
    while !path.exists() {
        assert!(Instant::now() < until, "{} does not come", path.display());
        std::thread::yield_now();
    }
}

#[test]
fn no_request_is_lost_or_told_twice_while_the_log_is_rotated() {
    on_each_driver("no_request_is_lost_or_told_twice_while_the_log_is_rotated", |io| {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("access.log");
        let mounts = ["--mount", "/h=hello:app", "--mount", "/j=hello:json", "--mount", "/e=environ:app"];
        let log = path.display().to_string();
        let server = start(&[&mounts[..], &["--io", io, "--workers", "2", "--access-log", &log]].concat());
        let is_over = AtomicBool::new(false);
        let request_count = AtomicUsize::new(0);
        let seen = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..4)
                .map(|number| {
                    let mut client = Client::of(server.connect());
                    let (is_over, request_count) = (&is_over, &request_count);
                    scope.spawn(move || {
                        let mut seen = Seen::new();
                        while !is_over.load(Ordering::Acquire) {
                            let place = ["h", "j", "e", "none"][seen.len() % 4];
                            let target = format!("/{place}?{number}-{}", seen.len());
                            let response = client.send(&target, "");
                            seen.insert(target, (response.status, response.body.len() as u64));
                            request_count.fetch_add(1, Ordering::AcqRel);
                        }
                        seen
                    })
                })
                .collect();
            for number in 0..10 {
                let enough = request_count.load(Ordering::Acquire) + 100;
                while request_count.load(Ordering::Acquire) < enough {
                    std::thread::yield_now();
                }
                std::fs::rename(&path, directory.path().join(format!("access.log.{number}"))).expect("it is there");
                server.signal(libc::SIGUSR1);
                await_file(&path);
            }
            is_over.store(true, Ordering::Release);
            clients.into_iter().flat_map(|client| client.join().expect("a client ends in order")).collect::<Seen>()
        });
        let ended = server.terminate();
        assert_eq!((ended.code, &ended.stderr[..]), (Some(0), ""));
        let files: Vec<_> = std::fs::read_dir(directory.path())
            .expect("it is there")
            .map(|entry| entry.expect("a file").path())
            .collect();
        assert_eq!(files.len(), 11);
        let logged: String = files.iter().map(|file| std::fs::read_to_string(file).expect("a log is text")).collect();
        assert_eq!(seen_by(&logged), seen);
        assert!(seen.values().any(|(status, _)| *status == 404), "not all were the same");
    });
}

#[test]
fn a_reader_that_stops_delays_nobody_and_what_it_missed_is_counted() {
    on_each_driver("a_reader_that_stops_delays_nobody_and_what_it_missed_is_counted", |io| {
        for recovers in [false, true] {
            let mut server = start(&["hello:app", "--io", io, "--workers", "1", "--access-log", "-"]);
            let mut client = Client::of(server.connect());
            let long = "x".repeat(2000);
            let mut slowest = Duration::ZERO;
            for number in 0..REQUEST_COUNT {
                let began = Instant::now();
                assert_eq!(client.send(&format!("/{number}-{long}"), "").status, 200);
                slowest = slowest.max(began.elapsed());
            }
            assert!(slowest < Duration::from_secs(2), "a request waited for the log: {slowest:?}");
            let log = recovers.then(|| {
                let mut stdout = server.take_stdout();
                std::thread::spawn(move || {
                    let mut log = String::new();
                    stdout.read_to_string(&mut log).expect("the log is text");
                    log
                })
            });
            let mut request_count = REQUEST_COUNT;
            let mut dropped_count = 0;
            if recovers {
                let line = server.line();
                assert!(line.contains("which was taken too slowly"), "the loss is told on recovery: {line}");
                dropped_count += dropped(&line);
                assert_eq!(client.send("/behind", "").status, 200);
                request_count += 1;
            }
            let began = Instant::now();
            let ended = server.terminate();
            // A second for the log; the drain itself takes two ticks.
            assert!(began.elapsed() < Duration::from_secs(5), "the end was held up");
            assert_eq!(ended.code, Some(0));
            let log = log.map_or(ended.stdout, |reader| reader.join().expect("it ends with the server"));
            assert_eq!(log.contains("GET /behind "), recovers, "what comes later is logged again");
            dropped_count += dropped(&ended.stderr);
            assert!(dropped_count > 0, "the pipe was full");
            assert_eq!(seen_by(&log).len() + dropped_count, request_count, "{}", ended.stderr);
        }
    });
}

#[test]
fn a_log_that_cannot_be_written_is_said_and_counted() {
    let server = start(&["hello:app", "--access-log", "/dev/full"]);
    let began = Instant::now();
    for number in 0..50 {
        assert_eq!(Client::of(server.connect()).send(&format!("/{number}"), "").status, 200);
    }
    let ended = server.terminate();
    assert_eq!((ended.code, dropped(&ended.stderr)), (Some(0), 50), "{}", ended.stderr);
    assert!(ended.stderr.contains("No space left on device"), "{}", ended.stderr);
    let line_count = ended.stderr.lines().count() as u64;
    assert!(line_count <= began.elapsed().as_secs() + 2, "one a second, and one at the end: {}", ended.stderr);
}

/// The limit of a file's size stands for a full disk that has room again later.
#[test]
fn a_line_that_was_begun_is_ended_before_the_next() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("access.log");
    let log = path.display().to_string();
    let mut command =
        cli_support::ringway(&["hello:app", "--no-supervisor", "--bind", "127.0.0.1:0", "--access-log", &log]);
    // SAFETY: setrlimit is async-signal-safe, and the limit lives in the closure while it is read.
    unsafe {
        command.pre_exec(|| {
            let limit = libc::rlimit { rlim_cur: 1000, rlim_max: libc::RLIM_INFINITY };
            match libc::setrlimit(libc::RLIMIT_FSIZE, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let mut server = Ringway::spawn(&mut command);
    let mut client = Client::of(server.connect());
    for number in 0..50 {
        assert_eq!(client.send(&format!("/{number}"), "").status, 200);
    }
    let line = server.line();
    assert!(line.contains("File too large"), "{line}");
    assert_eq!(std::fs::metadata(&path).expect("the log").len(), 1000);
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the pointer is valid for the limit, and nothing is to be answered.
    assert_eq!(unsafe { libc::prlimit(server.id(), libc::RLIMIT_FSIZE, &limit, std::ptr::null_mut()) }, 0);
    assert_eq!(client.send("/behind", "").status, 200);
    let ended = server.terminate();
    let logged = std::fs::read_to_string(&path).expect("the log");
    assert!(logged.contains("GET /behind "), "{logged}");
    assert_eq!(seen_by(&logged).len() + dropped(&line) + dropped(&ended.stderr), 51, "{}", ended.stderr);
}

#[test]
fn a_log_that_cannot_be_opened_anew_goes_on_in_the_old_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let (inner, moved) = (directory.path().join("logs"), directory.path().join("moved"));
    std::fs::create_dir(&inner).expect("a directory");
    let mut server = start(&["hello:app", "--access-log", &inner.join("access.log").display().to_string()]);
    std::fs::rename(&inner, &moved).expect("it can be moved");
    server.signal(libc::SIGUSR1);
    let line = server.line();
    assert!(line.contains("cannot open the access log") && line.contains("No such file"), "{line}");
    server.get("/kept");
    assert_eq!(server.terminate().code, Some(0));
    assert!(std::fs::read_to_string(moved.join("access.log")).expect("the log").contains("GET /kept "));
}

#[test]
fn every_worker_process_opens_the_log_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, old) = (directory.path().join("access.log"), directory.path().join("old.log"));
    let log = path.display().to_string();
    let server = start(&["hello:app", "--workers", "2", "--isolate", "processes", "--access-log", &log]);
    (0..20).for_each(|number| drop(server.get(&format!("/before-{number}"))));
    std::fs::rename(&path, &old).expect("it is there");
    server.signal(libc::SIGUSR1);
    await_file(&path);
    (0..20).for_each(|number| drop(server.get(&format!("/behind-{number}"))));
    assert_eq!(server.terminate().code, Some(0));
    let read = |path: &Path| std::fs::read_to_string(path).expect("a log is text");
    assert_eq!(seen_by(&(read(&old) + &read(&path))).len(), 40);
}

#[test]
fn objects_say_the_same_as_lines() {
    let arguments = ["environ:app", "--access-log", "-", "--access-log-format", "json", "--log-format", "json"];
    let server = start(&arguments);
    let banner: serde_json::Value = serde_json::from_str(&server.banner).expect("the banner is an object");
    assert_eq!((banner["level"].as_str(), banner["pid"].as_i64()), (Some("info"), Some(i64::from(server.id()))));
    let mut client = Client::of(server.connect());
    let fields = "Referer: http://r/\"\\\r\nUser-Agent: \u{e9}\u{1f600}\r\nX-Request-Id: abc\r\nAuthorization: Basic c2VjcmV0\r\nCookie: c=secret\r\n";
    let response = client.send("/a'b?c=%22", fields);
    server.signal(libc::SIGHUP);
    let ended = server.terminate();
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines.len(), 1, "{}", ended.stdout);
    let line: serde_json::Value = serde_json::from_str(lines[0]).expect("an object");
    let text = |key: &str| line[key].as_str().expect("a string");
    assert_eq!((text("method"), text("target"), text("protocol")), ("GET", "/a'b?c=%22", "HTTP/1.1"));
    assert_eq!((text("referer"), text("user_agent"), text("host")), ("http://r/\"\\", "\u{e9}\u{1f600}", "h"));
    assert_eq!((text("remote_addr"), text("request_id")), ("127.0.0.1", "abc"));
    assert_eq!((line["status"].as_u64(), line["bytes"].as_u64()), (Some(200), Some(response.body.len() as u64)));
    assert!(line["duration"].as_f64().is_some_and(|seconds| (0.0..10.0).contains(&seconds)));
    assert!(text("time").contains('T'));
    assert!(!ended.stdout.contains("secret") && !ended.stdout.contains("c2VjcmV0"));
    for line in ended.stderr.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("each line is an object");
        assert!(line["message"].as_str().is_some_and(|message| !message.starts_with("ringway: ")));
    }
}

#[test]
fn what_is_redacted_is_not_in_the_log() {
    for (what, target) in
        [("query", "/a?[redacted]"), ("credentials", "/a?token=[redacted]&b=1"), ("credentials,query", "/a?[redacted]")]
    {
        let server = start(&["hello:app", "--access-log", "-", "--access-log-redact", what]);
        let mut client = Client::of(server.connect());
        client.send("/a?token=hidden&b=1", "Referer: http://user:hidden@r/?session_id=hidden\r\n");
        let log = server.terminate().stdout;
        assert!(log.contains(&format!("\"GET {target} HTTP/1.1\"")), "{log}");
        assert_eq!(log.contains("hidden"), what == "query", "a user is no query: {log}");
    }
}

#[test]
fn every_request_has_an_id_that_all_agree_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("access.log").display().to_string();
    let processes = ["environ:app", "--workers", "2", "--isolate", "processes", "--access-log", &log];
    let server = start(&[&processes[..], &["--request-id"]].concat());
    let mut ids = BTreeSet::new();
    for number in 0..40 {
        let mut client = Client::of(server.connect());
        for request in 0..3 {
            let fields = ["", "X-Request-Id: two\u{20}words\r\n", "X-Request-Id: a\r\nX-Request-Id: b\r\n"][request];
            let response = client.send(&format!("/{number}-{request}"), fields);
            let id = response.field("X-Request-Id").expect("an id").to_string();
            assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "it is made: {id}");
            assert!(response.text().contains(&format!("HTTP_X_REQUEST_ID: {id}\n")), "{}", response.text());
            assert!(ids.insert(id), "no two are the same");
        }
        let response = client.send(&format!("/{number}-taken"), &format!("x-request-id: mine-{number}\r\n"));
        let id = format!("mine-{number}");
        assert_eq!(response.field("X-Request-Id"), Some(&id[..]));
        assert!(response.text().contains(&format!("HTTP_X_REQUEST_ID: {id}\n")));
        ids.insert(id);
    }
    assert!(ids.iter().map(|id| &id[..id.len().min(16)]).collect::<BTreeSet<_>>().len() >= 42, "two workers made them");
    assert_eq!(server.terminate().code, Some(0));
    let logged = std::fs::read_to_string(&log).expect("the log");
    let logged: BTreeSet<String> = logged.lines().filter_map(|line| line.rsplit('"').nth(1)).map(Into::into).collect();
    assert_eq!(logged, ids);
}

#[test]
fn without_the_flag_the_log_alone_names_ids() {
    let server = start(&["environ:app", "--access-log", "-"]);
    let mut client = Client::of(server.connect());
    let response = client.send("/", "");
    assert_eq!(response.field("X-Request-Id"), None);
    assert!(!response.text().contains("REQUEST_ID"));
    client.send("/", "X-Request-Id: mine\r\n");
    let log = server.terminate().stdout;
    let ids: Vec<_> = log.lines().filter_map(|line| line.rsplit('"').nth(1)).collect();
    assert_eq!((ids[0].len(), ids[1]), (32, "mine"), "{log}");
}

#[test]
fn faults_of_applications_have_ten_lines_a_second() {
    let mut server =
        Ringway::spawn(&mut own_server(&["failing:app", "--no-supervisor", "--workers", "1", "--bind", "127.0.0.1:0"]));
    let began = Instant::now();
    let mut client = Client::of(server.connect());
    for _ in 0..REQUEST_COUNT {
        assert_eq!(client.send("/", "").status, 500);
    }
    // The sum comes when the second is over, though nobody asks for anything any more.
    while !server.line().contains("more fault") {}
    for _ in 0..REQUEST_COUNT {
        assert_eq!(client.send("/", "").status, 500);
    }
    let ended = server.terminate();
    let line_count = ended.stderr.lines().filter(|line| line.contains("failing:app: ")).count() as u64;
    assert!(line_count <= 10 * (began.elapsed().as_secs() + 2), "{}", ended.stderr);
    assert!(ended.stderr.contains("more faults of applications in that second"), "{}", ended.stderr);
}

#[test]
fn diagnostics_that_nobody_reads_hold_up_nobody() {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let mut fill_size = 0;
    while let Ok(size) = write_now(writer.as_fd(), &[b'\n'; PIPE_BUF]) {
        fill_size += size;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut command = own_server(&["failing:app", "--no-supervisor", "--workers", "1", "--bind", "fd://9"]);
    cli_support::inherit(&mut command, &listener, 9);
    let mut child = command.stdout(Stdio::null()).stderr(writer).spawn().expect("it starts");
    drop(command);
    let connect = || {
        let stream = TcpStream::connect(listener.local_addr().expect("an address")).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        Client::of(stream)
    };
    for _ in 0..20 {
        assert_eq!(connect().send("/", "").status, 500);
    }
    reader.read_exact(&mut vec![0; fill_size]).expect("what was written first");
    // SAFETY: kill takes no pointer, and the child has not been waited for.
    unsafe { libc::kill(i32::try_from(child.id()).expect("an id fits"), libc::SIGTERM) };
    let mut said = String::new();
    reader.read_to_string(&mut said).expect("it ends");
    assert!(child.wait().expect("it ends").success());
    let counts = said.lines().filter(|line| line.contains("dropped here, because nobody took them"));
    let dropped: usize = counts.filter_map(|line| line.split(' ').nth(1)?.parse::<usize>().ok()).sum();
    // The banner and the first faults.
    assert!(dropped >= 2, "{said}");
}

/// This program, as a server of [`failing`].
fn own_server(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "a_server_for_the_other_tests", "--nocapture"]);
    command.env("LOGS_TEST_ARGUMENTS", arguments.join(" "));
    command
}

fn failing<'r>(_environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    start_response.fail("on purpose")
}

/// Where it is told to, this is a program of its own: applications that are not bundled, behind the whole command line.
#[test]
fn a_server_for_the_other_tests() {
    let Ok(arguments) = std::env::var("LOGS_TEST_ARGUMENTS") else { return };
    let program = std::env::current_exe().expect("this program");
    let arguments = arguments.split(' ').map(Into::into).collect();
    let apps = ringway::apps! { "failing:app" => failing };
    ringway::run(&apps, &Invocation { program, prefix: Vec::new(), arguments }).end();
}

/// More than two megabytes of lines of two kilobytes, and a pipe.
const REQUEST_COUNT: usize = 1500;
/// How long anything may take; it is never waited for in full unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(20);
