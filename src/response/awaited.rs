//! Answers that are awaited on the worker's own thread, by their connection.
//!
//! An application that awaits answers with an [`Awaited`]. The connection keeps it, polls it at once and again whenever
//! its alarm rings, and lets it write its response straight into the outbound; so one that is ready at once costs
//! neither a task nor a look into the mailbox. It need not be `Send`. Dropping it is the cancellation: that is what
//! becomes of it when the peer has gone. This module performs no I/O but the waking.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake};

use crate::buffer::let_go;
use crate::driver::Key;
use crate::http::status::Status;

use super::answer::{Mailbox, Ticket};
use super::draft::Body;
use super::nudge::Nudge;
use super::stream::{Pulled, Room};
use super::{Draft, Headers, Responded, StartResponse};

/// An answer in the making. Polled until it is ready, then asked for the response, then pulled if that is
/// [`Headers::pulled`]. A panic in it costs its request a 500, or its connection where the head is
/// gone.
pub trait Awaited {
    /// Goes on. Ready is told once.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()>;

    /// Writes the response, at once.
    fn respond<'r>(&mut self, start_response: StartResponse<'r>) -> Responded<'r>;

    /// Writes the next bytes of the body into `room`, as a [`Stream`](super::stream::Stream) does. Where it answers
    /// [`Pulled::Pending`], the context's waker tells that there is more.
    ///
    /// # Errors
    /// As of a stream: the connection is closed.
    fn pull(&mut self, room: &mut Room<'_>, context: &mut Context<'_>) -> io::Result<Pulled>;
}

impl<'r> StartResponse<'r> {
    /// Answers when `awaited` is ready. The connection polls it at once, on this thread.
    pub fn when(self, awaited: Box<dyn Awaited>) -> Responded<'r> {
        let StartResponse { outbound, terms, draft } = self;
        let mark = outbound.size();
        *draft = Draft::new(Status::OK, mark, mark, terms.keep_alive);
        draft.body = Body::Awaited(Kept::keep(awaited));
        Responded { outbound, terms, draft }
    }
}

impl<'r> Headers<'r> {
    /// Completes the response with a body that is pulled from who was awaited for it.
    pub fn pulled(mut self) -> Responded<'r> {
        let declared = self.draft.declared_size;
        self.finish_head(declared, b"");
        self.draft.body = Body::Pulled;
        self.complete()
    }
}

/// Stands for who is awaited in a draft, which is not bound to this thread. It drops nothing, so that answers at once pay
/// nothing for it: who gives a draft up says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept(u64);

thread_local! {
    /// Who is awaited for the draft that this thread has at hand.
    static KEPT: RefCell<Option<(Kept, Box<dyn Awaited>)>> = const { RefCell::new(None) };
    static KEPT_COUNT: Cell<u64> = const { Cell::new(0) };
}

impl Kept {
    /// Keeps who is awaited for the draft at hand.
    pub(super) fn keep(awaited: Box<dyn Awaited>) -> Kept {
        let kept = Kept(KEPT_COUNT.get() + 1);
        KEPT_COUNT.set(kept.0);
        let_go(KEPT.replace(Some((kept, awaited))));
        kept
    }

    /// Whether this thread has who is awaited.
    pub(super) fn is_there(self) -> bool {
        KEPT.with_borrow(|kept| matches!(kept, Some((kept, _)) if *kept == self))
    }

    /// Who is awaited; `None` on another thread.
    pub(crate) fn take(self) -> Option<Box<dyn Awaited>> {
        KEPT.take().filter(|(kept, _)| *kept == self).map(|(_, awaited)| awaited)
    }
}

/// Drops who was awaited for a draft that was given up: by middleware that answers itself, by a panic, or on a thread where
/// nobody polls.
pub(crate) fn give_up() {
    let_go(KEPT.take());
}

/// Has a connection called again: the waker of what it polls, and of who feeds the input of a request.
pub(crate) struct Alarm {
    nudge: Nudge,
    state: AtomicU8,
}

impl Alarm {
    /// For one request of the connection `key`.
    pub(crate) fn new(mailbox: &Arc<Mailbox>, key: Key) -> Alarm {
        Alarm { nudge: Nudge::connection(mailbox, key), state: AtomicU8::new(ATTENDED) }
    }

    /// What has the connection called again.
    pub(crate) fn nudge(&self) -> &Nudge {
        &self.nudge
    }

    /// Whether a reply with this ticket is from this alarm.
    pub(crate) fn has(&self, ticket: Ticket) -> bool {
        self.nudge.has(ticket)
    }

    /// Whether it was rung, and the connection has not looked since.
    pub(crate) fn is_rung(&self) -> bool {
        self.state.load(Ordering::Acquire) == RUNG
    }

    /// The connection looks at everything from now on: a ring that came before is seen to, and one that comes meanwhile
    /// need not be carried through the mailbox.
    pub(crate) fn attend(&self) {
        self.state.swap(ATTENDED, Ordering::AcqRel);
    }

    /// The connection is about to wait. Answers whether it may: not where it was rung since [`Alarm::attend`].
    pub(crate) fn leave(&self) -> bool {
        self.state.compare_exchange(ATTENDED, ARMED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Once is enough until the connection has looked.
        if self.state.swap(RUNG, Ordering::AcqRel) == ARMED {
            self.nudge.nudge();
        }
    }
}

/// A ring is to be carried to the connection.
const ARMED: u8 = 0;
/// The connection looks by itself before it waits.
const ATTENDED: u8 = 1;
/// It was rung, and the connection has not looked since.
const RUNG: u8 = 2;
