//! What a worker lends to a connection, for benches and tests that have a connection and no worker.

use std::sync::Arc;
use std::time::SystemTime;

use ringway::Application;
use ringway::buffer::Pool;
use ringway::connection::{Connection, Host, Limits, Spares, Witness};
use ringway::driver::Key;
use ringway::environ::{Origin, Scratch};
use ringway::response::Stamp;
use ringway::response::answer::Mailbox;
use ringway::sys::{Peer, Waker};
use ringway::timer::Moment;

/// Everything but the witness, who is each one's own.
pub struct Lent {
    pub app: Box<dyn Application>,
    pub limits: Limits,
    pub pool: Pool,
    pub stamp: Stamp,
    pub origin: Origin,
    pub scratch: Scratch,
    pub spares: Spares,
    pub mailbox: Arc<Mailbox>,
}

impl Lent {
    /// What there is before the first connection; the calendar stands at its epoch.
    pub fn new(app: Box<dyn Application>, limits: Limits, pool: Pool, origin: Origin) -> Lent {
        Lent {
            app,
            limits,
            pool,
            stamp: Stamp::new(SystemTime::UNIX_EPOCH),
            origin,
            scratch: Scratch::default(),
            spares: Spares::default(),
            mailbox: Arc::new(Mailbox::new(Waker::new().expect("an eventfd"))),
        }
    }

    /// A connection that was just accepted, from a port of this machine.
    pub fn connection(&self, key: Key) -> Connection {
        let mut connection = Connection::new(key, &self.limits, Moment(0));
        connection.set_peer(Peer::Inet(([127, 0, 0, 1], 40_000).into()));
        connection
    }

    /// For one call of it, as by a worker that serves, has room, makes no ids, and has no way to the socket.
    #[inline(always)]
    pub fn host<'h>(&'h mut self, witness: &'h mut dyn Witness) -> Host<'h> {
        Host {
            app: &*self.app,
            limits: &self.limits,
            pool: &mut self.pool,
            stamp: &self.stamp,
            origin: &self.origin,
            scratch: &mut self.scratch,
            request_ids: None,
            spares: &mut self.spares,
            mailbox: &self.mailbox,
            outlet: None,
            witness,
            drain_idle: None,
            is_crowded: false,
        }
    }
}
