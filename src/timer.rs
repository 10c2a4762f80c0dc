//! Time as an argument: [`Moment`], a point on a driver's clock.

use std::ops::{Add, Sub};
use std::time::Duration;

/// How often a driver ticks while something is timed. Deadlines are met to within one tick.
pub const TICK: Duration = Duration::from_millis(200);

/// Nanoseconds since the driver's clock began. The protocol never reads a clock; it is told the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// The time from `earlier` to this moment, zero if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Moment> for Moment {
    type Output = Duration;

    fn sub(self, earlier: Moment) -> Duration {
        self.since(earlier)
    }
}
