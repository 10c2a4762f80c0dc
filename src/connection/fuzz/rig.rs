//! One connection with everything that a worker would lend to it, and the worker's promises kept to it: it is
//! not called while a send is in flight, and nothing is read far ahead of it. What it promises in return is
//! asserted at every step.

use std::cell::Cell;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::app::Application;
use crate::buffer::{BLOCK_SIZE, Outgoing, Payload, Pool, Received, let_go};
use crate::connection::{Act, Completed, Connection, Host, Limits, Next, Part, Spares, Witness};
use crate::driver::Key;
use crate::environ::input_stream::WINDOW_SIZE;
use crate::environ::{Origin, Scratch};
use crate::http::error::Error;
use crate::inbound::Inbound;
use crate::outbound::Outbound;
use crate::response::Stamp;
use crate::response::answer::Mailbox;
use crate::response::fault::Fault;
use crate::response::guard::quiet_panics;
use crate::spool;
use crate::stats::Limit;
use crate::sys::{Peer, Waker};
use crate::timer::Moment;

/// What the rest of the world sees of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// Half-closed behind the last response.
    Finished,
    Closed,
}

pub(super) struct Rig<'a> {
    connection: Connection,
    inbound: Inbound,
    outbound: Outbound,
    app: &'a dyn Application,
    limits: Limits,
    pool: Pool,
    stamp: Stamp,
    origin: Origin,
    scratch: Scratch,
    spares: Spares,
    mailbox: Arc<Mailbox>,
    now: Moment,
    /// What it asked for last.
    next: Next,
    in_flight: Option<Outgoing>,
    /// Tells whoever asks whether something is.
    pub(super) is_sending: Rc<Cell<bool>>,
    /// Whether a send completes at once.
    pub(super) sends_at_once: bool,
    is_draining: bool,
    /// Whether the next part of a body finds no room on the disk.
    pub(super) fails_to_store: bool,
    /// Whether one did.
    pub(super) has_lost: bool,
    pub(super) heard: Heard,
    pub(super) sent: Vec<u8>,
    pub(super) state: State,
}

/// A witness that keeps what it hears.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) faults: Vec<Fault>,
    pub(super) refused: Vec<Error>,
    /// Status and body size of each response that was handed over completely.
    pub(super) completed: Vec<(u16, u64)>,
}

impl<'a> Rig<'a> {
    pub(super) fn new(app: &'a dyn Application, limits: Limits) -> Rig<'a> {
        quiet_panics();
        let key = Key { slot: 0, generation: 0 };
        let mut connection = Connection::new(key, &limits, Moment(0));
        connection.set_peer(Peer::Inet(([127, 0, 0, 1], 40_000).into()));
        Rig {
            connection,
            inbound: Inbound::new(),
            outbound: Outbound::new(),
            app,
            limits,
            pool: Pool::new(0, 1000),
            stamp: Stamp::new(SystemTime::UNIX_EPOCH),
            origin: Origin { server_name: "h".into(), server_port: "80".into(), url_scheme: "http" },
            scratch: Scratch::default(),
            spares: Spares::default(),
            mailbox: Arc::new(Mailbox::new(Waker::new().expect("an eventfd"))),
            now: Moment(0),
            next: Next::Receive,
            in_flight: None,
            is_sending: Rc::default(),
            sends_at_once: true,
            is_draining: false,
            fails_to_store: false,
            has_lost: false,
            heard: Heard::default(),
            sent: Vec::new(),
            state: State::Open,
        }
    }

    /// One receive of these bytes, in blocks, or several into a body's own buffer where that is asked for.
    pub(super) fn receive(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.state != State::Closed {
            if self.next == Next::Fill
                && let Some((mut buffer, missing)) = self.connection.lend_body()
            {
                let size = missing.min(bytes.len());
                assert!(size > 0 && buffer.capacity() - buffer.len() >= size, "there is room for what is asked for");
                buffer.extend_from_slice(&bytes[..size]);
                bytes = &bytes[size..];
                self.connection.take_body(buffer, size, &self.limits, self.now);
            } else {
                let size = bytes.len().min(BLOCK_SIZE);
                let mut block = self.pool.take();
                block[..size].copy_from_slice(&bytes[..size]);
                bytes = &bytes[size..];
                self.inbound.push(Received { block, size });
            }
            self.pump();
        }
    }

    /// Whether a worker would read on.
    pub(super) fn reads(&self) -> bool {
        match self.next {
            Next::Receive | Next::Fill | Next::Finish => true,
            Next::Send | Next::Store | Next::Answer | Next::Yield | Next::Leave | Next::Close => {
                self.inbound.block_count() <= 1
            }
        }
    }

    /// The peer finishes sending.
    pub(super) fn finish(&mut self) {
        if self.state != State::Closed && !self.inbound.is_finished() {
            self.inbound.finish();
            self.pump();
        }
    }

    /// Lets time pass. A worker does not ask while a send is in flight.
    pub(super) fn wait(&mut self, duration: Duration) {
        self.now = self.now + duration;
        if self.in_flight.is_none() && self.connection.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.act(Connection::expire);
        }
    }

