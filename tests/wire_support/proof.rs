//! Proves that the check can fail: a small honest server passes, and each of its deliberate faults is caught.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use super::wire_support::case::{Case, Ending, load_all, parse};
use super::wire_support::check::{check, run};
use super::wire_support::front_end::{End, Exchange, FrontEnd, Outcome};
use super::wire_support::socket::SocketFrontEnd;

const CASES: &str = r"
row 1: what the small server can do
app: echo:app
case: one
> GET / HTTP/1.1\r\nHost: h\r\n\r\n
< 200 keep
< header Content-Length: 25
< body GET / HTTP/1.1\r\nHost: h\r\n

case: body
> POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n
> hello
< 200 keep
< body hello

case: expect
> POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello
< 100?
< 200 keep
< body hello

case: expect-wait
> POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n
< 100
< open

case: head
> HEAD / HTTP/1.1\r\nHost: h\r\n\r\n
< 200 keep HEAD

case: pipelined
> GET /1 HTTP/1.1\r\nHost: h\r\n\r\n
> GET /2 HTTP/1.1\r\nHost: h\r\n\r\n
< 200 keep
< line GET /1 HTTP/1.1
< 200 keep
< line GET /2 HTTP/1.1

case: close
> GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n
< 200 close

case: bare-lf
> GET / HTTP/1.1\nHost: h\r\n\r\n
< 400 close
< no Allow
< body-some

case: part
> GET / HTTP/1.1\r\nHo
< open

case: nothing
>fin
< silent-close

case: half-closed
> GET / HTTP/1.1\r\nHost: h\r\n\r\n
>fin
< 200 keep

case: broken
> GET /break HTTP/1.1\r\nHost: h\r\n\r\n
< 200 abort
";

/// What is wrong with the small server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nothing,
    NoDate,
    TwoLengths,
    BodyToHead,
    AnswersPart,
    ReadsOnAfterClose,
    StaysOpenAfterClose,
    ClosesWhatItKeeps,
    ClosesUnannounced,
    MissesASplitLineEnd,
    TellsSegmentsApart,
    DropsThePipelined,
    SwapsThePipelined,
    WrongStatus,
    WrongBody,
    WrongLength,
    AllowsLf,
    ExtraField,
    LeavesTheBody,
    NoContinue,
    SpeaksAtTheEnd,
    CompletesTheBroken,
    ResetsAfterError,
    CountsRequests,
}

/// A server of a few lines: heads, Content-Length, 100-continue. Honest unless told otherwise.
struct Small {
    fault: Fault,
    input: Vec<u8>,
    output: Vec<u8>,
    end: End,
    segment_count: usize,
    request_count: usize,
    continued: bool,
}

impl Small {
    fn new(fault: Fault) -> Small {
        let (input, output, end) = (Vec::new(), Vec::new(), End::Open);
        Small { fault, input, output, end, segment_count: 0, request_count: 0, continued: false }
    }

    fn receive(&mut self, mut segment: &[u8]) {
        self.segment_count += 1;
        if self.fault == Fault::MissesASplitLineEnd && self.input.ends_with(b"\r\n\r") {
            segment = &segment[1..];
        }
        self.input.extend_from_slice(segment);
        while self.end == End::Open && self.request() {}
        if self.fault == Fault::AnswersPart
            && self.request_count > 0
            && self.input.starts_with(b"GET / HT")
            && self.end == End::Open
        {
            self.refuse();
        }
    }

    fn finish(&mut self) {
        if self.end == End::Open {
            self.end = End::Closed;
            if self.fault == Fault::SpeaksAtTheEnd {
                self.refuse();
            }
        }
    }

