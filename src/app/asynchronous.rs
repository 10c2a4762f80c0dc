//! Applications that await, in the words of those that do not.
//!
//! ```
//! use ringway::{Status, asynchronous};
//!
//! let greeter = asynchronous(async |mut environ, start_response| {
//!     let Ok(name) = environ.take_input().read_all().await else {
//!         return start_response.fail("the body ended early");
//!     };
//!     let name = String::from_utf8_lossy(&name);
//!     start_response.start(Status::OK).header("Content-Type", "text/plain").body(format!("Hello, {name}!"))
//! });
//! # let _ = ringway::Named::new("mine:app", greeter);
//! ```
//!
//! The function gets an environ of its own and a `start_response` that outlives the call. Its future is polled at once and
//! answers at once where it is ready; it need not be `Send`. The body of the request is read as it comes, that of the
//! response is written by a future as well ([`Headers::write`]), each under the other end's backpressure. When the peer has
//! gone the future is dropped. Nothing here needs a particular runtime; the worker brings one.

use std::cell::RefCell;
use std::fmt::Display;
use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use crate::buffer::{FileRange, Payload};
use crate::environ::{Environ, OwnedEnviron};
use crate::http::status::Status;
use crate::response;
use crate::response::awaited::Awaited;
use crate::response::stream::{Pulled, Room, Stream};

use super::{Admission, Application};

/// An asynchronous function as an application.
pub struct Asynchronous<F>(F);

/// A response that has not been started.
#[must_use = "a response must be started"]
pub struct StartResponse(());

/// A response with a status, to which fields may be added.
#[must_use = "a response needs a body; `empty()` gives it none"]
pub struct Headers {
    status: Status,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    closes: bool,
}

/// A whole response, or one whose body is still written.
#[must_use = "a response is returned to the server"]
pub struct Responded {
    answer: Answer,
}

enum Answer {
    Failed(String),
    Started(Headers, Body),
}

enum Body {
    Bytes(Vec<u8>),
    Payload(Payload),
    Stream(Box<dyn Stream>),
    Written(Writing),
}

/// The writing end of a response's body.
pub struct Writer {
    desk: Rc<RefCell<Desk>>,
}

/// A body under way: who writes it, and what has been written and not been sent.
struct Writing {
    /// `None` when it has ended.
    future: Option<Pin<Box<dyn Future<Output = io::Result<()>>>>>,
    desk: Rc<RefCell<Desk>>,
    /// Bytes of the piece that have been sent.
    offset: usize,
}

/// What lies between a writer and the connection: one piece.
#[derive(Default)]
struct Desk {
    /// Empty where the writer may go on.
    piece: Vec<u8>,
    /// Whether the connection looks for itself, because it is polling the body's future.
    is_attended: bool,
    is_closed: bool,
    writer: Option<Waker>,
    connection: Option<Waker>,
}

/// A call of an asynchronous function.
struct Call<F> {
    stage: Stage<F>,
}

enum Stage<F> {
    Awaiting(Pin<Box<F>>),
    Answering(Option<Answer>),
    Writing(Writing),
}

/// Makes an application of an asynchronous function or closure.
pub fn asynchronous<F, Answering>(call: F) -> Asynchronous<F>
where
    F: Fn(OwnedEnviron, StartResponse) -> Answering,
    Answering: Future<Output = Responded> + 'static,
{
    Asynchronous(call)
}

impl<F, Answering> Application for Asynchronous<F>
where
    F: Fn(OwnedEnviron, StartResponse) -> Answering,
    Answering: Future<Output = Responded> + 'static,
{
    fn call<'r>(&self, environ: &Environ<'_>, start_response: response::StartResponse<'r>) -> response::Responded<'r> {
        let future = Box::pin((self.0)(environ.to_owned(), StartResponse(())));
        start_response.when(Box::new(Call { stage: Stage::Awaiting(future) }))
    }

    fn admit(&self, _environ: &Environ<'_>) -> Admission {
        Admission::Stream
    }

    fn needs_runtime(&self) -> bool {
        true
    }
}

