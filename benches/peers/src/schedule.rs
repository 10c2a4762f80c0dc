//! When each request of a constant rate is due, and on which connection.
//!
//! The schedule is fixed before the first request and knows nothing of the answers. So a server that stalls
//! pays for every request that was due meanwhile, and not only for the one that it held (which is called
//! coordinated omission). This module performs no I/O.

use std::time::Duration;

const SECOND_NS: u128 = 1_000_000_000;

/// Requests at a constant rate, spread over connections in turn.
pub struct Schedule {
    /// Requests a second.
    pub rate: u64,
    /// Connections that take turns.
    pub connection_count: usize,
    /// How long requests are due before those that are measured.
    pub warmup: Duration,
    /// How long the measured requests are due.
    pub window: Duration,
}

impl Schedule {
    /// When request `number` is due, in nanoseconds from the start; rounded once, so that it never drifts.
    pub fn due_ns(&self, number: u64) -> u64 {
        (u128::from(number) * SECOND_NS / u128::from(self.rate)) as u64
    }

    /// The connection whose turn request `number` is.
    pub fn connection(&self, number: u64) -> usize {
        (number % self.connection_count as u64) as usize
    }

    /// The first request that is measured, which is also the number of those that are not.
    pub fn first_measured(&self) -> u64 {
        self.count_within(self.warmup)
    }

    /// All requests, measured or not.
    pub fn count(&self) -> u64 {
        self.count_within(self.warmup + self.window)
    }

    /// Requests due before `time` has passed, those due with its last instant left out.
    fn count_within(&self, time: Duration) -> u64 {
        (time.as_nanos() * u128::from(self.rate)).div_ceil(SECOND_NS) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: u64) -> Schedule {
        Schedule { rate, connection_count: 3, warmup: Duration::from_millis(500), window: Duration::from_secs(2) }
    }

    #[test]
    fn a_rate_that_divides_no_second_does_not_drift() {
        let schedule = schedule(30_000);
        assert_eq!([0, 1, 2, 3].map(|number| schedule.due_ns(number)), [0, 33_333, 66_666, 100_000]);
        assert_eq!(schedule.due_ns(30_000 * 3600), 3_600_000_000_000);
    }

    #[test]
    fn counts_what_is_due_in_each_part() {
        let schedule = schedule(20_000);
        assert_eq!((schedule.first_measured(), schedule.count()), (10_000, 50_000));
        assert_eq!(schedule.due_ns(schedule.first_measured()), 500_000_000);
        assert!(schedule.due_ns(schedule.count() - 1) < 2_500_000_000);
        let slow = Schedule { rate: 3, warmup: Duration::ZERO, ..schedule };
        assert_eq!((slow.first_measured(), slow.count()), (0, 6));
        assert!(slow.due_ns(5) < 2_000_000_000 && slow.due_ns(6) >= 2_000_000_000);
    }

    #[test]
    fn connections_take_turns() {
        let schedule = schedule(1);
        assert_eq!([0, 1, 2, 3, 4].map(|number| schedule.connection(number)), [0, 1, 2, 0, 1]);
    }
}
