//! What a process is for a supervisor: told by a variable, and told back through a pipe.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;

use crate::config::{Config, Pin};
use crate::stats::{Board, Row};
use crate::sys::process;

/// What a child was told by its supervisor.
pub(super) struct Role {
    index: usize,
    child_count: usize,
    /// Listeners for each of its workers.
    shares: Vec<Vec<OwnedFd>>,
    /// Where each of its workers counts; `None` where the board is one of another version.
    rows: Option<Vec<Row>>,
    reports: Reports,
}

/// What a child serves with.
pub(super) struct Means {
    pub(super) shares: Vec<Vec<OwnedFd>>,
    pub(super) rows: Option<Vec<Row>>,
    pub(super) reports: Reports,
}

/// The way back.
pub(super) struct Reports(File);

/// What a child says, a line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// A line for the operator.
    Note(String),
    /// It serves, with this driver.
    Ready(String),
    /// It has served as many requests as it is to.
    Spent,
    /// Its application was read from this file.
    Source(String),
}

impl Role {
    /// How many processes serve.
    pub(super) fn child_count(&self) -> usize {
        self.child_count
    }

    /// How many workers this process has.
    pub(super) fn worker_count(&self) -> usize {
        self.shares.len()
    }

    /// Makes the configuration of all that of this process, and takes its processor. Answers with the rest.
    pub(super) fn apply(self, config: &mut Config) -> Means {
        let Role { index, child_count, shares, rows, reports } = self;
        config.worker_count = shares.len();
        config.connection_count_max = config.connection_count_max.map(|all| (all / child_count.max(1)).max(1));
        if child_count > 1 {
            let allowed = process::affinity().unwrap_or_default();
            if config.pin == Pin::Auto && child_count <= allowed.len() {
                // An unpinned worker serves as well, only less evenly.
                let _ = process::pin(allowed[index]);
            }
            config.pin = Pin::Off;
        }
        Means { shares, rows, reports }
    }
}

impl Reports {
    /// Tells the supervisor that this process serves, with what is to be said and the driver.
    pub(super) fn ready(&self, notes: &[String], io: &str) {
        let notes = notes.iter().map(|note| Report::Note(note.clone()));
        self.send(notes.chain([Report::Ready(io.to_string())]));
    }

    /// Asks for a successor.
    pub(super) fn spent(&self) {
        self.send([Report::Spent]);
    }

    /// Names the files that the application was read from.
    pub(super) fn sources(&self, paths: &[PathBuf]) {
        self.send(paths.iter().map(|path| Report::Source(path.display().to_string())));
    }

    fn send(&self, reports: impl IntoIterator<Item = Report>) {
        let lines: String = reports.into_iter().map(|report| report.line()).collect();
        // A parent that has gone has had this process told.
        let _ = (&self.0).write_all(lines.as_bytes());
    }
}

impl Report {
    /// As it is sent. A line is one line, whatever a path has in it.
    fn line(&self) -> String {
        let (word, text) = match self {
            Report::Note(line) => ("note", line.as_str()),
            Report::Ready(io) => ("ready", io.as_str()),
            Report::Spent => ("spent", ""),
            Report::Source(path) => ("source", path.as_str()),
        };
        format!("{word} {}\n", text.replace('\n', " "))
    }

    /// What a line says.
    pub(super) fn of(line: &str) -> Option<Report> {
        let (word, text) = line.split_once(' ')?;
        match word {
            "note" => Some(Report::Note(text.into())),
            "ready" => Some(Report::Ready(text.into())),
            "spent" => Some(Report::Spent),
            "source" => Some(Report::Source(text.into())),
            _ => None,
        }
    }
}

/// What the variable says to a child: its index among so many, the pipe for its reports, the board and its rows there,
/// and its listeners by worker.
pub(super) fn told(index: usize, child_count: usize, pipe: RawFd, seat: &Seat, shares: &[Vec<RawFd>]) -> String {
    let Seat { board, rows } = seat;
    let rows: Vec<String> = rows.iter().map(ToString::to_string).collect();
    let shares: Vec<String> = shares.iter().map(|share| numbers(share)).collect();
    let board = board.unwrap_or(-1);
    format!("{index}/{child_count}/{pipe}/{board}/{}/{}", rows.join(","), shares.join(";"))
}

/// Where a child counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Seat {
    /// `None` where it cannot be shared.
    pub(super) board: Option<RawFd>,
    /// Of each worker; none where the board is full.
    pub(super) rows: Vec<usize>,
}

/// `5,6,7`.
pub(super) fn numbers(numbers: &[RawFd]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// The descriptors that `5,6;7,8` names, taken over.
pub(super) fn adopt_shares(text: &str) -> Option<Vec<Vec<OwnedFd>>> {
    let share = |text: &str| text.split(',').map(|one| process::adopt(one.parse().ok()?).ok()).collect();
    text.split(';').map(share).collect()
}

/// What this process is a child for; taken from the environment, so to be called once, before any thread. What it
/// starts does not see the variable; /proc/PID/environ shows what exec was given, which nothing can take back.
///
/// # Errors
/// What cannot be read: a child that took itself for a supervisor would have children of its own.
pub(super) fn take_role() -> io::Result<Option<Role>> {
    let Some(text) = process::take_variable(VARIABLE) else { return Ok(None) };
    let unreadable =
        || io::Error::other(format!("the variable {VARIABLE} cannot be read; it is the supervisor's to set"));
    let role = role_of(&text).ok_or_else(unreadable)?;
    // Not before the exec, which makes a process forget it where the program has capabilities.
    if !process::end_with_parent(&role.reports.0) {
        return Err(io::Error::other("the supervisor has gone"));
    }
    Ok(Some(role))
}

fn role_of(text: &str) -> Option<Role> {
    let mut parts = text.splitn(6, '/');
    let (index, child_count): (usize, usize) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let reports = process::adopt(parts.next()?.parse().ok()?).ok()?;
    if index >= child_count {
        return None;
    }
    let reports = Reports(reports.into());
    let board = process::adopt(parts.next()?.parse().ok()?).ok().and_then(|board| Board::adopt(board).ok());
    let rows = parts.next()?.split(',').filter_map(|row| row.parse().ok()).collect::<Vec<usize>>();
    let shares = adopt_shares(parts.next()?)?;
    let has_row = |board: &Board| rows.len() == shares.len() && rows.iter().all(|row| *row < board.rows().len());
    let rows = board.filter(has_row).map(|board| rows.iter().map(|row| board.row(*row)).collect());
    Some(Role { index, child_count, shares, rows, reports })
}

/// As [`told`] writes it.
pub(super) const VARIABLE: &str = "RINGWAY_WORKER";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_what_its_line_says() {
        let path = "/srv/a file.py";
        for report in [
            Report::Note("ringway: a line".into()),
            Report::Ready("io_uring".into()),
            Report::Spent,
            Report::Source(path.into()),
        ] {
            assert_eq!(Report::of(report.line().trim_end_matches('\n')), Some(report));
        }
        assert_eq!(Report::of("something else"), None);
    }
}
