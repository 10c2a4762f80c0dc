//! A body that its application writes while it is called: PEP 3333's `write`.
//!
//! What is written goes to the peer before the call returns: on the worker's own thread straight to the socket, in a
//! thread of [`Threads`](crate::app::Threads) through a pipe. A peer that is slow has up to 64 KiB gathered for it; then
//! the application waits, in a call of its own, so that it can let go of a lock. Where there is no such way (a simulated
//! kernel) everything is gathered.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::http::head::Version;
use crate::outbound::Outbound;
use crate::sys::Outlet;

use super::answer::{Assembled, Post};
use super::draft::Body;
use super::pipe::{self, pipe};
use super::stream::Stream;
use super::{Draft, Headers, Responded, Terms};

/// Where the bytes go that are written during the call.
#[derive(Clone, Copy, Default)]
pub enum Direct<'r> {
    /// Nowhere: they are gathered.
    #[default]
    Nowhere,
    /// To the connection's socket.
    Socket {
        /// The socket.
        outlet: Outlet,
        /// How long its peer may keep the application waiting.
        patience: Duration,
        /// Bytes that have left; where there are any, the response cannot be replaced any more.
        left_size: &'r AtomicU64,
    },
    /// To the worker, which has the socket.
    Worker(&'r Relay),
}

/// How a thread publishes a head before its answer is complete.
pub struct Relay {
    post: Post,
    is_posted: AtomicBool,
}

/// A response whose head is published and whose body is being written.
#[must_use = "a written body is ended by a stream, which may be empty"]
pub struct Writer<'r> {
    outbound: &'r mut Outbound,
    terms: &'r Terms<'r>,
    draft: &'r mut Draft,
    /// Bytes that were declared and have not come; `None` where none were declared.
    missing: Option<u64>,
    pipe: Option<pipe::Writer>,
}

impl Relay {
    pub(super) fn new(post: Post) -> Relay {
        Relay { post, is_posted: AtomicBool::new(false) }
    }

    pub(super) fn is_posted(&self) -> bool {
        self.is_posted.load(Ordering::Acquire)
    }
}

impl<'r> Headers<'r> {
    /// Begins a body that is written during the call; the head goes out with the first bytes. Prefer a stream, which
    /// holds up nobody (PEP 3333, "The write() Callable").
    pub fn write(mut self) -> Writer<'r> {
        let missing = self.draft.declared_size;
        self.finish_head(missing, b"");
        let Headers { outbound, terms, draft } = self;
        let mut writer = Writer { outbound, terms, draft, missing, pipe: None };
        if let Direct::Worker(relay) = terms.direct {
            writer.relay(relay);
        }
        writer
    }
}

