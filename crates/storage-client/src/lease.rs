//! Holding a lease: the right to work on something, kept as long as signs of life are saved in time.
//!
//! A lease is a record ([`model::Lease`]). Its holder raises the counter by compare-and-swap every
//! third of its time to live; an observer that has seen the same counter for longer than that on its
//! own monotonic clock may take it over. Two things keep a holder that was stopped and goes on from
//! doing harm: it asks [`Held::check`] before each effect on the outside, which says no from
//! [`MARGIN`] before the lease could be lost, and every write of its work is a transaction that checks
//! the lease's revision.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus::error::{Error, Kind, Result};
use bus::warn_unless_outage;
use model::{LeaseName, Model as _};
use runtime::lifecycle::Lifecycle;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Revised, StorageClient, Transaction};

/// A holder stops this long before its lease could be lost.
pub const MARGIN: Duration = Duration::from_secs(5);

/// The shortest time to live: renewals every third of it must fit before the margin.
pub const TTL_MIN: Duration = Duration::from_secs(8);

/// The usual time to live.
pub const TTL: Duration = Duration::from_secs(15);

/// One process's view of all leases: what it has observed, and the name under which it holds some.
#[derive(Debug, Clone)]
pub struct Leases {
    storage: StorageClient,
    lifecycle: Lifecycle,
    owner: String,
    ttl: Duration,
    /// The newest revision of each lease that others hold, and when it was first seen.
    seen: Arc<Mutex<HashMap<LeaseName, (u64, Instant)>>>,
}

impl Leases {
    /// `owner` must be unique to the process: no two processes, nor two runs of one, share it.
    pub fn new(storage: StorageClient, lifecycle: Lifecycle, owner: String, ttl: Duration) -> Self {
        Self { storage, lifecycle, owner, ttl: ttl.max(TTL_MIN), seen: Arc::default() }
    }

    /// A lease of ours as it is first written, for use in a transaction that creates it together with
    /// the work; [`Self::adopt`] then holds it.
    pub fn fresh(&self, name: &LeaseName) -> model::Lease {
        let ttl_ms = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
        let (name, owner) = (name.clone(), self.owner.clone());
        model::Lease { name, owner, ttl_ms, ..model::Lease::default() }
    }

    /// Holds a lease that a transaction of ours has just written; `since` is from before it.
    pub fn adopt(&self, lease: model::Lease, revision: u64, since: Instant) -> Held {
        Held::new(self, Revised { record: lease, revision }, since)
    }

    /// Takes a lease that nobody holds, or whose holder has shown no sign of life for its time to
    /// live; `None` when somebody else has it, or may have it. Ask again later: whether a holder is
    /// alive shows only over time.
    ///
    /// # Errors
    /// When the storage service cannot say.
    pub async fn try_acquire(&self, name: &LeaseName) -> Result<Option<Held>> {
        let since = Instant::now();
        let (transaction, lease) = match self.storage.find::<model::Lease>(name).await? {
            None => {
                let lease = self.fresh(name);
                (Transaction::default().create(&lease)?, lease)
            }
            Some(current) if self.is_abandoned(&current) => {
                let counter = current.record.counter + 1;
                let operation = current.record.operation.clone();
                let lease = model::Lease { counter, operation, ..self.fresh(name) };
                let check =
                    Transaction::default().check::<model::Lease>(name, Some(current.revision));
                (check.save(&lease)?, lease)
            }
            Some(_) => return Ok(None),
        };
        match self.storage.transact(&transaction).await {
            Ok(revision) => {
                self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
                Ok(Some(self.adopt(lease, revision, since)))
            }
            Err(error) if error.is_conflict() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the holder of a lease may be alive: it was renewed within its time to live, or has not been
    /// observed for that long yet. Only looks; to be asked again and again.
    pub fn may_be_alive(&self, lease: &Revised<model::Lease>) -> bool {
        !self.is_abandoned(lease)
    }

    /// Whether the lease has stood still for its time to live while we were looking. By its revision: an
    /// earlier lease of that name may have ended at the same counter.
    fn is_abandoned(&self, lease: &Revised<model::Lease>) -> bool {
        let Revised { record: lease, revision } = lease;
        let now = Instant::now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = seen.entry(lease.name.clone()).or_insert((*revision, now));
        if entry.0 != *revision {
            *entry = (*revision, now);
        }
        lease.ttl_ms == 0 || now.duration_since(entry.1) > Duration::from_millis(lease.ttl_ms)
    }
}

/// A lease that this process holds, renewed in the background until it is released or dropped.
#[derive(Debug)]
pub struct Held {
    inner: Arc<Inner>,
    _stop_renewing: DropGuard,
}

#[derive(Debug)]
struct Inner {
    storage: StorageClient,
    ttl: Duration,
    /// Held across every write that checks the lease, so that a renewal never gets in between.
    lease: AsyncMutex<Revised<model::Lease>>,
    /// When the newest sign of life was begun; `None` once the lease is lost.
    alive: Mutex<Option<Instant>>,
    lost: CancellationToken,
}

impl Held {
    fn new(leases: &Leases, lease: Revised<model::Lease>, since: Instant) -> Self {
        let inner = Arc::new(Inner {
            // A renewal that is not answered must leave time for another.
            storage: leases.storage.with_timeout(leases.ttl / 3),
            ttl: leases.ttl,
            lease: AsyncMutex::new(lease),
            alive: Mutex::new(Some(since)),
            lost: CancellationToken::new(),
        });
        let stop = CancellationToken::new();
        let (renewed, stopped) = (Arc::clone(&inner), stop.clone());
        leases.lifecycle.spawn("lease", async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = renewed.keep() => {}
            }
        });
        Self { inner, _stop_renewing: stop.drop_guard() }
    }

