//! Continues an operation that ended before all of its hosts were done.

use std::collections::BTreeSet;

use bus::{Error, Result};
use model::{Address, Cluster, Operation, OperationStatus, Options, Step, ident};
use storage_client::{Revised, StorageClient, queries};

use crate::accept::OperationRequest;

/// The request for an operation on the hosts that `id` has left: of the same kind, with the same version and options.
///
/// # Errors
/// When there is no such operation, it may not be continued, nothing is left to do, or the storage service does not
/// answer.
pub(crate) async fn request(
    storage: &StorageClient,
    id: &str,
    retry_failed: bool,
) -> Result<OperationRequest> {
    let unknown = || Error::not_found(format!("there is no operation {id}"));
    ident::name(id).map_err(|_| unknown())?;
    let before = storage.find::<Operation>(id).await?.ok_or_else(unknown)?;
    may_continue(&before.record)?;
    let hosts = left(storage, &before.record, retry_failed).await?;
    let Revised { record: operation, .. } = &before;
    let hosts = hosts.iter().map(ToString::to_string).collect();
    let options = Options { hosts: Some(hosts), ..operation.options.clone() };
    Ok(OperationRequest {
        cluster: operation.cluster.clone(),
        kind: operation.kind,
        version: operation.version.clone(),
        options,
        continues: Some(before),
    })
}

fn may_continue(operation: &Operation) -> Result<()> {
    let Operation { id, kind, cluster, status, continued_by, .. } = operation;
    let why = match (status, continued_by) {
        (OperationStatus::InProcess, _) => {
            "is in process: wait for its end, or abort it".to_owned()
        }
        (OperationStatus::Finished, _) => {
            format!("has finished: start another {kind} instead")
        }
        (OperationStatus::Failed, Some(next)) => {
            format!("is continued by {next} already: continue that one")
        }
        (OperationStatus::Failed, None) => return Ok(()),
    };
    Err(Error::conflict(format!("the {kind} {id} of the cluster {cluster} {why}")))
}

/// The hosts of an operation that are not done and still members of its cluster.
async fn left(
    storage: &StorageClient,
    operation: &Operation,
    retry_failed: bool,
) -> Result<Vec<Address>> {
    let steps = queries::hosts_of(storage, operation).await?;
    let cluster = storage.find::<Cluster>(&operation.cluster).await?;
    let members: BTreeSet<_> = cluster.into_iter().flat_map(|c| c.record.hostset).collect();
    let is_left = |step| match step {
        Step::Done => false,
        Step::Failed => retry_failed,
        _ => true,
    };
    let failed = steps.iter().filter(|host| host.step == Step::Failed).count();
    let unfinished = steps.into_iter().filter(|host| is_left(host.step)).map(|host| host.address);
    let left: Vec<_> = unfinished
        .chain(operation.left_out.iter().cloned())
        .filter(|address| members.contains(address))
        .collect();
    if !left.is_empty() {
        return Ok(left);
    }
    let Operation { id, kind, .. } = operation;
    let hint = match failed {
        1.. if !retry_failed => {
            format!(", but {failed} failed: with retry_failed they are tried again")
        }
        _ => String::new(),
    };
    Err(Error::conflict(format!("the {kind} {id} has no host left to work on{hint}")))
}
