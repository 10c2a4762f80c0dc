//! `wsgi.input`: the body of a request, complete, in memory or in a file; or the end from which it is read as it comes.

use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::sync::Arc;

use crate::buffer::{FileRange, PAYLOAD_SIZE_MIN, Payload};
use crate::spool::{Spool, SpoolReader};

use super::InputStream;

/// The body of the request. An application is called when it has arrived completely, unless it has said that it takes it
/// as it comes ([`Admission::Stream`](crate::Admission::Stream)): then there is nothing in here but for
/// [`Environ::input_stream`](super::Environ::input_stream).
#[derive(Clone, Copy)]
pub struct Input<'a> {
    body: Body<'a>,
}

#[derive(Clone, Copy)]
enum Body<'a> {
    /// In a receive buffer, which others will use.
    Memory(&'a [u8]),
    /// In memory of its own, which may be shared.
    Gathered(&'a Gathered),
    Spooled(&'a Arc<Spool>),
    Streamed(&'a InputStream),
}

/// A body in memory of its own. Whoever keeps a clone keeps the memory; nobody writes to it meanwhile.
#[derive(Clone, Default)]
pub struct Gathered(Option<Arc<Vec<u8>>>);

/// Reads a body from its beginning, wherever it lies.
pub struct InputReader<'a> {
    source: Source<'a>,
}

enum Source<'a> {
    Memory(Cursor<&'a [u8]>),
    Spooled(BufReader<SpoolReader<'a>>),
}

impl<'a> Input<'a> {
    /// A body that lies in memory.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Input<'a> {
        Input { body: Body::Memory(bytes) }
    }

    /// A body that lies in memory of its own.
    #[must_use]
    pub fn gathered(body: &'a Gathered) -> Input<'a> {
        Input { body: Body::Gathered(body) }
    }

    /// A body that lies in a file.
    #[must_use]
    pub fn spooled(spool: &'a Arc<Spool>) -> Input<'a> {
        Input { body: Body::Spooled(spool) }
    }

    /// A body that still comes.
    pub(crate) fn streamed(stream: &'a InputStream) -> Input<'a> {
        Input { body: Body::Streamed(stream) }
    }

    pub(crate) fn is_streamed(self) -> bool {
        matches!(self.body, Body::Streamed(_))
    }

    /// The body in pieces.
    pub(super) fn stream(self) -> InputStream {
        self.to_owned().into_stream()
    }

    /// All of it. One that was spooled, being larger than `--body-memory`, is read into memory first: prefer
    /// [`Input::reader`] or [`Input::file`] where bodies may be large.
    ///
    /// # Panics
    /// Where the file of a spooled body cannot be read, which costs this request a 500.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        match self.body {
            Body::Memory(bytes) => bytes,
            Body::Gathered(gathered) => gathered.as_ref(),
            Body::Spooled(spool) => spool.bytes(),
            Body::Streamed(_) => b"",
        }
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(self) -> u64 {
        match self.body {
            Body::Memory(bytes) => bytes.len() as u64,
            Body::Gathered(gathered) => gathered.as_ref().len() as u64,
            Body::Spooled(spool) => spool.size(),
            Body::Streamed(_) => 0,
        }
    }

    /// Whether there is no byte of it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.size() == 0
    }

    /// A reader of it, from the beginning.
    #[must_use]
    pub fn reader(self) -> InputReader<'a> {
        let source = match self.body {
            Body::Memory(bytes) => Source::Memory(Cursor::new(bytes)),
            Body::Gathered(gathered) => Source::Memory(Cursor::new(gathered.as_ref())),
            Body::Spooled(spool) => Source::Spooled(BufReader::new(spool.reader())),
            Body::Streamed(_) => Source::Memory(Cursor::new(b"")),
        };
        InputReader { source }
    }

    /// The file that it was spooled to, to be sent, copied or kept: it has no name and is gone with its last
    /// handle. `None` for a body in memory.
    #[must_use]
    pub fn file(self) -> Option<FileRange> {
        match self.body {
            Body::Memory(_) | Body::Gathered(_) | Body::Streamed(_) => None,
            Body::Spooled(spool) => Some(FileRange { file: spool.file().clone(), offset: 0, size: spool.size() }),
        }
    }

    /// The body as something that is sent from where it lies: its file, or memory of its own, which then is the
    /// response's. `None` where it is better copied: if it has less than 8 KiB, or lies in a receive buffer.
    #[must_use]
    pub fn payload(self) -> Option<Payload> {
        match self.body {
            Body::Memory(_) | Body::Streamed(_) => None,
            Body::Gathered(gathered) if gathered.as_ref().len() < PAYLOAD_SIZE_MIN => None,
            Body::Gathered(gathered) => Some(Payload::Owned(Box::new(gathered.clone()))),
            Body::Spooled(_) => self.file().map(Payload::File),
        }
    }

    /// The body as something that can be kept.
    pub(super) fn to_owned(self) -> OwnedInput {
        match self.body {
            Body::Memory(bytes) => OwnedInput::Memory(bytes.to_vec()),
            Body::Gathered(gathered) if gathered.is_worth_keeping() => OwnedInput::Gathered(gathered.clone()),
            Body::Gathered(gathered) => OwnedInput::Memory(gathered.as_ref().to_vec()),
            Body::Spooled(spool) => OwnedInput::Spooled(spool.clone()),
            Body::Streamed(stream) => OwnedInput::Streamed(stream.clone()),
        }
    }
}

/// A body that outlives its request's buffers.
pub(super) enum OwnedInput {
    Memory(Vec<u8>),
    Gathered(Gathered),
    Spooled(Arc<Spool>),
    Streamed(InputStream),
}

impl OwnedInput {
    pub(super) fn lend(&self) -> Input<'_> {
        match self {
            OwnedInput::Memory(bytes) => Input::new(bytes),
            OwnedInput::Gathered(gathered) => Input::gathered(gathered),
            OwnedInput::Spooled(spool) => Input::spooled(spool),
            OwnedInput::Streamed(stream) => Input::streamed(stream),
        }
    }

    pub(super) fn into_stream(self) -> InputStream {
        match self {
            OwnedInput::Memory(bytes) => InputStream::memory(bytes),
            OwnedInput::Gathered(gathered) => InputStream::memory(gathered.as_ref().to_vec()),
            OwnedInput::Spooled(spool) => InputStream::spooled(spool),
            OwnedInput::Streamed(stream) => stream,
        }
    }
}

impl Gathered {
    /// The memory, to be written. Where somebody has kept the last body, it is theirs, and this is other memory.
    pub(crate) fn memory(&mut self) -> &mut Vec<u8> {
        if self.0.as_mut().is_none_or(|shared| Arc::get_mut(shared).is_none()) {
            self.0 = None;
        }
        Arc::get_mut(self.0.get_or_insert_default()).expect("memory that nobody else has")
    }

    /// Whether a body is kept better where it lies than in memory of its own size: it is not small, and most of the memory
    /// is the body's. That of an earlier and larger one stays for the next.
    fn is_worth_keeping(&self) -> bool {
        self.0.as_ref().is_some_and(|bytes| bytes.len() >= PAYLOAD_SIZE_MIN && bytes.capacity() / 2 <= bytes.len())
    }
}

impl AsRef<[u8]> for Gathered {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |shared| shared)
    }
}

