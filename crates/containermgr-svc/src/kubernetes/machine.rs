//! Machines of Cluster API: while a node is cordoned, their health checks do not replace its machine.

use bus::Result;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::failure::{self, retried};
use super::node_state::annotation;
use super::patch::{annotation_path, json_patch};
use super::{Kubernetes, node};

/// The API group of Cluster API.
const GROUP: &str = "cluster.x-k8s.io";

/// The annotation of a node with the name of its Machine.
const MACHINE: &str = "cluster.x-k8s.io/machine";

/// The annotation of a node with the namespace of its Machine.
const NAMESPACE: &str = "cluster.x-k8s.io/cluster-namespace";

/// The annotation of a Machine that health checks leave alone. Only its presence matters to them.
const SKIP_REMEDIATION: &str = "cluster.x-k8s.io/skip-remediation";

/// The value of the annotation by which it is recognized as ours.
const OURS: &str = "commissaire.io";

/// The name of the Machine of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MachineName {
    namespace: String,
    name: String,
}

/// The answer to a request for an API group.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    preferred_version: Version,
}

#[derive(Debug, Clone, Deserialize)]
struct Version {
    version: String,
}

impl MachineName {
    /// The Machine that the annotations of a node name.
    pub(super) fn of(node: &Node) -> Option<Self> {
        let (namespace, name) = (annotation(node, NAMESPACE), annotation(node, MACHINE));
        // Names become parts of paths.
        let is_name = |name| node::check_name(name).is_ok();
        (is_name(namespace) && is_name(name))
            .then(|| Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    fn warning(&self, why: &str) -> String {
        let Self { namespace, name } = self;
        format!(
            "the Machine {namespace}/{name} has no annotation {SKIP_REMEDIATION}, and its health check may replace it: \
             {why}"
        )
    }
}

impl Kubernetes {
    /// Annotates a Machine so that it is not replaced. Best effort: returns a warning if that was impossible.
    pub(super) async fn skip_remediation(
        &self,
        machine: &MachineName,
        deadline: Instant,
    ) -> Option<String> {
        match self.annotate(machine, deadline).await {
            Ok(()) => None,
            Err(kube::Error::Api(status)) => Some(machine.warning(&failure::text(&status))),
            Err(error) => Some(machine.warning(&error.to_string())),
        }
    }

    async fn annotate(&self, machine: &MachineName, deadline: Instant) -> kube::Result<()> {
        let api = self.machines(machine, deadline).await?;
        let found = retried(deadline, || api.get(&machine.name)).await?;
        let annotations = found.metadata.annotations.unwrap_or_default();
        if annotations.contains_key(SKIP_REMEDIATION) {
            return Ok(());
        }
        let version = found.metadata.resource_version;
        let mut operations =
            vec![json!({"op": "test", "path": "/metadata/resourceVersion", "value": version})];
        if annotations.is_empty() {
            operations.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
        }
        let path = annotation_path(SKIP_REMEDIATION);
        operations.push(json!({"op": "add", "path": path, "value": OURS}));
        self.patch_machine(&api, machine, operations.into(), deadline).await
    }

    /// Removes the annotation from a Machine if it is ours; returns a warning if that is not allowed.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub(super) async fn resume_remediation(
        &self,
        machine: &MachineName,
        deadline: Instant,
    ) -> Result<Option<String>> {
        let removed = async {
            let api = self.machines(machine, deadline).await?;
            let path = annotation_path(SKIP_REMEDIATION);
            let operations = json!([{"op": "test", "path": path, "value": OURS},
                                    {"op": "remove", "path": path}]);
            self.patch_machine(&api, machine, operations, deadline).await
        };
        match removed.await {
            Ok(()) => Ok(None),
            // The annotation is not ours, or there is no such Machine in this Kubernetes.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 422) => Ok(None),
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(Some(format!(
                "the annotation {SKIP_REMEDIATION} of the Machine {}/{} was not removed: {}",
                machine.namespace,
                machine.name,
                failure::text(&status)
            ))),
            Err(error) => Err(self.failed("patch the Machine", error)),
        }
    }

    /// The Machines of a namespace, in the version that the API server prefers.
    async fn machines(
        &self,
        machine: &MachineName,
        deadline: Instant,
    ) -> kube::Result<Api<DynamicObject>> {
        let send = async || {
            let request = http::Request::get(format!("/apis/{GROUP}")).body(Vec::new());
            self.client().request::<Group>(request.map_err(kube::Error::HttpError)?).await
        };
        let group = retried(deadline, send).await?;
        let kind = GroupVersionKind::gvk(GROUP, &group.preferred_version.version, "Machine");
        let resource = ApiResource::from_gvk(&kind);
        Ok(Api::namespaced_with(self.client(), &machine.namespace, &resource))
    }

    async fn patch_machine(
        &self,
        api: &Api<DynamicObject>,
        machine: &MachineName,
        operations: Value,
        deadline: Instant,
    ) -> kube::Result<()> {
        let (params, patch) = json_patch(operations)?;
        retried(deadline, || api.patch(&machine.name, &params, &patch)).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::recorded::one;

    fn named(annotations: Value) -> Option<MachineName> {
        let mut node = one("node-get-200").response;
        node["metadata"]["annotations"] = annotations;
        MachineName::of(&serde_json::from_value(node).unwrap())
    }

    #[test]
    fn machine_is_named_by_two_annotations() {
        let machine = named(json!({MACHINE: "m1", NAMESPACE: "fleet"})).unwrap();
        assert_eq!((machine.namespace.as_str(), machine.name.as_str()), ("fleet", "m1"));
        for annotations in [
            Value::Null,
            json!({MACHINE: "m1"}),
            json!({MACHINE: "../../nodes/n", NAMESPACE: "fleet"}),
        ] {
            assert_eq!(named(annotations.clone()), None, "{annotations}");
        }
    }
}
