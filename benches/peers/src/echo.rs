//! A connection whose requests have bodies: each body is its own answer, sent from where it was received.
//!
//! A connection has one memory, in which a request lies as it came. The answer's head is rendered backwards
//! from the first byte of the body, over the request's head and, where that was shorter, over the room in
//! front of it. So an answer is one contiguous slice, and no byte of a large body is ever copied:
//!
//! ```text
//!   room | POST /echo HTTP/1.1 ... | body                    the request, received
//!              HTTP/1.1 200 OK ... | body                    the answer, to be sent
//! ```
//!
//! Small requests come in buffers that the connections share, because hot memory is worth the copy of a
//! kilobyte. A connection that has once sent a large body [receives into its own memory](Echo::is_large) for
//! the rest of its life. Answers are sent one at a time, as a batch of bodies would have to be gathered.
//! This module performs no I/O.

use crate::date::date;
use crate::{Malformed, RECEIVE_SIZE, asks_to_close};
use std::mem::MaybeUninit;
use std::ops::Range;

/// Bytes kept free in front of a request, so that the answer's head fits whatever the request's head was.
const ROOM: usize = 256;

/// The largest body that is echoed.
pub const BODY_SIZE_MAX: usize = 64 * 1024 * 1024;

/// The heads of all answers without the end of their last field, and the answer to a request without a body.
pub struct Replies {
    keep_alive: Reply,
    farewell: Reply,
}

struct Reply {
    /// The whole answer to a request without a body.
    hello: Vec<u8>,
    /// The head of an echo, up to the value of its Content-Length.
    echo: Vec<u8>,
}

/// One connection above the socket.
///
/// Invariants: `ROOM <= start <= filled`, and `filled <= memory.len()` once there is memory; while `outgoing` is not empty, its bytes may be in
/// the kernel, and the memory neither moves nor changes.
pub struct Echo {
    memory: Vec<u8>,
    /// Where the first request not yet answered begins.
    start: usize,
    /// The end of what was received.
    filled: usize,
    /// The request at `start`, once its head is whole.
    request: Option<Request>,
    /// What is left of the answer that is being sent.
    outgoing: Range<usize>,
    /// Bytes received while an answer was being sent.
    held: Vec<u8>,
    is_large: bool,
    is_closing: bool,
}

#[derive(Clone, Copy)]
struct Request {
    head_size: usize,
    /// `None` is a request without Content-Length.
    body_size: Option<usize>,
    closes: bool,
}

impl Replies {
    /// Renders what all answers share; the date is that of the start, which a floor may get away with.
    #[allow(clippy::new_without_default, reason = "a date is no default")]
    pub fn new() -> Replies {
        let date = date();
        Replies { keep_alive: Reply::new(&date, ""), farewell: Reply::new(&date, "Connection: close\r\n") }
    }
}

impl Reply {
    fn new(date: &str, connection: &str) -> Reply {
        let head = |kind: &str| {
            format!(
                "HTTP/1.1 200 OK\r\nServer: ringway\r\nDate: {date}\r\n{connection}Content-Type: {kind}\r\nContent-Length: "
            )
        };
        let hello = format!("{}13\r\n\r\nHello, World!", head("text/plain")).into_bytes();
        let echo = head("application/octet-stream").into_bytes();
        // The longest head of an echo ends in the digits of the largest body and two line ends.
        assert!(hello.len() <= ROOM && echo.len() + 20 + 4 <= ROOM, "an answer's head fits the room");
        Reply { hello, echo }
    }
}

impl Default for Echo {
    fn default() -> Echo {
        Echo {
            memory: Vec::new(),
            start: ROOM,
            filled: ROOM,
            request: None,
            outgoing: 0..0,
            held: Vec::new(),
            is_large: false,
            is_closing: false,
        }
    }
}

impl Echo {
    /// Takes bytes that came in a shared buffer.
    pub fn receive(&mut self, bytes: &[u8], replies: &Replies) -> Result<(), Malformed> {
        if !self.outgoing.is_empty() {
            self.held.extend_from_slice(bytes);
            return if self.held.len() > BODY_SIZE_MAX { Err(Malformed) } else { Ok(()) };
        }
        self.reserve(self.filled - self.start + bytes.len());
        self.memory[self.filled..self.filled + bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
        self.advance(replies)
    }

    /// Takes `size` bytes that were received into the front of [`space`](Self::space).
    pub fn received(&mut self, size: usize, replies: &Replies) -> Result<(), Malformed> {
        assert!(self.outgoing.is_empty() && size <= self.memory.len() - self.filled, "received into the space");
        self.filled += size;
        self.advance(replies)
    }

    /// Notes that `size` bytes of [`outgoing`](Self::outgoing) were sent, and goes on to the next request with
    /// the last of them.
    pub fn sent(&mut self, size: usize, replies: &Replies) -> Result<(), Malformed> {
        assert!(size <= self.outgoing.len(), "more was sent than was owed");
        self.outgoing.start += size;
        if !self.outgoing.is_empty() || self.is_closing {
            return Ok(());
        }
        if self.start == self.filled {
            (self.start, self.filled) = (ROOM, ROOM);
        }
        if !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            return self.receive(&held, replies);
        }
        if self.start == self.filled { Ok(()) } else { self.advance(replies) }
    }

