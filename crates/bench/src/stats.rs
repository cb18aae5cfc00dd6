//! Measured times and what they amount to.

use std::time::Duration;

/// Times that were measured, in order of size.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<Duration>);

impl FromIterator<Duration> for Samples {
    fn from_iter<T: IntoIterator<Item = Duration>>(times: T) -> Self {
        let mut times: Vec<_> = times.into_iter().collect();
        times.sort_unstable();
        Self(times)
    }
}

impl Samples {
    /// The time that `percent` of the samples do not exceed, by nearest rank: always one that was
    /// measured. Zero when there are none.
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent.min(100)).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or_default()
    }

    /// The middle one; the lower of the two in the middle when their number is even.
    pub fn median(&self) -> Duration {
        self.percentile(50)
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        self.percentile(100)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(milliseconds: impl IntoIterator<Item = u64>) -> Samples {
        milliseconds.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let hundred = samples((1..=100).rev());
        for (percent, expected) in [(0, 1), (1, 1), (50, 50), (99, 99), (100, 100), (200, 100)] {
            assert_eq!(hundred.percentile(percent), Duration::from_millis(expected), "{percent}");
        }
        assert_eq!(samples(1..=1000).percentile(99), Duration::from_millis(990));
    }

    #[test]
    fn the_median_was_measured() {
        for (times, middle) in
            [(vec![7], 7), (vec![9, 1], 1), (vec![3, 900, 2], 3), (vec![4, 1, 3, 2], 2)]
        {
            assert_eq!(samples(times.clone()).median(), Duration::from_millis(middle), "{times:?}");
        }
    }

    #[test]
    fn nothing_measured_is_zero() {
        let none = samples([]);
        assert!(none.is_empty());
        assert_eq!((none.median(), none.max()), (Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn one_outlier_moves_the_longest_only() {
        let times = samples([10, 11, 12, 5000, 10]);
        assert_eq!((times.len(), times.median().as_millis()), (5, 11));
        assert_eq!(times.max().as_millis(), 5000);
    }
}
