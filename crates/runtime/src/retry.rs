//! Retries: exponential back-off with jitter (after `backon`). The schedules of all services are declared here. The jitter comes from
//! [`crate::random`], so that a seeded run has the same pauses each time.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

use crate::random;

/// How much of a pause is left to chance, so that those that failed together do not retry together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// 50 to 100 % of the pause.
    Half,
    /// 0 to 100 % of the pause.
    Full,
}

/// When something is tried again: the first pause and the longest, between which pauses grow by a factor.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    first: Duration,
    longest: Duration,
    factor: f32,
    /// The most retries; without it there is no limit.
    retries: Option<usize>,
    jitter: Jitter,
}

impl Schedule {
    /// Connections to the broker, and consumers on them: they continue within a second of its return.
    pub const BROKER: Self = Self {
        first: Duration::from_millis(50),
        longest: Duration::from_secs(1),
        factor: 2.0,
        retries: None,
        jitter: Jitter::Full,
    };

    /// Log-ins to a host that throttles connections.
    pub const THROTTLED_HOST: Self = Self {
        first: Duration::from_secs(2),
        longest: Duration::from_mins(1),
        factor: 2.0,
        retries: None,
        jitter: Jitter::Half,
    };

    /// Log-ins of an investigation that fail in a way that may heal by itself.
    pub const INVESTIGATION: Self = Self {
        first: Duration::from_secs(2),
        longest: Duration::from_mins(1),
        factor: 4.0,
        retries: Some(2),
        jitter: Jitter::Half,
    };

    /// Log-ins to a host that is expected to be up.
    pub const HOST_UP: Self = Self { first: Duration::from_secs(1), ..Self::INVESTIGATION };

    /// The delivery of a webhook.
    pub const WEBHOOK: Self = Self { retries: Some(4), ..Self::THROTTLED_HOST };

    /// Requests to a Kubernetes API server that may be repeated.
    pub const KUBERNETES: Self = Self {
        first: Duration::from_millis(200),
        longest: Duration::from_secs(1),
        factor: 2.0,
        retries: Some(3),
        jitter: Jitter::Full,
    };

    /// The uncordon of a node that is owed, for as long as it takes.
    pub const CORDON_DEBT: Self = Self {
        first: Duration::from_secs(1),
        longest: Duration::from_mins(1),
        factor: 2.0,
        retries: None,
        jitter: Jitter::Half,
    };

    /// A request that has read records which another request was deleting.
    pub const STALE_RECORDS: Self = Self {
        first: Duration::from_millis(5),
        longest: Duration::from_secs(1),
        factor: 2.0,
        retries: Some(8),
        jitter: Jitter::Half,
    };

    /// The pauses, from the first one on.
    pub fn pauses(self) -> Pauses {
        let builder = ExponentialBuilder::new()
            .with_min_delay(self.first)
            .with_max_delay(self.longest)
            .with_factor(self.factor);
        let builder = match self.retries {
            Some(retries) => builder.with_max_times(retries),
            None => builder.without_max_times(),
        };
        Pauses { limits: builder.build(), jitter: self.jitter }
    }
}

/// The pauses before retries; it ends after the last retry.
#[derive(Debug)]
pub struct Pauses {
    /// The pauses without jitter.
    limits: ExponentialBackoff,
    jitter: Jitter,
}

impl Pauses {
    /// Sleeps for the next pause; false, at once, when no retry is left.
    pub async fn sleep(&mut self) -> bool {
        let Some(pause) = self.next() else { return false };
        tokio::time::sleep(pause).await;
        true
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let limit = self.limits.next()?;
        Some(match self.jitter {
            Jitter::Half => random::jitter(limit),
            Jitter::Full => limit.mul_f64(random::fraction()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Schedule; 8] = [
        Schedule::BROKER,
        Schedule::THROTTLED_HOST,
        Schedule::INVESTIGATION,
        Schedule::HOST_UP,
        Schedule::WEBHOOK,
        Schedule::KUBERNETES,
        Schedule::CORDON_DEBT,
        Schedule::STALE_RECORDS,
    ];

    #[test]
    fn pauses_double_up_to_the_longest_one() {
        let limits: Vec<_> = Schedule::BROKER.pauses().limits.take(7).collect();
        let limits: Vec<_> = limits.iter().map(Duration::as_millis).collect();
        assert_eq!(limits, [50, 100, 200, 400, 800, 1000, 1000]);
        for schedule in ALL {
            let limits: Vec<_> = schedule.pauses().limits.take(100).collect();
            let pauses: Vec<_> = schedule.pauses().take(100).collect();
            assert_eq!(limits.len(), schedule.retries.unwrap_or(100).min(100), "{schedule:?}");
            assert_eq!((limits[0], pauses.len()), (schedule.first, limits.len()));
            for (limit, pause) in limits.iter().zip(pauses) {
                let least =
                    if schedule.jitter == Jitter::Half { *limit / 2 } else { Duration::ZERO };
                assert!((least..=*limit).contains(&pause), "{schedule:?}: {pause:?} of {limit:?}");
                assert!(*limit <= schedule.longest);
            }
        }
    }

    #[test]
    fn pauses_are_the_same_with_the_same_seed() {
        let pauses = |seed| {
            let _seeded = random::seeded(seed);
            Schedule::THROTTLED_HOST.pauses().take(10).collect::<Vec<_>>()
        };
        assert_eq!(pauses(7), pauses(7));
        assert_ne!(pauses(7), pauses(8));
    }

    #[tokio::test(start_paused = true)]
    async fn sleep_ends_after_the_last_retry() {
        let mut pauses = Schedule::KUBERNETES.pauses();
        for _ in 0..3 {
            assert!(pauses.sleep().await);
        }
        assert!(!pauses.sleep().await);
    }
}
