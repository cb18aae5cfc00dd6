//! The state of a node, digested from its object. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, NodeSpec, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, Time};
use model::{NodeState, Stamp};

use super::cordon::CORDONED_BY;

/// The labels of nodes that run the control plane or etcd; those of k3s and rke2 run it without mirror pods.
const CONTROL_PLANE: [&str; 3] = [
    "node-role.kubernetes.io/control-plane",
    "node-role.kubernetes.io/etcd",
    "node-role.kubernetes.io/master",
];

/// Conditions that make a node that is ready unfit for pods.
const UNFIT: [&str; 2] = ["DiskPressure", "NetworkUnavailable"];

/// Taints that a node has until something on it is ready: of cloud providers, Cluster API and Karpenter.
const START_UP_TAINTS: [&str; 3] = [
    "node.cloudprovider.kubernetes.io/uninitialized",
    "node.cluster.x-k8s.io/uninitialized",
    "karpenter.sh/unregistered",
];

/// The prefixes of start-up taints whose names users choose.
const START_UP_PREFIXES: [&str; 2] =
    ["startup-taint.cluster-autoscaler.kubernetes.io/", "readiness.k8s.io/"];

/// The suffix of the start-up taints of network and storage plug-ins, such as `node.cilium.io/agent-not-ready`.
const START_UP_SUFFIX: &str = "/agent-not-ready";

/// Taints of nodes that an autoscaler deletes. `DeletionCandidateOfClusterAutoscaler` is not among them, because it is taken back.
const DELETION_TAINTS: [&str; 3] =
    ["ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted", "karpenter.sh/disruption"];

/// The annotation with the state of OpenShift's machine config daemon.
const MACHINE_CONFIG: &str = "machineconfiguration.openshift.io/state";

/// The state of a node.
pub(super) fn digest(node: &Node) -> NodeState {
    let (metadata, spec) = (&node.metadata, node.spec.as_ref());
    let status = node.status.as_ref();
    let info = status.and_then(|status| status.node_info.as_ref());
    let ready = condition(node, "Ready");
    let unschedulable = is_unschedulable(node);
    let (cordon_manager, cordoned_at) = cordon_writer(metadata.managed_fields.as_deref());
    let mut problems: Vec<_> = UNFIT
        .into_iter()
        .filter(|name| condition(node, name).is_some_and(|condition| condition.status == "True"))
        .map(str::to_owned)
        .collect();
    problems.extend(
        taints(spec)
            .filter(|taint| is_start_up(taint))
            .map(|taint| format!("the start-up taint {}", taint.key)),
    );
    let deletion = taints(spec).find(|taint| DELETION_TAINTS.contains(&taint.key.as_str()));
    let labels = metadata.labels.as_ref();
    NodeState {
        name: text(metadata.name.as_ref()),
        uid: text(metadata.uid.as_ref()),
        version: text(metadata.resource_version.as_ref()),
        addresses: status
            .into_iter()
            .flat_map(|status| status.addresses.iter().flatten())
            .map(|address| address.address.clone())
            .collect(),
        machine_id: info.map(|info| info.machine_id.clone()).unwrap_or_default(),
        boot_id: info.map(|info| info.boot_id.clone()).unwrap_or_default(),
        is_control_plane: labels
            .is_some_and(|labels| CONTROL_PLANE.iter().any(|label| labels.contains_key(*label))),
        is_ready: ready.is_some_and(|ready| ready.status == "True"),
        ready_changed: stamp(ready.and_then(|ready| ready.last_transition_time.as_ref())),
        heartbeat: stamp(ready.and_then(|ready| ready.last_heartbeat_time.as_ref())),
        problems,
        unschedulable,
        cordoned_by: annotation(node, CORDONED_BY).to_owned(),
        cordon_manager: if unschedulable { cordon_manager } else { String::new() },
        cordoned_at: if unschedulable { cordoned_at } else { Stamp::default() },
        deletion_taint: deletion.map(|taint| taint.key.clone()).unwrap_or_default(),
        machine_config: annotation(node, MACHINE_CONFIG).to_owned(),
        volumes_attached: status
            .and_then(|status| status.volumes_attached.as_ref())
            .map_or(0, Vec::len),
    }
}

/// An annotation of a node; empty without it.
pub(super) fn annotation<'a>(node: &'a Node, key: &str) -> &'a str {
    annotations(node).and_then(|annotations| annotations.get(key)).map_or("", String::as_str)
}

/// The annotations of a node; `None` if it has none at all.
pub(super) fn annotations(node: &Node) -> Option<&BTreeMap<String, String>> {
    node.metadata.annotations.as_ref()
}

/// Whether a node is cordoned.
pub(super) fn is_unschedulable(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true)
}

/// The stamp of a time; empty without one.
pub(super) fn stamp(time: Option<&Time>) -> Stamp {
    time.map(|time| Stamp::of(time.0)).unwrap_or_default()
}

/// A text that may be missing.
pub(super) fn text(text: Option<&String>) -> String {
    text.cloned().unwrap_or_default()
}

fn condition<'a>(node: &'a Node, name: &str) -> Option<&'a NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == name)
}

fn taints(spec: Option<&NodeSpec>) -> impl Iterator<Item = &Taint> {
    spec.into_iter().flat_map(|spec| spec.taints.iter().flatten())
}

/// Whether a taint keeps pods away until something on the node is ready.
fn is_start_up(taint: &Taint) -> bool {
    let key = taint.key.as_str();
    taint.effect != "PreferNoSchedule"
        && (START_UP_TAINTS.contains(&key)
            || START_UP_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
            || key.ends_with(START_UP_SUFFIX))
}