    /// To be asked before each effect on the outside.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when the lease is lost or about to be: stop, and change nothing more.
    pub fn check(&self) -> Result<()> {
        self.inner.check()
    }

    /// Resolves when the lease is lost.
    pub async fn lost(&self) {
        self.inner.lost.cancelled().await;
    }

    /// Carries out a transaction only if the lease is still ours; returns its revision.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when the lease is lost ([`Self::check`] then says so too) or another check
    /// of the transaction failed; others when the store does not answer.
    pub async fn transact(&self, transaction: Transaction) -> Result<u64> {
        let lease = self.inner.lease.lock().await;
        self.inner.check()?;
        let guarded = transaction.check::<model::Lease>(lease.record.id(), Some(lease.revision));
        self.inner.noticing_loss(self.inner.storage.transact(&guarded).await, &lease.record)
    }

    /// Carries out a last transaction and gives the lease up, in one write.
    ///
    /// # Errors
    /// As [`Self::transact`]; the lease is then still held.
    pub async fn release(&self, transaction: Transaction) -> Result<()> {
        let lease = self.inner.lease.lock().await;
        self.inner.check()?;
        let name = lease.record.id();
        let last = transaction
            .check::<model::Lease>(name, Some(lease.revision))
            .delete::<model::Lease>(name);
        self.inner.noticing_loss(self.inner.storage.transact(&last).await, &lease.record)?;
        self.inner.lose();
        Ok(())
    }

    /// Gives the lease up with the work unfinished: whoever looks next may take it at once.
    ///
    /// # Errors
    /// As [`Self::transact`]; others then wait for the lease's time to live.
    pub async fn hand_over(&self) -> Result<()> {
        let mut lease = self.inner.lease.lock().await;
        self.inner.check()?;
        lease.record.counter += 1;
        lease.record.ttl_ms = 0;
        let last = Transaction::default().update(&lease)?;
        self.inner.noticing_loss(self.inner.storage.transact(&last).await, &lease.record)?;
        self.inner.lose();
        Ok(())
    }
}

impl Inner {
    fn check(&self) -> Result<()> {
        let alive = *self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        match alive {
            Some(since) if since.elapsed() + MARGIN < self.ttl => Ok(()),
            _ => Err(Error::conflict("the lease is lost, or about to be: another may take over")),
        }
    }

    fn lose(&self) {
        *self.alive.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.lost.cancel();
    }

    /// Passes a result on; a conflict about the lease itself means that it is lost.
    fn noticing_loss(&self, result: Result<u64>, lease: &model::Lease) -> Result<u64> {
        if let Err(error) = &result
            && names_lease(error, &lease.name)
        {
            self.lose();
        }
        result
    }

    /// The lease, when it is as a renewal of ours made it whose answer did not arrive.
    async fn made_after_all(&self, renewal: &model::Lease) -> Option<Revised<model::Lease>> {
        let current = self.storage.find::<model::Lease>(&renewal.name).await.ok()??;
        let same =
            (&current.record.owner, current.record.counter) == (&renewal.owner, renewal.counter);
        same.then_some(current)
    }

    /// Renews until the lease is lost.
    async fn keep(&self) {
        let mut tick = tokio::time::interval(self.ttl / 3);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tick.tick().await;
        loop {
            tick.tick().await;
            let mut lease = self.lease.lock().await;
            let since = Instant::now();
            let mut next = lease.clone();
            next.record.counter += 1;
            let renewal = match Transaction::default().update(&next) {
                Ok(renewal) => self.storage.transact(&renewal).await,
                Err(error) => Err(error),
            };
            match renewal {
                Ok(revision) => {
                    *lease = Revised { revision, ..next };
                    *self.alive.lock().unwrap_or_else(PoisonError::into_inner) = Some(since);
                }
                Err(error) if error.is_conflict() => {
                    let Some(current) = self.made_after_all(&next.record).await else {
                        tracing::warn!(
                            lease = lease.record.name.as_str(),
                            "the lease was taken over"
                        );
                        return self.lose();
                    };
                    // Others may have seen it long ago: it counts as no sign of life, another does.
                    *lease = current;
                    tick.reset_immediately();
                }
                // The store does not answer: another try is due before the lease ends.
                Err(error) => {
                    warn_unless_outage!(
                        error,
                        lease = lease.record.name.as_str(),
                        "the lease is not renewed yet"
                    );
                }
            }
        }
    }
}

/// Whether a conflict is about this lease: the failed check is named in the error's data.
fn names_lease(error: &Error, name: &LeaseName) -> bool {
    error.kind() == Kind::Conflict
        && error.data().is_some_and(|data| {
            data["check"]["model_type_name"] == model::Lease::TYPE
                && data["check"]["key"] == name.as_str()
        })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_a_conflict_about_the_lease_names_it() {
        let check = |kind: &str, key: &str| json!({"check": {"model_type_name": kind, "key": key}});
        let conflict = |data: Value| Error::conflict("it was changed").with_data(data);
        let name = LeaseName::from("a");
        assert!(names_lease(&conflict(check("Lease", "a")), &name));
        for other in [
            conflict(check("Lease", "b")),
            conflict(check("Host", "a")),
            conflict(json!({})),
            Error::conflict("it was changed"),
            Error::unavailable("no answer").with_data(check("Lease", "a")),
        ] {
            assert!(!names_lease(&other, &name), "{other:?}");
        }
    }
}
