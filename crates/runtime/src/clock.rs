//! The time, with two readings that are not mixed.
//!
//! - Durations, leases and expiry are measured by tokio's [`Instant`], which is monotonic, and which tests pause.
//! - [`Clock::wall`] is for stamps only. It may be set at any time, so stamps are compared with it only where records
//!   hold nothing else: times that users have chosen, and take-overs. [`model::stamp::left`] limits the effect of a
//!   wrong clock.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use model::Stamp;
use tokio::time::Instant;

/// Where the wall-clock time comes from.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// A clock that follows tokio's, which tests may pause.
    Simulated {
        /// When it was made.
        begun: Instant,
        /// What it showed then, by what it shows now.
        start: Arc<Mutex<Timestamp>>,
    },
}

impl Clock {
    /// A clock that shows `start` now and follows tokio's from there.
    pub fn simulated(start: Timestamp) -> Self {
        Self::Simulated { begun: Instant::now(), start: Arc::new(Mutex::new(start)) }
    }

    /// Sets a clock of a test forward or back; the machine's clock goes by itself.
    pub fn advance(&self, by: SignedDuration) {
        if let Self::Simulated { start, .. } = self {
            *start.lock().unwrap_or_else(PoisonError::into_inner) += by;
        }
    }

    /// The wall-clock time now.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may ask")]
    pub fn wall(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Simulated { begun, start } => {
                *start.lock().unwrap_or_else(PoisonError::into_inner) + begun.elapsed()
            }
        }
    }

    /// The wall-clock time now as it stands in records.
    pub fn stamp(&self) -> Stamp {
        Stamp::of(self.wall())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn times_are_written_as_the_original_does() {
        let clock = Clock::simulated("2026-11-21T23:40:21.397282Z".parse().unwrap());
        assert_eq!(clock.stamp(), "2026-11-21T23:40:21.397282");
        clock.advance(SignedDuration::from_micros(602_718));
        assert_eq!(clock.stamp(), "2026-11-21T23:40:22.000000");
        assert!(clock.stamp().is_valid());
        assert_eq!(clock.stamp().timestamp(), Some(clock.wall()));
        assert!(Clock::System.stamp().is_valid());
    }

    #[tokio::test(start_paused = true)]
    async fn a_simulated_clock_follows_paused_time_and_can_be_set() {
        let clock = Clock::simulated("2026-11-21T23:00:00Z".parse().unwrap());
        tokio::time::sleep(Duration::from_secs(90)).await;
        assert_eq!(clock.stamp(), "2026-11-21T23:01:30.000000");
        clock.advance(SignedDuration::from_hours(-1));
        assert_eq!(clock.stamp(), "2026-11-21T22:01:30.000000");
    }
}