impl Read for InputReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.source {
            Source::Memory(cursor) => cursor.read(buffer),
            Source::Spooled(reader) => reader.read(buffer),
        }
    }
}

impl BufRead for InputReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match &mut self.source {
            Source::Memory(cursor) => cursor.fill_buf(),
            Source::Spooled(reader) => reader.fill_buf(),
        }
    }

    fn consume(&mut self, size: usize) {
        match &mut self.source {
            Source::Memory(cursor) => cursor.consume(size),
            Source::Spooled(reader) => reader.consume(size),
        }
    }
}

impl Seek for InputReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match &mut self.source {
            Source::Memory(cursor) => cursor.seek(to),
            Source::Spooled(reader) => reader.seek(to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body of so many bytes, in memory that has room for so many.
    fn gathered(size: usize, capacity: usize) -> Gathered {
        let mut gathered = Gathered::default();
        gathered.memory().reserve_exact(capacity);
        gathered.memory().extend((0..size).map(|index| (index % 251) as u8));
        gathered
    }

    #[test]
    fn a_body_is_kept_where_it_lies_unless_that_keeps_much_more() {
        for (size, capacity, is_shared) in [
            (0, 0, false),
            (5, 5, false),
            (5, 64 * 1024, false),
            (PAYLOAD_SIZE_MIN - 1, PAYLOAD_SIZE_MIN - 1, false),
            (PAYLOAD_SIZE_MIN, PAYLOAD_SIZE_MIN, true),
            (PAYLOAD_SIZE_MIN, 64 * 1024, false),
            (40_000, 40_000, true),
            (40_000, 64 * 1024, true),
            // As far as doubling may go.
            (100_000, 200_001, true),
            (100_000, 200_002, false),
        ] {
            let mut body = gathered(size, capacity);
            assert_eq!(body.memory().capacity(), capacity, "the allocator gives what is asked for");
            let (expected, place) = (body.as_ref().to_vec(), body.as_ref().as_ptr());
            let kept = Input::gathered(&body).to_owned();
            assert_eq!(kept.lend().bytes(), expected, "{size} of {capacity}");
            assert_eq!(kept.lend().bytes().as_ptr() == place && size > 0, is_shared, "{size} of {capacity}");
            // The memory is the next body's where it was not given away.
            assert_eq!(body.memory().capacity(), if is_shared { 0 } else { capacity }, "{size} of {capacity}");
            assert_eq!(kept.lend().bytes(), expected, "{size} of {capacity}");
        }
    }
}
