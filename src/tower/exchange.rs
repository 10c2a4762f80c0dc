//! One call of a service: waited for, polled, and its response written and pulled.

use std::fmt::Display;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use ::http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName};
use ::http::{Method, Request, Response, StatusCode};
use bytes::{Buf, Bytes};
use http_body::Frame;
use tower_service::Service;

use super::Body;
use super::gate::Gate;
use crate::buffer::Payload;
use crate::http::header;
use crate::http::status::Status;
use crate::response::awaited::Awaited;
use crate::response::fault::{Fault, one_line};
use crate::response::stream::{Pulled, Room};
use crate::response::{Headers, Responded, StartResponse};

/// A request in the hands of a service.
pub(super) struct Exchange<S, B>
where
    S: Service<Request<Body>>,
{
    gate: Rc<Gate<S>>,
    number: u64,
    is_head: bool,
    stage: Stage<S::Future, B>,
}

enum Stage<F, B> {
    /// The service is not ready. Boxed, because nearly every service is, and the other stages are small.
    Waiting(Option<Box<Request<Body>>>),
    Calling(Pin<Box<F>>),
    /// The response is there: to be written, then its body to be pulled.
    Answering(StatusCode, HeaderMap, Outgoing<B>),
    /// There is no response of the service's own.
    Failed(Option<Fault>),
}

/// The body of a response.
struct Outgoing<B> {
    /// `None` once it has ended.
    body: Option<Pin<Box<B>>>,
    /// What has been polled of it and is still to be written.
    bytes: Bytes,
    trailers: Option<Box<HeaderMap>>,
    /// All of its bytes, where that is known from the start.
    size: Option<u64>,
    /// Bytes that are still to be handed over, where the head has said how many there are.
    left: Option<u64>,
}

impl<S, B> Exchange<S, B>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Display,
    B: http_body::Body,
    B::Error: Display,
{
    /// Calls the service at once where it is ready, or else when it is polled and ready.
    pub(super) fn new(gate: Rc<Gate<S>>, request: Request<Body>) -> Exchange<S, B> {
        let (number, is_head) = (gate.number(), request.method() == Method::HEAD);
        // Whoever polls a service last is woken, and that is the connection where it is not ready now.
        let stage = match gate.poll_ready(number, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => Stage::Calling(Box::pin(gate.call(number, request))),
            Poll::Ready(Err(error)) => Stage::unready(&error),
            Poll::Pending => Stage::Waiting(Some(Box::new(request))),
        };
        Exchange { gate, number, is_head, stage }
    }
}

impl<F, B: http_body::Body> Stage<F, B> {
    fn answered<E: Display>(answered: Result<Response<B>, E>) -> Stage<F, B> {
        match answered {
            Ok(response) => {
                let (parts, body) = response.into_parts();
                Stage::Answering(parts.status, parts.headers, Outgoing::new(body))
            }
            Err(error) => Stage::failed(&error),
        }
    }

    fn unready(error: &impl Display) -> Stage<F, B> {
        Stage::Failed(Some(Fault::Unready(one_line(&error.to_string()))))
    }

    fn failed(error: &impl Display) -> Stage<F, B> {
        Stage::Failed(Some(Fault::Failed(one_line(&error.to_string()))))
    }
}

impl<S, B> Awaited for Exchange<S, B>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Display,
    B: http_body::Body,
    B::Error: Display,
{
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Stage::Waiting(request) = &mut self.stage {
            self.stage = match ready!(self.gate.poll_ready(self.number, context)) {
                Ok(()) => {
                    let request = request.take().expect("a service is called once");
                    Stage::Calling(Box::pin(self.gate.call(self.number, *request)))
                }
                Err(error) => Stage::unready(&error),
            };
        }
        if let Stage::Calling(future) = &mut self.stage {
            self.stage = Stage::answered(ready!(future.as_mut().poll(context)));
        }
        // A first look, whether the body is one piece; what is not there yet is pulled behind the head.
        if let Stage::Answering(status, _, outgoing) = &mut self.stage
            && !self.is_head
            && has_content(*status)
            && let Poll::Ready(Err(error)) = outgoing.poll_bytes(context)
        {
            self.stage = Stage::failed(&error);
        }
        Poll::Ready(())
    }

    fn respond<'r>(&mut self, start_response: StartResponse<'r>) -> Responded<'r> {
        match &mut self.stage {
            Stage::Answering(status, fields, outgoing) => {
                respond(start_response, *status, &std::mem::take(fields), outgoing, self.is_head)
            }
            Stage::Failed(fault) => start_response.refuse(fault.take().expect("it is asked once")),
            Stage::Waiting(_) | Stage::Calling(_) => unreachable!("it is asked when it is ready"),
        }
    }

    fn pull(&mut self, room: &mut Room<'_>, context: &mut Context<'_>) -> io::Result<Pulled> {
        match &mut self.stage {
            Stage::Answering(_, _, outgoing) => outgoing.pull(room, context),
            Stage::Waiting(_) | Stage::Calling(_) | Stage::Failed(_) => Ok(Pulled::End),
        }
    }
}

impl<S: Service<Request<Body>>, B> Drop for Exchange<S, B> {
    fn drop(&mut self) {
        // Also where the request is gone, because the service has panicked over it.
        if let Stage::Waiting(_) = self.stage {
            self.gate.leave(self.number);
        }
    }
}

