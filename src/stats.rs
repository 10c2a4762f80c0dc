//! Numbers: what one worker has done, what it is doing, and how often each limit was met.
//!
//! A worker counts in its own [`Stats`], which nobody else writes, so a count costs no locked instruction: a load, an
//! addition, a store. Anybody may read them at any time, from another process too: they lie on a [`Board`]. This module
//! knows nothing of HTTP but the classes of its answers.

mod board;
mod latency;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

pub use board::{Board, Header, Phase, Row};
use latency::Latency;
pub use latency::{BUCKET_COUNT, bound};

/// Declares the limits with their names; the order is that of [`Limit::ALL`].
macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $limit:ident $name:literal,)+) => {
        /// A limit or deadline, and with it what happened each time that it was met.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Limit {
            $($(#[doc = $doc])+ $limit,)+
        }

        impl Limit {
            /// Every limit.
            pub const ALL: &[Limit] = &[$(Limit::$limit),+];

            /// Its name: that of its flag, where it has one.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Limit::$limit => $name,)+
                }
            }
        }
    };
}

limits! {
    /// Accepts that paused because every slot was taken.
    Connections "connections-max",
    /// Accepts that found no descriptor (`EMFILE`, `ENFILE`). There is no flag: `ulimit -n` sets it.
    Descriptors "descriptors",
    /// Requests refused with 503 because too many blocks were held.
    Blocks "blocks-max",
    /// Requests refused with 414.
    RequestLine "request-line-max",
    /// Requests refused with 431 for the size of their head.
    Head "head-max",
    /// Requests refused with 431 for the number of their fields.
    Fields "fields-max",
    /// Requests refused with 413.
    Body "body-max",
    /// Bodies that were spooled to a file.
    BodyMemory "body-memory",
    /// Requests refused with 503 because the bodies in memory were too large together.
    Bodies "bodies-max",
    /// Requests refused with 503 because a body could not be spooled.
    Spool "spool-dir",
    /// Requests refused with 400 for their chunk extensions.
    ChunkExtensions "chunk-ext-max",
    /// Requests refused with 400 because their chunks were mostly framing. It has no flag.
    ChunkOverhead "chunk-overhead",
    /// Requests refused with 400 for the size of their trailer.
    Trailer "trailer-max",
    /// Requests refused with 400 for the number of their trailer fields.
    Trailers "trailers-max",
    /// Connections closed because a head, or its first byte, did not come in time.
    HeadTimeout "head-timeout",
    /// Requests refused with 408 because no byte of their body came in time.
    BodyIdle "body-idle",
    /// Connections closed because a body came, or a response was taken, too slowly.
    Rate "rate-min",
    /// Connections closed because nothing of a response was taken in time.
    WriteIdle "write-idle",
    /// Connections closed between two requests.
    Keepalive "keepalive",
    /// Connections closed because the peer did not close after the server had half-closed, or did not send the rest
    /// of a refused body, in time.
    Linger "linger-timeout",
    /// Connections closed because the unread body of a refused request was too large to be read away.
    Drain "drain-max",
    /// Times that a connection had to let the others go first.
    Turn "turn-max",
    /// Times that the receive of a connection was held back because it was ahead. It has no flag.
    ReadAhead "read-ahead",
    /// Connections with a request in service that were cut at the end of a drain.
    Graceful "graceful-timeout",
}

/// What a connection is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Between two requests, or before the first.
    Idle,
    /// A head or a body is on its way.
    Reading,
    /// A pending answer or a stream's next bytes are awaited.
    Waiting,
    /// A send is in flight.
    Writing,
    /// Its last response has been sent, or it is being ended.
    Closing,
}

impl State {
    /// Every state.
    pub const ALL: &[State] = &[State::Idle, State::Reading, State::Waiting, State::Writing, State::Closing];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            State::Idle => "idle",
            State::Reading => "reading",
            State::Waiting => "waiting",
            State::Writing => "writing",
            State::Closing => "closing",
        }
    }
}

