//! `wsgi.input` of a request that is answered while its body still comes.
//!
//! The connection feeds a window of at most 64 KiB, from which the application takes piece by piece: when it is full the
//! connection stops to receive, and when half of it is free again it goes on. Both ends are `Send`, as an application
//! may hand its end on. A body that was complete when the application was called is read in the same way. This module
//! performs no I/O but on the file of a spooled body.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::http::error::Error;
use crate::response::guard::guarded;
use crate::spool::Spool;

/// The body of a request, in pieces as they come. Clones share what is still to be read. Dropping the last says that the
/// rest is not wanted.
#[derive(Clone)]
pub struct InputStream(Arc<Reading>);

/// Why a body ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputError {
    /// It is larger than the server takes, malformed, or was too slow. The peer is told, or its connection is closed.
    Refused(Error),
    /// The peer has gone, or the request was answered before.
    Gone,
    /// The file that it was spooled to cannot be read.
    Unreadable,
}

/// The reading end.
struct Reading {
    source: Source,
}

enum Source {
    Window(Arc<Window>),
    Whole(Mutex<Whole>),
}

/// A body that has come completely, as far as it has not been read.
enum Whole {
    Memory(Vec<u8>),
    Spooled(Arc<Spool>, u64),
}

/// The feeding end, which the connection holds. Dropping it before the end of the body is an error for the reader.
pub(crate) struct Feed {
    window: Arc<Window>,
}

struct Window {
    state: Mutex<State>,
    /// Has the connection called again.
    feeder: Waker,
}

/// What lies between the two ends.
///
/// Invariant: `size` is the sum of the pieces, and at most [`WINDOW_SIZE`].
struct State {
    pieces: VecDeque<Vec<u8>>,
    size: usize,
    /// Bytes of the body that have not been read, where that was declared.
    left: Option<u64>,
    end: End,
    /// Who waits for bytes.
    reader: Option<Waker>,
    /// Whether anybody has wanted bytes that were not there.
    is_asked: bool,
    is_reader_gone: bool,
    /// Whether the connection waits for room, or to be asked.
    is_feeder_waiting: bool,
}

enum End {
    Open,
    Complete,
    Failed(InputError),
}

impl InputStream {
    /// A window, and the end that feeds it; `feeder` has whoever feeds it look again. `declared` is the size of the body
    /// in bytes, where that is known.
    pub(crate) fn window(declared: Option<u64>, feeder: Waker) -> (Feed, InputStream) {
        let state = State {
            pieces: VecDeque::new(),
            size: 0,
            left: declared,
            end: End::Open,
            reader: None,
            is_asked: false,
            is_reader_gone: false,
            is_feeder_waiting: false,
        };
        let window = Arc::new(Window { state: Mutex::new(state), feeder });
        let reading = Reading { source: Source::Window(window.clone()) };
        (Feed { window }, InputStream(Arc::new(reading)))
    }

    pub(super) fn memory(bytes: Vec<u8>) -> InputStream {
        InputStream::whole(Whole::Memory(bytes))
    }

    pub(super) fn spooled(spool: Arc<Spool>) -> InputStream {
        InputStream::whole(Whole::Spooled(spool, 0))
    }

    fn whole(whole: Whole) -> InputStream {
        InputStream(Arc::new(Reading { source: Source::Whole(Mutex::new(whole)) }))
    }

    /// The next piece, never an empty one; `None` at the end of the body. To ask for bytes is what has a peer that expects
    /// a `100 Continue` told to send them (RFC 9110 §10.1.1). One task at a time is woken.
    ///
    /// # Errors
    /// Where the body ends early; again at each further call.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Vec<u8>, InputError>>> {
        match &self.0.source {
            Source::Window(window) => window.poll_next(context),
            Source::Whole(whole) => Poll::Ready(lock(whole).next()),
        }
    }

    /// Awaits the next piece, as [`InputStream::poll_next`].
    ///
    /// # Errors
    /// Where the body ends early.
    pub async fn next(&mut self) -> Option<Result<Vec<u8>, InputError>> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// Awaits all that is still to be read. It is at most what `--body-max` allows.
    ///
    /// # Errors
    /// Where the body ends early.
    pub async fn read_all(&mut self) -> Result<Vec<u8>, InputError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.next().await {
            let piece = piece?;
            if bytes.is_empty() {
                bytes = piece;
            } else {
                bytes.extend_from_slice(&piece);
            }
        }
        Ok(bytes)
    }

    /// Bytes that are still to be read; `None` where the peer has not said it, and for a chunked body until it is there.
    #[must_use]
    pub fn size_left(&self) -> Option<u64> {
        match &self.0.source {
            Source::Window(window) => {
                let state = lock(&window.state);
                if matches!(state.end, End::Complete) { Some(state.size as u64) } else { state.left }
            }
            Source::Whole(whole) => Some(lock(whole).size()),
        }
    }

    /// Whether everything has been read.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.size_left() == Some(0)
    }
}

impl Whole {
    fn size(&self) -> u64 {
        match self {
            Whole::Memory(bytes) => bytes.len() as u64,
            Whole::Spooled(spool, offset) => spool.size() - offset,
        }
    }

