//! Compaction of etcd, which otherwise keeps every version of every record until its quota is reached.
//!
//! Each replica samples etcd's revision; the one that holds the lease compacts every hour to the revision of about
//! an hour ago. After a restart the first compaction waits until that is known. Times are monotonic.
//!
//! It is left to others where they do it: etcd's own auto-compaction, or a program. etcd does not tell whether it
//! compacts itself, but reads of old revisions show how far it was compacted. When that moves, and not to the
//! revision that a replica of ours has noted, others compact; then this service does not for the time that
//! [`Pace::observe`] says. Auto-compaction moves it at least every hour. Nor is an etcd compacted that holds keys of
//! others: they may need the history.

use std::collections::VecDeque;
use std::time::Duration;

use bus::error::chain;
use bus::warn_unless_outage;
use model::{LeaseName, LeasePurpose};
use runtime::Lifecycle;
use storage_client::lease::{Held, Leases};
use tokio::time::Instant;

use crate::store::StoreError;
use crate::store::etcd::Etcd;

/// When what is done.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Between two samples of the revision.
    pub sample: Duration,
    /// The age of the history that is kept, and the time between two compactions.
    pub keep: Duration,
    /// How long nobody else must have been seen to compact before this service does.
    pub observe: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let keep = Duration::from_hours(1);
        Self { sample: Duration::from_mins(10), keep, observe: keep + Duration::from_mins(30) }
    }
}

/// What is known of an etcd's revisions.
#[derive(Debug)]
struct History {
    pace: Pace,
    samples: VecDeque<(Instant, i64)>,
    /// The first revision that can be read; `None` before the first look.
    first_readable: Option<i64>,
    /// When others were last seen to compact, or the observation began.
    undisturbed_since: Instant,
    /// When this replica last compacted.
    compacted: Option<Instant>,
}

impl History {
    fn new(pace: Pace, now: Instant) -> Self {
        let (samples, undisturbed_since) = (VecDeque::new(), now);
        Self { pace, samples, first_readable: None, undisturbed_since, compacted: None }
    }

    /// Notes the revision now, and drops samples that are older than is needed.
    fn sampled(&mut self, revision: i64, now: Instant) {
        self.samples.push_back((now, revision));
        while let Some((next, _)) = self.samples.get(1)
            && now.duration_since(*next) >= self.pace.keep
        {
            self.samples.pop_front();
        }
    }

    /// Notes how far etcd is compacted, and how far this service did it; true when others compacted since the last
    /// look.
    fn looked(&mut self, first_readable: i64, by_us: Option<i64>, now: Instant) -> bool {
        let before = self.first_readable.replace(first_readable);
        let is_foreign =
            before.is_some_and(|before| before != first_readable) && by_us != Some(first_readable);
        if is_foreign {
            self.undisturbed_since = now;
        }
        is_foreign
    }

    /// The revision to compact to, when it is time.
    fn due(&self, now: Instant) -> Option<i64> {
        let Pace { keep, observe, .. } = self.pace;
        let passed = |since: Instant, time| now.duration_since(since) >= time;
        let (sampled, revision) = *self.samples.front()?;
        let is_time = passed(sampled, keep)
            && passed(self.undisturbed_since, observe)
            && self.compacted.is_none_or(|last| passed(last, keep));
        (is_time && self.first_readable.is_some_and(|first| first < revision)).then_some(revision)
    }
}

/// Compacts one etcd for as long as the service runs; `name` is its store handler's.
pub async fn keep(name: String, etcd: Etcd, leases: Leases, pace: Pace, life: Lifecycle) {
    let stopping = life.stopping();
    tokio::pin!(stopping);
    let object = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let lease = LeasePurpose::Compaction(&object).name();
    let (mut history, mut held) = (History::new(pace, Instant::now()), None);
    let mut reported = Reported { store: name, what: String::new() };
    loop {
        if let Err(error) =
            turn(&etcd, &mut history, (&leases, &lease, &mut held), &mut reported).await
        {
            // An etcd that is unavailable is logged as that.
            if error.is_silent() {
                tracing::debug!(error = chain(&error), "the store is not compacted");
            } else {
                reported.warn(format!("the store is not compacted: {}", chain(&error)));
            }
        }
        tokio::select! {
            () = &mut stopping => break,
            () = tokio::time::sleep(pace.sample) => {}
        }
    }
    // Others then need not wait for its time to live.
    if let Some(held) = held
        && let Err(error) = held.hand_over().await
    {
        tracing::debug!(error = chain(&error), "the lease of the compaction ends by itself");
    }
}

