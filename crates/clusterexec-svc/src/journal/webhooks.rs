//! Events for the webhook: each is written in the transaction of the change that it reports.

use bus::{Error, Result};
use model::explain::{self, OperationFacts};
use model::{
    Operation, OperationControl, OperationHost, OperationStatus, OperationWait, PendingWebhook,
    Wait, WaitReason, WebhookEvent,
};
use serde_json::Value;
use storage_client::{Transaction, queries};

use super::Journal;

/// The event that a wait is reported as, if it is.
fn event_of(wait: &Wait) -> Option<WebhookEvent> {
    match WaitReason::from_word(&wait.reason)? {
        WaitReason::Paused
        | WaitReason::UnexpectedReboot
        | WaitReason::BudgetTimeout
        | WaitReason::AlarmTimeout
        | WaitReason::DrainPaused => Some(WebhookEvent::Paused),
        WaitReason::Frozen
        | WaitReason::Alarm
        | WaitReason::Budget
        | WaitReason::NodeBudget
        | WaitReason::ControlPlane
        | WaitReason::QuorumGroup
        | WaitReason::NodesUnknown => Some(WebhookEvent::Waiting),
        _ => None,
    }
}

/// The event that a wait was reported as.
fn reported(wait: Option<&OperationWait>) -> Option<WebhookEvent> {
    wait.filter(|wait| wait.reported).and_then(|wait| event_of(&wait.wait))
}

/// Adds pending webhooks to a transaction.
pub(super) fn save_all(
    transaction: Transaction,
    webhooks: &[PendingWebhook],
) -> Result<Transaction> {
    webhooks.iter().try_fold(transaction, Transaction::save)
}

/// Whether pods block the drain of a host.
pub(super) fn is_drain_blocked(host: &OperationHost) -> bool {
    host.wait.as_ref().is_some_and(|wait| wait.reason == WaitReason::DrainBlocked.word())
}

impl Journal<'_> {
    /// Reports that the drain of the first host is blocked, or that no drain is any more, after a change of the host `before`.
    pub(super) async fn drain_webhooks(
        &self,
        before: &OperationHost,
        hosts: &[OperationHost],
    ) -> Result<Vec<PendingWebhook>> {
        let blocked = hosts.iter().filter(|host| is_drain_blocked(host)).count();
        let is_resolved = match (is_drain_blocked(before), blocked) {
            (false, 1) => false,
            (true, 0) => true,
            _ => return Ok(Vec::new()),
        };
        let wait = self.state().wait.clone().map(|wait| wait.wait);
        let events = [(Some(WebhookEvent::DrainBlocked), is_resolved)];
        self.webhooks(&self.operation, hosts, wait.as_ref(), events).await
    }

    /// Whether the wait that follows `before` is reported: a pause is at once, and other waits are once they are overdue.
    pub(super) fn is_reported(
        &self,
        before: Option<&OperationWait>,
        wait: &Wait,
        is_overdue: bool,
    ) -> bool {
        let event = event_of(wait);
        let is_due = event == Some(WebhookEvent::Paused) || is_overdue;
        event.is_some() && (event == reported(before) || is_due && self.context.webhook.is_some())
    }

    /// The end of what `before` was reported as, and what `after` is reported as; nothing if both are the same.
    pub(super) async fn wait_webhooks(
        &self,
        before: Option<&OperationWait>,
        after: Option<&OperationWait>,
        hosts: &[OperationHost],
    ) -> Result<Vec<PendingWebhook>> {
        let (ended, begun) = (reported(before), reported(after));
        if ended == begun {
            return Ok(Vec::new());
        }
        let wait = after.map(|after| &after.wait);
        self.webhooks(&self.operation, hosts, wait, [(ended, true), (begun, false)]).await
    }

    /// The end of the operation, and of what its last wait was reported as.
    pub(super) async fn end_webhooks(
        &self,
        ended: &Operation,
        hosts: &[OperationHost],
    ) -> Result<Vec<PendingWebhook>> {
        let event = match ended.status {
            OperationStatus::Finished => WebhookEvent::Finished,
            _ => WebhookEvent::Failed,
        };
        let reported = reported(self.state().wait.as_ref());
        self.webhooks(ended, hosts, None, [(reported, true), (Some(event), false)]).await
    }

    /// Reports that this executor continues the operation.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(crate) async fn note_take_over(&self) -> Result<()> {
        let _exclusive = self.writing.lock().await;
        let (hosts, wait) = {
            let state = self.state();
            (state.hosts.clone(), state.wait.clone().map(|wait| wait.wait))
        };
        let events = [(Some(WebhookEvent::TakenOver), false)];
        let webhooks = self.webhooks(&self.operation, &hosts, wait.as_ref(), events).await?;
        if webhooks.is_empty() {
            return Ok(());
        }
        let written = save_all(Transaction::default(), &webhooks)?;
        self.retry(|| self.held.transact(written.clone())).await?;
        self.announce(&webhooks);
        Ok(())
    }

    /// Has pending webhooks delivered, once they are written.
    pub(super) fn announce(&self, webhooks: &[PendingWebhook]) {
        if !webhooks.is_empty() {
            self.context.pending_webhooks.notify_one();
        }
    }

    /// The events of an operation, each resolved or not; none if no webhook is configured.
    async fn webhooks(
        &self,
        operation: &Operation,
        hosts: &[OperationHost],
        wait: Option<&Wait>,
        events: impl IntoIterator<Item = (Option<WebhookEvent>, bool)>,
    ) -> Result<Vec<PendingWebhook>> {
        if self.context.webhook.is_none() {
            return Ok(Vec::new());
        }
        let explanation = self.explanation(operation, hosts, wait).await?;
        let events = events.into_iter().filter_map(|(event, resolved)| Some((event?, resolved)));
        let webhooks = events.map(|(event, resolved)| {
            PendingWebhook::operation(&operation.id, event, resolved, explanation.clone())
        });
        Ok(webhooks.collect())
    }

    /// The state of the operation and its reason, as `GET /explain` shows them.
    async fn explanation(
        &self,
        operation: &Operation,
        hosts: &[OperationHost],
        wait: Option<&Wait>,
    ) -> Result<Value> {
        let (context, id) = (self.context, &operation.id);
        let control = self.retry(|| context.storage.find::<OperationControl>(id)).await?;
        let freeze = self.retry(|| queries::freeze(&context.storage)).await?;
        let alarm = self.retry(|| context.alarm(&operation.cluster)).await?;
        let facts = OperationFacts {
            operation,
            hosts,
            control: control.as_ref().map(|control| &control.record),
            wait,
            freeze: freeze.as_ref(),
            alarm: alarm.as_ref(),
            has_executor: true,
        };
        let (_, explanation) = explain::operation(&facts);
        serde_json::to_value(explanation)
            .map_err(|e| Error::internal("cannot write the explanation as JSON").with_source(e))
    }
}
