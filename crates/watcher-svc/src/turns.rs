//! Hosts whose turn in an operation has come and is not over: only these are not watched. All others of the
//! cluster are, however long the operation takes.

use std::collections::HashSet;

use bus::Result;
use model::{ClusterRecord, HostProgress, Lease, OperationStatus, Work, each_kind, ident};
use storage_client::{StorageClient, Transaction, queries};

/// Hosts whose parts are read at a time.
const AT_A_TIME: usize = 1000;

/// The hosts under way in the operations that these leases are for. What the documented record of an
/// operation lists as in process is few, also in a large cluster; those that failed are among them.
pub(crate) async fn under_way(
    storage: &StorageClient,
    leases: &[Lease],
) -> Result<HashSet<String>> {
    let mut parts = Vec::new();
    for lease in leases {
        let cluster = lease.name.strip_prefix(Lease::OPERATION).unwrap_or_default();
        if ident::name(cluster).is_err() || ident::name(&lease.operation).is_err() {
            continue;
        }
        let hosts = each_kind!(W => in_process::<W>(storage, cluster).await?);
        let id = |host: &String| HostProgress::id_of(&lease.operation, host);
        parts.extend(hosts.iter().flatten().map(id));
    }
    let mut under_way = HashSet::new();
    for parts in parts.chunks(AT_A_TIME) {
        let found = storage.get_many::<HostProgress>(parts).await?.into_iter().flatten();
        let found = found.map(|found| found.record).filter(|host| host.step.is_under_way());
        under_way.extend(found.map(|host| host.address));
    }
    Ok(under_way)
}

async fn in_process<W: Work>(storage: &StorageClient, cluster: &str) -> Result<Vec<String>> {
    let record = storage.find::<ClusterRecord<W>>(cluster).await?.map(|found| found.record);
    let record = record.filter(|record| record.status == OperationStatus::InProcess);
    Ok(record.map(|record| record.in_process).unwrap_or_default())
}

/// The same transaction, if the host is not under way in an operation, and only while that is so; `None`
/// when it is: then its status is the executor's.
pub(crate) async fn unless_under_way(
    storage: &StorageClient,
    address: &str,
    transaction: Transaction,
) -> Result<Option<Transaction>> {
    let Some(cluster) = queries::cluster_of(storage, address).await? else {
        return Ok(Some(transaction));
    };
    let lock = Lease::of_operation(&cluster.cluster.record.name);
    let Some(lease) = storage.find::<Lease>(&lock).await? else {
        return Ok(Some(transaction.check::<Lease>(&lock, None)));
    };
    if ident::name(&lease.record.operation).is_err() {
        return Ok(None);
    }
    let id = HostProgress::id_of(&lease.record.operation, address);
    let part = storage.find::<HostProgress>(&id).await?;
    if part.as_ref().is_some_and(|part| part.record.step.is_under_way()) {
        return Ok(None);
    }
    Ok(Some(transaction.check::<HostProgress>(&id, part.map(|part| part.revision))))
}