    /// Where the next receive of a large connection writes: never empty, and in place until that receive is
    /// noted by [`received`](Self::received).
    pub fn space(&mut self) -> &mut [u8] {
        assert!(self.outgoing.is_empty(), "nothing is received into memory that is being sent");
        self.reserve(self.filled - self.start + self.missing_size().max(1));
        &mut self.memory[self.filled..]
    }

    /// Starts over with a new connection in the memory of the old one.
    pub fn reset(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        *self = Echo { memory, ..Echo::default() };
    }

    /// The next bytes to send, empty if nothing is owed.
    pub fn outgoing(&self) -> &[u8] {
        &self.memory[self.outgoing.clone()]
    }

    /// Bytes of the present request's body that have not been received; 0 while its head is not whole.
    pub fn missing_size(&self) -> usize {
        self.request.map_or(0, |request| (self.start + request.size()).saturating_sub(self.filled))
    }

    /// Whether a body larger than a shared buffer was seen, after which the connection receives into its own.
    pub fn is_large(&self) -> bool {
        self.is_large
    }

    /// Whether the answer owed, or sent, is the last.
    pub fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// Parses the head if it is not known yet, and renders the answer once the body is whole.
    fn advance(&mut self, replies: &Replies) -> Result<(), Malformed> {
        let request = match self.request {
            Some(request) => request,
            None => match parse(&self.memory[self.start..self.filled])? {
                Some(request) => *self.request.insert(request),
                None if self.filled - self.start > RECEIVE_SIZE => return Err(Malformed),
                None => return Ok(()),
            },
        };
        if self.filled - self.start < request.size() {
            // Room for the next head as well, so that the requests to come arrive whole in this memory.
            if request.size() > RECEIVE_SIZE {
                self.is_large = true;
                self.reserve(request.size() + RECEIVE_SIZE);
            }
            return Ok(());
        }
        self.answer(request, replies);
        Ok(())
    }

    /// Renders the answer's head, or all of it, so that it ends where the request's head ends.
    fn answer(&mut self, request: Request, replies: &Replies) {
        let reply = if request.closes { &replies.farewell } else { &replies.keep_alive };
        let body_start = self.start + request.head_size;
        let head_start = match request.body_size {
            None => self.put_before(body_start, &reply.hello),
            Some(body_size) => {
                let mut digits_start = self.put_before(body_start, b"\r\n\r\n");
                let mut rest = body_size;
                loop {
                    digits_start = self.put_before(digits_start, &[b'0' + (rest % 10) as u8]);
                    rest /= 10;
                    if rest == 0 {
                        break;
                    }
                }
                self.put_before(digits_start, &reply.echo)
            }
        };
        self.start += request.size();
        self.outgoing = head_start..self.start;
        self.request = None;
        self.is_closing = request.closes;
    }

    fn put_before(&mut self, end: usize, bytes: &[u8]) -> usize {
        self.memory[end - bytes.len()..end].copy_from_slice(bytes);
        end - bytes.len()
    }

    /// Makes the memory hold a request of `size` bytes, at its front if it must grow or is full behind.
    fn reserve(&mut self, size: usize) {
        if self.start + size <= self.memory.len() {
            return;
        }
        let held_size = self.filled - self.start;
        if self.memory.len() < ROOM + size {
            let mut memory = vec![0; ROOM + size.next_multiple_of(4096)];
            if held_size > 0 {
                memory[ROOM..ROOM + held_size].copy_from_slice(&self.memory[self.start..self.filled]);
            }
            self.memory = memory;
        } else {
            self.memory.copy_within(self.start..self.filled, ROOM);
        }
        (self.start, self.filled) = (ROOM, ROOM + held_size);
    }
}

impl Request {
    fn size(&self) -> usize {
        self.head_size + self.body_size.unwrap_or(0)
    }
}

