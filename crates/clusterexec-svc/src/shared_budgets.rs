//! The budgets that several clusters share: that of a Kubernetes, and those of quorum groups. The places of hosts under way
//! are records, so that all operations count them: a claim is made in the transaction that starts a host, and ends in the
//! one that ends its turn.

use std::collections::BTreeSet;

use bus::Result;
use model::messages::KubernetesNodes;
use model::{
    Address, BudgetClaim, BudgetClaims, HostPlacement, Operation, OperationStatus, WaitReason,
};
use storage_client::Revised;

use crate::identity::candidates;
use crate::journal::{HostNodes, Journal};
use crate::members;
use crate::nodes::NodesError;
use crate::waiting::Waiting;
use crate::{node_budget, quorum};

/// Claims with the revision that they are based on.
type Claims = (BudgetClaims, Option<u64>);

/// Whether a host may be taken down by the budgets that clusters share.
#[derive(Debug)]
pub(crate) enum Decision {
    /// It may. With the claims that its start saves.
    Start(Vec<Claims>),
    /// Not yet.
    Wait(Waiting),
    /// Not in this turn; why.
    Postpone(String),
}

/// Decides whether the host at `index` may be started, by the nodes and the members of its quorum group as they are now and
/// by the claims of all operations.
///
/// # Errors
/// When the storage service fails.
pub(crate) async fn decide(journal: &Journal<'_>, index: usize) -> Result<Decision> {
    let address = &journal.operation.hosts[index];
    let HostPlacement { node_name, quorum_group, .. } = placement(journal, address).await?;
    let mut claims = Vec::new();
    if let Some(nodes) = &journal.nodes {
        match of_kubernetes(journal, nodes, address, &node_name).await? {
            Decision::Start(own) => claims.extend(own),
            decision => return Ok(decision),
        }
    }
    if !quorum_group.is_empty() {
        match of_quorum_group(journal, address, &quorum_group).await? {
            Decision::Start(own) => claims.extend(own),
            decision => return Ok(decision),
        }
    }
    Ok(Decision::Start(claims))
}

/// Decides whether the host at `index`, which has its claims, may be rebooted right now.
///
/// # Errors
/// When the storage service fails.
pub(crate) async fn recheck(journal: &Journal<'_>, index: usize) -> Result<Decision> {
    let part = journal.part(index);
    let go = Decision::Start(Vec::new());
    if part.claims.is_empty() {
        return Ok(go);
    }
    let is_control_plane = part.node.is_some_and(|node| node.is_control_plane);
    let HostPlacement { node_name, quorum_group, .. } = placement(journal, &part.address).await?;
    if let Some(nodes) = journal.nodes.as_ref().filter(|_| is_control_plane) {
        match of_kubernetes(journal, nodes, &part.address, &node_name).await? {
            Decision::Start(_) => {}
            decision => return Ok(decision),
        }
    }
    if quorum_group.is_empty() {
        return Ok(go);
    }
    of_quorum_group(journal, &part.address, &quorum_group).await
}

async fn placement(journal: &Journal<'_>, address: &Address) -> Result<HostPlacement> {
    let found = journal.context.storage.find::<HostPlacement>(address).await?;
    Ok(found.map(|found| found.record).unwrap_or_default())
}

