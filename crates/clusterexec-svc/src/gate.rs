//! Whether anything may be started now: operators pause and abort one operation, or freeze all of them, and an alarm
//! stops the operations that it concerns.

use service_core::Result;
use service_core::model::{Alarm, Cluster, Freeze, OperationControl, Wanted};
use service_core::storage::Transaction;

use crate::executor::Execution;

/// What may be started.
#[derive(Debug)]
pub(crate) enum Gate {
    /// Go on; what is written then must say so ([`Pass::guard`]).
    Open(Pass),
    /// Nothing for now; a sentence that says why.
    Closed(String),
    /// Nothing any more; who said so.
    Aborted(String),
}

/// What was seen when the way was free.
#[derive(Debug)]
pub(crate) struct Pass {
    id: String,
    control: Option<u64>,
    starts: bool,
    /// The cluster, and the revision that says who its members are.
    cluster: Option<(String, Option<u64>)>,
}

impl Pass {
    /// The same, good only as long as nobody changes the members of the cluster, which has this revision.
    pub(crate) fn while_cluster_is(self, name: &str, revision: Option<u64>) -> Self {
        Self { cluster: Some((name.to_owned(), revision)), ..self }
    }

    /// The transaction goes through only if the way is still free: so nothing starts once a pause, an
    /// abort or a freeze is acknowledged.
    pub(crate) fn guard(&self, transaction: Transaction) -> Transaction {
        let transaction = transaction.check::<OperationControl>(&self.id, self.control);
        let transaction = match &self.cluster {
            Some((name, revision)) => transaction.check::<Cluster>(name, *revision),
            None => transaction,
        };
        if self.starts { transaction.check::<Freeze>(Freeze::ALL, None) } else { transaction }
    }
}

impl Execution<'_> {
    /// Whether something may be started; with `starts` a further host, which a freeze forbids.
    ///
    /// # Errors
    /// When the storage service cannot say.
    pub(crate) async fn gate(&self, starts: bool) -> Result<Gate> {
        let (storage, id) = (&self.service.storage, &self.operation.id);
        let control = storage.find::<OperationControl>(id).await?;
        if let Some(said) = control.as_ref().map(|control| &control.record) {
            match said.wanted {
                Wanted::Abort => return Ok(Gate::Aborted(format!("aborted by {}", said.by))),
                Wanted::Pause => return Ok(Gate::Closed(paused(said))),
                Wanted::Run => {}
            }
        }
        if starts && let Some(freeze) = storage.find::<Freeze>(Freeze::ALL).await? {
            let Freeze { by, reason, .. } = freeze.record;
            let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            return Ok(Gate::Closed(format!("all rolls are frozen by {by}{why}")));
        }
        if starts && let Some(alarm) = self.service.alarm(&self.operation.cluster).await? {
            let Alarm { since, reason, .. } = alarm;
            return Ok(Gate::Closed(format!("an alarm has lasted since {since}: {reason}")));
        }
        let (id, control) = (id.clone(), control.map(|control| control.revision));
        Ok(Gate::Open(Pass { id, control, starts, cluster: None }))
    }

    /// Pauses the operation itself, with a reason, for an operator to see to it. False when an operator has paused or
    /// aborted it, which stays as it is.
    pub(crate) async fn pause(&self, reason: &str) -> Result<bool> {
        let service = self.service;
        let control = OperationControl {
            id: self.operation.id.clone(),
            wanted: Wanted::Pause,
            by: "clusterexec".to_owned(),
            at: service.deps.clock.stamp(),
            reason: reason.to_owned(),
        };
        let before = service.storage.find::<OperationControl>(&control.id).await?;
        if before.as_ref().is_some_and(|before| before.record.wanted != Wanted::Run) {
            return Ok(false);
        }
        let revision = before.map(|before| before.revision);
        let check = Transaction::default().check::<OperationControl>(&control.id, revision);
        match self.held.transact(check.save(&control)?).await {
            // An operator has just said something else.
            Err(error) if error.is_conflict() && self.held.check().is_ok() => Ok(false),
            result => result.map(|_| true),
        }
    }
}

fn paused(said: &OperationControl) -> String {
    if said.reason.is_empty() {
        return format!("paused by {}", said.by);
    }
    format!("paused: {}; resume it when that is seen to, or abort it", said.reason)
}
