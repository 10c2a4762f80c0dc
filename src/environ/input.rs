//! `wsgi.input`: the body of a request, complete, in memory or in a file; or the end from which it is read as it comes.

use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::sync::Arc;

use crate::buffer::FileRange;
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
    Memory(&'a [u8]),
    Spooled(&'a Arc<Spool>),
    Streamed(&'a InputStream),
}

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
            Body::Spooled(spool) => spool.bytes(),
            Body::Streamed(_) => b"",
        }
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(self) -> u64 {
        match self.body {
            Body::Memory(bytes) => bytes.len() as u64,
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
            Body::Memory(_) | Body::Streamed(_) => None,
            Body::Spooled(spool) => Some(FileRange { file: spool.file().clone(), offset: 0, size: spool.size() }),
        }
    }

    /// The body as something that can be kept.
    pub(super) fn to_owned(self) -> OwnedInput {
        match self.body {
            Body::Memory(bytes) => OwnedInput::Memory(bytes.to_vec()),
            Body::Spooled(spool) => OwnedInput::Spooled(spool.clone()),
            Body::Streamed(stream) => OwnedInput::Streamed(stream.clone()),
        }
    }
}

/// A body that outlives its request's buffers.
pub(super) enum OwnedInput {
    Memory(Vec<u8>),
    Spooled(Arc<Spool>),
    Streamed(InputStream),
}

impl OwnedInput {
    pub(super) fn lend(&self) -> Input<'_> {
        match self {
            OwnedInput::Memory(bytes) => Input::new(bytes),
            OwnedInput::Spooled(spool) => Input::spooled(spool),
            OwnedInput::Streamed(stream) => Input::streamed(stream),
        }
    }

    pub(super) fn into_stream(self) -> InputStream {
        match self {
            OwnedInput::Memory(bytes) => InputStream::memory(bytes),
            OwnedInput::Spooled(spool) => InputStream::spooled(spool),
            OwnedInput::Streamed(stream) => stream,
        }
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
