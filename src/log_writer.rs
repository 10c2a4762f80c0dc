//! The access log's own thread: what workers have gathered goes to a file or a pipe, and no worker waits for it.
//!
//! A worker hands over its lines once a turn, into a queue that it shares with the writer alone. The writer takes
//! what is there, writes it, and lets 20 ms pass before it looks again, so that a busy worker never has to wake it; one
//! that finds nothing sleeps, and the next line wakes it. A queue that is full, because the disk or the reader of the
//! pipe is slow, takes no further line: it is dropped, counted, and the count is said. This module knows nothing of what
//! is in a line.

mod destination;
mod queue;
mod writer;

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, Thread};
use std::time::{Duration, Instant};

use crate::diagnostics;
use crate::stats::Row;

pub use destination::Destination;
use queue::{QUEUE_SIZE_MAX, Queue};
use writer::Writer;

/// The writer's thread. Dropping it ends it: what workers have handed over is written first, but a reader that is
/// stuck holds that up for a second at most.
#[derive(Debug)]
pub struct LogWriter {
    desk: Arc<Desk>,
    thread: Thread,
    is_finished: bool,
}

/// A worker's end of the log.
#[derive(Debug)]
pub struct Lines {
    queue: Arc<Queue>,
    thread: Thread,
}

/// What the writer is asked for, and what it answers. Workers never see it.
#[derive(Debug, Default)]
struct Desk {
    wishes: Mutex<Wishes>,
    change: Condvar,
}

#[derive(Debug, Default)]
struct Wishes {
    /// Whether the file is to be opened anew.
    reopens: bool,
    /// By when everything is to be written.
    ends_by: Option<Instant>,
    has_ended: bool,
    /// Lines that were taken from a queue and could not be written.
    lost_count: u64,
}

impl LogWriter {
    /// Starts the thread, and answers with an end for each worker. Lines that are dropped are counted in `row`.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(destination: Destination, worker_count: usize, row: Row) -> io::Result<(LogWriter, Vec<Lines>)> {
        let desk = Arc::new(Desk::default());
        let queues: Vec<_> = (0..worker_count).map(|_| Arc::new(Queue::default())).collect();
        let writer = Writer::new(destination, queues.clone(), desk.clone(), row);
        let thread = Builder::new().name("access-log".into()).spawn(move || writer.run())?.thread().clone();
        let lines = queues.iter().map(|queue| Lines { queue: queue.clone(), thread: thread.clone() }).collect();
        Ok((LogWriter { desk, thread, is_finished: false }, lines))
    }

    /// Asks for the file to be opened anew by its path, as after a rotation. Lines that were handed over before go to
    /// the one or the other.
    pub fn reopen(&self) {
        self.desk.lock().reopens = true;
        self.thread.unpark();
    }

    /// Has everything written that was handed over, and ends; what is not written by then is dropped.
    pub fn finish(&mut self, patience: Duration) {
        if std::mem::replace(&mut self.is_finished, true) {
            return;
        }
        let ends_by = Instant::now() + patience;
        self.desk.lock().ends_by = Some(ends_by);
        self.thread.unpark();
        // The writer keeps to its time, unless a single write holds it up: then it is left behind.
        let waiting = self.desk.change.wait_timeout_while(self.desk.lock(), patience + SLACK, |desk| !desk.has_ended);
        let has_ended = waiting.unwrap_or_else(PoisonError::into_inner).0.has_ended;
        if !has_ended {
            diagnostics::warn(format_args!("ringway: the end of the access log could not be written: a write hangs"));
        }
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.finish(END_PATIENCE);
    }
}

impl Lines {
    /// Hands over whole lines and leaves `lines` empty. What has no room is dropped and counted.
    pub fn hand_over(&self, lines: &mut Vec<u8>) {
        if self.queue.put(lines) {
            self.thread.unpark();
        }
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dropped_count(&self, queues: &[Arc<Queue>]) -> u64 {
        self.lock().lost_count + queues.iter().map(|queue| queue.dropped_count()).sum::<u64>()
    }
}

/// Lines of `bytes`, a begun one too.
fn line_count(bytes: &[u8]) -> u64 {
    bytes.split_inclusive(|byte| *byte == b'\n').count() as u64
}

/// Bytes of lines that are held for one worker at most: its own, those in its queue, those that are being written.
pub const HELD_SIZE_MAX: usize = 3 * QUEUE_SIZE_MAX;
/// How long the end of the server may be held up by what does not take the log.
const END_PATIENCE: Duration = Duration::from_millis(900);
/// What the writer needs beyond that to say what was lost.
const SLACK: Duration = Duration::from_millis(100);