/// Where lines go that are dropped when nobody takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// The access log.
    Access,
    /// What is said to the operator.
    Diagnostics,
}

impl Sink {
    /// Both.
    pub const ALL: &[Sink] = &[Sink::Access, Sink::Diagnostics];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Sink::Access => "access",
            Sink::Diagnostics => "diagnostics",
        }
    }
}

/// The driver that a worker uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverKind {
    /// io_uring.
    Uring = 1,
    /// epoll.
    Epoll,
}

impl DriverKind {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            DriverKind::Uring => "io_uring",
            DriverKind::Epoll => "epoll",
        }
    }
}

/// The numbers of one worker. Its thread alone writes them; the alignment keeps them off the cache lines of another
/// worker. All zeros are the numbers of a worker that has not begun.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct Stats {
    /// The process of the worker, 0 where there is none.
    pid: AtomicU64,
    /// Whether whoever supervises has given it to a worker.
    is_claimed: AtomicU64,
    /// When the worker began, in milliseconds since 1970.
    began_at: AtomicU64,
    driver: AtomicU64,
    accepted: AtomicU64,
    closed: AtomicU64,
    states: [AtomicU64; State::ALL.len()],
    received: AtomicU64,
    sent: AtomicU64,
    responses: [AtomicU64; CLASS_COUNT],
    latency: Latency,
    limits: [AtomicU64; Limit::ALL.len()],
    starved: AtomicU64,
    faults: AtomicU64,
    dropped: [AtomicU64; Sink::ALL.len()],
}

/// A worker that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serving {
    /// Its process.
    pub pid: u32,
    /// When it began, in milliseconds since 1970.
    pub began_at: u64,
    /// Its driver.
    pub driver: DriverKind,
}

/// A copy of the numbers, or the sum of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    limits: [u64; Limit::ALL.len()],
    /// Connections that were opened.
    pub accepted: u64,
    /// Connections that were closed.
    pub closed: u64,
    /// Connections by what they are about now, in the order of [`State::ALL`].
    pub states: [u64; State::ALL.len()],
    /// Bytes received from peers, heads and framing included.
    pub received: u64,
    /// Bytes sent to peers, heads and framing included; of a send that failed, none.
    pub sent: u64,
    /// Complete responses by the first digit of their status, from 1 to 5.
    pub responses: [u64; CLASS_COUNT],
    /// Requests that an application has answered, by how long they took, in the buckets of [`bound`].
    pub buckets: [u64; BUCKET_COUNT],
    /// How long all of these took together, in nanoseconds.
    pub duration_sum: u64,
    /// Receives that found no block posted.
    pub starved: u64,
    /// Faults of applications.
    pub faults: u64,
    /// Lines that were dropped, in the order of [`Sink::ALL`].
    pub dropped: [u64; Sink::ALL.len()],
}

impl Stats {
    /// Says that a worker of this process begins to serve.
    pub fn begin(&self, driver: DriverKind, now: SystemTime) {
        set(&self.began_at, board::millis(now));
        set(&self.driver, driver as u64);
        set(&self.pid, u64::from(std::process::id()));
    }

    /// The worker that serves with these numbers.
    #[must_use]
    pub fn worker(&self) -> Option<Serving> {
        let pid = u32::try_from(get(&self.pid)).ok().filter(|pid| *pid != 0)?;
        let driver = if get(&self.driver) == DriverKind::Epoll as u64 { DriverKind::Epoll } else { DriverKind::Uring };
        Some(Serving { pid, began_at: get(&self.began_at), driver })
    }

