//! The webhook: reports the end of an operation to a URL of the operator's.
//!
//! A pending delivery is a lease without a holder, written together with the end of the operation. The replica that
//! acquires it delivers; after a crash in between it is delivered again.

use std::time::Duration;

use host_access::backoff::Backoff;
use serde_json::json;
use service_core::model::{Failure, HostProgress, Operation, OperationStatus};
use service_core::{Result, StorageClient};
use url::Url;

use crate::web;

/// Timeout of one delivery.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Attempts before the delivery is dropped.
const ATTEMPTS: usize = 5;

/// Reports the end of an operation; false if all attempts have failed.
///
/// # Errors
/// When the storage service fails.
pub(crate) async fn deliver(storage: &StorageClient, url: &Url, id: &str) -> Result<bool> {
    let Some(operation) = storage.find::<Operation>(id).await? else { return Ok(true) };
    let operation = operation.record;
    let event = match operation.status {
        OperationStatus::InProcess => return Ok(true),
        OperationStatus::Finished => "finished",
        OperationStatus::Failed => "failed",
    };
    let failures = failures(storage, &operation).await?;
    let body = json!({"event": event, "operation": {
        "id": operation.id, "cluster": operation.cluster, "kind": operation.kind,
        "version": operation.version, "status": operation.status, "reason": operation.reason,
        "started_by": operation.started_by, "started_at": operation.started_at,
        "finished_at": operation.finished_at, "failures": failures,
    }});
    let mut pauses = Backoff::default();
    for _ in 0..ATTEMPTS {
        match web::post(url, &body, TIMEOUT).await {
            Ok(()) => return Ok(true),
            Err(problem) => {
                tracing::warn!(operation.id = id, problem, "the webhook did not take it");
            }
        }
        tokio::time::sleep(pauses.next_pause()).await;
    }
    Ok(false)
}

async fn failures(storage: &StorageClient, operation: &Operation) -> Result<Vec<Failure>> {
    let hosts = operation.untouched().into_iter().map(|host| host.id).collect::<Vec<_>>();
    let hosts = storage.get_many::<HostProgress>(&hosts).await?;
    Ok(hosts.into_iter().flatten().filter_map(|host| host.record.failure).collect())
}
