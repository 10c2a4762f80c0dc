//! A body that another thread writes: a bounded pipe with a writer for that thread and a reader that is a [`Stream`].
//!
//! The window is 64 KiB. A writer for whom it is full blocks until the peer has taken some; a reader that has emptied
//! it waits for the next write without being pulled. Dropping the reader is how a writer learns that the peer has
//! gone. This module performs no I/O.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::buffer::{Payload, let_go};

use super::nudge::Nudge;
use super::stream::{Pulled, Room, Stream};

/// The writing end. Dropping it without [`Writer::finish`] aborts the response.
pub struct Writer {
    shared: Arc<Shared>,
}

/// The reading end, the body of a response.
pub struct Reader {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Told when there is room again, or the reader is gone.
    room: Condvar,
}

struct State {
    pieces: VecDeque<Piece>,
    /// What the pieces take of the window, in bytes.
    size: usize,
    end: End,
    is_reader_gone: bool,
    /// Whom to tell about the next piece, or the end.
    nudge: Option<Nudge>,
}

enum Piece {
    Bytes(VecDeque<u8>),
    Lent(Payload),
}

/// How the writer has left.
enum End {
    Open,
    Finished,
    Failed(String),
}

/// An empty pipe.
#[must_use]
pub fn pipe() -> (Writer, Reader) {
    let state = State { pieces: VecDeque::new(), size: 0, end: End::Open, is_reader_gone: false, nudge: None };
    let shared = Arc::new(Shared { state: Mutex::new(state), room: Condvar::new() });
    (Writer { shared: shared.clone() }, Reader { shared })
}

impl Writer {
    /// Copies `bytes` into the pipe; blocks while the window is full.
    ///
    /// # Errors
    /// `BrokenPipe` when the reader is gone: the peer has left, or its connection was cut.
    pub fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            // Who has nothing at hand learns all the same that nobody waits for it.
            return self.await_room(0).map(drop);
        }
        while !bytes.is_empty() {
            let mut state = self.await_room(1)?;
            let (piece, rest) = bytes.split_at(bytes.len().min(WINDOW_SIZE - state.size));
            state.size += piece.len();
            match state.pieces.back_mut() {
                Some(Piece::Bytes(last)) => last.extend(piece),
                Some(Piece::Lent(_)) | None => state.pieces.push_back(Piece::Bytes(piece.iter().copied().collect())),
            }
            bytes = rest;
            tell_reader(state);
        }
        Ok(())
    }

    /// Hands over bytes or a file that are sent from where they lie; blocks while the window is full. What is larger
    /// than the window waits for it to be empty.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub fn lend(&mut self, payload: Payload) -> io::Result<()> {
        if payload.size() == 0 {
            return Ok(());
        }
        let weight = weight(&payload);
        let mut state = self.await_room(weight)?;
        state.size += weight;
        state.pieces.push_back(Piece::Lent(payload));
        tell_reader(state);
        Ok(())
    }

    /// Whether so many bytes can be written without blocking.
    #[must_use]
    pub fn has_room(&self, size: u64) -> bool {
        let state = self.shared.lock();
        state.is_reader_gone
            || state.size == 0 && size >= WINDOW_SIZE as u64
            || size <= (WINDOW_SIZE - state.size) as u64
    }

    /// The end of the body.
    pub fn finish(self) {
        self.end(End::Finished);
    }

    /// Aborts the response, with the reason for the operator.
    pub fn fail(self, reason: impl Display) {
        self.end(End::Failed(reason.to_string()));
    }

    fn end(&self, end: End) {
        let mut state = self.shared.lock();
        if matches!(state.end, End::Open) {
            state.end = end;
            tell_reader(state);
        }
    }

    fn await_room(&self, size: usize) -> io::Result<MutexGuard<'_, State>> {
        let state = self.shared.lock();
        let is_full = |state: &mut State| !state.is_reader_gone && state.size + size > WINDOW_SIZE;
        let state = self.shared.room.wait_while(state, is_full).unwrap_or_else(PoisonError::into_inner);
        if state.is_reader_gone { Err(io::Error::from(io::ErrorKind::BrokenPipe)) } else { Ok(state) }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end(End::Failed("its writer was dropped before the end".into()));
    }
}

impl Stream for Reader {
    fn pull(&mut self, room: &mut Room<'_>) -> io::Result<Pulled> {
        let mut state = self.shared.lock();
        while let Some(piece) = state.pieces.pop_front() {
            match piece {
                Piece::Bytes(mut bytes) => {
                    let size = room.put(bytes.as_slices().0);
                    state.size -= size;
                    bytes.drain(..size);
                    if !bytes.is_empty() {
                        state.pieces.push_front(Piece::Bytes(bytes));
                    }
                    if size == 0 {
                        break;
                    }
                }
                Piece::Lent(payload) => {
                    state.size -= weight(&payload);
                    room.lend(payload);
                    break;
                }
            }
        }
        self.shared.room.notify_one();
        let has_any = room.size() > 0 || room.has_lent();
        if !state.pieces.is_empty() {
            return Ok(Pulled::More);
        }
        match &state.end {
            End::Finished => Ok(Pulled::End),
            _ if has_any => Ok(Pulled::More),
            End::Failed(reason) => Err(io::Error::other(reason.clone())),
            End::Open => {
                state.nudge = Some(room.nudge());
                Ok(Pulled::Pending)
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_reader_gone = true;
        state.nudge = None;
        let pieces = std::mem::take(&mut state.pieces);
        drop(state);
        self.shared.room.notify_one();
        let_go(pieces);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nudges whoever waits, once, without the lock.
fn tell_reader(mut state: MutexGuard<'_, State>) {
    let nudge = state.nudge.take();
    drop(state);
    if let Some(nudge) = nudge {
        nudge.nudge();
    }
}

/// What a payload takes of the window: one that is larger takes all of it.
fn weight(payload: &Payload) -> usize {
    usize::try_from(payload.size()).unwrap_or(usize::MAX).min(WINDOW_SIZE)
}

/// Bytes that a writer may be ahead of the peer: four blocks.
const WINDOW_SIZE: usize = 64 * 1024;
