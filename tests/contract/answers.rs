//! Answers that come later.

use std::sync::{Mutex, PoisonError};

use ringway::{Answer, Application, Responded, StartResponse, Status, app, blocks};

use crate::support::fixtures::pattern;
use crate::support::memory::Memory;
use crate::talk::{Call, get, replies, request, talk};

fn ok(start_response: StartResponse<'_>) -> ringway::Headers<'_> {
    start_response.start(Status::OK)
}

/// Completes its answers so, by a thread each; `/now` is answered at once.
fn later(call: Call) -> impl Application {
    app(move |environ, start_response| {
        if environ.path_info() == b"/now" {
            return ok(start_response).body("now");
        }
        let (responded, answer) = start_response.later();
        std::thread::spawn(move || answer.respond(call));
        responded
    })
}

const WAYS: &[(&str, Call)] = &[
    ("empty", |s| ok(s).header("X-A", "1").empty()),
    ("copied", |s| ok(s).header("X-A", "1").body("abc")),
    ("copied, of some size", |s| ok(s).header("X-A", "1").body(pattern(10_000))),
    ("copied, large", |s| ok(s).header("X-A", "1").body(pattern(100_000))),
    ("static", |s| ok(s).header("X-A", "1").body_static(&[b'x'; 20_000])),
    ("owned", |s| ok(s).header("X-A", "1").body_owned(pattern(100_000))),
    ("stream", |s| ok(s).header("X-A", "1").stream(blocks(["one", "", "two"]))),
    ("stream with a length", |s| ok(s).header("Content-Length", "6").stream(blocks(["one", "", "two"]))),
    ("204", |s| s.start(Status::NO_CONTENT).body("dropped")),
    ("304", |s| s.start(Status::NOT_MODIFIED).header("Content-Length", "9").empty()),
    ("with middleware", |s| ok(s).body_owned(pattern(20_000)).header("X-Late", "1")),
    ("replaced", |s| ok(s).header("X-A", "1").stream(blocks(["one"])).replace_body().body("two")),
];

fn without_date(head: &str) -> String {
    head.split("\r\n").filter(|line| !line.starts_with("Date: ")).collect::<Vec<_>>().join("\r\n")
}

#[test]
fn a_late_answer_is_the_same_as_one_at_once() {
    for (name, call) in WAYS {
        for method in ["GET", "HEAD"] {
            for version in ["1.1", "1.0"] {
                let ask =
                    |path: &str| format!("{method} {path} HTTP/{version}\r\nHost: h\r\nConnection: keep-alive\r\n\r\n");
                let late = talk(later(*call), ask("/"));
                let call = *call;
                let at_once = talk(app(move |_, s| call(s)), ask("/"));
                let [late, at_once] = [late, at_once].map(|memory| {
                    assert_eq!(memory.heard.faults, [""; 0], "{name}");
                    let reply = replies(&memory.sent, &[method]).remove(0);
                    (without_date(&reply.head), reply.body, memory.heard.completed, memory.is_finished)
                });
                assert!(late == at_once, "{method} {version} {name}: {} and {}", late.0, at_once.0);
            }
        }
    }
}

#[test]
fn requests_behind_a_late_answer_wait_in_order() {
    for (name, call) in WAYS {
        let bytes = [request("GET", "/now"), request("GET", "/"), request("GET", "/now"), request("GET", "/")].concat();
        let memory = talk(later(*call), bytes);
        let answers = replies(&memory.sent, &["GET"; 4]);
        assert_eq!([&*answers[0].body, &*answers[2].body], [b"now"; 2], "{name}");
        assert_eq!(answers[1].body, answers[3].body, "{name}");
    }
}

#[test]
fn late_answers_close_when_they_say_so() {
    let memory = talk(later(|s| ok(s).close().body("abc")), request("GET", "/").repeat(2));
    assert_eq!(replies(&memory.sent, &["GET"])[0].field("Connection"), Some("close"));
    assert!(memory.is_finished);
}

/// The date is that of the completion.
#[test]
fn a_late_answer_has_a_date_and_may_bring_its_own() {
    assert!(get(later(|s| ok(s).empty())).field("Date").is_some_and(|date| !date.contains("1970")));
    assert_eq!(get(later(|s| ok(s).header("Date", "today").empty())).field("Date"), Some("today"));
}

#[test]
fn an_answer_may_be_completed_before_its_application_returns() {
    let at_once = app(|_, start_response| {
        let (responded, answer) = start_response.later();
        answer.respond(|s| ok(s).body("early"));
        responded
    });
    assert_eq!(get(at_once).body, b"early");
}

/// The duty of a request that its application has answered in another way is nobody's.
#[test]
fn the_answer_of_an_earlier_request_is_not_taken_for_a_later_one() {
    static KEPT: Mutex<Option<Answer>> = Mutex::new(None);
    let keeping = app(|environ, start_response| {
        let kept = || KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        match environ.path_info() {
            b"/keep" => {
                let (responded, answer) = start_response.later();
                *kept() = Some(answer);
                responded.restart().start(Status::OK).body("kept")
            }
            _ => {
                let (responded, answer) = start_response.later();
                if let Some(answer) = kept().take() {
                    answer.respond(|s| ok(s).body("of another"));
                }
                std::thread::spawn(move || answer.respond(|s| ok(s).body("mine")));
                responded
            }
        }
    });
    let memory = talk(keeping, [request("GET", "/keep"), request("GET", "/")].concat());
    let answers = replies(&memory.sent, &["GET"; 2]);
    assert_eq!([&*answers[0].body, &*answers[1].body], [&b"kept"[..], b"mine"]);
    assert_eq!(memory.heard.faults, [""; 0]);
}

/// An application that panics after it has asked for an answer has dropped it, too: one 500, one line.
#[test]
fn a_panic_with_an_answer_in_hand_is_one_fault() {
    fn panicking(start_response: StartResponse<'_>) -> Responded<'_> {
        let (_responded, _answer) = start_response.later();
        panic!("with an answer in hand")
    }
    let memory = talk(app(|_, s| panicking(s)), request("GET", "/").repeat(2));
    assert_eq!(memory.heard.faults, ["the application: panicked: with an answer in hand"; 2]);
    assert!(replies(&memory.sent, &["GET"; 2]).iter().all(|reply| reply.status == 500));
}

#[test]
fn a_late_answer_to_a_request_with_a_body_in_pieces() {
    let echo = app(|environ, start_response| {
        let environ = environ.to_owned();
        let (responded, answer) = start_response.later();
        std::thread::spawn(move || answer.respond(|s| environ.with(|environ| ok(s).body(environ.input().bytes()))));
        responded
    });
    let mut memory = Memory::new(Box::new(echo));
    let body = pattern(100_000);
    memory.receive(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n");
    body.chunks(9_000).for_each(|piece| memory.receive(piece));
    memory.receive(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    memory.receive(b"0\r\n\r\n");
    let answers = replies(&memory.sent, &["POST"; 2]);
    assert!(answers[0].body == body && answers[1].body == b"abc");
}
