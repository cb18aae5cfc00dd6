//! Defaulting and admission of written objects, as recorded.

use serde_json::{Value, json};

use crate::object::{items, prune_nulls, remove, text};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// Sets a field that is absent.
fn default(object: &mut Value, field: &str, value: Value) {
    if (object.is_object() || object.is_null()) && object[field].is_null() {
        object[field] = value;
    }
}

/// Applies the defaults of creation and update.
pub(crate) fn decoded(kind: &str, object: &mut Value) {
    prune_nulls(object);
    for map in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let value = &object["metadata"][map];
        let is_empty = value.as_object().is_some_and(serde_json::Map::is_empty)
            || value.as_array().is_some_and(Vec::is_empty);
        if is_empty || value.is_null() {
            remove(object, "/metadata", map);
        }
    }
    match kind {
        "Node" => node(object),
        "Pod" => pod(object),
        "DaemonSet" => {
            let spec = &mut object["spec"];
            template(spec);
            let rolling = json!({"type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}});
            default(spec, "updateStrategy", rolling);
            default(spec, "revisionHistoryLimit", json!(10));
        }
        "Deployment" => {
            let spec = &mut object["spec"];
            template(spec);
            default(spec, "replicas", json!(1));
            let rolling = json!({"type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}});
            default(spec, "strategy", rolling);
            default(spec, "revisionHistoryLimit", json!(10));
            default(spec, "progressDeadlineSeconds", json!(600));
        }
        "ReplicaSet" => {
            template(&mut object["spec"]);
            default(&mut object["spec"], "replicas", json!(1));
        }
        "StatefulSet" => {
            let spec = &mut object["spec"];
            template(spec);
            default(spec, "replicas", json!(1));
            default(spec, "podManagementPolicy", json!("OrderedReady"));
            let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}});
            default(spec, "updateStrategy", rolling);
            default(spec, "revisionHistoryLimit", json!(10));
        }
        _ => {}
    }
}

/// Applies the defaults of creation, including the initial status.
pub(crate) fn created(kind: &str, object: &mut Value) {
    match kind {
        "Namespace" => {
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] =
                object["metadata"]["name"].clone();
            object["spec"] = json!({"finalizers": ["kubernetes"]});
            object["status"] = json!({"phase": "Active"});
        }
        "Node" => {
            let taints = items(object, "/spec/taints");
            if !taints.iter().any(|taint| taint["key"] == NOT_READY) {
                let added = json!({"key": NOT_READY, "effect": "NoSchedule"});
                let taints = taints.iter().cloned().chain([added]).collect();
                object["spec"]["taints"] = taints;
            }
        }
        "Pod" => {
            let class = quality(object);
            object["status"] = json!({"phase": "Pending", "qosClass": class});
        }
        "PodDisruptionBudget" => {
            object["status"] = json!({"disruptionsAllowed": 0, "currentHealthy": 0,
                "desiredHealthy": 0, "expectedPods": 0});
        }
        "DaemonSet" => {
            object["metadata"]["annotations"]["deprecated.daemonset.template.generation"] =
                "1".into();
            object["status"] = json!({"currentNumberScheduled": 0, "numberMisscheduled": 0,
                "desiredNumberScheduled": 0, "numberReady": 0});
        }
        "Deployment" => object["status"] = json!({}),
        "ReplicaSet" => object["status"] = json!({"replicas": 0}),
        "StatefulSet" => object["status"] = json!({"replicas": 0, "availableReplicas": 0}),
        _ => {}
    }
}

