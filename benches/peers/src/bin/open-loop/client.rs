//! The connections and the clock.

use ringway_peers::latencies::Latencies;
use ringway_peers::reply::Reply;
use ringway_peers::schedule::Schedule;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Readiness events taken by one wait.
const EVENT_COUNT: usize = 256;

/// Bytes that one receive may bring.
const BUFFER_SIZE: usize = 256 * 1024;

/// A wait shorter than this is spun, because waking up takes about as long.
const SPIN_NS: u64 = 30_000;

/// How long answers may take once the last request is due; those that take longer are errors.
const PATIENCE: Duration = Duration::from_secs(5);

/// A run in progress: each request is in the schedule, in one connection's queue, in flight, or over.
pub struct Client<'s> {
    address: SocketAddr,
    request: Vec<u8>,
    schedule: &'s Schedule,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    start: Instant,
    /// Requests that are over, measured or not.
    over_count: u64,
    outcome: Outcome,
}

/// What was measured, of the requests due after the warm-up; errors are those of the warm-up, too.
pub struct Outcome {
    /// From the due time to the last byte of the answer.
    pub latencies: Latencies,
    /// From the due time to the moment the generator acted on it.
    pub late: Latencies,
    /// Requests handed to the kernel.
    pub sent_count: u64,
    /// Requests without an answer, or with a wrong one.
    pub error_count: u64,
}

struct Connection {
    stream: TcpStream,
    reply: Reply,
    /// The request that is in flight, by number.
    in_flight: Option<u64>,
    /// Requests whose time has come while another one was in flight.
    waiting: VecDeque<u64>,
}

impl<'s> Client<'s> {
    /// Opens all connections.
    pub fn connect(address: SocketAddr, request: Vec<u8>, schedule: &'s Schedule) -> io::Result<Client<'s>> {
        // SAFETY: a new descriptor is owned by no one else.
        let epoll = unsafe { OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        // The kernel may else put a wake-up off by 50 us.
        // SAFETY: the call changes the calling thread's timer slack and no memory.
        check(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong, 0, 0, 0) })?;
        let connections = (0..schedule.connection_count)
            .map(|index| {
                let stream = open(address, &epoll, index)?;
                Ok(Connection { stream, reply: Reply::default(), in_flight: None, waiting: VecDeque::new() })
            })
            .collect::<io::Result<_>>()?;
        let measured_count = (schedule.count() - schedule.first_measured()) as usize;
        Ok(Client {
            address,
            request,
            schedule,
            epoll,
            connections,
            buffer: vec![0; BUFFER_SIZE],
            start: Instant::now(),
            over_count: 0,
            outcome: Outcome {
                latencies: Latencies::with_capacity(measured_count),
                late: Latencies::with_capacity(measured_count),
                sent_count: 0,
                error_count: 0,
            },
        })
    }

    /// Sends all requests of the schedule when they are due, and takes the answers.
    pub fn run(mut self) -> io::Result<Outcome> {
        let count = self.schedule.count();
        let end_ns = self.schedule.due_ns(count) + PATIENCE.as_nanos() as u64;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENT_COUNT];
        let mut next = 0;
        self.start = Instant::now();
        while self.over_count < count {
            let mut now = self.now();
            while next < count && self.schedule.due_ns(next) <= now {
                if next >= self.schedule.first_measured() {
                    self.outcome.late.record(now - self.schedule.due_ns(next));
                }
                let connection = self.schedule.connection(next);
                self.connections[connection].waiting.push_back(next);
                self.send(connection)?;
                next += 1;
                now = self.now();
            }
            if now > end_ns {
                self.outcome.error_count += count - self.over_count;
                break;
            }
            let until = if next < count { self.schedule.due_ns(next) } else { end_ns };
            let ready_count = self.wait(&mut events, until.saturating_sub(now))?;
            for event in &events[..ready_count] {
                self.receive(event.u64 as usize)?;
            }
        }
        Ok(self.outcome)
    }

    /// Sends the next request that waits for a connection, unless it is busy.
    fn send(&mut self, index: usize) -> io::Result<()> {
        while self.connections[index].in_flight.is_none() {
            let connection = &mut self.connections[index];
            let Some(number) = connection.waiting.pop_front() else { break };
            // One small request in flight always fits the socket, so that a short write is a failure.
            if !matches!(connection.stream.write(&self.request), Ok(size) if size == self.request.len()) {
                self.fail();
                self.reopen(index)?;
                continue;
            }
            connection.in_flight = Some(number);
            if number >= self.schedule.first_measured() {
                self.outcome.sent_count += 1;
            }
        }
        Ok(())
    }

    /// Takes what has arrived on a connection.
    fn receive(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        let size = match connection.stream.read(&mut self.buffer) {
            Ok(size) => size,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(_) => 0,
        };
        let is_whole = match connection.in_flight {
            Some(_) if size > 0 => connection.reply.receive(&self.buffer[..size]),
            // The server has ended an idle connection, or said what no one asked for.
            _ => Err(ringway_peers::Malformed),
        };
        match (is_whole, connection.in_flight) {
            (Ok(true), Some(number)) => {
                connection.in_flight = None;
                self.complete(number);
            }
            (Ok(_), _) => return Ok(()),
            (Err(_), in_flight) => {
                if in_flight.is_some() {
                    self.fail();
                }
                self.reopen(index)?;
            }
        }
        self.send(index)
    }

    fn complete(&mut self, number: u64) {
        self.over_count += 1;
        if number >= self.schedule.first_measured() {
            self.outcome.latencies.record(self.now() - self.schedule.due_ns(number));
        }
    }

    fn fail(&mut self) {
        self.over_count += 1;
        self.outcome.error_count += 1;
    }

    /// Replaces a connection that has ended; what waits for it goes on waiting.
    fn reopen(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        connection.stream = open(self.address, &self.epoll, index)?;
        connection.reply = Reply::default();
        connection.in_flight = None;
        Ok(())
    }

    /// Waits for answers, for at most `timeout_ns`, or only looks for them if that is short.
    fn wait(&self, events: &mut [libc::epoll_event; EVENT_COUNT], timeout_ns: u64) -> io::Result<usize> {
        let sleep_ns = timeout_ns.saturating_sub(SPIN_NS);
        let timeout = libc::timespec {
            tv_sec: (sleep_ns / 1_000_000_000) as libc::time_t,
            tv_nsec: (sleep_ns % 1_000_000_000) as libc::c_long,
        };
        // SAFETY: the kernel writes at most EVENT_COUNT events into an array of as many, and reads the timeout;
        // no signal mask is given.
        let waited = unsafe {
            libc::epoll_pwait2(
                self.epoll.as_raw_fd(),
                events.as_mut_ptr(),
                EVENT_COUNT as i32,
                &timeout,
                std::ptr::null(),
            )
        };
        match check(waited) {
            Ok(count) => Ok(count as usize),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}

/// A connection that never delays a request and never blocks, in the epoll set under its index.
fn open(address: SocketAddr, epoll: &OwnedFd, index: usize) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: index as u64 };
    // SAFETY: both descriptors are open, and the kernel copies the event.
    check(unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, stream.as_raw_fd(), &mut event) })?;
    Ok(stream)
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
