//! The requests that every framework's application is asked on both servers, as data.

use crate::support::client::Step;

/// A conversation on a connection of its own.
pub struct Case {
    pub name: &'static str,
    pub steps: Vec<Step>,
    /// The methods of its requests, in their order.
    pub methods: Vec<&'static str>,
    /// The status of the last answer: of axum, warp, poem, salvo and hyper. 0 where a framework is not asked.
    pub statuses: [u16; 5],
    /// What stands in a field of axum's answer.
    pub field: Option<(&'static str, &'static str)>,
    /// Fields that may differ, and why that is right.
    pub differs: &'static [(&'static str, &'static str)],
}

impl Case {
    fn new(name: &'static str, statuses: [u16; 5], parts: &[&str]) -> Case {
        let steps = parts.iter().map(|part| Step::Send(part.as_bytes().into())).collect();
        let method = parts.first().and_then(|part| part.split(' ').next()).unwrap_or_default();
        let method = ["GET", "HEAD", "POST"].into_iter().find(|known| *known == method).unwrap_or("OTHER");
        Case { name, steps, methods: vec![method], statuses, field: None, differs: &[] }
    }

    fn with(self, name: &'static str, value: &'static str) -> Case {
        Case { field: Some((name, value)), ..self }
    }

    fn but(self, differs: &'static [(&'static str, &'static str)]) -> Case {
        Case { differs, ..self }
    }

    fn steps(self, steps: Vec<Step>) -> Case {
        Case { steps, ..self }
    }

    fn methods(self, methods: &[&'static str]) -> Case {
        Case { methods: methods.to_vec(), ..self }
    }
}

fn send(text: impl AsRef<[u8]>) -> Step {
    Step::Send(text.as_ref().into())
}

fn get(path: &str) -> String {
    request("GET", path, "")
}

fn request(method: &str, path: &str, fields: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: example.com\r\n{fields}\r\n")
}

fn with_body(method: &str, path: &str, content_type: &str, body: &str) -> String {
    let fields = format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len());
    request(method, path, &fields) + body
}

fn json(body: &str) -> String {
    with_body("POST", "/notes", "application/json", body)
}

/// A form of one text and one file.
fn multipart(path: &str) -> String {
    let file = "line\r\n".repeat(500);
    let body = format!(
        "--edge\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nA title\r\n--edge\r\nContent-Disposition: \
         form-data; name=\"file\"; filename=\"a b.txt\"\r\nContent-Type: text/plain\r\n\r\n{file}\r\n--edge--\r\n"
    );
    with_body("POST", path, "multipart/form-data; boundary=edge", &body)
}

/// All of them, in the order in which they are asked: some see what others have left.
pub fn cases() -> Vec<Case> {
    let mut cases = heads();
    cases.extend(notes());
    cases.extend(bodies());
    cases.extend(answers());
    cases.extend(connections());
    cases
}

/// Requests without a body.
fn heads() -> Vec<Case> {
    vec![
        Case::new("the front page", [200; 5], &[&get("/")]),
        Case::new("a query that nobody reads", [200; 5], &[&get("/?a=b&c=%20")]),
        Case::new("an absolute target", [200; 5], &[&get("http://example.com/")]),
        Case::new("HEAD", [200, 405, 200, 405, 200], &[&request("HEAD", "/", "")]).but(HEAD_IN_CHUNKS),
        Case::new("HEAD of a stream", [200, 405, 200, 405, 404], &[&request("HEAD", "/count/3", "")])
            .but(HEAD_IN_CHUNKS),
        Case::new("OPTIONS", [405, 405, 405, 405, 405], &[&request("OPTIONS", "/", "")]),
        Case::new("another method", [405; 5], &[&with_body("PUT", "/", "text/plain", "body")]),
        Case::new("a method that nobody knows", [405; 5], &[&request("BREW", "/", "")]),
        Case::new("no such page", [404; 5], &[&get("/nowhere")]),
        Case::new("an encoded path that is none", [404; 5], &[&get("/no%20where%2F")]),
        Case::new("two slashes", [404, 404, 404, 200, 404], &[&get("//")]),
        Case::new("a slash behind", [404, 405, 404, 405, 400], &[&get("/notes/")]),
        Case::new("dots", [404; 5], &[&get("/notes/../notes/1")]),
        Case::new("many fields", [200; 5], &[&request("GET", "/", &"X-Field: value\r\n".repeat(60))]),
        Case::new("bytes that are no text", [200; 5], &[&request("GET", "/", "X-Field: caf\u{e9}\r\n")]),
        Case::new("the peer", [200, 404, 200, 200, 404], &[&get("/peer")]),
    ]
}