impl StartResponse {
    /// Starts the response with a final status (RFC 9110 §15).
    pub fn start(self, status: Status) -> Headers {
        Headers { status, fields: Vec::new(), closes: false }
    }

    /// The application failed: the peer gets 500, and the operator `reason` on one line.
    pub fn fail(self, reason: impl Display) -> Responded {
        Responded { answer: Answer::Failed(reason.to_string()) }
    }
}

/// The same as of [`response::Headers`]; what breaks a rule is told when the future is ready.
impl Headers {
    /// Adds a field.
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Headers {
        self.fields.push((name.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// Adds every field of an iterable.
    pub fn headers<N: AsRef<[u8]>, V: AsRef<[u8]>>(self, fields: impl IntoIterator<Item = (N, V)>) -> Headers {
        fields.into_iter().fold(self, |headers, (name, value)| headers.header(name, value))
    }

    /// Closes the connection after this response.
    pub fn close(mut self) -> Headers {
        self.closes = true;
        self
    }

    /// Completes the response with these bytes.
    pub fn body(self, bytes: impl Into<Vec<u8>>) -> Responded {
        self.complete(Body::Bytes(bytes.into()))
    }

    /// Completes the response without a body.
    pub fn empty(self) -> Responded {
        self.body([])
    }

    /// Completes the response with bytes that are sent from where they lie.
    pub fn body_owned(self, bytes: impl AsRef<[u8]> + Send + 'static) -> Responded {
        match bytes.as_ref().len() {
            0..LENT_SIZE_MIN => self.body(bytes.as_ref()),
            _ => self.complete(Body::Payload(Payload::Owned(Box::new(bytes)))),
        }
    }

    /// Completes the response with `size` bytes of `file` from `offset` on (bytes, both).
    pub fn file(self, file: impl Into<Arc<File>>, offset: u64, size: u64) -> Responded {
        match size {
            0 => self.empty(),
            _ => self.complete(Body::Payload(Payload::File(FileRange { file: file.into(), offset, size }))),
        }
    }

    /// Completes the response with a body that is pulled when there is room.
    pub fn stream(self, stream: impl Stream + 'static) -> Responded {
        self.complete(Body::Stream(Box::new(stream)))
    }

    /// Completes the response with a body that `write` writes, piece by piece: `async |mut writer| …`. The head goes out with
    /// the first piece, or before where there is none at once. An error aborts the connection, so that the peer sees that
    /// the body is not whole; so does a panic. Where the peer has gone the future is dropped.
    pub fn write<Writing>(self, write: impl FnOnce(Writer) -> Writing) -> Responded
    where
        Writing: Future<Output = io::Result<()>> + 'static,
    {
        let desk: Rc<RefCell<Desk>> = Rc::default();
        let future = Box::pin(write(Writer { desk: desk.clone() }));
        self.complete(Body::Written(self::Writing { future: Some(future), desk, offset: 0 }))
    }

    fn complete(self, body: Body) -> Responded {
        Responded { answer: Answer::Started(self, body) }
    }
}

impl Writer {
    /// Writes bytes, once those before have been taken for a send.
    ///
    /// # Errors
    /// `BrokenPipe` where the peer has gone, or its connection was cut: for a writer that was handed on to another task.
    pub async fn write(&mut self, bytes: impl Into<Vec<u8>>) -> io::Result<()> {
        poll_fn(|context| self.desk.borrow_mut().poll_free(context)).await?;
        let mut desk = self.desk.borrow_mut();
        desk.piece = bytes.into();
        let waker = desk.connection.take().filter(|_| !desk.is_attended);
        drop(desk);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }
}

impl Desk {
    fn poll_free(&mut self, context: &Context<'_>) -> Poll<io::Result<()>> {
        if self.is_closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if self.piece.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.writer = Some(context.waker().clone());
        Poll::Pending
    }
}

impl<F: Future<Output = Responded>> Awaited for Call<F> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Stage::Awaiting(future) = &mut self.stage {
            let Responded { answer } = ready!(future.as_mut().poll(context));
            self.stage = Stage::Answering(Some(answer));
        }
        Poll::Ready(())
    }

    fn respond<'r>(&mut self, start_response: response::StartResponse<'r>) -> response::Responded<'r> {
        let answer = match &mut self.stage {
            Stage::Answering(answer) => answer.take(),
            Stage::Awaiting(_) | Stage::Writing(_) => None,
        };
        let (Headers { status, fields, closes }, body) = match answer {
            Some(Answer::Started(headers, body)) => (headers, body),
            Some(Answer::Failed(reason)) => return start_response.fail(reason),
            None => unreachable!("it is asked once, when it is ready"),
        };
        let mut headers = start_response.start(status).headers(fields);
        if closes {
            headers = headers.close();
        }
        match body {
            Body::Bytes(bytes) => headers.body_owned(bytes),
            Body::Payload(payload) => headers.payload(payload),
            Body::Stream(stream) => headers.stream(Boxed(stream)),
            Body::Written(writing) => {
                self.stage = Stage::Writing(writing);
                headers.pulled()
            }
        }
    }

    fn pull(&mut self, room: &mut Room<'_>, context: &mut Context<'_>) -> io::Result<Pulled> {
        match &mut self.stage {
            Stage::Writing(writing) => writing.pull(room, context),
            Stage::Awaiting(_) | Stage::Answering(_) => Ok(Pulled::End),
        }
    }
}

