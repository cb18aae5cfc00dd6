//! Machines of Cluster API: while a node is cordoned, their health checks do not replace its machine.

use std::collections::BTreeMap;

use bus::Result;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use model::abridged;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::failure::{self, retried};
use super::forecast::Place;
use super::node_state::annotation;
use super::patch::{annotation_path, json_patch};
use super::{Kubernetes, node};

/// The API group of Cluster API.
const GROUP: &str = "cluster.x-k8s.io";

/// The versions of its API, the preferred one first.
const VERSIONS: [&str; 2] = ["v1beta2", "v1beta1"];

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
    /// The warning of a plan about those of these nodes whose machines may be replaced by health checks.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub(super) async fn remediation_warning(
        &self,
        drained: impl Iterator<Item = &Place>,
        deadline: Instant,
    ) -> Result<Option<String>> {
        let mut namespaces: BTreeMap<&str, Vec<(&MachineName, &str)>> = BTreeMap::new();
        for place in drained {
            if let Some(machine) = &place.machine {
                namespaces.entry(&machine.namespace).or_default().push((machine, &place.name));
            }
        }
        let (mut nodes, mut reason) = (Vec::new(), String::new());
        for found in namespaces.values() {
            // Rights are given by namespace: one Machine stands for all.
            let Some((machine, _)) = found.first() else { continue };
            if let Some(why) = self.cannot_annotate(machine, deadline).await? {
                nodes.extend(found.iter().map(|(_, node)| *node));
                reason = why;
            }
        }
        Ok((!nodes.is_empty()).then(|| {
            format!(
                "health checks of Cluster API may replace the Machines of these nodes, because the annotation \
                 {SKIP_REMEDIATION} cannot be set ({reason}): {}; the timeout of a MachineHealthCheck has to be longer \
                 than the turn of a host",
                abridged(nodes, ", ")
            )
        }))
    }

    /// Why a Machine cannot be annotated; `None` if it can.
    async fn cannot_annotate(
        &self,
        machine: &MachineName,
        deadline: Instant,
    ) -> Result<Option<String>> {
        match self.machine(machine, deadline).await {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(Some("this Kubernetes has no such Machines".to_owned())),
            Err(kube::Error::Api(status)) if status.code == 403 => {
                return Ok(Some(failure::text(&status)));
            }
            Err(error) => return Err(self.failed("show the Machine", &error)),
        }
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    verb: Some("patch".to_owned()),
                    group: Some(GROUP.to_owned()),
                    resource: Some("machines".to_owned()),
                    namespace: Some(machine.namespace.clone()),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client());
        let params = PostParams::default();
        let reviewed = retried(deadline, || api.create(&params, &review)).await;
        let reviewed = reviewed.map_err(|error| self.failed("review its rights", &error))?;
        let is_allowed = reviewed.status.is_some_and(|status| status.allowed);
        let denied = "the account may not patch machines; conf/kubernetes/rbac.yaml has the role";
        Ok((!is_allowed).then(|| denied.to_owned()))
    }

    /// Annotates a Machine so that it is not replaced. Best effort: returns a warning if that was impossible.
    pub(super) async fn skip_remediation(
        &self,
        machine: &MachineName,
        deadline: Instant,
    ) -> Option<String> {
        match self.annotate(machine, deadline).await {
            Ok(true) => None,
            Ok(false) => Some(machine.warning("this Kubernetes has no such Machine")),
            Err(kube::Error::Api(status)) => Some(machine.warning(&failure::text(&status))),
            Err(error) => Some(machine.warning(&error.to_string())),
        }
    }

    /// False if there is no such Machine.
    async fn annotate(&self, machine: &MachineName, deadline: Instant) -> kube::Result<bool> {
        let Some((api, found)) = self.machine(machine, deadline).await? else { return Ok(false) };
        let annotations = found.metadata.annotations.unwrap_or_default();
        if annotations.contains_key(SKIP_REMEDIATION) {
            return Ok(true);
        }
        let version = found.metadata.resource_version;
        let mut operations =
            vec![json!({"op": "test", "path": "/metadata/resourceVersion", "value": version})];
        if annotations.is_empty() {
            operations.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
        }
        let path = annotation_path(SKIP_REMEDIATION);
        operations.push(json!({"op": "add", "path": path, "value": OURS}));
        patch(&api, machine, operations.into(), deadline).await.map(|()| true)
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
        match self.remove_annotation(machine, deadline).await {
            Ok(()) => Ok(None),
            // Others have removed it at the same time.
            Err(error) if failure::is_stale(&error) => Ok(None),
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(Some(format!(
                "the annotation {SKIP_REMEDIATION} of the Machine {}/{} cannot be removed: {}",
                machine.namespace,
                machine.name,
                failure::text(&status)
            ))),
            Err(error) => Err(self.failed("patch the Machine", &error)),
        }
    }

    async fn remove_annotation(
        &self,
        machine: &MachineName,
        deadline: Instant,
    ) -> kube::Result<()> {
        let Some((api, found)) = self.machine(machine, deadline).await? else { return Ok(()) };
        let annotations = found.metadata.annotations.unwrap_or_default();
        if annotations.get(SKIP_REMEDIATION).is_none_or(|value| value != OURS) {
            return Ok(());
        }
        let path = annotation_path(SKIP_REMEDIATION);
        let operations = json!([{"op": "test", "path": path, "value": OURS},
                                {"op": "remove", "path": path}]);
        patch(&api, machine, operations, deadline).await
    }

    /// A Machine, in the first version that the API server has; `None` if it does not exist in this Kubernetes: Machines
    /// may be in the one that manages it.
    async fn machine(
        &self,
        machine: &MachineName,
        deadline: Instant,
    ) -> kube::Result<Option<(Api<DynamicObject>, DynamicObject)>> {
        for version in VERSIONS {
            let kind = GroupVersionKind::gvk(GROUP, version, "Machine");
            let resource = ApiResource::from_gvk(&kind);
            let api: Api<DynamicObject> =
                Api::namespaced_with(self.client(), &machine.namespace, &resource);
            match retried(deadline, || api.get(&machine.name)).await {
                Ok(found) => return Ok(Some((api, found))),
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

async fn patch(
    api: &Api<DynamicObject>,
    machine: &MachineName,
    operations: Value,
    deadline: Instant,
) -> kube::Result<()> {
    let (params, patch) = json_patch(operations)?;
    retried(deadline, || api.patch(&machine.name, &params, &patch)).await.map(drop)
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