    /// Answers one complete request, or tells that there is none.
    fn request(&mut self) -> bool {
        let text = String::from_utf8_lossy(&self.input).into_owned();
        let lone = |(at, _): (usize, &str)| !text[..at].ends_with('\r');
        if self.fault != Fault::AllowsLf && text.match_indices('\n').any(lone) {
            self.refuse();
            return false;
        }
        let Some(head_size) = text.find("\r\n\r\n").map(|at| at + 4) else { return false };
        let head = &text[..head_size];
        let body_size = if head.contains("Content-Length: 5") { 5 } else { 0 };
        let expects = head.contains("Expect: 100-continue") && self.fault != Fault::NoContinue;
        if text.len() < head_size + body_size {
            if expects && !self.continued {
                self.continued = true;
                self.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            return false;
        }
        self.continued = false;
        let taken = head_size + if self.fault == Fault::LeavesTheBody { 0 } else { body_size };
        self.input.drain(..taken);
        self.request_count += 1;
        let body = if body_size == 0 { &head[..head.len() - 2] } else { &text[head_size..head_size + body_size] };
        self.answer(head, body);
        true
    }

    fn answer(&mut self, head: &str, body: &str) {
        let closes = head.contains("Connection: close");
        let mut body = body.to_owned();
        if self.fault == Fault::WrongBody {
            body = body.to_lowercase();
        }
        let size = body.len() + usize::from(self.fault == Fault::WrongLength);
        let status = if self.fault == Fault::WrongStatus { 203 } else { 200 };
        let mut answer = format!("HTTP/1.1 {status} OK\r\nServer: small\r\nContent-Length: {size}\r\n");
        if self.fault != Fault::NoDate {
            answer += "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        }
        if self.fault == Fault::TwoLengths {
            answer += &format!("Content-Length: {size}\r\n");
        }
        if self.fault == Fault::TellsSegmentsApart && self.segment_count > 1 {
            answer += "X-Cut: yes\r\n";
        }
        if self.fault == Fault::CountsRequests && self.request_count > 2 {
            answer = answer.replace("200 OK", "503 Busy");
        }
        if closes && self.fault != Fault::ClosesUnannounced {
            answer += "Connection: close\r\n";
        }
        answer += "\r\n";
        if !head.starts_with("HEAD") || self.fault == Fault::BodyToHead {
            answer += &body;
        }
        let breaks = head.starts_with("GET /break") && self.fault != Fault::CompletesTheBroken;
        if breaks {
            answer.truncate(answer.len() - 3);
        }
        match self.fault {
            Fault::SwapsThePipelined if head.contains("/2") => {
                self.output.splice(..0, answer.into_bytes()).for_each(drop)
            }
            Fault::DropsThePipelined if head.contains("/2") => {}
            _ => self.output.extend_from_slice(answer.as_bytes()),
        }
        if closes && !matches!(self.fault, Fault::ReadsOnAfterClose | Fault::StaysOpenAfterClose)
            || self.fault == Fault::ClosesWhatItKeeps
        {
            self.end = End::Closed;
        }
        if closes && self.fault == Fault::StaysOpenAfterClose {
            self.input = b"\0".to_vec();
        }
        if breaks {
            self.end = End::Aborted;
        }
    }

    fn refuse(&mut self) {
        let allow = if self.fault == Fault::ExtraField { "Allow: GET\r\n" } else { "" };
        let answer = format!(
            "HTTP/1.1 400 Bad Request\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: small\r\n{allow}\
             Connection: close\r\nContent-Length: 4\r\n\r\nBad\n"
        );
        self.output.extend_from_slice(answer.as_bytes());
        self.end = if self.fault == Fault::ResetsAfterError { End::Aborted } else { End::Closed };
    }
}

/// The small server in memory.
struct Memory(Fault);

impl FrontEnd for Memory {
    fn name(&self) -> &str {
        "memory"
    }

    fn sees_idle(&self) -> bool {
        true
    }

    fn exchange(&mut self, exchange: &Exchange<'_>) -> Outcome {
        let mut small = Small::new(self.0);
        for segment in exchange.segments {
            if small.end == End::Open {
                small.receive(segment);
            }
        }
        if exchange.fin {
            small.finish();
        }
        Outcome { bytes: small.output, end: small.end }
    }
}

/// The small server on a socket of its own, for as long as the process lives.
fn listen(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || serve(stream.unwrap(), fault));
        }
    });
    address
}

fn serve(mut stream: TcpStream, fault: Fault) {
    let mut small = Small::new(fault);
    let mut piece = [0; 4096];
    while small.end == End::Open {
        match stream.read(&mut piece) {
            Ok(0) => small.finish(),
            Ok(size) => small.receive(&piece[..size]),
            Err(_) => return,
        }
        let output = std::mem::take(&mut small.output);
        if stream.write_all(&output).is_err() {
            return;
        }
    }
    if small.end == End::Closed {
        stream.shutdown(Shutdown::Write).ok();
        while stream.read(&mut piece).is_ok_and(|size| size > 0) {}
    }
}

fn cases() -> Vec<Case> {
    parse("proof.http", CASES).unwrap_or_else(|refusal| panic!("{refusal}"))
}

/// All complaints about a server with this fault.
fn complaints(front_end: &mut dyn FrontEnd) -> Vec<String> {
    cases().iter().filter_map(|case| check(front_end, case).err()).collect()
}

