//! An application that does whatever it is told: each way to answer, and each rule of the contract broken once.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::rc::Rc;

use crate::app::{Admission, Application};
use crate::environ::Environ;
use crate::http::fuzz::reader::Head;
use crate::http::status::Status;
use crate::response::answer::Answer;
use crate::response::stream::{Pulled, Room, Stream, blocks};
use crate::response::{Headers, Responded, StartResponse};

use super::Call;
use super::streamed::{Answering, Echo, Shared};

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Small,
    Static,
    Owned,
    Spilled,
    File,
    Empty,
    NoContent,
    NotModified,
    ResetContent,
    OwnFields,
    Close,
    Chunks,
    Counted,
    CountedLong,
    CountedShort,
    Failing,
    FailingAtOnce,
    PanickingStream,
    Panic,
    Fail,
    Restarted,
    LaterRestarted,
    Middleware,
    LineBreak,
    OwnCoding,
    WrongLength,
    Now,
    Later,
    LaterStream,
    LaterDropped,
    LaterPanics,
    LaterLater,
}

/// What a client must see of an outcome.
pub(super) struct Promise {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// Whether it is closed behind the response.
    pub(super) closes: bool,
    /// Whether the response breaks off, with this much of a body at most.
    pub(super) breaks: bool,
    /// Whether it may, because something else has happened.
    pub(super) may_break: bool,
    /// Whether the response is the application's own.
    pub(super) is_own: bool,
    /// Whether the operator hears of a fault.
    pub(super) is_fault: bool,
}

/// The application.
pub(super) struct Puppet {
    outcomes: [u8; 8],
    admissions: u8,
    pub(super) shared: Rc<Shared>,
    admission_count: RefCell<usize>,
    /// Whether the next call is for a request whose body is streamed.
    is_streamed: Cell<bool>,
    pending: RefCell<Vec<(usize, Outcome, Answer)>>,
}

impl Outcome {
    pub(super) const ALL: [Outcome; 32] = [
        Outcome::Small,
        Outcome::Static,
        Outcome::Owned,
        Outcome::Spilled,
        Outcome::File,
        Outcome::Empty,
        Outcome::NoContent,
        Outcome::NotModified,
        Outcome::ResetContent,
        Outcome::OwnFields,
        Outcome::Close,
        Outcome::Chunks,
        Outcome::Counted,
        Outcome::CountedLong,
        Outcome::CountedShort,
        Outcome::Failing,
        Outcome::FailingAtOnce,
        Outcome::PanickingStream,
        Outcome::Panic,
        Outcome::Fail,
        Outcome::Restarted,
        Outcome::LaterRestarted,
        Outcome::Middleware,
        Outcome::LineBreak,
        Outcome::OwnCoding,
        Outcome::WrongLength,
        Outcome::Now,
        Outcome::Later,
        Outcome::LaterStream,
        Outcome::LaterDropped,
        Outcome::LaterPanics,
        Outcome::LaterLater,
    ];

    /// What a client must see of it in answer to a request with this head.
    pub(super) fn promise(self, head: &Head) -> Promise {
        let own = |status, body: &[u8]| Promise {
            status,
            body: body.to_vec(),
            closes: false,
            breaks: false,
            may_break: false,
            is_own: true,
            is_fault: false,
        };
        let fault = || Promise { is_own: false, is_fault: true, ..own(500, b"Internal Server Error\n") };
        let is_pulled = head.method != b"HEAD";
        match self {
            Outcome::Small | Outcome::Now | Outcome::Later => own(200, b"small"),
            Outcome::Static => own(200, LARGE),
            Outcome::Owned => own(201, LARGE),
            Outcome::Spilled => own(200, &LARGE.repeat(3)),
            Outcome::File => own(200, &[b'f'; 9000]),
            Outcome::Empty => own(404, b""),
            Outcome::NoContent => own(204, b""),
            Outcome::NotModified => own(304, b""),
            Outcome::ResetContent => own(205, b""),
            Outcome::OwnFields | Outcome::Restarted | Outcome::LaterRestarted => own(200, b"own"),
            Outcome::Middleware => own(202, b"replaced"),
            Outcome::Close => Promise { closes: true, ..own(200, b"close") },
            // HTTP/1.0 has no chunks, and so the end of the connection ends the body; but HEAD has none.
            Outcome::Chunks | Outcome::LaterStream => {
                Promise { closes: head.is_http10 && is_pulled, ..own(200, STREAMED) }
            }
            Outcome::Counted => own(200, STREAMED),
            Outcome::CountedLong => Promise { is_fault: is_pulled, ..own(200, &STREAMED[..5]) },
            Outcome::CountedShort => Promise { breaks: is_pulled, is_fault: is_pulled, ..own(200, STREAMED) },
            Outcome::Failing | Outcome::PanickingStream => Promise {
                breaks: is_pulled,
                is_fault: is_pulled,
                closes: head.is_http10 && is_pulled,
                ..own(200, b"first")
            },
            Outcome::FailingAtOnce => {
                Promise { breaks: is_pulled, is_fault: is_pulled, closes: head.is_http10 && is_pulled, ..own(200, b"") }
            }
            Outcome::Fail
            | Outcome::Panic
            | Outcome::LineBreak
            | Outcome::OwnCoding
            | Outcome::WrongLength
            | Outcome::LaterDropped
            | Outcome::LaterPanics
            | Outcome::LaterLater => fault(),
        }
    }
}

