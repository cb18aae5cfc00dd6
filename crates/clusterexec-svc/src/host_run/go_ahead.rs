//! A playbook whose command on the host waits for a go-ahead.
//!
//! First Ansible connects and starts its task on the host; then the decision is made; then the task gets its go-ahead
//! over a channel that is already open. The go-ahead is valid for a moment only. If this process ends or the connection
//! is lost, the task ends without running the command.

use std::collections::BTreeMap;
use std::time::Duration;

use bus::error::chain;
use host_access::{Playbook, PlaybookError, Refusal, Session, Summary};
use model::{Address, FailureReason, WaitReason};
use runtime::random;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::drain::{evict_all, last_look};
use super::fence::{claim, fenced};
use super::host::HostRun;
use super::node::wait;
use super::playbook::run_playbook;
use crate::budget::Decision;
use crate::control;
use crate::host_error::{HostError, HostFailure};
use crate::shared_budgets;
use crate::waiting::Waiting;

/// The variable that names the go-ahead, and the key of the report of a playbook that did not get it.
const GO_AHEAD: &str = "commissaire_go_ahead";

/// How often in succession a go-ahead may arrive too late.
const LATE: usize = 10;

/// How old the last list of the pods on a node may be at the decision, from its request on.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// How often a list that is too old by the time of its answer is requested again, before the go-ahead is rejected.
const LOOKS: usize = 3;

/// The outcome of a playbook whose command waits for a go-ahead.
pub(super) enum Played {
    /// It ended.
    Ended(Result<Summary, PlaybookError>),
    /// Its command did not run; what to wait for before the next attempt.
    NotYet(Waiting),
}

/// The go-aheads of one host that were not given, in succession.
#[derive(Default)]
pub(super) struct Late {
    /// Those that arrived too late.
    missed: usize,
    /// Since when the API server has not answered, or too slowly.
    away_since: Option<Instant>,
}

impl Late {
    /// Counts why a command did not run.
    ///
    /// # Errors
    /// The host has failed when too many go-aheads arrived too late, and is postponed when its node could not be looked at
    /// for as long as a drain may take.
    pub(super) fn count(&mut self, waiting: &Waiting, run: &HostRun<'_>) -> Result<(), HostError> {
        let options = run.journal.operation.options.drain_options().cloned().unwrap_or_default();
        if self.is_away_for(options.timeout(), waiting.reason) {
            return Err(HostError::Postponed(waiting.message.clone()));
        }
        Ok(self.count_missed(waiting.reason, run.address())?)
    }

    /// Whether the API server has not answered, or too slowly, for so long.
    fn is_away_for(&mut self, allowed: Duration, reason: WaitReason) -> bool {
        if reason != WaitReason::KubernetesAway {
            self.away_since = None;
            return false;
        }
        self.away_since.get_or_insert_with(Instant::now).elapsed() >= allowed
    }

    fn count_missed(&mut self, reason: WaitReason, address: &str) -> Result<(), HostFailure> {
        self.missed = if reason == WaitReason::GoAheadMissed { self.missed + 1 } else { 0 };
        if self.missed < LATE {
            return Ok(());
        }
        let message = format!(
            "the go-ahead for {address} arrived too late {LATE} times, and its command did not run: see whether \
             the connection or this machine is overloaded, then start again"
        );
        Err(HostFailure::new(FailureReason::GoAheadLate, message))
    }
}

/// The answer to a task that waits for its go-ahead.
enum Answer {
    /// The go-ahead, or none because the host was lost: the end of the playbook shows which.
    Given,
    Rejected(Waiting),
    Aborted(String),
}

/// Plays `playbook`, and decides when its command is ready to run. A command that has run already does not ask.
pub(super) async fn play_with_go_ahead(
    run: &HostRun<'_>,
    session: &dyn Session,
    playbook: Playbook,
    vars: &Map<String, Value>,
    deadline: Duration,
) -> Result<Played, HostError> {
    let name = random::uuid();
    let mut vars = vars.clone();
    vars.insert(GO_AHEAD.to_owned(), json!(name.to_string()));
    run.journal.held.check()?;
    // Boxed, as both are large.
    let mut playing = Box::pin(run_playbook(run, session, playbook, &vars, deadline));
    let mut giving = Box::pin(give(run, session, name));
    let (result, answer) = tokio::select! {
        result = &mut playing => (result?, Answer::Given),
        // An error ends the playbook here; the task on the host ends without a go-ahead.
        answer = &mut giving => {
            let answer = answer?;
            (playing.await?, answer)
        }
    };
    let why = result.as_ref().ok().and_then(|summary| summary.data.get(GO_AHEAD));
    let Some(why) = why.and_then(Value::as_str) else { return Ok(Played::Ended(result)) };
    run.budget.wait(run.index);
    if let Some(refusal) = Refusal::find(why) {
        return Err(fenced(run, &refusal).await);
    }
    match answer {
        Answer::Aborted(by) => Err(HostError::Skipped(by)),
        Answer::Rejected(reason) => Ok(Played::NotYet(reason)),
        Answer::Given => {
            let detail = format!("{} did not get its go-ahead in time: {why}", session.address());
            Ok(Played::NotYet(Waiting::new(WaitReason::GoAheadMissed, detail)))
        }
    }
}

/// Waits until a rejected go-ahead may be asked for again; pods that are new on the node of the host are evicted first.
pub(super) async fn wait_for_turn(
    run: &mut HostRun<'_>,
    rejected: Waiting,
) -> Result<(), HostError> {
    match rejected.reason {
        WaitReason::Draining | WaitReason::KubernetesAway => {
            wait(run, &rejected).await?;
            Box::pin(evict_all(run)).await
        }
        WaitReason::NodeBudget
        | WaitReason::ControlPlane
        | WaitReason::QuorumGroup
        | WaitReason::NodesUnknown => wait_for_shared_budgets(run, rejected).await,
        _ => run.budget.wait_for_turn(run.index, rejected).await,
    }
}

