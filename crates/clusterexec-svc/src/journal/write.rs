//! One write: a change of a host's part with its events, its debt, its claims and what goes along, in a transaction.

use bus::{Error, Result};
use model::{
    BudgetClaims, CordonDebt, Host, HostState, Lease, LeasePurpose, OperationEvent, OperationHost,
    OperationWait,
};
use storage_client::Transaction;

use super::lines::{event, reason};
use super::webhooks::{is_drain_blocked, save_all};
use super::{Along, Journal, LogLine};
use crate::debts::DebtChange;

impl Journal<'_> {
    pub(super) async fn write(
        &self,
        index: usize,
        change: &(dyn Fn(&mut OperationHost) + Send + Sync),
        lines: &[LogLine<'_>],
        along: &Along<'_>,
    ) -> Result<()> {
        let _exclusive = self.writing.lock().await;
        if matches!(along, Along::Start(_)) && self.deadlines.soak_left().is_some() {
            return Err(Error::conflict("another host was done in the meantime"));
        }
        let (before, last) = {
            let state = self.state();
            (state.hosts[index].clone(), state.events)
        };
        let ended_wait = self.state().wait.clone().filter(|_| matches!(along, Along::Start(_)));
        let mut after = before.clone();
        change(&mut after);
        if after.step != before.step {
            after.waiting_for = None;
            after.wait = None;
        }
        let released = released_claims(&before, &mut after);
        let now = self.context.deps.clock.stamp();
        let events = lines.iter().zip(last + 1..).map(|(LogLine(step, outcome, detail), seq)| {
            let step = step.to_string();
            let event = event(&self.operation, seq, &now, &after.address, &step, *outcome, detail);
            OperationEvent { reason: reason(*outcome, &after), ..event }
        });
        let events: Vec<_> = events.collect();
        let debtor = self.nodes.as_ref().map(|nodes| &nodes.debtor);
        let debt = debtor.and_then(|debtor| debtor.change(&self.operation, &before, &after, &now));
        let mut webhooks = Vec::new();
        if ended_wait.is_some() || is_drain_blocked(&before) != is_drain_blocked(&after) {
            let hosts = self.hosts_with(index, &after);
            webhooks.extend(self.wait_webhooks(ended_wait.as_ref(), None, &hosts).await?);
            webhooks.extend(self.drain_webhooks(&before, &hosts).await?);
        }
        let written = self
            .retry(|| async {
                let mut transaction = part_saved(&before, &after, &events)?;
                transaction = match &debt {
                    None => transaction,
                    Some(DebtChange::Save(debt)) => transaction.save(debt)?,
                    Some(DebtChange::Delete(id)) => transaction.delete::<CordonDebt>(id),
                };
                for id in &released {
                    transaction = self.without_claim(transaction, id, &after.address).await?;
                }
                if ended_wait.is_some() {
                    transaction = transaction.delete::<OperationWait>(&self.operation.id);
                }
                transaction = save_all(transaction, &webhooks)?;
                self.held.transact(self.completed(transaction, &after.address, along).await?).await
            })
            .await;
        if let Err(error) = written
            && !(error.is_conflict() && self.is_written(&before, &after, &events).await?)
        {
            return Err(error);
        }
        for OperationEvent { host, step, outcome, detail, .. } in &events {
            let id = &self.operation.id;
            tracing::info!(
                operation.id = id,
                host.address = host.as_str(),
                step,
                ?outcome,
                detail,
                "step"
            );
        }
        self.announce(&webhooks);
        self.deadlines.update(index, &before, &after);
        let mut state = self.state();
        state.set(index, after);
        state.events = last + events.len() as u64;
        if ended_wait.is_some() {
            state.wait = None;
        }
        Ok(())
    }

    /// Whether a write that was rejected had been committed before: its first answer was lost, or the broker has
    /// delivered it twice.
    async fn is_written(
        &self,
        before: &OperationHost,
        after: &OperationHost,
        events: &[OperationEvent],
    ) -> Result<bool> {
        if self.held.check().is_err() {
            return Ok(false);
        }
        let storage = &self.context.storage;
        if let Some(event) = events.first() {
            let found = self.retry(|| storage.find::<OperationEvent>(&event.id)).await?;
            return Ok(found.is_some_and(|found| found.record == *event));
        }
        let found = self.retry(|| storage.find::<OperationHost>(&after.id)).await?;
        Ok(before != after && found.is_some_and(|found| found.record == *after))
    }

    /// The parts of all hosts, with another one at `index`.
    fn hosts_with(&self, index: usize, part: &OperationHost) -> Vec<OperationHost> {
        let mut hosts = self.state().hosts.clone();
        part.clone_into(&mut hosts[index]);
        hosts
    }

    /// Adds that a host gives a place in a budget back.
    async fn without_claim(
        &self,
        transaction: Transaction,
        id: &str,
        address: &str,
    ) -> Result<Transaction> {
        let found = self.context.storage.find::<BudgetClaims>(id).await?;
        let Some(mut found) = found else { return Ok(transaction) };
        found.record.release(address, &self.operation.id);
        transaction.update(&found)
    }

    /// Adds the checks and changes that go along.
    async fn completed(
        &self,
        transaction: Transaction,
        address: &str,
        along: &Along<'_>,
    ) -> Result<Transaction> {
        let (transaction, change) = match along {
            Along::Nothing => return Ok(transaction),
            Along::Preconditions(preconditions) | Along::Start(preconditions) => {
                return preconditions.check(transaction);
            }
            Along::Host(change) => (transaction, change),
            Along::LateHost(change) => {
                let lock = LeasePurpose::Operation(&self.operation.cluster).name();
                (transaction.check::<Lease>(&lock, None), change)
            }
        };
        let storage = &self.context.storage;
        let Some(mut host) = storage.find::<Host>(address).await? else { return Ok(transaction) };
        let state = storage.find::<HostState>(address).await?;
        let mut state = state.map(|state| state.record).unwrap_or_default();
        state.address = address.into();
        host.record.last_check = self.context.deps.clock.stamp();
        change(&mut host.record, &mut state);
        transaction.update(&host)?.save(&state)
    }
}

/// The ids of the claims that a host gives back with a change of its part.
fn released_claims(before: &OperationHost, after: &mut OperationHost) -> Vec<String> {
    if !before.step.is_under_way() || after.step.is_under_way() {
        return Vec::new();
    }
    std::mem::take(&mut after.claims)
}

/// A transaction of a host's part and its events.
fn part_saved(
    before: &OperationHost,
    after: &OperationHost,
    events: &[OperationEvent],
) -> Result<Transaction> {
    let mut transaction = Transaction::default();
    if before != after {
        transaction = transaction.save(after)?;
    }
    events.iter().try_fold(transaction, Transaction::save)
}
