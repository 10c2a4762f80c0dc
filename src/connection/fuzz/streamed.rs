//! An application whose input comes while it answers: it returns each body, whole, as it comes, or piece by piece as it is let.
//!
//! It notes what it reads, and what a server does that it must not: to poll what has ended, to pull while a send is in
//! flight, to keep what was cancelled. (It cannot panic over that, for a panic of an application is caught.) No I/O.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use crate::buffer::Payload;
use crate::environ::InputStream;
use crate::http::fuzz::reader::Head;
use crate::http::status::Status;
use crate::response::awaited::Awaited;
use crate::response::stream::{Pulled, Room};
use crate::response::{Responded, StartResponse};

use super::Call;

/// How a body is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Echo {
    /// When all of it has come.
    Whole,
    /// The same, and no piece is read before it is let.
    Let,
    /// As it comes, behind a head that is sent at once.
    Pieces,
    /// The same, and no piece is read before it is let.
    PiecesLet,
}

/// What the application and its answers share.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) calls: RefCell<Vec<Call>>,
    /// Who waits to be let, and how many may go on.
    waiting: RefCell<Vec<Waker>>,
    leave_count: Cell<usize>,
    /// Answers that have not been dropped.
    alive_count: Cell<usize>,
    /// Whether something is on its way to the peer.
    pub(super) is_sending: Rc<Cell<bool>>,
    /// What the server has done that it must not.
    wrongs: RefCell<Vec<&'static str>>,
}

/// An answer in the making.
pub(super) struct Answering {
    shared: Rc<Shared>,
    index: usize,
    echo: Echo,
    input: InputStream,
    /// What has been read and is not written.
    bytes: Vec<u8>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Awaiting,
    Ready,
    Pulling,
    Ended,
}

impl Echo {
    /// What becomes of a streamed request with this head.
    pub(super) fn of(choice: u8, head_method: &[u8]) -> Echo {
        // The answer to HEAD ends with its head, before the body of the request.
        match choice & 3 {
            0 => Echo::Whole,
            1 => Echo::Let,
            _ if head_method == b"HEAD" => Echo::Whole,
            2 => Echo::Pieces,
            _ => Echo::PiecesLet,
        }
    }

    /// Whether the head is sent before the body has come.
    pub(super) fn is_early(self) -> bool {
        matches!(self, Echo::Pieces | Echo::PiecesLet)
    }

    fn waits_for_leave(self) -> bool {
        matches!(self, Echo::Let | Echo::PiecesLet)
    }

    /// Whether the end of the connection is the end of the response's body.
    pub(super) fn closes(self, head: &Head) -> bool {
        self.is_early() && head.is_http10
    }
}

impl Shared {
    /// Lets everybody who waits read a piece. Answers whether there was anybody.
    pub(super) fn give_leave(&self) -> bool {
        let waiting = self.waiting.take();
        self.leave_count.set(waiting.len());
        waiting.iter().for_each(Waker::wake_by_ref);
        !waiting.is_empty()
    }

    /// Asserts that nothing was done that must not be.
    pub(super) fn check(&self) {
        let wrongs = self.wrongs.borrow();
        assert!(wrongs.is_empty(), "{wrongs:?}");
    }

    /// Asserts that no answer is left, when the connection has ended.
    pub(super) fn check_end(&self) {
        self.check();
        assert_eq!(self.alive_count.get(), 0, "what is cancelled is dropped");
    }

    fn note_wrong(&self, wrong: &'static str) {
        self.wrongs.borrow_mut().push(wrong);
    }
}

impl Answering {
    pub(super) fn new(shared: &Rc<Shared>, index: usize, echo: Echo, input: InputStream) -> Answering {
        shared.alive_count.set(shared.alive_count.get() + 1);
        Answering { shared: shared.clone(), index, echo, input, bytes: Vec::new(), stage: Stage::Awaiting }
    }

    /// The next piece, which is noted.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.echo.waits_for_leave() {
            let leave_count = self.shared.leave_count.get();
            if leave_count == 0 {
                self.shared.waiting.borrow_mut().push(context.waker().clone());
                return Poll::Pending;
            }
            self.shared.leave_count.set(leave_count - 1);
        }
        match ready!(self.input.poll_next(context)) {
            Some(Ok(piece)) => {
                if piece.is_empty() {
                    self.shared.note_wrong("a piece is empty");
                }
                self.shared.calls.borrow_mut()[self.index].body.extend_from_slice(&piece);
                self.bytes.extend_from_slice(&piece);
                Poll::Ready(Ok(true))
            }
            Some(Err(error)) => Poll::Ready(Err(io::Error::other(error))),
            None => Poll::Ready(Ok(false)),
        }
    }
}

impl Awaited for Answering {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.stage != Stage::Awaiting {
            self.shared.note_wrong("it is polled though it was ready");
        }
        while !self.echo.is_early() {
            match ready!(self.poll_piece(context)) {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => {
                    self.shared.note_wrong("an error is told to who can be answered for");
                    break;
                }
            }
        }
        self.stage = Stage::Ready;
        Poll::Ready(())
    }

    fn respond<'r>(&mut self, start_response: StartResponse<'r>) -> Responded<'r> {
        if self.stage != Stage::Ready {
            self.shared.note_wrong("it is asked though it is not ready");
        }
        let headers = start_response.start(Status::OK).header("X-Call", self.index.to_string());
        if self.echo.is_early() {
            self.stage = Stage::Pulling;
            return headers.pulled();
        }
        self.stage = Stage::Ended;
        headers.body(std::mem::take(&mut self.bytes))
    }

    fn pull(&mut self, room: &mut Room<'_>, context: &mut Context<'_>) -> io::Result<Pulled> {
        if self.stage != Stage::Pulling {
            self.shared.note_wrong("it is pulled though it has no body, or it has ended");
        }
        if self.shared.is_sending.get() {
            self.shared.note_wrong("it is pulled while the last block is on its way");
        }
        if self.bytes.is_empty() {
            match self.poll_piece(context) {
                Poll::Pending => return Ok(Pulled::Pending),
                Poll::Ready(read) => {
                    if !read.inspect_err(|_| self.stage = Stage::Ended)? {
                        self.stage = Stage::Ended;
                        return Ok(Pulled::End);
                    }
                }
            }
        }
        if self.bytes.len().is_multiple_of(3) {
            // One in three is sent from where it lies.
            room.lend(Payload::Owned(Box::new(std::mem::take(&mut self.bytes))));
            return Ok(Pulled::More);
        }
        let size = room.put(&self.bytes);
        self.bytes.drain(..size);
        Ok(Pulled::More)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.shared.alive_count.set(self.shared.alive_count.get() - 1);
    }
}
