//! What a worker counts of the requests that it answers.
//!
//! # How long a request took
//! The clock is read once at the beginning of a turn, and by it a request that comes in one piece takes no time at all,
//! however slow its application is. What its peer waits for is the end of the turn, when all answers leave. So requests
//! are gathered until then, and one more look at the clock, in a turn that has answered any, is for all of them.

use std::time::Duration;

use crate::http::error::Error;
use crate::http::status::Status;
use crate::stats::Row;

/// The requests answered in this turn, and where they are counted.
pub(super) struct Tally {
    pub(super) stats: Row,
    /// Those that came and were answered in this same turn.
    prompt_count: u64,
    /// What the others had taken when it began.
    earlier: Vec<Duration>,
}

impl Tally {
    pub(super) fn new(stats: Row) -> Tally {
        Tally { stats, prompt_count: 0, earlier: Vec::with_capacity(EARLIER_COUNT_MAX) }
    }

    /// Counts an answer of an application. `duration` is what the request had taken when this turn began.
    pub(super) fn answered(&mut self, status: Status, duration: Duration) {
        self.stats.note_response(status.code());
        if duration.is_zero() {
            self.prompt_count += 1;
        } else if self.earlier.len() < EARLIER_COUNT_MAX {
            self.earlier.push(duration);
        } else {
            // Without what this turn takes: better than a vector that grows.
            self.stats.note_duration(duration, 1);
        }
    }

    /// Counts an answer of the server's own. How long it took says nothing of the application.
    pub(super) fn refused(&self, error: Error) {
        self.stats.note_response(error.status().code());
        if let Some(limit) = error.limit() {
            self.stats.note(limit);
        }
    }

    /// Whether [`Tally::end_turn`] is to be called.
    pub(super) fn has_answered(&self) -> bool {
        self.prompt_count > 0 || !self.earlier.is_empty()
    }

    /// Counts what the requests of this turn took, which itself has taken `rest`.
    pub(super) fn end_turn(&mut self, rest: Duration) {
        let prompt_count = std::mem::take(&mut self.prompt_count);
        if prompt_count > 0 {
            self.stats.note_duration(rest, prompt_count);
        }
        for duration in self.earlier.drain(..) {
            self.stats.note_duration(duration + rest, 1);
        }
    }
}

/// Requests that are kept for the end of a turn; more in one turn are rare.
const EARLIER_COUNT_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{BUCKET_COUNT, bound};

    #[test]
    fn a_request_takes_until_the_end_of_its_turn() {
        let mut tally = Tally::new(Row::default());
        tally.answered(Status::OK, Duration::ZERO);
        tally.answered(Status::NOT_FOUND, Duration::ZERO);
        tally.answered(Status::OK, Duration::from_millis(30));
        assert!(tally.has_answered());
        tally.end_turn(Duration::from_millis(5));
        assert!(!tally.has_answered());
        let counts = tally.stats.counts();
        assert_eq!((counts.responses, counts.duration_sum), ([0, 2, 0, 1, 0], 45_000_000));
        let bucket_of = |time| (0..BUCKET_COUNT).find(|bucket| bound(*bucket).is_none_or(|bound| time <= bound));
        assert_eq!(counts.buckets[bucket_of(Duration::from_millis(5)).expect("the last has no bound")], 2);
        assert_eq!(counts.buckets[bucket_of(Duration::from_millis(35)).expect("the last has no bound")], 1);
    }

    #[test]
    fn more_than_are_kept_are_counted_all_the_same() {
        let mut tally = Tally::new(Row::default());
        let count = EARLIER_COUNT_MAX as u64 + 10;
        (0..count).for_each(|_| tally.answered(Status::OK, Duration::from_millis(1)));
        tally.end_turn(Duration::from_millis(1));
        assert_eq!(tally.stats.counts().buckets.iter().sum::<u64>(), count);
    }

    #[test]
    fn a_refusal_is_a_response_and_takes_no_time() {
        let tally = Tally::new(Row::default());
        tally.refused(Error::BodyTooLarge);
        let counts = tally.stats.counts();
        assert_eq!((counts.responses, counts.of(crate::stats::Limit::Body)), ([0, 0, 0, 1, 0], 1));
        assert!(!tally.has_answered());
    }
}
