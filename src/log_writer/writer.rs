//! The writer's loop, and what it does about a destination that does not take what it is given.
//!
//! ```text
//! everything written  → sleep until a line comes
//! something was       → look again in 20 ms
//! taken too slowly    → wait for room; queues fill meanwhile, and drop
//! an error            → drop what is in hand, all but the end of a line that was begun; go on
//! ```

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::thread::{park, park_timeout};
use std::time::{Duration, Instant};

use crate::diagnostics;
use crate::stats::{Row, Sink};

use super::destination::Destination;
use super::queue::Queue;
use super::{Desk, line_count};

/// The thread's own state.
pub(super) struct Writer {
    destination: Destination,
    queues: Vec<Arc<Queue>>,
    desk: Arc<Desk>,
    /// Where losses are counted.
    row: Row,
    /// What was taken from a queue; `written_size` bytes of it are written.
    lines: Vec<u8>,
    written_size: usize,
    /// Whether `lines` begins in the middle of a line, whose beginning was written before an error.
    is_torn: bool,
    /// The last error since losses were said.
    failure: Option<io::Error>,
    /// Dropped lines that were said, and when.
    said_count: u64,
    said_at: Option<Instant>,
}

/// How an attempt to write went.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Done,
    /// Nothing more is taken now.
    Blocked,
    Failed,
}

/// Says that the thread has ended, also by a panic.
struct AtEnd(Arc<Desk>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        self.0.lock().has_ended = true;
        self.0.change.notify_all();
    }
}

impl Writer {
    pub(super) fn new(destination: Destination, queues: Vec<Arc<Queue>>, desk: Arc<Desk>, row: Row) -> Writer {
        Writer {
            destination,
            queues,
            desk,
            row,
            lines: Vec::new(),
            written_size: 0,
            is_torn: false,
            failure: None,
            said_count: 0,
            said_at: None,
        }
    }

    pub(super) fn run(mut self) {
        let _at_end = AtEnd(self.desk.clone());
        loop {
            // Asked before the queues are looked at: whoever asks for the end has no more to hand over.
            let (reopens, ends_by) = {
                let mut wishes = self.desk.lock();
                (std::mem::take(&mut wishes.reopens), wishes.ends_by)
            };
            if reopens {
                self.reopen();
            }
            let (progress, has_written) = self.write_queues();
            match (ends_by, progress) {
                (Some(ends_by), Progress::Blocked) if Instant::now() < ends_by => {
                    self.destination.wait(ends_by.saturating_duration_since(Instant::now()).min(BLOCKED_WAIT));
                }
                (Some(_), _) => return self.give_up(),
                (None, Progress::Blocked) => self.destination.wait(BLOCKED_WAIT),
                (None, Progress::Done | Progress::Failed) => {
                    self.say_losses(false);
                    if has_written {
                        park_timeout(GATHER_TIME);
                    } else {
                        self.sleep();
                    }
                }
            }
        }
    }

    /// Writes what is in hand and what the queues hold. Answers how that went, and whether a queue held anything.
    fn write_queues(&mut self) -> (Progress, bool) {
        let mut progress = self.write_lines();
        let mut has_any = false;
        for index in 0..self.queues.len() {
            if progress == Progress::Blocked {
                return (progress, true);
            }
            let former_size = self.lines.len();
            self.queues[index].take(&mut self.lines);
            if self.lines.len() > former_size {
                has_any = true;
                progress = self.write_lines();
            }
        }
        (progress, has_any)
    }

    fn write_lines(&mut self) -> Progress {
        while self.written_size < self.lines.len() {
            match self.destination.write(&self.lines[self.written_size..]) {
                Ok(size) => self.written_size += size,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Progress::Blocked,
                Err(error) => {
                    self.failure = Some(error);
                    self.lose_lines();
                    return Progress::Failed;
                }
            }
        }
        self.lines.clear();
        self.written_size = 0;
        self.is_torn = false;
        Progress::Done
    }

    /// Drops what is in hand. The end of a line that was begun is kept: whatever is written next has to stand on a line of
    /// its own.
    fn lose_lines(&mut self) {
        self.is_torn = self.is_within_line();
        let rest = &self.lines[self.written_size..];
        let kept_size = match self.is_torn {
            true => memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1),
            false => 0,
        };
        self.desk.lock().lost_count += line_count(&rest[kept_size..]);
        self.lines.truncate(self.written_size + kept_size);
        self.lines.drain(..self.written_size);
        self.written_size = 0;
    }

    fn is_within_line(&self) -> bool {
        match self.written_size.checked_sub(1) {
            None => self.is_torn,
            Some(last) => self.lines[last] != b'\n',
        }
    }

    /// Changes to a new file. A line that was begun in the old one, and could not be ended there, is lost.
    fn reopen(&mut self) {
        match self.destination.reopen() {
            Ok(false) => {}
            Ok(true) => {
                let path = self.destination.shown();
                diagnostics::say(
                    diagnostics::Level::Debug,
                    format_args!("ringway: the access log {path} was opened anew"),
                );
                if self.is_within_line() {
                    let rest = &self.lines[self.written_size..];
                    self.written_size += memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
                    self.desk.lock().lost_count += 1;
                }
            }
            Err(error) => {
                let path = self.destination.shown();
                diagnostics::error(format_args!(
                    "ringway: cannot open the access log {path} anew: {error}; the former file is written to"
                ));
            }
        }
    }

    /// Sleeps until a line comes or something is asked for, or until losses may be said.
    fn sleep(&mut self) {
        // Not `all`: each is to wake this thread.
        let awake_count = self.queues.iter().filter(|queue| !queue.let_sleep()).count();
        if awake_count > 0 {
            return;
        }
        let is_waiting = !self.lines.is_empty() || self.desk.dropped_count(&self.queues) > self.said_count;
        if is_waiting { park_timeout(SAYING_TIME) } else { park() }
    }

    /// Says how many lines were dropped since that was last said, in one line and at most one a second.
    fn say_losses(&mut self, is_last: bool) {
        let count = self.desk.dropped_count(&self.queues);
        let is_early = self.said_at.is_some_and(|said_at| said_at.elapsed() < SAYING_TIME);
        if count == self.said_count || (is_early && !is_last) {
            return;
        }
        let lost = count - self.said_count;
        let lines = if lost == 1 { "line was" } else { "lines were" };
        match self.failure.take() {
            Some(error) => diagnostics::warn(format_args!(
                "ringway: {lost} {lines} dropped from the access log, which cannot be written: {error}"
            )),
            None => diagnostics::warn(format_args!(
                "ringway: {lost} {lines} dropped from the access log, which was taken too slowly"
            )),
        }
        self.row.note_dropped(Sink::Access, lost);
        self.said_count = count;
        self.said_at = Some(Instant::now());
    }

    /// The end: what is left is lost.
    fn give_up(&mut self) {
        for queue in &self.queues {
            queue.take(&mut self.lines);
        }
        self.desk.lock().lost_count += line_count(&self.lines[self.written_size..]);
        self.say_losses(true);
    }
}

/// How long lines are gathered before they are written, while there are some.
const GATHER_TIME: Duration = Duration::from_millis(20);
/// How often a writer that waits for room looks whether something else is asked for.
const BLOCKED_WAIT: Duration = Duration::from_millis(100);
/// Between two lines about losses, and between two attempts to end a line that was begun.
const SAYING_TIME: Duration = Duration::from_secs(1);
