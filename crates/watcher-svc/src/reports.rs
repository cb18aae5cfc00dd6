//! The report of this watcher's last checks, and those that other watchers have left.

use std::collections::{HashMap, HashSet};

use bus::Result;
use jiff::Timestamp;
use model::{Address, CheckReport, CheckRoster, LeaseName, LeasePurpose, Model as _};
use runtime::Clock;
use storage_client::{Revised, StorageClient, Transaction};

use crate::schedule::Micros;

/// Reports of watchers that are gone which are taken over at a time.
const TAKEN_OVER: usize = 16;

/// Our report as it is in the store.
#[derive(Debug, Default)]
enum Stored {
    /// There is none.
    #[default]
    Nothing,
    /// It is this one, with its roster.
    Known(u64, CheckRoster),
    /// To be read: the last write failed, or its outcome is unknown.
    Unknown,
}

/// What is to be reported.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// When we last checked hosts, where no record says so.
    pub(crate) times: HashMap<Address, Micros>,
    /// All hosts that we may have to report of.
    pub(crate) hosts: HashSet<Address>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Reports {
    /// The id of this watcher.
    watcher: String,
    storage: StorageClient,
    clock: Clock,
    stored: Stored,
    /// Of the newest roster.
    number: u64,
    /// What was reported last.
    reported: HashMap<Address, Micros>,
}

/// A report that is ready to be written, together with the removal of those that were taken over.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) transaction: Transaction,
    roster: CheckRoster,
    times: HashMap<Address, Micros>,
}

impl Reports {
    /// None yet; `lease` is the name of this watcher's lease.
    pub(crate) fn new(lease: &LeaseName, storage: StorageClient, clock: Clock) -> Self {
        let watcher = match lease.purpose() {
            Some(LeasePurpose::Watcher(id)) => id.to_owned(),
            _ => lease.to_string(),
        };
        let (stored, number, reported) = (Stored::default(), 0, HashMap::new());
        Self { watcher, storage, clock, stored, number, reported }
    }

    /// Some of the reports whose watchers `is_alive` denies, with their checks.
    ///
    /// # Errors
    /// When the storage service does not answer.
    pub(crate) async fn orphans(
        &self,
        is_alive: impl Fn(&LeaseName) -> bool,
    ) -> Result<Vec<(Revised<CheckReport>, Vec<(Address, Micros)>)>> {
        let reports = self.storage.list::<CheckReport>().await?;
        let orphans = reports.into_iter().filter(|report| {
            let watcher = &report.record.watcher;
            *watcher != self.watcher && !is_alive(&LeasePurpose::Watcher(watcher).name())
        });
        let mut read = Vec::new();
        for report in orphans.take(TAKEN_OVER) {
            // Without its roster it says nothing, and is only removed.
            let roster = self.storage.find::<CheckRoster>(&report.record.roster).await?;
            let checks = roster.map(|roster| match report.record.checks(&roster.record) {
                Ok(checks) => checks
                    .map(|(host, time)| (host.into(), time.as_microsecond()))
                    .collect::<Vec<_>>(),
                Err(error) => {
                    let watcher = &report.record.watcher;
                    tracing::error!(watcher, error, "the check report of a watcher cannot be read");
                    Vec::new()
                }
            });
            read.push((report, checks.unwrap_or_default()));
        }
        Ok(read)
    }

    /// The next report, and the removal of `orphans`; `None` when there is nothing new.
    ///
    /// # Errors
    /// When the storage service does not answer.
    pub(crate) async fn draft(
        &mut self,
        Checks { times, hosts }: Checks,
        orphans: &[Revised<CheckReport>],
    ) -> Result<Option<Draft>> {
        let mut left = None;
        if matches!(self.stored, Stored::Unknown) {
            left = self.storage.find::<CheckReport>(&self.watcher).await?;
        } else if orphans.is_empty() && times == self.reported {
            return Ok(None);
        }
        let mut transaction = Transaction::default();
        let (revision, roster) = match (&self.stored, &left) {
            (Stored::Known(revision, roster), _) => (Some(*revision), Some(roster)),
            (_, Some(left)) => {
                transaction = transaction.delete::<CheckRoster>(&left.record.roster);
                (Some(left.revision), None)
            }
            _ => (None, None),
        };
        transaction = transaction.check::<CheckReport>(&self.watcher, revision);
        let roster = match roster {
            Some(roster) if fits(roster, &times, hosts.len()) => roster.clone(),
            before => {
                if let Some(before) = before {
                    transaction = transaction.delete::<CheckRoster>(&before.id);
                }
                self.number += 1;
                let mut hosts: Vec<_> = hosts.into_iter().collect();
                hosts.sort_unstable();
                let id = CheckRoster::id_of(&self.watcher, self.number);
                let roster = CheckRoster { id, hosts };
                transaction = transaction.save(&roster)?;
                roster
            }
        };
        let checked = |host: &str| Timestamp::from_microsecond(*times.get(host)?).ok();
        let report = CheckReport::new(&self.watcher, &roster, self.clock.wall(), checked);
        transaction = transaction.save(&report)?;
        for Revised { record: orphan, revision } in orphans {
            transaction = transaction
                .check::<CheckReport>(orphan.id(), Some(*revision))
                .delete::<CheckReport>(orphan.id())
                .delete::<CheckRoster>(&orphan.roster);
        }
        // Until it is known to be written.
        self.stored = Stored::Unknown;
        Ok(Some(Draft { transaction, roster, times }))
    }

    /// A draft was written, at this revision.
    pub(crate) fn written(&mut self, draft: Draft, revision: u64) {
        self.stored = Stored::Known(revision, draft.roster);
        self.reported = draft.times;
    }
}

/// Whether a roster has a slot for each host with a check, and not twice as many slots as are needed.
fn fits(roster: &CheckRoster, times: &HashMap<Address, Micros>, hosts: usize) -> bool {
    let used = roster.hosts.iter().filter(|host| times.contains_key(*host)).count();
    used == times.len() && roster.hosts.len() <= 2 * hosts
}
