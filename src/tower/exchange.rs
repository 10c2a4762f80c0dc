//! One call of a service: waited for, polled, and its response written and pulled.

use std::fmt::Display;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use ::http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName};
use ::http::{Method, Request, Response, StatusCode, response};
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
    Waiting(Option<Request<Body>>),
    Calling(Pin<Box<F>>),
    /// The response is there; whether its body is one piece is being looked at.
    Beginning(Box<response::Parts>, Outgoing<B>),
    /// There is no response of the service's own.
    Failed(Fault),
    Pulling(Outgoing<B>),
}

/// The body of a response.
struct Outgoing<B> {
    /// `None` once it has ended.
    body: Option<Pin<Box<B>>>,
    /// What has been polled of it and is still to be written.
    bytes: Bytes,
    trailers: Option<HeaderMap>,
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
    pub(super) fn new(gate: Rc<Gate<S>>, request: Request<Body>) -> Exchange<S, B> {
        let number = gate.number();
        Exchange { gate, number, is_head: request.method() == Method::HEAD, stage: Stage::Waiting(Some(request)) }
    }

    /// The next stage; ready once there is something to be written.
    fn poll_stage(&mut self, context: &mut Context<'_>) -> Poll<Option<Stage<S::Future, B>>> {
        Poll::Ready(match &mut self.stage {
            Stage::Waiting(request) => match ready!(self.gate.poll_call(self.number, request, context)) {
                Ok(future) => Some(Stage::Calling(Box::pin(future))),
                Err(error) => Some(Stage::Failed(Fault::Unready(one_line(&error.to_string())))),
            },
            Stage::Calling(future) => match ready!(future.as_mut().poll(context)) {
                Ok(response) => {
                    let (parts, body) = response.into_parts();
                    Some(Stage::Beginning(Box::new(parts), Outgoing::new(body)))
                }
                Err(error) => Some(Stage::Failed(Fault::Failed(one_line(&error.to_string())))),
            },
            // A first look; what is not there yet is pulled behind the head.
            Stage::Beginning(parts, outgoing) if !self.is_head && has_content(parts.status) => {
                match outgoing.poll_bytes(context) {
                    Poll::Ready(Err(error)) => Some(Stage::Failed(Fault::Failed(error))),
                    Poll::Ready(Ok(())) | Poll::Pending => None,
                }
            }
            Stage::Beginning(..) | Stage::Failed(_) | Stage::Pulling(_) => None,
        })
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
        while let Some(stage) = ready!(self.poll_stage(context)) {
            self.stage = stage;
        }
        Poll::Ready(())
    }

    fn respond<'r>(&mut self, start_response: StartResponse<'r>) -> Responded<'r> {
        match std::mem::replace(&mut self.stage, Stage::Waiting(None)) {
            Stage::Beginning(parts, mut outgoing) => {
                let responded = respond(start_response, &parts, &mut outgoing, self.is_head);
                self.stage = Stage::Pulling(outgoing);
                responded
            }
            Stage::Failed(fault) => start_response.refuse(fault),
            Stage::Waiting(_) | Stage::Calling(_) | Stage::Pulling(_) => unreachable!("it is asked when it is ready"),
        }
    }

    fn pull(&mut self, room: &mut Room<'_>, context: &mut Context<'_>) -> io::Result<Pulled> {
        match &mut self.stage {
            Stage::Pulling(outgoing) => outgoing.pull(room, context),
            Stage::Waiting(_) | Stage::Calling(_) | Stage::Beginning(..) | Stage::Failed(_) => Ok(Pulled::End),
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
    parts: &response::Parts,
    outgoing: &mut Outgoing<B>,
    is_head: bool,
) -> Responded<'r> {
    let Some(status) = Status::from_code(parts.status.as_u16()) else {
        return start_response.refuse(Fault::StatusText(parts.status.to_string()));
    };
    let headers = put_fields(start_response.start(status), &parts.headers, status);
    let is_declared = parts.headers.contains_key(CONTENT_LENGTH);
    if status.forbids_content() || is_head && is_declared {
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
    outgoing.left = declared_size(&parts.headers).or(outgoing.size);
    match outgoing.size.filter(|_| !is_declared) {
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
            Err(frame) => self.trailers = frame.into_trailers().ok().or(self.trailers.take()),
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
                for (name, value) in self.trailers.take().iter().flatten() {
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
