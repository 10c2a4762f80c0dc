//! The id of a request: taken or made, shown to the application, carried by the response.

use std::cell::RefCell;

use ringway::connection::RequestIds;
use ringway::{Admission, Application, Environ, Responded, StartResponse, Status, app, blocks};

use crate::support::memory::Memory;
use crate::talk::{Reply, replies};

/// Ids that everybody is shown.
fn shown() -> Option<RequestIds> {
    Some(RequestIds::new(0xabcd, true))
}

/// The answers to `GET path` with these fields, on one connection, with the paths' own ways to answer.
fn answers(ids: Option<RequestIds>, requests: &[(&str, &str)]) -> (Vec<Reply>, Memory) {
    let mut memory = Memory::new(Box::new(app(answer)));
    memory.request_ids = ids;
    for (path, fields) in requests {
        memory.receive(format!("GET {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n").as_bytes());
    }
    memory.finish();
    (replies(&memory.sent, &vec!["GET"; requests.len()]), memory)
}

fn answer<'r>(environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    let id = environ.get("HTTP_X_REQUEST_ID").unwrap_or(b"none").to_vec();
    match environ.path_info() {
        b"/own" => start_response.start(Status::OK).header("x-request-id", "own").body(id),
        b"/late" => start_response.start(Status::OK).header("X-Other", "1").body(id).header("X-Request-ID", "late"),
        b"/replaced" => start_response.start(Status::OK).body("").replace_body().body(id),
        b"/stream" => start_response.start(Status::OK).stream(blocks([id])),
        b"/later" => {
            let (responded, answer) = start_response.later();
            answer.respond(|start_response| start_response.start(Status::OK).body(id));
            responded
        }
        b"/dropped" => start_response.later().0,
        b"/fails" => start_response.fail("on purpose"),
        b"/listed" => {
            let listed = environ.iter().filter(|(key, _)| *key == *"HTTP_X_REQUEST_ID").map(|(_, value)| value);
            start_response.start(Status::OK).body(listed.collect::<Vec<_>>().concat())
        }
        b"/owned" => start_response
            .start(Status::OK)
            .body(environ.to_owned().with(|environ| environ.get("HTTP_X_REQUEST_ID").unwrap_or_default().to_vec())),
        _ => start_response.start(Status::OK).body(id),
    }
}

fn made(number: u32) -> String {
    format!("{:016x}{number:016x}", 0xabcd)
}

#[test]
fn whatever_way_an_application_answers_the_id_is_one() {
    let paths = ["/", "/replaced", "/stream", "/later", "/listed", "/owned"];
    let (made_ones, _) = answers(shown(), &paths.map(|path| (path, "")));
    for (index, (path, reply)) in paths.iter().zip(made_ones).enumerate() {
        let id = made(u32::try_from(index + 1).expect("a few"));
        assert_eq!((reply.field("X-Request-Id"), &reply.body[..]), (Some(&id[..]), id.as_bytes()), "{path}");
    }
    let (taken_ones, _) = answers(shown(), &paths.map(|path| (path, "X-Request-Id: mine\r\n")));
    for (path, reply) in paths.iter().zip(taken_ones) {
        assert_eq!((reply.field("X-Request-Id"), &reply.body[..]), (Some("mine"), &b"mine"[..]), "{path}");
    }
}

#[test]
fn an_answer_to_a_fault_has_the_id_too() {
    let (replies, _) = answers(shown(), &[("/fails", ""), ("/dropped", "X-Request-Id: mine\r\n")]);
    assert_eq!((replies[0].status, replies[0].field("X-Request-Id")), (500, Some(&made(1)[..])));
    assert_eq!((replies[1].status, replies[1].field("X-Request-Id")), (500, Some("mine")));
}

#[test]
fn an_id_of_the_applications_own_stands_in_the_place_of_the_servers() {
    let (replies, memory) = answers(shown(), &[("/own", ""), ("/late", ""), ("/", "")]);
    assert_eq!(memory.heard.faults, [""; 0]);
    assert_eq!((replies[0].field("X-Request-Id"), &replies[0].body[..]), (Some("own"), made(1).as_bytes()));
    assert_eq!((replies[1].field("X-Request-Id"), &replies[1].body[..]), (Some("late"), made(2).as_bytes()));
    assert_eq!(replies[1].field("X-Other"), Some("1"));
    assert_eq!(replies[1].fields("Date").len(), 1);
    assert_eq!(replies[2].field("X-Request-Id"), Some(&made(3)[..]));
}

#[test]
fn without_ids_the_environ_and_the_response_are_as_they_were() {
    for ids in [None, Some(RequestIds::new(1, false))] {
        let (replies, _) = answers(ids, &[("/", ""), ("/late", "X-Request-Id: mine\r\n")]);
        assert_eq!((replies[0].field("X-Request-Id"), &replies[0].body[..]), (None, &b"none"[..]));
        assert_eq!((replies[1].field("X-Request-Id"), &replies[1].body[..]), (Some("late"), &b"mine"[..]));
    }
}

/// Notes what it was shown, on the head and on the whole request.
#[derive(Default)]
struct Twice {
    seen: RefCell<Vec<u8>>,
}

impl Application for Twice {
    fn admit(&self, environ: &Environ<'_>) -> Admission {
        *self.seen.borrow_mut() = environ.get("HTTP_X_REQUEST_ID").unwrap_or_default().to_vec();
        if environ.path_info() == b"/refused" { Admission::Refuse(Status::FORBIDDEN) } else { Admission::Buffer }
    }

    fn call<'r>(&self, environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        assert_eq!(environ.get("HTTP_X_REQUEST_ID"), Some(&self.seen.borrow()[..]));
        start_response.start(Status::OK).body(&*self.seen.borrow())
    }
}

#[test]
fn a_request_whose_body_comes_late_keeps_its_id() {
    let mut memory = Memory::new(Box::new(Twice::default()));
    memory.request_ids = shown();
    memory.receive(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc");
    memory.receive(b"def");
    memory.receive(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabcdef");
    memory.receive(b"POST /refused HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabcdef");
    memory.finish();
    let replies = replies(&memory.sent, &["POST", "POST", "POST"]);
    for (reply, number) in replies.iter().zip([1, 2, 3]) {
        assert_eq!(reply.field("X-Request-Id"), Some(&made(number)[..]));
    }
    assert_eq!((&replies[1].body[..], replies[2].status), (made(2).as_bytes(), 403));
}
