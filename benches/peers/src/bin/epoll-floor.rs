//! A bare epoll loop on one thread: `epoll-floor PORT [--body BYTES]`.
//!
//! It is the control of every measurement, the most that readiness can do: edge-triggered, so that a
//! connection is added once and never re-armed; one receive and one send a readiness, because a receive
//! that did not fill its buffer has emptied the socket; one buffer for all connections, always in cache.
//! What httparse sees and what is answered are the same as in `ring-floor`.

use ringway_peers::{Answers, Exchange, RECEIVE_SIZE};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::ExitCode;

/// Readiness events taken by one wait.
const EVENT_COUNT: usize = 512;

/// What a connection is watched for; RDHUP tells of an end that arrives together with the last bytes.
const READABLE: i32 = libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET;

struct Floor {
    epoll: OwnedFd,
    listener: TcpListener,
    /// Indexed by descriptor; a descriptor's entry is made new by the accept that returns it.
    exchanges: Vec<Exchange>,
    answers: Answers,
    buffer: Box<[u8; RECEIVE_SIZE]>,
}

/// What becomes of a connection after its readiness was used.
enum Next {
    Wait,
    Close,
}

fn main() -> ExitCode {
    ringway_peers::run("epoll-floor", |listener, answers| Floor::new(listener, answers)?.serve())
}

impl Floor {
    fn new(listener: TcpListener, answers: Answers) -> io::Result<Floor> {
        listener.set_nonblocking(true)?;
        // SAFETY: a new descriptor is owned by no one else.
        let epoll = unsafe { OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        let floor = Floor { epoll, listener, exchanges: Vec::new(), answers, buffer: Box::new([0; RECEIVE_SIZE]) };
        floor.watch(libc::EPOLL_CTL_ADD, floor.listener.as_raw_fd(), libc::EPOLLIN)?;
        Ok(floor)
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENT_COUNT];
        loop {
            // SAFETY: the kernel writes at most EVENT_COUNT events into an array of as many.
            let waited =
                unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), EVENT_COUNT as i32, -1) };
            let count = match check(waited) {
                Ok(count) => count as usize,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            for event in &events[..count] {
                let fd = event.u64 as RawFd;
                if fd == self.listener.as_raw_fd() {
                    self.accept()?;
                } else if let Next::Close = self.advance(fd, event.events as i32)? {
                    // SAFETY: the descriptor is the connection's own; closing it also ends its watch.
                    unsafe { libc::close(fd) };
                }
            }
        }
    }

    /// Accepts all that are queued.
    fn accept(&mut self) -> io::Result<()> {
        loop {
            // SAFETY: no address is asked for, so the kernel writes nothing.
            let accepted = unsafe {
                libc::accept4(
                    self.listener.as_raw_fd(),
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                    libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
                )
            };
            match check(accepted) {
                Ok(fd) => {
                    let index = fd as usize;
                    if self.exchanges.len() <= index {
                        self.exchanges.resize_with(index + 1, Exchange::default);
                    }
                    self.exchanges[index] = Exchange::default();
                    self.watch(libc::EPOLL_CTL_ADD, fd, READABLE)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Receives what there is, then sends what is owed.
    fn advance(&mut self, fd: RawFd, readiness: i32) -> io::Result<Next> {
        let hung_up = readiness & (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) != 0;
        if readiness & libc::EPOLLIN != 0 || hung_up {
            loop {
                // SAFETY: the buffer is ours and RECEIVE_SIZE bytes long.
                let size = unsafe { libc::recv(fd, self.buffer.as_mut_ptr().cast(), RECEIVE_SIZE, 0) };
                match size {
                    0 => return Ok(Next::Close),
                    1.. => {
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
            let part = exchange.outgoing(&self.answers);
            // SAFETY: the slice outlives the call, which copies it.
            let size = unsafe { libc::send(fd, part.as_ptr().cast(), part.len(), libc::MSG_NOSIGNAL) };
            match size {
                0.. => exchange.sent(size as usize),
                _ if would_block() => {
                    // It stays watched for room from now on: a floor's answers block once or for ever.
                    self.watch(libc::EPOLL_CTL_MOD, fd, READABLE | libc::EPOLLOUT)?;
                    return Ok(Next::Wait);
                }
                _ => return Ok(Next::Close),
            }
        }
        Ok(if exchange.is_closing() { Next::Close } else { Next::Wait })
    }

    fn watch(&self, operation: i32, fd: RawFd, interest: i32) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest as u32, u64: fd as u64 };
        // SAFETY: both descriptors are open, and the kernel copies the event.
        check(unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd, &mut event) }).map(drop)
    }
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn would_block() -> bool {
    io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock
}
