//! Right before the reboot of a host: whether its node is still cordoned and drained.

use model::messages::NodeRequest;
use model::{PodClass, PodState, WaitReason, abridged};

use super::{is_cordoned, is_silent};
use crate::host_error::HostError;
use crate::host_run::host::HostRun;
use crate::nodes::NodesError;
use crate::waiting::Waiting;

/// Why the node may not be rebooted yet, right before its reboot: new pods that have to go, or a cordon that was removed.
///
/// # Errors
/// When the API server rejects the request.
pub(in crate::host_run) async fn last_look(
    run: &HostRun<'_>,
) -> Result<Option<Waiting>, HostError> {
    let Some((nodes, node)) = run.node() else { return Ok(None) };
    if !run.journal.operation.options.drains() || node.is_forced {
        return Ok(None);
    }
    let options = run.journal.operation.options.drain_options().cloned().unwrap_or_default();
    let request = NodeRequest {
        node: node.name.clone(),
        state: true,
        pods: true,
        skip_selector: options.skip_selector.clone(),
        ..NodeRequest::default()
    };
    let contents = match nodes.client.node(request).await {
        Ok(contents) => contents,
        Err(NodesError::Away { message, .. }) => {
            return Ok(Some(Waiting::new(WaitReason::KubernetesAway, message)));
        }
        Err(error) => return Err(HostError::Postponed(error.message().to_owned())),
    };
    let state = contents.state.filter(|state| is_cordoned(run, nodes, &node, state));
    let Some(state) = state else {
        let message = format!("the node {} is not cordoned any more", node.name);
        return Ok(Some(Waiting::new(WaitReason::Draining, message)));
    };
    // Nothing ends the pods of a silent kubelet but the reboot.
    let is_unreachable = !state.is_ready && is_silent(run, &state);
    // Replacements of pods that tolerate the cordon stay.
    let is_new = |pod: &&PodState| match pod.class(&options) {
        PodClass::Evict | PodClass::NoController | PodClass::LocalData => true,
        PodClass::Terminating => !is_unreachable,
        PodClass::Stays | PodClass::EvictOnce => false,
    };
    let new: Vec<_> = contents.pods.iter().filter(is_new).map(PodState::full_name).collect();
    if new.is_empty() {
        return Ok(None);
    }
    let message = format!("drain of node {}: new pods: {}", node.name, abridged(new, ", "));
    Ok(Some(Waiting::new(WaitReason::Draining, message)))
}
