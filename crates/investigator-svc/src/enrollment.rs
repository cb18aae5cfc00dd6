//! Hosts that registered themselves: each joins its cluster once it is proven, and is removed when it has
//! not proven itself in time.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use bus::Error;
use bus::error::chain;
use jiff::Timestamp;
use model::{
    Address, ClusterHead, ClusterMember, ClusterName, Enrolled, Host, HostCreds, HostState, Lease,
    LeasePurpose, Stamp,
};
use storage_client::lease::Held;
use storage_client::{Revised, StorageClient, Transaction, queries};
use tokio::time::Instant;

use crate::context::Context;

/// Notes that a host has presented the key it announced and accepted the log-in. It joins the cluster of
/// its enrollment in the same write.
pub(crate) async fn prove(
    storage: &StorageClient,
    address: &str,
    held: &Held,
) -> Result<(), Error> {
    loop {
        let Some(state) = storage.find::<HostState>(address).await? else { return Ok(()) };
        let Some((cluster, transaction)) = proof(state)? else { return Ok(()) };
        let found = match cluster.as_str() {
            "" => None,
            name => storage.find::<ClusterHead>(name).await?,
        };
        let found = found.filter(|cluster| !cluster.record.is_deleting());
        let joined = found.is_some();
        let transaction = join(storage, transaction, found, address).await?;
        match held.transact(transaction).await {
            Ok(_) if joined || cluster.is_empty() => {
                tracing::info!(
                    host.address = address,
                    cluster.name = cluster.as_str(),
                    "the host has proven itself"
                );
                return Ok(());
            }
            Ok(_) => {
                tracing::warn!(
                    host.address = address,
                    cluster.name = cluster.as_str(),
                    "the host has proven itself, but its cluster is gone: it joins none"
                );
                return Ok(());
            }
            // Others join the same cluster: read it again.
            Err(error) if error.is_conflict() && held.check().is_ok() => {}
            Err(error) => return Err(error),
        }
    }
}

/// The cluster to join, and the mark taken off; `None` when there is nothing to prove.
fn proof(mut state: Revised<HostState>) -> Result<Option<(ClusterName, Transaction)>, Error> {
    let Some(enrolled) = state.record.enrolled.as_mut().filter(|enrolled| !enrolled.proven) else {
        return Ok(None);
    };
    enrolled.proven = true;
    let cluster = enrolled.cluster.clone();
    Ok(Some((cluster, Transaction::default().update(&state)?)))
}

async fn join(
    storage: &StorageClient,
    transaction: Transaction,
    cluster: Option<Revised<ClusterHead>>,
    address: &str,
) -> Result<Transaction, Error> {
    let Some(mut cluster) = cluster else { return Ok(transaction) };
    // A host of this address that was a member before, and whose other records are gone.
    if storage.find::<ClusterMember>(address).await?.is_some() {
        return Ok(transaction);
    }
    queries::join(transaction, &mut cluster, &[address])
}

/// Until when hosts must have proven themselves: the times of their registrations, and the deadlines by the monotonic
/// clock. A stamp is read once, when this process first sees it: a wall clock that is set removes no host.
#[derive(Debug, Default)]
pub(crate) struct Deadlines(Mutex<HashMap<Address, (Stamp, Instant)>>);

impl Deadlines {
    fn is_over(&self, address: &str, enrolled: &Enrolled, wall: Timestamp) -> bool {
        let now = Instant::now();
        let read = || (enrolled.since.clone(), now + enrolled.time_left(wall));
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let deadline = known.entry(address.into()).or_insert_with(read);
        if deadline.0 != enrolled.since {
            *deadline = read();
        }
        deadline.1 <= now
    }

    fn keep_only(&self, addresses: &[Address]) {
        let addresses: HashSet<_> = addresses.iter().collect();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|address, _| addresses.contains(address));
    }
}

/// Removes the hosts that should have proven themselves by now, whatever keeps them from it: a wrong
/// key, too. Nobody vouches for them. They may register again.
pub(crate) async fn sweep(
    context: &Context,
    deadlines: &Deadlines,
    hosts: &[Revised<Host>],
) -> Result<(), Error> {
    let storage = &context.storage;
    let unready: Vec<_> = hosts.iter().filter(|host| !host.record.status.is_ready()).collect();
    let addresses: Vec<_> = unready.iter().map(|host| host.record.address.clone()).collect();
    deadlines.keep_only(&addresses);
    if addresses.is_empty() {
        return Ok(());
    }
    let now = context.deps.clock.wall();
    let states = storage.get_many::<HostState>(&addresses).await?;
    for (host, state) in unready.into_iter().zip(states) {
        let Some(state) = state else { continue };
        let address = &host.record.address;
        let enrolled = state.record.enrolled.as_ref().filter(|enrolled| !enrolled.proven);
        if !enrolled.is_some_and(|enrolled| deadlines.is_over(address, enrolled, now)) {
            continue;
        }
        let removal = Transaction::default()
            .check::<Host>(address, Some(host.revision))
            // One that proves itself at this moment stays.
            .check::<HostState>(address, Some(state.revision))
            .delete::<Host>(address)
            .delete::<HostCreds>(address)
            .delete::<HostState>(address)
            // Whoever investigates it notices at the next write.
            .delete::<Lease>(&LeasePurpose::Investigation(address).name());
        match storage.transact(&removal).await {
            Ok(_) => tracing::warn!(
                host.address = address.as_str(),
                reason = state.record.reason,
                "removed: it registered itself, but has not proven itself in time"
            ),
            Err(error) if error.is_conflict() => {
                tracing::debug!(
                    host.address = address.as_str(),
                    error = chain(&error),
                    "it has changed: it stays"
                );
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