/// Writes the head of a response, and its body where that is one piece.
fn respond<'r, B: http_body::Body>(
    start_response: StartResponse<'r>,
    status: StatusCode,
    fields: &HeaderMap,
    outgoing: &mut Outgoing<B>,
    is_head: bool,
) -> Responded<'r> {
    let Some(status) = Status::from_code(status.as_u16()) else {
        return start_response.refuse(Fault::StatusText(status.to_string()));
    };
    let headers = put_fields(start_response.start(status), fields, status);
    let is_declared = || fields.contains_key(CONTENT_LENGTH);
    if status.forbids_content() || is_head && is_declared() {
        return headers.empty();
    }
    if is_head {
        return match outgoing.size.filter(|size| *size > 0) {
            Some(size) => headers.header(CONTENT_LENGTH, itoa::Buffer::new().format(size)).empty(),
            // Of a body that is not there it is not known whether a GET would have had one.
            None => headers.pulled(),
        };
    }
    if outgoing.is_one_piece() {
        return headers.body_owned(std::mem::take(&mut outgoing.bytes));
    }
    outgoing.left = declared_size(fields).or(outgoing.size);
    match outgoing.size.filter(|_| !is_declared()) {
        Some(size) => headers.header(CONTENT_LENGTH, itoa::Buffer::new().format(size)).pulled(),
        None => headers.pulled(),
    }
}

/// Whether a response with this status may have a body, so that its body is worth a look.
fn has_content(status: StatusCode) -> bool {
    Status::from_code(status.as_u16()).is_some_and(|status| !status.forbids_content())
}

fn declared_size(fields: &HeaderMap) -> Option<u64> {
    fields.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Adds the service's fields, apart from those that are the server's (RFC 9110 §7.6.1). That includes the length of a 205, whose
/// body frameworks count before anybody drops it.
fn put_fields<'r>(mut headers: Headers<'r>, fields: &HeaderMap, status: Status) -> Headers<'r> {
    let is_dropped = |name: &HeaderName| {
        header::is_hop_by_hop(name.as_str().as_bytes()) || status == Status::RESET_CONTENT && name == CONTENT_LENGTH
    };
    for (name, value) in fields {
        if name == CONNECTION {
            if header::list(value.as_bytes()).any(|option| option.eq_ignore_ascii_case(b"close")) {
                headers = headers.close();
            }
        } else if !is_dropped(name) {
            headers = headers.header(name, value);
        }
    }
    headers
}

impl<B: http_body::Body> Outgoing<B> {
    fn new(body: B) -> Outgoing<B> {
        let size = body.size_hint().exact();
        let body = (!body.is_end_stream()).then(|| Box::pin(body));
        Outgoing { body, bytes: Bytes::new(), trailers: None, size, left: None }
    }

    /// Whether all of it is at hand.
    fn is_one_piece(&self) -> bool {
        self.body.is_none() && self.trailers.is_none()
    }
}

impl<B: http_body::Body> Outgoing<B>
where
    B::Error: Display,
{
    /// Ready when there are bytes to be written, or the body has ended. After a number of empty frames the others come first.
    fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<Result<(), String>> {
        let mut frame_count = 0;
        while self.bytes.is_empty() {
            let Some(body) = &mut self.body else { break };
            if frame_count == EMPTY_COUNT_MAX {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            frame_count += 1;
            let frame = match ready!(body.as_mut().poll_frame(context)) {
                Some(Ok(frame)) => Some(frame),
                Some(Err(error)) => {
                    self.body = None;
                    return Poll::Ready(Err(one_line(&error.to_string())));
                }
                None => None,
            };
            let is_last = frame.is_none() || body.is_end_stream();
            if let Some(frame) = frame {
                self.take_frame(frame);
            }
            if is_last {
                self.body = None;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn take_frame(&mut self, frame: Frame<B::Data>) {
        match frame.into_data() {
            Ok(mut data) => self.bytes = data.copy_to_bytes(data.remaining()),
            Err(frame) => self.trailers = frame.into_trailers().ok().map(Box::new).or(self.trailers.take()),
        }
    }

    fn pull(&mut self, room: &mut Room<'_>, context: &mut Context<'_>) -> io::Result<Pulled> {
        loop {
            match self.poll_bytes(context) {
                // Its peer has all that the head has promised, and may ask for the next.
                Poll::Pending if self.left == Some(0) => return Ok(Pulled::End),
                Poll::Pending => return Ok(Pulled::Pending),
                Poll::Ready(Err(error)) => return Err(io::Error::other(error)),
                Poll::Ready(Ok(())) => {}
            }
            if self.bytes.is_empty() {
                for (name, value) in self.trailers.take().as_deref().into_iter().flatten() {
                    room.trailer(name.as_str().as_bytes(), value.as_bytes());
                }
                return Ok(Pulled::End);
            }
            if self.bytes.len() >= LENT_SIZE_MIN {
                self.note_given(self.bytes.len());
                room.lend(Payload::Owned(Box::new(std::mem::take(&mut self.bytes))));
                return Ok(Pulled::More);
            }
            let size = room.put(&self.bytes);
            self.bytes.advance(size);
            self.note_given(size);
            if !self.bytes.is_empty() {
                return Ok(Pulled::More);
            }
        }
    }

    fn note_given(&mut self, size: usize) {
        self.left = self.left.map(|left| left.saturating_sub(size as u64));
    }
}

/// Empty frames that are polled at a time. A body may have them without end, and the others have their turns.
const EMPTY_COUNT_MAX: usize = 32;
/// From this size on a piece is sent from where it lies.
const LENT_SIZE_MIN: usize = 8 * 1024;
