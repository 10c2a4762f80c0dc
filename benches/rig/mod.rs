//! A connection with what a worker lends to it and nothing more, for benches that count or time the server's own work.
//!
//! A request costs here what it costs in a worker without an access log: its bytes come in a block of the pool, the
//! connection is called, what it has said is handed over as to a driver, its block goes home, and the connection is
//! called once more, as at the completion of a send. In the place of the kernel stand one copy of the request into
//! the block and a look at the size and the last bytes of the answer. There is no socket and no clock.
#![allow(dead_code, unreachable_pub, reason = "each bench that includes this module uses its own part of it")]

pub mod lent;
#[cfg(feature = "async")]
mod service;

use std::time::Duration;

use ringway::buffer::{Outgoing, Pool, Received};
use ringway::connection::{Completed, Connection, Limits, Next, Witness};
use ringway::driver::Key;
use ringway::environ::Origin;
use ringway::http::error::Error;
use ringway::inbound::Inbound;
use ringway::outbound::Outbound;
use ringway::response::fault::Fault;
use ringway::stats::Limit;
use ringway::timer::Moment;
use ringway::{Application, Status};

use lent::Lent;

/// The shortest request that there is.
pub const MINIMAL: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A browser's: twelve fields.
pub const BROWSER: &[u8] = b"GET /articles/2026/ring?page=2 HTTP/1.1\r\nHost: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://www.example.com/articles\r\nDNT: 1\r\nConnection: keep-alive\r\n\
    Cookie: session=6f1b2c9d8e7a4b5c; theme=dark; visited=articles%2C2026%2Cring; consent=all\r\n\
    Upgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n\r\n";

const LENGTH: &[u8] = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 13\r\n\r\nHello, World!";
const CHUNKED: &[u8] =
    b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nd\r\nHello, World!\r\n0\r\n\r\n";

/// What every answer ends with, be it the application's own or an echo.
pub const ANSWER_END: &[u8] = b"\r\n\r\nHello, World!";

/// What comes in one receive, and how often.
pub struct Case {
    /// Its name in the figures.
    pub name: &'static str,
    /// Makes the application that answers.
    pub make: fn() -> Box<dyn Application>,
    /// One request.
    pub request: &'static [u8],
    /// How many of them come together.
    pub count: usize,
}

/// Every case of `advance`.
pub const CASES: &[Case] = &[
    Case { name: "minimal", make: hello, request: MINIMAL, count: 1 },
    Case { name: "browser", make: hello, request: BROWSER, count: 1 },
    Case { name: "content-length", make: echo, request: LENGTH, count: 1 },
    Case { name: "chunked", make: echo, request: CHUNKED, count: 1 },
    Case { name: "pipelined-16", make: hello, request: MINIMAL, count: 16 },
    #[cfg(feature = "async")]
    Case { name: "tower-minimal", make: service::hello, request: MINIMAL, count: 1 },
    #[cfg(feature = "async")]
    Case { name: "tower-browser", make: service::hello, request: BROWSER, count: 1 },
];

fn hello() -> Box<dyn Application> {
    bundled("hello:app")
}

fn echo() -> Box<dyn Application> {
    bundled("echo:app")
}

fn bundled(name: &str) -> Box<dyn Application> {
    let linked = ringway::apps::bundled().into_iter().find(|linked| linked.name == name);
    (linked.expect("it is bundled").make)()
}

/// A connection and what a worker lends to it.
pub struct Rig {
    connection: Connection,
    inbound: Inbound,
    outbound: Outbound,
    lent: Lent,
    tally: Tally,
    /// What comes in one receive.
    received: Vec<u8>,
    /// Requests in it.
    request_count: u64,
    /// Bytes of the answers to it.
    pub answer_size: usize,
}

/// A witness that counts, as a worker's does without an access log.
#[derive(Default)]
struct Tally {
    answered_count: u64,
    fault_count: u64,
}

impl Witness for Tally {
    fn wants_completed(&self) -> bool {
        false
    }

    fn completed(&mut self, _completed: &Completed<'_>) {
        unreachable!("it is not wanted");
    }

    fn answered(&mut self, status: Status, _duration: Duration) {
        self.answered_count += u64::from(status.code() == 200);
    }

    fn fault(&mut self, _name: &str, _fault: &Fault) {
        self.fault_count += 1;
    }

    fn refused(&mut self, _error: Error) {
        self.fault_count += 1;
    }

    fn met(&mut self, _limit: Limit) {
        self.fault_count += 1;
    }
}

impl Rig {
    /// A connection that has served its first receive, so that all it needs is made.
    pub fn new(case: &Case) -> Rig {
        let lent = Lent::new((case.make)(), Limits::default(), Pool::new(64, 128), origin());
        let mut rig = Rig {
            connection: lent.connection(KEY),
            inbound: Inbound::new(),
            outbound: Outbound::new(),
            lent,
            tally: Tally::default(),
            received: case.request.repeat(case.count),
            request_count: case.count as u64,
            answer_size: 0,
        };
        let mut answers = Vec::new();
        rig.exchange(|bytes| answers.extend_from_slice(bytes));
        rig.answer_size = answers.len();
        let status_line = b"HTTP/1.1 200 OK\r\n";
        assert!(answers.starts_with(status_line) && answers.ends_with(ANSWER_END));
        for part in [status_line, ANSWER_END] {
            assert_eq!(answers.windows(part.len()).filter(|window| window == &part).count(), case.count);
        }
        rig
    }

    /// Bytes of one receive.
    pub fn received_size(&self) -> usize {
        self.received.len()
    }

    /// Serves one receive, whose answers must be what they were the first time, as far as size and end tell.
    pub fn serve(&mut self) {
        let before = self.tally.answered_count;
        let mut size = 0;
        self.exchange(|bytes| {
            size += bytes.len();
            assert!(bytes.ends_with(ANSWER_END));
        });
        assert_eq!(size, self.answer_size);
        assert_eq!(self.tally.answered_count - before, self.request_count);
    }

    /// One receive, and all that follows until more bytes of the peer are needed.
    fn exchange(&mut self, mut sent: impl FnMut(&[u8])) {
        let mut block = self.lent.pool.take();
        block[..self.received.len()].copy_from_slice(&self.received);
        self.inbound.push(Received { block, size: self.received.len() });
        loop {
            let next = self.advance();
            if self.outbound.is_empty() {
                self.outbound.rest(&mut self.lent.pool);
                assert_eq!(next, Next::Receive, "it has served everything");
                assert_eq!(self.tally.fault_count, 0);
                return;
            }
            let Outgoing { block, block_size, .. } = self.outbound.take();
            let block = block.expect("short answers lie in a block");
            sent(&block[..block_size]);
            self.lent.pool.give(block);
        }
    }

    fn advance(&mut self) -> Next {
        self.outbound.prepare(&mut self.lent.pool);
        let mut host = self.lent.host(&mut self.tally);
        self.connection.advance(&mut self.inbound, &mut self.outbound, &mut host, Moment(0))
    }
}

/// The listener's side of an environ.
pub fn origin() -> Origin {
    Origin { server_name: "127.0.0.1".into(), server_port: "8888".into(), url_scheme: "http" }
}

/// The connection's name.
pub const KEY: Key = Key { slot: 0, generation: 0 };