    /// Whether a worker has ever counted here.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        get(&self.began_at) != 0
    }

    /// Counts a limit that was met.
    pub fn note(&self, limit: Limit) {
        add(&self.limits[limit as usize], 1);
    }

    /// Counts a complete response with this status code.
    pub fn note_response(&self, code: u16) {
        let class = usize::from(code / 100).clamp(1, CLASS_COUNT) - 1;
        add(&self.responses[class], 1);
    }

    /// Counts how long `count` requests took, each of them.
    pub fn note_duration(&self, duration: Duration, count: u64) {
        self.latency.note(duration, count);
    }

    /// Counts bytes that have come.
    pub fn note_received(&self, size: u64) {
        add(&self.received, size);
    }

    /// Counts bytes that have gone.
    pub fn note_sent(&self, size: u64) {
        add(&self.sent, size);
    }

    /// Counts a receive that found no block posted.
    pub fn note_starved(&self) {
        add(&self.starved, 1);
    }

    /// Counts an application's fault.
    pub fn note_fault(&self) {
        add(&self.faults, 1);
    }

    /// Counts lines that were dropped. Who writes lines may be another thread, so this alone may be called from any; it is
    /// rare.
    pub fn note_dropped(&self, sink: Sink, count: u64) {
        self.dropped[sink as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// Counts a new connection, which is idle.
    pub fn opened(&self) {
        add(&self.accepted, 1);
        add(&self.states[State::Idle as usize], 1);
    }

    /// Counts a connection that is gone, and that was about `state`.
    pub fn closed(&self, state: State) {
        add(&self.closed, 1);
        let gauge = &self.states[state as usize];
        set(gauge, get(gauge).wrapping_sub(1));
    }

    /// Moves a connection from one state to another.
    pub fn changed(&self, from: State, to: State) {
        let gauge = &self.states[from as usize];
        set(gauge, get(gauge).wrapping_sub(1));
        add(&self.states[to as usize], 1);
    }

    /// The numbers as they are now. Those of a worker that is at work may be some instructions apart.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            limits: self.limits.each_ref().map(get),
            accepted: get(&self.accepted),
            closed: get(&self.closed),
            states: self.states.each_ref().map(get),
            received: get(&self.received),
            sent: get(&self.sent),
            responses: self.responses.each_ref().map(get),
            buckets: self.latency.buckets.each_ref().map(get),
            duration_sum: get(&self.latency.sum),
            starved: get(&self.starved),
            faults: get(&self.faults),
            dropped: self.dropped.each_ref().map(get),
        }
    }
}

impl Counts {
    /// How often a limit was met.
    #[must_use]
    pub fn of(&self, limit: Limit) -> u64 {
        self.limits[limit as usize]
    }

    /// The limits that were met, and how often.
    pub fn met(&self) -> impl Iterator<Item = (Limit, u64)> {
        Limit::ALL.iter().map(|limit| (*limit, self.of(*limit))).filter(|(_, count)| *count > 0)
    }

    /// Open connections.
    #[must_use]
    pub fn open_count(&self) -> u64 {
        self.states.iter().fold(0, |sum, count| sum.wrapping_add(*count))
    }

    /// Complete responses.
    #[must_use]
    pub fn response_count(&self) -> u64 {
        self.responses.iter().fold(0, |sum, count| sum.wrapping_add(*count))
    }

    /// What has been counted since `before`; the gauges are as they are now.
    #[must_use]
    pub fn since(&self, before: &Counts) -> Counts {
        let mut since = *self;
        take_all(&mut since.limits, &before.limits);
        take_all(&mut since.responses, &before.responses);
        take_all(&mut since.buckets, &before.buckets);
        take_all(&mut since.dropped, &before.dropped);
        since.accepted = since.accepted.wrapping_sub(before.accepted);
        since.closed = since.closed.wrapping_sub(before.closed);
        since.received = since.received.wrapping_sub(before.received);
        since.sent = since.sent.wrapping_sub(before.sent);
        since.duration_sum = since.duration_sum.wrapping_sub(before.duration_sum);
        since.starved = since.starved.wrapping_sub(before.starved);
        since.faults = since.faults.wrapping_sub(before.faults);
        since
    }

