//! Outages: one line in the log when something that a daemon needs becomes unavailable, and one when it is back.
//!
//! Retries are logged at `debug`. While an outage lasts, a line follows when the kind of its reason changes, and
//! every [`REMIND`]. What comes and goes all the time is logged [`BURST`] times within [`WINDOW`]; a further outage
//! only if it still lasts when that is over.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::error_text::one_line;

/// Between two lines about an outage that lasts.
pub const REMIND: Duration = Duration::from_mins(10);

/// The most outages of one thing that are logged within [`WINDOW`].
pub const BURST: usize = 5;

/// The time in which at most [`BURST`] outages are logged.
pub const WINDOW: Duration = Duration::from_mins(5);

/// Whether something that a daemon needs is unavailable.
#[derive(Debug)]
pub struct Outage {
    what: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: Option<Open>,
    /// When outages were logged, within [`WINDOW`].
    logged: VecDeque<Instant>,
}

#[derive(Debug)]
struct Open {
    since: Instant,
    /// The last line about it; `None` where there is none yet.
    logged: Option<Instant>,
    /// The kinds of reasons that were logged.
    kinds: Vec<String>,
}

/// A line about an outage that goes on, and for how long it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Begun(Duration),
    Changed(Duration),
    Lasting(Duration),
}

impl Outage {
    /// No outage yet; `what` names the thing: its address, and the option that names it.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), state: Mutex::default() }
    }

    /// The thing.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// An attempt failed. A reason of another `kind` than before is logged, other words for the same kind are not.
    pub fn failed(&self, kind: &str, why: &str) {
        let line = self.state().failed(kind, true, Instant::now());
        self.log(line, why);
    }

    /// An attempt failed at a moment at which that is normal: it is logged only if it still fails afterwards.
    pub fn failed_as_expected(&self, kind: &str, why: &str) {
        let line = self.state().failed(kind, false, Instant::now());
        self.log(line, why);
    }

    /// An attempt succeeded.
    pub fn succeeded(&self) {
        // Taken out first: the lock is not held while the line is written.
        let ended = self.state().succeeded(Instant::now());
        let what = &self.what;
        match ended {
            Some((true, lasted)) => {
                tracing::info!("{what} is available again after {}", spoken(lasted));
            }
            Some((false, lasted)) => {
                tracing::debug!("{what} is available again after {}", spoken(lasted));
            }
            None => {}
        }
    }

    // A std mutex: it is held for a few operations and never across an await.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self, line: Option<Line>, why: &str) {
        let (what, why) = (&self.what, one_line(why));
        match line {
            Some(Line::Begun(Duration::ZERO)) => {
                tracing::warn!("{what} is unavailable: {why}; trying again");
            }
            Some(Line::Begun(lasted) | Line::Lasting(lasted)) => {
                let lasted = spoken(lasted);
                tracing::warn!("{what} has been unavailable for {lasted}: {why}; trying again");
            }
            Some(Line::Changed(lasted)) => {
                let lasted = spoken(lasted);
                tracing::warn!(
                    "{what} is still unavailable after {lasted}, for another reason: {why}; trying again"
                );
            }
            None => tracing::debug!("{what} is unavailable: {why}; trying again"),
        }
    }
}

impl State {
    /// The line about a failure; there is none yet where `logs` is false.
    fn failed(&mut self, kind: &str, logs: bool, now: Instant) -> Option<Line> {
        while self.logged.front().is_some_and(|at| now.duration_since(*at) >= WINDOW) {
            self.logged.pop_front();
        }
        let new = || Open { since: now, logged: None, kinds: Vec::new() };
        let open = self.open.get_or_insert_with(new);
        let lasted = now.duration_since(open.since);
        let line = match open.logged {
            None if logs && self.logged.len() < BURST => {
                self.logged.push_back(now);
                Line::Begun(lasted)
            }
            Some(_) if !open.kinds.iter().any(|known| known == kind) => Line::Changed(lasted),
            Some(at) if now.duration_since(at) >= REMIND => Line::Lasting(lasted),
            _ => return None,
        };
        open.logged = Some(now);
        if !open.kinds.iter().any(|known| known == kind) {
            open.kinds.push(kind.to_owned());
        }
        Some(line)
    }

