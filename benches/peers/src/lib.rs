//! What the two floors share: the canned answer, the exchange of one connection, and the listener.
//!
//! A floor is the least that a server can do for a request: parse its head with httparse and send an
//! answer rendered before the first connection. It has no limits beyond its buffers, no deadlines, no
//! request bodies and no interface, so what it costs is the kernel's price. Sharing everything here leaves
//! the floors with one difference, which is how they ask the kernel.
//! Only [`listen`] performs I/O.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::process::ExitCode;

/// Bytes that one receive may bring, and the most that an unfinished head may hold.
pub const RECEIVE_SIZE: usize = 16 * 1024;

/// What the command line asked for.
pub struct Arguments {
    /// The loopback port to listen on.
    pub port: u16,
    /// The body of every answer.
    pub body: Vec<u8>,
}

/// Every answer a floor can give, rendered once.
///
/// The memory is the keep-alive answer many times over, followed by one that says `Connection: close`.
/// So any number of answers in order, with or without the last goodbye, is one contiguous slice, and a
/// pipelined batch is one send without a copy.
pub struct Answers {
    bytes: Vec<u8>,
    answer_size: usize,
    keep_alive_size: usize,
}

/// One connection's state above the socket: the start of an unfinished head, and the answers it is owed.
///
/// Invariant: `held` is empty or a strict prefix of a request head; `owed_size` counts the farewell's bytes
/// if `farewell` is set.
#[derive(Default)]
pub struct Exchange {
    held: Vec<u8>,
    owed_size: usize,
    farewell: bool,
}

/// The peer sent something that is not the head of a request, or a head larger than [`RECEIVE_SIZE`].
#[derive(Debug)]
pub struct Malformed;

/// Runs a floor by its command line: `NAME PORT [--body N]`.
pub fn run(name: &str, serve: impl FnOnce(TcpListener, Answers) -> io::Result<()>) -> ExitCode {
    let Some(arguments) = Arguments::parse(std::env::args().skip(1)) else {
        eprintln!("usage: {name} PORT [--body BYTES]");
        return ExitCode::from(2);
    };
    let outcome = listen(arguments.port).and_then(|listener| {
        eprintln!("{name}: http://{}", listener.local_addr()?);
        serve(listener, Answers::new(&arguments.body))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: port {}: {error}", arguments.port);
            ExitCode::FAILURE
        }
    }
}

/// Listens on loopback with a queue deep enough for a generator that opens all its connections at once.
///
/// TCP_NODELAY is set here because accepted sockets inherit it, which saves a call for each of them.
pub fn listen(port: u16) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open for the whole block, and the option's value outlives the call. A second
    // listen(2) only replaces the length of the queue, for which the standard library has no argument.
    let failed = unsafe {
        let size = size_of_val(&on) as libc::socklen_t;
        libc::setsockopt(listener.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, (&raw const on).cast(), size) < 0
            || libc::listen(listener.as_raw_fd(), 4096) < 0
    };
    if failed { Err(io::Error::last_os_error()) } else { Ok(listener) }
}

impl Arguments {
    /// Reads `PORT [--body N]`; `None` is anything else.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Option<Arguments> {
        let port = words.next()?.parse().ok()?;
        let body = match words.next().as_deref() {
            None => b"Hello, World!".to_vec(),
            Some("--body") => vec![b'x'; words.next()?.parse().ok()?],
            Some(_) => return None,
        };
        words.next().is_none().then_some(Arguments { port, body })
    }
}

impl Answers {
    /// Renders the answers; the date is that of the start, which a floor may get away with.
    pub fn new(body: &[u8]) -> Answers {
        let keep_alive = render(body, "");
        let farewell = render(body, "Connection: close\r\n");
        let count = (RECEIVE_SIZE / keep_alive.len()).max(1);
        let mut bytes = keep_alive.repeat(count);
        let keep_alive_size = bytes.len();
        bytes.extend_from_slice(&farewell);
        Answers { bytes, answer_size: keep_alive.len(), keep_alive_size }
    }

    fn farewell_size(&self) -> usize {
        self.bytes.len() - self.keep_alive_size
    }
}

impl Exchange {
    /// Takes received bytes and counts the complete heads in them as answers owed.
    ///
    /// Bytes after a request that asks to close are ignored, as the connection will not outlive its answer.
    pub fn receive(&mut self, bytes: &[u8], answers: &Answers) -> Result<(), Malformed> {
        if self.held.is_empty() {
            let rest = self.count(bytes, answers)?;
            // The common case leaves nothing, and so it neither copies nor allocates.
            if !rest.is_empty() {
                self.held.extend_from_slice(rest);
            }
        } else {
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(bytes);
            let rest_size = self.count(&held, answers)?.len();
            held.drain(..held.len() - rest_size);
            self.held = held;
        }
        if self.held.len() > RECEIVE_SIZE { Err(Malformed) } else { Ok(()) }
    }

    /// Notes that `size` bytes of [`outgoing`](Self::outgoing) were sent.
    pub fn sent(&mut self, size: usize) {
        assert!(size <= self.owed_size, "more was sent than was owed");
        self.owed_size -= size;
    }

