//! The fuzzers' entries into a whole connection: any bytes, in any pieces, and whatever an application does.
//!
//! What comes out is held against the second reading of `http::fuzz` and a reader of responses that shares
//! nothing with the server. `fuzz/` calls the entries with bytes of its own making, the unit tests with those
//! of `tests/wire/`. No I/O but that of an answer's waker.

mod app;
mod judge;
mod replies;
mod rig;
mod script;
mod streamed;

/// Reads responses off a byte stream, by the letter: the wire tests' own.
#[path = "../../tests/wire_support/reply.rs"]
#[allow(unreachable_pub, missing_docs, dead_code, reason = "it is written for a test program")]
mod reply;

use crate::app::Application;
use crate::environ::Environ;
use crate::http::fuzz::pieces;
use crate::http::fuzz::reader::{self, Asked, End, Head, Sizes};
use crate::http::status::Status;
use crate::response::{Responded, StartResponse};

use super::Limits;
use rig::{Rig, State};
use script::Script;

/// Four bytes of parameters, then what a peer sends: how it is cut, and the limits. What the application is
/// asked, and how the connection ends, must be what the second reading says.
pub fn framing(data: &[u8]) {
    let ([how, head_max, body_max, rest_max], bytes) = pieces::split::<4>(data);
    let limits = limits(head_max, body_max, rest_max);
    let reading = reader::read(bytes, &sizes(&limits));
    let whole = converse(&limits, [bytes].into_iter(), &reading);
    let pieces = converse(&limits, pieces::pieces(how, bytes).into_iter(), &reading);
    assert_eq!(whole, pieces, "the same is said in any pieces");
}

/// Sixteen bytes of parameters, then what a peer sends: how it is cut, the limits, what the application does and
/// what else happens. Whatever does, the responses are whole, in order, and what was promised.
pub fn connection(data: &[u8]) {
    let script = Script::new(data);
    let reading = reader::read(&script.bytes, &sizes(&script.limits));
    let puppet = script.puppet();
    let mut plain = script.run_plainly(&puppet);
    let said_plainly = judge::judge(&script, &plain, &puppet, &reading);
    plain.finish(&puppet);
    let puppet = script.puppet();
    let mut run = script.run(&puppet);
    let said = judge::judge(&script, &run, &puppet, &reading);
    assert!(said_plainly.starts_with(&said), "the same is said in any pieces: {said_plainly:?}, {said:?}");
    assert!(!run.is_calm() || said == said_plainly, "and all of it, if nothing else happens");
    run.finish(&puppet);
}

/// Small limits, or the usual one for each zero.
fn limits(head_max: u8, body_max: u8, rest_max: u8) -> Limits {
    let mut limits = Limits::default();
    if head_max != 0 {
        // Enough for a method to be seen before its line is too long.
        limits.head.request_line_max = usize::from(head_max).max(8);
        limits.head.head_max = 48 + 8 * usize::from(head_max);
        limits.head.field_count_max = usize::from(head_max % 16);
    }
    if body_max != 0 {
        limits.body.body_max = u64::from(body_max);
        limits.drain_max = u64::from(body_max / 2);
    }
    if rest_max != 0 {
        limits.body.extension_max = usize::from(rest_max);
        limits.body.trailer_max = usize::from(rest_max);
        limits.body.trailer_count_max = usize::from(rest_max % 8);
        limits.turn_max = usize::from(rest_max % 4) + 1;
        limits.body_memory = 64 * u64::from(rest_max);
    }
    limits
}

fn sizes(limits: &Limits) -> Sizes {
    Sizes {
        request_line_max: limits.head.request_line_max,
        head_max: limits.head.head_max,
        field_count_max: limits.head.field_count_max,
        body_max: limits.body.body_max,
        extension_max: limits.body.extension_max,
        trailer_max: limits.body.trailer_max,
        trailer_count_max: limits.body.trailer_count_max,
    }
}

/// Holds one conversation against the reading. Answers the statuses and bodies of the final responses.
fn converse<'b>(
    limits: &Limits,
    pieces: impl Iterator<Item = &'b [u8]>,
    reading: &reader::Reading,
) -> Vec<(u16, Vec<u8>)> {
    let seen = Seen::default();
    let mut rig = Rig::new(&seen, limits.clone());
    for piece in pieces {
        rig.receive(piece);
    }
    let calls = seen.calls.take();
    let to_app: Vec<&Asked> = reading.requests.iter().filter(|asked| asked.head.target != b"*").collect();
    assert_eq!(calls.len(), to_app.len(), "as many calls as requests: {calls:?}, {reading:?}");
    for (call, asked) in calls.iter().zip(to_app) {
        call.compare(asked);
    }
    let mut finals = Vec::new();
    let mut rest = &rig.sent[..];
    for asked in &reading.requests {
        let reply = replies::read_final(&mut rest, &asked.head, false).expect("each request has its response");
        let status = if asked.head.target == b"*" { 204 } else { 200 };
        assert_eq!((reply.status, reply.close), (status, !asked.head.keep_alive), "{asked:?}");
        finals.push((reply.status, reply.body));
    }
    match &reading.end {
        End::Waits(head) => {
            replies::skip_interim(&mut rest, head.as_deref());
            assert_eq!((rig.state, rig.heard.refused.len()), (State::Open, 0), "nothing is wrong yet");
        }
        End::Refused(statuses, head) => {
            let reply = replies::read_refusal(&mut rest, head.as_deref(), reading.asks_for_head)
                .expect("a refusal has its response");
            assert!(statuses.contains(&reply.status) && reply.close, "{} is not one of {statuses:?}", reply.status);
            assert_eq!((rig.state, rig.heard.refused.len()), (State::Finished, 1), "it was the last response");
            finals.push((reply.status, reply.body));
        }
        End::Closes => assert_ne!(rig.state, State::Open, "the last response closes"),
    }
    assert!(rest.is_empty(), "nothing else is said: {:?}", String::from_utf8_lossy(rest));
    rig.finish();
    assert_eq!(rig.state, State::Closed, "a peer that has gone leaves nothing open");
    finals
}