/// The field manager that wrote `spec.unschedulable` last, and when.
fn cordon_writer(entries: Option<&[ManagedFieldsEntry]>) -> (String, Stamp) {
    let time = |entry: &ManagedFieldsEntry| {
        entry.time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0)
    };
    let last = entries
        .into_iter()
        .flatten()
        .filter(|entry| {
            let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
            fields.is_some_and(|fields| fields["f:spec"].get("f:unschedulable").is_some())
        })
        .max_by_key(|entry| time(entry));
    last.map_or_else(Default::default, |entry| {
        (text(entry.manager.as_ref()), stamp(entry.time.as_ref()))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::kubernetes::recorded::one;

    fn digested(value: Value) -> NodeState {
        digest(&serde_json::from_value(value).unwrap())
    }

    #[test]
    fn recorded_node_is_digested() {
        let state = digested(one("cordon-jsonpatch-200").response);
        assert_eq!((state.name.as_str(), state.version.as_str()), ("worker-2", "229"));
        assert_eq!(state.uid, "695d87aa-7e28-4414-857e-05ea3d1c8ca1");
        assert_eq!(state.addresses, ["192.168.152.111", "worker-2"]);
        assert!(state.is_ready && state.unschedulable && !state.is_control_plane);
        assert_eq!(state.heartbeat, "2026-01-01T00:00:00.000000");
        assert_eq!((state.problems.len(), state.cordoned_by.as_str()), (0, ""));
        let state = digested(one("node-create-201").response);
        assert!(!state.is_ready && !state.unschedulable && state.heartbeat.is_empty());
    }

    fn with(change: impl Fn(&mut Value)) -> NodeState {
        let mut node = one("cordon-jsonpatch-200").response;
        change(&mut node);
        digested(node)
    }

    fn tainted(key: &str, effect: &str) -> NodeState {
        with(|node| node["spec"]["taints"] = json!([{"key": key, "effect": effect}]))
    }

    #[test]
    fn start_up_taints_and_bad_conditions_are_problems() {
        for key in [
            "node.cloudprovider.kubernetes.io/uninitialized",
            "startup-taint.cluster-autoscaler.kubernetes.io/gpu",
            "readiness.k8s.io/network",
            "node.cilium.io/agent-not-ready",
        ] {
            assert_eq!(tainted(key, "NoSchedule").problems, [format!("the start-up taint {key}")]);
            assert!(tainted(key, "PreferNoSchedule").problems.is_empty());
        }
        for key in ["node.kubernetes.io/not-ready", "dedicated", "node.kubernetes.io/unschedulable"]
        {
            assert!(tainted(key, "NoSchedule").problems.is_empty(), "{key}");
        }
        let state = with(|node| {
            node["status"]["conditions"] = json!([
                {"type": "DiskPressure", "status": "True"},
                {"type": "NetworkUnavailable", "status": "False"},
                {"type": "MemoryPressure", "status": "True"},
            ]);
        });
        assert_eq!((state.problems, state.is_ready), (vec!["DiskPressure".to_owned()], false));
    }

    #[test]
    fn only_final_deletion_taints_count() {
        for key in DELETION_TAINTS {
            assert_eq!(tainted(key, "NoSchedule").deletion_taint, key);
        }
        assert_eq!(
            tainted("DeletionCandidateOfClusterAutoscaler", "NoSchedule").deletion_taint,
            ""
        );
    }

    #[test]
    fn newest_writer_of_unschedulable_is_named() {
        let entry = |manager: &str, time: &str, fields: Value| json!({"manager": manager, "operation": "Update", "time": time, "fieldsV1": fields});
        let cordon = json!({"f:spec": {"f:unschedulable": {}}});
        let entries = json!([
            entry("kubectl-cordon", "2026-11-30T11:00:00Z", cordon.clone()),
            entry("kured", "2026-11-30T12:00:00Z", cordon),
            entry("kubelet", "2026-11-30T13:00:00Z", json!({"f:status": {}})),
        ]);
        let state = with(|node| node["metadata"]["managedFields"] = entries.clone());
        assert_eq!(state.cordon_manager, "kured");
        assert_eq!(state.cordoned_at, "2026-11-30T12:00:00.000000");
        let state = with(|node| {
            node["metadata"]["managedFields"] = entries.clone();
            node["spec"]["unschedulable"] = false.into();
        });
        assert_eq!((state.cordon_manager.as_str(), state.cordoned_at.as_str()), ("", ""));
    }

    #[test]
    fn labels_and_annotations_are_taken_over() {
        for label in CONTROL_PLANE {
            assert!(with(|node| node["metadata"]["labels"][label] = "".into()).is_control_plane);
        }
        let state = with(|node| {
            node["metadata"]["annotations"] =
                json!({MACHINE_CONFIG: "Working", CORDONED_BY: "i/o"});
            node["status"]["volumesAttached"] = json!([{"name": "v", "devicePath": ""}]);
            node["status"]["nodeInfo"]["bootID"] = "b1".into();
            node["status"]["nodeInfo"]["machineID"] = "m1".into();
        });
        assert_eq!((state.machine_config.as_str(), state.cordoned_by.as_str()), ("Working", "i/o"));
        assert_eq!((state.volumes_attached, state.boot_id.as_str()), (1, "b1"));
        assert_eq!(state.machine_id, "m1");
    }
}
