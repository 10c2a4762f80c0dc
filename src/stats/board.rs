//! The counters of all workers side by side, in memory that processes share.
//!
//! Whoever supervises makes a board with a row for each worker and gives each its own; the rows are written by their
//! workers alone, and anybody may read them. A row outlives its worker, so that sums never fall.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::sys::shared::{Shared, SharedRow};

use super::{Counts, State, Stats, get, set};

/// A worker's row of a [`Board`]: its [`Stats`], which stay where they are as long as anybody has the row.
pub type Row = SharedRow<Header, Stats>;

/// The counters of a server's workers, and what is to be known of the server as a whole.
#[derive(Clone, Debug)]
pub struct Board {
    shared: Arc<Shared<Header, Stats>>,
}

/// How far a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not all of its workers serve yet.
    Starting,
    /// It serves.
    Serving,
    /// It takes no new connections and finishes what runs.
    Draining,
}

/// What a board says of the server as a whole; written by whoever supervises.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct Header {
    /// What a process must agree on to read the rows.
    layout: AtomicU64,
    /// The process that supervises.
    supervisor: AtomicU64,
    /// Milliseconds since 1970.
    started_at: AtomicU64,
    phase: AtomicU64,
    /// Workers that there are to be.
    worker_count: AtomicU64,
    generation: AtomicU64,
}

impl Phase {
    /// Every phase.
    pub const ALL: &[Phase] = &[Phase::Starting, Phase::Serving, Phase::Draining];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Serving => "serving",
            Phase::Draining => "draining",
        }
    }
}

impl Board {
    /// A board that other processes can be given, of this process and this moment, starting.
    ///
    /// # Errors
    /// No descriptor, no memory, or a kernel that refuses `memfd_create`.
    pub fn new(row_count: usize) -> io::Result<Board> {
        Shared::new(row_count).map(Board::begin)
    }

    /// The same for this process alone; it takes no descriptor.
    ///
    /// # Errors
    /// No memory.
    pub fn private(row_count: usize) -> io::Result<Board> {
        Shared::private(row_count).map(Board::begin)
    }

    /// The board that a descriptor of another process's is of.
    ///
    /// # Errors
    /// `InvalidData` where it is not a board, or of another version of this program.
    pub fn adopt(descriptor: OwnedFd) -> io::Result<Board> {
        let board = Board { shared: Arc::new(Shared::adopt(descriptor)?) };
        if get(&board.header().layout) != LAYOUT {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(board)
    }

    fn begin(shared: Shared<Header, Stats>) -> Board {
        let board = Board { shared: Arc::new(shared) };
        set(&board.header().layout, LAYOUT);
        board.supervise();
        set(&board.header().started_at, millis(SystemTime::now()));
        board
    }

    /// What another process can be given; `None` for a private board. It is closed on exec.
    #[must_use]
    pub fn descriptor(&self) -> Option<RawFd> {
        self.shared.descriptor()
    }

    /// The row of the worker that is given this index.
    ///
    /// # Panics
    /// Past the last row.
    #[must_use]
    pub fn row(&self, index: usize) -> Row {
        self.shared.row(index).expect("a worker's row is on the board")
    }

    /// All rows, also those without a worker.
    #[must_use]
    pub fn rows(&self) -> &[Stats] {
        self.shared.rows()
    }

    /// A row that nobody has, which is the caller's until [`Board::release`]. Only whoever supervises claims rows.
    #[must_use]
    pub fn claim(&self) -> Option<usize> {
        let index = self.rows().iter().position(|row| get(&row.is_claimed) == 0)?;
        set(&self.rows()[index].is_claimed, 1);
        Some(index)
    }

    /// Takes the row of a worker that has ended, however it has: it has no connections any more. What it has counted
    /// stays, and whoever is given the row next goes on from there.
    pub fn release(&self, index: usize) {
        if let Some(row) = self.rows().get(index) {
            row.end();
            set(&row.is_claimed, 0);
        }
    }

    /// The sum over all rows.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        self.rows().iter().for_each(|row| sum.add(&row.counts()));
        sum
    }

    /// Workers that serve now.
    #[must_use]
    pub fn serving_count(&self) -> usize {
        self.rows().iter().filter(|row| row.worker().is_some()).count()
    }