/// State, extractors and JSON.
fn notes() -> Vec<Case> {
    vec![
        Case::new("no note yet", [404; 5], &[&get("/notes/1")]),
        Case::new("a note", [201; 5], &[&json("{\"text\":\"Buy milk\"}")]).with("location", "/notes/1"),
        Case::new("a note of other letters", [201; 5], &[&json("{\"text\":\"K\u{e4}se \\u2603\"}")]),
        Case::new("the note", [200; 5], &[&get("/notes/1")]).with("content-type", "application/json"),
        Case::new("the note, encoded", [200, 404, 200, 200, 400], &[&get("/notes/%32")]),
        Case::new("a number that is none", [400, 404, 400, 400, 400], &[&get("/notes/one")]),
        Case::new("JSON that is none", [400, 400, 400, 400, 400], &[&json("{\"text\":")]),
        Case::new("JSON of another shape", [422, 400, 400, 400, 400], &[&json("{\"name\":\"x\"}")]).but(RENAMED),
        Case::new(
            "JSON that is not called so",
            [415, 400, 415, 400, 201],
            &[&with_body("POST", "/notes", "text/plain", "{\"text\":\"x\"}")],
        ),
        Case::new("no body at all", [415, 400, 415, 400, 400], &[&request("POST", "/notes", "")]),
        Case::new("a query", [200, 404, 404, 404, 404], &[&get("/search?word=milk")]),
        Case::new("a query, encoded", [200, 404, 404, 404, 404], &[&get("/search?word=%42uy+m&from=0")]),
        Case::new("a query without what is wanted", [400, 404, 404, 404, 404], &[&get("/search?wort=milk")]),
        Case::new(
            "a form",
            [201, 405, 405, 405, 405],
            &[&with_body("PUT", "/notes", "application/x-www-form-urlencoded", "text=a+b%26")],
        ),
        Case::new("nothing to say", [204, 405, 405, 405, 405], &[&request("DELETE", "/notes", "")]),
        Case::new("gone", [404; 5], &[&get("/notes/9")]),
    ]
}

/// Bodies of requests: whole, in chunks, in pieces, large, and announced.
fn bodies() -> Vec<Case> {
    let chunked = "5\r\nhello\r\n6;ext=1\r\n, body\r\n0\r\nX-Trailer: dropped\r\n\r\n";
    let in_chunks =
        |path| request("POST", path, "Transfer-Encoding: chunked\r\nContent-Type: text/plain\r\n") + chunked;
    let expecting =
        |path| request("POST", path, "Content-Length: 4\r\nExpect: 100-continue\r\nContent-Type: text/plain\r\n");
    let large = "0123456789abcdef".repeat(200_000);
    let continued = "HTTP/1.1 100 Continue\r\n\r\n";
    vec![
        Case::new("a form of parts", [200, 200, 200, 200, 404], &[&multipart("/upload")]),
        Case::new(
            "a form without an end",
            [400, 400, 400, 400, 404],
            &[&multipart("/upload").replace("--edge--\r\n", "--edg.--\r\n")],
        ),
        Case::new(
            "a form that is called another",
            [400, 400, 415, 400, 404],
            &[&with_body("POST", "/upload", "text/plain", "x")],
        ),
        Case::new("an empty body", [200; 5], &[&with_body("POST", "/digest", "text/plain", "")]),
        Case::new("a body in chunks", [200; 5], &[&in_chunks("/digest")]),
        Case::new(
            "a body in two pieces",
            [200; 5],
            &[&request("POST", "/digest", "Content-Length: 8\r\n"), "half", "half"],
        ),
        Case::new("a large body", [200; 5], &[&with_body("POST", "/digest", "text/plain", &large)]),
        Case::new("an echo", [200; 5], &[&with_body("POST", "/echo", "text/plain", "echo")]),
        Case::new("an echo in chunks", [200; 5], &[&in_chunks("/echo")]).but(AT_HAND),
        Case::new("a large echo", [200; 5], &[&with_body("POST", "/echo", "text/plain", &large)]),
        Case::new("an announced body", [200; 5], &[]).methods(&["POST"]).steps(vec![
            send(expecting("/digest")),
            Step::Await(continued),
            send("body"),
        ]),
        Case::new("an announced body that nobody wants", [404; 5], &[&expecting("/nowhere")]),
        Case::new("an echo of what has come so far", [200, 0, 200, 200, 200], &[]).methods(&["POST"]).steps(vec![
            send(request("POST", "/echo", "Transfer-Encoding: chunked\r\n") + "5\r\nfirst\r\n"),
            Step::Await("first"),
            send("6\r\nsecond\r\n0\r\n\r\n"),
        ]),
    ]
}

