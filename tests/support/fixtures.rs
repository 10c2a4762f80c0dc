//! Small applications, each with one behaviour or one broken rule of the contract.

use std::io;

use ringway::{Admission, Application, Environ, Pulled, Responded, Room, StartResponse, Status, Stream, blocks};

/// The application of this name, bundled or a fixture.
pub fn make(name: &str) -> Option<Box<dyn Application>> {
    if let Some(linked) = ringway::apps::bundled().into_iter().find(|linked| linked.name == name) {
        return Some((linked.make)());
    }
    Some(match name {
        "fixture:early" => Box::new(Early),
        "fixture:nobody204" => Box::new(nobody204),
        "fixture:s304" => Box::new(s304),
        "fixture:stream" => Box::new(stream),
        "fixture:short" => Box::new(short),
        "fixture:long" => Box::new(long),
        "fixture:crlf" => Box::new(crlf),
        "fixture:ownte" => Box::new(ownte),
        "fixture:badcl" => Box::new(badcl),
        "fixture:panic" => Box::new(panicking),
        "fixture:reads" => Box::new(reads),
        "fixture:later" => Box::new(later),
        "fixture:never" => Box::new(never),
        "fixture:large" => Box::new(large),
        "fixture:failing" => Box::new(failing),
        "fixture:file" => Box::new(file),
        _ => return None,
    })
}

/// Any application, in a worker with an asynchronous runtime.
pub struct Hosted<A>(pub A);

impl<A: Application> Application for Hosted<A> {
    fn call<'r>(&self, environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        self.0.call(environ, start_response)
    }

    fn admit(&self, environ: &Environ<'_>) -> Admission {
        self.0.admit(environ)
    }

    fn needs_runtime(&self) -> bool {
        true
    }
}

/// Refuses every body before it is read.
struct Early;

impl Application for Early {
    fn call<'r>(&self, _environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        start_response.start(Status::OK).body("no body")
    }

    fn admit(&self, _environ: &Environ<'_>) -> Admission {
        Admission::Refuse(Status::FORBIDDEN)
    }
}

fn nobody204<'r>(_environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    start_response.start(Status::NO_CONTENT).body("dropped")
}

fn s304<'r>(_environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    start_response.start(Status::NOT_MODIFIED).header("ETag", "\"tag\"").empty()
}

fn stream<'r>(_environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    start_response.start(Status::OK).header("Content-Type", "text/plain").stream(blocks(["one", "two", "three"]))
}

fn short<'r>(_environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    start_response.start(Status::OK).header("Content-Length", "10").stream(blocks(["01234"]))
}

fn long<'r>(_environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    start_response.start(Status::OK).header("Content-Length", "5").stream(blocks(["0123456789"]))
}

fn crlf<'r>(_environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    start_response.start(Status::OK).header("X-Split", "a\r\nSet-Cookie: b").body("never seen")
}

fn ownte<'r>(_environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    start_response.start(Status::OK).header("Transfer-Encoding", "chunked").body("never seen")
}

fn badcl<'r>(_environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    start_response.start(Status::OK).header("Content-Length", "5").body("not five bytes")
}

fn panicking<'r>(_environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    let _half_written = start_response.start(Status::OK).header("X-Half", "written");
    panic!("on purpose");
}

fn reads<'r>(environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    start_response.start(Status::OK).body(format!("body size {}", environ.input().size()))
}

/// Answers from another thread.
fn later<'r>(environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    let environ = environ.to_owned();
    let (responded, answer) = start_response.later();
    std::thread::spawn(move || {
        answer.respond(|start_response| {
            environ.with(|environ| start_response.start(Status::OK).body([b"later ", environ.path_info()].concat()))
        });
    });
    responded
}

/// Drops its answer.
fn never<'r>(_environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    start_response.later().0
}

/// As many bytes as the query says, by the way that the path says.
fn large<'r>(environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    let query = String::from_utf8_lossy(environ.query_string()).into_owned();
    let size: usize = query.parse().unwrap_or(100_000);
    let headers = start_response.start(Status::OK);
    match environ.path_info() {
        b"/owned" => headers.body_owned(pattern(size)),
        b"/static" => headers.body_static(LARGE.get(..size).unwrap_or(LARGE)),
        b"/stream" => headers.stream(blocks(pattern(size).chunks(5000).map(<[u8]>::to_vec).collect::<Vec<_>>())),
        _ => headers.body(pattern(size)),
    }
}

/// Bytes whose order can be told.
pub fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|index| b'a' + (index % 23) as u8).collect()
}

/// A stream that fails behind its first block.
fn failing<'r>(_environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    struct Failing(bool);
    impl Stream for Failing {
        fn pull(&mut self, room: &mut Room<'_>) -> io::Result<Pulled> {
            if std::mem::replace(&mut self.0, true) {
                return Err(io::Error::other("on purpose"));
            }
            room.put(b"first");
            Ok(Pulled::More)
        }
    }
    start_response.start(Status::OK).stream(Failing(false))
}

/// This very file.
fn file<'r>(_environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/fixtures.rs");
    match std::fs::File::open(path).and_then(|file| file.metadata().map(|metadata| (file, metadata.len()))) {
        Ok((file, size)) => start_response.start(Status::OK).file(file, 0, size),
        Err(error) => start_response.fail(error),
    }
}

static LARGE: &[u8] = &[b's'; 300_000];
