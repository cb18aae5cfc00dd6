//! Delivers pending webhooks. The replica that acquires the lease of a record delivers it, and then deletes both in one
//! transaction. A crash in between leads to a second delivery with the same id.

use std::time::Duration;

use bus::{Result, warn_unless_outage};
use model::{Failure, Operation, PendingWebhook, WebhookSubject};
use runtime::retry::Schedule;
use serde_json::{Value, json};
use storage_client::lease::Held;
use storage_client::{Revised, StorageClient, Transaction, queries};
use tokio::time::sleep;

use crate::context::Context;
use crate::webhook::{Delivery, Webhook};

/// The pause between checks whether the freeze after a restore has been lifted.
const RESTORE_REVIEW: Duration = Duration::from_secs(5);

/// Delivers the record with this id, and each later one that replaces it in the meantime.
pub(crate) async fn run(context: &Context, held: &Held, id: &str) {
    let ended = tokio::select! {
        ended = deliver_all(context, held, id) => ended,
        () = held.lost() => return,
        () = context.lifecycle.stopping() => held.hand_over().await,
    };
    if let Err(error) = ended {
        warn_unless_outage!(
            error,
            webhook.id = id,
            "the delivery to the webhook is not recorded; it is repeated later"
        );
    }
}

async fn deliver_all(context: &Context, held: &Held, id: &str) -> Result<()> {
    while let Some(pending) = context.storage.find::<PendingWebhook>(id).await? {
        if let Some(webhook) = &context.webhook {
            while queries::freeze(&context.storage).await?.is_some_and(|freeze| freeze.restored) {
                // It may be about a state from before the backup: an operator has not reviewed it yet.
                sleep(RESTORE_REVIEW).await;
            }
            deliver(context, webhook, &pending).await?;
        }
        let last = Transaction::default()
            .check::<PendingWebhook>(id, Some(pending.revision))
            .delete::<PendingWebhook>(id);
        match held.release(last).await {
            // A later event has replaced it.
            Err(error) if error.is_conflict() && held.check().is_ok() => {}
            ended => return ended,
        }
    }
    held.release(Transaction::default()).await
}

/// Posts a record until the receiver accepts it, as often as [`Schedule::WEBHOOK`] says.
async fn deliver(
    context: &Context,
    webhook: &Webhook,
    pending: &Revised<PendingWebhook>,
) -> Result<()> {
    let Revised { record, revision } = pending;
    let Some(body) = body(&context.storage, record).await? else { return Ok(()) };
    let (id, body) = (format!("{}.{revision}", record.id), body.to_string());
    let delivery = Delivery { id: &id, event: record.event, body: &body };
    let mut pauses = Schedule::WEBHOOK.pauses();
    for attempt in 1.. {
        let now = context.deps.clock.wall();
        let Err(problem) = webhook.post(&context.web, &delivery, now).await else { return Ok(()) };
        tracing::warn!(webhook.delivery = id, attempt, problem, "delivery to the webhook failed");
        if !pauses.sleep().await {
            tracing::error!(
                webhook.delivery = id,
                "the event is dropped: all {attempt} deliveries to the webhook have failed"
            );
            break;
        }
    }
    Ok(())
}

/// The body; `None` if the operation is no longer kept.
async fn body(storage: &StorageClient, pending: &PendingWebhook) -> Result<Option<Value>> {
    let mut body = match &pending.about {
        WebhookSubject::Alarm(alarm) => json!({"alarm": alarm}),
        WebhookSubject::Operation { id, explanation } => {
            let Some(operation) = storage.find::<Operation>(id).await? else { return Ok(None) };
            let operation = operation.record;
            let failures = failures(storage, &operation).await?;
            json!({
                "operation": {
                    "id": operation.id, "cluster": operation.cluster, "kind": operation.kind,
                    "version": operation.version, "status": operation.status,
                    "reason": operation.reason, "started_by": operation.started_by,
                    "started_at": operation.started_at, "finished_at": operation.finished_at,
                    "failures": failures,
                },
                "state": explanation["state"],
                "explanation": explanation,
            })
        }
    };
    body["event"] = json!(pending.event);
    if let Some(resolved) = pending.resolved {
        body["resolved"] = json!(resolved);
    }
    Ok(Some(body))
}

async fn failures(storage: &StorageClient, operation: &Operation) -> Result<Vec<Failure>> {
    let hosts = queries::hosts_of(storage, operation).await?;
    Ok(hosts.into_iter().filter_map(|host| host.failure).collect())
}
