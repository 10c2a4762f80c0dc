//! One child: how it is started, what it says, how far it is.

use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::Command;
use std::time::Instant;

use crate::sys::children::{self, Order};
use crate::sys::process;

use super::super::role::{self, Report, Seat};
use super::Plan;

/// A process that serves, or is to.
pub(super) struct Child {
    pub(super) id: i32,
    /// Which of the processes that serve together it is.
    pub(super) index: usize,
    /// Of which start of the whole it is.
    pub(super) generation: u64,
    pub(super) stage: Stage,
    /// Whether it has said that it serves; before, it has nothing to finish.
    pub(super) has_served: bool,
    /// Whether a successor has its place.
    pub(super) is_retired: bool,
    pub(super) born: Instant,
    /// Where its workers count.
    pub(super) rows: Vec<usize>,
    /// Whether it is to open its logs anew when it serves.
    is_reopening: bool,
    /// Where it says how it goes; `None` when it has hung up.
    reports: Option<std::io::PipeReader>,
    /// The beginning of a line.
    rest: Vec<u8>,
}

/// How far a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has not said that it serves.
    Starting,
    Serving,
    /// It was asked to end, and is killed if it has not by then.
    Ending {
        kill_at: Option<Instant>,
    },
}

impl Child {
    /// Starts this program again as a child.
    ///
    /// # Errors
    /// One line with the cause.
    pub(super) fn spawn(plan: &Plan, seat: Seat, index: usize, generation: u64) -> io::Result<Child> {
        let (reports, theirs) = io::pipe()?;
        let shares = plan.shares(index);
        let pipe = theirs.as_raw_fd();
        let mut command = Command::new(&plan.invocation.program);
        command.args(&plan.invocation.prefix).args(&plan.invocation.arguments);
        command.env(role::VARIABLE, role::told(index, plan.child_count, pipe, &seat, &shares));
        children::bequeath(&mut command, [shares.concat(), vec![pipe], seat.board.into_iter().collect()].concat());
        let child = command.spawn().map_err(|error| {
            let program = plan.invocation.program.display();
            io::Error::new(error.kind(), format!("cannot start a worker with {program}: {error}"))
        })?;
        let id = i32::try_from(child.id()).map_err(io::Error::other)?;
        let mut child = Child::of(id, index, generation, Stage::Starting, reports.into())?;
        child.rows = seat.rows;
        Ok(child)
    }

    /// A child that runs already.
    pub(super) fn of(id: i32, index: usize, generation: u64, stage: Stage, reports: OwnedFd) -> io::Result<Child> {
        process::set_nonblocking(&reports)?;
        let reports = Some(reports.into());
        let has_served = stage != Stage::Starting;
        Ok(Child {
            id,
            index,
            generation,
            stage,
            has_served,
            is_retired: false,
            born: Instant::now(),
            rows: Vec::new(),
            is_reopening: false,
            reports,
            rest: Vec::new(),
        })
    }

    /// Where it says how it goes.
    pub(super) fn descriptor(&self) -> Option<RawFd> {
        self.reports.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// What it has said since the last time.
    pub(super) fn take_reports(&mut self) -> Vec<Report> {
        let mut piece = [0; 4096];
        while let Some(reports) = &mut self.reports {
            match reports.read(&mut piece) {
                Ok(0) => self.reports = None,
                Ok(size) => self.rest.extend_from_slice(&piece[..size]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.reports = None,
            }
        }
        let Some(end) = memchr::memrchr(b'\n', &self.rest) else { return Vec::new() };
        let lines: Vec<u8> = self.rest.drain(..=end).collect();
        String::from_utf8_lossy(&lines).lines().filter_map(Report::of).collect()
    }

    /// Whether it has not been asked to end.
    pub(super) fn is_wanted(&self) -> bool {
        !matches!(self.stage, Stage::Ending { .. })
    }

    /// It has said that it serves.
    pub(super) fn serve(&mut self) {
        self.stage = Stage::Serving;
        if std::mem::take(&mut self.is_reopening) {
            children::order(self.id, Order::Reopen);
        }
    }

    /// Has it open its logs anew, as soon as the signal does not end it.
    pub(super) fn reopen(&mut self) {
        match self.stage {
            Stage::Starting => self.is_reopening = true,
            Stage::Serving | Stage::Ending { .. } => children::order(self.id, Order::Reopen),
        }
    }

    /// Asks it to end, once; `kill_at` is how long it may take.
    pub(super) fn end(&mut self, order: Order, kill_at: Option<Instant>) {
        if self.is_wanted() {
            children::order(self.id, order);
            self.is_retired = order == Order::Retire;
            self.stage = Stage::Ending { kill_at };
        }
    }

    /// When it is to be killed.
    pub(super) fn kill_at(&self) -> Option<Instant> {
        match self.stage {
            Stage::Ending { kill_at } => kill_at,
            Stage::Starting | Stage::Serving => None,
        }
    }
}
