//! Requests without bodies, answered with one that was rendered before the first connection.

use crate::ring::{Ring, Service, closing, send};
use io_uring::{cqueue, squeue};
use ringway_peers::exchange::{Answers, Exchange};

pub struct Floor<'ring> {
    ring: Ring<'ring>,
    /// Indexed by direct descriptor.
    connections: Vec<Connection>,
    answers: Answers,
}

/// A slot. Its generation changes when its close is submitted, and completions of older generations are
/// stale: they give their buffers back and touch nothing else.
#[derive(Default)]
struct Connection {
    exchange: Exchange,
    generation: u16,
    sending: bool,
}

impl<'ring> Floor<'ring> {
    pub fn new(ring: Ring<'ring>, answers: Answers) -> Floor<'ring> {
        let connections = (0..ring.slot_count).map(|_| Connection::default()).collect();
        Floor { ring, connections, answers }
    }
}

impl<'ring> Service<'ring> for Floor<'ring> {
    fn ring(&mut self) -> &mut Ring<'ring> {
        &mut self.ring
    }

    fn accepted(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        let generation = connection.generation;
        *connection = Connection { generation, ..Connection::default() };
        self.ring.arm_receive(slot, generation);
    }

    fn received(&mut self, slot: u32, generation: u16, result: i32, flags: u32) {
        let buffer = cqueue::buffer_select(flags);
        if self.connections[slot as usize].generation == generation {
            if !cqueue::more(flags) && (result > 0 || -result == libc::ENOBUFS) {
                self.ring.arm_receive(slot, generation);
            }
            match (result, buffer) {
                (1.., Some(buffer)) => {
                    let bytes = self.ring.buffers.bytes(buffer, result as usize);
                    match self.connections[slot as usize].exchange.receive(bytes, &self.answers) {
                        Ok(()) => self.send(slot),
                        Err(_) => self.close(slot),
                    }
                }
                // Every buffer was taken; those of this turn are home before the receive just armed can run.
                _ if -result == libc::ENOBUFS => {}
                // The peer has ended or reset the connection. Answers still in flight are lost on purpose: a
                // generator that stops does not read them.
                _ => self.close(slot),
            }
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
        if result < 0 {
            return self.close(slot);
        }
        connection.exchange.sent(result as usize);
        self.send(slot);
    }
}

impl Floor<'_> {
    /// Sends what is owed, unless a send is in flight; the last one takes the close with it.
    fn send(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        let part = connection.exchange.outgoing(&self.answers);
        if connection.sending || part.is_empty() {
            return;
        }
        connection.sending = true;
        let generation = connection.generation;
        let send = send(slot, generation, part);
        if connection.exchange.is_closing() && part.len() == connection.exchange.owed_size() {
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