impl Puppet {
    pub(super) fn new(outcomes: [u8; 8], admissions: u8) -> Puppet {
        Puppet {
            outcomes,
            admissions,
            shared: Rc::default(),
            admission_count: RefCell::default(),
            is_streamed: Cell::default(),
            pending: RefCell::default(),
        }
    }

    /// What becomes of the call with this index.
    pub(super) fn outcome(&self, index: usize) -> Outcome {
        Outcome::ALL[usize::from(self.outcomes[index % 8]) % Outcome::ALL.len()]
    }

    /// The status with which the body with this index is refused, `None` for one that is read.
    pub(super) fn admission(&self, index: usize) -> Option<u16> {
        match self.admissions >> (index % 4 * 2) & 3 {
            2 => Some(403),
            3 => Some(500),
            _ => None,
        }
    }

    /// Whether the body with this index is read while it comes.
    pub(super) fn streams(&self, index: usize) -> bool {
        self.admissions >> (index % 4 * 2) & 3 == 1
    }

    /// What becomes of the call with this index where its body is streamed.
    pub(super) fn echo(&self, index: usize, method: &[u8]) -> Echo {
        Echo::of(self.outcomes[index % 8], method)
    }

    /// Completes what was promised for later, and lets who waits read on. Answers whether there was any.
    pub(super) fn complete_pending(&self) -> bool {
        let pending = self.pending.take();
        let has_any = !pending.is_empty();
        let was_waiting = self.shared.give_leave();
        for (index, outcome, answer) in pending {
            match outcome {
                Outcome::Later => {
                    answer.respond(|start_response| begin(start_response, Status::OK, index).body("small"))
                }
                Outcome::LaterStream => {
                    answer
                        .respond(|start_response| begin(start_response, Status::OK, index).stream(blocks([STREAMED])));
                }
                Outcome::LaterPanics => answer.respond(|_| panic!("on purpose")),
                Outcome::LaterLater => answer.respond(|start_response| start_response.later().0),
                _ => drop(answer),
            }
        }
        has_any || was_waiting
    }
}

impl Application for Puppet {
    fn call<'r>(&self, environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        let index = self.shared.calls.borrow().len();
        self.shared.calls.borrow_mut().push(Call::of(environ));
        if self.is_streamed.take() {
            let echo = self.echo(index, environ.request_method());
            // It is noted as it is read.
            self.shared.calls.borrow_mut()[index].body.clear();
            return start_response.when(Box::new(Answering::new(&self.shared, index, echo, environ.input_stream())));
        }
        let outcome = self.outcome(index);
        match outcome {
            Outcome::Panic => {
                let _half_written = begin(start_response, Status::OK, index);
                panic!("on purpose");
            }
            Outcome::Fail => start_response.fail("a reason\r\nin two lines"),
            Outcome::Now => {
                let (responded, answer) = start_response.later();
                answer.respond(|start_response| begin(start_response, Status::OK, index).body("small"));
                responded
            }
            Outcome::Later
            | Outcome::LaterStream
            | Outcome::LaterDropped
            | Outcome::LaterPanics
            | Outcome::LaterLater => {
                let (responded, answer) = start_response.later();
                self.pending.borrow_mut().push((index, outcome, answer));
                responded
            }
            // The answer that is dropped here comes in, late and for nothing.
            Outcome::LaterRestarted => begin(start_response.later().0.restart(), Status::OK, index).body("own"),
            Outcome::Restarted => {
                let first = begin(start_response, Status::ACCEPTED, index).body(LARGE);
                begin(first.restart(), Status::OK, index).body("own")
            }
            Outcome::Middleware => {
                let first = begin(start_response, Status::ACCEPTED, index).body(LARGE).header("X-Late", "1");
                assert_eq!(first.body_bytes().map_or(9000, |body| body.len()) % 9000, 0, "the body, unless it is HEAD");
                first.replace_body().body("replaced")
            }
            outcome => answer(begin(start_response, status_of(outcome), index), outcome),
        }
    }

    fn admit(&self, _environ: &Environ<'_>) -> Admission {
        let index = self.admission_count.replace_with(|count| *count + 1);
        match self.admission(index) {
            None if self.streams(index) => {
                self.is_streamed.set(true);
                Admission::Stream
            }
            None => Admission::Buffer,
            Some(403) => Admission::Refuse(Status::FORBIDDEN),
            Some(_) => panic!("on purpose"),
        }
    }
}

