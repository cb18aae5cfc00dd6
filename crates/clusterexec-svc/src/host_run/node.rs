//! The node of a host: which it is, and whether the operation may work on it.

use host_access::{Facts, Session};
use model::messages::NodeRequest;
use model::{
    CordonDebt, CordonOwner, DebtState, HostNode, HostPlacement, NodeState, Operation,
    OperationStatus,
};
use model::{OperationHost, Outcome, PodKind, PodState, Step, WaitReason};
use tokio::time::sleep;

use super::fence::claim_host;
use super::host::HostRun;
use super::stage::stage;
use crate::control::{CHECK_AGAIN, Gate, Purpose, enter, gate};
use crate::host_error::{HostError, HostFailure};
use crate::identity::{Identity, node_of};
use crate::journal::{HostNodes, LogLine};
use crate::nodes::NodesError;
use crate::waiting::Waiting;

/// Timeout of the facts of a host.
const FACTS_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(20);

/// The state of OpenShift's machine config daemon on a node that it does not change at the moment.
const MACHINE_CONFIG_DONE: &str = "Done";

/// Finds the node of the host, and saves the step that follows: its cordon, its drain if others have cordoned it, or
/// `otherwise` if it has no node or is not drained.
pub(super) async fn enter_with_node(
    run: &HostRun<'_>,
    session: &dyn Session,
    boot_id: &str,
    otherwise: Step,
    detail: &str,
) -> Result<(), HostError> {
    let found = match &run.journal.nodes {
        Some(nodes) => find(run, nodes, session, boot_id).await?,
        None => None,
    };
    if let Some((_, facts)) = &found {
        claim_host(run, session).await?;
        stage(run, session, facts).await?;
    }
    let node = found.map(|(node, _)| node);
    let reboots = run.journal.operation.kind.facts().reboots;
    if node.is_none() && !reboots {
        return Err(HostError::Skipped("it is no node".to_owned()));
    }
    let drains = node.is_some() && run.journal.operation.options.drains();
    let step = match &node {
        Some(node) if drains && node.was_cordoned => Step::Drain,
        Some(_) if drains => Step::Cordon,
        _ => otherwise,
    };
    let now = run.context().deps.clock.stamp();
    let node = node.map(|node| HostNode {
        is_cordoned: step == Step::Cordon,
        cordoned_at: (step == Step::Cordon).then(|| now.clone()),
        drain_began: (step == Step::Drain).then(|| now.clone()),
        ..node
    });
    let change = |host: &mut OperationHost| {
        host.step = step;
        host.node.clone_from(&node);
        host.postponed = None;
        if otherwise == Step::Reboot && reboots {
            host.boot_id_before = Some(boot_id.to_owned());
        }
    };
    let node_name = node.as_ref().map(|node| format!("node {}", node.name)).unwrap_or_default();
    let lines =
        [LogLine(Step::Probe, Outcome::Ok, detail), LogLine(step, Outcome::Started, &node_name)];
    enter(run.journal, run.index, change, &lines).await
}

/// The node of the host, with its state before anything is done, and the facts of the host; `None` if it has no node.
async fn find(
    run: &HostRun<'_>,
    nodes: &HostNodes,
    session: &dyn Session,
    boot_id: &str,
) -> Result<Option<(HostNode, Facts)>, HostError> {
    let facts = session.facts(FACTS_TIMEOUT).await?;
    let storage = &run.context().storage;
    let placement = run.journal.retry(|| storage.find::<HostPlacement>(run.address())).await?;
    let node_name = placement.map(|placement| placement.record.node_name).unwrap_or_default();
    let all = until_answered(run, || nodes.client.all(None, Vec::new())).await?;
    if all.kubernetes.is_empty() {
        // The container manager has no nodes of its own.
        return Ok(None);
    }
    let identity = Identity {
        address: run.address(),
        node_name: &node_name,
        machine_id: &facts.machine_id,
        boot_id,
        runs_kubelet: facts.kubelet,
    };
    let Some(state) = node_of(&all.nodes, identity)? else { return Ok(None) };
    until_paid(run, &CordonDebt::id_of(&all.kubernetes, &state.name)).await?;
    let was_cordoned = check_cordon(run, nodes, state).await?;
    let request = NodeRequest {
        node: state.name.clone(),
        state: true,
        pods: true,
        drivers: true,
        ..NodeRequest::default()
    };
    let contents = until_answered(run, || nodes.client.node(request.clone())).await?;
    let node = HostNode {
        kubernetes: all.kubernetes,
        name: state.name.clone(),
        uid: state.uid.clone(),
        is_control_plane: state.is_control_plane,
        was_ready: state.is_ready,
        was_cordoned,
        heartbeat: state.heartbeat.clone(),
        pods: contents.pods.iter().filter(|pod| pod.is_ready).filter_map(returning).collect(),
        drivers: contents.drivers,
        ..HostNode::default()
    };
    Ok(Some((node, facts)))
}

/// The name by which a pod is recognized that its kubelet starts again after a reboot; `None` for other pods.
pub(super) fn returning(pod: &PodState) -> Option<String> {
    match (pod.kind, &pod.controller) {
        (PodKind::Mirror, _) => Some(pod.full_name()),
        (PodKind::DaemonSet, Some(set)) => Some(format!("{}/{}", pod.namespace, set.name)),
        _ => None,
    }
}

