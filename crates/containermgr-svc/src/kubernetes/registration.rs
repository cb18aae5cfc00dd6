//! Nodes that are registered, removed and found for hosts.

use bus::{Error, Result};
use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Node;
use kube::api::{GetParams, ListParams, PostParams};
use kube::core::Request;
use model::{Address, abridged};
use serde_json::Value;
use tokio::time::Instant;

use super::failure::{self, Retries, retried};
use super::{Kubernetes, node, refused};

/// Nodes that are removed concurrently.
const REMOVALS: usize = 8;

impl Kubernetes {
    pub(crate) async fn register_node(&self, address: &str) -> Result<()> {
        self.before_deadline(|deadline| self.register(address, deadline)).await
    }

    pub(crate) async fn remove_node(&self, address: &str) -> Result<()> {
        self.before_deadline(|deadline| self.remove(address, deadline)).await
    }

    pub(crate) async fn remove_nodes(&self, addresses: &[Address]) -> Result<()> {
        self.before_deadline(|deadline| self.remove_all(addresses, deadline)).await
    }

    pub(crate) async fn check_registered(&self, address: &str) -> Result<()> {
        self.before_deadline(|deadline| self.registered(address, deadline)).await.map(drop)
    }

    pub(crate) async fn node_status(&self, address: &str) -> Result<Value> {
        self.before_deadline(|deadline| self.raw(address, deadline)).await
    }

    /// Looks for the node first, and again whenever a creation has failed: its outcome may be unknown.
    async fn register(&self, address: &str, deadline: Instant) -> Result<()> {
        let mut retries = Retries::until(deadline);
        loop {
            if let Some(node) = self.find(address, deadline).await? {
                return self.adopt(address, &node);
            }
            self.check_creation(address)?;
            let created = self.nodes.create(&PostParams::default(), &node::new(address)).await;
            let retry = match created {
                Ok(_) => {
                    let name = &self.name;
                    tracing::info!(
                        container_manager.name = name,
                        node.name = address,
                        "node created"
                    );
                    return Ok(());
                }
                Err(error) if failure::is_transient(&error) || failure::already_exists(&error) => {
                    retries.pause(error).await
                }
                Err(error) => Err(error),
            };
            retry.map_err(|error| self.failed("create the node", &error))?;
        }
    }

    fn adopt(&self, address: &str, node: &Node) -> Result<()> {
        let (name, node_name) = (&self.name, node::name(node));
        if node::is_terminating(node) {
            return Err(refused(format!(
                "the node {node_name} is being deleted from the container manager {name}: register {address} again after that"
            )));
        }
        tracing::info!(
            container_manager.name = name,
            host.address = address,
            node.name = node_name,
            "node registered"
        );
        Ok(())
    }

    fn check_creation(&self, address: &str) -> Result<()> {
        let name = &self.name;
        if !self.create_nodes {
            return Err(refused(format!(
                "the container manager {name} has no node {address}, and its option `create_nodes` is false: its kubelet has to register it"
            )));
        }
        node::check_name(address).map_err(|why| {
            refused(format!("the container manager {name} cannot have a node {address}: {why}"))
        })
    }

    async fn remove(&self, address: &str, deadline: Instant) -> Result<()> {
        match self.find(address, deadline).await? {
            Some(node) => self.delete(address, node, deadline).await,
            None => Ok(()),
        }
    }

    async fn remove_all(&self, addresses: &[Address], deadline: Instant) -> Result<()> {
        let nodes = self.all_nodes(deadline).await?;
        let removals: Vec<_> =
            addresses.iter().map(|address| self.remove_listed(&nodes, address, deadline)).collect();
        let removed: Vec<_> = stream::iter(removals).buffer_unordered(REMOVALS).collect().await;
        let failures: Vec<_> = removed.into_iter().filter_map(Result::err).collect();
        let count = failures.len();
        match failures.into_iter().next() {
            None => Ok(()),
            Some(first) if count == 1 => Err(first),
            Some(first) => {
                Err(Error::new(first.kind(), format!("{count} nodes were not removed: {first}")))
            }
        }
    }

    async fn remove_listed(&self, nodes: &[Node], address: &str, deadline: Instant) -> Result<()> {
        match self.of_host(nodes, address)? {
            Some(node) => self.delete(address, node.clone(), deadline).await,
            None => Ok(()),
        }
    }

    /// Deletes exactly this node, if it was created by this service.
    async fn delete(&self, address: &str, mut node: Node, deadline: Instant) -> Result<()> {
        let mut retries = Retries::until(deadline);
        loop {
            let (name, node_name) = (&self.name, node::name(&node));
            if !node::is_created_for(&node, address) {
                tracing::info!(
                    container_manager.name = name,
                    host.address = address,
                    node.name = node_name,
                    "node left: it was not created for this host by this service"
                );
                return Ok(());
            }
            let deletion = node::deletion(&node);
            let retry = match retried(deadline, || self.nodes.delete(node_name, &deletion)).await {
                Err(error) if failure::is_conflict(&error) => retries.pause(error).await,
                Err(error) if !failure::is_missing_node(&error) => Err(error),
                _ => {
                    tracing::info!(
                        container_manager.name = name,
                        host.address = address,
                        node.name = node_name,
                        "node removed"
                    );
                    return Ok(());
                }
            };
            retry.map_err(|error| self.failed("delete the node", &error))?;
            // Another node has this name now.
            match self.find(address, deadline).await? {
                Some(found) => node = found,
                None => return Ok(()),
            }
        }
    }

    async fn registered(&self, address: &str, deadline: Instant) -> Result<Node> {
        let node = self.find(address, deadline).await?;
        node.ok_or_else(|| self.not_registered(address))
    }

    fn not_registered(&self, address: &str) -> Error {
        refused(format!("{address} is not registered with the container manager {}", self.name))
    }

    /// The node of a host as the server sends it: [`Node`] lacks fields of later versions of Kubernetes.
    async fn raw(&self, address: &str, deadline: Instant) -> Result<Value> {
        let node = self.registered(address, deadline).await?;
        let client = self.client();
        let send = async || {
            let request = Request::new(self.nodes.resource_url());
            let request = request.get(node::name(&node), &GetParams::default());
            client.request::<Value>(request.map_err(kube::Error::BuildRequest)?).await
        };
        match retried(deadline, send).await {
            Ok(node) => Ok(node::without_managed_fields(node)),
            Err(error) if failure::is_missing_node(&error) => Err(self.not_registered(address)),
            Err(error) => Err(self.failed("show the node", &error)),
        }
    }

    /// The node of a host: the one of that name, else the one that has the address.
    async fn find(&self, address: &str, deadline: Instant) -> Result<Option<Node>> {
        if node::check_name(address).is_ok() {
            match retried(deadline, || self.nodes.get(address)).await {
                Ok(node) => return Ok(Some(node)),
                Err(error) if failure::is_missing_node(&error) => {}
                Err(error) => return Err(self.failed("show the node", &error)),
            }
        }
        let nodes = self.all_nodes(deadline).await?;
        Ok(self.of_host(&nodes, address)?.cloned())
    }

    fn of_host<'a>(&self, nodes: &'a [Node], address: &str) -> Result<Option<&'a Node>> {
        node::of_host(nodes, address).map_err(|names| {
            refused(format!(
                "{address} is an address of more than one node of the container manager {}: {}",
                self.name,
                abridged(names, ", ")
            ))
        })
    }

    async fn all_nodes(&self, deadline: Instant) -> Result<Vec<Node>> {
        self.list(&self.nodes, ListParams::default(), "list the nodes", deadline, Some).await
    }
}