    /// The outage that has ended: whether it was logged, and how long it was.
    fn succeeded(&mut self, now: Instant) -> Option<(bool, Duration)> {
        let ended = self.open.take()?;
        Some((ended.logged.is_some(), now.duration_since(ended.since)))
    }
}

/// A duration for people: `0.4 s`, `37 s`, `12 min`, `3 h 5 min`.
fn spoken(duration: Duration) -> String {
    match duration.as_secs() {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        seconds @ 10..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use testbed::log::Log;
    use tokio::time::sleep;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn broker() -> Outage {
        Outage::new("the message broker amqp://h")
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_failures_are_one_line_and_their_end_is_one() {
        let (log, outage) = (Log::capture(), broker());
        outage.succeeded();
        for _ in 0..100 {
            outage.failed("unreachable", "connection refused");
            sleep(SECOND).await;
        }
        outage.succeeded();
        outage.succeeded();
        assert_eq!(
            log.from_info(),
            [
                " WARN the message broker amqp://h is unavailable: connection refused; trying again",
                " INFO the message broker amqp://h is available again after 100 s",
            ]
        );
        let retries = log.lines().iter().filter(|line| line.starts_with("DEBUG")).count();
        assert_eq!(retries, 99, "the retries are there for who wants them");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reason_of_another_kind_is_one_line_more_however_often_it_changes() {
        let (log, outage) = (Log::capture(), broker());
        for _ in 0..50 {
            outage.failed("unreachable", "connection refused");
            sleep(SECOND).await;
            outage.failed("unreachable", "no answer in time");
            outage.failed("log-in", "ACCESS_REFUSED");
        }
        let lines = log.from_info();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(
            lines[1],
            " WARN the message broker amqp://h is still unavailable after 1.0 s, for another reason: \
             ACCESS_REFUSED; trying again"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_outage_is_recalled_every_ten_minutes() {
        let (log, outage) = (Log::capture(), broker());
        for _ in 0..3601 {
            outage.failed("unreachable", "connection refused");
            sleep(SECOND).await;
        }
        outage.succeeded();
        let lines = log.from_info();
        assert_eq!(lines.len(), 8, "{lines:?}");
        for (line, lasted) in lines[1..].iter().zip(["10 min", "20 min", "30 min"]) {
            assert!(line.contains(&format!("has been unavailable for {lasted}: ")), "{line}");
        }
        assert!(lines[7].ends_with("available again after 60 min"), "{}", lines[7]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_and_goes_is_logged_a_few_times_and_then_when_it_lasts() {
        let (log, outage) = (Log::capture(), broker());
        for _ in 0..100 {
            outage.failed("unreachable", "connection refused");
            outage.succeeded();
            sleep(SECOND).await;
        }
        assert_eq!(log.from_info().len(), 2 * BURST);
        for _ in 0..300 {
            outage.failed("unreachable", "connection refused");
            sleep(SECOND).await;
        }
        let lines = log.from_info();
        assert_eq!(lines.len(), 2 * BURST + 1, "{lines:?}");
        assert!(lines[2 * BURST].contains("has been unavailable for 3 min: "), "{lines:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_that_is_expected_is_logged_once_it_lasts() {
        let (log, outage) = (Log::capture(), broker());
        outage.failed_as_expected("", "none is running");
        outage.succeeded();
        outage.failed_as_expected("", "none is running");
        sleep(5 * SECOND).await;
        assert_eq!(log.from_info(), [""; 0]);
        outage.failed("", "none is running");
        outage.succeeded();
        let lines = log.from_info();
        assert!(lines[0].contains("has been unavailable for 5.0 s: none is running"), "{lines:?}");
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn a_reason_cannot_begin_a_line_of_its_own() {
        let log = Log::capture();
        broker().failed("", "refused\n<0>ERROR \u{1b}[2J");
        assert!(log.from_info()[0].contains(r"refused\n<0>ERROR \u{1b}[2J; trying"));
    }

    #[test]
    fn durations_are_short() {
        let of = |seconds: f64| spoken(Duration::from_secs_f64(seconds));
        assert_eq!(
            [0.44, 37.9, 119.0, 120.0, 7199.0].map(of),
            ["0.4 s", "37 s", "119 s", "2 min", "119 min"]
        );
        assert_eq!(of(7260.0), "2 h 1 min");
    }
}