/// Whether others have cordoned the node, and it is worked on all the same.
///
/// # Errors
/// The host is skipped if others act on its node.
async fn check_cordon(
    run: &HostRun<'_>,
    nodes: &HostNodes,
    state: &NodeState,
) -> Result<bool, HostError> {
    let name = &state.name;
    if !state.deletion_taint.is_empty() {
        let reason = format!("the node {name} is being deleted: {}", state.deletion_taint);
        return Err(HostError::Skipped(reason));
    }
    if !matches!(state.machine_config.as_str(), "" | MACHINE_CONFIG_DONE) {
        let reason = format!(
            "the machine config of the node {name} is {}, and not {MACHINE_CONFIG_DONE}",
            state.machine_config
        );
        return Err(HostError::Skipped(reason));
    }
    if !state.unschedulable || is_ours(run, nodes, state).await? {
        return Ok(false);
    }
    let options = run.journal.operation.options.drain_options();
    if options.is_some_and(|options| options.include_cordoned == Some(true)) {
        return Ok(true);
    }
    Err(HostError::Skipped(format!("the node {name} is {}", state.cordon())))
}

/// Whether the cordon of a node is one of this operation, or of an operation of this installation that has ended.
pub(super) async fn is_ours(
    run: &HostRun<'_>,
    nodes: &HostNodes,
    state: &NodeState,
) -> Result<bool, HostError> {
    let Ok(CordonOwner::Operation { instance, operation }) = state.cordoned_by.parse() else {
        return Ok(false);
    };
    if instance != nodes.debtor.instance {
        return Ok(false);
    }
    let journal = run.journal;
    if operation == journal.operation.id {
        return Ok(true);
    }
    let storage = &journal.context.storage;
    let found = journal.retry(|| storage.find::<Operation>(&operation)).await?;
    Ok(found.is_none_or(|found| found.record.status != OperationStatus::InProcess))
}

/// Waits until the container manager service has uncordoned the node for an earlier turn of the host.
async fn until_paid(run: &HostRun<'_>, debt: &str) -> Result<(), HostError> {
    loop {
        let storage = &run.context().storage;
        let found = run.journal.retry(|| storage.find::<CordonDebt>(debt)).await?;
        let Some(due) = found.filter(|found| found.record.state == DebtState::Due) else {
            return Ok(());
        };
        let node = due.record.node;
        let message = format!("the node {node} is uncordoned first, after an earlier turn");
        wait(run, &Waiting::new(WaitReason::KubernetesAway, message)).await?;
    }
}

/// Sends a request about nodes until the API server answers.
///
/// # Errors
/// The host is skipped when the operation is aborted, and postponed when the API server rejects the request.
pub(super) async fn until_answered<T, F>(
    run: &HostRun<'_>,
    request: impl Fn() -> F,
) -> Result<T, HostError>
where
    F: Future<Output = Result<T, NodesError>>,
{
    loop {
        match request().await {
            Ok(answer) => return Ok(answer),
            Err(NodesError::Away { message, .. }) => {
                wait(run, &Waiting::new(WaitReason::KubernetesAway, message)).await?;
            }
            Err(error) => return Err(HostError::Postponed(error.message().to_owned())),
        }
    }
}

/// Records that the host waits, and for how long its operation lets it.
///
/// # Errors
/// The host is skipped when the operation is aborted, and has failed when its record is deleted.
pub(super) async fn wait(run: &HostRun<'_>, waiting: &Waiting) -> Result<(), HostError> {
    let is_new = run.part().wait.is_none_or(|wait| wait.reason != waiting.host_reason().word());
    run.journal.wait_for(run.index, waiting, is_new).await?;
    sleep(CHECK_AGAIN).await;
    run.journal.record_of(run.index).await?;
    match run.journal.retry(|| gate(run.journal, Purpose::Continue)).await? {
        Gate::Aborted(by) => Err(HostError::Skipped(by)),
        Gate::Open(_) | Gate::Closed(_) => Ok(()),
    }
}

impl HostRun<'_> {
    /// The nodes of the cluster and the node of the host; `None` if it has none.
    pub(super) fn node(&self) -> Option<(&HostNodes, HostNode)> {
        Some((self.journal.nodes.as_ref()?, self.part().node?))
    }

    /// Saves a change of the host's node, with events.
    pub(super) async fn save_node(
        &self,
        change: impl Fn(&mut HostNode) + Send + Sync,
        lines: &[LogLine<'_>],
    ) -> Result<(), HostError> {
        let change = |host: &mut OperationHost| {
            if let Some(node) = &mut host.node {
                change(node);
            }
        };
        Ok(self.save(change, lines).await?)
    }
}

/// The failure of a host whose node the API server does not show any more before anything was done.
pub(super) fn missing(run: &HostRun<'_>, node: &HostNode) -> HostFailure {
    let (address, name) = (run.address(), &node.name);
    let message = format!(
        "the node {name} of {address} was deleted from Kubernetes, or another one has its name: nothing was done \
         to the host; start the operation again"
    );
    HostFailure::new(model::FailureReason::NodeUnknown, message)
}
