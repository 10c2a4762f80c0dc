//! Answers that come later: from a thread pool, an event loop, another process.
//!
//! An [`Answer`] is made for one request of one connection. It owns what it needs to be completed
//! anywhere, and its completion is put into the worker's [`Mailbox`], which wakes the worker; only the
//! worker touches the connection. This module performs no I/O but the waking.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task;
use std::time::SystemTime;

use crate::buffer::let_go;
use crate::driver::Key;
use crate::http::head::Version;
use crate::outbound::Outbound;
use crate::sys::Waker;

use super::awaited::give_up;
use super::fault::Fault;
use super::guard::guarded;
use super::writer::{Direct, Relay};
use super::{Draft, Responded, Stamp, StartResponse, Terms};

/// The duty to answer one request. Dropping it unanswered is a 500.
pub struct Answer {
    post: Post,
    version: Version,
    is_head: bool,
    keep_alive: bool,
    request_id: Vec<u8>,
    is_done: bool,
}

/// Where an answer goes.
#[derive(Clone)]
pub(super) struct Post {
    mailbox: Arc<Mailbox>,
    key: Key,
    ticket: Ticket,
}

/// Tells an answer from every other of its worker: from that of an earlier request, and from one that
/// middleware has restarted or that was asked for while another was completed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticket(u64);

/// Completed answers, and nudges, that a worker has not yet fetched.
pub struct Mailbox {
    replies: Mutex<Vec<Reply>>,
    /// Whether there are any; looked at without the lock.
    has_replies: AtomicBool,
    ticket_count: AtomicU64,
    waker: Waker,
    /// The task that is woken instead, where the worker is one. That costs no system call on its own thread.
    task: OnceLock<task::Waker>,
}

/// What another thread has to say to a connection.
pub struct Reply {
    /// The connection.
    pub key: Key,
    /// What the connection knows the answer, or the stream, by.
    pub ticket: Ticket,
    /// What is said.
    pub word: Word,
}

/// What a reply says.
pub enum Word {
    /// An answer is completed: the response, or why there is none.
    Answer(Result<Assembled, Fault>),
    /// The stream that had nothing at hand is to be pulled again.
    Nudge,
}

/// A response assembled away from its connection.
pub struct Assembled {
    pub(crate) outbound: Outbound,
    pub(crate) draft: Draft,
}

impl Answer {
    pub(super) fn new(terms: &Terms<'_>) -> Answer {
        let Terms { version, is_head, keep_alive, mailbox, key, request_id, .. } = *terms;
        let post = Post { mailbox: mailbox.clone(), key, ticket: mailbox.ticket() };
        Answer { post, version, is_head, keep_alive, request_id: request_id.to_vec(), is_done: false }
    }

    /// Completes the request, with the same words as at once: `|start_response| start_response.start(…)…`.
    /// A panic in it is a 500.
    pub fn respond(mut self, respond: impl for<'r> FnOnce(StartResponse<'r>) -> Responded<'r>) {
        let result = self.assembled(Direct::Nowhere, respond);
        self.send(result);
    }

    /// The same for whoever sees to the streams of [`Responded::divert`] afterwards: bytes that are written during the
    /// call reach the peer through a pipe.
    pub(crate) fn respond_writing(mut self, respond: impl for<'r> FnOnce(StartResponse<'r>) -> Responded<'r>) {
        let relay = Relay::new(self.post.clone());
        let result = self.assembled(Direct::Worker(&relay), respond);
        if relay.is_posted() {
            self.is_done = true;
        } else {
            self.send(result);
        }
    }

    fn assembled(
        &self,
        direct: Direct<'_>,
        respond: impl for<'r> FnOnce(StartResponse<'r>) -> Responded<'r>,
    ) -> Result<Assembled, Fault> {
        let stamp = Stamp::new(SystemTime::now());
        let Answer { post: Post { mailbox, key, .. }, version, is_head, keep_alive, request_id, .. } = self;
        let (version, is_head, keep_alive, key) = (*version, *is_head, *keep_alive, *key);
        let (mut outbound, mut draft) = (Outbound::new(), Draft::default());
        let responded = guarded(|| {
            let terms = Terms { version, is_head, keep_alive, stamp: &stamp, mailbox, key, request_id, direct };
            let _responded = respond(StartResponse::new(&mut outbound, &terms, &mut draft));
        });
        // Here nobody polls.
        give_up();
        match responded {
            Ok(()) => Ok(Assembled { outbound, draft }),
            Err(fault) => {
                let_go(draft);
                Err(fault)
            }
        }
    }

    pub(super) fn ticket(&self) -> Ticket {
        self.post.ticket
    }

    fn send(&mut self, result: Result<Assembled, Fault>) {
        self.is_done = true;
        self.post.send(result);
    }
}

impl Post {
    pub(super) fn send(&self, result: Result<Assembled, Fault>) {
        self.mailbox.post(Reply { key: self.key, ticket: self.ticket, word: Word::Answer(result) });
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.is_done {
            self.send(Err(Fault::AnswerDropped));
        }
    }
}

impl Mailbox {
    /// An empty mailbox of the worker that `waker` wakes.
    #[must_use]
    pub fn new(waker: Waker) -> Mailbox {
        Mailbox {
            replies: Mutex::new(Vec::new()),
            has_replies: AtomicBool::new(false),
            ticket_count: AtomicU64::new(0),
            waker,
            task: OnceLock::new(),
        }
    }

    /// Has `task` woken from now on, in which the worker takes its turns.
    pub(crate) fn wake_task(&self, task: task::Waker) {
        // There is one such task in a worker's life.
        let _ = self.task.set(task);
    }

    /// Whether a task is woken.
    pub(crate) fn is_hosted(&self) -> bool {
        self.task.get().is_some()
    }

    /// Whether there are replies to be taken.
    pub(crate) fn has_replies(&self) -> bool {
        self.has_replies.load(Ordering::Acquire)
    }

    /// Takes every reply, oldest first.
    #[must_use]
    pub fn take(&self) -> Vec<Reply> {
        let mut replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        self.has_replies.store(false, Ordering::Relaxed);
        std::mem::take(&mut *replies)
    }

    /// A number that no other answer of this mailbox has.
    pub(super) fn ticket(&self) -> Ticket {
        Ticket(self.ticket_count.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn post(&self, reply: Reply) {
        let mut replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        replies.push(reply);
        self.has_replies.store(true, Ordering::Release);
        drop(replies);
        match self.task.get() {
            Some(task) => task.wake_by_ref(),
            None => self.waker.wake(),
        }
    }
}