    /// What a worker does that is short of blocks.
    pub(super) fn overload(&mut self) -> bool {
        let is_due = matches!(self.next, Next::Receive | Next::Fill)
            && self.inbound.block_count() > 0
            && self.state == State::Open
            && self.in_flight.is_none();
        if is_due {
            self.act(Connection::overload);
        }
        is_due
    }

    /// The server begins to drain, and gives who is idle two seconds more.
    pub(super) fn drain(&mut self) {
        self.is_draining = true;
        if self.state == State::Closed {
            return;
        }
        let earlier = self.connection.deadline();
        self.connection.hurry(self.now + Duration::from_secs(2), self.now);
        let later = self.connection.deadline();
        // While a send is in flight the clocks stand, and what was there before says little.
        assert!(self.in_flight.is_some() || later <= earlier, "a hurry shortens the wait");
        assert!(self.connection.is_idle() || later == earlier, "and only that of an idle connection");
    }

    /// The peer has gone, or broken the connection off.
    pub(super) fn cut(&mut self) {
        self.land();
        if self.state != State::Closed {
            self.close();
        }
    }

    /// The send that is in flight completes. Answers whether there was one.
    pub(super) fn complete_send(&mut self) -> bool {
        let is_sending = self.in_flight.is_some();
        if is_sending {
            self.land();
            self.pump();
        }
        is_sending
    }

    /// Takes what has come into the mailbox. Answers whether there was anything.
    pub(super) fn deliver(&mut self) -> bool {
        let replies = self.mailbox.take();
        let has_any = !replies.is_empty();
        for reply in replies {
            if self.state == State::Closed {
                let_go(reply);
            } else {
                let is_awaited = self.connection.answer(reply);
                if is_awaited && self.in_flight.is_some() {
                    self.connection.advance_awaited();
                }
                self.pump();
            }
        }
        has_any
    }

    /// Acts until the connection needs something from outside.
    pub(super) fn pump(&mut self) {
        self.act(Connection::advance);
    }

    fn act(&mut self, mut act: Act) {
        let mut turn_count = 0;
        while self.state != State::Closed && self.in_flight.is_none() {
            turn_count += 1;
            assert!(turn_count < 10_000, "it comes to an end");
            self.outbound.prepare(&mut self.pool);
            let mut host = Host {
                app: self.app,
                limits: &self.limits,
                pool: &mut self.pool,
                stamp: &self.stamp,
                origin: &self.origin,
                scratch: &mut self.scratch,
                request_ids: None,
                spares: &mut self.spares,
                mailbox: &self.mailbox,
                outlet: None,
                witness: &mut self.heard,
                drain_idle: self.is_draining.then_some(Duration::from_millis(400)),
                is_crowded: false,
            };
            self.next = act(&mut self.connection, &mut self.inbound, &mut self.outbound, &mut host, self.now);
            act = Connection::advance;
            self.check_promises();
            let has_sent = !self.outbound.is_empty();
            if has_sent {
                self.in_flight = Some(self.outbound.take());
                self.is_sending.set(true);
            } else {
                self.outbound.rest(&mut self.pool);
            }
            if self.sends_at_once {
                self.land();
            }
            match self.next {
                Next::Yield => {}
                Next::Finish => {
                    assert!(!has_sent, "it half-closes behind its last byte");
                    self.state = State::Finished;
                    self.connection.linger(&self.limits, self.now);
                }
                Next::Leave | Next::Close if has_sent => {}
                Next::Leave | Next::Close => self.close(),
                Next::Send | Next::Store | Next::Receive | Next::Fill | Next::Answer if has_sent => {}
                Next::Store if std::mem::take(&mut self.fails_to_store) => {
                    self.has_lost = true;
                    drop(self.connection.lend_part(self.now));
                    act = Connection::lose_part;
                }
                Next::Store => self.store(),
                Next::Send => panic!("it waits for a send that it has not asked for"),
                Next::Receive | Next::Fill | Next::Answer => return,
            }
        }
    }

