//! Carries an operation out, host after host.
//!
//! The record in the store is the truth: every step is saved before its effect, under the lease, and
//! whoever takes the operation over goes on from what is written there.

use std::time::Duration;

use service_core::error::chain;
use service_core::lease::Held;
use service_core::model::{
    Failure, Host, HostProgress, HostState, Operation, OperationKind, OperationStatus, Outcome,
    Step, work,
};
use service_core::storage::Transaction;
use service_core::{Error, Kind, Result};

use crate::restart;
use crate::rollout::{Next, next};
use crate::service::ClusterExec;

/// The pause before a write is tried again while the store does not answer.
const STORE_RETRY: Duration = Duration::from_millis(500);

/// The pause between looks whether statuses are still frozen.
const FROZEN_LOOK: Duration = Duration::from_secs(1);

/// Why a roll waits then.
const FROZEN: &str =
    "too many hosts are unreachable at once: it goes on when they can be reached again";

/// Why a host is given up.
pub(crate) struct GiveUp {
    /// One stable word.
    pub(crate) word: &'static str,
    /// A sentence for the operator.
    pub(crate) reason: String,
    /// The key that the host showed instead of the pinned one, if that is why.
    pub(crate) seen_key: String,
}

impl GiveUp {
    pub(crate) fn new(word: &'static str, reason: String) -> Self {
        Self { word, reason, seen_key: String::new() }
    }
}

/// An operation that this process carries out.
pub(crate) struct Execution<'a> {
    pub(crate) service: &'a ClusterExec,
    pub(crate) held: &'a Held,
    pub(crate) operation: Operation,
}

/// Adds the documented record of an operation to a transaction.
pub(crate) fn save_record(transaction: Transaction, operation: &Operation) -> Result<Transaction> {
    match operation.kind {
        OperationKind::Restart => transaction.save(&operation.record::<work::Restart>()),
        OperationKind::Upgrade => transaction.save(&operation.record::<work::Upgrade>()),
        OperationKind::Deploy => transaction.save(&operation.record::<work::Deploy>()),
    }
}

/// Carries an operation out to its end, or until the daemon stops or the lease is lost: then another
/// goes on.
pub(crate) async fn run(service: &ClusterExec, held: &Held, operation: Operation) {
    let id = operation.id.clone();
    let mut execution = Execution { service, held, operation };
    let ended = tokio::select! {
        ended = execution.roll() => ended,
        () = held.lost() => Err(Error::conflict("the lease was lost")),
        () = service.lifecycle.stopping() => {
            match held.hand_over().await {
                Ok(()) => tracing::info!(operation.id = id, "operation handed over"),
                Err(error) => tracing::warn!(operation.id = id, error = chain(&error), "operation not handed over"),
            }
            return;
        }
    };
    if let Err(error) = ended {
        tracing::warn!(operation.id = id, error = chain(&error), "left to another executor");
    }
}

