//! What the server says to its operator: one line each, on standard error, in text or as JSON.
//!
//! Everything that goes there passes here, and nothing waits for it to be read: where standard error is a full pipe,
//! the line is dropped, counted, and the count is said before the next line that gets through. [`say_patiently`]
//! and [`relay`] wait for a moment, but only while the reader has not let such a moment pass already. A regular file
//! is waited for, as long as its disk takes.
//!
//! Until [`configure`] is called, as in a program that embeds the server, lines go through the standard library's own
//! macro, whose output a test captures. A worker comes here for faults and refusals alone, so that what this module
//! shares between threads, three counters, is not on the path of a request.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::json;
use crate::sys::{self, write};

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed: a start, a worker, an application.
    Error,
    /// Something is not as it was wanted, and the server goes on.
    Warn,
    /// What an operator wants to know: that all workers serve, and what was counted at the end.
    Info,
    /// What helps to find out why.
    Debug,
}

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As a person reads them.
    Text,
    /// As an object each, with `time`, `level`, `pid`, `message` and, where there is one, `traceback`.
    Json,
}

/// Decides which lines are written, how, and how many faults of applications have their own in a second of a worker.
/// A program calls it once, at its start.
pub fn configure(least: Level, format: Format, fault_count_max: u64) {
    LEAST.store(least as u8, Ordering::Relaxed);
    FAULT_COUNT_MAX.store(fault_count_max, Ordering::Relaxed);
    IS_JSON.store(format == Format::Json, Ordering::Relaxed);
    IS_CONFIGURED.store(true, Ordering::Relaxed);
}

/// Says that something failed.
pub fn error(line: fmt::Arguments<'_>) {
    say(Level::Error, line);
}

/// Says that something is not as it was wanted.
pub fn warn(line: fmt::Arguments<'_>) {
    say(Level::Warn, line);
}

/// Says a line, or drops it where nobody takes it.
pub fn say(level: Level, line: fmt::Arguments<'_>) {
    put_line(level, line, Patience::None);
}

/// The same for a thread that serves nobody, which waits for a moment before it drops the line.
pub fn say_patiently(level: Level, line: fmt::Arguments<'_>) {
    put_line(level, line, Patience::Moment);
}

/// Says what an application raised: as text the traceback as it is, as JSON an object whose message is its last line.
pub fn traceback(text: &str) {
    if !is_wanted(Level::Error) {
        return;
    }
    if !IS_JSON.load(Ordering::Relaxed) {
        return put(text.as_bytes(), Patience::Moment);
    }
    let message = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("an exception");
    put(&object(Level::Error, message, text), Patience::Moment);
}

/// Passes on what an application has written to `wsgi.errors`, as it is. It is no line of the server's own, so no
/// level and no format applies.
pub fn relay(bytes: &[u8]) {
    put(bytes, Patience::Moment);
}

/// Faults of applications that have a line each in a second of a worker, and tracebacks in one of a thread. What comes
/// beyond is for the caller to count.
#[must_use]
pub fn fault_count_max() -> u64 {
    FAULT_COUNT_MAX.load(Ordering::Relaxed)
}

/// Whether a line may wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    None,
    Moment,
}

fn is_wanted(level: Level) -> bool {
    level as u8 <= LEAST.load(Ordering::Relaxed)
}

fn put_line(level: Level, line: fmt::Arguments<'_>, patience: Patience) {
    if is_wanted(level) {
        put(&rendered(level, &line.to_string()), patience);
    }
}

/// A line with its end.
fn rendered(level: Level, message: &str) -> Vec<u8> {
    if IS_JSON.load(Ordering::Relaxed) {
        // Who reads objects knows where they come from.
        object(level, message.strip_prefix("ringway: ").unwrap_or(message), "")
    } else {
        format!("{message}\n").into_bytes()
    }
}

/// An object that a pipe takes as a whole: of a message that is too long for that its beginning is left, of a
/// traceback its end, where the error is named.
fn object(level: Level, mut message: &str, mut traceback: &str) -> Vec<u8> {
    let time = sys::fine_timestamp(SystemTime::now());
    loop {
        let mut line = Vec::new();
        // Writing to a vector does not fail.
        let (name, id) = (level.name(), std::process::id());
        let _ = write!(line, "{{\"time\":\"{time}\",\"level\":\"{name}\",\"pid\":{id},\"message\":");
        json::put_string(&mut line, message.as_bytes());
        if !traceback.is_empty() {
            line.extend_from_slice(b",\"traceback\":");
            json::put_string(&mut line, traceback.as_bytes());
        }
        line.extend_from_slice(b"}\n");
        let Some(excess) = line.len().checked_sub(write::PIPE_BUF).filter(|excess| *excess > 0) else { return line };
        if traceback.is_empty() {
            let end = message.len().saturating_sub(excess);
            message = (0..=end).rev().find_map(|end| message.get(..end)).unwrap_or_default();
        } else {
            let start = excess.min(traceback.len());
            traceback = (start..=traceback.len()).find_map(|start| traceback.get(start..)).unwrap_or_default();
        }
    }
}

/// Writes lines, behind the count of those that were dropped before them.
fn put(bytes: &[u8], patience: Patience) {
    let unsaid = UNSAID.swap(0, Ordering::Relaxed);
    if unsaid > 0 {
        let lines = if unsaid == 1 { "line was" } else { "lines were" };
        let notice = format!("ringway: {unsaid} {lines} dropped here, because nobody took them");
        if !put_piece(&rendered(Level::Warn, &notice), patience) {
            UNSAID.fetch_add(unsaid, Ordering::Relaxed);
            return note_dropped(bytes);
        }
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(piece_size(rest));
        if !put_piece(piece, patience) {
            return note_dropped(rest);
        }
        rest = behind;
    }
}

