//! What the tests of the contract say to a connection in memory, and how they read what it says.
#![allow(unreachable_pub, reason = "a test program exports nothing, and its modules are public to each other")]

use std::sync::{Arc, Mutex, PoisonError};

use ringway::connection::Limits;
use ringway::sys::Peer;
use ringway::{Application, Environ, Named, Responded, StartResponse, Status, app};

use crate::support::memory::Memory;

/// How an application answers, whatever it was asked.
pub type Call = for<'r> fn(StartResponse<'r>) -> Responded<'r>;

/// One answer, its framing undone.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// The status line and the fields, without the empty line.
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    /// The only field of this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        let fields = self.fields(name);
        assert!(fields.len() < 2, "{name} is there more than once: {self:?}");
        fields.first().copied()
    }

    /// Every field of this name.
    pub fn fields(&self, name: &str) -> Vec<&str> {
        let lines = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }
}

/// Reads the answers to requests of these methods. One that is not whole is a failure of the test.
pub fn replies(mut bytes: &[u8], methods: &[&str]) -> Vec<Reply> {
    let mut replies = Vec::new();
    for method in methods {
        let reply = reply(&mut bytes, method);
        replies.push(reply.unwrap_or_else(|| panic!("answer {} is not whole: {}", replies.len(), text(bytes))));
    }
    assert!(bytes.is_empty(), "bytes behind the last answer: {}", text(bytes));
    replies
}

fn reply(bytes: &mut &[u8], method: &str) -> Option<Reply> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    *bytes = &bytes[end + 4..];
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let mut reply = Reply { status, head, body: Vec::new() };
    if method == "HEAD" || matches!(status, 204 | 304) {
        return Some(reply);
    }
    if let Some(size) = reply.field("Content-Length") {
        let size = size.parse().ok()?;
        reply.body = bytes.get(..size)?.to_vec();
        *bytes = &bytes[size..];
    } else if reply.field("Transfer-Encoding").is_some() {
        loop {
            let line_size = bytes.windows(2).position(|window| window == b"\r\n")?;
            let size = usize::from_str_radix(std::str::from_utf8(&bytes[..line_size]).ok()?, 16).ok()?;
            let chunk = bytes.get(line_size + 2..line_size + 2 + size)?;
            reply.body.extend_from_slice(chunk);
            *bytes = bytes.get(line_size + 2 + size..)?.strip_prefix(b"\r\n")?;
            if size == 0 {
                break;
            }
        }
    } else {
        reply.body = bytes.to_vec();
        *bytes = &[];
    }
    Some(reply)
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(400)]).into_owned()
}

/// A request without a body.
pub fn request(method: &str, target: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// Sends `bytes` in one piece to a new connection.
pub fn talk(app: impl Application + 'static, bytes: impl AsRef<[u8]>) -> Memory {
    let mut memory = Memory::new(Box::new(app));
    memory.receive(bytes.as_ref());
    memory
}

/// The only answer to a GET, from an application that breaks no rule.
pub fn get(app: impl Application + 'static) -> Reply {
    ask(app, "GET")
}

/// The only answer to this method, from an application that breaks no rule.
pub fn ask(app: impl Application + 'static, method: &str) -> Reply {
    let memory = talk(app, request(method, "/"));
    assert_eq!(memory.heard.faults, [""; 0]);
    replies(&memory.sent, &[method]).remove(0)
}

/// An application that answers so.
pub fn calling(call: Call) -> impl Application {
    app(move |_environ, start_response| call(start_response))
}

/// Answers so at `/broken`, completely and at once elsewhere; its name in the log is `fixture:broken`.
pub fn broken(call: Call) -> impl Application {
    let inner = app(move |environ, start_response| match environ.path_info() {
        b"/broken" => call(start_response),
        _ => start_response.start(Status::OK).body("whole"),
    });
    Named::new("fixture:broken", inner)
}

/// As [`broken`], but completed by another thread.
pub fn broken_later(call: Call) -> impl Application {
    let inner = app(move |environ, start_response| match environ.path_info() {
        b"/broken" => {
            let (responded, answer) = start_response.later();
            std::thread::spawn(move || answer.respond(call));
            responded
        }
        _ => start_response.start(Status::OK).body("whole"),
    });
    Named::new("fixture:broken", inner)
}

/// Shows the environ of the request in `bytes` to `look`, which asserts, and answers what it has made of it.
pub fn inspect<T: Send + 'static>(
    bytes: impl AsRef<[u8]>,
    look: impl for<'e> Fn(&Environ<'e>) -> T + Send + 'static,
) -> T {
    inspect_from(Peer::Inet(([127, 0, 0, 1], 40_000).into()), bytes, look)
}

/// As [`inspect`], for a request of this peer.
pub fn inspect_from<T: Send + 'static>(
    peer: Peer,
    bytes: impl AsRef<[u8]>,
    look: impl for<'e> Fn(&Environ<'e>) -> T + Send + 'static,
) -> T {
    inspect_as(peer, Limits::default(), bytes.as_ref(), look)
}

/// As [`inspect`], with limits of its own.
pub fn inspect_with<T: Send + 'static>(
    limits: Limits,
    bytes: impl AsRef<[u8]>,
    look: impl for<'e> Fn(&Environ<'e>) -> T + Send + 'static,
) -> T {
    inspect_as(Peer::Inet(([127, 0, 0, 1], 40_000).into()), limits, bytes.as_ref(), look)
}

fn inspect_as<T: Send + 'static>(
    peer: Peer,
    limits: Limits,
    bytes: &[u8],
    look: impl for<'e> Fn(&Environ<'e>) -> T + Send + 'static,
) -> T {
    let seen = Arc::new(Mutex::new(None));
    let looking = seen.clone();
    let app = Box::new(app(move |environ, start_response| {
        *looking.lock().unwrap_or_else(PoisonError::into_inner) = Some(look(environ));
        start_response.start(Status::OK).empty()
    }));
    let mut memory = Memory::with(app, limits);
    memory.set_peer(peer);
    memory.receive(bytes);
    assert_eq!(memory.heard.faults, [""; 0]);
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    seen.unwrap_or_else(|| panic!("the request does not arrive: {}", text(&memory.sent)))
}
