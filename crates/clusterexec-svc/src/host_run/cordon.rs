//! The step `cordon`: nothing new is scheduled on the node of the host. The debt to uncordon it is saved before.

use model::messages::{CordonAnswer, CordonRequest};
use model::{OperationHost, Outcome, Step, WaitReason};

use super::host::HostRun;
use super::node::{is_ours, missing, wait};
use crate::host_error::HostError;
use crate::journal::LogLine;
use crate::nodes::NodesError;
use crate::waiting::Waiting;

/// Cordons the node, and saves the step `drain`. A cordon of others is left as it is, and so is the host.
pub(super) async fn cordon(run: &HostRun<'_>) -> Result<(), HostError> {
    let mut takes_over = String::new();
    loop {
        let Some((nodes, node)) = run.node() else { return Ok(()) };
        let request = CordonRequest {
            node: node.name.clone(),
            uid: node.uid.clone(),
            cordoned_by: nodes.debtor.owner(&run.journal.operation.id),
            takes_over: takes_over.clone(),
            ..CordonRequest::default()
        };
        match nodes.client.cordon(request).await {
            Ok(CordonAnswer::Done { warnings }) => {
                let mut detail = format!("node {}", node.name);
                if !takes_over.is_empty() {
                    detail = format!("{detail}; the cordon of {takes_over} is taken over");
                }
                for warning in warnings {
                    detail = format!("{detail}; {warning}");
                }
                return save_cordoned(run, &detail).await;
            }
            Ok(CordonAnswer::Foreign { state }) => {
                if takes_over.is_empty() && is_ours(run, nodes, &state).await? {
                    takes_over.clone_from(&state.cordoned_by);
                    continue;
                }
                run.save_node(|node| node.is_cordoned = false, &[]).await?;
                let reason = format!("the node {} is {}", node.name, state.cordon());
                return Err(HostError::Skipped(reason));
            }
            Ok(CordonAnswer::Missing) => {
                run.save_node(|node| node.is_cordoned = false, &[]).await?;
                return Err(missing(run, &node).into());
            }
            Err(NodesError::Away { message, .. }) => {
                wait(run, &Waiting::new(WaitReason::KubernetesAway, message)).await?;
            }
            Err(NodesError::Denied(message) | NodesError::Refused(message)) => {
                run.save_node(|node| node.is_cordoned = false, &[]).await?;
                return Err(HostError::Postponed(message));
            }
        }
    }
}

async fn save_cordoned(run: &HostRun<'_>, detail: &str) -> Result<(), HostError> {
    let now = run.context().deps.clock.stamp();
    let change = |host: &mut OperationHost| {
        host.step = Step::Drain;
        if let Some(node) = &mut host.node {
            node.drain_began = Some(now.clone());
        }
    };
    let lines =
        [LogLine(Step::Cordon, Outcome::Ok, detail), LogLine(Step::Drain, Outcome::Started, "")];
    Ok(run.save(change, &lines).await?)
}
