//! Kubernetes, and OpenShift, whose API is the same.
//!
//! - `client`: requests, and which of them are tried again
//! - `answer`: what an answer means (pure)
//! - `node`: nodes (pure)

mod answer;
mod client;
mod node;
#[cfg(test)]
mod recorded;

use std::sync::Arc;
use std::time::Duration;

use bus::{Error, Kind, Result};
use futures_util::{StreamExt as _, stream};
use model::{Address, KubernetesOptions, abridged};
use reqwest::Method;
use runtime::Files;
use serde_json::Value;
use tokio::time::Instant;

use crate::config::Config;
use answer::Answer;
use client::{Client, Request, Retries};

/// Nodes that are listed at a time.
const PAGE: &str = "500";

/// Nodes that are removed at a time.
const REMOVALS: usize = 8;

/// See the module; clones share the client.
#[derive(Debug, Clone)]
pub(crate) struct Kubernetes {
    client: Arc<Client>,
    create_nodes: bool,
    timeout: Duration,
}

impl Kubernetes {
    /// A client for these options; the files they name are read now.
    ///
    /// # Errors
    /// A sentence that says what cannot be used.
    pub(crate) async fn new(
        name: &str,
        options: &KubernetesOptions,
        config: &Config,
        files: &Files,
    ) -> Result<Self, String> {
        let client = Client::new(name, options, config.connect_timeout(), files).await?;
        let (create_nodes, timeout) = (options.create_nodes, config.timeout());
        Ok(Self { client: Arc::new(client), create_nodes, timeout })
    }

    pub(crate) async fn register_node(&self, address: &str) -> Result<()> {
        let until = Instant::now() + self.timeout;
        self.in_time(until, self.register(address, until)).await
    }

    pub(crate) async fn remove_node(&self, address: &str) -> Result<()> {
        let until = Instant::now() + self.timeout;
        self.in_time(until, self.remove(address, until)).await
    }

    pub(crate) async fn remove_nodes(&self, addresses: &[Address]) -> Result<()> {
        let until = Instant::now() + self.timeout;
        self.in_time(until, self.remove_all(addresses, until)).await
    }

    pub(crate) async fn node_status(&self, address: &str) -> Result<Value> {
        let until = Instant::now() + self.timeout;
        let found = self.in_time(until, self.find(address, until)).await?;
        found.map(node::shown).ok_or_else(|| {
            refused(format!(
                "{address} is not registered with the container manager {}",
                self.client.name
            ))
        })
    }

    async fn in_time<T>(&self, until: Instant, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::time::timeout_at(until, work).await.unwrap_or_else(|_| {
            let (name, waited) = (&self.client.name, self.timeout.as_secs());
            let message = format!("the container manager {name} did not answer within {waited} s");
            Err(Error::unavailable(message))
        })
    }

    /// An answer that the request should not have.
    fn unexpected(&self, doing: &str, answer: &Answer) -> Error {
        let name = &self.client.name;
        refused(format!("the container manager {name} did not {doing}: {}", answer.reason()))
    }

    /// Looks first, and again whenever it is unknown whether a creation went through.
    async fn register(&self, address: &str, until: Instant) -> Result<()> {
        let mut retries = Retries::until(until);
        loop {
            if let Some(node) = self.find(address, until).await? {
                return self.adopt(address, &node);
            }
            self.may_create(address)?;
            let creation = Request::nodes(Method::POST).with_body(node::new(address));
            let (after, error) = match self.client.once(&creation).await {
                Ok(Answer::Done(_)) => {
                    let name = &self.client.name;
                    tracing::info!(
                        container_manager.name = name,
                        node.name = address,
                        "node created"
                    );
                    return Ok(());
                }
                Ok(Answer::Again(after, why)) => (after, self.client.away(&why)),
                Ok(answer @ Answer::Exists(_)) => {
                    (None, self.unexpected("create the node", &answer))
                }
                Ok(answer) => return Err(self.unexpected("create the node", &answer)),
                Err(error) if error.kind() == Kind::Unavailable => (None, error),
                Err(error) => return Err(error),
            };
            retries.pause(after, error).await?;
        }
    }

