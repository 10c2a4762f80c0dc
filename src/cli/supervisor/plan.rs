//! What is to be supervised, and what each child is given of it.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use crate::cli::Invocation;
use crate::cli::admin::Numbers;
use crate::cli::role::Seat;
use crate::server::listeners::Listeners;
use crate::sys::service::Notifier;

/// What is to be supervised.
pub(in crate::cli) struct Plan {
    /// How this same command line is begun again.
    pub(in crate::cli) invocation: Invocation,
    /// What is served, as the banner shows it.
    pub(in crate::cli) shown: String,
    pub(in crate::cli) child_count: usize,
    /// Of each process.
    pub(in crate::cli) worker_count: usize,
    pub(in crate::cli) graceful_timeout: Duration,
    /// How long it goes on when it has been told to end.
    pub(in crate::cli) drain_delay: Duration,
    /// Whether changes of the application's files start it anew.
    pub(in crate::cli) is_reloading: bool,
    pub(in crate::cli) listeners: Listeners,
    pub(in crate::cli) notifier: Notifier,
    pub(in crate::cli) numbers: Numbers,
}

impl Plan {
    /// The numbers of a process's listeners, for each of its workers.
    pub(super) fn shares(&self, index: usize) -> Vec<Vec<RawFd>> {
        let first = index * self.worker_count;
        (first..first + self.worker_count).map(|worker| self.listeners.share(worker)).collect()
    }

    /// Rows for the workers of a process that is started; none where others still have too many.
    pub(super) fn seat(&self) -> Seat {
        let board = &self.numbers.board;
        let rows: Vec<_> = (0..self.worker_count).filter_map(|_| board.claim()).collect();
        let is_whole = rows.len() == self.worker_count;
        if !is_whole {
            rows.iter().for_each(|row| board.release(*row));
        }
        Seat { board: board.descriptor(), rows: if is_whole { rows } else { Vec::new() } }
    }

    /// When a child that is asked to end now is killed: it cuts by itself before.
    pub(super) fn kill_at(&self) -> Option<Instant> {
        Instant::now().checked_add(self.graceful_timeout + KILL_TIME)
    }
}

/// What a child may take beyond the graceful timeout, at which it ends by itself.
const KILL_TIME: Duration = Duration::from_secs(3);
