//! How long to wait before the next attempt.

use std::time::Duration;

use crate::random;

/// The longest pause: what was interrupted goes on within seconds of a fault's end.
const LONGEST: Duration = Duration::from_secs(1);

const FIRST: Duration = Duration::from_millis(50);

/// Pauses that grow, each anything from nothing to its limit ("full jitter"), so that all the clients of
/// a broker that comes back do not come at once.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempt: u32,
}

impl Backoff {
    /// The limit of the pause after so many failures.
    fn limit(attempt: u32) -> Duration {
        FIRST.saturating_mul(2_u32.saturating_pow(attempt)).min(LONGEST)
    }

    pub(super) async fn pause(&mut self) {
        let limit = Self::limit(self.attempt);
        self.attempt = self.attempt.saturating_add(1);
        tokio::time::sleep(limit.mul_f64(random::fraction())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_doubles_up_to_a_second() {
        let limits = (0..6).map(|attempt| Backoff::limit(attempt).as_millis());
        assert_eq!(limits.collect::<Vec<_>>(), [50, 100, 200, 400, 800, 1000]);
        assert_eq!(Backoff::limit(u32::MAX), LONGEST);
    }
}
