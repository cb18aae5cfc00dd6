//! Cordons by operators: of the node of one host, outside of operations.

use bus::{Error, Result};
use model::messages::{CordonAnswer, CordonHost, CordonRequest, CordonedHost};
use model::{
    Address, CordonDebt, CordonOwner, DebtState, HostPlacement, Lease, NodeState, OperationKind,
};
use storage_client::lease::Held;
use storage_client::{Revised, Transaction, queries};

use crate::context::Context;
use crate::host_error::HostFailure;
use crate::members;
use crate::node_plan::recorded_node;
use crate::nodes::{Nodes, NodesError};
use crate::unfinished::Unfinished;

/// The node of a host that an operator has named. No operation begins on its cluster in the meantime.
struct Found {
    nodes: Nodes,
    node: NodeState,
    /// The debt as it would be for a cordon by this operator.
    debt: CordonDebt,
    held: Held,
}

/// Cordons the node of a host. The debt is saved before, and operations leave the node alone from then on.
///
/// # Errors
/// A conflict if the host has no node, others have cordoned it, or an operation is in process on its cluster.
pub(crate) async fn cordon(
    context: &Context,
    request: &CordonHost,
    caller: &bus::Context,
) -> Result<CordonedHost> {
    let found = find(context, request, caller).await?;
    let Found { nodes, node, debt, held } = &found;
    if node.unschedulable && node.cordoned_by != debt.cordoned_by {
        return release(held, Err(foreign(node))).await;
    }
    held.transact(Transaction::default().save(debt)?).await?;
    let request = CordonRequest {
        node: node.name.clone(),
        uid: node.uid.clone(),
        cordoned_by: debt.cordoned_by.clone(),
        ..CordonRequest::default()
    };
    let cordoned = match nodes.cordon(request).await {
        Ok(CordonAnswer::Done { warnings }) => Ok(found.answer(true, warnings)),
        Ok(CordonAnswer::Foreign { state }) => Err(foreign(&state)),
        Ok(CordonAnswer::Missing) => Err(missing(node)),
        // It may have been carried out: the debt tells.
        Err(error @ NodesError::Away { .. }) => return release(held, Err(failed(&error))).await,
        Err(error) => Err(failed(&error)),
    };
    if cordoned.is_err() {
        held.transact(Transaction::default().delete::<CordonDebt>(&debt.id)).await?;
    }
    release(held, cordoned).await
}

/// Uncordons the node of a host; the cordon of others only if the request says so.
///
/// # Errors
/// A conflict if the host has no node, others have cordoned it, or an operation is in process on its cluster.
pub(crate) async fn uncordon(
    context: &Context,
    request: &CordonHost,
    caller: &bus::Context,
) -> Result<CordonedHost> {
    if let Some(debt) = debt_of_former_member(context, &request.address).await? {
        return uncordon_former_member(context, debt).await;
    }
    let found = find(context, request, caller).await?;
    let Found { nodes, node, debt, held } = &found;
    let ours = context.storage.find::<CordonDebt>(&debt.id).await?;
    let owner = match &ours {
        Some(ours) => ours.record.cordoned_by.clone(),
        None if !node.unschedulable => {
            return release(held, Ok(found.answer(false, Vec::new()))).await;
        }
        None if request.foreign => String::new(),
        None => return release(held, Err(stays(node))).await,
    };
    let answer = match nodes.uncordon(&node.name, &node.uid, owner).await {
        Ok(CordonAnswer::Foreign { state }) if state.unschedulable && !request.foreign => {
            delete(held, ours).await?;
            Err(stays(&state))
        }
        Ok(CordonAnswer::Foreign { state }) if state.unschedulable => {
            match nodes.uncordon(&node.name, &node.uid, String::new()).await {
                Ok(_) => {
                    delete(held, ours).await?;
                    Ok(found.answer(false, Vec::new()))
                }
                Err(error) => Err(failed(&error)),
            }
        }
        Ok(_) => {
            delete(held, ours).await?;
            Ok(found.answer(false, Vec::new()))
        }
        Err(error) => match ours {
            Some(Revised { record, .. }) => {
                let due = CordonDebt { state: DebtState::Due, ..record };
                held.transact(Transaction::default().save(&due)?).await?;
                Ok(found.answer(true, vec![later(&error)]))
            }
            None => Err(failed(&error)),
        },
    };
    release(held, answer).await
}

/// The debt for the node of a host that was drained and has left its cluster.
async fn debt_of_former_member(
    context: &Context,
    address: &Address,
) -> Result<Option<Revised<CordonDebt>>> {
    if queries::cluster_of(&context.storage, address).await?.is_some() {
        return Ok(None);
    }
    let debts = context.storage.list::<CordonDebt>().await?;
    Ok(debts.into_iter().find(|debt| debt.record.address == *address))
}