    fn adopt(&self, address: &str, node: &Value) -> Result<()> {
        let (name, node_name) = (&self.client.name, node::name(node));
        if node::is_terminating(node) {
            return Err(refused(format!(
                "the node {node_name} is being deleted from the container manager {name}: register {address} again when it is gone"
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

    fn may_create(&self, address: &str) -> Result<()> {
        let name = &self.client.name;
        if !self.create_nodes {
            return Err(refused(format!(
                "the container manager {name} has no node {address}, and none is to be created there: its kubelet has to register it"
            )));
        }
        node::check_name(address).map_err(|why| {
            refused(format!("the container manager {name} cannot have a node {address}: {why}"))
        })
    }

    async fn remove(&self, address: &str, until: Instant) -> Result<()> {
        match self.find(address, until).await? {
            Some(node) => self.delete(address, node, until).await,
            None => Ok(()),
        }
    }

    async fn remove_all(&self, addresses: &[Address], until: Instant) -> Result<()> {
        let nodes = self.list(until).await?;
        let removals: Vec<_> =
            addresses.iter().map(|address| self.remove_listed(&nodes, address, until)).collect();
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

    async fn remove_listed(&self, nodes: &[Value], address: &str, until: Instant) -> Result<()> {
        match self.candidate(nodes, address)? {
            Some(node) => self.delete(address, node.clone(), until).await,
            None => Ok(()),
        }
    }

    /// Deletes exactly this node, if it is ours.
    async fn delete(&self, address: &str, mut node: Value, until: Instant) -> Result<()> {
        let mut retries = Retries::until(until);
        loop {
            let (name, node_name) = (&self.client.name, node::name(&node).to_owned());
            if !node::is_ours(&node) {
                tracing::info!(
                    container_manager.name = name,
                    host.address = address,
                    node.name = node_name,
                    "node left: it was not created here"
                );
                return Ok(());
            }
            let deletion =
                Request::node(Method::DELETE, &node_name).with_body(node::deletion(&node));
            match self.client.ask(&deletion, until).await? {
                Answer::Done(_) | Answer::Missing => {
                    tracing::info!(
                        container_manager.name = name,
                        host.address = address,
                        node.name = node_name,
                        "node removed"
                    );
                    return Ok(());
                }
                // Another one has taken its name meanwhile.
                answer @ Answer::Changed(_) => {
                    retries.pause(None, self.unexpected("delete the node", &answer)).await?;
                }
                answer => return Err(self.unexpected("delete the node", &answer)),
            }
            match self.find(address, until).await? {
                Some(found) => node = found,
                None => return Ok(()),
            }
        }
    }

    /// The node of a host: the one of that name, else the one that has the address.
    async fn find(&self, address: &str, until: Instant) -> Result<Option<Value>> {
        if node::check_name(address).is_ok() {
            match self.client.ask(&Request::node(Method::GET, address), until).await? {
                Answer::Done(node) => return Ok(Some(node)),
                Answer::Missing => {}
                answer => return Err(self.unexpected("show the node", &answer)),
            }
        }
        let nodes = self.list(until).await?;
        Ok(self.candidate(&nodes, address)?.cloned())
    }

    fn candidate<'a>(&self, nodes: &'a [Value], address: &str) -> Result<Option<&'a Value>> {
        node::of_host(nodes, address).map_err(|names| {
            refused(format!(
                "{address} is an address of more than one node of the container manager {}: {}",
                self.client.name,
                abridged(names, ", ")
            ))
        })
    }

    /// All nodes, page by page.
    async fn list(&self, until: Instant) -> Result<Vec<Value>> {
        let mut retries = Retries::until(until);
        let (mut nodes, mut next) = (Vec::new(), String::new());
        loop {
            let mut request = Request::nodes(Method::GET).with_query("limit", PAGE);
            if !next.is_empty() {
                request = request.with_query("continue", &next);
            }
            match self.client.ask(&request, until).await? {
                Answer::Done(mut page) => {
                    if let Value::Array(items) = page["items"].take() {
                        nodes.extend(items);
                    }
                    match page["metadata"]["continue"].as_str() {
                        Some(more) if !more.is_empty() => more.clone_into(&mut next),
                        _ => return Ok(nodes),
                    }
                }
                // The list has become too old between two pages: from the beginning.
                answer @ Answer::Expired(_) => {
                    retries.pause(None, self.unexpected("list the nodes", &answer)).await?;
                    nodes.clear();
                    next.clear();
                }
                answer => return Err(self.unexpected("list the nodes", &answer)),
            }
        }
    }
}

fn refused(message: String) -> Error {
    Error::new(Kind::ContainerManager, message)
}
