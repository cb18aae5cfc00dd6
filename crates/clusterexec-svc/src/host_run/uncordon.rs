//! The step `uncordon`: pods may be scheduled on the node again, and the controllers of the evicted pods recover.

use std::time::Duration;

use model::messages::CordonAnswer;
use model::{OperationHost, Outcome, Step, WaitReason, abridged};
use tokio::time::Instant;

use super::done::save_done;
use super::fence::confirm;
use super::host::HostRun;
use crate::host_error::HostError;
use crate::journal::LogLine;
use crate::nodes::NodesError;

/// How long the controllers of evicted pods are waited for.
const WORKLOADS_TIMEOUT: Duration = Duration::from_mins(10);

/// The pause between two looks at them.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Uncordons the node, waits for the controllers of its evicted pods, and saves the host as done. While the API server does
/// not answer, the debt is left to the container manager service.
pub(super) async fn uncordon(run: &HostRun<'_>) -> Result<(), HostError> {
    if run.part().node.is_some_and(|node| node.is_cordoned) {
        remove_cordon(run).await?;
        if run.part().node.is_some_and(|node| !node.is_cordoned) {
            await_workloads(run).await?;
        }
    }
    let boot_id = run.verified.clone().or(run.part().boot_id_after).unwrap_or_default();
    save_done(run, &boot_id, &[]).await
}

async fn remove_cordon(run: &HostRun<'_>) -> Result<(), HostError> {
    let Some((nodes, node)) = run.node() else { return Ok(()) };
    // Another installation may have taken the host over since its reboot, and have cordoned the node.
    confirm(run).await?;
    let name = &node.name;
    let owner = nodes.debtor.owner(&run.journal.operation.id);
    run.journal.held.check()?;
    let detail = match nodes.client.uncordon(name, &node.uid, owner).await {
        Ok(CordonAnswer::Done { .. }) => format!("node {name}"),
        Ok(CordonAnswer::Foreign { state }) if state.unschedulable => {
            format!("the node {name} is {}, which is left as it is", state.cordon())
        }
        Ok(CordonAnswer::Foreign { .. }) => format!("the node {name} was uncordoned by others"),
        Ok(CordonAnswer::Missing) => format!("the node {name} was deleted in the meantime"),
        Err(error) => {
            let detail = format!(
                "{}; the node {name} is uncordoned as soon as that is possible",
                error.message()
            );
            return Ok(run.log(&[LogLine(Step::Uncordon, Outcome::Waiting, &detail)]).await?);
        }
    };
    let line = [LogLine(Step::Uncordon, Outcome::Ok, &detail)];
    run.save_node(|node| node.is_cordoned = false, &line).await
}

/// Waits until the controllers of evicted pods have as many ready pods as before. A time-out is an event only.
async fn await_workloads(run: &HostRun<'_>) -> Result<(), HostError> {
    let Some((nodes, node)) = run.node() else { return Ok(()) };
    let mut missing = node.workloads;
    let deadline = Instant::now() + WORKLOADS_TIMEOUT;
    let mut is_logged = false;
    while let Some((workload, before)) = missing.last() {
        let found = nodes.client.workloads(vec![workload.clone()]).await;
        if let Err(NodesError::Denied(message) | NodesError::Refused(message)) = &found {
            let kind = workload.controller.kind.clone();
            let detail = format!("controllers of the kind {kind} are not waited for: {message}");
            run.log(&[LogLine(Step::Uncordon, Outcome::Waiting, &detail)]).await?;
            missing.retain(|(other, _)| other.controller.kind != kind);
            continue;
        }
        let ready = found.ok().and_then(|ready| ready.first().copied());
        // A controller that does not exist any more has nothing to recover.
        if ready.is_some_and(|ready| ready.is_none_or(|ready| ready >= *before)) {
            missing.pop();
            continue;
        }
        let names = missing.iter().map(|(workload, before)| {
            let controller = &workload.controller;
            format!(
                "{} {}/{} (had {before} ready pods)",
                controller.kind, workload.namespace, controller.name
            )
        });
        let detail = format!("fewer pods are ready than before: {}", abridged(names, ", "));
        if Instant::now() >= deadline {
            let detail =
                format!("{detail}; the operation goes on after {} s", WORKLOADS_TIMEOUT.as_secs());
            return Ok(run.log(&[LogLine(Step::Uncordon, Outcome::Waiting, &detail)]).await?);
        }
        if !is_logged {
            let wait = run.wait(WaitReason::WorkloadsReturning, &detail);
            let change = |host: &mut OperationHost| host.wait = Some(wait.clone());
            run.save(change, &[LogLine(Step::Uncordon, Outcome::Waiting, &detail)]).await?;
            is_logged = true;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}
