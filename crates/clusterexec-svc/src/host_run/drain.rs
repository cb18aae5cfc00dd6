//! The step `drain`: pods that other nodes can run are evicted from the node of the host, and its volumes are detached.
//!
//! - `evictions`: which pods are evicted next, and why the others are still there (pure)
//! - `last_look`: whether the node is still drained, right before the reboot of its host
//! - `workloads`: how many ready pods the controllers of the evicted pods had

mod evictions;
mod last_look;
mod workloads;

use std::time::Duration;

use model::messages::{CordonAnswer, CordonRequest, Eviction, NodeRequest};
use model::stamp::left;
use model::{
    DrainOptions, FailureReason, HostNode, NodeState, OnDrainTimeout, OperationHost, Outcome,
    PodState, Stamp, Step, WaitReason,
};
use runtime::random;
use tokio::time::Instant;

use super::done::save_drained;
use super::fence::confirm;
use super::host::HostRun;
use super::node::{missing, wait};
use crate::control::{Gate, Purpose, enter, gate};
use crate::host_error::{HostError, HostFailure};
use crate::journal::{HostNodes, LogLine};
use crate::nodes::NodesError;
pub(crate) use evictions::{Evictions, Round};
pub(super) use last_look::last_look;
use workloads::save_workloads;

/// The pause between two lists of the pods on a node.
const LIST_AGAIN: Duration = Duration::from_secs(1);

/// Every this many lists of pods, the state of the node is read in place of them.
const NODE_EVERY: u32 = 10;

/// The pause between two writes of what a drain waits for, unless it becomes blocked.
const WRITE_AGAIN: Duration = Duration::from_secs(5);

/// How often the claim to the host is made again: another installation may take it over while it is drained.
const CLAIM_AGAIN: Duration = Duration::from_mins(1);

/// What a pod gets beyond its grace period, before the drain ends.
const AFTER_GRACE: Duration = Duration::from_mins(1);

/// How long the kubelet of a node has to be silent before its pods are not waited for.
const UNREACHABLE_AFTER: Duration = Duration::from_mins(5);

/// Drains the node, and saves the step that follows.
pub(super) async fn drain(run: &mut HostRun<'_>) -> Result<(), HostError> {
    // A connection from before the drain may be lost by now.
    run.session = None;
    evict_all(run).await?;
    if !run.journal.operation.kind.facts().reboots {
        return save_drained(run).await;
    }
    if run.journal.operation.kind.facts().applies {
        return super::apply::apply(run).await;
    }
    let change = |host: &mut OperationHost| host.step = Step::Reboot;
    let lines =
        [LogLine(Step::Drain, Outcome::Ok, "drained"), LogLine(Step::Reboot, Outcome::Started, "")];
    enter(run.journal, run.index, change, &lines).await
}

/// Evicts pods until none is left that has to go, and waits for the volumes of the node.
pub(super) async fn evict_all(run: &mut HostRun<'_>) -> Result<(), HostError> {
    if run.part().node.is_some_and(|node| node.is_forced) {
        return Ok(());
    }
    let options = run.journal.operation.options.drain_options().cloned().unwrap_or_default();
    let mut drain = Drain::new(run, options);
    drain.check_node(run).await?;
    let ended = match drain.evict_pods(run).await {
        Ok(()) => drain.await_volumes(run).await,
        ended => ended,
    };
    run.evictions = drain.evictions;
    ended
}

/// Whether the node is the one of this turn, and cordoned by this operation, or by others as before.
fn is_cordoned(run: &HostRun<'_>, nodes: &HostNodes, node: &HostNode, state: &NodeState) -> bool {
    let is_ours = state.cordoned_by == nodes.debtor.owner(&run.journal.operation.id);
    state.uid == node.uid && state.unschedulable && (node.was_cordoned || is_ours)
}

/// A drain in process.
struct Drain {
    options: DrainOptions,
    evictions: Evictions,
    /// When this process has begun or continued it.
    since: Instant,
    /// When the claim to the host was last made.
    claimed: Instant,
    /// The time that had passed before.
    passed: Duration,
    /// When its state was last written.
    written: Option<Instant>,
    /// Why it was last found to be blocked.
    blocked_by: Option<WaitReason>,
    /// Whether there was an event that controllers of evicted pods are not waited for.
    is_uncounted: bool,
}

