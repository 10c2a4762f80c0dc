//! A response in pieces under way: each pull is framed and handed over, and the end of the body is told. No I/O.

use std::task::Context;

use crate::buffer::Payload;
use crate::http::status::Status;
use crate::outbound::Outbound;
use crate::response::Delimiter;
use crate::response::awaited::Awaited;
use crate::response::fault::{Fault, one_line};
use crate::response::nudge::Nudge;
use crate::response::stream::{Pulled, Room, Stream};

/// A streamed response under way.
pub(super) struct Streaming {
    pub(super) source: Source,
    pub(super) delimiter: Delimiter,
    pub(super) status: Status,
    pub(super) keep_alive: bool,
    /// Bytes of body handed over.
    pub(super) body_size: u64,
    /// What has it pulled again when it had nothing at hand.
    pub(super) nudge: Nudge,
    /// Whether the peer takes trailers.
    pub(super) takes_trailers: bool,
    /// Their lines, as far as they are there.
    pub(super) trailers: Vec<u8>,
    /// Whether a chunk that was sent from where it lay still wants its CRLF.
    pub(super) owes_line_end: bool,
    /// Whether the stream has ended, and only the last chunk is to come.
    pub(super) is_ended: bool,
}

/// Where a body is pulled from.
pub(super) enum Source {
    Stream(Box<dyn Stream>),
    /// Who was awaited for the head.
    Awaited(Box<dyn Awaited>),
}

/// How a pull went.
pub(super) enum Flow {
    /// Bytes were written; more are to come.
    More,
    /// There was no byte at hand, or no room.
    Starved,
    /// There was no byte at hand, and a nudge will come.
    Pending,
    End,
    /// The stream had more than it declared.
    Cut,
}

impl Streaming {
    /// Pulls once, writes the bytes with their framing, and ends the body if the stream has.
    pub(super) fn pull(&mut self, outbound: &mut Outbound, context: &mut Context<'_>) -> Result<Flow, Fault> {
        if std::mem::take(&mut self.owes_line_end) {
            outbound.put(b"\r\n");
        }
        if self.is_ended {
            self.put_last_chunk(outbound);
            return Ok(Flow::End);
        }
        let prefix_size = if self.delimiter == Delimiter::Chunked { CHUNK_PREFIX_SIZE } else { 0 };
        let spare = outbound.spare();
        // The end of the chunk, and what may follow it, need room behind the bytes.
        let end = spare.len().saturating_sub(CHUNK_SUFFIX_SIZE_MAX);
        let Some(bytes) = spare.get_mut(prefix_size..end).filter(|bytes| !bytes.is_empty()) else {
            return Ok(Flow::Starved);
        };
        let mut room = Room::with_nudge(bytes, &self.nudge);
        let pulled = match &mut self.source {
            Source::Stream(stream) => stream.pull(&mut room),
            Source::Awaited(awaited) => awaited.pull(&mut room, context),
        };
        let pulled = pulled.map_err(|error| Fault::StreamFailed(one_line(&error.to_string())))?;
        let (size, lent) = (room.size(), room.take_lent());
        if self.takes_trailers {
            self.trailers.append(&mut room.take_trailers());
        }
        match &mut self.delimiter {
            Delimiter::Length(missing) => {
                let given = size as u64 + lent.size();
                let body_size = given.min(*missing);
                *missing -= body_size;
                let missing = *missing;
                let kept_size = usize::try_from(body_size).unwrap_or(usize::MAX).min(size);
                outbound.advance(kept_size);
                outbound.set_payload(lent.cut(body_size - kept_size as u64));
                self.body_size += body_size;
                match flow(pulled, given) {
                    // What there was is sent all the same.
                    Flow::End if missing > 0 => Err(Fault::StreamShort { missing }),
                    _ if given > body_size => Ok(Flow::Cut),
                    flow => Ok(flow),
                }
            }
            Delimiter::Chunked => Ok(self.pass_chunks(size, lent, pulled, outbound)),
            Delimiter::Close => {
                let given = size as u64 + lent.size();
                outbound.advance(size);
                outbound.set_payload(lent);
                self.body_size += given;
                Ok(flow(pulled, given))
            }
        }
    }

    /// Makes a chunk of the bytes that were put behind room for its size, and another of what was lent.
    fn pass_chunks(&mut self, size: usize, lent: Payload, pulled: Pulled, outbound: &mut Outbound) -> Flow {
        let given = size as u64 + lent.size();
        self.body_size += given;
        if size > 0 {
            write_chunk_prefix(&mut outbound.spare()[..CHUNK_PREFIX_SIZE], size);
            outbound.advance(CHUNK_PREFIX_SIZE + size);
            outbound.put(b"\r\n");
        }
        if lent.size() > 0 {
            outbound.put(format!("{:x}\r\n", lent.size()).as_bytes());
            outbound.set_payload(lent);
            // Nothing can be written behind a payload, so that its line's end and the last chunk come after the send.
            self.owes_line_end = true;
            self.is_ended = pulled == Pulled::End;
            return Flow::More;
        }
        if pulled == Pulled::End {
            self.put_last_chunk(outbound);
        }
        flow(pulled, given)
    }

    /// The last chunk, and the trailers (RFC 9112 §7.1.2).
    fn put_last_chunk(&self, outbound: &mut Outbound) {
        outbound.put_parts([b"0\r\n", &self.trailers, b"\r\n"]);
    }
}

fn flow(pulled: Pulled, given: u64) -> Flow {
    match pulled {
        Pulled::More if given == 0 => Flow::Starved,
        Pulled::Pending if given == 0 => Flow::Pending,
        Pulled::More | Pulled::Pending => Flow::More,
        Pulled::End => Flow::End,
    }
}

fn write_chunk_prefix(prefix: &mut [u8], size: usize) {
    for (index, byte) in prefix.iter_mut().enumerate() {
        *byte = match index {
            0..4 => b"0123456789abcdef"[size >> (12 - 4 * index) & 15],
            4 => b'\r',
            _ => b'\n',
        };
    }
}

/// Four hexadecimal digits, enough for a block, and CRLF.
const CHUNK_PREFIX_SIZE: usize = 6;
/// CRLF, and the size of a payload, sixteen digits and CRLF; the last chunk is shorter.
const CHUNK_SUFFIX_SIZE_MAX: usize = 20;
