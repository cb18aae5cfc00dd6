//! Questions that several services ask of the records of clusters and operations.

use crate::model::{Alarm, Cluster, Freeze, Lease};
use crate::storage::Revised;
use crate::{Result, StorageClient};

/// The cluster that a host is a member of.
///
/// # Errors
/// When the storage service fails.
pub async fn cluster_of(
    storage: &StorageClient,
    address: &str,
) -> Result<Option<Revised<Cluster>>> {
    let clusters = storage.list::<Cluster>().await?;
    Ok(clusters.into_iter().find(|cluster| cluster.record.has(address)))
}

/// The lease of the operation that is in process on a cluster.
///
/// # Errors
/// When the storage service fails.
pub async fn operation_lease(
    storage: &StorageClient,
    cluster: &str,
) -> Result<Option<Revised<Lease>>> {
    storage.find::<Lease>(&Lease::of_operation(cluster)).await
}

/// The freeze, while operators have one in place.
///
/// # Errors
/// When the storage service fails.
pub async fn freeze(storage: &StorageClient) -> Result<Option<Freeze>> {
    Ok(storage.find::<Freeze>(Freeze::ALL).await?.map(|freeze| freeze.record))
}

/// The alarm that concerns a cluster: its own, its container manager's, or the fleet's.
///
/// # Errors
/// When the storage service fails.
pub async fn alarm(storage: &StorageClient, cluster: &str) -> Result<Option<Alarm>> {
    let alarms = storage.list::<Alarm>().await?;
    if alarms.is_empty() {
        return Ok(None);
    }
    let found = storage.find::<Cluster>(cluster).await?;
    let cluster = found.map_or_else(
        || Cluster { name: cluster.to_owned(), ..Cluster::default() },
        |found| found.record,
    );
    let alarms: Vec<_> = alarms.into_iter().map(|alarm| alarm.record).collect();
    Ok(Alarm::concerning(&alarms, &cluster).cloned())
}
