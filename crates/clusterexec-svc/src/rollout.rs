//! The rollout of an operation: starts hosts within the disruption budget, and works on each until its end.

use std::collections::HashSet;

use bus::error::chain;
use bus::{Error, Result, warn_unless_outage};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use model::{Address, ClusterHead, Operation, OperationStatus, Step, WaitReason, abridged};
use storage_client::lease::Held;
use tokio::sync::{Notify, mpsc};

use crate::alarm::pause_in_alarms;
use crate::budget::Budget;
use crate::context::Context;
use crate::control::{self, CHECK_AGAIN, Gate, Purpose, gate};
use crate::host_run;
use crate::journal::{Journal, Preconditions};
use crate::schedule::{Next, next};
use crate::shared_budgets::{self, Decision};
use crate::steps::Steps;
use crate::waiting::{Ongoing, Waiting};

/// The reason of a skipped host that is no longer a member of the cluster.
const REMOVED: &str = "removed from the cluster";

/// The next action of a rollout.
#[derive(Debug)]
pub enum Action {
    /// Start the host at this index, under these preconditions.
    Start(usize, Preconditions),
    /// Have the turn of the host at this index after the others, for this reason.
    Postpone(usize, String),
    /// Wait for a host under way; with a reason also until that is over.
    Wait(Option<Waiting>),
    /// End the operation; with a reason if pending hosts are skipped for it.
    End(OperationStatus, String),
}

/// Carries an operation out, or continues it, until its end. When the daemon stops or the lease is lost, another executor
/// continues.
pub(crate) async fn run(context: &Context, held: &Held, operation: Operation, is_new: bool) {
    let id = operation.id.clone();
    let carried_out = async {
        let journal = if is_new {
            Journal::new(context, held, operation).with_nodes().await?
        } else {
            let journal = Journal::load(context, held, operation).await?;
            journal.note_take_over().await?;
            journal
        };
        roll_out(&journal).await
    };
    let ended = tokio::select! {
        ended = carried_out => ended,
        () = held.lost() => Err(Error::conflict("the lease was lost")),
        () = context.lifecycle.stopping() => {
            match held.hand_over().await {
                Ok(()) => tracing::info!(operation.id = id, "operation handed over"),
                Err(error) => warn_unless_outage!(error, operation.id = id, "operation not handed over"),
            }
            return;
        }
    };
    if let Err(error) = ended {
        tracing::warn!(
            operation.id = id,
            error = chain(&error),
            "operation left to another executor"
        );
    }
}

/// Starts hosts and works on them, both in this task: when it ends, nothing of it continues.
async fn roll_out(journal: &Journal<'_>) -> Result<()> {
    let budget = Budget::new(journal);
    let (start, mut started) = mpsc::unbounded_channel();
    let one_ended = Notify::new();
    for (index, step) in journal.steps().into_iter().enumerate() {
        if step.is_under_way() {
            start.send((index, true)).ok();
        }
    }
    let work = async {
        let mut hosts = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some((index, resumed)) = started.recv() => {
                    hosts.push(host_run::run(journal, &budget, index, resumed));
                }
                Some(ended) = hosts.next(), if !hosts.is_empty() => {
                    let ended: Result<()> = ended;
                    if let Err(error) = ended {
                        return error;
                    }
                    one_ended.notify_one();
                }
            }
        }
    };
    let plan = async {
        let mut wait = None;
        loop {
            match journal.retry(|| next_action(journal, &budget)).await? {
                Action::Start(index, preconditions) => {
                    if journal.start(index, &preconditions).await? {
                        wait = None;
                        start.send((index, false)).ok();
                    }
                }
                Action::Postpone(index, reason) => journal.postpone(index, &reason).await?,
                Action::Wait(waiting) => {
                    wait = if let Some(waiting) = waiting {
                        Some(note_wait(journal, wait.as_ref(), waiting).await?)
                    } else {
                        journal.end_wait().await?;
                        None
                    };
                    // Without a reason only a host changes anything.
                    let check_again = async {
                        match wait {
                            Some(_) => tokio::time::sleep(CHECK_AGAIN).await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        () = one_ended.notified() => {}
                        () = journal.host_waits.notified() => {}
                        () = check_again => {}
                    }
                }
                Action::End(status, reason) => {
                    let (status, reason) = budget.done_hosts.check_at_end(status, reason).await?;
                    return journal.end(status, &reason).await;
                }
            }
        }
    };
    tokio::select! {
        ended = plan => ended,
        error = work => Err(error),
        error = pause_in_alarms(journal) => Err(error),
    }
}