/// Bodies of answers: streamed, large, compressed, events, and one that takes too long.
fn answers() -> Vec<Case> {
    let gzip = "Accept-Encoding: gzip\r\n";
    vec![
        Case::new("a stream", [200; 5], &[&get("/count/3")]).with("transfer-encoding", "chunked"),
        Case::new("a stream of nothing", [200; 5], &[&get("/count/0")]).but(AT_HAND),
        Case::new("a long stream", [200; 5], &[&get("/count/50000")]),
        Case::new("events", [200, 404, 404, 404, 404], &[&get("/events")]).with("content-type", "text/event-stream"),
        Case::new("a large answer", [200, 404, 404, 404, 404], &[&get("/large")]).with("content-length", "1100000"),
        Case::new("compressed", [200, 404, 404, 404, 404], &[&request("GET", "/large", gzip)])
            .with("content-encoding", "gzip"),
        Case::new("a compressed stream", [200; 5], &[&request("GET", "/count/2000", gzip)])
            .with("content-encoding", "gzip"),
        Case::new("too small to be compressed", [200; 5], &[&request("GET", "/", gzip)]).with("content-length", "16"),
        Case::new("too slow", [503, 404, 404, 404, 404], &[&get("/slow")]),
        Case::new("what was answered so far", [200, 404, 404, 404, 404], &[&get("/answers")]),
    ]
}

/// Several requests on one connection, and its end.
fn connections() -> Vec<Case> {
    let close = "Connection: close\r\n";
    vec![
        Case::new("three at once", [404; 5], &[&(get("/") + &get("/count/2") + &get("/nowhere"))]).methods(&["GET"; 3]),
        Case::new("one behind the other", [200; 5], &[]).methods(&["POST", "GET"]).steps(vec![
            send(with_body("POST", "/digest", "text/plain", "one")),
            Step::Await("bytes, "),
            send(get("/")),
        ]),
        Case::new("the last", [200; 5], &[&request("GET", "/", close)]),
        Case::new("a stream at last", [200; 5], &[&request("GET", "/count/100", close)]),
        Case::new("HTTP/1.0", [200; 5], &["GET / HTTP/1.0\r\n\r\n"]),
        Case::new("a stream of HTTP/1.0", [200; 5], &["GET /count/100 HTTP/1.0\r\n\r\n"]),
    ]
}

/// The framing that a GET would have had is told by one and not by the other.
const HEAD_IN_CHUNKS: &[(&str, &str)] = &[("transfer-encoding", "an answer to HEAD may have it or not (RFC 9112 6.1)")];
/// The body is of no known size, but all of it has come when the head is written.
const AT_HAND: &[(&str, &str)] = &[
    ("transfer-encoding", "hyper looks at the body's type alone, this server at what there is"),
    ("content-length", "what is there is counted"),
    ("vary", "tower-http's compression has no say where it sees a small size"),
];
/// The phrase of 422.
const RENAMED: &[(&str, &str)] = &[("reason", "RFC 9110 15.5.21 renamed it, the http crate has the older phrase")];
