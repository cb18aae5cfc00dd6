//! The records of operations that have ended: how many are kept.

use bus::Result;
use model::{
    ClusterName, ClusterRecord, Lease, NewestOperation, Operation, OperationControl,
    OperationEvent, OperationHost, OperationStatus, OperationWait, Work, by_kind,
};
use storage_client::{StorageClient, Transaction};

use crate::unfinished::Unfinished;

/// Records that are removed at a time: etcd takes 128 changes in one go.
const AT_A_TIME: usize = 100;

/// How many events an operation has: they are numbered from 1, without gaps.
///
/// # Errors
/// When the storage service fails.
pub(crate) async fn count_events(storage: &StorageClient, operation: &str) -> Result<u64> {
    let (mut known, mut step) = (0, 1);
    // Up in ever larger steps, then halving what is between.
    while is_there(storage, operation, known + step).await? {
        known += step;
        step *= 2;
    }
    let mut missing = known + step;
    while missing - known > 1 {
        let middle = known + (missing - known) / 2;
        if is_there(storage, operation, middle).await? {
            known = middle;
        } else {
            missing = middle;
        }
    }
    Ok(known)
}

async fn is_there(storage: &StorageClient, operation: &str, seq: u64) -> Result<bool> {
    Ok(storage.find::<OperationEvent>(&OperationEvent::id_of(operation, seq)).await?.is_some())
}

/// Removes what is left of a cluster's operations but the newest `keep` that have ended. One that is removed
/// halfway is removed the next time: its head goes last.
///
/// # Errors
/// When the storage service fails.
pub(crate) async fn prune(
    storage: &StorageClient,
    cluster: &ClusterName,
    keep: usize,
) -> Result<()> {
    let all = storage.list::<Operation>().await?.into_iter().map(|operation| operation.record);
    let mut ended: Vec<_> =
        all.filter(|o| o.cluster == *cluster && o.status != OperationStatus::InProcess).collect();
    ended.sort_by(|a, b| (&b.started_at, &b.id).cmp(&(&a.started_at, &a.id)));
    for operation in ended.iter().skip(keep) {
        remove(storage, operation).await?;
    }
    Ok(())
}

/// Keeps the documented record of an operation that is the newest of its kind and is about to be removed.
async fn keep_record<W: Work>(storage: &StorageClient, operation: &Operation) -> Result<()> {
    let cluster = &operation.cluster;
    let newest = storage.find::<NewestOperation<W>>(cluster).await?;
    let Some(newest) = newest.filter(|newest| newest.record.operation == operation.id) else {
        return Ok(());
    };
    let record = storage.get::<ClusterRecord<W>>(cluster).await?.record;
    let kept = Transaction::default()
        .check::<NewestOperation<W>>(cluster, Some(newest.revision))
        .save(&record)?;
    match storage.transact(&kept).await {
        // A newer operation has begun.
        Err(error) if error.is_conflict() => Ok(()),
        kept => kept.map(drop),
    }
}

async fn remove(storage: &StorageClient, operation: &Operation) -> Result<()> {
    let id = &operation.id;
    // First what writes to it after its end.
    let late = Transaction::default().delete::<Lease>(&Unfinished::LateHosts(id).lease_name());
    storage.transact(&late).await?;
    by_kind!(operation.kind, W => keep_record::<W>(storage, operation).await?);
    for part in operation.hosts.chunks(AT_A_TIME) {
        let hosts = part.iter().fold(Transaction::default(), |transaction, address| {
            transaction.delete::<OperationHost>(&OperationHost::id_of(id, address))
        });
        storage.transact(&hosts).await?;
    }
    // The last first: what is left is still without gaps.
    let mut events = count_events(storage, id).await?;
    while events > 0 {
        let first = events.saturating_sub(AT_A_TIME as u64) + 1;
        let part = (first..=events).fold(Transaction::default(), |transaction, seq| {
            transaction.delete::<OperationEvent>(&OperationEvent::id_of(id, seq))
        });
        storage.transact(&part).await?;
        events = first - 1;
    }
    let head = Transaction::default()
        .delete::<OperationControl>(id)
        .delete::<OperationWait>(id)
        .delete::<Operation>(id);
    storage.transact(&head).await.map(drop)
}
