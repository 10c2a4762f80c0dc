//! A connection in memory: the protocol alone, without a driver, in which each segment is one receive.

#[path = "../../benches/rig/lent.rs"]
mod lent;

use std::sync::Arc;
use std::time::Duration;

use ringway::Application;
use ringway::buffer::{Outgoing, Payload, Pool, Received};
use ringway::connection::{Act, Completed, Connection, Host, Limits, Next, Part, RequestIds, Witness};
use ringway::driver::Key;
use ringway::environ::Origin;
use ringway::http::error::Error;
use ringway::inbound::Inbound;
use ringway::outbound::Outbound;
use ringway::response::fault::Fault;
use ringway::stats::Limit;
use ringway::sys::Peer;
use ringway::timer::Moment;

use lent::Lent;

/// A connection and everything that a worker would lend to it.
pub struct Memory {
    connection: Connection,
    inbound: Inbound,
    outbound: Outbound,
    lent: Lent,
    /// Where ids of requests are made; without it, none are.
    pub request_ids: Option<RequestIds>,
    /// What it was told.
    pub heard: Heard,
    /// Every byte that it said.
    pub sent: Vec<u8>,
    /// Whether it has half-closed or closed.
    pub is_finished: bool,
    /// Whether it is closed.
    pub is_closed: bool,
    now: Moment,
    /// Whether most connections of its worker are taken.
    pub is_crowded: bool,
    /// How long each send takes.
    pub send_time: Duration,
    /// Whether it is waited for an answer that is not there; else [`Memory::deliver`] brings it.
    pub awaits_answers: bool,
    /// What it needed last.
    pub next: Next,
}

/// A witness that keeps what it hears.
#[derive(Default)]
pub struct Heard {
    /// Faults of the application, as text.
    pub faults: Vec<String>,
    /// Errors of the peer.
    pub refused: Vec<Error>,
    /// Limits that were met and not refused by an answer.
    pub met: Vec<Limit>,
    /// Status and body size of each completed request.
    pub completed: Vec<(u16, u64)>,
}

impl Witness for Heard {
    fn wants_completed(&self) -> bool {
        true
    }

    fn completed(&mut self, completed: &Completed<'_>) {
        self.completed.push((completed.status.code(), completed.body_size));
    }

    fn fault(&mut self, name: &str, fault: &Fault) {
        self.faults.push(format!("{name}: {fault}"));
    }

    fn refused(&mut self, error: Error) {
        self.refused.push(error);
    }

    fn met(&mut self, limit: Limit) {
        self.met.push(limit);
    }
}

impl Memory {
    /// A new connection to `app`.
    pub fn new(app: Box<dyn Application>) -> Memory {
        Memory::with(app, Limits::default())
    }

    /// A new connection to `app`, with limits of its own.
    pub fn with(app: Box<dyn Application>, limits: Limits) -> Memory {
        ringway::connection::quiet_panics();
        let origin = Origin { server_name: "h".into(), server_port: "80".into(), url_scheme: "http" };
        let lent = Lent::new(app, limits, Pool::new(0, 10_000), origin);
        Memory {
            connection: lent.connection(Key { slot: 0, generation: 0 }),
            inbound: Inbound::new(),
            outbound: Outbound::new(),
            lent,
            request_ids: None,
            heard: Heard::default(),
            sent: Vec::new(),
            is_finished: false,
            is_closed: false,
            now: Moment(0),
            is_crowded: false,
            send_time: Duration::ZERO,
            awaits_answers: true,
            next: Next::Receive,
        }
    }

    /// Says who is at the other end; without it, 127.0.0.1 is.
    pub fn set_peer(&mut self, peer: Peer) {
        self.connection.set_peer(peer);
    }

    /// One receive of these bytes, in blocks.
    pub fn receive(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(ringway::buffer::BLOCK_SIZE) {
            if self.is_closed {
                return;
            }
            let mut block = self.lent.pool.take();
            block[..piece.len()].copy_from_slice(piece);
            self.inbound.push(Received { block, size: piece.len() });
            self.pump();
        }
    }

    /// The peer finishes sending.
    pub fn finish(&mut self) {
        if !self.is_closed {
            self.inbound.finish();
            self.pump();
        }
    }

    /// Lets time pass.
    pub fn wait(&mut self, duration: Duration) {
        self.now = self.now + duration;
        self.act(Connection::expire);
    }

    /// Brings what has come into the mailbox. Answers whether there was anything.
    pub fn deliver(&mut self) -> bool {
        let replies = self.lent.mailbox.take();
        let has_any = !replies.is_empty();
        let mut is_awaited = false;
        for reply in replies {
            is_awaited |= self.connection.answer(reply);
        }
        if is_awaited {
            self.pump();
        }
        has_any
    }

