//! The control plane: which nodes belong to it, and whether it is complete without one of them.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bus::Result;
use http::Request;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use model::{NodeState, abridged};
use tokio::time::Instant;

use super::nodes::SYSTEM;
use super::{Kubernetes, failure, pod_state};

/// The path at which the API server says whether it is ready.
const READY: &str = "/readyz";

/// The static pods of etcd and of API servers, by a label that kubeadm and rke2 give them.
const SERVERS: &str = "component in (etcd,kube-apiserver)";

/// How long it is remembered on which nodes they run.
const REMEMBERED: Duration = Duration::from_mins(10);

/// The nodes on which etcd or an API server runs as a static pod, and when they were listed.
#[derive(Debug, Default)]
pub(super) struct StaticServers(Mutex<Option<(HashSet<String>, Instant)>>);

impl Kubernetes {
    /// Marks the nodes that belong to the control plane by their static pods, without a label of the node.
    pub(super) async fn mark_control_plane(
        &self,
        nodes: &mut [NodeState],
        deadline: Instant,
    ) -> Result<()> {
        let now = Instant::now();
        let remembered = || self.static_servers.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = |(_, since): &(_, Instant)| now.duration_since(*since) < REMEMBERED;
        if !remembered().as_ref().is_some_and(is_recent) {
            let api: Api<Pod> = Api::all(self.client());
            let digest = |pod: Pod| {
                let state = pod_state::digest(&pod, None);
                let node = pod.spec.and_then(|spec| spec.node_name).unwrap_or_default();
                pod_state::is_control_plane(&state, &node).then_some(node)
            };
            let params = ListParams::default().labels(SERVERS);
            let action = "list the static pods of the control plane";
            let listed = self.list(&api, params, action, deadline, digest).await?;
            *remembered() = Some((listed.into_iter().collect(), now));
        }
        for node in nodes {
            let runs_server = |(names, _): &(HashSet<String>, _)| names.contains(&node.name);
            node.is_control_plane |= remembered().as_ref().is_some_and(runs_server);
        }
        Ok(())
    }

    /// What of the control plane is not ready, beside the node `except`; `None` if all is.
    pub(crate) async fn control_plane_problem(&self, except: &str) -> Result<Option<String>> {
        if let Some(problem) = self.api_problem().await? {
            return Ok(Some(problem));
        }
        self.before_deadline(|deadline| async move {
            let api: Api<Pod> = Api::namespaced(self.client(), SYSTEM);
            let digest = |pod: Pod| {
                let state = pod_state::digest(&pod, None);
                let node = pod.spec.and_then(|spec| spec.node_name).unwrap_or_default();
                let counts = node != except && pod_state::is_control_plane(&state, &node);
                (counts && !state.is_ready).then(|| state.full_name())
            };
            let action = "list the static pods of the control plane";
            let pods = self.list(&api, ListParams::default(), action, deadline, digest).await?;
            Ok((!pods.is_empty()).then(|| {
                format!("static pods of the control plane are not ready: {}", abridged(pods, ", "))
            }))
        })
        .await
    }

    /// What the API server is not ready for, at the first answer.
    async fn api_problem(&self) -> Result<Option<String>> {
        self.before_deadline(|_| async move {
            let request = Request::get(READY).body(Vec::new()).map_err(kube::Error::HttpError);
            let answer = match request {
                Ok(request) => self.client().request_text(request).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(_) => Ok(None),
                Err(kube::Error::Api(status)) if status.code >= 500 => {
                    Ok(Some(format!("the API server is not ready: {}", failure::text(&status))))
                }
                Err(error) => Err(self.failed("show whether it is ready", &error)),
            }
        })
        .await
    }
}