async fn of_kubernetes(
    journal: &Journal<'_>,
    nodes: &HostNodes,
    address: &Address,
    node_name: &str,
) -> Result<Decision> {
    let found = match nodes.client.all(None, Vec::new()).await {
        Ok(found) => found,
        Err(error) => return Ok(unknown(nodes, &error)),
    };
    // A host without a node, or with several, is checked in its first step, before any effect.
    let [node] = candidates(&found.nodes, address, node_name)[..] else {
        return Ok(Decision::Start(Vec::new()));
    };
    if node.is_control_plane {
        match nodes.client.control_plane_problem(&node.name).await {
            Ok(None) => {}
            Ok(Some(problem)) => {
                return Ok(Decision::Wait(Waiting::new(WaitReason::ControlPlane, problem)));
            }
            Err(error) => return Ok(unknown(nodes, &error)),
        }
    }
    let operation = &journal.operation;
    let members = journal.context.members_of(&operation.cluster).await?;
    let own = BudgetClaim {
        address: address.clone(),
        operation: operation.id.clone(),
        node: node.name.clone(),
        budget: operation.options.budget(members.len()),
    };
    let waits = |claims: &[BudgetClaim]| {
        let limit = limit(&found, &own, claims);
        let may_be_last = found.single_node || !operation.options.drains();
        node_budget::wait_for(node, &found.nodes, claims, limit, may_be_last, &operation.id)
    };
    claim(journal, BudgetClaims::of_kubernetes(&found.kubernetes), &own, waits).await
}

/// The number of nodes that may be unavailable at a time: as the container manager is configured, else the smallest budget
/// of the operations under way.
fn limit(found: &KubernetesNodes, own: &BudgetClaim, claims: &[BudgetClaim]) -> usize {
    match found.max_unavailable {
        Some(limit) => limit.of(found.nodes.len()),
        None => claims.iter().map(|claim| claim.budget).fold(own.budget, usize::min),
    }
}

async fn of_quorum_group(
    journal: &Journal<'_>,
    address: &Address,
    group: &str,
) -> Result<Decision> {
    let (context, operation) = (journal.context, &journal.operation);
    let placements = context.storage.list::<HostPlacement>().await?.into_iter();
    let in_group = placements.filter(|placement| placement.record.quorum_group == group);
    let addresses: Vec<_> = in_group.map(|placement| placement.record.address).collect();
    let members = members::probed(context, &addresses, &[address], operation.kind).await?;
    let own = BudgetClaim {
        address: address.clone(),
        operation: operation.id.clone(),
        ..BudgetClaim::default()
    };
    let waits =
        |claims: &[BudgetClaim]| quorum::wait_for(group, address, &members, claims, &operation.id);
    claim(journal, BudgetClaims::of_quorum_group(group), &own, waits).await
}

/// Adds a host's own claim to those of others, unless it has to wait beside them. Claims of operations that have ended do
/// not count.
async fn claim(
    journal: &Journal<'_>,
    id: String,
    own: &BudgetClaim,
    waits: impl Fn(&[BudgetClaim]) -> Option<Waiting>,
) -> Result<Decision> {
    let current = journal.context.storage.find::<BudgetClaims>(&id).await?;
    let revision = current.as_ref().map(|current| current.revision);
    let mut claims = match current {
        Some(Revised { record, .. }) => record,
        None => BudgetClaims { id, claims: Vec::new() },
    };
    claims.claims.retain(|claim| claim.address != own.address);
    if let Some(waiting) = waits(&claims.claims) {
        remove_ended(journal, &mut claims).await?;
        if waits(&claims.claims).is_some() {
            return Ok(Decision::Wait(waiting));
        }
    }
    claims.claims.push(own.clone());
    Ok(Decision::Start(vec![(claims, revision)]))
}

async fn remove_ended(journal: &Journal<'_>, claims: &mut BudgetClaims) -> Result<()> {
    let operations: BTreeSet<_> =
        claims.claims.iter().map(|claim| claim.operation.clone()).collect();
    for id in operations {
        let found = journal.context.storage.find::<Operation>(&id).await?;
        if found.is_none_or(|found| found.record.status != OperationStatus::InProcess) {
            claims.claims.retain(|claim| claim.operation != id);
        }
    }
    Ok(())
}

/// What follows from a failed look at the nodes: a missing right postpones the host, anything else may end by itself.
fn unknown(nodes: &HostNodes, error: &NodesError) -> Decision {
    let message = format!(
        "the nodes of the container manager {} are not known: {}",
        nodes.client.manager,
        error.message()
    );
    match error {
        NodesError::Denied(_) => Decision::Postpone(message),
        _ => Decision::Wait(Waiting::new(WaitReason::NodesUnknown, message)),
    }
}