impl Drain {
    fn new(run: &mut HostRun<'_>, options: DrainOptions) -> Self {
        // New pods right before the reboot get the whole time again.
        let began = run.part().node.and_then(|node| node.drain_began);
        let began = began.filter(|_| run.part().step == Step::Drain);
        let now = run.context().deps.clock.wall();
        let longest = Duration::from_hours(24 * 365);
        let passed = began.as_ref().and_then(Stamp::timestamp);
        let passed = passed
            .map_or(Duration::ZERO, |began| longest.saturating_sub(left(now, began, longest)));
        let evictions = std::mem::take(&mut run.evictions);
        Self {
            options,
            evictions,
            since: Instant::now(),
            claimed: Instant::now(),
            passed,
            written: None,
            blocked_by: None,
            is_uncounted: false,
        }
    }

    fn has_exceeded(&self, allowed: Duration) -> bool {
        self.passed + self.since.elapsed() >= allowed
    }

    /// Checks that the host is still ours, and its node cordoned. One that others have uncordoned is cordoned again, once in a turn.
    async fn check_node(&mut self, run: &HostRun<'_>) -> Result<(), HostError> {
        let Some((nodes, node)) = run.node() else { return Ok(()) };
        if self.claimed.elapsed() >= CLAIM_AGAIN {
            confirm(run).await?;
            self.claimed = Instant::now();
        }
        let request =
            NodeRequest { node: node.name.clone(), state: true, ..NodeRequest::default() };
        let state = match nodes.client.node(request).await {
            Ok(contents) => contents.state,
            // The list of the pods is tried again, and shows it.
            Err(NodesError::Away { .. }) => return Ok(()),
            Err(error) => return Err(HostError::Postponed(error.message().to_owned())),
        };
        let Some(state) = state.filter(|state| state.uid == node.uid) else {
            run.save_node(|node| node.is_cordoned = false, &[]).await?;
            return Err(missing(run, &node).into());
        };
        self.evictions.is_unreachable = !state.is_ready && is_silent(run, &state);
        if is_cordoned(run, nodes, &node, &state) {
            return Ok(());
        }
        if node.was_uncordoned || node.was_cordoned || state.unschedulable {
            let reason = format!("the cordon of the node {} was removed by others", node.name);
            return Err(HostError::Postponed(reason));
        }
        let detail =
            format!("the node {} was uncordoned by others; it is cordoned again", node.name);
        let line = [LogLine(Step::Drain, Outcome::Waiting, &detail)];
        run.save_node(|node| node.was_uncordoned = true, &line).await?;
        let request = CordonRequest {
            node: node.name.clone(),
            uid: node.uid.clone(),
            cordoned_by: nodes.debtor.owner(&run.journal.operation.id),
            ..CordonRequest::default()
        };
        match nodes.client.cordon(request).await {
            Ok(CordonAnswer::Done { .. }) | Err(NodesError::Away { .. }) => Ok(()),
            Ok(CordonAnswer::Foreign { state }) => {
                Err(HostError::Postponed(format!("the node {} is {}", node.name, state.cordon())))
            }
            Ok(CordonAnswer::Missing) => Err(missing(run, &node).into()),
            Err(error) => Err(HostError::Postponed(error.message().to_owned())),
        }
    }

