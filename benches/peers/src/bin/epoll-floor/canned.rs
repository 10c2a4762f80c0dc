//! Requests without bodies, answered with one that was rendered before the first connection.

use crate::poll::{HUNG_UP, Next, Poll, READABLE, close, receive, send, would_block};
use ringway_peers::RECEIVE_SIZE;
use ringway_peers::exchange::{Answers, Exchange};
use std::io;
use std::os::fd::RawFd;

pub struct Floor {
    poll: Poll,
    /// Indexed by descriptor; a descriptor's entry is made new by the accept that returns it.
    exchanges: Vec<Exchange>,
    answers: Answers,
    buffer: Box<[u8; RECEIVE_SIZE]>,
}

impl Floor {
    pub fn new(poll: Poll, answers: Answers) -> Floor {
        Floor { poll, exchanges: Vec::new(), answers, buffer: Box::new([0; RECEIVE_SIZE]) }
    }

    pub fn serve(&mut self) -> io::Result<()> {
        let mut events = Poll::events();
        loop {
            for event in self.poll.wait(&mut events)? {
                let fd = event.u64 as RawFd;
                if self.poll.is_listener(fd) {
                    self.accept()?;
                } else if let Next::Close = self.advance(fd, event.events as i32)? {
                    close(fd);
                }
            }
        }
    }

    /// Accepts all that are queued.
    fn accept(&mut self) -> io::Result<()> {
        while let Some(fd) = self.poll.accept(READABLE)? {
            let index = fd as usize;
            if self.exchanges.len() <= index {
                self.exchanges.resize_with(index + 1, Exchange::default);
            }
            self.exchanges[index] = Exchange::default();
        }
        Ok(())
    }

    /// Receives what there is, then sends what is owed.
    fn advance(&mut self, fd: RawFd, readiness: i32) -> io::Result<Next> {
        let hung_up = readiness & HUNG_UP != 0;
        if readiness & libc::EPOLLIN != 0 || hung_up {
            loop {
                match receive(fd, &mut self.buffer[..]) {
                    0 => return Ok(Next::Close),
                    size @ 1.. => {
                        let size = size as usize;
                        if self.exchanges[fd as usize].receive(&self.buffer[..size], &self.answers).is_err() {
                            return Ok(Next::Close);
                        }
                        // A short receive has emptied the socket, and the next bytes make an edge of their own;
                        // only an end that came with them makes none.
                        if size < RECEIVE_SIZE && !hung_up {
                            break;
                        }
                    }
                    _ if would_block() => break,
                    _ => return Ok(Next::Close),
                }
            }
        }
        self.send(fd)
    }

    /// Sends all answers owed, or as many as the socket takes, and then waits until it takes more.
    fn send(&mut self, fd: RawFd) -> io::Result<Next> {
        let exchange = &mut self.exchanges[fd as usize];
        while exchange.owed_size() > 0 {
            match send(fd, exchange.outgoing(&self.answers)) {
                size @ 0.. => exchange.sent(size as usize),
                _ if would_block() => {
                    // It stays watched for room from now on: a floor's answers block once or for ever.
                    self.poll.watch(libc::EPOLL_CTL_MOD, fd, READABLE | libc::EPOLLOUT)?;
                    return Ok(Next::Wait);
                }
                _ => return Ok(Next::Close),
            }
        }
        Ok(if exchange.is_closing() { Next::Close } else { Next::Wait })
    }
}