/// Parses a head; `None` is one that is not whole.
fn parse(bytes: &[u8]) -> Result<Option<Request>, Malformed> {
    let mut fields = [const { MaybeUninit::uninit() }; 64];
    let mut request = httparse::Request::new(&mut []);
    let head_size = match request.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(httparse::Status::Complete(head_size)) => head_size,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Malformed),
    };
    let mut body_size = None;
    for field in request.headers.iter() {
        if field.name.eq_ignore_ascii_case("content-length") {
            let text = str::from_utf8(field.value).map_err(|_| Malformed)?;
            let size: usize = text.parse().map_err(|_| Malformed)?;
            if size > BODY_SIZE_MAX || body_size.is_some() {
                return Err(Malformed);
            }
            body_size = Some(size);
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(Malformed);
        }
    }
    Ok(Some(Request { head_size, body_size, closes: asks_to_close(&request) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(body: &[u8], connection: &str) -> Vec<u8> {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{connection}Content-Length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    }

    /// Sends in odd steps all that is owed, and all that becomes owed by that.
    fn drain(echo: &mut Echo, replies: &Replies, sent: &mut Vec<u8>) {
        while !echo.outgoing().is_empty() {
            let part = &echo.outgoing()[..echo.outgoing().len().min(4099)];
            sent.extend_from_slice(part);
            echo.sent(part.len(), replies).unwrap();
        }
    }

    fn expected(replies: &Replies, bodies: &[&[u8]], last: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        for body in bodies {
            all.extend_from_slice(&replies.keep_alive.echo);
            all.extend_from_slice(format!("{}\r\n\r\n", body.len()).as_bytes());
            all.extend_from_slice(body);
        }
        [&all, last].concat()
    }

    #[test]
    fn echoes_each_body_at_every_split_and_while_answers_are_sent() {
        let replies = Replies::new();
        let input = [&post(b"one", "")[..], &post(b"", ""), b"GET / HTTP/1.0\r\n\r\n", b"ignored"].concat();
        let expected = expected(&replies, &[b"one", b""], &replies.farewell.hello);
        for split in 0..input.len() {
            for drains_between in [true, false] {
                let mut echo = Echo::default();
                let mut sent = Vec::new();
                echo.receive(&input[..split], &replies).unwrap();
                if drains_between {
                    drain(&mut echo, &replies, &mut sent);
                }
                if !echo.is_closing() {
                    echo.receive(&input[split..], &replies).unwrap();
                }
                drain(&mut echo, &replies, &mut sent);
                assert!(echo.is_closing() && sent == expected, "split at {split}");
            }
        }
    }

    #[test]
    fn a_large_body_goes_on_in_the_connections_own_memory() {
        let replies = Replies::new();
        let body: Vec<u8> = (0..100_000_u32).map(|index| index as u8).collect();
        let input = [post(&body, ""), post(&body[1..], ""), post(b"last", "Connection: close\r\n")].concat();
        for step in [1_000, RECEIVE_SIZE, input.len()] {
            let mut echo = Echo::default();
            let mut sent = Vec::new();
            let mut rest = &input[..];
            while !rest.is_empty() {
                if echo.is_large() {
                    let space = echo.space();
                    let size = space.len().min(rest.len()).min(step);
                    space[..size].copy_from_slice(&rest[..size]);
                    rest = &rest[size..];
                    echo.received(size, &replies).unwrap();
                } else {
                    let size = rest.len().min(step).min(RECEIVE_SIZE);
                    echo.receive(&rest[..size], &replies).unwrap();
                    rest = &rest[size..];
                }
                drain(&mut echo, &replies, &mut sent);
            }
            let farewell = [&replies.farewell.echo[..], b"4\r\n\r\nlast"].concat();
            assert!(echo.is_large() && echo.is_closing(), "steps of {step}");
            assert!(sent == expected(&replies, &[&body, &body[1..]], &farewell), "steps of {step}");
        }
    }

    #[test]
    fn a_reset_keeps_the_memory_and_nothing_else() {
        let replies = Replies::new();
        let mut echo = Echo::default();
        echo.receive(&post(&[b'x'; 50_000], "")[..20_000], &replies).unwrap();
        let size = echo.memory.len();
        echo.reset();
        assert!(!echo.is_large() && echo.missing_size() == 0 && echo.memory.len() == size);
        echo.receive(&post(b"new", ""), &replies).unwrap();
        assert!(echo.outgoing().ends_with(b"new"));
    }

    #[test]
    fn refuses_what_it_cannot_frame() {
        for wrong in [
            "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "\0\0\0\0",
        ] {
            assert!(Echo::default().receive(wrong.as_bytes(), &Replies::new()).is_err(), "{wrong}");
        }
    }
}
