//! Middleware on the way out: what an application has answered is read, added to, replaced and started anew.

use std::sync::{Mutex, PoisonError};

use ringway::{Answer, Application, Environ, Responded, StartResponse, Status, app, blocks};

use crate::support::fixtures::pattern;
use crate::talk::{Call, Reply, replies, request, talk};

/// What middleware makes of an answer.
type Turn = for<'r> fn(Responded<'r>) -> Responded<'r>;

/// `turn` around an application that answers `/wrapped` so, and other paths with their name.
fn wrapped(call: Call, turn: Turn) -> impl Application {
    let inner = move |environ: &Environ<'_>| (environ.path_info() == b"/wrapped").then_some(call);
    app(move |environ, start_response| match inner(environ) {
        Some(call) => turn(call(start_response)),
        None => start_response.start(Status::OK).body(environ.path_info()),
    })
}

fn ok(start_response: StartResponse<'_>) -> ringway::Headers<'_> {
    start_response.start(Status::OK)
}

const LARGE: &[u8] = &[b'x'; 50_000];

/// Every way to answer, and the body that it makes.
fn ways() -> Vec<(&'static str, Call, Vec<u8>)> {
    vec![
        ("nothing", |s| ok(s).header("X-Own", "1").empty(), vec![]),
        ("a copy", |s| ok(s).header("X-Own", "1").body("abc"), b"abc".to_vec()),
        ("a copy that spills", |s| ok(s).header("X-Own", "1").body(pattern(70_000)), pattern(70_000)),
        (
            "fields that spill",
            |s| ok(s).header("X-Own", "1").header("X-Long", "y".repeat(40_000)).body("abc"),
            b"abc".to_vec(),
        ),
        ("a static body", |s| ok(s).header("X-Own", "1").body_static(LARGE), LARGE.to_vec()),
        ("an owned body", |s| ok(s).header("X-Own", "1").body_owned(pattern(60_000)), pattern(60_000)),
        ("a stream", |s| ok(s).header("X-Own", "1").stream(blocks(["a", "bc"])), b"abc".to_vec()),
        (
            "a stream with a length",
            |s| ok(s).header("X-Own", "1").header("Content-Length", "3").stream(blocks(["a", "bc"])),
            b"abc".to_vec(),
        ),
    ]
}

/// The answer to this method at `/wrapped`, behind and before others.
fn answer(call: Call, turn: Turn, method: &str, earlier_count: usize) -> Reply {
    let earlier = request("GET", "/earlier").repeat(earlier_count);
    let bytes = [&*earlier, &request(method, "/wrapped"), &request("GET", "/later")].concat();
    let memory = talk(wrapped(call, turn), bytes);
    assert_eq!(memory.heard.faults, [""; 0]);
    let mut methods = vec!["GET"; earlier_count];
    methods.extend([method, "GET"]);
    let mut answers = replies(&memory.sent, &methods);
    assert_eq!(answers.pop().expect("the last").body, b"/later");
    let answer = answers.pop().expect("the wrapped");
    assert!(answers.iter().all(|reply| reply.body == b"/earlier"));
    answer
}

#[test]
fn a_field_is_added_behind_the_applications() {
    let turn: Turn = |responded| responded.header("X-Late", "2").header("X-Later", "3");
    for (name, call, body) in ways() {
        // With a hundred before it the block is nearly full.
        for (method, earlier_count) in
            [("GET", 0), ("HEAD", 0), ("GET", 1), ("HEAD", 3), ("GET", 90), ("GET", 100), ("GET", 110)]
        {
            let reply = answer(call, turn, method, earlier_count);
            let plain = answer(call, |responded| responded, method, earlier_count);
            let expected = plain.head.replace("Server: ", "X-Late: 2\r\nX-Later: 3\r\nServer: ");
            assert!(reply.head == expected, "{method} {name}: {}", reply.head);
            assert!(reply.body == if method == "HEAD" { vec![] } else { body.clone() }, "{method} {name}");
        }
    }
}

#[test]
fn a_replaced_body_keeps_status_and_fields() {
    let turn: Turn = |responded| responded.replace_body().header("X-Late", "2").body("another");
    for (name, call, _) in ways() {
        for (method, earlier_count) in [("GET", 0), ("HEAD", 2), ("GET", 100)] {
            let reply = answer(call, turn, method, earlier_count);
            assert_eq!(
                (reply.status, reply.field("X-Own"), reply.field("X-Late")),
                (200, Some("1"), Some("2")),
                "{name}"
            );
            assert_eq!((reply.field("Content-Length"), reply.field("Transfer-Encoding")), (Some("7"), None), "{name}");
            assert_eq!(&*reply.body, if method == "HEAD" { &b""[..] } else { b"another" }, "{name}");
        }
        let reply = answer(call, |responded| responded.replace_body().stream(blocks([LARGE])), "GET", 1);
        assert_eq!((reply.field("X-Own"), &*reply.body), (Some("1"), LARGE), "{name}");
        let reply = answer(call, |responded| responded.replace_body().body_static(LARGE), "GET", 1);
        assert_eq!((reply.field("X-Own"), &*reply.body), (Some("1"), LARGE), "{name}");
    }
}

#[test]
fn a_replaced_body_keeps_the_applications_date_and_server() {
    let call: Call = |s| ok(s).header("Date", "today").header("Server", "mine").body("abc");
    let reply = answer(call, |responded| responded.replace_body().body("x"), "GET", 0);
    assert_eq!((reply.field("Date"), reply.field("Server"), &*reply.body), (Some("today"), Some("mine"), &b"x"[..]));
}

#[test]
fn a_restarted_response_keeps_nothing() {
    let turn: Turn = |responded| responded.restart().start(Status::GONE).header("X-New", "1").body("gone");
    for (name, call, _) in ways() {
        for (method, earlier_count) in [("GET", 0), ("HEAD", 2), ("GET", 100)] {
            let reply = answer(call, turn, method, earlier_count);
            assert_eq!((reply.status, reply.field("X-Own"), reply.field("X-New")), (410, None, Some("1")), "{name}");
            assert_eq!(reply.field("Content-Length"), Some("4"), "{name}");
        }
    }
}

#[test]
fn a_restart_takes_back_a_broken_rule() {
    let call: Call = |s| ok(s).header("TE", "x").body("abc");
    let reply = answer(call, |responded| responded.restart().start(Status::OK).body("mended"), "GET", 1);
    assert_eq!((reply.status, &*reply.body), (200, &b"mended"[..]));
}

#[test]
fn middleware_reads_what_was_answered() {
    fn reads(responded: Responded<'_>) -> Responded<'_> {
        let status = responded.status().map(Status::code);
        let body = responded.body_bytes().map(|body| body.len());
        let fields: Vec<String> = responded
            .fields()
            .iter()
            .map(|(name, value)| format!("{}={}", String::from_utf8_lossy(name), value.len()))
            .collect();
        responded.restart().start(Status::OK).body(format!("{status:?} {body:?} {}", fields.join(" ")))
    }
    for ((name, call, _), expected) in ways().into_iter().zip([
        "Some(200) Some(0) X-Own=1",
        "Some(200) Some(3) X-Own=1",
        "Some(200) Some(70000) X-Own=1",
        "Some(200) Some(3) X-Own=1 X-Long=40000",
        "Some(200) None X-Own=1",
        "Some(200) None X-Own=1",
        "Some(200) None X-Own=1",
        "Some(200) None X-Own=1",
    ]) {
        let reply = answer(call, reads, "GET", 2);
        assert_eq!(String::from_utf8_lossy(&reply.body), expected, "{name}");
    }
    let reply = answer(|s| s.later().0, reads, "GET", 0);
    assert_eq!(String::from_utf8_lossy(&reply.body), "None None ");
    let added: Turn = |responded| {
        let responded = responded.header("X-Late", "22").header("X-Empty", "");
        assert_eq!(responded.body_bytes().as_deref(), Some(&b"abc"[..]));
        reads(responded)
    };
    let reply = answer(|s| ok(s).body("abc"), added, "GET", 3);
    assert_eq!(String::from_utf8_lossy(&reply.body), "Some(200) Some(3) X-Late=2 X-Empty=0");
}

#[test]
fn a_pending_answer_is_left_alone_by_header() {
    let call: Call = |s| {
        let (responded, answer) = s.later();
        answer.respond(|s| ok(s).header("X-Own", "1").body("later"));
        responded
    };
    let reply = answer(call, |responded| responded.header("X-Late", "2"), "GET", 2);
    assert_eq!((reply.field("X-Own"), reply.field("X-Late"), &*reply.body), (Some("1"), None, &b"later"[..]));
}

/// The first answer comes too late to be anybody's.
#[test]
fn a_restarted_pending_answer_is_forgotten() {
    let call: Call = |s| {
        let (responded, answer) = s.later();
        std::thread::spawn(move || answer.respond(|s| ok(s).body("forgotten")));
        responded
    };
    let reply = answer(call, |responded| responded.restart().start(Status::OK).body("at once"), "GET", 1);
    assert_eq!(&*reply.body, b"at once");
    let again: Turn = |responded| {
        let (responded, answer) = responded.restart().later();
        answer.respond(|s| ok(s).body("second"));
        responded
    };
    // The first is dropped before the second comes, or after.
    for call in [(|s| s.later().0) as Call, call] {
        assert_eq!(&*answer(call, again, "GET", 1).body, b"second");
    }
    // The first is completed while the second is awaited.
    static FIRST: Mutex<Option<Answer>> = Mutex::new(None);
    let call: Call = |s| {
        let (responded, answer) = s.later();
        *FIRST.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        responded
    };
    let again: Turn = |responded| {
        let (responded, answer) = responded.restart().later();
        answer.respond(|s| ok(s).body("second"));
        if let Some(first) = FIRST.lock().unwrap_or_else(PoisonError::into_inner).take() {
            first.respond(|s| ok(s).body("first"));
        }
        responded
    };
    assert_eq!(&*answer(call, again, "GET", 1).body, b"second");
}
