//! Bodies that are pulled: the iterable of PEP 3333.
//!
//! A stream is asked for more only when there is room in the send buffer, which is the backpressure; it
//! is dropped when it has ended or the peer has gone, which is its `close()`. It performs no I/O on the
//! connection itself.

use std::collections::VecDeque;
use std::io;

use crate::buffer::Payload;
use crate::http::header;

use super::nudge::Nudge;

/// A body in pieces.
pub trait Stream: Send {
    /// Writes the next bytes into `room`, as many as are at hand and fit.
    ///
    /// # Errors
    /// Any error ends the response: the connection is closed, so that the peer sees that it is not whole.
    fn pull(&mut self, room: &mut Room<'_>) -> io::Result<Pulled>;
}

/// Whether a stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulled {
    /// There is more; pull again when there is room. Where nothing was written, that is in the next turn.
    More,
    /// Nothing is at hand, and whoever makes the bytes will say so with the [`Nudge`] that the room has. Until then
    /// the stream is not pulled, but for a few times when something else has called the connection.
    Pending,
    /// That was all.
    End,
}

/// Free bytes of the send buffer, and a place for bytes that are sent from where they lie.
pub struct Room<'a> {
    bytes: &'a mut [u8],
    size: usize,
    lent: Payload,
    /// Lines behind the last chunk.
    trailers: Vec<u8>,
    nudge: Option<&'a Nudge>,
}

/// An iterator of byte strings as a stream: what an application returns in Python.
pub struct Blocks<I: Iterator> {
    iterator: I,
    rest: VecDeque<u8>,
}

/// A reader as a stream, until its end.
pub struct Reader<R>(pub R);

/// Makes a stream of an iterator of byte strings, each sent as it is; an empty one is skipped.
pub fn blocks<I>(iterable: I) -> Blocks<I::IntoIter>
where
    I: IntoIterator,
    I::Item: AsRef<[u8]>,
{
    Blocks { iterator: iterable.into_iter(), rest: VecDeque::new() }
}

impl<'a> Room<'a> {
    /// Room in `bytes`.
    #[must_use]
    pub fn new(bytes: &'a mut [u8]) -> Room<'a> {
        Room { bytes, size: 0, lent: Payload::None, trailers: Vec::new(), nudge: None }
    }

    /// Room in `bytes` for a stream that may answer [`Pulled::Pending`].
    #[must_use]
    pub fn with_nudge(bytes: &'a mut [u8], nudge: &'a Nudge) -> Room<'a> {
        Room { nudge: Some(nudge), ..Room::new(bytes) }
    }

    /// What has the stream pulled again once it has answered [`Pulled::Pending`].
    #[must_use]
    pub fn nudge(&self) -> Nudge {
        self.nudge.cloned().unwrap_or_default()
    }

    /// Copies as much of `bytes` as fits and answers how much that was.
    pub fn put(&mut self, bytes: &[u8]) -> usize {
        let spare = self.spare();
        let size = bytes.len().min(spare.len());
        spare[..size].copy_from_slice(&bytes[..size]);
        self.size += size;
        size
    }

    /// Hands over bytes that are sent from where they lie, behind what was put: a large block, or a whole file.
    /// Nothing fits behind them in the same pull, so it panics where there are some already.
    pub fn lend(&mut self, payload: Payload) {
        assert!(!self.has_lent(), "one payload a pull");
        if payload.size() > 0 {
            self.lent = payload;
        }
    }

    /// Adds a trailer field, before the end is answered (RFC 9110 §6.5). It is sent where the body goes in chunks and the peer
    /// has said that it takes trailers; else it is dropped. Answers whether the field may be a trailer: its name and value
    /// are well-formed, and it says nothing of framing, routing or the connection (RFC 9110 §6.5.1).
    pub fn trailer(&mut self, name: &[u8], value: &[u8]) -> bool {
        let is_right = header::is_trailer(name) && header::is_field_value(value);
        if is_right {
            [name, b": ", value, b"\r\n"].into_iter().for_each(|part| self.trailers.extend_from_slice(part));
        }
        is_right
    }

    /// Whether something was lent, so that nothing more fits.
    #[must_use]
    pub fn has_lent(&self) -> bool {
        !matches!(self.lent, Payload::None)
    }

    pub(crate) fn take_trailers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.trailers)
    }

    pub(crate) fn take_lent(&mut self) -> Payload {
        std::mem::take(&mut self.lent)
    }

    /// The free bytes, to be written in place; then [`Room::advance`].
    pub fn spare(&mut self) -> &mut [u8] {
        let start = if self.has_lent() { self.bytes.len() } else { self.size };
        &mut self.bytes[start..]
    }

    /// Counts `size` bytes written into [`Room::spare`].
    pub fn advance(&mut self, size: usize) {
        assert!(size <= self.bytes.len() - self.size, "no more is written than there is room for");
        self.size += size;
    }

    /// Bytes written so far.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }
}

impl<I> Stream for Blocks<I>
where
    I: Iterator + Send,
    I::Item: AsRef<[u8]>,
{
    fn pull(&mut self, room: &mut Room<'_>) -> io::Result<Pulled> {
        if self.rest.is_empty() {
            let Some(block) = self.iterator.next() else { return Ok(Pulled::End) };
            let bytes = block.as_ref();
            let size = room.put(bytes);
            self.rest.extend(&bytes[size..]);
            return Ok(Pulled::More);
        }
        let (front, _) = self.rest.as_slices();
        let size = room.put(front);
        self.rest.drain(..size);
        Ok(Pulled::More)
    }
}

impl<R: io::Read + Send> Stream for Reader<R> {
    fn pull(&mut self, room: &mut Room<'_>) -> io::Result<Pulled> {
        match self.0.read(room.spare()) {
            Ok(0) => Ok(Pulled::End),
            Ok(size) => {
                room.advance(size);
                Ok(Pulled::More)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Pulled::More),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_larger_than_the_room_come_in_pieces() {
        let mut stream = blocks(["one".to_string(), String::new(), "two".repeat(10)]);
        let mut seen = Vec::new();
        loop {
            let mut bytes = [0; 4];
            let mut room = Room::new(&mut bytes);
            let pulled = stream.pull(&mut room).expect("blocks do not fail");
            let size = room.size();
            seen.extend_from_slice(&bytes[..size]);
            if pulled == Pulled::End {
                break;
            }
        }
        assert_eq!(seen, format!("one{}", "two".repeat(10)).into_bytes());
    }
}