/// Uncordons the node of a host that is in no cluster: no operation works on it.
async fn uncordon_former_member(
    context: &Context,
    debt: Revised<CordonDebt>,
) -> Result<CordonedHost> {
    let CordonDebt { id, container_manager, node, node_uid, address, cordoned_by, .. } =
        &debt.record;
    let nodes = Nodes::new(&context.deps.bus, container_manager);
    let answer = nodes.uncordon(node, node_uid, cordoned_by.clone()).await;
    let (transaction, warnings) = match &answer {
        Ok(_) => {
            let check = Transaction::default().check::<CordonDebt>(id, Some(debt.revision));
            (check.delete::<CordonDebt>(id), Vec::new())
        }
        Err(error) => {
            let due = CordonDebt { state: DebtState::Due, ..debt.record.clone() };
            let due = Revised { record: due, revision: debt.revision };
            (Transaction::default().update(&due)?, vec![later(error)])
        }
    };
    context.storage.transact(&transaction).await?;
    match answer {
        Ok(CordonAnswer::Foreign { state }) if state.unschedulable => Err(foreign(&state)),
        answer => {
            let (address, node) = (address.clone(), node.clone());
            Ok(CordonedHost { address, node, cordoned: answer.is_err(), warnings })
        }
    }
}

impl Found {
    fn answer(&self, cordoned: bool, warnings: Vec<String>) -> CordonedHost {
        let (address, node) = (self.debt.address.clone(), self.node.name.clone());
        CordonedHost { address, node, cordoned, warnings }
    }
}

async fn find(context: &Context, request: &CordonHost, caller: &bus::Context) -> Result<Found> {
    let (storage, address) = (&context.storage, &request.address);
    let membership = queries::cluster_of(storage, address).await?;
    let no_node =
        || Error::conflict(format!("{address} is no node: its cluster has no Kubernetes"));
    let no_cluster = || {
        Error::conflict(format!(
            "{address} is in no cluster, so it has no container manager: cordon and uncordon its node with kubectl"
        ))
    };
    let cluster = membership.ok_or_else(no_cluster)?.cluster.record;
    if cluster.container_manager.is_empty() {
        return Err(no_node());
    }
    let lease = Unfinished::Operation(&cluster.name).lease_name();
    // An abandoned lease is that of an operation which another executor takes over.
    let held = match storage.find::<Lease>(&lease).await? {
        Some(_) => None,
        None => context.leases.try_acquire(&lease).await?,
    };
    let held = held.ok_or_else(|| {
        Error::conflict(format!(
            "an operation is in process on the cluster {}: wait until it has ended",
            cluster.name
        ))
    })?;
    let located = async {
        let nodes = Nodes::new(&context.deps.bus, &cluster.container_manager);
        let found = nodes.all(None, Vec::new()).await.map_err(|error| failed(&error))?;
        let members =
            members::recorded(context, std::slice::from_ref(address), OperationKind::Drain).await?;
        let placement = storage.find::<HostPlacement>(address).await?;
        let node_name = placement.map(|placement| placement.record.node_name).unwrap_or_default();
        let node = recorded_node(&found.nodes, &members[0], &node_name)
            .map_err(|HostFailure { message, .. }| Error::conflict(message))?;
        let node = node.cloned().ok_or_else(no_node)?;
        Ok((nodes, found.kubernetes, node))
    };
    let (nodes, kubernetes, node) = match located.await {
        Ok(located) => located,
        Err(error) => return release(&held, Err(error)).await,
    };
    let instance = queries::instance(storage).await?.id;
    let principal = caller.principal.clone();
    let debt = CordonDebt {
        id: CordonDebt::id_of(&kubernetes, &node.name),
        container_manager: cluster.container_manager.clone(),
        node: node.name.clone(),
        node_uid: node.uid.clone(),
        address: address.clone(),
        cluster: cluster.name.clone(),
        reason: format!("cordoned by {principal}"),
        cordoned_by: CordonOwner::Manual { instance, principal }.to_string(),
        operation: String::new(),
        since: context.deps.clock.stamp(),
        state: DebtState::Kept,
    };
    Ok(Found { nodes, node, debt, held })
}

async fn release<T>(held: &Held, answer: Result<T>) -> Result<T> {
    held.release(Transaction::default()).await?;
    answer
}

async fn delete(held: &Held, debt: Option<Revised<CordonDebt>>) -> Result<()> {
    let Some(debt) = debt else { return Ok(()) };
    held.transact(Transaction::default().delete::<CordonDebt>(&debt.record.id)).await.map(drop)
}

fn foreign(node: &NodeState) -> Error {
    Error::conflict(format!("the node {} is {}", node.name, node.cordon()))
}

/// The rejection of an uncordon because others have cordoned the node.
fn stays(node: &NodeState) -> Error {
    Error::conflict(format!(
        "the node {} is {}: nothing was changed; remove the cordon of others with `commctl host uncordon --foreign`",
        node.name,
        node.cordon()
    ))
}

/// The warning about a node that stays cordoned until the API server answers.
fn later(error: &NodesError) -> String {
    format!("it is uncordoned as soon as that is possible: {}", error.message())
}

fn missing(node: &NodeState) -> Error {
    Error::conflict(format!("the node {} was deleted from Kubernetes", node.name))
}

fn failed(error: &NodesError) -> Error {
    error.answer(error.message())
}
