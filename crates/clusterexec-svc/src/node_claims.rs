//! The places of hosts under way in the budget of their Kubernetes, as records that all operations share. A claim is made in
//! the transaction that starts a host, and ends in the one that ends its turn.

use std::collections::HashSet;

use bus::Result;
use model::messages::KubernetesNodes;
use model::{NodeClaim, NodeClaims, NodeState, Operation, OperationStatus, WaitReason};
use storage_client::Revised;

use crate::identity::candidates;
use crate::journal::{HostNodes, Journal};
use crate::node_budget::wait_for;
use crate::nodes::NodesError;
use crate::waiting::Waiting;

/// Whether a host may be started by the budget of its Kubernetes.
#[derive(Debug)]
pub(crate) enum NodeDecision {
    /// It may. With the claims that its start saves, unless it is no node.
    Start(Option<(NodeClaims, Option<u64>)>),
    /// Not yet.
    Wait(Waiting),
}

/// Decides whether the host at `index` may be started, by the nodes as they are now and the claims of all operations.
///
/// # Errors
/// When the storage service fails.
pub(crate) async fn decide(journal: &Journal<'_>, index: usize) -> Result<NodeDecision> {
    let Some(nodes) = &journal.nodes else { return Ok(NodeDecision::Start(None)) };
    let found = match nodes.client.all(None, Vec::new()).await {
        Ok(found) => found,
        Err(error) => return Ok(NodeDecision::Wait(unknown(nodes, &error))),
    };
    // A host that is none of the nodes, or several, is looked at in its first step, before any effect.
    let address = &journal.operation.hosts[index];
    let [node] = candidates(&found.nodes, address)[..] else {
        return Ok(NodeDecision::Start(None));
    };
    let storage = &journal.context.storage;
    let current = storage.find::<NodeClaims>(&found.kubernetes).await?;
    let revision = current.as_ref().map(|current| current.revision);
    let mut claims = match current {
        Some(Revised { record, .. }) => record,
        None => NodeClaims { id: found.kubernetes.clone(), claims: Vec::new() },
    };
    let own = own_claim(journal, index, node).await?;
    let waits = |claims: &NodeClaims| {
        let limit = limit(&found, &own, &claims.claims);
        let may_be_last = found.single_node || !journal.operation.options.drains();
        wait_for(node, &found.nodes, &claims.claims, limit, may_be_last, &own.operation)
    };
    if let Some(waiting) = waits(&claims) {
        remove_ended(journal, &mut claims).await?;
        if waits(&claims).is_some() {
            return Ok(NodeDecision::Wait(waiting));
        }
    }
    claims.claims.retain(|claim| claim.address != own.address);
    claims.claims.push(own);
    Ok(NodeDecision::Start(Some((claims, revision))))
}

/// The number of nodes that may be unavailable at a time: as the container manager is configured, else the smallest budget
/// of the operations under way.
fn limit(found: &KubernetesNodes, own: &NodeClaim, claims: &[NodeClaim]) -> usize {
    if let Some(limit) = found.max_unavailable {
        return limit.of(found.nodes.len());
    }
    claims.iter().map(|claim| claim.budget).fold(own.budget, usize::min)
}

async fn own_claim(journal: &Journal<'_>, index: usize, node: &NodeState) -> Result<NodeClaim> {
    let operation = &journal.operation;
    let members = journal.context.members_of(&operation.cluster).await?;
    Ok(NodeClaim {
        node: node.name.clone(),
        address: operation.hosts[index].clone(),
        operation: operation.id.clone(),
        is_control_plane: node.is_control_plane,
        budget: operation.options.budget(members.len()),
    })
}

/// Removes claims of operations that have ended.
async fn remove_ended(journal: &Journal<'_>, claims: &mut NodeClaims) -> Result<()> {
    let operations: HashSet<_> =
        claims.claims.iter().map(|claim| claim.operation.clone()).collect();
    for id in operations {
        let found = journal.context.storage.find::<Operation>(&id).await?;
        if found.is_none_or(|found| found.record.status != OperationStatus::InProcess) {
            claims.claims.retain(|claim| claim.operation != id);
        }
    }
    Ok(())
}

fn unknown(nodes: &HostNodes, error: &NodesError) -> Waiting {
    let message = format!(
        "the nodes of the container manager {} are not known: {}",
        nodes.client.manager,
        error.message()
    );
    Waiting::new(WaitReason::NodesUnknown, message)
}
