//! Recorded times, and their exact percentiles.
//! This module performs no I/O.

/// Times in nanoseconds, all of which are kept.
pub struct Latencies {
    values: Vec<u64>,
}

/// Latencies in order, of which percentiles are read.
pub struct Sorted {
    values: Vec<u64>,
}

impl Latencies {
    /// Room for `count` values, so that recording allocates nothing.
    pub fn with_capacity(count: usize) -> Latencies {
        // Written once, so that the first touch of a page is no part of what is measured.
        let mut values = vec![u64::MAX; count];
        values.clear();
        Latencies { values }
    }

    /// Records one time in nanoseconds.
    pub fn record(&mut self, nanoseconds: u64) {
        self.values.push(nanoseconds);
    }

    /// Ends the recording.
    pub fn sorted(mut self) -> Sorted {
        self.values.sort_unstable();
        Sorted { values: self.values }
    }
}

impl Sorted {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.values.len()
    }

    /// The value that `per_mille` of a thousand do not exceed (nearest rank), in microseconds; 1000 is the
    /// largest. Of no values it is 0.
    pub fn percentile_us(&self, per_mille: usize) -> f64 {
        assert!(per_mille <= 1000, "of a thousand");
        let rank = (self.values.len() * per_mille).div_ceil(1000).max(1);
        self.values.get(rank - 1).map_or(0.0, |nanoseconds| *nanoseconds as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(values: impl IntoIterator<Item = u64>) -> Sorted {
        let mut latencies = Latencies::with_capacity(4);
        values.into_iter().for_each(|value| latencies.record(value));
        latencies.sorted()
    }

    #[test]
    fn percentiles_are_recorded_values() {
        let thousand = sorted((1..=1000).rev().map(|value| value * 1000));
        let found = [0, 500, 900, 990, 999, 1000].map(|per_mille| thousand.percentile_us(per_mille));
        assert_eq!(found, [1.0, 500.0, 900.0, 990.0, 999.0, 1000.0]);
        assert_eq!(thousand.count(), 1000);
    }

    #[test]
    fn few_values_reach_for_the_next_higher() {
        let two = sorted([7_000, 3_500]);
        assert_eq!([500, 501, 990].map(|per_mille| two.percentile_us(per_mille)), [3.5, 7.0, 7.0]);
        assert_eq!(sorted([]).percentile_us(990), 0.0);
    }
}