    fn next(&mut self) -> Option<Result<Vec<u8>, InputError>> {
        if self.size() == 0 {
            return None;
        }
        match self {
            Whole::Memory(bytes) => Some(Ok(std::mem::take(bytes))),
            Whole::Spooled(spool, offset) => {
                let read = read_piece(spool, *offset).map_err(|_| InputError::Unreadable);
                *offset += read.as_ref().map_or(0, |piece| piece.len() as u64);
                Some(read)
            }
        }
    }
}

fn read_piece(spool: &Arc<Spool>, offset: u64) -> io::Result<Vec<u8>> {
    let mut reader = spool.reader();
    reader.seek(SeekFrom::Start(offset))?;
    let mut piece = Vec::with_capacity(WINDOW_SIZE);
    reader.take(WINDOW_SIZE as u64).read_to_end(&mut piece)?;
    if piece.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(piece) }
}

impl Window {
    fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<Result<Vec<u8>, InputError>>> {
        let mut state = lock(&self.state);
        if let Some(piece) = state.pieces.pop_front() {
            state.size -= piece.len();
            state.left = state.left.map(|left| left.saturating_sub(piece.len() as u64));
            if state.size <= WINDOW_SIZE / 2 {
                self.tell_feeder(state);
            }
            return Poll::Ready(Some(Ok(piece)));
        }
        match state.end {
            End::Complete => Poll::Ready(None),
            End::Failed(error) => Poll::Ready(Some(Err(error))),
            End::Open => {
                state.reader = Some(context.waker().clone());
                state.is_asked = true;
                self.tell_feeder(state);
                Poll::Pending
            }
        }
    }

    fn tell_feeder(&self, mut state: MutexGuard<'_, State>) {
        let is_waiting = std::mem::take(&mut state.is_feeder_waiting);
        drop(state);
        if is_waiting {
            self.feeder.wake_by_ref();
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Source::Window(window) = &self.source {
            let mut state = lock(&window.state);
            state.is_reader_gone = true;
            state.reader = None;
            state.size = 0;
            let pieces = std::mem::take(&mut state.pieces);
            window.tell_feeder(state);
            drop(pieces);
        }
    }
}

impl Feed {
    /// Bytes that the window has room for.
    pub(crate) fn room(&self) -> usize {
        WINDOW_SIZE - lock(&self.window.state).size
    }

    /// Puts bytes into the window, for which there is room, and wakes the reader. Small pieces are joined, or they would
    /// cost many times what they hold.
    pub(crate) fn push(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut state = lock(&self.window.state);
        assert!(state.size + bytes.len() <= WINDOW_SIZE, "no more is put into the window than it has room for");
        state.size += bytes.len();
        match state.pieces.back_mut() {
            Some(last) if last.len() < PIECE_SIZE_MIN => last.extend_from_slice(bytes),
            Some(_) | None => state.pieces.push_back(bytes.to_vec()),
        }
        wake_reader(state);
    }

    /// The body has come completely.
    pub(crate) fn finish(&self) {
        self.end(End::Complete);
    }

    /// The body ends early. What of it has not been read is dropped.
    pub(crate) fn fail(&self, error: InputError) {
        self.end(End::Failed(error));
    }

    fn end(&self, end: End) {
        let mut state = lock(&self.window.state);
        if !matches!(state.end, End::Open) {
            return;
        }
        if matches!(end, End::Failed(_)) {
            state.pieces.clear();
            state.size = 0;
        }
        state.end = end;
        wake_reader(state);
    }

    /// Whether nobody will read any more.
    pub(crate) fn is_reader_gone(&self) -> bool {
        lock(&self.window.state).is_reader_gone
    }

    /// Whether somebody has wanted bytes that were not there.
    pub(crate) fn is_asked(&self) -> bool {
        lock(&self.window.state).is_asked
    }

    /// Says that the connection waits: to be asked, or for half of the window to be free. Answers whether it may, for that
    /// may have come meanwhile.
    pub(crate) fn wait(&self, for_asking: bool) -> bool {
        let mut state = lock(&self.window.state);
        let is_due = match for_asking {
            true => state.is_asked,
            false => state.size <= WINDOW_SIZE / 2,
        };
        state.is_feeder_waiting = !is_due;
        !is_due
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.fail(InputError::Gone);
    }
}

fn wake_reader(mut state: MutexGuard<'_, State>) {
    let reader = state.reader.take();
    drop(state);
    if let Some(reader) = reader {
        // It may be an application's own, and panic, or be all that kept what does.
        let _ = guarded(|| reader.wake());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InputError::Refused(error) => error.reason(),
            InputError::Gone => "The request has ended before its body.",
            InputError::Unreadable => "The file of the body cannot be read.",
        })
    }
}

impl std::error::Error for InputError {}

impl fmt::Debug for InputStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InputStream").field("size_left", &self.size_left()).finish_non_exhaustive()
    }
}

/// Bytes of a body that wait to be read at most: four blocks.
pub(crate) const WINDOW_SIZE: usize = 64 * 1024;
/// A piece that is smaller has the next bytes put behind it.
const PIECE_SIZE_MIN: usize = 4 * 1024;
