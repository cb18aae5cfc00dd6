//! The ledger of refused log-ins: one per host for all services together.
//!
//! Hosts ban an address for the fifth refused log-in within ten minutes (fail2ban as distributions ship
//! it). So every log-in goes through [`LogInLedger::log_in`], which allows at most [`LIMIT`] refusals per
//! host and [`WINDOW`]. The record is [`RefusedLogIns`]. A host that has refused nothing costs one read.
//! A log-in that may be refused again is written down before it is made, by compare-and-swap, so that two
//! services cannot use the same remaining one.
//!
//! Of the log-ins that a host without any known refusal is asked for at the same moment, none is written
//! down before: a watcher, an executor and an investigation are the most that there are.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus::{Bus, Context, Error, Result, warn_unless_outage};
use model::{RefusedLogIns, Stamp};
use runtime::{Clock, Lifecycle};
use storage_client::{Revised, StorageClient, Transaction};

use crate::error::AccessError;

mod ages;

use ages::{Ages, wait};

/// At most so many log-ins of all services are refused by a host within [`WINDOW`].
pub const LIMIT: usize = 4;

/// See [`LIMIT`].
pub const WINDOW: Duration = Duration::from_mins(10);

/// How often a write is tried again when other services write at the same time.
const ATTEMPTS: usize = 16;

/// How much of the limit a log-in may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// A routine check: it leaves the last log-in of the limit to the others, so that an operator who has
    /// mended the host need not wait.
    Check,
    /// Work that was asked for: an investigation, a step of an operation.
    Work,
    /// Other credentials than the stored ones. They may be refused by a host that accepts the stored ones;
    /// then they leave the last log-in to those.
    Trial,
}

/// The ledger, as one process sees it. Clones share what they know.
#[derive(Debug, Clone)]
pub struct LogInLedger {
    storage: StorageClient,
    clock: Clock,
    ages: Arc<Mutex<Ages>>,
}

/// The right to one log-in.
enum Permit {
    /// Nothing was written: the host is not known to refuse log-ins.
    Free,
    /// It is in the record under this stamp.
    Reserved(Stamp),
}

impl LogInLedger {
    /// The ledger in the store that answers on `bus`.
    pub fn new(bus: &Bus, clock: Clock) -> Self {
        let storage = StorageClient::new(bus.clone(), Context::service("log-ins"));
        Self { storage, clock, ages: Arc::default() }
    }

    /// Makes a log-in to the host unless that could exceed the limit, and records its outcome.
    ///
    /// # Errors
    /// [`AccessError::HeldBack`] when no log-in was made; those of `attempt`.
    pub async fn log_in<T>(
        &self,
        address: &str,
        share: Share,
        attempt: impl Future<Output = Result<T, AccessError>>,
    ) -> Result<T, AccessError> {
        let permit = self.permit(address, share).await?;
        let outcome = attempt.await;
        match (&outcome, permit) {
            (Err(AccessError::AuthRefused { .. }), Permit::Free) => self.refused(address).await,
            // It is written down already.
            (Err(AccessError::AuthRefused { .. }), Permit::Reserved(_)) | (_, Permit::Free) => {}
            (outcome, Permit::Reserved(stamp)) => {
                self.not_refused(address, &stamp, outcome.is_ok()).await;
            }
        }
        outcome
    }

    /// Removes the records whose refusals are all older than [`WINDOW`], until the daemon stops.
    pub fn sweep(self, lifecycle: &Lifecycle) {
        let stopping = lifecycle.stopping();
        lifecycle.spawn("refused log-ins", async move {
            let sweeping = async {
                let mut ticks = tokio::time::interval(WINDOW / 2);
                loop {
                    ticks.tick().await;
                    if let Err(error) = self.sweep_once().await {
                        warn_unless_outage!(error, "cannot remove old records of refused log-ins");
                    }
                }
            };
            tokio::select! {
                () = sweeping => {}
                () = stopping => {}
            }
        });
    }

