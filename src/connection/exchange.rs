//! What only some requests need to keep: a body that came in pieces, a stream, a pending answer.
//!
//! An idle connection has none. A worker uses them again, so that a body split across receives allocates
//! nothing after warm-up. A body that is too large for memory is spooled: part by part it is lent to the worker,
//! stored in a file, and counted when it comes back. No I/O.

use std::fs::File;
use std::num::NonZeroU64;
use std::sync::Arc;

use crate::buffer::{BLOCK_SIZE, let_go};
use crate::driver::Key;
use crate::environ::Gathered;
use crate::environ::input_stream::Feed;
use crate::http::chunked::Chunked;
use crate::http::error::Error;
use crate::response::answer::{Assembled, Mailbox, Ticket};
use crate::response::awaited::{Alarm, Awaited};
use crate::response::fault::Fault;
use crate::spool::Spool;
use crate::timer::Pace;

use super::limits::Limits;
use super::streaming::Streaming;
use super::witness::Kept;

/// The kept part of a request in service.
#[derive(Default)]
pub(super) struct Exchange {
    /// Bytes of the head, which stays at the front of the inbound while the body arrives.
    pub(super) head_size: usize,
    /// How the end of the body is told.
    pub(super) progress: Progress,
    /// Whether the body has arrived completely.
    pub(super) is_complete: bool,
    /// The body so far, or what of it has not been spooled.
    pub(super) body: Gathered,
    /// Whether the body is received into its own buffer, once it was worth the change.
    pub(super) is_filling: bool,
    /// Where the beginning of a large body is.
    pub(super) spooled: Spooled,
    /// How fast the body comes.
    pub(super) pace: Pace,
    /// Bytes of the body that are counted in the worker's sum.
    counted_size: u64,
    /// Where a body goes that is read while it comes.
    pub(super) feed: Option<Feed>,
    /// Whether its peer waits for leave to send it.
    pub(super) expects_continue: bool,
    /// Whether nobody wants what is still to come of it.
    pub(super) is_dropping: bool,
    /// Bytes that came all the same.
    pub(super) dropped_size: u64,
    /// Whether it was us who were slow with it.
    pub(super) has_stood: bool,
    /// The stream being pulled.
    pub(super) stream: Option<Streaming>,
    /// Who is polled for the answer.
    pub(super) awaited: Option<Box<dyn Awaited>>,
    /// How that went, where it was over before it could be written.
    pub(super) polled: Option<Result<(), Fault>>,
    /// What has the connection called again: the waker of what is polled.
    pub(super) alarm: Option<Arc<Alarm>>,
    /// That of an earlier request, to be used again.
    spare_alarm: Option<Arc<Alarm>>,
    /// Which answer is awaited.
    pub(super) ticket: Ticket,
    /// The pending answer, when it has come.
    pub(super) reply: Option<Result<Assembled, Fault>>,
    /// What the log and a fault will need of the request.
    pub(super) kept: Option<Kept>,
    /// What the request's id was made of, once one was.
    pub(super) request_number: Option<NonZeroU64>,
    /// The id that the response shows; empty where it shows none.
    pub(super) request_id: Vec<u8>,
    /// The application's name, for a fault.
    pub(super) name: String,
    /// Whether its peer takes trailers behind a chunked body (RFC 9110 §10.1.4).
    pub(super) takes_trailers: bool,
    /// What the response will have to look like.
    pub(super) is_head: bool,
    /// Whether the request allows the connection to stay.
    pub(super) keep_alive: bool,
    pub(super) is_http10: bool,
}

/// The part of a body that is in a file.
#[derive(Default)]
pub(super) struct Spooled {
    /// Bytes that are stored at once; 0 while the body stays in memory.
    part_size: usize,
    pub(super) file: Option<Arc<File>>,
    pub(super) size: u64,
}

/// A part of a body on its way to its file.
pub struct Part {
    /// The file, unless it has still to be created.
    pub file: Option<Arc<File>>,
    /// Where the bytes belong in it.
    pub offset: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Exchanges to be used again, and what those in use hold. Boxed, because that is how a connection holds one.
#[derive(Default)]
pub struct Spares {
    #[allow(clippy::vec_box, reason = "a spare moves into a connection without being copied")]
    exchanges: Vec<Box<Exchange>>,
    /// Exchanges in use.
    taken_count: usize,
    /// Bytes of bodies in all exchanges in use.
    held_size: u64,
}

/// How far a body has come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Progress {
    /// So many bytes are missing.
    Length(u64),
    /// The last chunk is missing.
    Chunked(Chunked),
}

