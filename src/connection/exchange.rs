//! What only some requests need to keep: a body that came in pieces, a stream, a pending answer.
//!
//! An idle connection has none. A worker uses them again, so that a body split across receives allocates
//! nothing after warm-up. No I/O.

use crate::buffer::let_go;
use crate::http::chunked::Chunked;
use crate::http::status::Status;
use crate::response::Delimiter;
use crate::response::answer::{Assembled, Ticket};
use crate::response::fault::Fault;
use crate::response::stream::Stream;

use super::witness::Kept;

/// The kept part of a request in service.
#[derive(Default)]
pub(super) struct Exchange {
    /// Bytes of the head, which stays at the front of the inbound while the body arrives.
    pub(super) head_size: usize,
    /// How the end of the body is told.
    pub(super) progress: Progress,
    /// The body so far.
    pub(super) body: Vec<u8>,
    /// Whether the body is received into its own buffer, once it was worth the change.
    pub(super) is_filling: bool,
    /// The stream being pulled.
    pub(super) stream: Option<Streaming>,
    /// Which answer is awaited.
    pub(super) ticket: Ticket,
    /// The pending answer, when it has come.
    pub(super) reply: Option<Result<Assembled, Fault>>,
    /// What the log and a fault will need of the request.
    pub(super) kept: Option<Kept>,
    /// The application's name, for a fault.
    pub(super) name: String,
    /// What the response will have to look like.
    pub(super) is_head: bool,
    /// Whether the request allows the connection to stay.
    pub(super) keep_alive: bool,
    pub(super) is_http10: bool,
}

/// Exchanges to be used again. Boxed, because that is how a connection holds one.
#[derive(Default)]
pub struct Spares {
    #[allow(clippy::vec_box, reason = "a spare moves into a connection without being copied")]
    exchanges: Vec<Box<Exchange>>,
}

/// How far a body has come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Progress {
    /// So many bytes are missing.
    Length(u64),
    /// The last chunk is missing.
    Chunked(Chunked),
}

/// A streamed response under way.
pub(super) struct Streaming {
    pub(super) stream: Box<dyn Stream>,
    pub(super) delimiter: Delimiter,
    pub(super) status: Status,
    pub(super) keep_alive: bool,
    /// Bytes of body handed over.
    pub(super) body_size: u64,
}

impl Exchange {
    /// Whether the rest of the body is so large, or its receives already so arranged, that it is best
    /// received into its own buffer.
    pub(super) fn is_large(&self) -> bool {
        match self.progress {
            Progress::Length(missing) => self.is_filling || missing >= FILL_SIZE_MIN,
            Progress::Chunked(_) => false,
        }
    }

    /// Makes room for a body of the declared size, but for no more than a part of a large one: a length is
    /// only a claim, and where bodies have no limit it may be more than any memory.
    pub(super) fn reserve(&mut self, declared: u64) {
        self.body.reserve_exact(size_of_part(declared, 0));
    }

    /// The body with room behind it, and how much is to be received: what is missing, or what the room takes.
    /// Room that is used up is doubled.
    pub(super) fn lend_body(&mut self) -> Option<(Vec<u8>, usize)> {
        match self.progress {
            Progress::Length(missing) => {
                self.is_filling = true;
                if self.body.capacity() == self.body.len() {
                    self.body.reserve_exact(size_of_part(missing, self.body.len()));
                }
                let spare_size = self.body.capacity() - self.body.len();
                let size = usize::try_from(missing).unwrap_or(usize::MAX).min(spare_size);
                Some((std::mem::take(&mut self.body), size))
            }
            Progress::Chunked(_) => None,
        }
    }

    pub(super) fn take_body(&mut self, buffer: Vec<u8>, size: usize) {
        self.body = buffer;
        if let Progress::Length(missing) = &mut self.progress {
            *missing -= size as u64;
        }
    }
}

impl Spares {
    /// A spare, or a new one.
    pub(super) fn take(&mut self) -> Box<Exchange> {
        self.exchanges.pop().unwrap_or_default()
    }

    /// Empties an exchange and keeps it, unless there are enough. A large body's memory is given up.
    pub(super) fn give(&mut self, mut exchange: Box<Exchange>) {
        let_go((exchange.stream.take(), exchange.reply.take()));
        if self.exchanges.len() < SPARE_COUNT_MAX {
            let mut body = std::mem::take(&mut exchange.body);
            let mut name = std::mem::take(&mut exchange.name);
            body.clear();
            if body.capacity() > SPARE_BODY_SIZE_MAX {
                // To shrink it would copy what nobody reads any more.
                body = Vec::new();
            }
            name.clear();
            *exchange = Exchange { body, name, ..Exchange::default() };
            self.exchanges.push(exchange);
        }
    }
}

impl Default for Progress {
    fn default() -> Progress {
        Progress::Length(0)
    }
}

/// How much of what is missing is given room at once, where `arrived` bytes have come.
fn size_of_part(missing: u64, arrived: usize) -> usize {
    usize::try_from(missing).unwrap_or(usize::MAX).min(arrived.max(RESERVE_SIZE_MIN))
}

/// Room that a declared length is given before a byte has come; a body of the usual limit gets all of its own.
const RESERVE_SIZE_MIN: usize = 1024 * 1024;
/// Cancelling the armed receive for one into the body's own buffer pays from here on: at 1 MiB it costs
/// 0.73 of receiving into blocks, at 64 KiB 1.21 (measured on the bare loop).
const FILL_SIZE_MIN: u64 = 256 * 1024;
const SPARE_COUNT_MAX: usize = 64;
const SPARE_BODY_SIZE_MAX: usize = 64 * 1024;
