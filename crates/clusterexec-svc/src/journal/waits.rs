//! What an operation and its hosts wait for, as records.

use bus::Result;
use model::{OperationEvent, OperationHost, OperationWait, Outcome, Wait, WaitReason};
use storage_client::Transaction;

use super::webhooks::save_all;
use super::{Journal, LogLine};
use crate::waiting::Waiting;

impl Journal<'_> {
    /// The wait of the first host under way, if all hosts under way wait.
    pub(crate) fn common_wait(&self) -> Option<Wait> {
        let state = self.state();
        if state.hosts.iter().any(OperationHost::is_worked_on) {
            return None;
        }
        state.hosts.iter().find(|host| host.step.is_under_way()).and_then(|host| host.wait.clone())
    }

    /// Records why the next command on a host is delayed, with an event if `is_new`. The next step or go-ahead of the
    /// host clears it.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(crate) async fn wait_for(
        &self,
        index: usize,
        waiting: &Waiting,
        is_new: bool,
    ) -> Result<()> {
        let (part, message) = (self.part(index), waiting.message.as_str());
        let event = [LogLine(part.step, Outcome::Waiting, message)];
        let lines = if is_new { &event[..] } else { &[] };
        if lines.is_empty() && part.waiting_for.as_deref() == Some(message) {
            return Ok(());
        }
        let wait = self.wait(part.wait.as_ref(), waiting.host_reason(), message);
        let change = |host: &mut OperationHost| {
            host.waiting_for = Some(message.to_owned());
            host.wait = Some(wait.clone());
        };
        self.save(index, change, lines).await?;
        self.host_waits.notify_one();
        Ok(())
    }

    /// A wait, which goes on if `before` has the same reason.
    pub(crate) fn wait(&self, before: Option<&Wait>, reason: WaitReason, detail: &str) -> Wait {
        let before = before.filter(|before| before.reason == reason.word());
        let since = before.map(|before| before.since.clone());
        Wait {
            reason: reason.word().to_owned(),
            detail: detail.to_owned(),
            since: since.unwrap_or_else(|| self.context.deps.clock.stamp()),
        }
    }

    /// Records what the rollout waits for, with an event if `is_new`; the webhook is called about a pause, and about a wait
    /// that `is_overdue`. The start of a host ends it.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(crate) async fn note_wait(
        &self,
        waiting: &Waiting,
        is_new: bool,
        is_overdue: bool,
    ) -> Result<()> {
        let _exclusive = self.writing.lock().await;
        let before = self.state().wait.clone();
        let before = before.as_ref();
        let last = before.map(|before| &before.wait);
        let mut wait = self.wait(last, waiting.reason, &waiting.message);
        if waiting.reason == WaitReason::Soak {
            // The seconds that are left change all the time.
            wait.detail.clear();
        }
        let reported = self.is_reported(before, &wait, is_overdue);
        let record = OperationWait { id: self.operation.id.clone(), wait, reported };
        if !is_new && before == Some(&record) {
            return Ok(());
        }
        let hosts = self.state().hosts.clone();
        let webhooks = self.wait_webhooks(before, Some(&record), &hosts).await?;
        let event = is_new.then(|| OperationEvent {
            reason: waiting.reason.word().to_owned(),
            ..self.operation_event(Outcome::Waiting, &waiting.message)
        });
        self.retry(|| async {
            let mut transaction = save_all(Transaction::default().save(&record)?, &webhooks)?;
            if let Some(event) = &event {
                transaction = transaction.save(event)?;
            }
            self.held.transact(transaction).await
        })
        .await?;
        self.announce(&webhooks);
        let mut state = self.state();
        state.wait = Some(record);
        if let Some(event) = event {
            state.events = event.seq;
        }
        Ok(())
    }

    /// Removes the record of what the rollout waits for, if there is one.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(crate) async fn end_wait(&self) -> Result<()> {
        let _exclusive = self.writing.lock().await;
        let (before, hosts) = {
            let state = self.state();
            (state.wait.clone(), state.hosts.clone())
        };
        if before.is_none() {
            return Ok(());
        }
        let webhooks = self.wait_webhooks(before.as_ref(), None, &hosts).await?;
        let ended = Transaction::default().delete::<OperationWait>(&self.operation.id);
        let ended = save_all(ended, &webhooks)?;
        self.retry(|| self.held.transact(ended.clone())).await?;
        self.announce(&webhooks);
        self.state().wait = None;
        Ok(())
    }
}
