//! Each rule of the gateway interface, and an application that breaks it.

use crate::support::thorn::Thorn;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use ringway::driver::Key;
use ringway::http::head::Version;
use ringway::response::answer::Mailbox;
use ringway::response::writer::Direct;
use ringway::response::{Stamp, Terms};
use ringway::sys::Waker;
use ringway::{Pulled, Responded, Room, StartResponse, Status, Stream, app, blocks};

use crate::talk::{Call, broken, broken_later, get, replies, request, talk};

/// What the peer sees of a broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// A 500 that tells nothing, and the connection stays.
    Internal,
    /// The head had gone, so the connection ends in the middle.
    Aborted,
    /// A whole answer, which was cut to its length.
    Cut,
}

use Seen::{Aborted, Cut, Internal};

fn ok(start_response: StartResponse<'_>) -> ringway::Headers<'_> {
    start_response.start(Status::OK)
}

/// Does as it is told, and then panics or fails.
struct Scripted(Vec<fn(&mut Room<'_>) -> io::Result<Pulled>>);

impl Stream for Scripted {
    fn pull(&mut self, room: &mut Room<'_>) -> io::Result<Pulled> {
        (self.0.remove(0))(room)
    }
}

fn first(room: &mut Room<'_>) -> io::Result<Pulled> {
    room.put(b"first");
    Ok(Pulled::More)
}

fn this_file() -> std::fs::File {
    std::fs::File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).expect("it is there")
}

const LARGE: &[u8] = &[b'x'; 50_000];

/// A response that belongs to no request: made of parts of its own, which types cannot forbid.
fn stray() -> Responded<'static> {
    let stamp = Box::leak(Box::new(Stamp::new(SystemTime::UNIX_EPOCH)));
    let mailbox = Box::leak(Box::new(Arc::new(Mailbox::new(Waker::new().expect("an eventfd")))));
    let terms = Terms {
        version: Version::Http11,
        is_head: false,
        keep_alive: true,
        stamp,
        mailbox,
        key: Key { slot: 0, generation: 0 },
        request_id: b"",
        direct: Direct::Nowhere,
    };
    let (outbound, draft) = (Box::leak(Box::default()), Box::leak(Box::default()));
    ok(StartResponse::new(outbound, Box::leak(Box::new(terms)), draft)).body("astray")
}

const RULES: &[(&str, Call, Seen, &str)] = &[
    ("a name with a space", |s| ok(s).header("X Y", "1").empty(), Internal, "the field name \"X Y\" is not a token"),
    ("an empty name", |s| ok(s).header("", "1").empty(), Internal, "the field name \"\" is not a token"),
    (
        "a name with a line break",
        |s| ok(s).header("X\r\nY", "1").empty(),
        Internal,
        "the field name \"X  Y\" is not a token",
    ),
    ("a name with a colon", |s| ok(s).header("X:", "1").empty(), Internal, "the field name \"X:\" is not a token"),
    (
        "a value with CR and LF",
        |s| ok(s).header("X-A", "1\r\nSet-Cookie: forged").body("unseen"),
        Internal,
        "the value of X-A contains CR, LF, NUL or another control byte",
    ),
    (
        "a value with LF",
        |s| ok(s).header("X-A", "1\n2").body("unseen"),
        Internal,
        "the value of X-A contains CR, LF, NUL or another control byte",
    ),
    (
        "a value with NUL",
        |s| ok(s).header("X-A", b"1\x002").body_static(LARGE),
        Internal,
        "the value of X-A contains CR, LF, NUL or another control byte",
    ),
    (
        "a value with DEL",
        |s| ok(s).headers([("X-A", "fine"), ("X-B", "\x7f")]).stream(blocks(["unseen"])),
        Internal,
        "the value of X-B contains CR, LF, NUL or another control byte",
    ),
    (
        "two broken rules, of which the first is told",
        |s| ok(s).header("TE", "x").header("Y Y", "x").empty(),
        Internal,
        "TE is a hop-by-hop field, which belongs to the server",
    ),
    (
        "two lengths",
        |s| ok(s).header("Content-Length", "3").header("content-length", "3").body("abc"),
        Internal,
        "Content-Length was declared twice",
    ),
    (
        "a length in words",
        |s| ok(s).header("Content-Length", "three").body("abc"),
        Internal,
        "the Content-Length \"three\" is not a number of bytes",
    ),
    (
        "a length with a sign",
        |s| ok(s).header("Content-Length", "+3").body("abc"),
        Internal,
        "the Content-Length \"+3\" is not a number of bytes",
    ),
    (
        "an empty length",
        |s| ok(s).header("Content-Length", "").body(""),
        Internal,
        "the Content-Length \"\" is not a number of bytes",
    ),
    (
        "a length past all numbers",
        |s| ok(s).header("Content-Length", "18446744073709551616").body("abc"),
        Internal,
        "the Content-Length \"18446744073709551616\" is not a number of bytes",
    ),
    (
        "a body longer than declared",
        |s| ok(s).header("Content-Length", "2").body("abc"),
        Internal,
        "Content-Length was declared as 2, but the body has 3 bytes",
    ),
    (
        "a body shorter than declared",
        |s| ok(s).header("Content-Length", "4").body("abc"),
        Internal,
        "Content-Length was declared as 4, but the body has 3 bytes",
    ),
    (
        "no body where one was declared",
        |s| ok(s).header("Content-Length", "4").empty(),
        Internal,
        "Content-Length was declared as 4, but the body has 0 bytes",
    ),
    (
        "a static body of another size",
        |s| ok(s).header("Content-Length", "4").body_static(LARGE),
        Internal,
        "Content-Length was declared as 4, but the body has 50000 bytes",
    ),
    (
        "an owned body of another size",
        |s| ok(s).header("Content-Length", "50001").body_owned(LARGE.to_vec()),
        Internal,
        "Content-Length was declared as 50001, but the body has 50000 bytes",
    ),
    (
        "a file of another size",
        |s| ok(s).header("Content-Length", "4").file(this_file(), 0, 5),
        Internal,
        "Content-Length was declared as 4, but the body has 5 bytes",
    ),
    (
        "a length added by middleware",
        |s| ok(s).body("abc").header("Content-Length", "3"),
        Internal,
        "middleware added Content-Length to a finished response; replace the body instead",
    ),
    (
        "a date added by middleware",
        |s| ok(s).body_static(LARGE).header("date", "today"),
        Internal,
        "middleware added date to a finished response; replace the body instead",
    ),
    (
        "a server added by middleware",
        |s| ok(s).stream(blocks(["a"])).header("Server", "mine"),
        Internal,
        "middleware added Server to a finished response; replace the body instead",
    ),
    (
        "a value with LF added by middleware",
        |s| ok(s).body("abc").header("X-A", "1\n2"),
        Internal,
        "the value of X-A contains CR, LF, NUL or another control byte",
    ),
    (
        "a hop-by-hop field added by middleware",
        |s| ok(s).body("abc").header("Upgrade", "h2c"),
        Internal,
        "Upgrade is a hop-by-hop field, which belongs to the server",
    ),
    (
        "a fault that a replaced body does not undo",
        |s| ok(s).header("Keep-Alive", "1").body("abc").replace_body().body("another"),
        Internal,
        "Keep-Alive is a hop-by-hop field, which belongs to the server",
    ),
    (
        "a stream shorter than declared",
        |s| ok(s).header("Content-Length", "10").stream(blocks(["first"])),
        Aborted,
        "the stream ended 5 bytes short of its Content-Length",
    ),
    (
        "a stream of nothing where something was declared",
        |s| ok(s).header("Content-Length", "1").stream(blocks([""; 0])),
        Aborted,
        "the stream ended 1 bytes short of its Content-Length",
    ),
    (
        "a stream longer than declared",
        |s| ok(s).header("Content-Length", "5").stream(blocks(["fir", "strange"])),
        Cut,
        "the stream went on past its Content-Length; the rest was cut",
    ),
    (
        "a stream that goes on after its end",
        |s| ok(s).header("Content-Length", "5").stream(blocks(["first", "", "x"])),
        Cut,
        "the stream went on past its Content-Length; the rest was cut",
    ),
    (
        "a stream that fails",
        |s| ok(s).stream(Scripted(vec![first, |_| Err(io::Error::other("no\nmore"))])),
        Aborted,
        "the stream failed: no more",
    ),
    (
        "a stream with a length that fails",
        |s| ok(s).header("Content-Length", "9").stream(Scripted(vec![|_| Err(io::Error::other("at once"))])),
        Aborted,
        "the stream failed: at once",
    ),
    (
        "a stream that panics",
        |s| ok(s).stream(Scripted(vec![first, |_| panic!("pulled once too often")])),
        Aborted,
        "panicked: pulled once too often",
    ),
    ("a panic before the start", |_| panic!("at once"), Internal, "panicked: at once"),
    (
        "a panic with a field written",
        |s| {
            let _half = ok(s).header("X-Half", "written");
            panic!("{}", "half\nway".to_string())
        },
        Internal,
        "panicked: half way",
    ),
    (
        "a panic with the whole response written",
        |s| {
            let _whole = ok(s).body_owned(LARGE);
            std::panic::panic_any(7)
        },
        Internal,
        "panicked: no message",
    ),
    ("a failure", |s| s.fail("the database\nis gone"), Internal, "failed: the database is gone"),
    (
        "a body that is not sent and panics as it is dropped",
        |s| ok(s).header("TE", "x").body_owned(Thorn(vec![b'x'; 50_000])),
        Internal,
        "TE is a hop-by-hop field, which belongs to the server",
    ),
    (
        "a response that was not started, and a stray one in its place",
        |_| stray(),
        Internal,
        "returned a response that is not this request's, to which it gave none",
    ),
    (
        "a response that was started and left, and a stray one in its place",
        |s| {
            let _half = ok(s).header("X-Half", "written");
            stray()
        },
        Internal,
        "returned a response that is not this request's, to which it gave none",
    ),
    ("an answer that is dropped", |s| s.later().0, Internal, "dropped its pending answer without completing it"),
];

#[test]
fn each_broken_rule_has_its_own_sentence_and_costs_its_own_request() {
    for (name, call, seen, sentence) in RULES {
        check(name, *seen, sentence, &talk(broken(*call), pipelined("GET")));
    }
}

#[test]
fn rules_hold_for_answers_that_come_from_another_thread() {
    for (name, call, seen, sentence) in RULES.iter().filter(|(name, ..)| *name != "an answer that is dropped") {
        check(name, *seen, sentence, &talk(broken_later(*call), pipelined("GET")));
    }
}

fn pipelined(method: &str) -> String {
    [request("GET", "/"), request("GET", "/"), request(method, "/broken"), request("GET", "/")].concat()
}

fn check(name: &str, seen: Seen, sentence: &str, memory: &crate::support::memory::Memory) {
    assert_eq!(memory.heard.faults, [format!("fixture:broken: {sentence}")], "{name}");
    let earlier_size = memory.sent.windows(5).enumerate().filter(|(_, w)| w == b"whole").nth(1);
    let (earlier, rest) = memory.sent.split_at(earlier_size.expect("the earlier answers are there").0 + 5);
    assert!(replies(earlier, &["GET"; 2]).iter().all(|reply| reply.body == b"whole"), "{name}");
    match seen {
        Internal => {
            let answers = replies(rest, &["GET"; 2]);
            assert_eq!((answers[0].status, &*answers[0].body), (500, &b"Internal Server Error\n"[..]), "{name}");
            assert_eq!((answers[1].status, &*answers[1].body), (200, &b"whole"[..]), "{name}");
            let names: Vec<_> =
                answers[0].head.split("\r\n").skip(1).filter_map(|line| line.split(':').next()).collect();
            assert_eq!(names, ["Content-Type", "Server", "Date", "Content-Length"], "{name}");
            assert!(!memory.is_finished, "{name}");
        }
        Aborted => {
            assert!(rest.starts_with(b"HTTP/1.1 200 OK\r\n") && !rest.ends_with(b"whole"), "{name}");
            assert!(!rest.ends_with(b"0\r\n\r\n"), "{name}: the end of the body is not faked");
            assert!(memory.is_closed, "{name}");
        }
        Cut => {
            let answers = replies(rest, &["GET"; 2]);
            assert_eq!((answers[0].status, &*answers[0].body), (200, &b"first"[..]), "{name}");
            assert_eq!((answers[1].status, &*answers[1].body), (200, &b"whole"[..]), "{name}");
        }
    }
}

#[test]
fn a_refused_answer_to_head_has_no_body() {
    for (name, call, ..) in RULES.iter().filter(|(_, _, seen, _)| *seen == Internal) {
        let memory = talk(broken(*call), pipelined("HEAD"));
        // HEAD may leave out a body that it declares the size of.
        if *name == "no body where one was declared" {
            assert_eq!(memory.heard.faults, [""; 0]);
            continue;
        }
        let answers = replies(&memory.sent, &["GET", "GET", "HEAD", "GET"]);
        assert_eq!((answers[2].status, answers[2].field("Content-Length")), (500, Some("22")), "{name}");
        assert_eq!(answers[3].body, b"whole", "{name}");
    }
}

#[test]
fn every_hop_by_hop_field_is_refused_in_any_case() {
    for name in [
        "Connection",
        "keep-alive",
        "Proxy-Authenticate",
        "PROXY-AUTHORIZATION",
        "TE",
        "te",
        "Trailer",
        "transfer-encoding",
        "Upgrade",
    ] {
        let memory =
            talk(app(move |_, start_response| ok(start_response).header(name, "x").empty()), request("GET", "/"));
        let expected = format!("the application: {name} is a hop-by-hop field, which belongs to the server");
        assert_eq!(memory.heard.faults, [expected]);
    }
}

/// An answer that is completed by another pending one is refused, whatever becomes of the other.
#[test]
fn an_answer_is_not_completed_by_a_pending_one() {
    fn dropped(start_response: StartResponse<'_>) -> Responded<'_> {
        start_response.later().0
    }
    fn completed(start_response: StartResponse<'_>) -> Responded<'_> {
        let (responded, answer) = start_response.later();
        answer.respond(|start_response| ok(start_response).body("out of turn"));
        responded
    }
    fn waiting(start_response: StartResponse<'_>) -> Responded<'_> {
        let (responded, answer) = start_response.later();
        answer.respond(|start_response| ok(start_response).body("out of turn"));
        // Long enough for a reader of the mailbox to take the wrong answer, if there were one to take.
        (0..1000).for_each(|_| std::thread::yield_now());
        responded
    }
    for call in [dropped as Call, completed, waiting] {
        let memory = talk(broken_later(call), pipelined("GET"));
        check("a pending answer", Internal, "completed a pending answer with another pending answer", &memory);
    }
}

#[test]
fn a_sentence_is_one_short_line() {
    let memory = talk(
        app(|_, start_response| start_response.fail(format!("\x1b[31m\r\n{}", "long ".repeat(1000)))),
        request("GET", "/"),
    );
    let [fault] = &memory.heard.faults[..] else { panic!("one fault") };
    assert!(!fault.contains(char::is_control) && fault.len() < 300, "{fault:?}");
}

#[test]
fn what_looks_like_a_broken_rule_and_is_none() {
    let reply = get(app(|_, start_response| {
        ok(start_response)
            .header("Content-Length", "003")
            .header("X-Tab", "a\tb")
            .header("X-Latin", b"\xe4")
            .header("Trailer-Park", "x")
            .header("X_Under", "x")
            .body("abc")
    }));
    assert_eq!((reply.status, reply.field("Content-Length"), reply.field("X_Under")), (200, Some("3"), Some("x")));
}