impl Exchange {
    /// The alarm of this request.
    pub(super) fn arm(&mut self, mailbox: &Arc<Mailbox>, key: Key) -> Arc<Alarm> {
        let Exchange { alarm, spare_alarm, .. } = self;
        alarm.get_or_insert_with(|| renewed(spare_alarm.take(), Alarm::new(mailbox, key))).clone()
    }

    /// Whether the answer with this ticket is the pending one.
    pub(super) fn awaits(&self, ticket: Ticket) -> bool {
        self.awaited.is_none() && self.ticket == ticket
    }

    /// Whether a nudge with this ticket is for what is polled or pulled.
    pub(super) fn is_called(&self, ticket: Ticket) -> bool {
        self.alarm.as_ref().is_some_and(|alarm| alarm.has(ticket))
            || self.stream.as_ref().is_some_and(|streaming| streaming.nudge.has(ticket))
    }

    /// Whether the rest of the body is so large, or its receives already so arranged, that it is best
    /// received into its own buffer.
    pub(super) fn is_large(&self) -> bool {
        match self.progress {
            Progress::Length(missing) => self.is_filling || missing >= FILL_SIZE_MIN,
            Progress::Chunked(_) => false,
        }
    }

    /// Bytes of the body that have arrived.
    pub(super) fn size(&self) -> u64 {
        self.spooled.size + self.body.as_ref().len() as u64
    }

    /// Decides where a body of the declared size goes, and makes room for it, but for no more than a part of a
    /// large one: a length is only a claim, and where bodies have no limit it may be more than any memory.
    pub(super) fn reserve(&mut self, declared: u64, limits: &Limits) {
        if declared > limits.body_memory {
            self.spooled.part_size = part_size(limits);
        }
        let size_max = if self.spooled.part_size > 0 { self.spooled.part_size } else { ROOM_SIZE };
        self.body.memory().reserve_exact(room_for(declared, size_max));
    }

    /// The body as an application gets it, where it is in a file.
    pub(super) fn spool(&self) -> Option<Arc<Spool>> {
        let Spooled { file, size, .. } = &self.spooled;
        file.clone().map(|file| Arc::new(Spool::new(file, *size)))
    }

    /// The body with room behind it, and how much is to be received: what is missing, or what the room takes.
    /// Room that is used up is doubled.
    pub(super) fn lend_body(&mut self) -> Option<(Vec<u8>, usize)> {
        match self.progress {
            Progress::Length(missing) => {
                self.is_filling = true;
                let body = self.body.memory();
                if body.capacity() == body.len() {
                    body.reserve_exact(room_for(missing, body.len().max(ROOM_SIZE)));
                }
                let spare_size = body.capacity() - body.len();
                let size = usize::try_from(missing).unwrap_or(usize::MAX).min(spare_size);
                Some((std::mem::take(body), size))
            }
            Progress::Chunked(_) => None,
        }
    }

    pub(super) fn take_body(&mut self, buffer: Vec<u8>, size: usize) {
        *self.body.memory() = buffer;
        if let Progress::Length(missing) = &mut self.progress {
            *missing -= size as u64;
        }
    }

    /// Whether what has arrived is to be stored before anything else is done. How large a chunked body will be
    /// is known only when it is.
    pub(super) fn has_part(&mut self, limits: &Limits) -> bool {
        let body_size = self.body.as_ref().len();
        if body_size as u64 > limits.body_memory {
            self.spooled.part_size = part_size(limits);
        }
        let Spooled { part_size, .. } = self.spooled;
        part_size > 0 && body_size > 0 && (self.is_complete || body_size >= part_size)
    }

    pub(super) fn lend_part(&mut self) -> Part {
        let Spooled { file, size, .. } = &self.spooled;
        Part { file: file.clone(), offset: *size, bytes: std::mem::take(self.body.memory()) }
    }

    pub(super) fn take_part(&mut self, file: Arc<File>, mut bytes: Vec<u8>) {
        self.spooled.size += bytes.len() as u64;
        self.spooled.file = Some(file);
        bytes.clear();
        bytes.shrink_to(self.spooled.part_size);
        *self.body.memory() = bytes;
    }
}

impl Spares {
    /// A spare, or a new one.
    pub(super) fn take(&mut self) -> Box<Exchange> {
        self.taken_count += 1;
        self.exchanges.pop().unwrap_or_default()
    }

