//! Throttling of failed log-ins, counted per source and user name.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use runtime::expiring::Expiring;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

/// With more failures than this within [`WINDOW`], further attempts are rejected without a check.
const FAILURES: u32 = 60;

const WINDOW: Duration = Duration::from_mins(1);

/// The most pairs of a source and a user name that are counted at a time.
const REMEMBERED: usize = 10_000;

/// A source, and the SHA-256 hash of the user name, whose length the client chooses.
type Key = (IpAddr, [u8; 32]);

/// The counts of failures.
#[derive(Debug)]
pub(super) struct Throttle(Expiring<Key, Arc<Failures>>);

#[derive(Debug)]
struct Failures {
    first: Instant,
    count: AtomicU32,
}

impl Default for Throttle {
    fn default() -> Self {
        Self(Expiring::new(REMEMBERED, WINDOW))
    }
}

impl Throttle {
    /// Counts a failure.
    pub(super) fn failed(&self, source: IpAddr, user: &str) {
        let none = || Arc::new(Failures { first: Instant::now(), count: AtomicU32::new(0) });
        let failures = self.0.get_or_insert_with(key(source, user), none);
        failures.count.fetch_add(1, Ordering::Relaxed);
    }

    /// The seconds until the next attempt is allowed, after too many failures.
    pub(super) fn refused_for(&self, source: IpAddr, user: &str) -> Option<u64> {
        let failures = self.0.get(&key(source, user))?;
        let left = WINDOW.saturating_sub(failures.first.elapsed()) + Duration::from_millis(999);
        (failures.count.load(Ordering::Relaxed) > FAILURES).then_some(left.as_secs())
    }
}

fn key(source: IpAddr, user: &str) -> Key {
    (source, Sha256::digest(user).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_failures_within_a_minute_are_refused_for_that_source_and_user_only() {
        let throttle = Throttle::default();
        let source: IpAddr = "10.0.0.1".parse().unwrap();
        for _ in 0..=FAILURES {
            assert_eq!(throttle.refused_for(source, "admin"), None);
            throttle.failed(source, "admin");
        }
        assert_eq!(throttle.refused_for(source, "admin"), Some(60));
        assert_eq!(throttle.refused_for(source, "other"), None);
        assert_eq!(throttle.refused_for("10.0.0.2".parse().unwrap(), "admin"), None);
        tokio::time::advance(WINDOW / 3).await;
        assert_eq!(throttle.refused_for(source, "admin"), Some(40));
        tokio::time::advance(WINDOW * 2 / 3).await;
        assert_eq!(throttle.refused_for(source, "admin"), None, "the minute is over");
    }

    #[test]
    fn key_has_a_fixed_size_whatever_the_name() {
        assert_eq!(size_of::<Key>(), size_of::<IpAddr>() + 32);
        let long = "x".repeat(100_000);
        let source: IpAddr = "10.0.0.1".parse().unwrap();
        assert_ne!(key(source, &long), key(source, &long[1..]));
    }
}