/// An application that notes what it is asked, and answers at once.
#[derive(Default)]
struct Seen {
    calls: std::cell::RefCell<Vec<Call>>,
}

/// What an application was asked.
#[derive(Debug)]
struct Call {
    method: Vec<u8>,
    target: Vec<u8>,
    host: Option<Vec<u8>>,
    is_http10: bool,
    content_length: Option<u64>,
    body: Vec<u8>,
    /// Whether the body had not come when the application was called.
    is_streamed: bool,
}

impl Application for Seen {
    fn call<'r>(&self, environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        self.calls.borrow_mut().push(Call::of(environ));
        start_response.start(Status::OK).body("ok")
    }
}

impl Call {
    fn of(environ: &Environ<'_>) -> Call {
        for (key, value) in environ.iter() {
            assert_eq!(environ.get(&key.to_string()), Some(value), "{key} is found by its name");
        }
        Call {
            method: environ.request_method().to_vec(),
            target: environ.get("REQUEST_URI").unwrap_or_default().to_vec(),
            host: environ.get("HTTP_HOST").map(<[u8]>::to_vec),
            is_http10: environ.server_protocol() == b"HTTP/1.0",
            content_length: environ.content_length(),
            body: environ.input().bytes().to_vec(),
            is_streamed: environ.input().is_streamed(),
        }
    }

    /// The request that was read is the request that was asked.
    fn compare(&self, asked: &Asked) {
        self.compare_head(&asked.head, asked.body.len() as u64);
        assert_eq!(self.body, asked.body, "the body");
    }

    /// The same of a request whose body may have been cut off.
    fn compare_start(&self, asked: &Asked) {
        self.compare_head(&asked.head, asked.body.len() as u64);
        assert!(asked.body.starts_with(&self.body), "the beginning of the body");
    }

    fn compare_head(&self, head: &Head, body_size: u64) {
        assert_eq!((&self.method, &self.target), (&head.method, &head.target), "the request line");
        assert_eq!((&self.host, self.is_http10), (&head.host, head.is_http10), "host and version");
        let size = match head.framing {
            reader::Framing::None => None,
            reader::Framing::Chunked if self.is_streamed => None,
            reader::Framing::Length(size) => Some(size),
            reader::Framing::Chunked => Some(body_size),
        };
        assert_eq!(self.content_length, size, "the body's size");
    }
}

#[cfg(test)]
mod tests {
    use crate::http::fuzz::seeds;

    #[test]
    fn the_wire_cases_are_read_alike() {
        for bytes in seeds::wire_cases() {
            for parameters in [[0, 0, 0, 0], [1, 0, 0, 0], [5, 9, 3, 20], [200, 40, 40, 3]] {
                println!("{parameters:?} {}", bytes.escape_ascii());
                super::framing(&[&parameters, &bytes[..]].concat());
            }
        }
    }

    #[test]
    fn whatever_an_application_does_the_wire_cases_are_answered() {
        for (index, bytes) in seeds::wire_cases().into_iter().enumerate() {
            for events in (0..64).step_by(5) {
                let mixed = u8::try_from(index % 251).expect("it is small").wrapping_mul(37).wrapping_add(events);
                let outcomes = [0, 1, 2, 3, 4, 5, 6, 7].map(|offset| mixed.wrapping_add(offset));
                let admissions = if events % 3 == 0 { mixed } else { 0 };
                let parameters = [mixed, 0, 0, 0, events, mixed, admissions, 0];
                super::connection(&[&parameters, &outcomes, &bytes[..]].concat());
            }
        }
    }

    /// Each body is streamed, in each of the four ways, whatever else happens; with one of several windows among them.
    #[test]
    fn what_is_read_while_it_comes_is_returned_however_it_comes() {
        let own = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhelloPOST /b HTTP/1.1\r\nHost: h\r\n\
                    Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n";
        let mut inputs: Vec<(Vec<u8>, u8)> = seeds::wire_cases().into_iter().map(|bytes| (bytes, 0)).collect();
        inputs.extend([(own.to_vec(), 0), (own.to_vec(), 192), (own.to_vec(), 250)]);
        for (index, (bytes, filler)) in inputs.into_iter().enumerate() {
            for echo in 0..4 {
                for events in [0, 1, 3, 5, 9, 18, 35, 55] {
                    let how = u8::try_from(index % 251).expect("it is small").wrapping_mul(37).wrapping_add(events);
                    let parameters = [how, 0, 0, 0, events, how, 0b0101_0101, filler];
                    let echoes = [0, 1, 2, 3, 0, 1, 2, 3].map(|offset| (echo + offset) % 4);
                    super::connection(&[&parameters, &echoes, &bytes[..]].concat());
                }
            }
        }
    }
}
