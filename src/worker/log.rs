//! What a worker writes: the access log, and lines on stderr for the faults of applications.
//!
//! Lines of the log are gathered and handed over once a turn, to a thread that writes them; nothing here waits. With
//! the log off nothing is kept and nothing is formatted.

mod format;
mod redact;

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::connection::{Completed, Witness};
use crate::diagnostics;
use crate::http::error::Error;
use crate::http::status::Status;
use crate::log_writer::Lines;
use crate::response::fault::Fault;
use crate::stats::{Limit, Row, Sink};

use super::tally::Tally;

use format::Writing;

pub use format::LogFormat;
pub use redact::{Redact, Redacted};

/// Where a worker logs requests, and how.
#[derive(Debug)]
pub struct RequestLog {
    /// Where lines go.
    pub lines: Lines,
    /// How a line is written.
    pub format: LogFormat,
    /// What it must not show.
    pub redact: Redact,
}

/// The witness of a worker's connections.
pub(super) struct Log {
    requests: Option<Requests>,
    /// What is counted.
    pub(super) tally: Tally,
    /// Whether what a peer can bring about has had its line in this second.
    has_told: bool,
    /// Faults in this second.
    fault_count: u64,
}

/// The access log.
struct Requests {
    writing: Writing,
    /// The lines of this turn.
    gathered: Vec<u8>,
    lines: Lines,
}

impl Log {
    pub(super) fn new(requests: Option<RequestLog>, stats: Row) -> Log {
        let requests = requests.map(|RequestLog { lines, format, redact }| Requests {
            writing: Writing::new(format, redact),
            gathered: Vec::new(),
            lines,
        });
        Log { requests, tally: Tally::new(stats), has_told: false, fault_count: 0 }
    }

    pub(super) fn is_on(&self) -> bool {
        self.requests.is_some()
    }

    /// Begins a second.
    pub(super) fn set_time(&mut self, now: SystemTime) {
        self.has_told = false;
        self.sum_up_faults();
        self.tally.stats.note_dropped(Sink::Diagnostics, diagnostics::take_dropped_count());
        if let Some(requests) = &mut self.requests {
            requests.writing.set_time(now);
        }
    }

    /// Whether something is to be said when this second is over.
    pub(super) fn owes_line(&self) -> bool {
        self.fault_count > diagnostics::fault_count_max()
    }

    /// A body could not be stored.
    pub(super) fn lost_part(&mut self, directory: &Path, error: &std::io::Error) {
        let directory = directory.display();
        self.tell(format_args!(
            "ringway: a request body could not be spooled in {directory}: {error}; --spool-dir names another directory"
        ));
    }

    /// One line a second about what any peer can bring about as often as it likes; the counters have the rest.
    fn tell(&mut self, line: fmt::Arguments<'_>) {
        if !std::mem::replace(&mut self.has_told, true) {
            diagnostics::warn(line);
        }
    }

    /// Says how many faults had no line of their own.
    fn sum_up_faults(&mut self) {
        let count = std::mem::take(&mut self.fault_count).saturating_sub(diagnostics::fault_count_max());
        if count > 0 {
            let faults = if count == 1 { "fault" } else { "faults" };
            diagnostics::error(format_args!("ringway: {count} more {faults} of applications in that second"));
        }
    }

    /// Hands over the gathered lines.
    pub(super) fn flush(&mut self) {
        if let Some(Requests { gathered, lines, .. }) = &mut self.requests
            && !gathered.is_empty()
        {
            lines.hand_over(gathered);
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.flush();
        self.sum_up_faults();
    }
}

impl Witness for Log {
    fn wants_completed(&self) -> bool {
        self.is_on()
    }

    fn completed(&mut self, completed: &Completed<'_>) {
        if let Some(Requests { writing, gathered, lines }) = &mut self.requests {
            writing.put(gathered, completed);
            if gathered.len() > GATHERED_SIZE_MAX {
                lines.hand_over(gathered);
            }
        }
    }

    fn answered(&mut self, status: Status, duration: Duration) {
        self.tally.answered(status, duration);
    }

    fn left(&mut self, size: u64) {
        self.tally.stats.note_sent(size);
    }

    fn fault(&mut self, name: &str, fault: &Fault) {
        self.tally.stats.note_fault();
        self.fault_count += 1;
        if self.fault_count <= diagnostics::fault_count_max() {
            diagnostics::error(format_args!("ringway: {name}: {fault}"));
        }
    }

    fn refused(&mut self, error: Error) {
        self.tally.refused(error);
        if error == Error::BodyTooLarge {
            let count = self.tally.stats.counts().of(Limit::Body);
            self.tell(format_args!("ringway: a request body was refused: larger than --body-max ({count} so far)"));
        }
    }

    fn met(&mut self, limit: Limit) {
        self.tally.stats.note(limit);
    }
}

/// Bytes of lines that are handed over before the turn is at its end.
const GATHERED_SIZE_MAX: usize = 64 * 1024;
