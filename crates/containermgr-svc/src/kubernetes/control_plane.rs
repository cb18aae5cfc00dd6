//! Whether the control plane is complete without one of its nodes.

use bus::Result;
use http::Request;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use model::abridged;

use super::nodes::SYSTEM;
use super::{Kubernetes, failure, pod_state};

/// The path at which the API server says whether it is ready.
const READY: &str = "/readyz";

impl Kubernetes {
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
                Err(error) => Err(self.failed("show whether it is ready", error)),
            }
        })
        .await
    }
}