impl Writing {
    fn pull(&mut self, room: &mut Room<'_>, context: &mut Context<'_>) -> io::Result<Pulled> {
        loop {
            if !self.pass_piece(room, context) {
                return Ok(Pulled::More);
            }
            let Some(future) = &mut self.future else { return Ok(Pulled::End) };
            self.desk.borrow_mut().is_attended = true;
            let polled = future.as_mut().poll(context);
            let mut desk = self.desk.borrow_mut();
            desk.is_attended = false;
            match polled {
                Poll::Ready(result) => {
                    result?;
                    drop(desk);
                    self.future = None;
                }
                Poll::Pending if desk.piece.is_empty() => {
                    desk.connection = Some(context.waker().clone());
                    return Ok(Pulled::Pending);
                }
                Poll::Pending => {}
            }
        }
    }

    /// Writes what there is of a piece. Answers whether all of it had room, and more has.
    fn pass_piece(&mut self, room: &mut Room<'_>, context: &Context<'_>) -> bool {
        let mut desk = self.desk.borrow_mut();
        if desk.piece.is_empty() {
            return true;
        }
        let is_lent = desk.piece.len() >= LENT_SIZE_MIN && self.offset == 0;
        if is_lent {
            room.lend(Payload::Owned(Box::new(std::mem::take(&mut desk.piece))));
        } else {
            self.offset += room.put(&desk.piece[self.offset..]);
            if self.offset < desk.piece.len() {
                return false;
            }
            desk.piece.clear();
            self.offset = 0;
        }
        // It may have been handed on to another task. Where it is the body's own, that is polled next.
        let writer = desk.writer.take().filter(|writer| !writer.will_wake(context.waker()));
        drop(desk);
        if let Some(writer) = writer {
            writer.wake();
        }
        !is_lent
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let mut desk = self.desk.borrow_mut();
        desk.is_closed = true;
        let writer = desk.writer.take();
        drop(desk);
        if let Some(writer) = writer {
            writer.wake();
        }
    }
}

/// A stream that is boxed already.
struct Boxed(Box<dyn Stream>);

impl Stream for Boxed {
    fn pull(&mut self, room: &mut Room<'_>) -> io::Result<Pulled> {
        self.0.pull(room)
    }
}

/// From this size on a piece is sent from where it lies.
const LENT_SIZE_MIN: usize = 8 * 1024;