    /// The peer has gone, without any order.
    pub fn cut(&mut self) {
        if !self.is_closed {
            self.close();
        }
    }

    /// Bytes that were received and that nobody has taken.
    pub fn inbound_size(&self) -> usize {
        self.inbound.size()
    }

    /// Bytes of bodies that its worker holds for it.
    pub fn held_size(&self) -> u64 {
        self.lent.spares.held_size()
    }

    /// Acts until the connection needs something from outside.
    pub fn pump(&mut self) {
        self.act(Connection::advance);
    }

    fn act(&mut self, mut act: Act) {
        while !self.is_closed {
            for reply in self.lent.mailbox.take() {
                self.connection.answer(reply);
            }
            self.outbound.prepare(&mut self.lent.pool);
            let mut host = Host {
                request_ids: self.request_ids.as_mut(),
                is_crowded: self.is_crowded,
                ..self.lent.host(&mut self.heard)
            };
            let next = act(&mut self.connection, &mut self.inbound, &mut self.outbound, &mut host, self.now);
            self.next = next;
            act = Connection::advance;
            let has_sent = self.send();
            match next {
                Next::Yield => {}
                Next::Send => assert!(has_sent, "it waits for a send that it has not asked for"),
                Next::Store => {
                    if let Some(part) = self.connection.lend_part(self.now) {
                        self.store(part);
                    }
                }
                Next::Finish => {
                    self.is_finished = true;
                    self.connection.linger(&self.lent.limits, self.now);
                }
                Next::Leave | Next::Close if has_sent => {}
                Next::Leave | Next::Close => self.close(),
                Next::Answer if has_sent => {}
                Next::Answer if self.awaits_answers => self.await_reply(),
                Next::Answer => break,
                Next::Receive | Next::Fill if has_sent => {}
                Next::Fill | Next::Receive => break,
            }
        }
    }

    /// Waits for an answer or a nudge that the connection awaits, as a worker does.
    fn await_reply(&mut self) {
        loop {
            let replies = self.lent.mailbox.take();
            let mut is_awaited = false;
            for reply in replies {
                is_awaited |= self.connection.answer(reply);
            }
            if is_awaited {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// Stores a part of a body, as a worker does.
    fn store(&mut self, part: Part) {
        use std::os::unix::fs::FileExt;
        let Part { file, offset, bytes } = part;
        let created = || Arc::new(ringway::spool::create(&std::env::temp_dir()).expect("a temporary file"));
        let file = file.unwrap_or_else(created);
        file.write_all_at(&bytes, offset).expect("the file takes it");
        self.connection.take_part(file, bytes, &self.lent.limits, self.now);
    }

    /// Takes what was written; its block goes home.
    fn send(&mut self) -> bool {
        if self.outbound.is_empty() {
            self.outbound.rest(&mut self.lent.pool);
            return false;
        }
        self.now = self.now + self.send_time;
        let Outgoing { block, block_size, spill, payload } = self.outbound.take();
        if let Some(block) = block {
            self.sent.extend_from_slice(&block[..block_size]);
            self.lent.pool.give(block);
        }
        self.sent.extend_from_slice(&spill);
        match payload {
            Payload::None => {}
            Payload::Static(bytes) => self.sent.extend_from_slice(bytes),
            Payload::Owned(bytes) => self.sent.extend_from_slice((*bytes).as_ref()),
            Payload::File(range) => {
                use std::os::unix::fs::FileExt;
                let mut bytes = vec![0; usize::try_from(range.size).expect("a test's file is small")];
                range.file.read_exact_at(&mut bytes, range.offset).expect("the file is long enough");
                self.sent.extend_from_slice(&bytes);
            }
        }
        true
    }

    fn close(&mut self) {
        self.is_finished = true;
        self.is_closed = true;
        self.inbound.discard(&mut self.lent.pool);
        self.outbound.discard(&mut self.lent.pool);
        self.connection.release(&mut self.lent.spares);
        assert_eq!(self.lent.pool.away_count(), 0, "every block comes home");
    }
}

/// The bytes with every Date blank: a late answer has one of its own.
pub fn without_date(bytes: &[u8]) -> Vec<u8> {
    let name = b"\r\nDate: ";
    let mut rest = bytes;
    let mut result = Vec::with_capacity(bytes.len());
    while let Some(at) = memchr::memmem::find(rest, name) {
        result.extend_from_slice(&rest[..at + name.len()]);
        rest = rest.get(at + name.len() + 29..).unwrap_or_default();
    }
    result.extend_from_slice(rest);
    result
}