    /// Adds those of another worker.
    pub fn add(&mut self, other: &Counts) {
        let Counts { limits, accepted, closed, states, received, sent, responses, buckets, .. } = self;
        let Counts { duration_sum, starved, faults, dropped, .. } = other;
        add_all(limits, &other.limits);
        add_all(states, &other.states);
        add_all(responses, &other.responses);
        add_all(buckets, &other.buckets);
        add_all(&mut self.dropped, dropped);
        *accepted = accepted.wrapping_add(other.accepted);
        *closed = closed.wrapping_add(other.closed);
        *received = received.wrapping_add(other.received);
        *sent = sent.wrapping_add(other.sent);
        self.duration_sum = self.duration_sum.wrapping_add(*duration_sum);
        self.starved = self.starved.wrapping_add(*starved);
        self.faults = self.faults.wrapping_add(*faults);
    }
}

fn add_all(sums: &mut [u64], others: &[u64]) {
    for (sum, other) in sums.iter_mut().zip(others) {
        *sum = sum.wrapping_add(*other);
    }
}

fn take_all(sums: &mut [u64], others: &[u64]) {
    for (sum, other) in sums.iter_mut().zip(others) {
        *sum = sum.wrapping_sub(*other);
    }
}

fn get(number: &AtomicU64) -> u64 {
    number.load(Ordering::Relaxed)
}

fn set(number: &AtomicU64, value: u64) {
    number.store(value, Ordering::Relaxed);
}

/// Two instructions and no lock, because there is one writer.
fn add(number: &AtomicU64, more: u64) {
    set(number, get(number).wrapping_add(more));
}

/// Classes of status codes: 1xx to 5xx.
pub const CLASS_COUNT: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_counted_and_added_up() {
        let stats = Stats::default();
        stats.note(Limit::Body);
        stats.note(Limit::Body);
        stats.note(Limit::Turn);
        let mut sum = stats.counts();
        sum.add(&stats.counts());
        assert_eq!(sum.met().collect::<Vec<_>>(), [(Limit::Body, 4), (Limit::Turn, 2)]);
    }

    #[test]
    fn what_was_counted_before_is_left_out() {
        let stats = Stats::default();
        stats.opened();
        stats.note(Limit::Body);
        stats.note_response(200);
        let before = stats.counts();
        assert_eq!(before.since(&before), Counts { states: before.states, ..Counts::default() });
        stats.note(Limit::Turn);
        stats.note_response(404);
        let since = stats.counts().since(&before);
        assert_eq!((since.met().collect::<Vec<_>>(), since.response_count()), (vec![(Limit::Turn, 1)], 1));
    }

    #[test]
    fn every_number_is_added_up() {
        let stats = Stats::default();
        stats.opened();
        stats.opened();
        stats.changed(State::Idle, State::Writing);
        stats.closed(State::Writing);
        stats.note_received(10);
        stats.note_sent(20);
        [99, 204, 302, 404, 503, 999].into_iter().for_each(|code| stats.note_response(code));
        stats.note_duration(Duration::from_micros(3), 2);
        stats.note_starved();
        stats.note_fault();
        stats.note_dropped(Sink::Access, 5);
        stats.note_dropped(Sink::Diagnostics, 6);
        let mut sum = stats.counts();
        sum.add(&stats.counts());
        assert_eq!((sum.accepted, sum.closed, sum.states, sum.open_count()), (4, 2, [2, 0, 0, 0, 0], 2));
        assert_eq!((sum.received, sum.sent), (20, 40));
        assert_eq!((sum.responses, sum.response_count()), ([2, 2, 2, 2, 4], 12));
        assert_eq!((sum.buckets[0], sum.duration_sum), (4, 12_000));
        assert_eq!((sum.starved, sum.faults, sum.dropped), (2, 2, [10, 12]));
    }

    #[test]
    fn the_names_of_states_are_distinct() {
        for (index, state) in State::ALL.iter().enumerate() {
            assert_eq!(*state as usize, index);
            assert!(State::ALL[index + 1..].iter().all(|other| other.name() != state.name()));
        }
    }

    #[test]
    fn names_are_distinct() {
        for (index, limit) in Limit::ALL.iter().enumerate() {
            assert_eq!(*limit as usize, index);
            assert!(Limit::ALL[index + 1..].iter().all(|other| other.name() != limit.name()));
        }
    }
}