    /// The next bytes to send, empty if nothing is owed.
    ///
    /// Slices are taken from the end of the answers, so that they are in phase whatever was sent before;
    /// only a debt larger than the whole memory has to find its phase and comes in several slices.
    pub fn outgoing<'a>(&self, answers: &'a Answers) -> &'a [u8] {
        let end = if self.farewell { answers.bytes.len() } else { answers.keep_alive_size };
        match end.checked_sub(self.owed_size) {
            Some(start) => &answers.bytes[start..end],
            None => {
                let keep_alive_owed = self.owed_size - if self.farewell { answers.farewell_size() } else { 0 };
                let owed_of_first = keep_alive_owed % answers.answer_size;
                let start = if owed_of_first == 0 { 0 } else { answers.answer_size - owed_of_first };
                &answers.bytes[start..answers.keep_alive_size]
            }
        }
    }

    /// Bytes of answers not yet sent.
    pub fn owed_size(&self) -> usize {
        self.owed_size
    }

    /// Whether the last answer owed, or sent, says that the connection closes after it.
    pub fn is_closing(&self) -> bool {
        self.farewell
    }

    /// Counts the complete heads at the front of `bytes` and returns what is left of them.
    fn count<'b>(&mut self, mut bytes: &'b [u8], answers: &Answers) -> Result<&'b [u8], Malformed> {
        while !bytes.is_empty() && !self.farewell {
            // Uninitialised, because clearing 64 fields would cost more than parsing three.
            let mut fields = [const { MaybeUninit::uninit() }; 64];
            let mut request = httparse::Request::new(&mut []);
            match request.parse_with_uninit_headers(bytes, &mut fields) {
                Ok(httparse::Status::Complete(head_size)) => {
                    self.farewell = asks_to_close(&request);
                    self.owed_size += if self.farewell { answers.farewell_size() } else { answers.answer_size };
                    bytes = &bytes[head_size..];
                }
                Ok(httparse::Status::Partial) => return Ok(bytes),
                Err(_) => return Err(Malformed),
            }
        }
        Ok(&[])
    }
}

fn asks_to_close(request: &httparse::Request<'_, '_>) -> bool {
    request.version == Some(0)
        || request
            .headers
            .iter()
            .any(|field| field.name.eq_ignore_ascii_case("connection") && field.value.eq_ignore_ascii_case(b"close"))
}

/// One answer of the same fields and nearly the same size as the server's, so that the generator's work is equal.
fn render(body: &[u8], connection: &str) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nServer: ringway\r\nDate: {}\r\n{connection}Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        date(),
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer
}

/// The present as an IMF-fixdate (RFC 9110, section 5.6.7).
fn date() -> String {
    let mut text = [0_u8; 32];
    // SAFETY: `time` and `gmtime_r` fill memory of their own types, and `strftime` is given the size of its
    // buffer and a format that ends in NUL. The names of days and months are the C locale's, because no one
    // called setlocale.
    let size = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut parts = MaybeUninit::<libc::tm>::zeroed();
        libc::gmtime_r(&now, parts.as_mut_ptr());
        libc::strftime(text.as_mut_ptr().cast(), text.len(), c"%a, %d %b %Y %H:%M:%S GMT".as_ptr(), parts.as_ptr())
    };
    String::from_utf8_lossy(&text[..size]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const LAST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

    fn all_outgoing(exchange: &mut Exchange, answers: &Answers) -> Vec<u8> {
        let mut sent = Vec::new();
        while exchange.owed_size() > 0 {
            // An odd and small step proves that the phase is found again after every short send.
            let part = exchange.outgoing(answers);
            let part = &part[..part.len().min(37)];
            sent.extend_from_slice(part);
            exchange.sent(part.len());
        }
        sent
    }

    #[test]
    fn answers_each_request_once_at_every_split() {
        let answers = Answers::new(b"Hello, World!");
        let input = [HEAD, HEAD, LAST].concat();
        let expected =
            [&answers.bytes[..answers.answer_size].repeat(2), &answers.bytes[answers.keep_alive_size..]].concat();
        for split in 0..input.len() {
            let mut exchange = Exchange::default();
            exchange.receive(&input[..split], &answers).unwrap();
            exchange.receive(&input[split..], &answers).unwrap();
            assert!(exchange.is_closing());
            assert!(all_outgoing(&mut exchange, &answers) == expected, "split at {split}");
        }
    }

    #[test]
    fn a_debt_larger_than_the_memory_keeps_its_phase() {
        let answers = Answers::new(&[b'x'; 10_000]);
        let mut exchange = Exchange::default();
        exchange.receive(&[HEAD.repeat(5), LAST.to_vec()].concat(), &answers).unwrap();
        let expected =
            [&answers.bytes[..answers.answer_size].repeat(5), &answers.bytes[answers.keep_alive_size..]].concat();
        assert!(all_outgoing(&mut exchange, &answers) == expected);
    }

    #[test]
    fn refuses_what_is_no_request() {
        let answers = Answers::new(b"");
        assert!(Exchange::default().receive(b"\0\0\0\0", &answers).is_err());
    }
}