impl<'r> Writer<'r> {
    /// Writes bytes without waiting and answers how many belong to the body: no more than were declared.
    ///
    /// # Errors
    /// What the socket answers where the peer has gone.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let size = match &mut self.missing {
            None => bytes.len(),
            Some(missing) => {
                let size = usize::try_from(*missing).unwrap_or(usize::MAX).min(bytes.len());
                *missing -= size as u64;
                size
            }
        };
        if self.terms.is_head || self.draft.status.forbids_content() {
            return Ok(size);
        }
        let is_chunked = self.missing.is_none() && self.terms.version == Version::Http11 && self.pipe.is_none();
        if is_chunked && size > 0 {
            self.outbound.put(format!("{size:x}\r\n").as_bytes());
            self.outbound.put(&bytes[..size]);
            self.outbound.put(b"\r\n");
        } else {
            self.outbound.put(&bytes[..size]);
        }
        self.draft.written_size += size as u64;
        self.send()?;
        Ok(size)
    }

    /// Whether so much is gathered that the application has to wait.
    #[must_use]
    pub fn must_wait(&self) -> bool {
        !matches!(self.terms.direct, Direct::Nowhere) && self.outbound.size() > GATHERED_SIZE_MAX
    }

    /// Waits for the peer until little enough is gathered.
    ///
    /// # Errors
    /// `TimedOut` where it takes nothing for too long; what the socket answers where it has gone.
    pub fn wait(&mut self) -> io::Result<()> {
        match (&mut self.pipe, self.terms.direct) {
            (Some(pipe), _) => pipe.write(&take_gathered(self.outbound)),
            (None, Direct::Socket { outlet, patience, .. }) => {
                while self.must_wait() {
                    outlet.wait(patience)?;
                    self.send()?;
                }
                Ok(())
            }
            (None, Direct::Nowhere | Direct::Worker(_)) => Ok(()),
        }
    }

    /// Ends with a stream behind the written bytes. `make` is given those that had no room in a pipe, for the stream to
    /// begin with.
    pub fn stream<S: Stream + 'static>(self, make: impl FnOnce(Vec<u8>) -> S) -> Responded<'r> {
        let Writer { outbound, terms, draft, missing, pipe } = self;
        let rest = if pipe.is_some() { take_gathered(outbound) } else { Vec::new() };
        draft.declared_size = missing.map(|missing| missing + rest.len() as u64);
        draft.body = Body::Stream(Box::new(make(rest)));
        draft.relayed = pipe;
        Responded { outbound, terms, draft }
    }

    /// Publishes the head now, with the reading end of a pipe as its body.
    fn relay(&mut self, relay: &Relay) {
        let (writer, reader) = pipe();
        let mut draft = Draft::new(self.draft.status, 0, 0, self.draft.keep_alive);
        draft.declared_size = self.missing;
        draft.body = Body::Stream(Box::new(reader));
        relay.is_posted.store(true, Ordering::Release);
        relay.post.send(Ok(Assembled { outbound: std::mem::take(self.outbound), draft }));
        self.pipe = Some(writer);
    }

    /// Hands over what the pipe or the socket takes without waiting.
    fn send(&mut self) -> io::Result<()> {
        let size = self.outbound.size();
        if let Some(pipe) = &mut self.pipe {
            // More than the window would block here, where the caller may hold a lock that others need.
            if size <= GATHERED_SIZE_MAX && pipe.has_room(size as u64) {
                pipe.write(&take_gathered(self.outbound))?;
            }
            return Ok(());
        }
        let Direct::Socket { outlet, left_size, .. } = self.terms.direct else { return Ok(()) };
        let (first, second) = self.outbound.range(0, size);
        let mut sent = outlet.send(first)?;
        if sent == first.len() && !second.is_empty() {
            sent += outlet.send(second)?;
        }
        if sent > 0 {
            left_size.fetch_add(sent as u64, Ordering::Relaxed);
            self.outbound.drop_front(sent);
        }
        Ok(())
    }
}

/// What is gathered for a pipe, whose head has been published: nothing but bytes of the body.
fn take_gathered(outbound: &mut Outbound) -> Vec<u8> {
    let bytes = outbound.copy_range(0, outbound.size());
    outbound.truncate(0);
    bytes
}

/// Bytes that are gathered for a slow peer before its application waits.
const GATHERED_SIZE_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::driver::Key;
    use crate::http::status::Status;
    use crate::response::answer::Mailbox;
    use crate::response::fault::Fault;
    use crate::response::stream::blocks;
    use crate::response::{Stamp, StartResponse};
    use crate::sys::Waker;

    /// The mark of the response has left with its bytes, and what is wrong with it is told all the same.
    #[test]
    fn the_fault_of_a_response_whose_bytes_have_left_is_told_as_it_is() {
        let (near, mut far) = UnixStream::pair().expect("a pair of sockets");
        let (mut outbound, mut draft, left_size) = (Outbound::new(), Draft::default(), AtomicU64::new(0));
        outbound.put(b"an earlier answer");
        let terms = Terms {
            version: Version::Http11,
            is_head: false,
            keep_alive: true,
            stamp: &Stamp::new(SystemTime::UNIX_EPOCH),
            mailbox: &Arc::new(Mailbox::new(Waker::new().expect("an eventfd"))),
            key: Key { slot: 0, generation: 0 },
            request_id: b"",
            direct: Direct::Socket {
                outlet: Outlet { descriptor: near.as_raw_fd() },
                patience: Duration::from_secs(10),
                left_size: &left_size,
            },
        };
        let headers = StartResponse::new(&mut outbound, &terms, &mut draft).start(Status::OK).header("TE", "x");
        let mut writer = headers.write();
        assert_eq!(writer.write(b"left").expect("the peer is there"), 4);
        let _responded = writer.stream(|_| blocks([""; 0]));
        let judged = draft.judge(&outbound, Version::Http11, false);
        assert_eq!(judged.err(), Some(Fault::HopByHop("TE".into())));
        drop(near);
        let mut received = String::new();
        far.read_to_string(&mut received).expect("it ends in order");
        assert_eq!(received.len() as u64, left_size.into_inner());
        assert!(
            received.starts_with("an earlier answerHTTP/1.1 200 OK\r\n") && received.ends_with("\r\n4\r\nleft\r\n")
        );
    }
}
