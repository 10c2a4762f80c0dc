//! Lines on their way from one worker to the writer: a bounded buffer that these two alone share.
//!
//! The lock is held for a copy or a swap. The worker looks at a flag under the same lock to see whether the writer sleeps,
//! so that a line is never left lying and a wake-up is only paid for where it is needed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::line_count;

/// The alignment keeps the queues of two workers off each other's cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Queue {
    held: Mutex<Held>,
    /// Lines that found no room. The worker alone counts.
    dropped_count: AtomicU64,
}

#[derive(Debug, Default)]
struct Held {
    /// Whole lines, at most [`QUEUE_SIZE_MAX`] bytes.
    bytes: Vec<u8>,
    /// Whether the writer sleeps until somebody wakes it.
    is_writer_asleep: bool,
}

impl Queue {
    /// Takes whole lines, as many as there is room for, and leaves `lines` empty. Answers whether the writer is to be
    /// woken.
    pub(super) fn put(&self, lines: &mut Vec<u8>) -> bool {
        let mut held = self.lock();
        let former_size = held.bytes.len();
        let size = fitting(lines, QUEUE_SIZE_MAX - former_size);
        let dropped = line_count(&lines[size..]);
        if former_size == 0 && size == lines.len() {
            std::mem::swap(&mut held.bytes, lines);
        } else {
            held.bytes.extend_from_slice(&lines[..size]);
        }
        let is_half_full = former_size < QUEUE_SIZE_MAX / 2 && held.bytes.len() >= QUEUE_SIZE_MAX / 2;
        let wakes = std::mem::take(&mut held.is_writer_asleep) || is_half_full;
        drop(held);
        if dropped > 0 {
            self.dropped_count.store(self.dropped_count() + dropped, Ordering::Relaxed);
        }
        lines.clear();
        wakes
    }

    /// Moves everything behind `bytes`.
    pub(super) fn take(&self, bytes: &mut Vec<u8>) {
        let mut held = self.lock();
        if bytes.is_empty() {
            std::mem::swap(&mut held.bytes, bytes);
        } else {
            bytes.append(&mut held.bytes);
        }
    }

    /// Notes that the writer is about to sleep. Answers whether there is nothing that it would leave lying.
    pub(super) fn let_sleep(&self) -> bool {
        let mut held = self.lock();
        held.is_writer_asleep = held.bytes.is_empty();
        held.is_writer_asleep
    }

    pub(super) fn dropped_count(&self) -> u64 {
        self.dropped_count.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many of these bytes are whole lines within `room`.
fn fitting(lines: &[u8], room: usize) -> usize {
    match lines.get(..room) {
        None => lines.len(),
        Some(_) if room == lines.len() => room,
        Some(beginning) => memchr::memrchr(b'\n', beginning).map_or(0, |end| end + 1),
    }
}

/// What may wait for the writer, of each worker; as much again may be in the writer's hands.
pub(super) const QUEUE_SIZE_MAX: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_dropped_by_whole_lines_and_counted() {
        let queue = Queue::default();
        let line = [&[b'x'; 999][..], b"\n"].concat();
        let mut sum = 0;
        for _ in 0..60 {
            let mut lines = line.repeat(20);
            queue.put(&mut lines);
            assert!(lines.is_empty());
            sum += 20;
        }
        let mut taken = Vec::new();
        queue.take(&mut taken);
        assert!(taken.len() <= QUEUE_SIZE_MAX && taken.ends_with(b"x\n"));
        assert_eq!(line_count(&taken), 1048);
        assert_eq!(line_count(&taken) + queue.dropped_count(), sum);
        queue.put(&mut line.clone());
        queue.take(&mut taken);
        assert_eq!(line_count(&taken), 1049, "there is room again");
    }

    #[test]
    fn the_first_line_wakes_a_sleeper_and_half_a_queue_wakes_whom_it_may() {
        let queue = Queue::default();
        assert!(queue.let_sleep());
        assert!(queue.put(&mut b"a\n".to_vec()));
        assert!(!queue.put(&mut b"b\n".to_vec()));
        assert!(!queue.let_sleep(), "there is something to be written");
        assert!(queue.put(&mut [b'\n'; QUEUE_SIZE_MAX / 2].to_vec()));
        assert!(!queue.put(&mut b"c\n".to_vec()));
    }
}