/// Of lines, as many bytes as a pipe takes as a whole: whole lines, unless one alone is longer.
pub(crate) fn piece_size(lines: &[u8]) -> usize {
    if lines.len() <= write::PIPE_BUF {
        return lines.len();
    }
    memchr::memrchr(b'\n', &lines[..write::PIPE_BUF]).map_or(write::PIPE_BUF, |end| end + 1)
}

/// Lines that nobody took since this was last asked for; for who counts them.
#[must_use]
pub fn take_dropped_count() -> u64 {
    UNCOUNTED.swap(0, Ordering::Relaxed)
}

fn note_dropped(lines: &[u8]) {
    let count = lines.split_inclusive(|byte| *byte == b'\n').count() as u64;
    UNCOUNTED.fetch_add(count, Ordering::Relaxed);
    UNSAID.fetch_add(count, Ordering::Relaxed);
}

/// Writes one piece. Answers whether it was taken.
fn put_piece(mut piece: &[u8], patience: Patience) -> bool {
    let stderr = io::stderr();
    let until = Instant::now() + MOMENT;
    loop {
        match put_now(piece) {
            Ok(size) if size >= piece.len() => {
                IS_STUCK.store(false, Ordering::Relaxed);
                return true;
            }
            // A terminal or a socket takes what it has room for.
            Ok(size) => piece = &piece[size..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let left = until.saturating_duration_since(Instant::now());
                if patience == Patience::None || IS_STUCK.load(Ordering::Relaxed) || left.is_zero() {
                    // One wait for a reader that does not read is enough, until it does.
                    IS_STUCK.fetch_or(patience == Patience::Moment, Ordering::Relaxed);
                    return false;
                }
                // What it answers, the next write finds out.
                let _ = write::wait_writable(stderr.as_fd(), left);
            }
            Err(_) => return false,
        }
    }
}

fn put_now(piece: &[u8]) -> io::Result<usize> {
    let stderr = io::stderr();
    if !IS_CONFIGURED.load(Ordering::Relaxed) {
        if !write::wait_writable(stderr.as_fd(), Duration::ZERO) {
            return Err(ErrorKind::WouldBlock.into());
        }
        // The macro panics where the other end is gone; the line is lost then, and not the worker.
        let text = String::from_utf8_lossy(piece);
        let _ = catch_unwind(AssertUnwindSafe(|| eprint!("{text}")));
        return Ok(piece.len());
    }
    if write::is_regular(stderr.as_fd()) {
        return stderr.lock().write(piece);
    }
    write::write_now(stderr.as_fd(), piece)
}

impl Level {
    /// Its name, as it is typed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Level, String> {
        let levels = [Level::Error, Level::Warn, Level::Info, Level::Debug];
        levels.into_iter().find(|level| level.name() == text).ok_or_else(|| "write error, warn, info or debug".into())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        match text {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            _ => Err("write text or json".into()),
        }
    }
}

/// How long a patient line waits for its reader.
const MOMENT: Duration = Duration::from_millis(100);

static LEAST: AtomicU8 = AtomicU8::new(Level::Info as u8);
static FAULT_COUNT_MAX: AtomicU64 = AtomicU64::new(10);
static IS_JSON: AtomicBool = AtomicBool::new(false);
static IS_CONFIGURED: AtomicBool = AtomicBool::new(false);
/// Whether the reader has let a moment pass without taking anything.
static IS_STUCK: AtomicBool = AtomicBool::new(false);
static UNCOUNTED: AtomicU64 = AtomicU64::new(0);
/// Of the dropped lines, those that nobody has been told of.
static UNSAID: AtomicU64 = AtomicU64::new(0);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_object_has_its_parts_and_a_pipe_takes_it_as_a_whole() {
        let traceback = format!("Traceback:\n{}ValueError: \"no\"\n", "  a line\n".repeat(2000));
        let line = object(Level::Error, "ValueError: \"no\"", &traceback);
        assert!(line.len() <= write::PIPE_BUF && line.ends_with(b"}\n"));
        let parsed: serde_json::Value = serde_json::from_slice(&line).expect("an object");
        assert_eq!(parsed["level"], "error");
        assert_eq!(parsed["message"], "ValueError: \"no\"");
        assert_eq!(parsed["pid"], std::process::id());
        assert!(parsed["traceback"].as_str().is_some_and(|text| text.ends_with("ValueError: \"no\"\n")));
        assert!(parsed["time"].as_str().is_some_and(|time| time.len() == 29));
    }

    #[test]
    fn pieces_are_whole_lines_unless_one_is_too_long() {
        assert_eq!(piece_size(b"short\n"), 6);
        let lines = [&[b'x'; 3000][..], b"\n", &[b'y'; 3000], b"\n"].concat();
        assert_eq!(piece_size(&lines), 3001);
        assert_eq!(piece_size(&[b'x'; 5000]), write::PIPE_BUF);
    }

    proptest! {
        #[test]
        fn every_object_is_one_line_that_parses(message in ".{0,300}", traceback in "(.|\n){0,300}") {
            let line = object(Level::Warn, &message, &traceback);
            prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            let parsed: serde_json::Value = serde_json::from_slice(&line).expect("an object");
            prop_assert_eq!(parsed["message"].as_str(), Some(&message[..]));
        }
    }
}
