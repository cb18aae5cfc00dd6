//! Tells a URL of the operator's how operations end.
//!
//! That somebody is to be told is a lease that nobody holds, written together with the end of the
//! operation: whoever takes it tells, and a crash in between only has it told again.

use std::time::Duration;

use host_access::backoff::Backoff;
use serde_json::json;
use service_core::model::{Failure, HostProgress, Lease, Operation, OperationStatus};
use service_core::{Result, StorageClient};
use url::Url;

use crate::web;

/// What the name of such a lease begins with; the operation's id follows.
pub(crate) const DUE: &str = "webhook.";

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How often it is tried before it is given up.
const TRIES: usize = 5;

/// The lease that says that somebody is to be told.
pub(crate) fn due(operation: &str) -> Lease {
    Lease { name: format!("{DUE}{operation}"), ..Lease::default() }
}

/// Tells about the end of an operation; false when nobody would listen.
///
/// # Errors
/// When the storage service does not answer.
pub(crate) async fn tell(storage: &StorageClient, url: &Url, id: &str) -> Result<bool> {
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
    for _ in 0..TRIES {
        match post(url, &body).await {
            Ok(()) => return Ok(true),
            // The address may hold a secret.
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

pub(crate) async fn post(url: &Url, body: &serde_json::Value) -> Result<(), String> {
    let client = web::client(TIMEOUT).map_err(|error| error.without_url().to_string())?;
    let answer = client.post(url.clone()).json(body).send().await;
    let status = answer.map_err(|error| error.without_url().to_string())?.status();
    if status.is_success() { Ok(()) } else { Err(format!("it answers {status}")) }
}
