//! Nodes that operations of this installation have cordoned after the backup: no record says that they are to be uncordoned.

use bus::error::chain;
use bus::topology::CONTAINER_NODES;
use bus::{Bus, Context};
use model::messages::{KubernetesNodes, NodesRequest};
use model::{ContainerManagerConfig, ContainerManagerType, CordonDebt, CordonOwner, Instance};
use storage_client::{StorageClient, queries};

/// Sentences about such nodes, and about container managers that cannot be asked.
///
/// # Errors
/// When the storage service fails.
pub(super) async fn unknown(storage: &StorageClient, bus: &Bus) -> bus::Result<Vec<String>> {
    let Instance { id: instance, .. } = queries::instance(storage).await?;
    let debts = storage.list::<CordonDebt>().await?;
    let mut sentences = Vec::new();
    for manager in storage.list::<ContainerManagerConfig>().await? {
        let ContainerManagerConfig { name, kind, .. } = manager.record;
        if kind == ContainerManagerType::Trivial {
            continue;
        }
        let request =
            NodesRequest { container_manager_name: name.clone(), ..NodesRequest::default() };
        let answer = bus.ask(CONTAINER_NODES, &request, &Context::service("restore")).await;
        let nodes = match answer.and_then(|answer| {
            answer.parse::<KubernetesNodes>().map_err(|error| {
                bus::Error::internal("the answer about its nodes cannot be read").with_source(error)
            })
        }) {
            Ok(nodes) => nodes,
            Err(error) => {
                let why = chain(&error);
                sentences.push(format!(
                    "the nodes of {name} cannot be read ({why}): look for cordons of this installation with `kubectl get \
                     nodes` and the annotation commissaire.io/cordoned-by={instance}/…"
                ));
                continue;
            }
        };
        for node in nodes.nodes.iter().filter(|node| node.unschedulable) {
            let Ok(owner) = node.cordoned_by.parse::<CordonOwner>() else { continue };
            let id = CordonDebt::id_of(&nodes.kubernetes, &node.name);
            let is_known = debts
                .iter()
                .any(|debt| debt.record.id == id && debt.record.cordoned_by == node.cordoned_by);
            if owner.instance() == instance && !is_known {
                sentences.push(format!(
                    "the node {} of {name} is {}, which the backup does not know: uncordon it once its host is well",
                    node.name,
                    node.cordon()
                ));
            }
        }
    }
    Ok(sentences)
}

#[cfg(test)]
mod tests;
