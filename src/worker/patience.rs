//! How long a send may take: it goes on while the peer takes bytes, and takes them fast enough.
//!
//! A send that is soon over is never looked at. A longer one is asked for its progress a few times in
//! the time that the peer has; a peer that takes nothing, or in a minute too little, is let go. No clock and no
//! socket here.

use std::time::Duration;

use crate::connection::Limits;
use crate::stats::Limit;
use crate::timer::{Moment, Pace, TICK};

/// The patience with one connection's sends.
pub(super) struct Patience {
    pace: Pace,
    /// Since when there has been a send in flight, or none.
    since: Moment,
    /// What a look at the send in flight has seen. Most are over before one.
    look: Option<Box<Look>>,
}

/// What is remembered of a send that takes long.
struct Look {
    /// How far it had come when it was last seen to have moved, and when that was.
    progress: u64,
    moved_at: Moment,
    /// When the send is looked at again.
    next_at: Moment,
    /// The pace as it was when it was first looked at.
    pace_before: Pace,
}

impl Patience {
    pub(super) fn new(now: Moment) -> Patience {
        Patience { pace: Pace::new(now), since: now, look: None }
    }

    /// When the send in flight is to be looked at.
    pub(super) fn look_at(&self, limits: &Limits) -> Moment {
        self.look.as_ref().map_or_else(|| self.since + time_between_looks(limits), |look| look.next_at)
    }

    /// A send begins. The time without one was not the peer's.
    pub(super) fn begin(&mut self, now: Moment) {
        self.pace.pause(now - self.since);
        self.since = now;
    }

    /// The send is over, and the kernel has taken its bytes: all of them count, and all of its time, whatever a
    /// look has seen of them.
    pub(super) fn end(&mut self, size: u64, limits: &Limits, now: Moment) {
        if let Some(look) = self.look.take() {
            self.pace = look.pace_before;
        }
        self.pace.note(size, limits.rate_min, now);
        self.since = now;
    }

    /// Looks at a send that has come so far; `progress` counts bytes from anywhere.
    ///
    /// # Errors
    /// The limit that the peer has met.
    pub(super) fn look(&mut self, progress: u64, limits: &Limits, now: Moment) -> Result<(), Limit> {
        let look = match &mut self.look {
            // From where it came is not known, so the time until now is left out.
            None => {
                let pace_before = self.pace;
                self.pace.pause(now - self.since);
                self.look.insert(Box::new(Look { progress, moved_at: now, next_at: now, pace_before }))
            }
            Some(look) => {
                self.pace.note(progress.saturating_sub(look.progress), limits.rate_min, now);
                if look.progress != progress {
                    (look.progress, look.moved_at) = (progress, now);
                } else if look.moved_at + limits.write_idle <= now {
                    return Err(Limit::WriteIdle);
                }
                look
            }
        };
        let slow = self.pace.deadline(limits.rate_min);
        if slow.is_some_and(|slow| slow <= now) {
            return Err(Limit::Rate);
        }
        let next = now + time_between_looks(limits);
        look.next_at = slow.map_or(next, |slow| slow.min(next));
        Ok(())
    }
}

/// Seldom enough that a send which is over in time costs nothing.
fn time_between_looks(limits: &Limits) -> Duration {
    (limits.write_idle / LOOK_COUNT).clamp(TICK, LOOK_TIME_MAX)
}

/// Looks in the time that a peer has to take a byte.
const LOOK_COUNT: u32 = 8;
const LOOK_TIME_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a peer lasts, in seconds, that has taken `taken(second)` bytes of an endless send.
    fn lasts(taken: impl Fn(u64) -> u64) -> (u64, Option<Limit>) {
        let limits = Limits::default();
        let mut patience = Patience::new(Moment(0));
        patience.begin(Moment(0));
        for tick in 0..5 * 600 {
            let now = Moment(0) + tick * TICK;
            let second = u64::from(tick) / 5;
            if patience.look_at(&limits) <= now
                && let Err(limit) = patience.look(taken(second), &limits, now)
            {
                return (second, Some(limit));
            }
        }
        (600, None)
    }

    #[test]
    fn a_peer_that_takes_nothing_is_let_go_after_the_write_idle() {
        let (seconds, limit) = lasts(|_| 5);
        assert!((30..=35).contains(&seconds) && limit == Some(Limit::WriteIdle), "{seconds} s, {limit:?}");
        let (seconds, limit) = lasts(|second| second.min(100) * 1000);
        assert!((130..=135).contains(&seconds) && limit == Some(Limit::WriteIdle), "{seconds} s, {limit:?}");
    }

    #[test]
    fn a_peer_that_takes_too_little_is_let_go_after_a_minute() {
        let (seconds, limit) = lasts(|second| second * 200);
        assert!((60..=75).contains(&seconds) && limit == Some(Limit::Rate), "{seconds} s, {limit:?}");
        assert_eq!(lasts(|second| second * 250), (600, None));
    }

    #[test]
    fn many_short_sends_have_one_pace() {
        let limits = Limits::default();
        let mut patience = Patience::new(Moment(0));
        let mut now = Moment(0);
        // A stream of small blocks, each taken in 4 s, with pauses of the application in between.
        for count in 0..100 {
            patience.begin(now);
            for _ in 0..20 {
                now = now + TICK;
                if patience.look_at(&limits) <= now
                    && let Err(limit) = patience.look(count, &limits, now)
                {
                    assert_eq!(limit, Limit::Rate);
                    assert!((14..=25).contains(&count), "after {count} sends");
                    return;
                }
            }
            patience.end(500, &limits, now);
            now = now + Duration::from_secs(100);
        }
        panic!("125 B/s passed");
    }
}
