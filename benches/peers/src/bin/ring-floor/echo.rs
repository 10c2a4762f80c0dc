//! Requests with bodies, each answered with its own.
//!
//! Small requests come by the multishot receive as everywhere. With the first body that is larger than a shared
//! buffer a connection gives that up, and from then on asks for one receive at a time, straight into its own
//! memory: it asks for whatever is there while it waits for a head, and for all that is missing (MSG_WAITALL) of
//! a body. Cancelling for each large body would cost as much as it saves, so the change is made once.

use crate::ring::{Operation, Ring, Service, cancel, closing, pack, send};
use io_uring::types::Fixed;
use io_uring::{cqueue, opcode, squeue};
use ringway_peers::echo::{Echo, Replies};

pub struct Floor<'ring> {
    ring: Ring<'ring>,
    /// Indexed by direct descriptor.
    connections: Vec<Connection>,
    replies: Replies,
}

/// A slot, with a generation as in the canned floor. A connection is never closed while a send or a one-shot
/// receive is in the kernel, because these use the connection's memory.
#[derive(Default)]
struct Connection {
    echo: Echo,
    generation: u16,
    sending: bool,
    /// The peer will send no more, or nothing that can be understood.
    ended: bool,
    receiving: Receiving,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Receiving {
    #[default]
    Idle,
    Multishot,
    /// A multishot receive that was cancelled and has not said its last.
    Ending,
    OneShot,
}

impl<'ring> Floor<'ring> {
    pub fn new(ring: Ring<'ring>) -> Floor<'ring> {
        let connections = (0..ring.slot_count).map(|_| Connection::default()).collect();
        Floor { ring, connections, replies: Replies::new() }
    }
}

impl<'ring> Service<'ring> for Floor<'ring> {
    fn ring(&mut self) -> &mut Ring<'ring> {
        &mut self.ring
    }

    fn accepted(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        connection.echo.reset();
        *connection = Connection {
            generation: connection.generation,
            echo: std::mem::take(&mut connection.echo),
            ..Connection::default()
        };
        self.proceed(slot);
    }

    fn received(&mut self, slot: u32, generation: u16, result: i32, flags: u32) {
        let buffer = cqueue::buffer_select(flags);
        let connection = &mut self.connections[slot as usize];
        if connection.generation == generation {
            if !cqueue::more(flags) {
                connection.receiving = Receiving::Idle;
            }
            let outcome = match (result, buffer) {
                (1.., Some(buffer)) => {
                    connection.echo.receive(self.ring.buffers.bytes(buffer, result as usize), &self.replies)
                }
                (1.., None) => connection.echo.received(result as usize, &self.replies),
                // Every buffer was taken, or the receive ended because we said so: another one is armed.
                _ if matches!(-result, libc::ENOBUFS | libc::ECANCELED) => Ok(()),
                _ => {
                    connection.ended = true;
                    Ok(())
                }
            };
            connection.ended |= outcome.is_err();
            self.proceed(slot);
        }
        if let Some(buffer) = buffer {
            self.ring.buffers.spent.push(buffer);
        }
    }

    fn sent(&mut self, slot: u32, generation: u16, result: i32) {
        let connection = &mut self.connections[slot as usize];
        if connection.generation != generation {
            return;
        }
        connection.sending = false;
        if result < 0 || connection.echo.sent(result as usize, &self.replies).is_err() {
            return self.close(slot);
        }
        self.proceed(slot);
    }
}

impl Floor<'_> {
    /// Submits what the connection needs next: a send, the close, or a receive of the kind that fits it.
    fn proceed(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        if connection.sending {
            return;
        }
        if !connection.echo.outgoing().is_empty() {
            return self.send(slot);
        }
        if connection.ended {
            return self.close(slot);
        }
        let generation = connection.generation;
        match (connection.receiving, connection.echo.is_large()) {
            (Receiving::Idle, false) => {
                connection.receiving = Receiving::Multishot;
                self.ring.arm_receive(slot, generation);
            }
            (Receiving::Idle, true) => self.receive_once(slot),
            (Receiving::Multishot, true) => {
                connection.receiving = Receiving::Ending;
                self.ring.push(&[cancel(slot, generation)]);
            }
            (Receiving::Multishot, false) | (Receiving::Ending | Receiving::OneShot, _) => {}
        }
    }

    /// Receives into the connection's own memory: the rest of a body as one completion, else what there is.
    fn receive_once(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        connection.receiving = Receiving::OneShot;
        let missing_size = connection.echo.missing_size();
        let space = connection.echo.space();
        let (size, flags) = if missing_size > 0 { (missing_size, libc::MSG_WAITALL) } else { (space.len(), 0) };
        let receive = opcode::Recv::new(Fixed(slot), space.as_mut_ptr(), size as u32).flags(flags).build();
        self.ring.push(&[receive.user_data(pack(Operation::Receive, connection.generation, slot))]);
    }

    /// Sends what is owed; the last one takes the close with it.
    fn send(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        connection.sending = true;
        let generation = connection.generation;
        let send = send(slot, generation, connection.echo.outgoing());
        if connection.echo.is_closing() {
            connection.generation = generation.wrapping_add(1);
            let [cancel, close] = closing(slot, generation);
            // One push, because a chain ends where a submission ends.
            self.ring.push(&[send.flags(squeue::Flags::IO_HARDLINK), cancel, close]);
        } else {
            self.ring.push(&[send]);
        }
    }

    fn close(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        let chain = closing(slot, connection.generation);
        connection.generation = connection.generation.wrapping_add(1);
        self.ring.push(&chain);
    }
}
