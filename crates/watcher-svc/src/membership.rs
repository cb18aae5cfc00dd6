//! Which watchers there are: each holds a lease of its own for as long as it lives.

use std::collections::HashSet;
use std::time::Duration;

use bus::{Error, Result};
use model::{Address, Lease, LeaseName, LeasePurpose};
use runtime::{Lifecycle, random};
use storage_client::lease::{Held, Leases};
use storage_client::{Revised, StorageClient, Transaction};

use crate::turns::Turns;

/// Our own lease, and what we have seen of the others'.
#[derive(Debug)]
pub(crate) struct Membership {
    name: LeaseName,
    storage: StorageClient,
    leases: Leases,
    held: Option<Held>,
    turns: Turns,
}

/// What the leases say.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The leases of watchers that may be alive.
    pub(crate) members: Vec<LeaseName>,
    /// Hosts whose turn in an operation has come and is not over.
    pub(crate) operated: HashSet<Address>,
}

impl Membership {
    pub(crate) fn new(storage: StorageClient, lifecycle: Lifecycle, ttl: Duration) -> Self {
        let id = random::uuid();
        let leases = Leases::new(storage.clone(), lifecycle, format!("watcher:{id}"), ttl);
        let name = LeasePurpose::Watcher(&id.to_string()).name();
        Self { name, storage, leases, held: None, turns: Turns::default() }
    }

    /// The name of our lease.
    pub(crate) fn name(&self) -> &LeaseName {
        &self.name
    }

    /// Whether the others take us for alive, for certain.
    pub(crate) fn is_held(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.check().is_ok())
    }

    /// Resolves when our lease is lost: they took us for dead.
    pub(crate) async fn lost(&self) {
        match &self.held {
            Some(held) => held.lost().await,
            None => std::future::pending().await,
        }
    }

    /// Gives up what is lost.
    pub(crate) fn drop_lost(&mut self) {
        self.held = None;
    }

    /// Looks at all leases, after taking our own where we have none; those of dead watchers are removed.
    pub(crate) async fn look(&mut self) -> Result<Seen> {
        if self.held.is_none() {
            self.held = self.leases.try_acquire(&self.name).await?;
        }
        let mut seen = Seen::default();
        let mut operations = Vec::new();
        for lease in self.storage.list::<Lease>().await? {
            let name = &lease.record.name;
            match name.purpose() {
                Some(LeasePurpose::Operation(_)) => operations.push(lease.record),
                Some(LeasePurpose::Watcher(_)) => {
                    let is_ours = *name == self.name;
                    let is_alive =
                        if is_ours { self.is_held() } else { self.leases.may_be_alive(&lease) };
                    if is_alive {
                        seen.members.push(name.clone());
                    } else if !is_ours {
                        self.remove(&lease).await?;
                    }
                }
                _ => {}
            }
        }
        seen.operated = self.turns.under_way(&self.storage, &operations).await?;
        Ok(seen)
    }

    async fn remove(&self, lease: &Revised<Lease>) -> Result<()> {
        let name = lease.record.name.as_str();
        let gone = Transaction::default().check::<Lease>(name, Some(lease.revision));
        match self.storage.transact(&gone.delete::<Lease>(name)).await {
            Ok(_) => tracing::warn!(lease = name, "a watcher is gone, its hosts are taken over"),
            // It has shown a sign of life after all, or another was faster.
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Carries out a transaction while our lease is held.
    ///
    /// # Errors
    /// As [`Held::transact`].
    pub(crate) async fn transact(&self, transaction: Transaction) -> Result<u64> {
        match &self.held {
            Some(held) => held.transact(transaction).await,
            None => Err(Error::conflict("the watcher holds no lease")),
        }
    }

    /// Leaves, with a last transaction: the others take over at once.
    ///
    /// # Errors
    /// When the lease cannot be given up; it then runs out by itself.
    pub(crate) async fn leave(&mut self, last: Transaction) -> Result<()> {
        match self.held.take() {
            Some(held) if held.check().is_ok() => held.release(last).await,
            _ => Ok(()),
        }
    }
}
