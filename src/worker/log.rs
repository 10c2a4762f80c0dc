//! What a worker writes: the access log, and one line on stderr for each fault of an application.
//!
//! Lines are gathered and written once a turn. With the log off nothing is kept and nothing is formatted.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::connection::{Completed, Witness};
use crate::http::error::Error;
use crate::http::status::Status;
use crate::response::fault::Fault;
use crate::stats::{Limit, Row};
use crate::sys::{self, Peer};

use super::tally::Tally;

/// The witness of a worker's connections.
pub(super) struct Log {
    file: Option<Arc<File>>,
    lines: Vec<u8>,
    /// The time of the second, as the combined format writes it.
    time: String,
    /// What is counted.
    pub(super) tally: Tally,
    /// Whether what a peer can bring about has had its line in this second.
    has_told: bool,
}

impl Log {
    pub(super) fn new(file: Option<Arc<File>>, stats: Row) -> Log {
        Log { file, lines: Vec::new(), time: String::new(), tally: Tally::new(stats), has_told: false }
    }

    /// Begins a second.
    pub(super) fn set_time(&mut self, now: SystemTime) {
        self.has_told = false;
        if self.file.is_some() {
            self.time = sys::local_time(now);
        }
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
            report(line);
        }
    }

    /// Writes the gathered lines. What the file does not take is lost, and the requests go on.
    pub(super) fn flush(&mut self) {
        if let Some(file) = &self.file
            && !self.lines.is_empty()
        {
            let _ = file.as_ref().write_all(&self.lines);
            self.lines.clear();
        }
    }
}

impl Witness for Log {
    fn wants_completed(&self) -> bool {
        self.file.is_some()
    }

    /// One line in the combined format, with the seconds taken at its end.
    fn completed(&mut self, completed: &Completed<'_>) {
        let Completed { peer, request_line, referer, user_agent, status, body_size, duration } = *completed;
        let lines = &mut self.lines;
        // Writing to a vector does not fail.
        let _ = match peer.and_then(Peer::ip) {
            Some(ip) => write!(lines, "{}", ip.to_canonical()),
            None => write!(lines, "-"),
        };
        let _ = write!(lines, " - - [{}] \"", self.time);
        put_quoted(lines, request_line);
        let _ = write!(lines, "\" {} {body_size} \"", status.code());
        put_quoted(lines, if referer.is_empty() { b"-" } else { referer });
        lines.extend_from_slice(b"\" \"");
        put_quoted(lines, if user_agent.is_empty() { b"-" } else { user_agent });
        let _ = writeln!(lines, "\" {:.6}", duration.as_secs_f64());
    }

    fn answered(&mut self, status: Status, duration: Duration) {
        self.tally.answered(status, duration);
    }

    fn left(&mut self, size: u64) {
        self.tally.stats.note_sent(size);
    }

    fn fault(&mut self, name: &str, fault: &Fault) {
        self.tally.stats.note_fault();
        report(format_args!("ringway: {name}: {fault}"));
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

/// One line on stderr. Where that is a closed pipe or a full disk, eprintln! panics; the line is lost then, and
/// not the worker with all its connections. (A plain write would escape the capture of the tests.)
fn report(line: fmt::Arguments<'_>) {
    let _ = catch_unwind(AssertUnwindSafe(|| eprintln!("{line}")));
}

/// Puts text between quotes: quotes, backslashes and bytes that are not printable ASCII become `\xNN`, so
/// that no peer can forge a line.
fn put_quoted(lines: &mut Vec<u8>, text: &[u8]) {
    for byte in text {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f..=0xff => {
                let _ = write!(lines, "\\x{byte:02x}");
            }
            _ => lines.push(*byte),
        }
    }
}
