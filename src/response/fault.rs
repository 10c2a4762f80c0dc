//! What an application did wrong, each in its own sentence.
//!
//! A fault costs the request a 500, or the connection where the head is already gone; it never reaches
//! the peer in words. This module writes nothing itself.

use thiserror::Error;

use crate::http::status::Status;

/// A broken rule of the gateway interface. The first word is who is at fault: the application.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// PEP 3333, "The start_response() Callable".
    #[error("the status {0:?} is not three digits from 200 to 999, a space and a reason phrase")]
    StatusText(String),
    /// RFC 9110 §5.6.2.
    #[error("the field name {0:?} is not a token")]
    FieldName(String),
    /// RFC 9110 §5.5; a line break in a value would let it forge fields.
    #[error("the value of {0} contains CR, LF, NUL or another control byte")]
    FieldValue(String),
    /// PEP 3333, "Other HTTP Features"; RFC 9110 §7.6.1.
    #[error("{0} is a hop-by-hop field, which belongs to the server")]
    HopByHop(String),
    /// RFC 9110 §8.6.
    #[error("Content-Length was declared twice")]
    SecondLength,
    /// RFC 9110 §8.6.
    #[error("the Content-Length {0:?} is not a number of bytes")]
    LengthValue(String),
    /// PEP 3333, "Handling the Content-Length Header".
    #[error("Content-Length was declared as {declared}, but the body has {actual} bytes")]
    SizeMismatch {
        /// The declared size, in bytes.
        declared: u64,
        /// The size of the complete body, in bytes.
        actual: u64,
    },
    /// A field whose meaning was settled when the body was given.
    #[error("middleware added {0} to a finished response; replace the body instead")]
    LateField(String),
    /// A stream ended early. The head is gone, so the connection is closed.
    #[error("the stream ended {missing} bytes short of its Content-Length")]
    StreamShort {
        /// Bytes that were declared and never came.
        missing: u64,
    },
    /// A stream went on. What is beyond the declared length is cut.
    #[error("the stream went on past its Content-Length; the rest was cut")]
    StreamLong,
    /// A stream failed. The head is gone, so the connection is closed.
    #[error("the stream failed: {0}")]
    StreamFailed(String),
    /// The application panicked.
    #[error("panicked: {0}")]
    Panicked(String),
    /// The application said that it failed.
    #[error("failed: {0}")]
    Failed(String),
    /// The application said that it takes no request now.
    #[error("takes no request: {0}")]
    Unready(String),
    /// An [`Answer`](super::answer::Answer) was dropped.
    #[error("dropped its pending answer without completing it")]
    AnswerDropped,
    /// An answer was completed by one that is again pending.
    #[error("completed a pending answer with another pending answer")]
    AnswerPending,
    /// PEP 3333, "The start_response() Callable": it was not called for this request, or was left without a body.
    #[error("returned a response that is not this request's, to which it gave none")]
    NotItsOwn,
    /// A body is to be pulled, and nobody was awaited for its head.
    #[error("gave a body to be pulled from nobody")]
    PulledFromNobody,
}

impl Fault {
    /// The status that the peer is answered with, where nothing has been sent.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            Fault::Unready(_) => Status::SERVICE_UNAVAILABLE,
            _ => Status::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Makes text fit for one line of a log: control characters become spaces, and it is cut at 200 characters.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The message of a caught panic.
#[must_use]
pub fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    one_line(text)
}
