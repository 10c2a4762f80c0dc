//! How fast a peer moves bytes: at least so many in every window of a minute.
//!
//! A window ends early once it has its share, and the next one begins; so nobody saves up by being fast at
//! first, and whoever keeps the rate on average over a minute is never cut. No clock is read here.

use std::time::Duration;

use super::Moment;

/// The bytes of the current window.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    since: Moment,
    size: u64,
}

impl Pace {
    /// A pace whose first window begins now.
    #[must_use]
    pub fn new(now: Moment) -> Pace {
        Pace { since: now, size: 0 }
    }

    /// Counts bytes that were moved. `rate_min` is in bytes a second.
    pub fn note(&mut self, size: u64, rate_min: u64, now: Moment) {
        self.size = self.size.saturating_add(size);
        if self.size >= rate_min.saturating_mul(WINDOW.as_secs()) {
            *self = Pace::new(now);
        }
    }

    /// Leaves out a time in which the peer could do nothing.
    pub fn pause(&mut self, duration: Duration) {
        self.since = self.since + duration;
    }

    /// When the window must have its share; `None` where no rate is demanded.
    #[must_use]
    pub fn deadline(&self, rate_min: u64) -> Option<Moment> {
        (rate_min > 0).then(|| self.since + WINDOW)
    }
}

/// How long a peer has for its share.
pub const WINDOW: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a peer that moves `size` bytes every `interval` lasts ten minutes at 240 B/s.
    fn lasts(size: u64, interval: Duration) -> bool {
        let mut now = Moment(0);
        let mut pace = Pace::new(now);
        while now < Moment(0) + Duration::from_secs(600) {
            now = now + interval;
            if pace.deadline(240).is_some_and(|deadline| deadline < now) {
                return false;
            }
            pace.note(size, 240, now);
        }
        true
    }

    #[test]
    fn the_rate_itself_lasts_and_a_byte_less_does_not() {
        assert!(lasts(240, Duration::from_secs(1)));
        assert!(!lasts(239, Duration::from_secs(1)));
        assert!(lasts(240 * 20, Duration::from_secs(20)));
        assert!(!lasts(240 * 20 - 1, Duration::from_secs(20)));
    }

    #[test]
    fn a_fast_beginning_saves_nothing_up() {
        let mut pace = Pace::new(Moment(0));
        let later = Moment(0) + Duration::from_secs(1);
        pace.note(1 << 30, 240, later);
        assert_eq!(pace.deadline(240), Some(later + WINDOW));
    }

    #[test]
    fn a_pause_does_not_count_and_no_rate_has_no_deadline() {
        let mut pace = Pace::new(Moment(0));
        pace.pause(Duration::from_secs(5));
        assert_eq!(pace.deadline(1), Some(Moment(0) + WINDOW + Duration::from_secs(5)));
        assert_eq!(pace.deadline(0), None);
    }
}
