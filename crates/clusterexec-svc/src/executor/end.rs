//! The end of an operation.

use service_core::Result;
use service_core::model::{
    HostProgress, Operation, OperationControl, OperationStatus, Outcome, Step,
};
use service_core::storage::Transaction;

use super::Execution;
use super::written::{event, save_record};
use crate::{late, webhook};

/// Hosts that are skipped in one write, each with its event: etcd takes 128 changes in one go.
const SKIPPED_AT_A_TIME: usize = 50;

impl Execution<'_> {
    /// Ends the operation: the final status and the release of the lock are one write. With a reason, hosts
    /// whose turn has not come are skipped for it before.
    ///
    /// # Errors
    /// When the lease is lost.
    pub(crate) async fn end(&self, status: OperationStatus, reason: &str) -> Result<()> {
        if !reason.is_empty() {
            self.skip_pending(reason).await?;
        }
        let _one_at_a_time = self.writing.lock().await;
        let hosts = self.state().hosts.clone();
        let ended = Operation {
            status,
            reason: reason.to_owned(),
            finished_at: Some(self.service.deps.clock.stamp()),
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
        let event = self.operation_event(outcome, &detail);
        self.or_store_again(|| async {
            let last = Transaction::default().save(&ended)?.save(&event)?;
            let mut last = save_record(last, &ended, &hosts)?.delete::<OperationControl>(&ended.id);
            if self.service.config.webhook_url.is_some() {
                last = last.save(&webhook::due(&ended.id))?;
            }
            if hosts.iter().any(late::may_come_back) {
                last = last.save(&late::due(&ended.id))?;
            }
            self.held.release(last).await
        })
        .await
    }

    /// Skips the hosts whose turn has not come, each with an event.
    async fn skip_pending(&self, reason: &str) -> Result<()> {
        let _one_at_a_time = self.writing.lock().await;
        let steps = self.steps().into_iter().enumerate();
        let pending = steps.filter(|(_, step)| *step == Step::Pending).map(|(index, _)| index);
        for part in pending.collect::<Vec<_>>().chunks(SKIPPED_AT_A_TIME) {
            let now = self.service.deps.clock.stamp();
            let skipped = part.iter().map(|index| HostProgress {
                step: Step::Skipped,
                finished_at: Some(now.clone()),
                skipped: Some(reason.to_owned()),
                ..self.host(*index)
            });
            let skipped: Vec<_> = skipped.collect();
            let step = Step::Pending.to_string();
            let last = self.state().events;
            let events = skipped.iter().zip(last + 1..).map(|(host, seq)| {
                let (address, outcome) = (&host.address, Outcome::Skipped);
                event(&self.operation, seq, &now, address, &step, outcome, reason)
            });
            let events: Vec<_> = events.collect();
            self.or_store_again(|| async {
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
                state.hosts[*index] = host;
            }
        }
        Ok(())
    }
}