impl Execution<'_> {
    async fn roll(&mut self) -> Result<()> {
        loop {
            match next(&self.operation) {
                Next::Host(index) => {
                    self.wait_while_frozen(index).await?;
                    restart::host(self, index).await?;
                }
                Next::End(status) => return self.end(status).await,
            }
        }
    }

    /// No host is begun while so many are unreachable that the fault is probably here.
    async fn wait_while_frozen(&mut self, index: usize) -> Result<()> {
        let mut waiting = false;
        while self.operation.hosts[index].step == Step::Pending {
            match self.service.is_frozen().await {
                Ok(false) => break,
                Ok(true) if waiting => {}
                Ok(true) => {
                    waiting = true;
                    self.log(index, Step::Pending, Outcome::Waiting, FROZEN);
                    self.save().await?;
                }
                Err(error) => self.wait_for_store(error).await?,
            }
            tokio::time::sleep(FROZEN_LOOK).await;
        }
        Ok(())
    }

    /// The final status and the release of the lock are one write.
    async fn end(&mut self, status: OperationStatus) -> Result<()> {
        self.operation.status = status;
        self.operation.finished_at = Some(self.service.deps.clock.stamp());
        loop {
            let last = self.records(Transaction::default())?;
            match self.held.release(last).await {
                Ok(()) => break,
                Err(error) => self.wait_for_store(error).await?,
            }
        }
        let Operation { id, cluster, .. } = &self.operation;
        tracing::info!(
            operation.id = id,
            cluster.name = cluster,
            ?status,
            "the operation has ended"
        );
        Ok(())
    }

    /// The host at `index`.
    pub(crate) fn host(&mut self, index: usize) -> &mut HostProgress {
        &mut self.operation.hosts[index]
    }

    /// Adds to the log of the operation, which is saved with the next step, and to the daemon's.
    pub(crate) fn log(&mut self, index: usize, step: Step, outcome: Outcome, detail: &str) {
        let address = self.operation.hosts[index].address.clone();
        tracing::info!(
            operation.id = self.operation.id,
            host.address = address,
            %step,
            ?outcome,
            detail,
            "step"
        );
        let now = self.service.deps.clock.stamp();
        self.operation.log(&now, &address, step, outcome, detail);
    }

    /// Saves the operation and its documented record. While the store does not answer it is tried
    /// again, as long as the lease lasts.
    ///
    /// # Errors
    /// When the lease is lost: nothing more may be done.
    pub(crate) async fn save(&self) -> Result<()> {
        loop {
            match self.held.transact(self.records(Transaction::default())?).await {
                Ok(_) => return Ok(()),
                Err(error) => self.wait_for_store(error).await?,
            }
        }
    }

    /// Gives a host up: the step, the reason and the host's own status in one write.
    pub(crate) async fn give_up(&mut self, index: usize, given_up: &GiveUp) -> Result<()> {
        let GiveUp { word, reason, seen_key } = given_up;
        let now = self.service.deps.clock.stamp();
        let host = self.host(index);
        let (address, step) = (host.address.clone(), host.step);
        host.step = Step::Failed;
        host.finished_at = Some(now);
        let failure =
            Failure { host: address.clone(), step: step.to_string(), reason: reason.clone() };
        host.failure = Some(failure);
        self.log(index, step, Outcome::Failed, reason);
        self.save_with_host(&address, |host, state| {
            state.fail(host, word, reason.clone(), seen_key);
        })
        .await
    }

    /// Saves the operation together with what has become of a host; a host that was deleted meanwhile
    /// is not made again.
    pub(crate) async fn save_with_host(
        &self,
        address: &str,
        change: impl Fn(&mut Host, &mut HostState),
    ) -> Result<()> {
        loop {
            let attempt = async {
                let mut transaction = self.records(Transaction::default())?;
                let storage = &self.service.storage;
                if let Some(mut host) = storage.find::<Host>(address).await? {
                    let state = storage.find::<HostState>(address).await?;
                    let mut state = state.map(|state| state.record).unwrap_or_default();
                    address.clone_into(&mut state.address);
                    host.record.last_check = self.service.deps.clock.stamp();
                    change(&mut host.record, &mut state);
                    transaction = transaction.update(&host)?.save(&state)?;
                }
                self.held.transact(transaction).await
            };
            match attempt.await {
                Ok(_) => return Ok(()),
                // Somebody else changed the host meanwhile: it is read again.
                Err(error) if error.is_conflict() && self.held.check().is_ok() => {}
                Err(error) => self.wait_for_store(error).await?,
            }
        }
    }

    fn records(&self, transaction: Transaction) -> Result<Transaction> {
        save_record(transaction.save(&self.operation)?, &self.operation)
    }

    /// Passes an error on, unless the store may answer again before the lease is lost.
    async fn wait_for_store(&self, error: Error) -> Result<()> {
        let may_heal = matches!(error.kind(), Kind::Unavailable | Kind::Timeout);
        if !may_heal || self.held.check().is_err() {
            return Err(error);
        }
        tracing::warn!(error = chain(&error), "the store does not answer, trying again");
        tokio::time::sleep(STORE_RETRY).await;
        Ok(())
    }
}
