//! The ready pods of the controllers whose pods are evicted: as many are awaited after the reboot.

use model::PodState;
use model::messages::Workload;

use super::Round;
use crate::host_error::HostError;
use crate::host_run::host::HostRun;
use crate::journal::HostNodes;
use crate::nodes::NodesError;

/// Saves how many ready pods the controllers of the pods have that are evicted first. Returns why some of them may not be
/// read, if so: these are not waited for.
pub(super) async fn save_workloads(
    run: &HostRun<'_>,
    nodes: &HostNodes,
    round: &Round,
    pods: &[PodState],
) -> Result<Option<String>, HostError> {
    let ready = run.journal.operation.options.ready.clone().unwrap_or_default();
    let known = run.part().node.map(|node| node.workloads).unwrap_or_default();
    if !ready.awaits_workloads() {
        return Ok(None);
    }
    let evicted = |pod: &&PodState| round.evict.iter().any(|evicted| evicted.uid == pod.uid);
    let workload = |pod: &PodState| {
        let controller = pod.controller.clone()?;
        Some(Workload { namespace: pod.namespace.clone(), controller })
    };
    let mut new: Vec<_> = pods.iter().filter(evicted).filter_map(workload).collect();
    new.sort_unstable_by(|one, other| {
        let kinds = one.controller.kind.cmp(&other.controller.kind);
        kinds.then_with(|| one.cmp(other))
    });
    new.dedup();
    new.retain(|workload| !known.iter().any(|(other, _)| other == workload));
    // Of each kind at once: the account may lack the right to read some kinds.
    let (mut counted, mut problem) = (Vec::new(), None);
    for workloads in new.chunk_by(|one, other| one.controller.kind == other.controller.kind) {
        match nodes.client.workloads(workloads.to_vec()).await {
            Ok(ready) => {
                let ready = workloads.iter().cloned().zip(ready);
                counted.extend(ready.filter_map(|(workload, ready)| Some((workload, ready?))));
            }
            // Without an answer, these controllers are not waited for.
            Err(NodesError::Away { .. }) => {}
            Err(error) => problem = Some(error.message().to_owned()),
        }
    }
    if !counted.is_empty() {
        run.save_node(|node| node.workloads.extend(counted.iter().cloned()), &[]).await?;
    }
    Ok(problem)
}
