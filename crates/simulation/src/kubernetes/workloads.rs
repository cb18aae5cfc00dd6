//! What runs in the Kubernetes of a run. Pure.

use serde_json::{Value, json};

use super::node_name;
use crate::scenario::kubernetes::{Workload, WorkloadKind};

/// The objects of all workloads.
pub(super) fn objects(workloads: &[Workload]) -> Vec<Value> {
    let objects = workloads.iter().enumerate().flat_map(|(number, it)| objects_of(it, number));
    objects.collect()
}

fn objects_of(workload: &Workload, number: usize) -> Vec<Value> {
    let (kind, replicas) = match workload.kind {
        WorkloadKind::Deployment { replicas, .. } => ("Deployment", replicas),
        WorkloadKind::StatefulSet { replicas } => ("StatefulSet", replicas),
        WorkloadKind::DaemonSet => ("DaemonSet", 0),
        WorkloadKind::NakedPod { host } => {
            return vec![naked_pod(&name(number), &node_name(host))];
        }
    };
    let labels = json!({"app": name(number)});
    let mut object = json!({"apiVersion": "apps/v1", "kind": kind,
        "metadata": {"name": name(number), "namespace": "default"},
        "spec": {"selector": {"matchLabels": labels}, "template": template(workload, number)}});
    if kind != "DaemonSet" {
        object["spec"]["replicas"] = replicas.into();
    }
    let mut objects = vec![object];
    if let WorkloadKind::Deployment { max_unavailable: Some(max_unavailable), .. } = workload.kind {
        objects.extend(budget(workload, number, max_unavailable));
    }
    objects
}

/// The name of the workload with this number.
pub(super) fn name(number: usize) -> String {
    format!("app{number}")
}

fn template(workload: &Workload, number: usize) -> Value {
    let seconds = workload.terminates_after;
    let mut template = json!({
        "metadata": {
            "labels": {"app": name(number)},
            "annotations": {"stand-in/terminates-after": seconds.to_string()},
        },
        "spec": {
            "containers": [{"name": "c", "image": "i"}],
            "terminationGracePeriodSeconds": seconds.max(1) * 2,
        },
    });
    if workload.is_skipped {
        template["metadata"]["labels"]["tier"] = "stays".into();
    }
    if workload.has_local_data {
        template["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    }
    if workload.tolerates_cordon {
        template["spec"]["tolerations"] =
            json!([{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]);
    }
    template
}

/// The disruption budget of a workload, which only deployments have.
pub(super) fn budget(workload: &Workload, number: usize, max_unavailable: usize) -> Option<Value> {
    let WorkloadKind::Deployment { .. } = workload.kind else { return None };
    Some(json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": name(number), "namespace": "default"},
        "spec": {"maxUnavailable": max_unavailable,
            "selector": {"matchLabels": {"app": name(number)}}}}))
}

/// A pod without a controller on a node.
pub(super) fn naked_pod(name: &str, node: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}})
}

/// A ReplicaSet of one pod.
pub(super) fn replica_set(name: &str) -> Value {
    let labels = json!({"app": name});
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels},
                "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

/// The pod of a ReplicaSet, bound to a node.
pub(super) fn bound_pod(set: &Value, node: &str) -> Value {
    let (name, uid) = (&set["metadata"]["name"], &set["metadata"]["uid"]);
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": uid,
        "controller": true, "blockOwnerDeletion": true});
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name},
            "ownerReferences": [owner]},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}})
}
