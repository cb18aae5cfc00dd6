//! The time, with two readings that are not mixed.
//!
//! - Durations, leases and expiry are measured by tokio's [`Instant`], which is monotonic, and which tests pause.
//! - [`Clock::wall`] is for stamps only. It may be set at any time, so stamps are compared with it only where records
//!   hold nothing else: times that users have chosen, and take-overs. [`left`] limits the effect of a wrong clock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
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
    pub fn stamp(&self) -> String {
        format(self.wall())
    }
}

/// Writes a time as records have it: UTC, `YYYY-MM-DDTHH:MM:SS.ffffff`, no zone suffix.
pub fn format(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6f").to_string()
}

/// True when `text` is a time as [`format()`] writes it.
pub fn is_stamp(text: &str) -> bool {
    text.len() == 26 && jiff::civil::DateTime::strptime("%Y-%m-%dT%H:%M:%S.%6f", text).is_ok()
}

/// Reads a time that [`format()`] has written; `None` when it is none.
pub fn parse(text: &str) -> Option<Timestamp> {
    is_stamp(text).then(|| format!("{text}Z").parse().ok())?
}

/// The rest of the time `allowed` since the stamp `then`, between nothing and all of it. It is computed once, when a
/// process first sees the stamp; the deadline is then an [`Instant`].
pub fn left(now: Timestamp, then: Timestamp, allowed: Duration) -> Duration {
    let passed = Duration::try_from(now.duration_since(then)).unwrap_or_default();
    allowed.saturating_sub(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn times_are_written_as_the_original_does() {
        let clock = Clock::simulated("2026-11-21T23:40:21.397282Z".parse().unwrap());
        assert_eq!(clock.stamp(), "2026-11-21T23:40:21.397282");
        clock.advance(SignedDuration::from_micros(602_718));
        assert_eq!(clock.stamp(), "2026-11-21T23:40:22.000000");
        assert!(is_stamp(&clock.stamp()));
        assert_eq!(parse(&clock.stamp()), Some(clock.wall()));
        assert!(is_stamp(&Clock::System.stamp()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_simulated_clock_follows_paused_time_and_can_be_set() {
        let clock = Clock::simulated("2026-11-21T23:00:00Z".parse().unwrap());
        tokio::time::sleep(Duration::from_secs(90)).await;
        assert_eq!(clock.stamp(), "2026-11-21T23:01:30.000000");
        clock.advance(SignedDuration::from_hours(-1));
        assert_eq!(clock.stamp(), "2026-11-21T22:01:30.000000");
    }

    #[test]
    fn what_has_passed_since_a_stamp_is_between_nothing_and_everything() {
        let minute = Duration::from_mins(1);
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let then = at("2026-11-28T12:00:00Z");
        for (now, expected) in [
            ("2026-11-28T12:00:20Z", 40),
            ("2026-11-28T18:00:00Z", 0),
            ("2026-11-28T07:00:00Z", 60),
        ] {
            assert_eq!(left(at(now), then, minute), Duration::from_secs(expected), "{now}");
        }
    }

    #[test]
    fn other_formats_are_no_stamps() {
        for text in ["", "yesterday", "2026-11-21T23:40:21Z", "2026-13-21T23:40:21.397282"] {
            assert!(!is_stamp(text) && parse(text).is_none(), "{text}");
        }
    }
}
