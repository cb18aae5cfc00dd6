//! The deadlines of an operation, on the monotonic clock of this process.
//!
//! The wall clock may be set at any time. Time stamps of records matter after a take-over only, and are clamped: after
//! a step back of the clock the whole time begins again, after a step forward the deadline has passed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use model::stamp::left;
use model::{OperationHost, Stamp, Step};
use tokio::time::Instant;

/// The deadlines of an operation.
#[derive(Debug)]
pub(crate) struct Deadlines {
    /// The soak time between two hosts.
    soak: Duration,
    /// The timeout of a reboot.
    verify: Duration,
    ends: Mutex<Ends>,
}

#[derive(Debug, Default)]
struct Ends {
    soak: Option<Instant>,
    /// By the index of the host.
    verify: HashMap<usize, Instant>,
    /// By the index of the host.
    settle: HashMap<usize, Instant>,
}

impl Deadlines {
    pub(super) fn new(soak: Duration, verify: Duration) -> Self {
        Self { soak, verify, ends: Mutex::default() }
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Derives the deadlines from the time stamps of records that another process has written.
    pub(super) fn bridge(&self, hosts: &[OperationHost], now: Timestamp) {
        let end =
            |stamp: &Stamp, allowed| Some(Instant::now() + left(now, stamp.timestamp()?, allowed));
        let mut ends = self.ends();
        let done = hosts.iter().filter(|host| host.step == Step::Done);
        let done = done.filter_map(|host| end(host.finished_at.as_ref()?, self.soak));
        ends.soak = done.max();
        let rebooted = hosts.iter().enumerate();
        let rebooted = rebooted.filter_map(|(index, host)| {
            Some((index, end(host.rebooted_at.as_ref()?, self.verify)?))
        });
        ends.verify = rebooted.collect();
    }

    /// Updates the deadlines after a change of the host at `index` was saved.
    pub(super) fn update(&self, index: usize, before: &OperationHost, after: &OperationHost) {
        let now = Instant::now();
        if after.step == Step::Done && before.step != Step::Done {
            self.ends().soak = Some(now + self.soak);
        }
        if after.rebooted_at != before.rebooted_at {
            match after.rebooted_at {
                Some(_) => self.ends().verify.insert(index, now + self.verify),
                None => self.ends().verify.remove(&index),
            };
        }
    }

    /// The rest of the soak time between two hosts; `None` when it is over.
    pub(crate) fn soak_left(&self) -> Option<Duration> {
        let end = self.ends().soak?;
        Some(end.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// The deadline for the host at `index` to settle, which takes `settle` at least: the time of a reboot more, from
    /// its first verification on. The host may reboot in between; after a take-over the time begins again.
    pub(crate) fn settle_end(&self, index: usize, settle: Duration) -> Instant {
        let end = Instant::now() + settle + self.verify;
        let mut ends = self.ends();
        let end = *ends.settle.entry(index).or_insert(end);
        ends.verify.insert(index, end);
        end
    }

    /// The deadline for the host at `index` to be verified; if it was not rebooted, the whole time from now on.
    pub(crate) fn verify_end(&self, index: usize) -> Instant {
        let end = self.ends().verify.get(&index).copied();
        end.unwrap_or_else(|| Instant::now() + self.verify)
    }
}
