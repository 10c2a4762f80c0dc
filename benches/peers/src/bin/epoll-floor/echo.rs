//! Requests with bodies, each answered with its own.
//!
//! Small requests come in the one buffer that is always in cache; a connection that has once brought a body
//! larger than that buffer receives into its own memory. Sends and receives take turns: what an edge told of is
//! remembered while an answer waits for room, and used once the answer is gone.

use crate::poll::{HUNG_UP, Next, Poll, READABLE, close, receive, send, would_block};
use ringway_peers::echo::{Echo, Replies};
use ringway_peers::{Malformed, RECEIVE_SIZE};
use std::io;
use std::os::fd::RawFd;

pub struct Floor {
    poll: Poll,
    /// Indexed by descriptor; a descriptor's entry is made new by the accept that returns it.
    connections: Vec<Connection>,
    replies: Replies,
    buffer: Box<[u8; RECEIVE_SIZE]>,
}

#[derive(Default)]
struct Connection {
    echo: Echo,
    /// An edge came, and no receive since has found the socket empty.
    is_readable: bool,
    /// The peer has ended, so that a short receive does not tell of an empty socket.
    is_hung_up: bool,
}

impl Floor {
    pub fn new(poll: Poll) -> Floor {
        Floor { poll, connections: Vec::new(), replies: Replies::new(), buffer: Box::new([0; RECEIVE_SIZE]) }
    }

    pub fn serve(&mut self) -> io::Result<()> {
        let mut events = Poll::events();
        loop {
            for event in self.poll.wait(&mut events)? {
                let fd = event.u64 as RawFd;
                if self.poll.is_listener(fd) {
                    self.accept()?;
                    continue;
                }
                let connection = &mut self.connections[fd as usize];
                connection.is_hung_up |= event.events as i32 & HUNG_UP != 0;
                connection.is_readable |= event.events as i32 & (libc::EPOLLIN | HUNG_UP) != 0;
                if let Next::Close = self.advance(fd) {
                    close(fd);
                }
            }
        }
    }

    /// Accepts all that are queued; they are watched for room from the start, because large answers need it.
    fn accept(&mut self) -> io::Result<()> {
        while let Some(fd) = self.poll.accept(READABLE | libc::EPOLLOUT)? {
            let index = fd as usize;
            if self.connections.len() <= index {
                self.connections.resize_with(index + 1, Connection::default);
            }
            let connection = &mut self.connections[index];
            connection.echo.reset();
            (connection.is_readable, connection.is_hung_up) = (false, false);
        }
        Ok(())
    }

    /// Sends and receives until one of them has to wait.
    fn advance(&mut self, fd: RawFd) -> Next {
        let connection = &mut self.connections[fd as usize];
        loop {
            while !connection.echo.outgoing().is_empty() {
                match send(fd, connection.echo.outgoing()) {
                    size @ 0.. if connection.echo.sent(size as usize, &self.replies).is_ok() => {}
                    -1 if would_block() => return Next::Wait,
                    _ => return Next::Close,
                }
            }
            if connection.echo.is_closing() {
                return Next::Close;
            }
            if !connection.is_readable {
                return Next::Wait;
            }
            match connection.receive(fd, &mut self.buffer[..], &self.replies) {
                Ok(Next::Wait) => {}
                Ok(Next::Close) | Err(Malformed) => return Next::Close,
            }
        }
    }
}

impl Connection {
    /// Receives once, into the memory that fits the connection.
    fn receive(&mut self, fd: RawFd, buffer: &mut [u8], replies: &Replies) -> Result<Next, Malformed> {
        let is_large = self.echo.is_large();
        let space = if is_large { self.echo.space() } else { &mut *buffer };
        let space_size = space.len();
        match receive(fd, space) {
            0 => return Ok(Next::Close),
            size @ 1.. => {
                let size = size as usize;
                // A short receive has emptied the socket, and the next bytes make an edge of their own.
                self.is_readable = size == space_size || self.is_hung_up;
                if is_large {
                    self.echo.received(size, replies)?;
                } else {
                    self.echo.receive(&buffer[..size], replies)?;
                }
            }
            _ if would_block() => self.is_readable = false,
            _ => return Ok(Next::Close),
        }
        Ok(Next::Wait)
    }
}