    // A std mutex: it is held for a few list operations and never across an await.
    fn ages(&self) -> MutexGuard<'_, Ages> {
        self.ages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn permit(&self, address: &str, share: Share) -> Result<Permit, AccessError> {
        for _ in 0..ATTEMPTS {
            let found = match self.storage.find::<RefusedLogIns>(address).await {
                Ok(found) => found,
                Err(error) => return self.permit_without_store(address, &error),
            };
            let stored = found.as_ref().is_none_or(|found| found.record.accepted_since);
            let (ages, mut record) = self.read(address, found.as_ref());
            // A refusal that is not stored yet is newer than anything that is.
            let accepted = stored && !self.ages().has_unsaved(address);
            let limit = match (share, accepted) {
                (Share::Check | Share::Work, true) => return Ok(Permit::Free),
                (Share::Check, false) | (Share::Trial, true) => LIMIT - 1,
                (Share::Work | Share::Trial, false) => LIMIT,
            };
            held_back(address, &ages, limit)?;
            let stamp = self.clock.stamp();
            record.accepted_since = accepted;
            record.stamps.push(stamp.clone());
            match self.write(found.as_ref(), &record).await {
                Ok(()) => return Ok(Permit::Reserved(stamp)),
                Err(error) if error.is_conflict() => {}
                Err(error) => return self.permit_without_store(address, &error),
            }
        }
        // Many services are at it at this moment: none of them needs this one.
        Err(held(address, LIMIT, Duration::from_secs(1)))
    }

    /// While the store does not answer, each process keeps within the limit by what it knows.
    fn permit_without_store(&self, address: &str, error: &Error) -> Result<Permit, AccessError> {
        warn_unless_outage!(
            error,
            host.address = address,
            "cannot read the record of refused log-ins"
        );
        held_back(address, &self.ages().known(address), LIMIT - 1)?;
        Ok(Permit::Free)
    }

    /// The ages of the refusals that count, and a record of those.
    fn read(
        &self,
        address: &str,
        found: Option<&Revised<RefusedLogIns>>,
    ) -> (Vec<Duration>, RefusedLogIns) {
        let stored = found.map_or(&[][..], |found| &found.record.stamps);
        let mut known = self.ages();
        known.merge(address, stored, self.clock.wall());
        let record = RefusedLogIns {
            address: address.into(),
            stamps: known.stamps(address),
            accepted_since: found.is_some_and(|found| found.record.accepted_since),
        };
        (known.known(address), record)
    }

    async fn write(
        &self,
        found: Option<&Revised<RefusedLogIns>>,
        record: &RefusedLogIns,
    ) -> Result<()> {
        let address = record.address.as_str();
        let unchanged = Transaction::default()
            .check::<RefusedLogIns>(address, found.map(|found| found.revision));
        let mut record = record.clone();
        let surplus = record.stamps.len().saturating_sub(RefusedLogIns::STAMPS);
        record.stamps.drain(..surplus);
        let transaction = if record.stamps.is_empty() {
            unchanged.delete::<RefusedLogIns>(address)
        } else {
            unchanged.save(&record)?
        };
        self.storage.transact(&transaction).await?;
        self.ages().saved(address, &record.stamps);
        Ok(())
    }

    async fn refused(&self, address: &str) {
        let stamp = self.clock.stamp();
        self.ages().note(address, &stamp);
        // The stamp is among those that the record gets.
        if let Err(error) = self.change(address, |record| record.accepted_since = false).await {
            // It is written with the next one; until then this process counts it.
            warn_unless_outage!(
                error,
                host.address = address,
                "a refused log-in is not stored yet"
            );
        }
    }

    async fn not_refused(&self, address: &str, stamp: &Stamp, accepted: bool) {
        self.ages().remove(address, stamp);
        let change = |record: &mut RefusedLogIns| {
            record.stamps.retain(|other| other != stamp);
            record.accepted_since |= accepted;
        };
        if let Err(error) = self.change(address, change).await {
            warn_unless_outage!(error, host.address = address, "a log-in stays counted as refused");
        }
    }

    /// Changes the record by compare-and-swap.
    async fn change(
        &self,
        address: &str,
        mut change: impl FnMut(&mut RefusedLogIns),
    ) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let found = self.storage.find::<RefusedLogIns>(address).await?;
            let (_, mut record) = self.read(address, found.as_ref());
            change(&mut record);
            match self.write(found.as_ref(), &record).await {
                Err(error) if error.is_conflict() => {}
                ended => return ended,
            }
        }
        Err(Error::conflict("other services keep changing the record of refused log-ins"))
    }

    async fn sweep_once(&self) -> Result<()> {
        for found in self.storage.list::<RefusedLogIns>().await? {
            let (ages, record) = self.read(&found.record.address, Some(&found));
            if !ages.is_empty() {
                continue;
            }
            match self.write(Some(&found), &record).await {
                // A log-in was refused at this moment: it stays.
                Err(error) if error.is_conflict() => {}
                ended => ended?,
            }
        }
        Ok(())
    }
}

fn held_back(address: &str, ages: &[Duration], limit: usize) -> Result<(), AccessError> {
    wait(ages, limit).map_or(Ok(()), |wait| Err(held(address, ages.len(), wait)))
}

fn held(address: &str, refused: usize, wait: Duration) -> AccessError {
    AccessError::HeldBack { address: address.to_owned(), refused, wait }
}
