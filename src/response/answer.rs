//! Answers that come later: from a thread pool, an event loop, another process.
//!
//! An [`Answer`] is made for one request of one connection. It owns what it needs to be completed
//! anywhere, and its completion is put into the worker's [`Mailbox`], which wakes the worker; only the
//! worker touches the connection. This module performs no I/O but the waking.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::driver::Key;
use crate::http::head::Version;
use crate::outbound::Outbound;
use crate::sys::Waker;

use super::fault::{Fault, panic_message};
use super::{Draft, Responded, Stamp, StartResponse, Terms};

/// The duty to answer one request. Dropping it unanswered is a 500.
pub struct Answer {
    mailbox: Arc<Mailbox>,
    key: Key,
    serial: u32,
    version: Version,
    is_head: bool,
    keep_alive: bool,
    is_done: bool,
}

/// Completed answers that a worker has not yet fetched.
pub struct Mailbox {
    replies: Mutex<Vec<Reply>>,
    waker: Waker,
}

/// A completed answer.
pub struct Reply {
    /// The connection.
    pub key: Key,
    /// The request on it.
    pub serial: u32,
    /// The response, or why there is none.
    pub result: Result<Assembled, Fault>,
}

/// A response assembled away from its connection.
pub struct Assembled {
    pub(crate) outbound: Outbound,
    pub(crate) draft: Draft,
}

impl Answer {
    pub(super) fn new(terms: &Terms<'_>) -> Answer {
        let Terms { version, is_head, keep_alive, stamp: _, mailbox, key, serial } = *terms;
        Answer { mailbox: mailbox.clone(), key, serial, version, is_head, keep_alive, is_done: false }
    }

    /// Completes the request, with the same words as at once: `|start_response| start_response.start(…)…`.
    /// A panic in it is a 500.
    pub fn respond(mut self, respond: impl for<'r> FnOnce(StartResponse<'r>) -> Responded<'r>) {
        let stamp = Stamp::new(SystemTime::now());
        let Answer { ref mailbox, key, serial, version, is_head, keep_alive, is_done: _ } = self;
        let mut outbound = Outbound::new();
        let draft = catch_unwind(AssertUnwindSafe(|| {
            let terms = Terms { version, is_head, keep_alive, stamp: &stamp, mailbox, key, serial };
            respond(StartResponse::new(&mut outbound, terms)).into_draft()
        }));
        let result = match draft {
            Ok(draft) => Ok(Assembled { outbound, draft }),
            Err(panic) => Err(Fault::Panicked(panic_message(&*panic))),
        };
        self.post(result);
    }

    fn post(&mut self, result: Result<Assembled, Fault>) {
        self.is_done = true;
        self.mailbox.post(Reply { key: self.key, serial: self.serial, result });
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.is_done {
            self.post(Err(Fault::AnswerDropped));
        }
    }
}

impl Mailbox {
    /// An empty mailbox of the worker that `waker` wakes.
    #[must_use]
    pub fn new(waker: Waker) -> Mailbox {
        Mailbox { replies: Mutex::new(Vec::new()), waker }
    }

    /// Takes every reply, oldest first.
    #[must_use]
    pub fn take(&self) -> Vec<Reply> {
        std::mem::take(&mut *self.replies.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn post(&self, reply: Reply) {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner).push(reply);
        self.waker.wake();
    }
}
