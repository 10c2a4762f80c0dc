//! Asks an admin address, and reads strictly what it answers.

pub(crate) mod exposition;
pub(crate) mod json;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use exposition::Samples;

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> &str {
        let prefix = format!("{name}: ");
        self.head.lines().find_map(|line| line.strip_prefix(prefix.as_str())).unwrap_or_default()
    }
}

/// Sends bytes on a connection of their own and reads until the server closes.
pub(crate) fn talk(port: u16, request: &str) -> Answer {
    let mut stream = connect(port);
    stream.write_all(request.as_bytes()).expect("it takes a request");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer has a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a head has a status");
    Answer { status, head: head.replace('\r', ""), body: body.to_string() }
}

pub(crate) fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream
}

pub(crate) fn ask(port: u16, method: &str, path: &str) -> Answer {
    talk(port, &format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
}

/// The samples of `/metrics`, each line of which is checked.
pub(crate) fn metrics(port: u16) -> Samples {
    let answer = ask(port, "GET", "/metrics");
    assert_eq!((answer.status, answer.field("Content-Type")), (200, "text/plain; version=0.0.4; charset=utf-8"));
    exposition::check(&answer.body).unwrap_or_else(|fault| panic!("{fault}\n{}", answer.body))
}

/// The samples once they are as they should be.
pub(crate) fn metrics_when(port: u16, what: &str, is_so: impl Fn(&Samples) -> bool) -> Samples {
    let until = Instant::now() + PATIENCE;
    loop {
        let samples = metrics(port);
        if is_so(&samples) {
            return samples;
        }
        assert!(Instant::now() < until, "never {what}: {samples:#?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How long anything may take; it is never waited for in full unless something is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