/// One sample, and a compaction where it is due.
async fn turn(
    etcd: &Etcd,
    history: &mut History,
    (leases, lease, held): (&Leases, &LeaseName, &mut Option<Held>),
    reported: &mut Reported,
) -> Result<(), StoreError> {
    let revision = etcd.revision().await?;
    let now = Instant::now();
    history.sampled(revision, now);
    let from = history.first_readable.unwrap_or(1);
    let first = etcd.first_readable(from, revision).await?;
    if history.looked(first, etcd.compacted_by_us().await?, now) {
        reported.warn(
            "etcd is compacted by its auto-compaction or by another program: this service leaves it to that"
                .to_owned(),
        );
    }
    let Some(revision) = history.due(now) else { return Ok(()) };
    if etcd.holds_foreign_keys().await? {
        reported.warn(
            "etcd holds keys outside of /commissaire/: it is not compacted, since others may need its history; \
             set its --auto-compaction-retention"
                .to_owned(),
        );
        return Ok(());
    }
    if held.as_ref().is_none_or(|held| held.check().is_err()) {
        *held = match leases.try_acquire(lease).await {
            Ok(held) => held,
            Err(error) => {
                warn_unless_outage!(error, store = reported.store, "the store is not compacted");
                None
            }
        };
    }
    if held.is_some() {
        etcd.compact(revision).await?;
        history.compacted = Some(now);
        reported.what.clear();
        tracing::info!(store = reported.store, revision, "etcd is compacted");
    }
    Ok(())
}

/// What was last said of a store, so that it is said once.
struct Reported {
    store: String,
    what: String,
}

impl Reported {
    fn warn(&mut self, what: String) {
        if what != self.what {
            tracing::warn!(store = self.store, "{what}");
            self.what = what;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    /// A history of samples every ten minutes, of 100 revisions each; `look` says at each how far etcd is compacted
    /// and by us.
    fn after(
        minutes: u32,
        look: impl Fn(u32) -> (i64, Option<i64>),
    ) -> (History, Instant, Option<i64>) {
        let start = Instant::now();
        let mut history = History::new(Pace::default(), start);
        let mut now = start;
        for minute in (0..=minutes).step_by(10) {
            now = start + MINUTE * minute;
            history.sampled(i64::from(minute) * 10 + 1, now);
            let (first, by_us) = look(minute);
            history.looked(first, by_us, now);
        }
        let due = history.due(now);
        (history, now, due)
    }

    #[tokio::test]
    async fn the_revision_of_an_hour_ago_is_due_once_that_is_known() {
        let undisturbed = |_| (1, None);
        assert_eq!(after(80, undisturbed).2, None);
        assert_eq!(after(90, undisturbed).2, Some(301));
        assert_eq!(after(120, undisturbed).2, Some(601));
        assert!(after(1000, undisturbed).0.samples.len() <= 8, "old samples are dropped");
    }

    #[tokio::test]
    async fn the_next_is_due_an_hour_later() {
        let (mut history, now, _) = after(90, |_| (1, None));
        history.compacted = Some(now);
        history.looked(301, Some(301), now);
        history.sampled(1501, now + MINUTE * 59);
        assert_eq!(history.due(now + MINUTE * 59), None);
        assert!(history.due(now + MINUTE * 60).is_some());
    }

    #[tokio::test]
    async fn nothing_is_due_while_others_compact_and_again_when_they_stop() {
        // As etcd's own does, with ten hours of history.
        let hourly = |minute: u32| (i64::from(minute / 60) * 10 + 1, None);
        for minutes in [90, 200, 600] {
            assert_eq!(after(minutes, hourly).2, None, "{minutes}");
        }
        let stops = |minute: u32| (if minute < 60 { 1 } else { 11 }, None);
        assert_eq!(after(140, stops).2, None);
        assert_eq!(after(150, stops).2, Some(901));
    }

    #[tokio::test]
    async fn compactions_of_other_replicas_are_not_foreign() {
        let ours = |minute: u32| if minute < 60 { (1, None) } else { (11, Some(11)) };
        assert_eq!(after(120, ours).2, Some(601));
    }
}