fn begin(start_response: StartResponse<'_>, status: Status, index: usize) -> Headers<'_> {
    start_response.start(status).header("X-Call", index.to_string())
}

fn status_of(outcome: Outcome) -> Status {
    match outcome {
        Outcome::Owned => Status::CREATED,
        Outcome::Empty => Status::NOT_FOUND,
        Outcome::NoContent => Status::NO_CONTENT,
        Outcome::NotModified => Status::NOT_MODIFIED,
        Outcome::ResetContent => Status::RESET_CONTENT,
        _ => Status::OK,
    }
}

/// The outcomes that answer at once, without ado.
fn answer(headers: Headers<'_>, outcome: Outcome) -> Responded<'_> {
    match outcome {
        Outcome::Owned => headers.body_owned(LARGE.to_vec()),
        Outcome::Empty => headers.empty(),
        Outcome::NoContent | Outcome::ResetContent => headers.body("dropped"),
        Outcome::NotModified => headers.header("Content-Length", "9").empty(),
        Outcome::Static => headers.body_static(LARGE),
        Outcome::Spilled => headers.body(LARGE.repeat(3)),
        Outcome::File => headers.file(nothing(), 0, 9000),
        Outcome::OwnFields => headers
            .header("Date", "Sun, 06 Nov 1994 08:49:37 GMT")
            .headers([("Server", "mine"), ("Content-Length", "3")])
            .body_owned("own"),
        Outcome::Close => headers.close().body("close"),
        Outcome::Chunks => headers.stream(blocks(["", "stre", "", "amed"])),
        Outcome::Counted => headers.header("Content-Length", "8").stream(blocks(["stre", "amed"])),
        Outcome::CountedLong => headers.header("Content-Length", "5").stream(blocks(["stre", "amed"])),
        Outcome::CountedShort => headers.header("Content-Length", "9").stream(blocks(["stre", "amed"])),
        Outcome::Failing => headers.stream(Breaking { pull_count: 0, panics: false }),
        Outcome::FailingAtOnce => headers.stream(Breaking { pull_count: 2, panics: false }),
        Outcome::PanickingStream => headers.stream(Breaking { pull_count: 0, panics: true }),
        Outcome::LineBreak => headers.header("X-Split", "a\r\nSet-Cookie: b").body("never seen"),
        Outcome::OwnCoding => headers.header("Transfer-Encoding", "chunked").body("never seen"),
        Outcome::WrongLength => headers.header("Content-Length", "5").body("not five bytes"),
        _ => headers.body("small"),
    }
}

/// A stream that starves, gives one block, and breaks.
struct Breaking {
    pull_count: usize,
    panics: bool,
}

impl Stream for Breaking {
    fn pull(&mut self, room: &mut Room<'_>) -> io::Result<Pulled> {
        self.pull_count += 1;
        match self.pull_count {
            1 => {}
            2 => drop(room.put(b"first")),
            _ if self.panics => panic!("on purpose"),
            _ => return Err(io::Error::other("on purpose\r\nin two lines")),
        }
        Ok(Pulled::More)
    }
}

/// A file whose bytes nobody reads here.
fn nothing() -> File {
    File::open("/dev/null").expect("there is one")
}

static LARGE: &[u8] = &[b'l'; 9000];
const STREAMED: &[u8] = b"streamed";
