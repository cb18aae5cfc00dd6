//! The time: taken from a [`Clock`] that tests can set, and written in the one date format.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Where the time comes from.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// A clock that stands still until it is told otherwise.
    Manual(Arc<Mutex<Timestamp>>),
    /// A clock that follows tokio's, which tests may pause.
    Simulated {
        /// When it was made.
        begun: Instant,
        /// What it showed then, by what it shows now.
        start: Arc<Mutex<Timestamp>>,
    },
}

impl Clock {
    /// A clock that stands still at `start`.
    pub fn manual(start: Timestamp) -> Self {
        Self::Manual(Arc::new(Mutex::new(start)))
    }

    /// A clock that shows `start` now and follows tokio's from there.
    pub fn simulated(start: Timestamp) -> Self {
        Self::Simulated { begun: Instant::now(), start: Arc::new(Mutex::new(start)) }
    }

    /// Sets a clock of a test forward or back; the machine's clock goes by itself.
    pub fn advance(&self, by: SignedDuration) {
        if let Self::Manual(time) | Self::Simulated { start: time, .. } = self {
            *time.lock().unwrap_or_else(PoisonError::into_inner) += by;
        }
    }

    /// The time now.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may ask")]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Manual(time) => *time.lock().unwrap_or_else(PoisonError::into_inner),
            Self::Simulated { begun, start } => {
                *start.lock().unwrap_or_else(PoisonError::into_inner) + begun.elapsed()
            }
        }
    }

    /// The time now as it stands in records.
    pub fn stamp(&self) -> String {
        format(self.now())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_original_does() {
        let clock = Clock::manual("2026-11-21T23:40:21.397282Z".parse().unwrap());
        assert_eq!(clock.stamp(), "2026-11-21T23:40:21.397282");
        clock.advance(SignedDuration::from_micros(602_718));
        assert_eq!(clock.stamp(), "2026-11-21T23:40:22.000000");
        assert!(is_stamp(&clock.stamp()));
        assert_eq!(parse(&clock.stamp()), Some(clock.now()));
        assert!(is_stamp(&Clock::System.stamp()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_simulated_clock_follows_paused_time_and_can_be_set() {
        let clock = Clock::simulated("2026-11-21T23:00:00Z".parse().unwrap());
        tokio::time::sleep(std::time::Duration::from_secs(90)).await;
        assert_eq!(clock.stamp(), "2026-11-21T23:01:30.000000");
        clock.advance(SignedDuration::from_hours(-1));
        assert_eq!(clock.stamp(), "2026-11-21T22:01:30.000000");
    }

    #[test]
    fn other_formats_are_no_stamps() {
        for text in ["", "yesterday", "2026-11-21T23:40:21Z", "2026-13-21T23:40:21.397282"] {
            assert!(!is_stamp(text) && parse(text).is_none(), "{text}");
        }
    }
}
