//! When deadlines of an operation end: on the monotonic clock of this process.
//!
//! The wall clock may be set at any time. Stamps in records only bridge a take-over, and what they say is clamped
//! to the time that is allowed: a clock that was set back waits once more in full, one that was set forward
//! ends the wait.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use service_core::clock::{self, left};
use service_core::model::{HostProgress, Step};
use tokio::time::Instant;

/// The deadlines of an operation.
#[derive(Debug)]
pub(crate) struct Moments {
    /// The time between two hosts.
    soak: Duration,
    /// The time from a reboot until the host must be verified.
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

impl Moments {
    pub(super) fn new(soak: Duration, verify: Duration) -> Self {
        Self { soak, verify, ends: Mutex::default() }
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over from another process, by the stamps in its records.
    pub(super) fn bridge(&self, hosts: &[HostProgress], now: Timestamp) {
        let end =
            |stamp: &str, allowed| Some(Instant::now() + left(now, clock::parse(stamp)?, allowed));
        let mut ends = self.ends();
        let done = hosts.iter().filter(|host| host.step == Step::Done);
        let done = done.filter_map(|host| end(host.finished_at.as_deref()?, self.soak));
        ends.soak = done.max();
        let rebooted = hosts.iter().enumerate();
        let rebooted = rebooted.filter_map(|(index, host)| {
            Some((index, end(host.rebooted_at.as_deref()?, self.verify)?))
        });
        ends.verify = rebooted.collect();
    }

    /// Notes what was just saved about the host at `index`.
    pub(super) fn note(&self, index: usize, before: &HostProgress, after: &HostProgress) {
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

    /// How much is left of the time between two hosts.
    pub(crate) fn soak_left(&self) -> Option<Duration> {
        let end = self.ends().soak?;
        Some(end.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Until when the host at `index` must have settled, which takes `settle`: it may take as long again as a reboot,
    /// from when it was first verified. It may reboot in between; a take-over begins it again.
    pub(crate) fn settle_end(&self, index: usize, settle: Duration) -> Instant {
        let end = Instant::now() + settle + self.verify;
        let mut ends = self.ends();
        let end = *ends.settle.entry(index).or_insert(end);
        ends.verify.insert(index, end);
        end
    }

    /// Until when the host at `index` must be verified; the whole time from now on where it was not rebooted.
    pub(crate) fn verify_end(&self, index: usize) -> Instant {
        let end = self.ends().verify.get(&index).copied();
        end.unwrap_or_else(|| Instant::now() + self.verify)
    }
}
