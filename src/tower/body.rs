//! The body of a request, as the `http-body` crate has it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::environ::{InputError, InputStream};

/// The body of a request: complete, or read as it comes. Trailers are dropped by the server.
#[derive(Debug, Default)]
pub struct Body(Kind);

#[derive(Debug, Default)]
enum Kind {
    #[default]
    Empty,
    Whole(Bytes),
    Stream(InputStream),
}

impl Body {
    pub(super) fn whole(bytes: Bytes) -> Body {
        if bytes.is_empty() { Body(Kind::Empty) } else { Body(Kind::Whole(bytes)) }
    }

    pub(super) fn stream(stream: InputStream) -> Body {
        Body(Kind::Stream(stream))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = InputError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, InputError>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Stream(stream) => {
                let piece = std::task::ready!(stream.poll_next(context));
                Poll::Ready(piece.map(|piece| piece.map(|piece| Frame::data(piece.into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Whole(_) => false,
            Kind::Stream(stream) => stream.is_at_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(stream) => stream.size_left().map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
