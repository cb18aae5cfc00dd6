//! The debts to uncordon nodes: each that is due is paid, for as long as it takes. One that is kept becomes due once others
//! have uncordoned or deleted its node.
//!
//! Every replica pays all of them. That is harmless: an uncordon is idempotent, and a debt is deleted by compare-and-swap.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bus::error::chain;
use bus::{Bus, Error, Kind, Result, warn_unless_outage};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use model::messages::{CordonAnswer, NodeRequest, UncordonRequest};
use model::{CordonDebt, DebtState, Instance, Model as _};
use runtime::random;
use runtime::retry::Schedule;
use storage_client::{Revised, StorageClient, Transaction};
use tokio::sync::Semaphore;

use crate::managers::Managers;

/// Debts that are paid concurrently.
const CONCURRENT: usize = 16;

/// The pause between two lists of all debts, in case that a notification was lost.
const LIST_AGAIN: Duration = Duration::from_mins(1);

/// The pause before the debts are subscribed to and listed again after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// The worker that pays debts.
#[derive(Debug)]
pub(crate) struct Debts {
    managers: Arc<Managers>,
    storage: StorageClient,
    /// Limits the debts that are paid concurrently.
    permits: Semaphore,
}

impl Debts {
    pub(crate) fn new(managers: Arc<Managers>, storage: StorageClient) -> Self {
        Self { managers, storage, permits: Semaphore::new(CONCURRENT) }
    }

    /// Pays debts without end.
    pub(crate) async fn pay_all(&self, bus: &Bus) {
        loop {
            match self.follow(bus).await {
                Ok(()) => tracing::debug!("changes of cordon debts may have been missed"),
                Err(error) => warn_unless_outage!(error, "cannot read the cordon debts"),
            }
            tokio::time::sleep(random::jitter(PAUSE)).await;
        }
    }

    /// Pays debts until notifications are lost or the storage service is unavailable.
    async fn follow(&self, bus: &Bus) -> Result<()> {
        let pattern = bus::topology::changed(CordonDebt::TYPE, "*");
        let mut changes = bus.subscribe(&pattern).await?;
        let mut lists = tokio::time::interval(LIST_AGAIN);
        let (mut payments, mut under_way) = (FuturesUnordered::new(), HashSet::new());
        let (mut checks, mut kept) = (FuturesUnordered::new(), HashMap::new());
        loop {
            let mut due = Vec::new();
            tokio::select! {
                _ = lists.tick() => {
                    let debts = self.storage.list::<CordonDebt>().await?;
                    // A debt is saved before its cordon is requested: it is checked when it has not changed for a while.
                    let known = std::mem::take(&mut kept);
                    for debt in debts.iter().filter(|debt| debt.record.state == DebtState::Kept) {
                        if known.get(&debt.record.id) == Some(&debt.revision) {
                            checks.push(self.check_kept(debt.clone()));
                        }
                        kept.insert(debt.record.id.clone(), debt.revision);
                    }
                    due.extend(debts.into_iter().map(|debt| debt.record).filter(is_due));
                }
                change = changes.next() => {
                    let Some(change) = change else { return Ok(()) };
                    // A notification of a deletion holds no state.
                    let debt = serde_json::from_value(change.params["model"].clone());
                    due.extend(debt.ok().filter(is_due));
                }
                Some(id) = payments.next() => {
                    under_way.remove(&id);
                }
                Some(()) = checks.next() => {}
            }
            if !due.is_empty() && !self.may_pay().await? {
                // They are listed again.
                continue;
            }
            for debt in due {
                if under_way.insert(debt.id.clone()) {
                    payments.push(self.pay(debt.id));
                }
            }
        }
    }

    /// Whether nodes are uncordoned. After a restore from a backup, a debt may be that of the former installation, which may
    /// work on the node again: it waits until this one has taken its hosts over.
    async fn may_pay(&self) -> Result<bool> {
        let instance = self.storage.find::<Instance>(Instance::ALL).await?;
        Ok(instance.is_none_or(|instance| instance.record.takes_over()))
    }

    /// Makes a kept debt due if its node is not cordoned for it any more; it is settled like every other then. Without an
    /// answer, it is checked again later.
    async fn check_kept(&self, mut debt: Revised<CordonDebt>) {
        if !matches!(self.is_cordoned(&debt.record).await, Ok(false)) {
            return;
        }
        let id = debt.record.id.clone();
        debt.record.state = DebtState::Due;
        let saved =
            async { self.storage.transact(&Transaction::default().update(&debt)?).await.map(drop) };
        if let Err(error) = saved.await {
            tracing::debug!(cordon_debt = id, error = chain(&error), "cordon debt not saved");
        }
    }

