//! The records of clusters and of their members, as handlers and changes read and write them.

use model::{
    Address, Cluster, ClusterHead, ClusterMember, ClusterName, ClusterRecord, Host, Lease,
    LeasePurpose, OperationKind, Status, by_kind,
};
use storage_client::{Revised, Transaction, queries};

use crate::api::Api;
use crate::error::ApiError;

/// The last transaction of a deletion, with the cluster's own records.
pub fn delete_records(transaction: Transaction, name: &ClusterName, revision: u64) -> Transaction {
    let cluster =
        transaction.check::<ClusterHead>(name, Some(revision)).delete::<ClusterHead>(name);
    OperationKind::ALL.iter().fold(
        cluster,
        |transaction, kind| by_kind!(*kind, W => transaction.delete::<ClusterRecord<W>>(name)),
    )
}

/// Refuses what may not happen while a change of the cluster is in progress.
///
/// # Errors
/// 409 with the change.
pub fn unchanging(cluster: &ClusterHead) -> Result<(), ApiError> {
    cluster.refusal().map_or(Ok(()), |refusal| Err(ApiError::conflict(refusal)))
}

/// A transaction that goes through only while no operation is in process on the cluster.
///
/// # Errors
/// 409 when there is one.
pub async fn not_under_operation(
    api: &Api,
    cluster: &ClusterName,
) -> Result<Transaction, ApiError> {
    if queries::operation_lease(&api.storage, cluster).await?.is_some() {
        return Err(ApiError::conflict(format!(
            "an operation is in process on the cluster {cluster}: wait until it has ended"
        )));
    }
    Ok(Transaction::default().check::<Lease>(&LeasePurpose::Operation(cluster).name(), None))
}

/// Adds to a transaction that hosts leave their cluster: `active` turns into `disassociated`, other statuses stay.
///
/// # Errors
/// When the storage service fails, or a record cannot be written as JSON.
pub async fn leave(
    api: &Api,
    transaction: Transaction,
    cluster: &mut Revised<ClusterHead>,
    addresses: &[Address],
) -> Result<Transaction, ApiError> {
    let members = api.storage.get_many::<ClusterMember>(addresses).await?.into_iter().flatten();
    let members: Vec<_> =
        members.filter(|member| member.record.cluster == cluster.record.name).collect();
    let mut transaction = queries::leave(transaction, cluster, &members)?;
    for host in api.storage.get_many::<Host>(addresses).await?.into_iter().flatten() {
        if host.record.status == Status::Active {
            let record = Host { status: Status::Disassociated, ..host.record };
            transaction = transaction.update(&Revised { record, ..host })?;
        }
    }
    Ok(transaction)
}

/// The cluster of that name, without its members.
///
/// # Errors
/// 404 if the cluster does not exist.
pub async fn head(api: &Api, name: &ClusterName) -> Result<Revised<ClusterHead>, ApiError> {
    api.storage.find::<ClusterHead>(name).await?.ok_or_else(|| ApiError::no_cluster(name))
}

/// The cluster of that name, with its members.
///
/// # Errors
/// 404 if the cluster does not exist.
pub async fn found(api: &Api, name: &ClusterName) -> Result<Cluster, ApiError> {
    let found = api.storage.find::<Cluster>(name).await?;
    Ok(found.ok_or_else(|| ApiError::no_cluster(name))?.record)
}