    /// Exchanges in use.
    pub(crate) fn taken_count(&self) -> usize {
        self.taken_count
    }

    /// Counts what the body of an exchange in use now holds.
    ///
    /// # Errors
    /// Where all bodies together are past the limit.
    pub(super) fn count(&mut self, exchange: &mut Exchange, bodies_max: u64) -> Result<(), Error> {
        let size = exchange.body.as_ref().len() as u64;
        self.hold(exchange, size);
        if self.held_size > bodies_max { Err(Error::Bodies) } else { Ok(()) }
    }

    /// Counts so many bytes for an exchange until it is given back.
    pub(super) fn hold(&mut self, exchange: &mut Exchange, size: u64) {
        self.held_size = self.held_size - exchange.counted_size + size;
        exchange.counted_size = size;
    }

    /// Whether a body that will hold so many bytes has room.
    pub(super) fn has_room(&self, size: u64, bodies_max: u64) -> bool {
        self.held_size.saturating_add(size) <= bodies_max
    }

    /// Bytes of bodies in memory that are still arriving.
    #[must_use]
    pub fn held_size(&self) -> u64 {
        self.held_size
    }

    /// Takes an exchange back that was lent to poll who is awaited, and in which nothing else was kept.
    pub(super) fn give_unused(&mut self, mut exchange: Box<Exchange>) {
        let_go(exchange.awaited.take());
        exchange.spare_alarm = exchange.alarm.take();
        self.taken_count -= 1;
        if self.exchanges.len() < SPARE_COUNT_MAX {
            self.exchanges.push(exchange);
        }
    }

    /// Empties an exchange and keeps it, unless there are enough. A large body's memory is given up.
    pub(super) fn give(&mut self, mut exchange: Box<Exchange>) {
        let_go((exchange.awaited.take(), exchange.stream.take(), exchange.reply.take()));
        drop(exchange.feed.take());
        self.held_size -= exchange.counted_size;
        self.taken_count -= 1;
        if self.exchanges.len() < SPARE_COUNT_MAX {
            let mut body = std::mem::take(&mut exchange.body);
            let mut name = std::mem::take(&mut exchange.name);
            let memory = body.memory();
            memory.clear();
            if memory.capacity() > SPARE_BODY_SIZE_MAX {
                // To shrink it would copy what nobody reads any more.
                *memory = Vec::new();
            }
            name.clear();
            let spare_alarm = exchange.alarm.take().or(exchange.spare_alarm.take());
            *exchange = Exchange { body, name, spare_alarm, ..Exchange::default() };
            self.exchanges.push(exchange);
        }
    }
}

impl Default for Progress {
    fn default() -> Progress {
        Progress::Length(0)
    }
}

/// Makes `spare` this alarm, where nobody else has it any more.
fn renewed(spare: Option<Arc<Alarm>>, alarm: Alarm) -> Arc<Alarm> {
    match spare {
        Some(mut spare) => match Arc::get_mut(&mut spare) {
            Some(unused) => {
                *unused = alarm;
                spare
            }
            None => Arc::new(alarm),
        },
        None => Arc::new(alarm),
    }
}

/// How much of a large body is kept in memory until it is stored: at least what one receive brings.
fn part_size(limits: &Limits) -> usize {
    usize::try_from(limits.body_memory).unwrap_or(usize::MAX).clamp(BLOCK_SIZE, PART_SIZE_MAX)
}

/// The room that what is missing is given at once.
fn room_for(missing: u64, size_max: usize) -> usize {
    usize::try_from(missing).unwrap_or(usize::MAX).min(size_max)
}

/// The room that a declared length is given before a byte has come, and the least that is added when it is full. A
/// body of the usual limit gets all of its own.
const ROOM_SIZE: usize = 1024 * 1024;
/// Bytes of a large body that are stored at once: large writes, and little memory for each upload.
const PART_SIZE_MAX: usize = 256 * 1024;
/// Cancelling the armed receive for one into the body's own buffer pays from here on: at 1 MiB it costs
/// 0.73 of receiving into blocks, at 64 KiB 1.21 (measured on the bare loop).
const FILL_SIZE_MIN: u64 = 256 * 1024;
/// Exchanges that a worker keeps, and the memory that each may keep for a body: 4 MiB in all.
const SPARE_COUNT_MAX: usize = 64;
const SPARE_BODY_SIZE_MAX: usize = 64 * 1024;