    /// Whether the node of a debt is cordoned, and has the owner of the debt.
    async fn is_cordoned(&self, debt: &CordonDebt) -> Result<bool> {
        let _permit = self.permits.acquire().await;
        let manager = self.managers.get(&debt.container_manager).await?;
        let kubernetes = manager.kubernetes()?;
        if kubernetes.id().await? != debt.kubernetes() {
            return Ok(true);
        }
        let request = NodeRequest {
            container_manager_name: debt.container_manager.clone(),
            node: debt.node.clone(),
            state: true,
            ..NodeRequest::default()
        };
        let state = kubernetes.node_contents(&request).await?.state;
        Ok(state.is_some_and(|state| {
            let is_same = state.uid == debt.node_uid && state.cordoned_by == debt.cordoned_by;
            state.unschedulable && is_same
        }))
    }

    /// Pays a debt until it is settled or not due any more; returns its id.
    async fn pay(&self, id: String) -> String {
        let mut pauses = Schedule::CORDON_DEBT.pauses();
        while let Err(error) = self.attempt(&id).await {
            tracing::debug!(cordon_debt = id, error = chain(&error), "cordon debt not settled");
            if !pauses.sleep().await {
                break;
            }
        }
        id
    }

    /// Uncordons the node of a debt and deletes the debt, if it is still due.
    async fn attempt(&self, id: &str) -> Result<()> {
        let found = self.storage.find::<CordonDebt>(id).await?;
        let Some(debt) = found.filter(|debt| is_due(&debt.record)) else { return Ok(()) };
        let permit = self.permits.acquire().await;
        let uncordoned = self.uncordon(&debt.record).await;
        drop(permit);
        match uncordoned {
            Ok(outcome) => self.settle(&debt, &outcome).await,
            Err(error) => {
                self.save_reason(debt, &error).await?;
                Err(error)
            }
        }
    }

    async fn uncordon(&self, debt: &CordonDebt) -> Result<CordonAnswer> {
        let name = &debt.container_manager;
        let manager = self.managers.get(name).await?;
        let kubernetes = manager.kubernetes()?;
        // In another Kubernetes the node would count as deleted.
        if kubernetes.id().await? != debt.kubernetes() {
            let message = format!("the container manager {name} reaches another Kubernetes now");
            return Err(Error::new(Kind::ContainerManager, message));
        }
        let request = UncordonRequest {
            container_manager_name: name.clone(),
            node: debt.node.clone(),
            uid: debt.node_uid.clone(),
            cordoned_by: debt.cordoned_by.clone(),
        };
        kubernetes.uncordon(&request).await
    }

    async fn settle(&self, debt: &Revised<CordonDebt>, outcome: &CordonAnswer) -> Result<()> {
        let CordonDebt { id, node, .. } = &debt.record;
        let transaction = Transaction::default().check::<CordonDebt>(id, Some(debt.revision));
        self.storage.transact(&transaction.delete::<CordonDebt>(id)).await?;
        let manager = &debt.record.container_manager;
        let how = match outcome {
            CordonAnswer::Done { warnings } if warnings.is_empty() => {
                "the node is uncordoned".to_owned()
            }
            CordonAnswer::Done { warnings } => {
                format!("the node is uncordoned, with warnings: {}", warnings.join("; "))
            }
            CordonAnswer::Foreign { state } => {
                format!("the cordon has another owner now, and stays: {}", state.cordon())
            }
            CordonAnswer::Missing => "the node was deleted".to_owned(),
        };
        tracing::info!(
            container_manager.name = manager,
            node.name = node,
            "cordon debt for node {node} settled: {how}"
        );
        Ok(())
    }

    /// Saves and logs why a debt is not paid yet, if that has changed.
    async fn save_reason(&self, mut debt: Revised<CordonDebt>, error: &Error) -> Result<()> {
        let reason = chain(error);
        if debt.record.reason == reason {
            return Ok(());
        }
        let CordonDebt { node, container_manager, .. } = &debt.record;
        warn_unless_outage!(
            error,
            container_manager.name = container_manager,
            node.name = node,
            "node {node} cannot be uncordoned yet"
        );
        debt.record.reason = reason;
        self.storage.transact(&Transaction::default().update(&debt)?).await.map(drop)
    }
}

fn is_due(debt: &CordonDebt) -> bool {
    debt.state == DebtState::Due
}