fn node(node: &mut Value) {
    if node["spec"]["unschedulable"] == false {
        remove(node, "/spec", "unschedulable");
    }
    for field in ["taints", "unschedulable"] {
        if node["spec"][field].is_null() || node["spec"][field] == json!([]) {
            remove(node, "/spec", field);
        }
    }
    if node["spec"].is_null() {
        node["spec"] = json!({});
    }
    let status = &mut node["status"];
    let capacity = status["capacity"].clone();
    if !capacity.is_null() {
        default(status, "allocatable", capacity);
    }
    default(status, "daemonEndpoints", json!({"kubeletEndpoint": {"Port": 0}}));
    for field in [
        "machineID",
        "systemUUID",
        "bootID",
        "kernelVersion",
        "osImage",
        "containerRuntimeVersion",
        "kubeletVersion",
        "kubeProxyVersion",
        "operatingSystem",
        "architecture",
    ] {
        default(&mut status["nodeInfo"], field, json!(""));
    }
    prune_nulls(status);
}

fn containers(spec: &mut Value) {
    let containers = spec.get_mut("containers").and_then(Value::as_array_mut);
    let containers = containers.into_iter().flatten();
    for container in containers.filter(|container| container.is_object()) {
        let image = text(container, "/image");
        let is_latest = image.ends_with(":latest") || !image.contains(':');
        let policy = if is_latest { "Always" } else { "IfNotPresent" };
        default(container, "resources", json!({}));
        default(container, "terminationMessagePath", json!("/dev/termination-log"));
        default(container, "terminationMessagePolicy", json!("File"));
        default(container, "imagePullPolicy", json!(policy));
    }
}

fn pod_spec(spec: &mut Value) {
    containers(spec);
    default(spec, "restartPolicy", json!("Always"));
    default(spec, "terminationGracePeriodSeconds", json!(30));
    default(spec, "dnsPolicy", json!("ClusterFirst"));
    default(spec, "securityContext", json!({}));
    default(spec, "schedulerName", json!("default-scheduler"));
}

fn template(spec: &mut Value) {
    if spec["template"]["spec"].is_object() {
        pod_spec(&mut spec["template"]["spec"]);
    }
}

fn pod(pod: &mut Value) {
    let is_mirror = pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_string();
    for map in ["annotations", "labels"] {
        if pod["metadata"][map].is_null() {
            remove(pod, "/metadata", map);
        }
    }
    let spec = &mut pod["spec"];
    if !spec.is_object() {
        return;
    }
    pod_spec(spec);
    if !is_mirror {
        default(spec, "serviceAccountName", json!("default"));
        let account = spec["serviceAccountName"].clone();
        default(spec, "serviceAccount", account);
    }
    default(spec, "priority", json!(0));
    default(spec, "enableServiceLinks", json!(true));
    default(spec, "preemptionPolicy", json!("PreemptLowerPriority"));
    let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
    for key in [NOT_READY, UNREACHABLE] {
        let is_tolerated = tolerations.iter().any(|known| {
            (known["key"] == key || known["key"].is_null())
                && (known["effect"] == "NoExecute" || known["effect"].is_null())
        });
        if !is_tolerated {
            tolerations.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": 300}));
        }
    }
    spec["tolerations"] = tolerations.into();
    let conditions = pod.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    let conditions = conditions.into_iter().flatten();
    for condition in conditions.filter(|condition| condition.is_object()) {
        // The server serializes unset times of pod conditions as `null`.
        for time in ["lastProbeTime", "lastTransitionTime"] {
            let known = condition[time].take();
            condition[time] = known;
        }
    }
    if pod["status"].is_null() {
        remove(pod, "", "status");
    }
}

/// The quality-of-service class of a pod.
fn quality(pod: &Value) -> &'static str {
    let containers = items(pod, "/spec/containers");
    let has = |container: &Value, field: &str| {
        container["resources"][field].as_object().is_some_and(|amounts| !amounts.is_empty())
    };
    let is_guaranteed = |container: &Value| {
        let resources = &container["resources"];
        let requests = &resources["requests"];
        let limits = &resources["limits"];
        limits["cpu"].is_string()
            && limits["memory"].is_string()
            && (requests.is_null() || requests == limits)
    };
    if containers.iter().all(is_guaranteed) {
        "Guaranteed"
    } else if containers.iter().any(|one| has(one, "requests") || has(one, "limits")) {
        "Burstable"
    } else {
        "BestEffort"
    }
}
