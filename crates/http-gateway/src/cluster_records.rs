//! The records of clusters and of their members, as handlers and changes read and write them.

use service_core::model::{Cluster, ClusterRecord, Host, Lease, OperationKind, Status};
use service_core::storage::{Revised, Transaction};
use service_core::{by_kind, queries};

use crate::api::Api;
use crate::error::ApiError;

/// The last transaction of a deletion, with the cluster's own records.
pub fn delete_records(transaction: Transaction, name: &str, revision: u64) -> Transaction {
    let cluster = transaction.check::<Cluster>(name, Some(revision)).delete::<Cluster>(name);
    OperationKind::ALL.iter().fold(
        cluster,
        |transaction, kind| by_kind!(*kind, W => transaction.delete::<ClusterRecord<W>>(name)),
    )
}

/// Refuses what may not happen while a change of the cluster is in progress.
///
/// # Errors
/// 409 with the change.
pub fn unchanging(cluster: &Cluster) -> Result<(), ApiError> {
    cluster.refusal().map_or(Ok(()), |refusal| Err(ApiError::conflict(refusal)))
}

/// A transaction that goes through only while no operation is in process on the cluster.
///
/// # Errors
/// 409 when there is one.
pub async fn not_under_operation(api: &Api, cluster: &str) -> Result<Transaction, ApiError> {
    if queries::operation_lease(&api.storage, cluster).await?.is_some() {
        return Err(ApiError::conflict(format!(
            "an operation is in process on the cluster {cluster}: wait until it has ended"
        )));
    }
    Ok(Transaction::default().check::<Lease>(&Lease::of_operation(cluster), None))
}

/// Adds to a transaction what becomes of a host that leaves its cluster: `active` turns into
/// `disassociated`, other statuses stay.
///
/// # Errors
/// When the record cannot be written as JSON.
pub fn leave(
    transaction: Transaction,
    host: Option<Revised<Host>>,
) -> Result<Transaction, ApiError> {
    match host {
        Some(mut host) if host.record.status == Status::Active => {
            host.record.status = Status::Disassociated;
            Ok(transaction.update(&host)?)
        }
        _ => Ok(transaction),
    }
}

/// The cluster of that name.
///
/// # Errors
/// 404 when there is none.
pub async fn found(api: &Api, name: &str) -> Result<Revised<Cluster>, ApiError> {
    api.storage.find::<Cluster>(name).await?.ok_or_else(|| missing(name))
}

/// The answer for a cluster that does not exist.
pub fn missing(name: &str) -> ApiError {
    ApiError::not_found(format!("there is no cluster {name}"))
}