/// Waits until the budgets that clusters share have a place for the host. A drained node does not stay cordoned for that
/// longer than a drain may take: it is postponed. Without a node, the operation is paused as for its own budget.
async fn wait_for_shared_budgets(run: &HostRun<'_>, rejected: Waiting) -> Result<(), HostError> {
    let options = run.journal.operation.options.drain_options().cloned().unwrap_or_default();
    let is_drained = run.part().node.is_some_and(|node| node.is_cordoned);
    let mut since = Instant::now();
    let mut waiting = rejected;
    loop {
        if is_drained && since.elapsed() >= options.timeout() {
            return Err(HostError::Postponed(waiting.message));
        }
        if !waiting.is_for_operations && since.elapsed() >= run.context().config.room_timeout() {
            let (code, message) = (WaitReason::BudgetTimeout, waiting.message.as_str());
            run.journal.retry(|| control::pause(run.journal, code, message)).await?;
            since = Instant::now();
        }
        wait(run, &waiting).await?;
        match run.journal.retry(|| shared_budgets::recheck(run.journal, run.index)).await? {
            shared_budgets::Decision::Start(_) => return Ok(()),
            shared_budgets::Decision::Wait(next) => waiting = next,
            shared_budgets::Decision::Postpone(reason) => return Err(HostError::Postponed(reason)),
        }
    }
}

/// Waits for the task on the host, decides, and answers the task.
async fn give(run: &HostRun<'_>, session: &dyn Session, name: Uuid) -> Result<Answer, HostError> {
    let first_round = run.journal.retry(|| run.budget.answering());
    let (channel, answering) = tokio::join!(session.go_ahead(name), first_round);
    let answering = answering?;
    // Before the decision, from which on every millisecond counts.
    let claim = claim(run).await?;
    let lost = |error| {
        let (address, error) = (session.address(), chain(&error));
        tracing::info!(host.address = address, error, "no channel for the go-ahead");
        Answer::Given
    };
    let mut channel = match channel {
        Ok(channel) => channel,
        Err(error) => return Ok(lost(error)),
    };
    run.budget.wait(run.index);
    let uptime = match channel.uptime().await {
        Ok(uptime) => uptime,
        Err(error) => return Ok(lost(error)),
    };
    let decision = decide(run, &answering).await?;
    let (sent, answer) = match decision {
        Decision::Go(decided) => (channel.give(uptime, decided, &claim).await, Answer::Given),
        Decision::Wait(reason) => (channel.refuse().await, Answer::Rejected(reason)),
        Decision::Abort(by) => (channel.refuse().await, Answer::Aborted(by)),
    };
    // A host that shuts down does not confirm the go-ahead.
    if let Err(error) = sent {
        tracing::debug!(host.address = session.address(), error = chain(&error), "not confirmed");
    }
    Ok(answer)
}

/// Decides by the node of the host, by the budgets that clusters share and by the one of the operation. Hosts answer faster
/// than an API server, so their part comes last: the go-ahead is valid for a moment from its end.
async fn decide(
    run: &HostRun<'_>,
    answering: &BTreeMap<Address, Duration>,
) -> Result<Decision, HostError> {
    for _ in 0..LOOKS {
        match run.journal.retry(|| shared_budgets::recheck(run.journal, run.index)).await? {
            shared_budgets::Decision::Start(_) => {}
            shared_budgets::Decision::Wait(waiting) => return Ok(Decision::Wait(waiting)),
            shared_budgets::Decision::Postpone(reason) => return Err(HostError::Postponed(reason)),
        }
        // The list is as old as its request: the API server may have made it long before its answer arrives.
        let requested = Instant::now();
        if let Some(waiting) = last_look(run).await? {
            return Ok(Decision::Wait(waiting));
        }
        let answered_after = requested.elapsed();
        let is_node = run.part().node.is_some();
        if is_node && answered_after > LAST_LOOK {
            continue;
        }
        let decision = run.journal.retry(|| run.budget.decide(run.index, answering)).await?;
        let is_go = matches!(decision, Decision::Go(_));
        if is_go && is_node && requested.elapsed() > LAST_LOOK {
            return Ok(Decision::Wait(too_old(answered_after)));
        }
        return Ok(decision);
    }
    Ok(Decision::Wait(too_slow()))
}

/// The list of the pods was too old when everything else was decided.
fn too_old(answered_after: Duration) -> Waiting {
    if answered_after > LAST_LOOK / 2 {
        return too_slow();
    }
    let message = "the list of the pods on its node was too old when the decision was made";
    Waiting::new(WaitReason::GoAheadMissed, message)
}

fn too_slow() -> Waiting {
    let message = format!(
        "the list of the pods on its node takes more than {} s: right before a reboot or an upgrade it has to be newer",
        LAST_LOOK.as_secs()
    );
    Waiting::new(WaitReason::KubernetesAway, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_fails_when_its_go_ahead_is_late_for_the_tenth_time_in_succession() {
        let mut late = Late::default();
        let mut count = |reason| late.count_missed(reason, "10.0.0.1");
        for _ in 1..LATE {
            count(WaitReason::GoAheadMissed).unwrap();
        }
        count(WaitReason::Budget).unwrap();
        for _ in 1..LATE {
            count(WaitReason::GoAheadMissed).unwrap();
        }
        let failure = count(WaitReason::GoAheadMissed).unwrap_err();
        assert_eq!(failure.code, FailureReason::GoAheadLate);
    }
}
