//! How a stream that had nothing at hand says that it has: from any thread, to whoever pulls it.
//!
//! A stream that answers [`Pulled::Pending`](super::stream::Pulled::Pending) keeps the [`Nudge`] of the room that it
//! was given. This module performs no I/O but the waking.

use std::sync::Arc;
use std::thread::Thread;

use crate::driver::Key;

use super::answer::{Mailbox, Reply, Ticket, Word};

/// Has a stream pulled again. One that comes too late, or too often, does nothing.
#[derive(Clone, Default)]
pub struct Nudge(Whom);

/// Who pulls.
#[derive(Clone, Default)]
enum Whom {
    /// Somebody who does not wait.
    #[default]
    Nobody,
    Connection {
        mailbox: Arc<Mailbox>,
        key: Key,
        ticket: Ticket,
    },
    Thread(Thread),
}

impl Nudge {
    /// For a stream that the connection pulls.
    pub(crate) fn connection(mailbox: &Arc<Mailbox>, key: Key) -> Nudge {
        Nudge(Whom::Connection { mailbox: mailbox.clone(), key, ticket: mailbox.ticket() })
    }

    /// For a stream that this thread pulls, which parks meanwhile.
    #[must_use]
    pub fn this_thread() -> Nudge {
        Nudge(Whom::Thread(std::thread::current()))
    }

    /// Says that there is something at hand: bytes, the end, or an error.
    pub fn nudge(&self) {
        match &self.0 {
            Whom::Nobody => {}
            Whom::Connection { mailbox, key, ticket } => {
                mailbox.post(Reply { key: *key, ticket: *ticket, word: Word::Nudge });
            }
            Whom::Thread(thread) => thread.unpark(),
        }
    }

    /// Whether a reply with this ticket is from this nudge or a clone of it.
    pub(crate) fn has(&self, ticket: Ticket) -> bool {
        matches!(self.0, Whom::Connection { ticket: own, .. } if own == ticket)
    }
}