    /// A part of a body is stored in its file.
    fn store(&mut self) {
        let Some(Part { file, offset, bytes }) = self.connection.lend_part(self.now) else { return };
        assert!(!bytes.is_empty(), "a part has bytes");
        assert_eq!(self.connection.deadline(), None, "the clock stands while it is the disk");
        let created = || spool::create(&std::env::temp_dir()).map(Arc::new);
        let file = file.map_or_else(created, Ok).expect("there is room for a small file");
        file.write_all_at(&bytes, offset).expect("there is room for a small file");
        self.connection.take_part(file, bytes, &self.limits, self.now);
    }

    /// What was in flight is with the peer, and its block goes home.
    fn land(&mut self) {
        let Some(Outgoing { block, block_size, spill, payload }) = self.in_flight.take() else { return };
        self.is_sending.set(false);
        if let Some(block) = block {
            self.sent.extend_from_slice(&block[..block_size]);
            self.pool.give(block);
        }
        self.sent.extend_from_slice(&spill);
        match &payload {
            Payload::None => {}
            Payload::Static(bytes) => self.sent.extend_from_slice(bytes),
            Payload::Owned(bytes) => self.sent.extend_from_slice((**bytes).as_ref()),
            Payload::File(range) => self.sent.resize(self.sent.len() + usize::try_from(range.size).unwrap_or(0), b'f'),
        }
        let_go(payload);
    }

    fn check_promises(&self) {
        self.check_window();
        match self.next {
            Next::Receive | Next::Fill => {
                assert!(!self.inbound.is_finished(), "nothing is awaited from a peer that has finished");
                assert!(self.inbound.block_count() <= 1, "what was received is gathered before more is");
                assert!(self.connection.deadline().is_some(), "who waits for a peer has a deadline");
            }
            Next::Answer => assert_eq!(self.connection.deadline(), None, "the clock stands while it is us"),
            Next::Send | Next::Store | Next::Yield | Next::Finish | Next::Leave | Next::Close => {}
        }
    }

    /// An application that does not read stops its peer, and one that reads has it go on.
    fn check_window(&self) {
        let Some(exchange) = &self.connection.exchange else { return };
        let Some(feed) = exchange.feed.as_ref().filter(|_| !exchange.is_complete) else { return };
        assert!(self.spares.held_size() <= WINDOW_SIZE as u64, "one window is counted");
        let is_dropping = exchange.is_dropping || feed.is_reader_gone();
        match self.next {
            Next::Receive => assert!(is_dropping || feed.room() > 0, "nothing is asked for that has no room"),
            Next::Answer => {
                let is_unasked = exchange.expects_continue && !feed.is_asked();
                assert!(is_unasked || feed.room() < WINDOW_SIZE / 2, "what there is room for is asked for");
            }
            Next::Fill | Next::Store => panic!("a streamed body goes through its window"),
            Next::Send | Next::Yield | Next::Finish | Next::Leave | Next::Close => {}
        }
    }

    fn close(&mut self) {
        self.state = State::Closed;
        self.inbound.discard(&mut self.pool);
        self.outbound.discard(&mut self.pool);
        self.connection.release(&mut self.spares);
        self.mailbox.take().into_iter().for_each(let_go);
        assert_eq!(self.pool.away_count(), 0, "every block comes home");
        assert_eq!(self.spares.held_size(), 0, "every body is given up");
    }
}

impl Witness for Heard {
    fn wants_completed(&self) -> bool {
        true
    }

    fn completed(&mut self, completed: &Completed<'_>) {
        self.completed.push((completed.status.code(), completed.body_size));
    }

    fn fault(&mut self, _name: &str, fault: &Fault) {
        assert!(!fault.to_string().contains(['\r', '\n']), "a fault is one line");
        self.faults.push(fault.clone());
    }

    fn met(&mut self, _limit: Limit) {}

    fn refused(&mut self, error: Error) {
        let is_ours = matches!(error.status().code(), 408 | 413 | 414 | 431 | 503);
        assert!(error.limit().is_some() || !is_ours, "what is refused for a limit is counted");
        self.refused.push(error);
    }
}
