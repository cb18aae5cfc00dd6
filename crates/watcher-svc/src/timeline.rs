//! The time of the schedule.
//!
//! Intervals and pauses are measured by the monotonic clock: a wall clock that is set makes no host due early or late.
//! The wall clock is read once for it, when the watcher starts, so that all watchers agree on a host's place in the
//! interval.

use runtime::Clock;
use tokio::time::Instant;

use crate::schedule::{Micros, micros};

/// A moment, by both clocks; moments are compared by the monotonic one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// On the time line of this watcher, which the schedule uses.
    pub line: Micros,
    /// By the wall clock, as in records and reports.
    pub wall: Micros,
}

impl Moment {
    /// The moment of a stamp, as it looks now: records are all there is of the checks of other watchers.
    #[must_use]
    pub fn of_stamp(self, wall: Micros) -> Self {
        Self { line: self.line.saturating_add(wall.saturating_sub(self.wall)), wall }
    }
}

/// The wall clock as it was when the watcher started, continued by the monotonic clock.
#[derive(Debug)]
pub struct Timeline {
    clock: Clock,
    begun: Instant,
    start: Micros,
}

impl Timeline {
    /// Starts now.
    pub fn new(clock: Clock) -> Self {
        let start = clock.wall().as_microsecond();
        Self { clock, begun: Instant::now(), start }
    }

    /// The present moment.
    pub fn now(&self) -> Moment {
        let line = self.start.saturating_add(micros(self.begun.elapsed()));
        Moment { line, wall: self.clock.wall().as_microsecond() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::SignedDuration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_time_line_follows_the_monotonic_clock_and_starts_at_the_wall_clock() {
        let clock = Clock::simulated("2026-11-21T23:00:00Z".parse().unwrap());
        let timeline = Timeline::new(clock.clone());
        let start = timeline.now();
        assert_eq!(start.line, start.wall);
        clock.advance(SignedDuration::from_hours(2));
        tokio::time::sleep(Duration::from_secs(90)).await;
        let now = timeline.now();
        assert_eq!(now.line - start.line, 90_000_000);
        assert_eq!(now.wall - start.wall, 7_290_000_000);
        assert_eq!(now.of_stamp(now.wall - 1).line, now.line - 1);
    }
}
