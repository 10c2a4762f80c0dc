//! How long requests took: a histogram with bounds at powers of two, so that counting one is a shift.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::add;

/// Buckets: one for each bound of [`bound`], and one for what took longer.
pub const BUCKET_COUNT: usize = 22;

/// A worker's histogram, written by it alone.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Latency {
    pub(super) buckets: [AtomicU64; BUCKET_COUNT],
    /// Nanoseconds, over all requests.
    pub(super) sum: AtomicU64,
}

impl Latency {
    /// Counts `count` requests that took `duration` each.
    pub(super) fn note(&self, duration: Duration, count: u64) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        add(&self.buckets[bucket_of(nanos)], count);
        add(&self.sum, nanos.saturating_mul(count));
    }
}

/// The longest duration that a bucket counts, from 65.536 µs on, each bound twice the one before; `None` for the last
/// bucket, which has no bound.
#[must_use]
pub fn bound(bucket: usize) -> Option<Duration> {
    (bucket + 1 < BUCKET_COUNT).then(|| Duration::from_nanos(1 << (SHIFT + bucket as u32)))
}

/// The first bucket whose bound is not exceeded.
fn bucket_of(nanos: u64) -> usize {
    let above = nanos.saturating_sub(1) >> SHIFT;
    ((u64::BITS - above.leading_zeros()) as usize).min(BUCKET_COUNT - 1)
}

/// The first bound is two to this power, in nanoseconds.
const SHIFT: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_at_its_bound_and_not_past_it() {
        for bucket in 0..BUCKET_COUNT - 1 {
            let bound = bound(bucket).expect("all but the last have one").as_nanos() as u64;
            assert_eq!(bucket_of(bound), bucket);
            assert_eq!(bucket_of(bound + 1), bucket + 1);
        }
        assert_eq!(bound(0), Some(Duration::from_nanos(65_536)));
        assert_eq!(bound(20), Some(Duration::from_nanos(68_719_476_736)), "a minute and a bit");
        assert_eq!(bound(21), None);
        assert_eq!((bucket_of(0), bucket_of(u64::MAX)), (0, BUCKET_COUNT - 1));
    }

    #[test]
    fn several_at_once_count_as_each_alone() {
        let (one, many) = (Latency::default(), Latency::default());
        for _ in 0..3 {
            one.note(Duration::from_millis(5), 1);
        }
        many.note(Duration::from_millis(5), 3);
        assert_eq!(format!("{one:?}"), format!("{many:?}"));
    }
}
