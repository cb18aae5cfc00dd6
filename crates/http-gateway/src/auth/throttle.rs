//! Failed log-ins: counted by source and user, so that guessing is slow and nobody else is locked out.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use service_core::expiring::Expiring;

/// More failures than this within [`WINDOW`], and further tries are refused unseen.
const FAILURES: u32 = 60;

const WINDOW: Duration = Duration::from_mins(1);

/// Sources and users that are remembered at a time.
const REMEMBERED: usize = 10_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Throttle(Expiring<(IpAddr, String), Arc<AtomicU32>>);

impl Default for Throttle {
    fn default() -> Self {
        Self(Expiring::new(REMEMBERED, WINDOW))
    }
}

impl Throttle {
    /// Notes a failure.
    pub(super) fn failed(&self, source: IpAddr, user: &str) {
        let count = self.0.get_or_insert_with((source, user.to_owned()), Arc::default);
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// The seconds to wait, when there were too many failures.
    pub(super) fn refused_for(&self, source: IpAddr, user: &str) -> Option<u64> {
        let count = self.0.get(&(source, user.to_owned()))?;
        (count.load(Ordering::Relaxed) > FAILURES).then_some(WINDOW.as_secs())
    }
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
        tokio::time::advance(WINDOW).await;
        assert_eq!(throttle.refused_for(source, "admin"), None, "the minute is over");
    }
}