    /// How far the server is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        let phase = get(&self.header().phase);
        Phase::ALL.iter().copied().find(|one| *one as u64 == phase).unwrap_or(Phase::Starting)
    }

    /// Says how far the server is.
    pub fn set_phase(&self, phase: Phase) {
        set(&self.header().phase, phase as u64);
    }

    /// The process that supervises.
    #[must_use]
    pub fn supervisor(&self) -> u32 {
        u32::try_from(get(&self.header().supervisor)).unwrap_or(0)
    }

    /// Says that it is this process that supervises; a board may outlive the one that made it.
    pub fn supervise(&self) {
        set(&self.header().supervisor, u64::from(std::process::id()));
    }

    /// When the server started.
    #[must_use]
    pub fn started_at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(get(&self.header().started_at))
    }

    /// Workers that there are to be.
    #[must_use]
    pub fn worker_count(&self) -> u64 {
        get(&self.header().worker_count)
    }

    /// Says how many workers there are to be.
    pub fn set_worker_count(&self, count: usize) {
        set(&self.header().worker_count, count as u64);
    }

    /// How often the workers have been replaced by others.
    #[must_use]
    pub fn generation(&self) -> u64 {
        get(&self.header().generation)
    }

    /// Says that the workers are being replaced.
    pub fn next_generation(&self) {
        super::add(&self.header().generation, 1);
    }

    fn header(&self) -> &Header {
        self.shared.header()
    }
}

impl Default for Row {
    /// A row on a board of its own, for a worker that nobody watches.
    fn default() -> Row {
        Board::private(1).expect("there is memory for a page or two").row(0)
    }
}

impl Stats {
    /// Says that the worker has ended, and its connections with it.
    pub fn end(&self) {
        set(&self.pid, 0);
        self.states.iter().for_each(|gauge| set(gauge, 0));
        self.closed.store(self.accepted.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

pub(super) fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |past| u64::try_from(past.as_millis()).unwrap_or(u64::MAX))
}

/// Size and version: with another of either, the numbers may lie elsewhere.
const LAYOUT: u64 = {
    let mut hash = size_of::<Stats>() as u64 ^ (State::ALL.len() as u64) << 32;
    let version = env!("CARGO_PKG_VERSION").as_bytes();
    let mut index = 0;
    while index < version.len() {
        hash = (hash ^ version[index] as u64).wrapping_mul(0x100_0000_01b3);
        index += 1;
    }
    hash
};

#[cfg(test)]
mod tests {
    use super::super::{DriverKind, Limit};
    use super::*;

    #[test]
    fn two_mappings_of_a_board_are_one() {
        let board = Board::new(3).expect("memory can be shared");
        board.set_worker_count(3);
        board.set_phase(Phase::Serving);
        let descriptor = crate::sys::process::duplicate(board.descriptor().expect("it is shared"));
        let other = Board::adopt(descriptor.expect("a descriptor is left")).expect("it is a board");
        assert_eq!((other.phase(), other.worker_count()), (Phase::Serving, 3));
        assert_eq!((other.supervisor(), other.started_at()), (std::process::id(), board.started_at()));
        let row = other.row(2);
        drop(other);
        row.note(Limit::Turn);
        row.begin(DriverKind::Epoll, SystemTime::now());
        assert_eq!(board.rows().iter().map(|row| row.counts().of(Limit::Turn)).collect::<Vec<_>>(), [0, 0, 1]);
        assert_eq!((board.counts().of(Limit::Turn), board.serving_count()), (1, 1));
        assert_eq!(std::ptr::from_ref(&board.rows()[0]).addr() % align_of::<Stats>(), 0);
    }

    #[test]
    fn a_row_goes_from_hand_to_hand_and_its_sums_never_fall() {
        let board = Board::private(2).expect("there is memory");
        assert_eq!((board.claim(), board.claim(), board.claim()), (Some(0), Some(1), None));
        let row = board.row(0);
        row.begin(DriverKind::Uring, SystemTime::now());
        row.note_received(7);
        row.opened();
        row.opened();
        row.closed(State::Idle);
        row.changed(State::Idle, State::Writing);
        board.release(0);
        let counts = board.counts();
        assert_eq!((counts.accepted, counts.closed, counts.received, counts.open_count()), (2, 2, 7, 0));
        assert_eq!(board.serving_count(), 0);
        assert_eq!(board.claim(), Some(0));
        board.row(0).note_received(1);
        assert_eq!(board.counts().received, 8);
        assert!(board.descriptor().is_none());
    }

    #[test]
    fn what_is_no_board_is_refused() {
        let file = tempfile::tempfile().expect("there is a place for files");
        file.set_len(4096).expect("it can grow");
        assert_eq!(Board::adopt(file.into()).map_err(|error| error.kind()).err(), Some(io::ErrorKind::InvalidData));
        let (end, _other) = io::pipe().expect("there are descriptors");
        assert!(Board::adopt(end.into()).is_err());
        let foreign = Shared::<Header, Stats>::new(1).expect("memory can be shared");
        let descriptor = crate::sys::process::duplicate(foreign.descriptor().expect("it is shared"));
        let error = Board::adopt(descriptor.expect("a descriptor is left")).map_err(|error| error.kind()).err();
        assert_eq!(error, Some(io::ErrorKind::InvalidData), "its layout is not said");
    }
}
