//! The end of an operation.

use bus::Result;
use model::explain::end_reason;
use model::{
    Operation, OperationControl, OperationHost, OperationStatus, OperationWait, Outcome, Step,
};
use storage_client::Transaction;

use super::Journal;
use super::lines::{event, save_newest};
use super::webhooks::save_all;
use crate::host_error::may_come_back;
use crate::unfinished::Unfinished;

/// Hosts that are skipped in one transaction, each with its event: etcd's limit is 128 changes.
const SKIPPED_PER_WRITE: usize = 50;

impl Journal<'_> {
    /// Ends the operation: the final status and the release of the lease are one transaction. With a reason, pending
    /// hosts are skipped for it before.
    ///
    /// # Errors
    /// When the lease is lost.
    pub(crate) async fn end(&self, status: OperationStatus, reason: &str) -> Result<()> {
        if !reason.is_empty() {
            self.skip_pending(reason).await?;
        }
        let _exclusive = self.writing.lock().await;
        let hosts = self.state().hosts.clone();
        let ended = Operation {
            status,
            reason: reason.to_owned(),
            finished_at: Some(self.context.deps.clock.stamp()),
            ..self.operation.clone()
        };
        let done = hosts.iter().filter(|host| host.step == Step::Done).count();
        let (outcome, mut detail) = match status {
            OperationStatus::Finished => (Outcome::Ok, format!("{done} of {} done", hosts.len())),
            _ => (Outcome::Failed, format!("failed after {done} of {} hosts", hosts.len())),
        };
        if !reason.is_empty() {
            detail = format!("{detail}: {reason}");
        }
        let mut event = self.operation_event(outcome, &detail);
        if outcome == Outcome::Failed {
            end_reason(reason).word().clone_into(&mut event.reason);
        }
        let webhooks = self.end_webhooks(&ended, &hosts).await?;
        self.retry(|| async {
            let last = Transaction::default().save(&ended)?.save(&event)?;
            // Also says so of an operation that an earlier version has begun.
            let mut last = save_newest(last, &ended)?.delete::<OperationControl>(&ended.id);
            if self.state().wait.is_some() {
                last = last.delete::<OperationWait>(&ended.id);
            }
            last = save_all(last, &webhooks)?;
            if hosts.iter().any(may_come_back) {
                last = last.save(&Unfinished::LateHosts(&ended.id).lease())?;
            }
            self.held.release(last).await
        })
        .await?;
        self.announce(&webhooks);
        Ok(())
    }

    /// Skips the pending hosts, each with an event.
    async fn skip_pending(&self, reason: &str) -> Result<()> {
        let _exclusive = self.writing.lock().await;
        let steps = self.steps().into_iter().enumerate();
        let pending = steps.filter(|(_, step)| *step == Step::Pending).map(|(index, _)| index);
        for part in pending.collect::<Vec<_>>().chunks(SKIPPED_PER_WRITE) {
            let now = self.context.deps.clock.stamp();
            let skipped = part.iter().map(|index| OperationHost {
                step: Step::Skipped,
                finished_at: Some(now.clone()),
                skipped: Some(reason.to_owned()),
                ..self.part(*index)
            });
            let skipped: Vec<_> = skipped.collect();
            let step = Step::Pending.to_string();
            let last = self.state().events;
            let events = skipped.iter().zip(last + 1..).map(|(host, seq)| {
                let (address, outcome) = (&host.address, Outcome::Skipped);
                event(&self.operation, seq, &now, address, &step, outcome, reason)
            });
            let events: Vec<_> = events.collect();
            self.retry(|| async {
                let mut transaction = Transaction::default();
                for (host, event) in skipped.iter().zip(&events) {
                    transaction = transaction.save(host)?.save(event)?;
                }
                self.held.transact(transaction).await
            })
            .await?;
            let mut state = self.state();
            state.events += events.len() as u64;
            for (index, host) in part.iter().zip(skipped) {
                state.set(*index, host);
            }
        }
        Ok(())
    }
}
