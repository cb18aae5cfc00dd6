//! When hosts were last checked, from the reports of the watchers: every `Host` that is read shows the later
//! of its record's `last_check` and that of the reports.
//!
//! What was read from the reports is used for a second: they are written every 30 s. A report that goes
//! through this process is seen at once. An empty `last_check` stays empty: a host that was deleted and
//! added again must not show the checks of the one before, and its first check is written to its record.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus::error::chain;
use bus::{Error, Kind as ErrorKind, Result, warn_unless_outage};
use model::{CheckReport, CheckRoster, Host, Model as _, Stamp};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use crate::handlers::Handlers;
use crate::kinds::{Checked, Kind, parse, written};
use crate::store::Entry;

/// For how long what was read is used.
const FRESH: Duration = Duration::from_secs(1);

/// How often the reports are read again when a roster is missing because a watcher has just replaced it.
const ATTEMPTS: usize = 3;

/// The last check of each host that a report has one of, as it stands in records.
pub(crate) type Times = HashMap<String, Stamp>;

/// The newest reports; see the module.
#[derive(Debug, Default)]
pub(crate) struct LastChecks {
    newest: Mutex<Newest>,
    /// Held while the reports are read: the others wait for that, and need not read them.
    reading: AsyncMutex<HashMap<String, Known>>,
}

#[derive(Debug, Default)]
struct Newest {
    times: Arc<Times>,
    /// When the reports were read; `None` when they have changed since.
    read_at: Option<Instant>,
    /// How often reports were changed through this process.
    changes: u64,
}

/// A report that was read.
#[derive(Debug)]
struct Known {
    revision: u64,
    roster: CheckRoster,
    times: Times,
}

impl Known {
    fn without_checks(revision: u64) -> Self {
        let roster = CheckRoster { id: String::new(), hosts: Vec::new() };
        Self { revision, roster, times: Times::new() }
    }
}

impl LastChecks {
    /// When hosts were last checked, by the reports. While these cannot be read: as far as is known.
    pub(crate) async fn times(&self, handlers: &Handlers) -> Arc<Times> {
        if let Some(times) = self.fresh() {
            return times;
        }
        let mut known = self.reading.lock().await;
        if let Some(times) = self.fresh() {
            return times;
        }
        let (changes, before) = {
            let newest = self.newest();
            (newest.changes, Arc::clone(&newest.times))
        };
        let times = match Box::pin(read(handlers, &mut known)).await {
            Ok(true) => Arc::new(latest(known.values())),
            Ok(false) => before,
            Err(error) => {
                warn_unless_outage!(
                    error,
                    "cannot read the check reports: hosts show the last checks known before"
                );
                before
            }
        };
        let mut newest = self.newest();
        newest.times = Arc::clone(&times);
        newest.read_at = (newest.changes == changes).then(Instant::now);
        times
    }

    /// The reports have changed.
    pub(crate) fn changed(&self) {
        let mut newest = self.newest();
        newest.changes += 1;
        newest.read_at = None;
    }

    fn fresh(&self) -> Option<Arc<Times>> {
        let newest = self.newest();
        let is_fresh = newest.read_at.is_some_and(|read_at| read_at.elapsed() < FRESH);
        is_fresh.then(|| Arc::clone(&newest.times))
    }

    fn newest(&self) -> MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a host's text: its key, and its text with defaults filled in and its last check.
///
/// # Errors
/// A sentence that names the field and what is wrong with it.
pub(crate) fn read_host(text: &str, times: &Times) -> Checked {
    let mut host: Host = parse(text)?;
    if let Some(time) = times.get(host.address.as_str())
        && !host.last_check.is_empty()
        // One format of a fixed length: it sorts as the times do.
        && *time > host.last_check
    {
        host.last_check.clone_from(time);
    }
    Ok((Host::key(&host.address), written(&host)?))
}

/// Reads what has changed; false when nothing has.
async fn read(handlers: &Handlers, known: &mut HashMap<String, Known>) -> Result<bool> {
    let mut changed = false;
    for _ in 0..ATTEMPTS {
        let reports = handlers.list(Kind::named(CheckReport::TYPE)?).await?;
        let before = known.len();
        known.retain(|key, _| reports.iter().any(|entry| entry.key == *key));
        changed |= known.len() != before;
        let mut complete = true;
        for entry in reports.iter() {
            if known.get(&entry.key).is_some_and(|known| known.revision == entry.revision) {
                continue;
            }
            let report = match read_report(handlers, known.get(&entry.key), entry).await {
                // A damaged report must not hide the others.
                Err(error) if error.kind() == ErrorKind::Internal => {
                    tracing::error!(error = chain(&error), "the checks of a watcher are unknown");
                    Some(Known::without_checks(entry.revision))
                }
                read => read?,
            };
            complete &= report.is_some();
            if let Some(report) = report {
                known.insert(entry.key.clone(), report);
                changed = true;
            }
        }
        if complete {
            break;
        }
    }
    Ok(changed)
}

/// A report with its roster; `None` when there is no such roster any more.
async fn read_report(
    handlers: &Handlers,
    before: Option<&Known>,
    entry: &Entry,
) -> Result<Option<Known>> {
    let damaged = |why: String| {
        let error = std::io::Error::other(why);
        Error::internal(format!("the record {} in the store is damaged", entry.key))
            .with_source(error)
    };
    let report: CheckReport = parse(&entry.value).map_err(damaged)?;
    let roster = if let Some(before) = before.filter(|before| before.roster.id == report.roster) {
        before.roster.clone()
    } else {
        let kind = Kind::named(CheckRoster::TYPE)?;
        let mut found = handlers.get(kind, vec![kind.key(&report.roster)?]).await?;
        let Some(entry) = found.pop().flatten() else { return Ok(None) };
        parse(&entry.value).map_err(damaged)?
    };
    let checks = report.checks(&roster).map_err(damaged)?;
    let times = checks.map(|(host, time)| (host.to_owned(), Stamp::of(time))).collect();
    Ok(Some(Known { revision: entry.revision, roster, times }))
}

fn latest<'a>(reports: impl Iterator<Item = &'a Known>) -> Times {
    let mut latest = Times::new();
    for (host, time) in reports.flat_map(|report| &report.times) {
        match latest.get_mut(host) {
            Some(known) if *known >= *time => {}
            Some(known) => known.clone_from(time),
            None => drop(latest.insert(host.clone(), time.clone())),
        }
    }
    latest
}