    async fn evict_pods(&mut self, run: &HostRun<'_>) -> Result<(), HostError> {
        let Some((nodes, node)) = run.node() else { return Ok(()) };
        let mut lists = 0;
        let mut grace_period = node.grace_period;
        loop {
            lists += 1;
            if lists % NODE_EVERY == 0 {
                self.check_node(run).await?;
            }
            self.until_resumed(run).await?;
            let message = match self.list(nodes, &node).await {
                Err(NodesError::Away { message, .. }) => Err(message),
                Err(error) => return Err(HostError::Postponed(error.message().to_owned())),
                Ok(pods) => {
                    Ok(self.evictions.next(&pods, &self.options, Instant::now()).also(pods))
                }
            };
            let sentence = match message {
                Ok((round, _)) if round.is_done() => return Ok(()),
                Ok((round, pods)) => {
                    if lists == 1 && !round.blockers.is_empty() {
                        return Err(HostError::Postponed(round.sentence(&node.name)));
                    }
                    if round.grace_period > grace_period {
                        grace_period = round.grace_period;
                        run.save_node(|node| node.grace_period = grace_period, &[]).await?;
                    }
                    self.evict(run, nodes, &round, &pods).await?;
                    let sentence = round.sentence(&node.name);
                    let is_blocked = round.is_blocked();
                    let reason =
                        if is_blocked { WaitReason::DrainBlocked } else { WaitReason::Draining };
                    self.write(run, reason, &sentence, is_blocked).await?;
                    sentence
                }
                Err(message) => {
                    let sentence = format!("drain of node {}: {message}", node.name);
                    self.write(run, WaitReason::KubernetesAway, &sentence, true).await?;
                    sentence
                }
            };
            if self.has_exceeded(allowed_time(self.options.timeout(), grace_period)) {
                return self.time_out(run, &sentence).await;
            }
            tokio::time::sleep(LIST_AGAIN).await;
        }
    }

    /// Waits while the operation is paused; that time does not count.
    async fn until_resumed(&mut self, run: &HostRun<'_>) -> Result<(), HostError> {
        let begun = Instant::now();
        until_resumed(run).await?;
        self.since += begun.elapsed();
        Ok(())
    }

    async fn list(&self, nodes: &HostNodes, node: &HostNode) -> Result<Vec<PodState>, NodesError> {
        let request = NodeRequest {
            node: node.name.clone(),
            pods: true,
            skip_selector: self.options.skip_selector.clone(),
            ..NodeRequest::default()
        };
        Ok(nodes.client.node(request).await?.pods)
    }

    /// Requests the evictions of a round. The ready pods of their controllers are saved before.
    async fn evict(
        &mut self,
        run: &HostRun<'_>,
        nodes: &HostNodes,
        round: &Round,
        pods: &[PodState],
    ) -> Result<(), HostError> {
        if round.evict.is_empty() {
            return Ok(());
        }
        let uncounted = save_workloads(run, nodes, round, pods).await?;
        if let Some(problem) = uncounted.filter(|_| !self.is_uncounted) {
            self.is_uncounted = true;
            let detail = format!("controllers of evicted pods are not waited for: {problem}");
            run.log(&[LogLine(Step::Drain, Outcome::Waiting, &detail)]).await?;
        }
        run.journal.held.check()?;
        let now = Instant::now();
        // Before the answer: without one, the request may have been carried out.
        self.evictions.note(&round.evict, &[], now, random::fraction());
        match nodes.client.evict(round.evict.clone()).await {
            Ok(outcomes) => {
                self.evictions.note(&round.evict, &outcomes, now, random::fraction());
                let mut outcomes = outcomes.into_iter();
                // Only an administrator can change that: the node is not kept cordoned until then.
                let denied = outcomes.find_map(|outcome| match outcome {
                    Eviction::Denied { message } => Some(message),
                    _ => None,
                });
                denied.map_or(Ok(()), |message| {
                    let node = run.part().node.map(|node| node.name).unwrap_or_default();
                    Err(HostError::Postponed(format!("drain of node {node}: {message}")))
                })
            }
            Err(NodesError::Away { .. }) => Ok(()),
            Err(error) => Err(HostError::Postponed(error.message().to_owned())),
        }
    }

