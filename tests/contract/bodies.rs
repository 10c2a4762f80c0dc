//! What `start_response` makes of a status, fields and a body, and how a body ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ringway::response::stream::Reader;
use ringway::{Application, Payload, Pulled, Room, Status, Stream, app, blocks};

use crate::support::fixtures::pattern;
use crate::talk::{Call, ask, calling, get, replies, request, talk};

fn ok(start_response: ringway::StartResponse<'_>) -> ringway::Headers<'_> {
    start_response.start(Status::OK)
}

#[test]
fn fields_come_in_their_order_behind_the_status_line() {
    let reply = get(calling(|s| ok(s).header("B", "1").headers([("A", "2"), ("B", "")]).body("abc")));
    assert_eq!(
        reply.head,
        "HTTP/1.1 200 OK\r\nB: 1\r\nA: 2\r\nB: \r\nServer: ringway\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
         Content-Length: 3"
    );
}

#[test]
fn date_and_server_of_the_application_replace_the_servers() {
    let reply = get(calling(|s| ok(s).header("Server", "mine").empty()));
    assert_eq!((reply.field("Server"), reply.field("Date")), (Some("mine"), Some("Thu, 01 Jan 1970 00:00:00 GMT")));
    let reply = get(calling(|s| ok(s).header("date", "today").empty()));
    assert_eq!((reply.field("Server"), reply.field("Date")), (Some("ringway"), Some("today")));
    let reply = get(calling(|s| ok(s).header("DATE", "today").header("SERVER", "mine").stream(blocks(["x"]))));
    assert_eq!((reply.field("Server"), reply.field("Date")), (Some("mine"), Some("today")));
}

#[test]
fn an_unregistered_code_has_no_phrase() {
    for (code, line) in [
        (299, "HTTP/1.1 299 "),
        (418, "HTTP/1.1 418 "),
        (999, "HTTP/1.1 999 "),
        (451, "HTTP/1.1 451 Unavailable For Legal Reasons"),
    ] {
        let reply = get(app(move |_, s| s.start(Status::from_code(code).expect("it is final")).body("x")));
        assert_eq!((reply.head.split("\r\n").next(), &*reply.body), (Some(line), &b"x"[..]));
    }
    for code in [0, 99, 100, 101, 199, 1000, u16::MAX] {
        assert_eq!(Status::from_code(code), None);
    }
}

/// Makes a stream.
type Make = fn() -> Box<dyn Stream>;
/// Gives a response a body, or none.
type Complete = for<'r> fn(ringway::Headers<'r>) -> ringway::Responded<'r>;

