//! Kubernetes, and OpenShift, which has the same API.
//!
//! - `budget`: disruption budgets (pure)
//! - `client`: clients, made from options
//! - `contents`: a node and what is on it
//! - `cordon`: cordons
//! - `daemon_sets`: which DaemonSets exist
//! - `evictions`: evictions of pods
//! - `failure`: what failed requests mean, and which of them are retried
//! - `forecast`: forecasts of drains
//! - `lists`: lists, page by page
//! - `machine`: Machines of Cluster API
//! - `node`: which node is a host's (pure)
//! - `node_state`, `pod_state`: the states of nodes and pods, digested from their objects (pure)
//! - `nodes`: all nodes
//! - `patch`: JSON Patches (pure)
//! - `registration`: nodes that are registered, removed and found for hosts
//! - `selector`: label selectors (pure)
//! - `token_file`: tokens in files
//! - `tolerations`: whether pods tolerate taints (pure)
//! - `workloads`: how many ready pods controllers have

mod budget;
mod client;
mod contents;
mod control_plane;
mod cordon;
mod daemon_sets;
mod evictions;
mod failure;
mod forecast;
mod lists;
mod machine;
mod node;
mod node_state;
mod nodes;
mod patch;
mod pod_state;
#[cfg(test)]
mod recorded;
mod registration;
mod rivals;
mod selector;
mod token_file;
mod tolerations;
mod workloads;

use std::time::Duration;

use bus::{Error, Kind, Result};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};
use model::{KubernetesOptions, Limit};
use serde_json::json;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use url::Url;

pub use client::{ClientFactory, ClientFunction};
use control_plane::StaticServers;
use daemon_sets::DaemonSets;

/// A Kubernetes cluster.
#[derive(Debug)]
pub(crate) struct Kubernetes {
    /// The name of the container manager, for messages.
    name: String,
    /// The host of its URL, for messages.
    host: String,
    nodes: Api<Node>,
    create_nodes: bool,
    max_unavailable: Option<Limit>,
    single_node: bool,
    /// The uid that identifies the Kubernetes, once it was read.
    id: OnceCell<String>,
    daemon_sets: DaemonSets,
    static_servers: StaticServers,
    /// Timeout of an operation, including retries.
    timeout: Duration,
}

impl Kubernetes {
    /// The Kubernetes cluster behind a client. Of the options, those that say how a client is made are not used.
    pub(crate) fn with_client(
        name: &str,
        client: Client,
        options: &KubernetesOptions,
        timeout: Duration,
    ) -> Self {
        let client = failure::checked(client, options.token.clone());
        let server = options.server_url.as_ref();
        Self {
            name: name.to_owned(),
            host: server.and_then(Url::host_str).unwrap_or_default().to_owned(),
            nodes: Api::all(client),
            create_nodes: options.create_nodes,
            max_unavailable: options.max_unavailable,
            single_node: options.single_node,
            id: OnceCell::new(),
            daemon_sets: DaemonSets::default(),
            static_servers: StaticServers::default(),
            timeout,
        }
    }

    fn client(&self) -> Client {
        self.nodes.clone().into_client()
    }

    async fn before_deadline<T, F>(&self, operation: impl FnOnce(Instant) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let deadline = Instant::now() + self.timeout;
        tokio::time::timeout_at(deadline, operation(deadline)).await.unwrap_or_else(|_| {
            let (name, seconds) = (&self.name, self.timeout.as_secs());
            let message = format!("the container manager {name} did not answer within {seconds} s");
            Err(Error::unavailable(message))
        })
    }

    /// The error of an operation in which a request failed.
    fn failed(&self, action: &str, error: &kube::Error) -> Error {
        let name = &self.name;
        let not_done =
            |why| refused(format!("the container manager {name} did not {action}: {why}"));
        let is_transient = failure::is_transient(error);
        if let kube::Error::Api(status) = error {
            let text = failure::text(status);
            return match status.code {
                _ if is_transient => {
                    let message = format!("the container manager {name} cannot answer now: {text}");
                    Error::unavailable(message)
                }
                401 => not_done(format!("the token or certificate is not accepted: {text}"))
                    .with_data(json!({"status": 401})),
                403 => not_done(with_manifests(&text)).with_data(json!({"status": 403})),
                _ => not_done(text),
            };
        }
        if let Some(why) = failure::tls_error(error) {
            refused(format!(
                "no trusted connection to the container manager {name}: {why}; see `certificate_authority_path` and `certificate_path` in its options"
            ))
        } else if is_transient {
            let place = match self.host.as_str() {
                "" => String::new(),
                host => format!(" at {host}"),
            };
            let why = failure::causes(error);
            Error::unavailable(format!(
                "the container manager {name}{place} does not answer: {why}"
            ))
        } else if failure::is_too_large(error) {
            not_done("its answer is too large".to_owned())
        } else if let kube::Error::SerdeError(why) = error {
            not_done(format!(
                "its answer is not that of the Kubernetes API: {why}; check `server_url`"
            ))
        } else {
            not_done(error.to_string())
        }
    }
}

/// What the API server says about a missing right, and where the rights are.
fn with_manifests(text: &str) -> String {
    format!("{text}; conf/kubernetes/rbac.yaml has the rights that it needs")
}

fn refused(message: String) -> Error {
    Error::new(Kind::ContainerManager, message)
}