    /// Waits until the volumes are detached that no staying pod uses.
    async fn await_volumes(&mut self, run: &HostRun<'_>) -> Result<(), HostError> {
        let Some((nodes, node)) = run.node() else { return Ok(()) };
        let deadline = Instant::now() + self.options.volume_timeout();
        loop {
            let request = NodeRequest {
                node: node.name.clone(),
                state: true,
                volumes: true,
                ..NodeRequest::default()
            };
            let mut reason = WaitReason::Draining;
            let sentence = match nodes.client.node(request).await {
                Ok(contents) => {
                    let free = contents.volumes.iter().filter(|volume| volume.pods.is_empty());
                    let free: Vec<_> = free.map(|volume| &volume.name).collect();
                    let staying = contents.volumes.len() - free.len();
                    let attached = contents.state.map_or(0, |state| state.volumes_attached);
                    if free.is_empty() && attached <= staying {
                        return Ok(());
                    }
                    let count = free.len().max(attached - staying.min(attached));
                    let names = model::abridged(free, ", ");
                    format!("drain of node {}: {count} volumes still attached: {names}", node.name)
                }
                Err(NodesError::Away { message, .. }) => {
                    reason = WaitReason::KubernetesAway;
                    format!("drain of node {}: {message}", node.name)
                }
                Err(error) => return Err(HostError::Postponed(error.message().to_owned())),
            };
            self.write(run, reason, &sentence, reason == WaitReason::KubernetesAway).await?;
            until_resumed(run).await?;
            if Instant::now() >= deadline {
                return self.time_out(run, &sentence).await;
            }
            tokio::time::sleep(LIST_AGAIN).await;
        }
    }

    /// Records why the drain has not ended: at once when it becomes blocked, else every few seconds. That it is blocked,
    /// and that it is blocked for another reason, are events.
    async fn write(
        &mut self,
        run: &HostRun<'_>,
        reason: WaitReason,
        sentence: &str,
        is_blocked: bool,
    ) -> Result<(), HostError> {
        let wait = run.wait(reason, sentence);
        let is_event = is_blocked && self.blocked_by != Some(reason);
        let is_first = is_event && self.blocked_by.is_none();
        let is_recent = self.written.is_some_and(|at| at.elapsed() < WRITE_AGAIN);
        if run.part().wait.as_ref() == Some(&wait) || is_recent && !is_first {
            return Ok(());
        }
        self.written = Some(Instant::now());
        if is_blocked {
            self.blocked_by = Some(reason);
        }
        let change = |host: &mut OperationHost| host.wait = Some(wait.clone());
        let line = [LogLine(Step::Drain, Outcome::Waiting, sentence)];
        let lines = if is_event { &line[..] } else { &[] };
        Ok(run.save(change, lines).await?)
    }

    /// The end of a drain that has taken too long.
    async fn time_out(&self, run: &HostRun<'_>, sentence: &str) -> Result<(), HostError> {
        match self.options.on_timeout() {
            OnDrainTimeout::Postpone => Err(HostError::Postponed(sentence.to_owned())),
            OnDrainTimeout::Stop => {
                let message = format!(
                    "{sentence}, for longer than the timeout of the drain; {} was not rebooted",
                    run.address()
                );
                Err(HostFailure::new(FailureReason::DrainTimeout, message).into())
            }
            OnDrainTimeout::Reboot => {
                let detail = format!("{sentence}; it is rebooted all the same");
                let line = [LogLine(Step::Drain, Outcome::Waiting, &detail)];
                run.save_node(|node| node.is_forced = true, &line).await
            }
        }
    }
}

/// How long a drain may take whose pods have a grace period of so many seconds at most; 0 while none is being deleted.
fn allowed_time(timeout: Duration, grace_period: u64) -> Duration {
    match grace_period {
        0 => timeout,
        seconds => timeout.max(Duration::from_secs(seconds) + AFTER_GRACE),
    }
}

/// Whether the kubelet of a node has been silent for so long that its pods are not waited for.
fn is_silent(run: &HostRun<'_>, state: &NodeState) -> bool {
    let now = run.context().deps.clock.wall();
    let heartbeat = state.heartbeat.timestamp();
    heartbeat.is_none_or(|heartbeat| left(now, heartbeat, UNREACHABLE_AFTER).is_zero())
}

/// Waits while the operation is paused: no further pod is evicted.
///
/// # Errors
/// The host is skipped when the operation is aborted, and has failed when its record is deleted.
async fn until_resumed(run: &HostRun<'_>) -> Result<(), HostError> {
    run.journal.record_of(run.index).await?;
    loop {
        match run.journal.retry(|| gate(run.journal, Purpose::Continue)).await? {
            Gate::Aborted(by) => return Err(HostError::Skipped(by)),
            Gate::Open(_) => return Ok(()),
            Gate::Closed(waiting) => wait(run, &waiting).await?,
        }
    }
}

impl Round {
    fn also(self, pods: Vec<PodState>) -> (Self, Vec<PodState>) {
        (self, pods)
    }
}