/// The next action, by the current records of the operation, of its control, and of the members of its cluster.
///
/// # Errors
/// When the lease is lost, or the storage service fails.
pub async fn next_action(journal: &Journal<'_>, budget: &Budget<'_>) -> Result<Action> {
    let cluster_revision = skip_removed(journal).await?;
    let operation = &journal.operation;
    let parallel = journal.context.config.parallel;
    let index = match journal.by_steps(|steps| next(operation, steps, parallel)) {
        Next::Turn(index) => index,
        Next::Wait => return Ok(Action::Wait(wait_of_hosts(journal).await?)),
        Next::Pause => return pause_for_drains(journal).await,
        Next::End(status) => {
            // Hosts may have been left because of an abort.
            if journal.by_steps(Steps::has_left)
                && let Gate::Aborted(by) = gate(journal, Purpose::Continue).await?
            {
                return Ok(Action::End(OperationStatus::Failed, by));
            }
            return Ok(Action::End(status, String::new()));
        }
    };
    let preconditions = match gate(journal, Purpose::TakeDown).await? {
        Gate::Open(preconditions) => {
            preconditions.with_cluster(&operation.cluster, cluster_revision)
        }
        Gate::Closed(waiting) => return Ok(Action::Wait(Some(waiting))),
        Gate::Aborted(_) if journal.by_steps(Steps::under_way) > 0 => {
            return Ok(Action::Wait(None));
        }
        Gate::Aborted(by) => return Ok(Action::End(OperationStatus::Failed, by)),
    };
    if let Some(left) = journal.deadlines.soak_left() {
        let message = format!("{} s until the next host", left.as_secs().max(1));
        return Ok(Action::Wait(Some(Waiting::new(WaitReason::Soak, message))));
    }
    let waiting = match budget.wait_reason(index).await? {
        Some(waiting) => Some(waiting),
        None => match shared_budgets::decide(journal, index).await? {
            Decision::Start(claims) => {
                return Ok(Action::Start(index, preconditions.with_claims(claims)));
            }
            Decision::Wait(waiting) => Some(waiting),
            Decision::Postpone(reason) => return Ok(Action::Postpone(index, reason)),
        },
    };
    Ok(match waiting {
        // Only hosts under way use the budget up: the end of the next one makes a place.
        Some(waiting) if waiting.reason == WaitReason::OthersUnderWay => Action::Wait(None),
        waiting => Action::Wait(waiting),
    })
}

/// Pauses the operation because the nodes of all hosts that are left could not be drained. Once it is resumed, they have
/// further turns.
async fn pause_for_drains(journal: &Journal<'_>) -> Result<Action> {
    match gate(journal, Purpose::TakeDown).await? {
        Gate::Open(_) => {}
        Gate::Closed(waiting) => return Ok(Action::Wait(Some(waiting))),
        Gate::Aborted(by) => return Ok(Action::End(OperationStatus::Failed, by)),
    }
    let reasons = journal.retry_exhausted().await?;
    let reasons = abridged(&reasons, "; ");
    let message = format!("only hosts are left whose nodes could not be drained: {reasons}");
    control::pause(journal, WaitReason::DrainPaused, &message).await?;
    Ok(Action::Wait(Some(Waiting::new(WaitReason::DrainPaused, message))))
}

/// The cause for which all hosts under way wait, if there is a common one: the rollout waits for the same.
async fn wait_of_hosts(journal: &Journal<'_>) -> Result<Option<Waiting>> {
    let Some(wait) = journal.common_wait() else { return Ok(None) };
    if let Gate::Closed(waiting) = gate(journal, Purpose::TakeDown).await? {
        return Ok(Some(waiting));
    }
    let is_budget = wait.reason == WaitReason::HostBudget.word();
    Ok(is_budget.then(|| Waiting::new(WaitReason::Budget, wait.detail)))
}

/// Skips pending hosts that are no longer members of the cluster. Returns the revision of the cluster that this is based
/// on: the transaction that starts a host checks it.
async fn skip_removed(journal: &Journal<'_>) -> Result<Option<u64>> {
    let operation = &journal.operation;
    let context = journal.context;
    let cluster = context.storage.find::<ClusterHead>(&operation.cluster).await?;
    // After the cluster: a member that leaves now raises its revision.
    let members = context.members_of(&operation.cluster).await?;
    let members: HashSet<&str> = members.iter().map(Address::as_str).collect();
    for (index, step) in journal.steps().into_iter().enumerate() {
        if step == Step::Pending && !members.contains(operation.hosts[index].as_str()) {
            journal.skip(index, REMOVED).await?;
        }
    }
    Ok(cluster.map(|cluster| cluster.revision))
}

/// Records a wait, with one event. One for the disruption budget that lasts too long, while no host is under way, pauses the operation.
async fn note_wait(
    journal: &Journal<'_>,
    before: Option<&Ongoing>,
    waiting: Waiting,
) -> Result<Ongoing> {
    let config = &journal.context.config;
    let wait = Ongoing::after(before, waiting);
    let is_overdue = wait.exceeds(config.webhook_waiting_after());
    journal.note_wait(&wait.waiting, wait.is_new, is_overdue).await?;
    let limit = config.room_timeout();
    let is_idle = journal.by_steps(Steps::under_way) == 0;
    if is_idle && let Some(reason) = wait.budget_exceeds(limit) {
        let code = WaitReason::BudgetTimeout;
        journal.retry(|| control::pause(journal, code, reason)).await?;
    }
    Ok(wait)
}

#[cfg(test)]
mod tests;
