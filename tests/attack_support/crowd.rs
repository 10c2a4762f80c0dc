//! Many dishonest clients on one thread: non-blocking sockets and one poll(2) for all of them.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::PATIENCE;

/// One connection and what became of it.
pub(crate) struct Member {
    stream: Option<TcpStream>,
    /// Everything it has received.
    pub(crate) received: Vec<u8>,
    pub(crate) end: Option<End>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// In order.
    Finished,
    /// By a reset.
    Reset,
    /// By the member itself.
    Left,
}

/// The members.
pub(crate) struct Crowd {
    pub(crate) members: Vec<Member>,
    polled: Vec<libc::pollfd>,
}

impl Member {
    pub(crate) fn connect(address: SocketAddr) -> Member {
        let stream = TcpStream::connect(address).expect("the listen queue has room");
        stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)).expect("options can be set");
        Member { stream: Some(stream), received: Vec::new(), end: None }
    }

    /// Sends what the socket takes now. Answers how much that was; nothing once the connection has ended.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        while let Some(stream) = &mut self.stream
            && sent < bytes.len()
        {
            match stream.write(&bytes[sent..]) {
                Ok(size) => sent += size,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // What the server said before the reset is still to be read.
                Err(_) => break,
            }
        }
        sent
    }

    /// Reads what is there. At the end of the stream it closes its side, so that nothing lingers for it.
    pub(crate) fn read(&mut self) {
        let mut piece = [0; 64 * 1024];
        while let Some(stream) = &mut self.stream {
            match stream.read(&mut piece) {
                Ok(0) => self.close(End::Finished),
                Ok(size) => self.received.extend_from_slice(&piece[..size]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.close(End::Reset),
            }
        }
    }

    pub(crate) fn finish_sending(&self) {
        if let Some(stream) = &self.stream {
            // It may have been reset meanwhile.
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    /// Has the kernel take little ahead of what the server has received.
    pub(crate) fn narrow(&self) {
        if let Some(stream) = &self.stream {
            SockRef::from(stream).set_send_buffer_size(16 * 1024).expect("a socket has this option");
        }
    }

    /// Closes with a reset.
    pub(crate) fn reset(&mut self) {
        if let Some(stream) = &self.stream {
            SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("a TCP socket has this option");
        }
        self.close(End::Left);
    }

    pub(crate) fn leave(&mut self) {
        self.close(End::Left);
    }

    fn close(&mut self, end: End) {
        if self.stream.take().is_some() {
            self.end = Some(end);
        }
    }

    /// The status of its last answer's head, 0 where none came.
    pub(crate) fn status(&self) -> u16 {
        let text = self.received.get(9..12).and_then(|code| std::str::from_utf8(code).ok());
        match self.received.starts_with(b"HTTP/1.1 ") {
            true => text.and_then(|code| code.parse().ok()).unwrap_or(0),
            false => 0,
        }
    }
}

impl Crowd {
    pub(crate) fn connect(address: SocketAddr, count: usize) -> Crowd {
        Crowd { members: (0..count).map(|_| Member::connect(address)).collect(), polled: Vec::new() }
    }

    /// Sends the same from everyone, or as much of it as their sockets take.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.members.iter_mut().for_each(|member| {
            member.send(bytes);
        });
    }

    /// Waits at most so long for anyone to receive anything, and has those read.
    pub(crate) fn read(&mut self, patience: Duration) {
        self.polled.clear();
        for member in &self.members {
            // poll(2) passes over a negative descriptor.
            let fd = member.stream.as_ref().map_or(-1, AsRawFd::as_raw_fd);
            self.polled.push(libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
        }
        let count = self.polled.len().try_into().expect("members are few");
        let timeout = patience.as_millis().try_into().unwrap_or(i32::MAX);
        // SAFETY: the array has `count` entries and lives through the call.
        let ready = unsafe { libc::poll(self.polled.as_mut_ptr(), count, timeout) };
        if ready > 0 {
            for (member, polled) in self.members.iter_mut().zip(&self.polled) {
                if polled.revents != 0 {
                    member.read();
                }
            }
        }
    }

    /// Reads until it is so.
    pub(crate) fn read_until(&mut self, what: &str, mut is_so: impl FnMut(&mut Crowd) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            assert!(start.elapsed() < PATIENCE, "it takes too long until {what}: {}", self.describe());
            self.read(Duration::from_millis(10));
        }
    }

    /// Reads until the server has ended every connection.
    pub(crate) fn read_to_end(&mut self) {
        self.read_until("every offender is gone", |crowd| crowd.is_over());
    }

    /// Whether every connection has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.members.iter().all(|member| member.end.is_some())
    }

    /// How many members are so.
    pub(crate) fn count(&self, is_so: impl Fn(&Member) -> bool) -> usize {
        self.members.iter().filter(|member| is_so(member)).count()
    }

    pub(crate) fn reset(&mut self) {
        self.members.iter_mut().for_each(Member::reset);
    }

    /// Statuses and ends with their counts.
    pub(crate) fn describe(&self) -> String {
        let mut kinds: Vec<String> =
            self.members.iter().map(|member| format!("{} {:?}", member.status(), member.end)).collect();
        kinds.sort_unstable();
        let parts = kinds.chunk_by(|one, other| one == other).map(|same| format!("{} × {}", same.len(), same[0]));
        parts.collect::<Vec<_>>().join(", ")
    }
}
