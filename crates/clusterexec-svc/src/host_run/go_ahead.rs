//! A playbook whose command on the host waits for a go-ahead.
//!
//! First Ansible connects and starts its task on the host; then the decision is made; then the task gets its go-ahead
//! over a channel that is already open. The go-ahead is valid for a moment only. If this process ends or the connection
//! is lost, the task ends without running the command.

use std::collections::BTreeMap;
use std::time::Duration;

use bus::error::chain;
use host_access::{Playbook, PlaybookError, Session, Summary};
use model::{Address, FailureReason, WaitReason};
use runtime::random;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::drain::{evict_all, last_look};
use super::host::HostRun;
use super::node::wait;
use super::playbook::run_playbook;
use crate::budget::Decision;
use crate::host_error::{HostError, HostFailure};
use crate::shared_budgets;
use crate::waiting::Waiting;

/// The variable that names the go-ahead, and the key of the report of a playbook that did not get it.
const GO_AHEAD: &str = "commissaire_go_ahead";

/// How often in succession a go-ahead may arrive too late.
const LATE: usize = 10;

/// How old the last list of the pods on a node may be at the decision.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// The outcome of a playbook whose command waits for a go-ahead.
pub(super) enum Played {
    /// It ended.
    Ended(Result<Summary, PlaybookError>),
    /// Its command did not run; what to wait for before the next attempt.
    NotYet(Waiting),
}

/// The go-aheads of one host that arrived too late, in succession.
#[derive(Default)]
pub(super) struct Late(usize);

impl Late {
    /// Counts why a command did not run.
    ///
    /// # Errors
    /// The host has failed when too many go-aheads arrived too late.
    pub(super) fn count(&mut self, waiting: &Waiting, address: &str) -> Result<(), HostFailure> {
        self.0 = if waiting.reason == WaitReason::GoAheadMissed { self.0 + 1 } else { 0 };
        if self.0 < LATE {
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
        _ => run.budget.wait_for_turn(run.index, rejected).await,
    }
}

/// Waits for the task on the host, decides, and answers the task.
async fn give(run: &HostRun<'_>, session: &dyn Session, name: Uuid) -> Result<Answer, HostError> {
    let first_round = run.journal.retry(|| run.budget.answering());
    let (channel, answering) = tokio::join!(session.go_ahead(name), first_round);
    let answering = answering?;
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
        Decision::Go(decided) => (channel.give(uptime, decided).await, Answer::Given),
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
    let shared = run.journal.retry(|| shared_budgets::recheck(run.journal, run.index));
    let (on_node, shared) = tokio::join!(last_look(run), shared);
    if let Some(waiting) = on_node?.or(shared?) {
        return Ok(Decision::Wait(waiting));
    }
    let looked = Instant::now();
    let decision = run.journal.retry(|| run.budget.decide(run.index, answering)).await?;
    if run.part().node.is_some() && looked.elapsed() > LAST_LOOK {
        let message = "the list of the pods on its node was too old when the decision was made";
        return Ok(Decision::Wait(Waiting::new(WaitReason::GoAheadMissed, message)));
    }
    Ok(decision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_fails_when_its_go_ahead_is_late_for_the_tenth_time_in_succession() {
        let late = || Waiting::new(WaitReason::GoAheadMissed, "");
        let mut count = Late::default();
        for _ in 1..LATE {
            count.count(&late(), "10.0.0.1").unwrap();
        }
        count.count(&Waiting::new(WaitReason::Budget, ""), "10.0.0.1").unwrap();
        for _ in 1..LATE {
            count.count(&late(), "10.0.0.1").unwrap();
        }
        assert_eq!(count.count(&late(), "10.0.0.1").unwrap_err().code, FailureReason::GoAheadLate);
    }
}