/// Each fault, a case that must catch it, and what the complaint must say.
const FAULTS: &[(Fault, &str, &str)] = &[
    (Fault::NoDate, "1/one", "does not have exactly one Date"),
    (Fault::TwoLengths, "1/one", "two Content-Length fields"),
    (Fault::BodyToHead, "1/head", "malformed: it does not begin with"),
    (Fault::AnswersPart, "1/one", "with the start of another request behind"),
    (Fault::ReadsOnAfterClose, "1/close", "expected the connection to close in order, but it is Open"),
    (Fault::StaysOpenAfterClose, "1/close", "expected the connection to close in order, but it is Open"),
    (Fault::ClosesWhatItKeeps, "1/body", "the sentinel: expected 200 close, got nothing"),
    (Fault::ClosesUnannounced, "1/close", "doesn't say Connection: close"),
    (Fault::MissesASplitLineEnd, "1/one", "in pieces of 1 byte(s)"),
    (Fault::TellsSegmentsApart, "1/one", "expected the same bytes as when sent whole"),
    (Fault::DropsThePipelined, "1/pipelined", "response 2: expected 200 keep, got 200 which says Connection: close"),
    (Fault::SwapsThePipelined, "1/pipelined", "GET /1 HTTP/1.1"),
    (Fault::WrongStatus, "1/head", "expected 200 keep, got 203"),
    (Fault::WrongBody, "1/one", "expected the body"),
    (Fault::WrongLength, "1/one", "expected Content-Length: 25, got [\"26\"]"),
    (Fault::AllowsLf, "1/bare-lf", "expected 400 close, got 200"),
    (Fault::ExtraField, "1/bare-lf", "expected no Allow, got [\"GET\"]"),
    (Fault::LeavesTheBody, "1/body", "the sentinel: expected the body"),
    (Fault::NoContinue, "1/expect-wait", "expected 100, got nothing"),
    (Fault::SpeaksAtTheEnd, "1/nothing", "expected nothing more, got"),
    (Fault::CompletesTheBroken, "1/broken", "expected to be cut off, got a complete 200"),
    (Fault::ResetsAfterError, "1/bare-lf", "expected the connection to close in order, but it is Aborted"),
    (Fault::CountsRequests, "1/one", "twice back to back"),
];

#[test]
fn an_honest_server_passes_in_memory_and_over_a_socket() {
    assert_eq!(complaints(&mut Memory(Fault::Nothing)), Vec::<String>::new());
    let address = listen(Fault::Nothing);
    assert_eq!(complaints(&mut SocketFrontEnd::new("socket", |_: &str, _: &str| Some(address))), Vec::<String>::new());
}

#[test]
fn each_fault_is_caught_by_its_case_with_its_sentence() {
    for (fault, case, sentence) in FAULTS {
        let complaints = complaints(&mut Memory(*fault));
        let caught = complaints.iter().any(|complaint| complaint.contains(case) && complaint.contains(sentence));
        assert!(caught, "{fault:?} is not caught by {case} with {sentence:?}:\n{}", complaints.join("\n"));
    }
}

#[test]
fn faults_are_caught_over_a_socket_too() {
    // The others depend on how the kernel hands over segments, or make the client wait for its patience's end.
    for fault in [Fault::NoDate, Fault::BodyToHead, Fault::LeavesTheBody, Fault::CountsRequests] {
        let address = listen(fault);
        let found = complaints(&mut SocketFrontEnd::new("socket", |_: &str, _: &str| Some(address)));
        assert!(!found.is_empty(), "{fault:?}");
    }
}

#[test]
fn a_complaint_names_the_file_the_line_the_case_and_the_way() {
    let complaints = complaints(&mut Memory(Fault::WrongLength));
    let first = &complaints[0];
    assert!(first.starts_with("proof.http:7: 1/one (echo:app) over memory, whole\n"), "{first}");
    assert!(first.contains("HTTP/1.1 200 OK\\r\\n"), "{first}");
}

/// A server that does the same whatever it is asked.
struct Stubborn(End);

impl FrontEnd for Stubborn {
    fn name(&self) -> &str {
        "a stubborn server"
    }

    fn sees_idle(&self) -> bool {
        true
    }

    fn exchange(&mut self, _: &Exchange<'_>) -> Outcome {
        Outcome { bytes: Vec::new(), end: self.0 }
    }
}

#[test]
fn every_case_fails_a_server_that_never_answers_and_one_that_only_hangs_up() {
    for case in load_all().unwrap_or_else(|refusal| panic!("{refusal}")) {
        let silent = case.expected.iter().all(|expected| expected.optional);
        let waits = check(&mut Stubborn(End::Open), &case).is_ok();
        assert_eq!(waits, silent && case.ending == Ending::Open, "{}", case.name);
        let hangs_up = check(&mut Stubborn(End::Closed), &case).is_ok();
        assert_eq!(hangs_up, case.ending == Ending::Abort || silent && case.ending == Ending::Close, "{}", case.name);
    }
}

#[test]
#[should_panic(expected = "cases failed")]
fn a_run_with_failures_panics() {
    run(2, || Stubborn(End::Open));
}
