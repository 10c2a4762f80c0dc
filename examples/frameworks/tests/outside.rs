//! Applications that await others: a Redis, and another HTTP server, each by a client on the worker's own thread.

mod support;

#[path = "../redis/app.rs"]
mod visits;

#[path = "../gateway/app.rs"]
mod gateway;

#[allow(dead_code, reason = "the program's own entry is not called here")]
#[path = "../axum/alone.rs"]
mod upstream;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use ringway::Application;

use support::client::{Answer, Client, Step};
use support::{Own, on_ringway};

/// A Redis on a unix socket. Dropping it ends it.
struct Redis(Child);

impl Redis {
    /// Starts one that keeps nothing, and waits until it serves.
    fn start(directory: &Path) -> std::io::Result<Redis> {
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--dir"]).arg(directory);
        command.arg("--unixsocket").arg(directory.join("redis.sock"));
        let mut redis = Redis(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
        let lines = BufReader::new(redis.0.stdout.take().expect("stdout is a pipe")).lines();
        let said: Vec<_> = lines.map_while(Result::ok).take_while(|line| !line.contains("eady to accept")).collect();
        assert!(redis.0.try_wait()?.is_none(), "it ended: {said:?}");
        Ok(redis)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended already; then both are harmless errors.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ask(address: SocketAddr, method: &str, path: &str, count: usize) -> Vec<Answer> {
    let requests = format!("{method} {path} HTTP/1.1\r\nHost: h\r\n\r\n").repeat(count);
    Client::connect(address).play(&[Step::Send(requests.as_bytes().into())], &vec![method; count])
}

fn one(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let answer = ask(address, method, path, 1).remove(0);
    (answer.status, answer.text())
}

#[test]
fn an_application_asks_redis() {
    let directory = tempfile::tempdir().expect("a directory");
    if let Err(error) = Redis::start(directory.path()) {
        eprintln!("skipped: an application that asks Redis: redis-server: {error}");
        return;
    }
    let url = format!("redis+unix://{}", directory.path().join("redis.sock").display());
    let make = move || {
        let visits = visits::Visits::new(&url).expect("it is an address");
        Box::new(ringway::tower::serve(visits::router(visits))) as Box<dyn Application>
    };
    on_ringway("an application that asks Redis", make, |address, io| {
        let redis = Redis::start(directory.path()).expect("it starts again");
        assert_eq!(one(address, "GET", "/front"), (200, "0\n".into()), "{io:?}");
        let counts: Vec<_> = ask(address, "POST", "/front", 3).iter().map(Answer::text).collect();
        assert_eq!(counts, ["1\n", "2\n", "3\n"], "pipelined requests are answered one after the other");
        let clients = (0..20).map(|_| std::thread::spawn(move || ask(address, "POST", "/many", 10).len()));
        let answered: usize =
            clients.collect::<Vec<_>>().into_iter().map(|client| client.join().expect("it ends")).sum();
        assert_eq!((answered, one(address, "GET", "/many")), (200, (200, "200\n".into())));
        drop(redis);
        let (status, text) = one(address, "GET", "/front");
        assert!(status == 503 && text.starts_with("Redis: "), "{status} {text}");
        let redis = Redis::start(directory.path()).expect("it starts again");
        assert_eq!(one(address, "POST", "/front"), (200, "1\n".into()), "a lost connection is made anew");
        drop(redis);
    });
}

#[test]
fn an_application_asks_another_server() {
    let own = Own::start(|listener| upstream::serve(listener, upstream::app::Notes::default()));
    let authority = own.address.to_string();
    let make = move || {
        let authority = authority.parse().expect("an address is one");
        Box::new(ringway::tower::serve(gateway::router(authority))) as Box<dyn Application>
    };
    on_ringway("an application that asks another server", make, |address, io| {
        assert_eq!(one(address, "GET", "/"), (200, "Notes, by axum.\n".into()), "{io:?}");
        assert_eq!(one(address, "GET", "/nowhere").0, 404);
        let counted: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
        assert!(one(address, "GET", "/count/20000") == (200, counted), "all of a long stream comes");
        assert_eq!(ask(address, "GET", "/large", 3).iter().map(|answer| answer.body.len()).sum::<usize>(), 3_300_000);
        let events = ask(address, "GET", "/events", 1).remove(0);
        assert_eq!(events.field("content-type").as_deref(), Some("text/event-stream"));
        assert_eq!(events.text().matches("event: tick").count(), 3);
        echoes(address);
    });
}

/// Bodies go through piece by piece, both ways at once.
fn echoes(address: SocketAddr) {
    let head = "POST /echo HTTP/1.1\r\nHost: h\r\n";
    let streamed = [
        Step::Send(format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").as_bytes().into()),
        Step::Await("first"),
        Step::Send(Arc::from(&b"6\r\nsecond\r\n0\r\n\r\n"[..])),
    ];
    assert_eq!(Client::connect(address).play(&streamed, &["POST"])[0].text(), "firstsecond");
    let body = "0123456789abcdef".repeat(300_000);
    let large = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    let echoed = Client::connect(address).play(&[Step::Send(large.as_bytes().into())], &["POST"]).remove(0);
    assert!(echoed.body == body.as_bytes(), "{} of {} bytes", echoed.body.len(), body.len());
}

#[test]
fn a_server_that_is_away_is_a_bad_gateway() {
    // Nobody listens where somebody has.
    let gone = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let make = move || {
        let authority = gone.to_string().parse().expect("an address is one");
        Box::new(ringway::tower::serve(gateway::router(authority))) as Box<dyn Application>
    };
    on_ringway("a server that is away", make, |address, _| {
        let (status, text) = one(address, "GET", "/");
        assert!(status == 502 && text.starts_with("The upstream server: "), "{status} {text}");
    });
}