/// A body that counts how often its memory was given up.
struct Counted(Vec<u8>, Arc<AtomicUsize>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Stream for Counted {
    fn pull(&mut self, room: &mut Room<'_>) -> io::Result<Pulled> {
        let size = room.put(&self.0);
        self.0.drain(..size);
        Ok(if self.0.is_empty() { Pulled::End } else { Pulled::More })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

/// An application that answers with a body of `size` bytes that counts its drops, by the way that the path says.
fn counting(size: usize, count: &Arc<AtomicUsize>) -> impl Application + use<> {
    let count = count.clone();
    app(move |environ, start_response| {
        let body = Counted(pattern(size), count.clone());
        let target = environ.path_info();
        let status = if target.ends_with(b"204") { Status::NO_CONTENT } else { Status::OK };
        let headers = start_response.start(status);
        match target {
            b"/bad" => headers.header("A B", "").body_owned(body),
            b"/bad-stream" => headers.header("A B", "").stream(body),
            b"/panic" => {
                let _responded = headers.body_owned(body);
                panic!("on purpose")
            }
            b"/restart" => headers.body_owned(body).restart().start(Status::OK).empty(),
            b"/replace" => headers.body_owned(body).replace_body().body("x"),
            b"/replace-stream" => headers.stream(body).replace_body().body("x"),
            b"/field" => headers.body_owned(body).header("X-Late", "1"),
            b"/stream" | b"/stream204" => headers.stream(body),
            b"/length" => headers.header("Content-Length", size.to_string()).stream(body),
            b"/cut" => headers.header("Content-Length", "1").stream(body),
            _ => headers.body_owned(body),
        }
    })
}

#[test]
fn an_owned_body_and_a_stream_are_dropped_exactly_once() {
    for size in [1, 8 * 1024 - 1, 8 * 1024, 100_000] {
        for target in [
            "/",
            "/204",
            "/bad",
            "/bad-stream",
            "/panic",
            "/restart",
            "/replace",
            "/replace-stream",
            "/field",
            "/stream",
            "/stream204",
            "/length",
            "/cut",
        ] {
            for method in ["GET", "HEAD"] {
                let count = Arc::new(AtomicUsize::new(0));
                let memory = talk(counting(size, &count), [request(method, target), request("GET", "/")].concat());
                assert_eq!(count.load(Ordering::SeqCst), 2, "{method} {target} of {size} bytes");
                let answers = replies(&memory.sent, &[method, "GET"]);
                assert_eq!(answers[1].body, pattern(size), "{method} {target} of {size} bytes");
            }
        }
    }
}

#[test]
fn a_whole_body_has_its_length_however_it_is_given() {
    for size in [0, 1, 8 * 1024 - 1, 8 * 1024, 16 * 1024, 100_000] {
        let wanted = pattern(size);
        let leaked: &'static [u8] = wanted.clone().leak();
        let file = tempfile::tempfile().expect("a temporary file");
        io::Write::write_all(&mut &file, &[b"...", &*wanted, b"..."].concat()).expect("it can be written");
        let file = Arc::new(file);
        for way in ["copied", "static", "owned", "file", "declared"] {
            let (bytes, file) = (wanted.clone(), file.clone());
            let reply = get(app(move |_, start_response| match way {
                "copied" => ok(start_response).body(&bytes),
                "static" => ok(start_response).body_static(leaked),
                "owned" => ok(start_response).body_owned(bytes.clone()),
                "file" => ok(start_response).file(file.clone(), 3, bytes.len() as u64),
                _ => ok(start_response).header("Content-Length", bytes.len().to_string()).body(&bytes),
            }));
            assert_eq!(reply.field("Content-Length"), Some(&*size.to_string()), "{way}");
            assert!(reply.body == wanted, "{way} of {size} bytes");
        }
    }
}

#[test]
fn streams_of_every_shape() {
    let long = pattern(100_000);
    let cases: Vec<(&str, Make, Vec<u8>)> = vec![
        ("of nothing", || Box::new(blocks([""; 0])), b"".to_vec()),
        ("of one empty block", || Box::new(blocks([""])), b"".to_vec()),
        ("of words", || Box::new(blocks(["one", "", "", "two", "three", ""])), b"onetwothree".to_vec()),
        ("of a block longer than the room", || Box::new(blocks([pattern(100_000)])), long.clone()),
        (
            "of many blocks",
            || Box::new(blocks((0..1000).map(|n| pattern(100_000)[n * 100..][..100].to_vec()))),
            long.clone(),
        ),
        ("of a reader", || Box::new(Reader(io::Cursor::new(pattern(100_000)))), long.clone()),
        ("that ends with its last bytes", || Box::new(Counted(pattern(100_000), Arc::default())), long),
    ];
    for (name, make, wanted) in cases {
        let stream = move || Pulling(make());
        let reply = get(app(move |_, s| ok(s).stream(stream())));
        assert_eq!(
            (reply.field("Transfer-Encoding"), reply.field("Content-Length")),
            (Some("chunked"), None),
            "{name}"
        );
        assert!(reply.body == wanted, "chunked, {name}");

        let size = wanted.len().to_string();
        let declared = size.clone();
        let reply = get(app(move |_, s| ok(s).header("Content-Length", &declared).stream(stream())));
        assert_eq!((reply.field("Transfer-Encoding"), reply.field("Content-Length")), (None, Some(&*size)), "{name}");
        assert!(reply.body == wanted, "with a length, {name}");

        let memory = talk(app(move |_, s| ok(s).stream(stream())), "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let reply = replies(&memory.sent, &["GET"]).remove(0);
        assert_eq!((reply.field("Transfer-Encoding"), reply.field("Connection")), (None, Some("close")), "{name}");
        assert!(reply.body == wanted && memory.is_finished, "until the end, {name}");

        let declared = size.clone();
        let app = app(move |_, s| ok(s).header("Content-Length", &declared).stream(stream()));
        let memory = talk(app, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let reply = replies(&memory.sent, &["GET"]).remove(0);
        assert_eq!(reply.field("Connection"), Some("keep-alive"), "{name}");
        assert!(reply.body == wanted && !memory.is_finished, "HTTP/1.0 with a length, {name}");
    }
}

/// Any stream; that it may be boxed is for the application to say.
struct Pulling(Box<dyn Stream>);

impl Stream for Pulling {
    fn pull(&mut self, room: &mut Room<'_>) -> io::Result<Pulled> {
        self.0.pull(room)
    }
}

const WAYS: &[(&str, Call)] = &[
    ("empty", |s| ok(s).empty()),
    ("copied", |s| ok(s).body("abc")),
    ("static", |s| ok(s).body_static(&[b'x'; 20_000])),
    ("owned", |s| ok(s).body_owned(vec![b'x'; 20_000])),
    ("stream", |s| ok(s).stream(blocks(["abc"]))),
    ("stream with a length", |s| ok(s).header("Content-Length", "3").stream(blocks(["abc"]))),
    ("failure of a stream", |s| ok(s).header("Content-Length", "30").stream(blocks(["abc"]))),
];

#[test]
fn head_is_answered_with_the_head_of_get() {
    for (name, call) in &WAYS[..6] {
        assert_eq!(ask(calling(*call), "HEAD").head, get(calling(*call)).head, "{name}");
    }
    // What is not pulled does not fail.
    assert_eq!(ask(calling(WAYS[6].1), "HEAD").field("Content-Length"), Some("30"));
    let reply = ask(calling(|s| ok(s).header("Content-Length", "7").empty()), "HEAD");
    assert_eq!(reply.field("Content-Length"), Some("7"));
    let memory = talk(calling(|s| ok(s).stream(blocks(["abc"]))), "HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(replies(&memory.sent, &["HEAD"])[0].field("Connection"), Some("keep-alive"));
}

#[test]
fn statuses_without_a_body_have_none() {
    let ways: &[(&str, Complete)] = &[
        ("empty", |h| h.empty()),
        ("copied", |h| h.body("abc")),
        ("owned", |h| h.body_owned(vec![b'x'; 20_000])),
        ("stream", |h| h.stream(blocks(["abc"]))),
        ("declared", |h| h.header("Content-Length", "9").empty()),
        ("declared wrongly", |h| h.header("Content-Length", "9").body("abc")),
    ];
    for (name, way) in ways {
        for code in [204, 304, 205] {
            let answering = app(move |_, s| way(s.start(Status::from_code(code).expect("it is final"))));
            let memory = talk(answering, request("GET", "/").repeat(2));
            if code == 205 && name.starts_with("declared") {
                assert_eq!(memory.heard.faults.len(), 2, "a 205 has a body of no bytes, so that another size is wrong");
                continue;
            }
            assert_eq!(memory.heard.faults, [""; 0], "{code} {name}");
            let length = match (code, *name) {
                (205, _) => Some("0"),
                (304, "declared" | "declared wrongly") => Some("9"),
                _ => None,
            };
            for reply in replies(&memory.sent, &["GET"; 2]) {
                assert_eq!((reply.status, reply.field("Content-Length")), (code, length), "{name}");
                assert_eq!((reply.field("Transfer-Encoding"), reply.body.len()), (None, 0), "{code} {name}");
            }
        }
    }
}

#[test]
fn close_closes_behind_the_answer() {
    let closing: &[Call] = &[
        |s| ok(s).close().body("abc"),
        |s| ok(s).body("abc").replace_body().close().body("abc"),
        |s| ok(s).close().body("abcd").replace_body().body("abc"),
        |s| ok(s).close().stream(blocks(["abc"])),
        |s| ok(s).header("Content-Length", "3").close().stream(blocks(["abc"])),
    ];
    for call in closing {
        let memory = talk(calling(*call), request("GET", "/").repeat(2));
        let reply = replies(&memory.sent, &["GET"]).remove(0);
        assert_eq!((reply.field("Connection"), &*reply.body), (Some("close"), &b"abc"[..]));
        assert!(memory.is_finished);
    }
    let memory =
        talk(calling(|s| ok(s).close().body("a").restart().start(Status::OK).empty()), request("GET", "/").repeat(2));
    assert_eq!(replies(&memory.sent, &["GET"; 2])[0].field("Connection"), None);
}

/// Puts `abc` and lends ten bytes, twice; the end comes with the last or behind it.
struct Lender {
    turn: usize,
    ends_at_once: bool,
}

impl Stream for Lender {
    fn pull(&mut self, room: &mut Room<'_>) -> io::Result<Pulled> {
        self.turn += 1;
        match self.turn {
            1 => {
                room.put(b"abc");
                room.lend(Payload::Static(b"0123456789"));
                assert_eq!((room.put(b"behind"), room.spare().len()), (0, 0));
                Ok(Pulled::More)
            }
            2 => Ok(Pulled::More),
            3 => {
                room.lend(Payload::Owned(Box::new(b"ABCDEFGHIJ".to_vec())));
                Ok(if self.ends_at_once { Pulled::End } else { Pulled::More })
            }
            _ => Ok(Pulled::End),
        }
    }
}

#[test]
fn what_a_stream_lends_is_framed_in_both_versions() {
    let whole = "abc0123456789ABCDEFGHIJ";
    for ends_at_once in [true, false] {
        for length in [None, Some(23), Some(24), Some(20), Some(8), Some(2)] {
            for head in
                ["GET / HTTP/1.1\r\nHost: h\r\n\r\n", "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"]
            {
                let memory = talk(
                    app(move |_, start_response| {
                        let headers = start_response.start(Status::OK);
                        let headers = match length {
                            Some(size) => headers.header("Content-Length", size.to_string()),
                            None => headers,
                        };
                        headers.stream(Lender { turn: 0, ends_at_once })
                    }),
                    head,
                );
                let sent = String::from_utf8_lossy(&memory.sent).into_owned();
                let (_, body) = sent.split_once("\r\n\r\n").expect("a head");
                let context = format!("{ends_at_once} {length:?} {head} {sent}");
                let cut = |size: usize| &whole[..size.min(23)];
                let is_short = length == Some(24);
                match (head.starts_with("HEAD"), length) {
                    (true, _) => assert_eq!(body, "", "{context}"),
                    (false, None) if head.contains("1.1") => {
                        let chunks = "0003\r\nabc\r\na\r\n0123456789\r\na\r\nABCDEFGHIJ\r\n0\r\n\r\n";
                        assert_eq!(body, chunks, "{context}");
                    }
                    (false, None) => assert_eq!(body, whole, "{context}"),
                    (false, Some(_)) if is_short => assert!(whole.starts_with(body) && memory.is_closed, "{context}"),
                    (false, Some(size)) => assert_eq!(body, cut(size), "{context}"),
                }
                let has_fault = !head.starts_with("HEAD") && length.is_some_and(|size| size != 23);
                assert_eq!(memory.heard.faults.len(), usize::from(has_fault), "{context}");
                if !head.starts_with("HEAD") && !is_short {
                    assert_eq!(memory.heard.completed, [(200, length.map_or(23, |size| size as u64))], "{context}");
                }
            }
        }
    }
}
