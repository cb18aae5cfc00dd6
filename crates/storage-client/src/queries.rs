//! Questions that several services ask of the records of clusters and operations, and changes of members.

use crate::{Revised, StorageClient, Transaction};
use bus::Result;
use model::{
    Alarm, ClusterHead, ClusterMember, ClusterName, Freeze, Instance, Lease, LeasePurpose,
    Operation, OperationHost,
};
use runtime::random;

/// Parts of an operation that are read in one request: with the results of upgrades they are large.
const PARTS_PER_REQUEST: usize = 1000;

/// The membership of a host.
#[derive(Debug, Clone)]
pub struct Membership {
    /// The cluster, without its members.
    pub cluster: Revised<ClusterHead>,
    /// The host's own record of it.
    pub member: Revised<ClusterMember>,
}

/// The cluster that a host is a member of.
///
/// # Errors
/// When the storage service fails.
pub async fn cluster_of(storage: &StorageClient, address: &str) -> Result<Option<Membership>> {
    let Some(member) = storage.find::<ClusterMember>(address).await? else { return Ok(None) };
    let cluster = storage.find::<ClusterHead>(&member.record.cluster).await?;
    Ok(cluster.map(|cluster| Membership { cluster, member }))
}

/// Adds to a transaction that a host joins a cluster. It is rejected if the cluster has been changed since it was read,
/// or the host is a member of one by now; other hosts may join at the same time.
///
/// # Errors
/// When a record cannot be written as JSON.
pub fn join(
    transaction: Transaction,
    cluster: &mut Revised<ClusterHead>,
    addresses: &[&str],
) -> Result<Transaction> {
    let name = cluster.record.name.clone();
    let adapted = addresses.iter().filter(|address| cluster.record.follow_join(address)).count();
    let mut transaction = if adapted > 0 {
        transaction.update(cluster)?
    } else {
        transaction.check::<ClusterHead>(&name, Some(cluster.revision))
    };
    for address in addresses {
        let (address, cluster) = ((*address).into(), name.clone());
        transaction = transaction.create(&ClusterMember { address, cluster })?;
    }
    Ok(transaction)
}

/// Adds to a transaction that hosts leave their cluster, which raises the revision of the cluster. It is rejected if one
/// of these records has been changed since it was read.
///
/// # Errors
/// When a record cannot be written as JSON.
pub fn leave<'a>(
    transaction: Transaction,
    cluster: &mut Revised<ClusterHead>,
    members: impl IntoIterator<Item = &'a Revised<ClusterMember>>,
) -> Result<Transaction> {
    let mut transaction = transaction;
    for Revised { record: ClusterMember { address, .. }, revision } in members {
        cluster.record.follow_leave(address);
        transaction = transaction
            .check::<ClusterMember>(address, Some(*revision))
            .delete::<ClusterMember>(address);
    }
    transaction.update(cluster)
}

/// The identity of this installation, which is made where it is missing, as is the id of its generation.
///
/// # Errors
/// When the storage service fails.
pub async fn instance(storage: &StorageClient) -> Result<Instance> {
    loop {
        let found = storage.find::<Instance>(Instance::ALL).await?;
        let transaction = Transaction::default();
        let (instance, transaction) = match found {
            Some(found) if !found.record.generation_id.is_empty() => return Ok(found.record),
            // A version that knows no generations made it.
            Some(mut found) => {
                found.record.generation = found.record.generation.max(1);
                found.record.generation_id = random::uuid().to_string();
                let transaction = transaction.update(&found)?;
                (found.record, transaction)
            }
            None => {
                let new = Instance {
                    name: Instance::ALL.to_owned(),
                    id: random::uuid().to_string(),
                    generation: 1,
                    generation_id: random::uuid().to_string(),
                    restored: None,
                };
                let transaction = transaction.create(&new)?;
                (new, transaction)
            }
        };
        match storage.transact(&transaction).await {
            Ok(_) => return Ok(instance),
            // Another process was faster.
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error),
        }
    }
}

/// The parts of all hosts of an operation, in the order of their turns.
///
/// # Errors
/// When the storage service fails.
pub async fn hosts_of(
    storage: &StorageClient,
    operation: &Operation,
) -> Result<Vec<OperationHost>> {
    let mut hosts = operation.untouched();
    for part in hosts.chunks_mut(PARTS_PER_REQUEST) {
        let ids: Vec<_> = part.iter().map(|host| host.id.clone()).collect();
        for (host, found) in part.iter_mut().zip(storage.get_many(&ids).await?) {
            if let Some(Revised { record, .. }) = found {
                *host = record;
            }
        }
    }
    Ok(hosts)
}

/// The lease of the operation that is in process on a cluster.
///
/// # Errors
/// When the storage service fails.
pub async fn operation_lease(
    storage: &StorageClient,
    cluster: &ClusterName,
) -> Result<Option<Revised<Lease>>> {
    storage.find::<Lease>(&LeasePurpose::Operation(cluster).name()).await
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
pub async fn alarm(storage: &StorageClient, cluster: &ClusterName) -> Result<Option<Alarm>> {
    let alarms = storage.list::<Alarm>().await?;
    if alarms.is_empty() {
        return Ok(None);
    }
    let found = storage.find::<ClusterHead>(cluster).await?;
    let cluster = found.map_or_else(
        || ClusterHead { name: cluster.clone(), ..ClusterHead::default() },
        |found| found.record,
    );
    let alarms: Vec<_> = alarms.into_iter().map(|alarm| alarm.record).collect();
    Ok(Alarm::concerning(&alarms, &cluster).cloned())
}
