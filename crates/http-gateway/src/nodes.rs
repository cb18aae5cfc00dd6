//! What joining and leaving a cluster means for its container manager.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use bus::error::chain;
use bus::topology;
use model::messages::{Node, Nodes};
use model::{
    Address, Cluster, ClusterHead, ContainerManagerConfig, Host, HostState, Status, abridged,
};
use serde_json::{Value, json};
use storage_client::{Revised, Transaction, queries};

use crate::api::Api;
use crate::error::ApiError;

/// Hosts that a request has registered with a container manager; to be taken back when they do not become
/// members after all.
#[derive(Debug, Default)]
pub struct Registered(Mutex<Vec<(String, Address)>>);

impl Registered {
    /// Registers a host with the container manager of a cluster that has one. Doing so again does no harm.
    ///
    /// # Errors
    /// 502 with the manager's words when it refuses; 503 or 504 when it does not answer.
    pub async fn register(
        &self,
        api: &Api,
        cluster: &ClusterHead,
        address: &str,
    ) -> Result<(), ApiError> {
        let manager = &cluster.container_manager;
        let node = node(manager, address);
        // Noted first: without an answer it may have been carried out.
        let entry = (manager.clone(), address.into());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        api.request(topology::CONTAINER_REGISTER_NODE, &node).await.map(drop)
    }

    /// Takes those back that are not members of a cluster with that container manager.
    pub async fn take_back(self, api: &Api) {
        let mut registered = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        registered.sort_unstable();
        registered.dedup();
        for (manager, address) in nodes_of_no_member(api, registered).await {
            let node = node(&manager, &address);
            if let Err(error) = api.request(topology::CONTAINER_REMOVE_NODE, &node).await {
                tracing::warn!(
                    host.address = address.as_str(),
                    container_manager.name = manager,
                    error = error.detail(),
                    "a node may be left behind"
                );
            }
        }
    }
}

/// Those of the nodes (container manager, address) whose host is no member of a cluster with that
/// manager. None when the storage service does not say: a member must not lose its node.
async fn nodes_of_no_member(api: &Api, nodes: Vec<(String, Address)>) -> Vec<(String, Address)> {
    if nodes.is_empty() {
        return nodes;
    }
    let clusters = match api.storage.list::<Cluster>().await {
        Ok(clusters) => clusters.into_iter().map(|cluster| cluster.record),
        Err(error) => {
            let names = nodes.iter().map(|(manager, address)| format!("{address} of {manager}"));
            let nodes = abridged(names, ", ");
            tracing::warn!(error = chain(&error), nodes, "these nodes may be left behind");
            return Vec::new();
        }
    };
    let members: HashSet<_> = clusters
        .flat_map(|Cluster { container_manager, hostset, .. }| {
            hostset.into_iter().map(move |address| (container_manager.clone(), address))
        })
        .collect();
    nodes.into_iter().filter(|node| !members.contains(node)).collect()
}

/// A transaction in which hosts become members; they are registered with the cluster's container manager
/// before, if it has one.
///
/// # Errors
/// 502 when the container manager refuses one; 503 or 504 when a service does not answer.
pub async fn join(
    api: &Api,
    cluster: &mut Revised<ClusterHead>,
    hosts: Vec<Revised<Host>>,
    registered: &Registered,
) -> Result<Transaction, ApiError> {
    let mut transaction = Transaction::default();
    let addresses: Vec<_> = hosts.iter().map(|host| host.record.address.clone()).collect();
    for mut host in hosts {
        let address = host.record.address.clone();
        let cluster = &cluster.record;
        if cluster.container_manager.is_empty() {
            host.record.status = Status::Disassociated;
        } else {
            registered.register(api, cluster, &address).await?;
            host.record.status = Status::Active;
            if let Some(mut state) = api.storage.find::<HostState>(&address).await?
                && state.record.registered()
            {
                transaction = transaction.update(&state)?;
            }
        }
        transaction = transaction.update(&host)?;
    }
    if addresses.is_empty() {
        return Ok(transaction);
    }
    let addresses: Vec<_> = addresses.iter().map(Address::as_str).collect();
    Ok(queries::join(transaction, cluster, &addresses)?)
}

/// Removes members that leave a cluster from its container manager, if it has one. To be done before they
/// leave: as long as it fails, it can be repeated.
///
/// # Errors
/// 502 with the manager's words when it refuses; 503 or 504 when it does not answer.
pub async fn remove(
    api: &Api,
    cluster: &ClusterHead,
    addresses: &[Address],
) -> Result<(), ApiError> {
    let manager = &cluster.container_manager;
    // A container manager that is configured no more has no nodes.
    if addresses.is_empty() || !is_configured(api, manager).await? {
        return Ok(());
    }
    let removed = match addresses {
        [address] => api.request(topology::CONTAINER_REMOVE_NODE, &node(manager, address)).await,
        addresses => {
            let (container_manager_name, addresses) = (manager.clone(), addresses.to_vec());
            let nodes = Nodes { container_manager_name, addresses };
            api.request(topology::CONTAINER_REMOVE_ALL_NODES, &nodes).await
        }
    };
    removed.map(drop)
}

async fn is_configured(api: &Api, manager: &str) -> Result<bool, ApiError> {
    if manager.is_empty() {
        return Ok(false);
    }
    Ok(api.storage.find::<ContainerManagerConfig>(manager).await?.is_some())
}

/// What the container manager says about the node of a host: an empty object when there is none, or when
/// it cannot say. An address or a name can be those of any node of a Kubernetes that clusters share: who does not see all clusters
/// sees only a node with the machine id that the host itself has reported.
///
/// # Errors
/// When the storage service cannot say which container manager it is.
pub async fn status(api: &Api, address: &str) -> Result<Value, ApiError> {
    let found = queries::cluster_of(&api.storage, address).await?;
    let cluster = found.map(|found| found.cluster.record);
    let Some(cluster) = cluster.filter(|cluster| !cluster.container_manager.is_empty()) else {
        return Ok(json!({}));
    };
    let node = node(&cluster.container_manager, address);
    match api.bus.request(topology::CONTAINER_GET_NODE_STATUS, &node, &api.context.bus).await {
        Ok(node) if api.shows(None) || has_reported(api, address, &node).await? => Ok(node),
        Ok(_) => Ok(json!({})),
        Err(error) => {
            tracing::debug!(host.address = address, error = chain(&error), "no node status");
            Ok(json!({}))
        }
    }
}

/// Whether a host has reported the machine id of this node, if the node has one.
async fn has_reported(api: &Api, address: &str, node: &Value) -> Result<bool, ApiError> {
    let Some(of_node) = node.pointer("/status/nodeInfo/machineID") else { return Ok(true) };
    let state = api.storage.find::<HostState>(address).await?;
    let machine_id = state.map(|state| state.record.machine_id).filter(|id| !id.is_empty());
    Ok(machine_id.is_some_and(|id| *of_node == *id))
}

fn node(manager: &str, address: &str) -> Node {
    Node { container_manager_name: manager.to_owned(), address: address.into() }
}
