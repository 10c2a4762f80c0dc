//! A script on sockets: a server of its own with one worker, a thread for each peer. Nothing is timed but by the
//! script's own deadlines; a silence of [`PATIENCE`] is a failure.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use ringway::config::{Config, Io, Pin};
use ringway::server::{Running, Server};

use super::app::App;
use super::script::{End, Played, Reader, Script, Step, Talk};
use crate::support::memory::without_date;

/// How long a server may be silent where it must say or do something.
const PATIENCE: Duration = Duration::from_secs(20);

/// Plays a script on one of the real drivers.
pub fn play(script: &Script, io: Io) -> Played {
    let name = &script.name;
    let config = Config {
        binds: vec!["127.0.0.1:0".parse().expect("an address")],
        worker_count: 1,
        pin: Pin::Off,
        io,
        limits: script.room.limits.clone(),
        connection_count_max: Some(script.room.connection_count_max),
        block_count_max: script.room.block_count_max,
        graceful_timeout: script.room.graceful_timeout,
        ..Config::default()
    };
    let running = Server::new(config, App::boxed).start().unwrap_or_else(|error| panic!("{name}: {error}"));
    // All of them are connected before the first says something: it may have the server drain.
    let peers: Vec<_> = script.talks.iter().map(|talk| Peer::new(talk, running.addresses()[0], name)).collect();
    let talks = std::thread::scope(|scope| {
        let running = &running;
        let threads: Vec<_> = peers.into_iter().map(|peer| scope.spawn(move || peer.play(running))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| match thread.join() {
            Ok(heard) => heard,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        threads.into_iter().map(join).collect()
    });
    running.drain();
    let outcome = running.join().unwrap_or_else(|error| panic!("{name}: {error}"));
    Played { talks, cut_count: outcome.cut_count }
}

/// Who connects before the listener is closed is accepted, and says nothing.
fn drain(running: &Running) {
    running.drain();
    while TcpStream::connect(running.addresses()[0]).is_ok() {
        std::thread::yield_now();
    }
}

struct Peer<'s> {
    talk: &'s Talk,
    name: &'s str,
    stream: TcpStream,
    received: Vec<u8>,
    /// How much of that has been heard.
    heard: usize,
    /// Whether a write has failed.
    is_broken: bool,
    end: Option<End>,
}

impl<'s> Peer<'s> {
    fn new(talk: &'s Talk, address: SocketAddr, name: &'s str) -> Peer<'s> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        if talk.reader == Reader::Slow {
            // A small window makes the server's sends come back short and wait.
            socket.set_recv_buffer_size(4096).expect("it is one");
        }
        socket.connect(&address.into()).expect("the server accepts");
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).expect("the duration is not zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("the duration is not zero");
        stream.set_nodelay(true).expect("a TCP socket has this option");
        Peer { talk, name, stream, received: Vec::new(), heard: 0, is_broken: false, end: None }
    }

    fn play(mut self, running: &Running) -> (Vec<u8>, End) {
        for step in &self.talk.steps {
            match step {
                Step::Say(bytes) => self.is_broken |= self.stream.write_all(bytes).is_err(),
                Step::Hear(bytes) => self.hear(bytes),
                Step::Finish => drop(self.stream.shutdown(Shutdown::Write)),
                Step::Reset => {
                    let linger = Some(Duration::ZERO);
                    socket2::SockRef::from(&self.stream).set_linger(linger).expect("a TCP socket has this option");
                    return (without_date(&self.received), End::Left);
                }
                Step::Drain => drain(running),
            }
        }
        let end = loop {
            match self.end {
                Some(end) => break end,
                None => self.read(),
            }
        };
        (without_date(&self.received), end)
    }

    fn hear(&mut self, bytes: &[u8]) {
        loop {
            if let Some(at) = memchr::memmem::find(&self.received[self.heard..], bytes) {
                self.heard += at + bytes.len();
                return;
            }
            if self.end.is_some() {
                // What is missing is for the comparison to tell.
                return;
            }
            self.read();
        }
    }

    fn read(&mut self) {
        let mut piece = [0; 64 * 1024];
        let size = if self.talk.reader == Reader::Slow { 1500 } else { piece.len() };
        match self.stream.read(&mut piece[..size]) {
            // The kernel tells of a reset once, and it was told to the writer.
            Ok(0) => self.end = Some(if self.is_broken { End::Reset } else { End::Closed }),
            Ok(size) => self.received.extend_from_slice(&piece[..size]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => self.end = Some(End::Reset),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("{}: the server is silent: {error}", self.name),
        }
    }
}
